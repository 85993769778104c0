// config.json as the flags of a command: reading it, what it holds, and what earlier versions wrote.
#include <CLI/CLI.hpp>
#include <algorithm>

#include "apps/core/flags.h"
#include "engine/text.h"

namespace caltrop {

// --config, or with --resume the one that the run in --out began with.
std::filesystem::path Flags::config_file() const {
  if (on_command_line("config")) return find("config")->get().get<std::string>();
  if (!on_command_line("resume") || !on_command_line("out")) return {};
  const auto own = std::filesystem::path(find("out")->get().get<std::string>()) / "config.json";
  std::error_code error;
  return std::filesystem::exists(own, error) ? own : std::filesystem::path();
}

// Values go to CLI11 as the text that the command line would have had, so that a file and the command line
// mean and allow the same.
void Flags::read_config(const std::filesystem::path& path) {
  const std::string where = path.string();
  Json known = Json::object();
  for (const Flag& flag : flags_) known[flag.key] = nullptr;
  const Json config = current_config(read_json(path), known, where);
  facts_ = Json::object();
  const auto text_of = [](const Json& value) {
    return value.is_string() ? value.get<std::string>() : value.dump();
  };
  for (const auto& [key, value] : config.items()) {
    if (key == "command" && value != command_) {
      fail("{}: it configures 'caltrop {}', not 'caltrop {}'", where,
           value.is_string() ? shown(value.get<std::string>()) : "?", command_);
    }
    if (is_config_fact(key)) {
      facts_[key] = value;
      continue;
    }
    const auto flag = std::ranges::find(flags_, key, &Flag::key);
    if (flag == flags_.end() || key == "config") {
      std::vector<std::string> keys = config_fact_keys();
      for (const Flag& known : flags_) keys.push_back(known.key);
      fail("{}: unknown key '{}'{}", where, shown(key), did_you_mean(key, keys));
    }
    const auto is_typed = [this](const CLI::Option* option) {
      return typed(option);
    };
    if (is_typed(flag->option) || std::ranges::any_of(flag->option->get_excludes(), is_typed)) continue;
    std::vector<std::string> parts;
    for (const Json& part : value.is_array() ? value : Json::array({value})) {
      if (!part.is_primitive() || part.is_null())
        fail("{}: --{}: expected a value or a list of values, got {}", where, flag->name, short_text(value));
      parts.push_back(text_of(part));
    }
    try {
      flag->option->add_result(fmt::format("{}", fmt::join(parts, ",")));
      flag->option->run_callback();
    } catch (const CLI::ParseError& problem) {
      fail("{}: {}", where, shown(problem.what(), 2000));
    }
  }
}

Json Flags::recipe() const {
  Json result = Json::object();
  for (const Flag& flag : flags_) {
    if (flag.scope != Scope::recipe) continue;
    if (Json value = flag.get(); !value.is_null()) result[flag.key] = std::move(value);
  }
  return result;
}

const std::vector<std::string>& config_fact_keys() {
  static const std::vector<std::string> keys = {"schema", "command", "version", "commit",
                                                "study",  "data",    "network", "inputs"};
  return keys;
}

bool is_config_fact(std::string_view key) {
  return std::ranges::count(config_fact_keys(), key) > 0;
}

Json current_config(Json config, const Json& known, const std::string& where) {
  if (!config.is_object()) fail("{}: expected a JSON object, got {}", where, config.type_name());
  if (const Json schema = config.value("schema", Json(kConfigSchema)); schema != kConfigSchema)
    fail("{}: expected the schema {}, got {}", where, kConfigSchema, short_text(schema));
  if (config.contains("schema")) return config;
  // In files of config/1 a flag of a fact's name has taken its place.
  for (const std::string& fact : config_fact_keys()) {
    if (!config.contains(fact) || !known.contains("--" + fact)) continue;
    config["--" + fact] = config[fact];
    config.erase(fact);
  }
  return config;
}

}  // namespace caltrop
