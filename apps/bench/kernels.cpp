// caltrop bench kernels: the ladders of kernels, checked and timed step by step. docs/kernels.md is made from
// its JSON.
#include <algorithm>
#include <cmath>
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
#include "kernels/ladder/check.h"

namespace caltrop {
namespace {

struct KernelOptions {
  CommonOptions common;
  std::string ladder = "all";
  std::optional<int64_t> version;
  int64_t warm_ups = 20, samples = 50;
};

struct NamedLadder {
  std::string name;
  Ladder ladder;
};
const std::vector<NamedLadder>& ladders() {
  static const std::vector<NamedLadder> all = {
      {"matmul", Ladder::matmul}, {"conv2d", Ladder::conv2d}, {"softmax", Ladder::softmax}};
  return all;
}

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

struct Measured {
  double median, first_quartile, third_quartile;
  int64_t copies, launches;
  Json json() const {
    return {{"seconds", median},
            {"first_quartile", first_quartile},
            {"third_quartile", third_quartile},
            {"copies_of_operands", copies},
            {"launches_per_sample", launches}};
  }
};

Cell number_or_absent(const Json& value) {
  if (value.is_null()) return {};
  return value.get<double>();
}

// The shortest time that the device allows for a problem, and what sets it.
struct Floor {
  double seconds;
  std::string bound;  // "arithmetic" or "memory"
};
Floor floor_of(const LadderProblem& problem, const LabDevice& device) {
  const double arithmetic = problem.flops() / device.flops_per_second();
  const double memory = problem.bytes() / device.bytes_per_second();
  return arithmetic > memory ? Floor{arithmetic, "arithmetic"} : Floor{memory, "memory"};
}

class Climb {
 public:
  Climb(const KernelOptions& options, Lab& lab, Console& console)
      : options_(options), lab_(lab), progress_(console, "", 0, "versions") {}

  // The checks of one ladder, and on a GPU its times.
  Json ladder(const NamedLadder& which) {
    std::vector<LadderStep> steps = lab_.steps(which.ladder);
    if (options_.version) {
      std::erase_if(steps, [&](const LadderStep& step) { return step.number != *options_.version; });
      if (steps.empty()) return nullptr;
    }
    Json versions = Json::array();
    std::vector<LadderStep> right;
    for (const LadderStep& step : steps) {
      progress_.label(fmt::format("{} {}", which.name, step.technique));
      progress_.at(++done_);
      const LadderCheck check =
          checked([&] { return check_ladder_version(lab_, which.ladder, step.number); });
      versions.push_back({{"number", step.number},
                          {"technique", step.technique},
                          {"why", step.why},
                          {"check",
                           {{"passed", check.passed()},
                            {"compared", check.compared},
                            {"largest_share_of_tolerance", check.worst},
                            {"failure", check.failure}}}});
      if (check.passed()) right.push_back(step);
      if (!check.passed())
        wrong_.push_back(fmt::format("{} {} ({})", which.name, step.number, check.failure));
      checks_.row({which.name, int64_t{step.number}, step.technique, check.passed() ? "right" : "WRONG",
                   check.compared, step.why});
    }
    Json problems = Json::array();
    if (lab_.device() != nullptr) {
      for (const NamedProblem& problem : ladder_timed_problems(which.ladder))
        problems.push_back(times(which, problem, right));
    }
    return {{"versions", versions}, {"problems", problems}};
  }

  const Table& checks() const { return checks_; }
  const Table& table() const { return times_; }
  const std::vector<std::string>& wrong() const { return wrong_; }
  void finish() { progress_.finish(); }

 private:
  // A version that fails outright is a wrong version, not the end of the climb.
  template <typename Body>
  static LadderCheck checked(const Body& body) {
    try {
      return body();
    } catch (const Error& error) {
      LadderCheck check;
      check.failure = error.what();
      return check;
    }
  }

  // Nothing where the result is wrong for this problem.
  std::optional<Measured> measure(const LadderProblem& problem, int version, const LadderOperands& operands,
                                  std::string& failure) {
    LadderCheck check = checked([&] {
      LadderCheck result;
      check_ladder_result(problem, operands, lab_.run(problem, version, operands, 0), result);
      return result;
    });
    failure = check.failure;
    if (!check.passed()) return std::nullopt;
    const Lab::Timing timing = lab_.time(problem, version, operands, static_cast<int>(options_.warm_ups),
                                         static_cast<int>(options_.samples));
    return Measured{quantile(timing.seconds, 0.5), quantile(timing.seconds, 0.25),
                    quantile(timing.seconds, 0.75), timing.copies, timing.launches};
  }

