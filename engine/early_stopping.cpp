#include "engine/early_stopping.h"

#include <charconv>
#include <numeric>

#include "engine/error.h"
#include "engine/inference.h"

namespace caltrop {

bool EarlyStopping::go_on(const Model& model, int64_t epoch, double loss) {
  last_ = epoch;
  if (best_epoch_ == 0 || loss < best_loss_) {
    best_epoch_ = epoch;
    best_loss_ = loss;
    best_ = model.state();
  }
  return !stopped();
}

EarlyStopping::Look EarlyStopping::look(const Model& model, int64_t epoch, const ImageSource& held_out) {
  const Evaluation said = evaluate(model, held_out);
  const std::vector<double> losses = cross_entropies(said.logits, held_out.labels(), model.outputs());
  const double loss =
      std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(held_out.count());
  go_on(model, epoch, loss);
  return {loss, said.metrics.accuracy};
}

void EarlyStopping::save(SafeTensorFile& file) const {
  file.metadata["best.epoch"] = std::to_string(best_epoch_);
  file.metadata["best.loss"] = fmt::format("{}", best_loss_);
  for (const auto& [name, tensor] : best_.tensors) file.tensors.emplace_back("best." + name, tensor);
}

void EarlyStopping::load(const SafeTensorFile& file, int64_t epoch, const std::string& name) {
  const int64_t best = file.number("best.epoch").value_or(0);
  const auto loss = file.metadata.find("best.loss");
  const char* end = loss == file.metadata.end() ? nullptr : loss->second.data() + loss->second.size();
  if (best < 1 || best > epoch || end == nullptr ||
      std::from_chars(loss->second.data(), end, best_loss_).ptr != end) {
    fail("{}: expected a best.epoch from 1 to {} and a best.loss in its metadata", name, epoch);
  }
  last_ = epoch;
  best_epoch_ = best;
  best_ = {};
  for (const char* key : {"arch", "input"}) best_.metadata[key] = file.metadata.at(key);
  for (const auto& [key, tensor] : file.tensors) {
    if (key.starts_with("best.")) best_.tensors.emplace_back(key.substr(5), tensor);
  }
}

}  // namespace caltrop
