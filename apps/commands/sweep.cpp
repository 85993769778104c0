// caltrop sweep: networks x attacks x sizes x seeds, in one run.
#include <algorithm>

#include "apps/commands/sweep_networks.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/run_folder.h"
#include "apps/study/plan.h"
#include "apps/study/sweep.h"

namespace caltrop {
namespace {

struct SweepOptions {
  CommonOptions common;
  CrossedOptions crossed;
  int64_t seeds = 1, batch = 0;
  std::optional<double> until;
  bool dry_run = false;
};

void declare(Flags& flags, SweepOptions& options) {
  flags.usage("--weights [NAME=]FILE,... --attacks NAME,... --eps SIZES [--seeds N] [flags]");
  flags.about(
      "Attacks each network with each attack at each size for each seed, and leaves what a paper shows of "
      "it: "
      "tables as CSV, JSON and LaTeX, a security curve of each network, a page. A network is asked about the "
      "clean images once, the sizes of an attack go together, and an attack that draws no random numbers "
      "runs "
      "once for all seeds. An image is robust where it is right both when clean and under the attack; 'all' "
      "counts those that no attack fools. A run that is cut off goes on with --resume and ends with the same "
      "bytes; --resume --seeds N adds seeds.");
  flags.group("Sweep");
  add_crossed_flags(flags, options.crossed, "trained networks (safetensors)");
  flags.integer("seeds", options.seeds, 1, 1000, "N", "seeds: --seed, --seed + 1, ...");
  flags.number(
      "until-robust", options.until, {.low = 0, .high = 1}, "SHARE",
      "end an attack on a network as soon as it is known of each size whether the robust accuracy is at "
      "least this",
      "all images");
  flags.group("Sweep", Scope::local);
  flags.toggle("dry-run", options.dry_run,
               "say what would run, how long it takes and how much it stores, and end");
  add_crossed_inputs(flags, options.crossed);
  flags.group("Computing", Scope::local);
  add_batch_flag(flags, options.batch,
                 "images in a batch, 0 for what suits the network; results do not depend on it");
  add_common_flags(flags, options.common, true, "runs/sweep-NORM-DATA, the first that is free");
  flags.section(
      "Files",
      " DIR/results.csv             a row for each network, attack, size and seed; and .json\n"
      " DIR/summary.csv             the same over the seeds; and .json\n"
      " DIR/table-NORM.tex          robust accuracy, mean ± sd, the strongest attack in bold (booktabs)\n"
      " DIR/curve-NET-NORM.png      security curve with error bars; .svg, and .gp and .dat that draw it\n"
      " DIR/report.html             all of it to read\n"
      " DIR/DATA-NET-seed-N-attacks.json   every count, by class too, and which images are robust\n"
      "docs/files.md has every column.");
  flags.section("JSON",
                "schema (sweep/2), results, summary (the tables), figures (files), run, out; with --dry-run: "
                "schema (study-plan/1), parts, seconds, bytes");
  flags.example(
      "caltrop sweep --weights plain=runs/a/model.safetensors,robust=runs/b/model.safetensors --attacks "
      "pgd:steps=40,apgd-ce,autoattack --eps 2/255,4/255,8/255 --seeds 3 --limit 1000",
      "Two networks, three attacks, three sizes, three seeds.");
  flags.example(
      "caltrop sweep --weights runs/a/model.safetensors --attacks pgd,square --eps 0.02:0.1:0.02 --dry-run",
      "How long would this take?");
}

void run(SweepOptions& options, const Flags& flags) {
  if (options.crossed.weights.empty()) usage_error("--weights is missing: the trained networks");
  Console console(options.common.json, options.common.quiet);
  if (!options.dry_run) RunFolder::check(options.common.out, options.common.resume);
  Crossed crossed = read_crossed(options.crossed);
  for (StudyAttack& attack : crossed.attacks) attack.until = options.until;
  Backend& backend = open_backend(options.common, console);
  const NamedNetworks networks = open_networks(crossed, options.crossed, flags, backend, console);

  std::vector<int64_t> seeds;
  for (int64_t k = 0; k < options.seeds; ++k) seeds.push_back(options.common.seed + k);
  const std::vector<StudyCell> cells = cells_of({.dataset = options.crossed.data.dataset,
                                                 .data_dir = "",
                                                 .arms = networks.arms,
                                                 .seeds = seeds,
                                                 .attacks = crossed.attacks,
                                                 .images = networks.images,
                                                 .grows = true});

  RunConfig config = make_config(flags, networks.facts);
  config.growing = "/seeds";
  const std::string out =
      options.dry_run ? std::string()
                      : folder_or_free(options.common.out, fmt::format("sweep-{}-{}", options.crossed.norm,
                                                                       options.crossed.data.dataset));
  const RunFolder folder(out, config, options.common.resume && !options.dry_run);
  const StudyPlace place{folder, backend, console, options.batch};
  if (options.dry_run) return console.result(say_plan(cells, place));
  run_sweep(cells, place, config);
}

}  // namespace

Run sweep_command(Flags& flags) {
  return make_command<SweepOptions>(flags, declare, run);
}

}  // namespace caltrop
