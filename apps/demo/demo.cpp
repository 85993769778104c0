// caltrop demo: the main job in a few minutes: train a network, attack it, defend it, and read what happened.
#include <algorithm>

#include "apps/commands/defend_report.h"
#include "apps/core/build_info.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/core/text_layout.h"
#include "apps/demo/defended.h"
#include "apps/demo/page.h"
#include "apps/demo/result.h"
#include "apps/report/attack_report.h"
#include "apps/report/evaluation.h"
#include "apps/report/table.h"
#include "engine/training.h"
#include "engine/zoo.h"

namespace caltrop {
namespace {

constexpr const char* kModel = "target";
constexpr const char* kWeights = "model.safetensors";
constexpr float kPicturedSize = 0.1f;  // of PGD-10 under L-inf, in the pictures

struct DemoCommand {
  CommonOptions common;
  DataOptions data;
  int64_t epochs = 3, images = 500, defence_images = 10000, defence_epochs = 3, adaptive = 100;
};

void declare(Flags& flags, DemoCommand& options) {
  flags.about(
      "Trains the paper's Target network on real data, attacks it with FGSM, PGD-10 and the 30 miniature "
      "sizes of GMA under two norms, trains the paper's defence (EAT cycles, three networks, a vote), puts "
      "it to the test, and tells what happened in report.html: one page that can be read offline, on a "
      "laptop or a phone. Under five minutes on two cores.");
  add_data_flags(flags, options.data, "train on the first N training images");
  flags.group("Demonstration");
  flags.integer("epochs", options.epochs, 1, kMaxEpochs, "N", "passes over the training images");
  flags.integer("images", options.images, 1, int64_t{1} << 40, "N", "test images that are attacked");
  flags.integer("defence-images", options.defence_images, 3, int64_t{1} << 40, "N",
                "training images that the defence learns from");
  flags.integer("defence-epochs", options.defence_epochs, 1, kMaxEpochs, "N",
                "passes of its networks in each cycle; twice as many on the bootstraps");
  flags.integer("adaptive", options.adaptive, 1, int64_t{1} << 40, "N",
                "test images for the attack that knows the defence");
  add_common_flags(flags, options.common, true, "runs/demo-DATASET, the first that is free");
  flags.section(
      "Files",
      " DIR/report.html               what happened, in plain words, with figures and tables\n"
      " DIR/model.safetensors         the trained network\n"
      " DIR/metrics.jsonl             one line per epoch of it\n"
      " DIR/defence/                  the networks of the defence and what 'caltrop defend mia' keeps\n"
      " DIR/attacks.csv               FGSM and PGD-10\n"
      " DIR/gma-linf.csv, gma-l2.csv  accuracy per size\n"
      " DIR/defence.csv               what became of clean and attacked images, by detector\n"
      " DIR/defence-by-size.csv       of GMA's images, by size, without the defence and with it\n"
      " DIR/adaptive.csv              the vote under an attack that knows it\n"
      " DIR/images.png                clean, attacked, perturbation magnified\n"
      " DIR/accuracy-by-size.png      with its gnuplot script and data\n"
      " DIR/demo.json                 all numbers");
  flags.section("JSON",
                "out, dataset, test (as in 'caltrop eval'), training, attacks, norms (as in 'caltrop gma "
                "analyze'), defence");
  flags.example("caltrop demo --dataset digits", "On digits that the program draws.");
}

struct NamedAttack {
  std::string name;
  AttackKind kind;
  Norm norm;
  float eps;
};

// The flags that differ from their defaults, as one would type them; the data set that was taken and the seed
// always. A folder's place is nobody else's business.
std::string command_of(const Flags& flags) {
  std::string command = "caltrop " + flags.command();
  const Json recipe = flags.recipe();
  for (const auto& [name, value] : recipe.items()) {
    const bool always = name == "dataset" || name == "seed";
    if (name == "device" || (!always && flags.defaults().value(name, Json()) == value)) continue;
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    command += fmt::format(" --{} {}", name, name == "data-dir" ? "DIR" : text);
  }
  return command;
}

class Demo {
 public:
  Demo(DemoCommand& options, const Flags& flags)
      : options_(options), flags_(flags), console_(options.common.json, options.common.quiet) {}

