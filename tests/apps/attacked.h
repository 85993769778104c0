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

inline Json json_of(const Outcome& outcome) {
  CAPTURE(outcome.error);
  REQUIRE(outcome.status == 0);
  return Json::parse(outcome.out);
}

}  // namespace caltrop::test
