#include "tests/emulation/part_runs.h"

#include <algorithm>
#include <chrono>
#include <sstream>

#include "kernels/emulation/check.h"
#include "kernels/emulation/coverage.h"
#include "kernels/emulation/emulation.h"
#include "kernels/error.h"
#include "tests/emulation/processes.h"
#include "tests/kernels/harness.h"

namespace caltrop::test {
namespace {

constexpr unsigned kMostSeconds = 900;

// The order of threads plays no part in what the checker says. But kernels read aligned arrays in another way
// than others, and with few blocks they run loops that are for large arrays.
void choose(bool aligned, bool few_blocks) {
  aligned_arrays = aligned;
  emu::set_schedule({.order = aligned ? emu::Order::reverse : emu::Order::forward,
                     .late_copies = aligned,
                     .most_blocks = few_blocks ? 2 : 1 << 14});
}

std::string run_part(const SuitePart& part, bool checked) {
  emu::AccessChecker checker(emu::AccessChecker::Mode::fail);
  emu::Coverage coverage;
  emu::watch(checked ? std::vector<emu::Watcher*>{&checker, &coverage}
                     : std::vector<emu::Watcher*>{&coverage});
  const auto start = std::chrono::steady_clock::now();
  std::ostringstream text;
  int64_t compared = 0;
  for (const bool aligned : {false, true}) {
    choose(aligned, false);
    std::string failure;
    try {
      const SuiteResult result = part.run();
      compared += result.compared;
      failure = result.failure;
    } catch (const Error& error) {
      failure = error.what();
    }
    std::replace(failure.begin(), failure.end(), '\n', ';');
    if (!failure.empty()) text << "failure\t" << failure << '\n';
  }
  emu::watch({});
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  text << "counts\t" << compared << '\t' << checker.accesses() << '\t' << seconds << '\n';
  for (const auto& kernel : coverage.kernels()) {
    text << "kernel\t" << kernel.file << '\t' << kernel.name << '\t' << kernel.launches << '\n';
  }
  for (const auto& [where, stop] : coverage.stops()) {
    text << "stop\t" << stop.name << '\t' << where.first << '\t' << where.second << '\n';
  }
  for (const emu::Place place : emu::blocks_run()) text << "block\t" << place << '\n';
  return text.str();
}

void read_line(const std::string& line, PartRun& run) {
  std::vector<std::string> words;
  std::istringstream stream(line);
  for (std::string word; std::getline(stream, word, '\t');) words.push_back(word);
  if (words[0] == "failure") run.failure = words.at(1);
  if (words[0] == "counts") {
    run.compared = std::stoll(words.at(1));
    run.accesses = std::stoll(words.at(2));
    run.seconds = std::stod(words.at(3));
  }
  if (words[0] == "kernel") run.kernels.push_back({words.at(1), words.at(2), std::stoll(words.at(3))});
  if (words[0] == "stop") run.stops.push_back({words.at(1), words.at(2), std::stoi(words.at(3))});
  if (words[0] == "block") emu::mark_run(static_cast<emu::Place>(std::stoul(words.at(1))));
}

}  // namespace

void read_debug_information() {
  emu::source_lines(reinterpret_cast<uintptr_t>(&read_debug_information));
}

std::vector<PartRun> run_parts(bool checked) {
  read_debug_information();
  const std::vector<SuitePart>& parts = suite_parts();
  const auto results =
      in_processes(parts.size(), kMostSeconds, [&](size_t i) { return run_part(parts[i], checked); });
  std::vector<PartRun> runs;
  for (size_t i = 0; i < parts.size(); ++i) {
    PartRun run{&parts[i], results[i].ended ? "" : "the process was ended by a signal", 0, 0, 0, {}, {}};
    std::istringstream stream(results[i].text);
    for (std::string line; std::getline(stream, line);) read_line(line, run);
    runs.push_back(std::move(run));
  }
  return runs;
}

bool rejected(const std::vector<const SuitePart*>& parts) {
  emu::AccessChecker checker(emu::AccessChecker::Mode::fail);
  emu::watch({&checker});
  for (const SuitePart* part : parts) {
    for (const bool aligned : {false, true}) {
      choose(aligned, aligned);
      try {
        if (!part->run().failure.empty()) return true;
      } catch (const Error&) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace caltrop::test
