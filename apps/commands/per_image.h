// What 'attack' takes of each image from a file: the class to push it to, the point to begin at.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/architecture.h"

namespace caltrop {

// Classes below `outputs` for the images `rows`, in this order: an NPY array of integers, one for each of `rows`, or an NPZ
// file with `index` (numbers of images, among which they are) and `target`. An Error that names the file.
std::vector<int32_t> read_targets(const std::string& path, std::span<const int64_t> rows, int64_t outputs);

// Pixels from 0 to 1 of the images `rows`, in this order: an NPY array (n,h,w,c) of float32, one for each of `rows`, or an
// adversarial.npz (data/attacked_set.h) that holds them. An Error that names the file.
std::vector<float> read_starts(const std::string& path, std::span<const int64_t> rows,
                               const ImageShape& shape);

// CRC-32 of a file, as facts of a run have it.
std::string file_crc32(const std::string& path);

}  // namespace caltrop
