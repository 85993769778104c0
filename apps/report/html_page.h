// HTML that is well formed by construction: text is escaped on its way in, and what is opened is closed. The
// pages are also XML, so that any parser can check them, and stand alone: one file, no script, nothing to load.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace caltrop {

class Html {
 public:
  Html() = default;
  // Text. Control characters, and bytes that are no UTF-8, become U+FFFD. No line ends between a number and its
  // per cent sign.
  explicit Html(std::string_view text);

  Html& operator+=(const Html& more) {
    code_ += more.code_;
    return *this;
  }
  const std::string& code() const { return code_; }
  bool empty() const { return code_.empty(); }

 private:
  friend Html tagged(std::string_view, const std::vector<std::pair<std::string_view, std::string>>&,
                     const Html&);
  friend std::string html_page(std::string_view, std::string_view, const Html&);
  std::string code_;
};

using Attributes = std::vector<std::pair<std::string_view, std::string>>;
Html tagged(std::string_view tag, const Attributes& attributes, const Html& inside);

// <tag attributes>children</tag>; children are Html or text.
template <typename... Children>
Html element(std::string_view tag, const Attributes& attributes, const Children&... children) {
  Html inside;
  ((inside += Html(children)), ...);
  return tagged(tag, attributes, inside);
}

// "data:image/png;base64,...": a picture as an address that needs no file.
std::string png_address(std::string_view png);

// A whole page: `body` under the style of apps/report/page.css, which knows light and dark, paper and phones.
std::string html_page(std::string_view language, std::string_view title, const Html& body);

}  // namespace caltrop
