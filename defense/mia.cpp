#include "defense/mia.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/named.h"
#include "engine/ops.h"
#include "engine/random.h"

namespace caltrop {
std::vector<int64_t> bootstrap(std::span<const int64_t> rows, uint64_t seed, uint64_t member) {
  if (rows.empty()) fail("[mia] expected at least one image to draw from");
  Random random(seed, Purpose::bootstrap, member);
  std::vector<int64_t> drawn(rows.size());
  for (int64_t& row : drawn) row = rows[random.below(rows.size())];
  return drawn;
}

void expect_all_classes(std::span<const int32_t> labels, int64_t classes, std::string_view what) {
  std::vector<bool> found(static_cast<size_t>(classes));
  for (const int32_t label : labels) found.at(static_cast<size_t>(label)) = true;
  const auto missing = std::find(found.begin(), found.end(), false);
  if (missing != found.end()) {
    fail("{} holds no image of class {}; take more images", what, missing - found.begin());
  }
}

std::vector<int32_t> majority_vote(std::span<const std::vector<float>> logits, int64_t classes) {
  if (logits.empty() || logits.size() > kMostNetworks || classes < 1)
    fail("[mia] expected the logits of 1 to {} networks, got {}", kMostNetworks, logits.size());
  for (const std::vector<float>& one : logits) {
    if (one.size() != logits[0].size() || one.size() % static_cast<size_t>(classes) != 0) {
      fail("[mia] expected as many rows of {} logits from each network, got {} and {} values", classes,
           logits[0].size(), one.size());
    }
  }
  std::vector<const float*> each;
  for (const std::vector<float>& one : logits) each.push_back(one.data());
  std::vector<int32_t> answers(logits[0].size() / static_cast<size_t>(classes));
  cpu_backend().vote(static_cast<int64_t>(answers.size()), classes, each, answers.data());
  return answers;
}

EnsembleMean parse_ensemble_mean(std::string_view name) {
  return parse_named<EnsembleMean>("mean", name, std::array{"probabilities", "logits"});
}

Ensemble::Ensemble(std::vector<const Model*> networks, EnsembleMean mean)
    : networks_(std::move(networks)), mean_(mean) {
  if (networks_.empty() || networks_.size() > kMostNetworks)
    fail("[mia] expected 1 to {} networks, got {}", kMostNetworks, networks_.size());
  for (const Model* network : networks_) {
    if (!(network->input() == input()) || network->outputs() != outputs() ||
        &network->backend() != &backend()) {
      fail("[mia] expected networks that take the same images and have {} outputs", outputs());
    }
  }
}

Tensor Ensemble::logits(const Tensor& x, const Query&) const {
  const auto count = static_cast<float>(networks_.size());
  std::vector<Tensor> parts;
  for (const Model* network : networks_) {
    const Tensor z = network->forward(x);
    parts.push_back(mean_ == EnsembleMean::logits ? z : log_softmax(z));
  }
  if (mean_ == EnsembleMean::logits) {
    Tensor total = parts[0];
    for (size_t k = 1; k < parts.size(); ++k) total = total + parts[k];
    return total / count;
  }
  // log((1/m) sum_k p_k), shifted by the largest so that no class underflows in all networks at once. The
  // shift cancels, so it is held constant and the gradient stays that of the sum.
  Tensor top = parts[0].detach();
  for (size_t k = 1; k < parts.size(); ++k) top = maximum(top, parts[k].detach());
  Tensor total = exp(parts[0] - top);
  for (size_t k = 1; k < parts.size(); ++k) total = total + exp(parts[k] - top);
  return log(total / count) + top;
}

int64_t Ensemble::chunk() const {
  int64_t least = networks_[0]->chunk();
  for (const Model* network : networks_) least = std::min(least, network->chunk());
  return least;
}

std::vector<int32_t> Ensemble::vote(const Tensor& x) const {
  const NoGrad values_only;
  return caltrop::vote(forward_together(networks_, x)).to_host();
}

std::vector<int32_t> Ensemble::vote(const ImageSource& images, int64_t batch) const {
  std::vector<int32_t> answers(static_cast<size_t>(images.count()));
  for_chunks(backend(), images.count(), batch > 0 ? batch : chunk(), [&](int64_t begin, int64_t end) {
    std::ranges::copy(vote(images.pixels(row_range(begin, end))), answers.begin() + begin);
  });
  return answers;
}

}  // namespace caltrop
