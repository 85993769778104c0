#include "defense/adaptive.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "attacks/attack_images.h"
#include "defense/evading.h"
#include "defense/off_grid.h"

namespace caltrop {
namespace {

// What the defence says of one attacked image, as it is and rounded to 8 bits.
struct Answer {
  int32_t exact = 0, rounded = 0;
};
using Answers = std::vector<Answer>;  // of each image

AttackOptions options_of(const std::string& name, Norm norm, const AdaptiveOptions& adaptive) {
  const AttackKind kind = parse_attack(name);
  AttackOptions attack = kind == AttackKind::cw ? adaptive.cw : attack_defaults(kind);
  attack.norm = norm;
  attack.seed = adaptive.seed;
  if (kind == AttackKind::square) {
    attack.steps = adaptive.queries;
  } else if (kind != AttackKind::cw && kind != AttackKind::fgsm) {
    attack.steps = adaptive.steps;
    attack.random_start = false;
  }
  return attack;
}

class AdaptiveAttacks {
 public:
  AdaptiveAttacks(const Defended& defended, const Images& test, int32_t attacked,
                  const AdaptiveOptions& options, Watch& watch, bool unaware)
      : defended_(defended),
        climbed_(unaware ? *defended.unaware : *defended.classifier),
        detector_(defended.detects && !(unaware && defended.unaware_answers_otherwise)),
        test_(test),
        attacked_(attacked),
        options_(options),
        rows_(row_range(0, std::min(options.images, test.count()))),
        watch_(watch) {}

  std::vector<AdaptiveRow> run() {
    watch_.begin("adaptive attacks", static_cast<int64_t>(rows_.size()) * jobs());
    for (const int32_t said : defended_(test_.pixels(rows_))) clean_.push_back({said, said});
    add("none", {}, 0, clean_);
    for (const std::string& name : options_.attacks) {
      for (const auto& [norm, sizes] : budgets()) {
        if (name == "cw" && norm != Norm::l2) continue;
        const std::vector<Answers> answers = name == "cw" ? nearest(sizes) : within(name, norm, sizes);
        done_ += static_cast<int64_t>(rows_.size());
        for (size_t s = 0; s < sizes.size(); ++s) {
          add(name, norm, sizes[s], answers[s]);
          merge({norm, sizes[s]}, answers[s]);
        }
      }
    }
    for (const auto& [key, answers] : any_) add("any", key.first, key.second, answers);
    return std::move(result_);
  }

 private:
  std::vector<std::pair<Norm, std::vector<float>>> budgets() const {
    std::vector<std::pair<Norm, std::vector<float>>> all;
    if (!options_.linf.empty()) all.emplace_back(Norm::linf, options_.linf);
    if (!options_.l2.empty()) all.emplace_back(Norm::l2, options_.l2);
    return all;
  }
  int64_t jobs() const {
    int64_t count = 0;
    for (const std::string& name : options_.attacks) {
      for (const auto& [norm, sizes] : budgets()) count += name != "cw" || norm == Norm::l2;
    }
    return count;
  }

  bool wrong(int32_t said, size_t image) const { return said != test_.labels()[image] && said != attacked_; }

  template <typename Take>
  void attack(const std::string& name, Norm norm, const std::vector<float>& sizes, const Take& take) {
    AttackJob job{.rows = rows_};
    job.sink = [&](int64_t first, const AttackResult& chunk) {
      const std::vector<int32_t> exact = defended_(chunk.adversarial),
                                 rounded = defended_(rounded_to_8_bits(chunk.adversarial));
      for (size_t r = 0; r < exact.size(); ++r) {
        take(static_cast<size_t>(first) + r / sizes.size(), r % sizes.size(), chunk.rows[r],
             Answer{exact[r], rounded[r]});
      }
    };
    job.progress = [&](int64_t now) {
      watch_.at("adaptive attacks", done_ + now);
    };
    const AttackOptions how = options_of(name, norm, options_);
    if (detector_) {
      const Evading evading(climbed_, test_.labels(), name == "pgd" ? Climb::margin : Climb::own_loss);
      attack_images(evading, test_, sizes, how, job);
    } else {
      attack_images(climbed_, test_, sizes, how, job);
    }
  }

  std::vector<Answers> within(const std::string& name, Norm norm, const std::vector<float>& sizes) {
    std::vector<Answers> found(sizes.size(), clean_);
    attack(name, norm, sizes, [&](size_t image, size_t size, const AttackRow&, const Answer& answer) {
      found[size][image] = answer;
    });
    return found;
  }

  std::vector<Answers> nearest(const std::vector<float>& sizes) {
    std::vector<Answers> found(sizes.size(), clean_);
    const std::vector<float> unbounded = {std::numeric_limits<float>::infinity()};
    attack("cw", Norm::l2, unbounded, [&](size_t image, size_t, const AttackRow& row, const Answer& answer) {
      for (size_t s = 0; s < sizes.size(); ++s) {
        if (row.success && row.l2 <= sizes[s]) found[s][image] = answer;
      }
    });
    return found;
  }

  void merge(const std::pair<Norm, float>& budget, const Answers& answers) {
    Answers& best = any_.try_emplace(budget, answers).first->second;
    for (size_t i = 0; i < best.size(); ++i) {
      if (wrong(answers[i].exact, i)) best[i].exact = answers[i].exact;
      if (wrong(answers[i].rounded, i)) best[i].rounded = answers[i].rounded;
    }
  }

  void add(const std::string& name, std::optional<Norm> norm, float size, const Answers& answers) {
    AdaptiveRow row{name, norm, size, {}, {}};
    for (size_t i = 0; i < answers.size(); ++i) {
      row.exact.add(answers[i].exact, test_.labels()[i], attacked_);
      row.rounded.add(answers[i].rounded, test_.labels()[i], attacked_);
    }
    result_.push_back(std::move(row));
  }

  const Defended& defended_;
  const Classifier& climbed_;
  bool detector_;  // whether its last logit is the alarm
  const Images& test_;
  int32_t attacked_;
  const AdaptiveOptions& options_;
  std::vector<int64_t> rows_;
  Watch& watch_;
  int64_t done_ = 0;
  Answers clean_;
  std::map<std::pair<Norm, float>, Answers> any_;
  std::vector<AdaptiveRow> result_;
};

}  // namespace

std::vector<AdaptiveRow> attack_defended(const Defended& defended, const Images& test, int32_t attacked,
                                         const AdaptiveOptions& options, Watch& watch, bool unaware) {
  return AdaptiveAttacks(defended, test, attacked, options, watch, unaware).run();
}

}  // namespace caltrop
