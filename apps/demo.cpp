// caltrop demo: the main job in a minute or two: train a network, attack it, look at what happened.
#include <algorithm>
#include <cmath>

#include "apps/attack_report.h"
#include "apps/commands.h"
#include "apps/console.h"
#include "apps/evaluation.h"
#include "apps/options.h"
#include "apps/run_folder.h"
#include "apps/setup.h"
#include "apps/text_layout.h"
#include "engine/training.h"
#include "engine/zoo.h"

namespace caltrop {
namespace {

constexpr const char* kModel = "target";
constexpr size_t kShownImages = 10;

struct DemoCommand {
  CommonOptions common;
  DataOptions data;
  int64_t epochs = 3, images = 1000;
};

void declare(Flags& flags, DemoCommand& options) {
  flags.about(
      "Trains the paper's Target network on real data, attacks it with FGSM, PGD-10 and the 30 miniature "
      "sizes of GMA under "
      "two norms, and leaves tables and figures in a folder. Under three minutes on two cores.");
  add_data_flags(flags, options.data, "train on the first N training images");
  flags.group("Demonstration");
  flags.integer("epochs", options.epochs, 1, kMaxEpochs, "N", "passes over the training images");
  flags.integer("images", options.images, 1, int64_t{1} << 40, "N", "test images that are attacked");
  add_common_flags(flags, options.common, true, "runs/demo-DATASET, the first that is free");
  flags.section("Files",
                " DIR/model.safetensors         the trained network\n"
                " DIR/attacks.csv               FGSM and PGD-10\n"
                " DIR/gma-linf.csv, gma-l2.csv  accuracy per size\n"
                " DIR/images.png                clean, attacked, perturbation magnified\n"
                " DIR/accuracy-by-size.png      with its gnuplot script and data\n"
                " DIR/demo.json                 all numbers");
  flags.section("JSON",
                "out, dataset, test (as in 'caltrop eval'), attacks, norms (as in 'caltrop gma analyze')");
  flags.example("caltrop demo --dataset digits", "On digits that the program draws.");
}

struct NamedAttack {
  std::string name;
  AttackKind kind;
  Norm norm;
  float eps;
};

class Demo {
 public:
  Demo(DemoCommand& options, const Flags& flags)
      : options_(options), flags_(flags), console_(options.common.json, options.common.quiet) {}

  void run() {
    RunFolder::check(options_.common.out, options_.common.resume);
    Backend& backend = open_backend(options_.common, console_);
    TrainingData data = load_training_data(options_.data, backend, console_);
    const ZooEntry entry = zoo(kModel, data.info.classes);
    Model model(parse_architecture(entry.line), data.train.shape(), backend);
    Json facts = data.info.facts;
    facts["network"] = entry.line;
    const std::string out = folder_or_free(options_.common.out, "demo-" + data.info.name);
    const RunFolder folder(out, make_config(flags_, facts), options_.common.resume);

    console_.say("1. Train Target on {} ({} images)", data.info.name, grouped(data.train.count()));
    console_.say("   {}", entry.line);
    train(model, data, entry.initializer);
    SafeTensorFile weights = model.state();
    describe_data(weights, options_.data);
    write_safetensors(folder.file("model.safetensors"), weights);
    const Evaluation test = evaluate(model, data.test);
    console_.say("   clean accuracy {} on {} test images", in_words(test.metrics), grouped(test.metrics.n));
    console_.blank();

    rows_ = row_range(0, std::min(options_.images, data.test.count()));
    const Json attacks = run_attacks(model, data.test, folder);
    const Json norms = run_gma(model, data.test, folder);
    const Json result = {{"dataset", data.info.name},
                         {"test", to_json(test.metrics, test.confusion)},
                         {"attacks", attacks},
                         {"norms", norms}};
    folder.write_json("demo.json", result);
    console_.say("Everything is in {}", out);
    console_.say("   look at {} and {}", folder.file("images.png").string(), folder.file(figure_).string());
    Json shown = result;
    shown["out"] = out;
    console_.result(shown);
  }

 private:
  void train(Model& model, const TrainingData& data, const std::string& initializer) {
    const auto seed = static_cast<uint64_t>(options_.common.seed);
    model.initialize(parse_initializer(initializer), seed);
    Optimizer optimizer({}, model.parameters());
    const TrainingOptions how{.epochs = options_.epochs, .seed = seed, .schedule = Schedule::parse("linear")};
    ProgressLine progress(console_, "training", how.epochs * data.train.count(), "images");
    for (int64_t epoch = 1; epoch <= how.epochs; ++epoch) {
      const EpochResult result = train_epoch(model, optimizer, data.train, epoch, how, [&](int64_t done) {
        progress.at((epoch - 1) * data.train.count() + done);
      });
      console_.say("   epoch {}/{}: loss {:.4f}, training accuracy {:.2f} %", epoch, how.epochs, result.loss,
                   100 * result.accuracy);
    }
  }

