// caltrop defend eat, caltrop defend mia: the paper's defence, from attacked images to tables.
#include <cmath>
#include <map>
#include <memory>

#include "apps/commands.h"
#include "apps/defend_adaptive.h"
#include "apps/defend_data.h"
#include "apps/defend_flags.h"
#include "apps/defend_report.h"
#include "apps/evaluation.h"
#include "apps/run_folder.h"
#include "apps/text_layout.h"
#include "defense/detection.h"
#include "defense/mia.h"
#include "engine/zoo.h"

namespace caltrop {
namespace {

constexpr const char* kCheckpoint = "checkpoint.safetensors";

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
  add_defend_flags(flags, options, mia);
  const std::string stem = mia ? "mia" : "eat";
  flags.section(
      "Files",
      " DIR/config.json                every flag as used\n"
      " DIR/metrics.jsonl              one line per epoch: model, stage, loss and accuracy in training and "
      "test\n"
      " DIR/MODEL-cycle-P.safetensors  the weights after each cycle" +
          std::string(mia ? "; MODEL-bootstrap.safetensors at the end\n" : "\n") +
          " DIR/checkpoint.safetensors     after the last finished epoch\n"
          " DIR/pool.csv                   the attacked images, of each attack and norm\n"
          " DIR/summary.csv                accuracy, F1, detection, false alarms of each model and stage\n"
          " DIR/attacks.csv, sizes.csv     the same per attack, and recall per size\n" +
          std::string(mia ? " DIR/adaptive.csv               the vote under an attack that knows it\n" : "") +
          " DIR/" + stem +
          ".json                   as --json\n CACHE/*.npz                    attacked images, by content");
  flags.section("JSON",
                "out, pool, summary, attacks (the tables), stop_rule (the epochs that met the paper's rule)");
  flags.example(fmt::format("caltrop defend {} --weights runs/target/model.safetensors --scale quick", stem),
                "10,000 MNIST images, in a few minutes.");
}

// Mean cross-entropy, in double.
double mean_loss(const std::vector<float>& logits, const std::vector<int32_t>& labels, int64_t classes) {
  double sum = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    const float* const z = logits.data() + static_cast<int64_t>(i) * classes;
    const auto top = static_cast<double>(*std::max_element(z, z + classes));
    double total = 0;
    for (int64_t k = 0; k < classes; ++k) total += std::exp(static_cast<double>(z[k]) - top);
    sum += std::log(total) + top - static_cast<double>(z[labels[i]]);
  }
  return sum / static_cast<double>(labels.size());
}

class Defence {
 public:
  Defence(DefendFlags& options, const Flags& flags, bool mia)
      : options_(options), flags_(flags), mia_(mia), console_(options.common.json, options.common.quiet) {}

  void run() {
    resolve(options_);
    RunFolder::check(options_.common.out, options_.common.resume);
    Backend& backend = open_backend(options_.common, console_);
    const TrainedWithData target = open_trained_with_data(options_.model, options_.data, options_.test_images,
                                                          flags_, backend, console_);
    attacked_ = static_cast<int32_t>(target.data.info.classes);
    const PoolSizes sizes = pool_sizes(options_, target.data.train.count(), target.data.test.count());
    for (const std::string& name : options_.members) {
      Model(parse_architecture(line_of(name)), target.data.train.shape(),
            backend);  // an Error where it does not fit
    }
    const std::string out =
        folder_or_free(options_.common.out, (mia_ ? "mia-" : "eat-") + target.data.info.name);
    const RunFolder folder(out, make_config(flags_, target.facts), options_.common.resume);

    const DefenceData data = prepare_data(options_, target, sizes, console_);
    const AugmentedImages train(target.data.train, data.train, attacked_);
    std::vector<AugmentedImages> tests;
    for (const DefenceData::Test& test : data.tests)
      tests.emplace_back(target.data.test, test.pool, attacked_);
    const Table pool = pool_table(data);
    console_.say(pool);
    console_.blank();
    const Sets sets = make_sets(train, target.data.train.count(), data.train);
    const Json lines = train_members(sets, tests[0], folder, backend);
    report(target, data, pool, tests, folder, lines, out);
  }

 private:
  // The sets that the networks train on: those of the cycles, and for MIA one bootstrap each.
  struct Sets {
    std::vector<std::unique_ptr<ChosenImages>> cycles, bootstraps;
  };
  Sets make_sets(const AugmentedImages& train, int64_t clean, const AttackedPool& pool) const {
    Sets sets;
    const auto rows = cycle_rows(clean, pool, shares_of(options_), parse_share_of(options_.share_of));
    for (const auto& cycle : rows) sets.cycles.push_back(std::make_unique<ChosenImages>(train, cycle));
    for (size_t m = 0; mia_ && m < options_.members.size(); ++m) {
      sets.bootstraps.push_back(std::make_unique<ChosenImages>(
          train, bootstrap(rows.back(), static_cast<uint64_t>(options_.common.seed), m)));
      expect_all_classes(sets.bootstraps.back()->labels(), attacked_ + 1,
                         "the bootstrap of " + member_names(options_)[m]);
    }
    return sets;
  }

