// libFuzzer target: an array that parses has the elements of its shape; whatever does not is one Error.
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

#include "data/npy.h"
#include "data/npz.h"
#include "engine/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const caltrop::NpyArray array = caltrop::parse_npy(std::as_bytes(std::span(data, size)), "input");
    const int64_t element = caltrop::npy_element_size(array.dtype);
    if (element == 0 || array.size() * element != static_cast<int64_t>(array.bytes.size())) std::abort();
    if (array.bytes.size() > size) std::abort();
  } catch (const caltrop::Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
  }
  return 0;
}
