#include "engine/zoo.h"

#include <algorithm>

#include "engine/architecture.h"
#include "engine/error.h"
#include "engine/text.h"

namespace caltrop {
namespace {

enum class Family : uint8_t { paper, kim };

struct Plan {
  std::string name;
  Family family = Family::paper;
  std::string line;  // "{pool}" and "{outputs}" stand for what the caller chooses
  std::string description;
};

enum class Regularizer : uint8_t { none, batch_norm, dropout };

std::string kim_line(int depth, Regularizer regularizer) {
  constexpr int kFilters[] = {32, 64, 128, 128, 128};
  constexpr int kPools = 3;
  std::string line;
  for (int i = 0; i < depth; ++i) {
    line += fmt::format("conv {} 3x3 pad 1 | ", kFilters[i]);
    if (regularizer == Regularizer::batch_norm) line += "batchnorm | ";
    line += "relu | ";
    if (i >= kPools) continue;
    line += "maxpool 2 | ";
    if (regularizer == Regularizer::dropout) line += "dropout 0.25 | ";
  }
  line += "flatten | dense 256 | relu | ";
  if (regularizer == Regularizer::dropout) line += "dropout 0.5 | ";
  return line + "dense {outputs}";
}

std::vector<Plan> make_plans() {
  std::vector<Plan> plans = {
      {"target", Family::paper, "conv 32 3x3 | relu | {pool} | flatten | dense 100 | relu | dense {outputs}",
       "Target model (DNN) of GMA/MIA 2025, Table 1"},
      {"eat-1", Family::paper, "conv 32 3x3 | gelu | {pool} | flatten | dense 100 | gelu | dense {outputs}",
       "EAT Model 1 of GMA/MIA 2025, Table 1"},
      {"eat-2", Family::paper,
       "conv 32 3x3 | gelu | {pool} | {pool} | flatten | dense 100 | gelu | dense 100 | gelu | dense 100 | "
       "gelu | "
       "dense {outputs}",
       "EAT Model 2 of GMA/MIA 2025, Table 1"},
      {"eat-3", Family::paper,
       "conv 64 3x3 | gelu | {pool} | conv 32 3x3 | gelu | {pool} | flatten | dense 100 | gelu | dense 100 | "
       "gelu | "
       "dense 100 | gelu | dense {outputs}",
       "EAT Model 3 of GMA/MIA 2025, Table 1"},
  };
  for (int depth = 2; depth <= 5; ++depth) {
    for (const auto& [regularizer, suffix, words] : {std::tuple{Regularizer::none, "", ""},
                                                     {Regularizer::batch_norm, "-bn", ", batch norm"},
                                                     {Regularizer::dropout, "-dropout", ", dropout"}}) {
      plans.push_back({fmt::format("kim-{}{}", depth, suffix), Family::kim, kim_line(depth, regularizer),
                       fmt::format("Control model of Kim 2025, {} convolutions{}", depth, words)});
    }
  }
  return plans;
}

const std::vector<Plan>& plans() {
  static const std::vector<Plan> all = make_plans();
  return all;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

}  // namespace

std::vector<std::string> zoo_names() {
  std::vector<std::string> names;
  for (const Plan& plan : plans()) names.push_back(plan.name);
  return names;
}

ZooEntry zoo(std::string_view name, int64_t outputs, const ZooOptions& options) {
  const auto plan =
      std::find_if(plans().begin(), plans().end(), [&](const Plan& known) { return known.name == name; });
  if (plan == plans().end()) {
    fail("unknown model '{}'; known are {}", shown(name), fmt::join(zoo_names(), ", "));
  }
  if (outputs < 1 || outputs > kMaxExtent) {
    fail("model '{}': expected from 1 to {} outputs, got {}", plan->name, kMaxExtent, outputs);
  }
  if (options.pool_stride != 1 && options.pool_stride != 2) {
    fail("model '{}': expected a pool stride of 1 or 2, got {}", plan->name, options.pool_stride);
  }
  if (plan->family == Family::kim && options.pool_stride != 2) {
    fail("model '{}': a pool stride of 1 is defined for target and eat-1 to eat-3 only", plan->name);
  }
  ZooEntry entry{.name = plan->name,
                 .line = plan->line,
                 .initializer = plan->family == Family::paper ? "he_uniform" : "glorot_uniform",
                 .description = plan->description};
  replace_all(entry.line, "{pool}", options.pool_stride == 2 ? "maxpool 2" : "maxpool 2 stride 1");
  replace_all(entry.line, "{outputs}", std::to_string(outputs));
  return entry;
}

std::string zoo_line(std::string_view name, int64_t outputs, const ZooOptions& options) {
  return zoo(name, outputs, options).line;
}

}  // namespace caltrop
