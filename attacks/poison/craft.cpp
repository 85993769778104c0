// Crafting poisoned images group by group, and their control.
#include <algorithm>
#include <cmath>
#include <mutex>

#include "attacks/attack.h"
#include "attacks/poison/poison.h"
#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/random.h"

namespace caltrop {
namespace {

// `count` different ones of `rows`, or all where there are fewer.
std::vector<int64_t> some_of(const std::vector<int64_t>& rows, int64_t count, Random& random) {
  std::vector<int64_t> left = rows, taken;
  const int64_t wanted = std::min(count, static_cast<int64_t>(rows.size()));
  taken.reserve(static_cast<size_t>(wanted));
  for (int64_t k = 0; k < wanted; ++k) {
    const auto at =
        static_cast<size_t>(k) +
        static_cast<size_t>(random.below(static_cast<uint64_t>(static_cast<int64_t>(left.size()) - k)));
    std::swap(left[static_cast<size_t>(k)], left[at]);
    taken.push_back(left[static_cast<size_t>(k)]);
  }
  return taken;
}

// One group of poisoned images, climbing the target loss (Eq. 5).
class Group {
 public:
  Group(const Model& model, const Images& images, const PoisonRoles& roles, const PoisonOptions& options,
        int64_t number, std::span<const int64_t> rows, std::span<const int32_t> labels)
      : model_(model),
        images_(images),
        roles_(roles),
        options_(options),
        number_(number),
        clean_(images.pixels(rows)),
        labels_(images.backend(), labels) {}

  std::vector<float> craft() const {
    Tensor x = clean_;
    for (int64_t r = 0; r < options_.ascents; ++r) x = stepped(x, inner(r).meta_gradient(x));
    const NoGrad values_only;
    return (x - clean_).to_host();
  }

 private:
  // Ascent r has batches of its own, so that x_g does not fit one sequence of them.
  InnerTraining inner(int64_t r) const {
    Random random(options_.seed, Purpose::poison, 1 + static_cast<uint64_t>(number_ * options_.ascents + r));
    std::vector<InnerTraining::Batch> steps;
    steps.reserve(static_cast<size_t>(options_.unrolled_steps));
    for (int64_t s = 0; s < options_.unrolled_steps; ++s) {
      steps.push_back(InnerTraining::batch(images_, some_of(roles_.clean, options_.batch, random)));
    }
    return {model_, std::move(steps),
            InnerTraining::batch(images_, some_of(roles_.targets, options_.targets, random)), labels_,
            options_.inner};
  }

  Tensor stepped(const Tensor& x, const Tensor& g) const {
    AttackStep rule{.norm = options_.norm, .rows = x.dim(0), .cols = images_.image_size()};
    const float step_size = options_.step_size > 0
                                ? options_.step_size
                                : 2.5f * options_.eps / static_cast<float>(options_.ascents);
    const auto rows = static_cast<size_t>(x.dim(0));
    const std::vector<float> eps(rows, options_.eps), step_sizes(rows, step_size);
    Tensor y = Tensor::uninitialized(x.backend(), x.shape());
    x.backend().attack_step(rule, x.data(), clean_.data(), g.data(), eps.data(), step_sizes.data(),
                            y.mutable_data());
    return y;
  }

