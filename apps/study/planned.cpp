#include "apps/study/planned.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "apps/core/console.h"

namespace caltrop {

const StudyImages* StudyData::of(const StudyCell& cell) {
  if (cell.images) return cell.images.get();
  const auto [at, unread] = sets_.try_emplace({cell.dataset, cell.data_dir});
  try {
    if (unread) at->second = study_images(cell.dataset, cell.data_dir, place_);
  } catch (const DatasetNotFound& problem) {
    place_.console.warn("{} is left out: {}", cell.dataset, problem.what());
    skipped_.emplace_back(problem.what());
  }
  return at->second ? &*at->second : nullptr;
}

PlannedCell::PlannedCell(const StudyCell& planned, const StudyImages& of, Backend& backend)
    : cell(planned), images(of), arm(planned, of, backend) {
  const int64_t all = images.test.count(), wanted = cell.arm.attacked;
  rows = images.rows.empty() ? row_range(0, wanted > 0 ? std::min(wanted, all) : all) : images.rows;
}

int64_t PlannedCell::attacked(const StudyAttack& attack) const {
  const auto all = static_cast<int64_t>(rows.size());
  return attack.images > 0 ? std::min(attack.images, all) : all;
}

double PlannedCell::attack_work(size_t which) const {
  const StudyAttack& attack = cell.attacks[which];
  return shared[which]
             ? 0
             : kPasses * arm.macs() * static_cast<double>(attacked(attack)) / kUnit *
                   expected_passes(attack.options, attack.sizes.size(), attack.tries, images.info.classes);
}

double PlannedCell::work() const {
  double sum = 0;
  for (const TrainingPart& part : arm.parts()) sum += part.macs / kUnit;
  for (size_t k = 0; k < cell.attacks.size(); ++k) sum += attack_work(k);
  return sum;
}

std::vector<PlannedCell> planned(const std::vector<StudyCell>& cells, StudyData& data, Backend& backend) {
  std::vector<PlannedCell> plan;
  std::set<std::tuple<const Studied*, const StudyImages*, std::string>> done;
  for (const StudyCell& cell : cells) {
    const StudyImages* images = data.of(cell);
    if (images == nullptr) continue;
    PlannedCell& one =
        with_place(cell.title(), [&]() -> PlannedCell& { return plan.emplace_back(cell, *images, backend); });
    for (const StudyAttack& attack : cell.attacks) {
      const bool first = done.insert({cell.arm.given.get(), images, attack.name}).second;
      one.shared.push_back(!first && cell.arm.given && !draws(attack.options));
    }
  }
  return plan;
}

std::vector<StudyPart> plan_of(const std::vector<StudyCell>& cells, const StudyPlace& place) {
  constexpr int64_t kBytesOfCounts = 6000;  // stored of an attack at a size, beside a letter for each image
  StudyData data(place);
  std::vector<StudyPart> parts;
  for (const PlannedCell& one : planned(cells, data, place.backend)) {
    for (const TrainingPart& part : one.arm.parts())
      parts.push_back({one.cell, part.name, 0, one.arm.training_images(), part.macs / kUnit, part.bytes});
    for (size_t k = 0; k < one.cell.attacks.size(); ++k) {
      const StudyAttack& attack = one.cell.attacks[k];
      const auto sizes = static_cast<int64_t>(attack.sizes.size());
      parts.push_back({one.cell, attack.name, sizes, one.attacked(attack), one.attack_work(k),
                       sizes * (one.attacked(attack) + kBytesOfCounts)});
    }
  }
  return parts;
}

}  // namespace caltrop
