// caltrop emulate: one kernel on the CPU, thread by thread, with what a profiler would count.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/text_layout.h"
#include "apps/report/table.h"
#include "engine/text.h"
#include "kernels/emulation/tool/kernels.h"

namespace caltrop {
namespace {

using Kind = Column::Kind;

struct EmulateOptions {
  CommonOptions common;
  std::string kernel, order = "forward", copies = "late", thread, block;
  std::map<std::string, std::optional<int64_t>> sizes;
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
  flags.positional("kernel", options.kernel, kernel_names(), "the op");
  flags.group("Sizes (each kernel has its own, with defaults; see below)");
  for (const SizeHelp& size : emulated_sizes()) {
    flags.integer(size.name, options.sizes[size.name], size.low, int64_t{1} << 20, size.value_name, size.help,
                  "the kernel's");
  }
  flags.group("Running");
  flags.choice("order", options.order, {"forward", "reverse", "shuffled"},
               "in which order waiting threads go on, and blocks run");
  flags.choice("copies", options.copies, {"late", "early"},
               "when asynchronous copies (cp.async) are carried out: when they must be, or at once");
  flags.text("thread", options.thread, "X,Y,Z", "print what this thread did", "none");
  flags.text("block", options.block, "X,Y,Z", "the thread's block", "0,0,0");
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

// The arguments of caltrop-emulate; UsageError for a size that the kernel does not have.
std::vector<std::string> helper_arguments(const EmulateOptions& options) {
  const EmulatedKernel& kernel = emulated_kernel(options.kernel);
  std::vector<std::string> arguments = {kernel.name, "order=" + options.order, "copies=" + options.copies,
                                        fmt::format("seed={}", options.common.seed)};
  for (const auto& [name, value] : options.sizes) {
    if (!value) continue;
    std::vector<std::string> own;
    for (const EmulatedSize& size : kernel.sizes) own.push_back(std::string("--") + size.name);
    if (std::find(own.begin(), own.end(), "--" + name) == own.end()) {
      usage_error("{} has no --{}; its sizes are {}", kernel.name, name, fmt::join(own, ", "));
    }
    arguments.push_back(fmt::format("{}={}", name, *value));
  }
  if (!options.block.empty() && options.thread.empty()) usage_error("--block needs a --thread");
  for (const auto& [name, text] :
       {std::pair<std::string, std::string>{"thread", options.thread}, {"block", options.block}}) {
    if (text.empty()) continue;
    if (text.find_first_not_of("0123456789,") != std::string::npos || text.front() == ',' ||
        text.back() == ',' || text.size() > 32) {
      usage_error("--{}: expected indices like 3,2, got '{}'", name, text);
    }
    arguments.push_back(fmt::format("{}={}", name, text));
  }
  return arguments;
}

// Runs caltrop-emulate, which stands beside this program: its kernels are compiled in a way that a program
// for every day should not be.
Json run_helper(const std::vector<std::string>& arguments) {
  std::error_code missing;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", missing);
  const std::filesystem::path helper = self.parent_path() / "caltrop-emulate";
  if (missing || !std::filesystem::exists(helper, missing)) {
#ifdef CALTROP_CHECKED
    fail("expected {} beside this program; 'cmake --build BUILD --target caltrop-emulate' builds it",
         helper.string());
#else
    fail("left out of this build, which has sanitizers or did not find libbacktrace (docs/emulation.md)");
#endif
  }
  std::vector<std::string> words = {helper.string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail("cannot run {}", helper.string());
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  pid_t child = 0;
  const int problem = ::posix_spawn(&child, helper.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  std::string text;
  char part[1 << 16];
  for (ssize_t size; problem == 0 && (size = ::read(ends[0], part, sizeof part)) > 0;) {
    text.append(part, static_cast<size_t>(size));
  }
  ::close(ends[0]);
  if (problem != 0) fail("cannot run {}", helper.string());
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) fail("[emulate] the kernel ended with signal {}", WTERMSIG(status));
  Json result = Json::parse(text, nullptr, false);
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

Table traffic_table(const Json& lines, const std::string& memory) {
  const bool shared = memory == "shared";
  const std::string unit = shared ? "wavefronts" : "sectors";
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
    const auto moved = line[unit].get<int64_t>(), ideal = line["ideal"].get<int64_t>();
    table.row({place(line), line["access"].get<std::string>(), line["bytes"].get<int64_t>(),
               line["requests"].get<int64_t>(), moved, ideal,
               static_cast<double>(moved) / static_cast<double>(std::max<int64_t>(ideal, 1)),
               line["text"].get<std::string>()});
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
    const bool stop = !step.contains("memory");
    table.row({place(step), step["what"].get<std::string>(),
               stop ? Cell() : Cell(step["bytes"].get<int64_t>()),
               stop ? Cell() : Cell(step["memory"].get<std::string>()),
               stop ? Cell() : Cell(step["address"].get<std::string>()), step["text"].get<std::string>()});
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
    console.say("Thread {} of block {}", options.thread, options.block.empty() ? "0,0,0" : options.block);
    console.say(trace_table(result["trace"]));
  }
  for (const Json& finding : result["findings"]) console.warn("{}", finding.get<std::string>());
}

void run(EmulateOptions& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  const std::vector<std::string> arguments = helper_arguments(options);
  RunFolder::check(options.common.out, options.common.resume);
  const Json result = run_helper(arguments);
  show(options, result, console);
  if (!options.common.out.empty()) {
    RunFolder(options.common.out, make_config(flags, {}), options.common.resume)
        .write_json("emulate.json", result);
  }
  console.result(result);
}

}  // namespace

Run emulate_command(Flags& flags) {
  return make_command<EmulateOptions>(flags, declare, run);
}

}  // namespace caltrop
