// What the tests of the attacks share: small models, random images, results as bytes.
#pragma once

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "attacks/attack_images.h"
#include "engine/error.h"
#include "engine/random.h"
#include "tests/refusal.h"

namespace caltrop::test {

inline Model make_model(std::string_view line, ImageShape input, uint64_t seed = 1) {
  Model model(parse_architecture(line), input, cpu_backend());
  model.initialize(Initializer::he_normal, seed);
  return model;
}

// A network with everything that could tie images of a batch together: convolution, pooling, batch norm,
// dense.
inline Model small_model(uint64_t seed = 1) {
  return make_model(
      "conv 5 3x3 | relu | maxpool 2 | batchnorm | conv 6 2x2 | gelu | flatten | dense 17 | relu | dense 10",
      {12, 12, 1}, seed);
}

inline void set_parameter(const Model& model, size_t k, const std::vector<float>& values) {
  const Tensor parameter = model.parameters().at(k);
  REQUIRE(parameter.size() == static_cast<int64_t>(values.size()));
  cpu_backend().upload(parameter.mutable_data(), values.data(), values.size() * sizeof(float));
}

// Random pixels, a third of them 0 and a third 255, as in handwriting.
inline Images random_images(ImageShape shape, int64_t count, int32_t classes, uint64_t seed = 1) {
  Random random(seed, Purpose::test);
  std::vector<uint8_t> pixels;
  for (int64_t k = 0; k < count * shape.height * shape.width * shape.channels; ++k) {
    const uint64_t kind = random.below(3);
    pixels.push_back(kind == 0 ? 0 : kind == 1 ? 255 : static_cast<uint8_t>(random.below(256)));
  }
  std::vector<int32_t> labels;
  for (int64_t k = 0; k < count; ++k)
    labels.push_back(static_cast<int32_t>(random.below(static_cast<uint64_t>(classes))));
  return Images(cpu_backend(), shape, pixels, labels);
}

inline AttackBatch batch_of(const Images& images, int64_t begin, int64_t end) {
  const std::vector<int64_t> rows = row_range(begin, end);
  AttackBatch batch{images.pixels(rows), rows, {}, {}};
  batch.labels.assign(images.labels().begin() + begin, images.labels().begin() + end);
  return batch;
}

inline AttackOptions attack_of(AttackKind kind, Norm norm, bool random_start = false) {
  AttackOptions options = attack_defaults(kind);
  options.norm = norm;
  options.random_start = random_start;
  options.seed = 7;
  return options;
}

// Every attack under every norm it knows, with and without random start.
struct Variant {
  std::string name;
  AttackOptions options;
};
inline std::vector<Variant> all_variants() {
  std::vector<Variant> variants;
  for (const AttackKind kind : {AttackKind::fgsm, AttackKind::bim, AttackKind::pgd, AttackKind::mim}) {
    for (const Norm norm : {Norm::linf, Norm::l2, Norm::l1}) {
      for (const bool random_start : {false, true}) {
        if (norm == Norm::l1 && (kind != AttackKind::fgsm || random_start)) continue;
        if (kind == AttackKind::bim && random_start) continue;
        variants.push_back(
            {to_string(kind) + " " + to_string(norm) + (random_start ? " from a random start" : ""),
             attack_of(kind, norm, random_start)});
      }
    }
  }
  return variants;
}
inline std::vector<float> small_sizes(Norm norm) {
  if (norm == Norm::linf) return {0.02f, 0.1f, 0.3f};
  return norm == Norm::l2 ? std::vector<float>{0.1f, 1.0f, 3.0f} : std::vector<float>{0.2f, 0.5f, 0.9f};
}

// Everything an attack says, in the order of the images: equal bytes mean equal results.
struct Recorded {
  std::vector<float> adversarial, delta;
  std::vector<AttackRow> rows;
  std::vector<AttackedImage> images;
  std::vector<int64_t> firsts;
  AttackReport report;
};

inline Recorded run_attack(const Model& model, const Images& images, const std::vector<float>& sizes,
                           const AttackOptions& options, AttackJob job) {
  Recorded all;
  if (job.rows.empty()) job.rows = row_range(0, images.count());
  job.sink = [&](int64_t first, const AttackResult& chunk) {
    const auto append = [](auto& to, const auto& from) {
      to.insert(to.end(), from.begin(), from.end());
    };
    all.firsts.push_back(first);
    append(all.adversarial, chunk.adversarial.to_host());
    append(all.delta, chunk.delta.to_host());
    append(all.rows, chunk.rows);
    append(all.images, chunk.images);
  };
  all.report = attack_images(model, images, sizes, options, job);
  return all;
}

// Bit for bit: NaN equals itself, 0 differs from -0.
inline bool same_bytes(std::span<const float> a, std::span<const float> b) {
  const void *left = a.data(), *right = b.data();
  return a.size() == b.size() && std::memcmp(left, right, a.size_bytes()) == 0;
}
// `size` pixels of row `row`.
inline std::span<const float> row_of(const std::vector<float>& pixels, size_t row, size_t size) {
  return std::span(pixels).subspan(row * size, size);
}

inline bool same_row(const AttackRow& a, const AttackRow& b) {
  return a.prediction == b.prediction && a.success == b.success && same_bytes({&a.loss, 1}, {&b.loss, 1}) &&
         a.linf == b.linf && a.l2 == b.l2 && a.l1 == b.l1 && a.zero_gradients == b.zero_gradients &&
         a.nan_gradients == b.nan_gradients && a.box_violations == b.box_violations &&
         a.outside_ball == b.outside_ball;
}

inline bool same_results(const Recorded& a, const Recorded& b) {
  bool same = same_bytes(a.adversarial, b.adversarial) && same_bytes(a.delta, b.delta) &&
              a.rows.size() == b.rows.size();
  for (size_t r = 0; same && r < a.rows.size(); ++r) same = same_row(a.rows[r], b.rows[r]);
  return same && a.report.forward_passes == b.report.forward_passes &&
         a.report.backward_passes == b.report.backward_passes;
}

inline bool mentions(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

}  // namespace caltrop::test
