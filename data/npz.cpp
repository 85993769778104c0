#include "data/npz.h"

#include <zip.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <set>
#include <utility>

#include "data/npy.h"
#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/text.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".npy";
constexpr int64_t kMaxArchive = int64_t{1} << 34;  // of all arrays together, unpacked
constexpr uint64_t kMaxInflation = 1032;           // of DEFLATE
constexpr zip_uint16_t kEpochDate = 1 << 5 | 1;    // 1980-01-01, where zip's calendar begins
constexpr zip_uint16_t kMidnight = 0;

}  // namespace

struct ZipError {
  zip_error_t error;
  ZipError() { zip_error_init(&error); }
  ~ZipError() { zip_error_fini(&error); }
  ZipError(const ZipError&) = delete;
  ZipError& operator=(const ZipError&) = delete;
  const char* text() { return zip_error_strerror(&error); }
};

struct DiscardZip {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};
using ZipHandle = std::unique_ptr<zip_t, DiscardZip>;

// libzip writes through this into the atomic file. Left to itself, it would rename a temporary of its own,
// whose name a killed process leaves behind for ever.
struct NpzWriter::Archive {
  explicit Archive(const fs::path& where) : path(where.string()), file(where) {
    ZipError error;
    zip_source_t* source = zip_source_function_create(&Archive::serve, this, &error.error);
    if (source == nullptr) fail("cannot write {}: {}", path, error.text());
    zip.reset(zip_open_from_source(source, ZIP_CREATE | ZIP_TRUNCATE, &error.error));
    if (!zip) {
      zip_source_free(source);
      fail("cannot write {}: {}", path, error.text());
    }
  }

  static zip_int64_t serve(void* state, void* data, zip_uint64_t size, zip_source_cmd_t command) {
    return static_cast<Archive*>(state)->answer(data, size, command);
  }

  zip_int64_t answer(void* data, zip_uint64_t size, zip_source_cmd_t command) {
    switch (command) {
      case ZIP_SOURCE_SUPPORTS:
        return ZIP_SOURCE_SUPPORTS_WRITABLE;
      case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&error.error, data, size);
      case ZIP_SOURCE_BEGIN_WRITE:
      case ZIP_SOURCE_COMMIT_WRITE:  // ours comes after zip_close
      case ZIP_SOURCE_ROLLBACK_WRITE:
      case ZIP_SOURCE_FREE:
        return 0;
      case ZIP_SOURCE_TELL_WRITE:
        return file.position();
      case ZIP_SOURCE_WRITE:
        return guarded([&] {
          file.write({static_cast<const char*>(data), size});
          end = std::max(end, file.position());
          return static_cast<zip_int64_t>(size);
        });
      case ZIP_SOURCE_SEEK_WRITE: {
        const zip_int64_t target =
            zip_source_seek_compute_offset(static_cast<zip_uint64_t>(file.position()),
                                           static_cast<zip_uint64_t>(end), data, size, &error.error);
        if (target < 0) return -1;
        return guarded([&] {
          file.seek(target);
          return zip_int64_t{0};
        });
      }
      case ZIP_SOURCE_STAT:  // there is nothing to read yet
        zip_error_set(&error.error, ZIP_ER_READ, ENOENT);
        return -1;
      default:
        zip_error_set(&error.error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
  }

  // No exception may pass through libzip: what happened is kept, and told by close().
  template <typename Action>
  zip_int64_t guarded(Action action) {
    try {
      return action();
    } catch (...) {
      failure = std::current_exception();
      zip_error_set(&error.error, ZIP_ER_WRITE, EIO);
      return -1;
    }
  }

  template <typename T>
  void add(std::string_view name, std::string_view dtype, std::span<const int64_t> shape,
           std::span<const T> values) {
    if (!zip) fail("[npz] cannot add '{}' to {}: it is closed already", shown(name), path);
    if (name.empty() || name.find('/') != std::string_view::npos || shown(name, name.size()) != name) {
      fail("[npz] expected the name of an array, got '{}'", shown(name));
    }
    int64_t count = 1;
    for (const int64_t extent : shape) {
      if (extent < 0 || __builtin_mul_overflow(count, extent, &count)) count = -1;
      if (count < 0) break;
    }
    if (count != static_cast<int64_t>(values.size())) {
      fail("[npz] array '{}': shape [{}] does not have {} elements", name, fmt::join(shape, ", "),
           values.size());
    }
    if (!names.emplace(name).second) fail("[npz] array '{}' is in {} already", name, path);

    const std::string entry = fmt::format("{}{}", name, kSuffix);
    const std::string header = npy_header(dtype, shape);
    const size_t size = header.size() + values.size_bytes();
    struct Free {
      void operator()(char* memory) const { std::free(memory); }
    };
    // From malloc, because libzip is to free it.
    std::unique_ptr<char, Free> block(static_cast<char*>(std::malloc(size)));
    if (!block) fail("cannot write {}: no memory for the {} bytes of '{}'", path, size, name);
    std::copy(header.begin(), header.end(), block.get());
    if (!values.empty()) std::memcpy(block.get() + header.size(), values.data(), values.size_bytes());
    ZipError problem;
    zip_source_t* source = zip_source_buffer_create(block.get(), size, 1, &problem.error);
    if (source == nullptr) fail("cannot write {}: {}", path, problem.text());
    static_cast<void>(block.release());  // it is libzip's now
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc)
    const zip_int64_t index = zip_file_add(zip.get(), entry.c_str(), source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
      zip_source_free(source);
      fail("cannot write {}: {}", path, zip_strerror(zip.get()));
    }
    const auto at = static_cast<zip_uint64_t>(index);
    if (zip_set_file_compression(zip.get(), at, ZIP_CM_STORE, 0) != 0 ||
        zip_file_set_dostime(zip.get(), at, kMidnight, kEpochDate, 0) != 0) {
      fail("cannot write {}: {}", path, zip_strerror(zip.get()));
    }
  }

