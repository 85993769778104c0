// Runs from end to end: the same recipe gives the same bytes, whatever happens on the way.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "apps/core/run_folder.h"
#include "data/npz.h"
#include "tests/apps/program.h"

namespace caltrop::test {
namespace {

Files run(const Workplace& place, const std::string& folder, const std::vector<std::string>& words) {
  std::vector<std::string> arguments = words;
  arguments.insert(arguments.end(), {"--out", folder});
  const Outcome outcome = place.caltrop(arguments);
  CAPTURE(outcome.error);
  REQUIRE(outcome.status == 0);
  return contents(place.file(folder));
}

int64_t lines_of(const Workplace& place, const std::string& name) {
  const std::string text = place.read(name);
  return std::count(text.begin(), text.end(), '\n');
}

TEST_SUITE("apps") {
  TEST_CASE("a run without data or weights has a config.json all the same") {
    const Workplace place;
    const std::vector<std::string> kernels = {"bench", "kernels",  "softmax",  "--version",
                                              "1",     "--device", "emulated", "--quiet"};
    for (const std::vector<std::string>& words : {std::vector<std::string>{"bench"}, kernels, {"info"}}) {
      CAPTURE(words.back());
      const Files files = run(place, "out-" + words.back(), words);
      CHECK(Json::parse(files.at("config.json"))["command"].get<std::string>().starts_with(words[0]));
      CHECK(files.size() > 1);
    }
  }

  TEST_CASE("a run folder is a function of its recipe") {
    const Workplace place;
    const Files first = run(place, "first", tiny_training({"--seed", "3", "--threads", "1"}));
    for (const char* name :
         {"config.json", "metrics.jsonl", "checkpoint.safetensors", "model.safetensors", "evaluation.json"}) {
      CAPTURE(name);
      CHECK(first.contains(name));
    }
    CHECK(first.size() == 5);
    check_equal(first, run(place, "same", tiny_training({"--seed", "3", "--threads", "2"})));
    check_equal(first, run(place, "repeated", {"train", "--quiet", "--config", "first/config.json"}));
    const Files other = run(place, "other", tiny_training({"--seed", "4"}));
    CHECK((other.at("model.safetensors") != first.at("model.safetensors")));
    const Files longer =
        run(place, "longer", {"train", "--quiet", "--config", "first/config.json", "--epochs", "3"});
    CHECK(std::count(longer.at("metrics.jsonl").begin(), longer.at("metrics.jsonl").end(), '\n') == 3);
  }

  TEST_CASE("without --out a run takes the first free folder below runs/") {
    const Workplace place;
    REQUIRE(place.caltrop(tiny_training({})).status == 0);
    REQUIRE(place.caltrop(tiny_training({})).status == 0);
    check_equal(contents(place.file("runs/train-custom-mnist")),
                contents(place.file("runs/train-custom-mnist-2")));
  }

  TEST_CASE("a run that is killed, again and again, ends with the same bits") {
    const Workplace place;
    const std::vector<std::string> recipe = {"--epochs", "12",         "--optimizer", "sgd",        "--lr",
                                             "0.05",     "--momentum", "0.9",         "--schedule", "cosine"};
    const Files whole = run(place, "whole", tiny_training(recipe));
    std::vector<std::string> resumed = tiny_training(recipe);
    resumed.emplace_back("--resume");
    std::vector<std::string> started = resumed;
    started.insert(started.end(), {"--out", "killed"});
    int kills = 0;
    // Each time it is killed as soon as it has gone one epoch further, wherever it then is.
    for (int64_t reached = 1; reached <= 11; reached += 2) {
      const pid_t process = place.start(started);
      while (lines_of(place, "killed/metrics.jsonl") < reached &&
             ::access(place.file("killed/evaluation.json").c_str(), F_OK) != 0) {
        ::usleep(200);
      }
      kills += stop(process) ? 1 : 0;
    }
    CHECK(kills >= 1);
    check_equal(whole, run(place, "killed", resumed));
    // What is complete stays as it is; the recipe need not be told again.
    check_equal(whole, run(place, "killed", {"train", "--resume", "--quiet"}));
  }

  TEST_CASE("a finished run is extended to the bits of one that was as long from the start") {
    const Workplace place;
    const std::vector<std::string> constant = {"--schedule", "constant"};
    const auto epochs = [&](const std::string& folder, const char* count, bool resume) {
      std::vector<std::string> words = constant;
      words.insert(words.end(), {"--epochs", count});
      if (resume) words.emplace_back("--resume");
      return run(place, folder, tiny_training(words));
    };
    const Files whole = epochs("whole", "5", false);
    epochs("grown", "2", false);
    epochs("grown", "4", true);
    check_equal(whole, run(place, "grown", {"train", "--resume", "--quiet", "--epochs", "5"}));
    check_equal(whole, run(place, "grown", {"train", "--resume", "--quiet"}));
    // Cut off while it was extended: config.json had the new number before anything was trained.
    epochs("cut", "3", false);
    place.write("cut/config.json", whole.at("config.json"));
    check_equal(whole, run(place, "cut", {"train", "--resume", "--quiet"}));

    const Outcome shrunk = place.caltrop({"train", "--resume", "--out", "grown", "--epochs", "3"});
    CHECK(shrunk.status == 1);
    CHECK(shrunk.error.find("the run in grown has --epochs 5, not 3") != std::string::npos);
    const Files linear = run(place, "linear", tiny_training({}));
    const Outcome refused = place.caltrop({"train", "--resume", "--out", "linear", "--epochs", "4"});
    CHECK(refused.status == 1);
    CHECK(refused.error ==
          "caltrop: --epochs: the schedule 'linear' of the run in linear is laid out over its 2 epochs; only "
          "--schedule constant can be extended. Train on in a new folder: --weights "
          "linear/model.safetensors\n");
    check_equal(linear, contents(place.file("linear")));
  }

  TEST_CASE("training goes on from weights") {
    const Workplace place;
    const Files first = run(place, "first", tiny_training({}));
    const std::vector<std::string> on = {"train", "--quiet", "--weights", "first/model.safetensors",
                                         "--epochs"};
    const auto further = [&](const std::string& folder, const char* epochs) {
      std::vector<std::string> words = on;
      words.emplace_back(epochs);
      return run(place, folder, words);
    };
    // No epoch at all: the same weights, of the same network and data, tested.
    const Files same = further("same", "0");
    CHECK((same.at("model.safetensors") == first.at("model.safetensors")));
    CHECK((same.at("evaluation.json") == first.at("evaluation.json")));
    const Files more = further("more", "3");
    const auto loss = [](const Files& files, bool last) {
      const std::string& text = files.at("metrics.jsonl");
      const size_t from = last ? text.rfind('\n', text.size() - 2) + 1 : 0;
      return Json::parse(text.substr(from, text.find('\n', from) - from)).at("loss").get<double>();
    };
    CHECK(loss(more, false) < loss(first, false));
    CHECK(loss(more, true) < loss(first, true));
    CHECK(Json::parse(more.at("config.json")).at("inputs").contains("weights_crc32"));
    check_equal(more, run(place, "repeated", {"train", "--quiet", "--config", "more/config.json"}));
    check_equal(more, run(place, "more", {"train", "--quiet", "--resume"}));

    const auto refused = [&](const std::vector<std::string>& words, const char* part) {
      const Outcome outcome = place.caltrop(words);
      CAPTURE(outcome.error);
      CHECK(outcome.status != 0);
      CHECK(is_one_line(outcome.error));
      CHECK(outcome.error.find(part) != std::string::npos);
      CHECK_FALSE(std::filesystem::exists(place.file("no")));
    };
    refused({"train", "-q", "--weights", "first/model.safetensors", "--init", "torch", "--out", "no"},
            "--weights excludes --init");
    refused({"train", "-q", "--weights", "none.safetensors", "--out", "no"}, "none.safetensors");
    refused({"train", "-q", "--weights", "first/model.safetensors", "--model", "target", "--out", "no"},
            "holds the network");
  }

  TEST_CASE("early stopping keeps the weights of the best epoch, also where it was cut off") {
    const Workplace place;
    // A rate at which the held-out loss soon rises.
    const std::vector<std::string> recipe = {"--epochs",   "40",       "--early-stop", "2",
                                             "--schedule", "constant", "--lr",         "0.02"};
    const Files whole = run(place, "whole", tiny_training(recipe));
    std::vector<double> losses;
    std::istringstream lines(whole.at("metrics.jsonl"));
    for (std::string line; std::getline(lines, line);)
      losses.push_back(Json::parse(line).at("held_out_loss").get<double>());
    REQUIRE(losses.size() < 40);
    const auto best = std::min_element(losses.begin(), losses.end());
    CHECK(losses.end() - best == 3);  // two epochs without a better one
    // The weights and their test are those of a run that ends with the best epoch.
    std::vector<std::string> until =
        tiny_training({"--early-stop", "2", "--schedule", "constant", "--lr", "0.02", "--epochs",
                       std::to_string(best - losses.begin() + 1)});
    const Files ended = run(place, "ended", until);
    CHECK((ended.at("model.safetensors") == whole.at("model.safetensors")));
    CHECK((ended.at("evaluation.json") == whole.at("evaluation.json")));
    CHECK(Json::parse(place.caltrop({"train", "-q", "--resume", "--out", "whole", "--json", "-"}).out)
              .at("best_epoch") == best - losses.begin() + 1);
    check_equal(whole, contents(place.file("whole")));

    std::vector<std::string> started = tiny_training(recipe);
    started.insert(started.end(), {"--resume", "--out", "killed"});
    for (int64_t reached = 1; reached < static_cast<int64_t>(losses.size()); reached += 2) {
      const pid_t process = place.start(started);
      while (lines_of(place, "killed/metrics.jsonl") < reached &&
             ::access(place.file("killed/evaluation.json").c_str(), F_OK) != 0) {
        ::usleep(200);
      }
      stop(process);
    }
    std::vector<std::string> resumed = tiny_training(recipe);
    resumed.emplace_back("--resume");
    check_equal(whole, run(place, "killed", resumed));
  }

  TEST_CASE("an interrupted run says how to continue") {
    const Workplace place;
    const pid_t process = place.start(tiny_training({"--epochs", "100000", "--out", "run"}));
    while (lines_of(place, "run/metrics.jsonl") < 1) ::usleep(200);
    ::kill(process, SIGINT);
    int status = 0;
    REQUIRE(::waitpid(process, &status, 0) == process);
    CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGINT));
    CHECK(place.read(".stderr") == "caltrop: interrupted; continue with: caltrop train --resume --out run\n");
  }

