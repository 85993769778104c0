#include "data/gma_set.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <map>
#include <system_error>

#include "data/png.h"
#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/named.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPartBytes = int64_t{48} << 20;

int64_t images_per_part(int64_t sizes, int64_t image_size) {
  return std::max<int64_t>(1, kPartBytes / (sizes * image_size * static_cast<int64_t>(sizeof(float))));
}

// The rows that the manifest lists of each part of a norm.
std::map<std::string, int64_t> rows_of_parts(const fs::path& folder, std::string_view norm) {
  std::ifstream manifest(folder / kManifest, std::ios::binary);
  std::map<std::string, int64_t> rows;
  std::string line;
  std::getline(manifest, line);
  while (std::getline(manifest, line)) {
    if (line.starts_with(fmt::format("{}-", norm))) ++rows[line.substr(0, line.find(','))];
  }
  if (manifest.bad()) fail("cannot read {}", (folder / kManifest).string());
  return rows;
}

fs::path picture_of(fs::path part) {
  return part.replace_extension(".png");
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

Perturbations kept_in(SetStore store) {
  return store == SetStore::delta ? Perturbations::finite : Perturbations::ignored;
}

}  // namespace

SetStore parse_set_store(std::string_view name) {
  return parse_named<SetStore>("store", name, std::array{"delta", "png", "none"});
}

std::vector<SetPart> parts_of_set(const std::vector<std::string>& norms, int64_t images, int64_t sizes,
                                  int64_t image_size) {
  const int64_t step = images_per_part(sizes, image_size);
  std::vector<SetPart> parts;
  int64_t before = 0;
  for (const std::string& norm : norms) {
    for (int64_t first = 0; first < images; first += step) {
      const int64_t last = std::min(images, first + step);
      parts.push_back({norm, fmt::format("{}-{:06}.npz", norm, first), first, last, before});
      before += last - first;
    }
  }
  return parts;
}

int64_t set_bytes(int64_t images, int64_t sizes, int64_t norms, int64_t image_size, SetStore store) {
  constexpr int64_t kNumbers = 21, kManifestRow = 124, kClean = 16, kHeaders = 4096;
  const int64_t pixel =
      store == SetStore::delta ? static_cast<int64_t>(sizeof(float)) : store == SetStore::png;
  const int64_t row = image_size * pixel + kNumbers + kManifestRow;
  const int64_t step = images_per_part(sizes, image_size), parts = (images + step - 1) / step;
  return norms * (images * (sizes * row + image_size + kClean) + parts * kHeaders);
}

void expect_space(const fs::path& folder, int64_t bytes, const std::vector<SetPart>& parts) {
  std::error_code error;
  for (const SetPart& part : parts) {
    const uintmax_t there = fs::file_size(folder / part.name, error);
    if (!error) bytes -= static_cast<int64_t>(there);
  }
  fs::path place = fs::absolute(folder);
  while (!fs::exists(place) && place.has_relative_path()) place = place.parent_path();
  const fs::space_info space = fs::space(place, error);
  if (!error && bytes > 0 && space.available < static_cast<uintmax_t>(bytes)) {
    fail("the set needs {:.1f} MB, but {} has {:.1f} MB free; take fewer images with --limit",
         static_cast<double>(bytes) / 1e6, place.string(), static_cast<double>(space.available) / 1e6);
  }
}

void write_part(const fs::path& path, const AttackedSet& part, SetStore store) {
  if (store == SetStore::png) write_picture(picture_of(path), part);
  write_attacked_set(path, part, kept_in(store));
}

AttackedSet read_part(const fs::path& path, SetStore store) {
  AttackedSet part = read_attacked_set(path, kept_in(store));
  if (part.eps.empty()) fail("{} is no part of a GMA set: it states no sizes", path.string());
  if (part.targeted()) fail("{} is no part of a GMA set: it has targets", path.string());
  if (store == SetStore::png && !fs::exists(picture_of(path))) fail("{} lacks its picture", path.string());
  return part;
}

std::vector<fs::path> find_parts(const fs::path& folder, std::string_view norm) {
  const std::string begin = fmt::format("{}-", norm);
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

std::vector<std::string> norms_of_set(const fs::path& folder) {
  std::vector<std::string> norms = {"linf", "l2"};
  std::erase_if(norms, [&](const std::string& norm) { return find_parts(folder, norm).empty(); });
  if (norms.empty()) fail("{} holds no parts of a GMA set", folder.string());
  std::error_code error;
  if (!fs::exists(folder / kManifest, error)) {
    fail("the GMA set in {} is not complete; continue it with: caltrop gma generate --resume --out {}",
         folder.string(), folder.string());
  }
  return norms;
}

void write_manifest(const fs::path& folder, const std::vector<std::string>& norms,
                    const std::vector<std::string>& sizes, std::string_view attack, int64_t seed) {
  AtomicFile file(folder / kManifest);
  file.write(
      "part,place,source_index,norm,size,eps,attack,seed,label,clean_prediction,prediction,success,linf,l2,"
      "zero_gradients,nan_gradients\n");
  for (const std::string& norm : norms) {
    for (const fs::path& path : find_parts(folder, norm)) {
      const AttackedSet part = read_part(path, SetStore::none);
      const std::string name = path.filename().string();
      std::string rows;
      for (size_t row = 0; row < part.prediction.size(); ++row) {
        const size_t i = row / part.eps.size(), s = row % part.eps.size();
        rows += fmt::format("{},{},{},{},{},{:.9g},{},{},{},{},{},{},{:.9g},{:.9g},{},{}\n", name, row,
                            part.index[i], norm, sizes.at(s), part.eps[s], attack, seed, part.label[i],
                            part.clean_prediction[i], part.prediction[row], part.success[row], part.linf[row],
                            part.l2[row], part.zero_gradients[row], part.nan_gradients[row]);
      }
      file.write(rows);
    }
  }
  file.commit();
}

void for_each_part(const fs::path& folder, std::string_view norm, const PartVisit& visit) {
  std::map<std::string, int64_t> listed = rows_of_parts(folder, norm);
  const std::vector<fs::path> parts = find_parts(folder, norm);
  if (parts.empty()) fail("{} holds no parts of a GMA set under {}", folder.string(), norm);
  for (const fs::path& path : parts) {
    const AttackedSet part = read_part(path);
    const auto rows = listed.find(path.filename().string());
    if (rows == listed.end() || rows->second != static_cast<int64_t>(part.prediction.size())) {
      fail("{}: its {} rows are not those of {}, which lists {}", path.string(), part.prediction.size(),
           kManifest, rows == listed.end() ? 0 : rows->second);
    }
    listed.erase(rows);
    visit(path, part);
  }
  if (!listed.empty())
    fail("{} lacks the part {} of its {}", folder.string(), listed.begin()->first, kManifest);
}

}  // namespace caltrop
