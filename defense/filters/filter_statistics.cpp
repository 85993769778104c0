#include "defense/filters/filter_statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "attacks/attack.h"
#include "defense/filters/cascade.h"
#include "engine/error.h"
#include "engine/random.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCascade = "cascade.safetensors";
constexpr double kMost = std::numeric_limits<int32_t>::max();

class FilterStatistics final : public Defence {
 public:
  std::vector<DefenceOption> options() override {
    return {
        {.name = "pool",
         .value = &pool_,
         .what = "training images attacked",
         .value_name = "N",
         .otherwise = "as many as clean ones train SVMs",
         .low = 1,
         .high = kMost},
        {.name = "false-alarms",
         .value = &false_alarms_,
         .what = "share of clean images that may be called attacked, by which thresholds are set",
         .value_name = "P",
         .low = 0,
         .high = 0.5,
         .open_low = true},
        {.name = "calibration",
         .value = &calibration_,
         .what = "share of the clean training images that thresholds are set by, and no SVM is trained on",
         .value_name = "S",
         .low = 0.01,
         .high = 0.99},
        {.name = "cost",
         .value = &cost_,
         .what = "C of the SVMs, what a misplaced image costs",
         .value_name = "C",
         .low = 0,
         .high = 1e6,
         .open_low = true},
        {.name = "axes-images",
         .value = &axes_images_,
         .what = "clean images that the principal axes are of, at most",
         .value_name = "N",
         .low = 2,
         .high = kMost}};
  }

  void check(const DefenceTask& task) const override {
    if (convolutions(task) == 0) {
      fail("filter-statistics looks at convolutions: the network '{}' has none",
           to_string(task.target.architecture()));
    }
    const int64_t clean = task.train.count(), set_by = calibrated(clean);
    if (set_by >= clean || set_by < 1)
      fail("--calibration {:g} leaves none of {} clean images on one of both sides", calibration_, clean);
    if (static_cast<double>(set_by) * false_alarms_ < 1) {
      fail("--false-alarms {:g} of the {} clean images of --calibration {:g} is less than one: take more",
           false_alarms_, set_by, calibration_);
    }
    check_planned("--pool", attacked(clean), clean);
  }

  DefenceCost cost(const DefenceTask& task) const override {
    constexpr double kPasses = 3;  // forward and backward
    const ImageShape& shape = task.target.input();
    const std::vector<LayerInfo> layers = describe_layers(task.target.architecture(), shape);
    double answer = static_cast<double>(count_macs(task.target.architecture(), shape)), numbers = 0;
    for (const LayerInfo& layer : layers) {
      if (!layer.text.starts_with("conv ")) continue;
      const auto k = static_cast<double>(layer.output.channels);
      answer += static_cast<double>(layer.output.height * layer.output.width) * k * k;  // the axes
      numbers += k * k + 3 * 6 * k;
    }
    const std::vector<PoolAttack> attacks = pool_recipe(task.known);
    double passes = 0;
    for (const PoolAttack& attack : attacks) passes += most_passes(attack.options, task.classes);
    const auto pool = static_cast<double>(attacked(task.train.count()));
    const auto macs = static_cast<double>(count_macs(task.target.architecture(), shape));
    return {.macs = answer * (static_cast<double>(task.train.count()) + 2 * pool) +
                    kPasses * macs * pool * passes / static_cast<double>(attacks.size()),
            .answer = answer,
            .bytes = static_cast<int64_t>(4 * numbers)};
  }

  Defended train(const DefenceTask& task, const TestSet& /*watched*/) override {
    const auto network =
        std::make_shared<Model>(task.target.architecture(), task.target.input(), task.target.backend());
    network->load(task.target.state());
    const fs::path file = task.folder / kCascade;
    if (!task.folder.empty() && fs::exists(file))
      return watched_by(network, FilterCascade::from(read_safetensors(file), network->backend()));
    FilterCascade cascade = trained(task, *network);
    if (!task.folder.empty()) {
      SafeTensorFile state = cascade.state();
      state.metadata.insert(task.metadata.begin(), task.metadata.end());
      write_safetensors(file, state);
    }
    return watched_by(network, std::move(cascade));
  }

