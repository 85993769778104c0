#include "apps/demo/defence.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "apps/commands/evaluation.h"
#include "apps/core/text_layout.h"
#include "attacks/attack_images.h"
#include "attacks/gma.h"
#include "defense/detection.h"
#include "defense/eat.h"
#include "defense/evading.h"
#include "engine/zoo.h"

namespace caltrop {
namespace {

constexpr std::array<const char*, 3> kMembers = {"eat-1", "eat-2", "eat-3"};
constexpr std::array<const char*, 3> kMemberTitles = {"EAT-1", "EAT-2", "EAT-3"};
const std::vector<double> kCycles = {0.15, 0.25, 0.40};
constexpr size_t kPictures = 6;  // of each kind of mistake

// As 'caltrop defend mia --scale quick' has it: fewer steps of CW than the paper's, and longer ones.
PoolRecipeOptions recipe(uint64_t seed) {
  PoolRecipeOptions options;
  options.cw_steps = 100;
  options.cw_rounds = 3;
  options.cw_constant = 1.0f;
  options.cw_rate = 0.1f;
  options.seed = seed;
  return options;
}

std::string weights_of(size_t member) {
  return std::string(kMembers[member]) + ".safetensors";
}

std::vector<int32_t> answers_of(const Model& model, const ImageSource& images) {
  return argmax_rows(predict(model, images), model.outputs());
}

}  // namespace

// The attacked images, and the sets made of them.
struct DemoDefence::Pools {
  AttackedPool train, exact, rounded;
  AugmentedImages train_images, exact_images, rounded_images;
  std::vector<std::vector<int64_t>> cycles;

