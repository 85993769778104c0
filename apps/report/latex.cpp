#include "apps/report/latex.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <sstream>

#include "engine/error.h"

namespace caltrop {
namespace {

std::string number_of(const LatexNumber& number) {
  if (!number.bound.empty()) return "$" + number.bound + "$";
  if (!number.value) return "--";
  std::string text = fmt::format("{:.2f}", 100 * number.value->mean);
  if (number.value->deviation) text += fmt::format(" \\pm {:.2f}", 100 * *number.value->deviation);
  return number.best ? "$\\mathbf{" + text + "}$" : "$" + text + "$";
}

}  // namespace

std::string latex_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '\\':
        out += "\\textbackslash{}";
        break;
      case '~':
        out += "\\textasciitilde{}";
        break;
      case '<':
        out += "\\textless{}";
        break;
      case '>':
        out += "\\textgreater{}";
        break;
      case '^':
        out += "\\textasciicircum{}";
        break;
      case '_':
      case '%':
      case '&':
      case '#':
      case '$':
      case '{':
      case '}':
        out += '\\';
        [[fallthrough]];
      default:
        out += c;
    }
  }
  return out;
}

std::string latex_of(const LatexTable& table) {
  std::string page;
  std::istringstream comment(table.comment);
  for (std::string line; std::getline(comment, line);) page += "% " + line + "\n";
  std::vector<std::string> titles;
  for (const std::string& word : table.words) titles.push_back(latex_text(word));
  titles.insert(titles.end(), table.numbers.begin(), table.numbers.end());
  page += fmt::format("\\begin{{tabular}}{{{}{}}}\n\\toprule\n{} \\\\\n\\midrule\n",
                      std::string(table.words.size(), 'l'), std::string(table.numbers.size(), 'r'),
                      fmt::join(titles, " & "));
  for (size_t r = 0; r < table.rows.size(); ++r) {
    const LatexRow& row = table.rows[r];
    if (row.words.size() != table.words.size() || row.numbers.size() != table.numbers.size())
      fail("[latex] row {} has {} + {} columns, the table {} + {}", r, row.words.size(), row.numbers.size(),
           table.words.size(), table.numbers.size());
    if (row.begins_group && r > 0) page += "\\midrule\n";
    std::vector<std::string> cells;
    for (const std::string& word : row.words) cells.push_back(latex_text(word));
    for (const LatexNumber& number : row.numbers) cells.push_back(number_of(number));
    page += fmt::format("{} \\\\\n", fmt::join(cells, " & "));
  }
  return page + "\\bottomrule\n\\end{tabular}\n";
}

}  // namespace caltrop
