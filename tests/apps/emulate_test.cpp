// caltrop emulate, as a student would call it.
#include <doctest/doctest.h>

#include "apps/core/flags.h"
#include "kernels/emulation/tool/kernels.h"
#include "tests/apps/program.h"

namespace caltrop::test {
namespace {

Json emulated(const Workplace& place, const std::vector<std::string>& flags) {
  std::vector<std::string> arguments = {"emulate"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  arguments.insert(arguments.end(), {"--json", "-"});
  const Outcome outcome = place.caltrop(arguments);
  CAPTURE(outcome.error);
  REQUIRE(outcome.status == 0);
  CHECK(outcome.error.empty());
  return Json::parse(outcome.out);
}

const Json& line_with(const Json& result, const std::string& memory, const std::string& access) {
  for (const Json& line : result["lines"]) {
    if (line["memory"] == memory && line["access"] == access) return line;
  }
  static const Json none;
  return none;
}

TEST_SUITE("apps") {
  TEST_CASE("emulate runs every kernel that it lists, and finds no fault") {
    const Workplace place;
    for (const EmulatedKernel& kernel : emulated_kernels()) {
      CAPTURE(kernel.name);
      const Json result = emulated(place, {kernel.name});
      // Until its kernels are there, the CPU backend stands in for an op.
      const bool missing = kernel.name.starts_with("conv_block") &&
                           !std::filesystem::exists(CALTROP_SOURCE_DIR "/kernels/conv_block.cu");
      if (missing) continue;
      CHECK(!result["launches"].empty());
      CHECK(!result["lines"].empty());
      CHECK(result["findings"].empty());
      for (const Json& line : result["lines"]) {
        const Json& moved = line[line["memory"] == "shared" ? "wavefronts" : "sectors"];
        CHECK(line["ideal"].get<int64_t>() > 0);
        CHECK(moved.get<int64_t>() >= line["ideal"].get<int64_t>());
        CHECK(!line["text"].get<std::string>().empty());
      }
    }
  }

  TEST_CASE("emulate without its helper says how to build it") {
    const Workplace place;
    const Outcome outcome = place.shell("cp \"$CALTROP\" alone && ./alone emulate matmul");
    CHECK(outcome.status == 1);
    CHECK(outcome.out.empty());
    CHECK(outcome.error.find("--target caltrop-emulate") != std::string::npos);
    CHECK(is_one_line(outcome.error));
  }

  TEST_CASE("emulate counts what can be counted by hand") {
    const Workplace place;
    // 64 full tiles of 32 x 32: 32 requests each, of 128 bytes in a row.
    const Json result = emulated(place, {"permute", "--rows", "256", "--cols", "256"});
    for (const auto& [memory, access] : {std::pair{"global", "read"}, {"global", "write"}}) {
      const Json& line = line_with(result, memory, access);
      CHECK(line["requests"] == 2048);
      CHECK(line["sectors"] == 4 * 2048);
      CHECK(line["ideal"] == 4 * 2048);
    }
    // The padded tile has no bank conflict in either direction.
    CHECK(line_with(result, "shared", "read")["wavefronts"] == 2048);
    CHECK(line_with(result, "shared", "write")["wavefronts"] == 2048);
  }

  TEST_CASE("emulate shows what one thread did, in every order the same") {
    const Workplace place;
    const std::vector<std::string> flags = {"permute",  "--rows", "64",      "--cols", "64",
                                            "--thread", "3,0",    "--block", "1,0",    "--order"};
    Json first;
    for (const char* order : {"forward", "reverse", "shuffled"}) {
      std::vector<std::string> all = flags;
      all.emplace_back(order);
      const Json trace = emulated(place, all)["trace"];
      CHECK(trace.size() > 5);
      if (first.is_null()) first = trace;
      CHECK(trace == first);
    }
    CHECK(first[0]["what"] == "__syncthreads");
    CHECK(first[1]["address"].get<std::string>().starts_with("x+"));
    CHECK(first[2]["address"] == "tile+12");
  }

  TEST_CASE("emulate refuses what it cannot run") {
    const Workplace place;
    const std::vector<std::pair<std::vector<std::string>, std::string>> uses = {
        {{"emulate"}, "'caltrop emulate' needs a kernel: "},
        {{"emulate", "sofmax"}, "did you mean softmax?"},
        {{"emulate", "softmax", "--m", "3"}, "softmax has no --m; its sizes are --rows, --cols"},
        {{"emulate", "softmax", "--block", "1"}, "--block needs a --thread"},
        {{"emulate", "softmax", "--thread", "a"}, "--thread: expected indices like 3,2"},
        {{"emulate", "softmax", "--thread", "999"}, "no launch has such a thread"},
        {{"emulate", "maxpool", "--height", "1"}, "a window of 2x2 is larger than the image of 1x14"},
    };
    for (const auto& [arguments, says] : uses) {
      const Outcome outcome = place.caltrop(arguments);
      CAPTURE(outcome.error);
      CHECK(outcome.status != 0);
      CHECK(is_one_line(outcome.error));
      CHECK(outcome.error.find(says) != std::string::npos);
    }
  }
}

}  // namespace
}  // namespace caltrop::test
