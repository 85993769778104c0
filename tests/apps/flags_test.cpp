#include "apps/core/flags.h"

#include <doctest/doctest.h>

#include "engine/text.h"
#include "tests/apps/program.h"

namespace caltrop {
namespace {

struct Options {
  std::string config, model, arch, norm = "linf", method, out;
  int64_t epochs = 5;
  double lr = 0.5;
  std::optional<double> eps;
  std::optional<int64_t> limit;
  std::vector<double> sizes;
  std::vector<Size> bounds;
  std::vector<std::string> jobs;
  bool nesterov = false, resume = false;
};

// The flags of a made-up command, bound to `options`.
Flags made_up(Options& options) {
  Flags flags("try");
  flags.group("All");
  flags.text("model", options.model, "NAME", "a network");
  flags.text("arch", options.arch, "LINE", "a line");
  flags.exclusive({"model", "arch"});
  flags.choice("norm", options.norm, {"linf", "l2"}, "a norm");
  flags.integer("epochs", options.epochs, 0, 100, "N", "epochs");
  flags.integer("limit", options.limit, 1, 10, "N", "limit", "all");
  flags.number("lr", options.lr, {.low = 0, .high = 1, .open_low = true}, "RATE", "rate");
  flags.number("eps", options.eps, {.low = 0}, "SIZE", "size", "none");
  flags.numbers("sizes", options.sizes, {.low = 0}, "A,B", "sizes", "none");
  flags.sizes("bounds", options.bounds, {.low = 0}, "A,B", "bounds", "none");
  flags.list("jobs", options.jobs, {"one", "two"}, "A,B", "jobs", "all");
  flags.toggle("nesterov", options.nesterov, "a switch");
  flags.group("Local", Scope::local);
  flags.text("config", options.config, "FILE", "config");
  flags.text("out", options.out, "DIR", "out");
  flags.toggle("resume", options.resume, "resume");
  return flags;
}

std::string usage_problem(const std::vector<std::string>& arguments) {
  Options options;
  Flags flags = made_up(options);
  try {
    flags.parse(arguments);
  } catch (const UsageError& problem) {
    return problem.what();
  }
  return "";
}

std::string config_problem(const std::string& json) {
  const test::Workplace place;
  place.write("c.json", json);
  Options options;
  Flags flags = made_up(options);
  try {
    flags.parse({"--config", place.file("c.json").string()});
  } catch (const UsageError&) {
    return "a usage error";
  } catch (const Error& problem) {
    const std::string text = problem.what(), where = place.file("c.json").string() + ": ";
    return text.starts_with(where) ? text.substr(where.size()) : text;
  }
  return "";
}

TEST_SUITE("apps") {
  TEST_CASE("flags are read in both spellings and keep their defaults") {
    Options options;
    Flags flags = made_up(options);
    REQUIRE(
        flags.parse({"--epochs=7", "--lr", "1e-3", "--sizes", "0.5,2", "--jobs", "two,one", "--nesterov"}));
    CHECK(options.epochs == 7);
    CHECK(options.lr == 1e-3);
    CHECK(options.sizes == std::vector<double>{0.5, 2});
    CHECK(options.jobs == std::vector<std::string>{"two", "one"});
    CHECK(options.nesterov);
    CHECK(options.norm == "linf");
    CHECK_FALSE(options.eps);
    CHECK(flags.given("epochs"));
    CHECK_FALSE(flags.given("norm"));
  }

  TEST_CASE("numbers are read as people write them: decimals, quotients, lists and ranges") {
    const auto bounds = [](const std::string& text) {
      Options options;
      Flags flags = made_up(options);
      REQUIRE(flags.parse({"--bounds", text}));
      std::string asked;
      for (const Size& size : options.bounds) asked += size.asked + " ";
      return asked;
    };
    CHECK(bounds("2e-2,8/255,0.50") == "0.02 8/255 0.5 ");
    CHECK(bounds("0.1:0.3:0.1") == "0.1 0.2 0.3 ");
    CHECK(bounds("2/255:8/255:2/255") == "2/255 4/255 6/255 8/255 ");
    CHECK(bounds("0.3:0.1:-0.1,1") == "0.3 0.2 0.1 1 ");
    CHECK(bounds("0:1/4:1/8") == "0 0.125 0.25 ");
    for (const char* wrong :
         {"", "1/0", "8/", "/255", "1/2/3", "0.1:0.2", "0.1:0.3:0", "0.1:0.3:-0.1", "0:1:1e-9", "0.1:0.3:nan",
          "inf", "-0.1", "0.1,,0.2", "0.2:-0.2:-0.1", "8/255x"}) {
      CAPTURE(wrong);
      CHECK(
          usage_problem({"--bounds", wrong}) ==
          fmt::format("--bounds: expected numbers of at least 0, as 0.01,8/255 or first:last:step, got '{}'",
                      wrong));
    }
    Options options;
    Flags flags = made_up(options);
    REQUIRE(flags.parse({"--lr", "1/4", "--bounds", "8/255,0.020"}));
    CHECK(options.lr == 0.25);
    CHECK(flags.recipe()["bounds"].dump() == R"(["8/255",0.02])");
    CHECK(in_words(options.bounds[0]) == "8/255 (0.03137255 in fp32)");
    CHECK(in_words(options.bounds[1]) == "0.02");
    CHECK(size_of(0.1f).value == 0.1);
  }

  TEST_CASE("what a flag cannot take is named with what it expects") {
    CHECK(usage_problem({"--epochs", "x"}) == "--epochs: expected a whole number from 0 to 100, got 'x'");
    CHECK(usage_problem({"--epochs", "1e3"}) == "--epochs: expected a whole number from 0 to 100, got '1e3'");
    CHECK(usage_problem({"--epochs", "-1"}) == "--epochs: expected a whole number from 0 to 100, got '-1'");
    CHECK(usage_problem({"--epochs", ""}) == "--epochs: expected a whole number from 0 to 100, got ''");
    CHECK(usage_problem({"--epochs", "99999999999999999999"}) ==
          "--epochs: expected a whole number from 0 to 100, got '99999999999999999999'");
    CHECK(usage_problem({"--lr", "0"}) == "--lr: expected a number above 0 and at most 1, got '0'");
    CHECK(usage_problem({"--lr", "nan"}) == "--lr: expected a number above 0 and at most 1, got 'nan'");
    CHECK(usage_problem({"--eps", "-0.1"}) == "--eps: expected a number of at least 0, got '-0.1'");
    CHECK(usage_problem({"--eps", "inf"}) == "--eps: expected a number of at least 0, got 'inf'");
    CHECK(usage_problem({"--eps", "1e999"}) == "--eps: expected a number of at least 0, got '1e999'");
    CHECK(usage_problem({"--eps", "0.1x"}) == "--eps: expected a number of at least 0, got '0.1x'");
    CHECK(usage_problem({"--sizes", "1,,2"}) == "--sizes: expected a number of at least 0, got '1,,2'");
    CHECK(usage_problem({"--norm", "linff"}) ==
          "--norm: expected one of linf, l2, got 'linff'; did you mean linf?");
    CHECK(usage_problem({"--model", ""}) == "--model: expected a value that is not empty, got ''");
  }

  TEST_CASE("a command line that does not fit is explained") {
    CHECK(usage_problem({"--epoch", "3"}) == "unknown option --epoch; did you mean --epochs?");
    CHECK(usage_problem({"--epoch=3"}) == "unknown option --epoch; did you mean --epochs?");
    CHECK(usage_problem({"--zzz"}) == "unknown option --zzz");
    CHECK(usage_problem({"word"}) == "unexpected argument 'word'");
    CHECK(usage_problem({"--epochs"}) == "--epochs needs a value");
    CHECK(usage_problem({"--epochs", "1", "--epochs", "2"}) == "--epochs is given 2 times");
    CHECK(usage_problem({"--model", "a", "--arch", "b"}) == "--model excludes --arch");
  }

  TEST_CASE("a configuration sets flags, and the command line wins over it") {
    const test::Workplace place;
    place.write("c.json", R"({"command": "try", "version": "0", "epochs": 9, "lr": 0.25, "model": "m",
                              "sizes": [1, 0.5], "nesterov": true, "data": {"name": "mnist"}})");
    const std::string file = place.file("c.json").string();
    Options options;
    Flags flags = made_up(options);
    REQUIRE(flags.parse({"--lr", "0.125", "--config", file, "--arch", "line"}));
    CHECK(options.epochs == 9);
    CHECK(options.lr == 0.125);
    CHECK(options.sizes == std::vector<double>{1, 0.5});
    CHECK(options.nesterov);
    CHECK(options.arch == "line");
    CHECK(options.model.empty());
    CHECK(flags.given("epochs"));
  }

