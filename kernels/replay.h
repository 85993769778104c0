// Ops that can be run again: what Backend::capture() gives.
#pragma once

namespace caltrop {

class Replay {
 public:
  virtual ~Replay() = default;
  virtual void run() = 0;
};

}  // namespace caltrop
