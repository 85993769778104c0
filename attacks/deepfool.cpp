// DeepFool (Moosavi-Dezfooli, Fawzi, Frossard: "DeepFool: a simple and accurate method to fool deep neural
// networks", CVPR 2016, algorithm 2), under L2 and L-inf.
//
// At x the network is replaced by its tangent: class k takes over from s where f_k + w_k . r = 0, with f_k =
// z_k - z_s and w_k the gradient of f_k. The nearest of those hyperplanes is |f_k| / |w_k|_q away (q = 2, for
// L-inf q = 1). The image moves there, the steps add up, and x = clip(x_0 + (1 + overshoot) sum r). A row
// that is fooled leaves.

#include <algorithm>
#include <cmath>

#include "attacks/attack_rows.h"
#include "attacks/objectives.h"
#include "engine/autograd.h"
#include "engine/ops.h"

namespace caltrop {
namespace {

constexpr double kStep = 1e-4;  // added to each distance: over the boundary, not onto it

// The nearest hyperplane of each row.
struct Nearest {
  std::vector<int32_t> candidate;
  std::vector<float> distance;
};

Nearest nearest_of(const std::vector<std::vector<float>>& f, const std::vector<std::vector<RowStats>>& w,
                   Norm norm, size_t rows) {
  const Norm dual = norm == Norm::linf ? Norm::l1 : Norm::l2;
  Nearest nearest{std::vector<int32_t>(rows, 0), std::vector<float>(rows, 0.0f)};
  for (size_t r = 0; r < rows; ++r) {
    double least = INFINITY;
    for (size_t k = 0; k < f.size(); ++k) {
      const double length = norm_of(w[k][r], dual);
      const double distance = length > 0.0 ? std::fabs(static_cast<double>(f[k][r])) / length : INFINITY;
      if (!(distance < least)) continue;
      least = distance;
      nearest.candidate[r] = static_cast<int32_t>(k);
      nearest.distance[r] = static_cast<float>(distance);
    }
  }
  return nearest;
}

}  // namespace

Found deepfool(Workbench& bench, const Rows& rows, const Try&) {
  const NoGrad values_only;
  const AttackOptions& options = bench.options();
  Backend& backend = bench.backend();
  const int64_t classes = std::min(options.deepfool.candidates, bench.classifier().outputs());

  // The classes to consider are fixed on the clean image, whose own class comes first.
  std::vector<std::vector<int32_t>> ranks;
  const Tensor clean = bench.evaluate(rows.origin, rows.indices, kCleanStep);
  for (const Labels& rank : ranking(clean, classes)) ranks.push_back(rank.to_host());

  Found found = nothing_found(Tensor::uninitialized(backend, rows.origin.shape()));
  assign(found.x, rows.origin);
  Places places = all_places(rows.count());
  Rows open = rows;
  Tensor x = rows.origin, total = Tensor::zeros(backend, rows.origin.shape());
  for (int64_t k = 0; k < options.steps && !places.empty(); ++k) {
    std::vector<Labels> candidates;
    candidates.reserve(ranks.size());
    for (const std::vector<int32_t>& rank : ranks) candidates.push_back(bench.labels(take(rank, places)));
    const auto differences = [&](const Tensor& z) {
      std::vector<Tensor> f;
      for (size_t c = 1; c < candidates.size(); ++c)
        f.push_back(pick(z, candidates[c]) - pick(z, candidates[0]));
      return f;
    };
    const auto step = static_cast<uint64_t>(k);
    const Pass pass = bench.differentiate(x, differences, {.images = open.indices, .step = step});

    // Rows that this x fools are done.
    const std::vector<bool> fooled = bench.fooled(pass, x, open.indices, step, open.labels);
    Places left;
    for (size_t r = 0; r < fooled.size(); ++r) {
      if (!fooled[r]) left.push_back(static_cast<int64_t>(r));
    }
    const bool compact = left.size() < places.size();
    const auto keep = [&](const Tensor& all) {
      return compact ? take(all, left) : all;
    };
    put(found.x, places, x);
    if (left.empty()) return found;
    places = take(places, left);
    if (compact) open = take(open, left);
    total = keep(total);

    std::vector<Tensor> w;
    std::vector<std::vector<RowStats>> lengths;
    std::vector<std::vector<float>> f;
    for (size_t c = 0; c < pass.gradients.size(); ++c) {
      w.push_back(keep(pass.gradients[c]));
      lengths.push_back(row_stats(w.back()));
      f.push_back(keep(pass.values[c]).to_host());
    }
    bench.note(w[0], places, found);
    const Nearest nearest = nearest_of(f, lengths, options.norm, places.size());

    Tensor direction = pick_rows(w, nearest.candidate);
    std::vector<float> scale;
    for (size_t r = 0; r < places.size(); ++r) {
      const double length =
          options.norm == Norm::linf
              ? 1.0
              : static_cast<double>(lengths[static_cast<size_t>(nearest.candidate[r])][r].l2);
      scale.push_back(length > 0.0 ? static_cast<float>((nearest.distance[r] + kStep) / length) : 0.0f);
    }
    if (options.norm == Norm::linf) direction = sign(direction);
    total = total + direction * per_row(backend, scale);
    x = bench.clip(open.origin + total * (1.0f + options.deepfool.overshoot));
  }
  put(found.x, places, x);
  return found;
}

}  // namespace caltrop
