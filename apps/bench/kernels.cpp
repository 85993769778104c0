// caltrop bench kernels: the ladders of kernels, checked and timed step by step. docs/kernels.md is made from
// its JSON.
#include <array>
#include <memory>
#include <optional>

#include "apps/core/build_info.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/report/table.h"
#include "engine/metrics.h"
#include "kernels/ladder/climb.h"

namespace caltrop {
namespace {

struct KernelOptions {
  CommonOptions common;
  std::string ladder = "all";
  std::optional<int64_t> version;
  int64_t warm_ups = 20, samples = 50;
};

constexpr std::array<std::pair<const char*, Ladder>, 3> kLadders = {
    {{"matmul", Ladder::matmul}, {"conv2d", Ladder::conv2d}, {"softmax", Ladder::softmax}}};

void declare(Flags& flags, KernelOptions& options) {
  flags.usage("[matmul|conv2d|softmax] [flags]");
  flags.about(
      "Climbs the ladders of kernels, from the naive version to the one the engine runs. Each version is "
      "first checked "
      "against loops over doubles, on sizes around every tile and on those that are timed; a wrong one is "
      "reported and "
      "not timed, and makes the command fail. Times are of the GPU, by events, each launch on operands that "
      "the cache "
      "has forgotten. Without a GPU, --device emulated runs the checks on the CPU and prints no times.");
  flags.group("Kernels");
  flags.positional("ladder", options.ladder, {"all", "matmul", "conv2d", "softmax"}, "which ladder");
  flags.integer("version", options.version, 1, 99, "N", "this version alone", "all");
  flags.integer("warm-ups", options.warm_ups, 20, 100000, "N", "launches before the first sample");
  flags.integer("samples", options.samples, 50, 100000, "N", "samples of each version; the median counts");
  add_common_flags(flags, options.common, true, "none", {"auto", "cuda", "emulated"});
  flags.section("Devices",
                "cuda needs a GPU; emulated runs the same kernels as C++ on the CPU; auto takes a GPU if "
                "there is one.");
  flags.section("Files", "With --out: DIR/config.json, kernels.json (as --json), kernels.csv");
  flags.section(
      "JSON",
      "commit, device: its name, attributes and ceilings, null in the emulation; ladders: {NAME: {versions: "
      "[{number, technique, why, check}], problems: [{name, sizes, flops, bytes, bound, floor_seconds, "
      "library, times: [{number, seconds, first_quartile, third_quartile, peak_share, library_ratio}]}]}}");
  flags.example("caltrop bench kernels", "All three ladders on the GPU.");
  flags.example("caltrop bench kernels matmul --version 5", "One version.");
  flags.example("caltrop bench kernels --device emulated", "The checks alone, on any machine.");
}

std::unique_ptr<Lab> open_lab(const std::string& device) {
  if (device != "emulated") {
    if (std::unique_ptr<Lab> lab = cuda_lab()) return lab;
    if (device == "cuda")
      fail("--device cuda: {}; --device emulated checks the kernels on the CPU", why_no_cuda());
  }
  return emulated_lab();
}

Table check_table() {
  return Table({{"ladder", "ladder"},
                {"version", "#", Column::Kind::count},
                {"technique", "technique"},
                {"check", "check"},
                {"compared", "compared", Column::Kind::count},
                {"why", "what it mends"}});
}

Table time_table() {
  return Table({{"ladder", "ladder"},
                {"problem", "problem"},
                {"sizes", "sizes"},
                {"version", "#", Column::Kind::count},
                {"technique", "technique"},
                {"microseconds", "median, us", Column::Kind::number, 1},
                {"interquartile_range", "IQR, us", Column::Kind::number, 1},
                {"peak_share", "of peak", Column::Kind::percent, 1},
                {"bound", "peak of"},
                {"library_ratio", "x library", Column::Kind::number, 2}});
}

Json version_json(const ClimbedVersion& version) {
  const LadderCheck& check = version.check;
  return {{"number", version.step.number},
          {"technique", version.step.technique},
          {"why", version.step.why},
          {"check",
           {{"passed", check.passed()},
            {"compared", check.compared},
            {"largest_share_of_tolerance", check.worst},
            {"failure", check.failure}}}};
}

// What was measured of a version, or why nothing was.
Json time_json(const VersionTime& time) {
  if (time.timing.seconds.empty()) return {{"failure", time.failure}};
  return {{"seconds", quantile(time.timing.seconds, 0.5)},
          {"first_quartile", quantile(time.timing.seconds, 0.25)},
          {"third_quartile", quantile(time.timing.seconds, 0.75)},
          {"copies_of_operands", time.timing.copies},
          {"launches_per_sample", time.timing.launches}};
}

// Its times, each also a row of the table.
Json problem_json(const std::string& ladder, const ClimbedProblem& climbed, Table& table) {
  const LadderProblem& problem = climbed.named.problem;
  Json library;
  if (climbed.library) {
    library = {{"name", climbed.library->step.technique}, {"failure", climbed.library->failure}};
    library.update(time_json(*climbed.library));
  }
  Json times = Json::array();
  for (const VersionTime& time : climbed.times) {
    Json& line = times.emplace_back(Json{{"number", time.step.number}});
    line.update(time_json(time));
    if (time.timing.seconds.empty()) continue;
    const auto seconds = line["seconds"].get<double>();
    const double range = line["third_quartile"].get<double>() - line["first_quartile"].get<double>();
    const bool timed_library = library.contains("seconds");
    const double ratio = timed_library ? library["seconds"].get<double>() / seconds : 0;
    line["peak_share"] = climbed.floor_seconds / seconds;
    line["library_ratio"] = timed_library ? Json(ratio) : Json();
    table.row({ladder, climbed.named.name, problem.text(), int64_t{time.step.number}, time.step.technique,
               1e6 * seconds, 1e6 * range, climbed.floor_seconds / seconds, climbed.bound,
               timed_library ? Cell(ratio) : Cell()});
  }
  return {{"name", climbed.named.name}, {"sizes", problem.text()}, {"flops", problem.flops()},
          {"bytes", problem.bytes()},   {"bound", climbed.bound},  {"floor_seconds", climbed.floor_seconds},
          {"library", library},         {"times", times}};
}

Json device_json(const LabDevice& device) {
  return {{"name", device.name},
          {"compute_capability", device.capability},
          {"driver_cuda", device.driver},
          {"runtime_cuda", device.runtime},
          {"multiprocessors", device.multiprocessors},
          {"fp32_lanes_per_multiprocessor", device.lanes},
          {"clock_hz", device.clock_hz},
          {"memory_clock_hz", device.memory_clock_hz},
          {"bus_bits", device.bus_bits},
          {"l2_bytes", device.l2_bytes},
          {"peak_flops_per_second", device.flops_per_second()},
          {"peak_bytes_per_second", device.bytes_per_second()}};
}

void say_device(const LabDevice& device, Console& console) {
  console.say("{}, compute capability {}, CUDA driver {}, runtime {}", device.name, device.capability,
              device.driver, device.runtime);
  console.say("peak arithmetic {:.1f} TFLOP/s in fp32: {} multiprocessors x {} lanes x 2 x {:.3f} GHz",
              1e-12 * device.flops_per_second(), device.multiprocessors, device.lanes,
              1e-9 * device.clock_hz);
  console.say("peak memory {:.2f} TB/s: {} bits x 2 x {:.3f} GHz; L2 cache {:.0f} MB",
              1e-12 * device.bytes_per_second(), device.bus_bits, 1e-9 * device.memory_clock_hz,
              1e-6 * static_cast<double>(device.l2_bytes));
}

void run(KernelOptions& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  RunFolder::check(options.common.out, options.common.resume);
  if (options.common.conv != "own") usage_error("--conv: the ladder's versions are chosen by --version");
  const std::unique_ptr<Lab> lab = open_lab(options.common.device);
  const LabDevice* device = lab->device();
  if (options.common.device == "auto" && device == nullptr)
    console.note("no GPU here: the kernels are checked in the emulation, and nothing is timed");
  options.common.device = lab->name();

  const ClimbOptions how{.version = options.version,
                         .warm_ups = static_cast<int>(options.warm_ups),
                         .samples = static_cast<int>(options.samples),
                         .seed = static_cast<uint64_t>(options.common.seed)};
  ProgressLine progress(console, "", 0, "versions");
  int64_t done = 0;
  Table checks = check_table(), times = time_table();
  Json all = Json::object();
  std::vector<std::string> wrong;
  for (const auto& [name, ladder] : kLadders) {
    if (options.ladder != "all" && options.ladder != name) continue;
    const auto blame = [&](const LadderStep& step, const std::string& failure) {
      wrong.push_back(fmt::format("{} {} ({})", name, step.number, failure));
    };
    const ClimbedLadder climbed = climb(*lab, ladder, how, [&](const LadderStep& step) {
      progress.label(fmt::format("{} {}", name, step.technique));
      progress.at(++done);
    });
    if (climbed.versions.empty()) continue;
    Json versions = Json::array(), problems = Json::array();
    for (const ClimbedVersion& version : climbed.versions) {
      const auto& [step, check] = version;
      versions.push_back(version_json(version));
      checks.row({name, int64_t{step.number}, step.technique, check.passed() ? "right" : "WRONG",
                  check.compared, step.why});
      if (!check.passed()) blame(step, check.failure);
    }
    for (const ClimbedProblem& problem : climbed.problems) {
      problems.push_back(problem_json(name, problem, times));
      for (const VersionTime& time : problem.times) {
        if (time.timing.seconds.empty()) blame(time.step, time.failure);
      }
    }
    all[name] = {{"versions", versions}, {"problems", problems}};
  }
  progress.finish();
  if (all.empty()) usage_error("--version: the ladder has no version {}", *options.version);

  if (device) {
    say_device(*device, console);
  } else {
    console.say("The emulation: kernels run as C++ on the CPU, so there are no times.");
  }
  const Table& table = device ? times : checks;
  console.blank();
  console.say(table);
  const Json result = {{"schema", "bench-kernels/1"},
                       {"commit", commit()},
                       {"device", device ? device_json(*device) : Json()},
                       {"backend", lab->name()},
                       {"warm_ups", options.warm_ups},
                       {"samples", options.samples},
                       {"ladders", std::move(all)}};
  const RunFolder folder(options.common.out, make_config(flags, {}), options.common.resume);
  folder.write_json("kernels.json", result);
  folder.write("kernels.csv", table.csv());
  console.result(result);
  if (!wrong.empty()) fail("[bench kernels] wrong results: {}", fmt::join(wrong, "; "));
}

}  // namespace

Run bench_kernels_command(Flags& flags) {
  return make_command<KernelOptions>(flags, declare, run);
}

}  // namespace caltrop
