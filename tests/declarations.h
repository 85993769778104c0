// The function declarations of a header, read from its source: how a suite notices that something public has
// no test yet.
#pragma once

#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace caltrop::test {

// Each text between two of ; { } that holds a parenthesis, without comments, preprocessor lines and extra
// spaces: "Tensor sum(const Tensor& x, const std::vector<int>& axes, bool keep = false)".
inline std::vector<std::string> declarations(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::string text, line;
  while (std::getline(file, line)) {
    if (!line.starts_with('#')) text += line.substr(0, line.find("//")) + ' ';
  }
  std::vector<std::string> found;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find_first_of(";{}", begin), text.size());
    std::istringstream words(text.substr(begin, end - begin));
    std::string declaration, word;
    while (words >> word) declaration += (declaration.empty() ? "" : " ") + word;
    if (declaration.find('(') != std::string::npos) found.push_back(declaration);
    begin = end + 1;
  }
  return found;
}

// "sum", "operator+": what stands before the parameters.
inline std::string declared_name(const std::string& declaration) {
  const std::string head = declaration.substr(0, declaration.find('('));
  const size_t op = head.find("operator");
  return op != std::string::npos ? head.substr(op) : head.substr(head.find_last_of(" *&") + 1);
}

}  // namespace caltrop::test
