// From flags to the things they name: a device, a data set, a network.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/core/json.h"
#include "apps/core/options.h"
#include "data/dataset.h"
#include "engine/images.h"
#include "engine/model.h"
#include "engine/safetensors.h"
#include "engine/zoo.h"

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
  const ImageShape& shape() const { return train.shape(); }
};
// Resolves `auto` (options.dataset then holds the name) and says on the console what was taken. `test_limit`
// cuts the test images.
TrainingData load_training_data(DataOptions& options, Backend& backend, Console& console,
                                std::optional<int64_t> test_limit = {});

// One part of the data set, on the host, and which of its images are meant: those of --indices, or from --offset on, the
// first --limit of them. Without these flags `images` are no more than that. Of test images alone no training images
// are read.
struct HostData {
  DataInfo info;  // its fingerprint is that of the rows
  ImageSet images;
  std::vector<int64_t> rows;
};
HostData load_host_data(DataOptions& options, const std::string& subset, Console& console);

// What --model or --arch ("custom") stand for, with this many outputs; UsageError for an unknown name, or where
// neither is given. Commands ask before they read any data, and again for the classes that these have.
ZooEntry asked_network(const ModelOptions& options, int64_t outputs = 1);

// An Error unless `what`, a file or a flag, has an output for every class.
void expect_outputs(const Model& model, const DataInfo& data, const std::string& what);

// A weights file as it stands; `options.weights` is absolute from there on.
SafeTensorFile read_weights(ModelOptions& options);
// Whether its metadata name a network.
bool says_network(ModelOptions& options);
// Its network: the one that the metadata name, or else --model or --arch for images of `input` and this many classes;
// where both are there they must agree. The layout is the metadata's or that of --layout; "auto" takes a file that
// names no network to be PyTorch's.
Model stored_network(const SafeTensorFile& file, const ModelOptions& options, ImageShape input,
                     int64_t classes, Backend& backend);

// The network of --weights for images that come from elsewhere than a data set.
struct OpenedNetwork {
  Model model;
  Json facts;           // for make_config: network, and the weights' fingerprint
  std::string dataset;  // that it was trained on, as the weights say; "": they do not
};
OpenedNetwork open_network(ModelOptions& options, ImageShape input, int64_t classes, Backend& backend);

// A trained network and a data set: without --dataset the weights' own, if they name one.
template <typename Data>
struct TrainedOn {
  Data data;
  Model model;
  Json facts;  // for make_config: data, network, and the weights' fingerprint
};
struct EvaluationData {
  DataInfo info;
  Images images;              // of the subset
  std::vector<int64_t> rows;  // those that are meant: see HostData
  const ImageShape& shape() const { return images.shape(); }
};
using Trained = TrainedOn<EvaluationData>;
Trained open_trained(ModelOptions& model, DataOptions& data, const std::string& subset, const Flags& flags,
                     Backend& backend, Console& console);
// The same with both parts of the data set, for training beside the network: the first `test_limit` test
// images.
using TrainedWithData = TrainedOn<TrainingData>;
TrainedWithData open_trained_with_data(ModelOptions& model, DataOptions& data,
                                       std::optional<int64_t> test_limit, const Flags& flags,
                                       Backend& backend, Console& console);

// What the metadata of trained weights holds beside the network: the data that they know.
void describe_data(SafeTensorFile& weights, const DataOptions& data);

// DIR of --out, or runs/STEM, runs/STEM-2, ...: the first that does not exist.
std::string folder_or_free(const std::string& out, const std::string& stem);

}  // namespace caltrop
