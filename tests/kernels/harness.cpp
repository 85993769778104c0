#include "tests/kernels/harness.h"

#include <doctest/doctest.h>

#include <cstdlib>

#include "kernels/emulation/emulation.h"

namespace caltrop::test {

void Report::fail_with(const std::string& text) {
  if (failure_.empty()) failure_ = text;
}

void Report::expect(bool right, const std::string& what) {
  ++compared_;
  if (!right) fail_with(what);
}

void Report::compare(const std::string& what, std::span<const float> actual, const Values& expected,
                     const Values& tolerance) {
  expect(actual.size() == expected.size() && expected.size() == tolerance.size(), what + ": sizes differ");
  if (!passed()) return;
  for (size_t i = 0; i < expected.size(); ++i) {
    ++compared_;
    const auto value = static_cast<double>(actual[i]);
    if (value == expected[i] || (std::isnan(value) && std::isnan(expected[i]))) continue;
    const double error = std::fabs(value - expected[i]);
    if (!(error <= tolerance[i])) {
      fail_with(fmt::format("{}[{}]: expected {:.9g}, got {:.9g}, error {:.3g} > {:.3g}", what, i,
                            expected[i], value, error, tolerance[i]));
    } else {
      worst_ = std::max(worst_, error / tolerance[i]);
    }
  }
}

void Report::compare(const std::string& what, std::span<const float> actual, const Values& expected,
                     double tolerance) {
  compare(what, actual, expected, Values(expected.size(), tolerance));
}

void Report::compare_sums(const std::string& what, std::span<const float> actual, const Values& expected,
                          const Values& scale, double terms) {
  // The rounding errors of a sum walk at random: sqrt(terms) of them, and a few for products and the result.
  // The proven bound, terms * 2^-24 * scale, would let reduced precision pass (TF32 errs by 2^-11 in each
  // product).
  const double roundings = 4.0 + 2.0 * std::sqrt(terms);
  Values tolerance(scale);
  for (double& t : tolerance) t = roundings * kRounding * t + kSmallest;
  compare(what, actual, expected, tolerance);
}

std::vector<TestedBackend> emulated_backends() {
  struct Emulated {
    std::string name;
    emu::Schedule schedule;
    bool aligned;
  };
  std::vector<TestedBackend> backends;
  for (const Emulated& tested : {Emulated{"forward", {emu::Order::forward, true}, false},
                               Emulated{"reverse", {emu::Order::reverse, false}, true},
                               Emulated{"shuffled", {emu::Order::shuffled, true}, false}}) {
    backends.push_back({"emulated/" + tested.name, "", &emulated_backend(), [tested] {
                       emu::set_schedule(tested.schedule);
                       aligned_arrays = tested.aligned;
                     }});
  }
  return backends;
}

std::vector<TestedBackend> asked_backends() {
  std::vector<TestedBackend> backends = all_backends();
  const char* asked = std::getenv("CALTROP_TEST_BACKEND");
  if (asked == nullptr || *asked == 0) return backends;
  for (TestedBackend& tested : backends) {
    if (!tested.name.starts_with(asked)) tested.absent = "left out: CALTROP_TEST_BACKEND is " + std::string(asked);
  }
  return backends;
}

void for_each_backend(const std::function<void(Backend&)>& body) {
  for (const TestedBackend& tested : asked_backends()) {
    if (!tested.absent.empty()) continue;
    INFO("backend ", tested.name);
    tested.enter();
    body(*tested.backend);
    if (tested.leave) tested.leave();
    aligned_arrays = false;
  }
}

}  // namespace caltrop::test
