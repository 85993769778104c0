#include "apps/bench/jobs.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "apps/commands/evaluation.h"
#include "apps/core/flags.h"
#include "apps/core/run_folder.h"
#include "apps/report/table.h"
#include "attacks/attack_images.h"
#include "attacks/gma.h"
#include "engine/autograd.h"
#include "engine/inference.h"
#include "engine/metrics.h"
#include "engine/training.h"
#include "engine/zoo.h"

namespace caltrop {
namespace {

constexpr double kLeastAccuracy = 0.97;   // after one epoch of either network
constexpr double kMostUnderPgd = 0.10;    // eps 0.3 leaves an undefended network nothing
constexpr double kLogitTolerance = 1e-4;  // of the largest logit, fused against composed
constexpr int64_t kCheckedImages = 256;
constexpr int64_t kSweepImages = 1000;

void train_epoch(Model& model, Optimizer& optimizer, const Images& images, uint64_t seed) {
  CrossEntropy objective;
  fit(model, optimizer, images, objective, {.epochs = 1, .seed = seed});
}

double share(double part) {
  return 100 * part;
}

double test_accuracy(const Model& model, const Images& images) {
  return evaluate(model, images).metrics.accuracy;
}

class TrainEpoch final : public TimedWork {
 public:
  TrainEpoch(BenchBed& bed, std::string name)
      : bed_(bed), name_(std::move(name)), model_(bed.network(name_)) {
    prepare();
  }
  void prepare() override {
    model_ = bed_.network(name_);
    optimizer_.emplace(OptimizerOptions{}, model_.parameters());
  }
  void run() override { train_epoch(model_, *optimizer_, bed_.train(), bed_.seed()); }
  std::string check() override {
    const double accuracy = test_accuracy(model_, bed_.test());
    if (!(accuracy > kLeastAccuracy)) {
      fail("[bench] an epoch of {} reached {:.2f} % only; expected above {:.0f} %", name_, share(accuracy),
           share(kLeastAccuracy));
    }
    return fmt::format("test accuracy {:.2f} %", share(accuracy));
  }

 private:
  BenchBed& bed_;
  std::string name_;
  Model model_;
  std::optional<Optimizer> optimizer_;
};

class Inference final : public TimedWork {
 public:
  Inference(BenchBed& bed, const std::string& name)
      : bed_(bed), name_(name), model_(name == "target" ? bed.trained_target() : bed.network(name)) {}
  void run() override { logits_ = predict(model_, bed_.test()); }
  std::string check() override {
    const NoGrad values_only;
    const int64_t n = std::min(kCheckedImages, bed_.test().count());
    const auto plain = model_.forward(bed_.test().pixels(row_range(0, n)), {.fuse = false}).to_host();
    float error = 0, largest = 0;
    for (size_t i = 0; i < plain.size(); ++i) {
      const float gap = std::fabs(plain[i] - logits_[i]);
      if (!(gap <= error)) error = gap;  // a NaN stays
      largest = std::max(largest, std::fabs(plain[i]));
    }
    if (!(error <= kLogitTolerance * largest)) {
      fail("[bench] the logits of {} differ from the unfused network's by {:.1e} of {:.1e}", name_, error,
           largest);
    }
    if (error == 0) return "logits equal the unfused network's";
    return fmt::format("logits within {:.0e} of the unfused network's", error / largest);
  }

 private:
  BenchBed& bed_;
  std::string name_;
  Model model_;
  std::vector<float> logits_;
};

class Attack final : public TimedWork {
 public:
  Attack(BenchBed& bed, std::vector<float> sizes, AttackOptions options, int64_t images)
      : bed_(bed), model_(bed.trained_target()), sizes_(std::move(sizes)), options_(options) {
    job_.rows = row_range(0, std::min(images, bed.test().count()));
  }
  void run() override { report_ = attack_images(model_, bed_.test(), sizes_, options_, job_); }
  std::string check() override {
    for (const AttackSummary& size : report_.sizes) {
      if (size.images != static_cast<int64_t>(job_.rows.size()) ||
          size.box_violations + size.ball_violations > 0 || size.nan_gradients > 0) {
        fail("[bench] the attack of size {:g} left its bounds {} times, its box {} times, met {} NaNs",
             size.size, size.ball_violations, size.box_violations, size.nan_gradients);
      }
    }
    const auto by_size = [](const AttackSummary& a, const AttackSummary& b) {
      return a.size < b.size;
    };
    const auto [small, large] = std::minmax_element(report_.sizes.begin(), report_.sizes.end(), by_size);
    if (!(large->accuracy() < kMostUnderPgd)) {
      fail("[bench] size {:g} left {:.2f} % accuracy; expected below {:.0f} %", large->size,
           share(large->accuracy()), share(kMostUnderPgd));
    }
    if (small != large && !(small->accuracy() > kLeastAccuracy - 0.02)) {
      fail("[bench] size {:g} left {:.2f} % accuracy; expected nearly the clean one", small->size,
           share(small->accuracy()));
    }
    return fmt::format("accuracy {:.2f} % at size {:.3g}", share(large->accuracy()), large->size);
  }

