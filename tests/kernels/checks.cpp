#include "tests/kernels/checks.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/declarations.h"

namespace caltrop::test {

const std::vector<Check>& all_checks() {
  static const std::vector<Check> checks = {
      {"allocate", check_memory},
      {"deallocate", check_memory},
      {"upload", check_memory},
      {"download", check_memory},
      {"copy", check_memory},
      {"for_each", check_for_each},
      {"capture", check_capture},
      {"chunk", check_chunk},
      {"fill", check_fill},
      {"unary", check_unary},
      {"binary", check_binary},
      {"where", check_where},
      {"sum", check_sum},
      {"permute", check_permute},
      {"matmul", check_matmul},
      {"batch_matmul", check_batch_matmul},
      {"conv2d", check_conv2d},
      {"conv2d_dinput", check_conv2d_dinput},
      {"conv2d_dweight", check_conv2d_dweight},
      {"maxpool", check_maxpool},
      {"maxpool_scatter", check_maxpool_scatter},
      {"maxpool_gather", check_maxpool_gather},
      {"rankpool", check_rankpool},
      {"avgpool", check_avgpool},
      {"avgpool_adjoint", check_avgpool_adjoint},
      {"conv_block", check_conv_block},
      {"conv_blocks", check_conv_blocks},
      {"conv_block_dinput", check_conv_block_dinput},
      {"conv_block_dweight", check_conv_block_dweight},
      {"batch_norm", check_batch_norm},
      {"batch_norm_backward", check_batch_norm_backward},
      {"softmax", check_softmax},
      {"log_softmax", check_log_softmax},
      {"cross_entropy", check_cross_entropy},
      {"cross_entropy_backward", check_cross_entropy_backward},
      {"argmax", check_argmax},
      {"vote", check_vote},
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

std::set<std::string> methods_of_contract() {
  std::set<std::string> methods;
  for (const std::string& declaration : declarations(CALTROP_SOURCE_DIR "/kernels/backend.h")) {
    if (declaration.starts_with("virtual ")) methods.insert(declared_name(declaration));
  }
  methods.erase("name");  // texts for people
  methods.erase("description");
  methods.erase("fuses_convolutions");  // a preference, not an op
  return methods;
}

}  // namespace caltrop::test