  std::string line_of(const std::string& name) const {
    return zoo_line(name, attacked_ + 1, {.pool_stride = options_.model.pool_stride});
  }

  // "cycle 15 %", ..., "bootstrap".
  std::vector<std::string> stage_names() const {
    std::vector<std::string> names;
    for (const double cycle : options_.cycles) names.push_back(fmt::format("cycle {:g} %", cycle));
    if (mia_) names.emplace_back("bootstrap");
    return names;
  }
  std::string weights_of(size_t member, size_t stage) const {
    const std::string name = member_names(options_)[member];
    return stage < options_.cycles.size()
               ? fmt::format("{}-cycle-{:g}.safetensors", name, options_.cycles[stage])
               : name + "-bootstrap.safetensors";
  }

  std::vector<Stage> stages_of(const Sets& sets, size_t member) const {
    const std::vector<std::string> names = stage_names();
    std::vector<Stage> stages;
    for (size_t c = 0; c < sets.cycles.size(); ++c)
      stages.push_back({names[c], sets.cycles[c].get(), *options_.epochs});
    if (mia_) stages.push_back({names.back(), sets.bootstraps[member].get(), *options_.bootstrap_epochs});
    return stages;
  }

  // What the checkpoint says has been done: members before this one are finished.
  static size_t member_of(const SafeTensorFile& file, const std::string& name, size_t members) {
    const auto stated = file.metadata.find("member");
    const long long member = stated == file.metadata.end() ? -1 : std::atoll(stated->second.c_str());
    if (member < 0 || member >= static_cast<long long>(members))
      fail("{}: expected a member in its metadata", name);
    return static_cast<size_t>(member);
  }

  Json train_members(const Sets& sets, const AugmentedImages& test, const RunFolder& folder,
                     Backend& backend) {
    const std::vector<std::string> names = member_names(options_);
    SafeTensorFile checkpoint;
    size_t first = 0;
    if (folder.has(kCheckpoint)) {
      checkpoint = read_safetensors(folder.file(kCheckpoint));
      first = member_of(checkpoint, folder.file(kCheckpoint).string(), names.size());
    }
    std::unique_ptr<MetricsLog> log;
    std::unique_ptr<ProgressLine> progress;
    for (size_t m = first; m < names.size(); ++m) {
      Model model(parse_architecture(line_of(options_.members[m])), test.shape(), backend);
      const uint64_t seed = member_seed(static_cast<uint64_t>(options_.common.seed), m);
      model.initialize(parse_initializer(zoo(options_.members[m], attacked_ + 1).initializer), seed);
      StagedOptions how = staged_of(options_);
      how.seed = seed;
      StagedTraining training(model, stages_of(sets, m), how);
      if (m == first && !checkpoint.tensors.empty())
        training.load(checkpoint, folder.file(kCheckpoint).string());
      const auto earlier = static_cast<int64_t>(m);  // networks, each of as many epochs and images
      if (!log) {
        const auto members = static_cast<int64_t>(names.size());
        const int64_t done = earlier * training.epochs() + training.done();
        log = std::make_unique<MetricsLog>(folder.file("metrics.jsonl"), done);
        if (folder.resumed()) console_.say("resumed after epoch {} of {}", done, members * training.epochs());
        const int64_t images = training.images(training.epochs());
        progress = std::make_unique<ProgressLine>(console_, "", members * images, "images",
                                                  earlier * images + training.images(training.done()));
      }
      train_member(m, model, training, test, folder, *log, *progress);
    }
    progress->finish();
    return log->lines();
  }

