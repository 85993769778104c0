// The architecture line: canonical text, shapes, parameters, costs, and a refusal for each wrong line. The
// zoo.
#include "engine/architecture.h"

#include <doctest/doctest.h>

#include "engine/error.h"
#include "engine/zoo.h"
#include "tests/refusal.h"

namespace caltrop::test {
namespace {

constexpr ImageShape kMnist{28, 28, 1};

std::string canonical(std::string_view line) {
  return to_string(parse_architecture(line));
}

void check_refused(std::string_view line, const std::string& expected) {
  const std::string text = refusal([&] { (void)parse_architecture(line); });
  CAPTURE(text);
  CHECK(text.find(expected) != std::string::npos);
  CHECK(text.find('\n') == std::string::npos);
  CHECK(text.size() < 400);
}

void check_shape_refused(std::string_view line, const std::string& expected, ImageShape input = kMnist) {
  const std::string text = refusal([&] { (void)infer_shapes(parse_architecture(line), input); });
  CAPTURE(text);
  CHECK(text.find(expected) != std::string::npos);
  CHECK(text.find('\n') == std::string::npos);
}

std::string shapes_of(std::string_view line, ImageShape input) {
  std::string text;
  for (const FeatureShape& shape : infer_shapes(parse_architecture(line), input))
    text += to_string(shape) + "; ";
  return text;
}

}  // namespace

TEST_SUITE("engine") {
  TEST_CASE("architecture: every layer's text is canonical and parses back") {
    // given -> canonical
    struct Case {
      const char *given, *expected;
    };
    const Case cases[] = {
        {"conv 32 3x3", "conv 32 3x3"},
        {"conv 32 3", "conv 32 3x3"},
        {"conv 8 1x5 stride 2", "conv 8 1x5 stride 2"},
        {"conv 8 1x5 stride 2x2 pad 0x2", "conv 8 1x5 stride 2 pad 0x2"},
        {"conv 8 3 pad 1 stride 1x2", "conv 8 3x3 stride 1x2 pad 1"},
        {"conv 8 3x5 pad same", "conv 8 3x5 pad 1x2"},
        {"conv 8 1 pad same", "conv 8 1x1"},
        {"conv 8 5 stride 1 pad 0", "conv 8 5x5"},
        {"maxpool 2", "maxpool 2"},
        {"maxpool 2x2 stride 2", "maxpool 2"},
        {"maxpool 2 stride 1", "maxpool 2 stride 1"},
        {"avgpool 2x3", "avgpool 2x3"},
        {"avgpool 2x3 stride 2x3", "avgpool 2x3"},
        {"avgpool 2x3 stride 2", "avgpool 2x3 stride 2"},
        {"flatten", "flatten"},
        {"dense 100", "dense 100"},
        {"relu", "relu"},
        {"gelu", "gelu"},
        {"gelu tanh", "gelu tanh"},
        {"leakyrelu", "leakyrelu"},
        {"leakyrelu 0.01", "leakyrelu"},
        {"leakyrelu 0.2", "leakyrelu 0.2"},
        {"leakyrelu -0", "leakyrelu 0"},
        {"sigmoid", "sigmoid"},
        {"tanh", "tanh"},
        {"softmax", "softmax"},
        {"batchnorm", "batchnorm"},
        {"batchnorm momentum 0.1 eps 1e-5", "batchnorm"},
        {"batchnorm eps 0.001 momentum 0.01", "batchnorm momentum 0.01 eps 0.001"},
        {"dropout 0.25", "dropout 0.25"},
        {"normalize 0.1307 0.3081", "normalize 0.1307 0.3081"},
        {"deconv 8 4 stride 2x2 pad 1", "deconv 8 4x4 stride 2 pad 1"},
        {"deconv 8 3x5 pad same", "deconv 8 3x5 pad 1x2"},
        {"denoise nonlocal", "denoise nonlocal"},
        {"denoise  mean 3", "denoise mean 3"},
        {"denoise median 5", "denoise median 5"},
    };
    for (const Case& one : cases) {
      const std::string given = one.given, expected = one.expected;
      CAPTURE(given);
      CHECK(canonical(given) == expected);
      CHECK((parse_architecture(expected) == parse_architecture(given)));
      CHECK(canonical(expected) == expected);
    }
    const char* line = "conv 32 3x3 | relu | maxpool 2 | flatten | dense 100 | relu | dense 10";
    CHECK(canonical(line) == line);
    CHECK(canonical("  flatten|dense\t10 \n") == "flatten | dense 10");
    CHECK((std::get<ActivationSpec>(parse_architecture("leakyrelu").layers[0]) ==
           ActivationSpec{ActivationKind::leaky_relu, 0.01f}));
    CHECK((std::get<ConvSpec>(parse_architecture("conv 8 3x5 stride 4x2 pad 7x6").layers[0]) ==
           ConvSpec{8, 3, 5, 4, 2, 7, 6}));
    // Every float survives its text.
    const NormalizeSpec odd{.mean = 0.1f + 0.2f, .deviation = 1.0f / 3.0f};
    CHECK((std::get<NormalizeSpec>(parse_architecture(to_string(LayerSpec(odd))).layers[0]) == odd));
  }

  TEST_CASE("architecture: a wrong line is refused with the layer, its text and the accepted form") {
    check_refused("", "the architecture line is empty");
    check_refused(" \t ", "the architecture line is empty");
    check_refused("relu |", "layer 1 of the architecture is empty");
    check_refused("| relu", "layer 0 of the architecture is empty");
    check_refused("relu || relu", "layer 1 of the architecture is empty");
    check_refused("relu | cnov 32 3x3", "layer 1 (cnov 32 3x3): unknown layer 'cnov'; did you mean 'conv'?");
    check_refused("Dense 10", "did you mean 'dense'?");
    check_refused("max_pool 2", "did you mean 'maxpool'?");
    check_refused("linear 10", "known are conv, deconv, maxpool");
    check_refused("conv 32",
                  "layer 0 (conv 32): the kernel is missing; the accepted form is: conv OUT KHxKW");
    check_refused("conv", "OUT is missing");
    check_refused("conv 0 3x3", "OUT must be from 1 to 1048576, got '0'");
    check_refused("conv -1 3x3", "OUT must be from 1");
    check_refused("conv 1048577 3x3", "OUT must be from 1 to 1048576");
    check_refused("conv 99999999999999999999 3x3", "OUT must be from 1 to 1048576");
    check_refused("conv 3.5 3x3", "OUT must be a whole number, got '3.5'");
    check_refused("conv 32 3x", "the kernel must be a whole number");
    check_refused("conv 32 x3", "the kernel must be a whole number");
    check_refused("conv 32 3x3x3", "the kernel must be a whole number");
    check_refused("conv 32 3x3 stride", "the stride is missing");
    check_refused("conv 32 3x3 stride 0", "the stride must be from 1");
    check_refused("conv 32 3x3 pad -1", "the padding must be from 0");
    check_refused("conv 32 3x3 pad valid", "the padding must be a whole number, got 'valid'");
    check_refused("conv 32 3x3 pad 1 pad 1", "unexpected 'pad'");
    check_refused("conv 32 3x3 dilation 2", "unexpected 'dilation'");
    check_refused("conv 32 2x2 pad same", "needs an odd kernel and stride 1");
    check_refused("conv 32 3x3 pad same stride 2", "needs an odd kernel and stride 1");
    check_refused("maxpool", "the window is missing; the accepted form is: maxpool K [stride S]");
    check_refused("maxpool 2 pad 1", "unexpected 'pad'");
    check_refused("flatten 3", "unexpected '3'");
    check_refused("dense", "OUT is missing");
    check_refused("dense 10 20", "unexpected '20'");
    check_refused("gelu erf", "unexpected 'erf'");
    check_refused("leakyrelu x", "SLOPE must be a number from 0 to 1, got 'x'");
    check_refused("leakyrelu nan", "SLOPE must be a number");
    check_refused("dropout 1", "P must be a number from 0 to");
    check_refused("dropout -0.1", "P must be a number");
    check_refused("dropout", "P is missing");
    check_refused("batchnorm eps 0", "eps must be a number");
    check_refused("batchnorm momentum 2", "the momentum must be a number from 0 to 1");
    check_refused("batchnorm eps inf", "eps must be a number");
    check_refused("batchnorm 3", "unexpected '3'");
    check_refused("normalize 0.5", "STD is missing");
    check_refused("normalize 0.5 0", "STD must be a number");
    check_refused("normalize nan 1", "MEAN must be a number");
    check_refused("denoise",
                  "layer 0 (denoise): the filter is missing; the accepted form is: denoise nonlocal |");
    check_refused("denoise gauss", "the filter must be nonlocal, mean or median, got 'gauss'");
    check_refused("denoise mean", "K is missing");
    check_refused("denoise nonlocal 3", "unexpected '3'");
    for (const char* window : {"1", "2", "33"}) {
      check_refused(std::string("denoise median ") + window,
                    std::string("K must be odd and from 3 to 31, got ") + window);
    }
    check_refused(std::string(100, 'q') + "\n\x01" + std::string(60000, 'z'), "layer 0 (qqqq");
    check_refused(std::string(70000, ' '), "has 70000 bytes");
    std::string many = "relu";
    for (int i = 1; i < 1000; ++i) many += "|relu";
    CHECK(parse_architecture(many).layers.size() == 1000);
    check_refused(many + "|relu", "has 1001 layers, at most 1000");
  }

  TEST_CASE("architecture: shapes after each layer") {
    CHECK(shapes_of("conv 32 3x3 | relu | maxpool 2 | flatten | dense 100 | relu | dense 10", kMnist) ==
          "26x26x32; 26x26x32; 13x13x32; 5408 features; 100 features; 100 features; 10 features; ");
    CHECK(shapes_of("conv 4 3x5 stride 2x3 pad 1x0 | avgpool 3x2 stride 1", {32, 30, 3}) ==
          "16x9x4; 14x8x4; ");
    CHECK(shapes_of("normalize 0.5 0.5 | conv 6 5 pad same | batchnorm | dropout 0.5 | maxpool 3", kMnist) ==
          "28x28x1; 28x28x6; 28x28x6; 28x28x6; 9x9x6; ");
    CHECK(shapes_of("flatten | flatten | batchnorm | softmax", {2, 3, 4}) ==
          "24 features; 24 features; 24 features; 24 features; ");
    CHECK(shapes_of("conv 4 4 stride 2 pad 1 | deconv 3 4 stride 2 pad 1 | deconv 2 3x5 pad 1x0", kMnist) ==
          "14x14x4; 28x28x3; 28x32x2; ");
    CHECK(shapes_of("denoise nonlocal | denoise mean 3 | denoise median 31", {2, 3, 4}) ==
          "2x3x4; 2x3x4; 2x3x4; ");  // a window may be larger than the image
  }

  TEST_CASE("architecture: layers that do not fit their input are refused") {
    check_shape_refused("conv 32 28x28 | relu | relu | maxpool 2",
                        "layer 3 (maxpool 2): the input 1x1x32 is smaller than the window 2x2");
    check_shape_refused("conv 32 29x3",
                        "layer 0 (conv 32 29x3): the input 28x28x1 is smaller than the kernel 29x3");
    check_shape_refused("conv 32 31x3 pad 1", "the padded input 30x30x1 is smaller than the kernel 31x3");
    check_shape_refused("relu | dense 10",
                        "layer 1 (dense 10): the input is the image 28x28x1; put 'flatten' before");
    check_shape_refused("flatten | conv 8 3", "layer 1 (conv 8 3x3): the input is flat (784 features)");
    check_shape_refused("flatten | maxpool 2", "pooling needs an image");
    check_shape_refused("conv 10 3 | softmax", "softmax needs flat features");
    check_shape_refused("flatten | deconv 8 3", "layer 1 (deconv 8 3x3): the input is flat (784 features)");
    check_shape_refused("deconv 8 1x1 pad 1", "nothing is left of the input 2x2x1", {2, 2, 1});
    check_shape_refused("deconv 1 1x1 stride 1048576", "sizes must be from 1 to 1048576");
    check_shape_refused("flatten | denoise mean 3",
                        "layer 1 (denoise mean 3): the input is flat (784 features)");
    check_shape_refused("denoise nonlocal", "the layer has more than 2147483648 pairs of pixels",
                        {300, 300, 1});
    check_shape_refused("relu", "expected an input of sizes from 1", {0, 28, 1});
    check_shape_refused("relu", "expected an input of sizes from 1", {28, -1, 1});
    check_shape_refused("relu", "expected an input of sizes from 1", {28, 28, int64_t{1} << 62});
    check_shape_refused("relu", "of at most 2147483648 values", {kMaxExtent, kMaxExtent, kMaxExtent});
    check_shape_refused("conv 1048576 1x1 | relu | conv 1048576 1x1", "has more than 2147483648 weights",
                        {1, 1, 1});
    check_shape_refused("conv 1048576 1x1", "has more than 2147483648 features", {100, 100, 1});
    check_shape_refused("flatten | dense 1048576 | dense 2047",
                        "layer 2 (dense 2047): with it the network has", {1, 1, 1});
    check_shape_refused("conv 1 1 pad 1048576", "more than 2147483648 features", {1, 1, 1});
    // Specs made by hand pass no parser.
    CHECK_THROWS_AS((void)infer_shapes({{PoolSpec{.window_h = 2, .window_w = 2, .stride_h = 0}}}, kMnist),
                    Error);
    CHECK_THROWS_AS((void)infer_shapes({{ConvSpec{.out = 4, .stride_w = 0}}}, kMnist), Error);
    CHECK_THROWS_AS((void)infer_shapes({{ConvSpec{.out = 4, .pad_w = -1}}}, kMnist), Error);
    CHECK_THROWS_AS((void)infer_shapes({{DenseSpec{}}}, kMnist), Error);
    CHECK_THROWS_AS((void)infer_shapes({{DenoiseSpec{DenoiseFilter::mean, 4}}}, kMnist), Error);
  }

  TEST_CASE("architecture: parameters are named and shaped as the modules of a torch.nn.Sequential") {
    const auto specs = parameter_specs(
        parse_architecture("normalize 0.1 0.3 | conv 8 3x5 | batchnorm | relu | flatten | dense 7"),
        {5, 6, 2});
    REQUIRE(specs.size() == 8);
    const auto check = [&](size_t i, const char* name, ParameterKind kind, const std::vector<int64_t>& shape,
                           bool trainable, int64_t fan_in, int64_t fan_out) {
      CAPTURE(name);
      CHECK(specs[i].name == name);
      CHECK(specs[i].layer == std::stoll(name));
      CHECK((specs[i].kind == kind));
      CHECK((specs[i].shape == shape));
      CHECK(specs[i].trainable == trainable);
      CHECK(specs[i].fan_in == fan_in);
      CHECK(specs[i].fan_out == fan_out);
    };
    check(0, "1.weight", ParameterKind::conv_weight, {3, 5, 2, 8}, true, 30, 120);
    check(1, "1.bias", ParameterKind::bias, {8}, true, 30, 120);
    check(2, "2.weight", ParameterKind::norm_weight, {8}, true, 0, 0);
    check(3, "2.bias", ParameterKind::norm_bias, {8}, true, 0, 0);
    check(4, "2.running_mean", ParameterKind::running_mean, {8}, false, 0, 0);
    check(5, "2.running_var", ParameterKind::running_var, {8}, false, 0, 0);
    check(6, "5.weight", ParameterKind::dense_weight, {7, 48}, true, 48, 7);
    check(7, "5.bias", ParameterKind::bias, {7}, true, 48, 7);
  }

  TEST_CASE("architecture: parameters and multiply-accumulates of each layer") {
    const auto layers = describe_layers(parse_architecture(zoo_line("target", 10)), kMnist);
    REQUIRE(layers.size() == 7);
    CHECK(layers[0].text == "conv 32 3x3");
    CHECK(layers[0].parameters == 320);
    CHECK(layers[0].macs == 26 * 26 * 32 * 9);
    CHECK(layers[2].macs == 0);
    CHECK((layers[2].input == FeatureShape{true, 26, 26, 32}));
    CHECK((layers[2].output == FeatureShape{true, 13, 13, 32}));
    CHECK(layers[4].parameters == 5408 * 100 + 100);
    CHECK(layers[4].macs == 5408 * 100);
    const auto denoise =
        describe_layers(parse_architecture("denoise nonlocal | denoise median 3"), {7, 5, 6});
    CHECK(denoise[0].parameters == 6 * 6 + 2 * 3 * 6);
    CHECK(denoise[0].macs == 35 * (6 * 6 + 2 * 3 * 6) + 35 * 35 * (3 + 6));
    CHECK(denoise[1].parameters == 6 * 6);
    CHECK(denoise[1].macs == 35 * 6 * 6);
    const auto deconv = describe_layers(parse_architecture("deconv 8 4x4 stride 2 pad 1"), {7, 5, 6});
    CHECK(deconv[0].parameters == 4 * 4 * 8 * 6 + 8);
    CHECK(deconv[0].macs == 7 * 5 * 4 * 4 * 8 * 6);
    const auto weight = parameter_specs(parse_architecture("deconv 8 4x4 stride 2 pad 1"), {7, 5, 6})[0];
    CHECK((weight.shape == std::vector<int64_t>{4, 4, 8, 6}));
    CHECK((weight.fan_in == 4 * 6 && weight.fan_out == 16 * 8));  // four windows lie over a pixel
    const Architecture norm = parse_architecture("batchnorm");
    CHECK(count_parameters(norm, {4, 4, 3}) == 6);  // running statistics are not trained
    CHECK(count_macs(norm, {4, 4, 3}) == 0);
  }

  TEST_CASE("zoo: the first paper's models") {
    CHECK(zoo_line("target", 10) == "conv 32 3x3 | relu | maxpool 2 | flatten | dense 100 | relu | dense 10");
    CHECK(zoo_line("eat-1", 11) == "conv 32 3x3 | gelu | maxpool 2 | flatten | dense 100 | gelu | dense 11");
    CHECK(zoo_line("eat-2", 11) ==
          "conv 32 3x3 | gelu | maxpool 2 | maxpool 2 | flatten | dense 100 | gelu | dense 100 | gelu | "
          "dense 100 | "
          "gelu | dense 11");
    CHECK(zoo_line("eat-3", 11) ==
          "conv 64 3x3 | gelu | maxpool 2 | conv 32 3x3 | gelu | maxpool 2 | flatten | dense 100 | gelu | "
          "dense 100 | "
          "gelu | dense 100 | gelu | dense 11");
    const auto macs = [](const char* name, int64_t outputs) {
      return count_macs(parse_architecture(zoo_line(name, outputs)), kMnist);
    };
    CHECK(macs("target", 10) == 736'488);
    CHECK(macs("eat-1", 11) == 736'588);
    CHECK(macs("eat-2", 11) == 330'988);
    CHECK(macs("eat-3", 11) == 2'720'748);
    CHECK(zoo("target", 10).initializer == "he_uniform");
    CHECK(zoo_line("target", 10, {.pool_stride = 1}) ==
          "conv 32 3x3 | relu | maxpool 2 stride 1 | flatten | dense 100 | relu | dense 10");
  }

  TEST_CASE("zoo: every entry is canonical and has the outputs asked for, on grey and colour images") {
    CHECK(zoo_names().size() == 22);
    for (const std::string& name : zoo_names()) {
      CAPTURE(name);
      const ZooEntry entry = zoo(name, 12);
      CHECK(entry.name == name);
      CHECK(!entry.description.empty());
      const Architecture architecture = parse_architecture(entry.line);
      CHECK(to_string(architecture) == entry.line);
      for (const ImageShape input : {kMnist, ImageShape{32, 32, 3}}) {
        CHECK((infer_shapes(architecture, input).back() == FeatureShape{false, 1, 1, 12}));
      }
    }
  }

  TEST_CASE("zoo: Kim's control models") {
    CHECK(zoo_line("kim-2-dropout", 10) ==
          "conv 32 3x3 pad 1 | relu | maxpool 2 | dropout 0.25 | conv 64 3x3 pad 1 | relu | maxpool 2 | "
          "dropout 0.25 | "
          "flatten | dense 256 | relu | dropout 0.5 | dense 10");
    CHECK(zoo_line("kim-3-bn", 10) ==
          "conv 32 3x3 pad 1 | batchnorm | relu | maxpool 2 | conv 64 3x3 pad 1 | batchnorm | relu | maxpool "
          "2 | "
          "conv 128 3x3 pad 1 | batchnorm | relu | maxpool 2 | flatten | dense 256 | relu | dense 10");
    CHECK(zoo_line("kim-5", 10) ==
          "conv 32 3x3 pad 1 | relu | maxpool 2 | conv 64 3x3 pad 1 | relu | maxpool 2 | conv 128 3x3 pad 1 "
          "| relu | "
          "maxpool 2 | conv 128 3x3 pad 1 | relu | conv 128 3x3 pad 1 | relu | flatten | dense 256 | relu | "
          "dense 10");
    CHECK(zoo("kim-4", 10).initializer == "glorot_uniform");
  }

  TEST_CASE("zoo: VGG and ResNet have the sizes of their papers") {
    const auto parameters = [](const char* name) {
      return count_parameters(parse_architecture(zoo_line(name, 10)), kMnist);
    };
    // He et al. 2016, section 4.2: 0.46 M with parameter-free shortcuts. Ours has besides: two 1x1 shortcuts
    // with batch norm, biases before batch norm, and 2 x 9 x 16 weights less in the first convolution.
    const int64_t theirs = 464'154, shortcuts = 16 * 32 + 32 * 64 + 3 * (32 + 64);
    const int64_t biases = 11 * 16 + 10 * 32 + 10 * 64, grey = 2 * 9 * 16;
    CHECK(parameters("resnet32") == theirs + shortcuts + biases - grey);
    // torchvision's resnet50: 25,557,032 with 1000 classes and a 7x7 stem of three channels.
    const int64_t stem = 64 * (9 - 7 * 7 * 3), head = 2049 * (10 - 1000), conv_biases = 26'560;
    CHECK(parameters("resnet50") == 25'557'032 + stem + head + conv_biases);
    CHECK(parameters("vgg7") > 9'200'000);
    CHECK(parameters("vgg16") > 15'200'000);
    CHECK(zoo("resnet32", 10).initializer == "he_uniform");
    const std::vector<FeatureShape> shapes =
        infer_shapes(parse_architecture(zoo_line("resnet50", 10)), kMnist);
    CHECK((shapes[shapes.size() - 3] == FeatureShape{true, 4, 4, 2048}));
  }

  TEST_CASE("residual blocks: shapes, names and what is refused") {
    const char* line =
        "conv 4 3x3 pad 1 | residual | conv 6 3x3 stride 2 pad 1 | relu | residual | conv 6 1x1 | add | "
        "shortcut "
        "| conv 6 1x1 stride 2 | add | relu | globalavgpool | dense 3";
    const Architecture architecture = parse_architecture(line);
    CHECK(to_string(architecture) == line);
    const std::vector<FeatureShape> shapes = infer_shapes(architecture, {8, 8, 1});
    CHECK((shapes[7] == FeatureShape{true, 8, 8, 4}));  // the shortcut starts from the block's input
    CHECK((shapes[9] == FeatureShape{true, 4, 4, 6}));
    CHECK((shapes[11] == FeatureShape{false, 1, 1, 6}));
    std::vector<std::string> names;
    for (const ParameterSpec& spec : parameter_specs(architecture, {8, 8, 1})) names.push_back(spec.name);
    CHECK(names == std::vector<std::string>{"0.weight", "0.bias", "2.weight", "2.bias", "5.weight", "5.bias",
                                            "8.weight", "8.bias", "12.weight", "12.bias"});
    const auto why = [](const char* bad) {
      return refusal([&] { (void)infer_shapes(parse_architecture(bad), {8, 8, 1}); });
    };
    CHECK(why("add") == "layer 0 (add): there is no 'residual' before it to belong to");
    CHECK(why("shortcut | add") == "layer 0 (shortcut): there is no 'residual' before it to belong to");
    CHECK(why("residual | relu") == "layer 0 (residual): the block has no 'add'");
    CHECK(why("residual | shortcut | shortcut | add") ==
          "layer 2 (shortcut): the block of layer 0 has one already");
    CHECK(why("residual | conv 2 3x3 | add") ==
          "layer 2 (add): the body of the block gives 6x6x2, its shortcut 8x8x1");
    CHECK(why("flatten | globalavgpool").find("pooling needs an image") != std::string::npos);
    CHECK(why("residual 3").find("unexpected '3'") != std::string::npos);
  }

  TEST_CASE("zoo: unknown names and absurd options are refused") {
    CHECK(refusal([] { (void)zoo("vgg17", 10); }).find("unknown model 'vgg17'; known are target, eat-1") !=
          std::string::npos);
    CHECK(refusal([] { (void)zoo("target", 0); }).find("got 0") != std::string::npos);
    CHECK(refusal([] { (void)zoo("target", kMaxExtent + 1); }).find("outputs") != std::string::npos);
    CHECK(refusal([] { (void)zoo("target", 10, {.pool_stride = 3}); }).find("1 or 2, got 3") !=
          std::string::npos);
    CHECK(refusal([] { (void)zoo("kim-3", 10, {.pool_stride = 1}); }).find("kim-3") != std::string::npos);
  }
}

}  // namespace caltrop::test