  const Model& model_;
  const Images& images_;
  const PoisonRoles& roles_;
  const PoisonOptions& options_;
  int64_t number_;
  Tensor clean_;
  Labels labels_;
};

void check(const PoisonRoles& roles, const PoisonOptions& options, int64_t image_size) {
  check_poison(options, image_size);
  if (roles.poisoned.empty() || roles.targets.empty() || roles.clean.empty()) {
    fail("[poison] expected poisoned, target and clean images, got {}, {} and {}", roles.poisoned.size(),
         roles.targets.size(), roles.clean.size());
  }
}

}  // namespace

void check_poison(const PoisonOptions& options, int64_t image_size) {
  if (options.norm == Norm::l1) throw BadOption("norm", "l1 does not fit poisoning, which takes linf or l2");
  check_length("eps", options.eps, options.norm, image_size);
  if (options.eps == 0) throw BadOption("eps", "0 is no budget: expected a number above 0");
  check_length("step_size", options.step_size, options.norm, image_size);
  if (options.ascents < 1 || options.unrolled_steps < 1 || options.group < 1 || options.batch < 1 ||
      options.targets < 1) {
    fail("[poison] expected at least one ascent, step, poisoned, clean and target image");
  }
  if (options.inner.checkpoint > 0 && options.inner.method != MetaGradient::unrolled) {
    fail("--checkpoint is for --lane unrolled: {} keeps one step's graph", to_string(options.inner.method));
  }
}

std::vector<int64_t> PoisonRoles::trained_on() const {
  std::vector<int64_t> rows = poisoned;
  rows.insert(rows.end(), clean.begin(), clean.end());
  std::sort(rows.begin(), rows.end());
  return rows;
}

PoisonRoles draw_poison_roles(int64_t images, double share, uint64_t seed) {
  const std::vector<int64_t> order = Random(seed, Purpose::poison).permutation(images);
  const auto poisoned = static_cast<std::ptrdiff_t>(std::llround(share * static_cast<double>(images)));
  const auto targets = static_cast<std::ptrdiff_t>(images / 10);
  if (!(share > 0) || poisoned < 1 || poisoned + targets >= images) {
    fail("[poison] expected a share that leaves poisoned, target and clean images among {}, got {}", images,
         share);
  }
  PoisonRoles roles;
  roles.poisoned.assign(order.begin(), order.begin() + poisoned);
  roles.targets.assign(order.begin() + poisoned, order.begin() + poisoned + targets);
  roles.clean.assign(order.begin() + poisoned + targets, order.end());
  return roles;
}

std::vector<float> craft_poison(const Model& model, const Images& images, const PoisonRoles& roles,
                                std::span<const int32_t> labels, const PoisonOptions& options,
                                const Progress& progress) {
  check(roles, options, images.image_size());
  const auto count = static_cast<int64_t>(roles.poisoned.size()), pixels = images.image_size();
  if (static_cast<int64_t>(labels.size()) != count) {
    fail("[poison] expected {} labels, got {}", count, labels.size());
  }
  std::vector<float> delta(static_cast<size_t>(count * pixels));
  std::mutex mutex;
  int64_t done = 0;
  model.backend().for_each((count + options.group - 1) / options.group, [&](int64_t number) {
    const int64_t begin = number * options.group, size = std::min(options.group, count - begin);
    const auto at = static_cast<size_t>(begin), n = static_cast<size_t>(size);
    const Group group(model, images, roles, options, number, std::span(roles.poisoned).subspan(at, n),
                      labels.subspan(at, n));
    const std::vector<float> found = group.craft();
    std::copy(found.begin(), found.end(), delta.begin() + begin * pixels);
    const std::lock_guard lock(mutex);
    done += size;
    if (progress) progress(done);
  });
  return delta;
}

std::vector<int32_t> flipped_labels(const Images& images, const PoisonRoles& roles, int64_t classes,
                                    uint64_t seed) {
  std::vector<int32_t> labels = images.labels_of(roles.poisoned);
  if (classes < 2) return labels;
  const auto all = static_cast<uint64_t>(classes);
  for (size_t i = 0; i < labels.size(); ++i) {
    Random random(seed, Purpose::poison_label, static_cast<uint64_t>(roles.poisoned[i]));
    labels[i] = static_cast<int32_t>((static_cast<uint64_t>(labels[i]) + 1 + random.below(all - 1)) % all);
  }
  return labels;
}

std::vector<uint8_t> stored_poison(std::span<const uint8_t> clean, std::span<const float> delta) {
  std::vector<uint8_t> pixels(clean.begin(), clean.end());
  for (size_t i = 0; i < pixels.size(); ++i) {
    constexpr float kRounding = 1e-3f;  // of 255 delta: whole levels stay whole
    const auto levels = static_cast<int>(std::trunc(255.0f * delta[i] + std::copysign(kRounding, delta[i])));
    pixels[i] = static_cast<uint8_t>(std::clamp(pixels[i] + levels, 0, 255));
  }
  return pixels;
}

std::vector<float> random_poison(const Images& images, const PoisonRoles& roles,
                                 const PoisonOptions& options) {
  check(roles, options, images.image_size());
  const auto pixels = static_cast<size_t>(images.image_size());
  std::vector<float> delta;
  for (const int64_t row : roles.poisoned) {
    Random random(options.seed, Purpose::poison_noise, static_cast<uint64_t>(row));
    const std::vector<float> x = images.pixels(std::vector<int64_t>{row}).to_host();
    std::vector<float> noise(pixels);
    double squares = 0;
    for (float& value : noise) {
      value = options.norm == Norm::linf ? (random.below(2) == 0 ? -1.0f : 1.0f) : random.normal();
      squares += static_cast<double>(value) * static_cast<double>(value);
    }
    const float scale =
        options.norm == Norm::linf ? options.eps : options.eps / static_cast<float>(std::sqrt(squares));
    for (size_t p = 0; p < pixels; ++p) {
      delta.push_back(std::clamp(x[p] + scale * noise[p], 0.0f, 1.0f) - x[p]);
    }
  }
  return delta;
}

}  // namespace caltrop
