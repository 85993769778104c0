#include "apps/commands/sweep_networks.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "apps/commands/attack_spec.h"
#include "apps/core/flags.h"
#include "apps/study/sweep.h"
#include "engine/text.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

}  // namespace

void check_name(const std::string& name) {
  const bool good = !name.empty() && name[0] != '.' && std::ranges::all_of(name, [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '+';
  });
  if (!good) fail("'{}' is no name for a network: expected letters, digits, - _ . +", shown(name));
}

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
    try {
      check_name(one.name);
    } catch (const Error& problem) {
      usage_error("--weights: {}; write NAME={}", problem.what(), shown(given));
    }
    if (!names.insert(one.name).second)
      usage_error("--weights: two networks are called {}; write NAME={}", one.name, shown(given));
    files.push_back(std::move(one));
  }
  return files;
}

void add_crossed_flags(Flags& flags, CrossedOptions& options, const std::string& weights_help) {
  flags.texts("weights", options.weights, "[NAME=]FILE,...", weights_help);
  flags.texts("attacks", options.attacks, "ATTACK,...",
              "attacks by name; flags of 'caltrop attack' follow a colon: pgd:steps=40:restarts=5");
  flags.choice("norm", options.norm, {"linf", "l2", "l1"}, "how a perturbation is measured");
  flags.sizes("eps", options.sizes, {.low = 0, .high = kMaxSize}, "SIZES",
              "sizes for pixels from 0 to 1: 0.01,8/255 or first:last:step, as 1/255:8/255:1/255");
}

void add_crossed_inputs(Flags& flags, CrossedOptions& options) {
  flags.group("Model");
  flags.text("model", options.model.model, "NAME", "network by name, of weights that do not say theirs",
             "as the weights say");
  flags.text("arch", options.model.arch, "LINE", "network by its line", "as the weights say");
  flags.exclusive({"model", "arch"});
  add_pool_stride_flag(flags, options.model.pool_stride);
  flags.choice("layout", options.model.layout, {"caltrop", "torch"}, "layout of weights that do not say it");
  add_data_flags(flags, options.data, "attack the first N images");
  add_rows_flags(flags, options.data);
  add_subset_flag(flags, options.subset);
}

Crossed read_crossed(CrossedOptions& options) {
  if (options.attacks.empty())
    usage_error("--attacks is missing: one or several of {}", fmt::join(attack_names(), ", "));
  if (options.sizes.empty()) usage_error("--eps is missing: the sizes");
  Crossed crossed;
  for (const std::string& text : options.attacks)
    crossed.attacks.push_back(parse_attack_spec(text, options.norm, options.sizes));
  check_sweep(crossed.attacks);
  for (const StudyAttack& attack : crossed.attacks) {
    if (attack.draws > 1)
      usage_error("{}: --eot averages over what is random, and networks of files are not", attack.name);
    if (attack.unaware)
      usage_error("{}: --unaware is of a defence that an attacker may know, and networks of files are none",
                  attack.name);
  }
  crossed.files = named_files(options.weights);
  for (size_t k = 0; k < crossed.files.size(); ++k)
    options.weights[k] = crossed.files[k].name + "=" + crossed.files[k].file;
  return crossed;
}

NamedNetworks open_networks(const Crossed& crossed, CrossedOptions& options, const Flags& flags,
                            Backend& backend, Console& console) {
  const std::vector<NamedFile>& files = crossed.files;
  DataOptions& data = options.data;
  const std::string& subset = options.subset;
  NamedNetworks opened;
  std::vector<ModelOptions> models;
  bool all_say = true;
  for (const NamedFile& named : files) {
    models.push_back(options.model);
    models.back().weights = named.file;
    all_say = all_say && says_network(models.back());
  }
  // Of several, --model and --arch are for those that do not say.
  for (ModelOptions& model : models)
    if (!all_say && says_network(model)) model.model.clear(), model.arch.clear();
  ModelOptions& first = models[0];
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
    opened.arms.push_back({.name = named.name, .given = studied(std::move(model))});
    opened.facts["network"][named.name] = facts.at("network");
    opened.facts["inputs"]["weights_crc32"][named.name] = facts.at("inputs").at("weights_crc32");
  };
  add(files[0], std::move(trained.model), trained.facts);
  for (size_t k = 1; k < files.size(); ++k) {
    OpenedNetwork network =
        open_network(models[k], opened.images->test.shape(), opened.images->info.classes, backend);
    if (!flags.given("dataset") && !network.dataset.empty() && network.dataset != data.dataset)
      fail("{} was trained on {}, {} on {}; give --dataset to attack both on the same images", files[k].file,
           network.dataset, files[0].file, data.dataset);
    add(files[k], std::move(network.model), network.facts);
  }
  for (const StudyAttack& attack : crossed.attacks)
    check_attack(attack.options, eps_of(attack.sizes), opened.images->test.image_size());
  return opened;
}

}  // namespace caltrop
