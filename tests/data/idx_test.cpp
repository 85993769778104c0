// IDX: what is read, plain and gzipped, and one refusal for each way a file can be wrong.
#include "data/idx.h"

#include "tests/data/bytes.h"
#include "tests/files.h"

namespace caltrop::test {
namespace {

std::span<const std::byte> bytes_of(const std::string& file) {
  return std::as_bytes(std::span(file));
}

std::string image_refusal(const std::string& file) {
  return refusal([&] { return parse_idx_images(bytes_of(file), "images.idx"); });
}

std::string label_refusal(const std::string& file) {
  return refusal([&] { return parse_idx_labels(bytes_of(file), "labels.idx", 10); });
}

const std::string kPixels = "abcdefghijkl";  // 2 images of 3 x 2

}  // namespace

TEST_SUITE("data") {
  TEST_CASE("idx: images and labels are read, plain and gzipped alike") {
    const std::string images = idx_file({2, 3, 2}, kPixels);
    const std::string labels = idx_file({4}, std::string_view("\0\1\11\3", 4));
    for (const bool gzip : {false, true}) {
      CAPTURE(gzip);
      const IdxImages read = parse_idx_images(bytes_of(gzip ? gzipped(images) : images), "x");
      CHECK(read.count == 2);
      CHECK(read.height == 3);
      CHECK(read.width == 2);
      CHECK(std::string(read.pixels.begin(), read.pixels.end()) == kPixels);
      const auto values = parse_idx_labels(bytes_of(gzip ? gzipped(labels) : labels), "x", 10);
      CHECK(values == std::vector<int32_t>{0, 1, 9, 3});
    }
  }

  TEST_CASE("idx: the first bytes decide about gzip, not the name") {
    const TempDirectory directory;
    write_file(directory / "plain.gz", idx_file({1, 3, 4}, kPixels));
    write_file(directory / "zipped", gzipped(idx_file({1, 3, 4}, kPixels)));
    CHECK(read_idx_images(directory / "plain.gz").pixels == read_idx_images(directory / "zipped").pixels);
  }

  TEST_CASE("idx: wrong headers are refused") {
    check_refusal(image_refusal(""), {"images.idx", "empty"});
    check_refusal(image_refusal("PNG image?"), {"images.idx", "00 00", "50 4e"});
    check_refusal(image_refusal(idx_file({2, 3, 2}, kPixels, '\x0d')), {"images.idx", "08", "0d"});
    check_refusal(image_refusal(idx_file({12}, kPixels)), {"images.idx", "3 dimensions, found 1"});
    check_refusal(label_refusal(idx_file({2, 3, 2}, kPixels)), {"labels.idx", "1 dimensions, found 3"});
    check_refusal(image_refusal(idx_file({0, 28, 28}, "")), {"images.idx", "holds no images"});
    check_refusal(image_refusal(idx_file({1, 28, 0}, "")), {"images.idx", "holds no images"});
    const std::string whole = idx_file({2, 3, 2}, kPixels);
    for (size_t size = 1; size < 16; ++size) {
      CAPTURE(size);
      check_refusal(image_refusal(whole.substr(0, size)), {"images.idx", "truncated"});
    }
  }

  TEST_CASE("idx: a file must hold what its header announces, no less and no more") {
    const std::string whole = idx_file({2, 3, 2}, kPixels);
    check_refusal(image_refusal(whole.substr(0, whole.size() - 1)), {"images.idx", "announces 12 bytes"});
    check_refusal(image_refusal(whole + "x"), {"images.idx", "more than its header announces"});
    check_refusal(label_refusal(idx_file({3}, "\1\2")), {"labels.idx", "announces 3 bytes"});
    // Sizes that overflow 32 and 64 bits, and one that is merely absurd, cost no memory.
    check_refusal(image_refusal(idx_file({0xffffffff, 0xffffffff, 0xffffffff}, kPixels)),
                  {"images.idx", "more than"});
    check_refusal(image_refusal(idx_file({0x80000000, 2, 1}, kPixels)), {"images.idx", "more than"});
    check_refusal(image_refusal(idx_file({1 << 20, 28, 28}, kPixels)), {"images.idx", "the file can hold"});
  }

  TEST_CASE("idx: damaged gzip streams are refused") {
    const std::string whole = gzipped(idx_file({2, 3, 2}, kPixels));
    for (size_t size = 2; size < whole.size(); ++size) {
      CAPTURE(size);
      check_refusal(image_refusal(whole.substr(0, size)), {"images.idx", "truncated"});
    }
    check_refusal(image_refusal(whole + "x"), {"images.idx", "follow the gzip stream"});
    check_refusal(image_refusal(whole + whole), {"images.idx", "follow the gzip stream"});
    std::string wrong_sum = whole;
    wrong_sum[wrong_sum.size() - 8] ^= 1;  // CRC-32 of the content
    check_refusal(image_refusal(wrong_sum), {"images.idx", "damaged"});
    check_refusal(image_refusal("\x1f\x8bnot gzip at all"), {"images.idx", "damaged"});
  }

  TEST_CASE("idx: a gzip bomb is not inflated") {
    // 4 MiB of zeros in 4 KiB, behind a header that announces 12 of them.
    const std::string bomb = gzipped(idx_file({2, 3, 2}, std::string(1 << 22, '\0')));
    CHECK(bomb.size() < 10000);
    check_refusal(image_refusal(bomb), {"images.idx", "more than its header announces"});
    // Announced honestly, but more than the format could ever unpack from so few bytes.
    check_refusal(image_refusal(gzipped(idx_file({1 << 20, 28, 28}, kPixels))),
                  {"images.idx", "the file can hold"});
    // Within that bound, but not there.
    check_refusal(image_refusal(gzipped(idx_file({2, 10, 28}, kPixels))), {"images.idx", "truncated"});
  }

  TEST_CASE("idx: labels out of range are refused") {
    check_refusal(label_refusal(idx_file({3}, "\1\12\2")), {"labels.idx", "label 1 is 10", "0 to 9"});
    check_refusal(label_refusal(idx_file({2}, "\1\xff")), {"labels.idx", "label 1 is 255"});
  }

  TEST_CASE("idx: counts of images and labels must agree") {
    const TempDirectory directory;
    const fs::path images = directory / "images", labels = directory / "labels";
    write_file(images, idx_file({2, 3, 2}, kPixels));
    write_file(labels, idx_file({3}, "\1\1\1"));
    const std::vector<std::string> names = {"a", "b"};
    check_refusal(refusal([&] { return read_idx_set(images, labels, names); }),
                  {images.string(), labels.string(), "2 images", "3 labels"});
    write_file(labels, idx_file({2}, std::string_view("\1\0", 2)));
    const ImageSet set = read_idx_set(images, labels, names);
    CHECK(set.count() == 2);
    CHECK(set.image_size() == 6);
    CHECK(set.classes == 2);
    CHECK(set.image(1)[0] == 'g');
    check_refusal(refusal([&] { return set.image(2); }), {"0 to 1", "got 2"});
  }

  TEST_CASE("idx: files that cannot be read are named with the reason") {
    const TempDirectory directory;
    check_refusal(refusal([&] { return read_idx_images(directory / "none"); }), {"none", "no such file"});
    check_refusal(refusal([&] { return read_idx_images(directory.path()); }), {"not a regular file"});
    check_refusal(refusal([&] { return read_idx_images("/dev/zero"); }), {"/dev/zero", "not a regular file"});
    // Larger than any data set: refused by its size, before a byte is read.
    write_file(directory / "huge", "");
    fs::resize_file(directory / "huge", uintmax_t{1} << 31);
    check_refusal(refusal([&] { return read_idx_images(directory / "huge"); }), {"huge", "at most"});
  }
}

}  // namespace caltrop::test
