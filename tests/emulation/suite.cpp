#include "tests/emulation/suite.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "kernels/emulation/emulation.h"
#include "kernels/ladder/check.h"
#include "tests/kernels/checks.h"

namespace caltrop::emu::ladder {
std::unique_ptr<Lab> make_lab();  // of the instrumented kernels
}

namespace caltrop::test {
namespace {

void add_ladders(std::vector<SuitePart>& parts) {
  static const std::unique_ptr<Lab> lab = emu::ladder::make_lab();
  const std::pair<Ladder, const char*> ladders[] = {
      {Ladder::matmul, "matmul"}, {Ladder::conv2d, "conv2d"}, {Ladder::softmax, "softmax"}};
  for (const auto& [ladder, name] : ladders) {
    for (const LadderStep& step : lab->steps(ladder)) {
      parts.push_back({fmt::format("{} ladder {}", name, step.number),
                       [ladder = ladder, number = step.number]() -> SuiteResult {
                         const LadderCheck check = check_ladder_version(*lab, ladder, number);
                         return {check.compared, check.passed() ? "" : check.failure};
                       }});
    }
  }
}

}  // namespace

const std::vector<SuitePart>& suite_parts() {
  static const std::vector<SuitePart> parts = [] {
    std::vector<SuitePart> all;
    for (const Check& check : all_checks()) {
      if (check.run == check_memory && check.method != "allocate") continue;  // the same function
      all.push_back({check.method, [run = check.run]() -> SuiteResult {
                       const Report report = run(emulated_backend());
                       return {report.compared(), report.passed() ? "" : report.failure()};
                     }});
    }
    add_ladders(all);
    return all;
  }();
  return parts;
}

std::vector<std::string> kernel_files() {
  std::vector<std::string> files;
  for (const char* folder : {"/kernels", "/kernels/ladder"}) {
    const std::filesystem::path path = std::string(CALTROP_SOURCE_DIR) + folder;
    if (!std::filesystem::is_directory(path)) continue;
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      const std::string extension = entry.path().extension();
      if (extension == ".cu" || extension == ".cuh") files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<KernelSource> kernels_in_sources() {
  std::vector<KernelSource> kernels;
  // Between __global__ and the name may stand __launch_bounds__(...) and the return type.
  static const std::regex definition(
      R"(__global__\s+(?:__launch_bounds__\([^)]*\)\s+)?void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\s*\()");
  for (const std::string& path : kernel_files()) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    const std::string source = text.str();
    for (std::sregex_iterator at(source.begin(), source.end(), definition), end; at != end; ++at) {
      kernels.push_back({(*at)[1], std::filesystem::path(path).filename()});
    }
  }
  return kernels;
}

std::string plain_name(const std::string& kernel) {
  const std::string name = kernel.substr(0, kernel.find('<'));
  return name.substr(name.rfind(':') + 1);
}

}  // namespace caltrop::test
