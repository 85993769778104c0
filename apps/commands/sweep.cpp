// caltrop sweep: networks x attacks x sizes x seeds, in one run.
#include <algorithm>

#include "apps/commands/attack_spec.h"
#include "apps/commands/sweep_networks.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/run_folder.h"
#include "apps/study/plan.h"
#include "apps/study/report.h"
#include "apps/study/sweep.h"

namespace caltrop {
namespace {

struct SweepOptions {
  CommonOptions common;
  DataOptions data;
  ModelOptions model;
  std::vector<std::string> weights, attacks;
  std::string norm = "linf", subset = "test";
  std::vector<Size> sizes;
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
  flags.texts("weights", options.weights, "[NAME=]FILE,...", "trained networks (safetensors)");
  flags.texts("attacks", options.attacks, "ATTACK,...",
              "attacks by name; flags of 'caltrop attack' follow a colon: pgd:steps=40:restarts=5");
  flags.choice("norm", options.norm, {"linf", "l2", "l1"}, "how a perturbation is measured");
  flags.sizes("eps", options.sizes, {.low = 0, .high = kMaxSize}, "SIZES",
              "sizes for pixels from 0 to 1: 0.01,8/255 or first:last:step, as 1/255:8/255:1/255");
  flags.integer("seeds", options.seeds, 1, 1000, "N", "seeds: --seed, --seed + 1, ...");
  flags.number("until-robust", options.until, {.low = 0, .high = 1}, "SHARE",
               "end an attack on a network as soon as it is known of each size whether the robust accuracy "
               "is at least "
               "this; not cw, deepfool, fab",
               "all images");
  flags.group("Sweep", Scope::local);
  flags.toggle("dry-run", options.dry_run,
               "say what would run, how long it takes and how much it stores, and end");
  flags.group("Model");
  flags.text("model", options.model.model, "NAME", "network by name, of weights that do not say theirs",
             "as the weights say");
  flags.text("arch", options.model.arch, "LINE", "network by its line", "as the weights say");
  flags.exclusive({"model", "arch"});
  add_pool_stride_flag(flags, options.model.pool_stride);
  flags.choice("layout", options.model.layout, {"caltrop", "torch"}, "layout of weights that do not say it");
  add_data_flags(flags, options.data, "attack the first N images");
  add_rows_flags(flags, options.data);
  add_subset_flag(flags, options.subset);
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
                "schema (sweep/1), results, summary (the tables), figures (files), run, out; with --dry-run: "
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
  if (options.weights.empty()) usage_error("--weights is missing: the trained networks");
  if (options.attacks.empty())
    usage_error("--attacks is missing: one or several of {}", fmt::join(attack_names(), ", "));
  if (options.sizes.empty()) usage_error("--eps is missing: the sizes");
  Console console(options.common.json, options.common.quiet);
  if (!options.dry_run) RunFolder::check(options.common.out, options.common.resume);
  std::vector<StudyAttack> attacks;
  for (const std::string& text : options.attacks)
    attacks.push_back(parse_attack_spec(text, options.norm, options.sizes)),
        attacks.back().until = options.until;
  check_sweep(attacks);
  const std::vector<NamedFile> files = named_files(options.weights);
  for (size_t k = 0; k < files.size(); ++k) options.weights[k] = files[k].name + "=" + files[k].file;
  Backend& backend = open_backend(options.common, console);
  const NamedNetworks networks =
      open_networks(files, options.model, options.data, options.subset, flags, backend, console);
  for (const StudyAttack& attack : attacks)
    check_attack(attack.options, eps_of(attack.sizes), networks.images->test.image_size());

  std::vector<int64_t> seeds;
  for (int64_t k = 0; k < options.seeds; ++k) seeds.push_back(options.common.seed + k);
  std::vector<StudyCell> cells = cells_of({.dataset = options.data.dataset,
                                           .data_dir = "",
                                           .arms = networks.arms,
                                           .seeds = seeds,
                                           .attacks = attacks,
                                           .images = networks.images});
  // The same name however many seeds there are: more can be added.
  for (StudyCell& cell : cells)
    cell.stem = fmt::format("{}-{}-seed-{}", cell.dataset, cell.arm.name, cell.seed);

  RunConfig config = make_config(flags, networks.facts);
  config.growing = "seeds";
  const std::string out =
      options.dry_run ? std::string()
                      : folder_or_free(options.common.out,
                                       fmt::format("sweep-{}-{}", options.norm, options.data.dataset));
  const RunFolder folder(out, config, options.common.resume && !options.dry_run);
  const StudyPlace place{folder, backend, console, options.batch};
  if (options.dry_run) return console.result(say_plan(cells, place));
  const StudyResults results = run_study(cells, place);
  StudyReport report(place);
  write_sweep(results.cells, place, config, report);
  Json result = result_of(config, "sweep/1", report.result());
  result["out"] = out;
  console.blank();
  console.say("tables, curves and {}", folder.file("report.html").string());
  console.result(result);
}

}  // namespace

Run sweep_command(Flags& flags) {
  return make_command<SweepOptions>(flags, declare, run);
}

}  // namespace caltrop
