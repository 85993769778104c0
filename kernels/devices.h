// The GPUs of this machine. cuda_state() in backend.h tells whether there is any.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace caltrop {

struct CudaDevice {
  std::string name;
  size_t memory = 0;         // bytes
  int major = 0, minor = 0;  // compute capability
};
std::vector<CudaDevice> cuda_devices();  // empty unless cuda_state() is ready

// The backend of the first GPU; it lives until the end of the program. An Error where there is none.
Backend& cuda_backend();

}  // namespace caltrop
