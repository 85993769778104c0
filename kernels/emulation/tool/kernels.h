// What `caltrop emulate` runs: a row for each kernel, known to the command, which reads the flags, and to
// caltrop-emulate, which runs one of them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/ladder/lab.h"

namespace caltrop {

// An array that the kernel was given, to name addresses by.
struct NamedArray {
  std::string name;
  uintptr_t address;
  size_t bytes;
};

using SizeValues = std::map<std::string, int64_t>;

// The sizes of one run and its arrays, which are filled before the kernel under study starts. What the values
// are does not show in what is counted.
class Bench {
 public:
  using RunLadder = std::function<void(const LadderProblem& problem, int64_t version)>;
  Bench(Backend& on, const SizeValues& sizes, uint64_t seed, RunLadder run_ladder)
      : backend(on), ladder(std::move(run_ladder)), sizes_(sizes), random_(seed) {}
  ~Bench();
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  int64_t operator[](const char* name) const { return sizes_.at(name); }

  template <typename T>
  T* array(const char* name, const std::vector<T>& values) {
    return static_cast<T*>(upload(name, values.data(), values.size() * sizeof(T)));
  }
  float* floats(const char* name, int64_t count, float low = -1.0f, float high = 1.0f);
  float* matrix(const char* name, float low = -1.0f, float high = 1.0f);  // rows x cols
  int32_t* labels(const char* name, int64_t count, int64_t classes);

  Backend& backend;
  std::vector<NamedArray> arrays;
  const RunLadder ladder;  // one version; its arrays are its own and have no names here

 private:
  void* upload(const char* name, const void* values, size_t bytes);

  const SizeValues& sizes_;
  std::mt19937_64 random_;
};

struct EmulatedSize {
  const char* name;  // of the flag
  int64_t value;     // without it
};
struct EmulatedKernel {
  std::string name;
  const char* work;  // what runs, in a few words
  std::span<const EmulatedSize> sizes;
  void (*run)(Bench& bench);
};
std::span<const EmulatedKernel> emulated_kernels();
const EmulatedKernel& emulated_kernel(const std::string& name);  // an Error where there is none

// What each size means, for --help; every size of every kernel is here.
struct SizeHelp {
  const char *name, *value_name, *help;
  int64_t low = 0;
};
std::span<const SizeHelp> emulated_sizes();

}  // namespace caltrop
