#include "apps/defend_adaptive.h"

#include <algorithm>
#include <utility>

#include "attacks/attack_images.h"
#include "defense/detection.h"
#include "defense/evading.h"
#include "defense/mia.h"

namespace caltrop {

Table adaptive_table(const std::vector<const Model*>& networks, const Images& test, int64_t images,
                     int32_t attacked, int64_t seed, Console& console) {
  const Ensemble ensemble(networks);
  const Evading evading(ensemble, test.labels());
  Table table({{"norm", "norm"},
               {"size", "size", Column::Kind::general, 4},
               {"images", "images", Column::Kind::count},
               {"right", "right class", Column::Kind::percent},
               {"detected", "detected", Column::Kind::percent},
               {"wrong", "wrong class", Column::Kind::percent},
               {"wrong_8_bits", "wrong after rounding", Column::Kind::percent}});
  const std::vector<std::pair<Norm, std::vector<float>>> budgets = {{Norm::linf, {0.01f, 0.03f, 0.1f, 0.3f}},
                                                                    {Norm::l2, {0.5f, 1.0f, 2.0f, 3.0f}}};
  const std::vector<int64_t> rows = row_range(0, std::min(images, test.count()));
  ProgressLine progress(console, "adaptive attack", 2 * static_cast<int64_t>(rows.size()), "images");
  for (size_t b = 0; b < budgets.size(); ++b) {
    const Norm norm = budgets[b].first;
    const auto& sizes = budgets[b].second;  // by name, since clang 14 captures no structured binding
    AttackOptions attack = attack_defaults(AttackKind::apgd_ce);
    attack.norm = norm;
    attack.seed = static_cast<uint64_t>(seed);
    struct Count {
      int64_t right = 0, detected = 0, wrong = 0, wrong_8_bits = 0;
    };
    std::vector<Count> counts(sizes.size());
    AttackJob job{.rows = rows};
    job.sink = [&](int64_t, const AttackResult& chunk) {
      const std::vector<int32_t> said = ensemble.vote(chunk.adversarial);
      std::vector<float> pixels = chunk.adversarial.to_host();
      for (float& pixel : pixels) pixel = rounded_to_8_bits(pixel);
      const std::vector<int32_t> later =
          ensemble.vote(Tensor::from(test.backend(), chunk.adversarial.shape(), pixels));
      for (size_t r = 0; r < said.size(); ++r) {
        Count& count = counts[r % sizes.size()];
        const int32_t truth = chunk.images[r / sizes.size()].label;
        count.right += said[r] == truth;
        count.detected += said[r] == attacked;
        count.wrong += said[r] != truth && said[r] != attacked;
        count.wrong_8_bits += later[r] != truth && later[r] != attacked;
      }
    };
    job.progress = [&](int64_t done) {
      progress.at(static_cast<int64_t>(b * rows.size()) + done);
    };
    attack_images(evading, test, sizes, attack, job);
    const auto n = static_cast<double>(rows.size());
    for (size_t s = 0; s < sizes.size(); ++s) {
      const Count& count = counts[s];
      table.row({to_string(norm), static_cast<double>(sizes[s]), static_cast<int64_t>(rows.size()),
                 static_cast<double>(count.right) / n, static_cast<double>(count.detected) / n,
                 static_cast<double>(count.wrong) / n, static_cast<double>(count.wrong_8_bits) / n});
    }
  }
  return table;
}

}  // namespace caltrop
