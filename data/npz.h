// NPZ archives (NumPy arrays in a zip file): how arrays and adversarial sets travel.
//
// An entry NAME.npy is "\x93NUMPY", a version, a header (a Python dict of descr, fortran_order and shape) and
// the elements. Source: numpy.lib.format. Writing gives the same bytes for the same arrays: no compression,
// no clock. Reading trusts nothing: sizes are checked before memory is taken, and what does not fit is an
// Error of one line that names the file and the entry.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace caltrop {

// Collects arrays (copied) and writes them with close(). The file appears whole or not at all: without
// close() nothing remains. That the path can be written to is checked by the constructor.
class NpzWriter {
 public:
  explicit NpzWriter(const std::filesystem::path& path);
  ~NpzWriter();
  NpzWriter(const NpzWriter&) = delete;
  NpzWriter& operator=(const NpzWriter&) = delete;

  // Row-major `values` of this shape; an Error where their number differs or the name is taken.
  void add(std::string_view name, std::span<const int64_t> shape, std::span<const float> values);
  void add(std::string_view name, std::span<const int64_t> shape, std::span<const int32_t> values);
  void add(std::string_view name, std::span<const int64_t> shape, std::span<const int64_t> values);
  void add(std::string_view name, std::span<const int64_t> shape, std::span<const uint8_t> values);
  // The same with a shape in braces: add("x", {n, 28, 28, 1}, pixels).
  template <typename Values>
  void add(std::string_view name, std::initializer_list<int64_t> shape, const Values& values) {
    add(name, std::span<const int64_t>(shape.begin(), shape.size()), std::span(std::as_const(values)));
  }

  void close();

 private:
  struct Archive;
  std::unique_ptr<Archive> archive_;
};

struct NpyArray {
  std::string dtype;  // "<f4", "|u1", "<i8", ...: little-endian integers, floats, bool ("|b1")
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;  // row-major

  int64_t size() const;  // elements

  // The elements of an array of exactly this type: float, double, (u)int8_t to int64_t; otherwise an Error
  // that calls the array `name`.
  template <typename T>
  std::span<const T> values(std::string_view name) const;

  // visit(element) for each, in its own type; an Error where they are neither integers nor floats.
  template <typename Visit>
  void for_each(std::string_view name, const Visit& visit) const;

  bool holds_integers() const;  // of any width, signed or not
  bool holds_floats() const;    // float32 or float64
};

// The type of elements as NumPy calls it: "float32" for "<f4".
std::string npy_type_name(std::string_view dtype);

// Whole numbers of an array of any integer type, and an array of float32 or float64 as float32; otherwise an Error that
// says what is expected of the array `name` and what it holds.
std::vector<int64_t> integers_of(const NpyArray& array, std::string_view name);
std::vector<float> floats_of(const NpyArray& array, std::string_view name);

// All arrays by name (without ".npy"). Refused: Fortran order, big-endian numbers, objects, strings.
std::map<std::string, NpyArray> read_npz(const std::filesystem::path& path);

// The arrays of a file of known contents: what is missing or of another shape or type is an Error that names
// both.
class NpzFile {
 public:
  explicit NpzFile(const std::filesystem::path& path) : path_(path), arrays_(read_npz(path)) {}

  bool has(const std::string& name) const { return arrays_.contains(name); }
  const std::vector<int64_t>& shape(const std::string& name, size_t rank) const;
  template <typename T>
  std::vector<T> values(const std::string& name, const std::vector<int64_t>& shape) const {
    const auto values = array(name, shape).values<T>(name + " in " + path_.string());
    return {values.begin(), values.end()};
  }

 private:
  const NpyArray& array(const std::string& name) const;
  const NpyArray& array(const std::string& name, const std::vector<int64_t>& shape) const;

  std::filesystem::path path_;
  std::map<std::string, NpyArray> arrays_;
};

// One NPY file in memory; `name` stands for it in errors.
NpyArray parse_npy(std::span<const std::byte> file, std::string_view name);
// Whether a file begins as such.
bool is_npy(std::span<const std::byte> file);

template <typename Visit>
void NpyArray::for_each(std::string_view name, const Visit& visit) const {
  const auto all = [&]<typename T>(T) {
    for (const T value : values<T>(name)) visit(value);
  };
  if (dtype == "|u1") return all(uint8_t{});
  if (dtype == "|i1") return all(int8_t{});
  if (dtype == "<u2") return all(uint16_t{});
  if (dtype == "<i2") return all(int16_t{});
  if (dtype == "<u4") return all(uint32_t{});
  if (dtype == "<i4") return all(int32_t{});
  if (dtype == "<u8") return all(uint64_t{});
  if (dtype == "<f4") return all(float{});
  if (dtype == "<f8") return all(double{});
  all(int64_t{});
}

}  // namespace caltrop
