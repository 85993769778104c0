#include "apps/commands/defend_adaptive.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "attacks/attack_images.h"
#include "defense/detection.h"
#include "defense/evading.h"
#include "defense/mia.h"

namespace caltrop {
namespace {

// What the vote says of one attacked image, as it is and rounded to 8 bits.
struct Verdict {
  int32_t exact = 0, rounded = 0;
};
using Verdicts = std::vector<Verdict>;  // of each image

AttackOptions options_of(const std::string& name, Norm norm, const AdaptiveOptions& adaptive) {
  const AttackKind kind = parse_attack(name);
  AttackOptions attack = kind == AttackKind::cw ? adaptive.cw : attack_defaults(kind);
  attack.norm = norm;
  attack.seed = adaptive.seed;
  if (kind == AttackKind::square) {
    attack.steps = adaptive.queries;
  } else if (kind != AttackKind::cw) {
    attack.steps = adaptive.steps;
    attack.random_start = false;
  }
  return attack;
}

class AdaptiveAttacks {
 public:
  AdaptiveAttacks(const std::vector<const Model*>& networks, const Images& test, int32_t attacked,
                  const AdaptiveOptions& options, Console& console)
      : ensemble_(networks, options.mean),
        test_(test),
        attacked_(attacked),
        options_(options),
        rows_(row_range(0, std::min(options.images, test.count()))),
        progress_(console, "adaptive attacks", static_cast<int64_t>(rows_.size()) * jobs(), "images") {}

  Table run() {
    const Tensor x = test_.pixels(rows_);
    for (const int32_t said : ensemble_.vote(x)) clean_.push_back({said, said});
    add("none", {}, {}, clean_);
    for (const std::string& name : options_.attacks) {
      for (const auto& [norm, sizes] : budgets()) {
        if (name == "cw" && norm != Norm::l2) continue;
        const std::vector<Verdicts> verdicts = name == "cw" ? nearest(sizes) : within(name, norm, sizes);
        done_ += static_cast<int64_t>(rows_.size());
        for (size_t s = 0; s < sizes.size(); ++s) {
          add(name, to_string(norm), static_cast<double>(sizes[s]), verdicts[s]);
          merge({norm, sizes[s]}, verdicts[s]);
        }
      }
    }
    for (const auto& [key, verdicts] : any_)
      add("any", to_string(key.first), static_cast<double>(key.second), verdicts);
    return table_;
  }

 private:
  std::vector<std::pair<Norm, std::vector<float>>> budgets() const {
    std::vector<std::pair<Norm, std::vector<float>>> all;
    if (!options_.linf.empty()) all.emplace_back(Norm::linf, options_.linf);
    if (!options_.l2.empty()) all.emplace_back(Norm::l2, options_.l2);
    return all;
  }
  int64_t jobs() const {
    int64_t count = 0;
    for (const std::string& name : options_.attacks) {
      for (const auto& [norm, sizes] : budgets()) count += name != "cw" || norm == Norm::l2;
    }
    return count;
  }

  bool wrong(int32_t said, size_t image) const { return said != test_.labels()[image] && said != attacked_; }

  // `chunk` holds one row for each image and size.
  Verdicts judge(const AttackResult& chunk) const {
    const std::vector<int32_t> exact = ensemble_.vote(chunk.adversarial);
    std::vector<float> pixels = chunk.adversarial.to_host();
    for (float& pixel : pixels) pixel = rounded_to_8_bits(pixel);
    const std::vector<int32_t> rounded =
        ensemble_.vote(Tensor::from(test_.backend(), chunk.adversarial.shape(), pixels));
    Verdicts verdicts;
    for (size_t r = 0; r < exact.size(); ++r) verdicts.push_back({exact[r], rounded[r]});
    return verdicts;
  }

