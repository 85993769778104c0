// caltrop study: a file that says which networks are trained, or given, on which data sets, and how they are attacked.
#include <algorithm>
#include <cmath>
#include <filesystem>

#include "apps/commands/study_file.h"
#include "apps/commands/sweep_networks.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/study/plan.h"
#include "apps/study/sweep.h"
#include "data/file_bytes.h"

namespace caltrop {
namespace {

struct StudyOptions {
  CommonOptions common;
  std::string file;
  bool dry_run = false;
};

void declare(Flags& flags, StudyOptions& options) {
  flags.usage("FILE.json [flags]");
  flags.about(
      "Trains networks, or takes trained ones, on one data set or several, for several seeds, and attacks "
      "each as "
      "'caltrop sweep' does; what it leaves is the same, with the trained networks. The file says what: keys "
      "are the "
      "flags of 'train', 'attack' and 'sweep' by their names (docs/studies.md). A run that is cut off goes "
      "on with "
      "--resume behind the last network or attack that was finished, and ends with the same bytes; more "
      "'seeds' in the file are added by --resume.");
  flags.positional("file", options.file, {}, "the study");
  flags.group("Study", Scope::local);
  flags.toggle("dry-run", options.dry_run,
               "say what would run, how long it takes and how much it stores, and end");
  add_common_flags(flags, options.common, true, "runs/FILE, the first that is free");
  flags.section(
      "A study",
      " {\"datasets\": [\"mnist\", {\"dataset\": \"fashion-mnist\", \"limit\": 1000}],\n"
      "  \"networks\": [{\"model\": \"target\", \"epochs\": 5}, {\"name\": \"mine\", \"weights\": "
      "\"FILE\"}],\n"
      "  \"shares\": [0.1, 1], \"seeds\": 3, \"norm\": \"linf\", \"eps\": \"2/255:8/255:2/255\",\n"
      "  \"attacks\": [\"pgd:steps=40\", {\"attack\": \"cw\", \"norm\": \"l2\", \"eps\": [0.5, 1]}]}");
  flags.section("Files", "As of 'caltrop sweep', and DIR/DATA-NET-seed-N.safetensors, the trained networks.");
  flags.section("JSON",
                "schema (sweep/2), results, summary (the tables), figures (files), run, out; with --dry-run: "
                "schema (study-plan/1), parts, seconds, bytes");
  flags.example("caltrop study study.json --out runs/study", "Run it.");
  flags.example("caltrop study study.json --dry-run", "How long would it take?");
}

// The images of a data set: with those to train on where a network is trained.
std::shared_ptr<const StudyImages> images_of(StudyDataset& wanted, bool train, Backend& backend,
                                             Console& console) {
  if (!train) {
    HostData host = load_host_data(wanted.data, wanted.subset, console);
    Images images(backend, host.images.shape(), host.images.pixels, host.images.labels);
    Json fingerprint = host.info.facts.at("data").at(wanted.subset);
    return std::make_shared<const StudyImages>(StudyImages{
        std::move(host.info), {}, std::move(images), std::move(fingerprint), std::move(host.rows)});
  }
  if (wanted.subset != "test")
    fail("{}: networks that are trained are attacked on test images", wanted.data.dataset);
  if (!wanted.data.indices.empty() || wanted.data.offset)
    fail("{}: indices and offset are for networks that are given", wanted.data.dataset);
  DataOptions all = wanted.data;
  all.limit.reset();
  TrainingData data = load_training_data(all, backend, console, wanted.data.limit);
  wanted.data.dataset = data.info.name;
  Json fingerprint = data.info.facts.at("data").at("test");
  return std::make_shared<const StudyImages>(
      StudyImages{std::move(data.info), std::move(data.train), std::move(data.test), std::move(fingerprint)});
}

// A network on a data set: given, or one arm for each share of the training images.
std::vector<StudyArm> arms_of(const StudyNetwork& network, const std::vector<double>& shares,
                              const StudyImages& images, Backend& backend, Json& facts) {
  std::vector<StudyArm> arms;
  if (network.given()) {
    ModelOptions options = network.model;
    OpenedNetwork opened = open_network(options, images.test.shape(), images.info.classes, backend);
    expect_outputs(opened.model, images.info, network.model.weights);
    facts["network"][network.name] = opened.facts.at("network");
    facts["inputs"]["weights_crc32"][network.name] = opened.facts.at("inputs").at("weights_crc32");
    arms.push_back({.name = network.name, .given = studied(std::move(opened.model))});
    return arms;
  }
  const std::string line = asked_network(network.model, images.info.classes).line;
  const Model fits(parse_architecture(line), images.test.shape(), backend);  // an Error where it does not
  expect_outputs(fits, images.info, network.name);
  facts["network"][network.name] = line;
  if (!network.from.empty()) facts["inputs"]["from_crc32"][network.name] = file_crc32(network.from);
  const int64_t there = images.train->count(), all = network.train_images.value_or(there);
  if (all > there) fail("train_images {}: {} has {} training images", all, images.info.name, there);
  for (const double share : shares) {
    const int64_t some = std::llround(share * static_cast<double>(all));
    if (some == 0) fail("shares: {} of {} training images is none", share, all);
    arms.push_back({.name = share == 1 ? network.name : fmt::format("{}-share-{}", network.name, share),
                    .line = line,
                    .initializer = network.initializer,
                    .train_images = some,
                    .epochs = network.epochs,
                    .trainings = network.trainings,
                    .pool_stride = network.model.pool_stride});
  }
  return arms;
}

void run(StudyOptions& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  if (!options.dry_run) RunFolder::check(options.common.out, options.common.resume);
  const std::filesystem::path path = std::filesystem::absolute(options.file).lexically_normal();
  options.file = path.string();
  const Json json = read_json(path);
  StudyFile study = read_study(json, options.file, options.common.seed);
  options.common.seed = study.seeds.at(0);  // what the run records
  Backend& backend = open_backend(options.common, console);
  const bool trains =
      std::ranges::any_of(study.networks, [](const StudyNetwork& one) { return !one.given(); });
  std::vector<StudyCell> cells;
  Json facts = {{"study", json}};
  facts["study"]["seeds"] = study.seeds.size();
  const auto at = [&](const char* key, size_t number) {
    return fmt::format("{}: {}[{}]", options.file, key, number);
  };
  for (size_t d = 0; d < study.datasets.size(); ++d) {
    const auto images =
        with_place(at("datasets", d), [&] { return images_of(study.datasets[d], trains, backend, console); });
    for (size_t k = 0; k < study.attacks.size(); ++k) {
      const StudyAttack& attack = study.attacks[k];
      with_place(at("attacks", k),
                 [&] { check_attack(attack.options, eps_of(attack.sizes), images->test.image_size()); });
    }
    facts["data"][images->info.name] = images->info.facts.at("data");
    std::vector<StudyArm> arms;
    for (size_t k = 0; k < study.networks.size(); ++k) {
      const std::vector<StudyArm> some = with_place(at("networks", k), [&] {
        return arms_of(study.networks[k], study.shares, *images, backend, facts);
      });
      arms.insert(arms.end(), some.begin(), some.end());
    }
    const std::vector<StudyCell> more = cells_of({.dataset = images->info.name,
                                                  .data_dir = "",
                                                  .arms = std::move(arms),
                                                  .seeds = study.seeds,
                                                  .attacks = study.attacks,
                                                  .images = images,
                                                  .grows = true});
    cells.insert(cells.end(), more.begin(), more.end());
  }
  for (size_t k = 0; k < cells.size(); ++k) {
    for (size_t j = 0; j < k; ++j)
      if (cells[j].stem == cells[k].stem)
        fail("{}: {} comes twice; data sets, names of networks and shares must differ", options.file,
             cells[k].stem);
  }

  RunConfig config = make_config(flags, facts);
  config.growing = "/study/seeds";
  config.named = "/file";
  const std::string out =
      options.dry_run ? std::string() : folder_or_free(options.common.out, path.stem().string());
  const RunFolder folder(out, config, options.common.resume && !options.dry_run);
  const StudyPlace place{folder, backend, console};
  if (options.dry_run) return console.result(say_plan(cells, place));
  run_sweep(cells, place, config);
}

}  // namespace

Run study_command(Flags& flags) {
  return make_command<StudyOptions>(flags, declare, run);
}

}  // namespace caltrop
