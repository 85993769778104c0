#include "apps/commands/study_file.h"

#include <algorithm>
#include <filesystem>
#include <functional>

#include "apps/commands/attack_spec.h"
#include "apps/commands/sweep_networks.h"
#include "apps/core/flags.h"
#include "apps/core/setup.h"
#include "apps/study/sweep.h"
#include "engine/text.h"

namespace caltrop {
namespace {

// A value as a command line would have it.
std::string word_of(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return value.dump();
  std::vector<std::string> parts;
  for (const Json& part : value) parts.push_back(word_of(part));
  return fmt::format("{}", fmt::join(parts, ","));
}

// {"step_size": 0.1} -> "step-size=0.1"; keys in `not_words` are left out.
std::vector<std::string> words_of(const Json& object, const std::vector<std::string>& not_words) {
  if (!object.is_object()) fail("expected an object, got {}", short_text(object));
  std::vector<std::string> words;
  for (const auto& [key, value] : object.items()) {
    if (std::ranges::count(not_words, key) > 0) continue;
    if (value.is_object() || value.is_null())
      fail("{}: expected a value or a list, got {}", key, short_text(value));
    std::string name = key;
    std::ranges::replace(name, '_', '-');
    words.push_back(name + "=" + word_of(value));
  }
  return words;
}

// Reads an object as flags of its own, so that a key means and allows what the flag does.
void read_object(const Json& object, const std::function<void(Flags&)>& declare,
                 const std::vector<std::string>& not_words = {}) {
  Flags flags("study");
  declare(flags);
  std::vector<std::string> arguments;
  for (const std::string& word : words_of(object, not_words)) arguments.push_back("--" + word);
  if (!flags.parse(arguments)) fail("expected keys of a study, got a question for help");
}

// "adversarial:eps=0.1:epochs=4", or an object of the same: {"defence": "adversarial", "eps": 0.1, "epochs": 4}; without
// `defence` a plain one.
StudyTraining training_of(const Json& json) {
  StudyTraining training;
  if (json.is_string()) {
    training = study_training(json.get<std::string>());
  } else {
    training.options = words_of(json, {"defence"});
    const Json method = json.value("defence", Json(kPlainTraining));
    if (!method.is_string()) fail("'defence' is no text");
    training.method = method.get<std::string>();
  }
  (void)read_training(training);
  return training;
}

std::vector<StudyTraining> read_trainings(const Json& json) {
  std::vector<StudyTraining> trainings;
  if (!json.is_array() || json.empty()) fail("train: expected a list of trainings");
  for (size_t k = 0; k < json.size(); ++k)
    trainings.push_back(with_place(fmt::format("train[{}]", k), [&] { return training_of(json[k]); }));
  check_trainings(trainings);
  return trainings;
}

// The file that the first training goes on from, which must be there; "" where it begins anew.
std::string read_from(const std::vector<StudyTraining>& trainings) {
  const std::optional<std::string> file = trainings.at(0).value(kFromOption);
  std::error_code error;
  if (file && !std::filesystem::is_regular_file(*file, error))
    fail("train[0]: from: {}: no such file", shown(*file));
  return file.value_or("");
}

StudyNetwork read_network(const Json& json) {
  StudyNetwork network;
  const bool trained = json.is_object() && json.contains("train");
  if (trained) {
    network.trainings = read_trainings(json["train"]);
    network.from = read_from(network.trainings);
  }
  read_object(json,
              [&](Flags& flags) {
                flags.group("Network");
                flags.text("name", network.name, "NAME", "in tables and files");
                flags.text("model", network.model.model, "NAME", "of the zoo");
                flags.text("arch", network.model.arch, "LINE", "by its line");
                flags.exclusive({"model", "arch"});
                add_pool_stride_flag(flags, network.model.pool_stride);
                flags.text("weights", network.model.weights, "FILE", "trained already");
                flags.choice("layout", network.model.layout, {"caltrop", "torch"}, "of the weights");
                flags.choice("initializer", network.initializer,
                             {"he_uniform", "he_normal", "glorot_uniform", "glorot_normal", "torch"},
                             "how weights begin");
                if (!trained) flags.integer("epochs", network.epochs, 0, kMaxEpochs, "N", "of training");
                flags.integer("train-images", network.train_images, 1, std::numeric_limits<int32_t>::max(),
                              "N", "the first N training images", "all");
                for (const char* key : {"epochs", "initializer", "train-images"})
                  if (!trained || key != std::string_view("epochs")) flags.exclusive({"weights", key});
              },
              {"train"});
  if (!network.given() && json.contains("layout")) fail("layout: it is of weights that are given");
  if (trained && network.given()) fail("train: the network is given by 'weights'");
  if (json.contains("name")) with_place("name", [&] { check_name(network.name); });
  if (network.given()) {
    const NamedFile file = named_files(
        {network.name.empty() ? network.model.weights : network.name + "=" + network.model.weights})[0];
    network.name = file.name;
    network.model.weights = file.file;
    return network;
  }
  const ZooEntry asked = asked_network(network.model);
  if (network.name.empty()) network.name = asked.name;
  if (network.initializer.empty()) network.initializer = asked.initializer;
  return network;
}

StudyDataset read_dataset(const Json& json) {
  StudyDataset dataset;
  read_object(json.is_string() ? Json{{"dataset", json}} : json, [&](Flags& flags) {
    add_data_flags(flags, dataset.data, "attack the first N images");
    add_rows_flags(flags, dataset.data);
    add_subset_flag(flags, dataset.subset);
  });
  return dataset;
}

// What attacks have of the study where they say none of their own.
struct Common {
  std::string norm = "linf";
  std::vector<Size> sizes;
  std::optional<double> until;

