#include "engine/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <unordered_set>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/text.h"

namespace caltrop {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference reader
constexpr size_t kMaxDimensions = 64;              // as many as torch and NumPy allow
constexpr std::string_view kMetadataKey = "__metadata__";
constexpr uint64_t kLengthBytes = 8;

struct DtypeSize {
  std::string_view name;
  uint64_t bytes;
};
constexpr std::array kDtypes = {
    DtypeSize{"BOOL", 1},    DtypeSize{"U8", 1},      DtypeSize{"I8", 1},  DtypeSize{"F8_E4M3", 1},
    DtypeSize{"F8_E5M2", 1}, DtypeSize{"F8_E8M0", 1}, DtypeSize{"I16", 2}, DtypeSize{"U16", 2},
    DtypeSize{"F16", 2},     DtypeSize{"BF16", 2},    DtypeSize{"I32", 4}, DtypeSize{"U32", 4},
    DtypeSize{"F32", 4},     DtypeSize{"I64", 8},     DtypeSize{"U64", 8}, DtypeSize{"F64", 8},
    DtypeSize{"C64", 8},
};

std::optional<uint64_t> dtype_bytes(std::string_view dtype) {
  for (const auto& [name, bytes] : kDtypes) {
    if (name == dtype) return bytes;
  }
  return std::nullopt;
}

// Bytes of a tensor; nothing where a size is negative or the product does not fit.
std::optional<uint64_t> byte_count(const std::vector<int64_t>& shape, uint64_t element) {
  int64_t total = static_cast<int64_t>(element);
  for (const int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(total, extent, &total)) return std::nullopt;
  }
  return static_cast<uint64_t>(total);
}

std::string bracketed(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ","));
}

struct TensorEntry {
  std::string name, dtype;
  std::vector<int64_t> shape;
  std::vector<uint64_t> offsets;  // begin, end
};

struct Header {
  std::map<std::string, std::string> metadata;
  std::vector<TensorEntry> tensors;
};

// Reads the header as a stream of JSON events, of which only the grammar of the format is accepted. No
// document is built, so neither depth nor duplicate keys get past it.
class HeaderReader final : public nlohmann::json_sax<json> {
 public:
  explicit HeaderReader(std::string_view file) : file_(file) {}

  Header header;

  bool start_object(std::size_t /*elements*/) override {
    if (at_ == At::start) {
      at_ = At::top;
    } else if (at_ == At::top && key_ == kMetadataKey) {
      at_ = At::metadata;
    } else if (at_ == At::top) {
      at_ = At::tensor;
      header.tensors.push_back({.name = key_, .dtype = {}, .shape = {}, .offsets = {}});
      seen_ = {};
    } else {
      refuse_value("an object");
    }
    return true;
  }

  bool key(string_t& name) override {
    key_ = std::move(name);
    if (at_ == At::top) {
      if (!names_.insert(key_).second) fail("{}: the header names '{}' twice", file_, shown(key_));
    } else if (at_ == At::metadata) {
      if (header.metadata.contains(key_)) fail("{}: the metadata names '{}' twice", file_, shown(key_));
    } else {
      bool& seen = seen_[field()];
      if (seen) fail("{}: tensor '{}' gives its {} twice", file_, tensor_name(), key_);
      seen = true;
    }
    return true;
  }

  bool end_object() override {
    if (at_ == At::tensor) {
      for (size_t i = 0; i < kFields.size(); ++i) {
        if (!seen_[i]) fail("{}: tensor '{}' has no {}", file_, tensor_name(), kFields[i]);
      }
    }
    at_ = at_ == At::top ? At::done : At::top;
    return true;
  }

  bool start_array(std::size_t /*elements*/) override {
    if (at_ == At::tensor && key_ == "shape") {
      at_ = At::shape;
    } else if (at_ == At::tensor && key_ == "data_offsets") {
      at_ = At::offsets;
    } else {
      refuse_value("an array");
    }
    return true;
  }

  bool end_array() override {
    if (at_ == At::offsets && header.tensors.back().offsets.size() != 2) {
      fail("{}: tensor '{}' has {} data offsets where begin and end are expected", file_, tensor_name(),
           header.tensors.back().offsets.size());
    }
    at_ = At::tensor;
    return true;
  }

