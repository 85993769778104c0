// The published IDX data sets: their four files in one directory, and where such directories are looked for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace caltrop {

struct PublishedSet {
  std::string name;
  std::string title;          // for people
  std::string fetch_command;  // what a user types to get it
  std::vector<std::string> class_names;
  // CRC-32 of the elements (no headers) of the published files.
  uint32_t train_images = 0, train_labels = 0, test_images = 0, test_labels = 0;
};

// MNIST, Fashion-MNIST: in the order in which `auto` prefers them.
std::span<const PublishedSet> published_sets();

// Whether one of the four files is in `directory`, under any of its usual names, gzipped or not.
bool holds_idx_files(const std::filesystem::path& directory);

// The set whose training or test labels are those in `directory`; nullptr where there is none.
const PublishedSet* identify(const std::filesystem::path& directory);

// All four files. An Error where one is missing or damaged, or where they are those of another published set:
// a wrong directory must not pass. Files that differ otherwise are told in a notice. `test_only`: those of the test
// images; the others need not be there.
Dataset read_idx_directory(const std::filesystem::path& directory, const PublishedSet& set,
                           bool test_only = false);

std::string join_paths(std::span<const std::filesystem::path> paths);  // "a, b, c"

}  // namespace caltrop