  void declare(Flags& flags) {
    flags.choice("norm", norm, {"linf", "l2", "l1"}, "");
    flags.sizes("eps", sizes, {.low = 0, .high = kMaxSize}, "SIZES", "");
    flags.number("until-robust", until, {.low = 0, .high = 1}, "SHARE", "", "all images");
  }
};

StudyAttack read_attack(const Json& json, const Common& common) {
  Common own = common;
  if (json.is_string()) {
    if (own.sizes.empty()) fail("eps is missing: the sizes");
    StudyAttack attack = parse_attack_spec(json.get<std::string>(), own.norm, own.sizes);
    attack.until = own.until;
    return attack;
  }
  if (!json.is_object()) fail("expected a name or an object, got {}", short_text(json));
  Json shared = Json::object();
  for (const char* key : {"norm", "eps", "until_robust", "until-robust"})
    if (json.contains(key)) shared[key] = json[key];
  read_object(shared, [&](Flags& flags) { own.declare(flags); });
  const Json attack = json.value("attack", Json());
  if (!attack.is_string()) fail("'attack' is missing: the name of an attack");
  if (own.sizes.empty()) fail("eps is missing: the sizes");
  const std::vector<std::string> words =
      words_of(json, {"name", "attack", "norm", "eps", "until_robust", "until-robust"});
  std::string name = attack.get<std::string>();
  for (const std::string& word : words) name += ":" + word;
  if (json.contains("name")) name = json["name"].is_string() ? json["name"].get<std::string>() : "";
  if (name.empty()) fail("'name' is no text");
  StudyAttack read = study_attack(name, attack.get<std::string>(), words, own.norm, own.sizes);
  read.until = own.until;
  return read;
}

// Each element of a list by `read`, whose problems are said with its place.
template <typename Value>
std::vector<Value> read_list(const Json& json, const char* key, const std::string& file,
                             const std::function<Value(const Json&)>& read) {
  const Json list = json.value(key, Json());
  if (!list.is_array() || list.empty())
    fail("{}: '{}' is {}: expected a list", file, key,
         list.is_array()  ? "empty"
         : list.is_null() ? "missing"
                          : "no list");
  std::vector<Value> values;
  for (size_t k = 0; k < list.size(); ++k)
    values.push_back(with_place(fmt::format("{}: {}[{}]", file, key, k), [&] { return read(list[k]); }));
  return values;
}

}  // namespace

StudyFile read_study(const Json& json, const std::string& file, int64_t seed) {
  StudyFile study;
  Common common;
  int64_t seeds = 1, first = seed;
  with_place(file, [&] {
    if (!json.is_object()) fail("expected an object, got {}", short_text(json));
    if (json.value("schema", Json("study/1")) != "study/1")
      fail("expected the schema study/1, got {}", short_text(json["schema"]));
    read_object(json,
                [&](Flags& flags) {
                  common.declare(flags);
                  flags.integer("seeds", seeds, 1, 1000, "N", "");
                  flags.integer("seed", first, 0, std::numeric_limits<int64_t>::max() - 1000, "N", "");
                  flags.numbers("shares", study.shares, {.low = 0, .high = 1, .open_low = true}, "SHARES",
                                "");
                },
                {"schema", "datasets", "networks", "attacks"});
  });
  study.seeds.clear();
  for (int64_t k = 0; k < seeds; ++k) study.seeds.push_back(first + k);
  study.datasets = read_list<StudyDataset>(json, "datasets", file, read_dataset);
  study.networks = read_list<StudyNetwork>(json, "networks", file, read_network);
  study.attacks = read_list<StudyAttack>(json, "attacks", file,
                                         [&](const Json& one) { return read_attack(one, common); });
  with_place(file, [&] {
    check_sweep(study.attacks);
    if (json.contains("shares") && std::ranges::all_of(study.networks, &StudyNetwork::given))
      fail("shares: they are of networks that are trained, and all are given");
    const bool defended = std::ranges::any_of(study.networks, [](const StudyNetwork& one) {
      return !std::ranges::all_of(one.trainings, &StudyTraining::plain);
    });
    for (const StudyAttack& attack : study.attacks) {
      if (attack.draws > 1 && !defended)
        fail("{}: --eot averages over what is random, and no network is trained by a defence", attack.name);
      if (attack.unaware && !defended)
        fail("{}: --unaware is of a defence that an attacker may know, and no network is trained by one",
             attack.name);
    }
    for (size_t k = 0; k < study.networks.size(); ++k) {
      for (size_t j = 0; j < k; ++j)
        if (study.networks[j].name == study.networks[k].name)
          fail("two networks are called {}; give one another 'name'", study.networks[k].name);
    }
  });
  return study;
}

}  // namespace caltrop
