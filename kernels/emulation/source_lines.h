// From addresses of this program to what the source calls them: lines of code, kernels, shared arrays. Read
// from the program's own debug information by libbacktrace, which comes with gcc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace caltrop::emu {

struct SourceLine {
  std::string file;  // as the compiler was given it; empty where unknown
  int line = 0;
  std::string function;

  // "matmul.cu:41"; "?" where unknown.
  std::string text() const;
  bool operator==(const SourceLine& other) const { return line == other.line && file == other.file; }
  bool operator<(const SourceLine& other) const {
    return file != other.file ? file < other.file : line < other.line;
  }
};

// The line of the call that returns to `return_address`, innermost inlined function first, its callers after.
std::vector<SourceLine> source_lines(uintptr_t return_address);
// Of those the innermost that stands in a .cu file, or else in a .cuh, or else the innermost: a load inside a
// helper of the emulation is reported where the kernel asked for it.
SourceLine kernel_line(uintptr_t return_address);

// The symbol that covers an address: a function or a variable with static storage.
struct Symbol {
  std::string mangled;  // empty where there is none
  uintptr_t address = 0;
  size_t size = 0;
};
Symbol symbol_at(uintptr_t address);
// "caltrop::emu::tile_kernel<32>", without parameters, return type and anonymous namespaces.
std::string kernel_name(const void* kernel);
// "tile": the last part of a variable's name.
std::string variable_name(const Symbol& symbol);

}  // namespace caltrop::emu
