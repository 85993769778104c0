#include "apps/core/setup.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <functional>
#include <set>
#include <sstream>

#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/text_layout.h"
#include "data/dataset.h"
#include "data/file_bytes.h"
#include "data/npz.h"
#include "engine/checksum.h"
#include "engine/text.h"
#include "engine/torch_layout.h"
#include "kernels/devices.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

Json fingerprint(const ImageSet& set) {
  const uint32_t crc = checksum(std::span(set.labels), checksum(std::span(set.pixels)));
  return {{"images", set.count()},
          {"shape", {set.height, set.width, set.channels}},
          {"classes", set.classes},
          {"crc32", fmt::format("{:08x}", crc)}};
}

std::string in_words(const ImageShape& shape) {
  return fmt::format("{}x{}x{}", shape.height, shape.width, shape.channels);
}

Images upload(const ImageSet& set, Backend& backend) {
  return {backend, set.shape(), set.pixels, set.labels};
}

// Absolute, so that a config.json repeats its run from anywhere.
void make_absolute(std::string& path) {
  if (!path.empty()) path = fs::absolute(path).lexically_normal().string();
}

Dataset read_data(DataOptions& options, Console& console, bool test_only = false) {
  if (options.data_dir.empty() && (options.dataset == "folder" || options.dataset == "arrays"))
    usage_error("--dataset {} needs --data-dir", options.dataset);
  make_absolute(options.data_dir);
  DatasetRequest request{.name = options.dataset,
                         .data_dir = options.data_dir,
                         .split = options.split,
                         .seed = static_cast<uint64_t>(options.split_seed),
                         .test_only = test_only && options.split == "standard"};
  if (!options.image_size.empty()) {
    const ImageShape size = parse_image_shape("image-size", options.image_size);
    request.image_height = size.height;
    request.image_width = size.width;
  }
  Dataset data = load_dataset(request);
  options.dataset = data.name;
  console.note("{} ({}): {}{} test images of {}", data.name, data.source,
               data.train.count() > 0 ? grouped(data.train.count()) + " training and " : "",
               grouped(data.test.count()), in_words(data.test.shape()));
  for (const std::string& notice : data.notices) console.note("{}", notice);
  return data;
}

DataInfo info_of(const Dataset& data, Json facts) {
  facts["name"] = data.name;
  const ImageSet& known = data.train.count() > 0 ? data.train : data.test;
  return {data.name, known.classes, known.class_names, Json{{"data", std::move(facts)}}};
}

// The numbers in a file, each of an image and there once.
std::vector<int64_t> read_indices(const std::string& path, int64_t images) {
  std::vector<int64_t> rows;
  const std::vector<std::byte> bytes = read_file_bytes(path);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (is_npy(bytes)) {
    const NpyArray array = parse_npy(bytes, path);
    if (array.shape.size() != 1)
      fail("{}: expected the numbers of images in one dimension, got shape ({})", path,
           fmt::join(array.shape, ","));
    rows = integers_of(array, path);
  } else {
    std::string words(text);
    std::ranges::replace(words, ',', ' ');
    std::istringstream parts(words);
    for (std::string word; parts >> word;) {
      int64_t row = -1;
      const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), row);
      if (error != std::errc() || stop != word.data() + word.size())
        fail("{}: expected the numbers of images, got '{}'", path, shown(word));
      rows.push_back(row);
    }
  }
  if (rows.empty()) fail("{}: expected the numbers of images, found none", path);
  std::set<int64_t> seen;
  for (const int64_t row : rows) {
    if (row < 0 || row >= images) fail("{}: there is no image {}: expected 0 to {}", path, row, images - 1);
    if (!seen.insert(row).second) fail("{}: image {} is there twice", path, row);
  }
  return rows;
}

// Of the images of a subset those that the flags mean.
std::vector<int64_t> chosen_rows(const DataOptions& options, int64_t images) {
  std::vector<int64_t> rows;
  if (!options.indices.empty()) {
    rows = read_indices(options.indices, images);
  } else {
    if (options.offset.value_or(0) >= images)
      fail("--offset {}: there are {} images", *options.offset, images);
    rows = row_range(options.offset.value_or(0), images);
  }
  if (options.limit && *options.limit < static_cast<int64_t>(rows.size()))
    rows.resize(static_cast<size_t>(*options.limit));
  return rows;
}

// One key of the metadata of trained weights, or "".
std::string metadata(const SafeTensorFile& file, const std::string& key) {
  const auto found = file.metadata.find(key);
  return found == file.metadata.end() ? "" : found->second;
}

