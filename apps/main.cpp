// caltrop COMMAND [WORD] [flags]: finds the command, reads its flags, runs it, and turns what goes wrong into
// one line and an exit status: 0 done, 1 failed, 2 not understood.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <functional>
#include <iterator>
#include <new>
#include <string>
#include <vector>

#include "apps/commands/attack_flags.h"
#include "apps/core/build_info.h"
#include "apps/core/commands.h"
#include "apps/core/flags.h"
#include "apps/core/text_layout.h"
#include "defense/defence.h"
#include "engine/text.h"

namespace caltrop {
namespace {

struct Command {
  std::string name;  // one word or two
  std::string summary;
  std::function<Run(Flags& flags)> declare;
};

// A command for each defence, before the demonstration.
std::vector<Command> with_defences(std::vector<Command> all) {
  auto place = std::ranges::find(all, "demo", &Command::name);
  for (const DefenceInfo& info : defences()) {
    place = std::next(all.insert(place, {"defend " + info.name, info.summary, [&info](Flags& flags) {
                                           return defend_command(flags, info);
                                         }}));
  }
  return all;
}

const std::vector<Command>& commands() {
  static const std::vector<Command> all = with_defences({
      {"info", "what this program finds here: devices, data sets, networks", info_command},
      {"train", "train a network", train_command},
      {"eval", "how good a network is: accuracy, precision, recall, F1, confusion", eval_command},
      {"attack", "attack images: FGSM to PGD, CW, DeepFool, AutoAttack", attack_command},
      {"verify", "check what a set of attacked images claims", verify_command},
      {"sweep", "networks under attacks of several sizes and seeds: tables, curves", sweep_command},
      {"study", "the same of a file, with networks that it trains", study_command},
      {"transfer", "images attacked on one network, judged by others", transfer_command},
      {"gma generate", "the paper's miniature attack set, 30 sizes at once", gma_generate_command},
      {"gma analyze", "what each miniature size does to a network", gma_analyze_command},
      {"gma poison", "poison training images by the gradient through training", gma_poison_command},
      {"gma visual", "attacked images side by side, and how alike they are", gma_visual_command},
      {"paper gma-mia", "a paper's attack study: its figures, its numbers beside ours",
       paper_gma_mia_command},
      {"paper kim", "Kim 2025: three defences alone and in pairs, and what truly protects",
       paper_kim_command},
      {"demo", "train, attack and look: the main job in a minute or two", demo_command},
      {"export", "weights in PyTorch's layout, images as NPZ or PNG", export_command},
      {"bench", "list the benchmarks", bench_command},
      {"bench cpu", "time the CPU's main jobs", bench_cpu_command},
      {"bench cuda", "time the same jobs on a GPU", bench_cuda_command},
      {"bench ensemble", "time the vote of three networks, fused and composed", bench_ensemble_command},
      {"bench layers", "what share of the CPU's peak each layer reaches", bench_layers_command},
      {"bench kernels", "check and time the kernel ladders, naive to fast", bench_kernels_command},
      {"emulate", "a CUDA kernel on the CPU, thread by thread: memory traffic, races", emulate_command},
  });
  return all;
}

std::string overview() {
  std::string page =
      "Usage: caltrop COMMAND [flags]\n\n"
      "Caltrop trains small image classifiers, attacks them through their gradients, and measures what the\n"
      "attacks do. Every command is repeatable: the same seed gives the same files.\n\nCommands\n";
  size_t widest = 0;
  for (const Command& command : commands()) widest = std::max(widest, std::string_view(command.name).size());
  for (const Command& command : commands())
    page += fmt::format("  {:<{}}{}\n", command.name, widest + 2, command.summary);
  page +=
      "\n'caltrop COMMAND --help' is the manual page of a command; 'caltrop --version' says what was "
      "built.\n\n"
      "Examples\n"
      "  caltrop train --model target --dataset mnist --epochs 5 --out runs/target\n"
      "      Train the paper's Target network on MNIST.\n"
      "  caltrop eval --weights runs/target/model.safetensors --dataset mnist\n"
      "      Test it on the test images.\n";
  return page;
}

bool is_help(const std::string& word) {
  return word == "-h" || word == "--help";
}

// The first words of known commands that begin with `first`, or all first words.
std::vector<std::string> words_after(const std::string& first) {
  std::vector<std::string> words;
  for (const Command& command : commands()) {
    if (first.empty()) {
      words.push_back(command.name.substr(0, command.name.find(' ')));
    } else if (command.name.starts_with(first + " ")) {
      words.push_back(command.name.substr(first.size() + 1));
    }
  }
  return words;
}

const Command* find_command(const std::string& name) {
  const auto found = std::ranges::find(commands(), name, &Command::name);
  return found == commands().end() ? nullptr : &*found;
}

// Takes the command's words off the front of `arguments`.
const Command& take_command(std::vector<std::string>& arguments) {
  const std::string first = arguments[0];
  const std::vector<std::string> seconds = words_after(first);
  if (arguments.size() > 1) {
    if (const Command* command = find_command(first + " " + arguments[1])) {
      arguments.erase(arguments.begin(), arguments.begin() + 2);
      return *command;
    }
    if (!seconds.empty() && !arguments[1].starts_with('-')) {
      usage_error("unknown command '{} {}'{}", first, shown(arguments[1]),
                  did_you_mean(arguments[1], seconds));
    }
  }
  if (const Command* command = find_command(first)) {
    arguments.erase(arguments.begin());
    return *command;
  }
  if (!seconds.empty()) usage_error("'caltrop {}' needs a word: {}", first, fmt::join(seconds, " or "));
  if (first.starts_with('-')) usage_error("expected a command before {}", shown(first));
  usage_error("unknown command '{}'{}", shown(first), did_you_mean(first, words_after("")));
}

void print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) fail("cannot write standard output");
}

