// Every public op of engine/ops.h: its values, its gradient and its Hessian against finite differences of a
// plain definition over doubles. Prints a table of the worst errors. An op without a case fails the suite.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "engine/autograd.h"
#include "kernels/devices.h"
#include "kernels/emulation/emulation.h"
#include "tests/declarations.h"
#include "tests/engine/op_cases.h"

namespace caltrop::test {
namespace {

Backend* chosen_backend = &cpu_backend();

std::vector<OpCase> all_cases() {
  std::vector<OpCase> all;
  for (const auto& part : {elementwise_cases(), shape_cases(), image_cases(), block_cases(), loss_cases()}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

// "Tensor sum(const Tensor& x, const std::vector<int>& axes, bool keep = false)" ->
// "sum(Tensor,vector<int>,bool)"
std::string signature(const std::string& declaration) {
  const size_t open = declaration.find('('), close = declaration.rfind(')');
  std::string types;
  std::istringstream parameters(declaration.substr(open + 1, close - open - 1));
  for (std::string parameter; std::getline(parameters, parameter, ',');) {
    std::istringstream words(parameter);
    std::string word;
    while (words >> word && word == "const") continue;
    if (word.starts_with("std::")) word = word.substr(5);
    if (word.ends_with('&')) word.pop_back();
    types += (types.empty() ? "" : ",") + word;
  }
  return declared_name(declaration) + "(" + types + ")";
}

// Relative to the largest element, with a floor so that an exact zero is no excuse.
double relative_error(const std::vector<float>& actual, const Values& expected) {
  if (actual.size() != expected.size()) return HUGE_VAL;
  double error = 0.0, scale = 1e-2;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(actual[i]) - expected[i]);
    if (!(difference <= HUGE_VAL)) return HUGE_VAL;  // NaN
    error = std::max(error, difference);
    scale = std::max(scale, std::fabs(expected[i]));
  }
  return error / scale;
}

// One place to evaluate a case at: inputs, a direction for the Hessian, and weights that make one number of
// y.
struct Point {
  std::vector<std::vector<float>> inputs, direction;
  std::vector<float> weights;
};

Inputs widen_all(const std::vector<std::vector<float>>& values) {
  Inputs wide;
  for (const std::vector<float>& v : values) wide.push_back(reference::widen(v));
  return wide;
}

std::vector<std::vector<float>> draw_inputs(const OpCase& c, Samples& samples) {
  std::vector<std::vector<float>> inputs;
  for (size_t k = 0; k < c.shapes.size(); ++k) {
    const Range range = k < c.ranges.size() ? c.ranges[k] : Range();
    inputs.push_back(samples.floats(element_count(c.shapes[k]), range.low, range.high));
  }
  if (!c.distinct) return inputs;
  std::vector<float*> places;
  for (std::vector<float>& values : inputs) {
    for (float& v : values) places.push_back(&v);
  }
  for (size_t i = places.size(); i > 1; --i)
    std::swap(places[i - 1], places[static_cast<size_t>(samples.below(static_cast<int64_t>(i)))]);
  for (size_t i = 0; i < places.size(); ++i) {
    *places[i] = static_cast<float>(-2.0 + 4.0 * (static_cast<double>(i) + samples.uniform(0.2, 0.8)) /
                                               static_cast<double>(places.size()));
  }
  return inputs;
}

Point draw_point(const OpCase& c, Samples& samples) {
  Point point;
  for (int attempt = 0; attempt < 1000; ++attempt) {
    point.inputs = draw_inputs(c, samples);
    if (!c.kink || c.kink(widen_all(point.inputs)) >= c.margin) break;
    REQUIRE_MESSAGE(attempt < 999, c.op, " ", c.variant, ": no sample away from a kink");
  }
  for (const std::vector<float>& values : point.inputs)
    point.direction.push_back(samples.floats(static_cast<int64_t>(values.size())));
  const size_t outputs = c.reference(widen_all(point.inputs)).size();
  point.weights = samples.floats(static_cast<int64_t>(outputs), 0.2, 1.0);
  for (float& w : point.weights) w = samples.below(2) == 0 ? w : -w;
  return point;
}

// The number that is differentiated: first order, sum w y; second order, sum w (y + y^2 / 2), which bends
// even where the op is linear.
double number(const OpCase& c, const Point& point, const Inputs& at, bool bent) {
  const Values y = c.reference(at);
  double total = 0.0;
  for (size_t i = 0; i < y.size(); ++i)
    total += static_cast<double>(point.weights[i]) * (y[i] + (bent ? 0.5 * y[i] * y[i] : 0.0));
  return total;
}

// f'(0), with an error of order h^4.
template <typename F>
double derivative(double h, const F& f) {
  return (8.0 * (f(h) - f(-h)) - (f(2.0 * h) - f(-2.0 * h))) / (12.0 * h);
}

template <typename F>
Inputs for_each_input(const Inputs& at, const F& f) {
  Inputs result = at, moved = at;
  for (size_t k = 0; k < at.size(); ++k) {
    for (size_t i = 0; i < at[k].size(); ++i) {
      result[k][i] = f(moved, moved[k][i]);
      moved[k][i] = at[k][i];
    }
  }
  return result;
}

Inputs expected_gradient(const OpCase& c, const Point& point) {
  const Inputs at = widen_all(point.inputs);
  return for_each_input(at, [&](Inputs& moved, double& x) {
    const double center = x;
    return derivative(c.step, [&](double h) {
      x = center + h;
      return number(c, point, moved, false);
    });
  });
}

// H u: the derivative in each coordinate of the derivative along u.
Inputs expected_curvature(const OpCase& c, const Point& point) {
  const Inputs at = widen_all(point.inputs), direction = widen_all(point.direction);
  return for_each_input(at, [&](Inputs& moved, double& x) {
    const double center = x;
    return derivative(c.step, [&](double h) {
      x = center + h;
      return derivative(c.step, [&](double t) {
        Inputs along = moved;
        for (size_t k = 0; k < along.size(); ++k) {
          for (size_t i = 0; i < along[k].size(); ++i) along[k][i] += t * direction[k][i];
        }
        return number(c, point, along, true);
      });
    });
  });
}

struct Errors {
  double value = 0, first = 0, second = 0;
  bool tracked = false;
  void take(const Errors& other) {
    value = std::max(value, other.value);
    first = std::max(first, other.first);
    second = std::max(second, other.second);
  }
};

double worst(const std::vector<Tensor>& actual, const Inputs& expected) {
  double error = 0.0;
  for (size_t k = 0; k < expected.size(); ++k)
    error = std::max(error, relative_error(actual[k].to_host(), expected[k]));
  return error;
}

Errors check_at(const OpCase& c, const Point& point) {
  Backend& backend = case_backend();
  Tensors x, u;
  for (size_t k = 0; k < c.shapes.size(); ++k) {
    x.push_back(variable(Tensor::from(backend, c.shapes[k], point.inputs[k])));
    u.push_back(Tensor::from(backend, c.shapes[k], point.direction[k]));
  }
  const Tensor y = c.run(x);
  Errors errors;
  errors.tracked = y.tracked();
  errors.value = relative_error(y.to_host(), c.reference(widen_all(point.inputs)));
  if (!c.differentiable) return errors;

  const Tensor weights = Tensor::from(backend, y.shape(), point.weights);
  const Inputs gradient = expected_gradient(c, point);
  errors.first = std::max(worst(grad({y}, x, {.grad_outputs = {weights}}), gradient),
                          worst(grad({y}, x, {.create_graph = true, .grad_outputs = {weights}}), gradient));

  const Tensor bent = sum(weights * (y + square(y) * 0.5f));
  const std::vector<Tensor> slopes = grad({bent}, x, {.create_graph = true});
  Tensor along = Tensor::zeros(backend, {});
  for (size_t k = 0; k < x.size(); ++k) along = along + sum(slopes[k] * u[k]);
  errors.second = worst(grad({along}, x), expected_curvature(c, point));
  return errors;
}

Errors check_case(const OpCase& c, int points = 2) {
  uint64_t seed = 1;
  for (const char letter : c.op + c.variant) seed = seed * 31 + static_cast<unsigned char>(letter);
  Samples samples(seed);
  Errors errors;
  for (int i = 0; i < points; ++i) {
    const Errors here = check_at(c, draw_point(c, samples));
    errors.take(here);
    errors.tracked = here.tracked;
  }
  return errors;
}

bool acceptable(const OpCase& c, const Errors& e) {
  return e.value <= c.value_tolerance && e.first <= c.first_tolerance && e.second <= c.second_tolerance &&
         e.tracked == c.differentiable;
}

// A case whose op has the right values and a vjp that is wrong: gradients times `factor`, or of another kind.
OpCase mutant_of(const OpCase& c, const std::function<Tensor(const Tensor&)>& corrupt) {
  OpCase wrong = c;
  wrong.run = [c, corrupt](const Tensors& x) {
    const Tensor y = c.run(x);
    return record("mutant", y.detach(), {y},
                  [corrupt](const Tensor& g, const Needs&) { return std::vector<Tensor>{corrupt(g)}; });
  };
  return wrong;
}

TEST_SUITE("engine") {
  TEST_CASE("gradients of every op") {
    std::map<std::string, Errors> worst_of;
    std::map<std::string, int> cases_of;
    for (const OpCase& c : all_cases()) {
      const Errors e = check_case(c);
      CHECK_MESSAGE(acceptable(c, e), c.op, " ", c.variant, ": value ", e.value, " first ", e.first,
                    " second ", e.second, " tracked ", e.tracked);
      worst_of[c.op].take(e);
      worst_of[c.op].tracked = e.tracked;
      ++cases_of[c.op];
    }
    fmt::print("\n{:<54} {:>5} {:>9} {:>12} {:>13}\n", "op: worst error relative to its largest element",
               "cases", "value", "first order", "second order");
    Errors all;
    for (const auto& entry : worst_of) {
      const std::string& op = entry.first;
      const Errors& e = entry.second;
      all.take(e);
      const auto text = [&](double error) {
        return e.tracked ? fmt::format("{:.1e}", error) : std::string("none");
      };
      fmt::print("{:<54} {:>5} {:>9.1e} {:>12} {:>13}\n", op, cases_of[op], e.value, text(e.first),
                 text(e.second));
    }
    fmt::print("{:<54} {:>5} {:>9.1e} {:>12.1e} {:>13.1e}\n\n", "worst of all", "", all.value, all.first,
               all.second);
  }

  TEST_CASE("gradients of every op on the kernels for GPUs") {
    struct Device {
      std::string name, absent;
      Backend* backend;
    };
    const DeviceState cuda = cuda_state();
    const bool ready = cuda == DeviceState::ready;
    const std::string absent = ready ? "" : cuda == DeviceState::no_device ? "no device" : "not built";
    emu::set_schedule({emu::Order::shuffled, true});
    for (const Device& device : {Device{"emulated", "", &emulated_backend()},
                                 Device{"cuda", absent, ready ? &cuda_backend() : nullptr}}) {
      if (!device.backend) {
        fmt::print("SKIP  ops on {:<9} {}\n", device.name, device.absent);
        continue;
      }
      chosen_backend = device.backend;
      INFO("backend ", device.name);
      Errors all;
      int cases = 0;
      for (const OpCase& c : all_cases()) {
        const Errors e = check_case(c);
        CHECK_MESSAGE(acceptable(c, e), c.op, " ", c.variant, ": value ", e.value, " first ", e.first,
                      " second ", e.second, " tracked ", e.tracked);
        all.take(e);
        ++cases;
      }
      fmt::print(
          "RUN   ops on {:<9} {} cases, worst error: value {:.1e}, first order {:.1e}, second order {:.1e}\n",
          device.name, cases, all.value, all.first, all.second);
    }
    chosen_backend = &cpu_backend();
  }

  TEST_CASE("every op of ops.h has a case") {
    std::set<std::string> tested, declared;
    for (const OpCase& c : all_cases()) tested.insert(c.op);
    for (const std::string& declaration : declarations(CALTROP_SOURCE_DIR "/engine/ops.h")) {
      if (declaration.find("operator==") != std::string::npos) continue;  // of options
      declared.insert(signature(declaration));
    }
    CHECK(declared.size() >= 60);
    for (const std::string& op : declared) CHECK_MESSAGE(tested.count(op), "no case for ", op);
    for (const std::string& op : tested) CHECK_MESSAGE(declared.count(op), "not in ops.h: ", op);
  }

  TEST_CASE("wrong gradients are rejected") {
    int rejected = 0;
    for (const OpCase& c : all_cases()) {
      if (!c.differentiable) continue;
      const auto scaled = [](const Tensor& g) {
        return g * 0.3f;
      };
      const auto nudged = [](const Tensor& g) {
        return g * 1.001f;
      };
      const auto untracked = [](const Tensor& g) {
        return g.detach();
      };  // right at first order, not at second
      for (const auto& corrupt :
           std::vector<std::function<Tensor(const Tensor&)>>{scaled, nudged, untracked}) {
        const OpCase wrong = mutant_of(c, corrupt);
        CHECK_MESSAGE(!acceptable(wrong, check_case(wrong, 1)), "accepted: ", c.op, " ", c.variant);
        ++rejected;
      }
    }
    CHECK(rejected > 200);
  }

  TEST_CASE("the third derivative of gelu") {
    std::vector<float> points;
    for (int i = -60; i <= 60; ++i) points.push_back(static_cast<float>(i) * 0.1f + 0.03f);
    const Tensor x = variable(Tensor::from(cpu_backend(), {static_cast<int64_t>(points.size())}, points));
    Tensor y = gelu(x);
    for (int order = 0; order < 3; ++order) y = grad(y, x, {.create_graph = true});
    Values expected;
    for (const double p : reference::widen(points))
      expected.push_back(reference::normal_pdf(p) * (p * p * p - 4.0 * p));
    CHECK(relative_error(y.to_host(), expected) <= 3e-6);
  }
}

}  // namespace

Backend& case_backend() {
  return *chosen_backend;
}

}  // namespace caltrop::test
