#include "apps/gma/flags.h"
#include "apps/core/flags.h"

namespace caltrop {

void add_gma_flags(Flags& flags, GmaFlags& options) {
  flags.group("GMA");
  options.attack.start = "no";
  flags.choice("gma-attack", options.attack.kind, {"fgsm", "bim", "pgd", "mim"},
               "the base attack, repeated for each size");
  flags.choice("norm", options.norm, {"both", "linf", "l2"},
               "how sizes are measured; the paper does not say");
  flags.choice("gma-base", options.base, {"e", "10"},
               "sizes V e^-i, or V 10^-i: the paper's tables fit both");
  flags.choice("gma-grid", options.grid, {"full", "literal"},
               "all 30 products of V and i, or the 26 that Algorithm 1 visits as printed");
  flags.choice("scale", options.scale, {"1", "255"},
               "what a pixel's range counts as: 255 divides each size by 255");
  add_attack_flags(flags, options.attack);
}

std::vector<Norm> gma_norms(const std::string& norm) {
  if (norm == "both") return {Norm::linf, Norm::l2};
  return {parse_norm(norm)};
}

std::vector<GmaSize> gma_sizes_of(const GmaFlags& flags) {
  return gma_sizes({parse_gma_base(flags.base), parse_gma_grid(flags.grid), flags.scale == "255" ? 255 : 1});
}

}  // namespace caltrop
