// Running a trained model over many images: chunks go depth first through the network, one per worker.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/images.h"
#include "engine/metrics.h"
#include "engine/model.h"

namespace caltrop {

// Called from workers, one at a time, with the number of images done.
using Progress = std::function<void(int64_t done)>;

// body(begin, end) for chunks of [0, count) of `batch` images (0: the model's own choice), several at once.
// Ops on images give each image the same bits whatever the chunk.
void for_chunks(const Model& model, int64_t count, int64_t batch,
                const std::function<void(int64_t begin, int64_t end)>& body, const Progress& progress = {});

// The same with `batch` images in a chunk.
void for_chunks(Backend& backend, int64_t count, int64_t batch,
                const std::function<void(int64_t begin, int64_t end)>& body, const Progress& progress = {});

// Logits of all images, (count, outputs) row-major on the host.
std::vector<float> predict(const Model& model, const ImageSource& images, int64_t batch = 0,
                           const Progress& progress = {});

// Model::features of all images, (count, width) row-major on the host.
struct Features {
  std::vector<float> values = {};
  int64_t width = 0;
};
Features features(const Model& model, const ImageSource& images, int64_t batch = 0,
                  const Progress& progress = {});

// What a network says of labelled images, and what that is worth.
struct Evaluation {
  std::vector<float> logits;  // (n, outputs)
  Confusion confusion;        // over the outputs, which may be more than the classes of the data
  Metrics metrics;
};
Evaluation evaluate(const Model& model, const ImageSource& images, int64_t batch = 0,
                    const Progress& progress = {});

// The likeliest class of each image, and its probability: the softmax of its logit.
struct Likeliest {
  std::vector<int32_t> label;
  std::vector<float> probability;
};
Likeliest likeliest(const Model& model, const Tensor& x);

// Logits of each network for the same images. Networks that begin with convolution blocks of one geometry
// compute these together, reading the images once; the values are those of Model::forward.
std::vector<Tensor> forward_together(std::span<const Model* const> networks, const Tensor& x);

// The first largest of each row of `classes` values.
std::vector<int32_t> argmax_rows(const std::vector<float>& rows, int64_t classes);

}  // namespace caltrop
