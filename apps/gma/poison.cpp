// caltrop gma poison: the paper's bi-level problem (Eq. 3-5), and what poisoned training images do to a
// network.
#include <algorithm>
#include <cmath>

#include "apps/commands/evaluation.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/core/text_layout.h"
#include "apps/gma/poison_check.h"
#include "apps/report/table.h"
#include "attacks/attack.h"
#include "attacks/poison/poison.h"
#include "data/npz.h"
#include "engine/random.h"
#include "engine/training.h"

namespace caltrop {
namespace {

struct PoisonCommand {
  CommonOptions common;
  DataOptions data;
  ModelOptions model;
  double percent = 10;
  std::string norm = "linf", labels = "keep", inner = "sgd", lane = "stepwise";
  std::optional<double> eps, step_size, inner_rate;
  int64_t ascents = 5, unroll = 5, checkpoint = 0, group = 64, batch = 64, targets = 128;
  int64_t epochs = 3, surrogate_epochs = 1, seeds = 3;
  bool check = false;
};

void declare(Flags& flags, PoisonCommand& options) {
  flags.usage("[--model NAME | --arch LINE] [--poison PERCENT] [flags]");
  flags.about(
      "Poisons a share of the training images (Eq. 3-5): each is moved within a budget so that training on "
      "it raises the loss of target images, by the exact gradient of the loss after T training steps. The "
      "targets, a tenth of the training images, are held out: nothing is trained on them. Networks are "
      "then trained from scratch on clean, poisoned and randomly perturbed images with the same seeds, and "
      "tested on the test images and on the targets. Poisoned images are rounded to 8 bits within the "
      "budget, as data sets store them.");
  add_model_flags(flags, options.model, Weights::none);
  add_data_flags(flags, options.data, "train on the first N training images");
  flags.group("Poison");
  flags.number("poison", options.percent, {.low = 1, .high = 20}, "PERCENT", "share of the training images");
  flags.choice("norm", options.norm, {"linf", "l2"}, "how the budget is measured");
  flags.number("eps", options.eps, {.low = 0, .high = kMaxSize, .open_low = true}, "E", "the budget",
               "0.3; 2 for l2");
  flags.choice(
      "labels", options.labels, {"keep", "flip"},
      "the poisoned images keep their labels, or have another class drawn for them; the control too");
  flags.integer("ascents", options.ascents, 1, kMaxSteps, "N", "updates of the poisoned images (Eq. 5)");
  flags.number("step-size", options.step_size, {.low = 0, .high = kMaxSize, .open_low = true}, "A",
               "of an update", "2.5 E / N");
  flags.choice("inner", options.inner, {"sgd", "adam"},
               "the rule of the training steps that are differentiated");
  flags.number("inner-lr", options.inner_rate, {.low = 0, .high = 100, .open_low = true}, "RATE", "its rate",
               "0.1; 0.001 for adam");
  flags.integer("unroll", options.unroll, 1, 1000, "T", "training steps that are differentiated");
  flags.choice(
      "lane", options.lane, {"stepwise", "unrolled", "forward-over-reverse", "differences"},
      "how: step by step, recorded and differentiated as a whole, step by step with dual numbers, or by "
      "differences of gradients");
  flags.integer("checkpoint", options.checkpoint, 0, 1000, "C",
                "unrolled: steps recorded together; memory grows with them, 0 for all");
  flags.integer("group", options.group, 1, kMaxBatch, "N", "poisoned images crafted together");
  flags.integer("inner-batch", options.batch, 1, kMaxBatch, "N", "clean images in each differentiated step");
  flags.integer("targets", options.targets, 1, kMaxBatch, "N", "target images of an update");
  flags.integer("surrogate-epochs", options.surrogate_epochs, 0, kMaxEpochs, "N",
                "clean training of the network on which the images are crafted (of --seed itself)");
  flags.toggle("check", options.check,
               "only compare the ways to the meta-gradient, on the first group, and their times");
  flags.group("Training");
  flags.integer("epochs", options.epochs, 1, kMaxEpochs, "N", "passes over the training images");
  flags.integer("seeds", options.seeds, 1, 1000, "N", "networks of each kind: --seed + 1, --seed + 2, ...");
  add_common_flags(flags, options.common, true, "runs/poison-DATASET, the first that is free");
  flags.section("Files",
                " DIR/config.json    every flag as used\n"
                " DIR/poison.npz     index, label (as trained on), x (uint8, poisoned), clean (uint8)\n"
                " DIR/accuracy.csv   per kind of training set: mean and standard deviation over the seeds\n"
                " DIR/classes.csv    the same accuracy per class\n"
                " DIR/runs.csv       each network\n"
                " DIR/poison.json    as --json");
  flags.section("JSON", "accuracy, classes, runs (the tables); with --check: lanes (the comparison)");
  flags.example("caltrop gma poison --poison 10 --seeds 3", "A tenth of MNIST, three networks of each kind.");
  flags.example(
      "caltrop gma poison --check --arch \"conv 32 3x3 | gelu | avgpool 2 | flatten | dense 100 | gelu | "
      "dense 10\"",
      "On a smooth Target all ways to the meta-gradient agree to 1e-3.");
}

// Towards the clean image, so that the budget holds.
std::vector<uint8_t> stored(std::span<const uint8_t> clean, const std::vector<float>& delta) {
  std::vector<uint8_t> pixels(clean.begin(), clean.end());
  for (size_t i = 0; i < pixels.size(); ++i) {
    constexpr float kRounding = 1e-3f;  // of 255 delta: whole levels stay whole
    const auto levels = static_cast<int>(std::trunc(255.0f * delta[i] + std::copysign(kRounding, delta[i])));
    pixels[i] = static_cast<uint8_t>(std::clamp(pixels[i] + levels, 0, 255));
  }
  return pixels;
}

struct Kind {
  std::string name;
  std::vector<double> accuracy, on_targets;  // per seed
  std::vector<std::vector<double>> classes;  // per class and seed
};

class Poisoning {
 public:
  Poisoning(PoisonCommand& options, const Flags& flags)
      : options_(options), flags_(flags), console_(options.common.json, options.common.quiet) {}

