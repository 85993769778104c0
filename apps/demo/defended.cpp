#include "apps/demo/defended.h"

#include <algorithm>

#include "apps/core/console.h"
#include "apps/core/text_layout.h"
#include "attacks/gma.h"
#include "defense/cycles.h"
#include "defense/off_grid.h"
#include "engine/inference.h"

namespace caltrop {
namespace {

// The first attacked images that get past the vote, or else clean ones that it flags. Answers as in a JudgedTest.
std::vector<Picture> mistakes(const TestSet& set, const std::vector<int32_t>& undefended,
                              const std::vector<int32_t>& vote, int32_t alarm, bool attacked) {
  constexpr size_t kPictures = 6;
  std::vector<Picture> pictures;
  const auto clean = static_cast<size_t>(set.clean());
  for (size_t i = attacked ? clean : 0; i < (attacked ? vote.size() : clean); ++i) {
    const bool mistaken = attacked ? vote[i] != set.truth(i) && vote[i] != alarm : vote[i] == alarm;
    const auto row = static_cast<int64_t>(i);
    if (mistaken && pictures.size() < kPictures)
      pictures.push_back(
          {set.images.pixels(std::span(&row, 1)).to_host(), set.truth(i), undefended[i], vote[i]});
  }
  return pictures;
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

DefenceResult judge_demo(DefendRun& run, Defended& defended, const Model& target, const Images& test,
                         uint64_t seed, Console& console) {
  const auto undefended = [&target](const ImageSource& images) {
    return argmax_rows(predict(target, images), target.outputs());
  };
  const auto checked = [undefended, &run](const ImageSource& images) {
    std::vector<int32_t> answers = undefended(images);
    const std::vector<bool> off = off_grid(images);
    for (size_t i = 0; i < off.size(); ++i) {
      if (off[i]) answers[i] = run.attacked();
    }
    return answers;
  };
  std::vector<Judge>& judges = defended.judges;
  std::erase_if(judges, [](const Judge& judge) { return judge.stage != "bootstrap"; });
  for (Judge& judge : judges) judge.model = judge.model == "vote" ? judge.model : upper(judge.model);
  judges.insert(judges.begin(), {"Target alone", "", undefended});
  judges.push_back({"pixel check", "", checked});

  const DefenceEvaluation& evaluation = run.evaluate();
  const TestSet &exact = run.tests().at(0), &rounded = run.tests().at(1);
  DefenceResult result;
  result.attacked = run.attacked();
  result.attacked_train = run.attacked_train();
  for (const JudgedTest& judged : evaluation.judged) {
    if (!judged.knows_classes) continue;  // the pixel check without a network behind it
    if (judged.test == exact.name) result.exact.push_back(judged);
    if (judged.test == rounded.name) result.rounded.push_back(judged);
  }
  for (const int64_t unchanged : rounded.pool.unchanged) result.vanished += unchanged;
  for (const int64_t unchanged : exact.pool.unchanged) result.vanished -= unchanged;
  const auto& alone = DefenceResult::undefended(result.exact).answers;
  const auto& vote = DefenceResult::vote(result.exact).answers;
  result.missed = mistakes(exact, alone, vote, run.attacked(), true);
  result.alarms = mistakes(exact, alone, vote, run.attacked(), false);
  std::ranges::copy_if(evaluation.adaptive, std::back_inserter(result.adaptive),
                       [](const AdaptiveRow& row) { return row.attack == "apgd-ce"; });

  // The attacks of the GMA section once more, this time shown to the vote too.
  std::vector<float> sizes = eps_of(gma_sizes());
  std::ranges::sort(sizes);
  for (const Norm norm : {Norm::linf, Norm::l2}) {
    ProgressLine progress(console, "GMA and the vote, " + to_string(norm), test.count(), "images");
    AttackOptions attack = gma_attack(AttackKind::pgd, norm);
    attack.seed = seed;
    std::ranges::copy(transfer(defended, target, test, run.attacked(), attack, sizes,
                               [&](int64_t done) { progress.at(done); }),
                      std::back_inserter(result.by_size));
  }
  return result;
}

}  // namespace caltrop
