// The Square attack (Andriushchenko, Croce, Flammarion, Hein: "Square attack: a query-efficient black-box
// adversarial attack via random search", ECCV 2020; algorithms 1 to 3). It asks for logits and never for a
// gradient, so a defence cannot mislead it by masking one.
//
// Each query changes one square of the perturbation and keeps the change if the margin falls. The squares
// shrink with the schedule of the paper. All random numbers of a row come from its own stream, one draw after
// the other, so that a row does not depend on which others are still in the batch. Proposals are made on the
// host, pixel by pixel.

#include <algorithm>
#include <array>
#include <cmath>

#include "attacks/attack_rows.h"
#include "engine/autograd.h"
#include "engine/ops.h"
#include "engine/random.h"

namespace caltrop {
namespace {

// The share of pixels in a square halves after each of these queries, of kQueries in all.
constexpr std::array<int64_t, 9> kHalvings = {10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000};
constexpr int64_t kQueries = 10000, kFewQueries = 5000;

double share_at(int64_t query, const AttackOptions& options) {
  const SquareSchedule schedule = options.square.schedule;
  const bool few = schedule == SquareSchedule::automatic && options.steps < kFewQueries;
  if (few || schedule == SquareSchedule::rescaled) query = query * kQueries / options.steps;
  const auto halvings =
      std::count_if(kHalvings.begin(), kHalvings.end(), [&](int64_t at) { return query > at; });
  return std::ldexp(static_cast<double>(options.square.share), -static_cast<int>(halvings));
}

// The window of the L2 attack (section 3.4): two pyramids side by side, one positive and one negative, of
// length 1.
std::vector<float> pyramids(int64_t side, bool turned) {
  std::vector<double> eta(static_cast<size_t>(side * side), 0.0);
  const auto add = [&](int64_t first_row, int64_t height, double sign) {
    // Rectangles that grow around the middle, the k-th worth 1 / k^2, then scaled to length 1.
    std::vector<double> half(static_cast<size_t>(height * side), 0.0);
    int64_t top = height / 2, left = side / 2;
    const int64_t rings = std::max(height / 2 + 1, side / 2 + 1);
    for (int64_t ring = 0; ring < rings; ++ring, --top, --left) {
      const int64_t bottom = std::min(top + 2 * ring + 1, height),
                    right = std::min(left + 2 * ring + 1, side);
      const double value = 1.0 / static_cast<double>((ring + 1) * (ring + 1));
      for (int64_t y = std::max<int64_t>(top, 0); y < bottom; ++y) {
        for (int64_t x = std::max<int64_t>(left, 0); x < right; ++x)
          half[static_cast<size_t>(y * side + x)] += value;
      }
    }
    double square = 0;
    for (const double value : half) square += value * value;
    const double scale = sign / std::sqrt(square);
    for (size_t i = 0; i < half.size(); ++i) eta[static_cast<size_t>(first_row * side) + i] = half[i] * scale;
  };
  add(0, side / 2, 1.0);
  add(side / 2, side - side / 2, -1.0);
  double square = 0;
  for (const double value : eta) square += value * value;
  std::vector<float> window(eta.size());
  for (int64_t y = 0; y < side; ++y) {
    for (int64_t x = 0; x < side; ++x) {
      const auto from = static_cast<size_t>(turned ? x * side + y : y * side + x);
      window[static_cast<size_t>(y * side + x)] = static_cast<float>(eta[from] / std::sqrt(square));
    }
  }
  return window;
}

// One image: its clean pixels, the best perturbation so far, its stream of random numbers.
class Candidate {
 public:
  Candidate(std::span<const float> origin, const ImageShape& shape, float eps, const AttackOptions& options,
            Random random)
      : origin_(origin.begin(), origin.end()),
        best_(origin_),
        shape_(shape),
        eps_(eps),
        low_(options.low),
        high_(options.high),
        random_(random) {}

  float least = INFINITY;  // the margin of best()

  const std::vector<float>& best() const { return best_; }
  void accept(const std::vector<float>& x) { best_ = x; }

  // L-inf begins with vertical stripes of +-eps.
  std::vector<float> stripes() {
    std::vector<float> x = origin_;
    for (int64_t c = 0; c < shape_.channels; ++c) {
      for (int64_t column = 0; column < shape_.width; ++column) {
        const float change = sign() * eps_;
        for (int64_t row = 0; row < shape_.height; ++row) x[at(row, column, c)] += change;
      }
    }
    return bounded(std::move(x));
  }

