#include "apps/core/flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <sstream>

#include "apps/core/suggest.h"
#include "engine/text.h"

namespace caltrop {
namespace {

constexpr std::streamsize kMaxConfigBytes = 16 << 20;

std::string words(const std::vector<std::string>& choices) {
  return fmt::format("{}", fmt::join(choices, ", "));
}

std::string in_words(const Range& range) {
  const bool below = range.low > -std::numeric_limits<double>::max();
  const bool above = range.high < std::numeric_limits<double>::max();
  const std::string low = fmt::format("{}{:g}", range.open_low ? "above " : "", range.low);
  const std::string high = fmt::format("{}{:g}", range.open_high ? "below " : "", range.high);
  if (below && above && !range.open_low && !range.open_high) return fmt::format(" from {} to {}", low, high);
  if (below && above) {
    return fmt::format(" {} and {}", range.open_low ? low : "of at least " + low,
                       range.open_high ? high : "at most " + high);
  }
  if (below) return range.open_low ? " " + low : " of at least " + low;
  if (above) return range.open_high ? " " + high : " of at most " + high;
  return "";
}

int64_t read_integer(const std::string& text, int64_t low, int64_t high) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || value < low || value > high) {
    if (high == std::numeric_limits<int64_t>::max()) fail("expected a whole number of at least {}", low);
    fail("expected a whole number from {} to {}", low, high);
  }
  return value;
}

double read_number(const std::string& text, const Range& range) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  const bool fits = error == std::errc() && stop == end && std::isfinite(value) && value >= range.low &&
                    value <= range.high && !(range.open_low && value == range.low) &&
                    !(range.open_high && value == range.high);
  if (!fits) fail("expected a number{}", in_words(range));
  return value;
}

const std::string& read_choice(const std::string& text, const std::vector<std::string>& choices) {
  const auto found = std::find(choices.begin(), choices.end(), text);
  if (found == choices.end()) fail("expected one of {}", words(choices));
  return *found;
}

std::vector<std::string> split_commas(const std::string& text) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  if (parts.empty() || text.ends_with(',')) parts.emplace_back();
  return parts;
}

Json read_json(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::error_code error;
  if (!stream || std::filesystem::is_directory(path, error)) fail("cannot read --config {}", path.string());
  std::string text;
  char block[1 << 14];
  while (stream.read(block, sizeof block) || stream.gcount() > 0) {
    text.append(block, static_cast<size_t>(stream.gcount()));
    if (static_cast<std::streamsize>(text.size()) > kMaxConfigBytes) {
      fail("{}: expected a configuration of at most 16 MiB", path.string());
    }
  }
  try {
    return Json::parse(text);
  } catch (const Json::exception& problem) {
    fail("{}: expected JSON: {}", path.string(), shown(problem.what(), 160));
  }
}

}  // namespace

Flags::Flag& Flags::add(std::string name, Kind kind, std::string value_name, std::string help) {
  Flag flag;
  flag.name = std::move(name);
  flag.kind = kind;
  flag.value_name = std::move(value_name);
  flag.help = std::move(help);
  flag.group = group_;
  flag.scope = scope_;
  flags_.push_back(std::move(flag));
  return flags_.back();
}

void Flags::text(std::string name, std::string& value, std::string value_name, std::string help,
                 std::string fallback) {
  Flag& flag = add(std::move(name), Kind::text, std::move(value_name), std::move(help));
  flag.default_text = value.empty() ? std::move(fallback) : value;
  flag.set = [&value](const std::string& given) {
    if (given.empty()) fail("expected a value that is not empty");
    value = given;
  };
  flag.get = [&value]() {
    return value.empty() ? Json() : Json(value);
  };
}

void Flags::choice(std::string name, std::string& value, const std::vector<std::string>& choices,
                   std::string help) {
  Flag& flag = add(std::move(name), Kind::text, fmt::format("{}", fmt::join(choices, "|")), std::move(help));
  flag.default_text = value;
  flag.choices = choices;
  flag.set = [&value, choices](const std::string& given) {
    value = read_choice(given, choices);
  };
  flag.get = [&value]() {
    return value.empty() ? Json() : Json(value);
  };
}

