// caltrop transfer: images crafted on each network, judged by all of them.
#include "apps/study/transfer.h"

#include "apps/commands/attack_spec.h"
#include "apps/commands/sweep_networks.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/run_folder.h"
#include "apps/study/sweep.h"

namespace caltrop {
namespace {

struct TransferOptions {
  CommonOptions common;
  DataOptions data;
  ModelOptions model;
  std::vector<std::string> weights, attacks;
  std::string norm = "linf", subset = "test";
  std::vector<Size> sizes;
};

void declare(Flags& flags, TransferOptions& options) {
  flags.usage("--weights [NAME=]FILE,... --attacks NAME,... --eps SIZES [flags]");
  flags.about(
      "Crafts attacked images on each network and lets all of them judge these: a matrix for each attack and "
      "size, "
      "sources below, judges across. A network's own column says what the attack does to it; the others what "
      "an "
      "attacker does who knows another network. 'transferred' is the share of the images that fool the "
      "source, and "
      "were right for the judge, that fool the judge too.");
  flags.group("Transfer");
  flags.texts("weights", options.weights, "[NAME=]FILE,...", "two or more trained networks (safetensors)");
  flags.texts("attacks", options.attacks, "ATTACK,...",
              "attacks by name; flags of 'caltrop attack' follow a colon: pgd:steps=40:restarts=5");
  flags.choice("norm", options.norm, {"linf", "l2", "l1"}, "how a perturbation is measured");
  flags.sizes("eps", options.sizes, {.low = 0, .high = kMaxSize}, "SIZES",
              "sizes for pixels from 0 to 1: 0.01,8/255 or first:last:step");
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
  add_common_flags(flags, options.common, true, "runs/transfer-NORM-DATA, the first that is free");
  flags.section("Files",
                " DIR/transfer.csv          a row for each source, judge, attack and size; and .json\n"
                " DIR/SOURCE-transfer.json  the counts of one source: --resume goes on behind it");
  flags.section("JSON", "schema (transfer/1), transfer (the table), run, out");
  flags.example(
      "caltrop transfer --weights a=runs/a/model.safetensors,b=runs/b/model.safetensors --attacks "
      "pgd,apgd-ce --eps "
      "8/255 --limit 1000",
      "Two networks, two attacks.");
}

void run(TransferOptions& options, const Flags& flags) {
  if (options.weights.size() < 2) usage_error("--weights: expected two networks or more");
  if (options.attacks.empty())
    usage_error("--attacks is missing: one or several of {}", fmt::join(attack_names(), ", "));
  if (options.sizes.empty()) usage_error("--eps is missing: the sizes");
  Console console(options.common.json, options.common.quiet);
  RunFolder::check(options.common.out, options.common.resume);
  std::vector<StudyAttack> attacks;
  for (const std::string& text : options.attacks)
    attacks.push_back(parse_attack_spec(text, options.norm, options.sizes));
  check_sweep(attacks);
  const std::vector<NamedFile> files = named_files(options.weights);
  for (size_t k = 0; k < files.size(); ++k) options.weights[k] = files[k].name + "=" + files[k].file;
  Backend& backend = open_backend(options.common, console);
  const NamedNetworks networks =
      open_networks(files, options.model, options.data, options.subset, flags, backend, console);
  for (const StudyAttack& attack : attacks)
    check_attack(attack.options, eps_of(attack.sizes), networks.images->test.image_size());
  const RunConfig config = make_config(flags, networks.facts);
  const std::string out =
      folder_or_free(options.common.out, fmt::format("transfer-{}-{}", options.norm, options.data.dataset));
  const RunFolder folder(out, config, options.common.resume);
  const std::vector<Transferred> rows =
      run_transfer(networks.arms, attacks, *networks.images, options.common.seed, {folder, backend, console});
  const Table table = transfer_table(rows);
  folder.write_table("transfer", table);
  console.say("robust accuracy of the judge, {} images", networks.images->rows.size());
  for (const TransferMatrix& matrix : matrices_of(rows)) {
    console.blank();
    console.say("{}, {} of {}", matrix.attack, norm_title(matrix.norm), matrix.asked);
    console.say(matrix.table);
  }
  console.blank();
  console.say("{}", folder.file("transfer.csv").string());
  Json result = result_of(config, "transfer/1", {{"transfer", table.json()}});
  result["out"] = out;
  console.result(result);
}

}  // namespace

Run transfer_command(Flags& flags) {
  return make_command<TransferOptions>(flags, declare, run);
}

}  // namespace caltrop
