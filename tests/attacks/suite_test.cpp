// The attacks beyond FGSM to MIM: one answer whatever the batch, closed forms, and what each promises.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "attacks/box_projection.h"
#include "attacks/objectives.h"
#include "tests/attacks/setup.h"

namespace caltrop {
namespace {

using namespace test;

constexpr float kUnbounded = std::numeric_limits<float>::infinity();

// Every attack of the suite under every norm that it knows, with few steps.
std::vector<Variant> suite() {
  std::vector<Variant> variants;
  for (const std::string& name : attack_names()) {
    const AttackKind kind = parse_attack(name);
    if (is_ascent(kind)) continue;
    for (const Norm norm : {Norm::linf, Norm::l2}) {
      if (kind == AttackKind::cw && norm == Norm::linf) continue;
      AttackOptions options = attack_of(kind, norm);
      options.steps = kind == AttackKind::square ? 40 : kind == AttackKind::cw ? 60 : 12;
      options.cw.rounds = 3;
      options.cw.first_constant = 1.0f;
      options.target_classes = 3;
      options.square.schedule =
          SquareSchedule::paper;  // 40 queries stretched from 10,000 leave single pixels
      variants.push_back({name + " " + to_string(norm), options});
    }
  }
  return variants;
}

// Labels as the model sees them, so that there is something to attack.
Images right_images(const Model& model, int64_t count, uint64_t seed = 1) {
  const Images random = random_images(model.input(), count, 10, seed);
  const std::vector<int32_t> labels = argmax_rows(predict(model, random), model.outputs());
  std::vector<uint8_t> pixels;
  for (const float p : random.pixels(row_range(0, count)).to_host()) {
    pixels.push_back(to_byte(p));
  }
  return Images(cpu_backend(), model.input(), pixels, labels);
}

// Two classes: z_1 - z_0 = v.x + bias, negative at the image.
struct Half {
  Model model;
  std::vector<double> v;
  AttackBatch batch;
  double value = 0;            // v.x + bias at the image
  double length = 0, sum = 0;  // |v|_2, |v|_1
};

Half half_space(uint64_t seed, double value) {
  constexpr int64_t kPixels = 20;
  Random random(seed, Purpose::test);
  Half half{make_model("flatten | dense 2", {4, 5, 1}), {}, {}, value};
  std::vector<float> x, weight(2 * kPixels, 0.0f);
  double at = 0;
  for (int64_t k = 0; k < kPixels; ++k) {
    x.push_back(random.uniform(0.4f, 0.6f));
    const float v = random.uniform(-1, 1);
    weight[static_cast<size_t>(kPixels + k)] = v;
    half.v.push_back(v);
    half.length += static_cast<double>(v) * v;
    half.sum += std::fabs(static_cast<double>(v));
    at += static_cast<double>(v) * x.back();
  }
  half.length = std::sqrt(half.length);
  set_parameter(half.model, 0, weight);
  set_parameter(half.model, 1, {0.0f, static_cast<float>(value - at)});
  half.batch = {Tensor::from(cpu_backend(), {1, 4, 5, 1}, x), {0}, {0}, {}};
  return half;
}

AttackResult attack_half(const Half& half, const AttackOptions& options, float eps) {
  return craft(half.model, half.batch, std::span(&eps, 1), options);
}

double mean_norm(const Recorded& all, Norm norm) {
  double sum = 0;
  int64_t count = 0;
  for (const AttackRow& row : all.rows) {
    if (!row.success) continue;
    sum += static_cast<double>(norm == Norm::linf ? row.linf : row.l2);
    ++count;
  }
  return sum / static_cast<double>(std::max<int64_t>(1, count));
}

// A network whose gradients, or values and logits, are NaN from one step on.
class Astray final : public Classifier {
 public:
  enum class Where : uint8_t { gradient, value };
  Astray(const Classifier& inner, uint64_t first, Where where)
      : inner_(inner), first_(first), where_(where) {}
  Tensor logits(const Tensor& x, const Query& query) const override { return inner_.logits(x, query); }
  Pass differentiate(const Tensor& x, const Objectives& objectives, const Query& query) const override {
    Pass pass = inner_.differentiate(x, objectives, query);
    if (query.step < first_) return pass;
    const auto spoil = [](Tensor& tensor) {
      tensor = Tensor::full(tensor.backend(), tensor.shape(), std::nanf(""));
    };
    if (where_ == Where::gradient) {
      for (Tensor& gradient : pass.gradients) spoil(gradient);
    } else {
      spoil(pass.logits);
      for (Tensor& value : pass.values) spoil(value);
    }
    return pass;
  }
  const ImageShape& input() const override { return inner_.input(); }
  int64_t outputs() const override { return inner_.outputs(); }
  Backend& backend() const override { return inner_.backend(); }
  int64_t chunk() const override { return inner_.chunk(); }

