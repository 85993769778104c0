// The one exception of the project. Its text is a complete sentence for the user, written
// "[op] expected X, got Y" where a call was wrong; apps/ prints it as one line and exits non-zero.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace caltrop {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// fail("[conv2d] expected {} channels, got {}", 3, 1);
template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> text, Args&&... args) {
  throw Error(fmt::format(text, std::forward<Args>(args)...));
}

// What a step returns; where it fails, the Error says the place first: "study.json: networks[0]: ...".
template <typename Step>
decltype(auto) with_place(const std::string& place, const Step& step) {
  try {
    return step();
  } catch (const Error& problem) {
    fail("{}: {}", place, problem.what());
  }
}

}  // namespace caltrop
