// What a stored set of attacked images claims, checked. It shares no code with the attacks: sizes, boxes and
// verdicts are computed anew, pixel by pixel, and only the network is asked again, by whoever calls.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/attacked_set.h"
#include "engine/images.h"

namespace caltrop {

// The attacked images of a set, its rows in their order: clip(x / 255 + delta), or that rounded to 8 bits, as
// pictures are. The set must outlive it.
class StoredImages final : public ImageSource {
 public:
  StoredImages(const AttackedSet& set, Backend& backend, bool rounded);

  const ImageShape& shape() const override { return set_.shape; }
  Backend& backend() const override { return backend_; }
  const std::vector<int32_t>& labels() const override { return labels_; }
  using ImageSource::pixels;
  void pixels(std::span<const int64_t> rows, const Tensor& x) const override;

 private:
  const AttackedSet& set_;
  Backend& backend_;
  bool rounded_;
  std::vector<int32_t> labels_;
};

// Puts the data set's images and labels in the place of the stored ones, by index. Returns of how many images the
// pixels, the labels differed. An Error where an index is none of `truth`, or the images have another shape.
struct Differences {
  int64_t images = 0, labels = 0;
};
Differences replace_by(const ImageSet& truth, AttackedSet& set);

// What is said of a set beside its arrays.
struct SetClaims {
  Norm norm = Norm::linf;
  std::optional<float> eps = {};  // of a set that states no sizes; absent: no bound
  float tolerance = 0;            // rounding that the measured size may add to its bound
  // A minimum-norm attack promises its size for successes alone.
  bool minimum_norm = false, predicted_labels = false;
  bool confident = false;  // a success needs a lead as well, so that not every changed prediction is one
};

// What the network says: logits (rows, outputs) of the clean images, the attacked ones, and those rounded.
struct SetAnswers {
  std::vector<float> clean = {}, attacked = {}, rounded = {};
  int64_t outputs = 0;
};

struct Claim {
  std::string name;
  int64_t checked = 0, broken = 0;
  void check(bool holds) {
    ++checked;
    broken += !holds;
  }
};

struct Verification {
  std::vector<Claim> claims = {};  // those of which something was checked
  int64_t rows = 0;
  int64_t claimed = 0;    // successes, as the set says: of the network that it was made on
  int64_t successes = 0;  // as the network says that is asked
  // After rounding to 8 bits: successes that still are some for this network, rows that keep to their size.
  int64_t rounded_successes = 0, rounded_within = 0;

  int64_t broken() const;  // claims that do not hold
  double share(int64_t part) const;
};

// `found`: what replace_by() did, where a data set says what is true. Of a set with targets a success is to arrive there, and
// no target is its image's own label.
Verification verify(const AttackedSet& set, const SetClaims& claims, const SetAnswers& answers,
                    const std::optional<Differences>& found);

}  // namespace caltrop
