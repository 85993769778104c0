// caltrop emulate: one kernel on the CPU, thread by thread, with what a profiler would count.
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/text_layout.h"
#include "apps/report/table.h"
#include "engine/text.h"
#include "kernels/emulation/tool/helper.h"
#include "kernels/emulation/tool/kernels.h"

namespace caltrop {
namespace {

using Kind = Column::Kind;

struct EmulateOptions {
  CommonOptions common;
  EmulateRequest request;
};

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const EmulatedKernel& kernel : emulated_kernels()) names.push_back(kernel.name);
  return names;
}

void declare(Flags& flags, EmulateOptions& options) {
  flags.usage("KERNEL [sizes] [flags]");
  flags.about(
      "Runs the CUDA kernels of one op on the CPU, no GPU needed, and prints for each line that touches "
      "memory "
      "how many requests its warps made, how many wavefronts of shared memory or 32-byte sectors of global "
      "memory those took, and how few would do. A count by a model, not a measurement of any GPU. Races and "
      "reads of unwritten shared memory are reported with both lines. With --thread and --block: everything "
      "that one thread did, in order.");
  flags.positional("kernel", options.request.kernel, kernel_names(), "the op");
  flags.group("Sizes (each kernel has its own, with defaults; see below)");
  for (const SizeHelp& size : emulated_sizes()) {
    flags.integer(size.name, options.request.sizes[size.name], size.low, int64_t{1} << 20, size.value_name,
                  size.help, "the kernel's");
  }
  flags.group("Running");
  flags.choice("order", options.request.order, {"forward", "reverse", "shuffled"},
               "in which order waiting threads go on, and blocks run");
  flags.choice("copies", options.request.copies, {"late", "early"},
               "when asynchronous copies (cp.async) are carried out: when they must be, or at once");
  flags.text("thread", options.request.thread, "X,Y,Z", "print what this thread did", "none");
  flags.text("block", options.request.block, "X,Y,Z", "the thread's block", "0,0,0");
  add_common_flags(flags, options.common);
  std::string kernels;
  for (const EmulatedKernel& kernel : emulated_kernels()) {
    std::string sizes;
    for (const EmulatedSize& size : kernel.sizes) {
      sizes += fmt::format("{}--{} {}", sizes.empty() ? "" : " ", size.name, size.value);
    }
    kernels += fmt::format(" {:<19}{}\n", kernel.name, kernel.work);
    kernels += fmt::format(" {:<19}{}\n", "", sizes);
  }
  flags.section("The kernels, and their sizes", kernels);
  flags.section(
      "The model",
      "A request is what the lanes of a warp do at one place of the code at a time. Shared memory has "
      "32 banks of 4 bytes; a wavefront serves one word of each. 'x ideal' is 1.00 where no byte moves "
      "in vain. docs/emulation.md says more, and how to stop in one thread with gdb.");
  flags.section("JSON", "kernel, sizes, launches, lines, findings; with --thread: trace");
  flags.example("caltrop emulate matmul --m 70 --n 50 --k 40", "Traffic of each line of a product.");
  flags.example("caltrop emulate permute --thread 3,0 --block 1,0", "What thread (3,0) of block (1,0) did.");
}

std::vector<std::string> arguments_of(EmulateRequest& request, int64_t seed) {
  request.seed = seed;
  try {
    return emulate_arguments(request);
  } catch (const Error& problem) {
    throw UsageError(problem.what());
  }
}

Json run_kernel(const std::vector<std::string>& arguments) {
  Json result = Json::parse(run_emulate_helper(arguments), nullptr, false);
  if (result.is_discarded())
    fail("[emulate] caltrop-emulate does not answer in JSON; was it built with this program?");
  if (result.contains("error")) fail("{}", shown(result["error"].get<std::string>(), 2000));
  return result;
}

std::string triple(const Json& p) {
  return fmt::format("({},{},{})", p[0].get<int64_t>(), p[1].get<int64_t>(), p[2].get<int64_t>());
}

std::string place(const Json& line) {
  return fmt::format("{}:{}", line["file"].get<std::string>(), line["line"].get<int64_t>());
}

// Text or a whole number; absent where there is none.
Cell cell(const Json& row, const char* key) {
  const Json value = row.value(key, Json());
  if (value.is_string()) return value.get<std::string>();
  return value.is_null() ? Cell() : Cell(value.get<int64_t>());
}

Table traffic_table(const Json& lines, const std::string& memory) {
  const char* unit = memory == "shared" ? "wavefronts" : "sectors";
  Table table({{"line", "line"},
               {"access", memory},
               {"bytes", "bytes", Kind::count},
               {"requests", "requests", Kind::count},
               {unit, unit, Kind::count},
               {"ideal", "ideal", Kind::count},
               {"ratio", "x ideal", Kind::number},
               {"text", "source"}});
  for (const Json& line : lines) {
    if (line["memory"] != memory) continue;
    const double ratio = line[unit].get<double>() / std::max(line["ideal"].get<double>(), 1.0);
    table.row({place(line), cell(line, "access"), cell(line, "bytes"), cell(line, "requests"),
               cell(line, unit), cell(line, "ideal"), ratio, cell(line, "text")});
  }
  return table;
}

Table trace_table(const Json& trace) {
  Table table({{"line", "line"},
               {"what", "does"},
               {"bytes", "bytes", Kind::count},
               {"memory", "memory"},
               {"address", "address"},
               {"text", "source"}});
  for (const Json& step : trace) {
    table.row({place(step), cell(step, "what"), cell(step, "bytes"), cell(step, "memory"),
               cell(step, "address"), cell(step, "text")});
  }
  return table;
}

void show(const EmulateOptions& options, const Json& result, Console& console) {
  for (const Json& launch : result["launches"]) {
    console.say("{}: grid {}, block {}, {} bytes of dynamic shared memory",
                launch["kernel"].get<std::string>(), triple(launch["grid"]), triple(launch["block"]),
                grouped(launch["dynamic_shared_bytes"].get<int64_t>()));
  }
  if (result["launches"].empty()) console.say("Nothing to do at these sizes: no kernel was launched.");
  for (const char* memory : {"shared", "global"}) {
    const Table table = traffic_table(result["lines"], memory);
    if (table.empty()) continue;
    console.blank();
    console.say(table);
  }
  if (result.contains("trace")) {
    console.blank();
    console.say("Thread {} of block {}", options.request.thread,
                options.request.block.empty() ? "0,0,0" : options.request.block);
    console.say(trace_table(result["trace"]));
  }
  for (const Json& finding : result["findings"]) console.warn("{}", finding.get<std::string>());
}

void run(EmulateOptions& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  const std::vector<std::string> arguments = arguments_of(options.request, options.common.seed);
  RunFolder::check(options.common.out, options.common.resume);
  const Json result = with_schema("emulate/1", run_kernel(arguments));
  show(options, result, console);
  RunFolder(options.common.out, make_config(flags, {}), options.common.resume)
      .write_json("emulate.json", result);
  console.result(result);
}

}  // namespace

Run emulate_command(Flags& flags) {
  return make_command<EmulateOptions>(flags, declare, run);
}

}  // namespace caltrop
