// Names, defaults and bounds of the attacks' options.

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "attacks/attack.h"
#include "attacks/attack_info.h"
#include "attacks/option_fields.h"
#include "engine/error.h"
#include "engine/named.h"

namespace caltrop {
namespace {

constexpr std::array<const char*, 3> kVersions = {"standard", "plus", "rand"};
constexpr std::array<const char*, 3> kSchedules = {"auto", "paper", "rescaled"};
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

template <typename... Args>
[[noreturn]] void refuse(const char* option, fmt::format_string<Args...> problem, Args&&... args) {
  throw BadOption(option, fmt::format(problem, std::forward<Args>(args)...));
}

}  // namespace

void check_length(const char* option, float value, Norm norm, int64_t image_size, float low, float high) {
  if (!std::isfinite(value))
    refuse(option, "{} is not a size: expected a finite number of at least 0", value);
  if (value < 0.0f) refuse(option, "{} is negative: expected a number of at least 0", value);
  const double span = static_cast<double>(high) - low;
  const double widest = diameter(norm, span, image_size);
  if (static_cast<double>(value) <= 2.0 * widest) return;
  refuse(option,
         "{} is absurd: two images are never further apart than {:.6g} in {}, and pixels lie in [{:g},{:g}]; "
         "for a size meant for 8-bit pixels divide by 255",
         value, widest, to_string(norm), low, high);
}

AttackKind parse_attack(std::string_view name) {
  for (const AttackInfo& info : all_attacks()) {
    if (name == info.name) return info.kind;
  }
  fail("unknown attack '{}': expected {}", name, fmt::join(attack_names(), ", "));
}
std::string to_string(AttackKind kind) {
  return info_of(kind).name;
}
std::vector<std::string> attack_names() {
  std::vector<std::string> names;
  for (const AttackInfo& info : all_attacks()) names.emplace_back(info.name);
  return names;
}

bool is_ascent(AttackKind kind) {
  return info_of(kind).ascent;
}
bool is_minimum_norm(AttackKind kind) {
  return info_of(kind).goal == Goal::nearest;
}

AutoAttackVersion parse_version(std::string_view name) {
  return parse_named<AutoAttackVersion>("version", name, kVersions);
}
std::string to_string(AutoAttackVersion version) {
  return kVersions[static_cast<size_t>(version)];
}

SquareSchedule parse_schedule(std::string_view name) {
  return parse_named<SquareSchedule>("schedule", name, kSchedules);
}
std::string to_string(SquareSchedule schedule) {
  return kSchedules[static_cast<size_t>(schedule)];
}

Norm parse_norm(std::string_view name) {
  return parse_named<Norm>("norm", name, kNorms);
}
std::string to_string(Norm norm) {
  return kNorms[static_cast<size_t>(norm)];
}

std::string norm_title(Norm norm) {
  constexpr std::array<const char*, 3> kTitles = {"L-inf", "L2", "L1"};
  return kTitles[static_cast<size_t>(norm)];
}

AttackOptions attack_defaults(AttackKind kind) {
  const AttackInfo& info = info_of(kind);
  AttackOptions options;
  options.kind = kind;
  options.norm = info.norms.front();
  options.steps = info.steps;
  options.random_start = info.random_start;
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

bool draws(const AttackOptions& options) {
  const AttackInfo& info = info_of(options.kind);
  if (!info.stages) return info.draws || options.random_start || options.restarts > 1;
  const std::vector<AttackOptions> stages = info.stages(options);
  return std::any_of(stages.begin(), stages.end(), [](const AttackOptions& stage) { return draws(stage); });
}

double most_passes(const AttackOptions& options, int64_t classes) {
  const AttackInfo& info = info_of(options.kind);
  double passes = 0;
  if (info.stages) {
    for (const AttackOptions& stage : info.stages(options)) passes += most_passes(stage, classes);
    return passes;
  }
  passes = static_cast<double>(options.steps * options.restarts);
  if (options.kind == AttackKind::cw) passes *= static_cast<double>(options.cw.rounds);
  if (info.by_class) passes *= static_cast<double>(std::min(options.target_classes, classes - 1));
  // A pass backward is two forward; DeepFool and FAB take a gradient for each class, FAB looks at the result too.
  const auto in_passes = [&](int64_t forward, int64_t backward) {
    return passes * static_cast<double>(forward + 2 * backward) / 3;
  };
  switch (options.kind) {
    case AttackKind::deepfool:
      return in_passes(1, std::min(options.deepfool.candidates, classes) - 1);
    case AttackKind::fab:
      return in_passes(2, classes);
    case AttackKind::fab_t:
      return in_passes(2, 1);
    default:
      return in_passes(1, info.gradients ? 1 : 0);
  }
}

float step_size_of(const AttackOptions& options, float eps) {
  if (options.step_size > 0.0f) return options.step_size;
  if (options.step_share > 0.0f) return eps * options.step_share;
  if (options.kind == AttackKind::fgsm) return eps;
  if (options.steps <= 16) return eps / 4.0f;
  return static_cast<float>(4.0 * static_cast<double>(eps) / static_cast<double>(options.steps));
}

namespace {

struct Written {
  std::string operator()(bool value) const { return value ? "yes" : "no"; }
  std::string operator()(int64_t value) const { return fmt::to_string(value); }
  std::string operator()(uint64_t value) const { return fmt::to_string(value); }
  std::string operator()(float value) const {
    return fmt::to_string(value);
  }  // the shortest that is read back
  std::string operator()(CrossEntropyGrad value) const {
    return value == CrossEntropyGrad::stable ? "stable" : "torch";
  }
  template <typename Enum>
  std::string operator()(Enum value) const {
    return to_string(value);
  }
};

// What only some attacks can do.
void check_kind(const AttackOptions& options) {
  const AttackInfo& info = info_of(options.kind);
  if (!info.knows(options.norm)) {
    std::vector<std::string> others, own;
    for (const AttackInfo& other : all_attacks()) {
      if (other.knows(options.norm)) others.emplace_back(other.name);
    }
    for (const Norm norm : info.norms) own.push_back(to_string(norm));
    const std::string takes = fmt::format("{}", fmt::join(own, " or "));
    if (others.size() == 1)
      refuse("norm", "{} is for {} alone: {} takes {}", to_string(options.norm), others[0], info.name, takes);
    refuse("norm", "{} does not fit {}, which takes {}", to_string(options.norm), info.name, takes);
  }
  if (info.steps == 1 && options.steps != 1)
    refuse("steps", "{} does not fit {}, which takes one step; bim repeats it", options.steps, info.name);
  if ((options.step_size != 0.0f || options.step_share != 0.0f) && !info.reads_option("step_size"))
    refuse("step_size", "does not fit {}, which chooses its own steps", info.name);
  if (options.targeted && info.no_target)
    refuse("targeted", "does not fit {}, {}", info.name, info.no_target);
  if (options.random_start && info.no_random_start)
    refuse("random_start", "does not fit {}, {}", info.name, info.no_random_start);
  if (options.random_start && options.norm == Norm::l1)
    refuse("random_start", "must be off under the norm l1: random points are drawn under linf and l2");
  if (options.restarts == 1) return;
  if (info.ascent && !options.random_start) {
    refuse("restarts", "{} needs a random start: without one each try gives the same images",
           options.restarts);
  }
  if (!info.reads_option("restarts"))
    refuse("restarts", "{} does not fit {}, which gives the same images each time", options.restarts,
           info.name);
}

void check_eps(const AttackOptions& options, std::span<const float> epsilons, int64_t image_size) {
  if (epsilons.empty()) fail("[attack] expected at least one size");
  for (const float eps : epsilons) {
    const bool unbounded = std::isinf(eps) && eps > 0.0f && is_minimum_norm(options.kind);
    if (unbounded && options.restarts > 1)
      refuse("restarts", "{} needs a size to begin within", options.restarts);
    if (!unbounded) check_length("eps", eps, options.norm, image_size, options.low, options.high);
  }
}

// The numbers that an option may have.
struct Range {
  const char* option;
  double low, high;
};
constexpr Range kRanges[] = {{"step_share", 0, 1000},
                             {"decay", 0, 10},
                             {"target_classes", 1, 1000},
                             {"cw.rounds", 1, 30},
                             {"cw.first_constant", 0x1p-60, 1e9},
                             {"cw.learning_rate", 0x1p-60, 10},
                             {"cw.confidence", 0, 1e6},
                             {"deepfool.candidates", 2, 1e6},
                             {"deepfool.overshoot", 0, 10},
                             {"square.share", 0x1p-60, 1}};

void check_range(std::string_view option, double value) {
  for (const Range& range : kRanges) {
    if (option != range.option || (value >= range.low && value <= range.high)) continue;  // no NaN is
    refuse(range.option, "{:g} is out of range: expected {:g} to {:g}", value, range.low, range.high);
  }
}

}  // namespace

std::string to_text(const AttackOptions& options) {
  std::string text;
  for_each_option(options, [&](const char* name, const auto& value) {
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", name, Written()(value));
  });
  return text;
}

void check_attack(const AttackOptions& options, std::span<const float> epsilons, int64_t image_size) {
  check_attack(options);
  check_eps(options, epsilons, image_size);
  check_length("step_size", options.step_size, options.norm, image_size, options.low, options.high);
}

void check_attack(const AttackOptions& options) {
  if (!(options.low < options.high))
    fail("[attack] expected a box low < high, got [{},{}]", options.low, options.high);
  if (options.steps < 1 || options.steps > kMaxSteps)
    refuse("steps", "{} is out of range: expected 1 to {}", options.steps, kMaxSteps);
  for_each_option(options, [](const char* name, const auto& value) {
    using Value = std::decay_t<decltype(value)>;
    if constexpr (std::is_arithmetic_v<Value>) check_range(name, static_cast<double>(value));
  });
  const int64_t tries = kMaxTries / std::max<int64_t>(1, options.target_classes);
  if (options.restarts < 1 || options.first_try < 0 || options.restarts > tries - options.first_try) {
    refuse("restarts", "{} is out of range: expected 1 to {}", options.restarts, tries - options.first_try);
  }
  check_kind(options);
}

float ball_tolerance(Norm norm, int64_t image_size) {
  return static_cast<float>(diameter(norm, 0x1p-24, image_size));
}

}  // namespace caltrop
