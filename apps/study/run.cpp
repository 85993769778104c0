#include "apps/study/run.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>

#include "apps/commands/evaluation.h"
#include "apps/core/console.h"
#include "apps/core/run_folder.h"
#include "apps/study/study.h"
#include "engine/checksum.h"
#include "engine/zoo.h"

namespace caltrop {
namespace {

// To be raised when an attack's results change.
constexpr int kAttackVersion = 1;

std::string attacks_file(const StudyCell& cell) {
  return cell.stem + "-attacks.json";
}

StudyNetwork network_of(const StudyArm& arm, int64_t classes) {
  if (!arm.line.empty()) return {arm.line, arm.initializer.empty() ? "he_uniform" : arm.initializer};
  const ZooEntry entry = zoo(arm.name, classes);
  return {entry.line, entry.initializer};
}

DataOptions data_of(const StudyCell& cell) {
  DataOptions options;
  options.dataset = cell.dataset;
  options.data_dir = cell.data_dir;
  if (cell.arm.train_images > 0) options.limit = cell.arm.train_images;
  return options;
}

int64_t attacked_of(const StudyArm& arm, int64_t test_images) {
  return arm.attacked > 0 ? std::min(arm.attacked, test_images) : test_images;
}

// Everything that decides what an attack does to a network.
Json about(const StudyAttack& attack, const AttackOptions& how, int64_t images, const std::string& weights,
           const Json& data) {
  return {{"version", kAttackVersion}, {"weights", weights},     {"data", data},
          {"images", images},          {"attack", to_text(how)}, {"sizes", eps_of(attack.sizes)},
          {"tries", attack.tries}};
}

// The counts of a summary by name: one list for writing and reading.
template <typename Summary, typename Visit>
void visit_counts(Summary& s, const Visit& visit) {
  visit("images", s.images);
  visit("clean_correct", s.clean_correct);
  visit("correct", s.correct);
  visit("robust", s.robust);
  visit("successes", s.successes);
  visit("successes_of_correct", s.successes_of_correct);
  visit("loss", s.loss);
  visit("sum_linf", s.sum_linf);
  visit("sum_l2", s.sum_l2);
  visit("max_linf", s.max_linf);
  visit("max_l2", s.max_l2);
  visit("zero_gradients", s.zero_gradients);
  visit("nan_gradients", s.nan_gradients);
  visit("box_violations", s.box_violations);
  visit("ball_violations", s.ball_violations);
}

Json to_json(const std::string& name, const GmaAnalysis& analysis, const Json& about) {
  Json sizes = Json::array();
  for (const GmaSizeResult& size : analysis.sizes) {
    Json tries = Json::array();
    for (const AttackSummary& attempt : size.tries) {
      Json counts;
      visit_counts(attempt, [&](const char* key, const auto& count) { counts[key] = count; });
      tries.push_back(std::move(counts));
    }
    sizes.push_back({{"eps", size.size.eps}, {"tries", std::move(tries)}});
  }
  return {{"name", name},
          {"about", about},
          {"norm", to_string(analysis.norm)},
          {"images", analysis.images},
          {"clean", analysis.baseline},
          {"pooled", analysis.pooled_accuracy},
          {"worst", analysis.worst_accuracy},
          {"forward_passes", analysis.forward_passes},
          {"backward_passes", analysis.backward_passes},
          {"sizes", std::move(sizes)}};
}

GmaAnalysis analysis_from(const Json& json, const StudyAttack& attack) {
  GmaAnalysis analysis{.norm = attack.options.norm,
                       .images = json.at("images"),
                       .baseline = json.at("clean"),
                       .sizes = {},
                       .pooled_accuracy = json.at("pooled"),
                       .worst_accuracy = json.at("worst"),
                       .forward_passes = json.at("forward_passes"),
                       .backward_passes = json.at("backward_passes")};
  for (size_t s = 0; s < attack.sizes.size(); ++s) {
    GmaSizeResult size{attack.sizes[s], {}};
    for (const Json& counts : json.at("sizes").at(s).at("tries")) {
      AttackSummary attempt{.size = size.size.eps};
      visit_counts(attempt, [&]<typename T>(const char* key, T& count) {
        const Json& value = counts.at(key);
        count = value.is_null() ? std::numeric_limits<T>::quiet_NaN() : value.get<T>();  // as JSON writes NaN
      });
      size.tries.push_back(attempt);
    }
    analysis.sizes.push_back(std::move(size));
  }
  return analysis;
}

// What the folder holds of a cell.
Json stored_attacks(const StudyCell& cell, const RunFolder& folder) {
  if (!folder.has(attacks_file(cell))) return Json::array();
  const Json stored = folder.read_json(attacks_file(cell));
  if (!stored.contains("attacks")) fail("{} is damaged; delete it", folder.file(attacks_file(cell)).string());
  return stored.at("attacks");
}

GmaAnalysis nearest(const StudiedNetwork& network, const StudyAttack& attack, const AttackOptions& how,
                    AttackJob job) {
  GmaTally tally(attack.sizes, how.norm);
  job.sink = [&](int64_t first, const AttackResult& chunk) {
    for (size_t i = 0; i < chunk.images.size(); ++i) {
      const AttackedImage& image = chunk.images[i];
      const AttackRow& found = chunk.rows[i];
      const AttackRow unattacked{.prediction = image.clean_prediction,
                                 .success = image.clean_prediction != image.label};
      const float length = how.norm == Norm::linf ? found.linf : found.l2;
      for (size_t s = 0; s < attack.sizes.size(); ++s) {
        tally.add(first + static_cast<int64_t>(i), static_cast<int64_t>(s), 0, image,
                  length <= attack.sizes[s].eps ? found : unattacked);
      }
    }
  };
  const float unbounded = std::numeric_limits<float>::infinity();
  const AttackReport report = attack_images(network.model, network.test, std::span(&unbounded, 1), how, job);
  GmaAnalysis analysis = tally.analysis();
  analysis.forward_passes = report.forward_passes;
  analysis.backward_passes = report.backward_passes;
  return analysis;
}

GmaAnalysis run_attack(const StudiedNetwork& network, const StudyAttack& attack, const AttackOptions& how,
                       int64_t images, const Progress& progress) {
  AttackJob job{.rows = row_range(0, images)};
  job.progress = progress;
  if (is_minimum_norm(how.kind)) return nearest(network, attack, how, std::move(job));
  return gma_analyze(network.model, network.test, attack.sizes, how, attack.tries, job);
}

// Work as estimated, in millions of multiply-accumulates; a backward pass counts as two forward ones.
constexpr double kPasses = 3, kUnit = 1e6;
double training_work(const StudyArm& arm, double macs, int64_t train_images) {
  const int64_t images = arm.train_images > 0 ? std::min(arm.train_images, train_images) : train_images;
  return kPasses * macs * static_cast<double>(images * arm.epochs) / kUnit;
}
double attack_work(const StudyAttack& attack, double macs, int64_t images) {
  const AttackOptions& how = attack.options;
  const auto sizes = is_minimum_norm(how.kind) ? 1.0 : static_cast<double>(attack.sizes.size());
  const auto rounds = static_cast<double>(how.kind == AttackKind::cw ? how.cw.rounds : attack.tries);
  return kPasses * macs * sizes * rounds * static_cast<double>(how.steps * how.restarts * images) / kUnit;
}

// One line for the whole. What was there before counts as done before the line begins, so that the rate and the time
// left are those of this run's work.
class WholeProgress {
 public:
  WholeProgress(Console& console, double total) : console_(console), total_(total) {}

