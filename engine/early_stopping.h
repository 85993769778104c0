// An early end of training: where the loss on images held out from it no longer falls.
#pragma once

#include <cstdint>
#include <string>

#include "engine/images.h"
#include "engine/model.h"
#include "engine/safetensors.h"

namespace caltrop {

// Watches the loss after each epoch and keeps the weights of the best one.
class EarlyStopping {
 public:
  explicit EarlyStopping(int64_t patience) : patience_(patience) {}

  // The loss on the held-out images after `epoch`: whether to go on, which ends once it has not fallen for `patience`
  // epochs.
  bool go_on(const Model& model, int64_t epoch, double loss);

  // Looks at those images and takes their mean cross-entropy as the loss; the loss and the accuracy.
  struct Look {
    double loss = 0, accuracy = 0;
  };
  Look look(const Model& model, int64_t epoch, const ImageSource& held_out);

  bool stopped() const { return last_ - best_epoch_ >= patience_; }
  int64_t best_epoch() const { return best_epoch_; }    // 0 before the first
  const SafeTensorFile& best() const { return best_; }  // Model::state() after it

  // Adds what is kept to the checkpoint of the epoch ("best.<tensor>", "best.epoch", "best.loss"), and takes it back;
  // `name` stands for the file in errors.
  void save(SafeTensorFile& file) const;
  void load(const SafeTensorFile& file, int64_t epoch, const std::string& name);

 private:
  int64_t patience_, last_ = 0, best_epoch_ = 0;
  double best_loss_ = 0;
  SafeTensorFile best_;
};

}  // namespace caltrop
