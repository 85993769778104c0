// The flags of `caltrop paper gma-mia`, and what they ask for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/core/options.h"
#include "apps/paper/defence_report.h"

namespace caltrop {

struct PaperCommand {
  CommonOptions common;
  std::string figure = "auto", table = "none", dataset = "all", scale = "quick";
  std::vector<std::string> models;
  std::optional<int64_t> seeds;
  std::string cache = "runs/crafted", data_dir;
};

void declare_paper(Flags& flags, PaperCommand& options);

// Tables and figures that were asked for; `auto` becomes Figure 7, or none where a table is. A UsageError where --dataset leaves nothing
// of them.
struct WantedOfPaper {
  std::vector<int> tables, figures;   // of the defence
  std::vector<std::string> datasets;  // of Figures 6 to 10; empty where none of these was asked for
  bool attacks() const { return !datasets.empty(); }
};
WantedOfPaper wanted_of(PaperCommand& options);
DefencePaper defence_of(const PaperCommand& options, const WantedOfPaper& wanted);

}  // namespace caltrop
