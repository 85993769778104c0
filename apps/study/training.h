// How a network of a study is trained, as data: one training after the other, each going on from the weights of the one
// before.
//
//   plain       cross-entropy as `caltrop train` has it                    plain:epochs=4
//   a defence   by its name, with its options and those that say which     adversarial:eps=0.1:epochs=4
//               attacks it knows of (`caltrop defend NAME --help`)         mia:scale=smoke:attacks=fgsm,pgd
//
// A defence that has the option `from` (kFromOption) trains on: from the arm's own first weights, or those before it. One
// that has not is about the network before it, which it attacks and defends.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "defense/defence.h"
#include "defense/settings.h"

namespace caltrop {

inline constexpr const char* kPlainTraining = "plain";

struct StudyTraining {
  std::string method = kPlainTraining;
  std::vector<std::string> options = {};  // "epochs=4", by the names of flags

  bool plain() const { return method == kPlainTraining; }
  std::string text() const;  // "adversarial:eps=0.1:epochs=4"
  // What it says of an option; absent where it says nothing.
  std::optional<std::string> value(std::string_view option) const;
};
StudyTraining study_training(const std::string& text);

// Its options read. A UsageError, with the text in it, where they make no training.
struct ReadTraining {
  int64_t epochs = 5;                              // of a plain one
  std::shared_ptr<const DefenceInfo> info = {};    // null: plain
  std::shared_ptr<Defence> defence = {};           // for one train()
  std::shared_ptr<DefenceSettings> settings = {};  // resolved
  bool continues = true;                           // from weights; else it needs a network that is trained
};
ReadTraining read_training(const StudyTraining& training);
// An Error where trainings cannot follow one another.
void check_trainings(const std::vector<StudyTraining>& trainings);

}  // namespace caltrop
