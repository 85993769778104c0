#include "engine/training.h"

#include <algorithm>

#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/random.h"

namespace caltrop {

EpochResult train_epoch(Model& model, Optimizer& optimizer, const Images& images, int64_t epoch,
                        const TrainingOptions& options, const BatchProgress& progress) {
  if (options.batch < 1) fail("[train] expected a batch of at least 1, got {}", options.batch);
  if (images.count() == 0) fail("[train] expected at least one image");
  const auto [lowest, highest] = std::minmax_element(images.labels().begin(), images.labels().end());
  if (*lowest < 0 || *highest >= model.outputs()) {
    fail("[train] expected labels from 0 to {}, got {}", model.outputs() - 1,
         *lowest < 0 ? *lowest : *highest);
  }
  const std::vector<int64_t> order =
      Random(options.seed, Purpose::shuffle, static_cast<uint64_t>(epoch)).permutation(images.count());
  const std::vector<Tensor> parameters = model.parameters();
  const int64_t batches = (images.count() + options.batch - 1) / options.batch;
  EpochResult result{.epoch = epoch};
  int64_t correct = 0;
  for (int64_t b = 0; b < batches; ++b) {
    const int64_t begin = b * options.batch, end = std::min(images.count(), begin + options.batch);
    const auto rows = std::span(order).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    const Labels labels = images.labels(rows);
    const auto step = static_cast<uint64_t>((epoch - 1) * batches + b);
    const Tensor logits =
        model.forward(images.pixels(rows), {.training = true, .seed = options.seed, .step = step});
    const Tensor losses = cross_entropy(logits, labels, options.cross_entropy);
    const std::vector<Tensor> gradients = grad({mean(losses)}, parameters);
    const double share = static_cast<double>(step) / static_cast<double>(options.epochs * batches);
    optimizer.step(gradients, options.schedule.factor(share));

    for (const float loss : losses.to_host()) result.loss += static_cast<double>(loss);
    const std::vector<int32_t> predicted = argmax(logits).to_host(), truth = labels.to_host();
    for (size_t i = 0; i < truth.size(); ++i) correct += predicted[i] == truth[i];
    if (progress) progress(end);
  }
  result.loss /= static_cast<double>(images.count());
  result.accuracy = static_cast<double>(correct) / static_cast<double>(images.count());
  return result;
}

}  // namespace caltrop
