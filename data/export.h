// Image sets, clean or attacked, for other programs.
//
// A perturbation travels beside its image as float32: rounding to 8 bits erases the small ones.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "data/attacked_set.h"

namespace caltrop {

struct ImageExport {
  const ImageSet& images;          // the clean images
  std::span<const int64_t> index;  // of each image in the set that it was taken from; empty: 0, 1, 2, ...
  std::span<const float> delta;  // count x height x width x channels in units of the range [0,1]; empty: none
};

// Arrays x (uint8, NHWC, clean), label (int32), index (int64) and, if there is a perturbation, delta
// (float32, NHWC): the attacked image is x / 255 + delta.
void export_images_npz(const std::filesystem::path& path, const ImageExport& what);

// directory/CLASS/000123.png, numbered by index: a data set for `--dataset folder`. With a perturbation the
// files hold the attacked images, rounded to 8 bits, and directory/perturbation.npz the exact ones (as
// above). Class names that cannot be directory names are changed ('/' becomes '_'); where the names do not
// sort in the order of the classes, which is how an image folder is read, each begins with its class's
// number. Directories are created.
void export_images_png(const std::filesystem::path& directory, const ImageExport& what);

// The attacked images of a set in this way; where sizes are stated, each in its own directory/eps-SIZE.
void export_attacked_png(const std::filesystem::path& directory, const AttackedSet& set);

}  // namespace caltrop
