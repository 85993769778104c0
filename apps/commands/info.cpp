// caltrop info: what is here.
#include <algorithm>
#include <vector>

#include "apps/core/build_info.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/core/text_layout.h"
#include "apps/report/table.h"
#include "engine/zoo.h"
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
  switch (cuda_state()) {
    case DeviceState::not_built:
      return "not built";
    case DeviceState::no_device:
      return "no device";
    case DeviceState::ready:
      return "ready";
  }
  return "unknown";
}

std::vector<std::string> gpus() {
  std::vector<std::string> lines;
  for (const CudaDevice& gpu : cuda_devices()) lines.push_back(to_string(gpu));
  return lines;
}

Table dataset_table(const std::string& data_dir) {
  Table table({{"name", "data set"}, {"place", "place"}, {"tried", "tried"}});
  for (const char* name : {"mnist", "fashion-mnist"}) {
    std::string found, tried;
    for (const auto& place : search_places(name, data_dir)) {
      std::error_code error;
      const bool here = std::filesystem::is_directory(place, error);
      if (here && found.empty()) found = place.string();
      tried += (tried.empty() ? "" : ", ") + place.string();
    }
    table.row({std::string(name), found.empty() ? "not found; tried " + tried : found, tried});
  }
  return table;
}

Table model_table(ImageShape input, int64_t outputs) {
  Table table({{"name", "model"},
               {"parameters", "parameters", Kind::count},
               {"macs", "MACs", Kind::count},
               {"line", "line"},
               {"description", "description"}});
  for (const std::string& name : zoo_names()) {
    const ZooEntry entry = zoo(name, outputs);
    const Architecture architecture = parse_architecture(entry.line);
    table.row({name, count_parameters(architecture, input), count_macs(architecture, input), entry.line,
               entry.description});
  }
  return table;
}

std::string millions(int64_t low, int64_t high) {
  const auto text = [](int64_t count) {
    return fmt::format("{:.2f}", static_cast<double>(count) * 1e-6);
  };
  return (low == high ? text(low) : text(low) + "-" + text(high)) + " M";
}

// A row for each network, or for all that come from one source under names that differ after a dash.
void say_models(const Json& models, Console& console) {
  const auto source = [&](size_t i) {
    const auto words = models[i]["description"].get<std::string>();
    return words.substr(0, words.find(','));
  };
  for (size_t first = 0, end = 0; first < models.size(); first = end) {
    while (end < models.size() && source(end) == source(first)) ++end;
    const auto range = [&](const char* key) {
      std::vector<int64_t> counts;
      for (size_t i = first; i < end; ++i) counts.push_back(models[i][key].get<int64_t>());
      const auto [low, high] = std::minmax_element(counts.begin(), counts.end());
      return millions(*low, *high);
    };
    auto name = models[first]["name"].get<std::string>(),
         words = models[first]["description"].get<std::string>();
    if (end - first > 1) {
      words = fmt::format("{}, {} to {}", source(first), name, models[end - 1]["name"].get<std::string>());
      name = name.substr(0, name.find('-')) + "-*";
    }
    console.say("  {:<10}{:>12}{:>15}   {}", name, range("parameters"), range("macs"), words);
  }
}

Json show_network(const InfoOptions& options, ImageShape input, Console& console) {
  const std::string line = network_line(options.model, options.outputs);
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
  const Table datasets = dataset_table(options.data_dir), models = model_table(input, options.outputs);
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
  say_models(models.json(), console);
  console.blank();
  console.say("'caltrop info --model NAME' shows the line and the layers of one.");
  return {
      {"version", version()},
      {"commit", commit()},
      {"compiler", compiler()},
      {"devices",
       {{"cpu", backend.description()}, {"cuda", cuda_words()}, {"gpus", gpus()}, {"cudnn", has_cudnn()}}},
      {"datasets", datasets.json()},
      {"models", models.json()}};
}

void run(InfoOptions& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  RunFolder::check(options.common.out, options.common.resume);
  ImageShape input = parse_image_shape("input", options.input);
  if (input.channels == 0) input.channels = 1;
  const bool network = !options.model.model.empty() || !options.model.arch.empty();
  if (network) check_network_flags(options.model);
  const Json result = network ? show_network(options, input, console) : show_all(options, input, console);
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
