// caltrop export: weights and images for other programs.
#include "data/export.h"

#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/core/text_layout.h"
#include "engine/torch_layout.h"

namespace caltrop {
namespace {

struct ExportOptions {
  CommonOptions common;
  DataOptions data;
  ModelOptions model;
  std::string input = "28x28x1", images, attacked, subset = "test";
  int64_t outputs = 10;
};

void declare(Flags& flags, ExportOptions& options) {
  options.model.layout = "torch";
  flags.usage("(--weights FILE | --images npz|png | --attacked FILE) --out DIR [flags]");
  flags.about(
      "Writes weights in the layout of PyTorch (or, from PyTorch, in Caltrop's), and image sets as NPZ or "
      "PNG. Weights that Caltrop wrote name their own network and layout; any others are taken to be "
      "PyTorch's and need --model or --arch.");
  flags.group("Weights");
  flags.text("weights", options.model.weights, "FILE", "trained weights (safetensors)");
  flags.choice("layout", options.model.layout, {"caltrop", "torch"}, "layout to write");
  flags.text("model", options.model.model, "NAME", "network by name", "as the weights say");
  flags.text("arch", options.model.arch, "LINE", "network by its line", "as the weights say");
  flags.exclusive({"model", "arch"});
  add_pool_stride_flag(flags, options.model.pool_stride);
  flags.text("input", options.input, "HxWxC", "image size of a network whose weights do not say it");
  flags.integer("outputs", options.outputs, 1, 1 << 20, "K",
                "outputs of --model where the weights do not say them");
  flags.group("Images");
  flags.choice("images", options.images, {"npz", "png"},
               "export images: npz with arrays x (uint8), label, index; png in one folder per class");
  flags.text("attacked", options.attacked, "FILE",
             "export attacked images as PNG: adversarial.npz of 'caltrop attack', or a part of 'caltrop gma "
             "generate'; 8 bits erase small perturbations, so the exact ones lie beside them");
  add_subset_flag(flags, options.subset);
  add_data_flags(flags, options.data, "export the first N images");
  add_common_flags(flags, options.common, false);
  flags.section("Files",
                " DIR/model.safetensors           weights\n"
                " DIR/images.npz or DIR/images/    images\n"
                " DIR/attacked/                    attacked images; of a GMA set in one folder per size");
  flags.section(
      "JSON",
      "out, weights: {file, layout, network, tensors}, images: {path, count}, attacked: {path, count}");
  flags.example("caltrop export --weights runs/target/model.safetensors --layout torch --out runs/torch",
                "For torch.nn.Sequential: "
                "load_state_dict(safetensors.torch.load_file(\"runs/torch/model.safetensors\")).");
  flags.example("caltrop export --attacked runs/pgd-linf-mnist/adversarial.npz --out runs/pictures",
                "The images of an attack as PNG files.");
  flags.example("caltrop export --images png --dataset fashion-mnist --limit 100 --out runs/images",
                "The first 100 test images as PNG files.");
}

// In the layout that was asked for; what the file says beside the network goes with them.
SafeTensorFile weights_of(const Model& model, const SafeTensorFile& file, const std::string& layout) {
  const SafeTensorFile state = model.state();
  SafeTensorFile weights =
      layout == "torch" ? to_torch_layout(state, model.architecture(), model.input()) : state;
  weights.metadata = state.metadata;
  weights.metadata.insert(file.metadata.begin(), file.metadata.end());
  weights.metadata.erase("layout");  // Caltrop's own goes without saying
  if (layout == "torch") weights.metadata["layout"] = layout;
  return weights;
}

void run(ExportOptions& options, const Flags& flags) {
  if (options.model.weights.empty() && options.images.empty() && options.attacked.empty())
    usage_error("give --weights, --images or --attacked");
  if (options.common.out.empty()) usage_error("--out is missing: the folder to write to");
  Console console(options.common.json, options.common.quiet);
  RunFolder::check(options.common.out, options.common.resume);
  Backend& backend = open_backend(options.common, console);
  Json facts = Json::object(), result = {{"out", options.common.out}};
  std::optional<SafeTensorFile> weights;
  if (!options.model.weights.empty()) {
    const SafeTensorFile file = read_weights(options.model);
    ModelOptions source = options.model;
    source.layout = "auto";
    const Model model =
        stored_network(file, source, parse_image_shape("input", options.input), options.outputs, backend);
    weights = weights_of(model, file, options.model.layout);
    facts["network"] = to_string(model.architecture());
  }
  std::optional<HostData> images;
  if (!options.images.empty()) {
    images = load_host_data(options.data, options.subset, console);
    facts.update(images->info.facts);
  }
  std::optional<AttackedSet> attacked;
  if (!options.attacked.empty()) attacked = read_attacked_set(options.attacked);

  const RunFolder folder(options.common.out, make_config(flags, facts, images ? Unused() : data_flags()),
                         options.common.resume);
  if (weights) {
    const std::string file = folder.file("model.safetensors").string();
    write_safetensors(file, *weights);
    console.say("weights  {} ({} layout)", file, options.model.layout);
    result["weights"] = {{"file", file},
                         {"layout", options.model.layout},
                         {"network", facts["network"]},
                         {"tensors", static_cast<int64_t>(weights->tensors.size())}};
  }
  const auto wrote = [&](const char* what, const std::filesystem::path& path, int64_t count) {
    console.say("{:<8} {} ({})", what, path.string(), grouped(count));
    result[what] = {{"path", path.string()}, {"count", count}};
  };
  if (images) {
    const bool npz = options.images == "npz";
    const std::filesystem::path path = folder.file(npz ? "images.npz" : "images");
    (npz ? export_images_npz : export_images_png)(path, {images->images, {}, {}});
    wrote("images", path, images->images.count());
  }
  if (attacked) {
    export_attacked_png(folder.file("attacked"), *attacked);
    wrote("attacked", folder.file("attacked"), attacked->images() * attacked->sizes());
  }
  console.result(with_schema("export/1", result));
}

}  // namespace

Run export_command(Flags& flags) {
  return make_command<ExportOptions>(flags, declare, run);
}

}  // namespace caltrop
