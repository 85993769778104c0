#include <algorithm>

#include "apps/paper/kim/shown.h"
#include "apps/study/comparison.h"

namespace caltrop {
namespace {

std::string at_size_key(const char* attack, float size) {
  return fmt::format("{}_{:g}", attack, size);
}

// What an arm is compared with, as first - second.
std::vector<std::pair<std::string, std::string>> pairs_of(const KimStudy& study) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string& method : kKimDefences) pairs.emplace_back(method, kControl);
  pairs.emplace_back(kAdversarial, kDistillation);
  pairs.emplace_back(kAdversarial, kMasking);
  pairs.emplace_back(kMasking, kDistillation);
  for (const std::string& first : kKimDefences) {
    for (const std::string& second : kKimDefences) pairs.emplace_back(pair_arm(first, second), kAdversarial);
  }
  std::erase_if(pairs, [&](const auto& pair) { return !study.has(pair.first) || !study.has(pair.second); });
  return pairs;
}

}  // namespace

Table fgsm_table(const KimStudy& study) {
  const bool beside = study.printed() && study.matched();
  std::vector<ComparedColumn> columns = {{"clean", "clean", study.printed()},
                                         {"matched", fmt::format("FGSM {:.3g}", study.size()), beside}};
  for (const float size : kFgsmSizes)
    columns.push_back({at_size_key("fgsm", size), fmt::format("FGSM {:g}", size)});
  std::vector<Column> keys = {{"dataset", "data"}, {"arm", "trained by"}};
  if (beside) keys.push_back({"paper_elsewhere", "the paper elsewhere"});
  ComparedTable table(keys, columns);
  for (const std::string& arm : study.arms()) {
    std::vector<Compared> values = {
        {study.mean(arm, clean_accuracy()), arm == kControl ? std::optional(kPrintedClean) : std::nullopt},
        {study.mean(arm, under_fgsm(study.size())), printed_fgsm(arm)}};
    for (const float size : kFgsmSizes) values.push_back({study.mean(arm, under_attack(kFgsm, size))});
    std::vector<Cell> cells = {study.dataset, arm};
    const std::string elsewhere = printed_elsewhere(arm);
    if (beside) cells.push_back(elsewhere.empty() ? Cell() : Cell(elsewhere));
    table.row(std::move(cells), values);
  }
  return table.table();
}

Table attacks_table(const KimStudy& study) {
  struct Shown {
    std::string key, title;
    KimNumber number;
  };
  std::vector<Shown> shown = {{"clean", "clean", clean_accuracy()}};
  for (const StudyAttack& attack : study.cells.front().cell.attacks) {
    // FGSM by size has a table of its own.
    const bool one = attack.name == kFgsm || attack.name == kFgsmAware;
    for (const GmaSize& size : attack.sizes) {
      if (one && size.eps != kStrongSizes[0]) continue;
      shown.push_back({at_size_key(attack.name.c_str(), size.eps),
                       fmt::format("{} {:g}", attack.name == "cw" ? "cw L2" : attack.name, size.eps),
                       under_attack(attack.name, size.eps)});
    }
  }
  for (const std::string& attack : {kFgsm, kPgd})
    shown.push_back({"transfer_" + attack, fmt::format("{} {:g} of the control", attack, kTransferSize),
                     study.transfer(attack)});
  shown.push_back({"zero_gradients", "no gradient", zero_gradients()});
  std::vector<ComparedColumn> columns;
  for (const Shown& one : shown)
    columns.push_back({one.key, fmt::format("{} ({})", one.title, study.images(one.number))});
  ComparedTable table({{"dataset", "data"},
                       {"arm", "trained by"},
                       {"training_work", "training, × control (estimated)", Column::Kind::number, 2}},
                      columns);
  for (const std::string& arm : study.arms()) {
    std::vector<Compared> values;
    for (const Shown& one : shown) values.push_back({study.mean(arm, one.number)});
    table.row({study.dataset, arm, study.work.at(arm) / study.work.at(kControl)}, values);
  }
  return table.table();
}

Table epochs_table(const KimStudy& study) {
  using Kind = Column::Kind;
  Table table({{"dataset", "data"},
               {"arm", "trained by"},
               {"seed", "seed", Kind::count},
               {"epoch", "epoch", Kind::count},
               {"method", "method"},
               {"clean", "clean", Kind::percent},
               {"fgsm", "FGSM", Kind::percent}});
  for (const CellResult& cell : study.cells) {
    for (const KimEpoch& one : study.epochs.at(cell.cell.stem))
      table.row(
          {study.dataset, cell.cell.arm.name, cell.cell.seed, one.epoch, one.method, one.clean, one.fgsm});
  }
  return table;
}

Table pairs_table(const KimStudy& study) {
  using Kind = Column::Kind;
  Table table({{"dataset", "data"},
               {"first", "first"},
               {"second", "second"},
               {"seeds", "seeds", Kind::count},
               {"difference", "first - second", Kind::percent},
               {"difference_sd", "±", Kind::deviation},
               {"effect", "effect (d)", Kind::number, 2},
               {"p", "p", Kind::general, 2},
               {"p_holm", "p, Holm", Kind::general, 2}});
  const auto pairs = pairs_of(study);
  std::vector<PairedTest> tests;
  std::vector<double> known;
  for (const auto& [first, second] : pairs) {
    tests.push_back(study.compare(first, second, under_fgsm(study.size())));
    if (tests.back().p) known.push_back(*tests.back().p);
  }
  const std::vector<double> corrected = holm(known);
  size_t next = 0;
  for (size_t k = 0; k < pairs.size(); ++k) {
    const PairedTest& test = tests[k];
    table.row({study.dataset, pairs[k].first, pairs[k].second, static_cast<int64_t>(test.difference.n),
               test.difference.mean, cell_of(test.difference.deviation), cell_of(test.effect),
               cell_of(test.p), test.p ? Cell(corrected[next++]) : Cell()});
  }
  return table;
}

}  // namespace caltrop
