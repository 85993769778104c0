#include "tests/emulation/processes.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <thread>

#include "kernels/error.h"

namespace caltrop::test {
namespace {

struct Running {
  size_t index;
  pid_t child;
  int from;  // its text
};

Running start(size_t index, unsigned most_seconds, const std::function<std::string(size_t)>& body) {
  int ends[2];
  if (::pipe(ends) != 0) fail("cannot make a pipe");
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) fail("cannot make a process");
  if (child > 0) {
    ::close(ends[1]);
    return {index, child, ends[0]};
  }
  ::close(ends[0]);
  ::alarm(most_seconds);
  // What a wrong kernel does to the process is expected, and nobody's message.
  for (const int end : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTERM}) std::signal(end, SIG_DFL);
  if (const int nowhere = ::open("/dev/null", O_WRONLY); nowhere >= 0) {
    ::dup2(nowhere, STDOUT_FILENO);
    ::dup2(nowhere, STDERR_FILENO);
  }
  const std::string text = body(index);
  for (size_t done = 0; done < text.size();) {
    const ssize_t written = ::write(ends[1], text.data() + done, text.size() - done);
    if (written <= 0) ::_exit(1);
    done += static_cast<size_t>(written);
  }
  ::_exit(0);
}

}  // namespace

std::vector<ProcessResult> in_processes(size_t count, unsigned most_seconds,
                                        const std::function<std::string(size_t)>& body) {
  const size_t most = std::max(1u, std::thread::hardware_concurrency());
  std::vector<ProcessResult> results(count);
  std::vector<Running> running;
  for (size_t next = 0; next < count || !running.empty();) {
    if (next < count && running.size() < most) {
      running.push_back(start(next++, most_seconds, body));
      continue;
    }
    std::vector<pollfd> waits;
    for (const Running& one : running) waits.push_back({one.from, POLLIN, 0});
    ::poll(waits.data(), waits.size(), -1);
    for (size_t i = running.size(); i-- > 0;) {
      if (waits[i].revents == 0) continue;
      char part[1 << 16];
      const ssize_t size = ::read(running[i].from, part, sizeof part);
      if (size > 0) {
        results[running[i].index].text.append(part, static_cast<size_t>(size));
        continue;
      }
      int status = 0;
      ::waitpid(running[i].child, &status, 0);
      ::close(running[i].from);
      results[running[i].index].ended = WIFEXITED(status) && WEXITSTATUS(status) == 0;
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  return results;
}

}  // namespace caltrop::test
