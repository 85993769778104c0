// An attack over an image set: chunk after chunk through craft(), results streamed in order, totals kept.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "attacks/attack.h"
#include "engine/images.h"
#include "engine/inference.h"

namespace caltrop {

// The images of one class under an attack.
struct ClassCount {
  int64_t images = 0, clean_correct = 0, robust = 0;
  std::vector<int64_t> after = {};  // by what the network says of them after it
};

// What an attack under one eps did to a set of images.
struct AttackSummary {
  float size = 0;  // eps
  int64_t images = 0;
  int64_t clean_correct = 0;                                  // right before the attack
  int64_t correct = 0;                                        // right after it, or found by a detector
  int64_t robust = 0;                                         // ... and right before
  int64_t successes = 0;                                      // fooled (targeted: into the target)
  int64_t successes_of_correct = 0;                           // among those right before
  double loss = 0;                                            // sum over the images
  double sum_linf = 0, sum_l2 = 0, max_linf = 0, max_l2 = 0;  // budget used
  int64_t zero_gradients = 0, nan_gradients = 0, box_violations = 0, ball_violations = 0;
  std::vector<ClassCount> classes = {};                  // by label
  Calibration clean_calibration = {}, calibration = {};  // of the clean images, of the attacked ones

  void add(const AttackedImage& image, const AttackRow& row);

  double clean_accuracy() const { return share_of(clean_correct, images); }
  double accuracy() const { return share_of(correct, images); }
  // Share of all images that are right when clean and under the attack.
  double robust_accuracy() const { return share_of(robust, images); }
  double success_rate() const { return share_of(successes, images); }
  double success_rate_of_correct() const { return share_of(successes_of_correct, clean_correct); }
  // Rows: the true class; columns: what is said after the attack. Square.
  std::vector<std::vector<int64_t>> confusion() const;
  double mean_loss() const { return mean(loss); }
  double mean_linf() const { return mean(sum_linf); }
  double mean_l2() const { return mean(sum_l2); }

 private:
  double mean(double sum) const { return images > 0 ? sum / static_cast<double>(images) : 0.0; }
};

// Every count of a summary by its name, for who writes them down and reads them again.
template <typename Summary, typename Visit>
void for_each_count(Summary& summary, const Visit& visit) {
  auto& s = summary;
  visit("images", s.images);
  visit("clean_correct", s.clean_correct);
  visit("correct", s.correct);
  visit("robust", s.robust);
  visit("successes", s.successes);
  visit("successes_of_correct", s.successes_of_correct);
  visit("loss", s.loss);
  visit("sum_linf", s.sum_linf);
  visit("sum_l2", s.sum_l2);
  visit("max_linf", s.max_linf);
  visit("max_l2", s.max_l2);
  visit("zero_gradients", s.zero_gradients);
  visit("nan_gradients", s.nan_gradients);
  visit("box_violations", s.box_violations);
  visit("ball_violations", s.ball_violations);
}

// The images that were right and are fooled: how large their perturbations are, and which attack made them.
class FooledImages {
 public:
  void add(const AttackedImage& image, const AttackRow& row);

  int64_t count() const { return static_cast<int64_t>(norms_[0].size()); }
  struct Spread {
    double mean = 0, median = 0, max = 0;
  };
  std::array<Spread, 4> spreads() const;  // of L0, L1, L2 and L-inf
  const std::map<std::string, int64_t>& by_attack() const { return by_attack_; }

 private:
  std::array<std::vector<double>, 4> norms_;
  std::map<std::string, int64_t> by_attack_;
};

struct AttackReport {
  std::vector<AttackSummary> sizes;  // one for each eps, in the order asked for
  int64_t forward_passes = 0, backward_passes = 0;
};

// Receives each chunk in the order of the images, one at a time, perhaps from another thread; `first` is the
// place of its first image among those attacked. What it throws ends the attack.
using AttackSink = std::function<void(int64_t first, const AttackResult& chunk)>;

// Whether the robust accuracy over `images` is at least `share`, as far as `summary`, of the first of them, decides that.
std::optional<bool> at_least(const AttackSummary& summary, double share, int64_t images);

struct AttackJob {
  std::vector<int64_t> rows = {};     // which images of the set, in this order
  std::vector<int32_t> targets = {};  // one for each of `rows`, when targeted
  // Where the first try begins, in the box: the pixels of each of `rows` after one another; empty: as the attack has it.
  std::vector<float> starts = {};
  // The logits of every image of the set where the network has been asked already, (images,outputs) row-major; else
  // empty. Never of a classifier that draws.
  std::span<const float> clean = {};
  // Ends behind the first image, in the order of `rows`, after which it is known of every size whether the robust accuracy
  // over all rows is at least this; what comes after it counts nowhere, passes neither.
  std::optional<double> until = {};
  // The same by who is asked after each image, in the order of `rows`, one at a time, with its rows: whether it was the last.
  std::function<bool(const AttackedImage& image, std::span<const AttackRow> rows)> last = {};
  // Whoever answers where the classifier is attacked in its stead, of images (n,h,w,c) by their numbers: a class, or
  // `alarm`, which is no answer that an attack wants. The rows' answers, and what counts as a success, are these then, and
  // have no confidence. Empty: the classifier itself.
  std::function<std::vector<int32_t>(const Tensor& x, const std::vector<int64_t>& images)> answers = {};
  int32_t alarm = -1;
  int64_t batch = 0;  // images crafted together; 0: as many rows as suit the model
  AttackSink sink = {};
  Progress progress = {};  // images done
};

AttackReport attack_images(const Classifier& classifier, const Images& images,
                           std::span<const float> epsilons, const AttackOptions& options,
                           const AttackJob& job);
AttackReport attack_images(const Model& model, const Images& images, std::span<const float> epsilons,
                           const AttackOptions& options, const AttackJob& job);

// Of each class the first image that the network gets right; classes of which it gets none are left out.
AttackBatch first_of_each_class(const Model& model, const Images& images, int64_t classes);

}  // namespace caltrop
