// The manual page of a command, laid out from its flags. (CLI11's own page breaks no lines.)
#include <CLI/CLI.hpp>

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
  const auto entry = [&](const std::string& head, const std::string& help) {
    const std::string body = wrap(help, width, kHelpColumn);
    page += std::string(kIndent, ' ') + head;
    page += kIndent + head.size() + 2 > kHelpColumn ? "\n" + body : body.substr(kIndent + head.size());
  };
  for (const Flag& flag : flags_) {
    if (flag.option->get_group() != group) {
      group = flag.option->get_group();
      page += fmt::format("\n{}\n", group);
    }
    std::string head = flag.option->get_name(true, true), help = flag.option->get_description();
    if (const size_t comma = head.find(','); comma != std::string::npos) head.insert(comma + 1, " ");
    if (!flag.option->get_type_name().empty()) head += " " + flag.option->get_type_name();
    if (!flag.option->get_default_str().empty()) help += " [" + flag.option->get_default_str() + "]";
    entry(head, help);
  }
  entry("-h, --help", "show this page");
  for (const auto& [title, text] : sections_)
    page += fmt::format("\n{}\n{}", title, wrap(text, width, kIndent));
  if (!examples_.empty()) page += "\nExamples\n";
  for (const auto& [line, meaning] : examples_) {
    page += fmt::format("  {}\n{}", line, wrap(meaning, width, 3 * kIndent));
  }
  return page;
}

}  // namespace caltrop