  TEST_CASE("every state that a kill can leave is continued") {
    const Workplace place;
    const Files whole = run(place, "whole", tiny_training({}));
    const auto expect_whole = [&](const std::string& folder) {
      check_equal(whole, run(place, folder, tiny_training({"--resume"})));
    };
    // Before anything was written, and while config.json was.
    expect_whole("absent");
    std::filesystem::create_directory(place.file("begun"));
    place.write("begun/.config.json.tmp", "{\"comm");
    expect_whole("begun");
    // In the first epoch: no checkpoint; then a line was written but not its checkpoint, half a line, a
    // checkpoint half written.
    const auto copy = [&](const std::string& folder, const std::vector<std::string>& names) {
      std::filesystem::create_directory(place.file(folder));
      for (const std::string& name : names) place.write(fmt::format("{}/{}", folder, name), whole.at(name));
    };
    copy("no-checkpoint", {"config.json", "metrics.jsonl"});
    expect_whole("no-checkpoint");
    copy("half", {"config.json"});
    place.write("half/metrics.jsonl", whole.at("metrics.jsonl").substr(0, 20));
    place.write("half/.checkpoint.safetensors.tmp", whole.at("checkpoint.safetensors").substr(0, 1000));
    expect_whole("half");
    // After the last epoch, before and while the results were written.
    copy("late", {"config.json", "metrics.jsonl", "checkpoint.safetensors"});
    place.write("late/.model.safetensors.tmp", "x");
    expect_whole("late");
    // A checkpoint without its metrics is damage, not a state that a kill leaves.
    copy("damaged", {"config.json", "checkpoint.safetensors"});
    const Outcome outcome = place.caltrop(tiny_training({"--out", "damaged", "--resume"}));
    CHECK(outcome.status == 1);
    CHECK(is_one_line(outcome.error));
  }

