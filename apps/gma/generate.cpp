// caltrop gma generate: the paper's Algorithm 1, streamed to disk part by part.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <system_error>

#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/core/text_layout.h"
#include "apps/gma/flags.h"
#include "apps/gma/set.h"
#include "attacks/attack_images.h"
#include "engine/text.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

struct GenerateCommand {
  CommonOptions common;
  DataOptions data;
  ModelOptions model;
  GmaFlags gma;
  std::string subset = "train", store = "delta", shard = "1/1";
  int64_t batch = 0;
};

void declare(Flags& flags, GenerateCommand& options) {
  flags.usage("--weights FILE [flags]");
  flags.about(
      "Generates the paper's miniature attack set (Algorithm 1): the base attack on every image for each "
      "of the 30 sizes Tr = V e^-i, all sizes of an image together. The set is written part by part; a run "
      "that was cut off continues with --resume and ends with the same bytes.");
  add_model_flags(flags, options.model, Weights::required);
  add_data_flags(flags, options.data, "attack the first N images");
  add_subset_flag(flags, options.subset);
  add_gma_flags(flags, options.gma);
  flags.group("Set");
  flags.choice(
      "store", options.store, {"delta", "png", "none"},
      "how attacked images are kept: exactly, as pictures of 8 bits, or only what the network said of "
      "them; 'gma analyze --set' needs delta");
  flags.group("Computing", Scope::local);
  flags.text(
      "shard", options.shard, "I/N",
      "make the I-th of N shares of the parts; folders of all shares, copied into one, are the set that "
      "one call makes, and --resume there adds the manifest");
  add_batch_flag(flags, options.batch,
                 "images crafted together, 0 for what suits the network; results do not depend on it");
  add_common_flags(flags, options.common, true, "runs/gma-DATASET, the first that is free");
  flags.section(
      "Files",
      " DIR/config.json       every flag as used\n"
      " DIR/manifest.csv      one row per attacked image: part, place, source index, norm, size, epsilon, "
      "attack, seed, label, predictions, success, budget used\n"
      " DIR/NORM-NNNNNN.npz   x, delta (float32), eps, index, label, prediction, success, linf, l2, "
      "zero_gradients, nan_gradients of a part\n"
      " DIR/NORM-NNNNNN.png   with --store png: a row of tiles for each image, clean and then one per size");
  flags.section("JSON",
                "out, images, sizes, norms, rows, bytes, forward_passes, backward_passes of this call");
  flags.example(
      "caltrop gma generate --weights runs/target/model.safetensors --limit 1000 --out runs/gma-set",
      "The set of the first 1,000 training images, under both norms (190 MB).");
}

// Takes the crafted chunks of one part, in the order of the images.
class PartSink {
 public:
  PartSink(const Images& images, const std::vector<GmaSize>& sizes) : images_(images) {
    part_.shape = images.shape();
    state_sizes(part_, sizes);
  }

  void operator()(const AttackResult& chunk) {
    std::vector<int64_t> rows;
    for (const AttackedImage& image : chunk.images) {
      rows.push_back(image.index);
      part_.index.push_back(image.index);
      part_.label.push_back(image.label);
      part_.clean_prediction.push_back(image.clean_prediction);
    }
    for (const float pixel : images_.pixels(rows).to_host()) {
      part_.x.push_back(to_byte(pixel));
    }
    const std::vector<float> delta = chunk.delta.to_host();
    part_.delta.insert(part_.delta.end(), delta.begin(), delta.end());
    for (const AttackRow& row : chunk.rows) {
      part_.prediction.push_back(row.prediction);
      part_.success.push_back(row.success);
      part_.linf.push_back(row.linf);
      part_.l2.push_back(row.l2);
      part_.zero_gradients.push_back(row.zero_gradients);
      part_.nan_gradients.push_back(row.nan_gradients);
    }
  }
  const AttackedSet& part() const { return part_; }

 private:
  const Images& images_;
  AttackedSet part_;
};

// Which parts of a set one process makes: those whose number, counted through all norms, leaves `index` when
// divided by `count`.
struct Shard {
  int64_t index = 0, count = 1;
  bool has(int64_t part) const { return part % count == index; }
};

Shard parse_shard(const std::string& text) {
  long long i = 0, n = 0;
  int length = 0;
  const bool read = std::sscanf(text.c_str(), "%6lld/%6lld%n", &i, &n, &length) == 2;
  if (!read || length != static_cast<int>(text.size()) || i < 1 || i > n) {
    usage_error("--shard expects I/N with 1 <= I <= N, as in 2/8, got '{}'", shown(text));
  }
  return {i - 1, n};
}

// What a run that is resumed has already written.
int64_t bytes_of_parts(const std::string& out) {
  int64_t bytes = 0;
  std::error_code error;
  if (!fs::is_directory(out, error)) return 0;
  for (const Norm norm : {Norm::linf, Norm::l2}) {
    for (const fs::path& part : find_parts(out, norm))
      bytes += static_cast<int64_t>(fs::file_size(part, error));
  }
  return bytes;
}

void expect_space(const std::string& out, int64_t bytes) {
  fs::path place = fs::absolute(out);
  while (!fs::exists(place) && place.has_relative_path()) place = place.parent_path();
  std::error_code error;
  const fs::space_info space = fs::space(place, error);
  if (!error && bytes > 0 && space.available < static_cast<uintmax_t>(bytes)) {
    fail("the set needs {:.1f} MB, but {} has {:.1f} MB free; take fewer images with --limit",
         static_cast<double>(bytes) / 1e6, place.string(), static_cast<double>(space.available) / 1e6);
  }
}

