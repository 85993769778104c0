#include "apps/study/crafted_cache.h"

#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <system_error>

#include "data/npz.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

Crafted read_crafted(const fs::path& path, const std::string& about, std::span<const PoolPlace> places,
                     ImageShape shape) {
  const NpzFile file(path);
  const auto n = static_cast<int64_t>(places.size());
  const auto stated = file.values<uint8_t>("about", file.shape("about", 1));
  if (std::string(stated.begin(), stated.end()) != about) {
    fail("{} holds images of another model, data set or version", path.string());
  }
  Crafted crafted{file.values<int64_t>("position", {n}),
                  file.values<int64_t>("image", {n}),
                  file.values<int32_t>("label", {n}),
                  file.values<float>("size", {n}),
                  file.values<float>("linf", {n}),
                  file.values<float>("l2", {n}),
                  file.values<uint8_t>("fooled", {n}),
                  file.values<float>("delta", {n, shape.height, shape.width, shape.channels})};
  for (size_t k = 0; k < places.size(); ++k) {
    if (crafted.position[k] != places[k].position || crafted.image[k] != places[k].image) {
      fail("{} holds other images than it says", path.string());
    }
  }
  if (!std::all_of(crafted.delta.begin(), crafted.delta.end(), [](float d) { return std::isfinite(d); })) {
    fail("{} holds perturbations that are not finite", path.string());
  }
  return crafted;
}

void write_crafted(const fs::path& path, const std::string& about, const Crafted& crafted, ImageShape shape) {
  const int64_t n = crafted.count();
  NpzWriter file(path);
  const std::vector<uint8_t> text(about.begin(), about.end());
  file.add("about", {static_cast<int64_t>(text.size())}, text);
  file.add("position", {n}, crafted.position);
  file.add("image", {n}, crafted.image);
  file.add("label", {n}, crafted.label);
  file.add("size", {n}, crafted.size);
  file.add("linf", {n}, crafted.linf);
  file.add("l2", {n}, crafted.l2);
  file.add("fooled", {n}, crafted.fooled);
  file.add("delta", {n, shape.height, shape.width, shape.channels}, crafted.delta);
  file.close();
}

}  // namespace

fs::path CraftedCache::path_of(const std::string& stem, const Json& about) const {
  const std::string text = about.dump();
  const auto crc = crc32_z(0, reinterpret_cast<const Bytef*>(text.data()), text.size());
  return folder_ / fmt::format("{}-{:08x}.npz", stem, crc);
}

Crafted CraftedCache::get(const std::string& stem, const Json& about, std::span<const PoolPlace> places,
                          ImageShape shape, const std::function<Crafted()>& craft) {
  const fs::path path = path_of(stem, about);
  const std::string text = about.dump();
  std::error_code error;
  if (fs::exists(path, error)) {
    try {
      Crafted found = read_crafted(path, text, places, shape);
      reused_ += found.count();
      return found;
    } catch (const Error& problem) {
      console_.warn("{}; it is made again", problem.what());
    }
  }
  fs::create_directories(folder_, error);
  if (error) fail("cannot create the folder {}: {}", folder_.string(), error.message());
  Crafted made = craft();
  write_crafted(path, text, made, shape);
  crafted_ += made.count();
  return made;
}

}  // namespace caltrop