// Takes from the weights what the user did not say: which images they were trained on, how those were
// divided.
void follow_weights(const SafeTensorFile& file, DataOptions& data, const Flags& flags) {
  const std::string dataset = metadata(file, "dataset");
  static const std::vector<std::string> known = {"mnist", "fashion-mnist", "digits", "folder", "arrays"};
  if (std::ranges::count(known, dataset) == 0) return;
  if (!flags.given("dataset")) data.dataset = dataset;
  if (data.dataset != dataset) return;
  const std::string split = metadata(file, "split");
  if (!flags.given("split") && !split.empty()) data.split = split;
  if (const auto seed = file.number("split_seed"); seed && !flags.given("split-seed"))
    data.split_seed = *seed;
}

bool names_network(const ModelOptions& options) {
  return !options.model.empty() || !options.arch.empty();
}

void expect_input(const Model& model, const ModelOptions& options, ImageShape shape,
                  const std::string& what) {
  if (model.input() == shape) return;
  fail("{} takes images of {}, but {} are {}", options.weights, in_words(model.input()), what,
       in_words(shape));
}

Json facts_of(const SafeTensorFile& file, const ModelOptions& options, const Model& model) {
  const std::string bytes = serialize_safetensors(file, options.weights);
  return {{"network", to_string(model.architecture())},
          {"inputs", {{"weights_crc32", fmt::format("{:08x}", checksum(std::span<const char>(bytes)))}}}};
}

// What all ways to open trained weights with a data set share: load() reads it once the data flags are resolved.
template <typename Data>
TrainedOn<Data> open_with(ModelOptions& options, DataOptions& data_options, const Flags& flags,
                          Backend& backend, const std::function<Data()>& load) {
  if (names_network(options)) asked_network(options);
  const SafeTensorFile file = read_weights(options);
  follow_weights(file, data_options, flags);
  if (data_options.dataset == "folder" && data_options.image_size.empty())
    data_options.image_size = metadata(file, "input");
  Data data = load();
  Model model = stored_network(file, options, data.shape(), data.info.classes, backend);
  expect_input(model, options, data.shape(), "those of " + data.info.name);
  expect_outputs(model, data.info, options.weights);
  Json facts = data.info.facts;
  facts.update(facts_of(file, options, model));
  return {std::move(data), std::move(model), std::move(facts)};
}

}  // namespace

std::string why_no_cuda() {
  return cuda_state() == DeviceState::not_built ? "this program was built without CUDA"
                                                : "no GPU with a working driver is found here";
}

Backend& open_backend(CommonOptions& options, Console& console) {
  set_cpu_threads(static_cast<int>(options.threads));
  const DeviceState cuda = options.device == "cpu" ? DeviceState::no_device : cuda_state();
  if (cuda == DeviceState::ready) {
    options.device = "cuda";
    set_cuda_convolutions(options.conv == "cudnn" ? Convolutions::cudnn : Convolutions::own);
    return cuda_backend();
  }
  if (options.conv != "own" && options.device != "cuda")
    fail("--conv {}: there are no such convolutions on a CPU; give --device cuda", options.conv);
  if (options.device == "cpu") return cpu_backend();
  if (options.device == "cuda") fail("--device cuda: {}; use --device cpu", why_no_cuda());
  if (cuda == DeviceState::no_device) console.note("{}; computing on the CPU", why_no_cuda());
  options.device = "cpu";
  return cpu_backend();
}

TrainingData load_training_data(DataOptions& options, Backend& backend, Console& console,
                                std::optional<int64_t> test_limit) {
  Dataset data = read_data(options, console);
  if (data.train.count() == 0) fail("{} has no training images", data.source);
  if (options.limit) data.train = take_first(data.train, *options.limit);
  if (test_limit) data.test = take_first(data.test, *test_limit);
  DataInfo info = info_of(data, {{"train", fingerprint(data.train)}, {"test", fingerprint(data.test)}});
  return {std::move(info), upload(data.train, backend), upload(data.test, backend)};
}

HostData load_host_data(DataOptions& options, const std::string& subset, Console& console) {
  make_absolute(options.indices);
  Dataset data = read_data(options, console, subset == "test");
  ImageSet& chosen = subset == "train" ? data.train : data.test;
  if (chosen.count() == 0) fail("{} has no training images", data.source);
  if (options.indices.empty() && !options.offset) {
    if (options.limit) chosen = take_first(chosen, *options.limit);
    DataInfo info = info_of(data, {{subset, fingerprint(chosen)}});
    std::vector<int64_t> all = row_range(0, chosen.count());
    return {std::move(info), std::move(chosen), std::move(all)};
  }
  std::vector<int64_t> rows = chosen_rows(options, chosen.count());
  DataInfo info = info_of(data, {{subset, fingerprint(caltrop::subset(chosen, rows))}});
  return {std::move(info), std::move(chosen), std::move(rows)};
}