  Json run_attacks(const Model& model, const Images& images, const RunFolder& folder) {
    console_.say("2. Attack the first {} test images through the gradient",
                 grouped(static_cast<int64_t>(rows_.size())));
    const std::vector<NamedAttack> attacks = {{"FGSM", AttackKind::fgsm, Norm::linf, 0.1f},
                                              {"FGSM", AttackKind::fgsm, Norm::linf, 0.3f},
                                              {"PGD-10", AttackKind::pgd, Norm::linf, 0.1f},
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
    Json list = Json::array();
    std::vector<Shown> shown;
    for (const NamedAttack& attack : attacks) {
      AttackOptions how = attack_defaults(attack.kind);
      how.norm = attack.norm;
      how.seed = static_cast<uint64_t>(options_.common.seed);
      ProgressLine progress(console_, attack.name, static_cast<int64_t>(rows_.size()), "images");
      AttackJob job{.rows = rows_};
      job.progress = [&](int64_t done) {
        progress.at(done);
      };
      const bool pictured = attack.kind == AttackKind::pgd && attack.eps == 0.1f;
      if (pictured)
        job.sink = [&](int64_t first, const AttackResult& chunk) {
          keep(images, first, chunk, shown);
        };
      const AttackReport report = attack_images(model, images, std::vector<float>{attack.eps}, how, job);
      progress.finish();
      const AttackSummary& s = report.sizes[0];
      table.row({attack.name, to_string(attack.norm), static_cast<double>(attack.eps), s.accuracy(),
                 s.robust_accuracy(), s.success_rate(), s.max_linf, s.max_l2, s.zero_gradients,
                 report.backward_passes});
      Json numbers = {{"attack", attack.name}, {"norm", to_string(attack.norm)}};
      numbers.update(to_json(s));
      list.push_back(numbers);
    }
    console_.say(table);
    console_.blank();
    folder.write("attacks.csv", table.csv());
    write_attack_grid(folder, "images.png", shown, images.shape().height, images.shape().width);
    return list;
  }

  // The first images of PGD-10 at L-inf 0.1, for the picture.
  static void keep(const Images& images, int64_t first, const AttackResult& chunk,
                   std::vector<Shown>& shown) {
    const int64_t size = images.image_size();
    for (size_t i = 0; i < chunk.images.size() && shown.size() < kShownImages; ++i) {
      const int64_t row = first + static_cast<int64_t>(i);
      const std::vector<float> delta = chunk.delta.to_host();
      const auto from = delta.begin() + static_cast<int64_t>(i) * size;
      shown.push_back(
          {images.pixels(row_range(row, row + 1)).to_host(), {from, from + size}, chunk.rows[i].success});
    }
  }

  Json run_gma(const Model& model, const Images& images, const RunFolder& folder) {
    console_.say("3. The miniature attack GMA: 30 sizes, PGD-10, up to three tries each");
    std::vector<GmaAnalysis> analyses;
    Json norms = Json::array();
    for (const Norm norm : {Norm::linf, Norm::l2}) {
      constexpr int64_t kTries = 3;
      AttackOptions how = gma_attack(AttackKind::pgd, norm);
      how.seed = static_cast<uint64_t>(options_.common.seed);
      ProgressLine progress(console_, "GMA " + to_string(norm), static_cast<int64_t>(rows_.size()) * kTries,
                            "images");
      AttackJob job{.rows = rows_};
      job.progress = [&](int64_t done) {
        progress.at(done);
      };
      const GmaAnalysis analysis = gma_analyze(model, images, gma_sizes(), how, kTries, job);
      progress.finish();
      const Table table = gma_table(analysis);
      console_.blank();
      console_.say("   {}", norm == Norm::linf ? "L-inf" : "L2");
      console_.say(table);
      say_gma(console_, analysis);
      folder.write_table("gma-" + to_string(norm), table);
      norms.push_back(to_json(analysis));
      analyses.push_back(analysis);
    }
    console_.blank();
    figure_ = write_figure(folder, "accuracy-by-size", gma_figure(analyses, "Target"));
    if (figure_.ends_with(".gp"))
      console_.note("gnuplot is not here: {} draws the figure", folder.file(figure_).string());
    return norms;
  }

  DemoCommand& options_;
  const Flags& flags_;
  Console console_;
  std::vector<int64_t> rows_;
  std::string figure_;
};

}  // namespace

Run demo_command(Flags& flags) {
  return make_command<DemoCommand>(
      flags, declare, [](DemoCommand& options, const Flags& given) { Demo(options, given).run(); });
}

}  // namespace caltrop
