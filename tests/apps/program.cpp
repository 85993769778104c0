#include "tests/apps/program.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "apps/core/run_folder.h"
#include "data/digits.h"

namespace caltrop::test {
namespace {

namespace fs = std::filesystem;

std::string slurp(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

std::string big_endian(int64_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 0xFF);
  return bytes;
}

void write_idx(const fs::path& folder, const std::string& part, const ImageSet& set) {
  std::ofstream images(folder / (part + "-images-idx3-ubyte"), std::ios::binary);
  images << std::string("\0\0\x08\x03", 4) << big_endian(set.count()) << big_endian(set.height)
         << big_endian(set.width);
  images.write(reinterpret_cast<const char*>(set.pixels.data()),
               static_cast<std::streamsize>(set.pixels.size()));
  std::ofstream labels(folder / (part + "-labels-idx1-ubyte"), std::ios::binary);
  labels << std::string("\0\0\x08\x01", 4) << big_endian(set.count());
  for (const int32_t label : set.labels) labels << static_cast<char>(label);
  if (!images.flush() || !labels.flush()) fail("cannot write the data set of the tests");
}

// fork and exec, in `folder`, with both outputs in files there.
pid_t launch(const fs::path& folder, const std::vector<std::string>& words) {
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const std::string data = small_data();
  const pid_t child = ::fork();
  if (child != 0) return child;
  const auto redirect = [](const char* name, int to) {
    const int from = ::open(name, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (from < 0 || ::dup2(from, to) < 0) ::_exit(126);
  };
  ::setenv("CALTROP_DATA", data.c_str(), 1);
  if (::chdir(folder.c_str()) != 0) ::_exit(126);
  redirect(".stdout", STDOUT_FILENO);
  redirect(".stderr", STDERR_FILENO);
  ::execv(arguments[0], arguments.data());
  ::_exit(127);
}

Outcome outcome_of(const fs::path& folder, pid_t child) {
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child) fail("cannot run the program");
  Outcome outcome;
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.out = slurp(folder / ".stdout");
  outcome.error = slurp(folder / ".stderr");
  // Whether this line comes depends on how the program was built and where it runs, not on what a test asks.
  static const std::string kNoGpu =
      "caltrop: note: no GPU with a working driver is found here; computing on the CPU\n";
  if (outcome.error.starts_with(kNoGpu)) outcome.error.erase(0, kNoGpu.size());
  return outcome;
}

std::vector<std::string> command(const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {CALTROP_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return words;
}

}  // namespace

std::string small_data() {
  static const Workplace place;
  static const bool written = [] {
    fs::create_directory(place.file("mnist"));
    write_idx(place.file("mnist"), "train", draw_digits(1, 0, 500));
    write_idx(place.file("mnist"), "t10k", draw_digits(1, 500, 200));
    return true;
  }();
  static_cast<void>(written);
  return place.path().string();
}

Workplace::Workplace() {
  std::string name = (fs::temp_directory_path() / "caltrop-test-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) fail("cannot create a temporary directory");
  path_ = name;
}

Workplace::~Workplace() {
  std::error_code error;
  fs::remove_all(path_, error);
}

void Workplace::write(const std::string& name, std::string_view bytes) const {
  std::ofstream stream(file(name), std::ios::binary);
  stream << bytes;
  if (!stream.flush()) fail("cannot write {}", file(name).string());
}

std::string Workplace::read(const std::string& name) const {
  return slurp(file(name));
}

Outcome Workplace::caltrop(const std::vector<std::string>& arguments) const {
  return outcome_of(path_, launch(path_, command(arguments)));
}

std::string Workplace::output(std::vector<std::string> arguments,
                              const std::vector<std::string>& more) const {
  arguments.insert(arguments.end(), more.begin(), more.end());
  const Outcome outcome = caltrop(arguments);
  CAPTURE(outcome.error);
  REQUIRE(outcome.status == 0);
  return outcome.out;
}

Outcome Workplace::shell(const std::string& line) const {
  return outcome_of(path_, launch(path_, {"/bin/sh", "-c", "CALTROP='" CALTROP_PROGRAM "'; " + line}));
}

pid_t Workplace::start(const std::vector<std::string>& arguments) const {
  const pid_t child = launch(path_, command(arguments));
  if (child < 0) fail("cannot run the program");
  return child;
}

bool stop(pid_t process) {
  ::kill(process, SIGKILL);
  int status = 0;
  return ::waitpid(process, &status, 0) == process && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

void check_equal(const Files& a, const Files& b) {
  CHECK(a.size() == b.size());
  for (const auto& entry : a) {  // no structured binding: clang 14 cannot capture one
    const std::string& name = entry.first;
    CAPTURE(name);
    CHECK((b.contains(name) && b.at(name) == entry.second));
  }
}

Files contents(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files[fs::relative(entry.path(), folder).string()] = slurp(entry.path());
  }
  return files;
}

std::vector<std::string> tiny_training(const std::vector<std::string>& more) {
  const std::vector<std::pair<std::string, std::string>> defaults = {
      {"--arch", "conv 4 3x3 | relu | maxpool 2 | flatten | dropout 0.2 | dense 10"},
      {"--dataset", "mnist"},
      {"--epochs", "2"}};
  std::vector<std::string> words = {"train", "--quiet"};
  for (const auto& [name, value] : defaults) {
    if (std::find(more.begin(), more.end(), name) == more.end()) words.insert(words.end(), {name, value});
  }
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

bool is_one_line(const std::string& text) {
  return !text.empty() && text.back() == '\n' && std::count(text.begin(), text.end(), '\n') == 1;
}

}  // namespace caltrop::test