void Flags::integer(std::string name, int64_t& value, int64_t low, int64_t high, std::string value_name,
                    std::string help) {
  Flag& flag = add(std::move(name), Kind::number, std::move(value_name), std::move(help));
  flag.default_text = std::to_string(value);
  flag.set = [&value, low, high](const std::string& given) {
    value = read_integer(given, low, high);
  };
  flag.get = [&value]() {
    return Json(value);
  };
}

void Flags::integer(std::string name, std::optional<int64_t>& value, int64_t low, int64_t high,
                    std::string value_name, std::string help, std::string fallback) {
  Flag& flag = add(std::move(name), Kind::number, std::move(value_name), std::move(help));
  flag.default_text = std::move(fallback);
  flag.set = [&value, low, high](const std::string& given) {
    value = read_integer(given, low, high);
  };
  flag.get = [&value]() {
    return value ? Json(*value) : Json();
  };
}

void Flags::number(std::string name, double& value, Range range, std::string value_name, std::string help) {
  Flag& flag = add(std::move(name), Kind::number, std::move(value_name), std::move(help));
  flag.default_text = fmt::format("{:g}", value);
  flag.set = [&value, range](const std::string& given) {
    value = read_number(given, range);
  };
  flag.get = [&value]() {
    return Json(value);
  };
}

void Flags::number(std::string name, std::optional<double>& value, Range range, std::string value_name,
                   std::string help, std::string fallback) {
  Flag& flag = add(std::move(name), Kind::number, std::move(value_name), std::move(help));
  flag.default_text = std::move(fallback);
  flag.set = [&value, range](const std::string& given) {
    value = read_number(given, range);
  };
  flag.get = [&value]() {
    return value ? Json(*value) : Json();
  };
}

void Flags::numbers(std::string name, std::vector<double>& values, Range range, std::string value_name,
                    std::string help, std::string fallback) {
  Flag& flag = add(std::move(name), Kind::list, std::move(value_name), std::move(help));
  flag.default_text = values.empty() ? std::move(fallback) : fmt::format("{:g}", fmt::join(values, ","));
  flag.set = [&values, range](const std::string& given) {
    std::vector<double> read;
    for (const std::string& part : split_commas(given)) read.push_back(read_number(part, range));
    values = std::move(read);
  };
  flag.get = [&values]() {
    return values.empty() ? Json() : Json(values);
  };
}

void Flags::list(std::string name, std::vector<std::string>& values, const std::vector<std::string>& choices,
                 std::string value_name, std::string help, std::string fallback) {
  Flag& flag = add(std::move(name), Kind::list, std::move(value_name), std::move(help));
  flag.default_text = values.empty() ? std::move(fallback) : fmt::format("{}", fmt::join(values, ","));
  flag.choices = choices;
  flag.set = [&values, choices](const std::string& given) {
    std::vector<std::string> read;
    for (const std::string& part : split_commas(given)) read.push_back(read_choice(part, choices));
    values = std::move(read);
  };
  flag.get = [&values]() {
    return values.empty() ? Json() : Json(values);
  };
}

void Flags::toggle(std::string name, bool& value, std::string help, std::string letter) {
  Flag& flag = add(std::move(name), Kind::toggle, "", std::move(help));
  flag.letter = std::move(letter);
  flag.set = [&value](const std::string& given) {
    value = given == "true";
  };
  flag.get = [&value]() {
    return Json(value);
  };
}

void Flags::positional(std::string name, std::string& value, const std::vector<std::string>& choices,
                       std::string help) {
  Flag& flag = add(std::move(name), Kind::text, fmt::format("{}", fmt::join(choices, "|")), std::move(help));
  flag.positional = true;
  flag.choices = choices;
  flag.set = [&value, choices](const std::string& given) {
    value = choices.empty() ? given : read_choice(given, choices);
  };
  flag.get = [&value]() {
    return value.empty() ? Json() : Json(value);
  };
}

Flags::Flag* Flags::find(std::string_view name) {
  for (Flag& flag : flags_) {
    if (flag.name == name) return &flag;
  }
  return nullptr;
}

const Flags::Flag* Flags::find(std::string_view name) const {
  return const_cast<Flags*>(this)->find(name);
}

