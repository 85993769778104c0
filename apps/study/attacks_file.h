// STEM-attacks.json: what attacks did to one network, each with all that decides it ("about"). docs/files.md has its
// fields.
#pragma once

#include "apps/core/json.h"
#include "apps/study/run.h"

namespace caltrop {

inline constexpr const char* kAttacksSchema = "study-attacks/3";

// One attack, but for its name. `how`: its options, which each size resolves; `clean_correct`: images right when clean, of
// all that were to be attacked.
Json to_json(const GmaAnalysis& analysis, const AttackOptions& how, int64_t clean_correct, const Json& about);
GmaAnalysis analysis_of(const Json& json, const StudyAttack& attack);

// What the folder holds of a cell: an array; empty where there is no file, or one of another schema, whose attacks are
// made again. An Error where it is damaged.
Json stored_attacks(const StudyCell& cell, const RunFolder& folder);
std::string attacks_file(const StudyCell& cell);

}  // namespace caltrop
