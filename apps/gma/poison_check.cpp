#include "apps/gma/poison_check.h"

#include <chrono>
#include <cmath>
#include <tuple>

#include "apps/core/console.h"
#include "apps/report/table.h"
#include "attacks/poison/forward_over_reverse.h"
#include "engine/error.h"

namespace caltrop {
namespace {

constexpr double kAgreement = 1e-3;

}  // namespace

// The witness compares slopes along the exact gradient, where the slope is its length.
Json compare_meta_gradients(const Model& model, const Images& images, const PoisonRoles& roles,
                            const PoisonOptions& how, Console& console) {
  const auto batch = [&](const std::vector<int64_t>& from, int64_t begin, int64_t count) {
    std::vector<int64_t> rows;
    rows.reserve(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      rows.push_back(from[static_cast<size_t>(begin + i) % from.size()]);
    }
    const std::vector<int32_t> labels = images.labels_of(rows);
    return InnerTraining::Batch{images.pixels(rows),
                                Labels(images.backend(), std::span<const int32_t>(labels))};
  };
  const InnerTraining::Batch poison = batch(roles.poisoned, 0, how.group);
  const auto inner = [&](MetaGradient method, int64_t checkpoint) {
    std::vector<InnerTraining::Batch> steps;
    steps.reserve(static_cast<size_t>(how.unrolled_steps));
    for (int64_t s = 0; s < how.unrolled_steps; ++s)
      steps.push_back(batch(roles.clean, s * how.batch, how.batch));
    InnerOptions options = how.inner;
    options.method = method;
    options.checkpoint = checkpoint;
    return InnerTraining(model, std::move(steps), batch(roles.targets, 0, how.targets), poison.labels,
                         options);
  };
  using Clock = std::chrono::steady_clock;
  Table table({{"lane", "meta-gradient"},
               {"slope", "slope along the exact one", Column::Kind::general, 6},
               {"apart", "relative distance", Column::Kind::general, 2},
               {"seconds", "seconds", Column::Kind::number, 3}});
  std::vector<float> exact;
  double length = 0;
  const bool smooth = is_smooth(model.architecture());
  bool agree = true;
  const auto add = [&](const std::string& name, double slope, double apart, Clock::time_point begin) {
    const bool exact_way = name.find("differences") == std::string::npos;
    agree = agree && (apart <= kAgreement || (!exact_way && !smooth));
    table.row({name, slope, apart, std::chrono::duration<double>(Clock::now() - begin).count()});
  };
  Tensor direction;
  const std::vector<std::tuple<std::string, MetaGradient, int64_t>> methods = {
      {"unrolled", MetaGradient::unrolled, 0},
      {"unrolled, checkpoint 1", MetaGradient::unrolled, 1},
      {"stepwise", MetaGradient::stepwise, 0},
      {"forward-over-reverse", MetaGradient::forward_over_reverse, 0},
      {"differences", MetaGradient::differences, 0}};
  for (const auto& [name, method, checkpoint] : methods) {
    if (method == MetaGradient::forward_over_reverse && !has_forward_over_reverse(model.architecture()))
      continue;
    const Clock::time_point begin = Clock::now();
    const Tensor gradient = inner(method, checkpoint).meta_gradient(poison.x);
    const std::vector<float> g = gradient.to_host();
    double along = 0, apart = 0;
    if (exact.empty()) {
      exact = g;
      for (const float value : g) length += static_cast<double>(value) * static_cast<double>(value);
      length = std::sqrt(length);
      if (!(length > 0)) fail("the meta-gradient is zero: nothing to compare");
      direction = gradient / static_cast<float>(length);
    }
    for (size_t i = 0; i < g.size(); ++i) {
      const double d = static_cast<double>(g[i]) - static_cast<double>(exact[i]);
      apart += d * d;
      along += static_cast<double>(g[i]) * static_cast<double>(exact[i]) / length;
    }
    add(name, along, std::sqrt(apart) / length, begin);
  }
  const Clock::time_point begin = Clock::now();
  // Far enough that the loss changes by more than its rounding, near enough to stay between kinks.
  const auto reach = static_cast<float>(1e-3 / length);
  const double slope = inner(MetaGradient::unrolled, 0).difference(poison.x, direction, reach);
  add("finite differences", slope, std::abs(slope / length - 1), begin);
  console.say("{} poisoned and {} clean images in each of {} steps of {}, {} target images", how.group,
              how.batch, how.unrolled_steps, to_string(how.inner.rule), how.targets);
  console.say(table);
  if (!smooth) {
    console.note(
        "relu and max-pool make the gradients of training jump; differences count the jumps and are no "
        "witness here. Compare on a network with gelu and avgpool, as in the example of --help");
  }
  if (!agree) fail("the meta-gradients are further apart than {:g}", kAgreement);
  return {{"lanes", table.json()}};
}

}  // namespace caltrop
