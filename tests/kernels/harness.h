// What every check of the contract stands on: buffers with guard bands, a report that NaN cannot pass, and
// the list of backends that the suite runs over.
#pragma once

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "tests/reference.h"

namespace caltrop::test {

using reference::Samples;
using reference::Values;

// Half the spacing of floats at 1: the largest relative error of one rounding.
inline constexpr double kRounding = 0x1p-24;
inline constexpr double kSmallest = 0x1p-149;  // the smallest positive float

// Equality that tells -0 from 0 and knows NaN.
template <typename T>
bool same_bits(const T& a, const T& b) {
  using Bytes = std::array<unsigned char, sizeof(T)>;
  return std::bit_cast<Bytes>(a) == std::bit_cast<Bytes>(b);
}

// The outcome of one check. It fails on the first wrong value, and also when nothing was compared.
class Report {
 public:
  // Each |actual - expected| <= tolerance. Infinities and NaNs must be equal in kind.
  void compare(const std::string& what, std::span<const float> actual, const Values& expected,
               const Values& tolerance);
  void compare(const std::string& what, std::span<const float> actual, const Values& expected,
               double tolerance);
  // Each |actual - expected| <= roundings * 2^-24 * scale: `scale` is the sum of magnitudes of an element's
  // terms.
  void compare_sums(const std::string& what, std::span<const float> actual, const Values& expected,
                    const Values& scale, double terms);
  template <typename T>
  void equal(const std::string& what, const std::vector<T>& actual, const std::vector<T>& expected);
  void expect(bool right, const std::string& what);

  bool passed() const { return failure_.empty() && compared_ > 0; }
  std::string failure() const { return compared_ == 0 ? "nothing was compared" : failure_; }
  int64_t compared() const { return compared_; }
  double worst() const { return worst_; }  // largest share of a tolerance that was used

 private:
  void fail_with(const std::string& text);

  std::string failure_;
  int64_t compared_ = 0;
  double worst_ = 0;
};

template <typename T>
void Report::equal(const std::string& what, const std::vector<T>& actual, const std::vector<T>& expected) {
  expect(actual.size() == expected.size(), what + ": sizes differ");
  for (size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
    ++compared_;
    if (!(actual[i] == expected[i]))
      fail_with(fmt::format("{}[{}]: expected {}, got {}", what, i, expected[i], actual[i]));
  }
}

// Whether arrays of the checks begin at addresses that vector accesses allow, or beside them. Kernels have a
// path for each; the tested backends differ in it.
inline bool aligned_arrays = false;

// A block of the backend's memory that holds `band` elements before and after the values that a kernel may
// write. All of it starts as a sentinel: NaN for floats, so that what is never written is seen.
template <typename T>
class Output {
 public:
  Output(Backend& backend, int64_t count)
      : Output(backend, std::vector<T>(static_cast<size_t>(count), sentinel())) {}
  // State that a kernel updates in place.
  Output(Backend& backend, const std::vector<T>& values)
      : backend_(backend), count_(values.size()), band_(aligned_arrays ? kAligned : kUnaligned) {
    std::vector<T> all(count_ + 2 * band_, sentinel());
    std::copy(values.begin(), values.end(), all.begin() + static_cast<std::ptrdiff_t>(band_));
    block_ = static_cast<T*>(backend.allocate(all.size() * sizeof(T)));
    backend.upload(block_, all.data(), all.size() * sizeof(T));
  }
  ~Output() { backend_.deallocate(block_, (count_ + 2 * band_) * sizeof(T)); }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  T* data() const { return block_ + band_; }
  // The values; the report fails when a band was touched.
  std::vector<T> take(Report& report, const std::string& what) const {
    std::vector<T> all(count_ + 2 * band_);
    backend_.download(all.data(), block_, all.size() * sizeof(T));
    const T guard = sentinel();
    bool intact = true;
    for (size_t i = 0; i < band_; ++i) {
      intact = intact && same_bits(all[i], guard);
      intact = intact && same_bits(all[band_ + count_ + i], guard);
    }
    report.expect(intact, what + ": wrote outside its output");
    const auto band = static_cast<std::ptrdiff_t>(band_);
    return std::vector<T>(all.begin() + band, all.end() - band);
  }

 private:
  static constexpr size_t kUnaligned = 17, kAligned = 16;  // elements of a band
  static T sentinel() {
    T value;
    std::memset(&value, std::is_same_v<T, float> ? 0xFF : 0xA5, sizeof(T));
    return value;
  }

  Backend& backend_;
  size_t count_, band_;
  T* block_;
};

// Values that a kernel reads. They end with their block, where AddressSanitizer watches, and begin one
// element into it, since chunks of a batch need not be aligned, or 16 bytes where they shall be.
template <typename T>
class Input {
 public:
  Input(Backend& backend, const std::vector<T>& values)
      : backend_(backend),
        offset_(aligned_arrays ? 16 / sizeof(T) : 1),
        bytes_((values.size() + offset_) * sizeof(T)) {
    block_ = static_cast<T*>(backend.allocate(bytes_));
    backend.upload(block_ + offset_, values.data(), values.size() * sizeof(T));
  }
  ~Input() { backend_.deallocate(block_, bytes_); }
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;
  operator const T*() const { return block_ + offset_; }

 private:
  Backend& backend_;
  size_t offset_, bytes_;
  T* block_;
};

// One way of computing: a backend, on the CPU once for each instruction set.
struct TestedBackend {
  std::string name;
  std::string absent;  // why it cannot run here; empty where it can
  Backend* backend;
  std::function<void()> enter, leave = {};
};
// The emulated device, in each order of threads.
std::vector<TestedBackend> emulated_backends();
// Every backend of a test program, present or absent: each program has one definition (backends.cpp).
std::vector<TestedBackend> all_backends();
// The same; where CALTROP_TEST_BACKEND=cuda is in the environment, only those whose names begin so are
// present (under a tool that makes the others slow). An absent one is a visible SKIP in parity_test.cpp, never a pass.
std::vector<TestedBackend> asked_backends();
// Runs body on each backend that is present, with its name in doctest's messages.
void for_each_backend(const std::function<void(Backend&)>& body);

}  // namespace caltrop::test
