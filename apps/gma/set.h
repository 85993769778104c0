// A stored GMA set: parts of images with all their sizes, as NPZ files of one folder.
//
//   NORM-000000.npz   NORM is linf or l2; the number is that of the part's first image. See data/attacked_set.h.
//   NORM-000000.png   with `png`: image k is the row k of tiles, the clean image and then one tile for each
//                     size, rounded to 8 bits
//   manifest.csv      one row for each attacked image; written last, so that a set with one is complete
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attacks/gma.h"
#include "data/attacked_set.h"
#include "engine/images.h"

namespace caltrop {

// How the attacked images of a set are kept: exactly (`delta`), as pictures rounded to 8 bits (`png`), or not
// at all (`none`: what the network said of them, alone). Only a set with `delta` can be shown to a network
// again.
enum class GmaStore : uint8_t { delta, png, none };
GmaStore parse_gma_store(std::string_view name);

// Between the sizes that a part states and GMA's.
void state_sizes(AttackedSet& part, std::span<const GmaSize> sizes);
std::vector<GmaSize> stated_sizes(const AttackedSet& part);

std::string part_name(Norm norm, int64_t first);

// Images in a part, so that it takes about 48 MB.
int64_t images_per_part(int64_t sizes, int64_t image_size);

// Bytes of a set on disk: an upper bound, close to it but for `png`, whose pictures compress.
int64_t set_bytes(int64_t images, int64_t sizes, int64_t norms, int64_t image_size,
                  GmaStore store = GmaStore::delta);

// Its picture (`png`) stands beside it and is written first.
void write_part(const std::filesystem::path& path, const AttackedSet& part, GmaStore store = GmaStore::delta);
// As read_attacked_set; an Error where it states no sizes. Without `delta` in `store` the perturbations are not
// read, and need not be there.
AttackedSet read_part(const std::filesystem::path& path, GmaStore store = GmaStore::delta);

// The parts of `norm` in `folder`, in the order of their images.
std::vector<std::filesystem::path> find_parts(const std::filesystem::path& folder, Norm norm);
// The norms of which a set holds parts; an Error where there are none, or the set is not complete.
std::vector<Norm> norms_of_set(const std::filesystem::path& folder);

inline constexpr const char* kManifest = "manifest.csv";
// Writes the manifest of the set's parts, part by part: it can be larger than memory.
void write_manifest(const std::filesystem::path& folder, const std::vector<Norm>& norms,
                    const std::string& attack, int64_t seed);

// Shows the images of the parts of `norm` to a network, part after part. Budgets and violations are measured
// on the stored perturbations; an Error where the parts are not those of the manifest. `progress` receives
// images done, of the parts so far.
GmaAnalysis replay_set(const Model& model, const std::filesystem::path& folder, Norm norm,
                       const Progress& progress);

}  // namespace caltrop