  // A part of this much work; `at` receives how much of it is done, of `whole`.
  void begin(const std::string& label, double work) {
    before_ += work_;
    work_ = work;
    label_ = label;
    if (line_) line_->label(label);
  }
  Progress at(int64_t whole) {
    return [this, whole](int64_t done) {
      if (!line_) {
        line_.emplace(console_, label_, static_cast<int64_t>(total_), "million MACs (estimated)",
                      static_cast<int64_t>(before_));
      }
      line_->at(static_cast<int64_t>(before_ + work_ * static_cast<double>(done) /
                                                   static_cast<double>(std::max<int64_t>(1, whole))));
    };
  }

 private:
  Console& console_;
  double total_, before_ = 0, work_ = 0;
  std::string label_;
  std::optional<ProgressLine> line_;
};

struct DataSize {
  int64_t train = 0, test = 0, classes = 0;
  ImageShape shape = {};
};

CellResult run_cell(const StudyCell& cell, const DataSize& data, const StudyPlace& place,
                    WholeProgress& progress) {
  const StudyNetwork line = network_of(cell.arm, data.classes);
  const auto macs = static_cast<double>(count_macs(parse_architecture(line.line), data.shape));
  const std::string label = cell.dataset + " " + cell.arm.name;
  const int64_t trained =
      cell.arm.train_images > 0 ? std::min(cell.arm.train_images, data.train) : data.train;
  progress.begin(label + " training", training_work(cell.arm, macs, data.train));
  const StudiedNetwork network = study_network(cell, place, progress.at(trained * cell.arm.epochs));
  CellResult result{.cell = cell};
  if (cell.attacks.empty()) return result;

  const int64_t images = attacked_of(cell.arm, network.test.count());
  const std::string bytes = serialize_safetensors(network.model.state(), cell.stem),
                    weights = fmt::format("{:08x}", checksum(std::span<const char>(bytes)));
  const Json facts = network.data.facts.at("data").at("test");
  const Json stored = stored_attacks(cell, place.folder);
  Json done = Json::array();
  for (const StudyAttack& attack : cell.attacks) {
    AttackOptions how = attack.options;
    how.seed = static_cast<uint64_t>(cell.seed);
    const Json recipe = about(attack, how, images, weights, facts);
    progress.begin(label + " " + attack.name, attack_work(attack, macs, images));
    const auto found = std::find_if(stored.begin(), stored.end(),
                                    [&](const Json& one) { return one.value("about", Json()) == recipe; });
    if (found != stored.end()) {
      result.attacks.push_back(analysis_from(*found, attack));
      done.push_back(*found);
      continue;
    }
    result.attacks.push_back(
        run_attack(network, attack, how, images, progress.at(images * std::max<int64_t>(1, attack.tries))));
    done.push_back(to_json(attack.name, result.attacks.back(), recipe));
    place.folder.write_json(
        attacks_file(cell),
        {{"dataset", cell.dataset}, {"network", cell.arm.name}, {"seed", cell.seed}, {"attacks", done}});
  }
  return result;
}

}  // namespace

std::vector<GmaSize> plain_sizes(std::span<const float> eps) {
  std::vector<GmaSize> sizes(eps.size());
  for (size_t s = 0; s < eps.size(); ++s) sizes[s].eps = eps[s];
  return sizes;
}

std::vector<StudyCell> cells_of(const Study& study) {
  std::vector<StudyCell> cells;
  for (const StudyArm& arm : study.arms) {
    for (const int64_t seed : study.seeds) {
      const std::string of_seed = study.seeds.size() > 1 ? fmt::format("-seed-{}", seed) : "";
      cells.push_back({study.dataset, study.data_dir, arm, seed, study.attacks,
                       study.dataset + "-" + arm.name + of_seed});
    }
  }
  return cells;
}

const GmaAnalysis& CellResult::under(std::string_view attack) const {
  for (size_t k = 0; k < cell.attacks.size(); ++k) {
    if (cell.attacks[k].name == attack) return attacks.at(k);
  }
  fail("[study] {} was not attacked with {}", cell.title(), attack);
}

StudiedNetwork study_network(const StudyCell& cell, const StudyPlace& place, const Progress& progress) {
  DataOptions options = data_of(cell);
  TrainingData data = load_training_data(options, place.backend, place.console);
  const StudyNetwork line = network_of(cell.arm, data.info.classes);
  const std::string file = cell.stem + ".safetensors", label = cell.dataset + " " + cell.arm.name;
  Model model(parse_architecture(line.line), data.train.shape(), place.backend);
  if (place.folder.has(file)) {
    model.load(read_safetensors(place.folder.file(file)));
  } else {
    model = train_network(line, data.train, cell.arm.epochs, static_cast<uint64_t>(cell.seed), progress);
    SafeTensorFile weights = model.state();
    describe_data(weights, options);
    write_safetensors(place.folder.file(file), weights);
  }
  const Evaluation test = evaluate(model, data.test);
  place.console.say("{}: {} parameters, {} training images, {} epochs: test accuracy {}", label,
                    count_parameters(model.architecture(), model.input()), data.train.count(),
                    cell.arm.epochs, in_words(test.metrics));
  return {std::move(data.info), std::move(data.test), std::move(model), test.metrics.accuracy};
}

StudyResults run_study(const std::vector<StudyCell>& cells, const StudyPlace& place) {
  StudyResults results;
  // Every data set is looked at before the first network is trained.
  std::map<std::string, std::optional<DataSize>> data;
  double work = 0;
  for (const StudyCell& cell : cells) {
    if (data.contains(cell.dataset) && !data[cell.dataset]) continue;
    if (!data.contains(cell.dataset)) {
      try {
        StudyCell whole = cell;
        whole.arm.train_images = 0;
        DataOptions options = data_of(whole);
        Console silent("", true);  // what is to be said is said when it is loaded for good
        const TrainingData found = load_training_data(options, place.backend, silent);
        data[cell.dataset] =
            DataSize{found.train.count(), found.test.count(), found.info.classes, found.train.shape()};
      } catch (const DatasetNotFound& problem) {
        place.console.warn("{} is left out: {}", cell.dataset, problem.what());
        results.skipped.emplace_back(problem.what());
        data[cell.dataset].reset();
        continue;
      }
    }
    const DataSize& size = *data[cell.dataset];
    const auto macs = static_cast<double>(
        count_macs(parse_architecture(network_of(cell.arm, size.classes).line), size.shape));
    work += training_work(cell.arm, macs, size.train);
    for (const StudyAttack& attack : cell.attacks)
      work += attack_work(attack, macs, attacked_of(cell.arm, size.test));
  }
  WholeProgress progress(place.console, work);
  for (const StudyCell& cell : cells) {
    if (const std::optional<DataSize>& size = data.at(cell.dataset))
      results.cells.push_back(run_cell(cell, *size, place, progress));
  }
  return results;
}

}  // namespace caltrop
