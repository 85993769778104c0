// Every method of Backend, on every backend present, against loops over doubles.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <set>
#include <string>

#include "tests/kernels/checks.h"

namespace caltrop::test {
namespace {

void check_parity(bool (*wanted)(const std::string& method)) {
  for_each_backend([&](Backend& backend) {
    for (const Check& check : all_checks()) {
      if (!wanted(check.method)) continue;
      if (check.run == check_memory && check.method != "allocate") continue;  // the same function
      const Report report = check.run(backend);
      CHECK_MESSAGE(report.passed(), check.method, ": ", report.failure());
    }
  });
}

TEST_SUITE("kernels") {
  TEST_CASE("backends") {
    int present = 0;
    for (const TestedBackend& tested : asked_backends()) {
      fmt::print("{:<5} kernels on {:<12} {}\n", tested.absent.empty() ? "RUN" : "SKIP", tested.name,
                 tested.absent);
      present += tested.absent.empty();
    }
    CHECK(present >= 1);
  }

  TEST_CASE("every method of the contract has a check") {
    std::set<std::string> checked;
    for (const Check& check : all_checks()) checked.insert(check.method);
    const std::set<std::string> methods = methods_of_contract();
    CHECK(methods.size() >= 37);
    for (const std::string& method : methods)
      CHECK_MESSAGE(checked.count(method), "no check for Backend::", method);
    for (const std::string& method : checked)
      CHECK_MESSAGE(methods.count(method), "not in backend.h: ", method);
  }

  // In two, of about the same time, so that two processes can share them.
  TEST_CASE("parity of convolutions with loops over doubles") {
    check_parity([](const std::string& method) { return method.starts_with("conv"); });
  }
  TEST_CASE("parity of all else with loops over doubles") {
    check_parity([](const std::string& method) { return !method.starts_with("conv"); });
  }
}

}  // namespace
}  // namespace caltrop::test
