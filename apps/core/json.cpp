#include "apps/core/json.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <vector>

#include "engine/text.h"

namespace caltrop {
namespace {

// What follows `mark` in a message of the JSON library, whose names for errors and states stand before it.
std::string behind(std::string_view message, std::string_view mark) {
  const size_t found = message.find(mark);
  return shown(found == std::string_view::npos ? message : message.substr(found + mark.size()), 160);
}

}  // namespace

Json read_json(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::error_code error;
  if (!stream || std::filesystem::is_directory(path, error)) fail("cannot read {}", path.string());
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  // Of two equal keys the library would take the last without a word.
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  std::string twice;
  const auto once = [&](int /*depth*/, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    const bool again =
        event == Json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second;
    if (again && twice.empty()) twice = value.get<std::string>();
    return true;
  };
  try {
    Json json = Json::parse(text, once);
    if (!twice.empty()) fail("{}: the key '{}' comes twice in one object", path.string(), shown(twice));
    return json;
  } catch (const Json::parse_error& problem) {
    const std::string_view before = std::string_view(text).substr(0, problem.byte > 0 ? problem.byte - 1 : 0);
    const size_t line_begin = before.rfind('\n') + 1;  // 0 where there is none
    fail("{}: expected JSON: line {}, column {}: {}", path.string(), 1 + std::ranges::count(before, '\n'),
         1 + before.size() - line_begin, behind(problem.what(), " - "));
  } catch (const Json::exception& problem) {
    fail("{}: expected JSON: {}", path.string(), behind(problem.what(), "] "));
  }
}

Json with_schema(const std::string& schema, const Json& document) {
  Json stated = {{"schema", schema}};
  stated.update(document);
  return stated;
}

std::string json_text(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string short_text(const Json& json) {
  return shown(json.dump(-1, ' ', false, Json::error_handler_t::replace), 60);
}

}  // namespace caltrop
