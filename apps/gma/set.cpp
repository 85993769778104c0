#include "apps/gma/set.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <map>
#include <optional>

#include "apps/core/run_folder.h"
#include "data/png.h"
#include "engine/atomic_file.h"
#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/named.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPartBytes = int64_t{48} << 20;

// The rows that the manifest lists of each part.
std::map<std::string, int64_t> rows_of_parts(const fs::path& folder) {
  std::ifstream manifest(folder / kManifest, std::ios::binary);
  std::map<std::string, int64_t> rows;
  std::string line;
  std::getline(manifest, line);
  while (std::getline(manifest, line)) ++rows[line.substr(0, line.find(','))];
  if (manifest.bad()) fail("cannot read {}", (folder / kManifest).string());
  return rows;
}

// What was stored of one attacked image, measured anew: nothing is taken from the file that can be computed.
AttackRow measure(const AttackedSet& part, Norm norm, int64_t image, int64_t size) {
  const int64_t pixels = part.image_size();
  const auto at = static_cast<size_t>(image) * part.eps.size() + static_cast<size_t>(size);
  const uint8_t* x = part.x.data() + image * pixels;
  const std::span<const float> delta = part.delta_of(static_cast<int64_t>(at));
  AttackRow row{.zero_gradients = part.zero_gradients[at], .nan_gradients = part.nan_gradients[at]};
  double linf = 0, squares = 0;
  for (int64_t p = 0; p < pixels; ++p) {
    const double d = delta[static_cast<size_t>(p)], shown = static_cast<double>(x[p]) / 255.0 + d;
    constexpr double kRounding = 1e-6;  // of x / 255 + delta in fp32
    row.box_violations += !(shown >= -kRounding && shown <= 1 + kRounding);
    linf = std::max(linf, std::abs(d));
    squares += d * d;
  }
  row.linf = static_cast<float>(linf);
  row.l2 = static_cast<float>(std::sqrt(squares));
  const float bound = part.eps[static_cast<size_t>(size)] + ball_tolerance(norm, pixels);
  row.outside_ball = !((norm == Norm::linf ? row.linf : row.l2) <= bound);
  return row;
}

// What a network says of the images of a part and of their attacked versions.
struct Predictions {
  std::vector<int32_t> clean, attacked;
};

Predictions show_part(const Model& model, const AttackedSet& part, const Progress& progress) {
  Backend& backend = model.backend();
  const Images images(backend, part.shape, part.x, part.label);
  const int64_t sizes = part.sizes(), pixels = images.image_size(), stride = sizes * pixels;
  Predictions said{std::vector<int32_t>(part.label.size()), std::vector<int32_t>(part.prediction.size())};
  const auto body = [&](int64_t begin, int64_t end) {
    const NoGrad values_only;
    const int64_t n = end - begin;
    const Tensor x = images.pixels(row_range(begin, end));
    const Tensor delta = Tensor::from(
        backend, {n, sizes, pixels},
        std::span(part.delta).subspan(static_cast<size_t>(begin * stride), static_cast<size_t>(n * stride)));
    const Tensor attacked = clamp(x.view({n, 1, pixels}) + delta, 0.0f, 1.0f);
    const ImageShape& shape = part.shape;
    const auto say = [&](const Tensor& shown, std::vector<int32_t>& to, int64_t at) {
      const std::vector<int32_t> words = argmax(model.forward(shown)).to_host();
      std::copy(words.begin(), words.end(), to.begin() + at);
    };
    say(x, said.clean, begin);
    say(attacked.view({n * sizes, shape.height, shape.width, shape.channels}), said.attacked, begin * sizes);
  };
  for_chunks(model, part.images(), std::max<int64_t>(1, model.chunk() / sizes), body, progress);
  return said;
}

