#include "defense/augment.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "defense/detection.h"
#include "engine/error.h"
#include "engine/named.h"
#include "engine/random.h"
#include "engine/text.h"

namespace caltrop {
namespace {

// The sizes of GMA, then the big ones: Table 2's list for the attacks that are not GMA.
std::vector<float> all_sizes(const PoolRecipeOptions& options) {
  std::vector<float> sizes = eps_of(gma_sizes(options.gma));
  sizes.insert(sizes.end(), options.big_sizes.begin(), options.big_sizes.end());
  return sizes;
}

PoolLane lane_of(const std::string& attack, AttackOptions options, Norm norm, std::vector<float> sizes,
                 uint64_t seed) {
  options.norm = norm;
  options.seed = seed;
  return {attack, options, std::move(sizes)};
}

bool contains(std::span<const std::string> names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// The lanes of one of pool_attacks().
void add_lanes(const std::string& name, const PoolRecipeOptions& options, std::vector<PoolLane>& lanes) {
  if (!contains(pool_attacks(), name)) {
    fail("[augment] unknown attack '{}': expected gma, pgd, fgsm, cw, bim, mim or deepfool", shown(name));
  }
  if (name == "gma") {
    for (const Norm norm : options.gma_norms) {
      lanes.push_back(lane_of(name, gma_attack(AttackKind::pgd, norm), norm, eps_of(gma_sizes(options.gma)),
                              options.seed));
    }
    return;
  }
  AttackOptions attack = attack_defaults(parse_attack(name));
  if (!is_minimum_norm(attack.kind)) {
    lanes.push_back(lane_of(name, attack, options.norm, all_sizes(options), options.seed));
    return;
  }
  if (attack.kind == AttackKind::cw) {
    attack.steps = options.cw_steps;
    attack.cw.rounds = options.cw_rounds;
    attack.cw.first_constant = options.cw_constant;
    attack.cw.learning_rate = options.cw_rate;
  }
  lanes.push_back(lane_of(name, attack, Norm::l2, {std::numeric_limits<float>::infinity()}, options.seed));
}

// Where each attack's lanes begin and end: lanes of one name follow one another.
struct Group {
  size_t first, count;
};
std::vector<Group> groups_of(std::span<const PoolLane> lanes) {
  std::vector<Group> groups;
  for (size_t k = 0; k < lanes.size(); ++k) {
    if (k > 0 && lanes[k].attack == lanes[k - 1].attack) {
      ++groups.back().count;
    } else {
      groups.push_back({k, 1});
    }
  }
  return groups;
}

void copy_rows(Backend& backend, float* to, const float* from, int64_t values) {
  backend.copy(to, from, static_cast<size_t>(values) * sizeof(float));
}

}  // namespace

std::vector<std::string> pool_attacks() {
  return {"gma", "pgd", "fgsm", "cw", "bim", "mim", "deepfool"};
}
std::vector<std::string> unseen_attacks() {
  std::vector<std::string> names = pool_attacks();
  names.insert(names.end(), {"other-norm", "other-sizes"});
  return names;
}

std::vector<PoolLane> pool_recipe(const PoolRecipeOptions& options) {
  if (options.attacks.empty()) fail("[augment] expected at least one attack");
  std::vector<PoolLane> lanes;
  for (size_t k = 0; k < options.attacks.size(); ++k) {
    const std::string& name = options.attacks[k];
    if (contains(std::span(options.attacks).first(k), name)) {
      fail("[augment] the attack {} is named twice", shown(name));
    }
    add_lanes(name, options, lanes);
  }
  return lanes;
}

std::vector<PoolLane> unseen_recipe(const PoolRecipeOptions& trained, const std::vector<std::string>& attacks,
                                    const std::vector<float>& other_sizes) {
  std::vector<PoolLane> lanes;
  const Norm other = trained.norm == Norm::linf ? Norm::l2 : Norm::linf;
  for (size_t k = 0; k < attacks.size(); ++k) {
    const std::string& name = attacks[k];
    if (contains(trained.attacks, name)) fail("[augment] {} is no unseen attack: it is trained on", name);
    if (contains(std::span(attacks).first(k), name))
      fail("[augment] the attack {} is named twice", shown(name));
    if (name != "other-norm" && name != "other-sizes") {
      add_lanes(name, trained, lanes);
      continue;
    }
    for (const std::string& seen : trained.attacks) {
      if (seen == "gma" || is_minimum_norm(parse_attack(seen))) continue;
      const bool norm = name == "other-norm";
      const std::vector<float> sizes = !norm                 ? other_sizes
                                       : other == Norm::linf ? eps_of(gma_sizes(trained.gma))
                                                             : all_sizes(trained);
      if (sizes.empty()) fail("[augment] other-sizes names no size");
      lanes.push_back(lane_of(seen + "-" + name, attack_defaults(parse_attack(seen)),
                              norm ? other : trained.norm, sizes, trained.seed));
    }
  }
  return lanes;
}

std::vector<PoolPlace> plan_pool(std::span<const PoolLane> lanes, int64_t images, int64_t places, Part part,
                                 uint64_t seed) {
  if (lanes.empty() || images < 1) fail("[augment] expected attacks and at least one image to attack");
  const std::vector<Group> groups = groups_of(lanes);
  std::vector<std::vector<PoolPlace>> cells;  // of each attack: its sizes, under each norm in turn
  for (const Group& group : groups) {
    cells.emplace_back();
    const size_t sizes = lanes[group.first].sizes.size();
    for (size_t s = 0; s < sizes; ++s) {
      for (size_t k = group.first; k < group.first + group.count; ++k) {
        cells.back().push_back({.lane = static_cast<int64_t>(k), .size = static_cast<int64_t>(s)});
      }
    }
  }
  std::vector<PoolPlace> plan;
  std::vector<int64_t> order;
  for (int64_t j = 0; j < places; ++j) {
    if (j % images == 0) {  // more places than images: each is taken again, by another attack or size
      const auto round = static_cast<uint64_t>(j / images);
      order = Random(seed, Purpose::augment, 2 * round + static_cast<uint64_t>(part)).permutation(images);
    }
    const auto groups_count = static_cast<int64_t>(groups.size());
    const std::vector<PoolPlace>& of_attack = cells[static_cast<size_t>(j % groups_count)];
    const auto turn = static_cast<size_t>(j / groups_count) % of_attack.size();
    PoolPlace place = of_attack[turn];
    place.position = j;
    place.image = order[static_cast<size_t>(j % images)];
    plan.push_back(place);
  }
  return plan;
}

Crafted craft_lane(const Classifier& classifier, const Images& images, const PoolLane& lane,
                   std::span<const PoolPlace> places, const Progress& progress) {
  const size_t n = places.size(), pixels = static_cast<size_t>(images.image_size());
  Crafted crafted;
  for (const PoolPlace& place : places) {
    crafted.position.push_back(place.position);
    crafted.image.push_back(place.image);
    crafted.label.push_back(images.labels().at(static_cast<size_t>(place.image)));
    crafted.size.push_back(lane.sizes.at(static_cast<size_t>(place.size)));
  }
  crafted.linf.resize(n);
  crafted.l2.resize(n);
  crafted.fooled.resize(n);
  crafted.delta.resize(n * pixels);
  int64_t done = 0;
  for (size_t s = 0; s < lane.sizes.size(); ++s) {
    std::vector<size_t> where;
    AttackJob job;
    for (size_t k = 0; k < n; ++k) {
      if (places[k].size != static_cast<int64_t>(s)) continue;
      where.push_back(k);
      job.rows.push_back(places[k].image);
    }
    if (where.empty()) continue;
    job.sink = [&](int64_t first, const AttackResult& chunk) {
      const std::vector<float> delta = chunk.delta.to_host();
      for (size_t i = 0; i < chunk.images.size(); ++i) {
        const size_t k = where[static_cast<size_t>(first) + i];
        const AttackRow& row = chunk.row(static_cast<int64_t>(i), 0);
        crafted.linf[k] = row.linf;
        crafted.l2[k] = row.l2;
        crafted.fooled[k] = row.success;
        // An attack that looks for the nearest adversarial image and finds none has made no image.
        if (is_minimum_norm(lane.options.kind) && !row.success) continue;
        std::copy_n(delta.begin() + static_cast<int64_t>(i * pixels), pixels,
                    crafted.delta.begin() + static_cast<int64_t>(k * pixels));
      }
    };
    if (progress) {
      job.progress = [&](int64_t now) {
        progress(done + now);
      };
    }
    attack_images(classifier, images, std::span(&lane.sizes[s], 1), lane.options, job);
    done += static_cast<int64_t>(where.size());
  }
  return crafted;
}

int64_t AttackedPool::prefix(int64_t places) const {
  if (places > planned) {
    fail("the pool has {} attacked images, but a cycle needs {}", planned, places);
  }
  const auto end = std::partition_point(items.begin(), items.end(),
                                        [&](const PoolItem& item) { return item.position < places; });
  return end - items.begin();
}

AttackedPool make_pool(const Images& images, int64_t planned, std::span<const LaneParts> lanes,
                       const AttackedPoolOptions& options) {
  struct Source {
    const Crafted* part = nullptr;
    size_t row = 0;
    int64_t lane = 0;
  };
  std::vector<Source> sources(static_cast<size_t>(planned));
  AttackedPool pool{images.shape(), planned, {}, {}, {}};
  for (const LaneParts& lane : lanes) {
    pool.unchanged.resize(std::max(pool.unchanged.size(), static_cast<size_t>(lane.lane) + 1));
    for (const Crafted& part : lane.parts) {
      for (size_t k = 0; k < part.position.size(); ++k) {
        const int64_t j = part.position[k];
        if (j < 0 || j >= planned || sources[static_cast<size_t>(j)].part != nullptr) {
          fail("[augment] expected each of {} places of the pool once, got {}", planned, j);
        }
        sources[static_cast<size_t>(j)] = {&part, k, lane.lane};
      }
    }
  }
  const auto size = static_cast<size_t>(images.image_size());
  for (size_t j = 0; j < sources.size(); ++j) {
    const Source& source = sources[j];
    if (source.part == nullptr) fail("[augment] place {} of the pool was not crafted", j);
    pool.cells.push_back({source.lane, source.part->size[source.row]});
    const int64_t image = source.part->image[source.row];
    const std::vector<float> clean = images.pixels(std::span(&image, 1)).to_host();
    std::vector<float> attacked(size);
    for (size_t p = 0; p < size; ++p) {
      const float value = std::clamp(clean[p] + source.part->delta[source.row * size + p], 0.0f, 1.0f);
      attacked[p] = options.eight_bits ? rounded_to_8_bits(value) : value;
    }
    if (attacked == clean) {
      ++pool.unchanged[static_cast<size_t>(source.lane)];
      if (!options.keep_unchanged) continue;
    }
    pool.items.push_back({static_cast<int64_t>(j), image, source.lane, source.part->size[source.row],
                          source.part->linf[source.row], source.part->l2[source.row],
                          source.part->fooled[source.row] != 0});
    pool.pixels.insert(pool.pixels.end(), attacked.begin(), attacked.end());
  }
  return pool;
}

AttackedPool AttackedPool::at_places_of(const AttackedPool& other) const {
  std::set<int64_t> places;
  for (const PoolItem& item : other.items) places.insert(item.position);
  AttackedPool chosen{
      .shape = shape, .planned = planned, .items = {}, .unchanged = unchanged, .pixels = {}, .cells = cells};
  const auto size = static_cast<size_t>(shape.height * shape.width * shape.channels);
  for (size_t k = 0; k < items.size(); ++k) {
    if (!places.contains(items[k].position)) continue;
    chosen.items.push_back(items[k]);
    const auto from = pixels.begin() + static_cast<std::ptrdiff_t>(k * size);
    chosen.pixels.insert(chosen.pixels.end(), from, from + static_cast<std::ptrdiff_t>(size));
  }
  return chosen;
}

AugmentedImages::AugmentedImages(const Images& clean, const AttackedPool& pool, int32_t attacked)
    : clean_(clean), attacked_(clean.backend(), std::span(pool.pixels)), labels_(clean.labels()) {
  if (!(pool.shape == clean.shape())) fail("[augment] expected a pool of images like the clean ones");
  labels_.resize(labels_.size() + pool.items.size(), attacked);
}

void AugmentedImages::pixels(std::span<const int64_t> rows, const Tensor& x) const {
  const int64_t size = image_size();
  if (x.size() != static_cast<int64_t>(rows.size()) * size) {
    fail("[augment] expected room for {} images of {} pixels, got {}", rows.size(), size,
         to_string(x.shape()));
  }
  for (size_t k = 0; k < rows.size();) {  // clean neighbours are gathered together
    float* const to = x.mutable_data() + static_cast<int64_t>(k) * size;
    if (rows[k] < 0 || rows[k] >= count()) fail("[augment] expected rows below {}, got {}", count(), rows[k]);
    if (rows[k] >= clean_.count()) {
      copy_rows(backend(), to, attacked_.data() + (rows[k] - clean_.count()) * size, size);
      ++k;
      continue;
    }
    size_t end = k;
    while (end < rows.size() && rows[end] >= 0 && rows[end] < clean_.count()) ++end;
    const Tensor part = clean_.pixels(rows.subspan(k, end - k));
    copy_rows(backend(), to, part.data(), part.size());
    k = end;
  }
}

void ChosenImages::pixels(std::span<const int64_t> rows, const Tensor& x) const {
  std::vector<int64_t> chosen;
  chosen.reserve(rows.size());
  for (const int64_t row : rows) {
    if (row < 0 || row >= count()) fail("[augment] expected rows below {}, got {}", count(), row);
    chosen.push_back(rows_[static_cast<size_t>(row)]);
  }
  from_.pixels(chosen, x);
}

ShareOf parse_share_of(std::string_view name) {
  return parse_named<ShareOf>("share", name, std::array{"all", "clean"});
}

int64_t attacked_count(int64_t clean, double share, ShareOf of) {
  if (!(share > 0 && (of == ShareOf::all ? share < 1 : share <= 1))) {
    fail("a share of attacked images must lie between 0 and 100 %, got {:g} %", 100 * share);
  }
  const double ratio = of == ShareOf::all ? share / (1 - share) : share;
  const auto count = std::llround(static_cast<double>(clean) * ratio);
  if (count < 1) fail("{:g} % attacked images beside {} clean ones are none", 100 * share, clean);
  return count;
}

}  // namespace caltrop
