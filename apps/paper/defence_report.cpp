#include "apps/paper/defence_report.h"

#include <algorithm>
#include <map>

#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/run_folder.h"
#include "apps/paper/attack_study.h"
#include "apps/paper/defence_claims.h"
#include "apps/paper/defence_figures.h"
#include "apps/paper/defence_tables.h"
#include "apps/report/table.h"
#include "apps/study/run.h"

namespace caltrop {
namespace {

bool has(const std::vector<int>& numbers, int number) {
  return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
}

class Writer {
 public:
  Writer(const DefencePaper& paper, const std::vector<DefenceStudy>& studies, const RunFolder& folder,
         Console& console)
      : paper_(paper), studies_(studies), folder_(folder), console_(console) {}

  Json run() {
    if (paper_.needs_vote()) {
      const Table claims = claims_table(studies_);
      add("defence-claims", "Claims against controls", {claims, claims});
    }
    if (has(paper_.tables, 3)) {
      add("table-3", "Table 3: the vote under each attack", vote_tables(studies_));
    }
    for (const DefenceStudy& study : studies_) {
      const int number = study.dataset == "mnist" ? 5 : 6;
      if (has(paper_.tables, number)) {
        add(fmt::format("table-{}", number),
            fmt::format("Table {}: the networks after each cycle, {}", number, study.dataset),
            network_tables(study));
      }
    }
    for (const DefenceStudy& study : studies_) {
      add_quietly(study.dataset + "-detection", "Beside the eleven classes: detection, " + study.dataset,
                  detection_table(study));
      if (paper_.needs_vote())
        add_quietly(study.dataset + "-controls", "The controls, " + study.dataset, controls_table(study));
      // Hundreds of rows: for people, two pictures.
      const std::vector<SizeScore> scores = size_scores(study);
      const Table sizes = size_table(study, scores);
      folder_.write_table(study.dataset + "-sizes", sizes);
      result_[study.dataset + "-sizes"] = sizes.json();
      const Detector subject = subject_of(study);
      add_figures(fmt::format("Detection by size, {}: {}, {}", study.dataset, subject.model, subject.stage),
                  write_size_figures(folder_, study, scores));
    }
    for (const int number : paper_.figures) {
      std::vector<std::string> files;
      for (const DefenceStudy& study : studies_) {
        for (std::string& file : write_defence_figure(folder_, number, study))
          files.push_back(std::move(file));
      }
      add_figures(fmt::format("Figure {}", number), files);
    }
    folder_.write("report.md", report_text(studies_, paper_.study.scale, paper_.needs_vote(), parts_));
    result_["report"] = "report.md";
    return result_;
  }

 private:
  // The scores for programs, the layout for people.
  void add(const std::string& stem, const std::string& title, const ScoreTables& tables) {
    console_.blank();
    console_.say("{}, % (the paper's)", title);
    console_.say(tables.layout);
    folder_.write_table(stem, tables.scores);
    parts_.push_back({title, tables.layout.markdown()});
    result_[stem] = tables.scores.json();
  }
  void add_quietly(const std::string& stem, const std::string& title, const Table& table) {
    folder_.write_table(stem, table);
    parts_.push_back({title, table.markdown()});
    result_[stem] = table.json();
  }
  void add_figures(const std::string& title, const std::vector<std::string>& files) {
    std::string markdown;
    for (const std::string& file : files) {
      result_["figures"].push_back(file);
      markdown += fmt::format("{}[{}]({})\n", file.ends_with(".png") ? "!" : "", file, file);
    }
    if (!files.empty()) parts_.push_back({title, markdown});
  }

  const DefencePaper& paper_;
  const std::vector<DefenceStudy>& studies_;
  const RunFolder& folder_;
  Console& console_;
  std::vector<ReportPart> parts_;
  Json result_ = {{"figures", Json::array()}};
};

}  // namespace

bool DefencePaper::needs_vote() const {
  return has(tables, 3) || std::any_of(figures.begin(), figures.end(), caltrop::needs_vote);
}

std::vector<std::string> DefencePaper::needed_datasets() const {
  std::vector<std::string> needed;
  for (const std::string& dataset : kPaperDatasets) {
    if (std::find(datasets.begin(), datasets.end(), dataset) == datasets.end()) continue;
    const bool by_table = has(tables, 3) || has(tables, dataset == "mnist" ? 5 : 6);
    const bool by_figure = std::any_of(figures.begin(), figures.end(), [&](int figure) {
      const std::vector<std::string> about = datasets_of_figure(figure);
      return std::find(about.begin(), about.end(), dataset) != about.end();
    });
    if (by_table || by_figure) needed.push_back(dataset);
  }
  return needed;
}

std::string report_text(const std::vector<DefenceStudy>& studies, const std::string& scale, bool vote,
                        const std::vector<ReportPart>& parts) {
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
    if (!vote) break;
    std::map<std::string, std::string> lists;
    for (const DefenceClaim& claim : defence_claims(study)) {
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
  for (const auto& [title, body] : parts) text += fmt::format("## {}\n\n{}\n", title, body);
  text.pop_back();
  return text;
}

Json run_defence_paper(const DefencePaper& paper, CommonOptions& common, const StudyPlace& place,
                       const Flags& flags) {
  std::vector<DefenceStudy> studies;
  Json skipped = Json::array();
  DefenceStudyOptions options = paper.study;
  options.vote = paper.needs_vote();
  for (const std::string& dataset : paper.needed_datasets()) {
    try {
      studies.push_back(study_defence(dataset, options, common, place, flags));
    } catch (const DatasetNotFound& problem) {
      // Left out for all to see; anything else ends the study.
      place.console.warn("{} is left out: {}", dataset, problem.what());
      skipped.push_back(problem.what());
    }
  }
  if (studies.empty()) fail("nothing to show: {}", skipped.back().get<std::string>());
  Json result = Writer(paper, studies, place.folder, place.console).run();
  result["skipped"] = skipped;
  return result;
}

}  // namespace caltrop
