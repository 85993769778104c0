#include "tests/emulation/mutant_list.h"

#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <utility>

#include "kernels/error.h"

namespace caltrop::test {
namespace {

// "text @expression@ text" -> where, at, expression.
void read_place(const std::string& line, SourceMutant& mutant) {
  const size_t open = line.find('@'), close = line.rfind('@');
  if (open == std::string::npos || close == open) {
    fail("mutants: expected @an expression@ in: {}", line);
  }
  mutant.at = open;
  mutant.expression = line.substr(open + 1, close - open - 1);
  mutant.where = line.substr(0, open) + mutant.expression + line.substr(close + 1);
}

}  // namespace

std::vector<SourceMutant> read_mutants(const std::string& path) {
  std::ifstream stream(path);
  if (!stream) fail("cannot read {}", path);
  std::vector<SourceMutant> mutants;
  SourceMutant next;
  for (std::string line; std::getline(stream, line);) {
    if (line.empty() || line.starts_with('#')) continue;
    if (line.starts_with("- ")) {
      read_place(line.substr(2), next);
    } else if (line.starts_with("+ ")) {
      next.replacement = line.substr(2);
      next.number = static_cast<int>(mutants.size()) + 1;
      mutants.push_back(next);
    } else {
      std::istringstream words(line);
      words >> next.file >> next.part;
      if (next.part.empty()) fail("mutants: expected a file and a part of the suite, got: {}", line);
    }
  }
  return mutants;
}

std::string read_text(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) fail("cannot read {}", path);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

std::string with_mutants(std::string source, const std::string& file,
                         const std::vector<SourceMutant>& mutants, std::vector<std::string>& stale) {
  // Where an expression begins and how long it is, the last first, so that those before it keep their places; and
  // what comes there: of several mutants of one expression each is a choice around those before.
  std::map<std::pair<size_t, size_t>, std::string, std::greater<>> choices;
  for (const SourceMutant& mutant : mutants) {
    if (mutant.file != file) continue;
    const size_t found = source.find(mutant.where);
    if (found == std::string::npos || source.find(mutant.where, found + 1) != std::string::npos) {
      stale.push_back(mutant.where);
      continue;
    }
    const auto place = std::pair(found + mutant.at, mutant.expression.size());
    std::string& text = choices.try_emplace(place, mutant.expression).first->second;
    text = fmt::format("(caltrop_is_mutant({}) ? ({}) : ({}))", mutant.number, mutant.replacement, text);
  }
  for (const auto& [place, text] : choices) source.replace(place.first, place.second, text);
  return source;
}

}  // namespace caltrop::test
