// caltrop gma poison: the paper's bi-level problem (Eq. 3-5), and what poisoned training images do to a
// network.
#include <optional>
#include <utility>

#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/core/text_layout.h"
#include "apps/report/table.h"
#include "attacks/attack.h"
#include "attacks/poison/compare.h"
#include "attacks/poison/effect.h"
#include "attacks/poison/poison.h"
#include "data/npz.h"
#include "engine/metrics.h"
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
  PoisonOptions how;  // what the flags above say of it is filled in by complete()
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
  flags.integer("ascents", options.how.ascents, 1, kMaxSteps, "N", "updates of the poisoned images (Eq. 5)");
  flags.number("step-size", options.step_size, {.low = 0, .high = kMaxSize, .open_low = true}, "A",
               "of an update", "2.5 E / N");
  flags.choice("inner", options.inner, {"sgd", "adam"},
               "the rule of the training steps that are differentiated");
  flags.number("inner-lr", options.inner_rate, {.low = 0, .high = 100, .open_low = true}, "RATE", "its rate",
               "0.1; 0.001 for adam");
  flags.integer("unroll", options.how.unrolled_steps, 1, 1000, "T", "training steps that are differentiated");
  flags.choice(
      "lane", options.lane, {"stepwise", "unrolled", "forward-over-reverse", "differences"},
      "how: step by step, recorded and differentiated as a whole, step by step with dual numbers, or by "
      "differences of gradients");
  flags.integer("checkpoint", options.how.inner.checkpoint, 0, 1000, "C",
                "unrolled: steps recorded together; memory grows with them, 0 for all");
  flags.integer("group", options.how.group, 1, kMaxBatch, "N", "poisoned images crafted together");
  flags.integer("inner-batch", options.how.batch, 1, kMaxBatch, "N",
                "clean images in each differentiated step");
  flags.integer("targets", options.how.targets, 1, kMaxBatch, "N", "target images of an update");
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

using K = Column::Kind;

// What the flags say in words, or leave to a rule.
void complete(PoisonOptions& how, const PoisonCommand& options) {
  how.norm = parse_norm(options.norm);
  how.eps = static_cast<float>(options.eps.value_or(static_cast<double>(default_eps(how.norm))));
  how.step_size = static_cast<float>(options.step_size.value_or(0));
  how.seed = static_cast<uint64_t>(options.common.seed);
  how.inner.rule = parse_rule(options.inner);
  how.inner.rate = static_cast<float>(options.inner_rate.value_or(options.inner == "sgd" ? 0.1 : 0.001));
  how.inner.method = parse_meta_gradient(options.lane);
}

// --check: the ways to the meta-gradient, side by side.
void compare(const Model& model, const Images& images, const PoisonRoles& roles, const PoisonOptions& how,
             Console& console) {
  const MetaGradientComparison found = compare_meta_gradients(model, images, roles, how);
  Table table({{"lane", "meta-gradient"},
               {"slope", "slope along the exact one", K::general, 6},
               {"apart", "relative distance", K::general, 2},
               {"seconds", "seconds", K::number, 3}});
  for (const MetaGradientWay& way : found.ways) table.row({way.name, way.slope, way.apart, way.seconds});
  console.say("{} poisoned and {} clean images in each of {} steps of {}, {} target images", how.group,
              how.batch, how.unrolled_steps, to_string(how.inner.rule), how.targets);
  console.say(table);
  if (!found.smooth) {
    console.note(
        "relu and max-pool make the gradients of training jump; differences count the jumps and are no "
        "witness here. Compare on a network with gelu and avgpool, as in the example of --help");
  }
  if (!found.agree) fail("the meta-gradients are further apart than {:g}", kMetaGradientsAgree);
  console.result({{"schema", "poison-check/1"}, {"lanes", table.json()}});
}

