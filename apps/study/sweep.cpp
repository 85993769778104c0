#include "apps/study/sweep.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "apps/core/size.h"
#include "apps/report/figure.h"
#include "attacks/diagnosis.h"
#include "engine/error.h"

namespace caltrop {
namespace {

// Columns that say which point a row is of, and behind them `more`.
std::vector<Column> columns_behind_point(const std::vector<Column>& more) {
  std::vector<Column> columns = {{"dataset", "data"},    {"network", "network"},
                                 {"attack", "attack"},   {"norm", "norm"},
                                 {"size_asked", "size"}, {"size", "in fp32", Column::Kind::general, 9}};
  columns.insert(columns.end(), more.begin(), more.end());
  return columns;
}

// "yes", "no", or absent where it was not asked.
Cell reached_words(const AttackSummary& summary, const std::optional<double>& until, int64_t images) {
  if (!until) return {};
  const std::optional<bool> reached = at_least(summary, *until, images);
  return reached ? Cell(std::string(*reached ? "yes" : "no")) : Cell();
}

// Absent where answers have no confidence: a vote's, an alarm's.
Cell error_of(const Calibration& calibration) {
  return calibration.images() > 0 ? Cell(calibration.error()) : Cell();
}

// What the first images alone gave is no measure of the rest.
Cell unless_ended(const SweepPoint& point, double value) {
  return point.ended ? Cell() : Cell(value);
}

}  // namespace

Table results_table(const std::vector<CellResult>& results) {
  using Kind = Column::Kind;
  Table table(columns_behind_point({{"seed", "seed", Kind::count},
                                    {"n", "images", Kind::count},
                                    {"clean_correct", "right", Kind::count},
                                    {"robust", "robust", Kind::count},
                                    {"clean_accuracy", "clean", Kind::percent},
                                    {"robust_accuracy", "robust", Kind::percent},
                                    {"robust_low", "low", Kind::percent},
                                    {"robust_high", "high", Kind::percent},
                                    {"success_rate", "of all", Kind::percent},
                                    {"success_rate_of_correct", "of right", Kind::percent},
                                    {"clean_calibration_error", "clean ECE", Kind::number, 4},
                                    {"calibration_error", "ECE", Kind::number, 4},
                                    {"until_robust", "at least", Kind::percent},
                                    {"reached", "reached"},
                                    {"mean_loss", "loss", Kind::general, 6},
                                    {"mean_linf", "L-inf", Kind::general, 4},
                                    {"mean_l2", "L2", Kind::general, 4},
                                    {"violations", "outside", Kind::count},
                                    {"zero_gradients", "zero", Kind::count},
                                    {"nan_gradients", "NaN", Kind::count},
                                    {"attack_forward_passes", "forward", Kind::count},
                                    {"attack_backward_passes", "backward", Kind::count}}));
  const auto decimal = [](float eps) {
    return fp32_json(eps).get<double>();
  };
  for (const CellResult& result : results) {
    const StudyCell& cell = result.cell;
    for (size_t k = 0; k < result.attacks.size(); ++k) {
      const GmaAnalysis& attack = result.attacks[k];
      for (size_t s = 0; s < attack.sizes.size(); ++s) {
        const AttackSummary& one = attack.sizes[s].tries.at(0);
        const std::optional<double> until = cell.attacks[k].until;
        const Interval interval = wilson_interval(one.robust, one.images);
        // Of passes the sizes of an attack, which went together, have one number.
        table.row({cell.dataset, cell.arm.name, cell.attacks[k].name, to_string(attack.norm),
                   cell.attacks[k].asked_size(s), decimal(one.size), cell.seed, one.images, one.clean_correct,
                   one.robust, one.clean_accuracy(), one.robust_accuracy(), interval.low, interval.high,
                   one.success_rate(), one.success_rate_of_correct(), error_of(one.clean_calibration),
                   error_of(one.calibration), cell_of(until), reached_words(one, until, result.planned(k)),
                   // Read off one smallest perturbation, which many sizes are below.
                   is_minimum_norm(cell.attacks[k].options.kind) ? Cell() : Cell(one.mean_loss()),
                   one.mean_linf(), one.mean_l2(), one.box_violations + one.ball_violations,
                   one.zero_gradients, one.nan_gradients, attack.forward_passes, attack.backward_passes});
      }
    }
    for (const Together& all : together(result)) {
      const int64_t images = result.planned(), right = clean_correct_of(result), robust = all.count();
      const Interval interval = wilson_interval(robust, images);
      table.row({cell.dataset,
                 cell.arm.name,
                 kAllAttacks,
                 to_string(all.norm),
                 all.asked,
                 decimal(all.eps),
                 cell.seed,
                 images,
                 right,
                 robust,
                 share_of(right, images),
                 share_of(robust, images),
                 interval.low,
                 interval.high,
                 share_of(images - robust, images),
                 share_of(right - robust, right),
                 {},
                 {},
                 {},
                 {},
                 {},
                 {},
                 {},
                 {},
                 {},
                 {},
                 {},
                 {}});
    }
  }
  return table;
}

Table summary_table(const std::vector<SweepPoint>& points) {
  using Kind = Column::Kind;
  Table table(columns_behind_point({{"seeds", "seeds", Kind::count},
                                    {"n", "images", Kind::count},
                                    {"clean_correct", "right", Kind::general, 6},
                                    {"clean_accuracy", "clean", Kind::percent},
                                    {"clean_accuracy_sd", "", Kind::deviation},
                                    {"robust_accuracy", "robust", Kind::percent},
                                    {"robust_accuracy_sd", "", Kind::deviation},
                                    {"robust_lowest", "lowest", Kind::percent},
                                    {"robust_highest", "highest", Kind::percent},
                                    {"success_rate", "of all", Kind::percent},
                                    {"success_rate_of_correct", "of right", Kind::percent},
                                    {"until_robust", "at least", Kind::percent},
                                    {"reached", "reached", Kind::count}}));
  for (const SweepPoint& p : points) {
    table.row({p.dataset, p.network, p.attack, to_string(p.norm), p.asked, fp32_json(p.eps).get<double>(),
               static_cast<int64_t>(p.seeds), p.images, unless_ended(p, p.clean_correct), p.clean.mean,
               cell_of(p.clean.deviation), unless_ended(p, p.robust.mean),
               p.ended ? Cell() : cell_of(p.robust.deviation), unless_ended(p, p.robust.lowest),
               unless_ended(p, p.robust.highest), unless_ended(p, p.success.mean),
               unless_ended(p, p.success_of_correct.mean), cell_of(p.until),
               p.until ? Cell(static_cast<int64_t>(p.reached)) : Cell()});
  }
  return table;
}

std::vector<std::string> flattered(const std::vector<SweepPoint>& points,
                                   const std::vector<StudyAttack>& attacks) {
  constexpr double kPoint = 0.01;
  std::vector<std::string> words;
  std::set<std::tuple<std::string, std::string, std::string>> said;
  for (const SweepPoint& p : points) {
    const auto attack = std::ranges::find(attacks, p.attack, &StudyAttack::name);
    if (attack == attacks.end() || flattering(attack->options).empty()) continue;
    if (!said.insert({p.dataset, p.network, p.attack}).second) continue;
    double most = 0;
    const SweepPoint* where = nullptr;
    const SweepPoint* best = nullptr;
    for (const SweepPoint& own : points) {
      if (own.dataset != p.dataset || own.network != p.network || own.attack != p.attack || own.ended)
        continue;
      for (const SweepPoint& other : points) {
        const bool comparable = other.dataset == own.dataset && other.network == own.network &&
                                other.norm == own.norm && other.eps == own.eps &&
                                other.attack != kAllAttacks && !other.ended;
        if (!comparable || own.robust.mean - other.robust.mean <= most) continue;
        most = own.robust.mean - other.robust.mean, where = &own, best = &other;
      }
    }
    if (most > kPoint)
      words.push_back(
          fmt::format("{} leaves {:.1f} points of {} on {} to {} at {}: its number flatters the network",
                      p.attack, 100 * most, p.network, p.dataset, best->attack, where->asked));
  }
  return words;
}

void check_sweep(const std::vector<StudyAttack>& attacks) {
  std::set<std::string> names;
  std::map<Norm, size_t> of_norm;
  for (const StudyAttack& attack : attacks) {
    if (!names.insert(attack.name).second)
      fail("two attacks are called '{}': tables could not tell them apart", attack.name);
    if (attack.name == kAllAttacks)
      fail("no attack can be called '{}': it stands for all together", kAllAttacks);
    if (++of_norm[attack.options.norm] >= kMostSeries)
      fail("expected at most {} attacks under {}, as many as a figure can tell apart", kMostSeries - 1,
           norm_title(attack.options.norm));
    std::set<float> sizes;
    for (const GmaSize& size : attack.sizes) {
      if (!sizes.insert(size.eps).second) fail("{} has the size {} twice", attack.name, size.eps);
    }
  }
}

}  // namespace caltrop
