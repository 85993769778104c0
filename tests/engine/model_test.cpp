// Models: the fused and the composed pass agree, checkpoints are exact, batch norm and dropout do what
// PyTorch's do, initialisers draw from their distributions.
#include "engine/model.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/zoo.h"
#include "tests/compare.h"
#include "tests/reference.h"
#include "tests/refusal.h"

namespace caltrop::test {
namespace {

using reference::Samples;

Model model_of(const std::string& line, ImageShape input, uint64_t seed = 1) {
  Model model(parse_architecture(line), input, cpu_backend());
  model.initialize(Initializer::torch, seed);
  SafeTensorFile file = model.state();
  for (const ParameterSpec& spec : parameter_specs(model.architecture(), input)) {
    if (spec.kind != ParameterKind::zero_weight)
      continue;  // as they begin they would hide what is in front of them
    for (auto& [name, tensor] : file.tensors) {
      if (name == spec.name)
        tensor =
            SafeTensor::from_floats(spec.shape, Samples(seed).floats(element_count(spec.shape), -0.5, 0.5));
    }
  }
  model.load(file);
  return model;
}

Tensor images(int64_t n, ImageShape shape, uint64_t seed) {
  const int64_t count = n * shape.height * shape.width * shape.channels;
  return Tensor::from(cpu_backend(), {n, shape.height, shape.width, shape.channels},
                      Samples(seed).floats(count, 0.0, 1.0));
}

Labels labels(int64_t n, int64_t classes, uint64_t seed) {
  const std::vector<int32_t> values = Samples(seed).labels(n, classes);
  return Labels(cpu_backend(), std::span<const int32_t>(values));
}

std::vector<float> floats_of(const Model& model, const std::string& name) {
  const SafeTensorFile file = model.state();
  const SafeTensor* found = file.find(name);
  REQUIRE(found != nullptr);
  const std::span<const float> values = found->floats();
  return {values.begin(), values.end()};
}

// Every kind of layer, some in twos, with strides, padding and pools that fuse and that do not.
const char* const kLines[] = {
    "conv 8 3x3 | relu | maxpool 2 | flatten | dense 20 | relu | dense 10",
    "conv 8 3x3 | gelu | maxpool 2 | flatten | dense 20 | gelu | dense 10",
    "conv 6 5x5 stride 2 pad 2 | relu | conv 9 3x3 | relu | maxpool 2x3 | flatten | dense 10",
    "conv 6 3x3 pad same | maxpool 2 | conv 7 3x3 | gelu tanh | avgpool 2 stride 1 | flatten | dense 10",
    "conv 5 2x2 | leakyrelu 0.2 | maxpool 3 stride 2 | maxpool 2 | flatten | dense 12 | sigmoid | dense 10",
    "flatten | dense 12 | tanh | dense 10",
    "normalize 0.5 0.25 | conv 6 3x3 | batchnorm | relu | maxpool 2 | dropout 0.25 | flatten | dense 10",
    "flatten | dense 16 | batchnorm | relu | dropout 0.5 | dense 10",
    "conv 4 3x3 pad 1 | residual | conv 4 3x3 pad 1 | batchnorm | relu | conv 4 3x3 pad 1 | add | relu | "
    "residual "
    "| conv 6 3x3 stride 2 pad 1 | relu | shortcut | conv 6 1x1 stride 2 | add | globalavgpool | dense 10",
    "conv 4 3x3 | relu | maxpool 2 | denoise nonlocal | conv 5 3x3 | relu | denoise median 3 | flatten | "
    "dense 10",
    "conv 3 3x3 stride 2 | denoise mean 3 | relu | flatten | dense 10",
    "conv 5 4x4 stride 2 pad 1 | batchnorm | leakyrelu 0.2 | deconv 3 4x5 stride 2 pad 1 | sigmoid | flatten "
    "| dense 10",
};

TEST_SUITE("engine") {
  TEST_CASE("a denoising layer begins as the identity, bit for bit, and can learn") {
    const ImageShape shape{10, 9, 2};
    const Model plain = model_of("conv 4 3x3 | relu | flatten | dense 10", shape);
    const SafeTensorFile weights = plain.state();
    for (const std::string layer : {"denoise nonlocal", "denoise mean 3", "denoise median 3"}) {
      CAPTURE(layer);
      Model model(parse_architecture("conv 4 3x3 | relu | " + layer + " | flatten | dense 10"), shape,
                  cpu_backend());
      model.initialize(Initializer::torch, 3);
      SafeTensorFile file = model.state();
      for (auto& [name, tensor] : file.tensors) {
        if (name[0] == '0') tensor = *weights.find(name);
        if (name[0] == '4') tensor = *weights.find("3" + name.substr(1));
      }
      model.load(file);
      const Tensor x = images(5, shape, 2);
      CHECK(model.forward(x).to_host() == plain.forward(x).to_host());
      const std::vector<Tensor> gradients =
          grad({sum(cross_entropy(model.forward(x), labels(5, 10, 3)))}, model.parameters());
      CHECK(largest_difference(gradients[2].to_host(), std::vector<float>(16)) > 1e-3);  // W's
    }
  }

  TEST_CASE("what each convolution gives is seen beside the logits, and gradients flow through it") {
    const ImageShape shape{9, 8, 1};
    const Model model = model_of(
        "conv 4 3x3 | batchnorm | relu | maxpool 2 | residual | conv 4 3x3 pad 1 | relu | shortcut | conv 4 "
        "1x1 | add | "
        "flatten | dense 10",
        shape);
    const Tensor x = variable(images(3, shape, 2));
    std::vector<Tensor> seen;
    const Tensor z = model.forward(x, {.convolutions = &seen});
    REQUIRE(seen.size() == 3);
    const std::vector<Tensor> weights = model.parameters();
    CHECK(largest_difference(seen[0].to_host(), conv2d(x, weights[0], weights[1], {}).to_host()) == 0);
    CHECK((seen[1].shape() == Shape{3, 3, 3, 4} && seen[2].shape() == Shape{3, 3, 3, 4}));
    CHECK(largest_difference(z.to_host(), model.forward(x).to_host()) < 1e-5);
    CHECK(largest_difference(grad(sum(seen[2]), x).to_host(), std::vector<float>(3 * 72)) > 1e-3);
  }

  TEST_CASE(
      "a deconvolution is the adjoint of the convolution with its filters, and lays them out side by side") {
    const ImageShape small{3, 4, 2};
    Model model(parse_architecture("deconv 3 4x5 stride 2x3 pad 1x2 | flatten"), small, cpu_backend());
    model.initialize(Initializer::he_uniform, 3);
    // (3-1) 2 + 4 - 2 = 6 rows, (4-1) 3 + 5 - 4 = 10 columns.
    REQUIRE(model.outputs() == 6 * 10 * 3);
    const Tensor x = images(2, small, 4), y = model.forward(x), g = images(2, {6, 10, 3}, 5);
    const Tensor back = conv2d(g, model.parameters()[0], {2, 3, 1, 2});
    REQUIRE(back.shape() == x.shape());
    CHECK(sum(reshape(y, g.shape()) * g).item() == doctest::Approx(sum(back * x).item()).epsilon(1e-5));

    // One pixel of 2 under a 2x2 filter; then two of them with stride 2, which do not overlap.
    Model one(parse_architecture("deconv 1 2x2 stride 2 | flatten"), {1, 2, 1}, cpu_backend());
    SafeTensorFile file = one.state();
    file.tensors[0].second = SafeTensor::from_floats({2, 2, 1, 1}, std::vector<float>{1, 2, 3, 4});
    file.tensors[1].second = SafeTensor::from_floats({1}, std::vector<float>{0.5f});
    one.load(file);
    CHECK(one.forward(Tensor::from(cpu_backend(), {1, 1, 2, 1}, {2, -1})).to_host() ==
          std::vector<float>{2.5f, 4.5f, -0.5f, -1.5f, 6.5f, 8.5f, -2.5f, -3.5f});
  }

  TEST_CASE("zoo: VGG and ResNet run, and gradients reach every parameter") {
    for (const char* name : {"vgg7", "vgg16", "resnet32", "resnet50"}) {
      CAPTURE(name);
      const ZooEntry entry = zoo(name, 10);
      Model model(parse_architecture(entry.line), {28, 28, 1}, cpu_backend());
      model.initialize(parse_initializer(entry.initializer), 1);
      const std::vector<Tensor> parameters = model.parameters();
      const Tensor losses =
          cross_entropy(model.forward(images(4, {28, 28, 1}, 3), {.training = true}), labels(4, 10, 4));
      size_t reached = 0;
      for (const Tensor& gradient : grad({mean(losses)}, parameters)) {
        const std::vector<float> values = gradient.to_host();
        CHECK(std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); }));
        reached += std::any_of(values.begin(), values.end(), [](float value) { return value != 0; });
      }
      CHECK(reached == parameters.size());
    }
  }

  TEST_CASE("the fused pass and the composed one give the same logits and gradients") {
    for (const char* line : kLines) {
      for (const bool training : {false, true}) {
        const ImageShape shape{13, 14, 2};
        const Model model = model_of(line, shape);
        const Tensor x = variable(images(5, shape, 2));
        const Labels y = labels(5, 10, 3);
        std::vector<Tensor> wrt = model.parameters();
        wrt.push_back(x);
        std::vector<std::vector<float>> results[2];
        for (const bool fuse : {false, true}) {
          const Tensor logits = model.forward(x, {.training = training, .seed = 4, .step = 5, .fuse = fuse});
          CHECK(logits.shape() == Shape{5, 10});
          results[fuse].push_back(logits.to_host());
          for (const Tensor& g : grad({sum(cross_entropy(logits, y))}, wrt))
            results[fuse].push_back(g.to_host());
        }
        CAPTURE(line);
        for (size_t k = 0; k < results[0].size(); ++k)
          CHECK(largest_difference(results[0][k], results[1][k]) <= 1e-5);
      }
    }
  }

  TEST_CASE("a residual sum and its relu inside a convolution change no bit") {
    for (const int channels : {4, 32}) {  // direct sums, and tiles
      const ImageShape shape{13, 14, 2};
      const Model model = model_of(
          fmt::format(
              "conv {0} 3x3 pad 1 | relu | residual | conv {0} 3x3 pad 1 | relu | conv {0} 3x3 pad 1 | add | "
              "relu | residual | conv {0} 3x3 stride 2 pad 1 | shortcut | conv {0} 1x1 stride 2 | add | relu "
              "| "
              "globalavgpool | dense 10",
              channels),
          shape);
      const Tensor x = variable(images(5, shape, 2));
      std::vector<std::vector<float>> results[2];
      for (const bool fuse : {false, true}) {
        const int64_t before = op_calls("conv2d");
        const Tensor logits = model.forward(x, {.fuse = fuse});
        CHECK(op_calls("conv2d") == before + 5);
        results[fuse].push_back(logits.to_host());
        results[fuse].push_back(grad(sum(square(logits)), x).to_host());
      }
      CHECK(results[0] == results[1]);
    }
  }

  TEST_CASE("an image's logits do not depend on the batch it is in") {
    for (const char* line : kLines) {
      const ImageShape shape{13, 14, 2};
      const Model model = model_of(line, shape);
      const Tensor x = images(9, shape, 6);
      const std::vector<float> whole = model.forward(x).to_host(), pixels = x.to_host();
      std::vector<float> parts;
      const int64_t size = 13 * 14 * 2;
      for (int64_t i = 0; i < 9; ++i) {
        const std::vector<float> image(pixels.begin() + i * size, pixels.begin() + (i + 1) * size);
        const std::vector<float> row =
            model.forward(Tensor::from(cpu_backend(), {1, 13, 14, 2}, image)).to_host();
        parts.insert(parts.end(), row.begin(), row.end());
      }
      CAPTURE(line);
      CHECK(parts == whole);
    }
  }

  TEST_CASE("a checkpoint brings back every bit") {
    for (const char* line : kLines) {
      const ImageShape shape{13, 14, 2};
      const Model model = model_of(line, shape, 7);
      const Tensor x = images(4, shape, 8);
      (void)model.forward(x, {.training = true});  // running statistics that are not the initial ones
      const std::string bytes = serialize_safetensors(model.state(), "m.st");
      const SafeTensorFile file = parse_safetensors(std::as_bytes(std::span(bytes)), "m.st");
      const StatedNetwork stated = stated_network(file, "m.st").value();
      Model again(stated.architecture, stated.input, cpu_backend());
      again.load(file);
      CHECK(again.architecture() == model.architecture());
      CHECK(again.input() == shape);
      CHECK(again.state() == model.state());
      CHECK(again.forward(x).to_host() == model.forward(x).to_host());
    }
  }

  TEST_CASE("weights that do not fit are refused by name, and others in the file are left alone") {
    const ImageShape shape{8, 8, 1};
    Model model = model_of("conv 4 3x3 | relu | flatten | dense 10", shape);
    const SafeTensorFile good = model.state();
    const auto without = [&](const std::string& name) {
      SafeTensorFile file = good;
      std::erase_if(file.tensors, [&](const auto& entry) { return entry.first == name; });
      return file;
    };
    CHECK(refusal([&] { model.load(without("3.weight")); }) ==
          "the weights lack the tensor '3.weight' of shape (10,144)");
    SafeTensorFile wrong = without("0.bias");
    wrong.tensors.emplace_back("0.bias", SafeTensor::from_floats({5}, std::vector<float>(5)));
    CHECK(refusal([&] { model.load(wrong); }) ==
          "the weights hold '0.bias' of shape (5), but the network needs (4)");
    SafeTensorFile integers = without("0.bias");
    integers.tensors.emplace_back("0.bias", SafeTensor{"I32", {4}, std::vector<std::byte>(16)});
    CHECK(refusal([&] { model.load(integers); }).find("I32") != std::string::npos);
    SafeTensorFile more = good;
    more.tensors.emplace_back("optimizer.0.1", SafeTensor::from_floats({1}, std::vector<float>(1)));
    CHECK(refusal([&] { model.load(more); }).empty());
    CHECK(model.state() == good);

    SafeTensorFile nameless = good;
    nameless.metadata.clear();
    CHECK_FALSE(stated_network(nameless, "m.st"));
    for (const char* input :
         {"8x8", "8x8x1x1", "axbxc", "0x8x1", "-8x8x1", "8x8x1 ", "99999999999999999999x8x1", ""}) {
      SafeTensorFile odd = good;
      odd.metadata["input"] = input;
      CAPTURE(input);
      CHECK(refusal([&] { (void)stated_network(odd, "m.st"); }).starts_with("m.st states the input"));
    }
  }

  TEST_CASE("refusals of models") {
    const ImageShape shape{8, 8, 1};
    const auto build = [&](const char* line) {
      return refusal([&] { (void)Model(parse_architecture(line), shape, cpu_backend()); });
    };
    CHECK(build("conv 4 3x3 | relu").find("flatten") != std::string::npos);
    CHECK(build("conv 4 9x9 | flatten | dense 10").starts_with("layer 0 (conv 4 9x9)"));
    const Model model = model_of("flatten | dense 10", shape);
    CHECK(refusal([&] {
            (void)model.forward(images(2, {8, 9, 1}, 1));
          }) == "[model] expected images (n,8,8,1), got (2,8,9,1)");
    CHECK(refusal([&] {
            (void)model.forward(reshape(images(2, shape, 1), {2, 64}));
          }) == "[model] expected images (n,8,8,1), got (2,64)");
    CHECK(model.forward(images(0, shape, 1)).shape() == Shape{0, 10});
  }

  TEST_CASE("batch norm takes its batch's moments in training and keeps PyTorch's running ones") {
    const ImageShape shape{3, 4, 2};
    const Model model = model_of("batchnorm momentum 0.3 eps 1e-3 | flatten | dense 3", shape);
    const int64_t per_channel = 4 * 3 * 4;
    double mean[2] = {0.0, 0.0}, variance[2] = {1.0, 1.0};
    for (uint64_t step = 0; step < 3; ++step) {
      const Tensor x = images(4, shape, 20 + step);
      const std::vector<float> values = x.to_host();
      (void)model.forward(x, {.training = true});
      for (size_t c = 0; c < 2; ++c) {
        double sum = 0.0, square = 0.0;
        for (size_t i = c; i < values.size(); i += 2) sum += static_cast<double>(values[i]);
        const double m = sum / per_channel;
        for (size_t i = c; i < values.size(); i += 2)
          square += (static_cast<double>(values[i]) - m) * (static_cast<double>(values[i]) - m);
        mean[c] = 0.7 * mean[c] + 0.3 * m;
        variance[c] =
            0.7 * variance[c] + 0.3 * square / (per_channel - 1);  // unbiased, unlike the one it divides by
      }
    }
    const std::vector<float> running_mean = floats_of(model, "0.running_mean"),
                             running_var = floats_of(model, "0.running_var");
    for (size_t c = 0; c < 2; ++c) {
      CHECK(std::fabs(static_cast<double>(running_mean[c]) - mean[c]) <= 1e-6);
      CHECK(std::fabs(static_cast<double>(running_var[c]) - variance[c]) <= 1e-6);
    }
    // Evaluation uses the running moments and changes nothing.
    const SafeTensorFile before = model.state();
    const Tensor x = images(1, shape, 30);
    const std::vector<float> logits = model.forward(x).to_host(), pixels = x.to_host();
    CHECK(model.state() == before);
    const std::vector<float> w = floats_of(model, "2.weight"), b = floats_of(model, "2.bias");
    for (size_t o = 0; o < 3; ++o) {
      auto expected = static_cast<double>(b[o]);
      for (size_t i = 0; i < 24; ++i) {
        const double z = (static_cast<double>(pixels[i]) - mean[i % 2]) / std::sqrt(variance[i % 2] + 1e-3);
        expected += z * static_cast<double>(w[o * 24 + i]);
      }
      CHECK(std::fabs(static_cast<double>(logits[o]) - expected) <= 1e-5);
    }
  }

  TEST_CASE("a training pass normalises each channel to mean 0 and variance 1") {
    const Model model = model_of("flatten | batchnorm | dense 2", {2, 2, 1});
    // The identity as last layer would show it; the gradient of a sum of logits shows it too: it is 0.
    const Tensor x = variable(images(50, {2, 2, 1}, 9));
    const Tensor logits = model.forward(x, {.training = true});
    CHECK(largest_difference(grad(sum(logits), x).to_host(), std::vector<float>(200)) <= 1e-5);
    const BatchMoments m = batch_moments(logits);
    const std::vector<float> bias = floats_of(model, "2.bias");
    CHECK(largest_difference(m.mean.to_host(), bias) <= 1e-5);  // a linear function of inputs whose mean is 0
  }

  TEST_CASE("training takes the fused batch norm, and its composed form for a graph of the gradient") {
    const Model model = model_of("conv 3 3x3 | batchnorm | gelu | flatten | dense 4", {6, 6, 1});
    const Tensor y = sum(square(model.forward(images(5, {6, 6, 1}, 11), {.training = true})));
    const auto backward = [] {
      return op_calls("batch_norm_backward");
    };
    const int64_t before = backward();
    const std::vector<Tensor> fused = grad({y}, model.parameters());
    CHECK(backward() == before + 1);
    const std::vector<Tensor> composed = grad({y}, model.parameters(), {.create_graph = true});
    CHECK(backward() == before + 1);
    for (size_t k = 0; k < fused.size(); ++k) {
      const std::vector<float> one = fused[k].to_host(), other = composed[k].to_host();
      float size = 1.0f;
      for (const float v : one) size = std::max(size, std::fabs(v));
      CHECK(largest_difference(one, other) <= 1e-5 * static_cast<double>(size));
    }
  }

  TEST_CASE("dropout drops in training only, by seed, step and layer") {
    const ImageShape shape{8, 8, 1};
    const Model model = model_of("flatten | dropout 0.5 | dense 10", shape);
    const Tensor x = images(3, shape, 10);
    const auto run = [&](uint64_t seed, uint64_t step) {
      return model.forward(x, {.training = true, .seed = seed, .step = step}).to_host();
    };
    CHECK(run(1, 1) == run(1, 1));
    CHECK(run(1, 1) != run(1, 2));
    CHECK(run(1, 1) != run(2, 1));
    CHECK(model.forward(x).to_host() == model.forward(x, {.seed = 9, .step = 9}).to_host());
    // Two dropouts of one network are independent: dropping twice keeps a quarter, not a half.
    const Model twice = model_of("flatten | dropout 0.5 | dropout 0.5 | dense 1", {100, 100, 1});
    const Tensor ones = variable(Tensor::full(cpu_backend(), {1, 100, 100, 1}, 1.0f));
    const Tensor y = twice.forward(ones, {.training = true, .seed = 1});
    const std::vector<float> g = grad(sum(y), ones).to_host();
    const double kept = 1.0 - static_cast<double>(std::count(g.begin(), g.end(), 0.0f)) / 10000.0;
    CHECK(std::fabs(kept - 0.25) <= 0.03);
  }

  TEST_CASE("initialisers draw from their distributions, as functions of the seed") {
    const char* line = "conv 40 3x3 | batchnorm | relu | flatten | dense 50 | dense 10";
    const ImageShape shape{8, 8, 5};
    struct Expected {
      double conv, dense;  // standard deviations
      Initializer initializer;
      bool bounded;  // within sqrt(3) of them, as uniform draws are
    };
    // fans: conv 45 in, 360 out; dense 1440 in, 50 out
    const Expected all[] = {
        {std::sqrt(2.0 / 45), std::sqrt(2.0 / 1440), Initializer::he_uniform, true},
        {std::sqrt(2.0 / 45), std::sqrt(2.0 / 1440), Initializer::he_normal, false},
        {std::sqrt(2.0 / 405), std::sqrt(2.0 / 1490), Initializer::glorot_uniform, true},
        {std::sqrt(2.0 / 405), std::sqrt(2.0 / 1490), Initializer::glorot_normal, false},
        {std::sqrt(1.0 / 45 / 3), std::sqrt(1.0 / 1440 / 3), Initializer::torch, true},
    };
    for (const Expected& e : all) {
      CAPTURE(to_string(e.initializer));
      CHECK(parse_initializer(to_string(e.initializer)) == e.initializer);
      Model model(parse_architecture(line), shape, cpu_backend());
      Model same(parse_architecture(line), shape, cpu_backend());
      Model other(parse_architecture(line), shape, cpu_backend());
      model.initialize(e.initializer, 3);
      same.initialize(e.initializer, 3);
      other.initialize(e.initializer, 4);
      CHECK(model.state() == same.state());
      CHECK(floats_of(model, "0.weight") != floats_of(other, "0.weight"));
      for (const auto& [name, deviation] :
           {std::pair<const char*, double>{"0.weight", e.conv}, {"4.weight", e.dense}}) {
        const std::vector<float> w = floats_of(model, name);
        double mean = 0.0, square = 0.0, highest = 0.0;
        for (const float v : w) {
          mean += static_cast<double>(v) / static_cast<double>(w.size());
          square += static_cast<double>(v) * static_cast<double>(v) / static_cast<double>(w.size());
          highest = std::max(highest, std::fabs(static_cast<double>(v)));
        }
        const double error = 5.0 / std::sqrt(static_cast<double>(w.size()));
        CHECK(std::fabs(mean) <= error * deviation);
        CHECK(std::fabs(std::sqrt(square) / deviation - 1.0) <= error);
        if (e.bounded) CHECK(highest <= deviation * std::sqrt(3.0) * (1.0 + 1e-6));
        if (!e.bounded) CHECK(highest > deviation * 2.5);
      }
      const std::vector<float> bias = floats_of(model, "4.bias");
      const bool zero = std::count(bias.begin(), bias.end(), 0.0f) == static_cast<int64_t>(bias.size());
      CHECK(zero == (e.initializer != Initializer::torch));
      CHECK(floats_of(model, "1.weight") == std::vector<float>(40, 1.0f));
      CHECK(floats_of(model, "1.bias") == std::vector<float>(40, 0.0f));
      CHECK(floats_of(model, "1.running_mean") == std::vector<float>(40, 0.0f));
      CHECK(floats_of(model, "1.running_var") == std::vector<float>(40, 1.0f));
    }
    CHECK(refusal([] { (void)parse_initializer("xavier"); }).starts_with("unknown initialiser 'xavier'"));
  }
}

}  // namespace
}  // namespace caltrop::test
