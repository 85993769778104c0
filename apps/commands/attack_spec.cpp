#include "apps/commands/attack_spec.h"

#include <algorithm>
#include <sstream>

#include "apps/commands/attack_flags.h"
#include "apps/core/flags.h"
#include "engine/text.h"

namespace caltrop {

StudyAttack study_attack(const std::string& name, const std::string& attack,
                         const std::vector<std::string>& words, const std::string& norm,
                         const std::vector<Size>& sizes) {
  StudyAttack result{.name = name, .options = {}, .sizes = {}};
  Flags flags("attack");
  AttackFlags values;
  flags.positional("attack", values.kind, attack_names(), "which attack");
  flags.choice("norm", values.norm, {"linf", "l2", "l1"}, "how a perturbation is measured");
  add_attack_flags(flags, values);
  add_suite_flags(flags, values);
  flags.integer("eot", result.draws, 1, 255, "N", "draws of a random classifier");
  flags.toggle("unaware", result.unaware, "by an attacker who does not know the defence");
  std::vector<std::string> arguments = {attack};
  for (const std::string& word : words) arguments.push_back("--" + word);
  const bool own =
      std::ranges::any_of(words, [](const std::string& word) { return word.starts_with("norm="); });
  if (!own) arguments.push_back("--norm=" + norm);
  try {
    if (!flags.parse(arguments)) usage_error("expected options of an attack, got a question for help");
    result.options = choose_attack(values, flags, sizes.at(0), false, 0).options;
  } catch (const UsageError& problem) {
    usage_error("{}: {}", shown(name), problem.what());
  }
  for (const Size& size : sizes) {
    result.sizes.push_back({.eps = size.used()});
    result.asked.push_back(size.asked);
  }
  return result;
}

StudyAttack parse_attack_spec(const std::string& text, const std::string& norm,
                              const std::vector<Size>& sizes) {
  std::vector<std::string> words;
  std::istringstream parts(text + ":");
  for (std::string part; std::getline(parts, part, ':');) words.push_back(part);
  return study_attack(text, words.at(0), {words.begin() + 1, words.end()}, norm, sizes);
}

}  // namespace caltrop
