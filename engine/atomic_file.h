// Files that appear whole or not at all: written beside their place, then renamed into it.
//
// The temporary is `.NAME.tmp` in the same directory. Its name is fixed, so what a killed process leaves
// behind is overwritten and renamed by the run that repeats its work; writers of the same file wait for each
// other. Every failure (missing directory, permission, full disk) is an Error of one line that names the file
// and the system's reason, and takes the temporary away.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace caltrop {

// Whether a file must also survive a loss of power, which costs a wait for the disk.
enum class Durability { synced, unsynced };

// An existing device or pipe (/dev/stdout) is written in place: it holds nothing to protect, and must not be
// replaced by a file.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes,
                           Durability durability = Durability::synced);

// The same in parts, for files too large to hold in memory: nothing is seen at `path` before commit(), and
// without commit() nothing remains.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::string_view bytes);  // at the current position, which moves on
  void seek(int64_t position);         // from the start, in bytes
  int64_t position() const { return position_; }
  void commit(Durability durability = Durability::synced);

 private:
  std::filesystem::path path_, target_, temporary_;  // as given, with links resolved, beside it
  int descriptor_ = -1;
  int64_t position_ = 0;
};

}  // namespace caltrop
