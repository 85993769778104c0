// What a defence is: one row of defences() and one file. `caltrop defend NAME` and every study go through it, and
// evaluate() (evaluation.h) puts every one of them to the same tests. docs/adding_a_defence.md shows how to add one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "attacks/classifier.h"
#include "defense/pool/crafter.h"
#include "defense/watch.h"
#include "engine/images.h"
#include "engine/model.h"

namespace caltrop {

// An option of a defence: what a command makes a flag of. `value` is where it lies and holds its default; an
// optional without a value is for the defence to decide by the scale, and `otherwise` says how.
struct DefenceOption {
  using Value = std::variant<bool*, int64_t*, double*, std::string*, std::optional<int64_t>*,
                             std::optional<double>*, std::vector<double>*, std::vector<std::string>*>;
  std::string name;
  Value value;
  std::string what;  // for --help
  std::string value_name = {}, otherwise = {};
  double low = std::numeric_limits<double>::lowest(), high = std::numeric_limits<double>::max();
  bool open_low = false;                  // low itself is refused
  std::vector<std::string> choices = {};  // of texts; empty: any
};

// One of the defences' test sets: clean test images, then attacked ones, whose label is `attacked`.
struct TestSet {
  std::string name;
  AttackedPool pool;
  AugmentedImages images;

  TestSet(std::string name, const Images& clean, AttackedPool pool, int32_t attacked)
      : name(std::move(name)), pool(std::move(pool)), images(clean, this->pool, attacked) {}

  int64_t clean() const { return images.count() - pool.count(); }
  // The class of image `i`, or of the one that it was before it was attacked.
  int32_t truth(size_t i) const {
    const auto n = static_cast<size_t>(clean());
    return images.labels()[i < n ? i : static_cast<size_t>(pool.images[i - n].image)];
  }
};

// What a defence has to work with.
struct DefenceTask {
  const Model& target;         // the undefended network, which is attacked
  const Images &train, &test;  // with labels 0 ... classes - 1
  int64_t classes = 0;
  PoolRecipeOptions known = {};  // the attacks that the defender knows of
  AttackedPoolOptions pool = {};
  Crafter& crafter;                   // makes attacked images of them
  std::filesystem::path folder = {};  // for weights and checkpoints: a stopped training goes on from there
  std::map<std::string, std::string> metadata = {};  // for files of weights
  int64_t pool_stride = 2;                           // of the zoo's networks
  uint64_t seed = 0;
  Watch& watch;

  int32_t attacked() const { return static_cast<int32_t>(classes); }  // the label of attacked images
};

// What is judged on a test set: the class that it gives to each image, or task.attacked() as an alarm.
struct Judge {
  std::string model, stage;  // as tables show it
  std::function<std::vector<int32_t>(const ImageSource&)> answers;
};

// A defended classifier.
struct Defended {
  // With gradients as an attacker takes them who knows everything. K logits, or with `detects` K + 1: where the
  // last is the largest it raises the alarm. A detector that is no network's logit is shown as one here
  // (Carlini & Wagner 2017): max_k z_k plus what its score exceeds the threshold by.
  std::shared_ptr<const Classifier> classifier;
  // The same as an attacker takes it who does not know the defence, where that is less: its gradients are hidden, or
  // vanish, or the attacker sees the network alone, without what cleans its images or watches it. Null: there is no
  // difference.
  std::shared_ptr<const Classifier> unaware = {};
  // Whether that one's answers are others than the defence's, which then judge what is made on it.
  bool unaware_answers_otherwise = false;
  bool detects = false;
  // Its answers, where they are not the largest logit.
  std::function<std::vector<int32_t>(const Tensor& x)> answers = {};
  // What tables show: the defence itself, and whatever it is to be compared with. Empty: the defence alone.
  std::vector<Judge> judges = {};
  int64_t parameters = 0;
  // The network that was trained, where it is one: another training can go on from its weights.
  std::shared_ptr<const Model> model = {};