  void run() {
    RunFolder::check(options_.common.out, options_.common.resume);
    Backend& backend = open_backend(options_.common, console_);
    const TrainingData data = load_training_data(options_.data, backend, console_);
    const ZooEntry entry = zoo(kModel, data.info.classes);
    Model model(parse_architecture(entry.line), data.train.shape(), backend);
    const auto first = [](const Images& images, int64_t count) {
      return images.at(row_range(0, std::min(count, images.count())));
    };
    const Images shown = first(data.test, options_.images),
                 learned = first(data.train, options_.defence_images);
    const DefendFlags defend =
        demo_defence(options_.common, options_.data, options_.defence_epochs, options_.adaptive);
    DefendRun defence(defend, {model, learned, shown, data.info, {}}, console_, true);

    Json facts = data.info.facts;
    facts["network"] = entry.line;
    const std::string out = folder_or_free(options_.common.out, "demo-" + data.info.name);
    const RunFolder folder(out, make_config(flags_, facts), options_.common.resume);
    MetricsLog log(folder.file("metrics.jsonl"), folder.has(kWeights) ? options_.epochs : 0);
    begin(data, model, entry.line);

    console_.say("1. Train Target on {} ({} images)", data.info.name, grouped(data.train.count()));
    console_.say("   {}", entry.line);
    train(model, data, entry.initializer, folder, log);
    const Evaluation test = evaluate(model, data.test);
    result_.clean = test.metrics;
    console_.say("   clean accuracy {} on {} test images", in_words(test.metrics), grouped(test.metrics.n));
    console_.blank();

    run_attacks(model, shown, folder);
    run_gma(model, shown, folder);

    console_.say("4. A defence: EAT trains three networks to know attacked images, MIA lets them vote");
    const RunFolder networks(folder.file("defence"), make_config(flags_, facts), true);
    say_when_interrupted(
        fmt::format("interrupted; continue with: caltrop demo --resume --out {}", folder.path().string()));
    Defended& defended = defence.train(networks);
    result_.training = log.lines();
    result_.defence_training = defence.metrics();
    result_.defence = judge_demo(defence, defended, model, shown, seed(), console_);
    result_.defence.clean_train = learned.count();
    defend.defence->remove_working_files();
    say_defence(folder);
    take_votes(defended, shown.backend());

    Json json = {
        {"schema", "demo/1"}, {"dataset", data.info.name}, {"test", to_json(test.metrics, test.confusion)}};
    json.update(to_json(result_));
    folder.write("report.html", demo_page(result_));
    folder.write_json("demo.json", json);
    console_.say("Everything is in {}", out);
    console_.say("   read {}", folder.file("report.html").string());
    Json answer = json;
    answer["out"] = out;
    console_.result(answer);
  }

 private:
  uint64_t seed() const { return static_cast<uint64_t>(options_.common.seed); }

  void begin(const TrainingData& data, const Model& model, const std::string& line) {
    result_.dataset = data.info.name;
    result_.class_names = data.info.class_names;
    result_.network = line;
    result_.shape = data.train.shape();
    result_.train_images = data.train.count();
    for (const Tensor& parameter : model.parameters()) result_.parameters += parameter.size();
    result_.command = command_of(flags_);
    result_.version = version();
    result_.commit = commit();
    result_.device = options_.common.device;
    result_.seed = options_.common.seed;
  }

  void train(Model& model, const TrainingData& data, const std::string& initializer, const RunFolder& folder,
             MetricsLog& log) {
    if (folder.has(kWeights)) {
      model.load(read_safetensors(folder.file(kWeights)));
      console_.say("   trained before");
      return;
    }
    model.initialize(parse_initializer(initializer), seed());
    Optimizer optimizer({}, model.parameters());
    const TrainingOptions how{
        .epochs = options_.epochs, .seed = seed(), .schedule = Schedule::parse("linear")};
    ProgressLine progress(console_, "training", how.epochs * data.train.count(), "images");
    const auto after_epoch = [&](const EpochResult& result) {
      const double test = evaluate(model, data.test).metrics.accuracy;
      log.append({{"model", kModel},
                  {"stage", ""},
                  {"epoch", result.epoch},
                  {"loss", result.loss},
                  {"train_accuracy", result.accuracy},
                  {"test_accuracy", test}});
      console_.say("   epoch {}/{}: loss {:.4f}, training accuracy {:.2f} %, test accuracy {:.2f} %",
                   result.epoch, how.epochs, result.loss, 100 * result.accuracy, 100 * test);
      return true;
    };
    CrossEntropy objective;
    fit(model, optimizer, data.train, objective, how,
        {.progress = [&](int64_t, int64_t images) { progress.at(images); }, .epoch = after_epoch});
    SafeTensorFile weights = model.state();
    describe_data(weights, options_.data);
    write_safetensors(folder.file(kWeights), weights);
  }

