// Which laboratories this program has.
#include "kernels/ladder/lab.h"

namespace caltrop {

#ifdef CALTROP_CUDA_BUILT
namespace gpu::ladder {
std::unique_ptr<Lab> make_lab();
}
std::unique_ptr<Lab> cuda_lab() {
  return cuda_state() == DeviceState::ready ? gpu::ladder::make_lab() : nullptr;
}
#else
std::unique_ptr<Lab> cuda_lab() {
  return nullptr;
}
#endif

namespace emu::ladder {
std::unique_ptr<Lab> make_lab();
}
std::unique_ptr<Lab> emulated_lab() {
  return emu::ladder::make_lab();
}

}  // namespace caltrop