 private:
  BenchBed& bed_;
  const Model& model_;
  std::vector<float> sizes_;
  AttackOptions options_;
  AttackJob job_;
  AttackReport report_;
};

std::unique_ptr<TimedWork> pgd_job(BenchBed& bed) {
  AttackOptions options = attack_defaults(AttackKind::pgd);
  options.norm = Norm::linf;
  options.steps = 10;
  options.step_size = 0.075f;
  options.random_start = false;
  return std::make_unique<Attack>(bed, std::vector<float>{0.3f}, options, bed.test().count());
}

std::unique_ptr<TimedWork> gma_job(BenchBed& bed) {
  const std::vector<GmaSize> sizes = gma_sizes();
  return std::make_unique<Attack>(bed, eps_of(sizes), gma_attack(AttackKind::pgd, Norm::linf), kSweepImages);
}

template <typename Work>
BenchJob job_of(std::string name, std::string work, std::string network) {
  return {std::move(name), std::move(work), [network = std::move(network)](BenchBed& bed) {
            return std::make_unique<Work>(bed, network);
          }};
}

}  // namespace

double seconds_of(TimedWork& work) {
  work.prepare();
  const auto start = std::chrono::steady_clock::now();
  work.run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Table timing_table(const std::string& what, Column last) {
  return Table({{what, what},
                {"seconds", "seconds", Column::Kind::general, 4},
                {"fastest", "fastest", Column::Kind::general, 4},
                {"slowest", "slowest", Column::Kind::general, 4},
                std::move(last)});
}

Json add_times(Table& table, const std::string& what, const std::vector<double>& samples, Cell last) {
  const double median = quantile(samples, 0.5);
  const auto [fastest, slowest] = std::ranges::minmax(samples);
  table.row({what, median, fastest, slowest, std::move(last)});
  return {{"seconds", median}, {"samples", samples}};
}

void write_bench(const CommonOptions& common, const Flags& flags, const Json& facts, const Json& result,
                 const Table& table) {
  const RunFolder folder(common.out, make_config(flags, facts), common.resume);
  folder.write_json("bench.json", result);
  folder.write("bench.csv", table.csv());
}

Model BenchBed::network(const std::string& name) const {
  const int64_t outputs = name == "target" ? 10 : 11;
  const ZooEntry entry = zoo(name, outputs);
  Model model(parse_architecture(entry.line), train().shape(), backend());
  model.initialize(parse_initializer(entry.initializer), seed_);
  return model;
}

const Model& BenchBed::trained_target() {
  if (!target_) {
    Model model = network("target");
    Optimizer optimizer(OptimizerOptions{}, model.parameters());
    train_epoch(model, optimizer, train(), seed_);
    target_ = std::move(model);
  }
  return *target_;
}

const std::vector<BenchJob>& bench_jobs() {
  static const std::vector<BenchJob> jobs = {
      job_of<TrainEpoch>("train_epoch_target", "one epoch of Target: 60,000 images, batch 128, Adam",
                         "target"),
      job_of<TrainEpoch>("train_epoch_eat3", "one epoch of EAT-3: 60,000 images, batch 128, Adam", "eat-3"),
      job_of<Inference>("inference_target", "logits of 10,000 images, Target", "target"),
      job_of<Inference>("inference_eat1", "logits of 10,000 images, EAT-1", "eat-1"),
      job_of<Inference>("inference_eat2", "logits of 10,000 images, EAT-2", "eat-2"),
      job_of<Inference>("inference_eat3", "logits of 10,000 images, EAT-3", "eat-3"),
      {"inference_ensemble", "votes of EAT-1, -2, -3 on 10,000 images",
       [](BenchBed& bed) {
         return ensemble_job(bed, true);
       }},
      {"pgd10_target", "PGD-10 on 10,000 images: L-inf, eps 0.3, step 0.075, Target", pgd_job},
      {"gma_target", "GMA's 30 sizes on 1,000 images: PGD-10 in L-inf, Target", gma_job},
  };
  return jobs;
}

}  // namespace caltrop
