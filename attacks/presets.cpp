#include "attacks/presets.h"

#include <algorithm>
#include <array>

#include "engine/error.h"
#include "engine/named.h"

namespace caltrop {
namespace {

using Kind = AttackKind;
constexpr std::array<const char*, 5> kNames = {"foolbox", "torchattacks", "cleverhans", "art", "autoattack"};
constexpr float kPixel = 1.0f / 255.0f;

// Fills `preset`; false where the library has no such attack.
bool foolbox(PresetAttack& preset, Kind kind, Norm norm) {
  AttackOptions& o = preset.options;
  switch (kind) {
    case Kind::fgsm:
      return true;
    case Kind::bim:
      preset.step_share = 0.2f;
      return true;
    case Kind::pgd:
      o.steps = norm == Norm::linf ? 40 : 50;
      preset.step_share = norm == Norm::linf ? 1.0f / 30.0f : 0.025f;
      return true;
    case Kind::mim:
      preset.step_share = 0.2f;
      preset.differs = "foolbox's momentum adds up gradients without normalising each";
      return true;
    case Kind::cw:
      o.steps = 10000;
      preset.differs =
          "foolbox ends a round for the whole batch at once, and leaves zeros where it found nothing";
      return true;
    case Kind::deepfool:
      return true;
    default:
      return false;
  }
}

bool torchattacks(PresetAttack& preset, Kind kind, Norm norm) {
  AttackOptions& o = preset.options;
  preset.eps = norm == Norm::linf ? 8 * kPixel : 1.0f;
  switch (kind) {
    case Kind::fgsm:
      return norm == Norm::linf;
    case Kind::bim:
    case Kind::mim:
      o.step_size = 2 * kPixel;
      return norm == Norm::linf;
    case Kind::pgd:
      o.step_size = norm == Norm::linf ? 2 * kPixel : 0.2f;
      if (norm == Norm::l2) preset.differs = "torchattacks draws the length of an L2 start uniformly";
      return true;
    case Kind::cw:
      preset.eps.reset();
      o.steps = 50;
      o.cw.rounds = 1;
      o.cw.first_constant = 1.0f;
      preset.differs = "torchattacks never moves pixels of 0 and 1, and multiplies logits to mask them";
      return true;
    case Kind::deepfool:
      preset.eps.reset();
      o.deepfool.candidates = 1000000;
      return norm == Norm::l2;
    case Kind::apgd_ce:
    case Kind::apgd_dlr:
    case Kind::apgd_t:
      o.steps = 10;
      o.apgd.authors_quirks = true;  // it is the authors' code
      return true;
    case Kind::fab:
    case Kind::fab_t:
      o.steps = 10;
      return true;
    case Kind::square:
      o.square.schedule = SquareSchedule::rescaled;
      preset.differs = "torchattacks draws one window for the whole batch";
      return true;
    case Kind::autoattack:
      preset.differs =
          "torchattacks runs APGD and FAB of ten steps under this name; these are the authors' hundred";
      return true;
  }
  return false;
}

bool cleverhans(PresetAttack& preset, Kind kind) {
  AttackOptions& o = preset.options;
  switch (kind) {
    case Kind::fgsm:
      preset.eps = 0.3f;
      return true;
    case Kind::bim:
    case Kind::pgd:
      preset.eps = 0.3f;
      o.step_size = 0.05f;
      preset.differs = "cleverhans averages the loss over the batch, so its L2 step depends on the batch";
      return true;
    case Kind::mim:
      preset.eps = 0.3f;
      o.step_size = 0.06f;
      return true;
    case Kind::cw:
      o.steps = 1000;
      o.cw = {.rounds = 5, .first_constant = 1e-2f, .learning_rate = 5e-3f, .abort_early = false};
      preset.differs = "cleverhans goes on with Adam's state from round to round";
      return true;
    case Kind::deepfool:
      return true;
    default:
      return false;
  }
}

bool art(PresetAttack& preset, Kind kind) {
  AttackOptions& o = preset.options;
  preset.eps = 0.3f;
  switch (kind) {
    case Kind::fgsm:
      return true;
    case Kind::bim:
    case Kind::pgd:
    case Kind::mim:
      o.steps = 100;
      o.step_size = 0.1f;
      o.random_start = false;
      return true;
    case Kind::cw:
      preset.eps.reset();
      o.steps = 10;
      o.cw.rounds = 10;
      o.cw.first_constant = 0.01f;
      preset.differs = "ART descends by a line search instead of Adam";
      return true;
    case Kind::deepfool:
      preset.eps.reset();
      o.steps = 100;
      o.deepfool.overshoot = 1e-6f;
      preset.differs = "ART ignores labels and overshoots once, at the end";
      return true;
    case Kind::apgd_ce:
    case Kind::apgd_dlr:
      o.restarts = 5;
      preset.differs = "ART begins APGD with the step 0.1";
      return true;
    case Kind::square:
      o.steps = 100;
      return true;
    default:
      return false;
  }
}

bool authors(PresetAttack& preset, Kind kind, Norm norm) {
  preset.eps = norm == Norm::linf ? 0.3f : 2.0f;  // theirs for MNIST
  preset.options.apgd.authors_quirks = true;
  preset.options.square.schedule = SquareSchedule::paper;
  if (kind == Kind::square) preset.differs = "the authors draw one window for the whole batch";
  constexpr std::array kTheirs = {Kind::apgd_ce, Kind::apgd_dlr, Kind::apgd_t,    Kind::fab,
                                  Kind::fab_t,   Kind::square,   Kind::autoattack};
  return std::find(kTheirs.begin(), kTheirs.end(), kind) != kTheirs.end();
}

}  // namespace

Preset parse_preset(std::string_view name) {
  return parse_named<Preset>("preset", name, kNames);
}
std::string to_string(Preset preset) {
  return kNames[static_cast<size_t>(preset)];
}
std::vector<std::string> preset_names() {
  return {kNames.begin(), kNames.end()};
}

PresetAttack preset_attack(Preset preset, AttackKind kind, Norm norm) {
  PresetAttack attack{attack_defaults(kind), {}, {}, {}};
  attack.options.norm = norm;
  const auto known = [&] {
    switch (preset) {
      case Preset::foolbox:
        return foolbox(attack, kind, norm);
      case Preset::torchattacks:
        return torchattacks(attack, kind, norm);
      case Preset::cleverhans:
        return cleverhans(attack, kind);
      case Preset::art:
        return art(attack, kind);
      case Preset::autoattack:
        return authors(attack, kind, norm);
    }
    return false;
  };
  if (!known()) fail("{} has no {} under {}", to_string(preset), to_string(kind), to_string(norm));
  return attack;
}

}  // namespace caltrop
