// Work in processes of its own, as many at once as there are processors: kernels run on one thread, and a
// wrong one may do anything.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace caltrop::test {

struct ProcessResult {
  bool ended = false;  // by itself with status 0; else by a signal, an abort or the time limit
  std::string text;    // what body returned
};
// Runs body(i) for each i < count in a process forked from this one.
std::vector<ProcessResult> in_processes(size_t count, unsigned most_seconds,
                                        const std::function<std::string(size_t)>& body);

}  // namespace caltrop::test