  void run() {
    const PoisonOptions how = poison_options();
    if (options_.model.arch.empty() && options_.model.model.empty()) options_.model.model = "target";
    asked_network(options_.model);
    if (options_.check && !options_.common.out.empty())
      usage_error("--check compares and writes no files: leave out --out");
    RunFolder::check(options_.common.out, options_.common.resume);
    Backend& backend = open_backend(options_.common, console_);
    const TrainingData data = load_training_data(options_.data, backend, console_);
    check_poison(how, data.train.image_size());
    network_ = asked_network(options_.model, data.info.classes);
    {
      const Model probe(parse_architecture(network_.line), data.train.shape(), backend);
      expect_outputs(probe, data.info);
      const InnerTraining check(probe, {}, {}, {}, how.inner);  // an Error for a network it cannot take
    }
    const PoisonRoles roles = draw_poison_roles(data.train.count(), options_.percent / 100, how.seed);
    if (options_.check) {
      const Json result =
          compare_meta_gradients(surrogate(data.train, roles), data.train, roles, how, console_);
      return console_.result(result);
    }

    Json facts = data.info.facts;
    facts["network"] = network_.line;
    const std::string out = folder_or_free(options_.common.out, "poison-" + data.info.name);
    const RunFolder folder(out, make_config(flags_, facts), options_.common.resume);
    console_.say("{}: {} of {} training images poisoned within {} {:g}, labels {} -> {}", data.info.name,
                 grouped(static_cast<int64_t>(roles.poisoned.size())), grouped(data.train.count()),
                 options_.norm, how.eps, options_.labels == "keep" ? "kept" : "flipped", out);
    console_.blank();
    const std::vector<int32_t> labels = poison_labels(data, roles);
    const std::vector<float> delta = craft(data.train, roles, labels, how);
    const std::vector<uint8_t> clean = data.train.at(roles.poisoned).bytes();
    save(folder, data.train.shape(), roles, labels, stored(clean, delta), clean);
    std::vector<Kind> kinds;
    const Images targets = data.train.at(roles.targets);
    const auto train_on = [&](const std::string& name, const Images& images) {
      kinds.push_back(train_kind(name, data, images.at(roles.trained_on()), targets));
    };
    train_on("clean twin", data.train);
    train_on("poisoned", data.train.with(roles.poisoned, stored(clean, delta), labels));
    train_on("random noise",
             data.train.with(roles.poisoned, stored(clean, random_poison(data.train, roles, how)), labels));
    report(kinds, data, folder);
  }

