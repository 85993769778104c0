// What the attacks share inside: rows of work, passes that are counted, and the taking out of rows that are
// done.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "attacks/attack.h"
#include "attacks/classifier.h"

namespace caltrop {

// Images to attack, one row for each image and eps.
struct Rows {
  Tensor origin;                 // (r,h,w,c)
  std::vector<int64_t> indices;  // of each image in its set
  std::vector<int32_t> labels;   // the attacked label, or when targeted the target
  std::vector<int32_t> goals;    // of apgd-t and fab-t: the class to reach; else empty
  std::vector<float> eps;        // infinity: no bound
  Tensor start = {};             // (r,h,w,c) where a first try begins; empty: as the attack has it
  int64_t count() const { return static_cast<int64_t>(indices.size()); }
};

// What an attack leaves of each row, before anybody judges it.
struct Found {
  Tensor x;                                            // (r,h,w,c), inside the box
  std::vector<int32_t> zero_gradients, nan_gradients;  // of those met
};

Found nothing_found(const Tensor& x);  // of rows that stand at x

// Which try of an attack this is, on the rows that it is given.
struct Try {
  int64_t number = 0;    // other numbers draw other random numbers
  bool again = false;    // not the first: an attack that begins at the image begins elsewhere
  Tensor gradient = {};  // of an ascent: at the rows' images, where they have been asked already
};

using Places = std::vector<int64_t>;  // rows of a tensor, ascending
Places all_places(int64_t count);
// The rows at `places`, in their order; neighbours are copied together.
Tensor take(const Tensor& x, std::span<const int64_t> places);
void put(const Tensor& to, std::span<const int64_t> places, const Tensor& from);
void put(const Tensor& to, int64_t place, const Tensor& from, int64_t row);
Rows take(const Rows& rows, std::span<const int64_t> places);
template <typename T>
std::vector<T> take(const std::vector<T>& values, std::span<const int64_t> places) {
  std::vector<T> taken;
  taken.reserve(places.size());
  if (values.empty()) return taken;
  for (const int64_t place : places) taken.push_back(values[static_cast<size_t>(place)]);
  return taken;
}

// Overwrites the memory of `to`.
void assign(const Tensor& to, const Tensor& from);
// Row r of from[which[r]]; zeros where that is -1.
Tensor pick_rows(std::span<const Tensor> from, std::span<const int32_t> which);
// (r) -> (r,1,1,1), to broadcast over images.
Tensor per_row(const Tensor& values);
Tensor per_row(Backend& backend, std::span<const float> values);
// The norm of each row, (r) on the host; in double.
std::vector<RowStats> row_stats(const Tensor& x);
float norm_of(const RowStats& stats, Norm norm);

// One attack on one batch: the classifier, the options, and what was spent.
class Workbench {
 public:
  Workbench(const Classifier& classifier, const AttackOptions& options)
      : classifier_(classifier), options_(options) {}

  const Classifier& classifier() const { return classifier_; }
  const AttackOptions& options() const { return options_; }
  Backend& backend() const { return classifier_.backend(); }
  int64_t pixels() const { return classifier_.image_size(); }
  Labels labels(std::span<const int32_t> values) const { return Labels(backend(), values); }

  // The verdict (attacks/classifier.h) without gradients, and passes with them; counted.
  Tensor evaluate(const Tensor& x, std::span<const int64_t> images, uint64_t step);
  Pass differentiate(const Tensor& x, const Objectives& objectives, const Query& query);
  // Passes that were not made through these two, of each of these rows' images.
  void count(std::span<const int64_t> images, int64_t forward, int64_t backward);
  int64_t forward_passes() const { return forward_; }
  int64_t backward_passes() const { return backward_; }
  struct Passes {
    int64_t forward = 0, backward = 0;
  };
  // By the number of the image in its set.
  const std::unordered_map<int64_t, Passes>& passes_by_image() const { return by_image_; }

  // Whether each row has what the attack wants: another class than its label, or its target.
  std::vector<bool> fooled(const Tensor& logits, std::span<const int32_t> labels) const;
  // The same of rows that `pass` looked at: by its logits, but of a random classifier by a verdict.
  std::vector<bool> fooled(const Pass& pass, const Tensor& x, std::span<const int64_t> images, uint64_t step,
                           std::span<const int32_t> labels);
  // Counts the gradients of the rows at `places` that are zero everywhere or hold a NaN.
  void note(const Tensor& gradient, std::span<const int64_t> places, Found& found) const;

  // y = clip(project(x + step_size * direction(g))), Backend::attack_step for these rows.
  Tensor step(Norm norm, const Rows& rows, const Tensor& x, const Tensor& g,
              std::span<const float> step_size) const;
  // clip to the box; a NaN becomes its lowest value, as in Backend::attack_step.
  Tensor clip(const Tensor& x) const;
  // clip to the box and to the ball of each row.
  Tensor project(Norm norm, const Rows& rows, const Tensor& x) const;
  // Uniform in the ball (L-inf: cube). All eps of an image share its draw and scale it, so that one does
  // not depend on its neighbours.
  Tensor random_start(const Rows& rows, int64_t attempt) const;
  // The same draw scaled to touch the boundary: |d| = eps before the box clips it.
  Tensor boundary_start(const Rows& rows, int64_t attempt, float share = 1.0f) const;

 private:
  Tensor noise(const Rows& rows, int64_t attempt, Distribution kind) const;

  const Classifier& classifier_;
  const AttackOptions& options_;
  int64_t forward_ = 0, backward_ = 0;
  std::unordered_map<int64_t, Passes> by_image_;
};

// craft() for options and eps that check_attack has seen.
AttackResult craft_checked(const Classifier& classifier, const AttackBatch& batch,
                           std::span<const float> epsilons, const AttackOptions& options);

}  // namespace caltrop
