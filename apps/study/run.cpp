#include "apps/study/run.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>

#include "apps/commands/evaluation.h"
#include "apps/core/console.h"
#include "apps/core/run_folder.h"
#include "engine/checksum.h"
#include "engine/training.h"
#include "engine/zoo.h"

namespace caltrop {
namespace {

// To be raised when an attack's results change.
constexpr int kAttackVersion = 1;

std::string attacks_file(const StudyCell& cell) {
  return cell.stem + "-attacks.json";
}

// Work as estimated, in millions of multiply-accumulates; a backward pass counts as two forward ones.
constexpr double kPasses = 3, kUnit = 1e6;

// A cell and what follows of its data set.
struct PlannedCell {
  const StudyCell& cell;
  const TrainingData& data;
  ZooEntry network = {};
  int64_t trained = 0, attacked = 0;  // images
  double macs = 0;

  PlannedCell(const StudyCell& planned, const TrainingData& of) : cell(planned), data(of) {
    const StudyArm& arm = cell.arm;
    network = arm.line.empty() ? zoo(arm.name, data.info.classes)
                               : ZooEntry{arm.name, arm.line, arm.initializer, ""};
    const auto some = [](int64_t wanted, int64_t all) {
      return wanted > 0 ? std::min(wanted, all) : all;
    };
    trained = some(arm.train_images, data.train.count());
    attacked = some(arm.attacked, data.test.count());
    macs = static_cast<double>(count_macs(parse_architecture(network.line), data.train.shape()));
  }

