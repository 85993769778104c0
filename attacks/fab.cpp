// FAB, the fast adaptive boundary attack (Croce & Hein, ICML 2020, algorithm 1): the nearest adversarial
// image.
//
//   the nearest tangent hyperplane at x, of all classes (fab-t: of one)
//   d1 = projection of x onto it, d2 = projection of x_0, both within the box
//   alpha = min(|d1| / (|d1| + |d2|), alpha_max)
//   x = clip((1 - alpha) (x + eta d1) + alpha (x_0 + eta d2))
//   where x is adversarial: remember it if it is the nearest, and go back: x = x_0 + beta (x - x_0)
//
// It begins at the image; a restart begins at a random point half as far as the size.

#include <algorithm>
#include <cmath>

#include "attacks/attack_rows.h"
#include "attacks/box_projection.h"
#include "engine/autograd.h"
#include "engine/ops.h"

namespace caltrop {
namespace {

class Fab {
 public:
  Fab(Workbench& bench, const Rows& rows, const Try& attempt)
      : bench_(bench),
        options_(bench.options()),
        rows_(rows),
        places_(all_places(rows.count())),
        labels_(bench.labels(rows.labels)),
        first_step_((static_cast<uint64_t>(attempt.number) % 64) * static_cast<uint64_t>(options_.steps) *
                    2) {
    const auto count = static_cast<size_t>(rows.count());
    found_ = nothing_found(Tensor::uninitialized(bench.backend(), rows.origin.shape()));
    assign(found_.x, rows.origin);
    nearest_.assign(count, INFINITY);
    for (int32_t k = 0; k < bench.classifier().outputs(); ++k) {
      classes_.push_back(bench.labels(std::vector<int32_t>(count, k)));
    }
    x_ = attempt.again ? bench.boundary_start(rows, attempt.number, 0.5f) : rows.origin;
  }

  Found run() {
    for (int64_t k = 0; k < options_.steps; ++k) {
      const uint64_t step = first_step_ + 2 * static_cast<uint64_t>(k);
      const Hyperplanes planes = nearest_hyperplanes(step);
      const Tensor d1 =
          project_to_hyperplane(options_.norm, x_, planes.w, planes.value, options_.low, options_.high);
      const Tensor d2 = project_to_hyperplane(options_.norm, rows_.origin, planes.w, values_at_origin(planes),
                                              options_.low, options_.high);
      advance(d1, d2);
      remember(step + 1);
    }
    for (size_t r = 0; r < nearest_.size(); ++r) {
      const auto row = static_cast<int64_t>(r);
      if (!std::isfinite(nearest_[r])) put(found_.x, row, x_, row);  // judged a failure
    }
    return found_;
  }

 private:
  struct Hyperplanes {
    Tensor w;                  // (r,h,w,c)
    std::vector<float> value;  // f(x) = w.x - b of each row: negative while the label leads
  };

  // f_k = z_k - z_y for all other classes, or for the goal alone; of each row the nearest.
  Hyperplanes nearest_hyperplanes(uint64_t step) {
    const bool directed = options_.kind == AttackKind::fab_t;
    const auto differences = [&](const Tensor& z) {
      const Tensor own = pick(z, labels_);
      if (directed) return std::vector<Tensor>{pick(z, bench_.labels(rows_.goals)) - own};
      std::vector<Tensor> f;
      for (const Labels& k : classes_) f.push_back(pick(z, k) - own);
      return f;
    };
    const Pass pass = bench_.differentiate(x_, differences, {.images = rows_.indices, .step = step});

    const Norm dual = options_.norm == Norm::linf ? Norm::l1 : Norm::l2;
    Hyperplanes planes{{}, std::vector<float>(places_.size(), 0.0f)};
    std::vector<double> least(places_.size(), INFINITY);
    std::vector<int32_t> best(places_.size(), -1);
    for (size_t k = 0; k < pass.gradients.size(); ++k) {
      const std::vector<float> f = pass.values[k].to_host();
      const std::vector<RowStats> lengths = row_stats(pass.gradients[k]);
      for (size_t r = 0; r < f.size(); ++r) {
        if (!directed && static_cast<int32_t>(k) == rows_.labels[r]) continue;
        const double distance = std::fabs(static_cast<double>(f[r])) / (1e-12 + norm_of(lengths[r], dual));
        if (!(distance < least[r])) continue;
        least[r] = distance;
        best[r] = static_cast<int32_t>(k);
        planes.value[r] = f[r];
      }
    }
    planes.w = pick_rows(pass.gradients, best);
    bench_.note(planes.w, places_, found_);
    return planes;
  }

  // w.x_0 - b = f(x) + w.(x_0 - x)
  std::vector<float> values_at_origin(const Hyperplanes& planes) const {
    std::vector<float> value = sum(planes.w * (rows_.origin - x_), {1, 2, 3}).to_host();
    for (size_t r = 0; r < value.size(); ++r) value[r] += planes.value[r];
    return value;
  }

  void advance(const Tensor& d1, const Tensor& d2) {
    const std::vector<RowStats> l1 = row_stats(d1), l2 = row_stats(d2);
    std::vector<float> alpha;
    for (size_t r = 0; r < l1.size(); ++r) {
      const float a1 = std::max(norm_of(l1[r], options_.norm), 1e-8f);
      const float a2 = std::max(norm_of(l2[r], options_.norm), 1e-8f);
      alpha.push_back(std::clamp(a1 / (a1 + a2), 0.0f, options_.fab.alpha_max));
    }
    const Tensor pull = per_row(bench_.backend(), alpha);
    x_ = bench_.clip((x_ + d1 * options_.fab.eta) * (1.0f - pull) +
                     (rows_.origin + d2 * options_.fab.eta) * pull);
  }

  // Keeps adversarial images that are the nearest so far, and pulls them back to the other side.
  void remember(uint64_t step) {
    const std::vector<bool> fooled = bench_.fooled(bench_.evaluate(x_, rows_.indices, step), rows_.labels);
    const Tensor delta = x_ - rows_.origin;
    const std::vector<RowStats> lengths = row_stats(delta);
    std::vector<float> pull;
    Places closer;
    for (size_t r = 0; r < fooled.size(); ++r) {
      pull.push_back(fooled[r] ? options_.fab.beta : 1.0f);
      const float length = norm_of(lengths[r], options_.norm);
      if (!fooled[r] || !(length < nearest_[r])) continue;
      nearest_[r] = length;
      closer.push_back(static_cast<int64_t>(r));
    }
    put(found_.x, closer, take(x_, closer));
    x_ = rows_.origin + delta * per_row(bench_.backend(), pull);
  }

  Workbench& bench_;
  const AttackOptions& options_;
  const Rows& rows_;
  Places places_;
  Labels labels_;
  std::vector<Labels> classes_;  // class k for every row
  uint64_t first_step_;
  Tensor x_;
  std::vector<float> nearest_;
  Found found_;
};

}  // namespace

Found fab(Workbench& bench, const Rows& rows, const Try& attempt) {
  const NoGrad values_only;
  return Fab(bench, rows, attempt).run();
}

}  // namespace caltrop
