// Other libraries' conventions: the same attack under the same name is seldom the same attack.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "attacks/attack.h"

namespace caltrop {

// Read from their sources: foolbox 3.3.4, torchattacks 3.5.1, cleverhans 4.0.0, ART 1.20.1, auto-attack
// a392200.
enum class Preset : uint8_t { foolbox, torchattacks, cleverhans, art, autoattack };
Preset parse_preset(std::string_view name);
std::string to_string(Preset preset);
std::vector<std::string> preset_names();

struct PresetAttack {
  AttackOptions options;
  std::optional<float> eps;  // absent where the library asks for it or needs none
  // Steps given as a share of eps; the library's own number where it is absolute (then in options.step_size).
  std::optional<float> step_share;
  std::string
      differs;  // what the library does besides that Caltrop does not copy; empty where nothing is known
};

// The defaults of `kind` under `norm` in that library; an Error where it has no such attack.
PresetAttack preset_attack(Preset preset, AttackKind kind, Norm norm);

}  // namespace caltrop
