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
  std::vector<ComparedColumn> columns = {{"clean", "clean", true}, {"matched", "FGSM, matched", true}};
  for (const float size : kFgsmSizes)
    columns.push_back({at_size_key("fgsm", size), fmt::format("FGSM {:g}", size)});
  ComparedTable table(
      {{"dataset", "data"}, {"arm", "trained by"}, {"paper_elsewhere", "the paper elsewhere"}}, columns);
  for (const std::string& arm : study.arms()) {
    std::vector<Compared> values = {
        {study.mean(arm, clean_accuracy()), arm == kControl ? std::optional(kPrintedClean) : std::nullopt},
        {study.mean(arm, under_fgsm(study.size())), printed_fgsm(arm)}};
    for (const float size : kFgsmSizes) values.push_back({study.mean(arm, under_attack("fgsm", size))});
    const std::string elsewhere = printed_elsewhere(arm);
    table.row({study.dataset, arm, elsewhere.empty() ? Cell() : Cell(elsewhere)}, values);
  }
  return table.table();
}

Table attacks_table(const KimStudy& study) {
  struct Shown {
    std::string key, title;
    KimNumber number;
  };
  std::vector<Shown> shown = {
      {"clean", "clean", clean_accuracy()},
      {"fgsm_0.1", "FGSM 0.1", under_attack("fgsm", kStrongSizes[0])},
      {"fgsm_aware_0.1", "FGSM 0.1, aware", under_attack("fgsm-aware", kStrongSizes[0])}};
  for (const float size : kStrongSizes)
    shown.push_back({at_size_key("pgd", size), fmt::format("PGD {:g}", size), under_attack("pgd", size)});
  const CellResult& first = study.cells.front();
  for (size_t k = 0; k < first.cell.attacks.size(); ++k) {
    const std::string& name = first.cell.attacks[k].name;
    if (name != "square" && name != "autoattack") continue;
    const float size = first.attacks[k].sizes.at(0).size.eps;
    shown.push_back({at_size_key(name.c_str(), size),
                     fmt::format("{} {:g}", name == "square" ? "Square" : "AutoAttack", size),
                     under_attack(name, size)});
  }
  for (const float size : kCwSizes)
    shown.push_back({at_size_key("cw", size), fmt::format("CW L2 {:g}", size), under_attack("cw", size)});
  for (const char* attack : {"fgsm", "pgd"})
    shown.push_back({fmt::format("transfer_{}", attack),
                     fmt::format("{} of the control", attack == std::string("fgsm") ? "FGSM" : "PGD"),
                     study.transfer(attack)});
  shown.push_back({"zero_gradients", "no gradient", zero_gradients()});
  std::vector<ComparedColumn> columns;
  for (const Shown& one : shown) columns.push_back({one.key, one.title});
  ComparedTable table({{"dataset", "data"},
                       {"arm", "trained by"},
                       {"training_work", "training, × control", Column::Kind::number, 2}},
                      columns);
  for (const std::string& arm : study.arms()) {
    std::vector<Compared> values;
    for (const Shown& one : shown) values.push_back({study.mean(arm, one.number)});
    table.row({study.dataset, arm, study.work.at(arm) / study.work.at(kControl)}, values);
  }
  return table.table();
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