void save(const RunFolder& folder, ImageShape shape, const PoisonRoles& roles,
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

// Of the differences to the twins of the same seeds.
MeanAndDeviation change(const std::vector<double>& values, const std::vector<double>& twins) {
  std::vector<double> differences(values.size());
  std::ranges::transform(values, twins, differences.begin(), std::minus());
  return over_seeds(differences);
}

Table accuracy_table(const std::vector<PoisonEffect>& kinds) {
  Table table({{"training_set", "training set"},
               {"mean", "test accuracy", K::percent},
               {"sd", "±", K::deviation},
               {"change", "against the twin", K::percent},
               {"change_sd", "±", K::deviation},
               {"targets", "on the targets", K::percent},
               {"targets_change", "against the twin", K::percent},
               {"targets_change_sd", "±", K::deviation},
               {"seeds", "networks", K::count}});
  for (const PoisonEffect& kind : kinds) {
    const MeanAndDeviation all = over_seeds(kind.accuracy), less = change(kind.accuracy, kinds[0].accuracy),
                           lost = change(kind.on_targets, kinds[0].on_targets);
    table.row({kind.name, all.mean, cell_of(all.deviation), less.mean, cell_of(less.deviation),
               over_seeds(kind.on_targets).mean, lost.mean, cell_of(lost.deviation),
               static_cast<int64_t>(all.n)});
  }
  return table;
}

Table class_table(const std::vector<PoisonEffect>& kinds, const std::vector<std::string>& names) {
  Table table({{"class", "class"},
               {"twin", "clean twin", K::percent},
               {"poisoned", "poisoned", K::percent},
               {"poisoned_change", "change", K::percent},
               {"noise", "random noise", K::percent},
               {"noise_change", "change", K::percent}});
  for (size_t k = 0; k < names.size(); ++k) {
    const auto mean = [&](size_t kind) {
      return over_seeds(kinds[kind].recall[k]).mean;
    };
    table.row({names[k], mean(0), mean(1), mean(1) - mean(0), mean(2), mean(2) - mean(0)});
  }
  return table;
}

Table run_table(const std::vector<PoisonEffect>& kinds, int64_t seed) {
  Table table({{"training_set", "training set"},
               {"seed", "seed", K::count},
               {"accuracy", "accuracy", K::percent},
               {"targets", "on the targets", K::percent}});
  for (const PoisonEffect& kind : kinds) {
    for (size_t s = 0; s < kind.accuracy.size(); ++s)
      table.row({kind.name, seed + static_cast<int64_t>(s) + 1, kind.accuracy[s], kind.on_targets[s]});
  }
  return table;
}

void run(PoisonCommand& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  PoisonOptions& how = options.how;
  complete(how, options);
  if (options.model.arch.empty() && options.model.model.empty()) options.model.model = "target";
  asked_network(options.model);
  if (options.check && !options.common.out.empty())
    usage_error("--check compares and writes no files: leave out --out");
  RunFolder::check(options.common.out, options.common.resume);
  Backend& backend = open_backend(options.common, console);
  const TrainingData data = load_training_data(options.data, backend, console);
  const DataInfo& info = data.info;
  check_poison(how, data.train.image_size());
  const ZooEntry network = asked_network(options.model, info.classes);
  {
    const Model probe(parse_architecture(network.line), data.train.shape(), backend);
    expect_outputs(probe, info, "--arch");
    const InnerTraining check(probe, {}, {}, {}, how.inner);  // an Error for a network it cannot take
  }
  const PoisonRoles roles = draw_poison_roles(data.train.count(), options.percent / 100, how.seed);
  const auto train = [&](const Images& images, int64_t epochs, int64_t number, const std::string& label) {
    ProgressLine progress(console, label, epochs * images.count(), "images");
    return train_network(network, images, epochs, how.seed + static_cast<uint64_t>(number),
                         [&](int64_t done) { progress.at(done); });
  };
  const auto surrogate = [&] {
    return train(data.train.at(roles.trained_on()), options.surrogate_epochs, 0, "surrogate");
  };
  if (options.check) return compare(surrogate(), data.train, roles, how, console);

  Json facts = info.facts;
  facts["network"] = network.line;
  const std::string out = folder_or_free(options.common.out, "poison-" + info.name);
  const RunFolder folder(out, make_config(flags, facts), options.common.resume);
  console.say("{}: {} of {} training images poisoned within {} {:g}, labels {} -> {}", info.name,
              grouped(static_cast<int64_t>(roles.poisoned.size())), grouped(data.train.count()), options.norm,
              how.eps, options.labels == "keep" ? "kept" : "flipped", out);
  console.blank();
  const std::vector<int32_t> labels = options.labels == "keep"
                                          ? data.train.labels_of(roles.poisoned)
                                          : flipped_labels(data.train, roles, info.classes, how.seed);
  const std::vector<uint8_t> clean = data.train.at(roles.poisoned).bytes();
  std::vector<uint8_t> poison;
  {
    const Model model = surrogate();
    ProgressLine progress(console, "crafting", static_cast<int64_t>(roles.poisoned.size()), "images");
    poison = stored_poison(
        clean, craft_poison(model, data.train, roles, labels, how, [&](int64_t done) { progress.at(done); }));
  }
  save(folder, data.train.shape(), roles, labels, poison, clean);

  const Images targets = data.train.at(roles.targets);
  std::vector<PoisonEffect> kinds;
  for (const auto& [name, images] : poison_training_sets(data.train, roles, poison, labels, how)) {
    PoisonEffect& kind = kinds.emplace_back(name, info.classes);
    for (int64_t s = 1; s <= options.seeds; ++s) {
      kind.add(train(images, options.epochs, s, fmt::format("{} {}/{}", name, s, options.seeds)), data.test,
               targets);
    }
  }

  const Table accuracy = accuracy_table(kinds), classes = class_table(kinds, info.class_names);
  console.say(accuracy);
  console.blank();
  console.say(classes);
  Json result = {{"schema", "poison/1"}};
  const auto write = [&](const std::string& name, const Table& table) {
    folder.write_table(name, table);
    result[name] = table.json();
  };
  write("accuracy", accuracy);
  write("classes", classes);
  write("runs", run_table(kinds, options.common.seed));
  folder.write_json("poison.json", result);
  console.result(result);
}

}  // namespace

Run gma_poison_command(Flags& flags) {
  return make_command<PoisonCommand>(flags, declare, run);
}

}  // namespace caltrop