  std::vector<int32_t> operator()(const Tensor& x) const;
  // `images`: the number of each in its set, which a classifier that draws takes what it draws from.
  std::vector<int32_t> operator()(const Tensor& x, const std::vector<int64_t>& images) const;
  std::vector<int32_t> operator()(const ImageSource& images) const;
};

// W(*inner, args...), a wrapper of a classifier, which it keeps.
template <typename W, typename... Args>
std::shared_ptr<const Classifier> wrapped(std::shared_ptr<const Classifier> inner, Args... args) {
  struct Held {
    std::shared_ptr<const Classifier> inner;
    W wrapper;
    explicit Held(std::shared_ptr<const Classifier> in, Args... with)
        : inner(std::move(in)), wrapper(*inner, with...) {}
  };
  const auto held = std::make_shared<Held>(std::move(inner), args...);
  return std::shared_ptr<const Classifier>(held, &held->wrapper);
}

// By one network alone, which it keeps. `classes` where the logit after those is an alarm; 0: it raises none.
Defended defended_by(std::shared_ptr<const Model> model, int64_t classes = 0);

// The vote after an epoch of the last stage of networks that vote: the paper's Figures 12 to 15.
struct VoteEpoch {
  int64_t epoch = 0;  // from 1
  Scores scores;
};
// What a network finds of test images of a kind that it was not trained on, beside one that was.
struct LeftOut {
  std::string name, model;  // "gma", "big-sizes", "linf"
  int64_t images = 0, others = 0, clean = 0;
  int64_t found_trained = 0, found = 0, wrong = 0;    // of `images`
  int64_t found_others = 0;                           // of `others`
  int64_t alarms = 0, alarms_trained = 0, right = 0;  // of `clean`
};

// What a training takes, estimated.
struct DefenceCost {
  double macs = 0;    // multiply-accumulates, forward and backward, of crafting too; 0: not known
  double answer = 0;  // ... of one answer of what is trained, forward; 0: as the target's
  int64_t bytes = 0;  // of files that stay
};

class Defence {
 public:
  virtual ~Defence() = default;
  virtual std::vector<DefenceOption> options() { return {}; }
  // Gives options that are left open the values of a scale (kScales); an Error where options do not go together,
  // or not with the attacks that the defender knows of. Before the next two.
  virtual void resolve(std::string_view /*scale*/, const PoolRecipeOptions& /*known*/) {}
  // An Error where the task cannot be done, before any work.
  virtual void check(const DefenceTask& /*task*/) const {}
  virtual DefenceCost cost(const DefenceTask& /*task*/) const { return {}; }
  // `watched`: a test set for learning curves; nothing may be chosen by it. In a folder where the same training came to
  // its end it trains no more and gives back what it was.
  virtual Defended train(const DefenceTask& task, const TestSet& watched) = 0;

  // After train(), for what is not one judge: the vote, epoch by epoch, and what controls show that leave kinds of
  // attacks out, both on the watched test set. Empty: there is none.
  virtual std::vector<VoteEpoch> vote_curve(const TestSet& /*watched*/) const { return {}; }
  virtual std::vector<LeftOut> leave_out(const TestSet& /*watched*/) const { return {}; }
  // When everything is written: removes files that only going on with the training, or the vote's curve, would need.
  virtual void remove_working_files() const {}
};
// The option of a training that goes on from the weights of a file; a defence without it is of the network that it is
// given as the target, which is trained before.
inline constexpr const char* kFromOption = "from";
inline constexpr const char* kInitOption = "init";  // ... how weights begin that are no file's
inline const std::vector<std::string> kScales = {"smoke", "quick", "demo", "paper"};

struct DefenceInfo {
  std::string name;     // `caltrop defend NAME`
  std::string summary;  // of a line
  std::string about;    // of a few sentences
  std::string source;   // the paper
  std::unique_ptr<Defence> (*make)();
  bool attacked = true;  // whether attacks that know it are tried unless they are asked for
  bool pools = true;     // whether it trains on pools of attacked images; else they are for tests alone
  bool of_paper =
      false;  // whether flags that are silent mean the attacks of GMA/MIA 2025; else the field's for MNIST
};
const std::vector<DefenceInfo>& defences();
const DefenceInfo& defence_info(std::string_view name);  // an Error where there is none

}  // namespace caltrop
