#include "engine/zoo.h"

#include <algorithm>
#include <initializer_list>

#include "engine/architecture.h"
#include "engine/error.h"
#include "engine/text.h"

namespace caltrop {
namespace {

enum class Family : uint8_t { paper, kim, vgg, resnet, robust };

constexpr const char* kDefaultInitializer = "he_uniform";

struct Plan {
  std::string name;
  Family family = Family::paper;
  std::string line;  // "{pool}" and "{outputs}" stand for what the caller chooses
  std::string description;
  std::string initializer = kDefaultInitializer;
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

std::string conv_line(int64_t filters, int kernel, int stride = 1) {
  std::string line = fmt::format("conv {} {}x{}", filters, kernel, kernel);
  if (stride > 1) line += fmt::format(" stride {}", stride);
  if (kernel > 1) line += fmt::format(" pad {}", kernel / 2);
  return line + " | batchnorm | ";
}

struct Stage {
  int64_t filters;
  int convolutions;  // or residual blocks
  std::string_view pool;
};

// Stages of 3x3 convolutions at one resolution, then dense layers (Simonyan & Zisserman 2015).
std::string vgg_line(std::initializer_list<Stage> stages, std::initializer_list<int> dense) {
  std::string line;
  for (const Stage& stage : stages) {
    for (int i = 0; i < stage.convolutions; ++i) line += conv_line(stage.filters, 3) + "relu | ";
    if (!stage.pool.empty()) line += fmt::format("{} | ", stage.pool);
  }
  line += "flatten | ";
  for (const int units : dense) line += fmt::format("dense {} | relu | ", units);
  return line + "dense {outputs}";
}

// Stages of residual blocks, each stage after the first at half the resolution (He et al. 2016). A basic
// block is two 3x3 convolutions, a bottleneck 1x1, 3x3 and 1x1 with four times the filters.
std::string resnet_line(int64_t stem, std::initializer_list<Stage> stages, bool bottleneck) {
  std::string line = conv_line(stem, 3) + "relu | ";
  int64_t channels = stem;
  bool first_stage = true;
  for (const Stage& stage : stages) {
    const int64_t out = bottleneck ? 4 * stage.filters : stage.filters;
    for (int i = 0; i < stage.convolutions; ++i) {
      const int stride = i == 0 && !first_stage ? 2 : 1;
      line += "residual | ";
      if (bottleneck) {
        line += conv_line(stage.filters, 1) + "relu | " + conv_line(stage.filters, 3, stride) + "relu | " +
                conv_line(out, 1);
      } else {
        line += conv_line(out, 3, stride) + "relu | " + conv_line(out, 3);
      }
      if (stride != 1 || channels != out) line += "shortcut | " + conv_line(out, 1, stride);
      line += "add | relu | ";
      channels = out;
    }
    first_stage = false;
  }
  return line + "globalavgpool | dense {outputs}";
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
                       fmt::format("Control model of Kim 2025, {} convolutions{}", depth, words),
                       "glorot_uniform"});
    }
  }
  plans.push_back({"vgg7", Family::vgg,
                   vgg_line({{128, 2, "maxpool 2"}, {256, 2, "maxpool 2"}, {512, 2, "maxpool 2"}}, {1024}),
                   "VGG-7 of Li et al. 2016, for 28x28"});
  plans.push_back({"vgg16", Family::vgg,
                   vgg_line({{64, 2, "maxpool 2"},
                             {128, 2, "maxpool 2"},
                             {256, 3, "maxpool 2"},
                             {512, 3, ""},
                             {512, 3, "maxpool 3"}},
                            {512, 512}),
                   "VGG-16 of Simonyan & Zisserman 2015, for 28x28"});
  plans.push_back({"resnet32", Family::resnet,
                   resnet_line(16, {{16, 5, ""}, {32, 5, ""}, {64, 5, ""}}, false),
                   "ResNet-32 of He et al. 2016 for small images"});
  plans.push_back({"resnet50", Family::resnet,
                   resnet_line(64, {{64, 3, ""}, {128, 4, ""}, {256, 6, ""}, {512, 3, ""}}, true),
                   "ResNet-50 of He et al. 2016, stem for small images"});
  plans.push_back(
      {"wong", Family::robust,
       "conv 16 4x4 stride 2 pad 1 | relu | conv 32 4x4 stride 2 pad 1 | relu | flatten | dense 100 | relu | "
       "dense {outputs}",
       "Network of Wong et al. 2020 (fast adversarial training)", "torch"});
  plans.push_back(
      {"madry", Family::robust,
       "conv 32 5x5 pad 2 | relu | maxpool 2 | conv 64 5x5 pad 2 | relu | maxpool 2 | flatten | dense 1024 | "
       "relu | dense {outputs}",
       "Network of Madry et al. 2018"});
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
  if (plan->family != Family::paper && options.pool_stride != 2) {
    fail("model '{}': a pool stride of 1 is defined for target and eat-1 to eat-3 only", plan->name);
  }
  ZooEntry entry{.name = plan->name,
                 .line = plan->line,
                 .initializer = plan->initializer,
                 .description = plan->description};
  replace_all(entry.line, "{pool}", options.pool_stride == 2 ? "maxpool 2" : "maxpool 2 stride 1");
  replace_all(entry.line, "{outputs}", std::to_string(outputs));
  return entry;
}

std::string zoo_line(std::string_view name, int64_t outputs, const ZooOptions& options) {
  return zoo(name, outputs, options).line;
}

std::string zoo_initializer(const Architecture& line) {
  const std::string text = to_string(line);
  const size_t last = text.rfind("dense ");
  if (last == std::string::npos) return kDefaultInitializer;
  const std::string outputs = text.substr(last + 6);
  for (const Plan& plan : plans()) {
    for (const char* pool : {"maxpool 2", "maxpool 2 stride 1"}) {
      std::string known = plan.line;
      replace_all(known, "{pool}", pool);
      replace_all(known, "{outputs}", outputs);
      if (to_string(parse_architecture(known)) == text) return plan.initializer;
    }
  }
  return kDefaultInitializer;
}

}  // namespace caltrop
