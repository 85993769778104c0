#include "apps/study/report.h"

#include "apps/core/console.h"
#include "apps/core/run_folder.h"
#include "apps/study/run.h"

namespace caltrop {

void StudyReport::keep(const std::string& name, const Table& table) {
  place_.folder.write_table(name, table);
  result_[name] = table.json();
}

void StudyReport::show(const std::string& name, const Table& table, const std::string& title,
                       const Table& layout) {
  keep(name, table);
  place_.console.blank();
  if (!title.empty()) place_.console.say("{}", title);
  place_.console.say(layout);
}

void StudyReport::part(const std::string& title, const std::string& markdown) {
  parts_ += fmt::format("{}## {}\n\n{}", parts_.empty() ? "" : "\n", title, markdown);
}

void StudyReport::figures(const std::vector<std::string>& files, const std::string& title) {
  std::string markdown;
  for (const std::string& file : files) {
    result_["figures"].push_back(file);
    markdown += fmt::format("{}[{}]({})\n", file.ends_with(".png") ? "!" : "", file, file);
  }
  if (!title.empty() && !files.empty()) part(title, markdown);
}

void StudyReport::write(const std::string& opening) {
  place_.folder.write("report.md", opening + parts_);
  result_["report"] = "report.md";
}

}  // namespace caltrop
