// Stored arrays, written again.
#pragma once

#include <map>
#include <string>

#include "data/npz.h"

namespace caltrop::test {

// All but one, of the types that sets of attacked images have.
inline void add_arrays(NpzWriter& file, const std::map<std::string, NpyArray>& arrays,
                       const std::string& left_out) {
  for (const auto& [name, array] : arrays) {
    if (name == left_out) continue;
    if (array.dtype == "<f4") file.add(name, array.shape, array.values<float>(name));
    if (array.dtype == "<i4") file.add(name, array.shape, array.values<int32_t>(name));
    if (array.dtype == "<i8") file.add(name, array.shape, array.values<int64_t>(name));
    if (array.dtype == "|u1") file.add(name, array.shape, array.values<uint8_t>(name));
  }
}

}  // namespace caltrop::test
