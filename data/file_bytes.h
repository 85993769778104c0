// A whole file in memory, with the checks that every reader of this room needs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace caltrop {

inline constexpr int64_t kMaxFileBytes = int64_t{1} << 30;

// An Error of one line where the file is missing, not a regular file, unreadable, or larger than `limit`.
std::vector<std::byte> read_file_bytes(const std::filesystem::path& path, int64_t limit = kMaxFileBytes);

// The CRC-32 of such a file, as facts of a run have it: 8 hexadecimal digits.
std::string file_crc32(const std::filesystem::path& path);

}  // namespace caltrop
