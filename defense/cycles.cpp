#include "defense/cycles.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "defense/mia.h"
#include "defense/same_size.h"
#include "engine/error.h"
#include "engine/inference.h"
#include "engine/zoo.h"

namespace caltrop {
namespace {

constexpr double kMost = std::numeric_limits<int32_t>::max(), kMostEpochs = 100000;

// A kind of attacked images that a control leaves out.
struct Kind {
  std::string name;
  PoolFilter out;
};
std::vector<Kind> kinds_of(const PoolRecipeOptions& known) {
  const auto attacks = std::make_shared<const std::vector<PoolAttack>>(pool_recipe(known));
  const auto attack_of = [attacks](const PlannedImage& planned) -> const PoolAttack& {
    return attacks->at(static_cast<size_t>(planned.attack));
  };
  std::vector<Kind> kinds;
  for (const std::string& name : known.attacks) {
    kinds.push_back({name, [=](const PlannedImage& planned) {
                       return attack_of(planned).name == name;
                     }});
  }
  const auto is_big = [big = known.big_sizes](float size) {
    return std::ranges::find(big, size) != big.end();
  };
  const auto any = [&](const auto& holds) {
    return std::ranges::any_of(*attacks, holds);
  };
  if (any([&](const PoolAttack& attack) { return std::ranges::any_of(attack.sizes, is_big); })) {
    kinds.push_back({"big-sizes", [=](const PlannedImage& planned) {
                       return is_big(planned.size);
                     }});
  }
  const auto under = [](Norm norm) {
    return [norm](const PoolAttack& attack) {
      return attack.options.norm == norm;
    };
  };
  if (any(under(Norm::linf)) && any(under(Norm::l2))) {
    kinds.push_back({"linf", [=](const PlannedImage& planned) {
                       return attack_of(planned).options.norm == Norm::linf;
                     }});
  }
  return kinds;
}

// Images of a plan until each kind has `needed` that are not of it.
int64_t images_for_leave_out(const PoolRecipeOptions& known, int64_t needed) {
  constexpr int64_t kLongest = 8;  // times what is needed
  const std::vector<PoolAttack> attacks = pool_recipe(known);
  int64_t most = 0;
  for (const Kind& kind : kinds_of(known)) {
    int64_t left = 0;
    for (const PlannedImage& planned : plan_pool(attacks, needed, kLongest * needed, Subset::train, 0)) {
      left += !kind.out(planned);
      if (left < needed) continue;
      most = std::max(most, planned.position + 1);
      break;
    }
    if (left < needed) fail("--controls leave-out: without {} too little is left to train on", kind.name);
  }
  return most;
}

// "eat-1", and "eat-1.2" for the second of that name.
std::string member_name(const std::vector<std::string>& members, size_t k) {
  const auto twins = std::count(members.begin(), members.begin() + static_cast<int64_t>(k), members[k]);
  return twins == 0 ? members[k] : fmt::format("{}.{}", members[k], twins + 1);
}

// A network as the end of a stage left it.
struct Saved {
  std::string line;
  std::filesystem::path weights;
  ImageShape shape;
  Backend* backend;

