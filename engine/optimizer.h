// Optimisers and learning-rate schedules. The update rules are in kernels/backend.h.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/safetensors.h"
#include "engine/tensor.h"

namespace caltrop {

enum class Rule : uint8_t { sgd, adam, rmsprop, adagrad };
Rule parse_rule(std::string_view name);
std::string to_string(Rule rule);

struct OptimizerOptions {
  Rule rule = Rule::adam;
  float rate = 1e-3f;
  float momentum = 0.0f;  // sgd
  bool nesterov = false;  // sgd
  float beta1 = 0.9f;     // adam: how much of the mean gradient stays
  float weight_decay = 0.0f;
};

// Adam's in update t = 1, 2, ...: Kingma & Ba's bias corrections as two factors, each computed once in double.
Pace adam_pace(double rate, int64_t t, float beta1 = Adam{}.beta1);

class Optimizer {
 public:
  Optimizer(const OptimizerOptions& options, std::vector<Tensor> parameters);

  const OptimizerOptions& options() const { return options_; }
  int64_t steps() const { return steps_; }  // updates so far

  // One update in place, with the rate times `scale` (of a schedule): begin_step(), then apply().
  void step(const std::vector<Tensor>& gradients, float scale = 1.0f);
  // Counts an update and sets its pace in device memory.
  void begin_step(float scale);
  // Updates the parameters at that pace: ops alone, so that they can be captured and replayed.
  void apply(const std::vector<Tensor>& gradients);

  // Adds the state to a checkpoint ("optimizer.<k>.<slot>", "optimizer.steps"), and takes it back. A second
  // optimizer in the same file needs another name.
  void save(SafeTensorFile& file, const std::string& name = "optimizer") const;
  void load(const SafeTensorFile& file, const std::string& name = "optimizer");

 private:
  void check(const std::vector<Tensor>& gradients) const;

  OptimizerOptions options_;
  std::vector<Tensor> parameters_;
  std::vector<Tensor> states_[2];
  Buffer<Pace> pace_;
  int64_t steps_ = 0;
};

// The factor on the rate after a share `progress` in [0,1] of the training:
//   constant | linear (1 -> 0) | cosine (1 -> 0, half a wave) | triangle PEAK (0 -> 1 at PEAK -> 0; Wong et
//   al. 2020) | step EVERY FACTOR (times FACTOR after each share EVERY)
class Schedule {
 public:
  static Schedule parse(std::string_view text);
  float factor(double progress) const;
  std::string text() const { return text_; }
  // Whether the factor is the same however long the training is.
  bool constant() const { return kind_ == Kind::constant; }

 private:
  enum class Kind : uint8_t { constant, linear, cosine, triangle, step };
  Kind kind_ = Kind::constant;
  double first_ = 0, second_ = 0;
  std::string text_ = "constant";
};

}  // namespace caltrop