  void train_member(size_t member, const Model& model, StagedTraining& training, const AugmentedImages& test,
                    const RunFolder& folder, MetricsLog& log, ProgressLine& progress) {
    const std::string name = member_names(options_)[member];
    const auto earlier = static_cast<int64_t>(member);
    while (training.done() < training.epochs()) {
      const int64_t before = earlier * training.images(training.epochs()) + training.images(training.done());
      progress.label(name + ", " + training.stage());
      const StageEpoch epoch = training.next([&](int64_t images) { progress.at(before + images); });
      const std::string stage = stage_names()[epoch.stage];
      const std::vector<float> logits = predict(model, test);
      const std::vector<int32_t> said = argmax_rows(logits, model.outputs());
      const double accuracy = summarize(Confusion(model.outputs(), test.labels(), said)).accuracy;
      log.append({{"epoch", earlier * training.epochs() + training.done()},
                  {"model", name},
                  {"stage", stage},
                  {"stage_epoch", epoch.epoch},
                  {"loss", epoch.loss},
                  {"train_accuracy", epoch.accuracy},
                  {"test_loss", mean_loss(logits, test.labels(), model.outputs())},
                  {"test_accuracy", accuracy},
                  {"stop_rule", epoch.stop_rule}});
      console_.say("{:<8} {:<12} epoch {:>2}  loss {:.4f}  train {:6.2f} %  test {:6.2f} %{}", name, stage,
                   epoch.epoch, epoch.loss, 100 * epoch.accuracy, 100 * accuracy,
                   epoch.stop_rule ? "  (above 80 %: the paper's rule would stop here)" : "");
      if (epoch.last) {
        SafeTensorFile weights = model.state();
        describe_data(weights, options_.data);
        write_safetensors(folder.file(weights_of(member, epoch.stage)), weights);
      }
      SafeTensorFile file;
      training.save(file);
      file.metadata["member"] = std::to_string(member);
      write_safetensors(folder.file(kCheckpoint), file);
    }
  }

  void report(const TrainedWithData& target, const DefenceData& data, const Table& pool,
              const std::vector<AugmentedImages>& tests, const RunFolder& folder, const Json& lines,
              const std::string& out) {
    const std::vector<std::string> names = member_names(options_), stages = stage_names();
    DetectionReport report(data.lanes, attacked_);
    for (size_t t = 0; t < tests.size(); ++t) {
      for (size_t s = 0; s < stages.size(); ++s) {
        std::vector<std::vector<float>> logits;
        for (size_t m = 0; m < names.size(); ++m) {
          Model model(parse_architecture(line_of(options_.members[m])), tests[t].shape(), tests[t].backend());
          model.load(read_safetensors(folder.file(weights_of(m, s))));
          logits.push_back(predict(model, tests[t]));
          report.add({names[m], stages[s], argmax_rows(logits.back(), model.outputs())}, target.data.test,
                     data.tests[t]);
        }
        if (mia_ && s + 2 >= stages.size()) {
          report.add({"vote", stages[s], majority_vote(logits, attacked_ + 1)}, target.data.test,
                     data.tests[t]);
        }
      }
      Answers off{"off-grid pixel", "no training", {}};
      for (const bool found : off_grid(tests[t])) off.predictions.push_back(found ? attacked_ : -1);
      report.add(off, target.data.test, data.tests[t]);
    }
    console_.blank();
    console_.say(report.summary());
    folder.write_table("pool", pool);
    folder.write_table("summary", report.summary());
    folder.write_table("attacks", report.attacks());
    folder.write_table("sizes", report.sizes());
    Json adaptive = Json::array();
    if (mia_ && *options_.adaptive > 0) adaptive = attack_vote(target.data.test, folder);
    Json met = Json::array();
    for (const Json& line : lines) {
      if (line.at("stop_rule") == true) {
        met.push_back(
            {{"model", line.at("model")}, {"stage", line.at("stage")}, {"epoch", line.at("stage_epoch")}});
      }
    }
    const Json result = {{"pool", pool.json()},
                         {"summary", report.summary().json()},
                         {"attacks", report.attacks().json()},
                         {"adaptive", adaptive},
                         {"stop_rule", met}};
    folder.write_json(mia_ ? "mia.json" : "eat.json", result);
    Json shown = {{"out", out}};
    shown.update(result);
    console_.result(shown);
  }

  Json attack_vote(const Images& test, const RunFolder& folder) {
    std::vector<std::unique_ptr<Model>> models;
    std::vector<const Model*> networks;
    for (size_t m = 0; m < options_.members.size(); ++m) {
      models.push_back(std::make_unique<Model>(parse_architecture(line_of(options_.members[m])), test.shape(),
                                               test.backend()));
      models.back()->load(read_safetensors(folder.file(weights_of(m, options_.cycles.size()))));
      networks.push_back(models.back().get());
    }
    const Table table =
        adaptive_table(networks, test, *options_.adaptive, attacked_, options_.common.seed, console_);
    console_.blank();
    console_.say(table);
    folder.write_table("adaptive", table);
    return table.json();
  }

  DefendFlags& options_;
  const Flags& flags_;
  bool mia_;
  Console console_;
  int32_t attacked_ = 0;  // the class of attacked images
};

Run defend_command(Flags& flags, bool mia) {
  const auto declare_one = [mia](Flags& to, DefendFlags& options) {
    declare(to, options, mia);
  };
  return make_command<DefendFlags>(flags, declare_one, [mia](DefendFlags& options, const Flags& given) {
    Defence(options, given, mia).run();
  });
}

}  // namespace

Run defend_eat_command(Flags& flags) {
  return defend_command(flags, false);
}

Run defend_mia_command(Flags& flags) {
  return defend_command(flags, true);
}

}  // namespace caltrop
