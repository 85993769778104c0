#include "defense/pool/images.h"

#include <algorithm>
#include <set>

#include "defense/off_grid.h"
#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/ops.h"

namespace caltrop {
namespace {

Shape images_shape(const ImageShape& shape, int64_t count) {
  return {count, shape.height, shape.width, shape.channels};
}

void copy_rows(Backend& backend, float* to, const float* from, int64_t values) {
  backend.copy(to, from, static_cast<size_t>(values) * sizeof(float));
}

// Images `rows` (rising) of x (n,h,w,c): neighbours are copied together.
Tensor chosen_rows(const Tensor& x, std::span<const int64_t> rows) {
  Shape shape = x.shape();
  const int64_t size = shape[1] * shape[2] * shape[3];
  shape[0] = static_cast<int64_t>(rows.size());
  const Tensor chosen = Tensor::uninitialized(x.backend(), shape);
  for (size_t k = 0; k < rows.size();) {
    size_t end = k + 1;
    while (end < rows.size() && rows[end] == rows[end - 1] + 1) ++end;
    copy_rows(x.backend(), chosen.mutable_data() + static_cast<int64_t>(k) * size, x.data() + rows[k] * size,
              static_cast<int64_t>(end - k) * size);
    k = end;
  }
  return chosen;
}

// Where the image of each position of a plan was crafted.
struct Source {
  const Crafted* part = nullptr;
  size_t row = 0;
};
std::vector<Source> sources_of(std::span<const Crafted> crafted, size_t planned) {
  std::vector<Source> sources(planned);
  for (const Crafted& part : crafted) {
    for (size_t k = 0; k < part.planned.size(); ++k) {
      const int64_t j = part.planned[k].position;
      if (j < 0 || j >= static_cast<int64_t>(planned) || sources[static_cast<size_t>(j)].part != nullptr)
        fail("[pool] expected each of {} positions of the pool once, got {}", planned, j);
      sources[static_cast<size_t>(j)] = {&part, k};
    }
  }
  for (size_t j = 0; j < planned; ++j) {
    if (sources[j].part == nullptr) fail("[pool] position {} of the pool was not crafted", j);
  }
  return sources;
}

// clip(image + delta), rounded where that is asked for, and whether each differs from its clean image.
struct Attacked {
  Tensor pixels;
  std::vector<bool> changed;
};
Attacked attacked_of(const Images& images, std::span<const PlannedImage> plan,
                     std::span<const Source> sources, bool eight_bits) {
  const NoGrad values_only;
  const auto size = static_cast<size_t>(images.image_size());
  std::vector<int64_t> rows;
  std::vector<float> deltas;
  for (size_t j = 0; j < plan.size(); ++j) {
    rows.push_back(plan[j].image);
    const auto from = sources[j].part->delta.begin() + static_cast<int64_t>(sources[j].row * size);
    deltas.insert(deltas.end(), from, from + static_cast<int64_t>(size));
  }
  Backend& backend = images.backend();
  const Tensor clean = images.pixels(rows), delta = Tensor::from(backend, clean.shape(), deltas);
  Tensor x = clamp(clean + delta, 0.0f, 1.0f);
  if (eight_bits) x = rounded_to_8_bits(x);
  std::vector<RowStats> stats(plan.size());
  backend.row_stats(static_cast<int64_t>(plan.size()), images.image_size(), (x - clean).data(), stats.data());
  Attacked attacked{x, {}};
  for (const RowStats& row : stats) attacked.changed.push_back(row.linf > 0 || row.nans > 0);
  return attacked;
}

}  // namespace

AttackedPool make_pool(const Images& images, std::vector<PoolAttack> attacks, std::vector<PlannedImage> plan,
                       std::span<const Crafted> crafted, const AttackedPoolOptions& options) {
  const std::vector<Source> sources = sources_of(crafted, plan.size());
  AttackedPool pool;
  pool.unchanged.resize(attacks.size());
  std::vector<Tensor> parts;
  constexpr size_t kChunk = 1024;
  for (size_t begin = 0; begin < plan.size(); begin += kChunk) {
    const size_t count = std::min(kChunk, plan.size() - begin);
    const Attacked attacked = attacked_of(images, std::span(plan).subspan(begin, count),
                                          std::span(sources).subspan(begin, count), options.eight_bits);
    std::vector<int64_t> kept;
    for (size_t k = 0; k < count; ++k) {
      const PlannedImage& planned = plan[begin + k];
      const Source& source = sources[begin + k];
      if (!attacked.changed[k]) {
        ++pool.unchanged.at(static_cast<size_t>(planned.attack));
        if (!options.keep_unchanged) continue;
      }
      kept.push_back(static_cast<int64_t>(k));
      pool.images.push_back({planned.position, planned.image, planned.attack, planned.size,
                             source.part->linf[source.row], source.part->l2[source.row],
                             source.part->fooled[source.row] != 0});
    }
    parts.push_back(chosen_rows(attacked.pixels, kept));
  }
  pool.pixels = Tensor::uninitialized(images.backend(), images_shape(images.shape(), pool.count()));
  float* to = pool.pixels.mutable_data();
  for (const Tensor& part : parts) {
    copy_rows(images.backend(), to, part.data(), part.size());
    to += part.size();
  }
  pool.attacks = std::move(attacks);
  pool.plan = std::move(plan);
  return pool;
}

AttackedPool AttackedPool::at_positions_of(const AttackedPool& other) const {
  std::set<int64_t> positions;
  for (const PoolImage& image : other.images) positions.insert(image.position);
  AttackedPool chosen{.attacks = attacks, .plan = plan, .images = {}, .unchanged = unchanged, .pixels = {}};
  std::vector<int64_t> rows;
  for (size_t k = 0; k < images.size(); ++k) {
    if (!positions.contains(images[k].position)) continue;
    chosen.images.push_back(images[k]);
    rows.push_back(static_cast<int64_t>(k));
  }
  chosen.pixels = chosen_rows(pixels, rows);
  return chosen;
}

int64_t AttackedPool::prefix(int64_t positions) const {
  if (positions > planned()) {
    fail("the pool has {} attacked images, but a cycle needs {}", planned(), positions);
  }
  const auto end = std::partition_point(images.begin(), images.end(),
                                        [&](const PoolImage& image) { return image.position < positions; });
  return end - images.begin();
}

AugmentedImages::AugmentedImages(const Images& clean, const AttackedPool& pool, int32_t attacked)
    : clean_(clean), attacked_(pool.pixels), labels_(clean.labels()) {
  if (pool.pixels.shape() != images_shape(clean.shape(), pool.count()))
    fail("[pool] expected a pool of images like the clean ones");
  labels_.resize(labels_.size() + pool.images.size(), attacked);
}

void AugmentedImages::pixels(std::span<const int64_t> rows, const Tensor& x) const {
  const int64_t size = image_size();
  if (x.size() != static_cast<int64_t>(rows.size()) * size) {
    fail("[pool] expected room for {} images of {} pixels, got {}", rows.size(), size, to_string(x.shape()));
  }
  for (size_t k = 0; k < rows.size();) {  // clean neighbours are gathered together
    float* const to = x.mutable_data() + static_cast<int64_t>(k) * size;
    if (rows[k] < 0 || rows[k] >= count()) fail("[pool] expected rows below {}, got {}", count(), rows[k]);
    if (rows[k] >= clean_.count()) {
      copy_rows(backend(), to, attacked_.data() + (rows[k] - clean_.count()) * size, size);
      ++k;
      continue;
    }
    size_t end = k;
    while (end < rows.size() && rows[end] >= 0 && rows[end] < clean_.count()) ++end;
    const Tensor part = clean_.pixels(rows.subspan(k, end - k));
    copy_rows(backend(), to, part.data(), part.size());
    k = end;
  }
}

PairedImages::PairedImages(const Images& clean, const AttackedPool& pool) : clean_(clean), pool_(pool) {
  for (const PoolImage& image : pool.images)
    labels_.push_back(clean.labels()[static_cast<size_t>(image.image)]);
}

void PairedImages::pixels(std::span<const int64_t> rows, const Tensor& x) const {
  for (size_t k = 0; k < rows.size(); ++k)
    copy_rows(backend(), x.mutable_data() + static_cast<int64_t>(k) * image_size(),
              pool_.pixels.data() + rows[k] * image_size(), image_size());
}

void PairedImages::clean(std::span<const int64_t> rows, const Tensor& x) const {
  std::vector<int64_t> of;
  for (const int64_t row : rows) of.push_back(pool_.images[static_cast<size_t>(row)].image);
  clean_.pixels(of, x);
}

}  // namespace caltrop
