#include "defense/same_size.h"

#include <cmath>
#include <cstdlib>
#include <variant>
#include <vector>

#include "engine/error.h"

namespace caltrop {
namespace {

// The places of the dense layers but the last.
std::vector<size_t> hidden_dense(const Architecture& network) {
  std::vector<size_t> places;
  for (size_t k = 0; k < network.layers.size(); ++k) {
    if (std::holds_alternative<DenseSpec>(network.layers[k])) places.push_back(k);
  }
  if (places.size() < 2) fail("[same size] expected a hidden dense layer in {}", to_string(network));
  places.pop_back();
  return places;
}

}  // namespace

Architecture with_parameters(const Architecture& network, ImageShape input, int64_t parameters) {
  const std::vector<size_t> places = hidden_dense(network);
  const int64_t first = std::get<DenseSpec>(network.layers[places[0]]).out;
  const auto widened = [&](int64_t units) {
    Architecture wide = network;
    for (const size_t place : places) {
      auto& dense = std::get<DenseSpec>(wide.layers[place]);
      dense.out = std::llround(static_cast<double>(dense.out) * static_cast<double>(units) /
                               static_cast<double>(first));
    }
    return wide;
  };
  const auto away = [&](int64_t units) {
    return count_parameters(widened(units), input) - parameters;
  };
  if (away(first) > 0) fail("[same size] {} has more than {} parameters", to_string(network), parameters);
  int64_t low = first, high = first;  // the numbers grow with the units: away(low) <= 0
  while (away(high) < 0) low = high, high *= 2;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (away(middle) <= 0 ? low : high) = middle;
  }
  return widened(std::llabs(away(low)) <= std::llabs(away(high)) ? low : high);
}

}  // namespace caltrop