  // A square of +-2 eps added to the best, so that it ends at one side of the ball.
  std::vector<float> square(double share) {
    const double pixels = static_cast<double>(shape_.height * shape_.width);
    const int64_t side = std::clamp<int64_t>(std::llround(std::sqrt(share * pixels)), 1,
                                             std::min(shape_.height, shape_.width));
    const int64_t top = place(shape_.height, side), left = place(shape_.width, side);
    std::vector<float> x = best_;
    for (int64_t c = 0; c < shape_.channels; ++c) {
      const float change = 2.0f * eps_ * sign();
      for (int64_t row = top; row < top + side; ++row) {
        for (int64_t column = left; column < left + side; ++column) x[at(row, column, c)] += change;
      }
    }
    return bounded(std::move(x));
  }

  // L2 begins with a grid of five by five windows.
  std::vector<float> tiles() {
    std::vector<float> delta(origin_.size(), 0.0f);
    const int64_t side = std::max<int64_t>(shape_.height / 5, 1);
    const std::vector<float> window = side > 1 ? pyramids(side, coin()) : std::vector<float>{1.0f};
    for (int64_t top = (shape_.height % side) / 2; top + side <= shape_.height; top += side) {
      for (int64_t left = (shape_.width % side) / 2; left + side <= shape_.width; left += side) {
        for (int64_t c = 0; c < shape_.channels; ++c) {
          const float change = sign();
          for_window(
              top, left, side,
              [&](int64_t i, size_t pixel) { delta[pixel] = change * window[static_cast<size_t>(i)]; }, c);
        }
      }
    }
    return on_sphere(delta);
  }

  // Takes the length of a second window away and gives it to the first.
  std::vector<float> moved_length(double share) {
    const double pixels = static_cast<double>(shape_.height * shape_.width);
    int64_t side = std::max<int64_t>(std::llround(std::sqrt(share * pixels)), 3);
    side = std::min(side % 2 == 0 ? side + 1 : side, std::min(shape_.height, shape_.width));
    const int64_t top = place(shape_.height, side), left = place(shape_.width, side);
    const int64_t other_top = place(shape_.height, side), other_left = place(shape_.width, side);
    const std::vector<float> window = side > 1 ? pyramids(side, coin()) : std::vector<float>{1.0f};

    std::vector<float> delta(origin_.size());
    double whole = 0;
    for (size_t i = 0; i < delta.size(); ++i) {
      delta[i] = best_[i] - origin_[i];
      whole += static_cast<double>(delta[i]) * delta[i];
    }
    const double spare =
        std::max(0.0, static_cast<double>(eps_) * eps_ - whole) / static_cast<double>(shape_.channels);
    for (int64_t c = 0; c < shape_.channels; ++c) {
      double first = 0, both = 0;
      for_window(
          top, left, side, [&](int64_t, size_t i) { first += static_cast<double>(delta[i]) * delta[i]; }, c);
      both = first;
      for_window(
          other_top, other_left, side,
          [&](int64_t, size_t i) {
            if (!within(i, top, left, side)) both += static_cast<double>(delta[i]) * delta[i];
          },
          c);
      std::vector<double> fresh(window.size());
      const float change = sign();
      double length = 0;
      for_window(
          top, left, side,
          [&](int64_t k, size_t i) {
            const auto at = static_cast<size_t>(k);
            fresh[at] = static_cast<double>(change * window[at]) + delta[i] / (1e-12 + std::sqrt(first));
            length += fresh[at] * fresh[at];
          },
          c);
      const double scale = length > 0.0 ? std::sqrt(both + spare) / std::sqrt(length) : 0.0;
      for_window(
          other_top, other_left, side, [&](int64_t, size_t i) { delta[i] = 0.0f; }, c);
      for_window(
          top, left, side,
          [&](int64_t k, size_t i) { delta[i] = static_cast<float>(fresh[static_cast<size_t>(k)] * scale); },
          c);
    }
    return on_sphere(delta);
  }

 private:
  size_t at(int64_t row, int64_t column, int64_t c) const {
    return static_cast<size_t>((row * shape_.width + column) * shape_.channels + c);
  }
  template <typename Body>
  void for_window(int64_t top, int64_t left, int64_t side, const Body& body, int64_t c) const {
    for (int64_t y = 0; y < side; ++y) {
      for (int64_t x = 0; x < side; ++x) body(y * side + x, at(top + y, left + x, c));
    }
  }
  bool within(size_t pixel, int64_t top, int64_t left, int64_t side) const {
    const int64_t place = static_cast<int64_t>(pixel) / shape_.channels;
    const int64_t row = place / shape_.width - top, column = place % shape_.width - left;
    return row >= 0 && row < side && column >= 0 && column < side;
  }