  bool string(string_t& text) override {
    if (at_ == At::metadata) {
      header.metadata.emplace(key_, std::move(text));
    } else if (at_ == At::tensor && key_ == "dtype") {
      if (!dtype_bytes(text)) {
        fail("{}: tensor '{}' has the unknown dtype '{}'", file_, tensor_name(), shown(text));
      }
      header.tensors.back().dtype = std::move(text);
    } else {
      refuse_value("a string");
    }
    return true;
  }

  bool number_unsigned(number_unsigned_t number) override {
    if (at_ == At::shape) {
      if (header.tensors.back().shape.size() == kMaxDimensions) {
        fail("{}: tensor '{}' has more than {} dimensions", file_, tensor_name(), kMaxDimensions);
      }
      if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        refuse_value("a number beyond 2^63");
      header.tensors.back().shape.push_back(static_cast<int64_t>(number));
    } else if (at_ == At::offsets) {
      if (header.tensors.back().offsets.size() == 2) {
        fail("{}: tensor '{}' has more than two data offsets", file_, tensor_name());
      }
      header.tensors.back().offsets.push_back(number);
    } else {
      refuse_value("a number");
    }
    return true;
  }

  bool number_integer(number_integer_t number) override {
    refuse_value(fmt::format("the negative number {}", number));
  }
  bool number_float(number_float_t /*number*/, const string_t& text) override {
    refuse_value(fmt::format("the number {}", shown(text, 30)));
  }
  bool null() override { refuse_value("null"); }
  bool boolean(bool value) override { refuse_value(value ? "true" : "false"); }
  bool binary(binary_t& /*bytes*/) override { refuse_value("binary data"); }

  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const json::exception& /*error*/) override {
    fail("{}: the header is not valid JSON (at its byte {})", file_, position);
  }

 private:
  enum class At : uint8_t { start, top, metadata, tensor, shape, offsets, done };
  static constexpr std::array<std::string_view, 3> kFields = {"dtype", "shape", "data_offsets"};

  std::string tensor_name() const { return shown(header.tensors.back().name); }

  size_t field() const {
    const auto* found = std::find(kFields.begin(), kFields.end(), key_);
    if (found == kFields.end()) {
      fail("{}: tensor '{}' has the unknown entry '{}'; known are dtype, shape and data_offsets", file_,
           tensor_name(), shown(key_));
    }
    return static_cast<size_t>(found - kFields.begin());
  }

  [[noreturn]] void refuse_value(std::string_view found) const {
    switch (at_) {
      case At::start:
      case At::done:
        fail("{}: the header must be a JSON object, found {}", file_, found);
      case At::top:
        fail("{}: the header's entry '{}' must be an object, found {}", file_, shown(key_), found);
      case At::metadata:
        fail("{}: the metadata entry '{}' must be a string, found {}", file_, shown(key_), found);
      case At::tensor:
        fail("{}: the {} of tensor '{}' must be {}, found {}", file_, key_, tensor_name(),
             key_ == "dtype" ? "a string" : "an array", found);
      case At::shape:
      case At::offsets:
        fail("{}: the {} of tensor '{}' must hold non-negative integers, found {}", file_, key_,
             tensor_name(), found);
    }
    fail("{}: unexpected {} in the header", file_, found);
  }

  std::string_view file_;
  At at_ = At::start;
  std::string key_;
  std::array<bool, kFields.size()> seen_ = {};
  std::unordered_set<std::string> names_;
};

// Sorts the tensors by their place and checks that they tile the data exactly.
void check_layout(std::vector<TensorEntry>& tensors, uint64_t data_bytes, std::string_view file) {
  for (const TensorEntry& tensor : tensors) {
    const std::string name = shown(tensor.name);
    const uint64_t begin = tensor.offsets[0], end = tensor.offsets[1];
    if (begin > end) fail("{}: tensor '{}' ends at byte {} before it begins at {}", file, name, end, begin);
    if (end > data_bytes) {
      fail("{}: tensor '{}' ends at byte {} of {} bytes of data; the file is truncated or damaged", file,
           name, end, data_bytes);
    }
    const auto bytes = byte_count(tensor.shape, dtype_bytes(tensor.dtype).value_or(0));
    if (!bytes) fail("{}: the shape of tensor '{}', {}, overflows", file, name, bracketed(tensor.shape));
    if (*bytes != end - begin) {
      fail("{}: tensor '{}' of dtype {} and shape {} takes {} bytes, but its data offsets span {}", file,
           name, tensor.dtype, bracketed(tensor.shape), *bytes, end - begin);
    }
  }
  std::stable_sort(tensors.begin(), tensors.end(),
                   [](const TensorEntry& a, const TensorEntry& b) { return a.offsets < b.offsets; });
  uint64_t expected = 0;
  for (const TensorEntry& tensor : tensors) {
    if (tensor.offsets[0] != expected) {
      fail("{}: tensor '{}' begins at byte {} of the data where {} is expected: tensors {}", file,
           shown(tensor.name), tensor.offsets[0], expected,
           tensor.offsets[0] < expected ? "overlap" : "leave a hole");
    }
    expected = tensor.offsets[1];
  }
  if (expected != data_bytes) {
    fail("{}: {} bytes follow the last tensor, which ends at byte {} of the data", file,
         data_bytes - expected, expected);
  }
}

