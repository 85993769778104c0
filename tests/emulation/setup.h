// Arrays in emulated device memory, and every schedule that tests run under.
#pragma once

#include <algorithm>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "kernels/emulation/emulation.h"
#include "kernels/error.h"
#include "kernels/gpu_runtime.h"
#include "tests/reference.h"
#include "tests/refusal.h"

namespace caltrop::test {
using reference::Samples;
}

namespace caltrop::emu {

inline void for_schedules(const std::function<void()>& body) {
  const Schedule before = current_schedule();
  for (const Schedule& schedule : {Schedule{Order::forward, true}, Schedule{Order::reverse, false},
                                   Schedule{Order::shuffled, true, 1}, Schedule{Order::shuffled, false, 2}}) {
    set_schedule(schedule);
    body();
  }
  set_schedule(before);
}

template <typename T>
class Array {
 public:
  Array(Stream& stream, const std::vector<T>& values) : Array(stream, static_cast<int64_t>(values.size())) {
    stream.upload(data(), values.data(), values.size() * sizeof(T));
  }
  Array(Stream& stream, int64_t count) : stream_(stream), count_(count), memory_(stream, count) {}
  T* data() const { return memory_.data(); }
  std::vector<T> take() const {
    std::vector<T> values(static_cast<size_t>(count_));
    stream_.download(values.data(), data(), values.size() * sizeof(T));
    return values;
  }

 private:
  Stream& stream_;
  int64_t count_;
  Scratch<T> memory_;
};

// How many different lines "file.cu:17" a text names.
inline size_t lines_named(const std::string& text) {
  std::set<std::string> lines;
  for (size_t at = text.find(".cu:"); at != std::string::npos; at = text.find(".cu:", at + 1)) {
    lines.insert(text.substr(at + 4, text.find_first_not_of("0123456789", at + 4) - at - 4));
  }
  return lines.size();
}

}  // namespace caltrop::emu