void run(std::vector<std::string> arguments, std::string& command_name) {
  if (arguments.empty()) usage_error("a command is missing");
  const bool asked = arguments[0] == "help";
  if (asked) arguments.erase(arguments.begin());
  if (arguments.empty() || is_help(arguments[0])) return print(overview());
  if (arguments[0] == "--version") {
    return print(fmt::format("caltrop {} ({}, {})\n", version(), commit(), compiler()));
  }
  const bool group_help = arguments.size() == 2 && is_help(arguments[1]) && !find_command(arguments[0]);
  if (group_help && !words_after(arguments[0]).empty()) return print(overview());
  const Command& command = take_command(arguments);
  command_name = command.name;
  Flags flags(command.name);
  const Run action = command.declare(flags);
  if (asked || !flags.parse(arguments)) return print(flags.help(kPageWidth));
  action();
}

int report(const std::string& problem, int status) {
  fmt::print(stderr, "caltrop: {}\n", problem);
  return status;
}

int guarded_main(const std::vector<std::string>& arguments) {
  std::string command;
  try {
    run(arguments, command);
    // What is still buffered may not fit on a full disk.
    if (std::fflush(stdout) != 0) return report("cannot write standard output", 1);
    return 0;
  } catch (const UsageError& problem) {
    return report(
        fmt::format("{} (see 'caltrop {}--help')", problem.what(), command.empty() ? "" : command + " "), 2);
  } catch (const BadOption& problem) {
    return report(of_flag(problem), 1);
  } catch (const std::bad_alloc&) {
    return report("not enough memory", 1);
  } catch (const std::exception& problem) {
    return report(shown(problem.what(), 2000), 1);
  }
}

}  // namespace
}  // namespace caltrop

int main(int argc, char** argv) {
  // A file that outgrows a limit is an error of the write that met it, with its name, like a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
  return caltrop::guarded_main(std::vector<std::string>(argv + std::min(argc, 1), argv + argc));
}
