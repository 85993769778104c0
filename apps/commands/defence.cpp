#include "apps/commands/defence.h"

#include <algorithm>
#include <map>

#include "apps/commands/defend_adaptive.h"
#include "defense/detection.h"
#include "defense/mia.h"
#include "defense/same_size.h"
#include "defense/scores.h"
#include "engine/inference.h"
#include "engine/zoo.h"

namespace caltrop {
namespace {

// Once written it stays: the logits that it is made of are removed when the run is done.
const std::string kVoteCurve = "vote_curve";

}  // namespace

Defence::Defence(const DefendFlags& options, const TrainedWithData& target, Console& console)
    : options_(options),
      target_(target),
      console_(console),
      attacked_(static_cast<int32_t>(target.data.info.classes)),
      sizes_(pool_sizes(options, target.data.train.count(), target.data.test.count())) {
  const ImageShape& shape = target.data.train.shape();
  for (const std::string& name : options_.members)
    Model(parse_architecture(line_of(name)), shape,
          target.data.train.backend());  // an Error where it does not fit
  if (options_.bootstraps && options_.members.size() > kMostNetworks) {
    fail("--models names {} networks; at most {} can vote", options_.members.size(), kMostNetworks);
  }
  const int64_t pixels = shape.height * shape.width * shape.channels;
  const auto check = [pixels](const char* flag, const std::vector<double>& sizes, const std::string& norm) {
    for (const double size : sizes) check_length(flag, static_cast<float>(size), parse_norm(norm), pixels);
  };
  check("--big-sizes", options_.big_sizes, options_.norm);
  if (*options_.unseen > 0) check("--unseen-sizes", options_.unseen_sizes, options_.norm);
  if (options_.bootstraps && *options_.adaptive > 0) check("--adaptive-l2", options_.adaptive_l2, "l2");
}

std::string Defence::line_of(const std::string& model) const {
  return zoo_line(model, attacked_ + 1, {.pool_stride = options_.model.pool_stride});
}

size_t Defence::bootstrap_stage() const {
  const auto cycle = std::find(options_.cycles.begin(), options_.cycles.end(), bootstrap_cycle(options_));
  return static_cast<size_t>(cycle - options_.cycles.begin());
}

const ChosenImages* Defence::keep(const AugmentedImages& train, std::vector<int64_t> rows) {
  sets_.push_back(std::make_unique<ChosenImages>(train, std::move(rows)));
  return sets_.back().get();
}

// The cycles of each network, then what branches off them, then the controls.
void Defence::plan_courses(const AugmentedImages& train) {
  const auto cycles = cycle_rows(target_.data.train.count(), data_.train, shares_of(options_),
                                 parse_share_of(options_.share_of));
  for (size_t m = 0; m < options_.members.size(); ++m) add_member(m, cycles, train);
  if (has_control(options_, "same-size")) add_same_size();
  if (has_control(options_, "leave-out")) add_leave_out(train);
}

void Defence::add_member(size_t member, const std::vector<std::vector<int64_t>>& cycles,
                         const AugmentedImages& train) {
  const std::string name = member_names(options_)[member], &model = options_.members[member];
  const auto seed = static_cast<uint64_t>(options_.common.seed);
  Course course{.name = name,
                .line = line_of(model),
                .initializer = zoo(model, attacked_ + 1).initializer,
                .seed = member_seed(seed, member)};
  for (size_t c = 0; c < cycles.size(); ++c) {
    const ImageSource* set = member == 0 ? keep(train, cycles[c]) : courses_[mains_[0]].stages[c].images;
    course.stages.push_back({fmt::format("cycle {:g} %", options_.cycles[c]), set, *options_.epochs,
                             fmt::format("{}-cycle-{:g}.safetensors", name, options_.cycles[c])});
  }
  mains_.push_back(courses_.size());
  courses_.push_back(course);
  const auto branch = [&](size_t stages, CourseStage stage, bool votes) {
    Course other = courses_[mains_.back()];
    other.trunk = mains_.back();
    other.shared = stages;
    other.votes = votes;
    other.stages.resize(stages);
    other.stages.push_back(std::move(stage));
    courses_.push_back(std::move(other));
  };
  if (options_.bootstraps) {
    const size_t stage = bootstrap_stage();
    const ChosenImages* drawn = keep(train, bootstrap(cycles[stage], seed, member));
    expect_all_classes(drawn->labels(), attacked_ + 1, "the bootstrap of " + name);
    branch(stage + 1, {"bootstrap", drawn, *options_.bootstrap_epochs, name + "-bootstrap.safetensors"},
           true);
    bootstraps_.push_back(courses_.size() - 1);
  }
  if (has_control(options_, "updates")) {
    const size_t last = cycles.size() - 1;
    const auto count = static_cast<int64_t>(cycles[last].size());
    branch(last,
           {fmt::format("cycle {:g} % again", options_.cycles[last - 1]),
            keep(train, refilled(cycles[last - 1], count, courses_[mains_.back()].seed)), *options_.epochs,
            name + "-again.safetensors"},
           false);
    controls_.push_back(courses_.size() - 1);
  }
}

// As many parameters as all networks that vote, as many passes over the set that bootstraps are drawn from.
void Defence::add_same_size() {
  const ImageShape& shape = target_.data.train.shape();
  int64_t parameters = 0;
  for (const size_t main : mains_)
    parameters += count_parameters(parse_architecture(courses_[main].line), shape);
  const std::string model = control_model(options_), name = model + " wide";
  const Architecture wide = with_parameters(parse_architecture(line_of(model)), shape, parameters);
  Course course{.name = name,
                .line = to_string(wide),
                .initializer = zoo(model, attacked_ + 1).initializer,
                .seed = member_seed(static_cast<uint64_t>(options_.common.seed), options_.members.size())};
  console_.note("{} has {} parameters, the networks that vote {} together", name,
                count_parameters(wide, shape), parameters);
  const size_t last = bootstrap_stage();
  for (size_t c = 0; c <= last; ++c) {
    course.stages.push_back(courses_[mains_[0]].stages[c]);
    course.stages.back().file = fmt::format("{}-wide-cycle-{:g}.safetensors", model, options_.cycles[c]);
  }
  course.stages.push_back({fmt::format("cycle {:g} % on", options_.cycles[last]), course.stages.back().images,
                           *options_.bootstrap_epochs, model + "-wide.safetensors"});
  controls_.push_back(courses_.size());
  courses_.push_back(std::move(course));
}

void Defence::add_leave_out(const AugmentedImages& train) {
  const std::string model = control_model(options_);
  const auto place = std::find(options_.members.begin(), options_.members.end(), model);
  const Course whole = courses_[mains_[static_cast<size_t>(place - options_.members.begin())]];
  std::vector<double> shares = shares_of(options_);
  shares.resize(bootstrap_stage() + 1);
  for (LeftOut& control : left_out(options_, data_.lanes)) {
    Course course{.name = fmt::format("{} without {}", model, control.name),
                  .line = whole.line,
                  .initializer = whole.initializer,
                  .seed = whole.seed};
    const auto cycles = cycle_rows_without(target_.data.train.count(), data_.train, shares,
                                           parse_share_of(options_.share_of), control.out);
    for (size_t c = 0; c < cycles.size(); ++c) {
      course.stages.push_back(
          {whole.stages[c].name, keep(train, cycles[c]), *options_.epochs,
           fmt::format("{}-without-{}-cycle-{:g}.safetensors", model, control.name, options_.cycles[c])});
    }
    left_out_.emplace_back(std::move(control), courses_.size());
    courses_.push_back(std::move(course));
  }
}

Json Defence::run(const RunFolder& folder, const std::string& stem) {
  folder_ = &folder;
  data_ = prepare_data(options_, target_, sizes_, console_);
  const AugmentedImages train(target_.data.train, data_.train, attacked_);
  for (const DefenceData::Test& test : data_.tests)
    tests_.push_back(std::make_unique<AugmentedImages>(target_.data.test, test.pool, attacked_));
  const Table pool = pool_table(data_);
  console_.say(pool);
  console_.blank();
  plan_courses(train);
  const CourseTest test{tests_[0].get(), target_.data.test.count(), &data_.tests[0].pool,
                        std::span(data_.lanes).first(data_.tests[0].end_lane)};
  const Json lines = train_courses(courses_, test, {staged_of(options_), &options_.data}, folder, console_);

  DetectionReport report(data_.lanes, attacked_);
  for (size_t t = 0; t < tests_.size(); ++t) judge(report, t);
  console_.blank();
  console_.say(report.summary());
  folder.write_table("pool", pool);
  folder.write_table("summary", report.summary());
  folder.write_table("attacks", report.attacks());
  folder.write_table("sizes", report.sizes());
  Json result = {{"pool", pool.json()},
                 {"summary", report.summary().json()},
                 {"attacks", report.attacks().json()},
                 {"sizes", report.sizes().json()}};
  const auto show = [&](const std::string& name, const Table& table) {
    console_.blank();
    console_.say(table);
    folder.write_table(name, table);
    result[name] = table.json();
  };
  if (!left_out_.empty()) show("leave_out", leave_out_table());
  if (options_.bootstraps && !folder.has(kVoteCurve + ".json")) folder.write_table(kVoteCurve, vote_curve());
  if (options_.bootstraps) result[kVoteCurve] = folder.read_json(kVoteCurve + ".json");
  if (options_.bootstraps && *options_.adaptive > 0) show("adaptive", attack_vote());
  Json met = Json::array();
  for (const Json& line : lines) {
    if (line.at("stop_rule") != true) continue;
    met.push_back(
        {{"model", line.at("model")}, {"stage", line.at("stage")}, {"epoch", line.at("stage_epoch")}});
  }
  result["stop_rule"] = met;
  folder.write_json(stem + ".json", result);
  remove_working_files(courses_, folder);
  result["metrics"] = lines;
  return result;
}

std::vector<float> Defence::logits_of(const Judged& judged, const ImageSource& images) const {
  const Course& course = courses_[judged.course];
  Model model(parse_architecture(course.line), images.shape(), images.backend());
  model.load(read_safetensors(folder_->file(course.stages[judged.stage].file)));
  return predict(model, images);
}

void Defence::judge(DetectionReport& report, size_t t) const {
  const DefenceData::Test& test = data_.tests[t];
  const AugmentedImages& images = *tests_[t];
  const Images& clean = target_.data.test;
  const auto add = [&](const std::vector<size_t>& courses, size_t stage, bool vote) {
    std::vector<std::vector<float>> logits;
    for (const size_t course : courses) {
      logits.push_back(logits_of({course, stage}, images));
      report.add({courses_[course].name, courses_[course].stages[stage].name,
                  argmax_rows(logits.back(), attacked_ + 1)},
                 clean, test);
    }
    if (vote) {
      report.add({"vote", courses_[courses[0]].stages[stage].name, majority_vote(logits, attacked_ + 1)},
                 clean, test);
    }
  };
  for (size_t s = 0; s < options_.cycles.size(); ++s)
    add(mains_, s, options_.bootstraps && s == bootstrap_stage());
  if (options_.bootstraps) add(bootstraps_, bootstrap_stage() + 1, true);
  for (const size_t control : controls_) add({control}, courses_[control].stages.size() - 1, false);
  Answers off{"off-grid pixel", "no training", {}};
  for (const bool found : off_grid(images)) off.predictions.push_back(found ? attacked_ : -1);
  report.add(off, clean, test);
}

// The vote after each epoch of the bootstraps: the paper's Figures 12 to 15.
Table Defence::vote_curve() const {
  Table table({{"epoch", "epoch", Column::Kind::count},
               {"attack", "attack"},
               {"loss", "loss", Column::Kind::number, 4},
               {"accuracy", "accuracy", Column::Kind::percent}});
  const AugmentedImages& images = *tests_[0];
  for (int64_t epoch = 1; epoch <= *options_.bootstrap_epochs; ++epoch) {
    std::vector<std::vector<float>> logits;
    for (const size_t course : bootstraps_) logits.push_back(logits_after(courses_[course], epoch, *folder_));
    const Scores scores =
        scores_of(mean_cross_entropies(logits, images.labels(), attacked_ + 1),
                  majority_vote(logits, attacked_ + 1), images.labels(), target_.data.test.count(),
                  data_.tests[0].pool, std::span(data_.lanes).first(data_.tests[0].end_lane));
    table.row({epoch, "all", scores.all.loss, scores.all.accuracy});
    for (const auto& [attack, score] : scores.attacks) table.row({epoch, attack, score.loss, score.accuracy});
  }
  return table;
}

// What the network finds of images that it was never trained on, beside what it finds of them when it was.
Table Defence::leave_out_table() const {
  Table table({{"left_out", "left out"},
               {"model", "network"},
               {"images", "test images of it", Column::Kind::count},
               {"seen", "detected, trained on", Column::Kind::percent},
               {"unseen", "detected, left out", Column::Kind::percent},
               {"wrong", "wrong class, left out", Column::Kind::percent},
               {"others", "others detected", Column::Kind::percent},
               {"false_alarms", "false alarms", Column::Kind::percent},
               {"seen_false_alarms", "false alarms, trained on", Column::Kind::percent},
               {"clean_accuracy", "clean accuracy", Column::Kind::percent}});
  const Images& clean = target_.data.test;
  const AttackedPool& pool = data_.tests[0].pool;
  const size_t stage = bootstrap_stage(), n = static_cast<size_t>(clean.count());
  const std::string model = control_model(options_);
  const auto place = std::find(options_.members.begin(), options_.members.end(), model);
  const size_t whole = mains_[static_cast<size_t>(place - options_.members.begin())];
  const auto answers = [&](size_t course) {
    return argmax_rows(logits_of({course, stage}, *tests_[0]), attacked_ + 1);
  };
  const std::vector<int32_t> seen = answers(whole);
  for (const auto& [control, course] : left_out_) {
    const std::vector<int32_t> unseen = answers(course);
    int64_t images = 0, others = 0, found_seen = 0, found = 0, wrong = 0, found_others = 0, alarms = 0,
            seen_alarms = 0, right = 0;
    for (size_t k = 0; k < pool.items.size(); ++k) {
      const PoolItem& item = pool.items[k];
      const int32_t said = unseen[n + k];
      if (control.out({item.lane, item.size})) {
        ++images;
        found_seen += seen[n + k] == attacked_;
        found += said == attacked_;
        wrong += said != attacked_ && said != clean.labels()[static_cast<size_t>(item.image)];
      } else {
        ++others;
        found_others += said == attacked_;
      }
    }
    for (size_t i = 0; i < n; ++i) {
      alarms += unseen[i] == attacked_;
      seen_alarms += seen[i] == attacked_;
      right += unseen[i] == clean.labels()[i];
    }
    const auto whole_clean = static_cast<int64_t>(n);
    table.row({control.name, model, images, quotient(found_seen, images), quotient(found, images),
               quotient(wrong, images), quotient(found_others, others), quotient(alarms, whole_clean),
               quotient(seen_alarms, whole_clean), quotient(right, whole_clean)});
  }
  return table;
}

Table Defence::attack_vote() const {
  const Images& test = target_.data.test;
  std::vector<std::unique_ptr<Model>> models;
  std::vector<const Model*> networks;
  for (const size_t course : bootstraps_) {
    models.push_back(
        std::make_unique<Model>(parse_architecture(courses_[course].line), test.shape(), test.backend()));
    models.back()->load(read_safetensors(folder_->file(courses_[course].stages.back().file)));
    networks.push_back(models.back().get());
  }
  return adaptive_table(networks, test, attacked_, adaptive_of(options_), console_);
}

}  // namespace caltrop
