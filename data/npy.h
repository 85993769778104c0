// The header of NPY arrays, for npz.cpp.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace caltrop {

// Magic, version 1.0 and the padded header for row-major elements of `dtype` ("<f4").
std::string npy_header(std::string_view dtype, std::span<const int64_t> shape);

// Bytes of one element; 0 for types that are not read.
int64_t npy_element_size(std::string_view dtype);

}  // namespace caltrop
