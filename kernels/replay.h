// Ops that can be run again: what Backend::capture() gives.
#pragma once

#include <functional>
#include <utility>

namespace caltrop {

class Replay {
 public:
  virtual ~Replay() = default;
  virtual void run() = 0;
};

// The body called again: all that there is to do where nothing is recorded.
class RepeatedCalls final : public Replay {
 public:
  explicit RepeatedCalls(std::function<void()> body) : body_(std::move(body)) {}
  void run() override { body_(); }

 private:
  std::function<void()> body_;
};

}  // namespace caltrop
