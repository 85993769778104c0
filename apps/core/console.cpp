#include "apps/core/console.h"

#include <signal.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "apps/core/run_folder.h"
#include "apps/core/text_layout.h"
#include "engine/atomic_file.h"

namespace caltrop {
namespace {

constexpr auto kTerminalPause = std::chrono::milliseconds(100);
constexpr auto kPlainPause = std::chrono::seconds(10);

// Set before the handler is; a signal handler may read no std::string.
char interrupted_line[512];
size_t interrupted_size = 0;

void on_interrupt(int signal) {
  if (::write(STDERR_FILENO, interrupted_line, interrupted_size) < 0) ::_exit(1);
  ::raise(signal);  // by its default now: the shell sees what ended the program
}

size_t terminal_width() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void write_all(std::FILE* stream, const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stream) != text.size() || std::fflush(stream) != 0) {
    fail("cannot write standard output: {}", std::strerror(errno));
  }
}

}  // namespace

void check_writable(const std::filesystem::path& file) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (fs::is_directory(file, error)) fail("cannot write {}: it is a directory", file.string());
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  const bool exists = fs::exists(file, error);
  const bool replaced = !exists || fs::is_regular_file(file, error);
  if (::access(replaced ? folder.c_str() : file.c_str(), W_OK) != 0) {
    fail("cannot write {}: {}", file.string(), std::strerror(errno));
  }
}

void say_when_interrupted(const std::string& line) {
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  const std::string text = fmt::format("{}caltrop: {}\n", terminal ? "\r\x1b[K" : "", line);
  if (text.size() > sizeof interrupted_line) return;
  interrupted_size = text.copy(interrupted_line, sizeof interrupted_line);
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
  ::sigaction(SIGINT, &action, nullptr);
}

Console::Console(std::string json, bool quiet)
    : json_(std::move(json)),
      quiet_(quiet),
      speaks_(json_ != "-" && !quiet),
      terminal_(::isatty(STDERR_FILENO) == 1) {
  if (!json_.empty() && json_ != "-") check_writable(json_);
}

void Console::say(const Table& table) {
  if (speaks_) print(table.text());
}

void Console::print(const std::string& text) {
  clear_line();
  write_all(stdout, text);
}

void Console::remark(const char* kind, const std::string& text) {
  static spdlog::logger log = [] {
    spdlog::logger made("caltrop", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made.set_pattern("%n: %v");
    return made;
  }();
  clear_line();
  log.info("{}: {}", kind, text);
}

void Console::clear_line() {
  if (!line_shown_) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  line_shown_ = false;
}

void Console::result(const Json& json) {
  if (json_.empty()) return;
  const std::string text = json_text(json);
  if (json_ == "-") {
    clear_line();
    write_all(stdout, text);
  } else {
    write_file_atomically(json_, text);
  }
}

ProgressLine::ProgressLine(Console& console, std::string label, int64_t total, std::string unit, int64_t done)
    : console_(console),
      label_(std::move(label)),
      unit_(std::move(unit)),
      total_(total),
      first_(done),
      start_(Clock::now()),
      shown_(start_) {}

double ProgressLine::seconds() const {
  return std::chrono::duration<double>(Clock::now() - start_).count();
}

void ProgressLine::at(int64_t done) {
  if (console_.quiet_) return;
  const auto now = Clock::now();
  const auto pause = console_.terminal_ ? Clock::duration(kTerminalPause) : Clock::duration(kPlainPause);
  if (now - shown_ < pause) return;
  shown_ = now;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const double rate = static_cast<double>(done - first_) / elapsed;
  const double share = total_ > 0 ? static_cast<double>(done) / static_cast<double>(total_) : 1.0;
  std::string line =
      fmt::format("{}  {:3.0f} %  {}/{} {}", label_, 100 * share, grouped(done), grouped(total_), unit_);
  if (rate > 0) {
    line += fmt::format("  {}/s  {} left",
                        rate < 10 ? fmt::format("{:.1f}", rate) : grouped(static_cast<int64_t>(rate)),
                        duration_text(static_cast<double>(total_ - done) / rate));
  }
  if (console_.terminal_) {
    const size_t width = terminal_width();
    if (line.size() >= width) line.resize(width - 1);
    line = "\r\x1b[K" + line;
    console_.line_shown_ = true;
  } else {
    line += "\n";
  }
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

void ProgressLine::finish() {
  console_.clear_line();
}

}  // namespace caltrop
