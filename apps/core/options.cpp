#include "apps/core/options.h"

#include <cstdio>

#include "apps/core/flags.h"
#include "engine/text.h"

namespace caltrop {

void add_common_flags(Flags& flags, CommonOptions& options, bool seeded, const std::string& out_fallback,
                      const std::vector<std::string>& devices) {
  flags.group("Computing");
  flags.choice("device", options.device, devices, "where to compute; auto takes a GPU if there is one");
  flags.choice("conv", options.conv, {"own", "cudnn"},
               "whose convolutions a GPU computes with; cudnn's may depend on the batch in their last bits");
  flags.integer("seed", options.seed, 0, std::numeric_limits<int64_t>::max(), "N",
                seeded ? "source of all random numbers; the same seed gives the same files"
                       : "accepted as everywhere; this command draws no random numbers");
  flags.group("Computing", Scope::local);
  flags.integer("threads", options.threads, 0, kMaxThreads, "N",
                "worker threads, 0 for one per core; results do not depend on it");
  flags.group("Input and output", Scope::local);
  flags.text("out", options.out, "DIR",
             "folder for the results, made if missing; it must not hold another run", out_fallback);
  flags.toggle("resume", options.resume,
               "continue the run in --out where it was cut off; ends with the same bits");
  flags.text("json", options.json, "FILE",
             "write the result as JSON; - is standard output, where nothing else is printed then");
  flags.text("config", options.config, "FILE",
             "read flags from JSON, such as the config.json of a run folder; flags given here win over it");
  flags.toggle("quiet", options.quiet, "print nothing but warnings, errors and --json -", "q");
}

void add_data_flags(Flags& flags, DataOptions& options, const std::string& limit_help) {
  flags.group("Data");
  flags.choice("dataset", options.dataset, {"auto", "mnist", "fashion-mnist", "digits", "folder", "arrays"},
               "digits are drawn by the program and need no files; folder reads PNG and JPEG files in one "
               "sub-folder of --data-dir for each class; arrays reads --data-dir, an NPZ file or a folder of "
               "NPY files: x_train, "
               "y_train, x_test, y_test, or x and y for test images alone; auto takes mnist, fashion-mnist "
               "or digits, the first "
               "that is there");
  flags.text("data-dir", options.data_dir, "DIR", "where the data set lies", "searched: see 'caltrop info'");
  flags.text("split", options.split, "standard|A:B",
             "standard keeps the data set's own training and test images; A:B, such as 70:30, divides all "
             "of them anew, evenly over the classes");
  flags.integer("split-seed", options.split_seed, 0, std::numeric_limits<int64_t>::max(), "N",
                "another number divides the images another way");
  flags.text("image-size", options.image_size, "HxW", "resize the images of a folder",
             "the first image's size");
  if (limit_help.empty()) return;
  flags.integer("limit", options.limit, 1, std::numeric_limits<int32_t>::max(), "N", limit_help, "all");
}

void add_rows_flags(Flags& flags, DataOptions& options) {
  flags.text("indices", options.indices, "FILE",
             "only the images whose numbers, from 0, are in FILE: text with blanks, commas or lines between, "
             "or an NPY "
             "array; in its order",
             "all");
  flags.integer("offset", options.offset, 0, std::numeric_limits<int32_t>::max(), "N",
                "leave the first N images out", "0");
  flags.exclusive({"indices", "offset"});
}

ImageShape parse_image_shape(const std::string& flag, const std::string& text) {
  ImageShape shape;
  int length = 0;
  const int read = std::sscanf(text.c_str(), "%5ldx%5ld%nx%5ld%n", &shape.height, &shape.width, &length,
                               &shape.channels, &length);
  const bool whole = read >= 2 && length == static_cast<int>(text.size());
  if (!whole || shape.height < 1 || shape.width < 1 || (read == 3 && shape.channels < 1))
    usage_error("--{}: expected sizes like 28x28, got '{}'", flag, shown(text));
  return shape;
}

void add_subset_flag(Flags& flags, std::string& subset) {
  flags.choice("subset", subset, {"test", "train"}, "which part of the data set");
}

std::vector<std::string> data_flags() {
  return {"dataset", "data-dir", "split", "split-seed", "image-size", "limit", "indices", "offset", "subset"};
}

void add_model_flags(Flags& flags, ModelOptions& options, Weights weights) {
  const std::string from_weights = weights == Weights::none ? "" : "as the weights say";
  flags.group("Model");
  flags.text("model", options.model, "NAME", "network by name; 'caltrop info' lists them", from_weights);
  flags.text("arch", options.arch, "LINE",
             "network by its line, as in \"conv 32 3x3 | relu | maxpool 2 | flatten | dense 10\"",
             from_weights);
  flags.exclusive({"model", "arch"});
  add_pool_stride_flag(flags, options.pool_stride);
  if (weights == Weights::none) return;
  flags.text("weights", options.weights, "FILE", "trained weights (safetensors)",
             weights == Weights::optional ? "new ones, see --init" : "");
  flags.choice("layout", options.layout, {"caltrop", "torch"},
               "layout of the weights; torch files need --model or --arch");
}

void add_pool_stride_flag(Flags& flags, int64_t& stride) {
  flags.integer(
      "pool-stride", stride, 1, 2, "1|2",
      "stride of the 2x2 pools of target and eat-1 to eat-3 (the paper's Table 1 can be read both ways)");
  flags.exclusive({"arch", "pool-stride"});
}

void add_batch_flag(Flags& flags, int64_t& batch, const std::string& help) {
  flags.integer("batch", batch, batch == 0 ? 0 : 1, kMaxBatch, "N", help);
}

void add_eps_flag(Flags& flags, std::optional<Size>& eps, const std::string& fallback) {
  flags.size("eps", eps, {.low = 0, .high = kMaxSize}, "SIZE",
             "largest perturbation, in the norm, for pixels from 0 to 1: 0.03 or 8/255", fallback);
}

}  // namespace caltrop
