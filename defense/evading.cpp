#include "defense/evading.h"

#include "engine/error.h"
#include "engine/ops.h"

namespace caltrop {

Evading::Evading(const Classifier& detector, const std::vector<int32_t>& labels, Climb climb)
    : Wrapper(detector), labels_(labels), climb_(climb) {
  const int64_t classes = detector.outputs() - 1;
  if (classes < 2) fail("[evading] expected a detector of at least two classes and one for attacked images");
  std::vector<float> columns(static_cast<size_t>((classes + 1) * classes)),
      last(static_cast<size_t>(classes + 1));
  for (int64_t k = 0; k < classes; ++k) columns[static_cast<size_t>(k * classes + k)] = 1;
  last.back() = 1;
  classes_ = Tensor::from(backend(), {classes + 1, classes}, columns);
  alarm_ = Tensor::from(backend(), {classes + 1, 1}, last);
}

Labels Evading::truth(const Tensor& x, const Query& query) const {
  if (static_cast<int64_t>(query.images.size()) != x.dim(0))
    fail("[evading] expected the number of each image");
  std::vector<int32_t> truth;
  for (const int64_t image : query.images) truth.push_back(labels_.at(static_cast<size_t>(image)));
  return Labels(backend(), std::span<const int32_t>(truth));
}

Tensor Evading::logits(const Tensor& x, const Query& query) const {
  const Tensor y = one_hot(truth(x, query), outputs());
  const Tensor z = inner().logits(x, query);
  const Tensor clean = matmul(z, classes_), alarm = matmul(z, alarm_);
  return y * maximum(clean, alarm) + (1.0f - y) * clean;
}

Pass Evading::differentiate(const Tensor& x, const Objectives& objectives, const Query& query) const {
  if (climb_ == Climb::own_loss) return Classifier::differentiate(x, objectives, query);
  const auto margin = [labels = truth(x, query)](const Tensor& z) {
    return std::vector<Tensor>{logit_margin(z, labels)};
  };
  return Classifier::differentiate(x, margin, query);
}

}  // namespace caltrop
