// The suite is worth its green only if it rejects wrong kernels. Two kinds of mutants are made of the real
// .cu files: without one barrier, __syncwarp or wait for copies, for every one of them; and with one
// expression changed (mutants.txt). Each runs in a process of its own: a wrong kernel may do anything.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>

#include "kernels/emulation/execution.h"
#include "tests/emulation/mutant_list.h"
#include "tests/emulation/part_runs.h"
#include "tests/emulation/processes.h"

namespace {
int living_mutant = 0;
}
extern "C" bool caltrop_is_mutant(int number) {
  return number == living_mutant;
}

namespace caltrop::test {
namespace {

constexpr unsigned kMostSeconds = 120;  // for one mutant; an endless loop is a rejection too
constexpr const char* kMark = "no test shows this:";

using Parts = std::vector<const SuitePart*>;

struct Mutant {
  std::string name;
  std::function<void()> make;
  Parts parts;
  bool survived = false;
};

void try_all(std::vector<Mutant>& mutants) {
  read_debug_information();
  const auto results = in_processes(mutants.size(), kMostSeconds, [&](size_t i) -> std::string {
    mutants[i].make();
    return rejected(mutants[i].parts) ? "rejected" : "accepted";
  });
  for (size_t i = 0; i < mutants.size(); ++i) {
    mutants[i].survived = results[i].ended && results[i].text == "accepted";
  }
}

using Place = std::pair<std::string, int>;  // file name and line

// "softmax.cu" or "ladder/softmax.cu", for a source and for the copy that holds its mutants.
std::string file_name(const std::string& path) {
  for (const std::string folder : {"/kernels/", "/mutants/"}) {
    const size_t at = path.rfind(folder);
    if (at != std::string::npos) return path.substr(at + folder.size());
  }
  return path.substr(path.rfind('/') + 1);
}

bool is_removable(const std::string& name) {
  return name == "__syncthreads" || name == "__syncwarp" || name == "cp_async_wait";
}

struct Reached {
  Stop stop;
  Parts parts;  // that reach it, quick ones first
};

// Every stop that the suite reaches in the kernels as they are.
const std::map<Place, Reached>& reached_stops() {
  static const std::map<Place, Reached> all = [] {
    std::vector<PartRun> runs = run_parts(false);
    std::sort(runs.begin(), runs.end(),
              [](const PartRun& a, const PartRun& b) { return a.seconds < b.seconds; });
    std::map<Place, Reached> stops;
    for (const PartRun& run : runs) {
      for (const Stop& stop : run.stops) {
        if (!is_removable(stop.name)) continue;
        Reached& reached = stops[{file_name(stop.file), stop.line}];
        reached.stop = stop;
        reached.parts.push_back(run.part);
      }
    }
    return stops;
  }();
  return all;
}

struct Line {
  std::string text;
  bool marked = false;  // as needed by something that no test shows
};

// Lines of the kernel files that call something removable.
std::map<Place, Line> lines_with_stops() {
  std::map<Place, Line> lines;
  for (const std::string& path : kernel_files()) {
    std::ifstream stream(path);
    std::string before;
    int number = 0;
    for (std::string line; std::getline(stream, line); before = line) {
      ++number;
      const std::string code = line.substr(0, line.find("//"));
      const bool defines = code.find("inline") != std::string::npos;
      const bool stops = code.find("__syncthreads();") != std::string::npos ||
                         code.find("__syncwarp(") != std::string::npos ||
                         code.find("cp_async_wait<") != std::string::npos;
      if (!stops || defines) continue;
      const bool marked = line.find(kMark) != std::string::npos ||
                          (before.find(kMark) != std::string::npos && before.find_first_not_of(" /") != 0);
      lines[{file_name(path), number}] = {code.substr(code.find_first_not_of(' ')), marked};
    }
  }
  return lines;
}

TEST_SUITE("emulation") {
  TEST_CASE("every barrier is needed, and its absence noticed") {
    const std::map<Place, Line> lines = lines_with_stops();
    const std::map<Place, Reached>& stops = reached_stops();
    std::vector<Mutant> mutants;
    std::vector<const Line*> of_mutant;
    for (const auto& [place, line] : lines) {
      const auto stop = stops.find(place);
      CHECK_MESSAGE(stop != stops.end(), place.first, ":", place.second, ": no test reaches ", line.text);
      if (stop == stops.end()) continue;
      mutants.push_back({fmt::format("{}:{} without {}", place.first, place.second, stop->second.stop.name),
                         [stop = &stop->second.stop] {
                           emu::skip_at({stop->file.c_str(), stop->line});
                         },
                         stop->second.parts});
      of_mutant.push_back(&line);
    }
    for (const auto& [place, reached] : stops) {
      CHECK_MESSAGE(lines.count(place), place.first, ":", place.second, ": ", reached.stop.name,
                    " is not in a kernel file");
    }
    try_all(mutants);
    size_t noticed = 0, marked = 0;
    for (size_t i = 0; i < mutants.size(); ++i) {
      const Mutant& mutant = mutants[i];
      noticed += !mutant.survived;
      marked += mutant.survived && of_mutant[i]->marked;
      if (mutant.survived && of_mutant[i]->marked)
        fmt::print("SURVIVES, as its comment says: {}\n", mutant.name);
      CHECK_MESSAGE((!mutant.survived || of_mutant[i]->marked), "the suite accepts ", mutant.name);
      CHECK_MESSAGE((mutant.survived || !of_mutant[i]->marked), "a test does show ", mutant.name,
                    ": take the mark away");
    }
    fmt::print("MUTANTS without a barrier: {} noticed, {} survive as marked, of {}\n", noticed, marked,
               mutants.size());
  }

  TEST_CASE("wrong expressions are rejected") {
    const std::string folder = CALTROP_SOURCE_DIR "/kernels/";
    std::vector<Mutant> mutants;
    std::set<std::string> files;
    const std::vector<SourceMutant> listed = read_mutants(CALTROP_SOURCE_DIR "/tests/emulation/mutants.txt");
    for (const SourceMutant& mutant : listed) {
      files.insert(mutant.file);
      const auto& parts = suite_parts();
      const auto part = std::find_if(parts.begin(), parts.end(),
                                     [&](const SuitePart& one) { return one.name == mutant.part; });
      REQUIRE_MESSAGE(part != parts.end(), "the suite has no part ", mutant.part);
      mutants.push_back({fmt::format("{} with {} for {}", mutant.file, mutant.replacement, mutant.expression),
                         [number = mutant.number] { living_mutant = number; },
                         {&*part}});
    }
    for (const std::string& file : files) {
      std::vector<std::string> stale;
      with_mutants(read_text(folder + file), file, listed, stale);
      for (const std::string& text : stale) FAIL_CHECK(file, " does not have exactly once: ", text);
    }
    try_all(mutants);
    for (const Mutant& mutant : mutants) CHECK_MESSAGE(!mutant.survived, "the suite accepts ", mutant.name);
    fmt::print("MUTANTS of an expression: {}\n", mutants.size());
  }
}

}  // namespace
}  // namespace caltrop::test
