// Labelled image sets, and where to find them.
//
// Data sets by name: mnist, fashion-mnist (IDX files), folder (images in one sub-folder per class), arrays (NPZ or NPY,
// see array_set.h), digits (drawn, see digits.h), auto (MNIST where it is found, else Fashion-MNIST, else digits).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "engine/architecture.h"
#include "engine/error.h"

namespace caltrop {

struct ImageSet {
  int64_t height = 0, width = 0, channels = 0;
  int classes = 0;
  std::vector<uint8_t> pixels = {};           // count x height x width x channels (NHWC)
  std::vector<int32_t> labels = {};           // one for each image, in 0 ... classes - 1
  std::vector<std::string> class_names = {};  // one for each class

  int64_t count() const { return static_cast<int64_t>(labels.size()); }
  int64_t image_size() const { return height * width * channels; }
  ImageShape shape() const { return {height, width, channels}; }
  std::span<const uint8_t> image(int64_t i) const;  // an Error where there is no image i
};

// The first n images; an Error unless 1 <= n. All of them where there are no more than n.
ImageSet take_first(const ImageSet& set, int64_t n);
// The images `indices`, in that order; an Error where one does not exist.
ImageSet subset(const ImageSet& set, std::span<const int64_t> indices);
// The images of `first`, then those of `second`; an Error unless both have the same form and classes.
ImageSet concatenate(const ImageSet& first, const ImageSet& second);

struct Dataset {
  std::string name;                // "mnist", "fashion-mnist", "digits", "folder", "arrays": never "auto"
  std::string source;              // the directory, or what else the images come from
  ImageSet train = {}, test = {};  // without images: not there, or not asked for
  std::vector<std::string> notices = {};  // what a user must be told, one line each; apps/ prints them
};

struct DatasetRequest {
  std::string name = "auto";
  // The directory of the data set itself, or (IDX) one that holds NAME/. Then nowhere else is looked at.
  // Empty: see search_places().
  std::filesystem::path data_dir = {};
  // "standard": as published (folder: train/ and test/ where present, else a stratified 80:20). Otherwise
  // "70:30" and the like: a stratified split of all images, see split.h.
  std::string split = "standard";
  // For splits only. Images do not depend on it, those of digits neither: `digits` is one fixed data set, so
  // that models of several seeds are trained and tested on the same images.
  uint64_t seed = 0;
  // Folder: every image is resized to this. 0: the size of the first image.
  int64_t image_height = 0, image_width = 0;
  // IDX: the training images are not read and need not be there. Arrays are read whole. For the standard split.
  bool test_only = false;
};

// A named set that is in none of the places.
class DatasetNotFound : public Error {
 public:
  using Error::Error;
};

// Every failure is an Error of one line. DatasetNotFound names each place tried and the command that fetches
// the set; a set that is found but damaged is an Error as well, for `auto` too: nothing is
// substituted.
Dataset load_dataset(const DatasetRequest& request);

// Where an IDX data set is looked for, in order: `data_dir` (itself and NAME/ in it) if given and nothing
// else; otherwise $CALTROP_DATA/NAME, data/NAME, $XDG_CACHE_HOME/caltrop/NAME (or ~/.cache),
// /usr/share/datasets/NAME.
std::vector<std::filesystem::path> search_places(const std::string& name,
                                                 const std::filesystem::path& data_dir);

}  // namespace caltrop
