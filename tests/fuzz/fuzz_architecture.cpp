// libFuzzer target: whatever parses has a canonical text that parses to the same, and shapes or one Error.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/architecture.h"
#include "engine/error.h"

namespace {

void check_one_line(const caltrop::Error& error) {
  if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  caltrop::Architecture architecture;
  try {
    architecture = caltrop::parse_architecture({reinterpret_cast<const char*>(data), size});
  } catch (const caltrop::Error& error) {
    check_one_line(error);
    return 0;
  }
  const std::string line = caltrop::to_string(architecture);
  if (!(caltrop::parse_architecture(line) == architecture)) std::abort();
  if (caltrop::to_string(caltrop::parse_architecture(line)) != line) std::abort();
  try {
    const auto shapes = caltrop::infer_shapes(architecture, {28, 28, 1});
    const auto layers = caltrop::describe_layers(architecture, {28, 28, 1});
    if (shapes.size() != architecture.layers.size() || layers.size() != shapes.size()) std::abort();
    int64_t trainable = 0;
    for (const auto& parameter : caltrop::parameter_specs(architecture, {28, 28, 1})) {
      int64_t values = 1;
      for (const int64_t extent : parameter.shape) values *= extent;
      if (parameter.trainable) trainable += values;
    }
    if (trainable != caltrop::count_parameters(architecture, {28, 28, 1})) std::abort();
    if (caltrop::count_macs(architecture, {28, 28, 1}) < 0) std::abort();
  } catch (const caltrop::Error& error) {
    check_one_line(error);
  }
  return 0;
}