  void close() {
    if (!zip) fail("[npz] {} is closed already", path);
    if (names.empty()) fail("[npz] cannot write {}: it has no arrays", path);
    if (zip_close(zip.get()) != 0) {
      if (failure) std::rethrow_exception(failure);
      fail("cannot write {}: {}", path, zip_strerror(zip.get()));
    }
    static_cast<void>(zip.release());  // zip_close has freed it
    file.commit();
  }

  std::string path;
  AtomicFile file;
  ZipError error;
  std::exception_ptr failure;
  std::set<std::string, std::less<>> names;
  int64_t end = 0;  // bytes written
  ZipHandle zip;    // last: it calls back into the rest while it is taken down
};

NpzWriter::NpzWriter(const fs::path& path) : archive_(std::make_unique<Archive>(path)) {}
NpzWriter::~NpzWriter() = default;

void NpzWriter::add(std::string_view name, std::span<const int64_t> shape, std::span<const float> values) {
  archive_->add(name, "<f4", shape, values);
}
void NpzWriter::add(std::string_view name, std::span<const int64_t> shape, std::span<const int32_t> values) {
  archive_->add(name, "<i4", shape, values);
}
void NpzWriter::add(std::string_view name, std::span<const int64_t> shape, std::span<const int64_t> values) {
  archive_->add(name, "<i8", shape, values);
}
void NpzWriter::add(std::string_view name, std::span<const int64_t> shape, std::span<const uint8_t> values) {
  archive_->add(name, "|u1", shape, values);
}
void NpzWriter::close() {
  archive_->close();
}

