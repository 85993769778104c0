#include "apps/core/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "apps/core/build_info.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/report/table.h"
#include "engine/atomic_file.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

// What a killed process may have left of a file that was being written.
bool is_temporary(const fs::path& file) {
  const std::string name = file.filename().string();
  return name.starts_with('.') && name.ends_with(".tmp");
}

fs::directory_iterator open_folder(const fs::path& path) {
  std::error_code error;
  fs::directory_iterator entries(path, error);
  if (error) fail("cannot read the folder {}: {}", path.string(), error.message());
  return entries;
}

void remove_temporaries(const fs::path& path) {
  for (const auto& entry : open_folder(path)) {
    std::error_code error;
    if (is_temporary(entry.path())) fs::remove(entry.path(), error);
  }
}

// "--steps" of a flag's place, "the study's networks[0].epochs" of one within a fact.
std::string words_of(Json::json_pointer place) {
  std::vector<std::string> parts;
  for (; !place.empty(); place.pop_back()) parts.insert(parts.begin(), place.back());
  if (std::ranges::count(config_fact_keys(), parts[0]) == 0) return "--" + parts[0];
  std::string words = "the " + parts[0];
  for (size_t k = 1; k < parts.size(); ++k) {
    const bool index = parts[k].find_first_not_of("0123456789") == std::string::npos;
    words += index ? "[" + parts[k] + "]" : (k == 1 ? "'s " : ".") + parts[k];
  }
  return words;
}

// A folder resumed by a newer build is still the same run: a flag that it does not know, or that is known no more to be read,
// had its default.
void expect_same_run(const fs::path& folder, Json before, const RunConfig& config) {
  Json now = config.values;
  for (const auto& [key, value] : now.items()) {
    if (!before.contains(key)) before[key] = config.defaults.value(key, Json());
  }
  for (const auto& [key, value] : before.items()) {
    if (!now.contains(key)) now[key] = config.defaults.value(key, Json());
  }
  for (const Json& step : Json::diff(before, now)) {
    const auto text = step.at("path").get<std::string>();
    if (text == "/version" || text == "/commit" || text == "/schema" || text == config.named) continue;
    const Json::json_pointer place(text);
    const Json old_value = before.contains(place) ? before.at(place) : Json(),
               new_value = step.value("value", Json());
    if (text == config.growing && old_value.is_number() && old_value < new_value) continue;
    fail("--resume: the run in {} has {} {}, not {}", folder.string(), words_of(place),
         old_value.is_null() ? "unset" : short_text(old_value),
         new_value.is_null() ? "unset" : short_text(new_value));
  }
}

bool has_changed(const Json& before, const Json& now, const std::string& place) {
  if (place.empty()) return false;
  const Json::json_pointer at(place);
  return before.value(at, Json()) != now.value(at, Json());
}

// The flag whose file the fingerprint `key` among the inputs is of: --target-file of "target_file_crc32".
std::string flag_of_input(std::string key) {
  key.resize(key.find("_crc32"));
  std::ranges::replace(key, '_', '-');
  return key;
}

// --config repeats a run, so images and files must be those that it records, unless flags given beside it
// choose others.
void expect_same_inputs(const Flags& flags, const Json& now) {
  if (!flags.on_command_line("config")) return;  // --resume compares whole runs
  const auto compare = [&](const Json& was, const Json& is, const std::string& words,
                           const std::vector<std::string>& chosen_by) {
    const bool chosen =
        std::ranges::any_of(chosen_by, [&](const std::string& flag) { return flags.on_command_line(flag); });
    if (chosen || was.is_null() || is.is_null() || was == is) return;
    fail("--config: that run had other {}: it recorded {}, here they are {}; give --{} to choose them anew",
         words, short_text(was), short_text(is), chosen_by[0]);
  };
  const auto fact = [](const Json& facts, const char* key) {
    return facts.is_object() ? facts.value(key, Json()) : Json();
  };
  const Json& before = flags.config_facts();
  compare(fact(before, "data"), fact(now, "data"), "images", data_flags());
  const Json were = fact(before, "inputs"), are = fact(now, "inputs");
  for (const auto& [key, is] : are.items()) {
    const std::string flag = flag_of_input(key);
    compare(fact(were, key.c_str()), is, flag == "weights" ? flag : "contents of --" + flag, {flag});
  }
}

}  // namespace

RunConfig make_config(const Flags& flags, const Json& facts, const Unused& unused) {
  expect_same_inputs(flags, facts);
  Json config = {
      {"schema", kConfigSchema}, {"command", flags.command()}, {"version", version()}, {"commit", commit()}};
  Json recipe = flags.recipe();
  for (const std::string& flag : unused) recipe.erase(flag);
  config.update(recipe);
  if (!facts.is_null()) config.update(facts);
  return {std::move(config), flags.defaults()};
}

Json result_of(const RunConfig& config, const std::string& schema, Json result) {
  Json stated = with_schema(schema, result), run = Json::object();
  for (const char* key : {"version", "commit", "seed", "data", "network", "inputs"}) {
    if (config.values.contains(key)) run[key] = config.values[key];
  }
  stated["run"] = std::move(run);
  return stated;
}

