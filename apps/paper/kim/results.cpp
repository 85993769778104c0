#include "apps/paper/kim/results.h"

#include <algorithm>

#include "engine/error.h"

namespace caltrop {
namespace {

const GmaSizeResult& at_size(const GmaAnalysis& analysis, float size) {
  for (const GmaSizeResult& one : analysis.sizes)
    if (one.size.eps == size) return one;
  fail("[kim] there is no result at the size {}", size);
}

// Where a curve through the points, whose x rises, first falls to y.
std::optional<double> first_at(const std::vector<std::pair<double, double>>& points, double y) {
  for (size_t k = 1; k < points.size(); ++k) {
    const auto [x0, y0] = points[k - 1];
    const auto [x1, y1] = points[k];
    if (y0 >= y && y1 <= y && y0 > y1) return x0 + (y0 - y) / (y0 - y1) * (x1 - x0);
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> KimStudy::arms() const {
  std::vector<std::string> names;
  for (const CellResult& cell : cells)
    if (std::ranges::find(names, cell.cell.arm.name) == names.end()) names.push_back(cell.cell.arm.name);
  return names;
}

bool KimStudy::has(const std::string& arm) const {
  return std::ranges::any_of(cells, [&](const CellResult& cell) { return cell.cell.arm.name == arm; });
}

std::vector<double> KimStudy::each(const std::string& arm, const KimNumber& number) const {
  std::vector<double> values;
  for (const CellResult& cell : cells)
    if (cell.cell.arm.name == arm) values.push_back(number(cell));
  if (values.empty()) fail("[kim] there is no result of {} on {}", arm, dataset);
  return values;
}

PairedTest KimStudy::compare(const std::string& a, const std::string& b, const KimNumber& number) const {
  return paired_test(each(a, number), each(b, number));
}

std::optional<double> KimStudy::matched() const {
  std::vector<std::pair<double, double>> points = {{0.0, mean(kControl, clean_accuracy()).mean}};
  for (const float size : kFgsmSizes)
    points.emplace_back(static_cast<double>(size), mean(kControl, under_attack(kFgsm, size)).mean);
  return first_at(points, kPrintedControl);
}

double KimStudy::size() const {
  if (const std::optional<double> found = matched()) return *found;
  const bool below = mean(kControl, under_attack(kFgsm, kFgsmSizes.front())).mean < kPrintedControl;
  return static_cast<double>(below ? kFgsmSizes.front() : kFgsmSizes.back());
}

KimNumber KimStudy::transfer(const std::string& attack) const {
  return {[this, attack](const CellResult& cell) { return transferred.at(cell.cell.stem).at(attack); },
          [](const CellResult& cell) {
            return cell.attacked();
          }};
}

KimNumber clean_accuracy() {
  return {[](const CellResult& cell) { return cell.clean(); },
          [](const CellResult& cell) {
            return cell.attacked();
          }};
}

KimNumber under_attack(const std::string& attack, float size) {
  return {[=](const CellResult& cell) {
            const AttackSummary& met = at_size(cell.under(attack), size).tries.at(0);
            return attack == kFgsm ? met.accuracy() : met.robust_accuracy();
          },
          [=](const CellResult& cell) {
            return cell.under(attack).images;
          }};
}

KimNumber under_attack_on(const std::string& attack, float size, int64_t images) {
  return {[=](const CellResult& cell) {
            const std::vector<bool>& robust = at_size(cell.under(attack), size).robust;
            const auto end = robust.begin() + std::min(images, static_cast<int64_t>(robust.size()));
            return share_of(std::count(robust.begin(), end, true), end - robust.begin());
          },
          [=](const CellResult&) {
            return images;
          }};
}

KimNumber under_fgsm(double size) {
  return {[=](const CellResult& cell) {
            double below = 0, before = cell.clean();
            for (const float next : kFgsmSizes) {
              const auto above = static_cast<double>(next);
              const double accuracy = under_attack(kFgsm, next)(cell);
              if (size <= above) return before + (size - below) / (above - below) * (accuracy - before);
              below = above, before = accuracy;
            }
            return before;
          },
          [](const CellResult& cell) {
            return cell.attacked();
          }};
}

KimNumber zero_gradients() {
  return {[](const CellResult& cell) {
            const AttackSummary& first = cell.under(kFgsm).sizes.at(0).tries.at(0);
            return share_of(first.zero_gradients, first.images);
          },
          [](const CellResult& cell) {
            return cell.attacked();
          }};
}

}  // namespace caltrop
