// A defence that is one trained network, trained on the small task and killed on the way.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "defense/evaluation.h"
#include "tests/defense/training/batch.h"
#include "tests/files.h"

namespace caltrop::test {

template <typename T>
T& option(Defence& defence, const std::string& name) {
  for (const DefenceOption& one : defence.options()) {
    if (one.name == name) return *std::get<T*>(one.value);
  }
  FAIL("no such option");
  throw Error(name);
}

// A Watch that gives up after some epochs, as a killed run does.
struct Killer : Watch {
  int64_t left = 1000, begun_at = -1;
  std::vector<WatchedEpoch> epochs = {};
  void begin_training(int64_t done, int64_t) override { begun_at = done; }
  void epoch(const WatchedEpoch& epoch) override {
    if (left-- == 0) throw Error("killed");
    epochs.push_back(epoch);
  }
};

struct Run {
  Trial trial;
  TempDirectory folder;
  Defended defended = {};         // of the last training
  std::vector<float> sizes = {};  // of the attacks that it knows; empty: the small task's

  // Trains a defence in the folder `name`, with options as `change` leaves them; the bytes of the weights.
  std::string train(const std::string& kind, const std::string& name, Killer& watch,
                    const std::string& from = "", int64_t epochs = 5,
                    const std::function<void(Defence&)>& change = {}) {
    const std::unique_ptr<Defence> defence = defence_info(kind).make();
    option<std::optional<int64_t>>(*defence, "epochs") = epochs;
    option<int64_t>(*defence, "batch") = 48;
    if (!from.empty()) option<std::string>(*defence, "from") = from;
    if (change) change(*defence);
    DefenceTask task = trial.task();
    task.known.sizes = sizes;
    const DefenceTask with{.target = task.target,
                           .train = task.train,
                           .test = task.test,
                           .classes = 10,
                           .known = task.known,
                           .crafter = task.crafter,
                           .folder = name.empty() ? "" : folder.path() / name,
                           .metadata = {{"dataset", "light"}},
                           .seed = 5,
                           .watch = watch};
    if (!name.empty()) fs::create_directories(with.folder);
    defence->resolve("smoke", task.known);
    defence->check(with);
    const std::vector<TestSet> tests = make_test_sets(with, {.attacked = 20});
    defended = defence->train(with, tests[0]);
    CHECK(defended.classifier->outputs() == 10);
    return name.empty() ? "" : file_bytes(with.folder / "model.safetensors");
  }
};

}  // namespace caltrop::test
