// A stored GMA set: parts of images with all their sizes, as NPZ files of one folder.
//
//   NORM-000000.npz   NORM is linf or l2; the number is that of the part's first image. See data/attacked_set.h.
//   NORM-000000.png   with `png`: image k is the row k of tiles, the clean image and then one tile for each
//                     size, rounded to 8 bits
//   manifest.csv      one row for each attacked image; written last, so that a set with one is complete
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/attacked_set.h"

namespace caltrop {

// How the attacked images of a set are kept: exactly (`delta`), as pictures rounded to 8 bits (`png`), or not
// at all (`none`: what the network said of them, alone). Only a set with `delta` can be shown to a network
// again.
enum class SetStore : uint8_t { delta, png, none };
SetStore parse_set_store(std::string_view name);

// Images [first, last) under one norm.
struct SetPart {
  std::string norm, name;  // name: of its file
  int64_t first = 0, last = 0;
  int64_t before = 0;  // images of the parts before it, those of other norms counted again
};
// All parts of a set, norm after norm; each takes about 48 MB.
std::vector<SetPart> parts_of_set(const std::vector<std::string>& norms, int64_t images, int64_t sizes,
                                  int64_t image_size);

// Bytes of a set on disk: an upper bound, close to it but for `png`, whose pictures compress.
int64_t set_bytes(int64_t images, int64_t sizes, int64_t norms, int64_t image_size,
                  SetStore store = SetStore::delta);

// An Error where the disk of `folder` has no room for a set of `bytes`, less what is there of its parts.
void expect_space(const std::filesystem::path& folder, int64_t bytes, const std::vector<SetPart>& parts);

// Its picture (`png`) stands beside it and is written first.
void write_part(const std::filesystem::path& path, const AttackedSet& part, SetStore store = SetStore::delta);
// As read_attacked_set; an Error where it states no sizes, has targets or lacks its picture. Without `delta` in `store` the
// perturbations are not read, and need not be there.
AttackedSet read_part(const std::filesystem::path& path, SetStore store = SetStore::delta);

// The parts of `norm` in `folder`, in the order of their images.
std::vector<std::filesystem::path> find_parts(const std::filesystem::path& folder, std::string_view norm);
// The norms of which a set holds parts; an Error where there are none, or the set is not complete.
std::vector<std::string> norms_of_set(const std::filesystem::path& folder);

inline constexpr const char* kManifest = "manifest.csv";
// Writes the manifest of the set's parts, part by part: it can be larger than memory. `sizes`: their names.
void write_manifest(const std::filesystem::path& folder, const std::vector<std::string>& norms,
                    const std::vector<std::string>& sizes, std::string_view attack, int64_t seed);

// Reads the parts of `norm`, one after the other; an Error where they are not those of the manifest.
using PartVisit = std::function<void(const std::filesystem::path& path, const AttackedSet& part)>;
void for_each_part(const std::filesystem::path& folder, std::string_view norm, const PartVisit& visit);

}  // namespace caltrop