  TEST_CASE("two processes never share a folder") {
    const Workplace place;
    const RunFolder held(place.file("run"), RunConfig{{{"command", "train"}}, {}}, false);
    const Outcome outcome =
        place.caltrop(tiny_training({"--out", "run", "--resume", "--config", "run/config.json"}));
    CHECK(outcome.status == 1);
    CHECK(outcome.error.find("another process is writing") != std::string::npos);
  }

  TEST_CASE("eval and export agree with each other and with the training") {
    const Workplace place;
    const Files trained = run(place, "run", tiny_training({"--epochs", "6"}));
    const Outcome outcome = place.caltrop({"eval", "--weights", "run/model.safetensors", "--json", "-",
                                           "--logits", "z.npz", "--out", "tested"});
    CAPTURE(outcome.error);
    REQUIRE(outcome.status == 0);
    Json json = Json::parse(outcome.out);
    CHECK(json.at("dataset") == "mnist");
    CHECK(json.at("classes").size() == 10);
    const double accuracy = json.at("accuracy").get<double>();
    CHECK(accuracy > 0.15);
    CHECK(json.at("interval")[0].get<double>() < accuracy);
    CHECK(json.at("interval")[1].get<double>() > accuracy);
    const Json evaluation = Json::parse(trained.at("evaluation.json"));
    for (const auto& item : evaluation.items()) {
      CAPTURE(item.key());
      if (item.key() != "schema") CHECK(json.at(item.key()) == item.value());
    }
    CHECK(Json::parse(place.read("tested/evaluation.json")) == json);

    const auto arrays = read_npz(place.file("z.npz"));
    const NpyArray& logits = arrays.at("logits");
    REQUIRE(logits.shape == std::vector<int64_t>{json.at("n").get<int64_t>(), 10});
    const auto values = logits.values<float>("logits");
    int64_t predicted_zero = 0;
    for (size_t row = 0; row < values.size(); row += 10) {
      predicted_zero +=
          std::max_element(values.begin() + row, values.begin() + row + 10) == values.begin() + row;
    }
    int64_t column = 0;
    for (const Json& row : json.at("confusion")) column += row[0].get<int64_t>();
    CHECK(predicted_zero == column);

    // There and back is the same file; the file in PyTorch's layout knows what it is.
    run(place, "torch", {"export", "--quiet", "--weights", "run/model.safetensors", "--layout", "torch"});
    const Files back = run(
        place, "back", {"export", "--quiet", "--weights", "torch/model.safetensors", "--layout", "caltrop"});
    CHECK((back.at("model.safetensors") == trained.at("model.safetensors")));
    const Outcome from_torch = place.caltrop({"eval", "--weights", "torch/model.safetensors", "--json", "-"});
    Json theirs = Json::parse(from_torch.out), own = Json::parse(outcome.out);
    CHECK(theirs["run"]["inputs"] != own["run"]["inputs"]);  // other bytes of the same weights
    theirs.erase("run"), own.erase("run");
    CHECK(theirs == own);
  }

