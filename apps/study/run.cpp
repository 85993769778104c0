#include "apps/study/run.h"

#include <algorithm>
#include <optional>

#include "apps/core/console.h"
#include "apps/core/run_folder.h"
#include "apps/study/attacks_file.h"
#include "apps/study/planned.h"
#include "defense/attack_target.h"
#include "engine/autograd.h"

namespace caltrop {
namespace {

// Everything that decides what an attack does to a network.
Json about(const PlannedCell& plan, const StudyAttack& attack, const AttackOptions& how,
           const std::string& weights) {
  Json json = {{"version", kAttackVersion},       {"tensors_crc32", weights},
               {"data", plan.images.fingerprint}, {"images", plan.attacked(attack)},
               {"attack", to_text(how)},          {"sizes", eps_of(attack.sizes)},
               {"tries", attack.tries},           {"until", attack.until ? Json(*attack.until) : Json()}};
  if (attack.draws > 1) json["draws"] = attack.draws;
  if (attack.unaware) json["unaware"] = true;
  for (const StudyTraining& training : plan.cell.arm.trainings) json["trainings"].push_back(training.text());
  return json;
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

std::vector<float> logits_of(const Classifier& classifier, const Images& images) {
  std::vector<float> logits(static_cast<size_t>(images.count() * classifier.outputs()));
  for_chunks(images.backend(), images.count(), classifier.chunk(), [&](int64_t begin, int64_t end) {
    const NoGrad values_only;
    const std::vector<int64_t> rows = row_range(begin, end);
    const std::vector<float> part = classifier.logits(images.pixels(rows), {.images = rows}).to_host();
    std::ranges::copy(part, logits.begin() + begin * classifier.outputs());
  });
  return logits;
}

// What a cell attacks, which need not be made again where the folder has all that was asked of it.
class Opened {
 public:
  Opened(const PlannedCell& plan, const StudyPlace& place, PartProgress progress)
      : plan_(plan), place_(place), progress_(std::move(progress)), weights_(plan.arm.weights(place)) {
    if (weights_.empty()) weights_ = studied()->weights;
  }

  const std::string& weights() const { return weights_; }
  const std::shared_ptr<const Studied>& studied() {
    if (!studied_) studied_ = plan_.arm.open(place_, progress_);
    return studied_;
  }

 private:
  const PlannedCell& plan_;
  const StudyPlace& place_;
  PartProgress progress_;
  std::string weights_;
  std::shared_ptr<const Studied> studied_;
};

// Runs cells one after the other; what several of them need is kept from one to the next.
class Runner {
 public:
  Runner(const StudyPlace& place, double work) : place_(place), progress_(place.console, work) {}

  CellResult run(const PlannedCell& plan) {
    const StudyCell& cell = plan.cell;
    const std::string label = cell.dataset + " " + cell.arm.name;
    Opened arm(plan, place_, [&](const TrainingPart& part) {
      constexpr double kWhole = 1e6;
      progress_.begin(label + " " + part.name, part.macs / kUnit);
      return [at = progress_.at(static_cast<int64_t>(kWhole))](double share) {
        at(static_cast<int64_t>(kWhole * share));
      };
    });
    CellResult result{.cell = cell};
    if (cell.attacks.empty()) return result;
    const Json stored = stored_attacks(cell, place_.folder);
    for (const Json& one : stored) expect_same_network(cell, one, arm.weights());
    std::vector<Json> recipes, kept;
    for (const StudyAttack& attack : cell.attacks) {
      recipes.push_back(about(plan, attack, options_of(cell, attack), arm.weights()));
      kept.push_back(found(stored, recipes.back()));
    }
    for (size_t k = 0; k < cell.attacks.size(); ++k) {
      const StudyAttack& attack = cell.attacks[k];
      progress_.begin(label + " " + attack.name, plan.attack_work(k));
      const bool there = !kept[k].is_null();
      if (!there) kept[k] = found(shared_, recipes[k]);
      if (kept[k].is_null()) kept[k] = attacked(plan, attack, arm, recipes[k]);
      result.attacks.push_back(analysis_of(kept[k], attack));
      result.clean_correct.push_back(kept[k].at("clean_correct").get<int64_t>());
      shared_.push_back(kept[k]);
      if (!there) write(cell, kept);
    }
    plan.arm.remove_working_files(place_);
    return result;
  }

 private:
  static AttackOptions options_of(const StudyCell& cell, const StudyAttack& attack) {
    AttackOptions options = attack.options;
    options.seed = draws(options) || attack.tries > 1 ? static_cast<uint64_t>(cell.seed) : 0;
    return options;
  }

  // As it is stored.
  Json attacked(const PlannedCell& plan, const StudyAttack& attack, Opened& arm, const Json& recipe) {
    const Images& images = plan.images.test;
    const Defended& defended = arm.studied()->defended;
    const AttackTarget target(defended, images.labels(), attack.draws, attack.unaware);
    AttackJob job{.rows = plan.rows, .until = attack.until, .batch = place_.batch};
    job.rows.resize(static_cast<size_t>(plan.attacked(attack)));
    if (target.plain()) job.clean = clean_logits(arm.studied(), plan.images);
    target.judges(job);
    job.progress = progress_.at(plan.attacked(attack) * attack.tries);
    const AttackOptions how = options_of(plan.cell, attack);
    const GmaAnalysis done = gma_analyze(target.classifier(), images, attack.sizes, how, attack.tries, job);
    const int64_t right = done.images == plan.attacked(attack) ? done.sizes.at(0).tries.at(0).clean_correct
                                                               : right_answers(defended, images, job.rows);
    return to_json(done, how, right, recipe);
  }

  // Those that are done, also behind one that had to be made again.
  void write(const StudyCell& cell, const std::vector<Json>& kept) const {
    Json done = Json::array();
    for (size_t k = 0; k < kept.size(); ++k) {
      if (kept[k].is_null()) continue;
      Json named = {{"name", cell.attacks[k].name}};
      named.update(kept[k]);
      done.push_back(std::move(named));
    }
    place_.folder.write_json(attacks_file(cell), {{"schema", kAttacksSchema},
                                                  {"dataset", cell.dataset},
                                                  {"network", cell.arm.name},
                                                  {"seed", cell.seed},
                                                  {"attacks", std::move(done)}});
  }

  // What the folder trained does not change, so that results of other weights are of a file that has.
  void expect_same_network(const StudyCell& cell, const Json& stored, const std::string& weights) const {
    if (cell.arm.given || stored.at("about").value("tensors_crc32", Json()) == weights) return;
    fail(
        "{} holds another network than the one that {} is of: one of them has changed; delete both, and "
        "--resume makes them again",
        place_.folder.file(cell.stem + ".safetensors").string(),
        place_.folder.file(attacks_file(cell)).string());
  }

  static Json found(const Json& among, const Json& recipe) {
    const auto at =
        std::ranges::find_if(among, [&](const Json& one) { return one.value("about", Json()) == recipe; });
    if (at == among.end()) return {};
    Json one = *at;
    one.erase("name");
    return one;
  }

  // What is asked of a network but once.
  std::span<const float> clean_logits(const std::shared_ptr<const Studied>& studied,
                                      const StudyImages& images) {
    if (studied != studied_ || &images != images_) {
      studied_ = studied;
      images_ = &images;
      clean_ = logits_of(*studied->defended.classifier, images.test);
    }
    return clean_;
  }

  const StudyPlace& place_;
  WholeProgress progress_;
  std::shared_ptr<const Studied> studied_;  // kept, so that no other takes its address
  const StudyImages* images_ = nullptr;
  std::vector<float> clean_;
  Json shared_ = Json::array();
};

}  // namespace

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
      const std::string of_seed = study.grows || study.seeds.size() > 1 ? fmt::format("-seed-{}", seed) : "";
      cells.push_back({study.dataset, study.data_dir, arm, seed, study.attacks,
                       study.dataset + "-" + arm.name + of_seed, study.images});
    }
  }
  return cells;
}

