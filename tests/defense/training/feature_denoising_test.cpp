// Feature denoising: where the layers go, and that the defence trains and goes on.
#include "defense/training/feature_denoising.h"

#include <doctest/doctest.h>

#include "engine/zoo.h"
#include "tests/defense/training/training_run.h"

namespace caltrop::test {
namespace {

std::string denoised(const std::string& line) {
  return to_string(with_denoising(parse_architecture(line), {DenoiseFilter::mean, 3}));
}

TEST_SUITE("defense") {
  TEST_CASE("feature denoising: a layer after each stage of convolutions") {
    CHECK(denoised("conv 32 3x3 | relu | maxpool 2 | flatten | dense 10") ==
          "conv 32 3x3 | relu | maxpool 2 | denoise mean 3 | flatten | dense 10");
    CHECK(denoised("conv 4 3x3 | conv 4 3x3 | relu | maxpool 2 | maxpool 2 | dropout 0.5 | conv 4 3x3 | relu "
                   "| flatten | "
                   "dense 9 | dense 10") ==
          "conv 4 3x3 | conv 4 3x3 | relu | maxpool 2 | maxpool 2 | denoise mean 3 | dropout 0.5 | conv 4 "
          "3x3 | relu | "
          "denoise mean 3 | flatten | dense 9 | dense 10");
    CHECK(denoised("conv 4 3x3 pad 1 | relu | residual | conv 4 3x3 pad 1 | add | residual | conv 8 3x3 "
                   "stride 2 pad 1 | "
                   "shortcut | conv 8 1x1 stride 2 | add | relu | globalavgpool | dense 10") ==
          "conv 4 3x3 pad 1 | relu | residual | conv 4 3x3 pad 1 | add | denoise mean 3 | residual | conv 8 "
          "3x3 stride 2 "
          "pad 1 | shortcut | conv 8 1x1 stride 2 | add | relu | denoise mean 3 | globalavgpool | dense 10");
    const auto layers = [](const char* name) {
      const Architecture line = parse_architecture(zoo_line(name, 10));
      return with_denoising(line, {}).layers.size() - line.layers.size();
    };
    CHECK((layers("kim-2") == 2 && layers("kim-5") == 4 && layers("vgg16") == 4 && layers("resnet32") == 3 &&
           layers("resnet50") == 4 && layers("eat-2") == 1));
    for (const std::string& name : zoo_names())  // each of them is a network still
      CHECK_NOTHROW(infer_shapes(with_denoising(parse_architecture(zoo_line(name, 10)), {}), {28, 28, 1}));
    CHECK(refusal([] { (void)denoised("flatten | dense 10"); }) ==
          "feature denoising: the network 'flatten | dense 10' has no convolution to denoise after");
  }

  TEST_CASE("feature denoising: it trains with PGD and a killed run goes on with the same bits") {
    Run run;
    run.trial.target = make_model("conv 4 3x3 | relu | maxpool 2 | flatten | dense 10", {12, 12, 1}, 3);
    for (const char* filter : {"nonlocal", "median"}) {
      CAPTURE(filter);
      const auto how = [&](Defence& d) {
        option<std::string>(d, "filter") = filter;
        option<double>(d, "eps") = 0.05;
        option<std::optional<int64_t>>(d, "steps") = 3;
      };
      Killer whole, killed, rest;
      const std::string name = filter, bytes = run.train("feature-denoising", name, whole, "", 2, how);
      CHECK(whole.epochs[1].tested.all.accuracy > whole.epochs[0].tested.all.accuracy - 0.1);
      const SafeTensorFile file = read_safetensors(run.folder.path() / name / "model.safetensors");
      CHECK(file.metadata.at("arch") == "conv 4 3x3 | relu | maxpool 2 | denoise " + name +
                                            (name == "median" ? " 3" : "") + " | flatten | dense 10");
      bool learned = false;
      for (const float w : file.find("3.weight")->floats()) learned = learned || w != 0.0f;
      CHECK(learned);
      killed.left = 1;
      CHECK_THROWS_WITH_AS(run.train("feature-denoising", name + "-killed", killed, "", 2, how), "killed",
                           Error);
      CHECK(run.train("feature-denoising", name + "-killed", rest, "", 2, how) == bytes);
    }
    const auto refused = [](const std::function<void(Defence&)>& change) {
      const std::unique_ptr<Defence> defence = defence_info("feature-denoising").make();
      change(*defence);
      return refusal([&] { defence->resolve("smoke", PoolRecipeOptions()); });
    };
    using Count = std::optional<int64_t>;
    CHECK(refused([](Defence& d) { option<Count>(d, "window") = 5; }) ==
          "--window belongs to --filter mean and median, not nonlocal");
    CHECK(refused([](Defence& d) {
            option<std::string>(d, "filter") = "mean";
            option<Count>(d, "window") = 4;
          }) == "--window must be odd, got 4");
  }
}

}  // namespace
}  // namespace caltrop::test
