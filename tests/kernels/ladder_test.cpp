// The kernel ladders: every version against loops over doubles, in each order in which the emulation can run
// threads, and on a GPU where there is one. What `caltrop bench kernels` trusts before it times is put to the
// test as well.
#include <doctest/doctest.h>

#include <fstream>
#include <limits>
#include <sstream>

#include "kernels/emulation/emulation.h"
#include "kernels/error.h"
#include "kernels/ladder/climb.h"
#include "tests/kernels/harness.h"

namespace caltrop::test {
namespace {

constexpr Ladder kLadders[] = {Ladder::matmul, Ladder::conv2d, Ladder::softmax};

// The oracle of the other kernels' tests, independent of the one in kernels/ladder/check.cpp.
void compare_with_reference(const LadderProblem& p, const LadderOperands& in,
                            const std::vector<float>& result, const std::string& what, Report& report) {
  const Values left = reference::widen(in.left), right = reference::widen(in.right);
  if (p.ladder == Ladder::softmax) {
    const Values expected = reference::softmax(p.m, p.n, left);
    Values tolerance;
    for (int64_t r = 0; r < p.m; ++r) {
      double highest = -HUGE_VAL;
      for (int64_t i = 0; i < p.n; ++i) highest = std::max(highest, left[static_cast<size_t>(r * p.n + i)]);
      for (int64_t i = 0; i < p.n; ++i) {
        const auto at = static_cast<size_t>(r * p.n + i);
        const double roundings =
            8.0 + 2.0 * std::sqrt(static_cast<double>(p.n)) + 2.0 * std::min(200.0, highest - left[at]);
        tolerance.push_back(roundings * kRounding * expected[at] + 4 * kSmallest);
      }
    }
    return report.compare(what, result, expected, tolerance);
  }
  if (p.ladder == Ladder::matmul) {
    const auto product = [&](const Values& a, const Values& b) {
      return reference::matmul(false, false, p.m, p.n, p.k, a, b);
    };
    return report.compare_sums(what, result, product(left, right),
                               product(reference::magnitudes(left), reference::magnitudes(right)),
                               static_cast<double>(p.k));
  }
  report.compare_sums(what, result, reference::conv2d(p.conv, left, right),
                      reference::conv2d(p.conv, reference::magnitudes(left), reference::magnitudes(right)),
                      static_cast<double>(p.conv.kh * p.conv.kw * p.conv.cin));
}

// Every edge problem, aligned and not in turn, or both where `thorough`.
void check_lab(Lab& lab, bool thorough) {
  for (const Ladder ladder : kLadders) {
    for (const LadderStep& step : lab.steps(ladder)) {
      Report report;
      LadderCheck check;
      int64_t turn = 0;
      for (const LadderProblem& problem : ladder_edge_problems(ladder)) {
        const LadderOperands operands = ladder_operands(problem, 100 + static_cast<uint64_t>(turn++));
        for (const int64_t shift : {0, 1}) {
          if (!thorough && shift != turn % 2) continue;
          const std::string what =
              fmt::format("{} {}: {} shift {}", step.number, step.technique, problem.text(), shift);
          const std::vector<float> result = lab.run(problem, step.number, operands, shift);
          compare_with_reference(problem, operands, result, what, report);
          check_ladder_result(problem, operands, result, check);
        }
      }
      CHECK_MESSAGE(report.passed(), lab.name(), ": ", report.failure());
      CHECK_MESSAGE(check.passed(), lab.name(), ": ", check.failure);
    }
  }
}

// A laboratory whose results a test spoils.
class Spoiled final : public Lab {
 public:
  using Spoil = std::function<void(std::vector<float>&)>;
  Spoiled(Lab& lab, Spoil spoil) : lab_(lab), spoil_(std::move(spoil)) {}
  std::string name() const override { return lab_.name(); }
  const LabDevice* device() const override { return fast_ ? &*fast_ : nullptr; }
  std::string library(Ladder) const override { return fast_ ? "a library" : ""; }
  std::vector<LadderStep> steps(Ladder ladder) const override { return lab_.steps(ladder); }
  std::vector<float> run(const LadderProblem& problem, int version, const LadderOperands& operands,
                         int64_t shift) override {
    std::vector<float> result = lab_.run(problem, std::max(1, version), operands, shift);
    spoil_(result);
    return result;
  }
  Timing time(const LadderProblem&, int version, const LadderOperands&, int, int) override {
    return {.seconds = {1e-3 * version, 3e-3 * version, 2e-3 * version}, .copies = 4, .launches = 5};
  }
  // From now on it has a speed: a library that runs version 1, and times of its own making.
  void become_fast(const LabDevice& device) { fast_ = device; }