  std::unique_ptr<Model> load() const {
    auto model = std::make_unique<Model>(parse_architecture(line), shape, *backend);
    model->load(read_safetensors(weights));
    return model;
  }
  std::vector<float> logits(const ImageSource& images) const { return predict(*load(), images); }
};
Saved saved(const Course& course, size_t stage, const std::filesystem::path& folder,
            const ImageSource& like) {
  return {course.line, folder / course.stages[stage].file, like.shape(), &like.backend()};
}

Judge judge_of(const Course& course, size_t stage, const Saved& network, int64_t outputs) {
  return {course.name, course.stages[stage].name, [=](const ImageSource& images) {
            return argmax_rows(network.logits(images), outputs);
          }};
}
Judge vote_of(const std::string& stage, const std::vector<Saved>& networks, int64_t outputs) {
  return {"vote", stage, [=](const ImageSource& images) {
            std::vector<std::vector<float>> logits;
            for (const Saved& network : networks) logits.push_back(network.logits(images));
            return majority_vote(logits, outputs);
          }};
}

// Networks in memory that vote, and what an attacker sees of them.
struct Voters {
  std::vector<std::unique_ptr<Model>> models;
  std::unique_ptr<Ensemble> ensemble;
};

}  // namespace

std::vector<DefenceOption> Cycles::options() {
  CyclesOptions& o = options_;
  std::vector<DefenceOption> all = {
      {.name = "models",
       .value = &o.members,
       .what = "the networks that are trained, one after the other",
       .value_name = "A,B,...",
       .choices = zoo_names()},
      {.name = "cycles",
       .value = &o.cycles,
       .what = "per cent of attacked images in each cycle",
       .value_name = "P,Q,...",
       .low = 0,
       .high = 100,
       .open_low = true},
      {.name = "share-of",
       .value = &o.share_of,
       .what = "what they are per cent of: all images of the set, or its clean ones",
       .choices = {"all", "clean"}},
      {.name = "epochs",
       .value = &o.epochs,
       .what = "passes over the set of each cycle",
       .value_name = "N",
       .otherwise = "by --scale",
       .low = 1,
       .high = kMostEpochs}};
  const auto add = [&](DefenceOption option) {
    all.push_back(std::move(option));
  };
  if (o.bootstraps) {
    add({.name = "bootstrap-cycle",
         .value = &o.bootstrap_cycle,
         .what = "the cycle whose set bootstraps are drawn from, and after which they begin",
         .value_name = "P",
         .otherwise = "the last",
         .low = 0,
         .high = 100});
    add({.name = "bootstrap-epochs",
         .value = &o.bootstrap_epochs,
         .what = "passes of each network over its bootstrap",
         .value_name = "N",
         .otherwise = "by --scale",
         .low = 1,
         .high = kMostEpochs});
  }
  add({.name = "batch",
       .value = &o.batch,
       .what = "images in a mini-batch (the paper names none)",
       .value_name = "N",
       .low = 1,
       .high = 65536});
  add({.name = "lr",
       .value = &o.rate,
       .what = "Adam's (the paper names none)",
       .value_name = "RATE",
       .low = 0,
       .high = 100,
       .open_low = true});
  add({.name = "schedule",
       .value = &o.schedule,
       .what = "factor on the rate over all epochs, as in 'caltrop train'",
       .value_name = "SHAPE"});
  add({.name = "optimizer-state",
       .value = &o.optimizer_state,
       .what =
           "carry Adam's moments from cycle to cycle, as Keras does, or begin each anew; weights are always "
           "carried",
       .choices = {"carry", "fresh"}});
  add({.name = "pool",
       .value = &o.pool,
       .what = "training images attacked",
       .value_name = "N",
       .otherwise = "as many as the last cycle needs",
       .low = 1,
       .high = kMost});
  add({.name = "controls",
       .value = &o.controls,
       .what =
           "networks trained beside the others: without one attack, the big sizes or one norm at a time "
           "(leave-out); one as large as all together (same-size, for mia); the last cycle but one again for "
           "as many updates as the last (updates)",
       .value_name = "A,B,...",
       .otherwise = "none",
       .choices = kControls});
  add({.name = "control-model",
       .value = &o.control_model,
       .what = "the network of leave-out and same-size",
       .value_name = "NAME",
       .otherwise = "the last of --models"});
  if (o.bootstraps) {
    add({.name = "adaptive-mean",
         .value = &o.mean,
         .what = "what attacks that know the vote see of the networks together: the mean of the logits, or "
                 "the log "
                 "of the mean softmax",
         .choices = {"logits", "probabilities"}});
  }
  return all;
}

void Cycles::resolve(std::string_view scale, const PoolRecipeOptions& known) {
  CyclesOptions& o = options_;
  const auto [epochs, bootstrap_epochs] = scale == "smoke"   ? std::pair{1, 1}
                                          : scale == "paper" ? std::pair{10, 50}
                                                             : std::pair{3, 6};
  if (!o.epochs) o.epochs = epochs;
  if (!o.bootstrap_epochs) o.bootstrap_epochs = bootstrap_epochs;
  if (o.members.empty()) fail("--models names no network");
  const double top = o.share_of == "all" ? 100 : 100.0000001;
  double before = 0;
  for (const double cycle : o.cycles) {
    if (!(cycle > before)) fail("--cycles must rise, got {:g} after {:g}", cycle, before);
    if (!(cycle < top)) fail("--cycles: {:g} % attacked of all leaves no clean image", cycle);
    before = cycle;
  }
  if (has_control("same-size") && !o.bootstraps)
    fail("--controls same-size is compared with the vote of defend mia");
  if (has_control("updates") && o.cycles.size() < 2)
    fail("--controls updates compares the last two cycles: --cycles names one");
  if (has_control("leave-out") && known.attacks.size() < 2)
    fail("--controls leave-out needs two attacks or more: --attacks names one");
  if (std::ranges::find(o.members, control_model()) == o.members.end())
    fail("--control-model {} is none of --models", control_model());
  if (o.bootstrap_cycle && std::ranges::find(o.cycles, *o.bootstrap_cycle) == o.cycles.end())
    fail("--bootstrap-cycle {:g} is none of --cycles", *o.bootstrap_cycle);
  try {
    (void)Schedule::parse(o.schedule);
  } catch (const Error& problem) {
    fail("--schedule: {}", problem.what());
  }
}

void Cycles::check(const DefenceTask& task) const {
  for (const std::string& name : options_.members)
    Model(parse_architecture(line_of(task, name)), task.train.shape(), task.train.backend());
  if (options_.bootstraps && options_.members.size() > kMostNetworks)
    fail("--models names {} networks; at most {} can vote", options_.members.size(), kMostNetworks);
  (void)pool_size(task);
}

DefenceCost Cycles::cost(const DefenceTask& task) const {
  constexpr double kPasses = 3;  // a pass backward counts as two forward
  const ImageShape& shape = task.train.shape();
  const int64_t clean = task.train.count();
  const auto set = [&](double share) {
    return clean + attacked_count(clean, share, parse_share_of(options_.share_of));
  };
  int64_t images = 0;  // that a network goes through
  for (const double share : shares()) images += set(share) * options_.epochs.value_or(1);
  if (options_.bootstraps) images += set(bootstrap_cycle() / 100) * options_.bootstrap_epochs.value_or(1);
  const auto files = static_cast<int64_t>(options_.cycles.size()) + (options_.bootstraps ? 1 : 0);
  DefenceCost cost;
  int64_t bytes = 0;  // of a network
  for (const std::string& member : options_.members) {
    const Architecture line = parse_architecture(line_of(task, member));
    const auto macs = static_cast<double>(count_macs(line, shape));
    bytes = 4 * count_parameters(line, shape);
    cost.macs += kPasses * macs * static_cast<double>(images);
    cost.answer = options_.bootstraps ? cost.answer + macs : macs;
    cost.bytes += files * bytes;
  }
  cost.bytes += 3 * bytes;  // the checkpoint, with Adam's moments
  const std::vector<PoolAttack> attacks = pool_recipe(task.known);
  double passes = 0;
  for (const PoolAttack& attack : attacks) passes += most_passes(attack.options, task.classes);
  cost.macs += kPasses * static_cast<double>(count_macs(task.target.architecture(), shape)) *
               static_cast<double>(pool_size(task)) * passes / static_cast<double>(attacks.size());
  return cost;
}

int64_t Cycles::pool_size(const DefenceTask& task) const {
  const int64_t clean = task.train.count();
  check_planned("--pool", options_.pool.value_or(0), clean);
  int64_t size = 0, of_bootstraps = 0;
  for (const double cycle : options_.cycles) {
    const int64_t needed = attacked_count(clean, cycle / 100, parse_share_of(options_.share_of));
    if (options_.pool && *options_.pool < needed) {
      fail("--pool {}: the cycle of {:g} % needs {} attacked images beside {} clean ones", *options_.pool,
           cycle, needed, clean);
    }
    check_planned("--cycles", needed, clean);
    size = std::max(size, needed);
    if (cycle <= bootstrap_cycle()) of_bootstraps = needed;
  }
  if (has_control("leave-out")) {
    const int64_t needed = images_for_leave_out(task.known, of_bootstraps);
    if (options_.pool && *options_.pool < needed)
      fail("--pool {}: --controls leave-out needs {} attacked images", *options_.pool, needed);
    size = std::max(size, needed);
  }
  return options_.pool.value_or(size);
}

Defended Cycles::train(const DefenceTask& task, const TestSet& watched) {
  folder_ = task.folder;
  const AttackedPool pool =
      task.crafter.craft(task.train, pool_recipe(task.known), pool_size(task), Subset::train, task.seed)
          .pool(task.train, task.pool);
  train_ = std::make_unique<AugmentedImages>(task.train, pool, task.attacked());
  task.watch.pool("train", pool);
  plan_courses(task, pool);
  StagedOptions staged;
  staged.batch = options_.batch;
  staged.rule.rate = static_cast<float>(options_.rate);
  staged.schedule = Schedule::parse(options_.schedule);
  staged.carry_optimizer = options_.optimizer_state == "carry";
  train_courses(courses_, {&watched.images, task.test.count(), &watched.pool},
                {staged, task.folder, task.metadata}, task.watch);
  return defended(task);
}

// The cycles of each network, then what branches off them, then the controls.
void Cycles::plan_courses(const DefenceTask& task, const AttackedPool& pool) {
  const auto cycles = cycle_rows(task.train.count(), pool, shares(), parse_share_of(options_.share_of));
  for (size_t m = 0; m < options_.members.size(); ++m) add_member(task, m, cycles);
  if (has_control("same-size")) add_same_size(task);
  if (has_control("leave-out")) add_leave_out(task, pool);
}

void Cycles::add_member(const DefenceTask& task, size_t member,
                        const std::vector<std::vector<int64_t>>& cycles) {
  const std::string name = member_name(options_.members, member), &model = options_.members[member];
  Course course{.name = name,
                .line = line_of(task, model),
                .initializer = zoo(model, task.classes + 1).initializer,
                .seed = member_seed(task.seed, member)};
  for (size_t c = 0; c < cycles.size(); ++c) {
    const ImageSource* set = member == 0 ? keep(cycles[c]) : courses_[mains_[0]].stages[c].images;
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
    const ChosenImages* drawn = keep(bootstrap(cycles[stage], task.seed, member));
    expect_all_classes(drawn->labels(), task.classes + 1, "the bootstrap of " + name);
    branch(stage + 1, {"bootstrap", drawn, *options_.bootstrap_epochs, name + "-bootstrap.safetensors"},
           true);
    bootstraps_.push_back(courses_.size() - 1);
  }
  if (has_control("updates")) {
    const size_t last = cycles.size() - 1;
    const auto count = static_cast<int64_t>(cycles[last].size());
    branch(last,
           {fmt::format("cycle {:g} % again", options_.cycles[last - 1]),
            keep(refilled(cycles[last - 1], count, courses_[mains_.back()].seed)), *options_.epochs,
            name + "-again.safetensors"},
           false);
    controls_.push_back(courses_.size() - 1);
  }
}

// As many parameters as all networks that vote, as many passes over the set that bootstraps are drawn from.
void Cycles::add_same_size(const DefenceTask& task) {
  const ImageShape& shape = task.train.shape();
  int64_t parameters = 0;
  for (const size_t main : mains_)
    parameters += count_parameters(parse_architecture(courses_[main].line), shape);
  const std::string model = control_model(), name = model + " wide";
  const Architecture wide = with_parameters(parse_architecture(line_of(task, model)), shape, parameters);
  Course course{.name = name,
                .line = to_string(wide),
                .initializer = zoo(model, task.classes + 1).initializer,
                .seed = member_seed(task.seed, options_.members.size())};
  task.watch.note(fmt::format("{} has {} parameters, the networks that vote {} together", name,
                              count_parameters(wide, shape), parameters));
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

void Cycles::add_leave_out(const DefenceTask& task, const AttackedPool& pool) {
  const Course whole = courses_[mains_[control_member()]];
  std::vector<double> some = shares();
  some.resize(bootstrap_stage() + 1);
  for (const Kind& kind : kinds_of(task.known)) {
    Course course{.name = fmt::format("{} without {}", control_model(), kind.name),
                  .line = whole.line,
                  .initializer = whole.initializer,
                  .seed = whole.seed};
    const auto cycles =
        cycle_rows_without(task.train.count(), pool, some, parse_share_of(options_.share_of), kind.out);
    for (size_t c = 0; c < cycles.size(); ++c) {
      course.stages.push_back({whole.stages[c].name, keep(cycles[c]), *options_.epochs,
                               fmt::format("{}-without-{}-cycle-{:g}.safetensors", control_model(), kind.name,
                                           options_.cycles[c])});
    }
    left_out_.push_back({kind.name, kind.out, courses_.size()});
    courses_.push_back(std::move(course));
  }
}

const ChosenImages* Cycles::keep(std::vector<int64_t> rows) {
  sets_.push_back(std::make_unique<ChosenImages>(*train_, std::move(rows)));
  return sets_.back().get();
}

Defended Cycles::defended(const DefenceTask& task) const {
  const int64_t outputs = task.classes + 1;
  Defended result{.classifier = {}, .detects = true};
  const auto add = [&](const std::vector<size_t>& courses, size_t stage, bool vote) {
    std::vector<Saved> networks;
    for (const size_t course : courses) {
      networks.push_back(saved(courses_[course], stage, folder_, task.train));
      result.judges.push_back(judge_of(courses_[course], stage, networks.back(), outputs));
    }
    if (vote) result.judges.push_back(vote_of(courses_[courses[0]].stages[stage].name, networks, outputs));
  };
  for (size_t s = 0; s < options_.cycles.size(); ++s)
    add(mains_, s, options_.bootstraps && s == bootstrap_stage());
  if (options_.bootstraps) add(bootstraps_, bootstrap_stage() + 1, true);
  for (const size_t control : controls_) add({control}, courses_[control].stages.size() - 1, false);

  // Without a vote the networks answer alone: the last one is the defence.
  const auto voters = std::make_shared<Voters>();
  for (const size_t course : options_.bootstraps ? bootstraps_ : std::vector<size_t>{mains_.back()}) {
    const size_t last = courses_[course].stages.size() - 1;
    voters->models.push_back(saved(courses_[course], last, folder_, task.train).load());
  }
  std::vector<const Model*> networks;
  for (const auto& model : voters->models) {
    networks.push_back(model.get());
    result.parameters += count_parameters(model->architecture(), model->input());
  }
  voters->ensemble = std::make_unique<Ensemble>(networks, parse_ensemble_mean(options_.mean));
  result.classifier = std::shared_ptr<const Classifier>(voters, voters->ensemble.get());
  result.answers = [voters](const Tensor& x) {
    return voters->ensemble->vote(x);
  };
  return result;
}

std::vector<VoteEpoch> Cycles::vote_curve(const TestSet& test) const {
  std::vector<VoteEpoch> curve;
  const std::vector<int32_t>& labels = test.images.labels();
  for (int64_t epoch = 1; !bootstraps_.empty() && epoch <= *options_.bootstrap_epochs; ++epoch) {
    std::vector<std::vector<float>> logits;
    for (const size_t course : bootstraps_) logits.push_back(logits_after(courses_[course], epoch, folder_));
    const auto outputs = static_cast<int64_t>(logits[0].size() / labels.size());
    curve.push_back({epoch, scores_of(mean_cross_entropies(logits, labels, outputs),
                                      majority_vote(logits, outputs), labels, test.clean(), test.pool)});
  }
  return curve;
}

std::vector<LeftOut> Cycles::leave_out(const TestSet& test) const {
  std::vector<LeftOut> rows;
  if (left_out_.empty()) return rows;
  const auto n = static_cast<size_t>(test.clean());
  const int32_t attacked = test.images.labels().back();
  const auto answers = [&](size_t course) {
    return argmax_rows(saved(courses_[course], bootstrap_stage(), folder_, test.images).logits(test.images),
                       attacked + 1);
  };
  const std::vector<int32_t> trained = answers(mains_[control_member()]);
  for (const Control& control : left_out_) {
    const std::vector<int32_t> said = answers(control.course);
    LeftOut row{.name = control.name, .model = control_model(), .clean = test.clean()};
    for (size_t k = 0; k < test.pool.images.size(); ++k) {
      const PoolImage& image = test.pool.images[k];
      const bool found = said[n + k] == attacked;
      if (!control.out(test.pool.plan[static_cast<size_t>(image.position)])) {
        ++row.others;
        row.found_others += found;
        continue;
      }
      ++row.images;
      row.found_trained += trained[n + k] == attacked;
      row.found += found;
      row.wrong += !found && said[n + k] != test.truth(n + k);
    }
    for (size_t i = 0; i < n; ++i) {
      row.alarms += said[i] == attacked;
      row.alarms_trained += trained[i] == attacked;
      row.right += said[i] == test.truth(i);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

bool Cycles::has_control(std::string_view name) const {
  return std::ranges::find(options_.controls, name) != options_.controls.end();
}
const std::string& Cycles::control_model() const {
  return options_.control_model.empty() ? options_.members.back() : options_.control_model;
}
size_t Cycles::control_member() const {
  return static_cast<size_t>(std::ranges::find(options_.members, control_model()) - options_.members.begin());
}
double Cycles::bootstrap_cycle() const {
  return options_.bootstrap_cycle.value_or(options_.cycles.back());
}
size_t Cycles::bootstrap_stage() const {
  return static_cast<size_t>(std::ranges::find(options_.cycles, bootstrap_cycle()) - options_.cycles.begin());
}
std::vector<double> Cycles::shares() const {
  std::vector<double> shares;
  for (const double cycle : options_.cycles) shares.push_back(cycle / 100);
  return shares;
}
std::string Cycles::line_of(const DefenceTask& task, const std::string& model) const {
  return zoo_line(model, task.classes + 1, {.pool_stride = task.pool_stride});
}

DefenceInfo eat_info() {
  return {.name = "eat",
          .summary = "train networks to tell attacked images apart, in cycles",
          .about =
              "Enhanced adversarial training (section 4 of the paper): attacked images of the undefended "
              "network --weights form a class of their own, and their share grows from cycle to cycle while "
              "the networks train on. Training and test images are divided before anything is attacked.",
          .source = "Sanapala & Gondi, GMA/MIA 2025, section 4.1.2",
          .make = []() -> std::unique_ptr<Defence> { return std::make_unique<Cycles>(CyclesOptions{}); },
          .attacked = false,
          .of_paper = true};
}

DefenceInfo mia_info() {
  return {
      .name = "mia",
      .summary = "such networks on bootstraps, and their vote",
      .about =
          "The model integration approach of the paper (section 4): networks trained in EAT's cycles "
          "continue, each on a bootstrap of the last cycle's set, and vote. Ties go to the class with the "
          "largest sum of softmax. The report shows the vote beside each network, before and after the "
          "bootstraps, and beside the detector that only looks for pixels that are no multiple of 1/255.",
      .source = "Sanapala & Gondi, GMA/MIA 2025, section 4.1.3",
      .make = []() -> std::unique_ptr<Defence> {
        return std::make_unique<Cycles>(CyclesOptions{.cycles = {15, 25, 40}, .bootstraps = true});
      },
      .of_paper = true};
}

}  // namespace caltrop
