#include "attacks/poison/compare.h"

#include <chrono>
#include <cmath>
#include <functional>

#include "attacks/poison/forward_over_reverse.h"
#include "engine/error.h"

namespace caltrop {
namespace {

// `count` of `from`, from the one at `begin` on; after the last comes the first again.
InnerTraining::Batch batch_from(const Images& images, const std::vector<int64_t>& from, int64_t begin,
                                int64_t count) {
  std::vector<int64_t> rows;
  for (int64_t i = begin; i < begin + count; ++i) rows.push_back(from[static_cast<size_t>(i) % from.size()]);
  return InnerTraining::batch(images, rows);
}

double product(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double squares = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    squares += d * d;
  }
  return std::sqrt(squares);
}

double seconds_of(const std::function<void()>& body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

// The witness compares slopes along the exact gradient, where the slope is its length.
MetaGradientComparison compare_meta_gradients(const Model& model, const Images& images,
                                              const PoisonRoles& roles, const PoisonOptions& options) {
  const InnerTraining::Batch poison = batch_from(images, roles.poisoned, 0, options.group);
  const auto inner = [&](MetaGradient method, int64_t checkpoint) {
    std::vector<InnerTraining::Batch> steps;
    for (int64_t s = 0; s < options.unrolled_steps; ++s)
      steps.push_back(batch_from(images, roles.clean, s * options.batch, options.batch));
    InnerOptions how = options.inner;
    how.method = method;
    how.checkpoint = checkpoint;
    return InnerTraining(model, std::move(steps), batch_from(images, roles.targets, 0, options.targets),
                         poison.labels, how);
  };
  MetaGradientComparison result{.ways = {}, .smooth = is_smooth(model.architecture())};
  std::vector<float> exact;
  double length = 0;
  Tensor direction;
  const auto add = [&](const char* name, MetaGradient method, int64_t checkpoint) {
    MetaGradientWay way{.name = name};
    way.seconds = seconds_of([&] {
      const Tensor gradient = inner(method, checkpoint).meta_gradient(poison.x);
      const std::vector<float> g = gradient.to_host();
      if (exact.empty()) {
        exact = g;
        length = std::sqrt(product(g, g));
        if (!(length > 0)) fail("the meta-gradient is zero: nothing to compare");
        direction = gradient / static_cast<float>(length);
      }
      way.slope = product(g, exact) / length;
      way.apart = distance(g, exact) / length;
    });
    result.ways.push_back(std::move(way));
  };
  add("unrolled", MetaGradient::unrolled, 0);
  add("unrolled, checkpoint 1", MetaGradient::unrolled, 1);
  add("stepwise", MetaGradient::stepwise, 0);
  if (has_forward_over_reverse(model.architecture()))
    add("forward-over-reverse", MetaGradient::forward_over_reverse, 0);
  const size_t exact_ways = result.ways.size();
  add("differences", MetaGradient::differences, 0);

  MetaGradientWay witness{.name = "finite differences"};
  witness.seconds = seconds_of([&] {
    // Far enough that the loss changes by more than its rounding, near enough to stay between kinks.
    const auto reach = static_cast<float>(1e-3 / length);
    witness.slope = inner(MetaGradient::unrolled, 0).difference(poison.x, direction, reach);
    witness.apart = std::abs(witness.slope / length - 1);
  });
  result.ways.push_back(std::move(witness));
  for (size_t k = 0; k < result.ways.size(); ++k) {
    const bool must = k < exact_ways || result.smooth;
    result.agree = result.agree && (!must || result.ways[k].apart <= kMetaGradientsAgree);
  }
  return result;
}

}  // namespace caltrop
