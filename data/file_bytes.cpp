#include "data/file_bytes.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <system_error>

#include "engine/checksum.h"
#include "engine/error.h"

namespace caltrop {

std::vector<std::byte> read_file_bytes(const std::filesystem::path& path, int64_t limit) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found)
    fail("cannot read {}: no such file", path.string());
  if (error) fail("cannot read {}: {}", path.string(), error.message());
  // A pipe or device could block or never end.
  if (!std::filesystem::is_regular_file(status))
    fail("cannot read {}: it is not a regular file", path.string());
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) fail("cannot read {}: {}", path.string(), error.message());
  if (size > static_cast<uintmax_t>(limit)) {
    fail("cannot read {}: expected at most {} bytes, found {}", path.string(), limit, size);
  }
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  const std::unique_ptr<std::FILE, Close> file(std::fopen(path.c_str(), "rb"));
  if (!file) fail("cannot read {}: {}", path.string(), std::strerror(errno));
  std::vector<std::byte> bytes(size);
  if (std::fread(bytes.data(), 1, bytes.size(), file.get()) != bytes.size()) {
    const char* reason =
        std::ferror(file.get()) != 0 ? std::strerror(errno) : "it became shorter while it was read";
    fail("cannot read {}: {}", path.string(), reason);
  }
  return bytes;
}

std::string file_crc32(const std::filesystem::path& path) {
  const std::vector<std::byte> bytes = read_file_bytes(path);
  return fmt::format("{:08x}", checksum(std::span(bytes)));
}

}  // namespace caltrop
