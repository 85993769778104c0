// The laboratory of the ladders: operands on the device, one run of a version, and its time. Compiled in both
// worlds.
#include "kernels/ladder/lab.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/error.h"
#include "kernels/ladder/ladder.h"
#ifdef __CUDACC__
#include "kernels/ladder/device.h"
#include "kernels/ladder/library.h"
#endif

namespace caltrop::CALTROP_WORLD::ladder {
namespace {

constexpr int64_t kGuard = 64;  // floats before and after what a kernel may write; a multiple of 256 bytes

float all_ones() {  // a NaN whose bits no arithmetic makes
  float value;
  std::memset(&value, 0xFF, sizeof value);
  return value;
}
bool is_guard(float value) {
  const float guard = all_ones();
  return std::memcmp(&value, &guard, sizeof value) == 0;
}

// An array on the device, `shift` floats after an aligned address, between guards.
class Buffer {
 public:
  Buffer(Stream& stream, int64_t count, int64_t shift)
      : stream_(stream), count_(count), shift_(shift), block_(stream, count + 2 * kGuard + shift) {
    stream.fill_bytes(block_.data(), 0xFF, bytes());
  }
  Buffer(Stream& stream, const std::vector<float>& values, int64_t shift)
      : Buffer(stream, static_cast<int64_t>(values.size()), shift) {
    if (!values.empty()) stream.upload(data(), values.data(), values.size() * sizeof(float));
  }
  float* data() const { return block_.data() + kGuard + shift_; }

  std::vector<float> take() const {
    std::vector<float> all(bytes() / sizeof(float));
    stream_.download(all.data(), block_.data(), bytes());
    const auto begin = all.begin() + kGuard + shift_, end = begin + count_;
    if (!std::all_of(all.begin(), begin, is_guard) || !std::all_of(end, all.end(), is_guard))
      fail("[ladder] the kernel wrote outside of its result");
    return {begin, end};
  }

 private:
  size_t bytes() const { return static_cast<size_t>(count_ + 2 * kGuard + shift_) * sizeof(float); }

  Stream& stream_;
  int64_t count_, shift_;
  Scratch<float> block_;
};

template <class Versions>
auto version_of(const Versions& versions, int number) {
  for (const auto& version : versions)
    if (version.number == number) return version.run;
  fail("[ladder] there is no version {}", number);
}

void run_version(GpuBackend& device, const LadderProblem& p, int version, const float* left,
                 const float* right, float* result) {
  switch (p.ladder) {
    case Ladder::matmul:
      return version_of(matmul_versions(), version)(device, p.m, p.n, p.k, left, right, result);
    case Ladder::conv2d:
      return version_of(conv2d_versions(), version)(device, p.conv, left, right, result);
    case Ladder::softmax:
      return version_of(softmax_versions(), version)(device, p.m, p.n, left, result);
  }
}

template <class Versions>
std::vector<LadderStep> steps_of(const Versions& versions) {
  std::vector<LadderStep> steps;
  for (const auto& version : versions) steps.push_back({version.number, version.technique, version.why});
  return steps;
}

class LabBody final : public Lab {
 public:
#ifdef __CUDACC__
  std::string name() const override {
    return "cuda";
  }
  const LabDevice* device() const override {
    return &device_;
  }
  std::string library(Ladder ladder) const override {
    return library_name(ladder);
  }
#else
  std::string name() const override {
    return "emulated";
  }
  const LabDevice* device() const override {
    return nullptr;
  }
  std::string library(Ladder) const override {
    return "";
  }
#endif

  std::vector<LadderStep> steps(Ladder ladder) const override {
    if (ladder == Ladder::matmul) return steps_of(matmul_versions());
    return ladder == Ladder::conv2d ? steps_of(conv2d_versions()) : steps_of(softmax_versions());
  }

  std::vector<float> run(const LadderProblem& problem, int version, const LadderOperands& operands,
                         int64_t shift) override {
    const Buffer left(stream_, operands.left, shift), right(stream_, operands.right, shift);
    const Buffer result(stream_, problem.result_count(), shift);
    const auto launch = launcher(problem, version, operands);
    launch(left.data(), right.data(), result.data());
    return result.take();
  }

  Timing time(const LadderProblem& problem, int version, const LadderOperands& operands, int warm_ups,
              int samples) override;

 private:
  using Launcher = std::function<void(const float* left, const float* right, float* result)>;
  Launcher launcher(const LadderProblem& problem, int version, const LadderOperands& operands) {
#ifdef __CUDACC__
    if (version == 0) {
      const std::shared_ptr<Library> library(open_library(stream_, problem, operands));
      if (!library) fail("[ladder] no library was built in for this ladder");
      return [library](const float* left, const float* right, float* result) {
        library->run(left, right, result);
      };
    }
#else
    (void)operands;
#endif
    return [this, problem, version](const float* left, const float* right, float* result) {
      run_version(backend_, problem, version, left, right, result);
    };
  }

  GpuBackend backend_{"ladder", 0};
  Stream& stream_ = backend_.stream();
#ifdef __CUDACC__
  LabDevice device_ = lab_device();
#endif
};

#ifdef __CUDACC__
constexpr double kSampleSeconds = 2e-4;
constexpr int64_t kMostLaunches = 256;  // of a sample

Lab::Timing LabBody::time(const LadderProblem& problem, int version, const LadderOperands& operands,
                          int warm_ups, int samples) {
  Timing timing;
  timing.copies = std::clamp<int64_t>(
      static_cast<int64_t>(std::ceil(3.0 * static_cast<double>(device_.l2_bytes) / problem.bytes())), 2,
      1024);
  struct Set {
    Buffer left, right, result;
  };
  std::vector<std::unique_ptr<Set>> sets;
  for (int64_t i = 0; i < timing.copies; ++i) {
    sets.push_back(std::unique_ptr<Set>(new Set{
        {stream_, operands.left, 0}, {stream_, operands.right, 0}, {stream_, problem.result_count(), 0}}));
  }
  const Launcher launch = launcher(problem, version, operands);
  size_t next = 0;
  const auto seconds_of = [&](int64_t launches) {
    Event begin, end;
    stream_.record(begin);
    for (int64_t i = 0; i < launches; ++i, next = (next + 1) % sets.size())
      launch(sets[next]->left.data(), sets[next]->right.data(), sets[next]->result.data());
    stream_.record(end);
    end.synchronize();
    return end.elapsed_ms(begin) * 1e-3;
  };
  // The first launches load the module and wake the clocks; the rest of the warm-ups say how long one takes.
  seconds_of(2);
  const double one = seconds_of(std::max(1, warm_ups)) / std::max(1, warm_ups);
  timing.launches =
      std::clamp<int64_t>(static_cast<int64_t>(std::ceil(kSampleSeconds / one)), 1, kMostLaunches);
  for (int i = 0; i < samples; ++i)
    timing.seconds.push_back(seconds_of(timing.launches) / static_cast<double>(timing.launches));
  return timing;
}
#else
Lab::Timing LabBody::time(const LadderProblem&, int, const LadderOperands&, int, int) {
  fail("[ladder] the emulation has no times: it runs kernels on the CPU, one thread after the other");
}
#endif

}  // namespace

std::unique_ptr<Lab> make_lab() {
  return std::make_unique<LabBody>();
}

}  // namespace caltrop::CALTROP_WORLD::ladder
