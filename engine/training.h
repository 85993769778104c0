// The training loop: epochs of shuffled mini-batches under cross-entropy, resumable at the end of each epoch.
#pragma once

#include <cstdint>
#include <functional>

#include "engine/images.h"
#include "engine/model.h"
#include "engine/optimizer.h"

namespace caltrop {

struct TrainingOptions {
  int64_t epochs = 5;
  int64_t batch = 128;
  uint64_t seed = 0;
  Schedule schedule;
  CrossEntropyGrad cross_entropy = CrossEntropyGrad::stable;
};

struct EpochResult {
  int64_t epoch = 0;    // counted from 1
  double loss = 0;      // mean over the images, as met during the epoch
  double accuracy = 0;  // likewise, a fraction
};

// Called after each mini-batch: images done in this epoch.
using BatchProgress = std::function<void(int64_t images)>;

// Runs epoch `epoch` (1 ... options.epochs): its order of images, dropout and rate are functions of the seed
// and the epoch alone, so that a run continued from a checkpoint ends with the same bits.
EpochResult train_epoch(Model& model, Optimizer& optimizer, const ImageSource& images, int64_t epoch,
                        const TrainingOptions& options, const BatchProgress& progress = {});

}  // namespace caltrop
