#include "data/verification.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "engine/error.h"
#include "engine/inference.h"

namespace caltrop {
namespace {

constexpr double kRounding = 1e-6;  // of x / 255 + delta in fp32

float clean_pixel(const AttackedSet& set, int64_t row, int64_t p) {
  return static_cast<float>(set.x[static_cast<size_t>(row / set.sizes() * set.image_size() + p)]) / 255.0f;
}

float attacked_pixel(const AttackedSet& set, int64_t row, int64_t p, bool rounded) {
  const float delta = set.delta[static_cast<size_t>(row * set.image_size() + p)];
  const float pixel = std::clamp(clean_pixel(set, row, p) + delta, 0.0f, 1.0f);
  return rounded ? std::nearbyint(pixel * 255.0f) / 255.0f : pixel;
}

double length_of(std::span<const float> delta, Norm norm) {
  double largest = 0, sum = 0, squares = 0;
  for (const float value : delta) {
    const double d = std::fabs(static_cast<double>(value));
    largest = std::max(largest, d);
    sum += d;
    squares += d * d;
  }
  return norm == Norm::linf ? largest : norm == Norm::l2 ? std::sqrt(squares) : sum;
}

// Predictions of one image on two devices may differ where two classes are as good as equal.
bool same_prediction(const std::vector<float>& logits, size_t row, int32_t claimed, int64_t outputs) {
  if (claimed < 0 || claimed >= outputs) return false;
  const float* z = logits.data() + static_cast<int64_t>(row) * outputs;
  const float best = *std::max_element(z, z + outputs);
  return best - z[claimed] <= 1e-4f * std::max(1.0f, std::fabs(best));
}

}  // namespace

StoredImages::StoredImages(const AttackedSet& set, Backend& backend, bool rounded)
    : set_(set), backend_(backend), rounded_(rounded) {
  for (const int32_t label : set.label)
    labels_.insert(labels_.end(), static_cast<size_t>(set.sizes()), label);
}

void StoredImages::pixels(std::span<const int64_t> rows, const Tensor& x) const {
  std::vector<float> host;
  host.reserve(static_cast<size_t>(x.size()));
  for (const int64_t row : rows) {
    for (int64_t p = 0; p < image_size(); ++p) host.push_back(attacked_pixel(set_, row, p, rounded_));
  }
  backend_.upload(x.mutable_data(), host.data(), host.size() * sizeof(float));
}

Differences replace_by(const ImageSet& truth, AttackedSet& set) {
  const ImageShape shape = truth.shape();
  if (!(shape == set.shape)) {
    fail("the set holds images of {}x{}x{}, the data set's are {}x{}x{}", set.shape.height, set.shape.width,
         set.shape.channels, shape.height, shape.width, shape.channels);
  }
  Differences found;
  for (int64_t i = 0; i < set.images(); ++i) {
    const auto at = static_cast<size_t>(i);
    const int64_t index = set.index[at];
    if (index >= truth.count())
      fail("the set holds image {}, but the data set has {} images", index, truth.count());
    const std::span<const uint8_t> image = truth.image(index);
    const auto stored = set.x.begin() + i * set.image_size();
    found.images += !std::equal(image.begin(), image.end(), stored);
    std::copy(image.begin(), image.end(), stored);
    const int32_t label = truth.labels[static_cast<size_t>(index)];
    found.labels += set.label[at] != label;
    set.label[at] = label;
  }
  return found;
}

int64_t Verification::broken() const {
  return std::ranges::count_if(claims, [](const Claim& claim) { return claim.broken > 0; });
}

double Verification::share(int64_t part) const {
  return rows > 0 ? static_cast<double>(part) / static_cast<double>(rows) : 0.0;
}

Verification verify(const AttackedSet& set, const SetClaims& claims, const SetAnswers& answers,
                    const std::optional<Differences>& found) {
  Claim images{"clean images are the data set's"}, labels{"labels are the data set's"},
      once{"no image counts twice"}, finite{"perturbations are finite numbers"}, box{"pixels lie in [0,1]"},
      size{"perturbations keep to their size"}, clean{"clean predictions are the network's"},
      attacked{"predictions are the network's"}, target{"targets are other classes than the labels"},
      success{"successes are successes"};
  if (found) {
    images = {images.name, set.images(), found->images};
    labels = {labels.name, set.images(), found->labels};
  }
  std::set<int64_t> seen;
  for (size_t i = 0; i < set.index.size(); ++i) {
    once.check(seen.insert(set.index[i]).second);
    clean.check(same_prediction(answers.clean, i, set.clean_prediction[i], answers.outputs));
    if (set.targeted()) target.check(set.target[i] != set.label[i]);
  }
  Verification result{.rows = set.images() * set.sizes()};
  const std::vector<int32_t> answered = argmax_rows(answers.attacked, answers.outputs),
                             rounded = argmax_rows(answers.rounded, answers.outputs);
  std::vector<float> changed(static_cast<size_t>(set.image_size()));
  for (int64_t row = 0; row < result.rows; ++row) {
    const auto at = static_cast<size_t>(row), image = static_cast<size_t>(row / set.sizes());
    const std::span<const float> delta = set.delta_of(row);
    finite.check(std::ranges::all_of(delta, [](float d) { return std::isfinite(d); }));
    bool inside = true;
    for (int64_t p = 0; p < set.image_size(); ++p) {
      const float pixel = clean_pixel(set, row, p);
      const double shown = static_cast<double>(pixel) + static_cast<double>(delta[static_cast<size_t>(p)]);
      inside = inside && shown >= -kRounding && shown <= 1.0 + kRounding;
      changed[static_cast<size_t>(p)] = attacked_pixel(set, row, p, true) - pixel;
    }
    box.check(inside);
    const float eps = set.eps.empty() ? claims.eps.value_or(std::numeric_limits<float>::infinity())
                                      : set.eps[at % set.eps.size()];
    const double bound = static_cast<double>(eps) + static_cast<double>(claims.tolerance);
    const bool fits = length_of(delta, claims.norm) <= bound;
    const bool claimed = set.success[at] != 0;
    if (std::isfinite(eps) && (!claims.minimum_norm || claimed)) size.check(fits);
    attacked.check(same_prediction(answers.attacked, at, set.prediction[at], answers.outputs));

    const int32_t label = claims.predicted_labels ? set.clean_prediction[image] : set.label[image];
    const auto fooled = [&](int32_t prediction) {
      return set.sought(image, prediction, label);
    };
    const bool succeeded = fooled(set.prediction[at]) && (fits || !claims.minimum_norm);
    success.check(claims.confident ? succeeded || !claimed : succeeded == claimed);
    // A lead that a success needs is for the attack to judge: its word is taken for it.
    const bool counts =
        fooled(answered[at]) && (fits || !claims.minimum_norm) && (claimed || !claims.confident);
    result.claimed += claimed;
    result.successes += counts;
    result.rounded_successes += counts && fooled(rounded[at]);
    result.rounded_within += length_of(changed, claims.norm) <= bound;
  }
  result.claims = {images, labels, once, finite, box, size, clean, attacked, target, success};
  std::erase_if(result.claims, [](const Claim& claim) { return claim.checked == 0; });
  return result;
}

}  // namespace caltrop
