// Names, defaults and bounds of the attacks.

#include <array>
#include <cmath>

#include "attacks/attack.h"
#include "engine/error.h"

namespace caltrop {
namespace {

constexpr std::array<const char*, 4> kKinds = {"fgsm", "bim", "pgd", "mim"};
constexpr std::array<const char*, 3> kNorms = {"linf", "l2", "l1"};
constexpr int64_t kMaxSteps = 1'000'000;
constexpr int64_t kMaxTries = 1 << 15;  // the room for them in a stream of random numbers

// The longest distance between two images of the box.
double diameter(Norm norm, double span, int64_t image_size) {
  switch (norm) {
    case Norm::linf:
      return span;
    case Norm::l2:
      return span * std::sqrt(static_cast<double>(image_size));
    case Norm::l1:
      return span * static_cast<double>(image_size);
  }
  return span;
}

void check_length(const char* flag, float value, const AttackOptions& options, int64_t image_size) {
  if (!std::isfinite(value)) fail("{} {} is not a size: expected a finite number of at least 0", flag, value);
  if (value < 0.0f) fail("{} {} is negative: expected a number of at least 0", flag, value);
  const double span = static_cast<double>(options.high) - options.low;
  const double widest = diameter(options.norm, span, image_size);
  if (static_cast<double>(value) <= 2.0 * widest) return;
  fail(
      "{} {} is absurd: two images are never further apart than {:.6g} in {}, and pixels lie in [{:g},{:g}]; "
      "for a size meant for 8-bit pixels divide by 255",
      flag, value, widest, to_string(options.norm), options.low, options.high);
}

}  // namespace

AttackKind parse_attack(std::string_view name) {
  for (size_t k = 0; k < kKinds.size(); ++k) {
    if (name == kKinds[k]) return static_cast<AttackKind>(k);
  }
  fail("unknown attack '{}': expected fgsm, bim, pgd or mim", name);
}
std::string to_string(AttackKind kind) {
  return kKinds[static_cast<size_t>(kind)];
}

Norm parse_norm(std::string_view name) {
  for (size_t k = 0; k < kNorms.size(); ++k) {
    if (name == kNorms[k]) return static_cast<Norm>(k);
  }
  fail("unknown norm '{}': expected linf, l2 or l1", name);
}
std::string to_string(Norm norm) {
  return kNorms[static_cast<size_t>(norm)];
}

AttackOptions attack_defaults(AttackKind kind) {
  AttackOptions options;
  options.kind = kind;
  options.steps = kind == AttackKind::fgsm ? 1 : 10;
  options.random_start = kind == AttackKind::pgd;
  return options;
}

float default_eps(Norm norm) {
  switch (norm) {
    case Norm::linf:
      return 0.3f;
    case Norm::l2:
      return 2.0f;
    case Norm::l1:
      return 10.0f;
  }
  return 0.0f;
}

float step_size_of(const AttackOptions& options, float eps) {
  if (options.step_size > 0.0f) return options.step_size;
  if (options.kind == AttackKind::fgsm) return eps;
  if (options.steps <= 10) return eps / 4.0f;
  return static_cast<float>(4.0 / 3.0 * static_cast<double>(eps) / static_cast<double>(options.steps));
}

void check_attack(const AttackOptions& options, std::span<const float> sizes, int64_t image_size) {
  const std::string kind = to_string(options.kind);
  if (!(options.low < options.high))
    fail("[attack] expected a box low < high, got [{},{}]", options.low, options.high);
  if (options.norm == Norm::l1 && options.kind != AttackKind::fgsm) {
    fail("--norm l1 is for fgsm alone: {} takes linf or l2", kind);
  }
  if (options.steps < 1 || options.steps > kMaxSteps) {
    fail("--steps {} is out of range: expected 1 to {}", options.steps, kMaxSteps);
  }
  if (options.kind == AttackKind::fgsm && options.steps != 1) {
    fail("--steps {} does not fit fgsm, which takes one step; bim repeats it", options.steps);
  }
  if (sizes.empty()) fail("[attack] expected at least one size");
  for (const float eps : sizes) check_length("--eps", eps, options, image_size);
  check_length("--step-size", options.step_size, options, image_size);
  if (options.random_start && options.kind == AttackKind::bim) {
    fail("--random-start does not fit bim, which begins at the image; pgd is bim with a random start");
  }
  if (options.random_start && options.norm == Norm::l1) fail("--random-start needs --norm linf or l2");
  if (options.restarts < 1 || options.first_try < 0 || options.restarts > kMaxTries - options.first_try) {
    fail("--restarts {} is out of range: expected 1 to {}", options.restarts, kMaxTries - options.first_try);
  }
  if (options.restarts > 1 && !options.random_start) {
    fail("--restarts {} needs a random start: without one each try gives the same images", options.restarts);
  }
  if (!std::isfinite(options.decay) || options.decay < 0.0f || options.decay > 10.0f) {
    fail("--decay {} is out of range: expected 0 to 10", options.decay);
  }
}

float ball_tolerance(Norm norm, int64_t image_size) {
  return static_cast<float>(diameter(norm, 0x1p-24, image_size));
}

}  // namespace caltrop
