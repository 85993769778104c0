// Augmented data (Sanapala & Gondi, "GMA/MIA 2025", section 4.1.1): clean images with their classes, and
// attacked images with one class more, which stands for all attacks.
//
// A pool is planned (plan.h), crafted (craft.h) and put together here, in three steps so that what is crafted
// can be kept. An image that the attack left as it was (CW: for which it found nothing) is not adversarial,
// whatever it is called: it has a clean twin with another label. Such images are counted, and dropped unless
// they are asked for.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "defense/pool/craft.h"
#include "engine/images.h"

namespace caltrop {

struct PoolImage {
  int64_t position = 0, image = 0, attack = 0;  // as planned
  float size = 0, linf = 0, l2 = 0;
  bool fooled = false;
};
struct AttackedPool {
  std::vector<PoolAttack> attacks;
  std::vector<PlannedImage> plan;  // of all positions, whether or not an image came of them
  std::vector<PoolImage> images;   // by position
  std::vector<int64_t> unchanged;  // of each attack: images equal to their clean image, dropped or not
  Tensor pixels;                   // (images,h,w,c), on the device

  int64_t count() const { return static_cast<int64_t>(images.size()); }
  int64_t planned() const { return static_cast<int64_t>(plan.size()); }
  // The images of this pool whose positions hold one in `other`, too.
  AttackedPool at_positions_of(const AttackedPool& other) const;
  // Images whose position is below `positions`; an Error where fewer were planned.
  int64_t prefix(int64_t positions) const;
};
struct AttackedPoolOptions {
  bool eight_bits = false;      // attacked images are rounded to k/255 first, as files of pictures hold them
  bool keep_unchanged = false;  // also those equal to their clean image
};
// `crafted`: what was crafted of `plan`, in any division; an Error unless that is all of it, once.
AttackedPool make_pool(const Images& images, std::vector<PoolAttack> attacks, std::vector<PlannedImage> plan,
                       std::span<const Crafted> crafted, const AttackedPoolOptions& options);

// Clean images, then those of a pool, whose label is `attacked`.
class AugmentedImages final : public ImageSource {
 public:
  AugmentedImages(const Images& clean, const AttackedPool& pool, int32_t attacked);

  const ImageShape& shape() const override { return clean_.shape(); }
  Backend& backend() const override { return clean_.backend(); }
  const std::vector<int32_t>& labels() const override { return labels_; }
  using ImageSource::pixels;
  void pixels(std::span<const int64_t> rows, const Tensor& x) const override;

 private:
  const Images& clean_;
  Tensor attacked_;
  std::vector<int32_t> labels_;
};

// The attacked images of a pool, under the classes of the images that they were made of.
class PairedImages final : public ImageSource {
 public:
  // Both must outlive it.
  PairedImages(const Images& clean, const AttackedPool& pool);

  const ImageShape& shape() const override { return clean_.shape(); }
  Backend& backend() const override { return clean_.backend(); }
  const std::vector<int32_t>& labels() const override { return labels_; }
  using ImageSource::pixels;
  void pixels(std::span<const int64_t> rows, const Tensor& x) const override;
  void clean(std::span<const int64_t> rows, const Tensor& x) const;  // their clean images

 private:
  const Images& clean_;
  const AttackedPool& pool_;
  std::vector<int32_t> labels_;
};

}  // namespace caltrop
