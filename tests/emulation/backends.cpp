// The backends of programs that hold the emulated device alone.
#include "tests/kernels/harness.h"

namespace caltrop::test {

std::vector<TestedBackend> all_backends() {
  return emulated_backends();
}

}  // namespace caltrop::test
