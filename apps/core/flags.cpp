#include "apps/core/flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>
#include <type_traits>

#include "engine/text.h"

namespace caltrop {
namespace {

// CLI11's own numbers may be octal or nan, so that they are read here.
auto integer_reader(int64_t low, int64_t high) {
  return [low, high](const std::string& text) {
    int64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error == std::errc() && stop == end && value >= low && value <= high) return value;
    if (high == std::numeric_limits<int64_t>::max()) fail("expected a whole number of at least {}", low);
    fail("expected a whole number from {} to {}", low, high);
  };
}

std::string in_words(const Range& range) {
  std::vector<std::string> bounds;
  if (range.low > std::numeric_limits<double>::lowest())
    bounds.push_back(fmt::format(" {} {:g}", range.open_low ? "above" : "of at least", range.low));
  if (range.high < std::numeric_limits<double>::max())
    bounds.push_back(fmt::format(" {} {:g}", range.open_high ? "below" : "at most", range.high));
  return fmt::format("{}", fmt::join(bounds, " and"));
}

bool fits(double value, const Range& range) {
  return (range.open_low ? value > range.low : value >= range.low) &&
         (range.open_high ? value < range.high : value <= range.high);
}

auto number_reader(const Range& range) {
  return [range](const std::string& text) {
    const double value = parse_number(text).value_or(std::nan(""));
    if (!fits(value, range)) fail("expected a number{}", in_words(range));
    return value;
  };
}

auto size_reader(const Range& range) {
  return [range](const std::string& text) {
    const std::optional<Size> size = parse_size(text);
    if (!size || !fits(size->value, range)) fail("expected a number{}", in_words(range));
    return *size;
  };
}

auto sizes_reader(const Range& range) {
  return [range](const std::string& text) {
    std::optional<std::vector<Size>> sizes = parse_sizes(text);
    const bool good =
        sizes && std::ranges::all_of(*sizes, [&](const Size& size) { return fits(size.value, range); });
    if (!good) fail("expected numbers{}, as 0.01,8/255 or first:last:step", in_words(range));
    return *sizes;
  };
}

auto choice_reader(const std::vector<std::string>& choices) {
  return [choices](const std::string& text) {
    if (std::ranges::find(choices, text) == choices.end())
      fail("expected one of {}", fmt::join(choices, ", "));
    return text;
  };
}

std::string read_text(const std::string& text) {
  if (text.empty()) fail("expected a value that is not empty");
  return text;
}

template <typename Value, typename Read>
auto list_reader(Read read) {
  return [read](const std::string& text) {
    std::vector<Value> values;
    std::istringstream parts(text + ',');
    for (std::string part; std::getline(parts, part, ',');) values.push_back(read(part));
    return values;
  };
}

// As config.json stores a value; null where there is none.
template <typename Value>
Json in_json(const Value& value) {
  if constexpr (requires { value.has_value(); }) {
    return value ? Json(*value) : Json();
  } else if constexpr (requires { value.empty(); }) {
    return value.empty() ? Json() : Json(value);
  } else {
    return value;
  }
}

// As --help shows a default; "" where there is none.
std::string in_help(const Json& value) {
  if (value.is_null()) return "";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float()) return fmt::format("{:g}", value.get<double>());
  if (!value.is_array()) return value.dump();
  std::vector<std::string> parts;
  for (const Json& part : value) parts.push_back(in_help(part));
  return fmt::format("{}", fmt::join(parts, ","));
}

}  // namespace

Flags::Flags(std::string command) : command_(std::move(command)), app_(std::make_shared<CLI::App>()) {
  app_->set_help_flag("");
  app_->allow_extras();  // refused with a suggestion
}

