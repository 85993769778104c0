#include "apps/report/page.h"

#include <cmath>
#include <cstdint>
#include <kainjow/mustache.hpp>
#include <set>

#include "engine/error.h"

namespace caltrop {
namespace {

namespace mustache = kainjow::mustache;

mustache::data data_of(const Json& json) {
  if (json.is_object()) {
    mustache::data object;
    for (const auto& [name, value] : json.items()) object.set(name, data_of(value));
    return object;
  }
  if (json.is_array()) {
    mustache::data list(mustache::data::type::list);
    for (const Json& value : json) list << data_of(value);
    return list;
  }
  if (json.is_null() || json == "") return false;
  if (json.is_boolean()) return json.get<bool>();
  return json.is_string() ? json.get<std::string>() : json.dump();
}

// Text as HTML and XML hold it: bytes that are no UTF-8, and control characters, become U+FFFD. No line ends between
// a number and its per cent sign.
std::string escaped(const std::string& text) {
  const std::string json = Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string clean;
  for (const char c : Json::parse(json).get<std::string>()) {
    const auto code = static_cast<unsigned char>(c);
    if ((code < 0x20 && c != '\n' && c != '\t') || code == 0x7F) {
      clean += "\uFFFD";
    } else if (c == '%' && clean.ends_with(' ')) {
      clean.replace(clean.size() - 1, 1, "\u00A0%");
    } else {
      clean += c;
    }
  }
  return mustache::html_escape(clean);
}

// The library writes nothing for a name without a value; a typing error should not go unseen.
class Values : public mustache::context<std::string> {
 public:
  using context::context;
  const mustache::data* get(const std::string& name) const override {
    const mustache::data* const value = context::get(name);
    if (value == nullptr) fail("[page] the template names '{}', which has no value", name);
    return value;
  }
};

std::string percent(const Measured& share) {
  if (std::isnan(share.value)) return "";
  const std::string value = fmt::format("{:.4g} %", 100 * share.value);
  if (share.low == share.high) return value;
  return fmt::format("{} ({:.3g}–{:.3g})", value, 100 * share.low, 100 * share.high);
}

}  // namespace

std::string fill_page(std::string_view page_template, const Json& values) {
  mustache::data data = data_of(values);
  data.set("style", std::string(page_style()));
  data.set("chart", mustache::partial([] { return std::string(chart_template()); }));
  mustache::mustache page{std::string(page_template)};
  page.set_custom_escape(escaped);
  Values context(&data);
  std::string html = page.render(context);
  if (!page.is_valid()) fail("[page] {}", page.error_message());
  return html;
}

Json page_chart(const std::string& id, const Figure& figure, const std::string& description) {
  const bool bars = !figure.groups.empty();
  std::set<double> places;
  Json titles = {bars ? "" : figure.x_label}, rows = Json::array();
  for (const Series& series : figure.series) {
    titles.push_back(series.title);
    places.insert(series.x.begin(), series.x.end());
  }
  for (const double place : places) {
    Json cells = {bars ? figure.groups.at(static_cast<size_t>(place)) : fmt::format("{:.4g}", place)};
    for (const Series& series : figure.series) {
      const auto i = static_cast<size_t>(std::ranges::find(series.x, place) - series.x.begin());
      cells.push_back(i < series.y.size() ? percent(series.y[i]) : "");
    }
    rows.push_back({{"cells", cells}});
  }
  return {{"title", figure.title},      {"note", figure.note},
          {"description", description}, {"drawing", svg_figure(id, figure)},
          {"titles", titles},           {"rows", rows}};
}

Json page_table(const std::string& title, const std::string& note, const Table& table) {
  const std::vector<std::vector<std::string>> lines = table.shown();
  Json rows = Json::array();
  for (size_t r = 1; r < lines.size(); ++r) rows.push_back({{"cells", lines[r]}});
  return {{"title", title}, {"note", note}, {"titles", lines[0]}, {"rows", rows}};
}

std::string png_address(std::string_view png) {
  // RFC 4648. No library that is linked here has it.
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out = "data:image/png;base64,";
  for (size_t i = 0; i < png.size(); i += 3) {
    uint32_t group = 0;  // three bytes, four digits
    for (size_t k = 0; k < 3; ++k)
      group = group << 8 | (i + k < png.size() ? static_cast<uint8_t>(png[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) out += i + k <= png.size() ? digits[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

}  // namespace caltrop
