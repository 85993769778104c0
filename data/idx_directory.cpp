#include "data/idx_directory.h"

#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "data/idx.h"
#include "engine/checksum.h"
#include "engine/error.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTrainImages = "train-images", kTrainLabels = "train-labels";
constexpr std::string_view kTestImages = "t10k-images", kTestLabels = "t10k-labels";

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

// The file in `directory`, under the names that distributions use; empty where there is none.
fs::path find_file(const fs::path& directory, std::string_view stem) {
  const int rank = stem.ends_with("images") ? 3 : 1;
  for (const std::string_view separator : {"-", "."}) {
    for (const std::string_view suffix : {"", ".gz"}) {
      fs::path path = directory / fmt::format("{}{}idx{}-ubyte{}", stem, separator, rank, suffix);
      if (is_there(path)) return path;
    }
  }
  return {};
}

fs::path need_file(const fs::path& directory, std::string_view stem) {
  fs::path path = find_file(directory, stem);
  if (path.empty()) {
    fail("{} lacks {}-idx{}-ubyte or its .gz", directory.string(), stem, stem.ends_with("images") ? 3 : 1);
  }
  return path;
}

uint32_t label_checksum(std::span<const int32_t> labels) {
  return checksum(std::span<const uint8_t>(std::vector<uint8_t>(labels.begin(), labels.end())));
}

// The value of an environment variable; empty where it is not set.
fs::path environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? fs::path(value) : fs::path();
}

}  // namespace

std::span<const PublishedSet> published_sets() {
  static const std::array<PublishedSet, 2> sets = {
      PublishedSet{"mnist",
                   "MNIST",
                   "scripts/fetch_data.sh mnist",
                   {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"},
                   0xf3639b56,
                   0xba07e8ef,
                   0xe4ca5f57,
                   0xee8604d9},
      PublishedSet{"fashion-mnist",
                   "Fashion-MNIST",
                   "apt-get install dataset-fashion-mnist",
                   {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
                    "Bag", "Ankle boot"},
                   0xae65dccd,
                   0x2ed6e46a,
                   0x12728439,
                   0x242bc73f},
  };
  return sets;
}

std::vector<fs::path> search_places(const std::string& name, const fs::path& data_dir) {
  if (!data_dir.empty()) return {data_dir / name, data_dir};
  std::vector<fs::path> places;
  if (const fs::path shared = environment("CALTROP_DATA"); !shared.empty()) places.push_back(shared / name);
  places.push_back(fs::path("data") / name);
  fs::path cache = environment("XDG_CACHE_HOME");
  if (const fs::path home = environment("HOME"); cache.empty() && !home.empty()) cache = home / ".cache";
  if (!cache.empty()) places.push_back(cache / "caltrop" / name);
  places.push_back(fs::path("/usr/share/datasets") / name);
  return places;
}

bool holds_idx_files(const fs::path& directory) {
  for (const std::string_view stem : {kTrainImages, kTrainLabels, kTestImages, kTestLabels}) {
    if (!find_file(directory, stem).empty()) return true;
  }
  return false;
}

const PublishedSet* identify(const fs::path& directory) {
  const bool trained = !find_file(directory, kTrainLabels).empty();
  const uint32_t labels =
      label_checksum(read_idx_labels(need_file(directory, trained ? kTrainLabels : kTestLabels), 256));
  for (const PublishedSet& set : published_sets()) {
    if ((trained ? set.train_labels : set.test_labels) == labels) return &set;
  }
  return nullptr;
}

Dataset read_idx_tests(const fs::path& directory, const PublishedSet& set) {
  const fs::path images = need_file(directory, kTestImages), labels = need_file(directory, kTestLabels);
  Dataset data{
      .name = set.name, .source = directory.string(), .test = read_idx_set(images, labels, set.class_names)};
  const uint32_t found = label_checksum(data.test.labels);
  for (const PublishedSet& other : published_sets()) {
    if (other.name != set.name && other.test_labels == found)
      fail("{} holds {}, not {}", directory.string(), other.title, set.title);
  }
  if (found != set.test_labels || checksum(std::span(data.test.pixels)) != set.test_images) {
    data.notices.push_back(
        fmt::format("the files in {} are not those of the published {}", directory.string(), set.title));
  }
  return data;
}

Dataset read_idx_directory(const fs::path& directory, const PublishedSet& set, bool test_only) {
  if (test_only) return read_idx_tests(directory, set);
  // All four must be there before the large ones are read.
  const fs::path train_images = need_file(directory, kTrainImages),
                 train_labels = need_file(directory, kTrainLabels);
  const fs::path test_images = need_file(directory, kTestImages),
                 test_labels = need_file(directory, kTestLabels);
  Dataset data{.name = set.name,
               .source = directory.string(),
               .train = read_idx_set(train_images, train_labels, set.class_names),
               .test = read_idx_set(test_images, test_labels, set.class_names)};
  if (data.train.height != data.test.height || data.train.width != data.test.width) {
    fail("{} holds images of {} x {} pixels, but {} of {} x {}", train_images.string(), data.train.height,
         data.train.width, test_images.string(), data.test.height, data.test.width);
  }
  const uint32_t labels = label_checksum(data.train.labels);
  for (const PublishedSet& other : published_sets()) {
    if (other.name != set.name && other.train_labels == labels) {
      fail("{} holds {}, not {}", directory.string(), other.title, set.title);
    }
  }
  if (labels != set.train_labels || label_checksum(data.test.labels) != set.test_labels ||
      checksum(std::span(data.train.pixels)) != set.train_images ||
      checksum(std::span(data.test.pixels)) != set.test_images) {
    data.notices.push_back(
        fmt::format("the files in {} are not those of the published {}", directory.string(), set.title));
  }
  return data;
}

std::string join_paths(std::span<const fs::path> paths) {
  std::string text;
  for (const fs::path& path : paths) text += (text.empty() ? "" : ", ") + path.string();
  return text;
}

}  // namespace caltrop
