#include "apps/commands/defend.h"
#include "apps/core/flags.h"
#include "apps/study/defence_options.h"

namespace caltrop {
void add_defend_flags(Flags& flags, DefendFlags& options, const DefenceInfo& info) {
  options.info = info;
  options.defence = info.make();
  if (!info.of_paper) options.test_as_the_field_does();
  const auto add_group = [&](const char* title, const std::vector<DefenceOption>& group) {
    flags.group(title);
    add_defence_options(flags, group);
  };
  add_model_flags(flags, options.model, Weights::required);
  add_data_flags(flags, options.data, "train on the first N clean images; by --scale");
  flags.integer("test-images", options.test_images, 1, std::numeric_limits<int32_t>::max(), "N",
                "the first N clean test images", "by --scale");
  flags.group("Scale");
  flags.choice("scale", options.scale, kScales,
               "images, epochs and the effort of CW where flags are silent: smoke 400 + 200 images; quick "
               "10,000 + 2,000; demo 10,000 + 1,000, as 'caltrop demo'; paper all images");
  add_group("Defence", options.defence->options());
  add_group("Attacked images", options.attack_options());
  add_group("Tests", options.test_options(info));
  add_common_flags(flags, options.common, true,
                   fmt::format("runs/{}-DATASET, the first that is free", info.name));
  flags.text("cache", options.cache, "DIR", "folder of attacked images that runs share; made if missing");
}

void resolve(DefendFlags& options) {
  if (!options.data.limit) options.data.limit = options.train_images();
  try {
    options.resolve(options.info, *options.defence);
  } catch (const Error& problem) {
    usage_error("{}", problem.what());
  }
}

}  // namespace caltrop