  Json times(const NamedLadder& which, const NamedProblem& named, const std::vector<LadderStep>& steps) {
    const LadderProblem& problem = named.problem;
    const LadderOperands operands = ladder_operands(problem, static_cast<uint64_t>(options_.common.seed) + 1);
    const Floor floor = floor_of(problem, *lab_.device());
    std::string failure;
    std::optional<Measured> library;
    const std::string library_name = lab_.library(which.ladder);
    if (!library_name.empty()) library = measure(problem, 0, operands, failure);
    Json library_json;
    if (!library_name.empty()) {
      library_json = {{"name", library_name}, {"failure", failure}};
      if (library) library_json.update(library->json());
    }
    Json list = Json::array();
    for (const LadderStep& step : steps) {
      progress_.label(fmt::format("{} {}", which.name, step.technique));
      progress_.at(++done_);
      const std::optional<Measured> time = measure(problem, step.number, operands, failure);
      if (!time) {
        wrong_.push_back(fmt::format("{} {} ({})", which.name, step.number, failure));
        list.push_back({{"number", step.number}, {"failure", failure}});
        continue;
      }
      const double share = floor.seconds / time->median;
      const Json ratio = library ? Json(library->median / time->median) : Json();
      Json line = {{"number", step.number}};
      line.update(time->json());
      line["peak_share"] = share;
      line["library_ratio"] = ratio;
      list.push_back(std::move(line));
      times_.row({which.name, named.name, problem.text(), int64_t{step.number}, step.technique,
                  1e6 * time->median, 1e6 * (time->third_quartile - time->first_quartile), share, floor.bound,
                  number_or_absent(ratio)});
    }
    return {{"name", named.name},       {"sizes", problem.text()},
            {"flops", problem.flops()}, {"bytes", problem.bytes()},
            {"bound", floor.bound},     {"floor_seconds", floor.seconds},
            {"library", library_json},  {"times", list}};
  }

  const KernelOptions& options_;
  Lab& lab_;
  ProgressLine progress_;
  int64_t done_ = 0;
  std::vector<std::string> wrong_;
  Table checks_{{{"ladder", "ladder"},
                 {"version", "#", Column::Kind::count},
                 {"technique", "technique"},
                 {"check", "check"},
                 {"compared", "compared", Column::Kind::count},
                 {"why", "what it mends"}}};
  Table times_{{{"ladder", "ladder"},
                {"problem", "problem"},
                {"sizes", "sizes"},
                {"version", "#", Column::Kind::count},
                {"technique", "technique"},
                {"microseconds", "median, us", Column::Kind::number, 1},
                {"interquartile_range", "IQR, us", Column::Kind::number, 1},
                {"peak_share", "of peak", Column::Kind::percent, 1},
                {"bound", "peak of"},
                {"library_ratio", "x library", Column::Kind::number, 2}}};
};

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
  if (options.common.device == "auto" && lab->device() == nullptr)
    console.note("no GPU here: the kernels are checked in the emulation, and nothing is timed");
  options.common.device = lab->name();

  Climb climb(options, *lab, console);
  Json all = Json::object();
  for (const NamedLadder& which : ladders()) {
    if (options.ladder != "all" && options.ladder != which.name) continue;
    if (Json ladder = climb.ladder(which); !ladder.is_null()) all[which.name] = std::move(ladder);
  }
  climb.finish();
  if (all.empty()) usage_error("--version: the ladder has no version {}", *options.version);

  if (const LabDevice* device = lab->device()) {
    say_device(*device, console);
    console.blank();
    console.say(climb.table());
  } else {
    console.say("The emulation: kernels run as C++ on the CPU, so there are no times.");
    console.blank();
    console.say(climb.checks());
  }
  const Json result = {
      {"commit", commit()},         {"device", lab->device() ? device_json(*lab->device()) : Json()},
      {"backend", lab->name()},     {"warm_ups", options.warm_ups},
      {"samples", options.samples}, {"ladders", std::move(all)}};
  const RunFolder folder(options.common.out, make_config(flags, {}), options.common.resume);
  folder.write_json("kernels.json", result);
  folder.write("kernels.csv", lab->device() ? climb.table().csv() : climb.checks().csv());
  console.result(result);
  if (!climb.wrong().empty()) fail("[bench kernels] wrong results: {}", fmt::join(climb.wrong(), "; "));
}

}  // namespace

Run bench_kernels_command(Flags& flags) {
  return make_command<KernelOptions>(flags, declare, run);
}

}  // namespace caltrop
