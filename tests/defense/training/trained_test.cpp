// The base of defences that are one trained network: its options, its checkpoints, its stages.
#include "defense/training/trained.h"

#include <doctest/doctest.h>

#include <string>

#include "tests/defense/training/training_run.h"

namespace caltrop::test {
namespace {

TEST_SUITE("defense") {
  TEST_CASE("trained: a run that was killed goes on with the same bits, and its epochs are told once") {
    Run run;
    Killer whole, first, rest, again;
    const std::string bytes = run.train("adversarial", "whole", whole);
    REQUIRE(whole.epochs.size() == 5);
    CHECK((whole.begun_at == 0 && whole.epochs[4].number == 5 && whole.epochs[4].trained.last));
    // The test set holds attacked images, which are to be told by their own classes.
    CHECK((whole.epochs[4].tested.attacks.size() == 1 && whole.epochs[4].tested.all.images == 80));
    first.left = 2;
    CHECK_THROWS_WITH_AS(run.train("adversarial", "killed", first), "killed", Error);
    CHECK_FALSE(fs::exists(run.folder.path() / "killed" / "model.safetensors"));
    CHECK(run.train("adversarial", "killed", rest) == bytes);
    CHECK((rest.begun_at == 2 && rest.epochs.size() == 3 && rest.epochs[0].number == 3));
    CHECK(run.train("adversarial", "killed", again) == bytes);
    CHECK((again.begun_at == 5 && again.epochs.empty()));
    CHECK(bytes.find("light") != std::string::npos);  // the task's metadata
  }

  TEST_CASE("trained: what an objective keeps is part of a checkpoint") {
    for (const char* kind : {"free", "fast", "trades", "alp"}) {
      CAPTURE(kind);
      Run run;
      Killer whole, first, rest;
      const std::string bytes = run.train(kind, "whole", whole, "", 3);
      first.left = 1;
      CHECK_THROWS_WITH_AS(run.train(kind, "killed", first, "", 3), "killed", Error);
      CHECK(run.train(kind, "killed", rest, "", 3) == bytes);
      CHECK((rest.begun_at == 1 && rest.epochs.size() == 2));
      for (size_t k = 0; k < 2; ++k) CHECK(rest.epochs[k].reported == whole.epochs[k + 1].reported);
      CHECK(whole.epochs[0].reported.size() == (std::string(kind) == "free"   ? 0
                                                : std::string(kind) == "fast" ? 1
                                                                              : 2));
    }
  }

  TEST_CASE("trained: --from goes on from a file as from the network in memory") {
    Run run;
    Killer watch;
    (void)run.train("adversarial", "a", watch, "", 2);
    const std::string from = (run.folder.path() / "a" / "model.safetensors").string();
    const std::string b = run.train("adversarial", "b", watch, from, 1);
    CHECK(b != run.train("adversarial", "c", watch, "", 3));  // the optimiser begins anew
    CHECK(b == run.train("adversarial", "d", watch, from, 1));
    // What a file may not be.
    const std::string other = (run.folder.path() / "other.safetensors").string();
    write_safetensors(other, make_model("flatten | dense 10", {12, 12, 1}).state());
    CHECK_THROWS_WITH_AS(run.train("adversarial", "e", watch, other, 1), doctest::Contains("--from: "),
                         Error);
    CHECK_THROWS_WITH_AS(run.train("adversarial", "e", watch, other + ".none", 1),
                         doctest::Contains("--from: "), Error);
  }

  TEST_CASE("trained: from scratch the weights begin as those of caltrop train") {
    Run run;
    Killer watch;
    const std::unique_ptr<Defence> defence = defence_info("adversarial").make();
    option<std::optional<int64_t>>(*defence, "epochs") = 3;
    option<int64_t>(*defence, "batch") = 32;
    option<double>(*defence, "share") = 0;
    defence->resolve("smoke", {});
    const DefenceTask task = run.trial.task();
    const std::vector<TestSet> tests = make_test_sets(task, {.attacked = 20});
    const Defended defended = defence->train(task, tests[0]);
    Model plain(task.target.architecture(), task.train.shape(), task.train.backend());
    plain.initialize(Initializer::he_uniform, task.seed);
    Optimizer optimizer({}, plain.parameters());
    CrossEntropy objective;
    (void)fit(plain, optimizer, task.train, objective, {.epochs = 3, .batch = 32, .seed = task.seed});
    const Tensor x = task.test.pixels(row_range(0, 60));
    CHECK(same_bytes(defended.classifier->logits(x, {}).to_host(), plain.forward(x).to_host()));
  }

  TEST_CASE("trained: --watch-eps says the accuracy under FGSM after each epoch, and changes no weight") {
    Run run;
    const auto train = [&](std::optional<double> eps, Killer& watch) {
      (void)run.train("adversarial", "", watch, "", 2,
                      [&](Defence& d) { option<std::optional<double>>(d, "watch-eps") = eps; });
      return run.defended;
    };
    Killer watched, silent;
    const Defended a = train(0.01, watched), b = train(std::nullopt, silent);
    const Images& test = run.trial.test;
    const Tensor x = test.pixels(row_range(0, test.count()));
    CHECK(same_bytes(a.classifier->logits(x, {}).to_host(), b.classifier->logits(x, {}).to_host()));
    CHECK(silent.epochs.back().reported.count("fgsm") == 0);
    const std::vector<float> eps = {0.01f};
    const AttackReport last = attack_images(*a.classifier, test, eps, attack_defaults(AttackKind::fgsm),
                                            {.rows = row_range(0, test.count())});
    CHECK(watched.epochs.back().reported.at("fgsm") == last.sizes[0].accuracy());
    CHECK(last.sizes[0].accuracy() > 0);
  }

  TEST_CASE("trained: options that do not go together are refused") {
    const auto refused = [](const auto& change) {
      const std::unique_ptr<Defence> defence = defence_info("adversarial").make();
      change(*defence);
      const PoolRecipeOptions known;
      return refusal([&] { defence->resolve("smoke", known); });
    };
    CHECK(refused([](Defence& d) {
            option<std::string>(d, "schedule") = "steep";
          }).starts_with("--schedule: "));
    CHECK(refused([](Defence& d) { option<std::optional<double>>(d, "momentum") = 0.9; }) ==
          "--momentum belongs to --optimizer sgd, not adam");
    CHECK(refused([](Defence& d) {
            option<std::string>(d, "from") = "a";
            option<std::string>(d, "init") = "torch";
          }) == "--init has no say over the weights of --from");
    CHECK(refused([](Defence& d) { option<std::optional<int64_t>>(d, "steps") = 7; }) ==
          "--steps belongs to --attack pgd: FGSM is one step");
    CHECK(refused([](Defence& d) {
            option<double>(d, "share") = 1;
            option<std::string>(d, "bn") = "clean";
          }) == "--bn clean: with --share 1 there are no clean images");
  }

  TEST_CASE("trained: the rule that a zoo network begins with is found by its line") {
    for (const std::string& name : zoo_names()) {
      const ZooEntry entry = zoo(name, 10);
      CHECK(zoo_initializer(parse_architecture(entry.line)) == entry.initializer);
    }
    CHECK(zoo_initializer(parse_architecture(zoo_line("kim-3-bn", 7))) == "glorot_uniform");
    CHECK(zoo_initializer(parse_architecture("flatten | dense 10")) == "he_uniform");
  }
}

}  // namespace
}  // namespace caltrop::test
