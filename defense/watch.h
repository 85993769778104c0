// Who waits for long work is told of it through a Watch; the room itself prints nothing. Calls do not overlap.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "defense/eat.h"
#include "defense/scores.h"

namespace caltrop {

// An epoch of one of several networks that are trained one after the other, and how good the network then is on
// the images that it is tested with.
struct WatchedEpoch {
  std::string model, stage;
  int64_t number = 0;  // among the epochs of all networks, from 1
  StageEpoch trained;
  Scores tested;
  std::map<std::string, double> reported = {};  // what the training says beside its loss
};

class Watch {
 public:
  virtual ~Watch() = default;
  // Work on `images` images begins, of which `done` were done before (a resumed run); it is over when other
  // work begins or the Watch is destroyed.
  virtual void begin(const std::string& /*what*/, int64_t /*images*/, int64_t /*done*/ = 0) {}
  virtual void at(const std::string& /*what*/, int64_t /*done*/) {}
  // A pool that is trained on was put together.
  virtual void pool(const std::string& /*name*/, const AttackedPool& /*pool*/) {}
  // Training goes on after `done` of `epochs` epochs; and the end of each.
  virtual void begin_training(int64_t /*done*/, int64_t /*epochs*/) {}
  virtual void epoch(const WatchedEpoch& /*epoch*/) {}
  virtual void note(const std::string& /*text*/) {}
  virtual void warn(const std::string& /*text*/) {}
};

}  // namespace caltrop
