// libFuzzer target: what parses as IDX is what the header says, and plain or gzipped makes no difference to
// that; whatever does not parse is one Error of one line.
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

#include "data/idx.h"
#include "engine/error.h"

namespace {

constexpr int kClasses = 10;

void check(bool holds) {
  if (!holds) std::abort();
}

void check_one_line(const caltrop::Error& error) {
  check(std::string_view(error.what()).find('\n') == std::string_view::npos);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file = std::as_bytes(std::span(data, size));
  const bool gzip = size >= 2 && data[0] == 0x1f && data[1] == 0x8b;
  try {
    const caltrop::IdxImages images = caltrop::parse_idx_images(file, "input");
    check(images.count > 0 && images.height > 0 && images.width > 0);
    check(static_cast<int64_t>(images.pixels.size()) == images.count * images.height * images.width);
    check(gzip || size == images.pixels.size() + 16);
  } catch (const caltrop::Error& error) {
    check_one_line(error);
  }
  try {
    const std::vector<int32_t> labels = caltrop::parse_idx_labels(file, "input", kClasses);
    check(!labels.empty() && (gzip || size == labels.size() + 8));
    for (const int32_t label : labels) check(label >= 0 && label < kClasses);
  } catch (const caltrop::Error& error) {
    check_one_line(error);
  }
  return 0;
}
