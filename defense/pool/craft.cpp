#include "defense/pool/craft.h"

#include <algorithm>
#include <map>

#include "attacks/attack_images.h"

namespace caltrop {

Crafted craft_planned(const Classifier& classifier, const Images& images, const PoolAttack& attack,
                      std::span<const PlannedImage> planned, const Progress& progress) {
  const size_t n = planned.size(), pixels = static_cast<size_t>(images.image_size());
  Crafted crafted{.planned = {planned.begin(), planned.end()},
                  .linf = std::vector<float>(n),
                  .l2 = std::vector<float>(n),
                  .fooled = std::vector<uint8_t>(n),
                  .delta = std::vector<float>(n * pixels)};
  std::map<float, std::vector<size_t>> of_size;
  for (size_t k = 0; k < n; ++k) of_size[planned[k].size].push_back(k);
  int64_t done = 0;
  for (const auto& of : of_size) {
    const std::vector<size_t>& where = of.second;
    AttackJob job;
    for (const size_t k : where) job.rows.push_back(planned[k].image);
    job.sink = [&](int64_t first, const AttackResult& chunk) {
      const std::vector<float> delta = chunk.delta.to_host();
      for (size_t i = 0; i < chunk.images.size(); ++i) {
        const size_t k = where[static_cast<size_t>(first) + i];
        const AttackRow& row = chunk.row(static_cast<int64_t>(i), 0);
        crafted.linf[k] = row.linf;
        crafted.l2[k] = row.l2;
        crafted.fooled[k] = row.success;
        if (is_minimum_norm(attack.options.kind) && !row.success) continue;
        std::copy_n(delta.begin() + static_cast<int64_t>(i * pixels), pixels,
                    crafted.delta.begin() + static_cast<int64_t>(k * pixels));
      }
    };
    if (progress) {
      job.progress = [&](int64_t now) {
        progress(done + now);
      };
    }
    attack_images(classifier, images, std::span(&of.first, 1), attack.options, job);
    done += static_cast<int64_t>(where.size());
  }
  return crafted;
}

}  // namespace caltrop
