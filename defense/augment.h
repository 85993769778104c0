// Augmented data (Sanapala & Gondi, "GMA/MIA 2025", section 4.1.1): clean images with their classes, and
// attacked images with one class more, which stands for all attacks.
//
// Training and test images are divided before anything is attacked: a pool is made of the images of one part
// alone. It is planned, crafted and put together in three steps, so that what is crafted can be kept:
//
//   plan_pool   Place j takes attack j mod (number of attacks), so attacks are even in every prefix; of that
//               attack its sizes in turn, under each of its norms; and image j of a random order.
//   craft_lane  The places of one lane (an attack under one norm), on the undefended network.
//   make_pool   The attacked images in the order of their places. One that the attack left as it was (CW: for
//               which it found nothing) is not adversarial, whatever it is called: it has a clean twin with
//               another label. Such images are counted, and dropped unless they are asked for.
//
// The pools of cycles are prefixes of one pool, hence nested.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attacks/attack.h"
#include "attacks/gma.h"
#include "engine/images.h"
#include "engine/inference.h"

namespace caltrop {

// One attack under one norm. A pool with "gma" under two norms has two lanes of that name.
struct PoolLane {
  std::string attack;
  AttackOptions options;
  std::vector<float> sizes;  // {infinity}: the smallest perturbation that the attack finds
};

struct PoolRecipeOptions {
  std::vector<std::string> attacks = {"gma", "pgd", "fgsm", "cw"};  // of pool_attacks()
  std::vector<Norm> gma_norms = {Norm::linf, Norm::l2};             // the paper names none
  Norm norm = Norm::l2;  // of all others with sizes: 1 to 3 permit any image under L-inf
  GmaSizeOptions gma = {};
  std::vector<float> big_sizes = {1, 2, 3};  // Table 2: all but GMA have these beside the sizes of GMA
  int64_t cw_steps = 1000, cw_rounds = 9;    // Table 2: 1000
  float cw_constant = 1e-3f, cw_rate = 0.01f;
  uint64_t seed = 0;
};
// An Error for an unknown attack, one named twice, or none.
std::vector<PoolLane> pool_recipe(const PoolRecipeOptions& options);
// gma, pgd, fgsm, bim, mim, and cw and deepfool, which look for the nearest adversarial image.
std::vector<std::string> pool_attacks();

// Attacks to test a defence with that it was not trained on: names of pool_attacks(), and of those that it was
// trained on and that have a norm and sizes, "other-norm" (under L-inf GMA's sizes alone) and "other-sizes".
// Their lanes are called "pgd-other-norm" and so on. An Error for an attack that `trained` holds.
std::vector<PoolLane> unseen_recipe(const PoolRecipeOptions& trained, const std::vector<std::string>& attacks,
                                    const std::vector<float>& other_sizes);
std::vector<std::string> unseen_attacks();  // the names that it knows

struct PoolPlace {
  int64_t position = 0;  // in the pool as planned
  int64_t image = 0;     // of the set that is attacked
  int64_t lane = 0, size = 0;
};
enum class Part : uint8_t { train, test };  // draws other random orders
// An Error where there are no images or lanes.
std::vector<PoolPlace> plan_pool(std::span<const PoolLane> lanes, int64_t images, int64_t places, Part part,
                                 uint64_t seed);

// Attacked images of one lane, in the order of `positions`.
struct Crafted {
  std::vector<int64_t> position, image;
  std::vector<int32_t> label;   // true class
  std::vector<float> size;      // asked for; infinity: no bound
  std::vector<float> linf, l2;  // measured
  std::vector<uint8_t> fooled;  // whether the undefended network was
  std::vector<float> delta;     // (n,h,w,c): the attacked image is clip(image + delta) in fp32
  int64_t count() const { return static_cast<int64_t>(position.size()); }
};
// `places` are all of `lane`. A place's result depends on its image, its size and the seed alone.
Crafted craft_lane(const Classifier& classifier, const Images& images, const PoolLane& lane,
                   std::span<const PoolPlace> places, const Progress& progress = {});

struct PoolItem {
  int64_t position = 0, image = 0, lane = 0;
  float size = 0, linf = 0, l2 = 0;
  bool fooled = false;
};
// What was planned for a place, whether or not an image came of it.
struct PoolCell {
  int64_t lane = 0;
  float size = 0;
};
struct AttackedPoolOptions {
  bool eight_bits = false;      // attacked images are rounded to k/255 first, as files of pictures hold them
  bool keep_unchanged = false;  // also those equal to their clean image
};
struct AttackedPool {
  ImageShape shape;
  int64_t planned = 0;
  std::vector<PoolItem> items;       // by position
  std::vector<int64_t> unchanged;    // of each lane: images equal to their clean image, dropped or not
  std::vector<float> pixels;         // (items,h,w,c)
  std::vector<PoolCell> cells = {};  // of all places planned

  int64_t count() const { return static_cast<int64_t>(items.size()); }
  // The items of this pool whose places hold one in `other`, too.
  AttackedPool at_places_of(const AttackedPool& other) const;
  // Items whose position is below `places`; an Error where fewer places were planned.
  int64_t prefix(int64_t places) const;
};
// `parts`: what was crafted of each lane, in any division; an Error unless they are all the places of the
// plan.
struct LaneParts {
  int64_t lane = 0;
  std::vector<Crafted> parts;
};
AttackedPool make_pool(const Images& images, int64_t planned, std::span<const LaneParts> lanes,
                       const AttackedPoolOptions& options);

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
  Buffer<float> attacked_;
  std::vector<int32_t> labels_;
};

// Some images of another set, in an order and as often as one likes; the set must outlive it.
class ChosenImages final : public ImageSource {
 public:
  ChosenImages(const ImageSource& from, std::vector<int64_t> rows)
      : from_(from), rows_(std::move(rows)), labels_(from.labels_of(rows_)) {}

  const ImageShape& shape() const override { return from_.shape(); }
  Backend& backend() const override { return from_.backend(); }
  const std::vector<int32_t>& labels() const override { return labels_; }
  using ImageSource::pixels;
  void pixels(std::span<const int64_t> rows, const Tensor& x) const override;
  const std::vector<int64_t>& rows() const { return rows_; }

 private:
  const ImageSource& from_;
  std::vector<int64_t> rows_;
  std::vector<int32_t> labels_;
};

// What a cycle's share is a share of: attacked / (attacked + clean), or attacked / clean.
enum class ShareOf : uint8_t { all, clean };
ShareOf parse_share_of(std::string_view name);
// Attacked images beside `clean` ones; an Error unless 0 < share < 1 (of clean: <= 1) and there is at least
// one.
int64_t attacked_count(int64_t clean, double share, ShareOf of);

}  // namespace caltrop
