#include <algorithm>

#include "apps/commands/defend_report.h"

namespace caltrop {
namespace {

using Kind = Column::Kind;

// A share of images.
Cell flagged(const Fates& fates) {
  return quotient(fates.flagged, fates.images);
}
Cell right(const Fates& fates) {
  return quotient(fates.right, fates.images);
}
Cell wrong(const Fates& fates) {
  return quotient(fates.wrong, fates.images);
}
// What only a judge that knows classes can be asked for.
Cell of_classes(const JudgedTest& judged, const Cell& cell) {
  return judged.knows_classes ? cell : Cell();
}
// What only a judge that raises alarms can be asked for.
Cell flagged(const JudgedTest& judged, const Fates& fates) {
  return judged.detects ? flagged(fates) : Cell();
}
// Of detection alone, in which attacked is positive.
Cell detection_accuracy(const JudgedTest& judged, const Fates& attacked) {
  const Fates& clean = judged.clean;
  if (!judged.detects) return {};
  return quotient(attacked.flagged + clean.images - clean.flagged, attacked.images + clean.images);
}
Cell detection_f1(const JudgedTest& judged, const Fates& attacked) {
  if (!judged.detects) return {};
  return quotient(2 * attacked.flagged, attacked.images + attacked.flagged + judged.clean.flagged);
}

}  // namespace

Table pool_table(const std::vector<TestSet>& tests,
                 const std::vector<std::pair<std::string, AttackedPool>>& trained) {
  Table table({{"part", "part"},
               {"attack", "attack"},
               {"norm", "norm"},
               {"images", "attacked images", Kind::count},
               {"unchanged", "unchanged", Kind::count},
               {"fooled", "fool the network", Kind::percent}});
  const auto add = [&](const std::string& part, const AttackedPool& pool) {
    for (size_t k = 0; k < pool.attacks.size(); ++k) {
      int64_t images = 0, fooled = 0;
      for (const PoolImage& image : pool.images) {
        if (image.attack != static_cast<int64_t>(k)) continue;
        ++images;
        fooled += image.fooled;
      }
      table.row({part, pool.attacks[k].name, to_string(pool.attacks[k].options.norm), images,
                 pool.unchanged[k], quotient(fooled, images)});
    }
  };
  for (const auto& [name, of] : trained) add(name, of);
  for (const TestSet& test : tests) add("test, " + test.name, test.pool);
  return table;
}

Table summary_table(const std::vector<JudgedTest>& judged) {
  Table table({{"model", "model"},
               {"stage", "stage"},
               {"test", "test"},
               {"clean", "clean", Kind::count},
               {"attacked", "attacked", Kind::count},
               {"accuracy", "accuracy", Kind::percent},
               {"f1", "F1", Kind::percent},
               {"detection_accuracy", "detection acc.", Kind::percent},
               {"detection_f1", "its F1", Kind::percent},
               {"detection_rate", "detected", Kind::percent},
               {"fooling_detected", "of fooling", Kind::percent},
               {"wrong", "wrong class", Kind::percent},
               {"false_alarms", "false alarms", Kind::percent},
               {"clean_accuracy", "clean accuracy", Kind::percent}});
  for (const JudgedTest& one : judged) {
    const auto& [all, fooling] = one.attacked;
    table.row({one.model, one.stage, one.test, one.clean.images, all.images,
               of_classes(one, one.metrics.accuracy), of_classes(one, one.metrics.f1),
               detection_accuracy(one, all), detection_f1(one, all), flagged(one, all), flagged(one, fooling),
               of_classes(one, wrong(all)), flagged(one, one.clean), of_classes(one, right(one.clean))});
  }
  return table;
}

Table attacks_table(const std::vector<JudgedTest>& judged) {
  Table table({{"model", "model"},
               {"stage", "stage"},
               {"test", "test"},
               {"attack", "attack"},
               {"images", "images", Kind::count},
               {"fooled", "fool the undefended", Kind::percent},
               {"recall", "detected", Kind::percent},
               {"fooling_recall", "of fooling", Kind::percent},
               {"wrong", "wrong class", Kind::percent},
               {"accuracy", "accuracy", Kind::percent},
               {"f1", "F1", Kind::percent},
               {"detection_accuracy", "detection acc.", Kind::percent},
               {"detection_f1", "its F1", Kind::percent}});
  for (const JudgedTest& one : judged) {
    for (const JudgedTest::Attack& attack : one.attacks) {
      const auto& [all, fooling] = attack.fates;
      table.row({one.model, one.stage, one.test, attack.name, all.images,
                 quotient(fooling.images, all.images), flagged(one, all), flagged(one, fooling),
                 of_classes(one, wrong(all)), of_classes(one, attack.metrics.accuracy),
                 of_classes(one, attack.metrics.f1), detection_accuracy(one, all), detection_f1(one, all)});
    }
  }
  return table;
}

Table sizes_table(const std::vector<JudgedTest>& judged) {
  Table table({{"model", "model"},
               {"stage", "stage"},
               {"test", "test"},
               {"attack", "attack"},
               {"norm", "norm"},
               {"size", "size", Kind::general, 4},
               {"images", "images", Kind::count},
               {"fooled", "fool the undefended", Kind::percent},
               {"recall", "detected", Kind::percent},
               {"right", "right class", Kind::percent}});
  for (const JudgedTest& one : judged) {
    for (const JudgedTest::Size& size : one.sizes) {
      const auto& [all, fooling] = size.fates;
      table.row({one.model, one.stage, one.test, size.attack, to_string(size.norm), cell_of(size.size),
                 all.images, quotient(fooling.images, all.images), flagged(one, all),
                 of_classes(one, right(all))});
    }
  }
  return table;
}

Table leave_out_table(const std::vector<LeftOut>& rows) {
  Table table({{"left_out", "left out"},
               {"model", "network"},
               {"images", "test images of it", Kind::count},
               {"seen", "detected, trained on", Kind::percent},
               {"unseen", "detected, left out", Kind::percent},
               {"wrong", "wrong class, left out", Kind::percent},
               {"others", "others detected", Kind::percent},
               {"false_alarms", "false alarms", Kind::percent},
               {"seen_false_alarms", "false alarms, trained on", Kind::percent},
               {"clean_accuracy", "clean accuracy", Kind::percent}});
  for (const LeftOut& row : rows) {
    table.row({row.name, row.model, row.images, quotient(row.found_trained, row.images),
               quotient(row.found, row.images), quotient(row.wrong, row.images),
               quotient(row.found_others, row.others), quotient(row.alarms, row.clean),
               quotient(row.alarms_trained, row.clean), quotient(row.right, row.clean)});
  }
  return table;
}

Table vote_curve_table(const std::vector<VoteEpoch>& curve) {
  Table table({{"epoch", "epoch", Kind::count},
               {"attack", "attack"},
               {"loss", "loss", Kind::number, 4},
               {"accuracy", "accuracy", Kind::percent}});
  for (const VoteEpoch& one : curve) {
    table.row({one.epoch, "all", one.scores.all.loss, one.scores.all.accuracy});
    for (const auto& [attack, score] : one.scores.attacks)
      table.row({one.epoch, attack, score.loss, score.accuracy});
  }
  return table;
}

Table adaptive_table(const std::vector<AdaptiveRow>& rows) {
  Table table({{"attack", "attack"},
               {"norm", "norm"},
               {"size", "size", Kind::general, 4},
               {"images", "images", Kind::count},
               {"right", "right class", Kind::percent},
               {"detected", "detected", Kind::percent},
               {"wrong", "wrong class", Kind::percent},
               {"wrong_8_bits", "wrong after rounding", Kind::percent}});
  for (const AdaptiveRow& row : rows) {
    const Fates& exact = row.exact;
    const bool one = row.attack != "any";  // of several attacks only what one of them reaches is known
    table.row({row.attack, row.norm ? Cell(to_string(*row.norm)) : Cell(),
               row.norm ? Cell(static_cast<double>(row.size)) : Cell(), exact.images,
               one ? right(exact) : Cell(), one ? flagged(exact) : Cell(), wrong(exact), wrong(row.rounded)});
  }
  return table;
}

Table gradients_table(const std::vector<GradientRow>& rows) {
  Table table({{"attacker", "attacker"},
               {"images", "images", Kind::count},
               {"zero", "zero gradients", Kind::percent},
               {"zero_in_torch", "as PyTorch has it", Kind::percent}});
  for (const GradientRow& row : rows) {
    const auto share = [&](int64_t count) {
      return static_cast<double>(count) / static_cast<double>(std::max<int64_t>(1, row.images));
    };
    table.row({row.attacker, row.images, share(row.zero), share(row.zero_in_torch)});
  }
  return table;
}

}  // namespace caltrop
