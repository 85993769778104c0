#include "defense/pool/plan.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/error.h"
#include "engine/named.h"
#include "engine/random.h"

namespace caltrop {
namespace {

// What each attack of the recipe, under all its norms, does in turn: its sizes, under each norm.
std::vector<std::vector<PlannedImage>> turns_of(std::span<const PoolAttack> attacks) {
  std::vector<std::vector<PlannedImage>> turns;
  for (size_t first = 0; first < attacks.size();) {
    size_t end = first + 1;
    while (end < attacks.size() && attacks[end].name == attacks[first].name) ++end;
    turns.emplace_back();
    for (size_t s = 0; s < attacks[first].sizes.size(); ++s) {
      for (size_t k = first; k < end; ++k)
        turns.back().push_back({.attack = static_cast<int64_t>(k), .size = attacks[k].sizes.at(s)});
    }
    first = end;
  }
  return turns;
}

}  // namespace

std::vector<PlannedImage> plan_pool(std::span<const PoolAttack> attacks, int64_t images, int64_t count,
                                    Subset subset, uint64_t seed) {
  if (attacks.empty() || images < 1) fail("[pool] expected attacks and at least one image to attack");
  const std::vector<std::vector<PlannedImage>> turns = turns_of(attacks);
  const auto names = static_cast<int64_t>(turns.size());
  std::vector<PlannedImage> plan;
  std::vector<int64_t> order;
  for (int64_t j = 0; j < count; ++j) {
    if (j % images == 0) {  // more positions than images: each is taken again, by another attack or size
      const auto round = static_cast<uint64_t>(j / images);
      order = Random(seed, Purpose::augment, 2 * round + static_cast<uint64_t>(subset)).permutation(images);
    }
    const std::vector<PlannedImage>& of_attack = turns[static_cast<size_t>(j % names)];
    PlannedImage planned = of_attack[static_cast<size_t>(j / names) % of_attack.size()];
    planned.position = j;
    planned.image = order[static_cast<size_t>(j % images)];
    plan.push_back(planned);
  }
  return plan;
}

void check_planned(const char* flag, int64_t count, int64_t clean) {
  constexpr int64_t kMostOfEach = 1000;
  if (count / kMostOfEach >= std::max<int64_t>(clean, 1)) {
    fail("{} asks for {} attacked images of {} clean ones; at most {} of each are planned", flag, count,
         clean, kMostOfEach);
  }
}

ShareOf parse_share_of(std::string_view name) {
  return parse_named<ShareOf>("share", name, std::array{"all", "clean"});
}

int64_t attacked_count(int64_t clean, double share, ShareOf of) {
  if (!(share > 0 && (of == ShareOf::all ? share < 1 : share <= 1))) {
    fail("a share of attacked images must lie between 0 and 100 %, got {:g} %", 100 * share);
  }
  const double ratio = of == ShareOf::all ? share / (1 - share) : share;
  const auto count = std::llround(static_cast<double>(clean) * ratio);
  if (count < 1) fail("{:g} % attacked images beside {} clean ones are none", 100 * share, clean);
  return count;
}

}  // namespace caltrop
