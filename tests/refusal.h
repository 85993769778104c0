// The text of the Error that a call throws.
#pragma once

#include <doctest/doctest.h>

#include <initializer_list>
#include <string>
#include <string_view>

#include "kernels/error.h"

namespace caltrop::test {

// The refusal of a call; empty where there is none.
template <typename Call>
std::string refusal(Call call) {
  try {
    static_cast<void>(call());
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

// One clear line that holds each of the texts.
inline void check_refusal(const std::string& text, std::initializer_list<std::string_view> expected) {
  CAPTURE(text);
  CHECK(!text.empty());
  CHECK(text.find('\n') == std::string::npos);
  CHECK(text.size() < 1000);
  for (const std::string_view part : expected) {
    CAPTURE(part);
    CHECK(text.find(part) != std::string::npos);
  }
}

}  // namespace caltrop::test
