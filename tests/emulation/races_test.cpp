// The whole suite under the access checker, and what it covers: every kernel must have been launched.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <map>
#include <set>

#include "kernels/emulation/check.h"
#include "kernels/emulation/coverage.h"
#include "kernels/emulation/emulation.h"
#include "kernels/error.h"
#include "tests/emulation/suite.h"
#include "tests/kernels/harness.h"

namespace caltrop::test {
namespace {

struct Run {
  emu::Coverage coverage;
  std::map<std::string, std::string> failures;  // of parts
  int64_t compared = 0, accesses = 0;
};

void run_part(const SuitePart& part, Run& run) {
  try {
    const SuiteResult result = part.run();
    run.compared += result.compared;
    if (!result.failure.empty()) run.failures[part.name] = result.failure;
  } catch (const Error& error) {
    run.failures[part.name] = error.what();
  }
}

// Once for all test cases.
const Run& suite_run() {
  static const Run& the_run = []() -> const Run& {
    static Run run;
    emu::AccessChecker checker(emu::AccessChecker::Mode::fail);
    emu::watch({&checker, &run.coverage});
    // The order of threads plays no part in what the checker says, but kernels read aligned arrays in another
    // way than others.
    for (const bool aligned : {false, true}) {
      aligned_arrays = aligned;
      emu::set_schedule({aligned ? emu::Order::reverse : emu::Order::forward, aligned});
      for (const SuitePart& part : suite_parts()) run_part(part, run);
    }
    aligned_arrays = false;
    emu::watch({});
    run.accesses = checker.accesses();
    return run;
  }();
  return the_run;
}

TEST_SUITE("emulation") {
  TEST_CASE("no kernel races") {
    const Run& run = suite_run();
    for (const auto& [part, failure] : run.failures) FAIL_CHECK(part, ": ", failure);
    CHECK(run.accesses > 1'000'000);
  }

  TEST_CASE("every kernel was launched") {
    std::set<std::string> launched;
    for (const auto& [kernel, launches] : suite_run().coverage.kernels()) launched.insert(plain_name(kernel));
    for (const KernelSource& kernel : kernels_in_sources()) {
      CHECK_MESSAGE(launched.count(kernel.name), kernel.file, ": no test launches ", kernel.name);
    }
  }

  TEST_CASE("what the suite covers") {
    const Run& run = suite_run();
    const auto kernels = run.coverage.kernels();
    int64_t launches = 0;
    std::set<std::string> plain;
    for (const auto& [kernel, times] : kernels) {
      launches += times;
      plain.insert(plain_name(kernel));
    }
    const emu::LineCoverage lines = emu::line_coverage();
    fmt::print("COVERED {} ops and ladder versions, {} launches, {} values compared, {} accesses checked\n",
               suite_parts().size(), launches, run.compared, run.accesses);
    fmt::print("COVERED {} of {} kernels in {} instantiations, {} of {} lines that begin a basic block\n",
               plain.size(), kernels_in_sources().size(), kernels.size(), lines.run.size(), lines.all.size());
    for (const emu::SourceLine& line : lines.all) {
      if (!lines.run.count(line)) fmt::print("NOT RUN {}\n", line.text());
    }
    CHECK(plain.size() >= kernels_in_sources().size());
  }
}

}  // namespace
}  // namespace caltrop::test