std::map<std::string, NpyArray> read_npz(const fs::path& path) {
  const std::string file_name = path.string();
  std::error_code missing;
  if (!fs::is_regular_file(path, missing)) fail("cannot read {}: no such file", file_name);
  const uintmax_t file_size = fs::file_size(path, missing);
  if (missing) fail("cannot read {}: {}", file_name, missing.message());

  int code = 0;
  const ZipHandle zip(zip_open(path.c_str(), ZIP_RDONLY | ZIP_CHECKCONS, &code));
  if (!zip) {
    ZipError error;
    zip_error_init_with_code(&error.error, code);
    fail("cannot read {}: not an NPZ archive that can be read ({})", file_name, error.text());
  }
  std::map<std::string, NpyArray> arrays;
  uint64_t packed = 0, total = 0;
  const zip_int64_t entries = zip_get_num_entries(zip.get(), 0);
  for (zip_int64_t i = 0; i < entries; ++i) {
    zip_stat_t stat;
    if (zip_stat_index(zip.get(), static_cast<zip_uint64_t>(i), 0, &stat) != 0) {
      fail("cannot read {}: {}", file_name, zip_strerror(zip.get()));
    }
    constexpr zip_uint64_t kNeeded =
        ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    if ((stat.valid & kNeeded) != kNeeded) fail("cannot read {}: entry {} has no name or size", file_name, i);
    const std::string_view entry = stat.name;
    const std::string label = fmt::format("{} (entry {})", file_name, shown(entry));
    if (!entry.ends_with(kSuffix))
      fail("cannot read {}: expected the name of an array, ending in {}", label, kSuffix);
    if ((stat.comp_method != ZIP_CM_STORE && stat.comp_method != ZIP_CM_DEFLATE) ||
        ((stat.valid & ZIP_STAT_ENCRYPTION_METHOD) != 0 && stat.encryption_method != ZIP_EM_NONE)) {
      fail("cannot read {}: its compression or encryption is not supported", label);
    }
    // Entries cannot be larger than the file, nor overlap in it, nor unpack to more than the format allows.
    packed = stat.comp_size > file_size ? file_size + 1 : packed + stat.comp_size;
    if (packed > file_size || stat.size / kMaxInflation > stat.comp_size) {
      fail("cannot read {}: its size does not fit the file", label);
    }
    total += stat.size;
    if (total > static_cast<uint64_t>(kMaxArchive)) {
      fail("cannot read {}: its arrays have more than {} bytes", file_name, kMaxArchive);
    }
    struct Close {
      void operator()(zip_file_t* file) const { zip_fclose(file); }
    };
    const std::unique_ptr<zip_file_t, Close> file(
        zip_fopen_index(zip.get(), static_cast<zip_uint64_t>(i), 0));
    if (!file) fail("cannot read {}: {}", label, zip_strerror(zip.get()));
    std::vector<std::byte> bytes(stat.size);
    const zip_int64_t got = zip_fread(file.get(), bytes.data(), bytes.size());
    if (got < 0) fail("cannot read {}: {}", label, zip_file_strerror(file.get()));
    // libzip compares the checksum where the data ends, so read on to there.
    std::byte extra{};
    const zip_int64_t more = zip_fread(file.get(), &extra, 1);
    if (static_cast<zip_uint64_t>(got) != stat.size || more != 0) {
      fail("cannot read {}: its data is damaged or has not the size announced", label);
    }
    const std::string name(entry.substr(0, entry.size() - kSuffix.size()));
    if (!arrays.emplace(name, parse_npy(bytes, label)).second) {
      fail("cannot read {}: there are two arrays of this name", label);
    }
  }
  return arrays;
}

const NpyArray& NpzFile::array(const std::string& name) const {
  const auto found = arrays_.find(name);
  if (found == arrays_.end()) fail("{} lacks the array '{}'", path_.string(), name);
  return found->second;
}

const NpyArray& NpzFile::array(const std::string& name, const std::vector<int64_t>& shape) const {
  const NpyArray& found = array(name);
  if (found.shape != shape) {
    fail("{}: expected '{}' of shape ({}), got ({})", path_.string(), name, fmt::join(shape, ","),
         fmt::join(found.shape, ","));
  }
  return found;
}

const std::vector<int64_t>& NpzFile::shape(const std::string& name, size_t rank) const {
  const NpyArray& found = array(name);
  if (found.shape.size() != rank) {
    fail("{}: expected '{}' of {} dimensions, got shape ({})", path_.string(), name, rank,
         fmt::join(found.shape, ","));
  }
  return found.shape;
}

}  // namespace caltrop
