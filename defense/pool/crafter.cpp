#include "defense/pool/crafter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <system_error>

#include "engine/checksum.h"
#include "engine/error.h"
#include "engine/safetensors.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

// To be raised when an attack's results change.
constexpr int kCraftVersion = 2;
constexpr size_t kImagesPerFile = 500;

std::string about(const PoolAttack& attack, std::span<const PlannedImage> planned) {
  std::vector<int64_t> which;
  std::vector<float> sizes;
  for (const PlannedImage& one : planned) {
    which.insert(which.end(), {one.position, one.image});
    sizes.push_back(one.size);
  }
  return fmt::format("craft {}\n{}\n{} images {:08x}", kCraftVersion, to_text(attack.options), planned.size(),
                     checksum(std::span<const float>(sizes), checksum(std::span<const int64_t>(which))));
}

Crafted read_crafted(const fs::path& path, const std::string& about, std::span<const PlannedImage> planned,
                     const ImageShape& shape) {
  const SafeTensorFile file = read_safetensors(path);
  const auto stated = file.metadata.find("about");
  if (stated == file.metadata.end() || stated->second != about)
    fail("{} holds images of another model, data set or version", path.string());
  const auto n = static_cast<int64_t>(planned.size());
  const auto values = [&](const char* name, const std::vector<int64_t>& wanted) {
    const SafeTensor* const tensor = file.find(name);
    if (tensor == nullptr || tensor->shape != wanted) fail("{} lacks {} of its images", path.string(), name);
    const std::span<const float> floats = tensor->floats();
    if (!std::ranges::all_of(floats, [](float value) { return std::isfinite(value); }))
      fail("{} holds values that are not finite", path.string());
    return std::vector<float>(floats.begin(), floats.end());
  };
  const std::vector<float> fooled = values("fooled", {n});
  return {.planned = {planned.begin(), planned.end()},
          .linf = values("linf", {n}),
          .l2 = values("l2", {n}),
          .fooled = {fooled.begin(), fooled.end()},
          .delta = values("delta", {n, shape.height, shape.width, shape.channels})};
}

void write_crafted(const fs::path& path, const std::string& about, const Crafted& crafted,
                   const ImageShape& shape) {
  const int64_t n = crafted.count();
  const std::vector<float> fooled(crafted.fooled.begin(), crafted.fooled.end());
  SafeTensorFile file;
  file.metadata["about"] = about;
  const auto add = [&](const char* name, std::vector<int64_t> dims, const std::vector<float>& values) {
    file.tensors.emplace_back(name, SafeTensor::from_floats(std::move(dims), values));
  };
  add("linf", {n}, crafted.linf);
  add("l2", {n}, crafted.l2);
  add("fooled", {n}, fooled);
  add("delta", {n, shape.height, shape.width, shape.channels}, crafted.delta);
  write_safetensors(path, file);
}

}  // namespace

Crafter::Crafter(const Model& target, fs::path folder, CraftOrigin origin, Watch& watch)
    : target_(target), folder_(std::move(folder)), origin_(std::move(origin)), watch_(watch) {}

CraftedPlan Crafter::craft(const Images& images, std::vector<PoolAttack> attacks, int64_t count,
                           Subset subset, uint64_t seed) {
  CraftedPlan crafted{std::move(attacks), {}, {}};
  crafted.plan = plan_pool(crafted.attacks, images.count(), count, subset, seed);
  watch_.begin("crafting", count);
  int64_t before = 0;
  for (size_t k = 0; k < crafted.attacks.size(); ++k) {
    const PoolAttack& attack = crafted.attacks[k];
    const std::string label = fmt::format("crafting {}-{}", attack.name, to_string(attack.options.norm));
    std::vector<PlannedImage> mine;
    std::ranges::copy_if(crafted.plan, std::back_inserter(mine),
                         [&](const PlannedImage& one) { return one.attack == static_cast<int64_t>(k); });
    for (size_t begin = 0; begin < mine.size(); begin += kImagesPerFile) {
      const auto some = std::span(mine).subspan(begin, std::min(kImagesPerFile, mine.size() - begin));
      crafted.parts.push_back(
          craft_part(images, attack, some, subset, [&](int64_t done) { watch_.at(label, before + done); }));
      before += static_cast<int64_t>(some.size());
    }
  }
  return crafted;
}

Crafted Crafter::craft_part(const Images& images, const PoolAttack& attack,
                            std::span<const PlannedImage> planned, Subset subset, const Progress& progress) {
  const auto make = [&] {
    crafted_ += static_cast<int64_t>(planned.size());
    return craft_planned(Network(target_), images, attack, planned, progress);
  };
  if (folder_.empty()) return make();
  const std::string key = origin_.about.at(static_cast<size_t>(subset)) + "\n" + about(attack, planned);
  const fs::path path =
      folder_ / fmt::format("{}-{}-{}-{}-{:08x}.safetensors", origin_.name,
                            subset == Subset::train ? "train" : "test", attack.name,
                            to_string(attack.options.norm), checksum(std::span<const char>(key)));
  std::error_code error;
  if (fs::exists(path, error)) {
    try {
      Crafted found = read_crafted(path, key, planned, images.shape());
      reused_ += found.count();
      progress(found.count());
      return found;
    } catch (const Error& problem) {
      watch_.warn(fmt::format("{}; it is made again", problem.what()));
    }
  }
  fs::create_directories(folder_, error);
  if (error) fail("cannot create the folder {}: {}", folder_.string(), error.message());
  Crafted made = make();
  write_crafted(path, key, made, images.shape());
  return made;
}

}  // namespace caltrop
