// The backends of the whole program: the CPU's instruction sets, the GPU, the emulated device.
#include "kernels/cpu_backend.h"
#include "kernels/devices.h"
#include "tests/kernels/harness.h"

namespace caltrop::test {

std::vector<TestedBackend> all_backends() {
  std::vector<TestedBackend> backends;
  for (const CpuTarget& target : cpu_targets()) {
    const auto enter = [name = target.name] {
      set_cpu_target(name);
    };
    const auto leave = [] {
      set_cpu_target("");
    };
    backends.push_back({"cpu/" + target.name, target.supported ? "" : "this machine lacks these instructions",
                     &cpu_backend(), enter, leave});
  }
  const DeviceState cuda = cuda_state();
  const char* const absent[] = {"not built", "no device", ""};
  backends.push_back(
      {"cuda", absent[static_cast<int>(cuda)], cuda == DeviceState::ready ? &cuda_backend() : nullptr, [] {
       }});
  for (TestedBackend& tested : emulated_backends()) backends.push_back(std::move(tested));
  return backends;
}

}  // namespace caltrop::test
