#include "apps/study/sweep_points.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "apps/core/text_layout.h"
#include "apps/study/comparison.h"

namespace caltrop {
namespace {

// What one attack, or all together, did to a cell at a size.
struct Count {
  std::string attack;
  Norm norm;
  std::string asked;
  float eps;
  bool draws;  // random numbers
  int64_t images, robust, successes, successes_of_correct, clean_correct;
  double clean;  // accuracy of all that were to be attacked
  bool ended = false;
  std::optional<double> until = {};
  std::optional<bool> reached = {};
};

// The values of a point over the cells, as they come.
struct Gathered {
  SweepPoint point;
  std::vector<double> clean, clean_correct, robust, success, success_of_correct;
};

// By network, then norm, then attack, "all" behind the others, each in the order in which they first come.
class Gathering {
 public:
  void add(const StudyCell& cell, const Count& count) {
    const auto same = [&](const Gathered& one) {
      const SweepPoint& p = one.point;
      return p.dataset == cell.dataset && p.network == cell.arm.name && p.attack == count.attack &&
             p.norm == count.norm && p.eps == count.eps;
    };
    auto at = std::ranges::find_if(all_, same);
    if (at == all_.end()) {
      SweepPoint point{cell.dataset, cell.arm.name, count.attack, count.norm,
                       count.asked,  count.eps,     count.images};
      point.until = count.until;
      at = all_.insert(at, {std::move(point), {}, {}, {}, {}, {}});
    }
    // What no seed can change has one value.
    if (cell.arm.given && !at->robust.empty() && !count.draws) return;
    at->point.ended = at->point.ended || count.ended;
    at->point.reached += count.reached == true ? 1 : 0;
    ++at->point.seeds;
    if (!cell.arm.given || at->clean.empty()) {
      at->clean.push_back(count.clean);
      at->clean_correct.push_back(static_cast<double>(count.clean_correct));
    }
    at->robust.push_back(share_of(count.robust, count.images));
    at->success.push_back(share_of(count.successes, count.images));
    at->success_of_correct.push_back(share_of(count.successes_of_correct, count.clean_correct));
  }

  std::vector<SweepPoint> points() {
    std::vector<SweepPoint> points;
    for (Gathered& one : all_) {
      one.point.clean = over_seeds(one.clean);
      one.point.clean_correct = over_seeds(one.clean_correct).mean;
      one.point.robust = over_seeds(one.robust);
      one.point.success = over_seeds(one.success);
      one.point.success_of_correct = over_seeds(one.success_of_correct);
      points.push_back(std::move(one.point));
    }
    std::map<std::pair<std::string, std::string>, size_t> networks;
    for (const SweepPoint& p : points) networks.try_emplace({p.dataset, p.network}, networks.size());
    std::ranges::stable_sort(points, {}, [&](const SweepPoint& p) {
      return std::tuple(networks.at({p.dataset, p.network}), p.norm, p.attack == kAllAttacks);
    });
    return points;
  }

 private:
  std::vector<Gathered> all_;
};

}  // namespace

std::string SweepPoint::bound(std::string_view at_least, std::string_view of, std::string_view blank) const {
  const double percent = 100 * until.value_or(0);
  if (reached == 0) return fmt::format("< {:g}", percent);
  const std::string least = fmt::format("{} {:g}", at_least, percent);
  return reached == seeds ? least : fmt::format("{}{}{}{}{}", reached, of, seeds, blank, least);
}

std::string SweepPoint::in_words() const {
  return ended ? fmt::format("{}, {}", bound(), counted(images, "image", "images")) : in_percent(robust);
}

SweepPlace place_of(const SweepPoint& p) {
  return {p.dataset, p.network, p.norm};
}
std::vector<SweepPoint> points_at(const std::vector<SweepPoint>& points, const SweepPlace& place) {
  std::vector<SweepPoint> some;
  std::ranges::copy_if(points, std::back_inserter(some),
                       [&](const SweepPoint& p) { return place_of(p) == place; });
  return some;
}

int64_t Together::count() const {
  return std::ranges::count(robust, true);
}

std::vector<Together> together(const CellResult& result) {
  std::vector<Together> all;
  for (size_t k = 0; k < result.attacks.size(); ++k) {
    for (size_t s = 0; s < result.attacks[k].sizes.size(); ++s) {
      const GmaSizeResult& size = result.attacks[k].sizes[s];
      const AttackOptions& options = result.cell.attacks[k].options;
      const auto same = [&](const Together& one) {
        return one.norm == result.attacks[k].norm && one.eps == size.size.eps;
      };
      auto at = std::ranges::find_if(all, same);
      if (at == all.end()) {
        at = all.insert(at, {result.attacks[k].norm, result.cell.attacks[k].asked_size(s), size.size.eps,
                             std::vector<bool>(static_cast<size_t>(result.planned()), true)});
      }
      // An attack that did not meet an image may have been the one to fool it.
      at->partial = at->partial || size.robust.size() < at->robust.size();
      for (size_t i = 0; i < size.robust.size(); ++i) at->robust[i] = at->robust[i] && size.robust[i];
      at->draws = at->draws || draws(options);
      ++at->attacks;
    }
  }
  std::erase_if(all, [](const Together& one) { return one.attacks < 2 || one.partial; });
  return all;
}

int64_t clean_correct_of(const CellResult& result) {
  for (size_t k = 0; k < result.attacks.size(); ++k)
    if (result.planned(k) == result.planned()) return result.clean_correct.at(k);
  return 0;
}

std::vector<SweepPoint> points_of(const std::vector<CellResult>& results) {
  Gathering points;
  for (const CellResult& result : results) {
    for (size_t k = 0; k < result.attacks.size(); ++k) {
      const StudyAttack& attack = result.cell.attacks[k];
      for (size_t s = 0; s < result.attacks[k].sizes.size(); ++s) {
        const AttackSummary& summary = result.attacks[k].sizes[s].tries.at(0);
        points.add(result.cell, {.attack = attack.name,
                                 .norm = result.attacks[k].norm,
                                 .asked = attack.asked_size(s),
                                 .eps = summary.size,
                                 .draws = draws(attack.options),
                                 .images = summary.images,
                                 .robust = summary.robust,
                                 .successes = summary.successes,
                                 .successes_of_correct = summary.successes_of_correct,
                                 .clean_correct = summary.clean_correct,
                                 .clean = share_of(result.clean_correct.at(k), result.planned(k)),
                                 .ended = result.ended(k),
                                 .until = attack.until,
                                 .reached = attack.until ? at_least(summary, *attack.until, result.planned(k))
                                                         : std::optional<bool>()});
      }
    }
    for (const Together& all : together(result)) {
      const int64_t images = result.planned(), right = clean_correct_of(result), robust = all.count();
      // An image that is wrong by itself counts as a success, as it does for one attack.
      points.add(result.cell, {.attack = kAllAttacks,
                               .norm = all.norm,
                               .asked = all.asked,
                               .eps = all.eps,
                               .draws = all.draws,
                               .images = images,
                               .robust = robust,
                               .successes = images - robust,
                               .successes_of_correct = right - robust,
                               .clean_correct = right,
                               .clean = share_of(right, images)});
    }
  }
  return points.points();
}

}  // namespace caltrop