uint64_t checked_header_bytes(std::span<const std::byte> start, uint64_t file_bytes, std::string_view file) {
  if (file_bytes < kLengthBytes) {
    fail("{}: not a safetensors file: {} bytes, too short for the header's length", file, file_bytes);
  }
  uint64_t length = 0;
  std::memcpy(&length, start.data(), sizeof length);
  if (length > kMaxHeaderBytes) {
    fail("{}: not a safetensors file: its header would take {} bytes, at most {} are allowed", file, length,
         kMaxHeaderBytes);
  }
  if (length > file_bytes - kLengthBytes) {
    fail("{}: the header should take {} bytes but the file ends after {}; it is truncated", file, length,
         file_bytes - kLengthBytes);
  }
  return length;
}

Header parse_header(std::string_view text, uint64_t data_bytes, std::string_view file) {
  if (!text.starts_with('{')) fail("{}: not a safetensors file: the header must begin with '{{'", file);
  // nlohmann's parser takes a zero byte for the end of its input and would overlook what follows.
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {
    fail("{}: the header is not valid JSON (at its byte {})", file, zero + 1);
  }
  HeaderReader reader(file);
  json::sax_parse(text.begin(), text.end(), &reader);
  check_layout(reader.header.tensors, data_bytes, file);
  return std::move(reader.header);
}

}  // namespace

SafeTensor SafeTensor::from_floats(std::vector<int64_t> shape, std::span<const float> values) {
  if (byte_count(shape, sizeof(float)) != values.size_bytes()) {
    fail("[safetensors] expected as many values as shape {} holds, got {}", bracketed(shape), values.size());
  }
  const auto bytes = std::as_bytes(values);
  return {.dtype = "F32", .shape = std::move(shape), .bytes = {bytes.begin(), bytes.end()}};
}

std::span<const float> SafeTensor::floats() const {
  if (dtype != "F32") fail("[safetensors] expected a tensor of dtype F32, got {}", shown(dtype));
  return {reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)};
}

const SafeTensor* SafeTensorFile::find(std::string_view name) const {
  const auto found =
      std::find_if(tensors.begin(), tensors.end(), [&](const auto& entry) { return entry.first == name; });
  return found == tensors.end() ? nullptr : &found->second;
}

std::optional<int64_t> SafeTensorFile::number(const std::string& key) const {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return std::nullopt;
  const std::string& text = found->second;
  int64_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size() && value >= 0;
  return whole ? std::optional(value) : std::nullopt;
}

SafeTensorFile parse_safetensors(std::span<const std::byte> file, std::string_view name) {
  const uint64_t header_bytes = checked_header_bytes(file, file.size(), name);
  const auto text = file.subspan(kLengthBytes, header_bytes);
  const auto data = file.subspan(kLengthBytes + header_bytes);
  Header header = parse_header({reinterpret_cast<const char*>(text.data()), text.size()}, data.size(), name);
  SafeTensorFile result{.metadata = std::move(header.metadata), .tensors = {}};
  for (TensorEntry& entry : header.tensors) {
    const auto bytes = data.subspan(entry.offsets[0], entry.offsets[1] - entry.offsets[0]);
    result.tensors.emplace_back(std::move(entry.name), SafeTensor{.dtype = std::move(entry.dtype),
                                                                  .shape = std::move(entry.shape),
                                                                  .bytes = {bytes.begin(), bytes.end()}});
  }
  return result;
}