 private:
  const Classifier& inner_;
  uint64_t first_;
  Where where_;
};

}  // namespace

TEST_SUITE("attacks") {
  TEST_CASE("fab-t without a size: the nearest target, not the likeliest") {
    // Class 1 trails by 0.1 and gains 0.1 for each pixel's unit, class 2 by 0.2 and gains 1.
    const Model model = make_model("flatten | dense 3", {2, 2, 1});
    set_parameter(model, 0, {0, 0, 0, 0, 0.1f, 0.1f, 0.1f, 0.1f, 1, 1, 1, 1});
    set_parameter(model, 1, {0, -0.2f - 0.1f, -2.0f - 0.2f});
    const AttackBatch batch{
        Tensor::from(cpu_backend(), {1, 2, 2, 1}, std::vector<float>(4, 0.5f)), {0}, {0}, {}};
    AttackOptions options = attack_of(AttackKind::fab_t, Norm::linf);
    options.target_classes = 2;
    const float eps = kUnbounded;
    const AttackResult found = craft(model, batch, std::span(&eps, 1), options);
    CHECK(found.rows[0].prediction == 2);
    CHECK(found.rows[0].linf == doctest::Approx(0.05).epsilon(0.02));
    options.target_classes = 1;
    CHECK(craft(model, batch, std::span(&eps, 1), options).rows[0].linf > 0.2f);
  }

  TEST_CASE("the suite: batches of 1, 7 and 256, one thread or two, give the same bytes") {
    const Model model = small_model();
    const Images images = right_images(model, 12);
    for (const Variant& variant : suite()) {
      CAPTURE(variant.name);
      const std::vector<float> sizes = variant.options.norm == Norm::linf ? std::vector<float>{0.02f, 0.1f}
                                                                          : std::vector<float>{0.3f, 1.0f};
      const Recorded one = run_attack(model, images, sizes, variant.options, {.batch = 1});
      REQUIRE(one.rows.size() == 24);
      CHECK(same_results(one, run_attack(model, images, sizes, variant.options, {.batch = 7})));
      CHECK(same_results(one, run_attack(model, images, sizes, variant.options, {.batch = 256})));
      set_cpu_threads(1);
      CHECK(same_results(one, run_attack(model, images, sizes, variant.options, {.batch = 5})));
      set_cpu_threads(0);
      // A size does not depend on the others.
      const Recorded alone = run_attack(model, images, {sizes[1]}, variant.options, {});
      for (size_t i = 0; i < 12; ++i) CHECK(same_row(alone.rows[i], one.rows[2 * i + 1]));
    }
  }

  TEST_CASE("the suite: what is stored keeps to the box and the size, and is judged as it is stored") {
    const Model model = small_model(3);
    const Images images = right_images(model, 16, 3);
    for (const Variant& variant : suite()) {
      CAPTURE(variant.name);
      const float eps = variant.options.norm == Norm::linf ? 0.08f : 0.8f;
      const Recorded all = run_attack(model, images, {eps}, variant.options, {});
      const Images stored = images;
      const Tensor adversarial = Tensor::from(cpu_backend(), {16, 12, 12, 1}, all.adversarial);
      const std::vector<int32_t> predicted = argmax(model.forward(adversarial)).to_host();
      for (size_t r = 0; r < all.rows.size(); ++r) {
        const AttackRow& row = all.rows[r];
        const bool fooled = predicted[r] != images.labels()[r];
        CHECK(row.prediction == predicted[r]);
        CHECK(row.box_violations == 0);
        CHECK_FALSE(row.outside_ball);
        const float used = variant.options.norm == Norm::linf ? row.linf : row.l2;
        if (row.success) CHECK(used <= eps + 1e-5f);
        CHECK(row.success == (fooled && row.within));
        CHECK((row.l0 >= 0 && row.l0 <= 144));
      }
      CHECK(all.report.sizes[0].successes > 0);
    }
  }

  TEST_CASE("on a half-space the minimum-norm attacks find the distance") {
    for (const uint64_t seed : {1u, 2u, 3u}) {
      const Half half = half_space(seed, -0.3);
      const double l2 = 0.3 / half.length, linf = 0.3 / half.sum;
      const auto within = [&](AttackKind kind, Norm norm, double least, double slack) {
        CAPTURE(to_string(kind));
        CAPTURE(to_string(norm));
        const AttackResult result = attack_half(half, attack_of(kind, norm), kUnbounded);
        CHECK(result.rows[0].success);
        const double used = static_cast<double>(norm == Norm::linf ? result.rows[0].linf : result.rows[0].l2);
        CHECK(used >= least * (1 - 1e-4));
        CHECK(used <= least * (1 + slack));
      };
      within(AttackKind::deepfool, Norm::l2, l2, 0.021 + 2e-4 / l2);  // its overshoot
      within(AttackKind::deepfool, Norm::linf, linf, 0.021 + 2e-4 / linf);
      within(AttackKind::fab, Norm::l2, l2, 0.01);
      within(AttackKind::fab, Norm::linf, linf, 0.01);
      within(AttackKind::fab_t, Norm::l2, l2, 0.01);
      within(AttackKind::cw, Norm::l2, l2, 0.01);
    }
  }

  TEST_CASE("DeepFool's step on a half-space is the projection times its overshoot") {
    const Half half = half_space(4, -0.3);
    const std::vector<float> x = half.batch.x.to_host();
    const std::vector<float> found =
        attack_half(half, attack_of(AttackKind::deepfool, Norm::l2), kUnbounded).adversarial.to_host();
    const double distance = 0.3 / half.length + 1e-4;
    for (size_t k = 0; k < x.size(); ++k) {
      const double expected = x[k] + 1.02 * distance * half.v[k] / half.length;
      CHECK(std::fabs(found[k] - expected) <= 2e-6);
    }
  }

  TEST_CASE("a size that is too small is no success of a minimum-norm attack, and the image stays robust") {
    const Half half = half_space(5, -0.3);
    const double l2 = 0.3 / half.length;
    for (const AttackKind kind : {AttackKind::cw, AttackKind::deepfool, AttackKind::fab}) {
      CAPTURE(to_string(kind));
      const AttackOptions options = attack_of(kind, Norm::l2);
      CHECK(attack_half(half, options, static_cast<float>(l2 * 1.05)).rows[0].success);
      const AttackResult tight = attack_half(half, options, static_cast<float>(l2 * 0.9));
      CHECK_FALSE(tight.rows[0].success);
      AttackSummary summary;
      summary.add(tight.images[0], tight.rows[0]);
      CHECK(summary.robust == 1);
      CHECK(summary.ball_violations == 0);
    }
  }

  TEST_CASE("CW's confidence is the margin of what it keeps") {
    const Half half = half_space(6, -0.3);
    AttackOptions options = attack_of(AttackKind::cw, Norm::l2);
    options.cw.confidence = 0.2f;
    const AttackResult result = attack_half(half, options, kUnbounded);
    CHECK(result.rows[0].success);
    CHECK(static_cast<double>(result.rows[0].l2) >= 0.499 / half.length);
    CHECK(static_cast<double>(result.rows[0].l2) <= 0.51 / half.length);
    // A lead that is there already needs no perturbation; one that is too small is widened.
    const auto moved = [](double lead, float confidence) {
      AttackOptions sure = attack_of(AttackKind::cw, Norm::l2);
      sure.cw.confidence = confidence;
      const Half wrong = half_space(7, lead);
      const AttackResult found = attack_half(wrong, sure, kUnbounded);
      CHECK(found.rows[0].success);
      return static_cast<double>(found.rows[0].l2) * wrong.length;
    };
    CHECK(moved(0.3, 0.2f) == 0.0);
    CHECK(moved(0.1, 0.2f) >= 0.099);
  }

  TEST_CASE("CW need not move an image that is where it should be, and says so where nothing helps") {
    AttackOptions options = attack_of(AttackKind::cw, Norm::l2);
    const AttackResult wrong = attack_half(half_space(7, 0.3), options, kUnbounded);
    CHECK(wrong.rows[0].success);
    CHECK(wrong.rows[0].l2 == 0.0f);
    Half right = half_space(7, -0.3);
    right.batch.targets = {0};  // what the network says of it
    options.targeted = true;
    const AttackResult there = attack_half(right, options, kUnbounded);
    CHECK(there.rows[0].success);
    CHECK(there.rows[0].l2 == 0.0f);
    // No pixel has a say: no budget helps.
    set_parameter(right.model, 0, std::vector<float>(40, 0.0f));
    set_parameter(right.model, 1, {0.3f, 0.0f});
    options.targeted = false;
    const AttackResult never = attack_half(right, options, kUnbounded);
    CHECK_FALSE(never.rows[0].success);
    CHECK(never.rows[0].prediction == 0);
    AttackSummary summary;
    summary.add(never.images[0], never.rows[0]);
    CHECK(summary.robust == 1);
  }

  TEST_CASE("an iterate gone astray leaves CW what it has found") {
    const Half half = half_space(6, -0.3);
    const Network network(half.model);
    const auto attack = [&](const Classifier& classifier, int64_t steps, float confidence) {
      AttackOptions options = attack_of(AttackKind::cw, Norm::l2);
      options.steps = steps;
      options.cw = {.rounds = 1, .first_constant = 10, .confidence = confidence, .abort_early = false};
      const float eps = kUnbounded;
      return craft(classifier, half.batch, std::span(&eps, 1), options);
    };
    for (const float confidence : {0.0f, 0.2f}) {
      // Iterates 0 to 60 see the network as it is; what it says of the last is lost where it says NaN.
      const AttackResult in_time = attack(network, 61, confidence),
                         a_step_before = attack(network, 60, confidence);
      REQUIRE(a_step_before.rows[0].success);
      const auto same = [](const AttackResult& a, const AttackResult& b) {
        return b.rows[0].success && same_bytes(a.adversarial.to_host(), b.adversarial.to_host());
      };
      CHECK(same(in_time, attack(Astray(network, 60, Astray::Where::gradient), 200, confidence)));
      CHECK(same(a_step_before, attack(Astray(network, 60, Astray::Where::value), 200, confidence)));
    }
  }

  TEST_CASE("CW moves pixels of 0 and 1") {
    Half half = half_space(8, -0.2);
    std::vector<float> x;
    double at = 0;
    for (size_t k = 0; k < half.v.size(); ++k) {
      x.push_back(half.v[k] > 0 ? 0.0f : 1.0f);  // each can only move the way that helps
      at += half.v[k] * static_cast<double>(x.back());
    }
    set_parameter(half.model, 1, {0.0f, static_cast<float>(-0.2 - at)});
    half.batch.x = Tensor::from(cpu_backend(), {1, 4, 5, 1}, x);
    const AttackResult result = attack_half(half, attack_of(AttackKind::cw, Norm::l2), kUnbounded);
    CHECK(result.rows[0].success);
    CHECK(static_cast<double>(result.rows[0].l2) <= 0.2 / half.length * 1.03);
  }

  TEST_CASE("the projection of FAB is the shortest way within the box") {
    Random random(9, Purpose::test);
    for (const Norm norm : {Norm::linf, Norm::l2}) {
      for (int trial = 0; trial < 20; ++trial) {
        CAPTURE(to_string(norm));
        CAPTURE(trial);
        constexpr int64_t kPixels = 30;
        std::vector<float> x, w;
        for (int64_t k = 0; k < kPixels; ++k) {
          const float p = random.uniform(-0.3f, 1.3f);
          x.push_back(std::clamp(p, 0.0f, 1.0f));
          w.push_back(random.uniform(-1, 1));
        }
        // How far w.x can fall within the box; the hyperplane lies part of the way.
        double room = 0;
        for (size_t k = 0; k < x.size(); ++k)
          room += static_cast<double>(w[k]) * (w[k] > 0 ? x[k] : x[k] - 1.0f);
        const double share = 0.05 + 0.04 * trial;
        const auto value = static_cast<float>(share * room);
        const Shape shape{1, 5, 6, 1};
        const std::vector<float> d =
            project_to_hyperplane(norm, Tensor::from(cpu_backend(), shape, x),
                                  Tensor::from(cpu_backend(), shape, w), std::span(&value, 1), 0.0f, 1.0f)
                .to_host();
        double reached = 0, length = 0;
        for (size_t k = 0; k < x.size(); ++k) {
          CHECK((x[k] + d[k] >= -1e-6f && x[k] + d[k] <= 1.0f + 1e-6f));
          reached += static_cast<double>(w[k]) * static_cast<double>(d[k]);
          const double here = std::fabs(static_cast<double>(d[k]));
          length = norm == Norm::linf ? std::max(length, here) : length + here * here;
        }
        CHECK(std::fabs(reached + static_cast<double>(value)) <= 1e-4 * room + 1e-6);
        // The optimum by bisection over the multiplier, in double.
        const auto at = [&](double s, double& longest) {
          double sum = 0;
          longest = 0;
          for (size_t k = 0; k < x.size(); ++k) {
            const double v = norm == Norm::linf ? (w[k] > 0 ? 1.0 : -1.0) : static_cast<double>(w[k]);
            const double moved =
                std::clamp(static_cast<double>(x[k]) - s * v, 0.0, 1.0) - static_cast<double>(x[k]);
            sum += static_cast<double>(w[k]) * moved;
            longest = norm == Norm::linf ? std::max(longest, std::fabs(moved)) : longest + moved * moved;
          }
          return sum;
        };
        double low = 0, high = 100, best = 0;
        for (int k = 0; k < 200; ++k) {
          const double middle = 0.5 * (low + high);
          (at(middle, best) > -static_cast<double>(value) ? low : high) = middle;
        }
        at(high, best);
        CHECK(std::fabs(length - best) <= 1e-4 * best + 1e-6);
      }
    }
  }

  TEST_CASE("Square's schedule is cut off after its queries, or stretched to them") {
    // Squares of 0.8 of the pixels for the first ten queries, or of a 512th: one pixel.
    const Model model = small_model(3);
    const Images images = random_images(model.input(), 4, 10);
    AttackOptions options = attack_of(AttackKind::square, Norm::linf);
    options.steps = 8;
    options.predicted_labels = true;  // so that there is something to attack
    const auto with = [&](SquareSchedule schedule) {
      options.square.schedule = schedule;
      return run_attack(model, images, {0.001f}, options, {}).adversarial;
    };
    const auto paper = with(SquareSchedule::paper), rescaled = with(SquareSchedule::rescaled);
    CHECK_FALSE(same_bytes(paper, rescaled));
    CHECK(same_bytes(with(SquareSchedule::automatic), rescaled));  // there are few queries
  }

  TEST_CASE("a hyperplane beyond the box is approached as far as the box goes") {
    const Tensor x = Tensor::full(cpu_backend(), {1, 2, 2, 1}, 0.5f);
    const Tensor w = Tensor::from(cpu_backend(), {1, 2, 2, 1}, {1.0f, -1.0f, 0.5f, 0.25f});
    for (const Norm norm : {Norm::linf, Norm::l2}) {
      const float value = 100.0f;
      const std::vector<float> d =
          project_to_hyperplane(norm, x, w, std::span(&value, 1), 0.0f, 1.0f).to_host();
      CHECK(d == std::vector<float>{-0.5f, 0.5f, -0.5f, -0.5f});
    }
  }

  TEST_CASE("difference of logits ratio: by hand, free of scale, with the gradient of a quotient") {
    const Tensor z = Tensor::from(cpu_backend(), {2, 5}, {3, 1, 0.5f, -2, 2, 0, 4, 1, 3, 2});
    const Labels labels(cpu_backend(), std::vector<int32_t>{0, 3});
    const Labels targets(cpu_backend(), std::vector<int32_t>{1, 0});
    const std::vector<float> dlr = difference_of_logits_ratio(z, labels).to_host();
    CHECK(dlr[0] == doctest::Approx(-(3.0 - 2.0) / (3.0 - 1.0)));
    CHECK(dlr[1] == doctest::Approx(-(3.0 - 4.0) / (4.0 - 2.0)));
    const std::vector<float> scaled = difference_of_logits_ratio(z * 100.0f, labels).to_host();
    CHECK(scaled[0] == doctest::Approx(dlr[0]));
    const std::vector<float> towards = difference_of_logits_ratio(z, labels, targets).to_host();
    CHECK(towards[0] == doctest::Approx(-(3.0 - 1.0) / (3.0 - 0.5 * (1.0 + 0.5))));
    CHECK(towards[1] == doctest::Approx(-(3.0 - 0.0) / (4.0 - 0.5 * (2.0 + 1.0))));
    const std::vector<Labels> ranks = ranking(z, 5);
    CHECK(ranks[0].to_host() == std::vector<int32_t>{0, 1});
    CHECK(ranks[4].to_host() == std::vector<int32_t>{3, 0});
    CHECK(mentions(refusal([&] {
                     difference_of_logits_ratio(Tensor::zeros(cpu_backend(), {1, 2}), labels);
                   }),
                   "at least 3 classes"));
  }

  TEST_CASE("APGD is no weaker than PGD, and CW and FAB come nearer than DeepFool") {
    const Model model = small_model(5);
    const Images images = right_images(model, 40, 5);
    for (const Norm norm : {Norm::linf, Norm::l2}) {
      CAPTURE(to_string(norm));
      const float eps = norm == Norm::linf ? 0.01f : 0.15f;
      AttackOptions pgd = attack_of(AttackKind::pgd, norm, true);
      const int64_t by_pgd = run_attack(model, images, {eps}, pgd, {}).report.sizes[0].robust;
      const int64_t by_ce =
          run_attack(model, images, {eps}, attack_of(AttackKind::apgd_ce, norm), {}).report.sizes[0].robust;
      const int64_t by_all = run_attack(model, images, {eps}, attack_of(AttackKind::autoattack, norm), {})
                                 .report.sizes[0]
                                 .robust;
      CHECK(by_pgd > 0);
      CHECK(by_pgd < 40);
      CHECK(by_ce <= by_pgd + 1);
      CHECK(by_all <= by_ce);
      const double deepfool =
          mean_norm(run_attack(model, images, {kUnbounded}, attack_of(AttackKind::deepfool, norm), {}), norm);
      const double fab =
          mean_norm(run_attack(model, images, {kUnbounded}, attack_of(AttackKind::fab, norm), {}), norm);
      CHECK(fab > 0);
      CHECK(fab <= deepfool);
      if (norm == Norm::linf) continue;
      AttackOptions cw = attack_of(AttackKind::cw, norm);
      cw.steps = 300;
      CHECK(mean_norm(run_attack(model, images, {kUnbounded}, cw, {}), norm) <= deepfool);
    }
  }

  TEST_CASE("what does not fit an attack is refused by name") {
    const auto refused = [](AttackKind kind, auto change) {
      AttackOptions options = attack_defaults(kind);
      change(options);
      const float eps = 0.3f;
      return refusal([&] { check_attack(options, std::span(&eps, 1), 784); });
    };
    CHECK(mentions(refused(AttackKind::cw, [](AttackOptions& o) { o.norm = Norm::linf; }), "norm linf"));
    CHECK(mentions(refused(AttackKind::fab, [](AttackOptions& o) { o.norm = Norm::l1; }), "norm l1"));
    CHECK(mentions(refused(AttackKind::apgd_t, [](AttackOptions& o) { o.targeted = true; }), "targeted"));
    CHECK(mentions(refused(AttackKind::cw, [](AttackOptions& o) { o.restarts = 2; }), "restarts 2"));
    CHECK(mentions(refused(AttackKind::cw, [](AttackOptions& o) { o.cw.confidence = -1; }), "cw.confidence"));
    CHECK(mentions(refused(AttackKind::apgd_ce, [](AttackOptions& o) { o.step_size = 0.1f; }), "step_size"));
    CHECK(refused(AttackKind::square, [](AttackOptions& o) { o.targeted = true; }).empty());
    const float infinite = kUnbounded;
    CHECK(mentions(
        refusal([&] { check_attack(attack_defaults(AttackKind::square), std::span(&infinite, 1), 784); }),
        "eps inf"));
    CHECK(refusal([&] {
            check_attack(attack_defaults(AttackKind::fab), std::span(&infinite, 1), 784);
          }).empty());
  }
}

}  // namespace caltrop
