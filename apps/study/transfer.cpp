#include "apps/study/transfer.h"

#include <algorithm>

#include "apps/core/console.h"
#include "apps/core/run_folder.h"
#include "apps/core/size.h"
#include "defense/attack_target.h"

namespace caltrop {
namespace {

constexpr const char* kSchema = "transfer-source/1";

// Every count by its name.
template <typename Row, typename Visit>
void for_each_number_of(Row& row, const Visit& visit) {
  visit("n", row.images);
  visit("clean_correct", row.clean_correct);
  visit("robust", row.robust);
  visit("fooled_source", row.fooled_source);
  visit("fooled_source_right", row.fooled_source_right);
  visit("fooled_both", row.fooled_both);
}

// All that decides what comes of a source.
Json about(const StudyArm& source, const std::vector<StudyArm>& arms, const std::vector<StudyAttack>& attacks,
           const StudyImages& images, int64_t seed) {
  Json json = {{"version", kAttackVersion},
               {"source", source.given->weights},
               {"data", images.fingerprint},
               {"images", images.rows.size()},
               {"seed", seed}};
  for (const StudyArm& arm : arms) json["targets"].push_back({arm.name, arm.given->weights});
  for (const StudyAttack& attack : attacks)
    json["attacks"].push_back(
        {{"name", attack.name}, {"attack", to_text(attack.options)}, {"sizes", eps_of(attack.sizes)}});
  for (size_t k = 0; k < attacks.size(); ++k) {
    if (attacks[k].draws > 1) json["attacks"][k]["draws"] = attacks[k].draws;
    if (attacks[k].unaware) json["attacks"][k]["unaware"] = true;
  }
  return json;
}

// One attack on one source: the rows size by size, target by target.
std::vector<Transferred> craft_and_ask(const StudyArm& source, const std::vector<StudyArm>& arms,
                                       const std::vector<std::vector<int32_t>>& clean,
                                       const StudyAttack& attack, const StudyImages& images, int64_t seed,
                                       const Progress& progress) {
  const std::vector<float> sizes = eps_of(attack.sizes);
  std::vector<Transferred> rows;
  for (size_t s = 0; s < sizes.size(); ++s) {
    for (const StudyArm& target : arms)
      rows.push_back(
          {source.name, target.name, attack.name, attack.options.norm, attack.asked_size(s), sizes[s]});
  }
  AttackOptions options = attack.options;
  options.seed = static_cast<uint64_t>(seed);
  AttackJob job{.rows = images.rows};
  job.progress = progress;
  const AttackTarget attacked(source.given->defended, images.test.labels(), attack.draws, attack.unaware);
  attacked.judges(job);
  job.sink = [&](int64_t, const AttackResult& chunk) {
    std::vector<int64_t> numbers;
    for (const AttackedImage& image : chunk.images) numbers.insert(numbers.end(), sizes.size(), image.index);
    for (size_t t = 0; t < arms.size(); ++t) {
      const Defended& judge = arms[t].given->defended;
      const std::vector<int32_t> said = judge(chunk.adversarial, numbers);
      const int32_t alarm = judge.detects ? static_cast<int32_t>(judge.classifier->outputs()) - 1 : -1;
      for (size_t row = 0; row < chunk.rows.size(); ++row) {
        const size_t i = row / sizes.size(), s = row % sizes.size();
        const AttackedImage& image = chunk.images[i];
        Transferred& count = rows[s * arms.size() + t];
        // Where nothing was found within the size the image is not attacked.
        const int32_t before = clean[t][static_cast<size_t>(image.index)],
                      after = chunk.rows[row].within ? said[row] : before;
        const bool right = before == image.label, holds = right && (after == image.label || after == alarm);
        const bool fools = image.clean_prediction == image.label && chunk.rows[row].success;
        ++count.images;
        count.clean_correct += right;
        count.robust += holds;
        count.fooled_source += fools;
        count.fooled_source_right += fools && right;
        count.fooled_both += fools && right && !holds;
      }
    }
  };
  attack_images(attacked.classifier(), images.test, sizes, options, job);
  return rows;
}

Json to_json(const std::vector<Transferred>& rows) {
  Json json = Json::array();
  for (const Transferred& row : rows) {
    Json one = {{"attack", row.attack}, {"size_asked", row.asked}, {"target", row.target}};
    for_each_number_of(row, [&](const char* key, const auto& value) { one[key] = value; });
    json.push_back(std::move(one));
  }
  return json;
}

// The counts of a stored source into rows that are in the same order.
void read_counts(const Json& json, std::vector<Transferred>& rows) {
  for (size_t k = 0; k < rows.size(); ++k)
    for_each_number_of(rows[k], [&](const char* key, auto& value) { json.at(k).at(key).get_to(value); });
}

std::vector<Transferred> empty_rows(const StudyArm& source, const std::vector<StudyArm>& arms,
                                    const std::vector<StudyAttack>& attacks) {
  std::vector<Transferred> rows;
  for (const StudyAttack& attack : attacks) {
    for (size_t s = 0; s < attack.sizes.size(); ++s) {
      for (const StudyArm& target : arms)
        rows.push_back({source.name, target.name, attack.name, attack.options.norm, attack.asked_size(s),
                        attack.sizes[s].eps});
    }
  }
  return rows;
}

}  // namespace

double Transferred::robust_accuracy() const {
  return share_of(robust, images);
}
double Transferred::success_rate() const {
  return share_of(images - robust, images);
}
double Transferred::success_rate_of_correct() const {
  return share_of(clean_correct - robust, clean_correct);
}
std::optional<double> Transferred::transfer_rate() const {
  if (fooled_source_right == 0) return std::nullopt;
  return share_of(fooled_both, fooled_source_right);
}

std::vector<Transferred> run_transfer(const std::vector<StudyArm>& arms,
                                      const std::vector<StudyAttack>& attacks, const StudyImages& images,
                                      int64_t seed, const StudyPlace& place, size_t sources) {
  const std::span<const StudyArm> crafted_on(arms.data(), sources > 0 ? sources : arms.size());
  std::vector<std::vector<int32_t>> clean;
  for (const StudyArm& arm : arms) clean.push_back(arm.given->defended(images.test));
  const auto of_attack = static_cast<int64_t>(images.rows.size()),
             whole = of_attack * static_cast<int64_t>(crafted_on.size() * attacks.size());
  int64_t done = 0;
  ProgressLine progress(place.console, "transfer", whole, "images");
  std::vector<Transferred> all;
  for (const StudyArm& source : crafted_on) {
    const std::string file = source.name + "-transfer.json";
    const Json recipe = about(source, arms, attacks, images, seed);
    std::vector<Transferred> rows;
    const Json stored = place.folder.has(file) ? place.folder.read_json(file) : Json();
    if (stored.is_object() && stored.value("schema", Json()) == kSchema &&
        stored.value("about", Json()) == recipe) {
      rows = empty_rows(source, arms, attacks);
      read_counts(stored.at("rows"), rows);
      done += of_attack * static_cast<int64_t>(attacks.size());
    } else {
      for (const StudyAttack& attack : attacks) {
        progress.label(source.name + " " + attack.name);
        const auto part = craft_and_ask(source, arms, clean, attack, images, seed,
                                        [&](int64_t images_done) { progress.at(done + images_done); });
        rows.insert(rows.end(), part.begin(), part.end());
        done += of_attack;
      }
      place.folder.write_json(
          file, {{"schema", kSchema}, {"source", source.name}, {"about", recipe}, {"rows", to_json(rows)}});
    }
    all.insert(all.end(), rows.begin(), rows.end());
  }
  return all;
}

Table transfer_table(const std::vector<Transferred>& rows) {
  using Kind = Column::Kind;
  Table table({{"source", "source"},
               {"target", "target"},
               {"attack", "attack"},
               {"norm", "norm"},
               {"size_asked", "size"},
               {"size", "in fp32", Kind::general, 9},
               {"n", "images", Kind::count},
               {"clean_correct", "right", Kind::count},
               {"robust", "robust", Kind::count},
               {"robust_accuracy", "robust", Kind::percent},
               {"success_rate", "of all", Kind::percent},
               {"success_rate_of_correct", "of right", Kind::percent},
               {"fooled_source", "fool the source", Kind::count},
               {"fooled_source_right", "of them right", Kind::count},
               {"fooled_both", "fool both", Kind::count},
               {"transfer_rate", "transferred", Kind::percent}});
  for (const Transferred& row : rows) {
    table.row({row.source, row.target, row.attack, to_string(row.norm), row.asked,
               fp32_json(row.eps).get<double>(), row.images, row.clean_correct, row.robust,
               row.robust_accuracy(), row.success_rate(), row.success_rate_of_correct(), row.fooled_source,
               row.fooled_source_right, row.fooled_both, cell_of(row.transfer_rate())});
  }
  return table;
}

std::vector<TransferMatrix> matrices_of(const std::vector<Transferred>& rows) {
  std::vector<std::string> names;
  for (const Transferred& row : rows)
    if (std::ranges::find(names, row.target) == names.end()) names.push_back(row.target);
  std::vector<TransferMatrix> matrices;
  for (const Transferred& first : rows) {
    const auto same = [&](const auto& other) {
      return other.attack == first.attack && other.asked == first.asked;
    };
    if (std::ranges::any_of(matrices, same)) continue;
    std::vector<Column> columns = {{"source", "crafted on \\ judged by"}};
    for (const std::string& name : names) columns.push_back({name, name, Column::Kind::percent});
    Table table(std::move(columns));
    for (const std::string& source : names) {
      std::vector<Cell> line = {source};
      for (const Transferred& row : rows)
        if (same(row) && row.source == source) line.emplace_back(row.robust_accuracy());
      table.row(std::move(line));
    }
    matrices.push_back({first.attack, first.asked, first.norm, std::move(table)});
  }
  return matrices;
}

}  // namespace caltrop
