// For people: security curves and the page of a sweep.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "apps/core/console.h"
#include "apps/core/run_folder.h"
#include "apps/core/size.h"
#include "apps/core/text_layout.h"
#include "apps/report/attack_report.h"
#include "apps/report/figure.h"
#include "apps/report/page.h"
#include "apps/study/comparison.h"
#include "apps/study/report.h"
#include "apps/study/sweep.h"

namespace caltrop {
namespace {

std::string title_of(const SweepPlace& place) {
  return fmt::format("{} on {}, {}", place.network, place.dataset, norm_title(place.norm));
}

// "60 images", or of several data sets "30 images of fashion-mnist, 60 of mnist".
std::string images_in_words(const std::map<std::string, int64_t>& by_dataset) {
  std::string words;
  for (const auto& [dataset, images] : by_dataset)
    words +=
        fmt::format("{}{}", words.empty() ? "" : ", ",
                    by_dataset.size() == 1 ? counted(images, "image", "images")
                    : words.empty() ? fmt::format("{} of {}", counted(images, "image", "images"), dataset)
                                    : fmt::format("{} of {}", grouped(images), dataset));
  return words;
}

size_t seeds_of(const std::vector<SweepPoint>& points) {
  size_t most = 0;
  for (const SweepPoint& p : points) most = std::max(most, p.seeds);
  return most;
}

// Robust accuracy by size, one curve for each attack. Each begins at the clean accuracy. Nothing where every attack ended
// early at every size.
std::optional<Figure> security_curve(const SweepPlace& place, const std::vector<SweepPoint>& points) {
  const auto whole = std::ranges::find(points, false, &SweepPoint::ended);
  if (whole == points.end()) return std::nullopt;
  const SweepPoint& first = *whole;
  const size_t seeds = seeds_of(points);
  Figure figure{
      .title = fmt::format("Robust accuracy of {}", title_of(place)),
      .x_label = fmt::format("size of the perturbation, {} (pixels from 0 to 1)", norm_title(place.norm)),
      .y_label = "robust accuracy",
      .note = fmt::format("{}; {}", counted(first.images, "image", "images"), interval_words(seeds)),
      .svg = true};
  for (const std::string& attack : distinct<std::string>(points, &SweepPoint::attack)) {
    std::vector<SweepPoint> curve;
    std::ranges::copy_if(points, std::back_inserter(curve),
                         [&](const SweepPoint& p) { return p.attack == attack; });
    std::erase_if(curve, [](const SweepPoint& p) { return p.ended; });
    if (curve.empty()) continue;
    std::ranges::sort(curve, {}, &SweepPoint::eps);
    const bool all = attack == kAllAttacks;
    Series& series = *figure.series.emplace(all ? figure.series.begin() : figure.series.end());
    series.title = all ? "all of them" : attack;
    series.ground = all;
    const int64_t images = seeds > 1 ? 0 : first.images;  // one kind of line in a figure
    if (curve[0].eps > 0) series.add(0, measured(curve[0].clean, images));
    for (const SweepPoint& p : curve) series.add(static_cast<double>(p.eps), measured(p.robust, images));
  }
  return figure;
}

// For people: a row for each attack, a column for each size.
Table page_of(const std::vector<SweepPoint>& here) {
  std::vector<float> sizes = distinct<float>(here, &SweepPoint::eps);
  std::ranges::sort(sizes);
  std::vector<Column> columns = {{"attack", "attack"}, {"clean", "clean"}};
  for (const float eps : sizes) {
    const std::string asked = std::ranges::find(here, eps, &SweepPoint::eps)->asked;
    columns.push_back({"size_" + asked, asked});
  }
  Table table(std::move(columns));
  for (const std::string& attack : distinct<std::string>(here, &SweepPoint::attack)) {
    std::vector<Cell> row = {attack, in_percent(here[0].clean)};
    for (const float eps : sizes) {
      const auto found =
          std::ranges::find_if(here, [&](const SweepPoint& p) { return p.attack == attack && p.eps == eps; });
      row.emplace_back(found == here.end() ? "-" : found->in_words());
    }
    table.row(std::move(row));
  }
  return table;
}

// The strongest attack of a norm on a cell, of those that met all images: at the largest size that has the least robust.
struct Strongest {
  size_t attack = 0, size = 0;
  const AttackSummary* summary = nullptr;
};
std::map<Norm, Strongest> strongest_of(const CellResult& result) {
  std::map<Norm, Strongest> all;
  for (size_t k = 0; k < result.attacks.size(); ++k) {
    for (size_t s = 0; s < result.attacks[k].sizes.size() && !result.ended(k); ++s) {
      const AttackSummary& summary = result.attacks[k].sizes[s].tries.at(0);
      Strongest& now = all[result.attacks[k].norm];
      const bool stronger = !now.summary || std::pair(summary.size, now.summary->robust) >
                                                std::pair(now.summary->size, summary.robust);
      if (stronger) now = {k, s, &summary};
    }
  }
  return all;
}

// Of each network's first seed, under the strongest attack of each norm.
Json by_class(const std::vector<CellResult>& results) {
  Json tables = Json::array();
  std::set<std::pair<std::string, std::string>> seen;
  for (const CellResult& result : results) {
    const StudyCell& cell = result.cell;
    if (!seen.insert({cell.dataset, cell.arm.name}).second) continue;
    for (const auto& [norm, strongest] : strongest_of(result)) {
      const StudyAttack& attack = cell.attacks[strongest.attack];
      const std::vector<std::string> names =
          cell.images ? cell.images->info.class_names : std::vector<std::string>();
      tables.push_back(
          page_table(fmt::format("{} on {}: {} at {} {}", cell.arm.name, cell.dataset, attack.name,
                                 norm_title(norm), attack.asked_size(strongest.size)),
                     "", robust_class_table(*strongest.summary, names)));
    }
  }
  return tables;
}

// What the attacks were, each once: the options that it reads. A step that follows from the size has none of its own.
Json attacks_of(const std::vector<CellResult>& results) {
  Json rows = Json::array();
  std::set<std::string> seen;
  for (const CellResult& result : results) {
    for (const StudyAttack& attack : result.cell.attacks) {
      if (!seen.insert(attack.name).second) continue;
      std::string options;
      const Json resolved = to_json(attack.options, attack.sizes.at(0).eps);
      for (const auto& [key, value] : resolved.items()) {
        const bool by_size = key == "step_size" && attack.options.step_size == 0;
        if (by_size || key == "seed" || key == "stages" || key == "low" || key == "high") continue;
        options += fmt::format("{}{} {}", options.empty() ? "" : ", ", key,
                               value.is_string() ? value.get<std::string>() : value.dump());
      }
      rows.push_back({{"name", attack.name}, {"options", options}});
    }
  }
  return rows;
}

void write_sweep(const std::vector<CellResult>& results, const StudyPlace& place, const RunConfig& config,
                 StudyReport& report) {
  const std::vector<SweepPoint> points = points_of(results);
  const std::string version = config.values.value("version", "");
  report.keep("results", results_table(results));
  report.keep("summary", summary_table(points));
  std::vector<std::string> figures;
  const bool several = distinct<std::string>(points, &SweepPoint::dataset).size() > 1;
  Json sections = Json::array();
  std::map<std::string, int64_t> images;  // by data set
  for (const CellResult& result : results) images[result.cell.dataset] = result.planned();
  int64_t number = 0;
  for (const SweepPlace& here : distinct<SweepPlace>(points, place_of)) {
    const std::vector<SweepPoint> some = points_at(points, here);
    const std::optional<Figure> figure = security_curve(here, some);
    const std::string stem =
        fmt::format("curve-{}{}-{}", several ? here.dataset + "-" : "", here.network, to_string(here.norm));
    const Table table = page_of(some);
    place.console.blank();
    place.console.say("robust accuracy of {} in %: {}", title_of(here),
                      counted(images.at(here.dataset), "image", "images"));
    place.console.say(table);
    Json section = page_table(title_of(here), "", table);
    section["charts"] = Json::array();
    if (figure) {
      figures.push_back(write_figure(place.folder, stem, *figure));
      section["charts"].push_back(page_chart(
          fmt::format("c{}", ++number), *figure,
          fmt::format("Robust accuracy of {} by the size of the perturbation, a curve for each attack.",
                      title_of(here))));
    }
    sections.push_back(std::move(section));
  }
  for (const Norm norm : distinct<Norm>(points, &SweepPoint::norm))
    place.folder.write(fmt::format("table-{}.tex", to_string(norm)), latex_table(points, norm, version));
  report.figures(figures);
  const std::vector<std::string> warnings = flattered(points, results.at(0).cell.attacks);
  for (const std::string& warning : warnings) place.console.warn("{}", warning);

  const std::string networks = fmt::format(
      "{}", counted(static_cast<int64_t>(distinct<std::string>(points, &SweepPoint::network).size()),
                    "network", "networks"));
  const size_t seeds = seeds_of(points);
  place.folder.write(
      "report.html",
      fill_page(
          sweep_template(),
          {{"title", "Robust accuracy by size"},
           {"lead",
            fmt::format("{}, {}, {}, {}.", networks,
                        counted(static_cast<int64_t>(results.at(0).cell.attacks.size()), "attack", "attacks"),
                        counted(static_cast<int64_t>(seeds), "seed", "seeds"), images_in_words(images))},
           {"interval", seeds > 1 ? "Numbers are means over seeds ± their standard deviation; in figures, "
                                    "lines reach from the lowest seed to the highest"
                                  : "One seed; in figures, lines are 95 % intervals of shares (Wilson)"},
           {"all", std::ranges::any_of(points, [](const SweepPoint& p) { return p.attack == kAllAttacks; })},
           {"ended", std::ranges::any_of(points, &SweepPoint::ended)},
           {"warnings", warnings},
           {"sections", sections},
           {"by_class", by_class(results)},
           {"attacks", attacks_of(results)},
           {"config", json_text(config.values)},
           {"version", version}}));
}

}  // namespace

void run_sweep(const std::vector<StudyCell>& cells, const StudyPlace& place, const RunConfig& config) {
  const StudyResults results = run_study(cells, place);
  StudyReport report(place);
  write_sweep(results.cells, place, config, report);
  Json result = result_of(config, "sweep/2", report.result());
  result["out"] = place.folder.path().string();
  place.console.blank();
  place.console.say("tables, curves and {}", place.folder.file("report.html").string());
  place.console.result(result);
}

}  // namespace caltrop
