// What is shown of a study: tables as files, on the console and for --json; figures; and report.md for people.
#pragma once

#include <string>
#include <vector>

#include "apps/core/json.h"
#include "apps/report/table.h"

namespace caltrop {

struct StudyPlace;

class StudyReport {
 public:
  explicit StudyReport(const StudyPlace& place) : place_(place) {}

  // NAME.csv and NAME.json, and for --json.
  void keep(const std::string& name, const Table& table);
  // The same, and on the console below its title `layout`, the table for people.
  void show(const std::string& name, const Table& table, const std::string& title, const Table& layout);
  // A part of report.md: whole lines of Markdown.
  void part(const std::string& title, const std::string& markdown);
  // Files in the folder; with a title a part as well.
  void figures(const std::vector<std::string>& files, const std::string& title = "");
  // report.md: the text before its parts, and they.
  void write(const std::string& opening);

  // The tables by name, "figures", "report".
  const Json& result() const { return result_; }

 private:
  const StudyPlace& place_;
  std::string parts_;
  Json result_ = {{"figures", Json::array()}};
};

}  // namespace caltrop
