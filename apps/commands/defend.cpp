// caltrop defend eat, caltrop defend mia: the paper's defence, from attacked images to tables.
#include "apps/commands/defence.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/run_folder.h"

namespace caltrop {
namespace {

void declare(Flags& flags, DefendFlags& options, bool mia) {
  flags.usage("--weights FILE [flags]");
  if (mia) {
    flags.about(
        "The model integration approach of the paper (section 4): networks trained in EAT's cycles continue, "
        "each on "
        "a bootstrap of the last cycle's set, and vote. Ties go to the class with the largest sum of "
        "softmax. The "
        "report shows the vote beside each network, before and after the bootstraps, and beside the detector "
        "that "
        "only looks for pixels that are no multiple of 1/255.");
    options.cycles = {15, 25, 40};
  } else {
    flags.about(
        "Enhanced adversarial training (section 4 of the paper): attacked images of the undefended network "
        "--weights "
        "form a class of their own, and their share grows from cycle to cycle while the networks train on. "
        "Training "
        "and test images are divided before anything is attacked.");
    options.cycles = {15, 25, 40, 50};
  }
  options.bootstraps = mia;
  add_defend_flags(flags, options);
  const std::string stem = mia ? "mia" : "eat";
  flags.section(
      "Files",
      " DIR/config.json                every flag as used\n"
      " DIR/metrics.jsonl              one line per epoch: model, stage, loss and accuracy in training, and "
      "in "
      "test in all and per attack\n"
      " DIR/MODEL-cycle-P.safetensors  the weights after each cycle" +
          std::string(mia ? "; MODEL-bootstrap.safetensors at the end\n" : "\n") +
          " DIR/checkpoint.safetensors     after the last finished epoch\n"
          " DIR/pool.csv                   the attacked images, of each attack and norm\n"
          " DIR/summary.csv                accuracy, F1, detection, false alarms of each model and stage\n"
          " DIR/attacks.csv, sizes.csv     the same per attack, and recall per size\n" +
          " DIR/leave_out.csv              --controls leave-out: detection of what was never trained on\n" +
          std::string(mia ? " DIR/vote_curve.csv             the vote after each epoch of the bootstraps, "
                            "per attack\n"
                            " DIR/adaptive.csv               the vote under attacks that know it\n"
                          : "") +
          " DIR/" + stem +
          ".json                   as --json\n CACHE/*.npz                    attacked images, by content");
  flags.section("JSON",
                "out, pool, summary, attacks, sizes, leave_out, vote_curve, adaptive (the tables), stop_rule "
                "(the epochs "
                "that met the paper's rule), metrics (the lines of metrics.jsonl)");
  flags.example(fmt::format("caltrop defend {} --weights runs/target/model.safetensors --scale quick", stem),
                "10,000 MNIST images, in a few minutes.");
}

void run(DefendFlags& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  resolve(options);
  RunFolder::check(options.common.out, options.common.resume);
  Backend& backend = open_backend(options.common, console);
  const TrainedWithData target =
      open_trained_with_data(options.model, options.data, options.test_images, flags, backend, console);
  Defence defence(options, target, console);
  const std::string kind = options.bootstraps ? "mia" : "eat";
  const std::string out = folder_or_free(options.common.out, kind + "-" + target.data.info.name);
  const RunFolder folder(out, make_config(flags, target.facts), options.common.resume);
  Json result = {{"out", out}};
  result.update(defence.run(folder, kind));
  console.result(result);
}

Run defend_command(Flags& flags, bool mia) {
  const auto declare_one = [mia](Flags& to, DefendFlags& options) {
    declare(to, options, mia);
  };
  return make_command<DefendFlags>(flags, declare_one, run);
}

}  // namespace

Run defend_eat_command(Flags& flags) {
  return defend_command(flags, false);
}

Run defend_mia_command(Flags& flags) {
  return defend_command(flags, true);
}

}  // namespace caltrop