int64_t CellResult::planned(size_t attack) const {
  const int64_t all = planned(), some = cell.attacks.at(attack).images;
  return some > 0 ? std::min(some, all) : all;
}

bool CellResult::ended(size_t attack) const {
  return attacks.at(attack).images < planned(attack);
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

StudyImages study_images(const std::string& dataset, const std::string& data_dir, const StudyPlace& place) {
  DataOptions options;
  options.dataset = dataset;
  options.data_dir = data_dir;
  TrainingData data = load_training_data(options, place.backend, place.console);
  Json fingerprint = data.info.facts.at("data").at("test");
  return {std::move(data.info), std::move(data.train), std::move(data.test), std::move(fingerprint)};
}

StudiedNetwork study_network(const StudyCell& cell, const StudyPlace& place) {
  StudyImages images = study_images(cell.dataset, cell.data_dir, place);
  std::shared_ptr<const Studied> network = study_network(cell, images, place);
  return {{std::move(images.info), std::move(*images.train), std::move(images.test)}, std::move(network)};
}

std::shared_ptr<const Studied> study_network(const StudyCell& cell, const StudyImages& images,
                                             const StudyPlace& place) {
  return Arm(cell, images, place.backend).open(place);
}

StudyResults run_study(const std::vector<StudyCell>& cells, const StudyPlace& place) {
  // Every data set is read before the first network is trained.
  StudyData data(place);
  const std::vector<PlannedCell> plan = planned(cells, data, place.backend);
  double work = 0;
  for (const PlannedCell& one : plan) work += one.work();
  StudyResults results{{}, data.skipped()};
  Runner runner(place, work);
  for (const PlannedCell& one : plan) results.cells.push_back(runner.run(one));
  return results;
}

}  // namespace caltrop
