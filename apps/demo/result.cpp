#include "apps/demo/result.h"

#include "apps/commands/attack_report.h"
#include "apps/report/table.h"

namespace caltrop {
namespace {

Json to_json(const Fates& fates) {
  return {
      {"images", fates.images}, {"flagged", fates.flagged}, {"right", fates.right}, {"wrong", fates.wrong}};
}

Json to_json(const std::vector<Verdicts>& rows) {
  Json list = Json::array();
  for (const Verdicts& row : rows) {
    list.push_back({{"detector", row.name},
                    {"clean", to_json(row.clean)},
                    {"attacked", to_json(row.attacked)},
                    {"fooling", to_json(row.fooling)}});
  }
  return list;
}

}  // namespace

Json to_json(const DefenceResult& result) {
  Json attacks = Json::array(), sizes = Json::array(), adaptive = Json::array();
  for (const AttackVerdicts& row : result.by_attack) {
    attacks.push_back(
        {{"attack", row.attack}, {"attacked", to_json(row.attacked)}, {"fooling", to_json(row.fooling)}});
  }
  for (const SizeVerdicts& row : result.by_size) {
    sizes.push_back({{"norm", to_string(row.norm)},
                     {"size", row.size},
                     {"undefended", to_json(row.undefended)},
                     {"vote", to_json(row.vote)}});
  }
  for (const AdaptiveVerdicts& row : result.adaptive) {
    adaptive.push_back({{"norm", to_string(row.norm)},
                        {"size", row.size},
                        {"exact", to_json(row.exact)},
                        {"rounded", to_json(row.rounded)}});
  }
  return {{"clean_train", result.clean_train},
          {"attacked_train", result.attacked_train},
          {"vanished", result.vanished},
          {"exact", to_json(result.exact)},
          {"8_bits", to_json(result.rounded)},
          {"by_attack", attacks},
          {"by_size", sizes},
          {"adaptive", adaptive}};
}

Json to_json(const DemoResult& result) {
  Json epochs = Json::array(), attacks = Json::array(), norms = Json::array();
  for (const TrainingEpoch& epoch : result.epochs) {
    epochs.push_back({{"model", epoch.model},
                      {"stage", epoch.stage},
                      {"epoch", epoch.epoch},
                      {"loss", epoch.loss},
                      {"train_accuracy", epoch.train_accuracy},
                      {"test_accuracy", epoch.test_accuracy}});
  }
  for (const AttackOutcome& attack : result.attacks) {
    Json numbers = {{"attack", attack.name}, {"norm", to_string(attack.norm)}};
    numbers.update(to_json(attack.summary));
    attacks.push_back(numbers);
  }
  for (const GmaAnalysis& analysis : result.gma) norms.push_back(to_json(analysis));
  return {{"dataset", result.dataset},
          {"training", epochs},
          {"attacks", attacks},
          {"norms", norms},
          {"defence", to_json(result.defence)}};
}

Table defence_table(const DefenceResult& result) {
  using Kind = Column::Kind;
  Table table({{"test", "test"},
               {"detector", "detector"},
               {"clean", "clean", Kind::count},
               {"clean_accuracy", "clean accuracy", Kind::percent},
               {"false_alarms", "false alarms", Kind::percent},
               {"attacked", "attacked", Kind::count},
               {"detected", "detected", Kind::percent},
               {"wrong", "wrong class", Kind::percent},
               {"fooling", "fool Target", Kind::count},
               {"fooling_detected", "detected of these", Kind::percent},
               {"fooling_wrong", "wrong of these", Kind::percent}});
  const auto add = [&](const std::string& test, const std::vector<Verdicts>& rows) {
    for (const Verdicts& row : rows) {
      table.row({test, row.name, row.clean.images, quotient(row.clean.right, row.clean.images),
                 quotient(row.clean.flagged, row.clean.images), row.attacked.images,
                 quotient(row.attacked.flagged, row.attacked.images),
                 quotient(row.attacked.wrong, row.attacked.images), row.fooling.images,
                 quotient(row.fooling.flagged, row.fooling.images),
                 quotient(row.fooling.wrong, row.fooling.images)});
    }
  };
  add("exact", result.exact);
  add("8 bits", result.rounded);
  return table;
}

Table by_size_table(const DefenceResult& result) {
  using Kind = Column::Kind;
  Table table({{"norm", "norm"},
               {"size", "size", Kind::general, 4},
               {"images", "images", Kind::count},
               {"undefended_wrong", "Target wrong", Kind::percent},
               {"flagged", "flagged by the vote", Kind::percent},
               {"right", "right class", Kind::percent},
               {"wrong", "wrong class", Kind::percent}});
  for (const SizeVerdicts& row : result.by_size) {
    table.row({to_string(row.norm), static_cast<double>(row.size), row.vote.images,
               quotient(row.undefended.wrong, row.undefended.images),
               quotient(row.vote.flagged, row.vote.images), quotient(row.vote.right, row.vote.images),
               quotient(row.vote.wrong, row.vote.images)});
  }
  return table;
}

Table adaptive_table(const DefenceResult& result) {
  using Kind = Column::Kind;
  Table table({{"norm", "norm"},
               {"size", "size", Kind::general, 4},
               {"images", "images", Kind::count},
               {"flagged", "flagged", Kind::percent},
               {"right", "right class", Kind::percent},
               {"wrong", "wrong class", Kind::percent},
               {"wrong_8_bits", "wrong after rounding", Kind::percent}});
  for (const AdaptiveVerdicts& row : result.adaptive) {
    table.row({to_string(row.norm), static_cast<double>(row.size), row.exact.images,
               quotient(row.exact.flagged, row.exact.images), quotient(row.exact.right, row.exact.images),
               quotient(row.exact.wrong, row.exact.images), quotient(row.rounded.wrong, row.rounded.images)});
  }
  return table;
}

}  // namespace caltrop
