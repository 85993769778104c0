// From flags to the things they name: a device, a data set, a network.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "apps/core/json.h"
#include "apps/core/options.h"
#include "data/dataset.h"
#include "engine/images.h"
#include "engine/model.h"
#include "engine/safetensors.h"

namespace caltrop {

class Console;

// The device that --device and --threads ask for; `options.device` then holds its name.
Backend& open_backend(CommonOptions& options, Console& console);
// Why there is no GPU to compute on, as a clause; only where there is none.
std::string why_no_cuda();

struct DataInfo {
  std::string name;  // "mnist"
  int64_t classes = 0;
  std::vector<std::string> class_names;
  Json facts;  // its fingerprint, for make_config: {"data": {...}}
};

struct TrainingData {
  DataInfo info;
  Images train, test;  // --limit cuts the training images
};
// Resolves `auto` (options.dataset then holds the name) and says on the console what was taken. `test_limit`
// cuts the test images.
TrainingData load_training_data(DataOptions& options, Backend& backend, Console& console,
                                std::optional<int64_t> test_limit = {});

// One part of the data set, on the host: the first --limit images of the subset.
struct HostData {
  DataInfo info;
  ImageSet images;
};
HostData load_host_data(DataOptions& options, const std::string& subset, Console& console);

// An Error for an unknown name or a bad line, before any data is read; UsageError where neither is given.
void check_network_flags(const ModelOptions& options);
// The line of --model or --arch for this many classes; UsageError where neither is given.
std::string network_line(const ModelOptions& options, int64_t classes);
// The zoo's rule for the weights of --model; he_uniform for --arch.
std::string network_initializer(const ModelOptions& options, int64_t classes);
// What stands for the network in a folder's name: "target", or "custom" for --arch.
std::string network_name(const ModelOptions& options);

// A trained network and the images to look at. Without --dataset the weights' own data set is taken, if they
// name one. The line comes from the weights; with --model or --arch both must agree, and --layout torch needs
// one of them.
struct EvaluationData {
  DataInfo info;
  Images images;  // of the subset, the first --limit of them
};
struct Trained {
  EvaluationData data;
  Model model;
  Json facts;  // for make_config: data, network, and the weights' fingerprint
};
Trained open_trained(ModelOptions& model, DataOptions& data, const std::string& subset, const Flags& flags,
                     Backend& backend, Console& console);

// The same with both parts of the data set, for training beside the network: the first `test_limit` test
// images.
struct TrainedWithData {
  TrainingData data;
  Model model;
  Json facts;  // as above, data with both parts
};
TrainedWithData open_trained_with_data(ModelOptions& model, DataOptions& data,
                                       std::optional<int64_t> test_limit, const Flags& flags,
                                       Backend& backend, Console& console);

// The network of --weights for images that come from elsewhere than a data set.
struct OpenedNetwork {
  Model model;
  Json facts;  // for make_config: network, and the weights' fingerprint
};
OpenedNetwork open_network(ModelOptions& options, ImageShape input, int64_t classes, Backend& backend);

// A weights file of either layout, as it stands. The network is the one that its metadata name, or else
// --model or --arch for images of `input` and `classes`; where both are there they must agree. The layout is
// the metadata's or that of --layout; "auto" takes a file that names no network to be PyTorch's.
struct StoredNetwork {
  Model model;
  std::map<std::string, std::string> metadata;
};
StoredNetwork read_network(ModelOptions& options, ImageShape input, int64_t classes, Backend& backend);

// What the metadata of trained weights holds beside the network: the data that they know.
void describe_data(SafeTensorFile& weights, const DataOptions& data);

// DIR of --out, or runs/STEM, runs/STEM-2, ...: the first that does not exist.
std::string folder_or_free(const std::string& out, const std::string& stem);

}  // namespace caltrop
