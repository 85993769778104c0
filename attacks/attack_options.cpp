// Names, defaults and bounds of the attacks.

#include <fmt/ranges.h>

#include <array>
#include <cmath>
#include <limits>

#include "attacks/attack.h"
#include "engine/error.h"
#include "engine/named.h"

namespace caltrop {
namespace {

constexpr std::array<const char*, 13> kKinds = {"fgsm",     "bim",     "pgd",       "mim",    "cw",
                                                "deepfool", "apgd-ce", "apgd-dlr",  "apgd-t", "fab",
                                                "fab-t",    "square",  "autoattack"};
constexpr std::array<const char*, 3> kVersions = {"standard", "plus", "rand"};
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

}  // namespace

void check_length(const char* flag, float value, Norm norm, int64_t image_size, float low, float high) {
  if (!std::isfinite(value)) fail("{} {} is not a size: expected a finite number of at least 0", flag, value);
  if (value < 0.0f) fail("{} {} is negative: expected a number of at least 0", flag, value);
  const double span = static_cast<double>(high) - low;
  const double widest = diameter(norm, span, image_size);
  if (static_cast<double>(value) <= 2.0 * widest) return;
  fail(
      "{} {} is absurd: two images are never further apart than {:.6g} in {}, and pixels lie in [{:g},{:g}]; "
      "for a size meant for 8-bit pixels divide by 255",
      flag, value, widest, to_string(norm), low, high);
}

AttackKind parse_attack(std::string_view name) {
  for (size_t k = 0; k < kKinds.size(); ++k) {
    if (name == kKinds[k]) return static_cast<AttackKind>(k);
  }
  fail("unknown attack '{}': expected {}", name, fmt::join(kKinds, ", "));
}
std::string to_string(AttackKind kind) {
  return kKinds[static_cast<size_t>(kind)];
}
std::vector<std::string> attack_names() {
  return {kKinds.begin(), kKinds.end()};
}

bool is_ascent(AttackKind kind) {
  return kind <= AttackKind::mim;
}
bool is_minimum_norm(AttackKind kind) {
  return kind == AttackKind::cw || kind == AttackKind::deepfool || kind == AttackKind::fab ||
         kind == AttackKind::fab_t;
}
bool is_white_box(AttackKind kind) {
  return kind != AttackKind::square;
}

AutoAttackVersion parse_version(std::string_view name) {
  return parse_named<AutoAttackVersion>("version", name, kVersions);
}
std::string to_string(AutoAttackVersion version) {
  return kVersions[static_cast<size_t>(version)];
}

Norm parse_norm(std::string_view name) {
  return parse_named<Norm>("norm", name, kNorms);
}
std::string to_string(Norm norm) {
  return kNorms[static_cast<size_t>(norm)];
}

AttackOptions attack_defaults(AttackKind kind) {
  AttackOptions options;
  options.kind = kind;
  options.random_start = kind == AttackKind::pgd;
  switch (kind) {
    case AttackKind::fgsm:
      options.steps = 1;
      break;
    case AttackKind::bim:
    case AttackKind::pgd:
    case AttackKind::mim:
      options.steps = 10;
      break;
    case AttackKind::cw:
      options.norm = Norm::l2;
      options.steps = 1000;
      break;
    case AttackKind::deepfool:
      options.norm = Norm::l2;
      options.steps = 50;
      break;
    case AttackKind::square:
      options.steps = 5000;
      break;
    default:
      options.steps = 100;
  }
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

float default_eps(AttackKind kind, Norm norm) {
  return is_minimum_norm(kind) ? std::numeric_limits<float>::infinity() : default_eps(norm);
}

float step_size_of(const AttackOptions& options, float eps) {
  if (options.step_size > 0.0f) return options.step_size;
  if (options.kind == AttackKind::fgsm) return eps;
  if (options.steps <= 10) return eps / 4.0f;
  return static_cast<float>(4.0 / 3.0 * static_cast<double>(eps) / static_cast<double>(options.steps));
}

namespace {

// What only some attacks can do.
void check_kind(const AttackOptions& options) {
  using Kind = AttackKind;
  const Kind kind = options.kind;
  const std::string name = to_string(kind);
  if (options.norm == Norm::l1 && kind != Kind::fgsm) {
    fail("--norm l1 is for fgsm alone: {} takes {}", name, kind == Kind::cw ? "l2" : "linf or l2");
  }
  if (kind == Kind::cw && options.norm != Norm::l2)
    fail("--norm {} does not fit cw, which takes l2", to_string(options.norm));
  if (kind == Kind::fgsm && options.steps != 1) {
    fail("--steps {} does not fit fgsm, which takes one step; bim repeats it", options.steps);
  }
  if (options.step_size != 0.0f && !is_ascent(kind)) {
    fail("--step-size does not fit {}, which chooses its own steps", name);
  }
  if (options.targeted && (kind == Kind::deepfool || kind == Kind::fab)) {
    fail("--target does not fit {}, which goes to the nearest class, whichever it is; cw takes a target",
         name);
  }
  if (options.targeted && (kind == Kind::apgd_t || kind == Kind::fab_t)) {
    fail(
        "--target does not fit {}, which tries the likeliest classes in turn; for one class take apgd-ce or "
        "cw",
        name);
  }
  if (options.targeted && kind == Kind::autoattack) {
    fail(
        "--target does not fit autoattack, which succeeds with any class; for one take apgd-ce, cw or "
        "square");
  }
  if (options.random_start && kind == Kind::bim) {
    fail("--random-start does not fit bim, which begins at the image; pgd is bim with a random start");
  }
  if (options.random_start && !is_ascent(kind))
    fail("--random-start does not fit {}, which chooses its own", name);
  if (options.random_start && options.norm == Norm::l1) fail("--random-start needs --norm linf or l2");
  if (options.restarts > 1 && is_ascent(kind) && !options.random_start) {
    fail("--restarts {} needs a random start: without one each try gives the same images", options.restarts);
  }
  if (options.restarts > 1 && (kind == Kind::cw || kind == Kind::deepfool || kind == Kind::autoattack)) {
    fail("--restarts {} does not fit {}, which gives the same images each time", options.restarts, name);
  }
}

void check_sizes(const AttackOptions& options, std::span<const float> sizes, int64_t image_size) {
  if (sizes.empty()) fail("[attack] expected at least one size");
  for (const float eps : sizes) {
    const bool unbounded = std::isinf(eps) && eps > 0.0f && is_minimum_norm(options.kind);
    if (unbounded && options.restarts > 1)
      fail("--restarts {} needs --eps to begin within", options.restarts);
    if (!unbounded) check_length("--eps", eps, options.norm, image_size, options.low, options.high);
  }
}

void check_range(const char* flag, double value, double low, double high) {
  if (value >= low && value <= high) return;  // false for NaN
  fail("{} {:g} is out of range: expected {:g} to {:g}", flag, value, low, high);
}

}  // namespace

void check_attack(const AttackOptions& options, std::span<const float> sizes, int64_t image_size) {
  check_attack(options);
  check_sizes(options, sizes, image_size);
  check_length("--step-size", options.step_size, options.norm, image_size, options.low, options.high);
}

void check_attack(const AttackOptions& options) {
  if (!(options.low < options.high))
    fail("[attack] expected a box low < high, got [{},{}]", options.low, options.high);
  if (options.steps < 1 || options.steps > kMaxSteps) {
    fail("--steps {} is out of range: expected 1 to {}", options.steps, kMaxSteps);
  }
  check_kind(options);
  const int64_t tries = kMaxTries / std::max<int64_t>(1, options.target_classes);
  if (options.restarts < 1 || options.first_try < 0 || options.restarts > tries - options.first_try) {
    fail("--restarts {} is out of range: expected 1 to {}", options.restarts, tries - options.first_try);
  }
  check_range("--decay", static_cast<double>(options.decay), 0, 10);
  check_range("--targets", static_cast<double>(options.target_classes), 1, 1000);
  check_range("--cw-rounds", static_cast<double>(options.cw.rounds), 1, 30);
  check_range("--cw-constant", static_cast<double>(options.cw.first_constant), 0x1p-60, 1e9);
  check_range("--cw-rate", static_cast<double>(options.cw.learning_rate), 0x1p-60, 10);
  check_range("--confidence", static_cast<double>(options.cw.confidence), 0, 1e6);
  check_range("--candidates", static_cast<double>(options.deepfool.candidates), 2, 1e6);
  check_range("--overshoot", static_cast<double>(options.deepfool.overshoot), 0, 10);
  check_range("--square-share", static_cast<double>(options.square.share), 0x1p-60, 1);
}

float ball_tolerance(Norm norm, int64_t image_size) {
  return static_cast<float>(diameter(norm, 0x1p-24, image_size));
}

}  // namespace caltrop
