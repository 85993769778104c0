// Weights between the two layouts: against index arithmetic written out here, back and forth, by name and by
// order.
#include "engine/torch_layout.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/refusal.h"

namespace caltrop {
namespace {

const char* const kLine =
    "conv 3 2x3 | batchnorm | relu | maxpool 2 | conv 5 2x2 pad 1 | flatten | batchnorm | dense 4 | relu | "
    "dense 2";
constexpr ImageShape kInput{9, 8, 2};  // -> 8x6x3 -> 4x3x3 -> 5x4x5 -> 100 -> 4 -> 2

// Weights in our layout, every value another.
SafeTensorFile numbered(const Architecture& architecture, ImageShape input) {
  SafeTensorFile file;
  file.metadata["note"] = "kept";
  float next = 0;
  for (const ParameterSpec& parameter : parameter_specs(architecture, input)) {
    int64_t count = 1;
    for (const int64_t extent : parameter.shape) count *= extent;
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = next++;
    file.tensors.emplace_back(parameter.name, SafeTensor::from_floats(parameter.shape, values));
  }
  return file;
}

// The same file under other module names; a name not listed is kept.
SafeTensorFile renamed(SafeTensorFile file, const std::vector<std::pair<std::string, std::string>>& names) {
  for (auto& [name, tensor] : file.tensors) {
    const size_t dot = name.rfind('.');
    for (const auto& [from, to] : names) {
      if (name.substr(0, dot) != from) continue;
      name.replace(0, dot, to);
      break;
    }
  }
  // As torch writes it.
  std::sort(file.tensors.begin(), file.tensors.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  return file;
}

std::string refusal(const SafeTensorFile& file, const Architecture& architecture, ImageShape input = kInput) {
  return test::refusal([&] { return from_torch_layout(file, architecture, input); });
}

SafeTensor& at(SafeTensorFile& file, std::string_view name) {
  const auto found = std::find_if(file.tensors.begin(), file.tensors.end(),
                                  [&](const auto& entry) { return entry.first == name; });
  REQUIRE(found != file.tensors.end());
  return found->second;
}

}  // namespace

TEST_SUITE("engine") {
  TEST_CASE("torch layout: each element is where PyTorch expects it") {
    const Architecture architecture = parse_architecture(kLine);
    const SafeTensorFile ours = numbered(architecture, kInput);
    const SafeTensorFile torch = to_torch_layout(ours, architecture, kInput);
    REQUIRE(torch.tensors.size() == ours.tensors.size());
    CHECK(torch.metadata.at("format") == "pt");
    CHECK(torch.metadata.at("note") == "kept");

    const SafeTensor* conv = torch.find("0.weight");
    REQUIRE(conv != nullptr);
    REQUIRE((conv->shape == std::vector<int64_t>{3, 2, 2, 3}));  // OIHW
    const auto hwio = ours.find("0.weight")->floats();
    for (size_t o = 0, there = 0; o < 3; ++o) {
      for (size_t i = 0; i < 2; ++i) {
        for (size_t y = 0; y < 2; ++y) {
          for (size_t x = 0; x < 3; ++x, ++there)
            CHECK(conv->floats()[there] == hwio[((y * 3 + x) * 2 + i) * 3 + o]);
        }
      }
    }

    const SafeTensor* dense = torch.find("7.weight");
    REQUIRE(dense != nullptr);
    REQUIRE((dense->shape == std::vector<int64_t>{4, 100}));
    const auto columns = ours.find("7.weight")->floats();
    const auto norm = ours.find("6.running_var")->floats();
    for (size_t row = 0; row < 4; ++row) {
      for (size_t c = 0, there = 0; c < 5; ++c) {
        for (size_t y = 0; y < 5; ++y) {
          for (size_t x = 0; x < 4; ++x, ++there) {
            const size_t here = (y * 4 + x) * 5 + c;
            CHECK(dense->floats()[row * 100 + there] == columns[row * 100 + here]);
            CHECK(torch.find("6.running_var")->floats()[there] == norm[here]);
          }
        }
      }
    }
    // Only the first dense layer after flatten sees the image.
    for (const char* name : {"9.weight", "7.bias", "1.weight", "1.running_mean", "0.bias"}) {
      CAPTURE(name);
      CHECK((*torch.find(name) == *ours.find(name)));
    }
  }

  TEST_CASE("torch layout: there and back gives the same") {
    const Architecture architecture = parse_architecture(kLine);
    const SafeTensorFile ours = numbered(architecture, kInput);
    const SafeTensorFile back =
        from_torch_layout(to_torch_layout(ours, architecture, kInput), architecture, kInput);
    CHECK((back == ours));
  }

  TEST_CASE("torch layout: a deconvolution's filters lie as ConvTranspose2d's, (in,out,h,w)") {
    const Architecture architecture =
        parse_architecture("conv 3 2x2 | deconv 5 2x3 stride 2 | globalavgpool");
    const SafeTensorFile ours = numbered(architecture, kInput),
                         torch = to_torch_layout(ours, architecture, kInput);
    const SafeTensor* there = torch.find("1.weight");
    REQUIRE((there->shape == std::vector<int64_t>{3, 5, 2, 3}));
    const auto here = ours.find("1.weight")->floats();  // (h,w,out,in)
    for (size_t i = 0, at = 0; i < 3; ++i) {
      for (size_t o = 0; o < 5; ++o) {
        for (size_t tap = 0; tap < 6; ++tap, ++at) CHECK(there->floats()[at] == here[(tap * 5 + o) * 3 + i]);
      }
    }
  }

  TEST_CASE("torch layout: a denoising layer's matrices are the same in both") {
    const char* line = "conv 3 2x2 | denoise nonlocal | denoise mean 3 | conv 2 2x2 | flatten | dense 2";
    const Architecture architecture = parse_architecture(line);
    const SafeTensorFile ours = numbered(architecture, kInput),
                         torch = to_torch_layout(ours, architecture, kInput);
    CHECK(torch.find("1.theta")->floats()[2] == ours.find("1.theta")->floats()[2]);
    CHECK((torch.find("2.weight")->shape == std::vector<int64_t>{3, 3}));
    const SafeTensorFile back = from_torch_layout(torch, architecture, kInput);
    CHECK(back.tensors == ours.tensors);
    // Under other names a nonlocal one is known by its embeddings, the others by nothing.
    CHECK(refusal(renamed(torch, {{"1", "a"}}), architecture).find("has 2 dense modules where") !=
          std::string::npos);
  }

  TEST_CASE("torch layout: modules of any name are matched in natural order, whatever the file's order") {
    const Architecture architecture = parse_architecture(kLine);
    const SafeTensorFile ours = numbered(architecture, kInput);
    const SafeTensorFile torch = to_torch_layout(ours, architecture, kInput);
    CHECK(
        (from_torch_layout(
             renamed(
                 torch,
                 {{"0", "conv2"}, {"1", "bn2"}, {"4", "conv10"}, {"6", "bn10"}, {"7", "fc1"}, {"9", "fc2"}}),
             architecture, kInput) == ours));
    // "classifier" sorts before "features", yet convolutions come first in the network.
    const Architecture plain =
        parse_architecture("conv 3 2 | relu | conv 5 2 | flatten | dense 4 | relu | dense 2");
    const SafeTensorFile plain_ours = numbered(plain, kInput);
    CHECK((from_torch_layout(
               renamed(
                   to_torch_layout(plain_ours, plain, kInput),
                   {{"0", "features.0"}, {"2", "features.2"}, {"4", "classifier.9"}, {"6", "classifier.10"}}),
               plain, kInput) == plain_ours));
    // A Sequential without the normalisation that the line holds: other numbers, the same order.
    const Architecture shifted = parse_architecture(std::string("normalize 0.5 0.5 | ") + kLine);
    const SafeTensorFile loaded = from_torch_layout(torch, shifted, kInput);
    CHECK((*loaded.find("8.weight") == *ours.find("7.weight")));
    CHECK((*loaded.find("10.weight") == *ours.find("9.weight")));
  }

  TEST_CASE("torch layout: num_batches_tracked is ignored and a missing bias is zero") {
    const Architecture architecture = parse_architecture(kLine);
    SafeTensorFile torch = to_torch_layout(numbered(architecture, kInput), architecture, kInput);
    torch.tensors.emplace_back("1.num_batches_tracked",
                               SafeTensor{.dtype = "I64", .shape = {}, .bytes = std::vector<std::byte>(8)});
    std::erase_if(torch.tensors, [](const auto& entry) { return entry.first == "0.bias"; });
    const SafeTensorFile ours = from_torch_layout(torch, architecture, kInput);
    REQUIRE(ours.find("0.bias") != nullptr);
    for (const float value : ours.find("0.bias")->floats()) CHECK(value == 0.0f);
    CHECK(ours.find("0.bias")->floats().size() == 3);
    CHECK(ours.find("1.num_batches_tracked") == nullptr);
  }

  TEST_CASE("torch layout: what does not fit is refused with both sides") {
    const Architecture architecture = parse_architecture(kLine);
    const SafeTensorFile good = to_torch_layout(numbered(architecture, kInput), architecture, kInput);
    CHECK(refusal(good, architecture).empty());

    const auto check_refused = [&](const SafeTensorFile& file, const std::string& expected) {
      const std::string text = refusal(file, architecture);
      CAPTURE(text);
      CHECK(text.find(expected) != std::string::npos);
      CHECK(text.find("the architecture needs, in PyTorch's layout, 0.weight (3,2,2,3)") !=
            std::string::npos);
      CHECK(text.find('\n') == std::string::npos);
    };
    check_refused({}, "the file has no tensors");
    SafeTensorFile file = good;
    std::erase_if(file.tensors, [](const auto& entry) { return entry.first.starts_with("9."); });
    check_refused(file, "the file has 1 dense modules where the architecture has 2");
    file = good;
    file.tensors.emplace_back("11.weight", *good.find("9.weight"));
    check_refused(file, "the file has 3 dense modules where the architecture has 2");
    file = good;
    at(file, "0.weight").shape = {3, 2, 3, 2};
    check_refused(
        file, "module '0' against layer 0 (conv 3 2x3): 'weight' has the shape (3,2,3,2) where (3,2,2,3)");
    file = good;
    std::erase_if(file.tensors, [](const auto& entry) { return entry.first == "1.running_var"; });
    check_refused(file, "lacks 'running_var'");
    file = good;
    file.tensors.emplace_back("9.scale", *good.find("9.bias"));
    check_refused(file, "has tensors that the layer has no use for");
    file = renamed(good, {{"9", "lstm\n"}});
    at(file, "lstm\n.weight").shape = {4, 2, 1};
    check_refused(file, "'lstm?' is no convolution, dense, batch norm or denoising module");

    file = good;
    at(file, "9.bias").dtype = "I32";
    CHECK(refusal(file, architecture).find("dtype I32 where F32 is expected") != std::string::npos);
    CHECK(refusal(good, parse_architecture("conv 5 1 | flatten")).find("another order than PyTorch's") !=
          std::string::npos);
  }

  TEST_CASE("torch layout: weights in our layout that do not fit are not exported") {
    const Architecture architecture = parse_architecture(kLine);
    const SafeTensorFile good = numbered(architecture, kInput);
    SafeTensorFile file = good;
    file.tensors.pop_back();
    CHECK_THROWS_WITH_AS((void)to_torch_layout(file, architecture, kInput),
                         "the weights lack the tensor '9.bias' of the architecture", Error);
    file = good;
    file.tensors.emplace_back("more", *good.find("9.bias"));
    CHECK_THROWS_AS((void)to_torch_layout(file, architecture, kInput), Error);
    file = good;
    at(file, "9.weight").shape = {4, 2};
    CHECK_THROWS_AS((void)to_torch_layout(file, architecture, kInput), Error);
  }
}

}  // namespace caltrop