ZooEntry asked_network(const ModelOptions& options, int64_t outputs) {
  if (!options.arch.empty()) {
    return {.name = "custom",
            .line = to_string(parse_architecture(options.arch)),
            .initializer = to_string(Initializer::he_uniform),
            .description = ""};
  }
  if (options.model.empty()) usage_error("give a network with --model or --arch");
  const std::vector<std::string> names = zoo_names();
  if (std::ranges::count(names, options.model) == 0) {
    usage_error("--model: unknown network '{}'{} ('caltrop info' lists them)", shown(options.model),
                did_you_mean(options.model, names));
  }
  return zoo(options.model, outputs, {.pool_stride = options.pool_stride});
}

void expect_outputs(const Model& model, const DataInfo& data, const std::string& what) {
  if (model.outputs() < data.classes)
    fail("{} has {} outputs, but {} has {} classes", what, model.outputs(), data.name, data.classes);
}

SafeTensorFile read_weights(ModelOptions& options) {
  if (options.weights.empty()) usage_error("--weights is missing: the trained network");
  make_absolute(options.weights);
  return with_place("--weights", [&] { return read_safetensors(options.weights); });
}

bool says_network(ModelOptions& options) {
  return stated_network(read_weights(options), options.weights).has_value();
}

Model stored_network(const SafeTensorFile& file, const ModelOptions& options, ImageShape input,
                     int64_t classes, Backend& backend) {
  const std::optional<StatedNetwork> stated = stated_network(file, options.weights);
  const bool torch = options.layout == "torch" || metadata(file, "layout") == "torch" ||
                     (options.layout == "auto" && !stated);
  if (!stated && !names_network(options)) {
    fail("{} does not say which network it holds; give --model or --arch{}", options.weights,
         torch ? "" : ", and --layout torch if PyTorch wrote it");
  }
  const Architecture architecture =
      stated ? stated->architecture : parse_architecture(asked_network(options, classes).line);
  if (stated) input = stated->input;
  if (stated && names_network(options)) {
    const int64_t outputs = infer_shapes(architecture, input).back().features();
    const Architecture asked = parse_architecture(asked_network(options, outputs).line);
    if (!(asked == architecture)) {
      fail("{} holds the network '{}', not '{}'", options.weights, to_string(architecture), to_string(asked));
    }
  }
  Model model(architecture, input, backend);
  try {
    model.load(torch ? from_torch_layout(file, architecture, input) : file);
  } catch (const Error& problem) {
    fail("{}: {}", options.weights, problem.what());
  }
  return model;
}

OpenedNetwork open_network(ModelOptions& options, ImageShape input, int64_t classes, Backend& backend) {
  if (names_network(options)) asked_network(options);
  const SafeTensorFile file = read_weights(options);
  Model model = stored_network(file, options, input, classes, backend);
  expect_input(model, options, input, "the images");
  Json facts = facts_of(file, options, model);
  return {std::move(model), std::move(facts), metadata(file, "dataset")};
}

Trained open_trained(ModelOptions& options, DataOptions& data_options, const std::string& subset,
                     const Flags& flags, Backend& backend, Console& console) {
  return open_with<EvaluationData>(options, data_options, flags, backend, [&]() -> EvaluationData {
    HostData data = load_host_data(data_options, subset, console);
    return {std::move(data.info), upload(data.images, backend), std::move(data.rows)};
  });
}

TrainedWithData open_trained_with_data(ModelOptions& options, DataOptions& data_options,
                                       std::optional<int64_t> test_limit, const Flags& flags,
                                       Backend& backend, Console& console) {
  return open_with<TrainingData>(options, data_options, flags, backend, [&] {
    return load_training_data(data_options, backend, console, test_limit);
  });
}

void describe_data(SafeTensorFile& weights, const DataOptions& data) {
  weights.metadata["dataset"] = data.dataset;
  weights.metadata["split"] = data.split;
  weights.metadata["split_seed"] = std::to_string(data.split_seed);
}

std::string folder_or_free(const std::string& out, const std::string& stem) {
  if (!out.empty()) return out;
  const std::string base = (fs::path("runs") / stem).string();
  std::error_code error;
  std::string folder = base;
  for (int64_t k = 2; fs::exists(folder, error); ++k) folder = fmt::format("{}-{}", base, k);
  return folder;
}

}  // namespace caltrop
