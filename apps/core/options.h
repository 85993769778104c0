// The flags that commands share: declared here once, so that they mean the same everywhere.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/architecture.h"

namespace caltrop {

class Flags;
struct Size;

// Limits against absurd input.
inline constexpr int64_t kMaxEpochs = 100000;
inline constexpr int64_t kMaxBatch = 65536;
inline constexpr int64_t kMaxSteps = 100000;
inline constexpr int64_t kMaxThreads = 1024;
inline constexpr double kMaxSize = 1000;  // of a perturbation; 784 is all of MNIST under L1

struct CommonOptions {
  std::string device = "auto";
  std::string conv = "own";
  int64_t seed = 0;
  int64_t threads = 0;  // 0: one per core
  std::string out;      // folder; "" for none
  std::string json;     // "", "-" or a file
  std::string config;
  bool resume = false, quiet = false;
};
// Declares --device --conv --seed, then --threads --out --resume --json --config --quiet, which every command
// takes. `seeded`: the command draws random numbers.
void add_common_flags(Flags& flags, CommonOptions& options, bool seeded = true,
                      const std::string& out_fallback = "none",
                      const std::vector<std::string>& devices = {"auto", "cpu", "cuda"});

struct DataOptions {
  std::string dataset = "auto";
  std::string data_dir;
  std::string split = "standard";
  int64_t split_seed = 0;         // apart from --seed, so that models of several seeds see the same division
  std::string image_size;         // HxW of a folder's images; "": the first one's
  std::optional<int64_t> limit;   // first images
  std::string indices;            // a file that chooses images by number; "": none
  std::optional<int64_t> offset;  // the images before it are left out
};
// --dataset --data-dir --split --split-seed --image-size, and --limit unless its help is empty.
void add_data_flags(Flags& flags, DataOptions& options, const std::string& limit_help);

// --indices --offset, for commands that look at single images.
void add_rows_flags(Flags& flags, DataOptions& options);

// HEIGHTxWIDTH or HEIGHTxWIDTHxCHANNELS, the value of a flag; without channels they are 0. UsageError where the
// text is another.
ImageShape parse_image_shape(const std::string& flag, const std::string& text);

// --subset train|test, for commands that look at one part of a data set.
void add_subset_flag(Flags& flags, std::string& subset);

// Their names: a command that takes its images elsewhere reads none of them.
std::vector<std::string> data_flags();

struct ModelOptions {
  std::string model, arch;  // one at most
  int64_t pool_stride = 2;
  std::string weights;
  std::string layout = "caltrop";
};
enum class Weights : uint8_t { none, optional, required };
void add_model_flags(Flags& flags, ModelOptions& options, Weights weights);
// --pool-stride, where a command declares its own --model.
void add_pool_stride_flag(Flags& flags, int64_t& stride);

// 0: the model's own choice.
void add_batch_flag(Flags& flags, int64_t& batch, const std::string& help);

// Sizes are in units of a pixel range of [0,1].
void add_eps_flag(Flags& flags, std::optional<Size>& eps, const std::string& fallback);

}  // namespace caltrop
