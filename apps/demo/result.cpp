#include "apps/demo/result.h"

#include "apps/commands/defend_report.h"
#include "apps/report/attack_report.h"

namespace caltrop {

Json to_json(const DemoResult& result) {
  Json training = result.training, attacks = Json::array(), norms = Json::array();
  training.insert(training.end(), result.defence_training.begin(), result.defence_training.end());
  for (const AttackOutcome& attack : result.attacks) {
    attacks.push_back({{"attack", attack.name}, {"norm", to_string(attack.norm)}});
    attacks.back().update(to_json(attack.summary));
  }
  for (const GmaAnalysis& analysis : result.gma) norms.push_back(to_json(analysis));
  const DefenceResult& defence = result.defence;
  return {{"dataset", result.dataset},
          {"training", training},
          {"attacks", attacks},
          {"norms", norms},
          {"defence",
           {{"clean_train", defence.clean_train},
            {"attacked_train", defence.attacked_train},
            {"vanished", defence.vanished},
            {"detectors", detector_table(defence).json()},
            {"by_attack", attacks_table({DefenceResult::vote(defence.exact)}).json()},
            {"by_size", by_size_table(defence).json()},
            {"adaptive", adaptive_table(defence.adaptive).json()}}}};
}

Table detector_table(const DefenceResult& result) {
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
  for (const std::vector<JudgedTest>* rows : {&result.exact, &result.rounded}) {
    for (const JudgedTest& row : *rows) {
      const Fates &clean = row.clean, &attacked = row.attacked.all, &fooling = row.attacked.fooling;
      table.row({row.test, row.model, clean.images, quotient(clean.right, clean.images),
                 quotient(clean.flagged, clean.images), attacked.images,
                 quotient(attacked.flagged, attacked.images), quotient(attacked.wrong, attacked.images),
                 fooling.images, quotient(fooling.flagged, fooling.images),
                 quotient(fooling.wrong, fooling.images)});
    }
  }
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
  for (const TransferRow& row : result.by_size) {
    const Fates& vote = row.defended;
    table.row({to_string(row.norm), static_cast<double>(row.size), vote.images,
               quotient(row.undefended.wrong, vote.images), quotient(vote.flagged, vote.images),
               quotient(vote.right, vote.images), quotient(vote.wrong, vote.images)});
  }
  return table;
}

}  // namespace caltrop
