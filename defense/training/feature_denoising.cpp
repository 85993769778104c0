#include "defense/training/feature_denoising.h"

#include <algorithm>

#include "defense/training/adversarial.h"
#include "defense/training/craft_flags.h"
#include "engine/error.h"

namespace caltrop {
namespace {

bool strides(const LayerSpec& layer) {
  const auto* conv = std::get_if<ConvSpec>(&layer);
  return conv && (conv->stride_h > 1 || conv->stride_w > 1);
}

bool is(const LayerSpec& layer, BranchPoint point) {
  const auto* branch = std::get_if<BranchSpec>(&layer);
  return branch && branch->point == point;
}

// The end of the residual block that begins at `first`, past its add.
size_t block_end(const std::vector<LayerSpec>& layers, size_t first) {
  int open = 0;
  for (size_t k = first; k < layers.size(); ++k) {
    open += is(layers[k], BranchPoint::residual) ? 1 : is(layers[k], BranchPoint::add) ? -1 : 0;
    if (open == 0) return k + 1;
  }
  return layers.size();
}

class FeatureDenoising final : public TrainedDefence {
 public:
  FeatureDenoising() : TrainedDefence("feature-denoising", {.epochs = 7}) { craft_.attack = "pgd"; }

 protected:
  std::vector<DefenceOption> own_options() override {
    std::vector<DefenceOption> all = craft_.options();
    all.push_back(
        {.name = "filter",
         .value = &filter_,
         .what =
             "what a pixel of an activation is replaced by: a mean of all pixels by their likeness, or the "
             "mean or median of those around it",
         .choices = {"nonlocal", "mean", "median"}});
    all.push_back({.name = "window",
                   .value = &window_,
                   .what = "of mean and median, KxK pixels, odd",
                   .value_name = "K",
                   .otherwise = "3",
                   .low = 3,
                   .high = kMaxFilterWindow});
    all.push_back({.name = "share",
                   .value = &share_,
                   .what = "attacked images in each mini-batch, of all",
                   .value_name = "S",
                   .low = 0,
                   .high = 1});
    return all;
  }

  void resolve_own(std::string_view, const PoolRecipeOptions&) override {
    craft_.resolve();
    if (window_ && filter_ == "nonlocal") fail("--window belongs to --filter mean and median, not nonlocal");
    if (!window_) window_ = 3;
    if (*window_ % 2 == 0) fail("--window must be odd, got {}", *window_);
  }

  void check_own(const DefenceTask& task) const override { (void)architecture(task); }

  Architecture architecture(const DefenceTask& task) const override {
    const DenoiseSpec layer =
        filter_ == "nonlocal"
            ? DenoiseSpec{}
            : DenoiseSpec{filter_ == "mean" ? DenoiseFilter::mean : DenoiseFilter::median, *window_};
    return with_denoising(task.target.architecture(), layer);
  }

  std::unique_ptr<Objective> make_objective(const DefenceTask&, const Model&) const override {
    return std::make_unique<AdversarialTraining>(
        AdversarialOptions{.share = share_, .craft = craft_.craft()});
  }

  double passes() const override { return 1 + share_ * static_cast<double>(craft_.craft().steps); }

 private:
  CraftFlags craft_;
  std::string filter_ = "nonlocal";
  std::optional<int64_t> window_;
  double share_ = 1;
};

}  // namespace

Architecture with_denoising(const Architecture& line, const DenoiseSpec& layer) {
  const std::vector<LayerSpec>& layers = line.layers;
  Architecture with;
  int64_t added = 0;
  bool noisy = false;  // convolved since the last denoising
  const auto denoise = [&] {
    if (noisy) with.layers.emplace_back(layer), ++added;
    noisy = false;
  };
  for (size_t k = 0; k < layers.size();) {
    size_t end = k + 1;
    if (is(layers[k], BranchPoint::residual)) {
      end = block_end(layers, k);
      if (std::any_of(layers.begin() + static_cast<std::ptrdiff_t>(k),
                      layers.begin() + static_cast<std::ptrdiff_t>(end), strides))
        denoise();
      noisy = true;
    } else if (std::holds_alternative<FlattenSpec>(layers[k]) ||
               std::holds_alternative<GlobalAveragePoolSpec>(layers[k])) {
      denoise();
    } else if (std::holds_alternative<ConvSpec>(layers[k])) {
      noisy = true;
    }
    with.layers.insert(with.layers.end(), layers.begin() + static_cast<std::ptrdiff_t>(k),
                       layers.begin() + static_cast<std::ptrdiff_t>(end));
    const bool pooled = std::holds_alternative<PoolSpec>(layers[k]);
    const bool more = end < layers.size() && std::holds_alternative<PoolSpec>(layers[end]);
    if (pooled && !more) denoise();
    k = end;
  }
  if (added == 0)
    fail("feature denoising: the network '{}' has no convolution to denoise after", to_string(line));
  return with;
}

DefenceInfo feature_denoising_info() {
  return {.name = "feature-denoising",
          .summary = "a denoising layer after each stage of convolutions, and PGD images in training",
          .about =
              "Feature denoising: after each stage of convolutions a layer x + W F(x) is put, where F is a "
              "non-local "
              "mean, a mean or a median over pixels, and the network is trained on PGD images. W is zero at "
              "first, so "
              "that the network begins as the one without. The weights' network is the target's with these "
              "layers.",
          .source = "Xie et al. 2019",
          .make = []() -> std::unique_ptr<Defence> { return std::make_unique<FeatureDenoising>(); },
          .pools = false};
}

}  // namespace caltrop