class Generation {
 public:
  Generation(GenerateCommand& options, const Flags& flags)
      : options_(options), flags_(flags), console_(options.common.json, options.common.quiet) {}

  void run() {
    RunFolder::check(options_.common.out, options_.common.resume);
    expect_read(flags_, parse_attack(options_.gma.attack.kind));
    const std::vector<Norm> norms = gma_norms(options_.gma);
    sizes_ = gma_sizes_of(options_.gma);
    store_ = parse_gma_store(options_.store);
    shard_ = parse_shard(options_.shard);
    for (const Norm norm : norms) attack_options(options_.gma.attack, norm, options_.common.seed);
    Backend& backend = open_backend(options_.common, console_);
    const Trained trained =
        open_trained(options_.model, options_.data, options_.subset, flags_, backend, console_);
    const Images& images = trained.data.images;
    for (const Norm norm : norms) {
      check_attack(attack_options(options_.gma.attack, norm, options_.common.seed), eps_of(sizes_),
                   images.image_size());
    }
    const std::string out = folder_or_free(options_.common.out, "gma-" + trained.data.info.name);
    const auto sizes = static_cast<int64_t>(sizes_.size()), kinds = static_cast<int64_t>(norms.size());
    const int64_t bytes = set_bytes(images.count(), sizes, kinds, images.image_size(), store_) / shard_.count;
    console_.say("{} images x {} sizes x {} norms{} -> {}, {} {:.0f} MB", grouped(images.count()), sizes,
                 kinds, shard_.count > 1 ? ", share " + options_.shard : "", out,
                 store_ == GmaStore::png ? "at most" : "about", static_cast<double>(bytes) / 1e6);
    expect_space(out, bytes - bytes_of_parts(out));
    const RunFolder folder(out, make_config(flags_, trained.facts), options_.common.resume);

    ProgressLine progress(console_, "gma generate", images.count() * kinds, "images");
    int64_t base = 0;
    for (const Norm norm : norms) {
      generate(folder, trained.model, images, norm, base, progress);
      base += images.count();
    }
    progress.finish();
    const bool complete = is_complete(folder, norms, images);
    if (complete && !folder.has(kManifest)) {
      write_manifest(folder.path(), norms, options_.gma.attack.kind, options_.common.seed);
    }
    if (complete) {
      console_.say("{} attacked images, listed in {}", grouped(images.count() * sizes * kinds),
                   folder.file(kManifest).string());
    } else {
      console_.say(
          "share {} is done; copy the folders of all shares into one, and there: caltrop gma generate "
          "--resume --out {}",
          options_.shard, out);
    }
    console_.result({{"out", out},
                     {"complete", complete},
                     {"images", images.count()},
                     {"sizes", sizes},
                     {"norms", kinds},
                     {"rows", images.count() * sizes * kinds},
                     {"bytes", bytes},
                     {"forward_passes", forward_},
                     {"backward_passes", backward_}});
  }

 private:
  // A part that was damaged since is made again.
  bool is_whole(const fs::path& path) {
    try {
      read_part(path, store_);
      return store_ != GmaStore::png || fs::exists(fs::path(path).replace_extension(".png"));
    } catch (const Error& problem) {
      console_.note("{}; it is made again", problem.what());
      return false;
    }
  }

  bool is_complete(const RunFolder& folder, const std::vector<Norm>& norms, const Images& images) const {
    const int64_t step = images_per_part(static_cast<int64_t>(sizes_.size()), images.image_size());
    for (const Norm norm : norms) {
      for (int64_t first = 0; first < images.count(); first += step) {
        if (!folder.has(part_name(norm, first))) return false;
      }
    }
    return true;
  }

  // All parts of this share and one norm that are not there yet.
  void generate(const RunFolder& folder, const Model& model, const Images& images, Norm norm, int64_t base,
                ProgressLine& progress) {
    const AttackOptions attack = attack_options(options_.gma.attack, norm, options_.common.seed);
    const int64_t step = images_per_part(static_cast<int64_t>(sizes_.size()), images.image_size());
    const int64_t parts = (images.count() + step - 1) / step;
    for (int64_t first = 0; first < images.count(); first += step) {
      const std::string name = part_name(norm, first);
      if (!shard_.has(base / images.count() * parts + first / step)) continue;
      if (folder.has(name) && is_whole(folder.file(name))) continue;
      PartSink sink(images, sizes_);
      AttackJob job{.rows = row_range(first, std::min(images.count(), first + step)),
                    .batch = options_.batch};
      job.sink = [&](int64_t, const AttackResult& chunk) {
        sink(chunk);
      };
      job.progress = [&](int64_t done) {
        progress.at(base + first + done);
      };
      const AttackReport report = attack_images(model, images, eps_of(sizes_), attack, job);
      forward_ += report.forward_passes;
      backward_ += report.backward_passes;
      write_part(folder.file(name), sink.part(), store_);
    }
  }

  GenerateCommand& options_;
  const Flags& flags_;
  Console console_;
  std::vector<GmaSize> sizes_;
  GmaStore store_ = GmaStore::delta;
  Shard shard_;
  int64_t forward_ = 0, backward_ = 0;
};

}  // namespace

Run gma_generate_command(Flags& flags) {
  return make_command<GenerateCommand>(
      flags, declare, [](GenerateCommand& options, const Flags& given) { Generation(options, given).run(); });
}

}  // namespace caltrop
