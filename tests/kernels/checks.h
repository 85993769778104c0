// One check for each method of Backend: it compares the method with tests/reference.h on many shapes and
// values and reports. A check takes any Backend, so that mutants_test.cpp can show that it rejects wrong
// ones.
#pragma once

#include <set>

#include "tests/kernels/harness.h"

namespace caltrop::test {

struct Check {
  std::string method;  // of Backend
  Report (*run)(Backend& backend);
};
const std::vector<Check>& all_checks();
Report run_check(const std::string& method, Backend& backend);
// The methods of Backend that a suite has to cover, read from kernels/backend.h.
std::set<std::string> methods_of_contract();

Report check_memory(Backend& backend);  // allocate, deallocate, upload, download, copy
Report check_for_each(Backend& backend);
Report check_capture(Backend& backend);
Report check_chunk(Backend& backend);
Report check_fill(Backend& backend);
Report check_unary(Backend& backend);
Report check_binary(Backend& backend);
Report check_where(Backend& backend);
Report check_sum(Backend& backend);
Report check_permute(Backend& backend);
Report check_matmul(Backend& backend);
Report check_batch_matmul(Backend& backend);
Report check_conv2d(Backend& backend);
Report check_conv2d_dinput(Backend& backend);
Report check_conv2d_dweight(Backend& backend);
Report check_maxpool(Backend& backend);
Report check_maxpool_scatter(Backend& backend);
Report check_maxpool_gather(Backend& backend);
Report check_rankpool(Backend& backend);
Report check_avgpool(Backend& backend);
Report check_avgpool_adjoint(Backend& backend);
Report check_conv_block(Backend& backend);
Report check_conv_blocks(Backend& backend);
Report check_conv_block_dinput(Backend& backend);
Report check_conv_block_dweight(Backend& backend);
Report check_batch_norm(Backend& backend);
Report check_batch_norm_backward(Backend& backend);
Report check_softmax(Backend& backend);
Report check_log_softmax(Backend& backend);
Report check_cross_entropy(Backend& backend);
Report check_cross_entropy_backward(Backend& backend);
Report check_argmax(Backend& backend);
Report check_vote(Backend& backend);
Report check_one_hot(Backend& backend);
Report check_random(Backend& backend);
Report check_gather_images(Backend& backend);
Report check_attack_step(Backend& backend);
Report check_row_stats(Backend& backend);
Report check_sgd(Backend& backend);
Report check_adam(Backend& backend);
Report check_rmsprop(Backend& backend);
Report check_adagrad(Backend& backend);

}  // namespace caltrop::test
