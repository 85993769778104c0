// The model integration approach (Sanapala & Gondi, "GMA/MIA 2025", sections 4.1.3 and 4.1.4): networks
// trained by EAT continue on bootstraps of one augmented set (Breiman 1996) and vote.
//
// The final answer is the class with most votes. The paper names no rule for ties (three networks, three
// answers): here the tied class with the largest sum of softmax over the networks wins, and of those equal
// the lowest. A vote has no gradient; attacks on the whole see an Ensemble, whose logits are a mean.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "attacks/classifier.h"
#include "engine/images.h"
#include "engine/inference.h"
#include "engine/model.h"

namespace caltrop {

// `rows`.size() draws from `rows` with replacement, of bootstrap `member`.
std::vector<int64_t> bootstrap(std::span<const int64_t> rows, uint64_t seed, uint64_t member);
// An Error that names a class that none of `labels` has.
void expect_all_classes(std::span<const int32_t> labels, int64_t classes, std::string_view what);

// The vote of networks whose logits (n, classes), row-major, are on the host -> n classes.
std::vector<int32_t> majority_vote(std::span<const std::vector<float>> logits, int64_t classes);

// What the logits of an Ensemble are: log of the mean softmax, or the mean of the logits.
enum class EnsembleMean : uint8_t { probabilities, logits };
EnsembleMean parse_ensemble_mean(std::string_view name);

// Networks as one classifier with gradients; they must outlive it. An Error unless all take the same images
// and give as many logits.
class Ensemble final : public Classifier {
 public:
  explicit Ensemble(std::vector<const Model*> networks, EnsembleMean mean = EnsembleMean::probabilities);

  Tensor logits(const Tensor& x, const Query& query) const override;
  const ImageShape& input() const override { return networks_[0]->input(); }
  int64_t outputs() const override { return networks_[0]->outputs(); }
  Backend& backend() const override { return networks_[0]->backend(); }
  int64_t chunk() const override;
  int64_t passes() const override { return static_cast<int64_t>(networks_.size()); }

  const std::vector<const Model*>& networks() const { return networks_; }
  // The hard vote: each image goes through all networks, and comes out as a class.
  std::vector<int32_t> vote(const ImageSource& images, int64_t batch = 0) const;
  std::vector<int32_t> vote(const Tensor& x) const;

 private:
  std::vector<const Model*> networks_;
  EnsembleMean mean_;
};

}  // namespace caltrop
