// Image folders: one sub-folder for each class, PNG and JPEG files of any size in it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace caltrop {

struct ImageFolder {
  ImageSet train;
  std::optional<ImageSet> test;  // where `directory` has train/ and test/, each with the classes in it
  std::vector<std::string> notices;
};

// Classes are numbered by the order of their names, in bytes. Images come class by class in turn (the first
// of each class, the second of each, ...), so that the first n of them are of all classes; within a class by
// file name. All become grey where all files are grey, else colour, and of the size asked for (0: that of the
// first image); what is done to them is said in the notices.
ImageFolder read_image_folder(const std::filesystem::path& directory, int64_t height, int64_t width);

}  // namespace caltrop
