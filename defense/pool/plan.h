// Which image a pool attacks with what. Training and test images are divided before anything is attacked: a plan
// is about the images of one subset alone.
//
// Position j takes attack j mod (number of attacks), so attacks are even in every prefix; of that attack its
// sizes in turn, under each of its norms; and image j of a random order. A longer plan begins with the shorter
// one, so the pools of EAT's cycles, which are prefixes of one pool, are nested.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "defense/pool/recipe.h"

namespace caltrop {

struct PlannedImage {
  int64_t position = 0;  // in the plan
  int64_t image = 0;     // of the set that is attacked
  int64_t attack = 0;    // of the recipe
  float size = 0;        // one of the attack's
};
enum class Subset : uint8_t { train, test };  // draws other random orders
// An Error where there are no images or attacks.
std::vector<PlannedImage> plan_pool(std::span<const PoolAttack> attacks, int64_t images, int64_t count,
                                    Subset subset, uint64_t seed);

// An Error that names the flag where `count` asks for more than 1000 attacked images of each clean one: each image
// under each attack and size is about 200, and beyond that a plan is a slip of the pen.
void check_planned(const char* flag, int64_t count, int64_t clean);

// What a cycle's share is a share of: attacked / (attacked + clean), or attacked / clean.
enum class ShareOf : uint8_t { all, clean };
ShareOf parse_share_of(std::string_view name);
// Attacked images beside `clean` ones; an Error unless 0 < share < 1 (of clean: <= 1) and there is at least
// one.
int64_t attacked_count(int64_t clean, double share, ShareOf of);

}  // namespace caltrop
