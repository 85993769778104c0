// Image folders: classes by sub-folder, one size and colour for all, and a notice of whatever was changed.
#include <algorithm>

#include "data/dataset.h"
#include "data/image_folder.h"
#include "data/png.h"
#include "tests/data/bytes.h"
#include "tests/files.h"

namespace caltrop::test {
namespace {

void write_image(const fs::path& path, int64_t size, int64_t channels, uint8_t value) {
  fs::create_directories(path.parent_path());
  write_png(path, size, size, channels,
            std::vector<uint8_t>(static_cast<size_t>(size * size * channels), value));
}

// 2 classes: 10 cats of value 0 ... 9 and 5 dogs of value 100 ... 104.
void write_pets(const fs::path& directory, int64_t cats = 10, int64_t dogs = 5) {
  for (int64_t i = 0; i < cats; ++i) {
    write_image(directory / "cat" / (std::to_string(i) + ".png"), 4, 1, static_cast<uint8_t>(i));
  }
  for (int64_t i = 0; i < dogs; ++i) {
    write_image(directory / "dog" / (std::to_string(i) + ".PNG"), 4, 1, static_cast<uint8_t>(100 + i));
  }
}

std::string joined(const std::vector<std::string>& notices) {
  std::string text;
  for (const std::string& notice : notices) text += notice + "; ";
  return text;
}

std::string folder_refusal(const fs::path& directory) {
  return refusal([&] { return read_image_folder(directory, 0, 0); });
}

// A JPEG of 4 x 4 grey pixels of value 128.
constexpr std::string_view kJpeg =
    "ffd8ffe000104a46494600010100000100010000ffdb0043000302020302020303030304030304050805050404050a070706"
    "080c0a0c0c0b0a0b0b0d0e12100d0e110e0b0b1016101113141515150c0f171816141812141514ffc0000b08000400040101"
    "1100ffc4001f0000010501010101010100000000000000000102030405060708090a0bffc400b51000020103030204030505"
    "04040000017d01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a"
    "25262728292a3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a8384858687"
    "88898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2"
    "e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9faffda0008010100003f002bffd9";

}  // namespace

TEST_SUITE("data") {
  TEST_CASE("image folder: classes are sub-folders, and the first images are of all of them") {
    const TempDirectory directory;
    write_pets(directory.path());
    const ImageFolder folder = read_image_folder(directory.path(), 0, 0);
    CHECK(folder.train.class_names == std::vector<std::string>{"cat", "dog"});
    CHECK(folder.train.classes == 2);
    CHECK(folder.train.channels == 1);
    CHECK(folder.train.height == 4);
    CHECK(folder.train.count() == 15);
    CHECK(std::vector(folder.train.labels.begin(), folder.train.labels.begin() + 5) ==
          std::vector{0, 1, 0, 1, 0});
    CHECK(folder.train.image(1)[0] == 100);
    CHECK(folder.train.image(14)[0] == 9);
    CHECK(!folder.test);
    CHECK(folder.notices.empty());
  }

  TEST_CASE("image folder: without train/ and test/ it is split, and says so") {
    const TempDirectory directory;
    write_pets(directory.path());
    const DatasetRequest request{.name = "folder", .data_dir = directory.path()};
    const Dataset data = load_dataset(request);
    CHECK(data.name == "folder");
    CHECK(data.source == directory.path().string());
    CHECK(data.train.count() == 12);
    CHECK(std::count(data.train.labels.begin(), data.train.labels.end(), 1) == 4);
    CHECK(data.test.count() == 3);
    CHECK(joined(data.notices).find("80:20 at random (seed 0)") != std::string::npos);
    DatasetRequest other = request;
    other.split = "1:2";
    CHECK(load_dataset(other).train.count() == 5);
    CHECK(load_dataset(other).notices.empty());
    check_refusal(refusal([] { return load_dataset({.name = "folder"}); }), {"--data-dir"});
  }

  TEST_CASE("image folder: train/ and test/ are taken as they are") {
    const TempDirectory directory;
    write_pets(directory / "train");
    write_pets(directory / "test", 2, 1);
    DatasetRequest request{.name = "folder", .data_dir = directory.path()};
    const Dataset data = load_dataset(request);
    CHECK(data.train.count() == 15);
    CHECK(data.test.count() == 3);
    CHECK(data.test.image(0)[0] == 0);
    CHECK(data.notices.empty());
    request.split = "2:1";
    CHECK(load_dataset(request).train.count() == 12);

    write_image(directory / "test" / "horse" / "1.png", 4, 1, 7);
    check_refusal(folder_refusal(directory.path()), {"test", "'horse'"});
    fs::remove_all(directory / "test");
    check_refusal(folder_refusal(directory.path()), {"has train/ but no test/"});
  }

  TEST_CASE("image folder: sizes and colours are made one, with a notice") {
    const TempDirectory directory;
    write_pets(directory.path());
    write_image(directory / "dog" / "big.png", 9, 1, 200);
    ImageFolder folder = read_image_folder(directory.path(), 0, 0);
    CHECK(folder.train.height == 4);
    CHECK(folder.train.width == 4);
    CHECK(folder.train.pixels.size() == 16 * 16);
    CHECK(joined(folder.notices) == "resized 1 of 16 images to 4 x 4; ");
    CHECK(folder.train.image(11)[5] == 200);

    folder = read_image_folder(directory.path(), 6, 5);
    CHECK(folder.train.height == 6);
    CHECK(folder.train.width == 5);
    CHECK(joined(folder.notices) == "resized 16 of 16 images to 6 x 5; ");

    // One colour image makes all of them colour.
    write_image(directory / "dog" / "red.png", 4, 3, 50);
    folder = read_image_folder(directory.path(), 4, 4);
    CHECK(folder.train.channels == 3);
    CHECK(folder.train.image_size() == 48);
    CHECK(joined(folder.notices).find("16 of 17 images are grey and were read as colour") !=
          std::string::npos);
  }

  TEST_CASE("image folder: JPEG is read; what is no image by name is ignored and counted") {
    const TempDirectory directory;
    write_pets(directory.path());
    write_file(directory / "cat" / "photo.JPG", unhex(kJpeg));
    write_file(directory / "cat" / "notes.txt", "hello");
    write_file(directory / "cat" / ".hidden", "hello");
    write_file(directory / "README", "hello");
    const ImageFolder folder = read_image_folder(directory.path(), 0, 0);
    CHECK(folder.train.count() == 16);
    CHECK(std::abs(int{folder.train.image(15)[0]} - 128) <= 2);
    CHECK(joined(folder.notices) == "ignored 1 files that are neither PNG nor JPEG by name; ");
  }

  TEST_CASE("image folder: what cannot be a data set is refused") {
    const TempDirectory directory;
    check_refusal(folder_refusal(directory / "none"), {"none", "not a directory"});
    check_refusal(folder_refusal(directory.path()), {"2 to", "found 0"});
    write_pets(directory.path());
    fs::create_directories(directory / "empty");
    check_refusal(folder_refusal(directory.path()), {"empty", "holds no PNG or JPEG"});
    fs::remove(directory / "empty");
    write_file(directory / "dog" / "broken.png", "not an image");
    check_refusal(folder_refusal(directory.path()), {"broken.png", "not a PNG or JPEG"});
    fs::remove(directory / "dog" / "broken.png");
    check_refusal(refusal([&] { return read_image_folder(directory.path(), -1, 4); }), {"-1 x 4"});
    check_refusal(
        refusal([&] { return read_image_folder(directory.path(), int64_t{1} << 40, int64_t{1} << 40); }),
        {"expected 1 to"});
  }
}

}  // namespace caltrop::test
