// PNG and JPEG in, PNG out; resizing; the sheets of figures.
#include "data/png.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "data/image_grid.h"
#include "tests/data/bytes.h"
#include "tests/files.h"

namespace caltrop::test {
namespace {

std::vector<uint8_t> ramp(size_t size) {
  std::vector<uint8_t> values(size);
  std::iota(values.begin(), values.end(), uint8_t{0});
  return values;
}

// A pixel of a sheet.
std::vector<int> at(const Image& sheet, int64_t y, int64_t x) {
  const auto* pixel = sheet.pixels.data() + (y * sheet.width + x) * 3;
  return {pixel[0], pixel[1], pixel[2]};
}

// A PNG file that claims this size and holds nothing.
std::string png_header(uint32_t width, uint32_t height) {
  std::string chunk =
      "IHDR" + big_endian(width) + big_endian(height) + std::string("\x08\x00\x00\x00\x00", 5);
  const auto sum = crc32(0, reinterpret_cast<const Bytef*>(chunk.data()), static_cast<uInt>(chunk.size()));
  return "\x89PNG\r\n\x1a\n" + big_endian(13) + chunk + big_endian(static_cast<uint32_t>(sum));
}

}  // namespace

TEST_SUITE("data") {
  TEST_CASE("png: grey and colour images come back as they were written") {
    const TempDirectory directory;
    for (const int64_t channels : {1, 3}) {
      CAPTURE(channels);
      const std::vector<uint8_t> pixels = ramp(static_cast<size_t>(5 * 7 * channels));
      write_png(directory / "x.png", 5, 7, channels, pixels);
      const Image image = read_image(directory / "x.png");
      CHECK(image.height == 5);
      CHECK(image.width == 7);
      CHECK(image.channels == channels);
      CHECK(image.pixels == pixels);
      const ImageInfo info = read_image_info(directory / "x.png");
      CHECK(info.height == 5);
      CHECK(info.width == 7);
      CHECK(info.channels == channels);
      CHECK(!info.alpha);
      CHECK(read_image(directory / "x.png", 4 - channels).channels == 4 - channels);
    }
    CHECK(directory.entries() == 1);
  }

  TEST_CASE("png: the same image gives the same bytes") {
    const TempDirectory directory;
    write_png(directory / "a.png", 8, 8, 1, ramp(64));
    write_png(directory / "b.png", 8, 8, 1, ramp(64));
    CHECK(file_bytes(directory / "a.png") == file_bytes(directory / "b.png"));
  }

  TEST_CASE("png: files that are no image are refused") {
    const TempDirectory directory;
    const fs::path path = directory / "x.png";
    const auto check_refused = [&](const std::string& content, std::string_view why) {
      write_file(path, content);
      check_refusal(refusal([&] { return read_image(path); }), {path.string(), why});
    };
    check_refused("", "not a PNG or JPEG");
    check_refused("hello", "not a PNG or JPEG");
    check_refused("GIF89a\1\1\1\1", "not a PNG or JPEG");
    write_png(path, 20, 20, 3, ramp(1200));
    const std::string whole = file_bytes(path);
    for (size_t size = 1; size + 20 < whole.size(); size += 7) {
      CAPTURE(size);
      check_refused(whole.substr(0, size), "not a PNG or JPEG");
    }
    check_refused(png_header(8, 8), "not a PNG or JPEG");
    check_refused(png_header(16384, 16383), "found 16383 x 16384");
    check_refused(png_header(60000, 60000), "not a PNG or JPEG");
    check_refused(png_header(0x7fffffff, 0x7fffffff), "not a PNG or JPEG");
    check_refusal(refusal([&] { return read_image(directory / "none.png"); }), {"none.png", "no such file"});
  }

  TEST_CASE("png: what cannot be written leaves nothing behind") {
    const TempDirectory directory;
    write_file(directory / "file", "");
    const auto write = [&](const fs::path& path) {
      return refusal([&] {
        write_png(path, 2, 2, 1, ramp(4));
        return 0;
      });
    };
    check_refusal(write(directory / "none" / "x.png"), {"x.png", "No such file or directory"});
    check_refusal(write(directory / "file" / "x.png"), {"x.png", "Not a directory"});
    check_refusal(write(directory.path()), {"it is a directory"});
    check_refusal(write("/dev/full"), {"/dev/full", "No space left"});
    CHECK(directory.entries() == 1);
    check_refusal(refusal([&] {
                    write_png(directory / "x.png", 2, 2, 2, ramp(8));
                    return 0;
                  }),
                  {"1 or 3 channels"});
    check_refusal(refusal([&] {
                    write_png(directory / "x.png", 2, 2, 3, ramp(11));
                    return 0;
                  }),
                  {"2 x 2 x 3", "got 11"});
  }

  TEST_CASE("resize: flat stays flat, means stay close, the same size is the same image") {
    const Image flat{9, 11, 3, std::vector<uint8_t>(9 * 11 * 3, 77)};
    for (const auto& [height, width] : {std::pair{28, 28}, {3, 4}, {1, 1}}) {
      const Image result = resize(flat, height, width);
      CHECK(result.height == height);
      CHECK(result.width == width);
      CHECK(result.channels == 3);
      CHECK(
          std::all_of(result.pixels.begin(), result.pixels.end(), [](uint8_t value) { return value == 77; }));
    }
    Image slope{16, 16, 1, {}};
    for (int i = 0; i < 256; ++i) slope.pixels.push_back(static_cast<uint8_t>(10 * (i % 16)));
    const Image small = resize(slope, 8, 8);
    for (size_t x = 1; x + 1 < 8; ++x) CHECK(std::abs(small.pixels[x] - (20 * static_cast<int>(x) + 5)) <= 1);
    CHECK(resize(slope, 16, 16).pixels == slope.pixels);
    check_refusal(refusal([&] { return resize(slope, 0, 8); }), {"0 x 8"});
    check_refusal(refusal([&] { return resize(slope, int64_t{1} << 40, int64_t{1} << 40); }), {"1 to"});
  }

  TEST_CASE("image grid: cells lie where they should, scaled and framed") {
    ImageGrid grid(2, 3, 2, 2, {.scale = 2, .margin = 3, .border = 1, .background = {9, 9, 9}});
    // 3 margins of 3 and 2 cells of 2 * 2 + 2.
    CHECK(grid.image().height == 21);
    CHECK(grid.image().width == 30);
    grid.set(1, 2, std::vector<uint8_t>{10, 20, 30, 40}, Colour{1, 2, 3});
    const Image& sheet = grid.image();
    CHECK(at(sheet, 12, 21) == std::vector{1, 2, 3});     // the frame's corner
    CHECK(at(sheet, 17, 26) == std::vector{1, 2, 3});     // and the one opposite
    CHECK(at(sheet, 13, 22) == std::vector{10, 10, 10});  // first pixel, twice as large
    CHECK(at(sheet, 14, 23) == std::vector{10, 10, 10});
    CHECK(at(sheet, 13, 24) == std::vector{20, 20, 20});
    CHECK(at(sheet, 16, 25) == std::vector{40, 40, 40});
    CHECK(at(sheet, 18, 27) == std::vector{9, 9, 9});  // background
    CHECK(at(sheet, 0, 0) == std::vector{9, 9, 9});
  }

  TEST_CASE("image grid: floats are clamped and NaN stands out") {
    ImageGrid grid(1, 1, 1, 5, {.scale = 1, .margin = 0, .border = 0});
    grid.set(0, 0, std::vector<float>{0.0f, 0.5f, 1.5f, -1.0f, std::numeric_limits<float>::quiet_NaN()});
    CHECK(at(grid.image(), 0, 0) == std::vector{0, 0, 0});
    CHECK(at(grid.image(), 0, 1) == std::vector{128, 128, 128});
    CHECK(at(grid.image(), 0, 2) == std::vector{255, 255, 255});
    CHECK(at(grid.image(), 0, 3) == std::vector{0, 0, 0});
    CHECK(at(grid.image(), 0, 4) == std::vector{255, 0, 255});
  }

  TEST_CASE("image grid: perturbations are grey at 0, red above, blue below") {
    ImageGrid grid(1, 2, 1, 4, {.scale = 1, .margin = 0, .border = 0});
    const float nan = std::numeric_limits<float>::quiet_NaN();
    grid.set_perturbation(0, 0, std::vector<float>{0, 1e-4f, -2e-4f, nan}, 1e-4f);
    CHECK(at(grid.image(), 0, 0) == std::vector{128, 128, 128});
    CHECK(at(grid.image(), 0, 1) == std::vector{255, 0, 0});
    CHECK(at(grid.image(), 0, 2) == std::vector{0, 0, 255});  // clamped
    CHECK(at(grid.image(), 0, 3) == std::vector{255, 0, 255});
    // By itself the scale is that of the largest; nothing at all is grey.
    grid.set_perturbation(0, 0, std::vector<float>{0, 0.5f, -1.0f, 0});
    CHECK(at(grid.image(), 0, 1) == std::vector{191, 64, 64});
    CHECK(at(grid.image(), 0, 2) == std::vector{0, 0, 255});
    grid.set_perturbation(0, 1, std::vector<float>{0, 0, 0, 0});
    CHECK(at(grid.image(), 0, 4) == std::vector{128, 128, 128});
    // In colour each channel has its own sign.
    grid.set_perturbation(0, 1, std::vector<float>{1, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 1.0f);
    CHECK(at(grid.image(), 0, 4) == std::vector{255, 128, 0});
  }

  TEST_CASE("image grid: wrong sizes and cells are refused") {
    ImageGrid grid(2, 2, 3, 3);
    const auto set = [&](int64_t row, int64_t column, size_t size) {
      return refusal([&] {
        grid.set(row, column, std::vector<float>(size));
        return 0;
      });
    };
    check_refusal(set(2, 0, 9), {"(2, 0)"});
    check_refusal(set(0, -1, 9), {"(0, -1)"});
    check_refusal(set(0, 0, 10), {"3 x 3", "got 10"});
    check_refusal(refusal([] { return ImageGrid(0, 1, 28, 28).image(); }), {"got 0"});
    check_refusal(refusal([] { return ImageGrid(8000, 8000, 28, 28).image(); }), {"at most"});
    check_refusal(refusal([&] {
                    grid.set_perturbation(0, 0, std::vector<float>(9),
                                          std::numeric_limits<float>::quiet_NaN());
                    return 0;
                  }),
                  {"limit"});
  }
}

}  // namespace caltrop::test