SafeTensorFile read_safetensors(const std::filesystem::path& path) {
  const std::string name = path.string();
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) fail("{}: no such file", name);
  if (status.type() != std::filesystem::file_type::regular) fail("{}: not a regular file", name);
  const uint64_t file_bytes = std::filesystem::file_size(path, error);
  std::ifstream stream(path, std::ios::binary);
  if (error || !stream) fail("{}: cannot be opened for reading", name);

  const auto read = [&](void* into, uint64_t bytes) {
    if (!stream.read(static_cast<char*>(into), static_cast<std::streamsize>(bytes))) {
      fail("{}: reading failed, or the file shrank while it was read", name);
    }
  };
  std::array<std::byte, kLengthBytes> start = {};
  if (file_bytes >= kLengthBytes) read(start.data(), kLengthBytes);
  const uint64_t header_bytes = checked_header_bytes(start, file_bytes, name);
  std::string text(header_bytes, '\0');
  read(text.data(), header_bytes);
  Header header = parse_header(text, file_bytes - kLengthBytes - header_bytes, name);

  // The entries tile the data in order, so that reading on is reading each in its place.
  SafeTensorFile result{.metadata = std::move(header.metadata), .tensors = {}};
  for (TensorEntry& entry : header.tensors) {
    SafeTensor tensor{.dtype = std::move(entry.dtype), .shape = std::move(entry.shape), .bytes = {}};
    tensor.bytes.resize(entry.offsets[1] - entry.offsets[0]);
    read(tensor.bytes.data(), tensor.bytes.size());
    result.tensors.emplace_back(std::move(entry.name), std::move(tensor));
  }
  return result;
}

std::string serialize_safetensors(const SafeTensorFile& file, std::string_view name) {
  std::unordered_set<std::string_view> names;
  std::vector<size_t> order(file.tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (const auto& [tensor_name, tensor] : file.tensors) {
    const auto element = dtype_bytes(tensor.dtype);
    if (!element)
      fail("{}: tensor '{}' has the unknown dtype '{}'", name, shown(tensor_name), shown(tensor.dtype));
    if (tensor.shape.size() > kMaxDimensions || byte_count(tensor.shape, *element) != tensor.bytes.size()) {
      fail("{}: tensor '{}' of dtype {} holds {} bytes, which does not fit its shape {}", name,
           shown(tensor_name), tensor.dtype, tensor.bytes.size(), bracketed(tensor.shape));
    }
    if (tensor_name == kMetadataKey || !names.insert(tensor_name).second) {
      fail("{}: a tensor cannot be named '{}': the name is taken", name, shown(tensor_name));
    }
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return dtype_bytes(file.tensors[a].second.dtype) > dtype_bytes(file.tensors[b].second.dtype);
  });

  std::string header = "{";
  uint64_t data_bytes = 0;
  try {
    if (!file.metadata.empty()) {
      header += fmt::format("\"{}\":{}", kMetadataKey, json(file.metadata).dump());
    }
    for (const size_t index : order) {
      const auto& [tensor_name, tensor] = file.tensors[index];
      if (header.size() > 1) header += ',';
      header +=
          fmt::format(R"({}:{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})", json(tensor_name).dump(),
                      tensor.dtype, bracketed(tensor.shape), data_bytes, data_bytes + tensor.bytes.size());
      data_bytes += tensor.bytes.size();
    }
  } catch (const json::exception&) {
    fail("{}: a tensor's name or the metadata is not valid UTF-8", name);
  }
  header += '}';
  header.append((8 - header.size() % 8) % 8, ' ');  // aligns the data, as the reference writer does
  if (header.size() > kMaxHeaderBytes) {
    fail("{}: the header would take {} bytes, at most {} are allowed", name, header.size(), kMaxHeaderBytes);
  }

  std::string bytes;
  bytes.reserve(kLengthBytes + header.size() + data_bytes);
  const uint64_t length = header.size();
  bytes.append(reinterpret_cast<const char*>(&length), sizeof length).append(header);
  for (const size_t index : order) {
    const auto& data = file.tensors[index].second.bytes;
    bytes.append(reinterpret_cast<const char*>(data.data()), data.size());
  }
  return bytes;
}

void write_safetensors(const std::filesystem::path& path, const SafeTensorFile& file) {
  write_file_atomically(path, serialize_safetensors(file, path.string()));
}

}  // namespace caltrop
