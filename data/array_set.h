// Data sets as NumPy arrays: one NPZ file, or a folder of NPY files of the same names.
//
//   x_train, y_train, x_test, y_test    as Keras' mnist.npz has them; without the first two there are test images alone
//   x, y                                test images alone; `label` may stand for y, as in what `export --images npz` writes
//
// x: (n,h,w) or (n,h,w,c), uint8, or float32 or float64 in [0,1], which is rounded to 8 bits with a notice where that
// changes a pixel. y: (n) or (n,1), whole numbers from 0. The classes are 0 to the largest label.
#pragma once

#include <filesystem>

#include "data/dataset.h"

namespace caltrop {

// An Error of one line where an array is missing, of another type or shape, or holds what is no pixel or label.
Dataset read_array_set(const std::filesystem::path& path);

}  // namespace caltrop
