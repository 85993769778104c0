// caltrop info: what is here.
#include <algorithm>
#include <span>
#include <vector>

#include "apps/core/build_info.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/core/text_layout.h"
#include "apps/report/table.h"
#include "data/idx_directory.h"
#include "kernels/devices.h"

namespace caltrop {
namespace {

using Kind = Column::Kind;

struct InfoOptions {
  CommonOptions common;
  ModelOptions model;
  std::string input = "28x28x1", data_dir;
  int64_t outputs = 10;
};

void declare(Flags& flags, InfoOptions& options) {
  flags.usage("[--model NAME | --arch LINE] [flags]");
  flags.about(
      "Says what this program is and finds: its version, the devices it can compute on, the data sets that "
      "are here, and the networks it knows by name. With --model or --arch: the line of that network, "
      "and its layers with their shapes, parameters and multiply-accumulates (MACs, forward, for one "
      "image).");
  add_model_flags(flags, options.model, Weights::none);
  flags.text("input", options.input, "HxWxC", "image size");
  flags.integer("outputs", options.outputs, 1, 1 << 20, "K", "outputs of --model: the classes of the data");
  flags.group("Data");
  flags.text("data-dir", options.data_dir, "DIR", "where to look for data sets", "searched");
  add_common_flags(flags, options.common, false);
  flags.section("The line of a network",
                "Layers separated by |, from the image to the logits:\n"
                " conv OUT KHxKW [stride SHxSW] [pad PHxPW | pad same]\n"
                " deconv OUT KHxKW [stride SHxSW] [pad PHxPW | pad same]\n"
                " maxpool KHxKW [stride SHxSW]      avgpool KHxKW [stride SHxSW]\n"
                " flatten      dense OUT      dropout P      normalize MEAN STD\n"
                " relu | gelu | gelu tanh | leakyrelu [SLOPE] | sigmoid | tanh | softmax\n"
                " batchnorm [momentum M] [eps E]\n"
                "One number stands for a square: conv 32 3 is conv 32 3x3.");
  flags.section(
      "Data sets",
      "mnist and fashion-mnist are looked for in --data-dir; otherwise in $CALTROP_DATA/NAME, data/NAME, "
      "$XDG_CACHE_HOME/caltrop/NAME and /usr/share/datasets/NAME, in this order.");
  flags.section(
      "JSON",
      "version, commit, compiler, devices, datasets, models; with --model or --arch: network, layers, "
      "parameters, macs");
  flags.example("caltrop info", "Everything at a glance.");
  flags.example("caltrop info --arch \"conv 8 5x5 stride 2 | relu | flatten | dense 10\" --input 32x32x3",
                "Check a line of your own.");
}

const char* cuda_words() {
  constexpr const char* kStates[] = {"not built", "no device", "ready"};
  return kStates[static_cast<size_t>(cuda_state())];
}

std::vector<std::string> gpus() {
  std::vector<std::string> lines;
  for (const CudaDevice& gpu : cuda_devices()) lines.push_back(to_string(gpu));
  return lines;
}

Table dataset_table(const std::string& data_dir) {
  Table table({{"name", "data set"}, {"place", "place"}, {"tried", "tried"}});
  for (const char* name : {"mnist", "fashion-mnist"}) {
    const std::vector<std::filesystem::path> places = search_places(name, data_dir);
    const auto found = std::ranges::find_if(places, [](const std::filesystem::path& place) {
      std::error_code error;
      return std::filesystem::is_directory(place, error);
    });
    const std::string tried = join_paths(places);
    table.row(
        {std::string(name), found == places.end() ? "not found; tried " + tried : found->string(), tried});
  }
  return table;
}

struct KnownModel {
  ZooEntry entry;
  int64_t parameters, macs;
  std::string source() const { return entry.description.substr(0, entry.description.find(',')); }
};
std::vector<KnownModel> known_models(ImageShape input, int64_t outputs) {
  std::vector<KnownModel> models;
  for (const std::string& name : zoo_names()) {
    const ZooEntry entry = zoo(name, outputs);
    const Architecture architecture = parse_architecture(entry.line);
    models.push_back({entry, count_parameters(architecture, input), count_macs(architecture, input)});
  }
  return models;
}

Table model_table(const std::vector<KnownModel>& models) {
  Table table({{"name", "model"},
               {"parameters", "parameters", Kind::count},
               {"macs", "MACs", Kind::count},
               {"line", "line"},
               {"description", "description"}});
  for (const auto& [entry, parameters, macs] : models)
    table.row({entry.name, parameters, macs, entry.line, entry.description});
  return table;
}

// A row for each network, or for all that come from one source under names that differ after a dash.
void say_models(std::span<const KnownModel> models, Console& console) {
  while (!models.empty()) {
    const auto end = std::ranges::find_if(
        models, [&](const KnownModel& model) { return model.source() != models[0].source(); });
    const auto alike = models.first(static_cast<size_t>(end - models.begin()));
    const auto range = [&](int64_t KnownModel::*count) {
      const auto [low, high] = std::ranges::minmax(alike, {}, count);
      const double from = 1e-6 * static_cast<double>(low.*count),
                   to = 1e-6 * static_cast<double>(high.*count);
      return from == to ? fmt::format("{:.2f} M", from) : fmt::format("{:.2f}-{:.2f} M", from, to);
    };
    std::string name = alike[0].entry.name, words = alike[0].entry.description;
    if (alike.size() > 1) {
      words = fmt::format("{}, {} to {}", alike[0].source(), name, alike.back().entry.name);
      name = name.substr(0, name.find('-')) + "-*";
    }
    console.say("  {:<10}{:>12}{:>15}   {}", name, range(&KnownModel::parameters), range(&KnownModel::macs),
                words);
    models = models.subspan(alike.size());
  }
}

Json show_network(const InfoOptions& options, ImageShape input, Console& console) {
  const std::string line = asked_network(options.model, options.outputs).line;
  const Architecture architecture = parse_architecture(line);
  Table table({{"index", "#", Kind::count},
               {"layer", "layer"},
               {"input", "input"},
               {"output", "output"},
               {"parameters", "parameters", Kind::count},
               {"macs", "MACs", Kind::count}});
  int64_t index = 0;
  for (const LayerInfo& layer : describe_layers(architecture, input)) {
    table.row(
        {index++, layer.text, to_string(layer.input), to_string(layer.output), layer.parameters, layer.macs});
  }
  const int64_t parameters = count_parameters(architecture, input), macs = count_macs(architecture, input);
  console.say("{}", line);
  console.blank();
  console.say(table);
  console.blank();
  console.say("{} parameters, {} MACs per image", grouped(parameters), grouped(macs));
  return {{"network", line}, {"layers", table.json()}, {"parameters", parameters}, {"macs", macs}};
}

Json show_all(InfoOptions& options, ImageShape input, Console& console) {
  set_cpu_threads(static_cast<int>(options.common.threads));
  const Backend& backend = cpu_backend();
  if (options.common.device != "auto") open_backend(options.common, console);  // an Error where it is absent
  const Table datasets = dataset_table(options.data_dir);
  const std::vector<KnownModel> models = known_models(input, options.outputs);
  console.say("caltrop {} ({}, {})", version(), commit(), compiler());
  console.blank();
  console.say("Devices");
  console.say("  cpu   {}", backend.description());
  console.say("  cuda  {}", cuda_words());
  for (const std::string& gpu : gpus()) console.say("        {}", gpu);
  console.blank();
  console.say("Data sets");
  for (const Json& row : datasets.json()) {
    console.say("  {:<14} {}", row["name"].get<std::string>(), row["place"].get<std::string>());
  }
  console.say("  {:<14} drawn by the program", "digits");
  console.blank();
  console.say("Models (for images of {}, {} outputs)", options.input, options.outputs);
  console.say("  {:<10}{:>12}{:>15}", "", "parameters", "MACs");
  say_models(models, console);
  console.blank();
  console.say("'caltrop info --model NAME' shows the line and the layers of one.");
  return {
      {"version", version()},
      {"commit", commit()},
      {"compiler", compiler()},
      {"devices",
       {{"cpu", backend.description()}, {"cuda", cuda_words()}, {"gpus", gpus()}, {"cudnn", has_cudnn()}}},
      {"datasets", datasets.json()},
      {"models", model_table(models).json()}};
}

void run(InfoOptions& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  RunFolder::check(options.common.out, options.common.resume);
  ImageShape input = parse_image_shape("input", options.input);
  if (input.channels == 0) input.channels = 1;
  const bool network = !options.model.model.empty() || !options.model.arch.empty();
  if (network) asked_network(options.model);
  const Json result = network ? with_schema("info-network/1", show_network(options, input, console))
                              : with_schema("info/1", show_all(options, input, console));
  if (!options.common.out.empty()) {
    RunFolder(options.common.out, make_config(flags, {}), options.common.resume)
        .write_json("info.json", result);
  }
  console.result(result);
}

}  // namespace

Run info_command(Flags& flags) {
  return make_command<InfoOptions>(flags, declare, run);
}

}  // namespace caltrop