 private:
  PoisonOptions poison_options() const {
    const Norm norm = parse_norm(options_.norm);
    PoisonOptions how;
    how.norm = norm;
    how.eps = static_cast<float>(options_.eps.value_or(static_cast<double>(default_eps(norm))));
    how.step_size = static_cast<float>(options_.step_size.value_or(0));
    how.ascents = options_.ascents;
    how.unrolled_steps = options_.unroll;
    how.group = options_.group;
    how.batch = options_.batch;
    how.targets = options_.targets;
    how.seed = static_cast<uint64_t>(options_.common.seed);
    how.inner.rule = parse_rule(options_.inner);
    how.inner.rate = static_cast<float>(options_.inner_rate.value_or(options_.inner == "sgd" ? 0.1 : 0.001));
    how.inner.method = parse_meta_gradient(options_.lane);
    how.inner.checkpoint = options_.checkpoint;
    return how;
  }

  std::vector<int32_t> poison_labels(const TrainingData& data, const PoisonRoles& roles) const {
    std::vector<int32_t> labels = data.train.labels_of(roles.poisoned);
    if (options_.labels == "keep" || data.info.classes < 2) return labels;
    for (size_t i = 0; i < labels.size(); ++i) {
      Random random(static_cast<uint64_t>(options_.common.seed), Purpose::poison_label,
                    static_cast<uint64_t>(roles.poisoned[i]));
      const auto classes = static_cast<uint64_t>(data.info.classes);
      labels[i] =
          static_cast<int32_t>((static_cast<uint64_t>(labels[i]) + 1 + random.below(classes - 1)) % classes);
    }
    return labels;
  }

  Model surrogate(const Images& images, const PoisonRoles& roles) {
    return train(images.at(roles.trained_on()), options_.surrogate_epochs, options_.common.seed, "surrogate");
  }

  Model train(const Images& images, int64_t epochs, int64_t seed, const std::string& label) {
    ProgressLine progress(console_, label, epochs * images.count(), "images");
    return train_network(network_, images, epochs, static_cast<uint64_t>(seed),
                         [&](int64_t done) { progress.at(done); });
  }

  std::vector<float> craft(const Images& images, const PoisonRoles& roles, const std::vector<int32_t>& labels,
                           const PoisonOptions& how) {
    const Model model = surrogate(images, roles);
    ProgressLine progress(console_, "crafting", static_cast<int64_t>(roles.poisoned.size()), "images");
    return craft_poison(model, images, roles, labels, how, [&](int64_t done) { progress.at(done); });
  }

  static void save(const RunFolder& folder, ImageShape shape, const PoisonRoles& roles,
                   const std::vector<int32_t>& labels, const std::vector<uint8_t>& x,
                   const std::vector<uint8_t>& clean) {
    const auto n = static_cast<int64_t>(labels.size());
    NpzWriter file(folder.file("poison.npz"));
    file.add("index", {n}, roles.poisoned);
    file.add("label", {n}, labels);
    file.add("x", {n, shape.height, shape.width, shape.channels}, x);
    file.add("clean", {n, shape.height, shape.width, shape.channels}, clean);
    file.close();
  }

