// caltrop paper kim: the study of "Kim 2025", each number beside the paper's, and what its claims are worth.
#include <memory>
#include <set>

#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/paper/kim/shown.h"
#include "apps/study/plan.h"
#include "apps/study/report.h"
#include "apps/study/transfer.h"

namespace caltrop {
namespace {

struct KimCommand : KimOptions {
  CommonOptions common;
  std::string dataset = "all";
  bool dry_run = false;
};

void declare(Flags& flags, KimCommand& options) {
  flags.usage("[--scale smoke|quick|paper] [--dataset mnist|fashion-mnist|all]");
  flags.about(
      "Reproduces Kim 2025, a comparison of adversarial training, defensive distillation and gradient "
      "masking, alone and in all "
      "ordered pairs (four epochs of the first, three of the second), on networks of two to five "
      "convolutions. The paper tests "
      "with FGSM alone, at a size that it does not give: here FGSM is swept, the size marked at which the "
      "control falls to the "
      "paper's 29.15 %, and beside it every arm meets PGD of 100 steps, CW, Square, AutoAttack and images of "
      "the control. "
      "report.md says which claims hold. Source: J. Robot. Auto. Res. 6(2).");
  flags.group("Study");
  flags.choice("scale", options.scale, {"smoke", "quick", "paper"},
               "smoke: under two minutes, on a few images. quick: under an hour on 2 cores for both data "
               "sets, 6,000 training "
               "images, two seeds. paper: all images, 16 seeds");
  flags.choice("dataset", options.dataset, {"all", "mnist", "fashion-mnist"}, "only this one");
  flags.integer("train-images", options.train_images, 1, std::numeric_limits<int32_t>::max(), "N",
                "the first N training images", "by --scale: 600, 6000, all");
  flags.number("eps", options.eps, {.low = 0, .high = 1, .open_low = true}, "E",
               "L-inf size of FGSM in adversarial training, and after each epoch");
  flags.number("temperature", options.temperature, {.low = 0, .high = 1e6, .open_low = true}, "T",
               "of distillation");
  flags.text("data-dir", options.data_dir, "DIR", "the folder that holds mnist/ and fashion-mnist/",
             "searched: see 'caltrop info'");
  flags.toggle("dry-run", options.dry_run,
               "say what would run, how long it takes at most, and how much disk");
  add_common_flags(flags, options.common, true, "runs/paper-kim, the first that is free");
  // No part of the recipe: a folder is resumed with more seeds than it was begun with.
  flags.integer("seeds", options.seeds, 1, 1000, "N",
                "seeds: --seed, --seed + 1, ...; with --resume more can be added", "by --scale: 1, 2, 16");
  flags.section(
      "Files",
      " DIR/report.md, report.html     claims, tables and figures, to read\n"
      " DIR/DATA-claims.csv            claim, the paper's words, our numbers, verdict; and .json\n"
      " DIR/DATA-fgsm.csv              each arm under FGSM, beside the paper; and .json\n"
      " DIR/DATA-attacks.csv           each arm under all attacks, and what its training took; and .json\n"
      " DIR/DATA-pairs.csv             paired tests over the seeds, with Holm's correction; and .json\n"
      " DIR/DATA-epochs.csv            each arm and seed after each epoch; and .json\n"
      " DIR/DATA-by-size.png, -by-epoch.png, -by-depth.png, -fgsm-against-pgd.png   with script and data\n"
      " DIR/DATA-ARM-seed-N...         networks, trainings, what attacks did: --resume takes them up again");
  flags.section("JSON",
                "out, DATA-claims, DATA-fgsm, DATA-attacks, DATA-pairs, DATA-epochs (the tables), figures, "
                "report, page, skipped");
  flags.example("caltrop paper kim --scale quick --dataset mnist", "MNIST in half an hour.");
}

// A data set, as every cell is given it.
std::shared_ptr<const StudyImages> images_of(const std::string& dataset, const KimCommand& options,
                                             const StudyPlace& place) {
  StudyImages all = study_images(dataset, options.data_dir, place);
  // What is judged at all, after each epoch too: of 10,000 images that would take longer than a small training.
  if (options.judged() < all.test.count()) all.test = all.test.at(row_range(0, options.judged()));
  return std::make_shared<const StudyImages>(std::move(all));
}

std::vector<StudyCell> cells_on(const std::string& dataset, const KimCommand& options,
                                std::shared_ptr<const StudyImages> images) {
  Study study{.dataset = dataset,
              .data_dir = options.data_dir,
              .arms = kim_arms(options),
              .seeds = {},
              .attacks = kim_attacks(options.scale),
              .images = std::move(images),
              .grows = true};
  for (int64_t k = 0; k < options.seed_count(); ++k) study.seeds.push_back(options.common.seed + k);
  return cells_of(study);
}

// What metrics.jsonl of a cell's trainings say of the network that the cell ends with: of distillation the student.
std::vector<KimEpoch> epochs_of(const StudyCell& cell, const RunFolder& folder) {
  std::vector<KimEpoch> epochs;
  for (size_t k = 0; k < cell.arm.trainings.size(); ++k) {
    const std::string& method = cell.arm.trainings[k].method;
    const Json lines =
        MetricsLog::read(folder.file(cell.stem) / fmt::format("{}-{}", k + 1, method) / "metrics.jsonl");
    for (const Json& line : lines) {
      if (method == kDistillation && line.at("stage") != lines.back().at("stage")) continue;
      epochs.push_back({static_cast<int64_t>(epochs.size()) + 1, method,
                        line.at("test_accuracy").get<double>(),
                        line.at("reported").at("fgsm").get<double>()});
    }
  }
  return epochs;
}

// Every network of a seed on images that FGSM and PGD make of the control's.
void ask_of_transfer(const std::vector<StudyCell>& cells, const StudyImages& images,
                     const KimCommand& options, const StudyPlace& place, KimStudy& study) {
  Console silent("", true);  // they have been introduced
  const StudyPlace again{place.folder, place.backend, silent, place.batch};
  std::set<int64_t> seeds;
  for (const StudyCell& cell : cells) seeds.insert(cell.seed);
  StudyImages some{.info = images.info, .train = {}, .test = images.test, .fingerprint = images.fingerprint};
  some.rows = row_range(0, std::min<int64_t>(cells.front().arm.attacked, images.test.count()));
  std::vector<StudyAttack> attacks = kim_attacks(options.scale);
  attacks.resize(2);  // FGSM, PGD
  for (StudyAttack& attack : attacks) attack.sizes = plain_sizes(std::vector<float>{kTransferSize});
  for (const int64_t seed : seeds) {
    std::vector<StudyArm> arms;
    for (const StudyCell& cell : cells) {
      if (cell.seed != seed) continue;
      StudyArm& arm = arms.emplace_back(StudyArm{.name = cell.stem});
      arm.given = study_network(cell, images, again);
    }
    for (const Transferred& row : run_transfer(arms, attacks, some, seed, place, 1))
      study.transferred[row.target][row.attack] = row.robust_accuracy();
  }
}

KimStudy study_of(const std::string& dataset, const std::vector<StudyCell>& cells, const StudyImages& images,
                  const KimCommand& options, const StudyPlace& place) {
  KimStudy study{.dataset = dataset};
  study.cells = run_study(cells, place).cells;
  ask_of_transfer(cells, images, options, place, study);
  for (const StudyCell& cell : cells) study.epochs[cell.stem] = epochs_of(cell, place.folder);
  for (const StudyPart& part : plan_of(cells, place))
    if (part.sizes == 0) study.work[part.cell.arm.name] += part.work;
  return study;
}

void run(KimCommand& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  if (!options.dry_run) RunFolder::check(options.common.out, options.common.resume);
  Backend& backend = open_backend(options.common, console);
  RunConfig config = make_config(flags, Json::object());
  config.growing = "/seeds";
  const std::string out = options.dry_run ? std::string() : folder_or_free(options.common.out, "paper-kim");
  const RunFolder folder(out, config, options.common.resume && !options.dry_run);
  const StudyPlace place{folder, backend, console};
  std::vector<std::pair<std::string, std::shared_ptr<const StudyImages>>> sets;
  Json skipped = Json::array();
  for (const std::string& dataset : kKimDatasets) {
    if (options.dataset != "all" && options.dataset != dataset) continue;
    try {
      sets.emplace_back(dataset, images_of(dataset, options, place));
    } catch (const DatasetNotFound& problem) {
      console.warn("{} is left out: {}", dataset, problem.what());
      skipped.push_back(problem.what());
    }
  }
  if (sets.empty()) fail("nothing to show: {}", skipped.back().get<std::string>());
  std::vector<std::vector<StudyCell>> cells;
  for (const auto& [dataset, images] : sets) cells.push_back(cells_on(dataset, options, images));
  if (options.dry_run) {
    std::vector<StudyCell> all;
    for (const auto& some : cells) all.insert(all.end(), some.begin(), some.end());
    return console.result(say_plan(all, place));
  }
  std::vector<KimStudy> studies;
  for (size_t k = 0; k < sets.size(); ++k)
    studies.push_back(study_of(sets[k].first, cells[k], *sets[k].second, options, place));
  StudyReport report(place);
  show_kim(studies, options, place, report);
  report.write_page("Kim 2025, beside the paper", lead_of(options), config.values.value("version", ""));
  Json result = {{"out", out}, {"skipped", skipped}};
  result.update(report.result());
  result = result_of(config, "paper-kim/1", std::move(result));
  console.blank();
  console.say("{}", folder.file("report.md").string());
  console.result(result);
}

}  // namespace

Run paper_kim_command(Flags& flags) {
  return make_command<KimCommand>(flags, declare, run);
}

}  // namespace caltrop
