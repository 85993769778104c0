// The access checker finds what it is for, names both lines, and says nothing of kernels without fault.
#include <doctest/doctest.h>

#include <fstream>
#include <set>

#include "kernels/emulation/check.h"
#include "kernels/emulation/emulation.h"
#include "kernels/error.h"
#include "tests/emulation/faulty_kernels.h"
#include "tests/refusal.h"

namespace caltrop::test {
namespace {

using emu::AccessChecker;
using emu::Finding;

// The line of faulty_kernels.cu with the comment "NAME: ... WHICH".
int marked_line(const std::string& name, const std::string& which) {
  std::ifstream stream(CALTROP_SOURCE_DIR "/tests/emulation/faulty_kernels.cu");
  int number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++number;
    const size_t comment = line.find("// "), mark = line.find(" " + name + ": ", comment);
    if (comment == std::string::npos || mark == std::string::npos) continue;
    const std::string words = line.substr(mark, line.find(',', mark) - mark);
    if (words.find(which) != std::string::npos) return number;
  }
  return 0;
}

std::string words_for(Finding::What what) {
  switch (what) {
    case Finding::What::race:
      return "race";
    case Finding::What::between_blocks:
      return "between blocks";
    case Finding::What::uninitialised:
      return "uninitialised";
    case Finding::What::in_flight:
      return "in flight";
  }
  return "";
}

void check_kernel(const FaultyKernel& kernel) {
  AccessChecker checker(AccessChecker::Mode::collect);
  emu::watch({&checker});
  kernel.run();
  emu::watch({});
  CHECK(checker.accesses() > 0);
  if (kernel.fault.empty()) {
    for (const Finding& finding : checker.findings()) FAIL_CHECK(finding.text);
    return;
  }
  bool found = false;
  for (const Finding& finding : checker.findings()) {
    CAPTURE(finding.text);
    CHECK(words_for(finding.what) == kernel.fault);
    // Which of two racing accesses comes first depends on the order.
    std::set<int> lines = {finding.second.line}, marked = {marked_line(kernel.name, "second")};
    if (finding.what != Finding::What::uninitialised) {
      lines.insert(finding.first.line);
      marked.insert(marked_line(kernel.name, "first"));
    }
    CHECK(lines == marked);
    found = true;
  }
  CHECK(found);
}

TEST_SUITE("emulation") {
  TEST_CASE("each fault is found, with its lines, in every order") {
    const emu::Schedule before = emu::current_schedule();
    for (const emu::Order order : {emu::Order::forward, emu::Order::reverse, emu::Order::shuffled}) {
      emu::set_schedule({.order = order, .late_copies = order != emu::Order::forward});
      for (const FaultyKernel& kernel : faulty_kernels()) {
        CAPTURE(kernel.name);
        CAPTURE(static_cast<int>(order));
        check_kernel(kernel);
      }
    }
    emu::set_schedule(before);
  }

  TEST_CASE("a launch with findings ends in an error that names memory, threads and lines") {
    AccessChecker checker(AccessChecker::Mode::fail);
    emu::watch({&checker});
    const std::string text = refusal([] { faulty_kernels().front().run(); });
    emu::watch({});
    CAPTURE(text);
    for (const char* part :
         {"[faulty] race on shared memory tile+", "of block (0,0,0) writes it at faulty_kernels.cu:",
          "reads it at faulty_kernels.cu:", "no __syncthreads() between"}) {
      CHECK(text.find(part) != std::string::npos);
    }
  }
}

}  // namespace
}  // namespace caltrop::test
