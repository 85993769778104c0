#include "apps/paper/attack_study.h"

#include <algorithm>
#include <fstream>
#include <limits>

#include "apps/commands/attack_report.h"
#include "apps/commands/evaluation.h"
#include "apps/study/study.h"
#include "defense/pool/recipe.h"
#include "engine/zoo.h"

namespace caltrop {

PaperNumbers paper_numbers(const std::string& dataset, const std::string& model) {
  // Section 6.2. MNIST's B_acc are printed as "over 80 %".
  static const std::map<std::string, std::map<std::string, PaperNumbers>> kNumbers = {
      {"mnist",
       {{"vgg16", {{}, 0.0990, {}}},
        {"vgg7", {{}, 0.0530, {}}},
        {"resnet32", {{}, 0.0506, {}}},
        {"resnet50", {{}, 0.0931, {}}},
        {"target", {{}, 0.0062, {{"pgd", 0.0192}, {"fgsm", 0.0270}, {"cw", 0.01}}}}}},
      {"fashion-mnist",
       {{"vgg16", {0.9814, 0.0890, {}}},
        {"vgg7", {0.97, 0.0750, {}}},
        {"resnet32", {0.9810, 0.06, {}}},
        {"resnet50", {0.9980, 0.0966, {}}},
        {"target", {0.9930, 0.0207, {{"pgd", 0.0592}, {"fgsm", 0.0377}, {"cw", 0.1420}}}}}}};
  return kNumbers.at(dataset).at(model);
}

double paper_success_rate(const std::string& dataset) {
  return dataset == "mnist" ? 0.9159 : 0.9786;
}

std::optional<StudySize> study_size(std::string_view scale, const std::string& model) {
  const bool target = model == "target";
  if (scale == "smoke") {
    if (!target) return std::nullopt;
    return StudySize{.train_images = 6000, .epochs = 1, .attacked = 50, .measured = 10};
  }
  if (scale == "quick") {
    if (target) return StudySize{.train_images = 0, .epochs = 3, .attacked = 500, .measured = 100};
    if (model == "resnet32")
      return StudySize{.train_images = 6000, .epochs = 2, .attacked = 20, .measured = 5};
    return std::nullopt;
  }
  return StudySize{.train_images = 0,
                   .epochs = target ? 10 : 30,
                   .attacked = 0,
                   .tries = 3,
                   .measured = 1000,
                   .full_cw = true};
}

std::vector<float> big_attack_sizes(const std::string& dataset) {
  if (dataset == "fashion-mnist") return {1.0f, 1.7f, 2.0f, 2.4f};
  return {2.1f, 2.54f, 3.0f};
}

const std::vector<std::string>& big_attacks() {
  static const std::vector<std::string> names = {"pgd", "fgsm", "cw"};
  return names;
}

StudiedNetwork study_network(const RunFolder& folder, const std::string& dataset, const std::string& data_dir,
                             const std::string& model, const StudySize& size, CommonOptions& common,
                             Backend& backend, Console& console) {
  DataOptions options;
  options.dataset = dataset;
  options.data_dir = data_dir;
  if (size.train_images > 0) options.limit = size.train_images;
  TrainingData data = load_training_data(options, backend, console);
  const ZooEntry entry = zoo(model, data.info.classes);
  const std::string file = dataset + "-" + model + ".safetensors", label = dataset + " " + model;
  Model network(parse_architecture(entry.line), data.train.shape(), backend);
  if (folder.has(file)) {
    network.load(read_safetensors(folder.file(file)));
  } else {
    network = train_network({entry.line, entry.initializer}, data.train, size.epochs,
                            static_cast<uint64_t>(common.seed), console, label);
    SafeTensorFile weights = network.state();
    describe_data(weights, options);
    write_safetensors(folder.file(file), weights);
  }
  const Evaluation test = evaluate(network, data.test);
  console.say("{}: {} parameters, {} training images, {} epochs: test accuracy {}", label,
              count_parameters(network.architecture(), network.input()), data.train.count(), size.epochs,
              in_words(test.metrics));
  return {std::move(data.info), std::move(data.test), std::move(network), test.metrics.accuracy};
}

double StudyResult::Big::accuracy() const {
  double total = 0;
  for (const AccuracyAt& size : sizes) total += size.accuracy / static_cast<double>(sizes.size());
  return total;
}

namespace {

Json to_json(const std::vector<AccuracyAt>& sizes) {
  Json list = Json::array();
  for (const AccuracyAt& size : sizes) list.push_back({{"eps", size.eps}, {"accuracy", size.accuracy}});
  return list;
}

std::vector<AccuracyAt> sizes_from(const Json& list) {
  std::vector<AccuracyAt> sizes;
  sizes.reserve(list.size());
  for (const Json& size : list) sizes.push_back({size.at("eps"), size.at("accuracy")});
  return sizes;
}

Json to_json(const StudyResult& result) {
  Json gma = Json::array(), big = Json::array();
  for (const StudyResult::Gma& one : result.gma) {
    gma.push_back({{"norm", to_string(one.norm)},
                   {"pooled", one.pooled},
                   {"worst", one.worst},
                   {"sizes", to_json(one.sizes)}});
  }
  for (const StudyResult::Big& one : result.big)
    big.push_back({{"name", one.name}, {"sizes", to_json(one.sizes)}});
  return {{"dataset", result.dataset},
          {"model", result.model},
          {"attacked", result.attacked},
          {"clean", result.clean},
          {"gma", gma},
          {"big", big}};
}

StudyResult read_result(const std::filesystem::path& path) {
  try {
    std::ifstream file(path);
    const Json json = Json::parse(file);
    StudyResult result{.dataset = json.at("dataset"),
                       .model = json.at("model"),
                       .attacked = json.at("attacked"),
                       .clean = json.at("clean")};
    for (const Json& one : json.at("gma")) {
      result.gma.push_back({parse_norm(one.at("norm").get<std::string>()), one.at("pooled"), one.at("worst"),
                            sizes_from(one.at("sizes"))});
    }
    for (const Json& one : json.at("big"))
      result.big.push_back({one.at("name"), sizes_from(one.at("sizes"))});
    return result;
  } catch (const Json::exception&) {
    fail("{} is damaged; delete it to attack again", path.string());
  }
}

// One of the big attacks at the sizes of Table 2, under L2.
StudyResult::Big attack_big(const StudiedNetwork& network, const std::string& name,
                            const std::vector<float>& sizes, const StudySize& size, uint64_t seed,
                            AttackJob job) {
  AttackOptions how = attack_defaults(parse_attack(name));
  how.norm = Norm::l2;
  how.seed = seed;
  StudyResult::Big big{name};
  if (!is_minimum_norm(how.kind)) {
    for (const AttackSummary& one : attack_images(network.model, network.test, sizes, how, job).sizes) {
      big.sizes.push_back({static_cast<double>(one.size), one.accuracy()});
    }
    return big;
  }
  if (!size.full_cw) {
    how.steps = kQuickCw.steps;
    how.cw = {.rounds = kQuickCw.rounds,
              .first_constant = static_cast<float>(kQuickCw.constant),
              .learning_rate = static_cast<float>(kQuickCw.rate)};
  }
  std::vector<int64_t> fallen(sizes.size(), 0);
  job.sink = [&](int64_t, const AttackResult& chunk) {
    for (size_t i = 0; i < chunk.images.size(); ++i) {
      const AttackRow& row = chunk.rows[i];
      if (row.prediction == chunk.images[i].label) continue;
      for (size_t s = 0; s < sizes.size(); ++s) fallen[s] += row.l2 <= sizes[s];
    }
  };
  const float unbounded = std::numeric_limits<float>::infinity();
  (void)attack_images(network.model, network.test, std::span(&unbounded, 1), how, job);
  const auto images = static_cast<double>(job.rows.size());
  for (size_t s = 0; s < sizes.size(); ++s) {
    big.sizes.push_back({static_cast<double>(sizes[s]), 1 - static_cast<double>(fallen[s]) / images});
  }
  return big;
}

}  // namespace

StudyResult attack_network(const RunFolder& folder, const StudiedNetwork& network, const std::string& dataset,
                           const std::string& model, const StudySize& size, uint64_t seed, Console& console) {
  const int64_t all = network.test.count(), images = size.attacked > 0 ? std::min(size.attacked, all) : all;
  const std::string label = dataset + " " + model, stem = dataset + "-" + model,
                    done = stem + "-attacks.json";
  if (folder.has(done)) return read_result(folder.file(done));
  StudyResult result{.dataset = dataset, .model = model, .attacked = images};
  std::vector<GmaAnalysis> analyses;
  const std::vector<GmaSize> sizes = gma_sizes();
  for (const Norm norm : {Norm::linf, Norm::l2}) {
    ProgressLine progress(console, fmt::format("{} GMA {}", label, to_string(norm)), images * size.tries,
                          "images");
    AttackJob job{.rows = row_range(0, images)};
    job.progress = [&](int64_t done) {
      progress.at(done);
    };
    AttackOptions how = gma_attack(AttackKind::pgd, norm);
    how.seed = seed;
    const GmaAnalysis analysis = gma_analyze(network.model, network.test, sizes, how, size.tries, job);
    folder.write_table(stem + "-gma-" + to_string(norm), gma_table(analysis));
    StudyResult::Gma gma{norm, analysis.pooled_accuracy, analysis.worst_accuracy};
    for (const GmaSizeResult& one : analysis.sizes) {
      gma.sizes.push_back({static_cast<double>(one.size.eps), one.accuracy()});
    }
    result.gma.push_back(std::move(gma));
    result.clean = analysis.baseline;
    analyses.push_back(analysis);
  }
  for (const std::string& name : big_attacks()) {
    ProgressLine progress(console, fmt::format("{} {}", label, name), images, "images");
    AttackJob job{.rows = row_range(0, images)};
    job.progress = [&](int64_t done) {
      progress.at(done);
    };
    result.big.push_back(attack_big(network, name, big_attack_sizes(dataset), size, seed, std::move(job)));
  }
  write_figure(folder, stem + "-sizes", gma_figure(analyses, model + " on " + dataset));
  folder.write_json(done, to_json(result));
  return result;
}

}  // namespace caltrop
