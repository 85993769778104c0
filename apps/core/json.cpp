#include "apps/core/json.h"

#include <fstream>

#include "engine/text.h"

namespace caltrop {

Json read_json(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::error_code error;
  if (!stream || std::filesystem::is_directory(path, error)) fail("cannot read {}", path.string());
  try {
    return Json::parse(stream);
  } catch (const Json::exception& problem) {
    fail("{}: expected JSON: {}", path.string(), shown(problem.what(), 160));
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
