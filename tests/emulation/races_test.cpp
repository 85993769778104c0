// The whole suite under the access checker, and what it covers: every kernel must have been launched.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <map>
#include <set>

#include "kernels/emulation/coverage.h"
#include "tests/emulation/part_runs.h"

namespace caltrop::test {
namespace {

const std::vector<PartRun>& suite_runs() {
  static const std::vector<PartRun> runs = run_parts(true);
  return runs;
}

std::map<std::pair<std::string, std::string>, int64_t> launches() {
  std::map<std::pair<std::string, std::string>, int64_t> all;
  for (const PartRun& run : suite_runs()) {
    for (const LaunchedKernel& kernel : run.kernels) all[{kernel.file, kernel.name}] += kernel.launches;
  }
  return all;
}

TEST_SUITE("emulation") {
  TEST_CASE("no kernel races") {
    int64_t accesses = 0;
    for (const PartRun& run : suite_runs()) {
      CHECK_MESSAGE(run.failure.empty(), run.part->name, ": ", run.failure);
      accesses += run.accesses;
    }
    CHECK(accesses > 1'000'000);
  }

  TEST_CASE("every kernel was launched") {
    std::set<std::pair<std::string, std::string>> launched;
    for (const auto& [kernel, times] : launches()) launched.insert({kernel.first, plain_name(kernel.second)});
    for (const KernelSource& kernel : kernels_in_sources()) {
      CHECK_MESSAGE(launched.count({kernel.file, kernel.name}), kernel.file, ": no test launches ",
                    kernel.name);
    }
  }

  TEST_CASE("what the suite covers") {
    int64_t times = 0, compared = 0, accesses = 0;
    for (const auto& [kernel, count] : launches()) times += count;
    for (const PartRun& run : suite_runs()) {
      compared += run.compared;
      accesses += run.accesses;
      if (run.seconds > 10) fmt::print("SLOW {}: {:.0f} s\n", run.part->name, run.seconds);
    }
    const emu::LineCoverage lines = emu::line_coverage();
    fmt::print("COVERED {} ops and ladder versions, {} launches, {} values compared, {} accesses checked\n",
               suite_runs().size(), times, compared, accesses);
    fmt::print("COVERED {} kernels in {} instantiations, {} of {} lines that begin a basic block\n",
               kernels_in_sources().size(), launches().size(), lines.run.size(), lines.all.size());
    for (const emu::SourceLine& line : lines.all) {
      if (!lines.run.count(line)) fmt::print("NOT RUN {}\n", line.text());
    }
    CHECK(launches().size() >= kernels_in_sources().size());
  }
}

}  // namespace
}  // namespace caltrop::test