template <typename Value, typename Read>
void Flags::add(const std::string& name, Value& value, const std::vector<std::string>& choices,
                const std::string& value_name, const std::string& help, const std::string& fallback,
                const Read& read) {
  const auto set = [&value, choices, name, read](const std::vector<std::string>& given) {
    if (given.size() > 1) throw CLI::ValidationError(fmt::format("{} is given {} times", name, given.size()));
    try {
      value = read(given[0]);
    } catch (const Error& problem) {
      throw CLI::ValidationError(name, fmt::format("{}, got '{}'{}", problem.what(), shown(given[0]),
                                                   did_you_mean(given[0], choices)));
    }
    return true;
  };
  const std::string shown_default = in_help(in_json(value));
  CLI::Option* option = app_->add_option(name, set, help)
                            ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
                            ->type_name(value_name)
                            ->default_str(shown_default.empty() ? fallback : shown_default)
                            ->group(group_);
  const std::string word = name.substr(name.starts_with("--") ? 2 : 0);
  flags_.push_back({word, is_config_fact(word) ? name : word, option, scope_, [&value] {
                      return in_json(value);
                    }});
}

void Flags::text(const std::string& name, std::string& value, const std::string& value_name,
                 const std::string& help, const std::string& fallback) {
  add("--" + name, value, {}, value_name, help, fallback, read_text);
}

void Flags::choice(const std::string& name, std::string& value, const std::vector<std::string>& choices,
                   const std::string& help) {
  add("--" + name, value, choices, fmt::format("{}", fmt::join(choices, "|")), help, "",
      choice_reader(choices));
}

void Flags::integer(const std::string& name, int64_t& value, int64_t low, int64_t high,
                    const std::string& value_name, const std::string& help) {
  add("--" + name, value, {}, value_name, help, "", integer_reader(low, high));
}

void Flags::integer(const std::string& name, std::optional<int64_t>& value, int64_t low, int64_t high,
                    const std::string& value_name, const std::string& help, const std::string& fallback) {
  add("--" + name, value, {}, value_name, help, fallback, integer_reader(low, high));
}

void Flags::number(const std::string& name, double& value, Range range, const std::string& value_name,
                   const std::string& help) {
  add("--" + name, value, {}, value_name, help, "", number_reader(range));
}

void Flags::number(const std::string& name, std::optional<double>& value, Range range,
                   const std::string& value_name, const std::string& help, const std::string& fallback) {
  add("--" + name, value, {}, value_name, help, fallback, number_reader(range));
}

void Flags::numbers(const std::string& name, std::vector<double>& values, Range range,
                    const std::string& value_name, const std::string& help, const std::string& fallback) {
  add("--" + name, values, {}, value_name, help, fallback, list_reader<double>(number_reader(range)));
}

void Flags::size(const std::string& name, std::optional<Size>& value, Range range,
                 const std::string& value_name, const std::string& help, const std::string& fallback) {
  add("--" + name, value, {}, value_name, help, fallback, size_reader(range));
}

void Flags::sizes(const std::string& name, std::vector<Size>& values, Range range,
                  const std::string& value_name, const std::string& help, const std::string& fallback) {
  add("--" + name, values, {}, value_name, help, fallback, sizes_reader(range));
}

void Flags::list(const std::string& name, std::vector<std::string>& values,
                 const std::vector<std::string>& choices, const std::string& value_name,
                 const std::string& help, const std::string& fallback) {
  add("--" + name, values, choices, value_name, help, fallback,
      list_reader<std::string>(choice_reader(choices)));
}

void Flags::texts(const std::string& name, std::vector<std::string>& values, const std::string& value_name,
                  const std::string& help, const std::string& fallback) {
  add("--" + name, values, {}, value_name, help, fallback, list_reader<std::string>(read_text));
}

void Flags::toggle(const std::string& name, bool& value, const std::string& help, const std::string& letter) {
  CLI::Option* option = app_->add_flag((letter.empty() ? "--" : "-" + letter + ",--") + name, value, help);
  option->group(group_);
  flags_.push_back({name, name, option, scope_, [&value] {
                      return Json(value);
                    }});
}

void Flags::positional(const std::string& name, std::string& value, const std::vector<std::string>& choices,
                       const std::string& help) {
  const std::string value_name = fmt::format("{}", fmt::join(choices, "|"));
  if (choices.empty()) return add(name, value, choices, value_name, help, "", read_text);
  add(name, value, choices, value_name, help, "", choice_reader(choices));
}

