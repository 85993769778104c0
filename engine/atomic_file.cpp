#include "engine/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "engine/error.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kMode = 0666;  // less the user's umask

[[noreturn]] void fail_to_write(const fs::path& path, int reason) {
  fail("cannot write {}: {}", path.string(), std::strerror(reason));
}

// 0, or the reason (errno) why not all could be written.
int write_all(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return 0;
}

// The file behind a symbolic link is replaced, not the link.
fs::path resolve(const fs::path& path) {
  std::error_code error;
  if (!fs::is_symlink(path, error)) return path;
  fs::path target = fs::weakly_canonical(path, error);
  if (error) fail_to_write(path, error.value());
  return target;
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// Opens the temporary and holds its lock, so that of several writers of a file one writes at a time.
int open_locked(const fs::path& temporary, const fs::path& path) {
  for (;;) {
    const int descriptor = ::open(temporary.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kMode);
    if (descriptor < 0) fail_to_write(path, errno);
    int locked;
    do {
      locked = ::flock(descriptor, LOCK_EX);
    } while (locked != 0 && errno == EINTR);
    // A file system without locks is no reason to fail: it only loses the protection against a second writer.
    struct stat mine {
    }, named{};
    if (::fstat(descriptor, &mine) == 0 && ::stat(temporary.c_str(), &named) == 0 && same_file(mine, named)) {
      return descriptor;
    }
    ::close(descriptor);  // the writer that we waited for has renamed this file: begin again
  }
}

}  // namespace

AtomicFile::AtomicFile(const fs::path& path) : path_(path), target_(resolve(path)) {
  if (!target_.has_filename()) fail("cannot write '{}': expected the name of a file", path.string());
  struct stat status {};
  if (::stat(target_.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    fail("cannot write {}: {}", path.string(),
         S_ISDIR(status.st_mode) ? "it is a directory" : "it is not a regular file");
  }
  temporary_ = target_.parent_path() / ("." + target_.filename().string() + ".tmp");
  descriptor_ = open_locked(temporary_, path_);
  if (::ftruncate(descriptor_, 0) != 0) {
    const int reason = errno;
    ::unlink(temporary_.c_str());
    ::close(descriptor_);
    fail_to_write(path_, reason);
  }
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::unlink(temporary_.c_str());
  ::close(descriptor_);
}

void AtomicFile::write(std::string_view bytes) {
  if (const int reason = write_all(descriptor_, bytes); reason != 0) fail_to_write(path_, reason);
  position_ += static_cast<int64_t>(bytes.size());
}

void AtomicFile::seek(int64_t position) {
  if (::lseek(descriptor_, position, SEEK_SET) < 0) fail_to_write(path_, errno);
  position_ = position;
}

void AtomicFile::commit(Durability durability) {
  if (durability == Durability::synced && ::fsync(descriptor_) != 0) fail_to_write(path_, errno);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail_to_write(path_, errno);
  const int descriptor = descriptor_;
  descriptor_ = -1;
  // Network file systems may report a full disk only here; the file is then already in place, so say so.
  if (::close(descriptor) != 0) fail_to_write(path_, errno);
}

void write_file_atomically(const fs::path& path, std::string_view bytes, Durability durability) {
  struct stat status {};
  const bool device =
      ::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
  if (device) {
    const int descriptor = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (descriptor < 0) fail_to_write(path, errno);
    int reason = write_all(descriptor, bytes);
    if (::close(descriptor) != 0 && reason == 0) reason = errno;
    if (reason != 0) fail_to_write(path, reason);
    return;
  }
  AtomicFile file(path);
  file.write(bytes);
  file.commit(durability);
}

}  // namespace caltrop
