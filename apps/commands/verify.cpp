// caltrop verify: what a stored set of attacked images claims, compared with a network and the data set.
#include <algorithm>
#include <filesystem>
#include <optional>

#include "apps/commands/stored_set.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/core/text_layout.h"
#include "apps/report/table.h"
#include "attacks/attack.h"
#include "data/verification.h"
#include "engine/inference.h"

namespace caltrop {
namespace {

struct VerifyOptions {
  CommonOptions common;
  DataOptions data;
  ModelOptions model;
  std::string file, norm, subset = "test";
  std::optional<Size> eps;
  int64_t batch = 0;
};

void declare(Flags& flags, VerifyOptions& options) {
  flags.usage("FILE.npz --weights FILE --dataset NAME [flags]");
  flags.about(
      "Checks what a stored set of attacked images claims: that clean images and labels are those of the "
      "data set, each taken once, that every pixel lies in [0,1], that perturbations keep to their size, "
      "that predictions are those of the network, that what counts as a success is one. It says too what "
      "is left when the images are rounded to 8 bits, as pictures are. FILE is adversarial.npz of 'caltrop "
      "attack' or one part of 'caltrop gma generate'. Norm and size come from config.json beside it, or "
      "from flags. Without --dataset and --data-dir clean images and labels are taken from FILE itself, "
      "and the result says so. The exit status is 1 where a claim does not hold.");
  flags.positional("file", options.file, {}, "the set");
  add_model_flags(flags, options.model, Weights::required);
  add_data_flags(flags, options.data, "");
  add_subset_flag(flags, options.subset);
  flags.group("Claims");
  flags.text("norm", options.norm, "linf|l2|l1", "norm of the size",
             "config.json's; of a GMA part its name's");
  add_eps_flag(flags, options.eps, "config.json's, or that of each part");
  flags.group("Computing", Scope::local);
  add_batch_flag(flags, options.batch,
                 "images in a batch, 0 for what suits the network; results do not depend on it");
  add_common_flags(flags, options.common, false);
  flags.section("Files", "With --out: DIR/config.json, verdict.json (as --json), claims.csv");
  flags.section(
      "JSON",
      "schema (verdict/2), n (images x sizes), targeted, claims: claim, checked, broken; trusted: what was "
      "taken "
      "from "
      "the set's "
      "own word; made_on_this_network: true, false, or null where the set's run does not say; "
      "claimed_success_rate: the "
      "set's word, of the network that it was made on; success_rate, success_rate_8bit: of this network; "
      "within_size_8bit; holds: whether all claims do; run");
  flags.example(
      "caltrop verify runs/pgd-linf-mnist/adversarial.npz --weights runs/target/model.safetensors "
      "--dataset mnist",
      "Check an attack.");
}

namespace fs = std::filesystem;

// What the set says of itself, in config.json and in its name; flags win over both.
SetClaims claims_of(const VerifyOptions& options, const StoredSet& stored) {
  for (const char* defence : {"noise", "quantize"}) {
    if (stored.config.contains(defence))
      fail("{} was attacked behind --{}: the network alone cannot verify it", stored.file, defence);
  }
  SetClaims claims;
  const auto eps = options.eps ? options.eps : stored.size("eps");
  if (eps) claims.eps = eps->used();  // in fp32, as the attack took it
  if (!stored.set.eps.empty() && claims.eps)
    usage_error("--eps: {} states a size of its own for each perturbation", stored.file);
  claims.confident = stored.number("confidence").value_or(0) > 0;
  claims.predicted_labels = stored.text("labels") == "predicted";
  const std::string of_run = "config.json beside " + stored.file, attack = stored.text("attack");
  if (!attack.empty())
    claims.minimum_norm = with_place(of_run, [&] { return is_minimum_norm(parse_attack(attack)); });
  std::string norm = stored.text("norm");
  for (const char* of_part : {"linf", "l2"}) {
    if (fs::path(stored.file).filename().string().starts_with(of_part + std::string("-"))) norm = of_part;
  }
  if (!options.norm.empty()) norm = options.norm;
  if (norm.empty()) usage_error("no config.json beside {} says its norm: give --norm", stored.file);
  claims.norm = with_place(options.norm.empty() ? of_run : "--norm", [&] { return parse_norm(norm); });
  claims.tolerance = ball_tolerance(claims.norm, stored.set.image_size());
  return claims;
}

// Fills what the flags leave open of the choice of a data set from the config of the run: its name, subset, split.
// The folder of the images is never taken from there: whoever verifies says where his images lie.
void follow_config(const StoredSet& stored, const Flags& flags, VerifyOptions& options) {
  const auto follow = [&](const char* flag, std::string& value) {
    if (!flags.given(flag) && !stored.text(flag).empty()) value = stored.text(flag);
  };
  follow("dataset", options.data.dataset);
  follow("split", options.data.split);
  follow("image-size", options.data.image_size);
  follow("subset", options.subset);
  if (!flags.given("split-seed"))
    options.data.split_seed = static_cast<int64_t>(stored.number("split-seed").value_or(0));
}

// The data set that the flags choose, which is believed where the set says otherwise; nothing where they choose none.
std::optional<HostData> chosen_data(VerifyOptions& options, const Flags& flags, const StoredSet& stored,
                                    Console& console) {
  if (flags.given("dataset") || flags.given("data-dir")) {
    follow_config(stored, flags, options);
    return load_host_data(options.data, options.subset, console);
  }
  for (const char* flag : {"subset", "split", "split-seed", "image-size"}) {
    if (flags.given(flag)) usage_error("--{} chooses among the images of --dataset, which is missing", flag);
  }
  return std::nullopt;
}

// What nobody but the set or the run that made it says.
std::vector<std::string> trusted(const VerifyOptions& options, const AttackedSet& set, bool has_data) {
  std::vector<std::string> words;
  if (!has_data) words.emplace_back("clean images and labels");
  if (set.targeted()) words.emplace_back("targets");
  if (options.norm.empty()) words.emplace_back("norm");
  if (!options.eps) words.emplace_back("size");
  return words;
}

void run(VerifyOptions& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  RunFolder::check(options.common.out, options.common.resume);
  // Perturbations that are no numbers are a claim that does not hold.
  StoredSet stored = open_stored_set(options.file, Perturbations::any);
  AttackedSet& set = stored.set;
  options.file = stored.file;
  const SetClaims claims = claims_of(options, stored);
  const std::optional<HostData> data = chosen_data(options, flags, stored, console);
  std::optional<Differences> differences;
  if (data) differences = replace_by(data->images, set);
  Backend& backend = open_backend(options.common, console);
  const int64_t classes = std::max(data ? data->info.classes : 1, set.classes());
  const OpenedNetwork network = open_network(options.model, set.shape, classes, backend);
  expect_outputs(network.model, options.model.weights, stored.file, set);
  Json facts = network.facts;
  const std::optional<bool> same = made_on(stored, facts);
  if (data) facts.update(data->info.facts);
  const RunConfig run_config = make_config(flags, facts, data ? Unused() : data_flags());
  const RunFolder folder(options.common.out, run_config, options.common.resume);
  const auto ask = [&](const ImageSource& images) {
    return predict(network.model, images, options.batch);
  };
  const SetAnswers answers{.clean = ask(Images(backend, set.shape, set.x, set.label)),
                           .attacked = ask(StoredImages(set, backend, false)),
                           .rounded = ask(StoredImages(set, backend, true)),
                           .outputs = network.model.outputs()};
  const Verification found = verify(set, claims, answers, differences);

  Table table({{"claim", "claim"},
               {"checked", "checked", Column::Kind::count},
               {"broken", "broken", Column::Kind::count}});
  for (const Claim& claim : found.claims) table.row({claim.name, claim.checked, claim.broken});
  const std::vector<std::string> on_trust = trusted(options, set, data.has_value());
  const Json result = result_of(run_config, "verdict/2",
                                {{"n", found.rows},
                                 {"targeted", set.targeted()},
                                 {"claims", table.json()},
                                 {"trusted", on_trust},
                                 {"made_on_this_network", same ? Json(*same) : Json()},
                                 {"claimed_success_rate", found.share(found.claimed)},
                                 {"success_rate", found.share(found.successes)},
                                 {"success_rate_8bit", found.share(found.rounded_successes)},
                                 {"within_size_8bit", found.share(found.rounded_within)},
                                 {"holds", found.broken() == 0}});
  console.say(
      "{} attacked images: {} originals, {} size{}{}", grouped(found.rows), grouped(set.images()),
      set.sizes(), set.sizes() == 1 ? "" : "s",
      set.targeted() ? fmt::format(", each pushed {}: success is to arrive", target_in_words(set)) : "");
  console.say(table);
  console.blank();
  const std::string& asked = options.model.weights;
  console.say("the set's own claim: {:.2f} % success on the network that it was made on, {}",
              100 * found.share(found.claimed),
              !same   ? "and it does not say which that is"
              : *same ? "which is " + asked
                      : "which is another than " + asked);
  console.say(
      "found now with {}: {:.2f} % success; rounded to 8 bits {:.2f} % still succeed and {:.2f} % of all "
      "keep "
      "to their size",
      asked, 100 * found.share(found.successes), 100 * found.share(found.rounded_successes),
      100 * found.share(found.rounded_within));
  if (!on_trust.empty()) {
    console.say("taken on the set's word: {}{}", fmt::join(on_trust, ", "),
                data ? "" : " (--dataset checks images and labels)");
  }
  folder.write_json("verdict.json", result);
  folder.write("claims.csv", table.csv());
  console.result(result);
  if (found.broken() == 0) return;
  const std::string problem =
      fmt::format("{}: {} of {} claims do not hold", options.file, found.broken(), found.claims.size());
  if (same.value_or(true)) fail("{}", problem);
  fail(
      "{}; the set was made on other weights, and the predictions that it claims are theirs, not those of "
      "{}: "
      "'caltrop eval --attacked' judges it by these",
      problem, asked);
}

}  // namespace

Run verify_command(Flags& flags) {
  return make_command<VerifyOptions>(flags, declare, run);
}

}  // namespace caltrop
