#include "apps/commands/stored_set.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

namespace caltrop {
namespace {

namespace fs = std::filesystem;

Json config_beside(const std::string& file) {
  const fs::path path = fs::path(file).parent_path() / "config.json";
  if (!fs::exists(path)) return Json::object();
  Json config = read_json(path);
  if (!config.is_object()) fail("{}: expected the configuration of a run, cannot read it", path.string());
  return config;
}

// Where two of the three say other things the files are not of one run.
void settle_targets(StoredSet& stored) {
  AttackedSet& set = stored.set;
  const std::optional<double> all = stored.number("target");
  const bool each = !stored.text("target-file").empty(), of_run = !stored.text("command").empty();
  if (set.targeted()) {
    const auto other =
        std::ranges::find_if(set.target, [&](int32_t target) { return all && target != *all; });
    if (other != set.target.end())
      fail("{} holds the target {}, but config.json beside it says --target {}", stored.file, *other, *all);
    if (of_run && !all && !each)
      fail("{} holds targets, but config.json beside it says of none: they are of two runs", stored.file);
    return;
  }
  if (each)
    fail(
        "{} lacks the array 'target', but config.json beside it says --target-file: make it again with "
        "'caltrop attack'",
        stored.file);
  if (!all) return;
  constexpr double kMost = 1 << 20;
  if (!(*all >= 0 && *all <= kMost) || *all != std::floor(*all))
    fail("config.json beside {} says --target {}, which is no class", stored.file, *all);
  set.target.assign(set.index.size(), static_cast<int32_t>(*all));
}

}  // namespace

std::string StoredSet::text(const char* key) const {
  const auto found = config.find(key);
  return found != config.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::optional<double> StoredSet::number(const char* key) const {
  const auto found = config.find(key);
  return found != config.end() && found->is_number() ? std::optional(found->get<double>()) : std::nullopt;
}

std::optional<Size> StoredSet::size(const char* key) const {
  const std::optional<double> value = number(key);
  return value ? size_of(*value) : parse_size(text(key));
}

StoredSet open_stored_set(const std::string& file, Perturbations perturbations) {
  StoredSet stored{.file = fs::absolute(file).lexically_normal().string(), .set = {.shape = {}}};
  stored.config = config_beside(stored.file);
  stored.set = read_attacked_set(stored.file, perturbations);
  settle_targets(stored);
  return stored;
}

void expect_outputs(const Model& model, const std::string& weights, const std::string& file,
                    const AttackedSet& set) {
  if (model.outputs() < set.classes())
    fail("{} has {} outputs, but {} has {} classes", weights, model.outputs(), file, set.classes());
}

std::optional<bool> made_on(const StoredSet& stored, const Json& facts) {
  const Json made = stored.config.value("inputs", Json()), asked = facts.value("inputs", Json());
  if (!made.is_object() || !made.contains("weights_crc32")) return std::nullopt;
  return made.value("weights_crc32", Json()) == asked.value("weights_crc32", Json());
}

std::string target_in_words(const AttackedSet& set) {
  if (!set.targeted()) return "";
  const bool one = std::ranges::count(set.target, set.target[0]) == set.images();
  return one ? fmt::format("towards class {}", set.target[0]) : "towards a class of its own";
}

}  // namespace caltrop
