// The lanes of programs that hold the emulated device alone.
#include "tests/kernels/harness.h"

namespace caltrop::test {

std::vector<Lane> all_lanes() {
  return emulated_lanes();
}

}  // namespace caltrop::test
