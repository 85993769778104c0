#include "kernels/emulation/source_lines.h"

#include <cxxabi.h>

#include CALTROP_BACKTRACE_HEADER

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>

namespace caltrop::emu {
namespace {

void ignore_error(void* /*data*/, const char* /*message*/, int /*number*/) {}

backtrace_state* state() {
  static backtrace_state* const the_state = backtrace_create_state(nullptr, 0, ignore_error, nullptr);
  return the_state;
}

std::string demangled(const std::string& mangled) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status), &std::free);
  return text ? text.get() : mangled;
}

int add_line(void* data, uintptr_t /*pc*/, const char* file, int line, const char* function) {
  if (file != nullptr) {
    static_cast<std::vector<SourceLine>*>(data)->push_back(
        {file, line, function == nullptr ? "" : demangled(function)});
  }
  return 0;
}

void set_symbol(void* data, uintptr_t /*pc*/, const char* name, uintptr_t value, uintptr_t size) {
  if (name != nullptr) *static_cast<Symbol*>(data) = {name, value, size};
}

// Cuts `text` at the first of `stops` that stands outside <>, () and [].
std::string until_outside(const std::string& text, char stop) {
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (depth == 0 && text[i] == stop) return text.substr(0, i);
    if (text[i] == '<' || text[i] == '(' || text[i] == '[') ++depth;
    if (text[i] == '>' || text[i] == ')' || text[i] == ']') --depth;
  }
  return text;
}

void erase_all(std::string& text, const std::string& part) {
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at)) {
    text.erase(at, part.size());
  }
}

}  // namespace

std::string SourceLine::text() const {
  if (file.empty()) return "?";
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(line);
}

std::vector<SourceLine> source_lines(uintptr_t return_address) {
  std::vector<SourceLine> lines;
  // The address after a call may belong to the next line.
  backtrace_pcinfo(state(), return_address - 1, add_line, ignore_error, &lines);
  if (lines.empty()) lines.emplace_back();
  return lines;
}

SourceLine kernel_line(uintptr_t return_address) {
  static std::map<uintptr_t, SourceLine> known;
  const auto found = known.find(return_address);
  if (found != known.end()) return found->second;
  const std::vector<SourceLine> lines = source_lines(return_address);
  SourceLine best = lines.front();
  for (const char* kind : {".cuh", ".cu"}) {
    const auto inner = std::find_if(lines.begin(), lines.end(),
                                    [&](const SourceLine& line) { return line.file.ends_with(kind); });
    if (inner != lines.end()) best = *inner;
  }
  return known.emplace(return_address, best).first->second;
}

Symbol symbol_at(uintptr_t address) {
  Symbol symbol;
  backtrace_syminfo(state(), address, set_symbol, ignore_error, &symbol);
  return symbol;
}

std::string kernel_name(const void* kernel) {
  std::string name = demangled(symbol_at(reinterpret_cast<uintptr_t>(kernel)).mangled);
  erase_all(name, "(anonymous namespace)::");
  name = until_outside(name, '(');
  // A template's symbol begins with its return type.
  if (const std::string type = until_outside(name, ' '); type.size() < name.size()) {
    name = name.substr(type.size() + 1);
  }
  erase_all(name, "caltrop::emu::");
  return name;
}

std::string variable_name(const Symbol& symbol) {
  const std::string name = demangled(symbol.mangled);
  return name.substr(name.rfind(':') + 1);
}

}  // namespace caltrop::emu