// Rows of tiles without margins, so that a program can cut them apart.
void write_picture(const fs::path& path, const AttackedSet& part) {
  const int64_t tiles = 1 + part.sizes(), w = part.shape.width, channels = part.shape.channels,
                row = w * channels, pixels = part.shape.height * row;
  std::vector<uint8_t> sheet(static_cast<size_t>(part.images() * tiles * pixels));
  for (int64_t i = 0; i < part.images(); ++i) {
    const uint8_t* x = part.x.data() + i * pixels;
    for (int64_t t = 0; t < tiles; ++t) {
      const float* delta = t > 0 ? part.delta.data() + (i * (tiles - 1) + t - 1) * pixels : nullptr;
      for (int64_t p = 0; p < pixels; ++p) {
        const float shown = static_cast<float>(x[p]) + (delta ? 255.0f * delta[p] : 0.0f);
        const int64_t at = ((i * part.shape.height + p / row) * tiles + t) * row + p % row;
        sheet[static_cast<size_t>(at)] = static_cast<uint8_t>(std::lround(std::clamp(shown, 0.0f, 255.0f)));
      }
    }
  }
  write_png(path, part.images() * part.shape.height, tiles * w, channels, sheet);
}

Perturbations kept_in(GmaStore store) {
  return store == GmaStore::delta ? Perturbations::finite : Perturbations::ignored;
}

}  // namespace

GmaStore parse_gma_store(std::string_view name) {
  return parse_named<GmaStore>("--store", name, std::array{"delta", "png", "none"});
}

std::string part_name(Norm norm, int64_t first) {
  return fmt::format("{}-{:06}.npz", to_string(norm), first);
}

int64_t images_per_part(int64_t sizes, int64_t image_size) {
  return std::max<int64_t>(1, kPartBytes / (sizes * image_size * static_cast<int64_t>(sizeof(float))));
}

int64_t set_bytes(int64_t images, int64_t sizes, int64_t norms, int64_t image_size, GmaStore store) {
  constexpr int64_t kNumbers = 21, kManifestRow = 124, kClean = 16, kHeaders = 4096;
  const int64_t pixel =
      store == GmaStore::delta ? static_cast<int64_t>(sizeof(float)) : store == GmaStore::png;
  const int64_t row = image_size * pixel + kNumbers + kManifestRow;
  const int64_t step = images_per_part(sizes, image_size), parts = (images + step - 1) / step;
  return norms * (images * (sizes * row + image_size + kClean) + parts * kHeaders);
}

void state_sizes(AttackedSet& part, std::span<const GmaSize> sizes) {
  for (const GmaSize& size : sizes) {
    part.eps.push_back(size.eps);
    part.v.push_back(static_cast<float>(size.v));
    part.exponent.push_back(size.i);
    part.ten.push_back(size.base == GmaBase::ten);
  }
}

std::vector<GmaSize> stated_sizes(const AttackedSet& part) {
  std::vector<GmaSize> sizes(part.eps.size());
  for (size_t k = 0; k < sizes.size(); ++k) {
    sizes[k].base = part.ten[k] ? GmaBase::ten : GmaBase::e;
    sizes[k].i = part.exponent[k];
    sizes[k].v = static_cast<double>(part.v[k]);
    sizes[k].eps = part.eps[k];
  }
  return sizes;
}

void write_part(const fs::path& path, const AttackedSet& part, GmaStore store) {
  if (store == GmaStore::png) write_picture(fs::path(path).replace_extension(".png"), part);
  write_attacked_set(path, part, kept_in(store));
}

AttackedSet read_part(const fs::path& path, GmaStore store) {
  AttackedSet part = read_attacked_set(path, kept_in(store));
  if (part.eps.empty()) fail("{} is no part of a GMA set: it states no sizes", path.string());
  return part;
}

std::vector<fs::path> find_parts(const fs::path& folder, Norm norm) {
  const std::string begin = to_string(norm) + "-";
  std::vector<fs::path> parts;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(begin) && name.ends_with(".npz")) parts.push_back(entry.path());
  }
  if (error) fail("cannot read the folder {}: {}", folder.string(), error.message());
  std::sort(parts.begin(), parts.end());
  return parts;
}

