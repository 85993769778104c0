// Wrong kernels, made from right ones by changing one expression: an index off by one, a wrong tie, a term
// too few. All mutants of a file are compiled together; which one lives is chosen at run time.
#pragma once

#include <string>
#include <vector>

namespace caltrop::test {

struct SourceMutant {
  int number = 0;     // its place in the list, from 1
  std::string file;   // "pool.cu"
  std::string part;   // of the suite, that must reject it: "maxpool"
  std::string where;  // text that the file has once
  size_t at = 0;      // where in it the expression begins
  std::string expression, replacement;
};

// Reads mutants.txt. An Error where a line is not understood.
std::vector<SourceMutant> read_mutants(const std::string& path);

std::string read_text(const std::string& path);

// The source with every mutant of `file` in it, each asked for by caltrop_is_mutant(number); a mutant whose
// text the source does not have exactly once is left out and named in `stale`.
std::string with_mutants(std::string source, const std::string& file,
                         const std::vector<SourceMutant>& mutants, std::vector<std::string>& stale);

}  // namespace caltrop::test
