// What a command prints, and where: results on standard output, progress and notes on standard error.
// With `--json -` standard output carries the JSON alone, and text for people goes nowhere.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <string>

#include "apps/core/json.h"

namespace caltrop {

class Table;

class ProgressLine;

// An Error where `file` could not be written: better now than after the work.
void check_writable(const std::filesystem::path& file);

// On Ctrl-C: clears the progress line and says `line` before the program ends.
void say_when_interrupted(const std::string& line);

class Console {
 public:
  // `json`: "" (no JSON), "-" or a file. A file that could not be written is an Error here, before any work.
  // `quiet`: nothing but warnings and that JSON.
  Console(std::string json, bool quiet);

  // A line of the result.
  template <typename... Args>
  void say(fmt::format_string<Args...> text, Args&&... args) {
    if (speaks_) print(fmt::format(text, std::forward<Args>(args)...) + "\n");
  }
  void say(const Table& table);
  void blank() {
    if (speaks_) print("\n");
  }

  // A remark on standard error; hidden by --quiet. A warning is never hidden.
  template <typename... Args>
  void note(fmt::format_string<Args...> text, Args&&... args) {
    if (!quiet_) remark("note", fmt::format(text, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void warn(fmt::format_string<Args...> text, Args&&... args) {
    remark("warning", fmt::format(text, std::forward<Args>(args)...));
  }

  // The result for programs: where --json asked for it.
  void result(const Json& json);

  bool quiet() const { return quiet_; }

 private:
  friend class ProgressLine;
  void print(const std::string& text);
  void remark(const char* kind, const std::string& text);
  void clear_line();

  std::string json_;
  bool quiet_, speaks_, terminal_;
  bool line_shown_ = false;  // a progress line stands on the terminal
};

// Progress of long work on standard error: on a terminal one line that updates itself, else a plain line now
// and then; nothing with --quiet. Calls must not overlap.
class ProgressLine {
 public:
  // `total` units of work, of which `done` were there before (a resumed run).
  ProgressLine(Console& console, std::string label, int64_t total, std::string unit, int64_t done = 0);
  ~ProgressLine() { finish(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void label(std::string text) { label_ = std::move(text); }
  void at(int64_t done);
  void finish();  // takes the line off the terminal
  double seconds() const;

 private:
  using Clock = std::chrono::steady_clock;
  Console& console_;
  std::string label_, unit_;
  int64_t total_, first_;
  Clock::time_point start_, shown_;
};

}  // namespace caltrop