std::vector<Norm> norms_of_set(const fs::path& folder) {
  std::vector<Norm> norms;
  for (const Norm norm : {Norm::linf, Norm::l2}) {
    if (!find_parts(folder, norm).empty()) norms.push_back(norm);
  }
  if (norms.empty()) fail("{} holds no parts of a GMA set", folder.string());
  std::error_code error;
  if (!fs::exists(folder / kManifest, error)) {
    fail("the GMA set in {} is not complete; continue it with: caltrop gma generate --resume --out {}",
         folder.string(), folder.string());
  }
  return norms;
}

void write_manifest(const fs::path& folder, const std::vector<Norm>& norms, const std::string& attack,
                    int64_t seed) {
  AtomicFile file(folder / kManifest);
  file.write(
      "part,place,source_index,norm,size,eps,attack,seed,label,clean_prediction,prediction,success,linf,l2,"
      "zero_gradients,nan_gradients\n");
  for (const Norm norm : norms) {
    for (const fs::path& path : find_parts(folder, norm)) {
      const AttackedSet part = read_part(path, GmaStore::none);
      const std::vector<GmaSize> sizes = stated_sizes(part);
      const std::string name = path.filename().string();
      std::string rows;
      for (size_t row = 0; row < part.prediction.size(); ++row) {
        const size_t i = row / sizes.size();
        const GmaSize& size = sizes[row % sizes.size()];
        rows += fmt::format("{},{},{},{},{},{:.9g},{},{},{},{},{},{},{:.9g},{:.9g},{},{}\n", name, row,
                            part.index[i], to_string(norm), size.name(), size.eps, attack, seed,
                            part.label[i], part.clean_prediction[i], part.prediction[row], part.success[row],
                            part.linf[row], part.l2[row], part.zero_gradients[row], part.nan_gradients[row]);
      }
      file.write(rows);
    }
  }
  file.commit();
}

GmaAnalysis replay_set(const Model& model, const fs::path& folder, Norm norm, const Progress& progress) {
  std::optional<GmaTally> tally;
  std::vector<float> eps;
  int64_t first = 0, passes = 0;
  std::map<std::string, int64_t> listed = rows_of_parts(folder);
  std::erase_if(listed, [&](const auto& row) { return !row.first.starts_with(to_string(norm) + "-"); });
  for (const fs::path& path : find_parts(folder, norm)) {
    const AttackedSet part = read_part(path);
    const auto rows = listed.find(path.filename().string());
    if (rows == listed.end() || rows->second != static_cast<int64_t>(part.prediction.size())) {
      fail("{}: its {} rows are not those of {}, which lists {}", path.string(), part.prediction.size(),
           kManifest, rows == listed.end() ? 0 : rows->second);
    }
    listed.erase(rows);
    if (!tally) {
      tally.emplace(stated_sizes(part), norm);
      eps = part.eps;
    }
    if (!(part.shape == model.input())) fail("{}: its images do not fit the network", path.string());
    if (part.eps != eps) fail("{}: its sizes are not those of the other parts", path.string());
    if (part.classes() > model.outputs()) {
      fail("{} holds the label {}, but the network has {} outputs", path.string(), part.classes() - 1,
           model.outputs());
    }
    const Predictions said = show_part(model, part, [&](int64_t done) {
      if (progress) progress(first + done);
    });
    const auto sizes = static_cast<int64_t>(eps.size());
    for (int64_t i = 0; i < part.images(); ++i) {
      const auto at = static_cast<size_t>(i);
      const AttackedImage clean{part.index[at], part.label[at], -1, said.clean[at]};
      for (int64_t s = 0; s < sizes; ++s) {
        const auto row_at = static_cast<size_t>(i * sizes + s);
        AttackRow row = measure(part, norm, i, s);
        row.prediction = said.attacked[row_at];
        row.success = row.prediction != part.label[at];
        tally->add(first + i, s, 0, clean, row);
      }
    }
    first += part.images();
    passes += part.images() * (sizes + 1);
  }
  if (!listed.empty())
    fail("{} lacks the part {} of its {}", folder.string(), listed.begin()->first, kManifest);
  if (!tally) fail("{} holds no parts of a GMA set under {}", folder.string(), to_string(norm));
  GmaAnalysis done = tally->analysis();
  done.forward_passes = passes;
  return done;
}

}  // namespace caltrop
