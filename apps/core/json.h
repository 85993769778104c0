// JSON, as files of this program hold it.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/error.h"

namespace caltrop {

using Json = nlohmann::ordered_json;

// An Error of one line where the file cannot be read, is no JSON (it says where that shows, by line and column), or
// has a key twice in one object.
Json read_json(const std::filesystem::path& path);

// A document that says its schema, NAME/VERSION (docs/files.md), before all else.
Json with_schema(const std::string& schema, const Json& document);

// The text of a file: indented by 2, ended by a line break; what is no UTF-8 is replaced.
std::string json_text(const Json& json);
// A value within a line, cut to what a line bears.
std::string short_text(const Json& json);

}  // namespace caltrop