  TEST_CASE("weights remember how their images were divided") {
    const Workplace place;
    run(place, "run", tiny_training({"--split", "70:30", "--split-seed", "5"}));
    const Json trained = Json::parse(place.read("run/evaluation.json"));
    const Outcome same = place.caltrop({"eval", "-q", "--weights", "run/model.safetensors", "--json", "-"});
    CHECK(Json::parse(same.out).at("confusion") == trained.at("confusion"));
    CHECK(Json::parse(same.out).at("n") == 210);
    const Outcome other = place.caltrop(
        {"eval", "-q", "--weights", "run/model.safetensors", "--split-seed", "6", "--json", "-"});
    CHECK(Json::parse(other.out).at("confusion") != trained.at("confusion"));
  }

  TEST_CASE("images are exported and read back as a data set") {
    const Workplace place;
    run(place, "png", {"export", "--quiet", "--images", "png", "--dataset", "digits", "--limit", "40"});
    run(place, "npz", {"export", "--quiet", "--images", "npz", "--dataset", "digits", "--limit", "40"});
    const auto arrays = read_npz(place.file("npz/images.npz"));
    CHECK(arrays.at("x").shape == std::vector<int64_t>{40, 28, 28, 1});
    const Outcome outcome =
        place.caltrop({"train", "--arch", "flatten | dense 10", "--dataset", "folder", "--data-dir",
                       "png/images", "--epochs", "1", "--quiet", "--out", "run"});
    CAPTURE(outcome.error);
    CHECK(outcome.status == 0);
    CHECK(Json::parse(place.read("run/config.json")).at("data").at("train").at("images") == 32);  // 80:20
  }

  TEST_CASE("metrics are cut back to the checkpoint") {
    const Workplace place;
    const auto path = place.file("metrics.jsonl");
    {
      MetricsLog log(path, 0);
      for (int64_t epoch = 1; epoch <= 3; ++epoch) log.append({{"epoch", epoch}});
      CHECK(log.lines().size() == 3);
    }
    {
      MetricsLog log(path, 2);
      CHECK(place.read("metrics.jsonl") == "{\"epoch\":1}\n{\"epoch\":2}\n");
      log.append({{"epoch", 7}});
      CHECK(log.lines()[2].at("epoch") == 7);
    }
    CHECK(place.read("metrics.jsonl") == "{\"epoch\":1}\n{\"epoch\":2}\n{\"epoch\":7}\n");
    place.write("metrics.jsonl", "{\"epoch\":1}\n{\"epo");
    CHECK_THROWS_AS(MetricsLog(path, 2), Error);
    CHECK_THROWS_AS(MetricsLog(place.file("none"), 1), Error);
  }

  TEST_CASE("a loss that is not a number ends the run and keeps what there was") {
    const Workplace place;
    const std::vector<std::string> words =
        tiny_training({"--arch", "flatten | dense 16 | dense 10", "--optimizer", "sgd", "--lr", "100",
                       "--epochs", "50", "--out", "run"});
    const Outcome outcome = place.caltrop(words);
    CHECK(outcome.status == 1);
    CHECK(is_one_line(outcome.error));
    CHECK(outcome.error.find("try a smaller learning rate than 100") != std::string::npos);
    CHECK_FALSE(contents(place.file("run")).contains("model.safetensors"));
  }
}

}  // namespace
}  // namespace caltrop::test
