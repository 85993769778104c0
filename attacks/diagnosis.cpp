#include "attacks/diagnosis.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "engine/autograd.h"
#include "engine/inference.h"
#include "engine/ops.h"
#include "engine/text.h"

namespace caltrop {
namespace {

constexpr int64_t kLooks = 64;
constexpr float kSumError = 1e-4f;

bool are_probabilities(const std::vector<float>& z, int64_t classes) {
  for (auto row = z.begin(); row != z.end(); row += classes) {
    float sum = 0;
    for (auto p = row; p != row + classes; ++p) {
      if (!(*p >= 0.0f && *p <= 1.0f)) return false;
      sum += *p;
    }
    if (!(std::fabs(sum - 1.0f) <= kSumError)) return false;
  }
  return !z.empty();
}

}  // namespace

Diagnosis diagnose(const Classifier& classifier, const Images& images) {
  Diagnosis found{.images = std::min(images.count(), kLooks)};
  const std::vector<int64_t> rows = row_range(0, found.images);
  const Tensor x = images.pixels(rows);
  const std::vector<int32_t> truth = images.labels_of(rows);
  const Labels labels(classifier.backend(), std::span<const int32_t>(truth));
  const auto loss = [&](const Tensor& z) {
    return std::vector<Tensor>{cross_entropy(z, labels)};
  };
  const Pass pass = classifier.differentiate(x, loss, {.images = rows, .step = kCleanStep});
  const std::vector<float> once = pass.logits.to_host();
  const NoGrad values_only;
  found.random = classifier.logits(x, {.images = rows, .step = kFinalStep}).to_host() != once;
  found.probabilities = are_probabilities(once, classifier.outputs());
  const std::vector<float> lengths = sum(abs(pass.gradients[0]), {1, 2, 3}).to_host();
  found.zero_gradients = std::count(lengths.begin(), lengths.end(), 0.0f);
  return found;
}

int64_t zero_gradients(const Classifier& classifier, const Images& images, int64_t count,
                       CrossEntropyGrad style) {
  std::atomic<int64_t> zero = 0;
  for_chunks(classifier.backend(), std::min(count, images.count()), classifier.chunk(),
             [&](int64_t begin, int64_t end) {
               const std::vector<int64_t> rows = row_range(begin, end);
               const std::vector<int32_t> truth = images.labels_of(rows);
               const Labels labels(classifier.backend(), std::span<const int32_t>(truth));
               const auto loss = [&](const Tensor& z) {
                 return std::vector<Tensor>{cross_entropy(z, labels, style)};
               };
               const Tensor g =
                   classifier.differentiate(images.pixels(rows), loss, {.images = rows, .step = kCleanStep})
                       .gradients[0];
               // Their signs: the absolute values of very small gradients could vanish in a sum.
               const std::vector<float> left = sum(abs(sign(g)), {1, 2, 3}).to_host();
               zero += std::count(left.begin(), left.end(), 0.0f);
             });
  return zero;
}

std::vector<std::string> doubts(const Diagnosis& diagnosis, bool averaged) {
  std::vector<std::string> sentences;
  if (diagnosis.random && !averaged) {
    sentences.push_back(
        "the network answers the same image differently each time: average its gradients with --eot, or "
        "what survives may be luck");
  }
  if (diagnosis.probabilities) {
    sentences.push_back(
        "the network gives probabilities, not logits: their gradients vanish where it is sure, and attacks "
        "look weaker than they are");
  }
  if (diagnosis.zero_gradients > 0) {
    sentences.push_back(
        fmt::format("{} of the first {} images have no gradient at all: gradients are masked, so trust "
                    "square, not these attacks",
                    diagnosis.zero_gradients, diagnosis.images));
  }
  return sentences;
}

std::string flattering(const AttackOptions& options) {
  const bool steps = options.steps == attack_defaults(options.kind).steps && options.steps > 1;
  const bool rule = options.step_size == 0 && options.step_share == 0 && options.restarts == 1;
  if (!is_ascent(options.kind) || options.targeted || !steps || !rule) return "";
  // The table is of PGD under L-inf: of the others it says what to expect, not what is.
  const bool measured = options.kind == AttackKind::pgd && options.norm == Norm::linf;
  const char* who = measured ? "," : ": pgd of as many";
  const std::string flatters =
      measured ? "its number flatters the network"
               : fmt::format("{} under {} was not measured, and its number may flatter the network",
                             to_string(options.kind), to_string(options.norm));
  return fmt::format(
      "{} of {} steps, the default{} left up to 9 points of robust accuracy to apgd-ce under linf on five "
      "networks (docs/attacks.md): {}; add apgd-ce or autoattack, or --steps 100",
      to_string(options.kind), options.steps, who, flatters);
}

std::vector<std::string> anomalies(const AttackSummary& s, const std::map<std::string, int64_t>& fooled_by) {
  std::vector<std::string> sentences;
  // Croce & Hein's threshold: a fifth of a percent more than the white-box attacks.
  constexpr double kBlackBoxShare = 0.002;
  const auto square = fooled_by.find("square");
  if (square != fooled_by.end() &&
      static_cast<double>(square->second) > kBlackBoxShare * static_cast<double>(s.images)) {
    sentences.push_back(fmt::format(
        "square, which sees no gradient, fooled {} images that all attacks by gradient left: gradients are "
        "masked, and an adaptive attack would find more",
        grouped(square->second)));
  }
  if (s.zero_gradients > 0) {
    sentences.push_back(fmt::format(
        "{} gradients were zero everywhere: those images cannot be attacked this way, and what survives may "
        "be masked rather than robust",
        grouped(s.zero_gradients)));
  }
  if (s.nan_gradients > 0)
    sentences.push_back(fmt::format("{} gradients held a NaN", grouped(s.nan_gradients)));
  if (s.ball_violations > 0)
    sentences.push_back(fmt::format("{} images left their bound", grouped(s.ball_violations)));
  if (s.box_violations > 0)
    sentences.push_back(fmt::format("{} pixels left the box", grouped(s.box_violations)));
  return sentences;
}

}  // namespace caltrop
