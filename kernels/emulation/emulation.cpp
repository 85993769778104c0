#include "kernels/emulation/emulation.h"

#include "kernels/gpu_backend.h"

namespace caltrop {

Backend& emulated_backend() {
  static auto* backend = new emu::GpuBackend("emulated", 0);  // never destroyed: see cpu_backend()
  return *backend;
}

}  // namespace caltrop