  template <typename Take>
  void attack(const std::string& name, Norm norm, const std::vector<float>& sizes, const Take& take) {
    const Evading evading(ensemble_, test_.labels(), name == "pgd" ? Climb::margin : Climb::own_loss);
    AttackJob job{.rows = rows_};
    job.sink = [&](int64_t first, const AttackResult& chunk) {
      const Verdicts verdicts = judge(chunk);
      for (size_t r = 0; r < verdicts.size(); ++r) {
        take(static_cast<size_t>(first) + r / sizes.size(), r % sizes.size(), chunk.rows[r], verdicts[r]);
      }
    };
    job.progress = [&](int64_t now) {
      progress_.at(done_ + now);
    };
    attack_images(evading, test_, sizes, options_of(name, norm, options_), job);
  }

  std::vector<Verdicts> within(const std::string& name, Norm norm, const std::vector<float>& sizes) {
    std::vector<Verdicts> found(sizes.size(), clean_);
    attack(name, norm, sizes, [&](size_t image, size_t size, const AttackRow&, const Verdict& verdict) {
      found[size][image] = verdict;
    });
    return found;
  }

  std::vector<Verdicts> nearest(const std::vector<float>& sizes) {
    std::vector<Verdicts> found(sizes.size(), clean_);
    const std::vector<float> unbounded = {std::numeric_limits<float>::infinity()};
    attack("cw", Norm::l2, unbounded,
           [&](size_t image, size_t, const AttackRow& row, const Verdict& verdict) {
             for (size_t s = 0; s < sizes.size(); ++s) {
               if (row.success && row.l2 <= sizes[s]) found[s][image] = verdict;
             }
           });
    return found;
  }

  void merge(const std::pair<Norm, float>& budget, const Verdicts& verdicts) {
    Verdicts& best = any_.try_emplace(budget, verdicts).first->second;
    for (size_t i = 0; i < best.size(); ++i) {
      if (wrong(verdicts[i].exact, i)) best[i].exact = verdicts[i].exact;
      if (wrong(verdicts[i].rounded, i)) best[i].rounded = verdicts[i].rounded;
    }
  }

  void add(const std::string& name, Cell norm, Cell size, const Verdicts& verdicts) {
    int64_t right = 0, detected = 0, wrong_exact = 0, wrong_rounded = 0;
    for (size_t i = 0; i < verdicts.size(); ++i) {
      right += verdicts[i].exact == test_.labels()[i];
      detected += verdicts[i].exact == attacked_;
      wrong_exact += wrong(verdicts[i].exact, i);
      wrong_rounded += wrong(verdicts[i].rounded, i);
    }
    const auto n = static_cast<double>(verdicts.size());
    const bool one = name != "any";  // of several attacks only what one of them reaches is known
    table_.row({name, std::move(norm), std::move(size), static_cast<int64_t>(verdicts.size()),
                one ? Cell(static_cast<double>(right) / n) : Cell(),
                one ? Cell(static_cast<double>(detected) / n) : Cell(), static_cast<double>(wrong_exact) / n,
                static_cast<double>(wrong_rounded) / n});
  }

  const Ensemble ensemble_;
  const Images& test_;
  int32_t attacked_;
  const AdaptiveOptions& options_;
  std::vector<int64_t> rows_;
  ProgressLine progress_;
  int64_t done_ = 0;
  Verdicts clean_;
  std::map<std::pair<Norm, float>, Verdicts> any_;
  Table table_{{{"attack", "attack"},
                {"norm", "norm"},
                {"size", "size", Column::Kind::general, 4},
                {"images", "images", Column::Kind::count},
                {"right", "right class", Column::Kind::percent},
                {"detected", "detected", Column::Kind::percent},
                {"wrong", "wrong class", Column::Kind::percent},
                {"wrong_8_bits", "wrong after rounding", Column::Kind::percent}}};
};

}  // namespace

Table adaptive_table(const std::vector<const Model*>& networks, const Images& test, int32_t attacked,
                     const AdaptiveOptions& options, Console& console) {
  return AdaptiveAttacks(networks, test, attacked, options, console).run();
}

}  // namespace caltrop
