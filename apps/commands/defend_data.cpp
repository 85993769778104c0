#include "apps/commands/defend_data.h"

#include <zlib.h>

#include <algorithm>
#include <cmath>

#include "apps/core/build_info.h"
#include "apps/core/text_layout.h"

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
  Json sizes = Json::array();
  for (const float size : lane.sizes) sizes.push_back(std::isfinite(size) ? Json(size) : Json("none"));
  return {{"craft_version", kCraftVersion},
          {"version", version()},
          {"device", options.common.device},
          {"conv", options.common.conv},
          {"weights", target.facts.at("inputs").at("weights_crc32")},
          {"network", target.facts.at("network")},
          {"data", target.facts.at("data").at(part)},
          {"attack", to_text(lane.options)},
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

  // The places of a plan over some of the lanes, beginning with `first`.
  std::vector<LaneParts> run(const Images& images, int64_t places, Part part, size_t first, size_t count) {
    const auto lanes = std::span(lanes_).subspan(first, count);
    const std::vector<PoolPlace> plan =
        plan_pool(lanes, images.count(), places, part, static_cast<uint64_t>(options_.common.seed));
    std::vector<LaneParts> crafted;
    for (size_t k = 0; k < lanes.size(); ++k) {
      std::vector<PoolPlace> mine;
      std::copy_if(plan.begin(), plan.end(), std::back_inserter(mine),
                   [&](const PoolPlace& place) { return place.lane == static_cast<int64_t>(k); });
      crafted.push_back({static_cast<int64_t>(first + k), {}});
      for (size_t begin = 0; begin < mine.size(); begin += kPlacesPerFile) {
        const auto some = std::span(mine).subspan(begin, std::min(kPlacesPerFile, mine.size() - begin));
        crafted.back().parts.push_back(craft(images, lanes[k], some, part == Part::train ? "train" : "test"));
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

// Places of a plan until each control has `needed` that it does not leave out.
int64_t places_for_leave_out(const DefendFlags& options, int64_t needed) {
  const std::vector<PoolLane> lanes = pool_recipe(recipe_of(options));
  int64_t most = 0;
  for (const LeftOut& control : left_out(options, lanes)) {
    constexpr int64_t kLongest = 8;  // times what is needed
    int64_t left = 0;
    for (const PoolPlace& place : plan_pool(lanes, needed, kLongest * needed, Part::train, 0)) {
      const PoolLane& lane = lanes[static_cast<size_t>(place.lane)];
      left += !control.out({place.lane, lane.sizes[static_cast<size_t>(place.size)]});
      if (left < needed) continue;
      most = std::max(most, place.position + 1);
      break;
    }
    if (left < needed) fail("--controls leave-out: without {} too little is left to train on", control.name);
  }
  return most;
}

}  // namespace

std::vector<LeftOut> left_out(const DefendFlags& options, const std::vector<PoolLane>& trained) {
  std::vector<LeftOut> all;
  const auto lane_of = [&trained](const PoolCell& cell) -> const PoolLane& {
    return trained.at(static_cast<size_t>(cell.lane));
  };
  for (const std::string& attack : options.attacks) {
    all.push_back({attack, [=](const PoolCell& cell) {
                     return lane_of(cell).attack == attack;
                   }});
  }
  const auto is_big = [big = recipe_of(options).big_sizes](float size) {
    return std::find(big.begin(), big.end(), size) != big.end();
  };
  const bool has_big = std::any_of(trained.begin(), trained.end(), [&](const PoolLane& lane) {
    return std::any_of(lane.sizes.begin(), lane.sizes.end(), is_big);
  });
  if (has_big)
    all.push_back({"big-sizes", [=](const PoolCell& cell) {
                     return is_big(cell.size);
                   }});
  const bool has_linf = std::any_of(trained.begin(), trained.end(),
                                    [](const PoolLane& lane) { return lane.options.norm == Norm::linf; });
  const bool has_l2 = std::any_of(trained.begin(), trained.end(),
                                  [](const PoolLane& lane) { return lane.options.norm == Norm::l2; });
  if (has_linf && has_l2) {
    all.push_back({"linf", [=](const PoolCell& cell) {
                     return lane_of(cell).options.norm == Norm::linf;
                   }});
  }
  return all;
}

PoolSizes pool_sizes(const DefendFlags& options, int64_t clean_train, int64_t clean_test) {
  // Each image under each attack and size is about 200; beyond this a plan is a slip of the pen.
  static constexpr int64_t kMostOfEach = 1000;
  const auto check = [](const char* flag, int64_t places, int64_t clean) {
    if (places / kMostOfEach >= std::max<int64_t>(clean, 1))
      fail("{} asks for {} attacked images of {} clean ones; at most {} of each are planned", flag, places,
           clean, kMostOfEach);
  };
  check("--test-attacked", options.test_attacked.value_or(clean_test), clean_test);
  check("--pool", options.pool.value_or(0), clean_train);
  PoolSizes sizes{0, options.test_attacked.value_or(clean_test), options.unseen.value_or(0)};
  int64_t of_bootstraps = 0;
  for (const double cycle : options.cycles) {
    const int64_t needed = attacked_count(clean_train, cycle / 100, parse_share_of(options.share_of));
    if (options.pool && *options.pool < needed) {
      fail("--pool {}: the cycle of {:g} % needs {} attacked images beside {} clean ones", *options.pool,
           cycle, needed, clean_train);
    }
    check("--cycles", needed, clean_train);
    sizes.train = std::max(sizes.train, needed);
    if (cycle <= bootstrap_cycle(options)) of_bootstraps = needed;
  }
  if (has_control(options, "leave-out")) {
    const int64_t needed = places_for_leave_out(options, of_bootstraps);
    if (options.pool && *options.pool < needed)
      fail("--pool {}: --controls leave-out needs {} attacked images", *options.pool, needed);
    sizes.train = std::max(sizes.train, needed);
  }
  if (options.pool) sizes.train = *options.pool;
  return sizes;
}

DefenceData prepare_data(const DefendFlags& options, const TrainedWithData& target, const PoolSizes& sizes,
                         Console& console) {
  DefenceData data{pool_recipe(recipe_of(options)), {}, {}};
  const size_t trained = data.lanes.size();
  const std::vector<PoolLane> unseen = unseen_of(options);
  data.lanes.insert(data.lanes.end(), unseen.begin(), unseen.end());
  const int64_t unseen_places = unseen.empty() ? 0 : sizes.unseen;
  const int64_t total = sizes.train + sizes.test + unseen_places;
  Crafting crafting(options, target, data.lanes, total, console);
  const AttackedPoolOptions pool{options.eight_bits, options.unchanged == "keep"};
  const Images &train = target.data.train, &test = target.data.test;
  data.train = make_pool(train, sizes.train, crafting.run(train, sizes.train, Part::train, 0, trained), pool);
  const std::vector<LaneParts> crafted = crafting.run(test, sizes.test, Part::test, 0, trained);
  const auto add_test = [&](const std::string& name, int64_t places, const std::vector<LaneParts>& parts,
                            bool eight_bits, size_t first, size_t count) {
    data.tests.push_back(
        {name, make_pool(test, places, parts, {eight_bits, pool.keep_unchanged}), first, first + count});
  };
  add_test(pool.eight_bits ? "8 bits" : "exact", sizes.test, crafted, pool.eight_bits, 0, trained);
  if (!pool.eight_bits) {
    add_test("8 bits", sizes.test, crafted, true, 0, trained);
    data.tests.push_back(
        {kExactLeft, data.tests[0].pool.at_places_of(data.tests[1].pool), size_t{0}, trained});
  }
  if (unseen_places > 0) {
    const std::vector<LaneParts> parts =
        crafting.run(test, unseen_places, Part::test, trained, unseen.size());
    add_test("unseen", unseen_places, parts, pool.eight_bits, trained, unseen.size());
  }
  crafting.finish();
  console.note("{} attacked images, {} of them from {}", grouped(total), grouped(crafting.cache().reused()),
               options.cache);
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
  const auto add = [&](const std::string& part, const AttackedPool& pool, size_t first, size_t end) {
    for (size_t k = first; k < end; ++k) {
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
  add("train", data.train, 0, data.tests[0].end_lane);
  for (const DefenceData::Test& test : data.tests)
    add("test, " + test.name, test.pool, test.first_lane, test.end_lane);
  return table;
}

}  // namespace caltrop
