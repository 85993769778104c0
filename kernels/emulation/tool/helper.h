// Calling caltrop-emulate from another program: its kernels are compiled in a way that a program for every day should
// not be.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace caltrop {

struct EmulateRequest {
  std::string kernel, order = "forward", copies = "late";
  std::map<std::string, std::optional<int64_t>> sizes = {};  // absent: the kernel's own
  std::string thread = {}, block = {};                       // "X,Y,Z": trace this thread
  int64_t seed = 0;
};

// Its arguments of caltrop-emulate; an Error, in words for the flags of the same names, where a size is none of the
// kernel's or a place is no place.
std::vector<std::string> emulate_arguments(const EmulateRequest& request);

// What caltrop-emulate, which stands beside this program, writes for these arguments: JSON (main.cpp). An Error where it
// is not there or dies.
std::string run_emulate_helper(const std::vector<std::string>& arguments);

}  // namespace caltrop
