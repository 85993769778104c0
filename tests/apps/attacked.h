// What tests of the commands that attack share: a small trained network, and their JSON.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/apps/program.h"

namespace caltrop::test {

// A workplace with a trained network in net/.
struct Attacked : Workplace {
  Attacked() { REQUIRE(caltrop(tiny_training({"--out", "net"})).status == 0); }

  Outcome attack(std::vector<std::string> words) const {
    words.insert(words.end(), {"--weights", "net/model.safetensors", "--quiet"});
    return caltrop(words);
  }
  Files folder(std::vector<std::string> words, const std::string& out) const {
    words.insert(words.end(), {"--out", out});
    const Outcome outcome = attack(words);
    CAPTURE(outcome.error);
    REQUIRE(outcome.status == 0);
    return contents(file(out));
  }
};

// A .npy file by its parts.
inline std::string npy_of(const std::string& type, const std::string& shape, const std::string& bytes) {
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}", type, shape);
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 10 - 1, ' ');
  header += '\n';
  std::string file("\x93NUMPY\x01\x00", 8);
  file += static_cast<char>(header.size() & 255);
  file += static_cast<char>(header.size() >> 8);
  return file + header + bytes;
}

inline Json json_of(const Outcome& outcome) {
  CAPTURE(outcome.error);
  REQUIRE(outcome.status == 0);
  return Json::parse(outcome.out);
}

}  // namespace caltrop::test
