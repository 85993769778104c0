#include "data/idx.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "data/file_bytes.h"
#include "engine/error.h"

namespace caltrop {
namespace {

constexpr uint64_t kMaxElements = uint64_t{1} << 30;
constexpr unsigned kUnsignedByte = 8;
// The DEFLATE format codes at most 258 bytes in two bits.
constexpr uint64_t kMaxInflation = 1032;

bool is_gzip(std::span<const std::byte> file) {
  return file.size() >= 2 && file[0] == std::byte{0x1f} && file[1] == std::byte{0x8b};
}

// The bytes of a file in order, inflated on the way where it is gzipped, and never more than asked for.
class ByteSource {
 public:
  ByteSource(std::span<const std::byte> file, std::string_view name)
      : file_(file), name_(name), gzip_(is_gzip(file)) {
    if (!gzip_) return;
    constexpr int kGzipOnly = 16 + MAX_WBITS;
    if (inflateInit2(&stream_, kGzipOnly) != Z_OK) fail("cannot read {}: zlib has no memory", name_);
    stream_.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(file.data()));
    rest_ = file.size();
  }
  ~ByteSource() {
    if (gzip_) inflateEnd(&stream_);
  }
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  // The next bytes, at most out.size(); fewer only at the end.
  size_t read(std::span<uint8_t> out) {
    if (gzip_) return inflate_some(out);
    const size_t count = std::min(out.size(), file_.size() - position_);
    if (count > 0) std::memcpy(out.data(), file_.data() + position_, count);
    position_ += count;
    return count;
  }

  // No more than this can come, whatever a header says.
  uint64_t capacity() const { return gzip_ ? file_.size() * kMaxInflation : file_.size(); }

  // After the last read: an Error unless the file ends here.
  void expect_end() {
    uint8_t extra = 0;
    if (read({&extra, 1}) > 0) fail("cannot read {}: it holds more than its header announces", name_);
    if (gzip_ && (stream_.avail_in > 0 || rest_ > 0))
      fail("cannot read {}: bytes follow the gzip stream", name_);
  }

 private:
  // zlib counts in 32 bits: feed and drain it in pieces.
  size_t inflate_some(std::span<uint8_t> out) {
    constexpr size_t kPiece = size_t{1} << 28;
    size_t filled = 0;
    while (filled < out.size() && !ended_) {
      if (stream_.avail_in == 0) {
        stream_.avail_in = static_cast<uInt>(std::min(rest_, kPiece));
        rest_ -= stream_.avail_in;
      }
      const size_t room = std::min(out.size() - filled, kPiece);
      stream_.next_out = out.data() + filled;
      stream_.avail_out = static_cast<uInt>(room);
      const int status = inflate(&stream_, Z_NO_FLUSH);
      filled += room - stream_.avail_out;
      if (status == Z_STREAM_END) {
        ended_ = true;
      } else if (status == Z_BUF_ERROR) {  // no progress: there is room, so the input has run out
        fail("cannot read {}: the gzip stream is truncated", name_);
      } else if (status != Z_OK) {
        fail("cannot read {}: the gzip stream is damaged ({})", name_,
             stream_.msg != nullptr ? stream_.msg : "zlib cannot read it");
      }
    }
    return filled;
  }