  float sign() { return coin() ? 1.0f : -1.0f; }
  bool coin() { return (random_.bits() >> 31) != 0; }
  int64_t place(int64_t extent, int64_t side) {
    return static_cast<int64_t>(random_.below(static_cast<uint64_t>(std::max<int64_t>(extent - side, 1))));
  }

  std::vector<float> bounded(std::vector<float> x) const {
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = std::clamp(std::clamp(x[i], origin_[i] - eps_, origin_[i] + eps_), low_, high_);
    }
    return x;
  }
  std::vector<float> on_sphere(const std::vector<float>& delta) const {
    double square = 0;
    for (const float d : delta) square += static_cast<double>(d) * d;
    const double scale = square > 0.0 ? eps_ / std::sqrt(square) : 0.0;
    std::vector<float> x(delta.size());
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = std::clamp(static_cast<float>(origin_[i] + scale * delta[i]), low_, high_);
    }
    return x;
  }

  std::vector<float> origin_, best_;
  ImageShape shape_;
  float eps_, low_, high_;
  Random random_;
};

uint64_t square_stream(int64_t attempt, int64_t index) {
  return stream_of(Purpose::square, (static_cast<uint64_t>(attempt) << 32) | static_cast<uint64_t>(index));
}

}  // namespace

Found square_attack(Workbench& bench, const Rows& rows, const Try& attempt) {
  const NoGrad values_only;
  const AttackOptions& options = bench.options();
  const bool cube = options.norm == Norm::linf;
  const auto count = static_cast<size_t>(rows.count());
  const auto pixels = static_cast<size_t>(bench.pixels());
  const std::vector<float> origin = rows.origin.to_host();

  std::vector<Candidate> candidates;
  for (size_t r = 0; r < count; ++r) {
    candidates.emplace_back(std::span(origin).subspan(r * pixels, pixels), bench.classifier().input(),
                            rows.eps[r], options,
                            Random(options.seed, square_stream(attempt.number, rows.indices[r])));
  }
  std::vector<float> result(origin.size());
  const auto leave = [&](int64_t place) {
    const auto r = static_cast<size_t>(place);
    std::copy(candidates[r].best().begin(), candidates[r].best().end(),
              result.begin() + static_cast<std::ptrdiff_t>(r * pixels));
  };

  Places places = all_places(rows.count());
  for (int64_t query = 0; query <= options.steps && !places.empty(); ++query) {
    const double share = share_at(query - 1, options);
    std::vector<float> proposals;
    proposals.reserve(places.size() * pixels);
    for (const int64_t place : places) {
      Candidate& candidate = candidates[static_cast<size_t>(place)];
      const std::vector<float> x = query == 0
                                       ? (cube ? candidate.stripes() : candidate.tiles())
                                       : (cube ? candidate.square(share) : candidate.moved_length(share));
      proposals.insert(proposals.end(), x.begin(), x.end());
    }
    Shape shape = rows.origin.shape();
    shape[0] = static_cast<int64_t>(places.size());
    const std::vector<int32_t> labels = take(rows.labels, places);
    const Tensor logits = bench.evaluate(Tensor::from(bench.backend(), shape, proposals),
                                         take(rows.indices, places), static_cast<uint64_t>(query));
    const std::vector<float> leads = logit_margin(logits, bench.labels(labels)).to_host();
    const std::vector<bool> fooled = bench.fooled(logits, labels);
    Places left;
    for (size_t r = 0; r < places.size(); ++r) {
      Candidate& candidate = candidates[static_cast<size_t>(places[r])];
      const float margin = options.targeted ? leads[r] : -leads[r];
      if (margin < candidate.least || fooled[r]) {
        candidate.least = margin;
        const auto from = proposals.begin() + static_cast<std::ptrdiff_t>(r * pixels);
        candidate.accept({from, from + static_cast<std::ptrdiff_t>(pixels)});
      }
      if (fooled[r]) {
        leave(places[r]);
      } else {
        left.push_back(places[r]);
      }
    }
    places = left;
  }
  for (const int64_t place : places) leave(place);
  return nothing_found(Tensor::from(bench.backend(), rows.origin.shape(), result));
}

}  // namespace caltrop
