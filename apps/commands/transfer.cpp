// caltrop transfer: images crafted on each network, judged by all of them.
#include "apps/study/transfer.h"

#include "apps/commands/sweep_networks.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/run_folder.h"
#include "apps/study/sweep.h"
#include "attacks/diagnosis.h"

namespace caltrop {
namespace {

struct TransferOptions {
  CommonOptions common;
  CrossedOptions crossed;
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
  add_crossed_flags(flags, options.crossed, "two or more trained networks (safetensors)");
  add_crossed_inputs(flags, options.crossed);
  add_common_flags(flags, options.common, true, "runs/transfer-NORM-DATA, the first that is free");
  flags.section("Files",
                " DIR/transfer.csv          a row for each source, judge, attack and size; and .json\n"
                " DIR/SOURCE-transfer.json  the counts of one source: --resume goes on behind it");
  flags.section("JSON", "schema (transfer/2), transfer (the table), run, out");
  flags.example(
      "caltrop transfer --weights a=runs/a/model.safetensors,b=runs/b/model.safetensors --attacks "
      "pgd,apgd-ce --eps "
      "8/255 --limit 1000",
      "Two networks, two attacks.");
}

void run(TransferOptions& options, const Flags& flags) {
  if (options.crossed.weights.size() < 2) usage_error("--weights: expected two networks or more");
  Console console(options.common.json, options.common.quiet);
  RunFolder::check(options.common.out, options.common.resume);
  const Crossed crossed = read_crossed(options.crossed);
  Backend& backend = open_backend(options.common, console);
  const NamedNetworks networks = open_networks(crossed, options.crossed, flags, backend, console);
  const RunConfig config = make_config(flags, networks.facts);
  const std::string out = folder_or_free(
      options.common.out, fmt::format("transfer-{}-{}", options.crossed.norm, options.crossed.data.dataset));
  const RunFolder folder(out, config, options.common.resume);
  for (const StudyAttack& attack : crossed.attacks)
    if (const std::string words = flattering(attack.options); !words.empty()) console.warn("{}", words);
  const std::vector<Transferred> rows = run_transfer(networks.arms, crossed.attacks, *networks.images,
                                                     options.common.seed, {folder, backend, console});
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
  Json result = result_of(config, "transfer/2", {{"transfer", table.json()}});
  result["out"] = out;
  console.result(result);
}

}  // namespace

Run transfer_command(Flags& flags) {
  return make_command<TransferOptions>(flags, declare, run);
}

}  // namespace caltrop
