// devices.h and phase.h in a program that was built without CUDA.
#include "kernels/devices.h"
#include "kernels/error.h"
#include "kernels/phase.h"

namespace caltrop {

DeviceState cuda_state() {
  return DeviceState::not_built;
}
std::vector<CudaDevice> cuda_devices() {
  return {};
}
Backend& cuda_backend() {
  fail("[cuda] this program was built without CUDA");
}
bool has_cudnn() {
  return false;
}
void set_cuda_convolutions(Convolutions choice) {
  if (choice == Convolutions::cudnn) fail("[cuDNN] this program was built without CUDA");
}
Convolutions cuda_convolutions() {
  return Convolutions::own;
}

Phase::Phase(const char*) {}
Phase::~Phase() = default;

}  // namespace caltrop
