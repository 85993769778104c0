// The optimisers' updates over several steps, on models of several parameters, against their formulas in
// double.

#include <memory>

#include "tests/kernels/checks.h"

namespace caltrop::test {
namespace {

// A model's parameters of these sizes, with guard bands around each weight and state.
struct Parameters {
  explicit Parameters(Backend& backend, int states, Samples& samples) {
    std::vector<int64_t> counts = {1, 0, 17, 64, 100, 40001};
    for (int64_t small = 0; small < 130; ++small) counts.push_back(small % 4);  // a deep model's biases
    for (const int64_t count : counts) {
      weight_values.push_back(samples.floats(count));
      gradient_values.push_back(samples.floats(count, -0.5, 0.5));
      if (count > 0) gradient_values.back()[0] = 0.0f;
      // Squares are positive, and some state is zero as at the first step.
      state_values[0].push_back(samples.floats(count, 0.0, 0.25));
      state_values[1].push_back(samples.floats(count, 0.0, 0.25));
      weight.push_back(std::make_unique<Output<float>>(backend, weight_values.back()));
      gradient.push_back(std::make_unique<Input<float>>(backend, gradient_values.back()));
      for (int s = 0; s < 2; ++s) {
        if (count > 2) state_values[s].back()[1] = 0.0f;
        state[s].push_back(std::make_unique<Output<float>>(backend, state_values[s].back()));
      }
      updates.push_back({weight.back()->data(), *gradient.back(),
                         states > 0 ? state[0].back()->data() : nullptr,
                         states > 1 ? state[1].back()->data() : nullptr, count});
    }
  }

  std::vector<std::vector<float>> weight_values, gradient_values, state_values[2];
  std::vector<std::unique_ptr<Output<float>>> weight, state[2];
  std::vector<std::unique_ptr<Input<float>>> gradient;
  std::vector<ParameterUpdate> updates;
};

// A pace in the backend's memory for one call.
class DevicePace {
 public:
  DevicePace(Backend& backend, const Pace& pace)
      : backend_(backend), block_(static_cast<Pace*>(backend.allocate(sizeof(Pace)))) {
    backend.upload(block_, &pace, sizeof(Pace));
  }
  ~DevicePace() { backend_.deallocate(block_, sizeof(Pace)); }
  DevicePace(const DevicePace&) = delete;
  DevicePace& operator=(const DevicePace&) = delete;
  operator const Pace*() const { return block_; }

