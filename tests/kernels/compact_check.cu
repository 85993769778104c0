// The algorithms of kernels/compact.cuh against plain loops, on a stream of the world that compiles this
// file.
#include "tests/kernels/compact_check.cuh"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/compact.cuh"
#include "kernels/philox.h"

namespace caltrop::CALTROP_WORLD {
namespace {

constexpr int64_t kUntouched = -7;

template <typename T>
class Array {
 public:
  Array(Stream& stream, const std::vector<T>& values)
      : stream_(stream), count_(values.size()), memory_(stream, static_cast<int64_t>(values.size()) + 1) {
    stream.upload(memory_.data(), values.data(), count_ * sizeof(T));
  }
  T* data() const { return memory_.data(); }
  std::vector<T> values() const {
    std::vector<T> all(count_);
    stream_.download(all.data(), memory_.data(), count_ * sizeof(T));
    return all;
  }

 private:
  Stream& stream_;
  size_t count_;
  Scratch<T> memory_;
};

std::vector<int64_t> untouched(int64_t count) {
  return std::vector<int64_t>(static_cast<size_t>(count), kUntouched);
}

struct Checks {
  Stream stream;
  CompactResult result;

  void equal(const std::string& what, const std::vector<int64_t>& actual,
             const std::vector<int64_t>& expected) {
    result.compared += static_cast<int64_t>(expected.size()) + 1;
    if (actual != expected && result.failure.empty()) result.failure = what + " is wrong";
  }

  void compact_of(const std::vector<uint8_t>& keep) {
    const auto count = static_cast<int64_t>(keep.size());
    std::vector<int64_t> expected = untouched(count);
    int64_t kept = 0;
    for (int64_t i = 0; i < count; ++i) {
      if (keep[static_cast<size_t>(i)] != 0) expected[static_cast<size_t>(kept++)] = i;
    }
    const Array<uint8_t> flags(stream, keep);
    const Array<int64_t> index(stream, untouched(count)), number(stream, untouched(1));
    compact(stream, flags.data(), count, index.data(), number.data());
    equal("compact of " + std::to_string(count), index.values(), expected);
    equal("the count of compact of " + std::to_string(count), number.values(), {kept});
  }

  std::vector<int64_t> permutation_of(uint64_t seed, uint64_t number, int64_t count) {
    const Array<int64_t> order(stream, untouched(count));
    permutation(stream, seed, number, count, order.data());
    return order.values();
  }

  void permutations(int64_t count) {
    std::vector<int64_t> expected(static_cast<size_t>(count));
    std::iota(expected.begin(), expected.end(), int64_t{0});
    const auto key = [](int64_t i) {
      const Philox4 four = philox4x32(5, 9, static_cast<uint64_t>(i));
      return static_cast<uint64_t>(four.word[1]) << 32 | four.word[0];
    };
    std::stable_sort(expected.begin(), expected.end(), [&](int64_t i, int64_t j) { return key(i) < key(j); });
    equal("permutation of " + std::to_string(count), permutation_of(5, 9, count), expected);
    if (count < 100) return;
    const bool differs = permutation_of(6, 9, count) != expected && permutation_of(5, 10, count) != expected;
    if (!differs && result.failure.empty()) result.failure = "another stream gives the same permutation";
  }

  void top_k_of(const std::vector<float>& x, int64_t k) {
    const auto larger = [&](int64_t i, int64_t j) {
      const float a = x[static_cast<size_t>(i)], b = x[static_cast<size_t>(j)];
      if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && !std::isnan(b);
      return a > b;
    };
    std::vector<int64_t> expected(x.size());
    std::iota(expected.begin(), expected.end(), int64_t{0});
    std::stable_sort(expected.begin(), expected.end(), larger);
    for (size_t i = static_cast<size_t>(k); i < expected.size(); ++i) expected[i] = kUntouched;
    const auto count = static_cast<int64_t>(x.size());
    const Array<float> values(stream, x);
    const Array<int64_t> index(stream, untouched(count));
    top_k(stream, values.data(), count, k, index.data());
    equal("top " + std::to_string(k) + " of " + std::to_string(count), index.values(), expected);
  }
};

std::vector<float> values_with_ties(int64_t count) {
  constexpr float kInf = std::numeric_limits<float>::infinity(),
                  kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kSpecial[] = {0.0f, -0.0f, kInf, -kInf, kNan, -kNan, 1e-45f, -1e-45f, 3e38f, -3e38f};
  std::vector<float> x;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t word = philox4x32(1, 2, static_cast<uint64_t>(i)).word[0];
    const bool special = word % 16 == 0;
    x.push_back(special ? kSpecial[(word >> 8) % 10]
                        : static_cast<float>(static_cast<int>(word >> 20) - 2048));
  }
  return x;
}

}  // namespace

CompactResult check_compact() {
  Checks checks;
  for (const int64_t count : {0, 1, 2, 31, 32, 33, 1000, 70001}) {
    for (const uint32_t share : {0u, 1u, 3u, 4u}) {  // of four
      std::vector<uint8_t> keep;
      for (int64_t i = 0; i < count; ++i) {
        const uint32_t word = philox4x32(3, share, static_cast<uint64_t>(i)).word[0];
        keep.push_back(word % 4 < share ? static_cast<uint8_t>(1 + word / 4 % 255) : uint8_t{0});
      }
      checks.compact_of(keep);
    }
    checks.permutations(count);
    const std::vector<float> x = values_with_ties(count);
    for (const int64_t k : {int64_t{0}, int64_t{1}, int64_t{10}, count})
      checks.top_k_of(x, std::min(k, count));
  }
  return checks.result;
}

}  // namespace caltrop::CALTROP_WORLD