  Pools(const Images& clean_train, const Images& clean_test, int32_t attacked, AttackedPool for_train,
        AttackedPool as_made, AttackedPool in_8_bits)
      : train(std::move(for_train)),
        exact(std::move(as_made)),
        rounded(std::move(in_8_bits)),
        train_images(clean_train, train, attacked),
        exact_images(clean_test, exact, attacked),
        rounded_images(clean_test, rounded, attacked),
        cycles(cycle_rows(clean_train.count(), train, kCycles, ShareOf::all)) {}
};

DemoDefence::DemoDefence(const Model& target, const Images& train, const Images& test,
                         const DefenceOptions& options, Console& console)
    : target_(target),
      train_(train),
      test_(test),
      options_(options),
      console_(console),
      attacked_(static_cast<int32_t>(target.outputs())),
      lanes_(pool_recipe(recipe(options.seed))) {
  for (const double share : kCycles) (void)attacked_count(train_.count(), share, ShareOf::all);
  std::vector<const Model*> networks;
  for (const char* name : kMembers) {
    members_.push_back(std::make_unique<Model>(parse_architecture(zoo_line(name, attacked_ + 1)),
                                               target.input(), target.backend()));
    networks.push_back(members_.back().get());
  }
  ensemble_ = std::make_unique<Ensemble>(networks);
}

DemoDefence::~DemoDefence() = default;

int64_t DemoDefence::epochs() const {
  return static_cast<int64_t>(kCycles.size()) * options_.epochs + 2 * options_.epochs;
}

int64_t DemoDefence::finished(const RunFolder& folder) const {
  size_t members = 0;
  while (members < kMembers.size() && folder.has(weights_of(members))) ++members;
  return static_cast<int64_t>(members) * epochs();
}

void DemoDefence::craft() {
  const int64_t for_train = attacked_count(train_.count(), kCycles.back(), ShareOf::all);
  ProgressLine progress(console_, "attacking Target", for_train + test_.count(), "images");
  int64_t before = 0;
  const auto craft_all = [&](const Images& images, int64_t places, Part part) {
    const std::vector<PoolPlace> plan = plan_pool(lanes_, images.count(), places, part, options_.seed);
    std::vector<LaneParts> crafted;
    for (size_t k = 0; k < lanes_.size(); ++k) {
      std::vector<PoolPlace> mine;
      std::copy_if(plan.begin(), plan.end(), std::back_inserter(mine),
                   [&](const PoolPlace& place) { return place.lane == static_cast<int64_t>(k); });
      crafted.push_back({static_cast<int64_t>(k), {}});
      crafted.back().parts.push_back(craft_lane(Network(target_), images, lanes_[k], mine,
                                                [&](int64_t done) { progress.at(before + done); }));
      before += static_cast<int64_t>(mine.size());
    }
    return crafted;
  };
  const std::vector<LaneParts> train = craft_all(train_, for_train, Part::train);
  const std::vector<LaneParts> test = craft_all(test_, test_.count(), Part::test);
  pools_ = std::make_unique<Pools>(train_, test_, attacked_, make_pool(train_, for_train, train, {}),
                                   make_pool(test_, test_.count(), test, {}),
                                   make_pool(test_, test_.count(), test, {.eight_bits = true}));
}

void DemoDefence::train(const RunFolder& folder, MetricsLog& log) {
  craft();
  console_.say("   {} clean and {} attacked images to learn from, {} and {} to be tested on",
               grouped(train_.count()), grouped(pools_->train.count()), grouped(test_.count()),
               grouped(pools_->exact.count()));
  for (size_t m = 0; m < members_.size(); ++m) train_member(m, folder, log);
}

void DemoDefence::train_member(size_t member, const RunFolder& folder, MetricsLog& log) {
  Model& model = *members_[member];
  const std::string name = kMembers[member];
  if (folder.has(weights_of(member))) {
    model.load(read_safetensors(folder.file(weights_of(member))));
    return;
  }
  const uint64_t seed = member_seed(options_.seed, member);
  model.initialize(parse_initializer(zoo(name, attacked_ + 1).initializer), seed);
  std::vector<std::unique_ptr<ChosenImages>> sets;
  std::vector<Stage> stages;
  for (size_t c = 0; c < kCycles.size(); ++c) {
    sets.push_back(std::make_unique<ChosenImages>(pools_->train_images, pools_->cycles[c]));
    stages.push_back({fmt::format("cycle {:g} %", 100 * kCycles[c]), sets.back().get(), options_.epochs});
  }
  sets.push_back(std::make_unique<ChosenImages>(pools_->train_images,
                                                bootstrap(pools_->cycles.back(), options_.seed, member)));
  stages.push_back({"bootstrap", sets.back().get(), 2 * options_.epochs});

  StagedOptions how;
  how.seed = seed;
  StagedTraining training(model, stages, how);
  ProgressLine progress(console_, name, training.images(training.epochs()), "images");
  const auto on_epoch = [&](const StageEpoch& epoch) {
    const std::string& stage = stages[epoch.stage].name;
    const std::vector<int32_t> said = answers_of(model, pools_->exact_images);
    const double test = summarize(Confusion(model.outputs(), pools_->exact_images.labels(), said)).accuracy;
    log.append({{"model", name},
                {"stage", stage},
                {"epoch", training.done()},
                {"loss", epoch.loss},
                {"train_accuracy", epoch.accuracy},
                {"test_accuracy", test}});
    if (epoch.last) {
      console_.say("   {} {:<10}  training accuracy {:6.2f} %, test accuracy {:6.2f} %", name, stage,
                   100 * epoch.accuracy, 100 * test);
    }
  };
  training.run(on_epoch, [&](int64_t images) {
    progress.label(fmt::format("{}, {}", name, training.stage()));
    progress.at(images);
  });
  write_safetensors(folder.file(weights_of(member)), model.state());
}

DefenceResult DemoDefence::judge() {
  DefenceResult result;
  result.attacked = attacked_;
  result.cycles = kCycles;
  result.clean_train = train_.count();
  result.attacked_train = pools_->train.count();
  for (const int64_t unchanged : pools_->rounded.unchanged) result.vanished += unchanged;
  for (const int64_t unchanged : pools_->exact.unchanged) result.vanished -= unchanged;
  judge_pools(result);
  judge_sizes(result);
  judge_adaptive(result);
  return result;
}

void DemoDefence::judge_pools(DefenceResult& result) const {
  const auto clean = static_cast<size_t>(test_.count());
  const auto judge = [&](const AugmentedImages& images, const AttackedPool& pool,
                         std::vector<Verdicts>& rows) {
    const std::vector<int32_t> undefended = answers_of(target_, images);
    const auto truth = [&](size_t i) {
      const size_t image = i < clean ? i : static_cast<size_t>(pool.items[i - clean].image);
      return test_.labels()[image];
    };
    const auto add = [&](const std::string& name, const std::vector<int32_t>& said) {
      Verdicts verdicts{name, {}, {}, {}};
      for (size_t i = 0; i < said.size(); ++i) {
        (i < clean ? verdicts.clean : verdicts.attacked).add(said[i], truth(i), attacked_);
        if (i >= clean && undefended[i] != truth(i)) verdicts.fooling.add(said[i], truth(i), attacked_);
      }
      rows.push_back(verdicts);
    };
    add("Target alone", undefended);
    std::vector<std::vector<float>> logits;
    for (size_t m = 0; m < members_.size(); ++m) {
      logits.push_back(predict(*members_[m], images));
      add(kMemberTitles[m], argmax_rows(logits.back(), attacked_ + 1));
    }
    const std::vector<int32_t> vote = majority_vote(logits, attacked_ + 1);
    add("vote", vote);
    std::vector<int32_t> checked = undefended;
    const std::vector<bool> off = off_grid(images);
    for (size_t i = 0; i < checked.size(); ++i) {
      if (off[i]) checked[i] = attacked_;
    }
    add("pixel check", checked);
    if (&pool != &pools_->exact) return;

    for (size_t i = 0; i < vote.size(); ++i) {
      const bool missed = i >= clean && vote[i] != truth(i) && vote[i] != attacked_;
      const bool alarm = i < clean && vote[i] == attacked_;
      std::vector<Picture>& pictures = missed ? result.missed : result.alarms;
      if ((!missed && !alarm) || pictures.size() >= kPictures) continue;
      const auto row = static_cast<int64_t>(i);
      pictures.push_back({images.pixels(std::span(&row, 1)).to_host(), truth(i), undefended[i], vote[i]});
    }
    for (size_t i = clean; i < vote.size(); ++i) {
      const std::string& attack = lanes_[static_cast<size_t>(pool.items[i - clean].lane)].attack;
      auto found = std::find_if(result.by_attack.begin(), result.by_attack.end(),
                                [&](const AttackVerdicts& one) { return one.attack == attack; });
      if (found == result.by_attack.end()) {
        result.by_attack.push_back({attack, {}, {}});
        found = result.by_attack.end() - 1;
      }
      found->attacked.add(vote[i], truth(i), attacked_);
      if (undefended[i] != truth(i)) found->fooling.add(vote[i], truth(i), attacked_);
    }
  };
  judge(pools_->exact_images, pools_->exact, result.exact);
  judge(pools_->rounded_images, pools_->rounded, result.rounded);
}

// The attacks of the GMA section once more, this time shown to the vote too.
void DemoDefence::judge_sizes(DefenceResult& result) {
  std::vector<float> sizes = eps_of(gma_sizes());
  std::sort(sizes.begin(), sizes.end());
  ProgressLine progress(console_, "GMA and the vote", 2 * test_.count(), "images");
  for (const Norm norm : {Norm::linf, Norm::l2}) {
    const int64_t before = norm == Norm::linf ? 0 : test_.count();
    AttackOptions attack = gma_attack(AttackKind::pgd, norm);
    attack.seed = options_.seed;
    std::vector<SizeVerdicts> verdicts(sizes.size());
    for (size_t s = 0; s < sizes.size(); ++s) verdicts[s] = {norm, sizes[s], {}, {}};
    AttackJob job{.rows = row_range(0, test_.count())};
    job.sink = [&](int64_t, const AttackResult& chunk) {
      const std::vector<int32_t> said = vote(chunk.adversarial);
      for (size_t r = 0; r < said.size(); ++r) {
        const int32_t truth = chunk.images[r / sizes.size()].label;
        SizeVerdicts& here = verdicts[r % sizes.size()];
        here.undefended.add(chunk.rows[r].prediction, truth, attacked_);
        here.vote.add(said[r], truth, attacked_);
      }
    };
    job.progress = [&](int64_t done) {
      progress.at(before + done);
    };
    attack_images(target_, test_, sizes, attack, job);
    result.by_size.insert(result.by_size.end(), verdicts.begin(), verdicts.end());
  }
}

// APGD on the ensemble with its gradients, away from the true class and from that of attacked images.
void DemoDefence::judge_adaptive(DefenceResult& result) {
  const Evading evading(*ensemble_, test_.labels());
  const std::vector<int64_t> rows = row_range(0, std::min(options_.adaptive, test_.count()));
  const std::vector<std::pair<Norm, std::vector<float>>> budgets = {{Norm::linf, {0.01f, 0.03f, 0.1f, 0.3f}},
                                                                    {Norm::l2, {0.5f, 1.0f, 2.0f, 3.0f}}};
  const auto count = static_cast<int64_t>(rows.size());
  ProgressLine progress(console_, "an attack that knows the vote", 2 * count, "images");
  int64_t before = 0;
  for (const auto& budget : budgets) {
    const std::vector<float>& sizes = budget.second;
    AttackOptions attack = attack_defaults(AttackKind::apgd_ce);
    attack.norm = budget.first;
    attack.seed = options_.seed;
    std::vector<AdaptiveVerdicts> verdicts(sizes.size());
    for (size_t s = 0; s < sizes.size(); ++s) verdicts[s] = {attack.norm, sizes[s], {}, {}};
    AttackJob job{.rows = rows};
    job.sink = [&](int64_t, const AttackResult& chunk) {
      std::vector<float> pixels = chunk.adversarial.to_host();
      for (float& pixel : pixels) pixel = rounded_to_8_bits(pixel);
      const std::vector<int32_t> exact = vote(chunk.adversarial);
      const std::vector<int32_t> rounded =
          vote(Tensor::from(test_.backend(), chunk.adversarial.shape(), pixels));
      for (size_t r = 0; r < exact.size(); ++r) {
        const int32_t truth = chunk.images[r / sizes.size()].label;
        verdicts[r % sizes.size()].exact.add(exact[r], truth, attacked_);
        verdicts[r % sizes.size()].rounded.add(rounded[r], truth, attacked_);
      }
    };
    job.progress = [&](int64_t done) {
      progress.at(before + done);
    };
    attack_images(evading, test_, sizes, attack, job);
    before += count;
    result.adaptive.insert(result.adaptive.end(), verdicts.begin(), verdicts.end());
  }
}

Images first_images(const Images& images, int64_t count) {
  const std::vector<int64_t> rows = row_range(0, std::min(count, images.count()));
  const std::vector<float> floats = images.pixels(rows).to_host();
  std::vector<uint8_t> pixels(floats.size());
  std::transform(floats.begin(), floats.end(), pixels.begin(),
                 [](float value) { return static_cast<uint8_t>(std::lround(value * 255.0f)); });
  return {images.backend(), images.shape(), pixels, images.labels_of(rows)};
}

}  // namespace caltrop
