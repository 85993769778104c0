#include "apps/study/attacks_file.h"

#include <algorithm>
#include <limits>

#include "apps/core/run_folder.h"
#include "apps/report/attack_report.h"

namespace caltrop {
namespace {

Json to_json(const Calibration& calibration) {
  Json bins = Json::array();
  for (const Calibration::Bin& bin : calibration.bins)
    bins.push_back({bin.images, bin.right, bin.confidence});
  return bins;
}
void from_json(const Json& json, Calibration& calibration) {
  for (size_t b = 0; b < calibration.bins.size(); ++b) {
    Calibration::Bin& bin = calibration.bins[b];
    const Json& values = json.at(b);
    values.at(0).get_to(bin.images), values.at(1).get_to(bin.right), values.at(2).get_to(bin.confidence);
  }
}

Json counts_of(const AttackSummary& summary) {
  Json json, classes = Json::array();
  for_each_count(summary, [&](const char* key, const auto& count) { json[key] = count; });
  for (const ClassCount& one : summary.classes) {
    classes.push_back({{"images", one.images},
                       {"clean_correct", one.clean_correct},
                       {"robust", one.robust},
                       {"after", one.after}});
  }
  json["classes"] = std::move(classes);
  json["clean_calibration"] = to_json(summary.clean_calibration);
  json["calibration"] = to_json(summary.calibration);
  return json;
}

void read_counts(const Json& json, AttackSummary& summary) {
  for_each_count(summary, [&]<typename T>(const char* key, T& count) {
    const Json& value = json.at(key);
    count = value.is_null() ? std::numeric_limits<T>::quiet_NaN() : value.get<T>();  // as JSON writes NaN
  });
  for (const Json& one : json.at("classes")) {
    ClassCount& count = summary.classes.emplace_back();
    one.at("images").get_to(count.images);
    one.at("clean_correct").get_to(count.clean_correct);
    one.at("robust").get_to(count.robust);
    one.at("after").get_to(count.after);
  }
  from_json(json.at("clean_calibration"), summary.clean_calibration);
  from_json(json.at("calibration"), summary.calibration);
}

// An Error, or one of the library, unless what is said more than once is the same each time.
void check_counts(const Json& attack) {
  const auto images = attack.at("images").get<int64_t>(), right = attack.at("clean_correct").get<int64_t>(),
             all = attack.at("about").at("images").get<int64_t>();
  const auto expect = [](bool holds) {
    if (!holds) fail("[study] counts contradict one another");
  };
  expect(images <= all && right <= all);
  for (const Json& size : attack.at("sizes")) {
    const auto robust = size.at("robust").get<std::string>();
    const auto ones = std::ranges::count(robust, '1');
    expect(static_cast<int64_t>(robust.size()) == images);
    expect(ones + std::ranges::count(robust, '0') == images);
    const Json& tries = size.at("tries");
    for (const Json& one : tries) {
      AttackSummary counts;
      read_counts(one, counts);
      expect(counts.images == images && ones <= counts.robust && counts.robust <= counts.clean_correct);
      expect(images < all ? counts.clean_correct <= right : counts.clean_correct == right);
      expect(tries.size() > 1 || ones == counts.robust);
    }
  }
}

}  // namespace

std::string attacks_file(const StudyCell& cell) {
  return cell.stem + "-attacks.json";
}

Json to_json(const GmaAnalysis& analysis, const AttackOptions& how, int64_t clean_correct,
             const Json& about) {
  Json sizes = Json::array();
  for (const GmaSizeResult& size : analysis.sizes) {
    Json tries = Json::array();
    for (const AttackSummary& attempt : size.tries) tries.push_back(counts_of(attempt));
    std::string robust;
    for (const bool holds : size.robust) robust += holds ? '1' : '0';
    sizes.push_back({{"eps", size.size.eps},
                     {"options", to_json(how, size.size.eps)},
                     {"robust", robust},
                     {"tries", std::move(tries)}});
  }
  Json json = {{"about", about}, {"norm", to_string(analysis.norm)}, {"clean_correct", clean_correct}};
  for_each_number(analysis, [&](const char* key, const auto& number) { json[key] = number; });
  json["sizes"] = std::move(sizes);
  return json;
}

GmaAnalysis analysis_of(const Json& json, const StudyAttack& attack) {
  GmaAnalysis analysis;
  analysis.norm = attack.options.norm;
  for_each_number(analysis, [&](const char* key, auto& number) { json.at(key).get_to(number); });
  for (size_t s = 0; s < attack.sizes.size(); ++s) {
    const Json& stored = json.at("sizes").at(s);
    GmaSizeResult size{attack.sizes[s], {}, {}};
    for (const char holds : stored.at("robust").get<std::string>()) size.robust.push_back(holds == '1');
    for (const Json& counts : stored.at("tries")) {
      size.tries.push_back({.size = size.size.eps});
      read_counts(counts, size.tries.back());
    }
    analysis.sizes.push_back(std::move(size));
  }
  return analysis;
}

Json stored_attacks(const StudyCell& cell, const RunFolder& folder) {
  if (!folder.has(attacks_file(cell))) return Json::array();
  const Json stored = folder.read_json(attacks_file(cell));
  try {
    const Json& attacks = stored.at("attacks");
    if (stored.value("schema", Json()) != kAttacksSchema) return Json::array();
    for (const Json& one : attacks) check_counts(one);
    return attacks;
  } catch (const Json::exception&) {
  } catch (const Error&) {
  }
  fail("{} is damaged; delete it, and --resume makes it again", folder.file(attacks_file(cell)).string());
}

}  // namespace caltrop
