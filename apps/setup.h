// From flags to the things they name: a device, a data set, a network.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/console.h"
#include "apps/options.h"
#include "engine/images.h"
#include "engine/model.h"

namespace caltrop {

// The device that --device and --threads ask for; `options.device` then holds its name.
Backend& open_backend(CommonOptions& options);

struct LoadedData {
  std::string name;    // "mnist"
  std::string origin;  // where it was found, for people
  int64_t classes = 0;
  std::vector<std::string> class_names;
  Images train, test;  // --limit applied to the subset in use
  Json facts;          // its fingerprint, for make_config
};
// Which --limit cuts: commands that train cut the training images, the others those they look at.
enum class Limited : uint8_t { train, test };
// Resolves `auto` and says so; `options.dataset` then holds the data set's name.
LoadedData load_data(DataOptions& options, Limited limited, Backend& backend, Console& console);

// The line of --model or --arch for this many classes. An Error where neither is given.
std::string network_line(const ModelOptions& options, int64_t classes);

// The network with its --weights. The line comes from the weights' metadata; with --model or --arch both must
// agree, and --layout torch needs one of them. An Error unless it takes images of `input`.
Model open_model(const ModelOptions& options, ImageShape input, int64_t classes, Backend& backend);

}  // namespace caltrop
