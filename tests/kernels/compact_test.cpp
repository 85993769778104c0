// The host's algorithms over device arrays, on every device present.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "kernels/backend.h"
#include "tests/kernels/compact_check.cuh"

#ifdef CALTROP_TEST_CUDA
namespace caltrop::gpu {
struct CompactResult {
  int64_t compared = 0;
  std::string failure;
};
CompactResult check_compact();
}  // namespace caltrop::gpu
#endif

namespace caltrop::test {
namespace {

template <typename Result>
void expect_right(const Result& result) {
  CHECK(result.compared > 100000);
  CHECK_MESSAGE(result.failure.empty(), result.failure);
}

TEST_SUITE("kernels") {
#ifdef CALTROP_TEST_THRUST
  TEST_CASE("compaction, permutation and top-k, emulated") {
    expect_right(emu::check_compact());
  }
#endif

  TEST_CASE("compaction, permutation and top-k on a GPU") {
#ifdef CALTROP_TEST_CUDA
    if (cuda_state() == DeviceState::ready) return expect_right(gpu::check_compact());
    fmt::print("SKIP  compaction, permutation and top-k on cuda: no device\n");
#else
    fmt::print("SKIP  compaction, permutation and top-k on cuda: not built\n");
#endif
  }
}

}  // namespace
}  // namespace caltrop::test
