#include "apps/defend_data.h"

#include <zlib.h>

#include <algorithm>
#include <cmath>

#include "apps/build_info.h"
#include "apps/text_layout.h"

namespace caltrop {
namespace {

// To be raised when an attack's results change.
constexpr int kCraftVersion = 1;
constexpr size_t kPlacesPerFile = 500;

std::string crc_of(std::span<const PoolPlace> places) {
  uLong crc = 0;
  for (const PoolPlace& place : places) {
    const int64_t values[] = {place.position, place.image, place.size};
    crc = crc32_z(crc, reinterpret_cast<const Bytef*>(values), sizeof values);
  }
  return fmt::format("{:08x}", crc);
}

// Everything that decides the images of `places`.
Json facts_of(const DefendFlags& options, const TrainedWithData& target, const char* part,
              const PoolLane& lane, std::span<const PoolPlace> places) {
  const AttackOptions& attack = lane.options;
  Json sizes = Json::array();
  for (const float size : lane.sizes) sizes.push_back(std::isfinite(size) ? Json(size) : Json("none"));
  return {{"craft_version", kCraftVersion},
          {"version", version()},
          {"device", options.common.device},
          {"conv", options.common.conv},
          {"weights", target.facts.at("inputs").at("weights_crc32")},
          {"network", target.facts.at("network")},
          {"data", target.facts.at("data").at(part)},
          {"attack",
           {{"kind", to_string(attack.kind)},
            {"norm", to_string(attack.norm)},
            {"steps", attack.steps},
            {"random_start", attack.random_start},
            {"cw_rounds", attack.cw.rounds},
            {"cw_constant", attack.cw.first_constant},
            {"cw_rate", attack.cw.learning_rate},
            {"seed", attack.seed}}},
          {"sizes", std::move(sizes)},
          {"places", places.size()},
          {"places_crc32", crc_of(places)}};
}

class Crafting {
 public:
  Crafting(const DefendFlags& options, const TrainedWithData& target, const std::vector<PoolLane>& lanes,
           int64_t total, Console& console)
      : options_(options),
        target_(target),
        lanes_(lanes),
        cache_(options.cache, console),
        progress_(console, "crafting", total, "images") {}

  std::vector<LaneParts> run(const Images& images, int64_t places, Part part) {
    const std::vector<PoolPlace> plan =
        plan_pool(lanes_, images.count(), places, part, static_cast<uint64_t>(options_.common.seed));
    std::vector<LaneParts> crafted;
    for (size_t k = 0; k < lanes_.size(); ++k) {
      std::vector<PoolPlace> mine;
      std::copy_if(plan.begin(), plan.end(), std::back_inserter(mine),
                   [&](const PoolPlace& place) { return place.lane == static_cast<int64_t>(k); });
      crafted.push_back({static_cast<int64_t>(k), {}});
      for (size_t begin = 0; begin < mine.size(); begin += kPlacesPerFile) {
        const auto some = std::span(mine).subspan(begin, std::min(kPlacesPerFile, mine.size() - begin));
        crafted.back().parts.push_back(
            craft(images, lanes_[k], some, part == Part::train ? "train" : "test"));
      }
    }
    return crafted;
  }

  const CraftedCache& cache() const { return cache_; }
  void finish() { progress_.finish(); }

 private:
  Crafted craft(const Images& images, const PoolLane& lane, std::span<const PoolPlace> places,
                const char* part) {
    const std::string name = fmt::format("{}-{}", lane.attack, to_string(lane.options.norm));
    progress_.label("crafting " + name);
    Crafted crafted =
        cache_.get(fmt::format("{}-{}-{}", target_.data.info.name, part, name),
                   facts_of(options_, target_, part, lane, places), places, images.shape(), [&] {
                     return craft_lane(Network(target_.model), images, lane, places,
                                       [&](int64_t done) { progress_.at(done_ + done); });
                   });
    done_ += crafted.count();
    return crafted;
  }

  const DefendFlags& options_;
  const TrainedWithData& target_;
  const std::vector<PoolLane>& lanes_;
  CraftedCache cache_;
  ProgressLine progress_;
  int64_t done_ = 0;
};

}  // namespace

PoolSizes pool_sizes(const DefendFlags& options, int64_t clean_train, int64_t clean_test) {
  PoolSizes sizes{0, options.test_attacked.value_or(clean_test)};
  for (const double share : shares_of(options)) {
    const int64_t needed = attacked_count(clean_train, share, parse_share_of(options.share_of));
    if (options.pool && *options.pool < needed) {
      fail("--pool {}: the cycle of {:g} % needs {} attacked images beside {} clean ones", *options.pool,
           100 * share, needed, clean_train);
    }
    sizes.train = std::max(sizes.train, needed);
  }
  if (options.pool) sizes.train = *options.pool;
  return sizes;
}

DefenceData prepare_data(const DefendFlags& options, const TrainedWithData& target, const PoolSizes& sizes,
                         Console& console) {
  DefenceData data{pool_recipe(recipe_of(options)), {}, {}};
  Crafting crafting(options, target, data.lanes, sizes.train + sizes.test, console);
  const AttackedPoolOptions pool{options.eight_bits, options.unchanged == "keep"};
  const Images &train = target.data.train, &test = target.data.test;
  data.train = make_pool(train, sizes.train, crafting.run(train, sizes.train, Part::train), pool);
  const std::vector<LaneParts> crafted = crafting.run(test, sizes.test, Part::test);
  crafting.finish();
  data.tests.push_back({pool.eight_bits ? "8 bits" : "exact", make_pool(test, sizes.test, crafted, pool)});
  if (!pool.eight_bits) {
    data.tests.push_back({"8 bits", make_pool(test, sizes.test, crafted, {true, pool.keep_unchanged})});
  }
  console.note("{} attacked images, {} of them from {}", grouped(sizes.train + sizes.test),
               grouped(crafting.cache().reused()), options.cache);
  return data;
}

Table pool_table(const DefenceData& data) {
  using Kind = Column::Kind;
  Table table({{"part", "part"},
               {"attack", "attack"},
               {"norm", "norm"},
               {"images", "attacked images", Kind::count},
               {"unchanged", "unchanged", Kind::count},
               {"fooled", "fool the network", Kind::percent}});
  const auto add = [&](const std::string& part, const AttackedPool& pool) {
    for (size_t k = 0; k < data.lanes.size(); ++k) {
      int64_t images = 0, fooled = 0;
      for (const PoolItem& item : pool.items) {
        if (item.lane != static_cast<int64_t>(k)) continue;
        ++images;
        fooled += item.fooled;
      }
      table.row({part, data.lanes[k].attack, to_string(data.lanes[k].options.norm), images,
                 k < pool.unchanged.size() ? pool.unchanged[k] : 0,
                 images > 0 ? Cell(static_cast<double>(fooled) / static_cast<double>(images)) : Cell()});
    }
  };
  add("train", data.train);
  for (const DefenceData::Test& test : data.tests) add("test, " + test.name, test.pool);
  return table;
}

}  // namespace caltrop
