// The cells of a study with what follows of their images: before anything runs, and for who runs them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "apps/study/arm.h"
#include "apps/study/run.h"

namespace caltrop {

inline constexpr double kUnit = 1e6;  // of work: multiply-accumulates, as estimated

// The data sets of a study, each read once.
class StudyData {
 public:
  explicit StudyData(const StudyPlace& place) : place_(place) {}

  // The images of a cell; null where its data set is left out, with a warning.
  const StudyImages* of(const StudyCell& cell);
  const std::vector<std::string>& skipped() const { return skipped_; }

 private:
  const StudyPlace& place_;
  std::map<std::pair<std::string, std::string>, std::optional<StudyImages>> sets_;
  std::vector<std::string> skipped_;
};

struct PlannedCell {
  const StudyCell& cell;
  const StudyImages& images;
  Arm arm;
  std::vector<int64_t> rows;      // of the attacked images
  std::vector<bool> shared = {};  // of each attack: an earlier cell has done it

  PlannedCell(const StudyCell& planned, const StudyImages& of, Backend& backend);

  int64_t attacked(const StudyAttack& attack) const;
  double attack_work(size_t which) const;  // in kUnit
  double work() const;                     // of all
};

// All cells, before anything is trained; those of data sets that are not there are left out.
std::vector<PlannedCell> planned(const std::vector<StudyCell>& cells, StudyData& data, Backend& backend);

}  // namespace caltrop
