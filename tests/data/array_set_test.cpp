#include "data/array_set.h"

#include <doctest/doctest.h>

#include "data/npz.h"
#include "tests/files.h"
#include "tests/refusal.h"

namespace caltrop::test {
namespace {

using Bytes = std::vector<uint8_t>;
using Ints = std::vector<int64_t>;

TEST_SUITE("data") {
  TEST_CASE("arrays: training and test images, or test images alone") {
    const TempDirectory directory;
    const auto path = directory / "set.npz";
    {
      NpzWriter file(path);
      file.add("x_train", {3, 1, 2}, Bytes{0, 1, 2, 3, 4, 5});
      file.add("y_train", {3}, Ints{0, 2, 1});
      file.add("x_test", {2, 1, 2}, Bytes{6, 7, 8, 255});
      file.add("y_test", {2, 1}, std::vector<uint8_t>{1, 0});
      file.close();
    }
    const Dataset data = load_dataset({.name = "arrays", .data_dir = path});
    CHECK(data.train.pixels == Bytes{0, 1, 2, 3, 4, 5});
    CHECK(data.train.labels == std::vector<int32_t>{0, 2, 1});
    CHECK(data.test.pixels == Bytes{6, 7, 8, 255});
    CHECK(data.test.labels == std::vector<int32_t>{1, 0});
    CHECK(data.test.shape() == ImageShape{1, 2, 1});
    CHECK(data.test.classes == 3);  // of both parts
    CHECK(data.notices.empty());
    const Dataset halves = load_dataset({.name = "arrays", .data_dir = path, .split = "60:40"});
    CHECK(halves.train.count() == 3);

    // Floats are rounded, and that is said; a fraction of 255 is no change.
    {
      NpzWriter file(path);
      file.add("x", {2, 1, 1, 3}, std::vector<float>{0, 1, 0.5f, 3 / 255.0f, 200 / 255.0f, 0.25f});
      file.add("label", {2}, std::vector<int32_t>{4, 0});
      file.close();
    }
    const Dataset tests = load_dataset({.name = "arrays", .data_dir = path});
    CHECK(tests.train.count() == 0);
    CHECK(tests.test.shape() == ImageShape{1, 1, 3});
    CHECK(tests.test.pixels == Bytes{0, 255, 128, 3, 200, 64});
    CHECK(tests.test.classes == 5);
    REQUIRE(tests.notices.size() == 1);
    CHECK(tests.notices[0].find("2 pixels are rounded") != std::string::npos);
    check_refusal(
        refusal([&] { return load_dataset({.name = "arrays", .data_dir = path, .split = "50:50"}); }),
        {"test images alone"});
  }

  TEST_CASE("arrays: what makes no data set is refused in one line") {
    const TempDirectory directory;
    const auto path = directory / "set.npz";
    const auto refused = [&](const auto& write, std::string_view says) {
      {
        NpzWriter file(path);
        write(file);
        file.close();
      }
      check_refusal(refusal([&] { return read_array_set(path); }), {"set.npz", says});
    };
    const Bytes pixels = {1, 2, 3, 4};
    refused([&](NpzWriter& file) { file.add("a", {4}, pixels); }, "holds no images");
    refused([&](NpzWriter& file) { file.add("x", {4}, pixels); }, "expected images (n,h,w)");
    refused([&](NpzWriter& file) { file.add("x", {2, 1, 2}, pixels); }, "lacks the array label");
    refused(
        [&](NpzWriter& file) {
          file.add("x", {2, 1, 2}, pixels), file.add("y", {3}, Ints{1, 2, 3});
        },
        "expected 2 labels, got [3]");
    refused(
        [&](NpzWriter& file) {
          file.add("x", {2, 1, 2}, pixels), file.add("y", {2}, Ints{1, -1});
        },
        "whole numbers from 0, got -1");
    refused(
        [&](NpzWriter& file) {
          file.add("x", {2, 1, 2}, pixels), file.add("y", {2}, std::vector<float>{0, 0.5f});
        },
        "whole numbers from 0, got 0.5");
    refused(
        [&](NpzWriter& file) {
          file.add("x", {2, 1, 2}, std::vector<int32_t>{1, 2, 3, 4});
        },
        "expected uint8");
    refused(
        [&](NpzWriter& file) {
          file.add("x", {1, 1, 2}, std::vector<float>{0, 1.5f});
        },
        "in [0,1], got 1.5");
    check_refusal(refusal([&] { return read_array_set(directory / "none.npz"); }),
                  {"none.npz", "no such file"});
    check_refusal(refusal([] { return load_dataset({.name = "arrays"}); }), {"--data-dir"});
  }
}

}  // namespace
}  // namespace caltrop::test
