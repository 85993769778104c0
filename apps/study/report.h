// What is shown of a study: tables as files, on the console and for --json; figures; and for people report.md, or
// report.html of the same parts.
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
  // A part of the report: whole lines of Markdown, or a table.
  void part(const std::string& title, const std::string& markdown);
  void part(const std::string& title, const Table& table);
  // Files in the folder; with a title a part as well.
  void figures(const std::vector<std::string>& files, const std::string& title = "");
  // report.md: the text before its parts, and they.
  void write(const std::string& opening);
  // report.html: the same as a page that stands alone but for its pictures. No part may be Markdown but plain text.
  void write_page(const std::string& title, const std::string& lead, const std::string& version);

  // The tables by name, "figures", "report".
  const Json& result() const { return result_; }

 private:
  const StudyPlace& place_;
  void add_part(const std::string& title, const std::string& markdown, Json section);

  std::string parts_;
  Json sections_ = Json::array();  // of the page
  Json result_ = {{"figures", Json::array()}};
};

}  // namespace caltrop
