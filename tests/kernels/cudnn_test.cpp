// Convolutions by cuDNN (--conv cudnn), where there is a GPU: the same checks as for our own.
#include <doctest/doctest.h>

#include "kernels/devices.h"
#include "tests/kernels/checks.h"

namespace caltrop::test {
namespace {

TEST_SUITE("kernels") {
  TEST_CASE("parity of cuDNN's convolutions") {
    if (cuda_state() != DeviceState::ready || !has_cudnn()) {
      MESSAGE("SKIP: no GPU, or no cuDNN");
      return;
    }
    set_cuda_convolutions(Convolutions::cudnn);
    for (const Check& check : all_checks()) {
      if (!check.method.starts_with("conv2d")) continue;
      const Report report = check.run(cuda_backend());
      CHECK_MESSAGE(report.passed(), check.method, ": ", report.failure());
    }
    set_cuda_convolutions(Convolutions::own);
  }
}

}  // namespace
}  // namespace caltrop::test
