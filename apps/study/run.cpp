#include "apps/study/run.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "apps/commands/evaluation.h"
#include "apps/core/console.h"
#include "apps/core/run_folder.h"
#include "apps/study/attacks_file.h"
#include "engine/checksum.h"
#include "engine/training.h"
#include "engine/zoo.h"

namespace caltrop {
namespace {

// Work as estimated, in millions of multiply-accumulates; a backward pass counts as two forward ones.
constexpr double kPasses = 3, kUnit = 1e6;

// The data sets of a study, each read once.
class StudyData {
 public:
  explicit StudyData(const StudyPlace& place) : place_(place) {}

  // The images of a cell; null where its data set is left out, with a warning.
  const StudyImages* of(const StudyCell& cell) {
    if (cell.images) return cell.images.get();
    const auto [at, unread] = sets_.try_emplace({cell.dataset, cell.data_dir});
    try {
      if (unread) at->second = load(cell);
    } catch (const DatasetNotFound& problem) {
      place_.console.warn("{} is left out: {}", cell.dataset, problem.what());
      skipped_.emplace_back(problem.what());
    }
    return at->second ? &*at->second : nullptr;
  }
  const std::vector<std::string>& skipped() const { return skipped_; }

 private:
  StudyImages load(const StudyCell& cell) const {
    DataOptions options;
    options.dataset = cell.dataset;
    options.data_dir = cell.data_dir;
    TrainingData data = load_training_data(options, place_.backend, place_.console);
    Json fingerprint = data.info.facts.at("data").at("test");
    return {std::move(data.info), std::move(data.train), std::move(data.test), std::move(fingerprint)};
  }

  const StudyPlace& place_;
  std::map<std::pair<std::string, std::string>, std::optional<StudyImages>> sets_;
  std::vector<std::string> skipped_;
};

// A cell and what follows of its images.
struct PlannedCell {
  const StudyCell& cell;
  const StudyImages& images;
  ZooEntry network = {};
  int64_t trained = 0, attacked = 0;  // images
  std::vector<int64_t> rows = {};     // the attacked ones
  double macs = 0;
  std::vector<bool> shared;  // of each attack: an earlier cell has done it

  PlannedCell(const StudyCell& planned, const StudyImages& of) : cell(planned), images(of) {
    const StudyArm& arm = cell.arm;
    if (arm.trained) {
      network = {arm.name, to_string(arm.trained->architecture()), "", ""};
    } else {
      network = arm.line.empty() ? zoo(arm.name, images.info.classes)
                                 : ZooEntry{arm.name, arm.line, arm.initializer, ""};
      if (!images.train) fail("[study] {} needs training images", cell.title());
    }
    const auto some = [](int64_t wanted, int64_t all) {
      return wanted > 0 ? std::min(wanted, all) : all;
    };
    if (!arm.trained) trained = some(arm.train_images, images.train->count());
    rows = images.rows.empty() ? row_range(0, some(arm.attacked, images.test.count())) : images.rows;
    attacked = static_cast<int64_t>(rows.size());
    macs = static_cast<double>(count_macs(parse_architecture(network.line), images.test.shape()));
  }

