#include "apps/report/html_page.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "apps/report/page_style.h"
#include "engine/error.h"

namespace caltrop {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// The length of the UTF-8 sequence that `text` begins with; 0 where it begins with none (RFC 3629: no
// surrogates, nothing longer than need be, nothing above U+10FFFF).
size_t sequence_length(std::string_view text) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0};
  };
  const auto follows = [&](size_t i, uint8_t low = 0x80, uint8_t high = 0xBF) {
    return byte(i) >= low && byte(i) <= high;
  };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return follows(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool second = follows(1, first == 0xE0 ? 0xA0 : 0x80, first == 0xED ? 0x9F : 0xBF);
    return second && follows(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool second = follows(1, first == 0xF0 ? 0x90 : 0x80, first == 0xF4 ? 0x8F : 0xBF);
    return second && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

std::string escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t length = sequence_length(text);
    const std::string_view one = text.substr(0, std::max<size_t>(1, length));
    const auto c = static_cast<unsigned char>(one[0]);
    const bool control = (c < 0x20 && c != '\n' && c != '\t') || c == 0x7F;
    if (length == 0 || control) {
      out += kReplacement;
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (text.starts_with(" %")) {
      out += "\xC2\xA0";
    } else {
      out += one;
    }
    text.remove_prefix(one.size());
  }
  return out;
}

// Elements that hold nothing: HTML forbids them an end tag, XML wants them closed.
bool is_void(std::string_view tag) {
  static constexpr std::array<std::string_view, 8> tags = {"br",   "img",  "meta", "circle",
                                                           "line", "path", "rect", "polyline"};
  return std::find(tags.begin(), tags.end(), tag) != tags.end();
}

// RFC 4648. No library that is linked here has it.
std::string base64(std::string_view bytes) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;  // three bytes, four digits
    for (size_t k = 0; k < 3; ++k) {
      group = group << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0u);
    }
    for (size_t k = 0; k < 4; ++k) {
      out += i + k <= bytes.size() ? digits[group >> (18 - 6 * k) & 63] : '=';
    }
  }
  return out;
}

}  // namespace

Html::Html(std::string_view text) : code_(escaped(text)) {}

Html tagged(std::string_view tag, const Attributes& attributes, const Html& inside) {
  Html result;
  std::string& code = result.code_;
  code.append("<").append(tag);
  for (const auto& [name, value] : attributes) {
    code.append(" ").append(name).append("=\"").append(escaped(value)).append("\"");
  }
  if (inside.empty() && is_void(tag)) {
    code += "/>";
    return result;
  }
  code.append(">").append(inside.code_).append("</").append(tag).append(">");
  return result;
}

std::string png_address(std::string_view png) {
  return "data:image/png;base64," + base64(png);
}

std::string html_page(std::string_view language, std::string_view title, const Html& body) {
  const std::string_view style = page_style();
  // A style sheet is not escaped: neither HTML nor XML would read it the same.
  if (style.find_first_of("<&") != std::string_view::npos) fail("[html] a style sheet without < and &");
  Html sheet;
  sheet.code_ = style;
  Html head = element("meta", {{"charset", "utf-8"}});
  head += element("meta", {{"name", "viewport"}, {"content", "width=device-width, initial-scale=1"}});
  head += element("meta", {{"name", "color-scheme"}, {"content", "light dark"}});
  head += element("title", {}, title);
  head += element("style", {}, sheet);
  return "<!DOCTYPE html>\n" +
         element("html", {{"lang", std::string(language)}}, element("head", {}, head),
                 element("body", {}, body))
             .code() +
         "\n";
}

}  // namespace caltrop
