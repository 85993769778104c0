// The detector of Li & Li 2017: for each convolution, from first to last, a linear SVM on its filters' statistics (statistics.h),
// standardised over what it was trained on. An image is called attacked as soon as one of them gives it a score above its
// threshold, and clean only where none does (as Carlini & Wagner 2017 summarise it).
//
// Thresholds are set on clean images that no SVM was trained on. Of the alarms that are allowed over them in all each
// stage has an equal part, over those that the stages before it let pass.
#pragma once

#include <cstdint>
#include <vector>

#include "attacks/classifier.h"
#include "defense/filters/linear_svm.h"
#include "defense/filters/statistics.h"
#include "engine/inference.h"
#include "engine/safetensors.h"

namespace caltrop {

// score = sum over the parts p of the statistics of ((s_p - mean_p) scale_p) . weights_p, + bias
struct FilterStage {
  FilterAxes axes;
  std::vector<Tensor> mean, scale, weights;  // of each part: (1,d), (1,d), (d,1)
  float bias = 0, threshold = 0;

  Tensor score(const Tensor& convolution) const;  // (n)
};

class FilterCascade {
 public:
  FilterCascade() = default;
  explicit FilterCascade(std::vector<FilterStage> stages) : stages_(std::move(stages)) {}

  // max over the stages of score - threshold, (n): above 0 it is an alarm.
  Tensor excess(const std::vector<Tensor>& convolutions) const;
  const std::vector<FilterStage>& stages() const { return stages_; }
  int64_t numbers() const;  // that it is made of

  SafeTensorFile state() const;
  static FilterCascade from(const SafeTensorFile& file, Backend& backend);

 private:
  std::vector<FilterStage> stages_;
};

struct CascadeOptions {
  SvmOptions svm = {};
  double false_alarms = 0.01;  // of the clean images that thresholds are set by
};
struct CascadeImages {
  const ImageSource &clean, &attacked;  // that SVMs are trained on
  const ImageSource& axes;              // clean ones that the axes are of
  const ImageSource& calibration;       // clean ones that thresholds are set by
};
// What became of each stage.
struct TrainedStage {
  int64_t statistics = 0;
  LinearSvm svm;
  double found =
      0;  // share of the attacked images that it is trained on, of those that earlier stages let pass
};
FilterCascade train_cascade(const Model& model, const CascadeImages& images, const CascadeOptions& options,
                            std::vector<TrainedStage>* told = nullptr, const Progress& progress = {});

// Thresholds above which, of so many clean images, allowed * images are alarms in all: scores[stage][image].
std::vector<float> cascade_thresholds(const std::vector<std::vector<float>>& scores, double allowed);

// A network and its cascade as one classifier of K + 1 logits: the alarm is max_k z_k + excess. Gradients flow through all.
class WatchedNetwork final : public Classifier {
 public:
  WatchedNetwork(std::shared_ptr<const Model> model, FilterCascade cascade);
  Tensor logits(const Tensor& x, const Query& query) const override;
  const ImageShape& input() const override { return model_->input(); }
  int64_t outputs() const override { return model_->outputs() + 1; }
  Backend& backend() const override { return model_->backend(); }
  int64_t chunk() const override { return model_->chunk(); }
  const FilterCascade& cascade() const { return cascade_; }

 private:
  std::shared_ptr<const Model> model_;
  FilterCascade cascade_;
  Tensor classes_, alarm_;  // (K,K+1) and (1,K+1): place the logits and the alarm
};

}  // namespace caltrop