  double training_work() const {
    return kPasses * macs * static_cast<double>(trained * cell.arm.epochs) / kUnit;
  }
  double attack_work(size_t which) const {
    const StudyAttack& attack = cell.attacks[which];
    return shared[which] ? 0
                         : kPasses * macs * static_cast<double>(attacked) / kUnit *
                               expected_passes(attack.options, attack.sizes.size(), attack.tries);
  }
};

std::vector<PlannedCell> planned(const std::vector<StudyCell>& cells, StudyData& data) {
  std::vector<PlannedCell> plan;
  std::set<std::tuple<const Model*, const StudyImages*, std::string>> done;
  for (const StudyCell& cell : cells) {
    const StudyImages* images = data.of(cell);
    if (images == nullptr) continue;
    PlannedCell& one = plan.emplace_back(cell, *images);
    for (const StudyAttack& attack : cell.attacks) {
      const bool first = done.insert({cell.arm.trained.get(), images, attack.name}).second;
      one.shared.push_back(!first && cell.arm.trained && !draws(attack.options));
    }
  }
  return plan;
}

// Everything that decides what an attack does to a network.
Json about(const StudyAttack& attack, const AttackOptions& how, int64_t images, const std::string& weights,
           const Json& data) {
  return {{"version", kAttackVersion},
          {"weights", weights},
          {"data", data},
          {"images", images},
          {"attack", to_text(how)},
          {"sizes", eps_of(attack.sizes)},
          {"tries", attack.tries},
          {"until", attack.until ? Json(*attack.until) : Json()}};
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

// The network that is given, that of the folder, or else a new one.
std::shared_ptr<const Model> network_of(const PlannedCell& plan, const StudyPlace& place,
                                        const Progress& progress) {
  const StudyCell& cell = plan.cell;
  if (cell.arm.trained) return cell.arm.trained;
  const Images& images = *plan.images.train;
  const std::string file = cell.stem + ".safetensors";
  auto model = std::make_shared<Model>(parse_architecture(plan.network.line), images.shape(), place.backend);
  if (place.folder.has(file)) {
    model->load(read_safetensors(place.folder.file(file)));
  } else {
    const auto train = [&](const Images& some) {
      return train_network(plan.network, some, cell.arm.epochs, static_cast<uint64_t>(cell.seed), progress);
    };
    const bool all = plan.trained == images.count();
    *model = all ? train(images) : train(images.at(row_range(0, plan.trained)));
    SafeTensorFile weights = model->state();
    DataOptions known;
    known.dataset = plan.images.info.name;
    describe_data(weights, known);
    write_safetensors(place.folder.file(file), weights);
  }
  place.console.say("{} {}: {} parameters, {} training images, {} epochs: test accuracy {}", cell.dataset,
                    cell.arm.name, count_parameters(model->architecture(), model->input()), plan.trained,
                    cell.arm.epochs, in_words(evaluate(*model, plan.images.test).metrics));
  return model;
}

// Runs cells one after the other; what several of them need is kept from one to the next.
class Runner {
 public:
  Runner(const StudyPlace& place, double work) : place_(place), progress_(place.console, work) {}

  CellResult run(const PlannedCell& plan) {
    const StudyCell& cell = plan.cell;
    const std::string label = cell.dataset + " " + cell.arm.name;
    progress_.begin(label + " training", plan.training_work());
    const std::shared_ptr<const Model> model =
        network_of(plan, place_, progress_.at(plan.trained * cell.arm.epochs));
    CellResult result{.cell = cell};
    if (cell.attacks.empty()) return result;
    meet(model, plan.images);
    const Json stored = stored_attacks(cell, place_.folder);
    Json done = Json::array();
    for (size_t k = 0; k < cell.attacks.size(); ++k) {
      const StudyAttack& attack = cell.attacks[k];
      progress_.begin(label + " " + attack.name, plan.attack_work(k));
      AttackOptions how = attack.options;
      how.seed = draws(how) || attack.tries > 1 ? static_cast<uint64_t>(cell.seed) : 0;
      const Json recipe = about(attack, how, plan.attacked, weights_, plan.images.fingerprint);
      Json one = found(stored, recipe);
      const bool there = !one.is_null();
      if (!there) one = found(shared_, recipe);
      if (one.is_null()) {
        AttackJob job{.rows = plan.rows, .clean = clean_, .until = attack.until, .batch = place_.batch};
        job.progress = progress_.at(plan.attacked * attack.tries);
        one = to_json(gma_analyze(*model, plan.images.test, attack.sizes, how, attack.tries, job), recipe);
      }
      result.attacks.push_back(analysis_of(one, attack));
      shared_.push_back(one);
      Json named = {{"name", attack.name}};
      named.update(one);
      done.push_back(std::move(named));
      if (there) continue;
      place_.folder.write_json(attacks_file(cell), {{"schema", kAttacksSchema},
                                                    {"dataset", cell.dataset},
                                                    {"network", cell.arm.name},
                                                    {"seed", cell.seed},
                                                    {"attacks", done}});
    }
    return result;
  }

 private:
  static Json found(const Json& among, const Json& recipe) {
    const auto at =
        std::ranges::find_if(among, [&](const Json& one) { return one.value("about", Json()) == recipe; });
    if (at == among.end()) return {};
    Json one = *at;
    one.erase("name");
    return one;
  }

  // What is asked of a network but once.
  void meet(const std::shared_ptr<const Model>& model, const StudyImages& images) {
    if (model == model_ && &images == images_) return;
    model_ = model;
    images_ = &images;
    weights_ = checksum_of(*model);
    clean_ = predict(*model, images.test);
  }

  const StudyPlace& place_;
  WholeProgress progress_;
  std::shared_ptr<const Model> model_;  // kept, so that no other takes its address
  const StudyImages* images_ = nullptr;
  std::string weights_;
  std::vector<float> clean_;
  Json shared_ = Json::array();
};

}  // namespace

std::string checksum_of(const Model& model) {
  const std::string bytes = serialize_safetensors(model.state(), "a network");
  return fmt::format("{:08x}", checksum(std::span<const char>(bytes)));
}

std::string StudyAttack::asked_size(size_t which) const {
  return asked.empty() ? size_of(sizes.at(which).eps).asked : asked.at(which);
}

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
                       study.dataset + "-" + arm.name + of_seed, study.images});
    }
  }
  return cells;
}