 private:
  Lab& lab_;
  std::optional<LabDevice> fast_;
  Spoil spoil_;
};

TEST_SUITE("ladder") {
  TEST_CASE("every version in the emulation, in each order of threads") {
    const auto lab = emulated_lab();
    REQUIRE(lab);
    const emu::Schedule before = emu::current_schedule();
    for (const emu::Order order : {emu::Order::forward, emu::Order::reverse, emu::Order::shuffled}) {
      CAPTURE(static_cast<int>(order));
      emu::set_schedule({.order = order, .late_copies = order != emu::Order::reverse});
      check_lab(*lab, order == emu::Order::forward);
    }
    emu::set_schedule(before);
  }

  TEST_CASE("every version on the GPU") {
    const auto lab = cuda_lab();
    if (!lab) {
      MESSAGE("SKIP: no GPU, or built without CUDA");
      return;
    }
    check_lab(*lab, true);
    for (const Ladder ladder : kLadders) {
      if (lab->library(ladder).empty()) continue;
      const LadderProblem problem = ladder_edge_problems(ladder)[0];
      const LadderOperands operands = ladder_operands(problem, 1);
      LadderCheck check;
      check_ladder_result(problem, operands, lab->run(problem, 0, operands, 0), check);
      CHECK_MESSAGE(check.passed(), lab->library(ladder), ": ", check.failure);
    }
  }

  TEST_CASE("softmax of logits that overflow, and of rows with a NaN") {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const auto lab = emulated_lab();
    const LadderProblem problem{Ladder::softmax, 4, 36, 0, {}};
    LadderOperands operands = ladder_operands(problem, 5);
    for (size_t i = 0; i < 36; ++i) operands.left[i] = i % 2 == 0 ? 3e38f : -3e38f;
    for (size_t i = 36; i < 72; ++i) operands.left[i] *= 20.0f;
    operands.left[72 + 5] = -kInfinity;
    for (size_t i = 108; i < 144; ++i)
      operands.left[i] = static_cast<float>(i) * 3.0f;  // each the highest so far
    for (const LadderStep& step : lab->steps(Ladder::softmax)) {
      CAPTURE(step.technique);
      Report report;
      compare_with_reference(problem, operands, lab->run(problem, step.number, operands, 0), step.technique,
                             report);
      CHECK_MESSAGE(report.passed(), report.failure());
      LadderOperands spoiled = operands;
      spoiled.left[36 + 35] = std::numeric_limits<float>::quiet_NaN();
      const std::vector<float> result = lab->run(problem, step.number, spoiled, 0);
      for (size_t i = 0; i < 144; ++i) CHECK(std::isnan(result[i]) == (i / 36 == 1));
    }
  }

  TEST_CASE("versions are numbered from 1 and named") {
    const auto lab = emulated_lab();
    for (const Ladder ladder : kLadders) {
      int expected = 1;
      for (const LadderStep& step : lab->steps(ladder)) {
        CHECK(step.number == expected++);
        CHECK(!step.technique.empty());
        CHECK(!step.why.empty());
      }
      CHECK(expected > 6);
    }
  }

  TEST_CASE("the check before a timing rejects wrong results") {
    const auto lab = emulated_lab();
    const std::vector<std::pair<const char*, Spoiled::Spoil>> wrongs = {
        {"a NaN",
         [](auto& y) {
           if (!y.empty()) y.back() = std::numeric_limits<float>::quiet_NaN();
         }},
        {"an element too large by 1e-4",
         [](auto& y) {
           if (!y.empty()) y[0] *= 1.0001f;
         }},
        {"an element missing",
         [](auto& y) {
           if (!y.empty()) y.pop_back();
         }},
        {"the sign",
         [](auto& y) {
           for (float& v : y) v = -v;
         }},
        {"half precision",
         [](auto& y) {
           for (float& v : y) v = v * 2049.0f - v * 2048.0f;
         }},
    };
    for (const Ladder ladder : kLadders) {
      for (const auto& wrong : wrongs) {
        CAPTURE(wrong.first);
        Spoiled spoiled(*lab, wrong.second);
        CHECK(!check_ladder_version(spoiled, ladder, 2).passed());
      }
    }
    CHECK_THROWS_AS(lab->run(ladder_edge_problems(Ladder::matmul)[0], 99, ladder_operands({}, 1), 0), Error);
    CHECK_THROWS_AS(lab->time(ladder_edge_problems(Ladder::matmul)[0], 1, {}, 1, 1), Error);
  }

  TEST_CASE("a climb checks every version, and times those that are right") {
    const auto lab = emulated_lab();
    std::vector<int> begun;
    const auto begins = [&](const LadderStep& step) {
      begun.push_back(step.number);
    };
    const ClimbedLadder checks = climb(*lab, Ladder::softmax, {}, begins);
    REQUIRE(checks.versions.size() == lab->steps(Ladder::softmax).size());
    CHECK(begun.size() == checks.versions.size());
    for (const ClimbedVersion& version : checks.versions) CHECK(version.check.passed());
    CHECK(checks.problems.empty());  // no speed
    CHECK(climb(*lab, Ladder::softmax, {.version = 99}).versions.empty());

    bool wrong = false;
    Spoiled fast(*lab, [&](auto& y) {
      if (wrong && !y.empty()) y[0] = -1;
    });
    LabDevice device;
    device.multiprocessors = 1, device.lanes = 1, device.clock_hz = 5e5;  // 1 MFLOP/s
    device.memory_clock_hz = 4e9, device.bus_bits = 8;                    // 8 GB/s
    fast.become_fast(device);
    const ClimbedLadder climbed = climb(fast, Ladder::softmax, {.version = 2});
    REQUIRE(climbed.versions.size() == 1);
    REQUIRE(!climbed.problems.empty());
    for (const ClimbedProblem& problem : climbed.problems) {
      CHECK(problem.bound == "memory");  // softmax counts no arithmetic
      CHECK(problem.floor_seconds == doctest::Approx(problem.named.problem.bytes() / 8e9));
      REQUIRE(problem.library);
      CHECK(problem.library->step.technique == "a library");
      REQUIRE(problem.times.size() == 1);
      CHECK(problem.times[0].step.number == 2);
      CHECK(problem.times[0].timing.seconds.size() == 3);
      CHECK(problem.times[0].failure.empty());
    }
    wrong = true;
    const ClimbedLadder spoiled = climb(fast, Ladder::softmax, {.version = 2});
    CHECK_FALSE(spoiled.versions[0].check.passed());
    for (const ClimbedProblem& problem : spoiled.problems) {
      CHECK(problem.times.empty());  // a wrong version is not timed
      CHECK(problem.library->timing.seconds.empty());
      CHECK_FALSE(problem.library->failure.empty());
    }
  }

  TEST_CASE("docs/kernels.md names every version") {
    std::ifstream stream(CALTROP_SOURCE_DIR "/docs/kernels.md");
    std::stringstream page;
    page << stream.rdbuf();
    const auto lab = emulated_lab();
    for (const Ladder ladder : kLadders) {
      for (const LadderStep& step : lab->steps(ladder)) {
        CAPTURE(step.technique);
        CHECK(page.str().find(fmt::format("| {} | {} |", step.number, step.technique)) != std::string::npos);
      }
    }
  }
}

}  // namespace
}  // namespace caltrop::test
