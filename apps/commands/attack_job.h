// Which images 'attack' takes, the class that each is pushed to, and the point at which it begins.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "apps/core/setup.h"
#include "attacks/attack_images.h"

namespace caltrop {

struct JobOptions {
  std::optional<int64_t> target;
  std::string target_file, start;  // files; "": none
  bool targeted() const { return target || !target_file.empty(); }
};

// --target --target-file --start.
void add_job_flags(Flags& flags, JobOptions& options);
// UsageError where the attack begins where its own rule says and --start is given, or a --config names both kinds of
// targets. Paths are absolute from here on.
void check_job(JobOptions& options, AttackKind kind);

// All images that are chosen, `data.rows`; with targets those of another class than theirs: one of the target class has
// nowhere to go and would count as a success. Files have a target, a point for each image that is chosen, in this order, or
// name the images; those left out are left out of both. An Error that names the file.
AttackJob job_of(const JobOptions& options, const EvaluationData& data, int64_t outputs, Console& console);

// The CRC-32 of both files, into facts["inputs"].
void note_files(const JobOptions& options, Json& facts);

}  // namespace caltrop