std::vector<std::string> Flags::names() const {
  std::vector<std::string> all;
  for (const Flag& flag : flags_) {
    if (!flag.positional) all.push_back("--" + flag.name);
  }
  all.emplace_back("--help");
  return all;
}

bool Flags::given(std::string_view name) const {
  const Flag* flag = find(name);
  return flag != nullptr && flag->given;
}

bool Flags::on_command_line(std::string_view name) const {
  const Flag* flag = find(name);
  return flag != nullptr && flag->argument.has_value();
}

// A result that replaces its own input is a slip of the hand that cannot be undone.
void Flags::check_outputs() const {
  const auto file_of = [this](const char* name) -> std::filesystem::path {
    const Flag* flag = find(name);
    const Json value = flag ? flag->get() : Json();
    return value.is_string() ? value.get<std::string>() : "";
  };
  for (const char* output : {"json", "logits"}) {
    for (const char* input : {"weights", "config"}) {
      std::error_code error;
      if (file_of(output).empty() || file_of(input).empty()) continue;
      if (std::filesystem::equivalent(file_of(output), file_of(input), error)) {
        usage_error("--{} would overwrite the file of --{}: {}", output, input, file_of(input).string());
      }
    }
  }
}

bool Flags::parse(const std::vector<std::string>& arguments) {
  defaults_ = recipe();
  bool wants_help = false;
  read_arguments(arguments, wants_help);
  if (wants_help) return false;
  check_exclusive();
  if (const std::filesystem::path config = config_file(); !config.empty()) read_config(config);
  for (Flag& flag : flags_) {
    if (!flag.argument) continue;
    flag.given = true;
    try {
      flag.set(*flag.argument);
    } catch (const Error& problem) {
      const std::string name = flag.positional ? flag.name : "--" + flag.name;
      usage_error("{}: {}, got '{}'{}", name, problem.what(), shown(*flag.argument),
                  did_you_mean(*flag.argument, flag.choices));
    }
  }
  for (const Flag& flag : flags_) {
    if (flag.positional && !flag.given && flag.get().is_null()) {
      if (flag.choices.empty()) usage_error("'caltrop {}' needs a {}", command_, flag.name);
      usage_error("'caltrop {}' needs a word: one of {}", command_, words(flag.choices));
    }
  }
  check_outputs();
  return true;
}

// --config, or with --resume the one that the run in --out began with.
std::filesystem::path Flags::config_file() const {
  const auto argument = [&](const char* name) {
    const Flag* flag = find(name);
    return flag == nullptr ? std::nullopt : flag->argument;
  };
  if (const auto config = argument("config")) return *config;
  if (!argument("resume") || !argument("out")) return {};
  const std::filesystem::path own = std::filesystem::path(*argument("out")) / "config.json";
  std::error_code error;
  return std::filesystem::exists(own, error) ? own : std::filesystem::path();
}

void Flags::read_arguments(const std::vector<std::string>& arguments, bool& wants_help) {
  CLI::App app;
  app.set_help_flag("");
  app.add_flag("-h,--help", wants_help);
  app.allow_extras();
  for (Flag& flag : flags_) {
    if (flag.kind == Kind::toggle) {
      const std::string name = (flag.letter.empty() ? "--" : "-" + flag.letter + ",--") + flag.name;
      app.add_flag_function(name, [&flag](int64_t) { flag.argument = "true"; });
    } else {
      app.add_option_function<std::string>(flag.positional ? flag.name : "--" + flag.name,
                                           [&flag](const std::string& text) { flag.argument = text; })
          ->multi_option_policy(CLI::MultiOptionPolicy::Throw);
    }
  }
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));  // CLI11 pops from the back
  } catch (const CLI::ArgumentMismatch&) {
    // Which flag is to blame CLI11 says only in its own words: find it.
    if (wants_help) return;
    for (const Flag& flag : flags_) {
      const std::string name = "--" + flag.name;
      const auto times = std::count_if(arguments.begin(), arguments.end(), [&](const std::string& argument) {
        return argument == name || argument.starts_with(name + "=");
      });
      if (flag.kind == Kind::toggle || flag.positional) continue;
      if (times > 1) usage_error("{} is given {} times", name, times);
      if (!arguments.empty() && arguments.back() == name)
        usage_error("{} needs a value ({})", name, flag.value_name);
    }
    usage_error("the arguments do not fit");
  } catch (const CLI::ParseError& problem) {
    usage_error("{}", shown(problem.what(), 200));
  }
  if (wants_help) return;
  for (const std::string& extra : app.remaining()) {
    const std::string name = extra.substr(0, extra.find('='));
    if (name.size() > 1 && name[0] == '-') {
      usage_error("unknown option {}{}", shown(name), did_you_mean(name, names()));
    }
    usage_error("unexpected argument '{}'", shown(extra));
  }
}

