// What a study will do before it does it: the parts, the time, the disk.
#pragma once

#include "apps/study/run.h"

namespace caltrop {

// Of cells whose images are given. Says the parts with the time that each takes at most, by a short trial of each network here, and the disk; the same as
// the result for programs. Writes no file.
Json say_plan(const std::vector<StudyCell>& cells, const StudyPlace& place);

}  // namespace caltrop
