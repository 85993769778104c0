#include "apps/commands/attack_job.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <span>
#include <unordered_map>

#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "attacks/attack_info.h"
#include "data/attacked_set.h"
#include "data/file_bytes.h"
#include "data/npz.h"

namespace caltrop {
namespace {

using Places = std::vector<size_t>;

// Where each of `rows` is among `index`.
Places places_of(const std::string& path, std::span<const int64_t> rows, std::span<const int64_t> index) {
  std::unordered_map<int64_t, size_t> at;
  for (size_t k = 0; k < index.size(); ++k) {
    if (!at.try_emplace(index[k], k).second) fail("{}: image {} is there twice", path, index[k]);
  }
  Places places;
  for (const int64_t row : rows) {
    const auto found = at.find(row);
    if (found == at.end()) fail("{}: image {} is attacked, but not there", path, row);
    places.push_back(found->second);
  }
  return places;
}

// Classes for the images `rows`, in this order.
std::vector<int32_t> read_targets(const std::string& path, std::span<const int64_t> rows, int64_t outputs) {
  const std::vector<std::byte> bytes = read_file_bytes(path);
  std::vector<int64_t> wanted;
  if (is_npy(bytes)) {
    const NpyArray array = parse_npy(bytes, path);
    if (array.shape != std::vector<int64_t>{static_cast<int64_t>(rows.size())})
      fail("{}: expected a class for each of {} images, got an array of shape ({})", path, rows.size(),
           fmt::join(array.shape, ","));
    wanted = integers_of(array, path);
  } else {
    const auto arrays = read_npz(path);
    for (const char* name : {"index", "target"})
      if (!arrays.contains(name)) fail("{}: expected the arrays index and target, found no {}", path, name);
    const std::vector<int64_t> index = integers_of(arrays.at("index"), "index in " + path),
                               target = integers_of(arrays.at("target"), "target in " + path);
    if (index.size() != target.size())
      fail("{}: expected as many targets as indices, got {} and {}", path, target.size(), index.size());
    for (const size_t place : places_of(path, rows, index)) wanted.push_back(target[place]);
  }
  std::vector<int32_t> targets;
  for (size_t k = 0; k < wanted.size(); ++k) {
    if (wanted[k] < 0 || wanted[k] >= outputs)
      fail("{}: expected classes from 0 to {}, got {} for image {}", path, outputs - 1, wanted[k], rows[k]);
    targets.push_back(static_cast<int32_t>(wanted[k]));
  }
  return targets;
}

// The pixels of an array of images, one for each of `chosen`, at `places` among these.
std::vector<float> starts_in_array(const std::string& path, NpyArray array, int64_t chosen,
                                   const Places& places, const ImageShape& shape) {
  const std::vector<int64_t> wanted = {chosen, shape.height, shape.width, shape.channels};
  std::vector<int64_t> got = array.shape;
  if (got.size() == 3) got.push_back(1);
  if (got != wanted)
    fail("{}: expected an array ({}), got ({}): an image (n,h,w,c) for each that is chosen", path,
         fmt::join(wanted, ","), fmt::join(array.shape, ","));
  const std::vector<float> all = floats_of(array, path);
  const size_t size = all.size() / static_cast<size_t>(chosen);
  std::vector<float> starts;
  for (const size_t place : places)
    starts.insert(starts.end(), all.begin() + static_cast<int64_t>(place * size),
                  all.begin() + static_cast<int64_t>((place + 1) * size));
  return starts;
}

// The attacked images of a stored set that `rows` are the numbers of.
std::vector<float> starts_in_set(const std::string& path, std::span<const int64_t> rows,
                                 const ImageShape& shape) {
  const AttackedSet set = read_attacked_set(path);
  if (!(set.shape == shape))
    fail("{}: expected images of {}x{}x{}, got {}x{}x{}", path, shape.height, shape.width, shape.channels,
         set.shape.height, set.shape.width, set.shape.channels);
  if (set.sizes() != 1) fail("{}: expected one attacked image of each, got {} sizes", path, set.sizes());
  std::vector<float> starts;
  for (const size_t place : places_of(path, rows, set.index)) {
    const std::span<const float> delta = set.delta_of(static_cast<int64_t>(place));
    for (size_t p = 0; p < delta.size(); ++p) {
      const float x = static_cast<float>(set.x[place * delta.size() + p]) / 255.0f + delta[p];
      starts.push_back(std::clamp(x, 0.0f, 1.0f));
    }
  }
  return starts;
}

// Where the images `rows` begin, which are at `places` among the `chosen` ones.
std::vector<float> read_starts(const std::string& path, int64_t chosen, const Places& places,
                               std::span<const int64_t> rows, const ImageShape& shape) {
  const std::vector<std::byte> bytes = read_file_bytes(path);
  std::vector<float> starts = is_npy(bytes)
                                  ? starts_in_array(path, parse_npy(bytes, path), chosen, places, shape)
                                  : starts_in_set(path, rows, shape);
  const size_t size = starts.size() / std::max<size_t>(1, rows.size());
  for (size_t p = 0; p < starts.size(); ++p) {
    if (!(starts[p] >= 0.0f && starts[p] <= 1.0f))
      fail("{}: expected pixels from 0 to 1, got {} in image {}", path, starts[p], rows[p / size]);
  }
  return starts;
}

}  // namespace

void add_job_flags(Flags& flags, JobOptions& options) {
  flags.integer("target", options.target, 0, 1 << 20, "CLASS",
                "push the images of the other classes towards this one; success is to arrive", "untargeted");
  flags.text(
      "target-file", options.target_file, "FILE",
      "push each image towards a class of its own: an NPY array of integers, one for each image that is "
      "chosen, or an NPZ file with index and target",
      "untargeted");
  flags.exclusive({"target", "target-file"});
  flags.text(
      "start", options.start, "FILE",
      "begin at these points, drawn into the ball: an adversarial.npz, or an NPY array (n,h,w,c) of pixels "
      "from 0 to 1, one for each image that is chosen; fgsm, bim, pgd, mim, apgd-ce, apgd-dlr, apgd-t",
      "as the attack has it");
}

void check_job(JobOptions& options, AttackKind kind) {
  if (options.target && !options.target_file.empty()) usage_error("--target excludes --target-file");
  if (!options.start.empty() && !info_of(kind).starts)
    usage_error(
        "--start is for attacks that can begin anywhere, fgsm, bim, pgd, mim, apgd: {} does not read it",
        to_string(kind));
  for (std::string* path : {&options.target_file, &options.start})
    if (!path->empty()) *path = std::filesystem::absolute(*path).lexically_normal().string();
}

AttackJob job_of(const JobOptions& options, const EvaluationData& data, int64_t outputs, Console& console) {
  const std::vector<int64_t>& chosen = data.rows;
  if (options.target && *options.target >= outputs)
    fail("--target {}: the network has {} outputs, counted from 0", *options.target, outputs);
  std::vector<int32_t> targets;
  if (options.target) targets.assign(chosen.size(), static_cast<int32_t>(*options.target));
  if (!options.target_file.empty()) targets = read_targets(options.target_file, chosen, outputs);

  AttackJob job;
  Places places;  // of the images that are attacked among those that are chosen
  for (size_t k = 0; k < chosen.size(); ++k) {
    const int32_t label = data.images.labels()[static_cast<size_t>(chosen[k])];
    if (!targets.empty() && label == targets[k]) continue;
    places.push_back(k);
    job.rows.push_back(chosen[k]);
    if (!targets.empty()) job.targets.push_back(targets[k]);
  }
  const std::string flag = options.target ? fmt::format("--target {}", *options.target) : "--target-file";
  if (places.empty()) fail("{}: every image is of this class already", flag);
  if (options.targeted())
    console.note("{} images are left out: they are of the class of {}", chosen.size() - places.size(), flag);
  if (!options.start.empty())
    job.starts = read_starts(options.start, static_cast<int64_t>(chosen.size()), places, job.rows,
                             data.images.shape());
  return job;
}

void note_files(const JobOptions& options, Json& facts) {
  if (!options.target_file.empty()) facts["inputs"]["target_file_crc32"] = file_crc32(options.target_file);
  if (!options.start.empty()) facts["inputs"]["start_crc32"] = file_crc32(options.start);
}

}  // namespace caltrop