  void run_attacks(const Model& model, const Images& images, const RunFolder& folder) {
    console_.say("2. Attack the first {} test images through the gradient", grouped(images.count()));
    const std::vector<NamedAttack> attacks = {{"FGSM", AttackKind::fgsm, Norm::linf, kPicturedSize},
                                              {"FGSM", AttackKind::fgsm, Norm::linf, 0.3f},
                                              {"PGD-10", AttackKind::pgd, Norm::linf, kPicturedSize},
                                              {"PGD-10", AttackKind::pgd, Norm::linf, 0.3f},
                                              {"PGD-10", AttackKind::pgd, Norm::l2, 2.0f}};
    using Kind = Column::Kind;
    Table table({{"attack", "attack"},
                 {"norm", "norm"},
                 {"eps", "epsilon", Kind::general, 3},
                 {"accuracy", "accuracy", Kind::percent, 2},
                 {"robust_accuracy", "robust accuracy", Kind::percent, 2},
                 {"success_rate", "fooled of all", Kind::percent, 2},
                 {"max_linf", "largest L-inf", Kind::general, 3},
                 {"max_l2", "largest L2", Kind::general, 3},
                 {"zero_gradients", "zero gradients", Kind::count},
                 {"passes", "gradients taken", Kind::count}});
    for (const NamedAttack& attack : attacks) {
      AttackOptions how = attack_defaults(attack.kind);
      how.norm = attack.norm;
      how.seed = seed();
      ProgressLine progress(console_, attack.name, images.count(), "images");
      AttackJob job{.rows = row_range(0, images.count())};
      job.progress = [&](int64_t done) {
        progress.at(done);
      };
      const bool pictured = attack.kind == AttackKind::pgd && attack.eps == kPicturedSize;
      if (pictured) result_.pictured = result_.attacks.size();
      const AttackReport report = attack_images(model, images, std::vector<float>{attack.eps}, how, job);
      if (pictured) {
        for (Example& example : examples_of(model, images, first_of_classes(images), {attack.eps}, how))
          result_.examples.push_back({std::move(example), 0, attack.norm, attack.eps});
      }
      progress.finish();
      const AttackSummary& s = report.sizes[0];
      table.row({attack.name, to_string(attack.norm), static_cast<double>(attack.eps), s.accuracy(),
                 s.robust_accuracy(), s.success_rate(), s.max_linf, s.max_l2, s.zero_gradients,
                 report.backward_passes});
      result_.attacks.push_back({attack.name, attack.norm, s});
    }
    console_.say(table);
    console_.blank();
    folder.write("attacks.csv", table.csv());
    std::vector<Shown> pictures;
    for (const auto& [image, vote, norm, size] : result_.examples)
      pictures.push_back({image.clean, image.difference(), image.fooled()});
    write_attack_grid(folder, "images.png", pictures, images.shape().height, images.shape().width);
  }

  void run_gma(const Model& model, const Images& images, const RunFolder& folder) {
    console_.say("3. The miniature attack GMA: 30 sizes, PGD-10, up to three tries each");
    for (const Norm norm : {Norm::linf, Norm::l2}) {
      constexpr int64_t kTries = 3;
      AttackOptions how = gma_attack(AttackKind::pgd, norm);
      how.seed = seed();
      ProgressLine progress(console_, "GMA " + to_string(norm), images.count() * kTries, "images");
      AttackJob job{.rows = row_range(0, images.count())};
      job.progress = [&](int64_t done) {
        progress.at(done);
      };
      const GmaAnalysis analysis = gma_analyze(model, images, gma_sizes(), how, kTries, job);
      progress.finish();
      const Table table = gma_table(analysis);
      console_.blank();
      console_.say("   {}", norm_title(norm));
      console_.say(table);
      say_gma(console_, analysis);
      folder.write_table("gma-" + to_string(norm), table);
      result_.gma.push_back(analysis);
      take_sizes(model, images, how);
    }
    console_.blank();
    const std::string figure = write_figure(folder, "accuracy-by-size", gma_figure(result_.gma, "Target"));
    if (figure.ends_with(".gp"))
      console_.note("gnuplot is not here: {} draws the figure", folder.file(figure).string());
  }

  // The first image under a few of GMA's sizes, from the smallest to the largest.
  void take_sizes(const Model& model, const Images& images, const AttackOptions& how) {
    std::vector<float> sizes = eps_of(gma_sizes());
    std::sort(sizes.begin(), sizes.end());
    std::vector<float> chosen;
    for (const size_t place : {0, 12, 17, 21, 24, 29}) chosen.push_back(sizes.at(place));
    std::vector<Example> examples = examples_of(model, images, {0}, chosen, how);
    for (size_t k = 0; k < examples.size(); ++k)
      result_.sizes.push_back({std::move(examples[k]), 0, how.norm, chosen[k]});
  }

  // What the vote says of the images that the page shows.
  void take_votes(const Defended& defence, Backend& backend) {
    const ImageShape& shape = result_.shape;
    for (auto* examples : {&result_.examples, &result_.sizes}) {
      for (VotedExample& one : *examples) {
        const Tensor x =
            Tensor::from(backend, {1, shape.height, shape.width, shape.channels}, one.image.attacked);
        one.vote = defence(x)[0];
      }
    }
  }

  void say_defence(const RunFolder& folder) {
    const Table detectors = detector_table(result_.defence),
                adaptive = adaptive_table(result_.defence.adaptive);
    console_.blank();
    console_.say(detectors);
    console_.blank();
    console_.say("   An attack that knows the vote and avoids its alarm (APGD)");
    console_.say(adaptive);
    console_.blank();
    folder.write("defence.csv", detectors.csv());
    folder.write("defence-by-size.csv", by_size_table(result_.defence).csv());
    folder.write("adaptive.csv", adaptive.csv());
  }

  DemoCommand& options_;
  const Flags& flags_;
  Console console_;
  DemoResult result_;
};

}  // namespace

Run demo_command(Flags& flags) {
  return make_command<DemoCommand>(
      flags, declare, [](DemoCommand& options, const Flags& given) { Demo(options, given).run(); });
}

}  // namespace caltrop
