#include "engine/inference.h"

#include <algorithm>
#include <mutex>

#include "engine/autograd.h"
#include "kernels/phase.h"

namespace caltrop {

void for_chunks(const Model& model, int64_t count, int64_t batch,
                const std::function<void(int64_t, int64_t)>& body, const Progress& progress) {
  for_chunks(model.backend(), count, batch > 0 ? batch : model.chunk(), body, progress);
}

void for_chunks(Backend& backend, int64_t count, int64_t size,
                const std::function<void(int64_t, int64_t)>& body, const Progress& progress) {
  std::mutex mutex;
  int64_t done = 0;
  backend.for_each((count + size - 1) / size, [&](int64_t chunk) {
    const int64_t begin = chunk * size, end = std::min(count, begin + size);
    body(begin, end);
    if (!progress) return;
    const std::lock_guard lock(mutex);
    done += end - begin;
    progress(done);
  });
}

std::vector<float> predict(const Model& model, const ImageSource& images, int64_t batch,
                           const Progress& progress) {
  const Phase inference("inference");
  const int64_t outputs = model.outputs();
  std::vector<float> logits(static_cast<size_t>(images.count() * outputs));
  for_chunks(
      model, images.count(), batch,
      [&](int64_t begin, int64_t end) {
        const NoGrad values_only;
        const Tensor z = model.forward(images.pixels(row_range(begin, end)));
        model.backend().download(logits.data() + begin * outputs, z.data(),
                                 static_cast<size_t>(z.size()) * sizeof(float));
      },
      progress);
  return logits;
}

Features features(const Model& model, const ImageSource& images, int64_t batch, const Progress& progress) {
  const NoGrad values_only;
  const std::vector<int64_t> first = row_range(0, std::min<int64_t>(1, images.count()));
  Features all{.width = first.empty() ? 0 : model.features(images.pixels(first)).dim(1)};
  all.values.resize(static_cast<size_t>(images.count() * all.width));
  for_chunks(
      model, images.count(), batch,
      [&](int64_t begin, int64_t end) {
        const NoGrad of_thread;
        const Tensor y = model.features(images.pixels(row_range(begin, end)));
        model.backend().download(all.values.data() + begin * all.width, y.data(),
                                 static_cast<size_t>(y.size()) * sizeof(float));
      },
      progress);
  return all;
}

Evaluation evaluate(const Model& model, const ImageSource& images, int64_t batch, const Progress& progress) {
  std::vector<float> logits = predict(model, images, batch, progress);
  const Confusion confusion(model.outputs(), images.labels(), argmax_rows(logits, model.outputs()));
  return {std::move(logits), confusion, summarize(confusion)};
}

namespace {

bool same_geometry(const Model::FirstBlock& a, const Model::FirstBlock& b) {
  const Shape &v = a.weight.shape(), &w = b.weight.shape();
  return a.options == b.options && v[0] == w[0] && v[1] == w[1];
}

}  // namespace

Likeliest likeliest(const Model& model, const Tensor& x) {
  const NoGrad values_only;
  const std::vector<float> rows = softmax(model.forward(x)).to_host();
  Likeliest said{argmax_rows(rows, model.outputs()), {}};
  const auto outputs = static_cast<size_t>(model.outputs());
  for (size_t i = 0; i < said.label.size(); ++i)
    said.probability.push_back(rows[i * outputs + static_cast<size_t>(said.label[i])]);
  return said;
}

std::vector<Tensor> forward_together(std::span<const Model* const> networks, const Tensor& x) {
  std::vector<std::optional<Model::FirstBlock>> blocks;
  for (const Model* network : networks) blocks.push_back(network->first_block());
  std::vector<Tensor> logits(networks.size());
  for (size_t k = 0; k < networks.size(); ++k) {
    if (logits[k]) continue;
    std::vector<size_t> group;
    std::vector<BlockWeights> weights;
    for (size_t m = k; blocks[k] && m < networks.size() && group.size() < kMostNetworks; ++m) {
      if (!blocks[m] || !same_geometry(*blocks[k], *blocks[m])) continue;
      group.push_back(m);
      weights.push_back({blocks[m]->weight, blocks[m]->bias});
    }
    if (group.size() < 2) {
      logits[k] = networks[k]->forward(x);
      continue;
    }
    const std::vector<Tensor> y = conv_blocks(x, weights, blocks[k]->options);
    for (size_t i = 0; i < group.size(); ++i)
      logits[group[i]] = networks[group[i]]->forward_after_first_block(y[i]);
  }
  return logits;
}

std::vector<int32_t> argmax_rows(const std::vector<float>& rows, int64_t classes) {
  std::vector<int32_t> best;
  for (auto row = rows.begin(); row != rows.end(); row += classes) {
    best.push_back(static_cast<int32_t>(std::max_element(row, row + classes) - row));
  }
  return best;
}

}  // namespace caltrop