  double training_work() const {
    return kPasses * macs * static_cast<double>(trained * cell.arm.epochs) / kUnit;
  }
  double attack_work(const StudyAttack& attack) const {
    return kPasses * macs * static_cast<double>(attacked) / kUnit *
           expected_passes(attack.options, attack.sizes.size(), attack.tries);
  }
};

TrainingData load_data(const StudyCell& cell, const StudyPlace& place) {
  DataOptions options;
  options.dataset = cell.dataset;
  options.data_dir = cell.data_dir;
  return load_training_data(options, place.backend, place.console);
}

// Everything that decides what an attack does to a network.
Json about(const StudyAttack& attack, const AttackOptions& how, int64_t images, const std::string& weights,
           const Json& data) {
  return {{"version", kAttackVersion}, {"weights", weights},     {"data", data},
          {"images", images},          {"attack", to_text(how)}, {"sizes", eps_of(attack.sizes)},
          {"tries", attack.tries}};
}

Json to_json(const std::string& name, const GmaAnalysis& analysis, const Json& about) {
  Json sizes = Json::array();
  for (const GmaSizeResult& size : analysis.sizes) {
    Json tries = Json::array();
    for (const AttackSummary& attempt : size.tries) {
      Json counts;
      for_each_count(attempt, [&](const char* key, const auto& count) { counts[key] = count; });
      tries.push_back(std::move(counts));
    }
    sizes.push_back({{"eps", size.size.eps}, {"tries", std::move(tries)}});
  }
  Json json = {{"name", name}, {"about", about}, {"norm", to_string(analysis.norm)}};
  for_each_number(analysis, [&](const char* key, const auto& number) { json[key] = number; });
  json["sizes"] = std::move(sizes);
  return json;
}

GmaAnalysis analysis_from(const Json& json, const StudyAttack& attack) {
  GmaAnalysis analysis;
  analysis.norm = attack.options.norm;
  for_each_number(analysis, [&](const char* key, auto& number) { json.at(key).get_to(number); });
  for (size_t s = 0; s < attack.sizes.size(); ++s) {
    GmaSizeResult size{attack.sizes[s], {}};
    for (const Json& counts : json.at("sizes").at(s).at("tries")) {
      AttackSummary attempt{.size = size.size.eps};
      for_each_count(attempt, [&]<typename T>(const char* key, T& count) {
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

// The network of the folder, or else a new one.
Model network_of(const PlannedCell& plan, const StudyPlace& place, const Progress& progress) {
  const StudyCell& cell = plan.cell;
  const TrainingData& data = plan.data;
  const std::string file = cell.stem + ".safetensors";
  Model model(parse_architecture(plan.network.line), data.train.shape(), place.backend);
  if (place.folder.has(file)) {
    model.load(read_safetensors(place.folder.file(file)));
  } else {
    const auto train = [&](const Images& images) {
      return train_network(plan.network, images, cell.arm.epochs, static_cast<uint64_t>(cell.seed), progress);
    };
    const bool all = plan.trained == data.train.count();
    model = all ? train(data.train) : train(data.train.at(row_range(0, plan.trained)));
    SafeTensorFile weights = model.state();
    DataOptions known;
    known.dataset = data.info.name;
    describe_data(weights, known);
    write_safetensors(place.folder.file(file), weights);
  }
  place.console.say("{} {}: {} parameters, {} training images, {} epochs: test accuracy {}", cell.dataset,
                    cell.arm.name, count_parameters(model.architecture(), model.input()), plan.trained,
                    cell.arm.epochs, in_words(evaluate(model, data.test).metrics));
  return model;
}

CellResult run_cell(const PlannedCell& plan, const StudyPlace& place, WholeProgress& progress) {
  const StudyCell& cell = plan.cell;
  const std::string label = cell.dataset + " " + cell.arm.name;
  progress.begin(label + " training", plan.training_work());
  const Model model = network_of(plan, place, progress.at(plan.trained * cell.arm.epochs));
  CellResult result{.cell = cell};
  if (cell.attacks.empty()) return result;

  const std::string bytes = serialize_safetensors(model.state(), cell.stem),
                    weights = fmt::format("{:08x}", checksum(std::span<const char>(bytes)));
  const Json facts = plan.data.info.facts.at("data").at("test");
  const Json stored = stored_attacks(cell, place.folder);
  Json done = Json::array();
  for (const StudyAttack& attack : cell.attacks) {
    AttackOptions how = attack.options;
    how.seed = static_cast<uint64_t>(cell.seed);
    const Json recipe = about(attack, how, plan.attacked, weights, facts);
    progress.begin(label + " " + attack.name, plan.attack_work(attack));
    const auto found = std::find_if(stored.begin(), stored.end(),
                                    [&](const Json& one) { return one.value("about", Json()) == recipe; });
    if (found != stored.end()) {
      result.attacks.push_back(analysis_from(*found, attack));
      done.push_back(*found);
      continue;
    }
    AttackJob job{.rows = row_range(0, plan.attacked)};
    job.progress = progress.at(plan.attacked * attack.tries);
    result.attacks.push_back(gma_analyze(model, plan.data.test, attack.sizes, how, attack.tries, job));
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

StudiedNetwork study_network(const StudyCell& cell, const StudyPlace& place) {
  TrainingData data = load_data(cell, place);
  Model model = network_of({cell, data}, place, {});
  return {std::move(data), std::move(model)};
}

StudyResults run_study(const std::vector<StudyCell>& cells, const StudyPlace& place) {
  StudyResults results;
  // Every data set is read before the first network is trained, once for all of its cells.
  std::map<std::pair<std::string, std::string>, std::optional<TrainingData>> sets;
  std::vector<PlannedCell> plan;
  double work = 0;
  for (const StudyCell& cell : cells) {
    const auto [at, unread] = sets.try_emplace({cell.dataset, cell.data_dir});
    try {
      if (unread) at->second = load_data(cell, place);
    } catch (const DatasetNotFound& problem) {
      place.console.warn("{} is left out: {}", cell.dataset, problem.what());
      results.skipped.emplace_back(problem.what());
    }
    if (!at->second) continue;
    const PlannedCell& planned = plan.emplace_back(cell, *at->second);
    work += planned.training_work();
    for (const StudyAttack& attack : cell.attacks) work += planned.attack_work(attack);
  }
  WholeProgress progress(place.console, work);
  for (const PlannedCell& planned : plan) results.cells.push_back(run_cell(planned, place, progress));
  return results;
}

}  // namespace caltrop
