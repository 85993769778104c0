#include <map>

#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/run_folder.h"
#include "apps/paper/defence_shown.h"
#include "apps/report/table.h"
#include "apps/study/report.h"
#include "apps/study/run.h"

namespace caltrop {
namespace {

template <typename Numbers>
std::vector<ComparedColumn> columns_of(const Numbers& numbers) {
  std::vector<ComparedColumn> columns;
  for (const Number& number : numbers) columns.push_back({number.key, number.title});
  return columns;
}

ScoreTables vote_tables(const std::vector<DefenceStudy>& studies) {
  std::vector<ScoreRow> rows;
  for (const DefenceStudy& study : studies) {
    rows.push_back({{study.dataset},
                    {study.dataset},
                    study.runs,
                    {kVote, kBootstrap, kExact},
                    printed_vote(study.dataset)});
  }
  return score_tables({{"dataset", "data"}}, {{"dataset", "data"}}, kPaperAttacks, rows);
}

ScoreTables network_tables(const DefenceStudy& study) {
  std::vector<ScoreRow> rows;
  for (const std::string& model : kPaperMembers) {
    for (size_t c = 0; c < kPaperCycles.size(); ++c) {
      const std::string stage = stage_of(kPaperCycles[c]);
      rows.push_back({{study.dataset, model, stage},
                      {model, fmt::format("{} ({:g} %)", c + 1, kPaperCycles[c])},
                      study.runs,
                      {model, stage, kExact},
                      printed_network(study.dataset, model, c)});
    }
  }
  return score_tables({{"dataset", "data"}, {"model", "model"}, {"cycle", "cycle"}},
                      {{"model", "model"}, {"cycle", "cycle"}}, kPaperAttacks, rows);
}

Table detection_table(const DefenceStudy& study) {
  ComparedTable table({{"dataset", "data"}, {"model", "model"}, {"stage", "stage"}, {"test", "test"}},
                      columns_of(kOfAll));
  for (const Judged& first : study.runs[0].summary) {
    std::vector<Compared> values;
    for (const Number& number : kOfAll) {
      values.push_back({over_runs(
          study.runs, [&](const DefenceRun& run) { return run.judged(first.who).*number.value; })});
    }
    table.row({study.dataset, first.who.model, first.who.stage, first.who.test}, values);
  }
  return table.table();
}

Table size_table(const DefenceStudy& study, const std::vector<SizeScore>& scores) {
  ComparedTable table({{"dataset", "data"},
                       {"model", "model"},
                       {"stage", "stage"},
                       {"test", "test"},
                       {"attack", "attack"},
                       {"norm", "norm"},
                       {"size", "size", Column::Kind::general, 4}},
                      columns_of(kAtSize));
  for (const auto& [place, fooled, detected] : scores) {
    table.row({study.dataset, place.who.model, place.who.stage, place.who.test, place.attack, place.norm,
               cell_of(place.size)},
              {{fooled}, {detected}});
  }
  return table.table();
}

void show_table(const PaperItem& item, const std::vector<DefenceStudy>& studies, StudyReport& report) {
  const auto show = [&](const std::string& what, const ScoreTables& tables) {
    const std::string title = fmt::format("Table {}: {}", item.number, what);
    report.show(fmt::format("table-{}", item.number), tables.scores, title + ", % (the paper's)",
                tables.layout);
    report.part(title, tables.layout.markdown());
  };
  if (item.vote) return show("the vote under each attack", vote_tables(studies));
  for (const DefenceStudy& study : studies) {
    if (study.dataset == item.datasets.at(0))
      show("the networks after each cycle, " + study.dataset, network_tables(study));
  }
}

// What stands beside the paper's tables.
void show_controls(const DefenceStudy& study, StudyReport& report, const RunFolder& folder) {
  const auto add = [&](const std::string& name, const std::string& title, const Table& table) {
    report.keep(study.dataset + name, table);
    report.part(title + study.dataset, table.markdown());
  };
  add("-detection", "Beside the eleven classes: detection, ", detection_table(study));
  if (study.votes()) add("-controls", "The controls, ", controls_table(study));
  // Hundreds of rows: for people, two pictures.
  const Detector subject = subject_of(study);
  const std::vector<SizeScore> scores = over_sizes(study.runs, subject);
  report.keep(study.dataset + "-sizes", size_table(study, scores));
  report.figures(write_size_figures(folder, study, scores),
                 fmt::format("Detection by size, {}: {}, {}", study.dataset, subject.model, subject.stage));
}

}  // namespace

std::string report_opening(const std::vector<DefenceStudy>& studies, const std::string& scale) {
  std::string text = "# The defence of GMA/MIA 2025, beside the paper\n\n";
  text += fmt::format(
      "Scale {} (see 'caltrop defend mia --help'); numbers in %, the paper's in brackets. {}\n\n", scale,
      studies[0].runs.size() > 1
          ? fmt::format("Means ± standard deviations over {} seeds of the defence; the undefended network is "
                        "the same for all.",
                        studies[0].runs.size())
          : "One seed: how far chance moves these numbers is not known, and a verdict that hangs on a few "
            "points may fall the other way with another.");
  for (const DefenceStudy& study : studies) {
    if (!study.votes()) break;
    std::map<std::string, std::string> lists;
    for (const TestedClaim& claim : defence_claims(study)) {
      std::string& list = lists[claim.verdict()];
      list += fmt::format("{}{}", list.empty() ? "" : "; ", claim.claim);
    }
    const auto named = [&](const char* verdict) {
      return lists[verdict].empty() ? "none" : lists[verdict];
    };
    text += fmt::format("On {} these claims survive: {}. These do not: {}.", study.dataset, named("survives"),
                        named("does not survive"));
    if (study.runs.size() > 1)
      text += fmt::format(" {} seeds do not decide: {}.", study.runs.size(), named("undecided"));
    text += "\n\n";
  }
  return text;
}

Json run_defence_paper(const std::vector<PaperItem>& items, const DefenceStudyOptions& study,
                       CommonOptions& common, const StudyPlace& place, const Flags& flags) {
  std::vector<DefenceStudy> studies;
  Json skipped = Json::array();
  for (const std::string& dataset : datasets_of(items)) {
    try {
      studies.push_back(study_defence(dataset, study, common, place, flags));
    } catch (const DatasetNotFound& problem) {
      // Left out for all to see; anything else ends the study.
      place.console.warn("{} is left out: {}", dataset, problem.what());
      skipped.push_back(problem.what());
    }
  }
  if (studies.empty()) fail("nothing to show: {}", skipped.back().get<std::string>());
  StudyReport report(place);
  if (studies[0].votes()) {
    const Table claims = claims_table(studies);
    report.show("defence-claims", claims, "Claims against controls, % (the paper's)", claims);
    report.part("Claims against controls", claims.markdown());
  }
  for (const PaperItem& item : items) {
    if (item.kind == "table") show_table(item, studies, report);
  }
  for (const DefenceStudy& one : studies) show_controls(one, report, place.folder);
  for (const PaperItem& item : items) {
    std::vector<std::string> files;
    for (const DefenceStudy& one : studies) {
      if (item.kind != "figure") continue;
      for (std::string& file : write_defence_figure(place.folder, item, one))
        files.push_back(std::move(file));
    }
    report.figures(files, fmt::format("Figure {}", item.number));
  }
  report.write(report_opening(studies, study.scale));
  Json result = report.result();
  result["skipped"] = skipped;
  return result;
}

}  // namespace caltrop
