// Every method of Backend, on every backend present, against loops over doubles.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "tests/declarations.h"
#include "tests/kernels/checks.h"

namespace caltrop::test {

const std::vector<Check>& all_checks() {
  static const std::vector<Check> checks = {
      {"allocate", check_memory},
      {"deallocate", check_memory},
      {"upload", check_memory},
      {"download", check_memory},
      {"copy", check_memory},
      {"for_each", check_for_each},
      {"fill", check_fill},
      {"unary", check_unary},
      {"binary", check_binary},
      {"sum", check_sum},
      {"permute", check_permute},
      {"matmul", check_matmul},
      {"conv2d", check_conv2d},
      {"conv2d_dinput", check_conv2d_dinput},
      {"conv2d_dweight", check_conv2d_dweight},
      {"maxpool", check_maxpool},
      {"maxpool_scatter", check_maxpool_scatter},
      {"maxpool_gather", check_maxpool_gather},
      {"avgpool", check_avgpool},
      {"avgpool_adjoint", check_avgpool_adjoint},
      {"conv_block", check_conv_block},
      {"conv_block_dinput", check_conv_block_dinput},
      {"conv_block_dweight", check_conv_block_dweight},
      {"softmax", check_softmax},
      {"log_softmax", check_log_softmax},
      {"cross_entropy", check_cross_entropy},
      {"cross_entropy_seed", check_cross_entropy_seed},
      {"argmax", check_argmax},
      {"one_hot", check_one_hot},
      {"random", check_random},
      {"gather_images", check_gather_images},
      {"attack_step", check_attack_step},
      {"row_stats", check_row_stats},
      {"sgd", check_sgd},
      {"adam", check_adam},
      {"rmsprop", check_rmsprop},
      {"adagrad", check_adagrad},
  };
  return checks;
}

Report run_check(const std::string& method, Backend& backend) {
  const auto found = std::find_if(all_checks().begin(), all_checks().end(),
                                  [&](const Check& check) { return check.method == method; });
  REQUIRE_MESSAGE(found != all_checks().end(), "no check for ", method);
  return found->run(backend);
}

namespace {

std::set<std::string> methods_of_contract() {
  std::set<std::string> methods;
  for (const std::string& declaration : declarations(CALTROP_SOURCE_DIR "/kernels/backend.h")) {
    if (declaration.starts_with("virtual ")) methods.insert(declared_name(declaration));
  }
  methods.erase("name");  // texts for people
  methods.erase("description");
  return methods;
}

TEST_SUITE("kernels") {
  TEST_CASE("lanes") {
    int present = 0;
    for (const Lane& lane : all_lanes()) {
      fmt::print("{:<5} kernels on {:<12} {}\n", lane.absent.empty() ? "RUN" : "SKIP", lane.name,
                 lane.absent);
      present += lane.absent.empty();
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

  TEST_CASE("parity with loops over doubles") {
    for_each_lane([](Backend& backend) {
      for (const Check& check : all_checks()) {
        if (check.run == check_memory && check.method != "allocate") continue;  // the same function
        const Report report = check.run(backend);
        CHECK_MESSAGE(report.passed(), check.method, ": ", report.failure());
      }
    });
  }
}

}  // namespace
}  // namespace caltrop::test
