#include "apps/commands/verify_set.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "apps/core/flags.h"
#include "attacks/attack.h"
#include "engine/text.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

// A value of config.json; what is there of another type counts as absent.
std::string text(const Json& config, const char* key) {
  const auto found = config.find(key);
  return found != config.end() && found->is_string() ? found->get<std::string>() : std::string();
}
std::optional<double> number(const Json& config, const char* key) {
  const auto found = config.find(key);
  return found != config.end() && found->is_number() ? std::optional(found->get<double>()) : std::nullopt;
}

Json config_beside(const std::string& file) {
  const fs::path path = fs::path(file).parent_path() / "config.json";
  std::ifstream stream(path);
  Json config = stream ? Json::parse(stream, nullptr, false) : Json::object();
  if (!config.is_object()) fail("{}: expected the configuration of a run, cannot read it", path.string());
  return config;
}

}  // namespace

Claims read_claims(const std::string& file, const std::string& norm, std::optional<double> eps) {
  Claims claims;
  claims.config = config_beside(file);
  for (const char* defence : {"noise", "quantize"}) {
    if (claims.config.contains(defence))
      fail("the set was attacked behind --{}: the network alone cannot verify it", defence);
  }
  claims.norm = text(claims.config, "norm");
  claims.eps = number(claims.config, "eps");
  if (const std::optional<double> target = number(claims.config, "target")) {
    claims.targeted = true;
    claims.target = static_cast<int32_t>(*target);
  }
  claims.confidence = number(claims.config, "confidence").value_or(0);
  claims.predicted_labels = text(claims.config, "labels") == "predicted";
  const std::string attack = text(claims.config, "attack");
  if (!attack.empty()) claims.minimum_norm = is_minimum_norm(parse_attack(attack));
  const std::string name = fs::path(file).filename().string();
  for (const char* of_part : {"linf", "l2"}) {
    if (name.starts_with(std::string(of_part) + "-")) claims.norm = of_part;
  }
  if (!norm.empty()) claims.norm = norm;
  if (eps) claims.eps = eps;
  if (claims.norm.empty()) usage_error("no config.json beside {}: say --norm", file);
  parse_norm(claims.norm);
  return claims;
}

void follow_config(const Json& config, const Flags& flags, DataOptions& data, std::string& subset) {
  const auto follow = [&](const char* flag, std::string& value) {
    if (!flags.given(flag) && !text(config, flag).empty()) value = text(config, flag);
  };
  follow("dataset", data.dataset);
  follow("split", data.split);
  follow("image-size", data.image_size);
  follow("subset", subset);
  if (!flags.given("split-seed"))
    data.split_seed = static_cast<int64_t>(number(config, "split-seed").value_or(0));
}

Differences replace_by(const ImageSet& truth, AttackedSet& set) {
  const ImageShape shape{truth.height, truth.width, truth.channels};
  if (!(shape == set.shape)) {
    fail("the set holds images of {}x{}x{}, the data set's are {}x{}x{}", set.shape.height, set.shape.width,
         set.shape.channels, shape.height, shape.width, shape.channels);
  }
  Differences found;
  for (int64_t i = 0; i < set.images(); ++i) {
    const auto at = static_cast<size_t>(i);
    const int64_t index = set.index[at];
    if (index >= truth.count())
      fail("the set holds image {}, but the data set has {} images", index, truth.count());
    const std::span<const uint8_t> image = truth.image(index);
    const auto stored = set.x.begin() + i * set.image_size();
    found.images += !std::equal(image.begin(), image.end(), stored);
    std::copy(image.begin(), image.end(), stored);
    const int32_t label = truth.labels[static_cast<size_t>(index)];
    found.labels += set.label[at] != label;
    set.label[at] = label;
  }
  return found;
}

}  // namespace caltrop
