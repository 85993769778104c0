// Finding, loading, splitting: by name, in temporary places, and the real MNIST and Fashion-MNIST where
// present.
#include "data/dataset.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "data/digits.h"
#include "tests/data/bytes.h"
#include "tests/files.h"

namespace caltrop::test {
namespace {

// A small IDX data set of 2 x 2 images: 20 + 10, labels 0 ... 9 in turn, every pixel the number of its image.
void write_small_set(const fs::path& directory, bool gzip = false, int8_t label_shift = 0) {
  for (const auto& [stem, count] : {std::pair{"train", 20}, {"t10k", 10}}) {
    std::string pixels, labels;
    for (int i = 0; i < count; ++i) {
      pixels.append(4, static_cast<char>(count == 20 ? i : 100 + i));
      labels += static_cast<char>((i + label_shift) % 10);
    }
    const auto n = static_cast<uint32_t>(count);
    const std::string images_file = idx_file({n, 2, 2}, pixels), labels_file = idx_file({n}, labels);
    const std::string suffix = gzip ? ".gz" : "";
    write_file(directory / (std::string(stem) + "-images-idx3-ubyte" + suffix),
               gzip ? gzipped(images_file) : images_file);
    write_file(directory / (std::string(stem) + "-labels-idx1-ubyte" + suffix),
               gzip ? gzipped(labels_file) : labels_file);
  }
}

// An empty world: nothing is found in it but what the test puts there.
struct World {
  TempDirectory root;
  Environment shared{"CALTROP_DATA", (root / "shared").string()};
  Environment cache{"XDG_CACHE_HOME", (root / "cache").string()};
  Environment home{"HOME", (root / "home").string()};
};

std::string load_refusal(const DatasetRequest& request) {
  return refusal([&] { return load_dataset(request); });
}

bool found(const std::string& name) {
  const auto places = search_places(name, {});
  return std::any_of(places.begin(), places.end(),
                     [](const fs::path& place) { return fs::exists(place / "train-labels-idx1-ubyte.gz"); });
}

std::vector<int64_t> class_counts(const ImageSet& set) {
  std::vector<int64_t> counts(static_cast<size_t>(set.classes));
  for (const int32_t label : set.labels) ++counts.at(static_cast<size_t>(label));
  return counts;
}

uint64_t sum_of_pixels(const ImageSet& set) {
  return std::accumulate(set.pixels.begin(), set.pixels.end(), uint64_t{0});
}

void check_notice(const Dataset& data, std::string_view expected) {
  CAPTURE(expected);
  CHECK(std::any_of(data.notices.begin(), data.notices.end(), [&](const std::string& notice) {
    return notice.find(expected) != std::string::npos && notice.find('\n') == std::string::npos;
  }));
}

}  // namespace

TEST_SUITE("data") {
  TEST_CASE("dataset: the real MNIST") {
    if (!found("mnist")) {
      MESSAGE("SKIPPED: MNIST was not found; set CALTROP_DATA or run scripts/fetch_data.sh mnist");
      return;
    }
    const Dataset data = load_dataset({.name = "mnist"});
    CHECK(data.name == "mnist");
    CHECK(!data.source.empty());
    CHECK(data.notices.empty());  // the published files, by checksum
    CHECK(data.train.count() == 60000);
    CHECK(data.test.count() == 10000);
    CHECK(data.train.height == 28);
    CHECK(data.train.width == 28);
    CHECK(data.train.channels == 1);
    CHECK(data.train.pixels.size() == size_t{60000} * 784);
    CHECK(data.train.class_names[7] == "7");
    CHECK(std::vector(data.train.labels.begin(), data.train.labels.begin() + 5) ==
          std::vector{5, 0, 4, 1, 9});
    CHECK(class_counts(data.test) ==
          std::vector<int64_t>{980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009});
    // The mean pixel that everyone normalises with: 0.1307.
    CHECK(std::abs(static_cast<double>(sum_of_pixels(data.train)) / (255.0 * 60000 * 784) - 0.1307) <= 1e-4);

    const Dataset split = load_dataset({.name = "mnist", .split = "70:30", .seed = 3});
    CHECK(split.train.count() == 49000);
    CHECK(split.test.count() == 21000);
    CHECK(sum_of_pixels(split.train) + sum_of_pixels(split.test) ==
          sum_of_pixels(data.train) + sum_of_pixels(data.test));
    const auto whole = class_counts(concatenate(data.train, data.test)), part = class_counts(split.train);
    for (size_t c = 0; c < 10; ++c) {
      CAPTURE(c);
      CHECK(std::abs(static_cast<double>(part[c]) - 0.7 * static_cast<double>(whole[c])) < 1);
    }
  }

  TEST_CASE("dataset: the real Fashion-MNIST, and it is not taken for MNIST") {
    if (!found("fashion-mnist")) {
      MESSAGE("SKIPPED: Fashion-MNIST was not found; apt-get install dataset-fashion-mnist");
      return;
    }
    const Dataset data = load_dataset({.name = "fashion-mnist"});
    CHECK(data.name == "fashion-mnist");
    CHECK(data.notices.empty());
    CHECK(data.train.count() == 60000);
    CHECK(class_counts(data.test) == std::vector<int64_t>(10, 1000));
    CHECK(data.train.class_names[9] == "Ankle boot");
    check_refusal(load_refusal({.name = "mnist", .data_dir = data.source}),
                  {data.source, "Fashion-MNIST, not MNIST"});
    CHECK(load_dataset({.name = "auto", .data_dir = data.source}).name == "fashion-mnist");
  }

  TEST_CASE("dataset: places are searched in the order that is documented") {
    const World world;
    const auto places = search_places("mnist", {});
    CHECK(places == std::vector<fs::path>{world.root / "shared" / "mnist", "data/mnist",
                                          world.root / "cache" / "caltrop" / "mnist",
                                          "/usr/share/datasets/mnist"});
    {
      const Environment no_cache("XDG_CACHE_HOME", std::nullopt), no_data("CALTROP_DATA", std::nullopt);
      CHECK(search_places("x", {}) == std::vector<fs::path>{"data/x",
                                                            world.root / "home" / ".cache" / "caltrop" / "x",
                                                            "/usr/share/datasets/x"});
    }
    CHECK(search_places("mnist", "d") == std::vector<fs::path>{"d/mnist", "d"});

    write_small_set(world.root / "cache" / "caltrop" / "mnist");
    CHECK(load_dataset({.name = "mnist"}).source == (world.root / "cache" / "caltrop" / "mnist").string());
    write_small_set(world.root / "shared" / "mnist", true);
    CHECK(load_dataset({.name = "mnist"}).source == (world.root / "shared" / "mnist").string());
    write_small_set(world.root / "given");
    for (const fs::path& data_dir : {world.root / "given", world.root / "shared"}) {
      const Dataset data = load_dataset({.name = "mnist", .data_dir = data_dir});
      CHECK(data.source.starts_with(data_dir.string()));
      CHECK(data.train.count() == 20);
      CHECK(data.test.count() == 10);
      CHECK(data.test.image(3)[0] == 103);
      check_notice(data, "not those of the published MNIST");
    }
  }

  TEST_CASE("dataset: what is not found is never substituted") {
    const World world;
    const fs::path current = fs::current_path();
    fs::current_path(world.root.path());  // no data/ here
    if (!fs::exists("/usr/share/datasets/mnist")) {
      check_refusal(load_refusal({.name = "mnist"}),
                    {"mnist was not found", "shared/mnist", "data/mnist", "cache/caltrop/mnist",
                     "/usr/share/datasets/mnist", "scripts/fetch_data.sh mnist"});
    }
    fs::create_directories(world.root / "empty");
    const fs::path empty = world.root / "empty";
    check_refusal(load_refusal({.name = "fashion-mnist", .data_dir = empty}),
                  {"fashion-mnist was not found", "empty", "apt-get install dataset-fashion-mnist"});
    check_refusal(load_refusal({.name = "auto", .data_dir = empty}), {"no data set was found in", "empty"});
    check_refusal(load_refusal({.name = "digits", .data_dir = empty}), {"--data-dir"});
    check_refusal(load_refusal({.name = "cifar\n10"}),
                  {"unknown data set 'cifar?10'", "fashion-mnist", "folder"});
    check_refusal(load_refusal({.name = "digits", .split = "70"}), {"unknown split '70'"});
    check_refusal(load_refusal({.name = "digits", .image_height = 14}), {"folder only"});
    fs::current_path(current);
  }

  TEST_CASE("dataset: one that is found but damaged is an error, for auto as well") {
    const World world;
    const fs::path directory = world.root / "shared" / "mnist";
    for (const char* name : {"mnist", "auto"}) {
      CAPTURE(name);
      write_small_set(directory);
      fs::remove(directory / "t10k-labels-idx1-ubyte");
      check_refusal(load_refusal({.name = name}), {directory.string(), "lacks t10k-labels-idx1-ubyte"});
      write_small_set(directory);
      fs::resize_file(directory / "train-images-idx3-ubyte", 50);
      check_refusal(load_refusal({.name = name}), {"train-images-idx3-ubyte", "announces 80 bytes"});
    }
    write_small_set(directory);
    write_file(directory / "t10k-images-idx3-ubyte", idx_file({10, 2, 1}, std::string(20, 'x')));
    check_refusal(load_refusal({.name = "mnist"}), {"2 x 2", "2 x 1"});
    // A directory that could be either.
    write_small_set(world.root / "given");
    check_refusal(load_refusal({.name = "auto", .data_dir = world.root / "given"}),
                  {"say which with --dataset"});
  }

  TEST_CASE("dataset: auto prefers MNIST, and says what it took instead") {
    const World world;
    write_small_set(world.root / "shared" / "fashion-mnist");
    const fs::path current = fs::current_path();
    fs::current_path(world.root.path());
    if (!fs::exists("/usr/share/datasets/mnist")) {
      const Dataset data = load_dataset({});
      CHECK(data.name == "fashion-mnist");
      check_notice(data, "mnist was not found");
      check_notice(data, "using fashion-mnist");
    }
    write_small_set(world.root / "shared" / "mnist");
    CHECK(load_dataset({}).name == "mnist");
    fs::remove_all(world.root / "shared");
    if (!fs::exists("/usr/share/datasets/mnist") && !fs::exists("/usr/share/datasets/fashion-mnist")) {
      const Dataset data = load_dataset({});
      CHECK(data.name == "digits");
      check_notice(data, "using the built-in digits");
    }
    fs::current_path(current);
  }

  TEST_CASE("dataset: digits are the same for every seed; only splits differ") {
    const Dataset data = load_dataset({.name = "digits", .seed = 5});
    CHECK(data.train.count() == kDigitsTrain);
    CHECK(data.test.count() == kDigitsTest);
    CHECK(data.notices.empty());
    CHECK(take_first(data.train, 50).pixels == draw_digits(0, 0, 50).pixels);
    CHECK(take_first(data.test, 50).pixels == draw_digits(0, kDigitsTrain, 50).pixels);
    const Dataset split = load_dataset({.name = "digits", .split = "3:1", .seed = 5});
    CHECK(class_counts(split.train) == std::vector<int64_t>(10, 900));
    CHECK(split.train.labels == load_dataset({.name = "digits", .split = "3:1", .seed = 5}).train.labels);
    CHECK(split.train.pixels != load_dataset({.name = "digits", .split = "3:1", .seed = 6}).train.pixels);
  }

  TEST_CASE("image set: parts of it") {
    const ImageSet set = draw_digits(0, 0, 20);
    CHECK(take_first(set, 5).count() == 5);
    CHECK(take_first(set, 100).count() == 20);
    CHECK(take_first(set, 5).class_names == set.class_names);
    const std::vector<int64_t> rows = {7, 7, 0};
    const ImageSet part = subset(set, rows);
    CHECK(part.labels == std::vector{7, 7, 0});
    CHECK(std::equal(part.image(1).begin(), part.image(1).end(), set.image(7).begin()));
    const std::vector<int64_t> wrong = {20};
    check_refusal(refusal([&] { return subset(set, wrong); }), {"0 to 19", "got 20"});
    check_refusal(refusal([&] { return take_first(set, 0); }), {"at least 1"});
    ImageSet other = set;
    other.width = 14;
    check_refusal(refusal([&] { return concatenate(set, other); }), {"one size"});
    CHECK(concatenate(set, part).count() == 23);
  }
}

}  // namespace caltrop::test
