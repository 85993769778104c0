// caltrop gma generate: the paper's Algorithm 1, streamed to disk part by part.
#include <algorithm>
#include <cstdio>
#include <map>

#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/core/text_layout.h"
#include "apps/gma/flags.h"
#include "apps/report/attack_report.h"
#include "attacks/attack_images.h"
#include "data/gma_set.h"
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

// Which parts of a set one process makes: those whose number leaves `index` when divided by `count`.
struct Shard {
  int64_t index = 0, count = 1;
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

// A part that was damaged since is made again.
bool is_whole(const fs::path& path, SetStore store, Console& console) {
  try {
    read_part(path, store);
    return true;
  } catch (const Error& problem) {
    console.note("{}; it is made again", problem.what());
    return false;
  }
}

AttackedSet empty_part(const ImageShape& shape, const std::vector<GmaSize>& sizes) {
  AttackedSet part{.shape = shape, .eps = eps_of(sizes)};
  for (const GmaSize& size : sizes) {
    part.v.push_back(static_cast<float>(size.v));
    part.exponent.push_back(size.i);
    part.ten.push_back(size.base == GmaBase::ten);
  }
  return part;
}

void run(GenerateCommand& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  RunFolder::check(options.common.out, options.common.resume);
  expect_read(flags, parse_attack(options.gma.attack.kind));
  const std::vector<GmaSize> sizes = gma_sizes_of(options.gma);
  const SetStore store = parse_set_store(options.store);
  const Shard shard = parse_shard(options.shard);
  std::map<std::string, AttackOptions> attacks;
  std::vector<std::string> norms;
  for (const Norm norm : gma_norms(options.gma.norm)) {
    norms.push_back(to_string(norm));
    attacks[norms.back()] = attack_options(options.gma.attack, norm, options.common.seed);
  }
  Backend& backend = open_backend(options.common, console);
  const Trained trained = open_trained(options.model, options.data, options.subset, flags, backend, console);
  const Images& images = trained.data.images;
  for (const std::string& norm : norms) check_attack(attacks[norm], eps_of(sizes), images.image_size());
  const std::string out = folder_or_free(options.common.out, "gma-" + trained.data.info.name);
  const auto count = static_cast<int64_t>(sizes.size()), kinds = static_cast<int64_t>(norms.size());
  const std::vector<SetPart> parts = parts_of_set(norms, images.count(), count, images.image_size());
  const int64_t bytes = set_bytes(images.count(), count, kinds, images.image_size(), store) / shard.count;
  console.say("{} images x {} sizes x {} norms{} -> {}, {} {:.0f} MB", grouped(images.count()), count, kinds,
              shard.count > 1 ? ", share " + options.shard : "", out,
              store == SetStore::png ? "at most" : "about", static_cast<double>(bytes) / 1e6);
  expect_space(out, bytes, parts);
  const RunFolder folder(out, make_config(flags, trained.facts), options.common.resume);

  ProgressLine progress(console, "gma generate", images.count() * kinds, "images");
  int64_t forward = 0, backward = 0;
  for (int64_t k = shard.index; k < static_cast<int64_t>(parts.size()); k += shard.count) {
    const SetPart& part = parts[static_cast<size_t>(k)];
    if (folder.has(part.name) && is_whole(folder.file(part.name), store, console)) continue;
    AttackedSet set = empty_part(images.shape(), sizes);
    AttackJob job{.rows = row_range(part.first, part.last), .batch = options.batch};
    job.sink = [&](int64_t, const AttackResult& chunk) {
      keep(chunk, images, set);
    };
    job.progress = [&](int64_t done) {
      progress.at(part.before + done);
    };
    const AttackReport report = attack_images(trained.model, images, eps_of(sizes), attacks[part.norm], job);
    forward += report.forward_passes;
    backward += report.backward_passes;
    write_part(folder.file(part.name), set, store);
  }
  progress.finish();
  const bool complete =
      std::ranges::all_of(parts, [&](const SetPart& part) { return folder.has(part.name); });
  if (complete) {
    std::vector<std::string> names;
    for (const GmaSize& size : sizes) names.push_back(size.name());
    if (!folder.has(kManifest))
      write_manifest(folder.path(), norms, names, options.gma.attack.kind, options.common.seed);
    console.say("{} attacked images, listed in {}", grouped(images.count() * count * kinds),
                folder.file(kManifest).string());
  } else {
    console.say(
        "share {} is done; copy the folders of all shares into one, and there: caltrop gma generate "
        "--resume --out {}",
        options.shard, out);
  }
  console.result({{"schema", "gma-set/1"},
                  {"out", out},
                  {"complete", complete},
                  {"images", images.count()},
                  {"sizes", count},
                  {"norms", kinds},
                  {"rows", images.count() * count * kinds},
                  {"bytes", bytes},
                  {"forward_passes", forward},
                  {"backward_passes", backward}});
}

}  // namespace

Run gma_generate_command(Flags& flags) {
  return make_command<GenerateCommand>(flags, declare, run);
}

}  // namespace caltrop
