// For papers: LaTeX of a sweep.
#include <algorithm>

#include "apps/report/attack_report.h"
#include "apps/report/latex.h"
#include "apps/study/sweep.h"

namespace caltrop {
namespace {

std::string latex_size(const std::string& asked) {
  return fmt::format("$\\epsilon={}$", latex_text(asked));
}

}  // namespace

std::string latex_table(const std::vector<SweepPoint>& all, Norm norm, const std::string& version) {
  std::vector<SweepPoint> points;
  std::ranges::copy_if(all, std::back_inserter(points), [&](const SweepPoint& p) { return p.norm == norm; });
  const auto datasets = distinct<std::string>(points, &SweepPoint::dataset);
  std::vector<float> sizes = distinct<float>(points, &SweepPoint::eps);
  std::ranges::sort(sizes);
  LatexTable table{
      .comment = fmt::format(
          "Robust accuracy in %, {}, mean and standard deviation over seeds; in bold the strongest attack "
          "of\neach network and size{}. \\usepackage{{booktabs}}. Made by caltrop {}.",
          norm_title(norm),
          std::ranges::any_of(points, &SweepPoint::ended)
              ? "; >= and <: as much as an attack that ended early decided"
              : "",
          version),
      .words = {"Network", "Attack"},
      .numbers = {"clean"}};
  if (datasets.size() > 1) table.words.insert(table.words.begin(), "Data");
  for (const float eps : sizes)
    table.numbers.push_back(latex_size(std::ranges::find(points, eps, &SweepPoint::eps)->asked));
  for (const SweepPlace& place : distinct<SweepPlace>(points, place_of)) {
    const std::vector<SweepPoint> here = points_at(points, place);
    bool first = true;
    for (const std::string& attack : distinct<std::string>(here, &SweepPoint::attack)) {
      LatexRow row{.words = {place.network, attack}, .numbers = {{here[0].clean}}, .begins_group = first};
      if (datasets.size() > 1) row.words.insert(row.words.begin(), place.dataset);
      for (const float eps : sizes) {
        LatexNumber number;
        double strongest = 1;
        for (const SweepPoint& p : here) {
          if (p.eps != eps) continue;
          if (p.ended) {
            strongest = -1;  // it may be the strongest
            if (p.attack == attack) number.bound = p.bound("\\geq", "\\ \\mathrm{of}\\ ", "\\ ");
            continue;
          }
          if (p.attack == attack) number.value = p.robust;
          if (p.attack != kAllAttacks) strongest = std::min(strongest, p.robust.mean);
        }
        number.best = number.value && attack != kAllAttacks && number.value->mean <= strongest;
        row.numbers.push_back(number);
      }
      table.rows.push_back(std::move(row));
      first = false;
    }
  }
  return latex_of(table);
}

}  // namespace caltrop