void Flags::exclusive(const std::vector<std::string>& names) {
  for (const std::string& one : names) {
    for (const std::string& other : names)
      if (one != other) find(one)->option->excludes(find(other)->option);
  }
}

const Flags::Flag* Flags::find(std::string_view name) const {
  const auto found = std::ranges::find(flags_, name, &Flag::name);
  return found == flags_.end() ? nullptr : &*found;
}

bool Flags::given(std::string_view name) const {
  const Flag* flag = find(name);
  return flag != nullptr && flag->option->count() > 0;
}

bool Flags::typed(const CLI::Option* option) const {
  return std::ranges::count(app_->parse_order(), option) > 0;
}

bool Flags::on_command_line(std::string_view name) const {
  const Flag* flag = find(name);
  return flag != nullptr && typed(flag->option);
}

bool Flags::parse(const std::vector<std::string>& arguments) {
  defaults_ = recipe();
  const auto is_help = [](const std::string& argument) {
    return argument == "-h" || argument == "--help";
  };
  if (std::ranges::any_of(arguments, is_help)) return false;
  try {
    app_->parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));  // CLI11 pops from the back
  } catch (const CLI::ArgumentMismatch&) {  // the one case: where the arguments end
    usage_error("{} needs a value", arguments.back());
  } catch (const CLI::ParseError& problem) {
    usage_error("{}", shown(problem.what(), 2000));
  }
  refuse_extras();
  if (const std::filesystem::path config = config_file(); !config.empty()) read_config(config);
  for (const Flag& flag : flags_) {
    if (!flag.option->get_positional() || !flag.get().is_null()) continue;
    const std::string choices = flag.option->get_type_name();
    usage_error("'caltrop {}' needs a {}{}{}", command_, flag.name, choices.empty() ? "" : ": ", choices);
  }
  check_outputs();
  return true;
}

void Flags::refuse_extras() const {
  for (const std::string& extra : app_->remaining()) {
    const std::string name = extra.substr(0, extra.find('='));
    if (name.size() < 2 || name[0] != '-') usage_error("unexpected argument '{}'", shown(extra));
    std::vector<std::string> names = {"--help"};
    for (const Flag& flag : flags_) names.push_back("--" + flag.name);
    usage_error("unknown option {}{}", shown(name), did_you_mean(name, names));
  }
}

// A result that replaces its own input is a slip of the hand that cannot be undone.
void Flags::check_outputs() const {
  const auto files_of = [this](const char* name) {
    const Flag* flag = find(name);
    Json value = flag ? flag->get() : Json();
    if (!value.is_array()) value = Json::array({value});
    std::vector<std::filesystem::path> files;
    for (const Json& one : value) {
      if (!one.is_string()) continue;
      const auto text = one.get<std::string>();
      files.emplace_back(text);
      files.emplace_back(text.substr(text.find('=') + 1));  // of NAME=FILE
    }
    return files;
  };
  const auto same = [](const std::filesystem::path& a, const std::filesystem::path& b) {
    std::error_code error;
    if (std::filesystem::equivalent(a, b, error)) return true;
    return !a.empty() && a != "-" &&
           std::filesystem::absolute(a).lexically_normal() == std::filesystem::absolute(b).lexically_normal();
  };
  const std::vector<const char*> outputs = {"json", "logits", "features"};
  std::vector<const char*> others = {"weights",     "config", "attacked", "indices",
                                     "target-file", "start",  "file"};
  for (const char* output : outputs) {
    for (const std::filesystem::path& to : files_of(output)) {
      for (const char* other : others) {
        for (const std::filesystem::path& from : files_of(other)) {
          if (!same(to, from)) continue;
          const bool positional = find(other)->option->get_positional();
          usage_error("--{} would overwrite the file of {}{}: {}", output, positional ? "" : "--",
                      positional ? "'" + command_ + "'" : other, from.string());
        }
      }
    }
    others.push_back(output);
  }
}

}  // namespace caltrop
