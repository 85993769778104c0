// The ceilings of the current GPU, from its attributes. The one thing that no attribute says is how many fp32
// lanes a multiprocessor has; the table is that of the CUDA C++ Programming Guide, "Arithmetic Instructions"
// (throughput of 32-bit multiply-add by compute capability).
#include "kernels/ladder/device.h"

#include <cuda_runtime_api.h>

#include "kernels/error.h"

namespace caltrop::gpu::ladder {
namespace {

int attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  cudaError_t status = cudaGetDevice(&device);
  if (status == cudaSuccess) status = cudaDeviceGetAttribute(&value, which, device);
  if (status != cudaSuccess)
    throw Error(std::string("[ladder] cudaDeviceGetAttribute: ") + cudaGetErrorString(status));
  return value;
}

int lanes_of(int major, int minor) {
  const bool half = major == 7 || (major == 8 && minor == 0);  // Volta, Turing and the A100
  return half ? 64 : 128;
}

std::string dotted(int major, int minor) {
  return std::to_string(major) + "." + std::to_string(minor);
}

std::string version_text(int version) {
  return dotted(version / 1000, version % 1000 / 10);
}

}  // namespace

LabDevice lab_device() {
  cudaDeviceProp properties;
  int device = 0, driver = 0, runtime = 0;
  cudaError_t status = cudaGetDevice(&device);
  if (status == cudaSuccess) status = cudaGetDeviceProperties(&properties, device);
  if (status == cudaSuccess) status = cudaDriverGetVersion(&driver);
  if (status == cudaSuccess) status = cudaRuntimeGetVersion(&runtime);
  if (status != cudaSuccess)
    throw Error(std::string("[ladder] cudaGetDeviceProperties: ") + cudaGetErrorString(status));
  LabDevice found;
  found.name = properties.name;
  found.capability = dotted(properties.major, properties.minor);
  found.driver = version_text(driver);
  found.runtime = version_text(runtime);
  found.multiprocessors = properties.multiProcessorCount;
  found.lanes = lanes_of(properties.major, properties.minor);
  found.clock_hz = 1e3 * attribute(cudaDevAttrClockRate);  // the highest, in kHz
  found.memory_clock_hz = 1e3 * attribute(cudaDevAttrMemoryClockRate);
  found.bus_bits = attribute(cudaDevAttrGlobalMemoryBusWidth);
  found.l2_bytes = attribute(cudaDevAttrL2CacheSize);
  return found;
}

}  // namespace caltrop::gpu::ladder