  std::span<const std::byte> file_;
  std::string_view name_;
  bool gzip_, ended_ = false;
  size_t position_ = 0, rest_ = 0;  // read so far (plain); not yet given to zlib (gzip)
  z_stream stream_{};
};

uint32_t big_endian(const uint8_t* bytes) {
  return static_cast<uint32_t>(bytes[0]) << 24 | static_cast<uint32_t>(bytes[1]) << 16 |
         static_cast<uint32_t>(bytes[2]) << 8 | bytes[3];
}

template <size_t rank>
struct IdxArray {
  std::array<int64_t, rank> extents{};
  std::vector<uint8_t> elements;
};

template <size_t rank>
IdxArray<rank> parse(std::span<const std::byte> file, std::string_view name, std::string_view what) {
  if (file.empty()) fail("cannot read {}: the file is empty", name);
  ByteSource source(file, name);
  std::array<uint8_t, 4 + 4 * rank> header{};
  const size_t got = source.read(header);
  if (got >= 2 && (header[0] != 0 || header[1] != 0)) {
    fail("cannot read {}: expected an IDX file of {}, which begins with 00 00, found {:02x} {:02x}", name,
         what, header[0], header[1]);
  }
  if (got >= 3 && header[2] != kUnsignedByte) {
    fail("cannot read {}: expected IDX elements of type 08 (unsigned byte), found {:02x}", name, header[2]);
  }
  if (got >= 4 && header[3] != rank) {
    fail("cannot read {}: expected {}, an IDX array of {} dimensions, found {}", name, what, rank, header[3]);
  }
  if (got < header.size()) {
    fail("cannot read {}: the header is truncated: expected {} bytes, found {}", name, header.size(), got);
  }
  IdxArray<rank> array;
  uint64_t total = 1;
  for (size_t d = 0; d < rank; ++d) {
    const uint32_t extent = big_endian(header.data() + 4 + 4 * d);
    if (extent == 0) fail("cannot read {}: dimension {} is 0, so it holds no {}", name, d, what);
    array.extents[d] = extent;
    total = total > kMaxElements ? total : total * extent;  // both factors are below 2^32
  }
  if (total > kMaxElements) {
    fail("cannot read {}: the header announces more than {} bytes of {}", name, kMaxElements, what);
  }
  if (header.size() + total > source.capacity()) {
    fail("cannot read {}: the header announces {} bytes of {}, more than the {} bytes of the file can hold",
         name, total, what, file.size());
  }
  array.elements.resize(total);
  const size_t read = source.read(array.elements);
  if (read < total)
    fail("cannot read {}: it is truncated: expected {} bytes of {}, found {}", name, total, what, read);
  source.expect_end();
  return array;
}

}  // namespace

IdxImages parse_idx_images(std::span<const std::byte> file, std::string_view name) {
  IdxArray<3> array = parse<3>(file, name, "images");
  const auto [count, height, width] = array.extents;
  return {count, height, width, std::move(array.elements)};
}

std::vector<int32_t> parse_idx_labels(std::span<const std::byte> file, std::string_view name, int classes) {
  const IdxArray<1> array = parse<1>(file, name, "labels");
  for (size_t i = 0; i < array.elements.size(); ++i) {
    if (array.elements[i] >= classes) {
      fail("cannot read {}: label {} is {}, expected 0 to {}", name, i, array.elements[i], classes - 1);
    }
  }
  return {array.elements.begin(), array.elements.end()};
}

IdxImages read_idx_images(const std::filesystem::path& path) {
  return parse_idx_images(read_file_bytes(path), path.string());
}

std::vector<int32_t> read_idx_labels(const std::filesystem::path& path, int classes) {
  return parse_idx_labels(read_file_bytes(path), path.string(), classes);
}

ImageSet read_idx_set(const std::filesystem::path& images, const std::filesystem::path& labels,
                      std::vector<std::string> class_names) {
  const int classes = static_cast<int>(class_names.size());
  // The small file first: what is wrong with it is known at once.
  std::vector<int32_t> label_values = read_idx_labels(labels, classes);
  IdxImages read = read_idx_images(images);
  if (static_cast<int64_t>(label_values.size()) != read.count) {
    fail("{} holds {} images but {} holds {} labels", images.string(), read.count, labels.string(),
         label_values.size());
  }
  return {.height = read.height,
          .width = read.width,
          .channels = 1,
          .classes = classes,
          .pixels = std::move(read.pixels),
          .labels = std::move(label_values),
          .class_names = std::move(class_names)};
}

}  // namespace caltrop
