#include "kernels/ladder/climb.h"

#include "kernels/error.h"

namespace caltrop {
namespace {

template <typename Body>
LadderCheck checked(const Body& body) {
  try {
    return body();
  } catch (const Error& error) {
    LadderCheck check;
    check.failure = error.what();
    return check;
  }
}

VersionTime time_version(Lab& lab, const LadderProblem& problem, const LadderOperands& operands,
                         const LadderStep& step, const ClimbOptions& options) {
  const LadderCheck check = checked([&] {
    LadderCheck result;
    check_ladder_result(problem, operands, lab.run(problem, step.number, operands, 0), result);
    return result;
  });
  VersionTime time{.step = step, .failure = check.failure};
  if (check.passed())
    time.timing = lab.time(problem, step.number, operands, options.warm_ups, options.samples);
  return time;
}

}  // namespace

ClimbedLadder climb(Lab& lab, Ladder ladder, const ClimbOptions& options,
                    const std::function<void(const LadderStep&)>& begins) {
  ClimbedLadder climbed;
  for (const LadderStep& step : lab.steps(ladder)) {
    if (options.version && step.number != *options.version) continue;
    if (begins) begins(step);
    climbed.versions.push_back(
        {step, checked([&] { return check_ladder_version(lab, ladder, step.number); })});
  }
  const LabDevice* device = lab.device();
  if (device == nullptr || climbed.versions.empty()) return climbed;
  for (NamedProblem& named : ladder_timed_problems(ladder)) {
    const double arithmetic = named.problem.flops() / device->flops_per_second(),
                 memory = named.problem.bytes() / device->bytes_per_second();
    const bool by_arithmetic = arithmetic > memory;
    ClimbedProblem climbing{.named = std::move(named),
                            .floor_seconds = by_arithmetic ? arithmetic : memory,
                            .bound = by_arithmetic ? "arithmetic" : "memory"};
    const LadderProblem& problem = climbing.named.problem;
    const LadderOperands operands = ladder_operands(problem, options.seed + 1);
    if (const std::string library = lab.library(ladder); !library.empty())
      climbing.library = time_version(lab, problem, operands, {0, library, ""}, options);
    for (const ClimbedVersion& version : climbed.versions) {
      if (!version.check.passed()) continue;
      if (begins) begins(version.step);
      climbing.times.push_back(time_version(lab, problem, operands, version.step, options));
    }
    climbed.problems.push_back(std::move(climbing));
  }
  return climbed;
}

}  // namespace caltrop
