// The command line from end to end: what a user gets wrong costs one clear line and a status, never a file.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "kernels/backend.h"
#include "tests/apps/program.h"

namespace caltrop::test {
namespace {

struct BadUse {
  std::vector<std::string> arguments;
  int status;
  std::string says;  // part of the line
};

void check_refused(const Workplace& place, const BadUse& use) {
  std::string line;
  for (const std::string& word : use.arguments) line += word + " ";
  CAPTURE(line);
  const auto before = contents(place.path());
  const Outcome outcome = place.caltrop(use.arguments);
  CAPTURE(outcome.error);
  CHECK(outcome.status == use.status);
  CHECK(outcome.out.empty());
  CHECK(is_one_line(outcome.error));
  CHECK(outcome.error.starts_with("caltrop: "));
  CHECK(outcome.error.find(use.says) != std::string::npos);
  auto after = contents(place.path());
  for (const char* own : {".stdout", ".stderr"}) after.erase(own);
  for (const auto& file : after) {
    CAPTURE(file.first);
    CHECK(before.contains(file.first));
  }
}

std::vector<std::string> operator+(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Trains once for the cases that need weights.
const Workplace& trained() {
  static const Workplace place;
  static const bool done = [] {
    const Outcome outcome = place.caltrop(tiny_training({"--out", "run"}));
    CAPTURE(outcome.error);
    REQUIRE(outcome.status == 0);
    return true;
  }();
  static_cast<void>(done);
  return place;
}

TEST_SUITE("apps") {
  TEST_CASE("misunderstood commands and flags") {
    const Workplace place;
    const std::vector<BadUse> uses = {
        {{}, 2, "a command is missing"},
        {{"trian"}, 2, "unknown command 'trian'; did you mean train? (see 'caltrop --help')"},
        {{"bench", "gpu"}, 2, "unknown command 'bench gpu'"},
        {{"--model", "target"}, 2, "expected a command before --model"},
        {{"train", "--epoch", "3"}, 2, "unknown option --epoch; did you mean --epochs?"},
        {{"train", "--model"}, 2, "--model needs a value"},
        {{"train", "extra"}, 2, "unexpected argument 'extra'"},
        {{"train"}, 2, "give a network with --model or --arch"},
        {{"eval", "--weights", "w", "--attacked", "a.npz", "--logits", "./a.npz"},
         2,
         "--logits would overwrite the file of --attacked: a.npz"},
        {{"eval", "--weights", "w", "--logits", "x", "--features", "x"},
         2,
         "--features would overwrite the file of --logits"},
        {{"eval", "--weights", "w", "--attacked", "a.npz", "--indices", "i"}, 2, "excludes"},
        {{"study", "s.json", "--json", "s.json"}, 2, "--json would overwrite the file of 'study'"},
        {{"sweep", "--weights", "a=w", "--attacks", "pgd", "--eps", "0.1", "--json", "w"},
         2,
         "--json would overwrite the file of --weights"},
        {{"sweep", "--weights", "w", "--attacks", "pgd:help", "--eps", "0.1"}, 2, "question for help"},
        {{"train", "--model", "targte"}, 2, "unknown network 'targte'; did you mean target?"},
        {{"train", "--model", "target", "--arch", "dense 10"}, 2, "excludes"},
        {{"train", "--model", "target", "--dataset", "minst"}, 2, "did you mean mnist?"},
        {{"train", "--model", "target", "--dataset", "folder"}, 2, "--dataset folder needs --data-dir"},
        {{"train", "--model", "target", "--limit", "0"}, 2, "--limit: expected a whole number from 1"},
        {{"train", "--model", "target", "--batch", "70000"},
         2,
         "--batch: expected a whole number from 1 to 65536"},
        {{"train", "--model", "target", "--epochs", "-1"},
         2,
         "--epochs: expected a whole number from 0 to 100000"},
        {{"train", "--model", "target", "--lr", "nan"}, 2, "--lr: expected a number above 0"},
        {{"train", "--model", "target", "--lr", "-1"}, 2, "--lr: expected a number above 0"},
        {{"train", "--model", "target", "--schedule", "step 2"}, 2, "--schedule"},
        {{"train", "--model", "target", "--momentum", "0.9"}, 2, "belong to --optimizer sgd"},
        {{"train", "--model", "target", "--optimizer", "sgd", "--nesterov"},
         2,
         "--nesterov needs a --momentum"},
        {{"train", "--model", "target", "--threads", "-1"}, 2, "--threads: expected a whole number"},
        {{"train", "--model", "target", "--seed", "-1"}, 2, "--seed: expected a whole number of at least 0"},
        {{"train", "--model", "target", "--resume"}, 2, "--resume needs the --out"},
        {{"train", "--arch", "conv 4 3x3 | rellu"}, 1, "unknown layer 'rellu'"},
        {{"train", "--arch", "flatten | dense 5", "--dataset", "digits", "-q"},
         1,
         "--arch has 5 outputs, but digits has 10 classes"},
        {{"train", "--arch", "maxpool 64 | flatten | dense 10", "-q"}, 1, "smaller than the window"},
        {{"train", "--model", "target", "--dataset", "mnist", "--data-dir", "nowhere"}, 1, "nowhere"},
        {{"train", "--model", "target", "--split", "100"}, 1, "100"},
        {{"train", "--model", "target", "--config", "nothing.json"}, 1, "cannot read nothing.json"},
        {{"eval"}, 2, "--weights is missing"},
        {{"eval", "--weights", "nothing.safetensors"}, 1, "caltrop: --weights: /"},
        {{"eval", "--weights", "nothing.safetensors"}, 1, "nothing.safetensors: no such file"},
        {{"export", "--out", "x"}, 2, "give --weights, --images or --attacked"},
        {{"export", "--images", "png"}, 2, "--out is missing"},
        {{"export", "--images", "gif", "--out", "x"}, 2, "--images: expected one of npz, png"},
        {{"info", "--arch", "dense 10 | conv 3 3x3"}, 1, "layer"},
        {{"info", "--model", "target", "--input", "28"}, 2, "--input: expected sizes like 28x28"},
        {{"bench", "cpu", "--jobs", "inference"}, 2, "--jobs: expected one of"},
        {{"bench", "cpu", "--device", "cuda"}, 2, "--device: expected"},
        {{"bench", "kernels", "matmull"}, 2, "did you mean matmul?"},
        {{"bench", "kernels", "--version", "0"}, 2, "--version: expected a whole number from 1"},
        {{"bench", "kernels", "softmax", "--device", "emulated", "--version", "99"}, 2, "no version 99"},
        {{"bench", "kernels", "--samples", "10"}, 2, "--samples: expected a whole number from 50"},
        {{"bench", "cpu", "--repeats", "0"}, 2, "--repeats: expected a whole number from 1"},
    };
    for (const BadUse& use : uses) check_refused(place, use);
  }

  TEST_CASE("damaged and mismatched weights") {
    const Workplace place;
    const std::string good = trained().read("run/model.safetensors");
    place.write("good", good);
    place.write("empty", "");
    place.write("cut", good.substr(0, good.size() / 2));
    place.write("garbage", std::string(1000, '\x7F'));
    place.write("huge-header", std::string("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 8) + "{}");
    const std::vector<std::string> eval = {"eval", "-q", "--weights"};
    const std::vector<BadUse> uses = {
        {eval + std::vector<std::string>{"empty"}, 1, "empty"},
        {eval + std::vector<std::string>{"cut"}, 1, "cut"},
        {eval + std::vector<std::string>{"garbage"}, 1, "garbage"},
        {eval + std::vector<std::string>{"huge-header"}, 1, "huge-header"},
        {eval + std::vector<std::string>{"good", "--model", "target"}, 1, "holds the network"},
        {eval + std::vector<std::string>{"good", "--layout", "torch"}, 1, "good"},
        {eval + std::vector<std::string>{"good", "--json", "no/where.json"}, 1, "cannot write no/where.json"},
        {eval + std::vector<std::string>{"good", "--json", "/dev/full"}, 1, "No space left"},
        {eval + std::vector<std::string>{"good", "--logits", "no/where.npz"}, 1, "cannot write no/where.npz"},
        {eval + std::vector<std::string>{"good", "--out", "good"}, 1, "good is not a folder"},
    };
    for (const BadUse& use : uses) {
      // Standard output may hold the result that was printed before the last write failed.
      if (use.says == "No space left") {
        const Outcome outcome = place.caltrop(use.arguments);
        CHECK(outcome.status == 1);
        CHECK(outcome.error.find(use.says) != std::string::npos);
      } else {
        check_refused(place, use);
      }
    }
  }

  TEST_CASE("--device cuda without a GPU") {
    if (cuda_state() == DeviceState::ready) {
      MESSAGE("SKIP: there is a GPU here");
      return;
    }
    const Workplace place;
    check_refused(place, {{"train", "--model", "target", "--device", "cuda"},
                          1,
                          cuda_state() == DeviceState::not_built ? "built without CUDA"
                                                                 : "no GPU with a working driver"});
    check_refused(place, {{"train", "--model", "target", "--device", "cpu", "--conv", "cudnn"},
                          1,
                          "there are no such convolutions on a CPU"});
  }

  TEST_CASE("damaged data sets") {
    const Workplace place;
    std::filesystem::create_directory(place.file("mnist"));
    const char* names[] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
                           "t10k-labels-idx1-ubyte"};
    const std::string images(
        "\0\0\x08\x03\0\0\0\x02\0\0\0\x02\0\0\0\x02"
        "abcdefgh",
        24);
    const std::string labels("\0\0\x08\x01\0\0\0\x02\x01\x02", 10);
    const auto reset = [&] {
      for (int i = 0; i < 4; ++i) place.write(std::string("mnist/") + names[i], i % 2 == 0 ? images : labels);
    };
    const std::vector<std::pair<std::string, std::string>> damages = {
        {"train-images-idx3-ubyte", images.substr(0, 20)},     // truncated
        {"train-images-idx3-ubyte", "PK" + images.substr(2)},  // wrong magic
        {"train-images-idx3-ubyte", images + "x"},             // too long
        {"train-images-idx3-ubyte",
         std::string("\0\0\x08\x03\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 16)},
        {"train-labels-idx1-ubyte",
         std::string("\0\0\x08\x01\0\0\0\x03\x01\x02\x03", 11)},                         // more than images
        {"train-labels-idx1-ubyte", std::string("\0\0\x08\x01\0\0\0\x02\x01\x63", 10)},  // label 99
        {"train-images-idx3-ubyte", std::string("\x1F\x8B\x08\0garbage", 11)},           // not gzip after all
        {"t10k-images-idx3-ubyte", ""},
    };
    for (const auto& [name, bytes] : damages) {
      reset();
      place.write("mnist/" + name, bytes);
      check_refused(place,
                    {{"train", "--arch", "flatten | dense 10", "--dataset", "mnist", "--data-dir", "mnist"},
                     1,
                     "mnist"});
    }
  }

  TEST_CASE("folders that cannot be used") {
    const Workplace place;
    REQUIRE(place.caltrop(tiny_training({"--out", "run"})).status == 0);
    const auto before = contents(place.file("run"));
    place.write("file", "x");
    std::filesystem::create_directory(place.file("full"));
    place.write("full/notes.txt", "mine");
    check_refused(place,
                  {tiny_training({"--out", "run"}), 1, "already holds a run; continue it with --resume"});
    check_refused(place,
                  {tiny_training({"--out", "run", "--resume", "--seed", "9"}), 1, "has --seed 0, not 9"});
    check_refused(place,
                  {tiny_training({"--out", "run", "--resume", "--lr", "0.5"}), 1, "has --lr 0.001, not 0.5"});
    check_refused(place, {tiny_training({"--out", "file"}), 1, "file is not a folder"});
    check_refused(place, {tiny_training({"--out", "file/below"}), 1, "file/below"});
    check_refused(place, {tiny_training({"--out", "full"}), 1, "is not empty and holds no run"});
    check_refused(place, {tiny_training({"--out", "full", "--resume"}), 1, "is not empty and holds no run"});
    CHECK(contents(place.file("run")) == before);
    if (::geteuid() == 0) {
      MESSAGE("SKIP: a folder that must not be written to cannot be had as root");
    } else {
      std::filesystem::create_directory(place.file("locked"));
      std::filesystem::permissions(place.file("locked"),
                                   std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
      check_refused(place, {tiny_training({"--out", "locked"}), 1, "locked"});
      check_refused(place, {tiny_training({"--out", "locked/run"}), 1, "locked/run"});
    }
  }

  TEST_CASE("standard output that is full is an error") {
    const Workplace place;
    for (const char* words : {"--help", "--version", "info", "train --help", "info --json -", "bench"}) {
      CAPTURE(words);
      const Outcome outcome = place.shell(std::string("exec \"$CALTROP\" ") + words + " >/dev/full");
      CHECK(outcome.status == 1);
      CHECK(is_one_line(outcome.error));
    }
  }

  TEST_CASE("a file that cannot be written whole leaves nothing") {
    const Workplace place;
    // 16 blocks of 512 bytes hold the configuration but no weights.
    const Outcome outcome = place.shell(
        "ulimit -f 16; exec \"$CALTROP\" train --quiet --model kim-2 --dataset mnist --epochs 1 --out run");
    CAPTURE(outcome.error);
    CHECK(outcome.status == 1);
    CHECK(is_one_line(outcome.error));
    CHECK(outcome.error.find("cannot write run/checkpoint.safetensors") != std::string::npos);
    for (const auto& file : contents(place.file("run"))) {
      CAPTURE(file.first);
      CHECK((file.first == "config.json" || file.first == "metrics.jsonl"));
    }
    // With room again it is continued as if nothing had happened.
    const Outcome resumed = place.caltrop({"train", "--quiet", "--resume", "--out", "run"});
    CAPTURE(resumed.error);
    CHECK(resumed.status == 0);
    CHECK(contents(place.file("run")).contains("model.safetensors"));
  }

  TEST_CASE("every command has a manual page with examples") {
    const Workplace place;
    for (const std::string name :
         {"info",       "train",         "eval",           "attack",       "sweep",
          "study",      "transfer",      "gma generate",   "gma analyze",  "gma poison",
          "gma visual", "paper gma-mia", "demo",           "export",       "bench",
          "bench cpu",  "bench cuda",    "bench ensemble", "bench layers", "bench kernels"}) {
      CAPTURE(name);
      const Outcome page = place.shell("\"$CALTROP\" " + name + " --help");
      CHECK(page.status == 0);
      CHECK(page.error.empty());
      CHECK(page.out.starts_with("Usage: caltrop " + name));
      CHECK(page.out.find("\nExamples\n  caltrop " + name) != std::string::npos);
      const std::map<std::string, std::string> others = {{"bench cpu", "cpu"},
                                                         {"bench layers", "cpu"},
                                                         {"bench cuda", "cuda"},
                                                         {"bench kernels", "auto|cuda|emulated"}};
      const std::string device =
          "--device " + (others.contains(name) ? others.at(name) : std::string("auto|cpu|cuda"));
      for (const char* flag : {device.c_str(), "--seed N", "--threads N", "--out DIR", "--json FILE",
                               "--config FILE", "--quiet"}) {
        CAPTURE(flag);
        CHECK(page.out.find(std::string("  ") + (flag[2] == 'q' ? "-q, " : "") + flag) != std::string::npos);
      }
      CHECK(place.shell("\"$CALTROP\" help " + name).out == page.out);
    }
    const Outcome overview = place.caltrop({"--help"});
    CHECK(overview.status == 0);
    CHECK(overview.out.find("  train ") != std::string::npos);
    CHECK(place.caltrop({"--version"}).out.starts_with("caltrop "));
  }

  TEST_CASE("info fits a screen, with a family of networks in one row") {
    const Workplace place;
    const std::string text = place.output({"info"});
    CHECK(std::count(text.begin(), text.end(), '\n') <= 40);
    CHECK(text.find("kim-* ") != std::string::npos);
    CHECK(text.find("conv 32") == std::string::npos);
    std::istringstream models(text.substr(text.find("Models")));
    for (std::string line; std::getline(models, line);) CHECK_MESSAGE(line.size() <= 100, line);
    CHECK(place.output({"info", "--model", "kim-3-bn"}).starts_with("conv 32 3x3 pad 1 | batchnorm"));
  }

  TEST_CASE("with --json - standard output holds JSON alone") {
    const Workplace place;
    const std::string weights = trained().file("run/model.safetensors").string();
    const std::vector<std::vector<std::string>> calls = {
        {"info", "--json", "-"},
        {"info", "--model", "eat-3", "--json", "-"},
        {"eval", "--weights", weights, "--limit", "50", "--json", "-"},
        {"export", "--weights", weights, "--out", "e", "--json", "-"},
        tiny_training({"--json", "-"}),
    };
    for (const auto& call : calls) {
      CAPTURE(call[0]);
      const Outcome outcome = place.caltrop(call);
      CHECK(outcome.status == 0);
      CHECK(Json::parse(outcome.out, nullptr, false).is_object());
    }
  }
}

}  // namespace
}  // namespace caltrop::test
