// The manual page of a command, laid out from its flags.
#include <algorithm>
#include <sstream>

#include "apps/core/flags.h"
#include "apps/core/text_layout.h"

namespace caltrop {
namespace {

constexpr size_t kIndent = 2;
constexpr size_t kHelpColumn = 28;

}  // namespace

std::string Flags::help(size_t width) const {
  std::string page = fmt::format("Usage: caltrop {} {}\n\n{}", command_, usage_, wrap(about_, width, 0));
  std::string group;
  for (const Flag& flag : flags_) {
    if (flag.group != group) {
      group = flag.group;
      page += fmt::format("\n{}\n", group);
    }
    std::string head = flag.positional ? flag.name : "--" + flag.name;
    if (!flag.letter.empty()) head.insert(0, fmt::format("-{}, ", flag.letter));
    if (!flag.value_name.empty()) head += " " + flag.value_name;
    std::string help = flag.help;
    if (flag.kind != Kind::toggle && !flag.default_text.empty()) help += " [" + flag.default_text + "]";
    const std::string body = wrap(help, width, kHelpColumn);
    page += std::string(kIndent, ' ') + head;
    if (kIndent + head.size() + 2 > kHelpColumn) {
      page += "\n" + body;
    } else {
      page += body.substr(kIndent + head.size());
    }
  }
  page += fmt::format("  -h, --help{}show this page\n", std::string(kHelpColumn - 12, ' '));
  for (const auto& [title, text] : sections_)
    page += fmt::format("\n{}\n{}", title, wrap(text, width, kIndent));
  if (!examples_.empty()) page += "\nExamples\n";
  for (const auto& [line, meaning] : examples_) {
    page += fmt::format("  {}\n{}", line, wrap(meaning, width, 3 * kIndent));
  }
  return page;
}

}  // namespace caltrop
