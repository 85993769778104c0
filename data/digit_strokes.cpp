#include "data/digit_strokes.h"

#include <array>

#include "engine/error.h"

namespace caltrop {
namespace {

constexpr bool corner = true;

using Ways = std::vector<Glyph>;

// clang-format off
const std::array<Ways, 10>& all_digits() {
  static const std::array<Ways, 10> digits = {
    Ways{  // 0: an oval, closed, or with the ends crossed
      {{{.55f,.02f}, {.25f,.14f}, {.12f,.5f}, {.22f,.85f}, {.5f,.98f}, {.78f,.85f}, {.88f,.5f}, {.76f,.15f}, {.5f,.03f}}},
      {{{.7f,.06f}, {.38f,.04f}, {.16f,.32f}, {.14f,.7f}, {.38f,.97f}, {.7f,.88f}, {.87f,.52f}, {.78f,.18f}, {.5f,.04f}, {.36f,.14f}}},
      {{{.4f,.05f}, {.24f,.4f}, {.26f,.8f}, {.5f,.98f}, {.72f,.76f}, {.74f,.32f}, {.58f,.05f}, {.38f,.08f}}},
    },
    Ways{  // 1: a line; with an upstroke; with a base
      {{{.5f,0}, {.5f,.5f}, {.5f,1}}},
      {{{.28f,.26f}, {.54f,.02f,corner}, {.53f,.5f}, {.5f,1}}},
      {{{.3f,.2f}, {.52f,.02f,corner}, {.51f,.5f}, {.5f,1}}, {{.22f,1}, {.5f,.99f}, {.78f,.98f}}},
    },
    Ways{  // 2: flat base, looped base, round shoulder
      {{{.15f,.25f}, {.36f,.03f}, {.7f,.06f}, {.8f,.3f}, {.55f,.62f}, {.14f,.97f,corner}, {.5f,.95f}, {.88f,.96f}}},
      {{{.16f,.22f}, {.42f,.02f}, {.75f,.14f}, {.74f,.42f}, {.45f,.78f}, {.2f,.96f}, {.1f,.84f}, {.3f,.76f}, {.6f,.93f}, {.92f,.9f}}},
      {{{.22f,.12f}, {.55f,.0f}, {.82f,.22f}, {.66f,.55f}, {.2f,.94f,corner}, {.45f,.9f}, {.7f,1}, {.9f,.88f}}},
    },
    Ways{  // 3: two bows; flat top; a loop at the waist
      {{{.18f,.13f}, {.5f,0}, {.77f,.2f}, {.64f,.41f}, {.4f,.47f,corner}, {.7f,.54f}, {.84f,.76f}, {.58f,.98f}, {.3f,.97f}, {.12f,.85f}}},
      {{{.15f,.05f}, {.48f,.04f}, {.8f,.04f,corner}, {.62f,.22f}, {.44f,.4f,corner}, {.78f,.5f}, {.84f,.8f}, {.5f,1}, {.12f,.88f}}},
      {{{.2f,.1f}, {.54f,.02f}, {.76f,.2f}, {.58f,.4f}, {.36f,.46f}, {.44f,.52f}, {.58f,.44f}, {.8f,.58f}, {.78f,.86f}, {.46f,1}, {.14f,.9f}}},
    },
    Ways{  // 4: open, closed, written in one go
      {{{.24f,.02f}, {.19f,.3f}, {.14f,.56f,corner}, {.5f,.56f}, {.9f,.52f}}, {{.72f,.06f}, {.68f,.5f}, {.65f,1}}},
      {{{.65f,0}, {.4f,.32f}, {.08f,.66f,corner}, {.5f,.66f}, {.94f,.65f}}, {{.66f,.03f}, {.65f,.5f}, {.64f,1}}},
      {{{.2f,.08f}, {.16f,.36f}, {.3f,.5f}, {.6f,.42f}, {.8f,.08f,corner}, {.76f,.5f}, {.7f,1}}},
    },
    Ways{  // 5: roof last; in one go; slanted S-like
      {{{.26f,.04f}, {.2f,.43f,corner}, {.5f,.37f}, {.82f,.55f}, {.78f,.86f}, {.45f,1}, {.12f,.88f}}, {{.26f,.04f}, {.55f,.04f}, {.84f,.02f}}},
      {{{.84f,.04f}, {.55f,.04f}, {.27f,.06f,corner}, {.2f,.44f,corner}, {.55f,.4f}, {.82f,.64f}, {.7f,.92f}, {.4f,1}, {.12f,.92f}}},
      {{{.86f,.02f}, {.52f,.04f}, {.3f,.12f}, {.26f,.36f}, {.55f,.48f}, {.76f,.7f}, {.6f,.95f}, {.3f,.98f}, {.14f,.84f}}},
    },
    Ways{  // 6: wide loop; tall loop; a straight back
      {{{.68f,.02f}, {.36f,.25f}, {.17f,.62f}, {.3f,.95f}, {.65f,.97f}, {.82f,.73f}, {.6f,.53f}, {.32f,.6f}, {.2f,.76f}}},
      {{{.48f,0}, {.22f,.4f}, {.15f,.75f}, {.4f,1}, {.75f,.87f}, {.72f,.6f}, {.42f,.53f}, {.19f,.74f}}},
      {{{.36f,.0f}, {.24f,.4f}, {.2f,.82f}, {.46f,1}, {.74f,.84f}, {.66f,.62f}, {.4f,.62f}, {.24f,.82f}}},
    },
    Ways{  // 7: plain; crossed; with a serif
      {{{.12f,.08f}, {.5f,.06f}, {.86f,.05f,corner}, {.62f,.5f}, {.42f,1}}},
      {{{.12f,.08f}, {.5f,.06f}, {.86f,.05f,corner}, {.62f,.5f}, {.44f,1}}, {{.3f,.54f}, {.52f,.51f}, {.76f,.48f}}},
      {{{.12f,.24f}, {.14f,.07f,corner}, {.5f,.09f}, {.84f,.04f,corner}, {.7f,.46f}, {.62f,1}}},
    },
    Ways{  // 8: one S-like stroke; two ovals; begun at the waist
      {{{.7f,.13f}, {.46f,.02f}, {.22f,.2f}, {.44f,.44f}, {.74f,.68f}, {.66f,.94f}, {.4f,.98f}, {.2f,.8f}, {.36f,.57f}, {.66f,.36f}, {.77f,.17f}, {.66f,.08f}}},
      {{{.5f,.02f}, {.28f,.1f}, {.28f,.34f}, {.5f,.44f}, {.72f,.34f}, {.72f,.1f}, {.48f,.02f}}, {{.5f,.44f}, {.2f,.58f}, {.18f,.86f}, {.5f,1}, {.82f,.86f}, {.8f,.58f}, {.5f,.44f}}},
      {{{.52f,.46f}, {.26f,.28f}, {.4f,.03f}, {.68f,.08f}, {.68f,.34f}, {.38f,.56f}, {.18f,.82f}, {.44f,1}, {.78f,.86f}, {.72f,.6f}, {.48f,.45f}}},
    },
    Ways{  // 9: straight leg; curled leg; bent leg
      {{{.78f,.2f}, {.5f,.03f}, {.2f,.2f}, {.3f,.46f}, {.6f,.44f}, {.79f,.18f,corner}, {.75f,.6f}, {.64f,1}}},
      {{{.76f,.16f}, {.48f,.02f}, {.2f,.22f}, {.32f,.48f}, {.62f,.44f}, {.78f,.18f,corner}, {.8f,.6f}, {.66f,.94f}, {.36f,.98f}, {.18f,.88f}}},
      {{{.72f,.08f}, {.4f,.06f}, {.2f,.28f}, {.4f,.48f}, {.66f,.34f}, {.74f,.1f,corner}, {.66f,.5f}, {.46f,1}}},
    },
  };
  return digits;
}
// clang-format on

}  // namespace

std::span<const Glyph> ways_to_write(int32_t digit) {
  if (digit < 0 || digit > 9) fail("[digits] expected a digit from 0 to 9, got {}", digit);
  return all_digits()[static_cast<size_t>(digit)];
}

}  // namespace caltrop
