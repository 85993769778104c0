// Stored GMA sets: the parts they are cut into, their manifest, and what is refused of a set that is damaged.
#include "data/gma_set.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "data/png.h"
#include "tests/files.h"

namespace caltrop::test {
namespace {

// Images `first` and the next of 2x1, with two sizes.
AttackedSet part_of_two(int64_t first) {
  return {.shape = {2, 1, 1},
          .index = {first, first + 1},
          .label = {1, 0},
          .clean_prediction = {1, 2},
          .x = {0, 255, 10, 20},
          .eps = {0.1f, 0.3f},
          .v = {1, 3},
          .exponent = {1, 1},
          .ten = {1, 1},
          .delta = {0.25f, -0.25f, 1, -1, 0.1f, 0.1f, 0, 0},
          .prediction = {4, 1, 0, 3},
          .success = {1, 0, 0, 1},
          .linf = {0.1f, 0.2f, 0.3f, 0.4f},
          .l2 = {0.1f, 0.2f, 0.3f, 0.4f},
          .zero_gradients = {0, 1, 2, 3},
          .nan_gradients = {0, 0, 0, 0}};
}

std::string text_of(const fs::path& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST_SUITE("data") {
  TEST_CASE("gma set: parts of about 48 MB follow one another through all norms") {
    const std::vector<SetPart> parts = parts_of_set({"linf", "l2"}, 1200, 30, 784);  // 535 in 48 MiB
    REQUIRE(parts.size() == 6);
    CHECK(parts[1].name == "linf-000534.npz");
    CHECK(parts[5].name == "l2-001068.npz");
    int64_t before = 0;
    for (const SetPart& part : parts) {
      CHECK(part.before == before);
      before += part.last - part.first;
    }
    CHECK(before == 2400);
    CHECK(parts_of_set({"l2"}, 3, 1, int64_t{1} << 40).size() == 3);  // one image at least
    CHECK(parts_of_set({"l2"}, 0, 30, 784).empty());
    CHECK(set_bytes(1000, 30, 2, 784) > int64_t{1000} * 30 * 2 * 784 * 4);
    CHECK(set_bytes(1000, 30, 2, 784, SetStore::none) < set_bytes(1000, 30, 2, 784, SetStore::png));
    for (const char* name : {"delta", "png", "none"}) (void)parse_set_store(name);
    CHECK_THROWS_AS(parse_set_store("jpg"), Error);
  }

  TEST_CASE("gma set: stored, listed and read again in order") {
    const TempDirectory directory;
    const fs::path folder = directory / "set";
    fs::create_directory(folder);
    CHECK_THROWS_AS(norms_of_set(folder), Error);
    for (const int64_t first : {2, 0}) {
      write_part(folder / ("l2-00000" + std::to_string(first) + ".npz"), part_of_two(first));
    }
    CHECK_THROWS_AS(norms_of_set(folder), Error);  // no manifest: not complete
    write_manifest(folder, {"l2"}, {"1*10^-1", "3*10^-1"}, "pgd", 7);
    CHECK(norms_of_set(folder) == std::vector<std::string>{"l2"});
    const std::string manifest = text_of(folder / kManifest);
    CHECK(std::ranges::count(manifest, '\n') == 9);
    CHECK(manifest.find(
              "l2-000002.npz,3,3,l2,3*10^-1,0.300000012,pgd,7,0,2,3,1,0.400000006,0.400000006,3,0\n") !=
          std::string::npos);
    std::vector<int64_t> seen;
    const auto visit = [&](const fs::path&, const AttackedSet& part) {
      seen.insert(seen.end(), part.index.begin(), part.index.end());
    };
    for_each_part(folder, "l2", visit);
    CHECK(seen == std::vector<int64_t>{0, 1, 2, 3});
    CHECK_THROWS_AS(for_each_part(folder, "linf", visit), Error);
    // A part too many, one of other rows, one too few.
    fs::copy(folder / "l2-000000.npz", folder / "l2-000004.npz");
    CHECK_THROWS_AS(for_each_part(folder, "l2", visit), Error);
    fs::remove(folder / "l2-000004.npz");
    fs::remove(folder / "l2-000002.npz");
    CHECK_THROWS_AS(for_each_part(folder, "l2", visit), Error);
    CHECK_THROWS_AS(expect_space(folder, int64_t{1} << 60, {}), Error);
    expect_space(folder / "not" / "there", 1, {});
  }

  TEST_CASE("gma set: pictures beside the parts, of the clean image and its sizes") {
    const TempDirectory directory;
    const fs::path path = directory / "linf-000000.npz";
    write_part(path, part_of_two(0), SetStore::png);
    const Image sheet = read_image(directory / "linf-000000.png");
    REQUIRE((sheet.height == 4 && sheet.width == 3));
    // Rows of pixels of image 0 (0, 255) and 1 (10, 20): clean, first and second size.
    CHECK(sheet.pixels == std::vector<uint8_t>{0, 64, 255, 255, 191, 0, 10, 36, 10, 20, 46, 20});
    CHECK(read_part(path, SetStore::png).delta.empty());
    CHECK_THROWS_AS(read_part(path), Error);  // it holds no perturbations
    fs::remove(directory / "linf-000000.png");
    CHECK_THROWS_AS(read_part(path, SetStore::png), Error);
    AttackedSet plain{.shape = {1, 1, 1}, .index = {0}, .label = {0}, .clean_prediction = {0}, .x = {0}};
    plain.delta = {0}, plain.prediction = {0}, plain.success = {0};
    write_attacked_set(path, plain);
    CHECK_THROWS_AS(read_part(path), Error);  // no sizes
  }
}

}  // namespace
}  // namespace caltrop::test
