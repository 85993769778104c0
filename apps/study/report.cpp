#include "apps/study/report.h"

#include "apps/core/console.h"
#include "apps/core/run_folder.h"
#include "apps/report/page.h"
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

void StudyReport::add_part(const std::string& title, const std::string& markdown, Json section) {
  parts_ += fmt::format("{}## {}\n\n{}", parts_.empty() ? "" : "\n", title, markdown);
  section["title"] = title;
  for (const char* name : {"text", "pictures", "table"})
    if (!section.contains(name)) section[name] = nullptr;
  sections_.push_back(std::move(section));
}

void StudyReport::part(const std::string& title, const std::string& markdown) {
  add_part(title, markdown, {{"text", Json::array({markdown})}});
}

void StudyReport::part(const std::string& title, const Table& table) {
  add_part(title, table.markdown(), {{"table", page_table(title, "", table)}});
}

void StudyReport::figures(const std::vector<std::string>& files, const std::string& title) {
  std::string markdown;
  for (const std::string& file : files) {
    result_["figures"].push_back(file);
    markdown += fmt::format("{}[{}]({})\n", file.ends_with(".png") ? "!" : "", file, file);
  }
  if (title.empty() || files.empty()) return;
  Json pictures = Json::array();
  for (const std::string& file : files)
    if (file.ends_with(".png")) pictures.push_back(file);
  add_part(title, markdown, {{"pictures", std::move(pictures)}});
}

void StudyReport::write(const std::string& opening) {
  place_.folder.write("report.md", opening + parts_);
  result_["report"] = "report.md";
}

void StudyReport::write_page(const std::string& title, const std::string& lead, const std::string& version) {
  place_.folder.write(
      "report.html",
      fill_page(parts_template(),
                {{"title", title}, {"lead", lead}, {"sections", sections_}, {"version", version}}));
  result_["page"] = "report.html";
}

}  // namespace caltrop
