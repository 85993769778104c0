// Runs the built `caltrop` as a user would: arguments in; exit status, standard output and error out.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "apps/core/flags.h"

namespace caltrop::test {

struct Outcome {
  int status = -1;  // exit status; 128 + signal where one ended it
  std::string out, error;
};

// A directory of its own, gone at the end. The program runs in it.
class Workplace {
 public:
  Workplace();
  ~Workplace();
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path file(const std::string& name) const { return path_ / name; }
  void write(const std::string& name, std::string_view bytes) const;
  std::string read(const std::string& name) const;

  Outcome caltrop(const std::vector<std::string>& arguments) const;
  // The standard output of a run that must succeed, with `more` arguments after the first.
  std::string output(std::vector<std::string> arguments, const std::vector<std::string>& more = {}) const;
  // The same through a shell, for redirections; $CALTROP is the program.
  Outcome shell(const std::string& command) const;
  // Starts it and returns its process id; end it with stop().
  pid_t start(const std::vector<std::string>& arguments) const;

 private:
  std::filesystem::path path_;
};

// Sends SIGKILL and waits. False where the process had ended by itself.
bool stop(pid_t process);

// A folder that stands for $CALTROP_DATA: a small "mnist" of 500 + 200 drawn digits, quicker to read than to draw.
std::string small_data();

// Every file below `folder`: its relative path and bytes.
using Files = std::map<std::string, std::string>;
Files contents(const std::filesystem::path& folder);
// CHECKs that they are the same: names rather than megabytes where two folders differ.
void check_equal(const Files& a, const Files& b);

// `caltrop train` that takes a fraction of a second, on a set of 500 + 200 digits that stands for mnist;
// `more` flags win over its own.
std::vector<std::string> tiny_training(const std::vector<std::string>& more);

bool is_one_line(const std::string& text);

}  // namespace caltrop::test
