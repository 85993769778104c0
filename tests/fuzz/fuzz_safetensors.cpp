// libFuzzer target: whatever parses is written and read back unchanged; whatever does not is one Error.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "engine/error.h"
#include "engine/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  caltrop::SafeTensorFile file;
  try {
    file = caltrop::parse_safetensors(std::as_bytes(std::span(data, size)), "input");
  } catch (const caltrop::Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
    return 0;
  }
  const std::string bytes = caltrop::serialize_safetensors(file, "output");
  const caltrop::SafeTensorFile back = caltrop::parse_safetensors(std::as_bytes(std::span(bytes)), "output");
  if (back.metadata != file.metadata || back.tensors.size() != file.tensors.size()) std::abort();
  // Writing may reorder, by element size; each tensor must still be there, once.
  auto sorted = file.tensors, sorted_back = back.tensors;
  const auto by_name = [](const auto& a, const auto& b) {
    return a.first < b.first;
  };
  std::sort(sorted.begin(), sorted.end(), by_name);
  std::sort(sorted_back.begin(), sorted_back.end(), by_name);
  if (sorted != sorted_back) std::abort();
  return 0;
}
