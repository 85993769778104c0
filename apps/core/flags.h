// The flags of one command: one table serves the command line, --config files, config.json and --help.
//
// A flag is bound to a variable, which holds its default until parse(). Values come from three places, the
// later ones winning: the default, the JSON file of --config (with --resume, the config.json that the run
// began with), the command line. All go through one reader per kind, so that a value means and allows the
// same everywhere.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/core/json.h"
#include "apps/core/size.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace caltrop {

// A command line that cannot be understood: exit status 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

template <typename... Args>
[[noreturn]] void usage_error(fmt::format_string<Args...> text, Args&&... args) {
  throw UsageError(fmt::format(text, std::forward<Args>(args)...));
}

// Whether a flag belongs to the recipe of a run (config.json) or only says where and how to compute: --out,
// --threads, --quiet.
enum class Scope : uint8_t { recipe, local };

// What a number may be; NaN and infinities never. A number is a decimal or a quotient: 0.03 or 8/255.
struct Range {
  double low = -std::numeric_limits<double>::max(), high = std::numeric_limits<double>::max();
  bool open_low = false;   // low itself is refused
  bool open_high = false;  // high itself is refused
};

class Flags {
 public:
  // "train", "gma generate": what stands after `caltrop`.
  explicit Flags(std::string command);

  // For --help.
  void about(std::string text) { about_ = std::move(text); }
  void usage(std::string text) { usage_ = std::move(text); }  // what follows the command's name
  void example(std::string line, std::string meaning) {
    examples_.emplace_back(std::move(line), std::move(meaning));
  }
  void section(std::string title, std::string text) {
    sections_.emplace_back(std::move(title), std::move(text));
  }
  // The flags declared from now on stand under this title.
  void group(std::string title, Scope scope = Scope::recipe) { group_ = std::move(title), scope_ = scope; }

  // Declares --NAME. `value_name` is what --help shows for the value; an absent optional has no default, and
  // `fallback` then says in words what happens without the flag.
  void text(const std::string& name, std::string& value, const std::string& value_name,
            const std::string& help, const std::string& fallback = "");
  void choice(const std::string& name, std::string& value, const std::vector<std::string>& choices,
              const std::string& help);
  void integer(const std::string& name, int64_t& value, int64_t low, int64_t high,
               const std::string& value_name, const std::string& help);
  void integer(const std::string& name, std::optional<int64_t>& value, int64_t low, int64_t high,
               const std::string& value_name, const std::string& help, const std::string& fallback);
  void number(const std::string& name, double& value, Range range, const std::string& value_name,
              const std::string& help);
  void number(const std::string& name, std::optional<double>& value, Range range,
              const std::string& value_name, const std::string& help, const std::string& fallback);
  void numbers(const std::string& name, std::vector<double>& values, Range range,
               const std::string& value_name, const std::string& help,
               const std::string& fallback = "");  // comma-separated
  void size(const std::string& name, std::optional<Size>& value, Range range, const std::string& value_name,
            const std::string& help, const std::string& fallback);
  void sizes(const std::string& name, std::vector<Size>& values, Range range, const std::string& value_name,
             const std::string& help,
             const std::string& fallback = "");  // lists and ranges, apps/core/size.h
  void list(const std::string& name, std::vector<std::string>& values,
            const std::vector<std::string>& choices, const std::string& value_name, const std::string& help,
            const std::string& fallback = "");  // comma-separated
  void texts(const std::string& name, std::vector<std::string>& values, const std::string& value_name,
             const std::string& help, const std::string& fallback = "");  // comma-separated
  void toggle(const std::string& name, bool& value, const std::string& help, const std::string& letter = "");
  // A word without dashes, required unless the config names it or `value` holds a default; its key in
  // config.json is NAME.
  // Without choices any word will do.
  void positional(const std::string& name, std::string& value, const std::vector<std::string>& choices,
                  const std::string& help);

  // Of these flags one at most may be given; given on the command line it also replaces the others of a
  // --config.
  void exclusive(const std::vector<std::string>& names);

  // Reads the arguments after the command's name. False where --help was asked for (see help()).
  bool parse(const std::vector<std::string>& arguments);
  std::string help(size_t width) const;

  const std::string& command() const { return command_; }
  // Whether the command line or the --config file names it.
  bool given(std::string_view name) const;
  // Whether the command line does.
  bool on_command_line(std::string_view name) const;
  // The recipe's flags with their present values, as config.json stores them. Absent optionals are left out.
  Json recipe() const;
  // The recipe before any argument was read.
  const Json& defaults() const { return defaults_; }
  // What the --config file holds besides flags ("data", "version", ...); null without --config.
  const Json& config_facts() const { return facts_; }

 private:
  struct Flag {
    std::string name;
    std::string key;      // in config.json
    CLI::Option* option;  // its names, help, group, the name of its value, and the values given
    Scope scope;
    std::function<Json()> get;
  };
  template <typename Value, typename Read>
  void add(const std::string& name, Value& value, const std::vector<std::string>& choices,
           const std::string& value_name, const std::string& help, const std::string& fallback,
           const Read& read);
  const Flag* find(std::string_view name) const;
  bool typed(const CLI::Option* option) const;  // on the command line
  void refuse_extras() const;
  void check_outputs() const;
  std::filesystem::path config_file() const;
  void read_config(const std::filesystem::path& path);

  std::string command_, about_, usage_, group_;
  Scope scope_ = Scope::recipe;
  std::shared_ptr<CLI::App> app_;  // shared, for a type that only flags.cpp and help.cpp know can be no other
  std::vector<Flag> flags_;
  std::vector<std::pair<std::string, std::string>> examples_, sections_;
  Json facts_, defaults_;
};

// Keys of config.json that record facts and are no flags. A flag of such a name has its dashes in its key: the
// --version of autoattack.
const std::vector<std::string>& config_fact_keys();
bool is_config_fact(std::string_view key);

// "config/2": "schema" in config.json. Files of "config/1" have none.
inline constexpr const char* kConfigSchema = "config/2";
// A config.json of this schema or an older one, as this one has it; an Error where it is of another. `known`: an object
// that has the key of every flag.
Json current_config(Json config, const Json& known, const std::string& where);

}  // namespace caltrop
