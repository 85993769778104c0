#include "apps/demo/defended.h"

#include <algorithm>

#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/text_layout.h"
#include "attacks/attack_images.h"
#include "attacks/gma.h"
#include "defense/cycles.h"
#include "engine/inference.h"

namespace caltrop {
namespace {

constexpr size_t kPictures = 6;  // of each kind of mistake

// The answers of the judges at the end of the training to one of its test sets, beside those of the undefended
// network.
class Verdict {
 public:
  Verdict(const DefenceEvaluation& evaluation, const TestSet& set, size_t number, const Model& target,
          const Images& test, int32_t attacked)
      : set_(set),
        test_(test),
        attacked_(attacked),
        undefended_(argmax_rows(predict(target, set.images), target.outputs())) {
    add("Target alone", undefended_);
    std::vector<int32_t> checked = undefended_;
    for (const JudgedTest& judged : evaluation.judged) {
      if (judged.test != number) continue;
      if (judged.model == "off-grid pixel") {  // in front of the undefended network
        for (size_t i = 0; i < checked.size(); ++i) {
          if (judged.answers[i] == attacked) checked[i] = attacked;
        }
        continue;
      }
      add(judged.model == "vote" ? judged.model : upper(judged.model), judged.answers);
      vote_ = judged.answers;  // the last
    }
    add("pixel check", checked);
  }

  std::vector<Verdicts> rows;

  std::vector<AttackVerdicts> by_attack() const {
    std::vector<AttackVerdicts> attacks;
    for (size_t i = clean(); i < vote_.size(); ++i) {
      const auto attack = static_cast<size_t>(set_.pool.images[i - clean()].attack);
      const std::string& name = set_.pool.attacks[attack].name;
      auto found = std::ranges::find(attacks, name, &AttackVerdicts::attack);
      if (found == attacks.end()) found = attacks.insert(found, {name, {}, {}});
      found->attacked.add(vote_[i], truth(i), attacked_);
      if (undefended_[i] != truth(i)) found->fooling.add(vote_[i], truth(i), attacked_);
    }
    return attacks;
  }

  // The first attacked images that get past the vote, or clean ones that it flags.
  std::vector<Picture> mistakes(bool attacked) const {
    std::vector<Picture> pictures;
    for (size_t i = 0; i < vote_.size() && pictures.size() < kPictures; ++i) {
      const bool missed = i >= clean() && vote_[i] != truth(i) && vote_[i] != attacked_;
      const bool alarm = i < clean() && vote_[i] == attacked_;
      const auto row = static_cast<int64_t>(i);
      if (attacked ? missed : alarm)
        pictures.push_back(
            {set_.images.pixels(std::span(&row, 1)).to_host(), truth(i), undefended_[i], vote_[i]});
    }
    return pictures;
  }

 private:
  size_t clean() const { return static_cast<size_t>(test_.count()); }
  int32_t truth(size_t i) const {
    const size_t image = i < clean() ? i : static_cast<size_t>(set_.pool.images[i - clean()].image);
    return test_.labels()[image];
  }
  void add(const std::string& name, const std::vector<int32_t>& said) {
    Verdicts verdicts{name, {}, {}, {}};
    for (size_t i = 0; i < said.size(); ++i) {
      (i < clean() ? verdicts.clean : verdicts.attacked).add(said[i], truth(i), attacked_);
      if (i >= clean() && undefended_[i] != truth(i)) verdicts.fooling.add(said[i], truth(i), attacked_);
    }
    rows.push_back(std::move(verdicts));
  }

  const TestSet& set_;
  const Images& test_;
  int32_t attacked_;
  std::vector<int32_t> undefended_, vote_;
};

// The attacks of the GMA section once more, this time shown to the vote too.
std::vector<SizeVerdicts> by_size(const Defended& defended, const Model& target, const Images& test,
                                  int32_t attacked, uint64_t seed, Console& console) {
  std::vector<SizeVerdicts> all;
  ProgressLine progress(console, "GMA and the vote", 2 * test.count(), "images");
  std::vector<float> sizes = eps_of(gma_sizes());
  std::ranges::sort(sizes);
  for (const Norm norm : {Norm::linf, Norm::l2}) {
    AttackOptions attack = gma_attack(AttackKind::pgd, norm);
    attack.seed = seed;
    std::vector<SizeVerdicts> verdicts(sizes.size());
    for (size_t s = 0; s < sizes.size(); ++s) verdicts[s] = {norm, sizes[s], {}, {}};
    AttackJob job{.rows = row_range(0, test.count())};
    job.sink = [&](int64_t, const AttackResult& chunk) {
      const std::vector<int32_t> said = defended(chunk.adversarial);
      for (size_t r = 0; r < said.size(); ++r) {
        const int32_t truth = chunk.images[r / sizes.size()].label;
        SizeVerdicts& here = verdicts[r % sizes.size()];
        here.undefended.add(chunk.rows[r].prediction, truth, attacked);
        here.vote.add(said[r], truth, attacked);
      }
    };
    job.progress = [&](int64_t done) {
      progress.at((norm == Norm::linf ? 0 : test.count()) + done);
    };
    attack_images(target, test, sizes, attack, job);
    all.insert(all.end(), verdicts.begin(), verdicts.end());
  }
  return all;
}

}  // namespace

DefendFlags demo_defence(const CommonOptions& common, const DataOptions& data, int64_t epochs,
                         int64_t adaptive) {
  DefendFlags flags;
  flags.common = common;
  flags.data = data;
  flags.info = mia_info();
  flags.defence = std::make_shared<Cycles>(CyclesOptions{
      .cycles = {15, 25, 40}, .epochs = epochs, .bootstrap_epochs = 2 * epochs, .bootstraps = true});
  flags.scale = "demo";
  flags.adaptive = adaptive;
  flags.adaptive_attacks = {"apgd-ce"};
  flags.cache.clear();
  resolve(flags);
  return flags;
}

DefenceResult judge_demo(DefendRun& run, Defended& defended, const Model& target, const Images& train,
                         const Images& test, const DefendFlags& options, Console& console) {
  std::erase_if(defended.judges, [](const Judge& judge) { return judge.stage != "bootstrap"; });
  const DefenceEvaluation& evaluation = run.evaluate();
  const std::vector<TestSet>& sets = run.tests();
  const Verdict exact(evaluation, sets.at(0), 0, target, test, run.attacked()),
      rounded(evaluation, sets.at(1), 1, target, test, run.attacked());
  DefenceResult result;
  result.attacked = run.attacked();
  result.cycles = {0.15, 0.25, 0.40};
  result.clean_train = train.count();
  result.attacked_train = run.attacked_train();
  for (const int64_t unchanged : sets[1].pool.unchanged) result.vanished += unchanged;
  for (const int64_t unchanged : sets[0].pool.unchanged) result.vanished -= unchanged;
  result.exact = exact.rows;
  result.rounded = rounded.rows;
  result.by_attack = exact.by_attack();
  result.missed = exact.mistakes(true);
  result.alarms = exact.mistakes(false);
  result.by_size =
      by_size(defended, target, test, run.attacked(), static_cast<uint64_t>(options.common.seed), console);
  for (const AdaptiveRow& row : evaluation.adaptive) {
    if (row.attack == "apgd-ce") result.adaptive.push_back({*row.norm, row.size, row.exact, row.rounded});
  }
  return result;
}

}  // namespace caltrop
