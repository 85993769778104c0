// The defence of `caltrop demo`: a small MIA (defense/mia.h), trained and put to the test. What `caltrop defend
// mia` leaves to flags is fixed here, so that the demonstration stays one story of known length.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "apps/core/console.h"
#include "apps/core/run_folder.h"
#include "apps/demo/result.h"
#include "attacks/attack.h"
#include "defense/augment.h"
#include "defense/mia.h"
#include "engine/images.h"
#include "engine/model.h"

namespace caltrop {

struct DefenceOptions {
  int64_t epochs = 3;      // in each of three cycles; twice as many on the bootstraps
  int64_t adaptive = 100;  // test images for the attack that knows the defence
  uint64_t seed = 0;
};

class DemoDefence {
 public:
  // Defends against attacks on `target`, which may still be untrained. An Error where the images cannot carry
  // the networks or their cycles.
  DemoDefence(const Model& target, const Images& train, const Images& test, const DefenceOptions& options,
              Console& console);
  ~DemoDefence();
  DemoDefence(const DemoDefence&) = delete;
  DemoDefence& operator=(const DemoDefence&) = delete;

  // Epochs of the networks whose weights the folder holds.
  int64_t finished(const RunFolder& folder) const;
  int64_t epochs() const;  // of one network

  // Attacks the target, then trains the networks that the folder does not hold; a line of `log` per epoch.
  void train(const RunFolder& folder, MetricsLog& log);
  DefenceResult judge();
  // What the vote says of images.
  std::vector<int32_t> vote(const Tensor& x) const { return ensemble_->vote(x); }

 private:
  struct Pools;
  void craft();
  void train_member(size_t member, const RunFolder& folder, MetricsLog& log);
  void judge_pools(DefenceResult& result) const;
  void judge_sizes(DefenceResult& result);
  void judge_adaptive(DefenceResult& result);

  const Model& target_;
  const Images &train_, &test_;
  DefenceOptions options_;
  Console& console_;
  int32_t attacked_;
  std::vector<PoolLane> lanes_;
  std::unique_ptr<Pools> pools_;
  std::vector<std::unique_ptr<Model>> members_;
  std::unique_ptr<Ensemble> ensemble_;
};

// The first `count` images, or all.
Images first_images(const Images& images, int64_t count);

}  // namespace caltrop
