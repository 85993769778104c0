// caltrop attack: one attack of the suite on the images of a data set.
#include <algorithm>
#include <functional>
#include <map>
#include <optional>

#include "apps/commands/attack_flags.h"
#include "apps/commands/attack_job.h"
#include "apps/commands/kept_images.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/core/text_layout.h"
#include "apps/report/attack_report.h"
#include "apps/report/evaluation.h"
#include "attacks/adaptive.h"
#include "attacks/diagnosis.h"

namespace caltrop {
namespace {

struct AttackCommand {
  CommonOptions common;
  DataOptions data;
  ModelOptions model;
  AttackFlags attack;
  std::optional<double> noise;
  std::optional<int64_t> quantize;
  std::optional<int64_t> eot;
  bool bpda = false;
  std::string subset = "test";
  std::optional<Size> eps;
  JobOptions job;
  std::optional<int64_t> save_images;
  int64_t batch = 0;
};

void declare(Flags& flags, AttackCommand& options) {
  flags.usage("ATTACK --weights FILE [flags]");
  flags.about(
      "Attacks each image and tests what the network says of the result. Within a size, through the "
      "gradient of the loss: FGSM takes one step, BIM several, PGD begins at a random point, MIM steps "
      "along a momentum, APGD chooses its steps itself (apgd-ce, apgd-dlr, and apgd-t towards each likely "
      "class). For the smallest perturbation: cw, deepfool, fab and fab-t; they need no size, and with "
      "--eps succeed only within it. Without gradients: square. autoattack is the standard ensemble: "
      "apgd-ce, apgd-t, fab-t, square, each on what the others left. Success is judged on the stored "
      "images.");
  flags.positional("attack", options.attack.kind, attack_names(), "which attack");
  add_model_flags(flags, options.model, Weights::required);
  add_data_flags(flags, options.data, "attack the first N images");
  add_rows_flags(flags, options.data);
  add_subset_flag(flags, options.subset);
  flags.group("Attack");
  flags.choice("norm", options.attack.norm, {"linf", "l2", "l1"}, "how a perturbation is measured");
  add_eps_flag(flags, options.eps, "0.3 for linf, 2 for l2, 10 for l1; none for cw, deepfool, fab, fab-t");
  add_attack_flags(flags, options.attack);
  add_suite_flags(flags, options.attack);
  flags.choice("labels", options.attack.labels, {"true", "predicted"},
               "attack the true label, or what the network says");
  add_job_flags(flags, options.job);
  flags.integer("save-images", options.save_images, 0, int64_t{1} << 40, "N",
                "store the first N attacked images", "all");
  flags.group("Defence in front of the network");
  flags.number("noise", options.noise, {.low = 0, .high = 100, .open_low = true}, "SIGMA",
               "add Gaussian noise to each image that the network sees", "none");
  flags.integer("quantize", options.quantize, 2, 65536, "LEVELS", "round pixels to so many values", "none");
  flags.exclusive({"noise", "quantize"});
  flags.integer("eot", options.eot, 1, 255, "N",
                "average each gradient over N draws of --noise (expectation over transformation)",
                "1; 20 for --version rand, as its authors have it");
  flags.toggle("bpda", options.bpda,
               "differentiate the defence as if it did nothing (backward pass differentiable approximation)");
  flags.group("Computing", Scope::local);
  add_batch_flag(flags, options.batch,
                 "images in a batch, 0 for what suits the network; results do not depend on it");
  add_common_flags(flags, options.common, true, "runs/ATTACK-NORM-DATASET, the first that is free");
  flags.section(
      "Files",
      " DIR/config.json      every flag as used\n"
      " DIR/summary.json     as --json, without out\n"
      " DIR/images.csv       one row per image: index, label, clean_prediction, target (of a targeted "
      "attack), "
      "prediction, success, by (the attack that made it: one of autoattack's), loss, linf, l2, l1, l0, "
      "forward_passes (a search's queries), backward_passes\n"
      " DIR/classes.csv, confusion.csv   accuracy by class; what each class is taken for under the attack\n"
      " DIR/adversarial.npz  x (8-bit, clean), delta (float32: the attacked image is x/255 + delta), "
      "index, label, clean_prediction, target (of a targeted attack), prediction, success\n"
      " DIR/grid.png         ten images: clean, attacked (orange frame: fooled), perturbation magnified");
  flags.section(
      "JSON",
      "schema (attack/2), attack, norm, targeted, size (the one that is used, in fp32), size_asked (as "
      "written), "
      "tolerance (of "
      "the size, for rounding), n, clean_accuracy, accuracy, robust_accuracy, interval, success_rate (of "
      "all), "
      "success_rate_of_correct, mean_loss, mean and max of linf and l2, box_violations, ball_violations, "
      "zero_gradients, nan_gradients, norms (mean, median, max of l0, l1, l2, linf over the images that "
      "were right and are fooled), by (autoattack: images that each attack fooled), warnings, "
      "forward_passes, backward_passes, options (all that the attack reads, as resolved: step_size, "
      "restarts, ...), "
      "run (version, seed, fingerprints of data and weights)");
  flags.example(
      "caltrop attack pgd --weights runs/target/model.safetensors --norm linf --eps 0.3 --steps 40 "
      "--step-size 0.01",
      "Madry's attack on MNIST.");
  flags.example(
      "caltrop attack fgsm --weights runs/target/model.safetensors --norm l2 --eps 1.5 --target 3 --limit "
      "1000",
      "One L2 step towards class 3, for the first 1,000 images.");
  flags.example("caltrop attack cw --weights runs/target/model.safetensors --limit 100",
                "The smallest L2 perturbation of each of 100 images.");
  flags.example("caltrop attack autoattack --weights runs/target/model.safetensors --eps 0.1 --limit 1000",
                "The standard ensemble.");
}

// AutoAttack's authors average over 20 draws in their version for random defences. What draws nothing gives the
// same gradient each time.
void choose_draws(AttackCommand& options, const AttackOptions& attack) {
  constexpr int64_t kAuthorsDraws = 20;
  if (options.bpda && !options.noise && !options.quantize)
    usage_error("--bpda differentiates a defence: add --noise or --quantize");
  if (options.eot && *options.eot > 1 && !options.noise)
    usage_error("--eot averages over what is random, and nothing is: add --noise");
  const bool rand = attack.kind == AttackKind::autoattack && attack.version == AutoAttackVersion::rand;
  if (rand && options.noise && !options.eot) options.eot = kAuthorsDraws;
}

void run(AttackCommand& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  RunFolder::check(options.common.out, options.common.resume);
  const ChosenAttack chosen =
      choose_attack(options.attack, flags, options.eps, options.job.targeted(), options.common.seed);
  const AttackOptions& attack = chosen.options;
  choose_draws(options, attack);
  check_job(options.job, attack.kind);
  if (attack.targeted && attack.predicted_labels)
    usage_error("--labels predicted is for untargeted attacks: with targets the labels are not read");
  options.eps = chosen.asked;
  const std::vector<float> sizes = {chosen.eps};
  Backend& backend = open_backend(options.common, console);
  const Trained trained = open_trained(options.model, options.data, options.subset, flags, backend, console);
  const Images& images = trained.data.images;
  check_attack(attack, sizes, images.image_size());
  AttackJob job = job_of(options.job, trained.data, trained.model.outputs(), console);
  job.batch = options.batch;
  Json facts = trained.facts;
  note_files(options.job, facts);
  const auto count = static_cast<int64_t>(job.rows.size());

  FrontDefence defence{.levels = options.quantize,
                       .bpda = options.bpda,
                       .draws = options.eot.value_or(1),
                       .seed = static_cast<uint64_t>(options.common.seed)};
  if (options.noise) defence.noise = static_cast<float>(*options.noise);
  const Guarded guarded(trained.model, defence);
  const Classifier& classifier = guarded.classifier();
  std::vector<std::string> warnings = doubts(diagnose(classifier, images), defence.draws > 1);
  if (options.attack.preset != "none") console.note("with the defaults of {}", options.attack.preset);
  if (!chosen.differs.empty())
    warnings.push_back(fmt::format("--preset {} is not {}'s to the image: {}", options.attack.preset,
                                   options.attack.preset, chosen.differs));
  const bool chose_steps = flags.given("steps") || flags.given("step-size") || flags.given("step-share");
  if (const std::string words = flattering(attack);
      !words.empty() && !chose_steps && options.attack.preset == "none")
    warnings.push_back(words);

  const std::string out = folder_or_free(
      options.common.out,
      fmt::format("{}-{}-{}", options.attack.kind, options.attack.norm, trained.data.info.name));
  const RunConfig config = make_config(flags, facts);
  const RunFolder folder(out, config, options.common.resume);
  KeptImages kept(images, options.save_images.value_or(count));
  job.sink = [&](int64_t, const AttackResult& chunk) {
    kept.add(chunk);
  };
  ProgressLine progress(console, options.attack.kind, count, "images");
  job.progress = std::bind_front(&ProgressLine::at, &progress);
  const AttackReport report = attack_images(classifier, images, sizes, attack, job);
  progress.finish();

  const AttackSummary& summary = report.sizes[0];
  const bool ensemble = attack.kind == AttackKind::autoattack;
  const auto by_attack = ensemble ? kept.fooled().by_attack() : std::map<std::string, int64_t>();
  std::ranges::copy(anomalies(summary, by_attack), std::back_inserter(warnings));
  kept.write(folder);
  const std::vector<std::string>& names = trained.data.info.class_names;
  folder.write("classes.csv", robust_class_table(summary, names).csv());
  folder.write("confusion.csv", confusion_table(summary.confusion(), names).csv());
  Json result = {
      {"attack", options.attack.kind}, {"norm", options.attack.norm}, {"targeted", attack.targeted}};
  if (chosen.asked) result["size_asked"] = chosen.asked->asked;
  result.update(to_json(summary));
  result["tolerance"] = fp32_json(ball_tolerance(attack.norm, images.image_size()));
  result["options"] = to_json(attack, chosen.eps);
  result["norms"] = to_json(kept.fooled());
  if (ensemble) result["by"] = by_attack;
  result["warnings"] = warnings;
  result["forward_passes"] = report.forward_passes;
  result["backward_passes"] = report.backward_passes;
  result = result_of(config, "attack/2", std::move(result));
  folder.write_json("summary.json", result);
  result["out"] = out;

  say_summary(console, summary, report, attack, chosen.asked);
  if (kept.fooled().count() > 0) {
    console.blank();
    console.say("perturbations of the {} images that were right and {}", grouped(kept.fooled().count()),
                attack.targeted ? "have arrived" : "are fooled");
    console.say(norms_table(kept.fooled()));
  }
  for (const std::string& warning : warnings) console.warn("{}", warning);
  console.blank();
  console.say("tables, images and {}", folder.file("grid.png").string());
  console.result(result);
}

}  // namespace

Run attack_command(Flags& flags) {
  return make_command<AttackCommand>(flags, declare, run);
}

}  // namespace caltrop
