#include "data/dataset.h"

#include <fmt/format.h>

#include "data/array_set.h"
#include "data/digits.h"
#include "data/idx_directory.h"
#include "data/image_folder.h"
#include "data/split.h"
#include "engine/error.h"
#include "engine/text.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kDigitsSeed = 0;
constexpr SplitRatio kFolderSplit{80, 20};

Dataset load_named(const PublishedSet& set, const DatasetRequest& request) {
  const std::vector<fs::path> places = search_places(set.name, request.data_dir);
  for (const fs::path& place : places) {
    if (holds_idx_files(place)) return read_idx_directory(place, set, request.test_only);
  }
  throw DatasetNotFound(fmt::format("data set {} was not found; looked in {}; to get it: {}", set.name,
                                    join_paths(places), set.fetch_command));
}

Dataset load_digits() {
  return {.name = "digits",
          .source = "drawn by Caltrop",
          .train = draw_digits(kDigitsSeed, 0, kDigitsTrain),
          .test = draw_digits(kDigitsSeed, kDigitsTrain, kDigitsTest)};
}

// Where `auto` is given a directory, the set must be in it, and digits are no substitute.
Dataset load_any_from(const fs::path& data_dir, bool test_only) {
  for (const PublishedSet& set : published_sets()) {
    if (holds_idx_files(data_dir / set.name)) return read_idx_directory(data_dir / set.name, set, test_only);
  }
  if (!holds_idx_files(data_dir)) {
    fail(
        "no data set was found in {}: expected the IDX files of mnist or fashion-mnist there or in a "
        "sub-folder of "
        "that name; for a folder of images say --dataset folder",
        data_dir.string());
  }
  const PublishedSet* set = identify(data_dir);
  if (set == nullptr) {
    fail("{} holds IDX files that are neither those of MNIST nor of Fashion-MNIST: say which with --dataset",
         data_dir.string());
  }
  return read_idx_directory(data_dir, *set, test_only);
}

Dataset load_any(bool test_only) {
  std::vector<std::string> missing;
  std::string reason;
  for (const PublishedSet& set : published_sets()) {
    const std::vector<fs::path> places = search_places(set.name, {});
    for (const fs::path& place : places) {
      if (!holds_idx_files(place)) continue;
      Dataset data = read_idx_directory(place, set, test_only);
      if (!reason.empty()) data.notices.push_back(fmt::format("{}; using {}", reason, set.name));
      return data;
    }
    reason += fmt::format("{}{} was not found (looked in {}; to get it: {})", reason.empty() ? "" : "; ",
                          set.name, join_paths(places), set.fetch_command);
  }
  Dataset data = load_digits();
  data.notices.push_back(fmt::format("{}; using the built-in digits", reason));
  return data;
}

void split_again(Dataset& data, const ImageSet& pool, SplitRatio ratio, uint64_t seed) {
  const SplitIndices split = stratified_split(pool.labels, pool.classes, ratio, seed);
  data.train = subset(pool, split.train);
  data.test = subset(pool, split.test);
}

Dataset load_folder(const DatasetRequest& request) {
  if (request.data_dir.empty()) fail("the data set folder needs --data-dir, the directory of its images");
  ImageFolder folder = read_image_folder(request.data_dir, request.image_height, request.image_width);
  Dataset data{.name = "folder",
               .source = request.data_dir.string(),
               .train = std::move(folder.train),
               .notices = std::move(folder.notices)};
  if (folder.test) {
    data.test = std::move(*folder.test);
    if (request.split != "standard") {
      split_again(data, concatenate(data.train, data.test), parse_split(request.split), request.seed);
    }
    return data;
  }
  const bool chosen = request.split != "standard";
  const SplitRatio ratio = chosen ? parse_split(request.split) : kFolderSplit;
  split_again(data, ImageSet(data.train), ratio, request.seed);
  if (!chosen) {
    data.notices.push_back(
        fmt::format("{} has no train/ and test/: split its images {}:{} at random (seed {})", data.source,
                    ratio.train, ratio.test, request.seed));
  }
  return data;
}

Dataset load(const DatasetRequest& request) {
  if (request.name == "auto")
    return request.data_dir.empty() ? load_any(request.test_only)
                                    : load_any_from(request.data_dir, request.test_only);
  if (request.name == "arrays") {
    if (request.data_dir.empty())
      fail("the data set arrays needs --data-dir, an NPZ file or a folder of NPY files");
    return read_array_set(request.data_dir);
  }
  if (request.name == "digits") {
    if (!request.data_dir.empty()) fail("the data set digits is built in: it takes no --data-dir");
    return load_digits();
  }
  for (const PublishedSet& set : published_sets()) {
    if (request.name == set.name) return load_named(set, request);
  }
  fail("unknown data set '{}': expected auto, mnist, fashion-mnist, digits, folder or arrays",
       shown(request.name));
}

}  // namespace

Dataset load_dataset(const DatasetRequest& request) {
  // A wrong split is told before minutes of reading.
  if (request.split != "standard") static_cast<void>(parse_split(request.split));
  if (request.name == "folder") return load_folder(request);
  if (request.image_height != 0 || request.image_width != 0) {
    fail("an image size can be chosen for the data set folder only, not for {}", shown(request.name));
  }
  Dataset data = load(request);
  if (request.split != "standard") {
    if (data.train.count() == 0) fail("{} has test images alone: there is nothing to divide", data.source);
    split_again(data, concatenate(data.train, data.test), parse_split(request.split), request.seed);
  }
  return data;
}

}  // namespace caltrop
