// devices.h over the CUDA runtime. A program that was built with CUDA starts on any machine: without a
// driver cudaGetDeviceCount fails, with whatever error, and leaves the count unwritten.
#include "kernels/devices.h"

#include "kernels/error.h"
#include "kernels/gpu_backend.h"

namespace caltrop {

DeviceState cuda_state() {
  static const DeviceState state = [] {
    int count = 0;
    if (cudaGetDeviceCount(&count) == cudaSuccess && count > 0) return DeviceState::ready;
    (void)cudaGetLastError();
    return DeviceState::no_device;
  }();
  return state;
}

std::vector<CudaDevice> cuda_devices() {
  std::vector<CudaDevice> devices;
  int count = 0;
  if (cuda_state() != DeviceState::ready || cudaGetDeviceCount(&count) != cudaSuccess) return devices;
  for (int device = 0; device < count; ++device) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) continue;
    devices.push_back({properties.name, properties.totalGlobalMem, properties.major, properties.minor});
  }
  return devices;
}

Backend& cuda_backend() {
  if (cuda_state() != DeviceState::ready) fail("[cuda] no CUDA device is found here");
  static auto* backend = new gpu::GpuBackend("cuda", 0);  // never destroyed: see cpu_backend()
  return *backend;
}

namespace gpu {

std::string describe_device(int device) {
  const std::vector<CudaDevice> devices = cuda_devices();
  const CudaDevice& d = devices.at(static_cast<size_t>(device));
  return fmt::format("{}, {:.1f} GiB, compute capability {}.{}", d.name,
                     static_cast<double>(d.memory) / 1073741824.0, d.major, d.minor);
}

}  // namespace gpu
}  // namespace caltrop
