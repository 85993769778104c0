// The kernel ladders as the rest of the program sees them: no CUDA name, one interface over a GPU and over
// the emulation. `caltrop bench kernels` and the tests work through it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace caltrop {

enum class Ladder : uint8_t { matmul, conv2d, softmax };

struct LadderStep {
  int number;
  std::string technique, why;
};

// An op with its sizes. It has two operands (softmax one) and one result.
struct LadderProblem {
  Ladder ladder = Ladder::matmul;
  int64_t m = 0, n = 0, k = 0;  // of matmul; softmax has m rows of n logits
  Conv2d conv{};

  int64_t left_count() const;    // a, x
  int64_t right_count() const;   // b, w; 0 for softmax
  int64_t result_count() const;  // c, y
  double flops() const;          // a multiply-add is two; 0 for softmax, which is all memory
  double bytes() const;          // each operand read once, the result written once
  std::string text() const;      // "2048 x 2048 x 2048"
};

struct LadderOperands {
  std::vector<float> left, right;
};

// What a GPU says of itself, and the ceilings that follow from it: multiprocessors x fp32 lanes x 2 x clock,
// and bus width x 2 x memory clock.
struct LabDevice {
  std::string name, capability, driver, runtime;
  int multiprocessors = 0, lanes = 0;  // fp32 lanes of one multiprocessor
  double clock_hz = 0, memory_clock_hz = 0;
  int bus_bits = 0;
  int64_t l2_bytes = 0;
  double flops_per_second() const { return 2.0 * multiprocessors * lanes * clock_hz; }
  double bytes_per_second() const { return 2.0 * memory_clock_hz * bus_bits / 8; }
};

// A device with room for operands. `version` 0 is the vendor's library, where one was built in.
class Lab {
 public:
  virtual ~Lab() = default;

  virtual std::string name() const = 0;           // "cuda", "emulated"
  virtual const LabDevice* device() const = 0;    // null in the emulation, which has no speed
  virtual std::string library(Ladder) const = 0;  // "cuBLAS 13.0"; "" without one
  virtual std::vector<LadderStep> steps(Ladder ladder) const = 0;

  // The result of one run. Operands and result begin `shift` floats after an aligned address; the result is
  // NaN before the run and stands between guards, and a run that touches those is an Error.
  virtual std::vector<float> run(const LadderProblem& problem, int version, const LadderOperands& operands,
                                 int64_t shift) = 0;

  // Seconds of one launch, `samples` times, after at least `warm_ups`. Launches take turns over copies of the
  // operands and of the result that together are three times the size of the L2 cache, so that each finds it
  // cold. A sample is as many launches as take a fifth of a millisecond. An Error in the emulation.
  struct Timing {
    std::vector<double> seconds;
    int64_t copies = 0, launches = 0;  // of the operands; in one sample
  };
  virtual Timing time(const LadderProblem& problem, int version, const LadderOperands& operands, int warm_ups,
                      int samples) = 0;
};

// Null where the program was built without CUDA or finds no device: see cuda_state().
std::unique_ptr<Lab> cuda_lab();
// The kernels as C++ on the CPU, in every build.
std::unique_ptr<Lab> emulated_lab();

}  // namespace caltrop