 private:
  Backend& backend_;
  Pace* block_;
};

// One weight with its gradient (weight decay included) and states; beside each value the sum of the
// magnitudes of the terms that made it, to which rounding is relative.
struct Element {
  double w, g, first, second;
  double g_size = 0, step_size = 0, first_size = 0, second_size = 0;
};
// The formula of a rule, for one element.
using Formula = std::function<void(Element&)>;

void check_update(const std::string& what, Parameters& all, int states, double weight_decay,
                  const Formula& formula, Report& report) {
  for (size_t p = 0; p < all.updates.size(); ++p) {
    std::vector<float> now[3] = {all.weight[p]->take(report, what), all.state[0][p]->take(report, what),
                                 all.state[1][p]->take(report, what)};
    Values expected[3], tolerance[3];
    for (size_t i = 0; i < all.weight_values[p].size(); ++i) {
      Element e{static_cast<double>(all.weight_values[p][i]), static_cast<double>(all.gradient_values[p][i]),
                static_cast<double>(all.state_values[0][p][i]),
                static_cast<double>(all.state_values[1][p][i])};
      e.g_size = std::fabs(e.g) + std::fabs(weight_decay * e.w);
      e.g += weight_decay * e.w;
      formula(e);
      expected[0].push_back(e.w);
      expected[1].push_back(e.first);
      expected[2].push_back(e.second);
      tolerance[0].push_back(kRounding * (std::fabs(e.w) + 8.0 * e.step_size) + kSmallest);
      tolerance[1].push_back(4.0 * kRounding * e.first_size + kSmallest);
      tolerance[2].push_back(4.0 * kRounding * e.second_size + kSmallest);
    }
    for (int k = 0; k <= states; ++k)
      report.compare(fmt::format("{} [{}]", what, k), now[k], expected[k], tolerance[k]);
    // The next step starts from what the backend holds.
    all.weight_values[p] = now[0];
    for (int s = 0; s < states; ++s) all.state_values[s][p] = now[s + 1];
  }
}

// numerator / (sqrt(squares) + epsilon) times the rate, for the adaptive rules.
void adaptive_step(Element& e, float rate, float epsilon, double numerator, double numerator_size,
                   double squares, double squares_size) {
  const double scale = static_cast<double>(rate) / (std::sqrt(squares) + static_cast<double>(epsilon));
  e.w -= scale * numerator;
  e.step_size = scale * numerator_size;
  if (squares > 0.0) e.step_size += scale * std::fabs(numerator) * squares_size / squares;
}

void sgd_formula(Element& e, const Sgd& rule, const Pace& pace) {
  const auto mu = static_cast<double>(rule.momentum), rate = static_cast<double>(pace.rate);
  if (rule.momentum > 0.0f) {
    e.first_size = std::fabs(mu * e.first) + e.g_size;
    e.first = mu * e.first + e.g;
  }
  const double v = rule.nesterov ? e.g + mu * e.first : rule.momentum > 0.0f ? e.first : e.g;
  e.w -= rate * v;
  e.step_size = rate * (e.g_size + e.first_size);
}

// The textbook's form, with the step t and the rate: the pace that the backend gets is made from them.
void adam_formula(Element& e, const Adam& rule, int64_t step, float rate) {
  const auto b1 = static_cast<double>(rule.beta1), b2 = static_cast<double>(rule.beta2);
  const auto t = static_cast<double>(step);
  e.first_size = b1 * std::fabs(e.first) + (1.0 - b1) * e.g_size;
  e.second_size = b2 * e.second + (1.0 - b2) * e.g_size * e.g_size;
  e.first = b1 * e.first + (1.0 - b1) * e.g;
  e.second = b2 * e.second + (1.0 - b2) * e.g * e.g;
  const double c1 = 1.0 - std::pow(b1, t), c2 = 1.0 - std::pow(b2, t);
  adaptive_step(e, rate, rule.epsilon, e.first / c1, e.first_size / c1, e.second / c2, e.second_size / c2);
}

void rmsprop_formula(Element& e, const RmsProp& rule, const Pace& pace) {
  const auto keep = static_cast<double>(rule.decay);
  e.first_size = keep * e.first + (1.0 - keep) * e.g_size * e.g_size;
  e.first = keep * e.first + (1.0 - keep) * e.g * e.g;
  adaptive_step(e, pace.rate, rule.epsilon, e.g, e.g_size, e.first, e.first_size);
}

void adagrad_formula(Element& e, const Adagrad& rule, const Pace& pace) {
  e.first_size = e.first + e.g_size * e.g_size;
  e.first += e.g * e.g;
  adaptive_step(e, pace.rate, rule.epsilon, e.g, e.g_size, e.first, e.first_size);
}

}  // namespace

Report check_sgd(Backend& backend) {
  Report report;
  Samples samples(121);
  const Sgd rules[] = {{}, {0.0f, 0.01f}, {0.9f}, {0.9f, 0.01f}, {0.9f, 0.0f, true}, {0.9f, 0.01f, true}};
  for (const Sgd& rule : rules) {
    const int states = rule.momentum > 0.0f ? 1 : 0;
    const std::string what =
        fmt::format("sgd momentum {} decay {} nesterov {}", rule.momentum, rule.weight_decay, rule.nesterov);
    Parameters all(backend, states, samples);
    for (int t = 0; t < 3; ++t) {
      const Pace pace{0.1f / static_cast<float>(t + 1)};
      backend.sgd(all.updates, rule, DevicePace(backend, pace));
      check_update(
          what, all, states, static_cast<double>(rule.weight_decay),
          [&](Element& e) { sgd_formula(e, rule, pace); }, report);
    }
  }
  return report;
}

Report check_adam(Backend& backend) {
  Report report;
  Samples samples(122);
  for (const float decay : {0.0f, 0.02f}) {
    for (const int64_t first : {1, 2, 100000}) {
      Parameters all(backend, 2, samples);
      for (int64_t t = first; t < first + 3; ++t) {
        const Adam rule{.weight_decay = decay};
        constexpr float kRate = 0.01f;
        const double step = static_cast<double>(t);
        const Pace pace{
            static_cast<float>(kRate / (1.0 - std::pow(static_cast<double>(rule.beta1), step))),
            static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(static_cast<double>(rule.beta2), step)))};
        const std::string what = fmt::format("adam step {} decay {}", t, decay);
        backend.adam(all.updates, rule, DevicePace(backend, pace));
        check_update(
            what, all, 2, static_cast<double>(decay), [&](Element& e) { adam_formula(e, rule, t, kRate); },
            report);
      }
    }
  }
  return report;
}

Report check_rmsprop(Backend& backend) {
  Report report;
  Samples samples(123);
  for (const float decay : {0.0f, 0.02f}) {
    const RmsProp rule{.weight_decay = decay};
    const Pace pace{0.01f};
    const std::string what = fmt::format("rmsprop decay {}", decay);
    Parameters all(backend, 1, samples);
    for (int t = 0; t < 3; ++t) {
      backend.rmsprop(all.updates, rule, DevicePace(backend, pace));
      check_update(
          what, all, 1, static_cast<double>(decay), [&](Element& e) { rmsprop_formula(e, rule, pace); },
          report);
    }
  }
  return report;
}

Report check_adagrad(Backend& backend) {
  Report report;
  Samples samples(124);
  for (const float decay : {0.0f, 0.02f}) {
    const Adagrad rule{.weight_decay = decay};
    const Pace pace{0.05f};
    const std::string what = fmt::format("adagrad decay {}", decay);
    Parameters all(backend, 1, samples);
    for (int t = 0; t < 3; ++t) {
      backend.adagrad(all.updates, rule, DevicePace(backend, pace));
      check_update(
          what, all, 1, static_cast<double>(decay), [&](Element& e) { adagrad_formula(e, rule, pace); },
          report);
    }
  }
  return report;
}

}  // namespace caltrop::test