int64_t CellResult::planned() const {
  if (!cell.images) return attacked();
  if (!cell.images->rows.empty()) return static_cast<int64_t>(cell.images->rows.size());
  const int64_t all = cell.images->test.count();
  return cell.arm.attacked > 0 ? std::min(cell.arm.attacked, all) : all;
}

const GmaAnalysis& CellResult::under(std::string_view attack) const {
  for (size_t k = 0; k < cell.attacks.size(); ++k) {
    if (cell.attacks[k].name == attack) return attacks.at(k);
  }
  fail("[study] {} was not attacked with {}", cell.title(), attack);
}

StudiedNetwork study_network(const StudyCell& cell, const StudyPlace& place) {
  DataOptions options;
  options.dataset = cell.dataset;
  options.data_dir = cell.data_dir;
  TrainingData data = load_training_data(options, place.backend, place.console);
  StudyImages images{std::move(data.info), std::move(data.train), std::move(data.test), {}};
  Model model = *network_of({cell, images}, place, {});
  return {{std::move(images.info), std::move(*images.train), std::move(images.test)}, std::move(model)};
}

StudyResults run_study(const std::vector<StudyCell>& cells, const StudyPlace& place) {
  // Every data set is read before the first network is trained.
  StudyData data(place);
  const std::vector<PlannedCell> plan = planned(cells, data);
  double work = 0;
  for (const PlannedCell& one : plan) {
    work += one.training_work();
    for (size_t k = 0; k < one.cell.attacks.size(); ++k) work += one.attack_work(k);
  }
  StudyResults results{{}, data.skipped()};
  Runner runner(place, work);
  for (const PlannedCell& one : plan) results.cells.push_back(runner.run(one));
  return results;
}

std::vector<StudyPart> plan_of(const std::vector<StudyCell>& cells, const StudyPlace& place) {
  StudyData data(place);
  std::vector<StudyPart> parts;
  for (const PlannedCell& one : planned(cells, data)) {
    if (one.trained > 0) parts.push_back({one.cell, "training", one.trained, one.training_work()});
    for (size_t k = 0; k < one.cell.attacks.size(); ++k)
      parts.push_back({one.cell, one.cell.attacks[k].name, one.attacked, one.attack_work(k)});
  }
  return parts;
}

}  // namespace caltrop
