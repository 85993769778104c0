#include "apps/commands/sweep_networks.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "apps/core/flags.h"
#include "engine/text.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

// What may stand in the names of files and in a table without trouble.
bool is_name(const std::string& text) {
  return !text.empty() && text[0] != '.' && std::ranges::all_of(text, [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '+';
  });
}

}  // namespace

std::vector<NamedFile> named_files(const std::vector<std::string>& texts) {
  std::vector<NamedFile> files;
  std::set<std::string> names;
  for (const std::string& text : texts) {
    const size_t equal = text.find('=');
    const std::string given = equal == std::string::npos ? text : text.substr(equal + 1);
    const fs::path path = fs::absolute(given).lexically_normal();
    NamedFile one{path.stem().string(), path.string()};
    if (one.name == "model" && path.has_parent_path()) one.name = path.parent_path().filename().string();
    if (equal != std::string::npos) one.name = text.substr(0, equal);
    if (!is_name(one.name))
      usage_error(
          "--weights: '{}' is no name for a network: expected letters, digits, - _ . +; write NAME={}",
          shown(one.name), shown(given));
    if (!names.insert(one.name).second)
      usage_error("--weights: two networks are called {}; write NAME={}", one.name, shown(given));
    files.push_back(std::move(one));
  }
  return files;
}

NamedNetworks open_networks(const std::vector<NamedFile>& files, const ModelOptions& options,
                            DataOptions& data, const std::string& subset, const Flags& flags,
                            Backend& backend, Console& console) {
  NamedNetworks opened;
  ModelOptions first = options;
  first.weights = files.at(0).file;
  Trained trained = open_trained(first, data, subset, flags, backend, console);
  opened.facts = trained.data.info.facts;
  opened.images =
      std::make_shared<const StudyImages>(StudyImages{trained.data.info,
                                                      {},
                                                      std::move(trained.data.images),
                                                      trained.data.info.facts.at("data").at(subset),
                                                      std::move(trained.data.rows)});
  const auto add = [&](const NamedFile& named, Model model, const Json& facts) {
    expect_outputs(model, opened.images->info, named.file);
    opened.arms.push_back({.name = named.name, .trained = std::make_shared<const Model>(std::move(model))});
    opened.facts["network"][named.name] = facts.at("network");
    opened.facts["inputs"]["weights_crc32"][named.name] = facts.at("inputs").at("weights_crc32");
  };
  add(files[0], std::move(trained.model), trained.facts);
  for (size_t k = 1; k < files.size(); ++k) {
    ModelOptions other = options;
    other.weights = files[k].file;
    OpenedNetwork network =
        open_network(other, opened.images->test.shape(), opened.images->info.classes, backend);
    if (!flags.given("dataset") && !network.dataset.empty() && network.dataset != data.dataset)
      fail("{} was trained on {}, {} on {}; give --dataset to attack both on the same images", files[k].file,
           network.dataset, files[0].file, data.dataset);
    add(files[k], std::move(network.model), network.facts);
  }
  return opened;
}

}  // namespace caltrop