  Kind train_kind(const std::string& name, const TrainingData& data, const Images& images,
                  const Images& targets) {
    Kind kind{name, {}, {}, std::vector<std::vector<double>>(static_cast<size_t>(data.info.classes))};
    for (int64_t s = 1; s <= options_.seeds; ++s) {
      const Model model = train(images, options_.epochs, options_.common.seed + s,
                                fmt::format("{} {}/{}", name, s, options_.seeds));
      const Evaluation test = evaluate(model, data.test);
      kind.accuracy.push_back(test.metrics.accuracy);
      kind.on_targets.push_back(evaluate(model, targets).metrics.accuracy);
      for (int64_t k = 0; k < data.info.classes; ++k) {
        kind.classes[static_cast<size_t>(k)].push_back(class_metrics(test.confusion, k).recall);
      }
    }
    return kind;
  }

  static std::vector<double> minus(const std::vector<double>& a, const std::vector<double>& b) {
    std::vector<double> difference;
    difference.reserve(a.size());
    for (size_t i = 0; i < a.size(); ++i) difference.push_back(a[i] - b[i]);
    return difference;
  }

  void report(const std::vector<Kind>& kinds, const TrainingData& data, const RunFolder& folder) {
    using K = Column::Kind;
    Table accuracy({{"training_set", "training set"},
                    {"mean", "test accuracy", K::percent},
                    {"sd", "±", K::deviation},
                    {"change", "against the twin", K::percent},
                    {"change_sd", "±", K::deviation},
                    {"targets", "on the targets", K::percent},
                    {"targets_change", "against the twin", K::percent},
                    {"targets_change_sd", "±", K::deviation},
                    {"seeds", "networks", K::count}});
    Table runs({{"training_set", "training set"},
                {"seed", "seed", K::count},
                {"accuracy", "accuracy", K::percent},
                {"targets", "on the targets", K::percent}});
    Table classes({{"class", "class"},
                   {"twin", "clean twin", K::percent},
                   {"poisoned", "poisoned", K::percent},
                   {"poisoned_change", "change", K::percent},
                   {"noise", "random noise", K::percent},
                   {"noise_change", "change", K::percent}});
    for (const Kind& kind : kinds) {
      const MeanAndDeviation all = over_seeds(kind.accuracy);
      const MeanAndDeviation change = over_seeds(minus(kind.accuracy, kinds[0].accuracy));
      const MeanAndDeviation lost = over_seeds(minus(kind.on_targets, kinds[0].on_targets));
      accuracy.row({kind.name, all.mean, cell_of(all.deviation), change.mean, cell_of(change.deviation),
                    over_seeds(kind.on_targets).mean, lost.mean, cell_of(lost.deviation), options_.seeds});
      for (size_t s = 0; s < kind.accuracy.size(); ++s) {
        runs.row({kind.name, options_.common.seed + static_cast<int64_t>(s) + 1, kind.accuracy[s],
                  kind.on_targets[s]});
      }
    }
    for (size_t k = 0; k < kinds[0].classes.size(); ++k) {
      const auto mean = [&](size_t kind) {
        return over_seeds(kinds[kind].classes[k]).mean;
      };
      classes.row(
          {data.info.class_names[k], mean(0), mean(1), mean(1) - mean(0), mean(2), mean(2) - mean(0)});
    }
    console_.say(accuracy);
    console_.blank();
    console_.say(classes);
    folder.write_table("accuracy", accuracy);
    folder.write_table("classes", classes);
    folder.write_table("runs", runs);
    const Json result = {{"accuracy", accuracy.json()}, {"classes", classes.json()}, {"runs", runs.json()}};
    folder.write_json("poison.json", result);
    console_.result(result);
  }

  PoisonCommand& options_;
  const Flags& flags_;
  Console console_;
  ZooEntry network_;
};

}  // namespace

Run gma_poison_command(Flags& flags) {
  return make_command<PoisonCommand>(
      flags, declare, [](PoisonCommand& options, const Flags& given) { Poisoning(options, given).run(); });
}

}  // namespace caltrop
