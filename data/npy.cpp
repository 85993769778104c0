#include "data/npy.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <optional>
#include <type_traits>
#include <utility>

#include "data/npz.h"
#include "engine/error.h"
#include "engine/text.h"

namespace caltrop {
namespace {

static_assert(std::endian::native == std::endian::little, "arrays are written as they lie in memory");

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kAlignment = 64;
constexpr size_t kMaxHeader = 1 << 16;
constexpr size_t kMaxRank = 32;    // NumPy's own limit before version 2
constexpr size_t kMaxName = 1000;  // of an array and its file, in an error

struct ElementType {
  std::string_view dtype;
  int64_t size;
  std::string_view name;  // NumPy's
};
constexpr std::array kElementTypes = {
    ElementType{"|b1", 1, "bool"},    ElementType{"|i1", 1, "int8"},    ElementType{"|u1", 1, "uint8"},
    ElementType{"<i2", 2, "int16"},   ElementType{"<u2", 2, "uint16"},  ElementType{"<i4", 4, "int32"},
    ElementType{"<u4", 4, "uint32"},  ElementType{"<i8", 8, "int64"},   ElementType{"<u8", 8, "uint64"},
    ElementType{"<f4", 4, "float32"}, ElementType{"<f8", 8, "float64"},
};

const ElementType* find_type(std::string_view dtype) {
  const auto* type = std::ranges::find(kElementTypes, dtype, &ElementType::dtype);
  return type == kElementTypes.end() ? nullptr : type;
}

// The header is a Python literal: a dict of exactly these three keys.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, std::string_view name) : text_(text), name_(name) {}

  void parse(NpyArray& array) {
    std::optional<bool> fortran;
    bool has_shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string_view key = quoted();
      expect(':');
      if (key == "descr" && array.dtype.empty()) {
        if (peek() != '\'' && peek() != '"')
          fail("cannot read {}: structured arrays are not supported", name_);
        array.dtype = std::string(quoted());
      } else if (key == "fortran_order" && !fortran) {
        fortran = boolean();
      } else if (key == "shape" && !has_shape) {
        array.shape = tuple();
        has_shape = true;
      } else {
        fail("cannot read {}: unexpected key '{}' in the array's header", name_, shown(key));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (position_ != text_.size()) damaged();
    if (array.dtype.empty() || !fortran || !has_shape) {
      fail("cannot read {}: the array's header lacks descr, fortran_order or shape", name_);
    }
    if (*fortran && array.shape.size() > 1) {
      fail(
          "cannot read {}: expected row-major elements, found Fortran order; save numpy.ascontiguousarray of "
          "it",
          name_);
    }
  }

 private:
  [[noreturn]] void damaged() const { fail("cannot read {}: the array's header is damaged", name_); }

  void skip_space() {
    while (position_ < text_.size() && (text_[position_] == ' ' || text_[position_] == '\n')) ++position_;
  }
  char peek() {
    skip_space();
    return position_ < text_.size() ? text_[position_] : '\0';
  }
  bool accept(char wanted) {
    if (peek() != wanted) return false;
    ++position_;
    return true;
  }
  void expect(char wanted) {
    if (!accept(wanted)) damaged();
  }
  std::string_view quoted() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') damaged();
    const size_t end = text_.find(quote, ++position_);
    if (end == std::string_view::npos) damaged();
    const std::string_view inside = text_.substr(position_, end - position_);
    position_ = end + 1;
    return inside;
  }
  bool boolean() {
    skip_space();
    for (const std::string_view word : {"True", "False"}) {
      if (!text_.substr(position_).starts_with(word)) continue;
      position_ += word.size();
      return word == "True";
    }
    damaged();
  }
  std::vector<int64_t> tuple() {
    std::vector<int64_t> values;
    expect('(');
    while (!accept(')')) {
      skip_space();
      int64_t value = 0;
      const char* begin = text_.data() + position_;
      const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
      if (error != std::errc() || value < 0 || values.size() == kMaxRank) {
        fail("cannot read {}: the array's shape is damaged or too large", name_);
      }
      position_ += static_cast<size_t>(end - begin);
      values.push_back(value);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return values;
  }

  std::string_view text_, name_;
  size_t position_ = 0;
};

template <typename T>
constexpr std::string_view dtype_of();
// clang-format off
template <> constexpr std::string_view dtype_of<int8_t>() { return "|i1"; }
template <> constexpr std::string_view dtype_of<uint8_t>() { return "|u1"; }
template <> constexpr std::string_view dtype_of<int16_t>() { return "<i2"; }
template <> constexpr std::string_view dtype_of<uint16_t>() { return "<u2"; }
template <> constexpr std::string_view dtype_of<int32_t>() { return "<i4"; }
template <> constexpr std::string_view dtype_of<uint32_t>() { return "<u4"; }
template <> constexpr std::string_view dtype_of<int64_t>() { return "<i8"; }
template <> constexpr std::string_view dtype_of<uint64_t>() { return "<u8"; }
template <> constexpr std::string_view dtype_of<float>() { return "<f4"; }
template <> constexpr std::string_view dtype_of<double>() { return "<f8"; }
// clang-format on

}  // namespace

int64_t npy_element_size(std::string_view dtype) {
  const ElementType* type = find_type(dtype);
  return type ? type->size : 0;
}

std::string npy_type_name(std::string_view dtype) {
  if (const ElementType* type = find_type(dtype)) return std::string(type->name);
  // Types that are not read: a byte order, a kind, a size.
  const std::string code = fmt::format("'{}'", shown(dtype));
  if (dtype == "<f2") return "float16";
  if (dtype == "|O") return fmt::format("Python objects ({})", code);
  if (dtype.starts_with("<U") || dtype.starts_with("|S")) return fmt::format("text ({})", code);
  if (dtype.starts_with(">")) return fmt::format("big-endian numbers ({})", code);
  return code;
}

std::string npy_header(std::string_view dtype, std::span<const int64_t> shape) {
  const std::string comma = shape.size() == 1 ? "," : "";  // a Python tuple of one
  std::string dict = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}", dtype,
                                 fmt::join(shape, ", "), comma);
  constexpr size_t kPrefix = kMagic.size() + 2 + 2;  // version, length
  dict.append(kAlignment - 1 - (kPrefix + dict.size()) % kAlignment, ' ');
  dict += '\n';
  std::string header(kMagic);
  header += {'\x01', '\x00', static_cast<char>(dict.size() & 0xff), static_cast<char>(dict.size() >> 8)};
  return header + dict;
}

