#include "apps/report/evaluation.h"

namespace caltrop {
namespace {

std::string class_name(const std::vector<std::string>& names, int64_t which) {
  return which < static_cast<int64_t>(names.size()) ? names[static_cast<size_t>(which)]
                                                    : fmt::format("{}", which);
}

}  // namespace

Json to_json(const Metrics& metrics, const Confusion& confusion) {
  Json rows = Json::array();
  for (int64_t truth = 0; truth < confusion.classes(); ++truth) {
    Json row = Json::array();
    for (int64_t k = 0; k < confusion.classes(); ++k) row.push_back(confusion.at(truth, k));
    rows.push_back(std::move(row));
  }
  return {{"n", metrics.n},
          {"accuracy", metrics.accuracy},
          {"interval", {metrics.interval.low, metrics.interval.high}},
          {"precision", metrics.precision},
          {"recall", metrics.recall},
          {"f1", metrics.f1},
          {"confusion", std::move(rows)}};
}

std::string in_words(const Metrics& metrics) {
  return fmt::format("{:.2f} % (95 % interval {:.2f} to {:.2f} %)", 100 * metrics.accuracy,
                     100 * metrics.interval.low, 100 * metrics.interval.high);
}

Table class_table(const Evaluation& evaluation, const std::vector<std::string>& class_names) {
  using Kind = Column::Kind;
  Table table({{"class", "class"},
               {"images", "images", Kind::count},
               {"predicted", "predicted", Kind::count},
               {"precision", "precision", Kind::percent},
               {"recall", "recall", Kind::percent},
               {"f1", "F1", Kind::percent}});
  for (int64_t k = 0; k < evaluation.confusion.classes(); ++k) {
    const ClassMetrics one = class_metrics(evaluation.confusion, k);
    if (one.images + one.predicted == 0) continue;
    table.row({class_name(class_names, k), one.images, one.predicted, one.precision, one.recall, one.f1});
  }
  const Metrics& all = evaluation.metrics;
  table.row({std::string("mean (macro)"), all.n, all.n, all.precision, all.recall, all.f1});
  return table;
}

Table confusion_table(const Confusion& confusion, const std::vector<std::string>& class_names) {
  std::vector<std::vector<int64_t>> counts;
  for (int64_t truth = 0; truth < confusion.classes(); ++truth) {
    std::vector<int64_t>& row = counts.emplace_back();
    for (int64_t k = 0; k < confusion.classes(); ++k) row.push_back(confusion.at(truth, k));
  }
  return confusion_table(counts, class_names);
}

Table confusion_table(const std::vector<std::vector<int64_t>>& counts,
                      const std::vector<std::string>& class_names) {
  std::vector<Column> columns = {{"true_class", "true \\ predicted"}};
  const auto classes = static_cast<int64_t>(counts.size());
  for (int64_t k = 0; k < classes; ++k)
    columns.push_back({class_name(class_names, k), class_name(class_names, k), Column::Kind::count});
  Table table(std::move(columns));
  for (int64_t truth = 0; truth < classes; ++truth) {
    std::vector<Cell> row = {class_name(class_names, truth)};
    for (const int64_t count : counts[static_cast<size_t>(truth)]) row.emplace_back(count);
    table.row(std::move(row));
  }
  return table;
}

}  // namespace caltrop
