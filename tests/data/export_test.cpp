// Export: what other programs get, and that small perturbations survive.
#include "data/export.h"

#include "data/npz.h"
#include "data/png.h"
#include "tests/files.h"

namespace caltrop::test {
namespace {

ImageSet sample() {
  return {.height = 1,
          .width = 2,
          .channels = 1,
          .classes = 2,
          .pixels = {10, 20, 30, 250, 0, 255},
          .labels = {1, 0, 1},
          .class_names = {"T-shirt/top", "Bag"}};
}

}  // namespace

TEST_SUITE("data") {
  TEST_CASE("export: npz keeps the perturbation beside the image, exactly") {
    const TempDirectory directory;
    const ImageSet images = sample();
    const std::vector<float> delta = {2.5e-5f, -2.5e-5f, 0, 0.1f, -0.5f, 1e-30f};
    const std::vector<int64_t> index = {7, 3, 5};
    export_images_npz(directory / "x.npz", {images, index, delta});
    const auto arrays = read_npz(directory / "x.npz");
    CHECK(arrays.size() == 4);
    CHECK(arrays.at("x").shape == std::vector<int64_t>{3, 1, 2, 1});
    CHECK(arrays.at("x").values<uint8_t>("x")[3] == 250);
    CHECK(arrays.at("label").values<int32_t>("label")[1] == 0);
    CHECK(arrays.at("index").values<int64_t>("index")[0] == 7);
    CHECK(arrays.at("delta").shape == std::vector<int64_t>{3, 1, 2, 1});
    const auto values = arrays.at("delta").values<float>("delta");
    CHECK(std::vector<float>(values.begin(), values.end()) == delta);
    export_images_npz(directory / "clean.npz", {images, {}, {}});
    CHECK(read_npz(directory / "clean.npz").size() == 3);
    CHECK(read_npz(directory / "clean.npz").at("index").values<int64_t>("index")[2] == 2);
  }

  TEST_CASE("export: png writes an image folder, attacked images rounded and the exact ones beside") {
    const TempDirectory directory;
    const ImageSet images = sample();
    export_images_png(directory / "clean", {images, {}, {}});
    CHECK(read_image(directory / "clean" / "1-Bag" / "000000.png").pixels == std::vector<uint8_t>{10, 20});
    CHECK(read_image(directory / "clean" / "0-T-shirt_top" / "000001.png").pixels ==
          std::vector<uint8_t>{30, 250});
    CHECK(!fs::exists(directory / "clean" / "perturbation.npz"));
    // Read back, each class has the number it had.
    const Dataset back = load_dataset({.name = "folder", .data_dir = directory / "clean", .split = "50:50"});
    CHECK(back.train.class_names == std::vector<std::string>{"0-T-shirt_top", "1-Bag"});

    const std::vector<float> delta = {2.5e-5f, 1.0f / 255, 0, 0.1f, -0.5f, 0};
    const std::vector<int64_t> index = {7, 3, 5};
    export_images_png(directory / "attacked", {images, index, delta});
    CHECK(read_image(directory / "attacked" / "1-Bag" / "000007.png").pixels == std::vector<uint8_t>{10, 21});
    CHECK(read_image(directory / "attacked" / "0-T-shirt_top" / "000003.png").pixels ==
          std::vector<uint8_t>{30, 255});
    CHECK(read_npz(directory / "attacked" / "perturbation.npz").at("delta").values<float>("delta")[0] ==
          2.5e-5f);
  }

  TEST_CASE("export: class names cannot lead out of the directory") {
    const TempDirectory directory;
    ImageSet images = sample();
    images.class_names = {"..", "a\\b"};
    export_images_png(directory / "out", {images, {}, {}});
    CHECK(fs::exists(directory / "out" / "_.." / "000001.png"));
    CHECK(fs::exists(directory / "out" / "a_b" / "000000.png"));
    CHECK(directory.entries() == 1);
  }

  TEST_CASE("export: a set of attacked images, in a folder for each size where it states sizes") {
    const TempDirectory directory;
    AttackedSet set{.shape = {1, 2, 1}, .index = {7, 3}, .label = {1, 0}, .x = {10, 20, 30, 250}};
    set.eps = {0.5f, 0.125f};
    set.delta = {1, 0, 0, 1, 0, 0, -1, -1};
    export_attacked_png(directory / "sizes", set);
    CHECK(read_image(directory / "sizes/eps-0.5/1/000007.png").pixels == std::vector<uint8_t>{255, 20});
    CHECK(read_image(directory / "sizes/eps-0.125/1/000007.png").pixels == std::vector<uint8_t>{10, 255});
    CHECK(read_image(directory / "sizes/eps-0.125/0/000003.png").pixels == std::vector<uint8_t>{0, 0});
    set.eps.clear();
    set.delta.resize(4);
    export_attacked_png(directory / "one", set);
    CHECK(read_image(directory / "one/0/000003.png").pixels == std::vector<uint8_t>{30, 255});
    CHECK(fs::exists(directory / "one/perturbation.npz"));
  }

  TEST_CASE("export: what does not fit is refused") {
    const TempDirectory directory;
    const ImageSet images = sample();
    const std::vector<float> delta(5);
    const std::vector<int64_t> index = {1, 1, 2};
    const auto refused = [&](const ImageExport& what) {
      return refusal([&] {
        export_images_png(directory / "out", what);
        return 0;
      });
    };
    check_refusal(refused({images, {}, delta}), {"6 perturbation values", "got 5"});
    check_refusal(refused({images, index, {}}), {"same index"});
    check_refusal(refused({images, std::span(index).first(2), {}}), {"3 indices, got 2"});
    check_refusal(refused({ImageSet{}, {}, {}}), {"at least one image"});
    ImageSet same = images;
    same.class_names = {"a/b", "a_b"};
    check_refusal(refused({same, {}, {}}), {"'a_b'"});
    CHECK(directory.entries() == 0);
    write_file(directory / "file", "");
    check_refusal(refusal([&] {
                    export_images_png(directory / "file" / "x", {images, {}, {}});
                    return 0;
                  }),
                  {"cannot create the directory", "Not a directory"});
  }
}

}  // namespace caltrop::test
