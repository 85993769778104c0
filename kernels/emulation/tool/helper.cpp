#include "kernels/emulation/tool/helper.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "kernels/emulation/tool/kernels.h"
#include "kernels/error.h"

namespace caltrop {
namespace {

std::string helper_path() {
  std::error_code missing;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", missing);
  const std::filesystem::path helper = self.parent_path() / "caltrop-emulate";
  if (missing || !std::filesystem::exists(helper, missing)) {
#ifdef CALTROP_CHECKED
    fail("expected {} beside this program; 'cmake --build BUILD --target caltrop-emulate' builds it",
         helper.string());
#else
    fail("left out of this build, which has sanitizers or did not find libbacktrace (docs/emulation.md)");
#endif
  }
  return helper.string();
}

}  // namespace

std::vector<std::string> emulate_arguments(const EmulateRequest& request) {
  const EmulatedKernel& kernel = emulated_kernel(request.kernel);
  std::vector<std::string> own,
      arguments = {kernel.name, "order=" + request.order, "copies=" + request.copies,
                   fmt::format("seed={}", request.seed)};
  for (const EmulatedSize& size : kernel.sizes) own.push_back(std::string("--") + size.name);
  for (const auto& [name, value] : request.sizes) {
    if (!value) continue;
    if (std::ranges::count(own, "--" + name) == 0)
      fail("{} has no --{}; its sizes are {}", kernel.name, name, fmt::join(own, ", "));
    arguments.push_back(fmt::format("{}={}", name, *value));
  }
  if (!request.block.empty() && request.thread.empty()) fail("--block needs a --thread");
  for (const auto& [name, text] : {std::pair("thread", request.thread), {"block", request.block}}) {
    if (text.empty()) continue;
    if (text.find_first_not_of("0123456789,") != std::string::npos || text.front() == ',' ||
        text.back() == ',' || text.size() > 32) {
      fail("--{}: expected indices like 3,2, got '{}'", name, text);
    }
    arguments.push_back(fmt::format("{}={}", name, text));
  }
  return arguments;
}

std::string run_emulate_helper(const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {helper_path()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail("cannot run {}", words[0]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  pid_t child = 0;
  const int problem = ::posix_spawn(&child, words[0].c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  std::string text;
  char part[1 << 16];
  for (ssize_t size; problem == 0 && (size = ::read(ends[0], part, sizeof part)) > 0;) {
    text.append(part, static_cast<size_t>(size));
  }
  ::close(ends[0]);
  if (problem != 0) fail("cannot run {}", words[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) fail("[emulate] the kernel ended with signal {}", WTERMSIG(status));
  return text;
}

}  // namespace caltrop