void Flags::check_exclusive() const {
  for (const std::vector<std::string>& group : exclusive_) {
    std::string first;
    for (const std::string& name : group) {
      if (const Flag* flag = find(name); flag == nullptr || !flag->argument) continue;
      if (!first.empty()) usage_error("give --{} or --{}, not both", first, name);
      first = name;
    }
  }
}

void Flags::read_config(const std::filesystem::path& path) {
  const Json config = read_json(path);
  const std::string where = path.string();
  if (!config.is_object()) fail("{}: expected a JSON object, got {}", where, config.type_name());
  facts_ = Json::object();
  const std::vector<std::string>& facts = config_fact_keys();
  for (const auto& item : config.items()) {
    const std::string& key = item.key();
    const Json& value = item.value();
    if (key == "command" && value != command_) {
      fail("{}: it configures 'caltrop {}', not 'caltrop {}'", where,
           value.is_string() ? shown(value.get<std::string>()) : "?", command_);
    }
    // A flag of a fact's name is the flag: autoattack's --version.
    if (std::find(facts.begin(), facts.end(), key) != facts.end() && find(key) == nullptr) {
      facts_[key] = value;
      continue;
    }
    Flag* flag = find(key);
    if (flag == nullptr || key == "config") {
      std::vector<std::string> keys = facts;
      for (const Flag& known : flags_) keys.push_back(known.name);
      fail("{}: unknown key '{}'{}", where, shown(key), did_you_mean(key, keys));
    }
    const bool replaced = std::any_of(exclusive_.begin(), exclusive_.end(), [&](const auto& group) {
      return std::find(group.begin(), group.end(), key) != group.end() &&
             std::any_of(group.begin(), group.end(), [&](const auto& name) { return find(name)->argument; });
    });
    if (!replaced) set_from_json(*flag, value, where);
  }
}

void Flags::set_from_json(Flag& flag, const Json& value, const std::string& where) {
  std::string text;
  bool fits = false;
  if (flag.kind == Kind::text && value.is_string()) {
    text = value.get<std::string>();
    fits = true;
  } else if (flag.kind == Kind::number && value.is_number()) {
    text = value.dump();
    fits = true;
  } else if (flag.kind == Kind::toggle && value.is_boolean()) {
    text = value.get<bool>() ? "true" : "false";
    fits = true;
  } else if (flag.kind == Kind::list && value.is_array()) {
    fits = !value.empty();
    for (const Json& item : value) {
      fits = fits && (item.is_number() || item.is_string());
      if (!text.empty()) text += ',';
      text += item.is_string() ? item.get<std::string>() : item.dump();
    }
  }
  const std::string got = shown(value.dump(-1, ' ', false, Json::error_handler_t::replace));
  if (!fits) {
    static constexpr const char* kExpected[] = {"a text", "a number", "a list", "true or false"};
    fail("{}: \"{}\": expected {}, got {}", where, flag.name, kExpected[static_cast<int>(flag.kind)], got);
  }
  try {
    flag.set(text);
  } catch (const Error& problem) {
    fail("{}: \"{}\": {}, got {}{}", where, flag.name, problem.what(), got, did_you_mean(text, flag.choices));
  }
  flag.given = true;
}

Json Flags::recipe() const {
  Json result = Json::object();
  for (const Flag& flag : flags_) {
    if (flag.scope != Scope::recipe) continue;
    if (Json value = flag.get(); !value.is_null()) result[flag.name] = std::move(value);
  }
  return result;
}

const std::vector<std::string>& config_fact_keys() {
  static const std::vector<std::string> keys = {"command", "version", "commit", "data", "network", "inputs"};
  return keys;
}

}  // namespace caltrop
