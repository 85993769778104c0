// devices.h over the CUDA runtime. A program that was built with CUDA starts on any machine: without a
// driver cudaGetDeviceCount fails, with whatever error, and leaves the count unwritten.
#include "kernels/devices.h"

#include "kernels/error.h"
#ifdef CALTROP_CUDNN_LIBRARY
#include "kernels/cudnn.h"
#endif
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

namespace {
Convolutions convolutions = Convolutions::own;
}

bool has_cudnn() {
#ifdef CALTROP_CUDNN_LIBRARY
  return gpu::cudnn().here();
#else
  return false;
#endif
}
void set_cuda_convolutions(Convolutions choice) {
  if (choice == Convolutions::cudnn && !has_cudnn())
    fail("[cuDNN] it was not found here, or this program was built without it");
  convolutions = choice;
}
Convolutions cuda_convolutions() {
  return convolutions;
}

namespace gpu {

std::string describe_device(int device) {
  return to_string(cuda_devices().at(static_cast<size_t>(device)));
}

}  // namespace gpu
}  // namespace caltrop
