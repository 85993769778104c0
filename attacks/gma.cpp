#include "attacks/gma.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "engine/error.h"
#include "engine/named.h"

namespace caltrop {
namespace {

constexpr std::array<double, 5> kValues = {0.1, 0.5, 1.0, 2.0, 3.0};
constexpr int kExponents = 6;
constexpr std::array kBases = {"e", "10"};
constexpr std::array kGrids = {"full", "literal"};

}  // namespace

GmaBase parse_gma_base(std::string_view name) {
  return parse_named<GmaBase>("--gma-base", name, kBases);
}
GmaGrid parse_gma_grid(std::string_view name) {
  return parse_named<GmaGrid>("--gma-grid", name, kGrids);
}
std::string to_string(GmaBase base) {
  return kBases[static_cast<size_t>(base)];
}
std::string to_string(GmaGrid grid) {
  return kGrids[static_cast<size_t>(grid)];
}

std::string GmaSize::name() const {
  return fmt::format("{:g}*{}^-{}", v, to_string(base), i);
}

std::vector<GmaSize> gma_sizes(const GmaSizeOptions& options) {
  if (options.scale != 1 && options.scale != 255)
    fail("--scale {} is unknown: expected 1 or 255", options.scale);
  std::vector<GmaSize> sizes;
  for (int i = 1; i <= kExponents; ++i) {
    for (size_t n = 0; n < kValues.size(); ++n) {
      if (options.grid == GmaGrid::literal && i == kExponents && n > 0) break;  // "else if i == 6 exit loop"
      const double shrink = options.base == GmaBase::e ? std::exp(-i) : std::pow(10.0, -i);
      GmaSize size{options.base, static_cast<int>(n), i, kValues[n], 0.0f};
      size.eps = static_cast<float>(size.v * shrink / options.scale);
      sizes.push_back(size);
    }
  }
  return sizes;
}

std::vector<float> eps_of(std::span<const GmaSize> sizes) {
  std::vector<float> eps;
  for (const GmaSize& size : sizes) eps.push_back(size.eps);
  return eps;
}

AttackOptions gma_attack(AttackKind kind, Norm norm) {
  AttackOptions options = attack_defaults(kind);
  options.norm = norm;
  options.random_start = false;
  return options;
}

std::vector<BigAttack> big_attacks(std::string_view dataset) {
  const std::vector<float> sizes = dataset == "fashion-mnist" ? std::vector<float>{1.0f, 1.7f, 2.0f, 2.4f}
                                                              : std::vector<float>{2.1f, 2.54f, 3.0f};
  std::vector<BigAttack> attacks;
  for (const AttackKind kind : {AttackKind::pgd, AttackKind::fgsm, AttackKind::cw}) {
    attacks.push_back({attack_defaults(kind), sizes});
    attacks.back().options.norm = Norm::l2;
  }
  return attacks;
}

GmaVerdict gma_verdict(double accuracy) {
  if (accuracy < kGmaFooled) return GmaVerdict::fooled;
  return accuracy > kGmaRobust ? GmaVerdict::robust : GmaVerdict::neither;
}
std::string to_string(GmaVerdict verdict) {
  constexpr std::array<const char*, 3> names = {"fooled", "neither", "robust"};
  return names[static_cast<size_t>(verdict)];
}

double GmaSizeResult::accuracy() const {
  double lowest = 1.0;
  for (const AttackSummary& attempt : tries) lowest = std::min(lowest, attempt.accuracy());
  return lowest;
}

double expected_passes(const AttackOptions& options, size_t sizes, int64_t tries, int64_t classes) {
  return most_passes(options, classes) *
         (is_minimum_norm(options.kind) ? 1.0 : static_cast<double>(sizes * tries));
}

std::optional<GmaAnalysis::Fooling> GmaAnalysis::fooling() const {
  std::optional<Fooling> result;
  for (const GmaSizeResult& size : sizes) {
    if (!size.flag()) continue;
    const auto eps = static_cast<double>(size.size.eps);
    result = {result ? result->sizes + 1 : 1, result ? std::min(result->least, eps) : eps};
  }
  return result;
}

GmaTally::GmaTally(std::span<const GmaSize> sizes, Norm norm) {
  result_.norm = norm;
  for (const GmaSize& size : sizes) result_.sizes.push_back({size, {}});
}

void GmaTally::add(int64_t image, int64_t size, int64_t attempt, const AttackedImage& clean,
                   const AttackRow& row) {
  if (image < 0 || size < 0 || static_cast<size_t>(size) >= result_.sizes.size() || attempt < 0) {
    fail("[gma] expected an image, one of {} sizes and a try, got {}, {} and {}", result_.sizes.size(), image,
         size, attempt);
  }
  const auto at = static_cast<size_t>(image), number = static_cast<size_t>(attempt);
  GmaSizeResult& result = result_.sizes[static_cast<size_t>(size)];
  if (result.tries.size() <= number) result.tries.resize(number + 1, AttackSummary{.size = result.size.eps});
  result.tries[number].add(clean, row);

  if (fates_.size() <= at) fates_.resize(at + 1, Fate::unseen);
  if (result.robust.size() <= at) result.robust.resize(at + 1);
  const bool holds = row.prediction == clean.label || row.alarm,
             right = clean.clean_prediction == clean.label && (holds || !row.within);
  result.robust[at] = right && (attempt == 0 || result.robust[at]);

  Fate& fate = fates_[at];
  if (fate == Fate::unseen) fate = clean.clean_prediction == clean.label ? Fate::survived : Fate::wrong;
  if (fate == Fate::survived && !holds) fate = Fate::fell;
}

std::vector<int64_t> GmaTally::unfooled() const {
  std::vector<int64_t> open;
  for (size_t s = 0; s < result_.sizes.size(); ++s) {
    if (!result_.sizes[s].flag()) open.push_back(static_cast<int64_t>(s));
  }
  return open;
}

GmaAnalysis GmaTally::analysis() const {
  GmaAnalysis done = result_;
  const auto count = [&](Fate fate) {
    return std::count(fates_.begin(), fates_.end(), fate);
  };
  done.images = static_cast<int64_t>(fates_.size()) - count(Fate::unseen);
  const auto images = static_cast<double>(std::max<int64_t>(1, done.images));
  done.baseline = static_cast<double>(count(Fate::survived) + count(Fate::fell)) / images;
  done.worst_accuracy = static_cast<double>(count(Fate::survived)) / images;
  for (const GmaSizeResult& size : done.sizes) done.pooled_accuracy += size.accuracy();
  done.pooled_accuracy /= static_cast<double>(std::max<size_t>(1, done.sizes.size()));
  return done;
}

namespace {

GmaAnalysis analyze_nearest(const Classifier& classifier, const Images& images,
                            std::span<const GmaSize> sizes, const AttackOptions& options, AttackJob job) {
  GmaTally tally(sizes, options.norm);
  // What is left of a row at a size: the image as it is where the perturbation does not fit.
  const auto at_size = [&](const AttackedImage& image, const AttackRow& found, size_t s) {
    const float length = options.norm == Norm::linf ? found.linf : found.l2;
    if (length <= sizes[s].eps) return found;
    const bool alarm = job.answers && image.clean_prediction == job.alarm;
    return AttackRow{.prediction = image.clean_prediction,
                     .success = image.clean_prediction != image.label && !alarm,
                     .alarm = alarm,
                     .confidence = image.clean_confidence};
  };
  job.sink = [&](int64_t first, const AttackResult& chunk) {
    for (size_t i = 0; i < chunk.images.size(); ++i) {
      for (size_t s = 0; s < sizes.size(); ++s)
        tally.add(first + static_cast<int64_t>(i), static_cast<int64_t>(s), 0, chunk.images[i],
                  at_size(chunk.images[i], chunk.rows[i], s));
    }
  };
  std::vector<AttackSummary> seen;  // at each size, of the images so far
  for (const GmaSize& size : sizes) seen.push_back({.size = size.eps});
  if (const std::optional<double> until = std::exchange(job.until, {})) {
    const auto all = static_cast<int64_t>(job.rows.size());
    job.last = [&, until, all](const AttackedImage& image, std::span<const AttackRow> found) {
      for (size_t s = 0; s < sizes.size(); ++s) seen[s].add(image, at_size(image, found[0], s));
      return std::ranges::all_of(
          seen, [&](const AttackSummary& summary) { return at_least(summary, *until, all).has_value(); });
    };
  }
  const float unbounded = std::numeric_limits<float>::infinity();
  const AttackReport report = attack_images(classifier, images, std::span(&unbounded, 1), options, job);
  GmaAnalysis done = tally.analysis();
  done.forward_passes = report.forward_passes;
  done.backward_passes = report.backward_passes;
  return done;
}

}  // namespace

GmaAnalysis gma_analyze(const Classifier& classifier, const Images& images, std::span<const GmaSize> sizes,
                        const AttackOptions& options, int64_t tries, const AttackJob& job) {
  if (tries < 1 || tries > 3) fail("--tries {} is out of range: Algorithm 2 attacks 1 to 3 times", tries);
  if (is_minimum_norm(options.kind)) return analyze_nearest(classifier, images, sizes, options, job);
  GmaTally tally(sizes, options.norm);
  int64_t forward = 0, backward = 0;
  for (int64_t attempt = 0; attempt < tries; ++attempt) {
    const std::vector<int64_t> open =
        attempt == 0 ? row_range(0, static_cast<int64_t>(sizes.size())) : tally.unfooled();
    if (open.empty()) break;
    std::vector<float> eps(open.size());
    std::transform(open.begin(), open.end(), eps.begin(),
                   [&](int64_t s) { return sizes[static_cast<size_t>(s)].eps; });

    AttackOptions now = options;
    now.first_try = options.first_try + attempt * options.restarts;
    if (attempt > 0) {
      now.random_start = true;
      if (now.kind == AttackKind::bim) now.kind = AttackKind::pgd;
    }
    AttackJob part = job;
    part.sink = [&](int64_t first, const AttackResult& chunk) {
      for (size_t i = 0; i < chunk.images.size(); ++i) {
        const auto image = static_cast<int64_t>(i);
        for (int64_t s = 0; s < chunk.sizes; ++s) {
          tally.add(first + image, open[static_cast<size_t>(s)], attempt, chunk.images[i],
                    chunk.row(image, s));
        }
      }
    };
    if (job.progress) {
      part.progress = [&](int64_t done) {
        job.progress(attempt * static_cast<int64_t>(job.rows.size()) + done);
      };
    }
    const AttackReport report = attack_images(classifier, images, eps, now, part);
    forward += report.forward_passes;
    backward += report.backward_passes;
  }
  GmaAnalysis done = tally.analysis();
  done.forward_passes = forward;
  done.backward_passes = backward;
  return done;
}

GmaAnalysis gma_analyze(const Model& model, const Images& images, std::span<const GmaSize> sizes,
                        const AttackOptions& options, int64_t tries, const AttackJob& job) {
  return gma_analyze(Network(model), images, sizes, options, tries, job);
}

}  // namespace caltrop