RunFolder::RunFolder(const fs::path& path, const RunConfig& config, bool resume)
    : path_(path), config_(config) {
  if (path_.empty()) return;
  std::error_code error;
  made_ = fs::create_directories(path_, error);
  if (error) fail("cannot create the folder {}: {}", path_.string(), error.message());
  lock_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ < 0) fail("cannot open the folder {}: {}", path_.string(), std::strerror(errno));
  try {
    // A file system without locks only loses the protection against a second process.
    if (::flock(lock_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      fail("another process is writing to the folder {}", path_.string());
    }
    check(path_, resume);
    remove_temporaries(path_);
    if (has("config.json")) {
      const Json before =
          current_config(read_json("config.json"), config.defaults, file("config.json").string());
      expect_same_run(path_, before, config);
      resumed_ = true;
      if (has_changed(before, config.values, config.growing) ||
          has_changed(before, config.values, config.named))
        write_json("config.json", config.values);
    } else {
      write_json("config.json", config.values);
    }
    say_when_interrupted(fmt::format("interrupted; continue with: caltrop {} --resume --out {}",
                                     config.values.value("command", ""), path_.string()));
  } catch (...) {
    if (made_) fs::remove(path_, error);  // unless something is in it
    ::close(lock_);
    throw;
  }
}

void RunFolder::check(const fs::path& path, bool resume) {
  if (resume && path.empty()) usage_error("--resume needs the --out of the run");
  std::error_code error;
  if (path.empty() || !fs::exists(path, error)) return;
  if (!fs::is_directory(path, error)) fail("{} is not a folder; choose another --out", path.string());
  const bool holds_run = fs::exists(path / "config.json", error);
  if (holds_run && !resume) {
    fail("the folder {} already holds a run; continue it with --resume or choose another --out",
         path.string());
  }
  if (holds_run) return;
  for (const auto& entry : open_folder(path)) {
    if (!is_temporary(entry.path())) {
      fail("the folder {} is not empty and holds no run; choose another --out", path.string());
    }
  }
}

RunFolder::~RunFolder() {
  if (path_.empty()) return;
  if (made_ && std::uncaught_exceptions() > exceptions_) {
    std::error_code error;
    const auto entries = std::distance(fs::directory_iterator(path_, error), fs::directory_iterator());
    if (!error && entries == 1 && fs::remove(file("config.json"), error)) fs::remove(path_, error);
  }
  ::close(lock_);
}

Json RunFolder::recorded(const fs::path& path) {
  std::error_code error;
  const fs::path file = path / "config.json";
  return !path.empty() && fs::exists(file, error) ? caltrop::read_json(file) : Json();
}

bool RunFolder::has(const std::string& name) const {
  std::error_code error;
  return fs::exists(file(name), error);
}

void RunFolder::write(const std::string& name, std::string_view bytes) const {
  if (!path_.empty()) write_file_atomically(file(name), bytes);
}

void RunFolder::write_json(const std::string& name, const Json& json) const {
  write(name, json_text(json));
}

Json RunFolder::read_json(const std::string& name) const {
  return caltrop::read_json(file(name));
}

Json RunFolder::read_rows(const std::string& name) const {
  const Json table = read_json(name);
  if (table.is_array()) return table;
  if (!table.is_object() || table.value("schema", Json()) != "table/1" || !table.contains("rows"))
    fail("{}: expected a table/1", file(name).string());
  return table["rows"];
}

void RunFolder::write_table(const std::string& stem, const Table& table) const {
  write(stem + ".csv", table.csv());
  write_json(stem + ".json", result_of(config_, "table/1", {{"rows", table.json()}}));
}

MetricsLog::MetricsLog(const fs::path& path, int64_t keep) : path_(path) {
  int64_t bytes = 0;
  if (keep > 0) {
    std::ifstream stream(path, std::ios::binary);
    std::string line;
    for (int64_t i = 0; i < keep; ++i) {
      // getline that meets the end of the file before a line break has read half a line.
      if (!std::getline(stream, line) || stream.eof()) {
        fail("{}: expected the lines of {} epochs, found {}", path.string(), keep, i);
      }
      bytes += static_cast<int64_t>(line.size()) + 1;
      lines_.push_back(Json::parse(line, nullptr, false));
      if (lines_.back().is_discarded()) fail("{}: line {} is not JSON", path.string(), i + 1);
    }
  }
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail("cannot write {}: {}", path.string(), std::strerror(errno));
  if (::ftruncate(descriptor_, bytes) != 0 || ::lseek(descriptor_, 0, SEEK_END) < 0) {
    const int reason = errno;
    ::close(descriptor_);
    fail("cannot write {}: {}", path.string(), std::strerror(reason));
  }
}

Json MetricsLog::read(const fs::path& path) {
  Json lines = Json::array();
  std::ifstream stream(path, std::ios::binary);
  for (std::string line; std::getline(stream, line);) {
    lines.push_back(Json::parse(line, nullptr, false));
    if (lines.back().is_discarded()) fail("{}: line {} is not JSON", path.string(), lines.size());
  }
  return lines;
}

MetricsLog::~MetricsLog() {
  ::close(descriptor_);
}

void MetricsLog::append(const Json& line) {
  const std::string text = line.dump() + "\n";
  for (size_t done = 0; done < text.size();) {
    const ssize_t written = ::write(descriptor_, text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("cannot write {}: {}", path_.string(), std::strerror(errno));
    done += static_cast<size_t>(written);
  }
  lines_.push_back(line);
  // The checkpoint that follows counts on this line.
  if (::fsync(descriptor_) != 0 && errno != EINVAL)
    fail("cannot write {}: {}", path_.string(), std::strerror(errno));
}

}  // namespace caltrop
