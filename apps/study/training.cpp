#include "apps/study/training.h"

#include <algorithm>
#include <sstream>

#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/study/defence_options.h"
#include "engine/text.h"

namespace caltrop {

std::string StudyTraining::text() const {
  std::string words = method;
  for (const std::string& option : options) words += ":" + option;
  return words;
}

std::optional<std::string> StudyTraining::value(std::string_view option) const {
  for (const std::string& one : options) {
    if (one.starts_with(fmt::format("{}=", option))) return one.substr(option.size() + 1);
  }
  return std::nullopt;
}

StudyTraining study_training(const std::string& text) {
  StudyTraining training;
  std::istringstream parts(text + ":");
  std::getline(parts, training.method, ':');
  for (std::string part; std::getline(parts, part, ':');) training.options.push_back(part);
  return training;
}

ReadTraining read_training(const StudyTraining& training) {
  ReadTraining read;
  Flags flags("study");
  if (training.plain()) {
    flags.integer("epochs", read.epochs, 1, kMaxEpochs, "N", "passes over the images");
  } else {
    const auto found = std::ranges::find(defences(), training.method, &DefenceInfo::name);
    if (found == defences().end()) {
      std::vector<std::string> names = {kPlainTraining};
      for (const DefenceInfo& info : defences()) names.push_back(info.name);
      usage_error("{}: expected a training, one of {}", shown(training.method), fmt::join(names, ", "));
    }
    read.info = std::make_shared<const DefenceInfo>(*found);
    read.defence = found->make();
    read.settings = std::make_shared<DefenceSettings>();
    if (!found->of_paper) read.settings->test_as_the_field_does();
    const std::vector<DefenceOption> own = read.defence->options();
    read.continues = std::ranges::find(own, kFromOption, &DefenceOption::name) != own.end();
    flags.choice("scale", read.settings->scale, kScales, "epochs and effort where options are silent");
    add_defence_options(flags, own);
    if (found->pools) {
      std::vector<DefenceOption> attacks = read.settings->attack_options();
      std::erase_if(attacks, [](const DefenceOption& one) { return one.name == "test-attacked"; });
      add_defence_options(flags, attacks);
    }
  }
  std::vector<std::string> arguments;
  for (const std::string& option : training.options) arguments.push_back("--" + option);
  try {
    if (!flags.parse(arguments)) usage_error("expected options of a training, got a question for help");
    if (read.defence) read.settings->resolve(*read.info, *read.defence);
  } catch (const Error& problem) {
    usage_error("{}: {}", shown(training.text()), problem.what());
  }
  return read;
}

void check_trainings(const std::vector<StudyTraining>& trainings) {
  for (size_t k = 0; k < trainings.size(); ++k) {
    const StudyTraining& training = trainings[k];
    const bool continues = read_training(training).continues;
    if (!continues && k == 0)
      fail("{} defends a network that is trained: put a training before it", training.text());
    if (!continues && k + 1 < trainings.size())
      fail("nothing can go on from {}, which leaves no single network", training.text());
    if (k > 0 && training.value(kFromOption))
      fail("{} goes on from the training before it: leave '{}' out", training.text(), kFromOption);
  }
}

}  // namespace caltrop