bool is_npy(std::span<const std::byte> file) {
  return std::string_view(reinterpret_cast<const char*>(file.data()), file.size()).starts_with(kMagic);
}

NpyArray parse_npy(std::span<const std::byte> file, std::string_view name) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (!is_npy(file) || text.size() < kMagic.size() + 2) fail("cannot read {}: not an NPY array", name);
  const auto major = static_cast<uint8_t>(text[kMagic.size()]);
  if (major < 1 || major > 3) fail("cannot read {}: NPY version {} is not known", name, major);
  const size_t begin = kMagic.size() + 2, width = major == 1 ? 2 : 4;
  if (text.size() < begin + width) fail("cannot read {}: the array's header is truncated", name);
  size_t length = 0;
  for (size_t i = width; i-- > 0;) length = length << 8 | static_cast<uint8_t>(text[begin + i]);
  if (length > kMaxHeader || text.size() - begin - width < length) {
    fail("cannot read {}: the array's header is truncated or too long", name);
  }
  NpyArray array;
  HeaderParser(text.substr(begin + width, length), name).parse(array);

  int64_t size = npy_element_size(array.dtype);
  if (size == 0) {
    fail("cannot read {}: expected integers, float32, float64 or bool, found {}", name,
         npy_type_name(array.dtype));
  }
  const std::span<const std::byte> elements = file.subspan(begin + width + length);
  for (const int64_t extent : array.shape) {
    if (__builtin_mul_overflow(size, extent, &size))
      fail("cannot read {}: the array's shape overflows", name);
  }
  if (size != static_cast<int64_t>(elements.size())) {
    fail("cannot read {}: its shape [{}] of {} needs {} bytes, found {}", name, fmt::join(array.shape, ", "),
         npy_type_name(array.dtype), size, elements.size());
  }
  array.bytes.assign(elements.begin(), elements.end());
  return array;
}

int64_t NpyArray::size() const {
  int64_t size = 1;
  for (const int64_t extent : shape) size *= extent;
  return size;
}

template <typename T>
std::span<const T> NpyArray::values(std::string_view name) const {
  if (dtype != dtype_of<T>()) {
    fail("{}: expected {}, found {}", shown(name, kMaxName), npy_type_name(dtype_of<T>()),
         npy_type_name(dtype));
  }
  return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
}

bool NpyArray::holds_floats() const {
  return dtype == "<f4" || dtype == "<f8";
}

bool NpyArray::holds_integers() const {
  return find_type(dtype) != nullptr && dtype != "|b1" && !holds_floats();
}

std::vector<int64_t> integers_of(const NpyArray& array, std::string_view name) {
  if (!array.holds_integers())
    fail("{}: expected integers (int64, int32, uint8, ...), found {}", shown(name, kMaxName),
         npy_type_name(array.dtype));
  std::vector<int64_t> integers;
  array.for_each(name, [&](auto value) {
    if constexpr (std::is_same_v<decltype(value), uint64_t>) {
      if (!std::in_range<int64_t>(value)) fail("{}: {} is too large", shown(name, kMaxName), value);
    }
    integers.push_back(static_cast<int64_t>(value));
  });
  return integers;
}

std::vector<float> floats_of(const NpyArray& array, std::string_view name) {
  if (!array.holds_floats())
    fail("{}: expected float32 or float64, found {}", shown(name, kMaxName), npy_type_name(array.dtype));
  std::vector<float> floats;
  array.for_each(name, [&](auto value) { floats.push_back(static_cast<float>(value)); });
  return floats;
}

template std::span<const int8_t> NpyArray::values(std::string_view) const;
template std::span<const uint8_t> NpyArray::values(std::string_view) const;
template std::span<const int16_t> NpyArray::values(std::string_view) const;
template std::span<const uint16_t> NpyArray::values(std::string_view) const;
template std::span<const int32_t> NpyArray::values(std::string_view) const;
template std::span<const uint32_t> NpyArray::values(std::string_view) const;
template std::span<const int64_t> NpyArray::values(std::string_view) const;
template std::span<const uint64_t> NpyArray::values(std::string_view) const;
template std::span<const float> NpyArray::values(std::string_view) const;
template std::span<const double> NpyArray::values(std::string_view) const;

}  // namespace caltrop
