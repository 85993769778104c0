#include "apps/study/plan.h"

#include <chrono>
#include <map>

#include "apps/core/console.h"
#include "apps/core/text_layout.h"
#include "apps/report/table.h"
#include "engine/zoo.h"

namespace caltrop {
namespace {

constexpr int64_t kTrialImages = 64, kTrialSteps = 4;
constexpr int64_t kBytesOfFigure = 250'000;  // PNG, SVG, script and data of a security curve

// Seconds for a million multiply-accumulates of an attack on a cell's network: BIM on a few images.
double seconds_of(const StudyCell& cell, const StudyPlace& place) {
  const Images& images = cell.images->test;
  std::shared_ptr<const Studied> network = cell.arm.given;
  if (!network) {
    const std::string line =
        cell.arm.line.empty() ? zoo_line(cell.arm.name, cell.images->info.classes) : cell.arm.line;
    Model fresh(parse_architecture(line), images.shape(), place.backend);
    fresh.initialize(Initializer::he_uniform, 0);
    network = studied(std::move(fresh));
  }
  AttackOptions bim = attack_defaults(AttackKind::bim);
  bim.steps = kTrialSteps;
  const float eps = 0.1f;
  const AttackJob job{.rows = row_range(0, std::min(kTrialImages, images.count()))};
  const auto run = [&] {
    const auto start = std::chrono::steady_clock::now();
    attack_images(*network->defended.classifier, images, std::span(&eps, 1), bim, job);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  run();  // the caches are empty
  return run() * 1e6 /
         (3 * network->macs * static_cast<double>(job.rows.size()) * static_cast<double>(kTrialSteps));
}

}  // namespace

Json say_plan(const std::vector<StudyCell>& cells, const StudyPlace& place) {
  using Kind = Column::Kind;
  Table table({{"dataset", "data"},
               {"network", "network"},
               {"seed", "seed", Kind::count},
               {"part", "part"},
               {"sizes", "sizes", Kind::count},
               {"images", "images", Kind::count},
               {"seconds", "seconds at most", Kind::number, 1}});
  const std::vector<StudyPart> parts = plan_of(cells, place);
  std::map<std::string, double> rates;  // by network
  double total = 0;
  int64_t bytes = kBytesOfFigure * static_cast<int64_t>(cells.size());
  for (const StudyPart& part : parts) {
    const StudyCell& cell = part.cell;
    const auto [rate, unknown] = rates.try_emplace(cell.dataset + "/" + cell.arm.name);
    if (unknown) rate->second = seconds_of(cell, place);
    const double seconds = rate->second * part.work;
    total += seconds;
    bytes += part.bytes;
    table.row({cell.dataset, cell.arm.name, cell.seed, part.what, part.sizes, part.images, seconds});
  }
  place.console.say(table);
  place.console.blank();
  place.console.say(
      "{} at most by a trial here; images that are fooled leave most attacks early. About {:.1f} MB of "
      "files.",
      duration_text(total), static_cast<double>(bytes) * 1e-6);
  return {{"schema", "study-plan/1"}, {"parts", table.json()}, {"seconds", total}, {"bytes", bytes}};
}

}  // namespace caltrop