  TEST_CASE("a recipe read back is the same recipe") {
    Options first, second;
    Flags flags = made_up(first);
    REQUIRE(flags.parse({"--eps", "0.30000000000000004", "--limit", "3", "--jobs", "one", "--out", "d"}));
    const Json recipe = flags.recipe();
    CHECK_FALSE(recipe.contains("out"));
    CHECK_FALSE(recipe.contains("model"));
    CHECK(recipe.at("eps") == 0.30000000000000004);
    const test::Workplace place;
    place.write("c.json", recipe.dump());
    Flags again = made_up(second);
    REQUIRE(again.parse({"--config", place.file("c.json").string()}));
    CHECK(again.recipe() == recipe);
  }

  TEST_CASE("a bad configuration is named by file and key") {
    CHECK(config_problem("{\"epoch\": 3}") == "unknown key 'epoch'; did you mean epochs?");
    CHECK(config_problem("{\"epochs\": \"x\"}") ==
          "--epochs: expected a whole number from 0 to 100, got 'x'");
    CHECK(config_problem("{\"epochs\": 1000}") ==
          "--epochs: expected a whole number from 0 to 100, got '1000'");
    CHECK(config_problem("{\"epochs\": 1.5}") ==
          "--epochs: expected a whole number from 0 to 100, got '1.5'");
    CHECK(config_problem("{\"epochs\": [1, 2]}") ==
          "--epochs: expected a whole number from 0 to 100, got '1,2'");
    CHECK(config_problem("{\"epochs\": null}") == "--epochs: expected a value or a list of values, got null");
    CHECK(config_problem("{\"epochs\": {\"a\": 1}}") ==
          "--epochs: expected a value or a list of values, got {\"a\":1}");
    CHECK(config_problem("{\"lr\": -1}") == "--lr: expected a number above 0 and at most 1, got '-1'");
    CHECK(config_problem("{\"norm\": \"linff\"}") ==
          "--norm: expected one of linf, l2, got 'linff'; did you mean linf?");
    CHECK(config_problem("{\"nesterov\": \"maybe\"}") == "Could not convert: --nesterov = maybe");
    CHECK(config_problem("{\"sizes\": []}") == "--sizes: expected a number of at least 0, got ''");
    CHECK(config_problem("{\"command\": \"eval\"}") == "it configures 'caltrop eval', not 'caltrop try'");
    CHECK(config_problem("[1]") == "expected a JSON object, got array");
    // Where it shows, without the names that the JSON library has for its errors.
    CHECK(config_problem("{\"epochs\": ") ==
          "expected JSON: line 1, column 12: unexpected end of input; expected '[', '{', or a literal");
    CHECK(config_problem("{\"epochs\": 3,\n \"lr\": .5}").starts_with("expected JSON: line 2, column 8: "));
    CHECK(config_problem("{\"epochs\": 3,\n}").starts_with("expected JSON: line 2, column 1: "));
    CHECK(config_problem("{\"lr\": 1e999}").starts_with("expected JSON: number overflow"));
    CHECK(config_problem("").starts_with("expected JSON: line 1, column 1: "));
  }

  TEST_CASE("the nearest word is suggested where one is near") {
    CHECK(edit_distance("kitten", "sitting") == 3);
    CHECK(edit_distance("ab", "ba") == 1);
    CHECK(edit_distance("", "abc") == 3);
    const std::vector<std::string> known = {"train", "eval", "export"};
    CHECK(nearest("trian", known) == "train");
    CHECK(nearest("exp", known) == "export");
    CHECK(nearest("TRAIN", known) == "train");
    CHECK(nearest("zebra", known).empty());
    CHECK(nearest("", known).empty());
  }

  TEST_CASE("the manual page shows every flag with its default") {
    Options options;
    const std::string page = made_up(options).help(80);
    for (const char* text :
         {"--epochs N", "[5]", "--norm linf|l2", "[linf]", "--limit N", "[all]", "-h, --help"}) {
      CAPTURE(text);
      CHECK(page.find(text) != std::string::npos);
    }
  }
}

}  // namespace
}  // namespace caltrop