 private:
  static int64_t convolutions(const DefenceTask& task) {
    return std::ranges::count_if(task.target.architecture().layers, [](const LayerSpec& layer) {
      return std::holds_alternative<ConvSpec>(layer);
    });
  }
  int64_t calibrated(int64_t clean) const { return std::llround(calibration_ * static_cast<double>(clean)); }
  int64_t attacked(int64_t clean) const { return pool_.value_or(clean - calibrated(clean)); }

  FilterCascade trained(const DefenceTask& task, const Model& network) const {
    const int64_t clean = task.train.count();
    const AttackedPool pool =
        task.crafter.craft(task.train, pool_recipe(task.known), attacked(clean), Subset::train, task.seed)
            .pool(task.train, task.pool);
    task.watch.pool("train", pool);
    if (pool.count() == 0)
      fail("[filter-statistics] none of the attacked training images differs from its clean one");
    const std::vector<int64_t> order = Random(task.seed, Purpose::split).permutation(clean);
    const auto middle = order.begin() + (clean - calibrated(clean));
    const ChosenImages learned(task.train, {order.begin(), middle}), kept(task.train, {middle, order.end()});
    const ChosenImages axes(task.train,
                            {order.begin(), order.begin() + std::min(axes_images_, learned.count())});
    const PairedImages attacks(task.train, pool);
    const int64_t images = learned.count() + 2 * attacks.count() + kept.count();
    task.watch.begin("filter statistics", images);
    std::vector<TrainedStage> stages;
    FilterCascade cascade = train_cascade(network, {learned, attacks, axes, kept},
                                          {{.cost = cost_, .seed = task.seed}, false_alarms_}, &stages,
                                          [&](int64_t done) { task.watch.at("filter statistics", done); });
    for (size_t c = 0; c < stages.size(); ++c) {
      task.watch.note(
          fmt::format("stage {} of {}: {} statistics; SVM after {} passes, {:.2g} from its optimum; finds "
                      "{:.1f} % of the attacked "
                      "training images that are left",
                      c + 1, stages.size(), stages[c].statistics, stages[c].svm.passes, stages[c].svm.gap,
                      100 * stages[c].found));
    }
    return cascade;
  }

  static Defended watched_by(const std::shared_ptr<const Model>& network, FilterCascade cascade) {
    Defended defended = defended_by(network);
    defended.model = nullptr;
    defended.parameters += cascade.numbers();
    defended.unaware =
        std::exchange(defended.classifier, std::make_shared<WatchedNetwork>(network, std::move(cascade)));
    defended.unaware_answers_otherwise = true;
    defended.detects = true;
    return defended;
  }

  std::optional<int64_t> pool_;
  double false_alarms_ = CascadeOptions{}.false_alarms, calibration_ = 0.5, cost_ = SvmOptions{}.cost;
  int64_t axes_images_ = 2000;
};

}  // namespace

DefenceInfo filter_statistics_info() {
  return {.name = "filter-statistics",
          .summary = "an alarm by SVMs on statistics of the network's filters",
          .about =
              "Convolutional filter statistics: beside the network --weights, which stays as it is, a "
              "cascade of linear "
              "SVMs, one for each convolution, looks at statistics of what its filters give (principal axes, "
              "extremes, "
              "quartiles), and calls an image attacked as soon as one of them does. Thresholds are set by "
              "clean images "
              "that no SVM was trained on, for the share --false-alarms. It is attacked on the bare network "
              "(unaware.csv) and through statistics and SVMs (adaptive.csv).",
          .source = "Li & Li 2017",
          .make = []() -> std::unique_ptr<Defence> {
            return std::make_unique<FilterStatistics>();
          }};
}

}  // namespace caltrop
