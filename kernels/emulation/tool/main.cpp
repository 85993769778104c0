// caltrop-emulate KERNEL NAME=VALUE...: runs one kernel on the emulated device and writes what it did as
// JSON. `caltrop emulate` calls it and makes tables of it; by itself it is the program to run in a debugger.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/emulation/check.h"
#include "kernels/emulation/coverage.h"
#include "kernels/emulation/emulation.h"
#include "kernels/emulation/tool/kernels.h"
#include "kernels/emulation/trace.h"
#include "kernels/emulation/traffic.h"
#include "kernels/error.h"
#include "kernels/ladder/check.h"

namespace caltrop::emu::ladder {
std::unique_ptr<Lab> make_lab();  // of the instrumented kernels
}

namespace caltrop {
namespace {

using Json = nlohmann::ordered_json;

struct Request {
  std::string kernel;
  SizeValues sizes;
  emu::Schedule schedule;
  uint64_t seed = 0;
  bool traced = false;
  emu::uint3 thread{}, block{};
};

emu::uint3 read_place(const std::string& text) {
  emu::uint3 place{};
  if (std::sscanf(text.c_str(), "%u,%u,%u", &place.x, &place.y, &place.z) < 1) {
    fail("expected X, X,Y or X,Y,Z, got {}", text);
  }
  return place;
}

emu::Order read_order(const std::string& text) {
  if (text == "forward") return emu::Order::forward;
  if (text == "reverse") return emu::Order::reverse;
  if (text == "shuffled") return emu::Order::shuffled;
  fail("expected the order forward, reverse or shuffled, got {}", text);
}

Request read_request(int argc, char** argv) {
  if (argc < 2) fail("usage: caltrop-emulate KERNEL NAME=VALUE... (see 'caltrop emulate --help')");
  Request request;
  request.kernel = argv[1];
  const EmulatedKernel& kernel = emulated_kernel(request.kernel);
  for (const auto& [name, value] : kernel.sizes) request.sizes[name] = value;
  for (int i = 2; i < argc; ++i) {
    const std::string word = argv[i], name = word.substr(0, word.find('='));
    const std::string value = word.size() > name.size() ? word.substr(name.size() + 1) : "";
    if (name == "order") {
      request.schedule.order = read_order(value);
    } else if (name == "copies") {
      request.schedule.late_copies = value != "early";
    } else if (name == "seed") {
      request.seed = std::strtoull(value.c_str(), nullptr, 10);
    } else if (name == "thread" || name == "block") {
      (name == "thread" ? request.thread : request.block) = read_place(value);
      request.traced = true;
    } else if (request.sizes.contains(name)) {
      request.sizes[name] = std::strtoll(value.c_str(), nullptr, 10);
    } else {
      fail("{} has no size {}", request.kernel, name);
    }
  }
  return request;
}

// The path inside the source tree, wherever the program was built.
std::string in_tree(const std::string& file) {
  const size_t at = file.rfind("/kernels/");
  return at == std::string::npos ? file : file.substr(at + 1);
}

std::string source_text(const emu::SourceLine& line) {
  std::ifstream stream(line.file);
  if (!stream) stream.open(std::string(CALTROP_SOURCE_DIR) + "/" + in_tree(line.file));
  std::string text;
  for (int i = 0; i < line.line; ++i) {
    if (!std::getline(stream, text)) return "";
  }
  return text.substr(std::min(text.size(), text.find_first_not_of(' ')));
}

const char* words_for(emu::Space space) {
  return space == emu::Space::shared ? "shared" : "global";
}

Json place_json(const emu::dim3& p) {
  return {p.x, p.y, p.z};
}

// The launches of a run with their shapes.
class Launches final : public emu::Watcher {
 public:
  void launch_begins(const emu::KernelCall& call) override {
    list.push_back({{"op", call.op},
                    {"kernel", emu::kernel_name(call.kernel)},
                    {"grid", place_json(call.grid)},
                    {"block", place_json(call.block)},
                    {"dynamic_shared_bytes", call.shared_bytes}});
  }
  Json list = Json::array();
};

Json lines_json(const emu::Traffic& traffic) {
  Json lines = Json::array();
  for (const emu::LineTraffic& line : traffic.lines()) {
    lines.push_back({{"file", in_tree(line.line.file)},
                     {"line", line.line.line},
                     {"text", source_text(line.line)},
                     {"memory", words_for(line.space)},
                     {"access", line.kind == emu::Kind::read    ? "read"
                                : line.kind == emu::Kind::write ? "write"
                                                                : "atomic"},
                     {"bytes", line.bytes},
                     {"requests", line.requests},
                     {line.space == emu::Space::shared ? "wavefronts" : "sectors", line.moved},
                     {"ideal", line.ideal}});
  }
  return lines;
}

// "x[12]" for memory of an array that the kernel was given.
std::string named(const emu::TraceStep& step, const std::vector<NamedArray>& arrays) {
  for (const NamedArray& array : arrays) {
    if (step.address >= array.address && step.address < array.address + array.bytes) {
      return array.name + "+" + std::to_string(step.address - array.address);
    }
  }
  return step.memory;
}

Json trace_json(const emu::ThreadTrace& trace, const std::vector<NamedArray>& arrays) {
  Json steps = Json::array();
  for (const emu::TraceStep& step : trace.steps()) {
    Json one = {{"kernel", step.kernel},
                {"file", in_tree(step.line.file)},
                {"line", step.line.line},
                {"text", source_text(step.line)},
                {"what", step.what}};
    if (step.bytes > 0) {
      one["memory"] = words_for(step.space);
      one["address"] = named(step, arrays);
      one["bytes"] = step.bytes;
    }
    steps.push_back(std::move(one));
  }
  return steps;
}

void run_ladder(const LadderProblem& problem, int64_t version) {
  const std::unique_ptr<Lab> lab = emu::ladder::make_lab();
  const auto steps = static_cast<int64_t>(lab->steps(problem.ladder).size());
  if (version > steps) fail("this ladder has versions 1 to {}, got {}", steps, version);
  lab->run(problem, static_cast<int>(version), ladder_operands(problem, 1), 0);
}

// The arrays that the kernel was given.
std::vector<NamedArray> run_kernel(const Request& request) {
  Bench bench(emulated_backend(), request.sizes, request.seed, run_ladder);
  emulated_kernel(request.kernel).run(bench);
  // Work runs when somebody waits for it.
  for (const NamedArray& array : bench.arrays) {
    if (array.bytes == 0) continue;
    char byte = 0;
    bench.backend.download(&byte, reinterpret_cast<const void*>(array.address), 1);
    break;
  }
  return bench.arrays;
}

int run(int argc, char** argv) {
  const Request request = read_request(argc, argv);
  emu::AccessChecker checker(emu::AccessChecker::Mode::collect);
  emu::Traffic traffic(checker.shadow());
  emu::ThreadTrace trace(checker.shadow(), request.thread, request.block);
  Launches launches;
  std::vector<emu::Watcher*> watchers = {&checker, &traffic, &launches};
  if (request.traced) watchers.push_back(&trace);
  emu::set_schedule(request.schedule);
  emu::watch(watchers);
  const std::vector<NamedArray> arrays = run_kernel(request);
  emu::watch({});
  if (request.traced && !trace.ran()) fail("no launch has such a thread in such a block");
  Json findings = Json::array();
  for (const emu::Finding& finding : checker.findings()) findings.push_back(finding.text);
  Json result = {{"kernel", request.kernel},
                 {"sizes", request.sizes},
                 {"launches", launches.list},
                 {"lines", lines_json(traffic)},
                 {"findings", findings}};
  if (request.traced) result["trace"] = trace_json(trace, arrays);
  const std::string text = result.dump() + "\n";
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace
}  // namespace caltrop

int main(int argc, char** argv) {
  try {
    return caltrop::run(argc, argv);
  } catch (const std::exception& problem) {
    std::printf("%s\n", nlohmann::json({{"error", problem.what()}}).dump().c_str());
    return 1;
  }
}
