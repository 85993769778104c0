// The folder of a run: config.json, which repeats it, and its results.
//
// Nothing in it depends on when, where or with how many threads it was computed, so that the same recipe
// gives the same bytes. Every file appears whole (written beside its place, then renamed) but metrics.jsonl,
// which grows line by line and is cut back to the checkpoint when a run is resumed.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "apps/core/flags.h"
#include "apps/report/table.h"

namespace caltrop {

// Everything needed to repeat a run: the command, its recipe flags as resolved, the program's version, and
// `facts` (see config_fact_keys): the data set's fingerprint, the network's line.
struct RunConfig {
  Json values;    // config.json
  Json defaults;  // of the flags: what a run did that was made before a flag existed
  // A number that --resume may raise, by its place ("/seeds", a JSON pointer): the run goes on to it.
  std::string growing = {};
  // A flag that --resume may change ("/file"): what it names stands in the facts.
  std::string named = {};
};
// facts: null where there are none. unused: flags that this run does not read; config.json leaves them out.
using Unused = std::vector<std::string>;
RunConfig make_config(const Flags& flags, const Json& facts, const Unused& unused = {});

// A result as a file states it: "schema" before it, and behind it, in "run", what it came of: the program's version, the
// seed, the fingerprints of weights and data. A table says the same.
Json result_of(const RunConfig& config, const std::string& schema, Json result);

class RunFolder {
 public:
  // Takes the folder for the run `config`; call it when everything else has been checked. Without `resume`
  // the folder must be new or empty. With it, a folder that holds a run must hold the same one: an Error
  // names the first option that differs. A second process in the same folder is an Error. From here on, who
  // interrupts the program is told how to continue. An empty path stands for no folder: what is written to it
  // goes nowhere.
  RunFolder(const std::filesystem::path& path, const RunConfig& config, bool resume);
  // Where the run fails before it has a result, a new folder does not remain.
  ~RunFolder();

  // The folder's part of those checks, for before the work: what is wrong with an --out ("" for none) costs
  // no time to find out.
  static void check(const std::filesystem::path& path, bool resume);
  // What the config.json there says; null where there is none.
  static Json recorded(const std::filesystem::path& path);
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path file(const std::string& name) const { return path_ / name; }
  bool has(const std::string& name) const;
  bool resumed() const { return resumed_; }  // it held this run before

  void write(const std::string& name, std::string_view bytes) const;
  void write_json(const std::string& name, const Json& json) const;
  Json read_json(const std::string& name) const;  // an Error where it is damaged
  Json read_rows(const std::string& name) const;  // of a table; of versions before table/1 too, an array
  void write_table(const std::string& stem,
                   const Table& table) const;  // stem.csv, stem.json: {"schema", "rows", "run"}

 private:
  std::filesystem::path path_;
  RunConfig config_;
  bool resumed_ = false, made_ = false;
  int lock_ = -1, exceptions_ = std::uncaught_exceptions();
};

// metrics.jsonl: one JSON object for each epoch.
class MetricsLog {
 public:
  // Keeps the first `keep` lines of what is there; an Error where there are fewer.
  MetricsLog(const std::filesystem::path& path, int64_t keep);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  void append(const Json& line);
  // The lines of a file that is complete; an Error where one is damaged. None where there is no file.
  static Json read(const std::filesystem::path& path);
  const Json& lines() const { return lines_; }  // an array: those kept and those appended

 private:
  std::filesystem::path path_;
  Json lines_ = Json::array();
  int descriptor_ = -1;
};

}  // namespace caltrop
