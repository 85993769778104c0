// The GPUs of this machine. cuda_state() in backend.h tells whether there is any.
#pragma once

#include <fmt/format.h>

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
// "NVIDIA H100, 79.6 GiB, compute capability 9.0"
inline std::string to_string(const CudaDevice& device) {
  return fmt::format("{}, {:.1f} GiB, compute capability {}.{}", device.name,
                     static_cast<double>(device.memory) / 1073741824.0, device.major, device.minor);
}
std::vector<CudaDevice> cuda_devices();  // empty unless cuda_state() is ready

// The backend of the first GPU; it lives until the end of the program. An Error where there is none.
Backend& cuda_backend();

// Whose convolutions the GPU computes with: the kernels of this program, or cuDNN's. With cuDNN a convolution,
// its activation and its pool are ops of their own.
enum class Convolutions : uint8_t { own, cudnn };
bool has_cudnn();  // built in, and found here
// An Error where cuDNN is asked for and not there.
void set_cuda_convolutions(Convolutions choice);
Convolutions cuda_convolutions();

}  // namespace caltrop
