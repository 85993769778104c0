// Convolution and its adjoints by cuDNN, for --conv cudnn. Of its algorithms the first in its own ranking that
// is deterministic is taken; where there is none our own kernels compute the shape. Which one that is may depend on the number of images: unlike the kernels of this
// program, cuDNN does not promise an image the same bits in every batch.

#include "kernels/conv2d_paths.cuh"
#ifdef CALTROP_CUDNN_LIBRARY
#include <array>
#include <map>
#include <memory>
#include <tuple>

#include "kernels/cudnn.h"
#include "kernels/devices.h"
#include "kernels/error.h"
#endif

namespace caltrop::CALTROP_WORLD {

#ifdef CALTROP_CUDNN_LIBRARY
namespace {

enum class Direction : uint8_t { forward, input, weight };

struct Plan {
  explicit Plan(const Conv2d& shape) : shapes(shape) {}
  CudnnConvolution shapes;
  int algorithm = 0;  // of the direction's own enumeration
  size_t workspace = 0;
  bool fits = false;  // whether a deterministic algorithm does
};

template <typename Ranking, size_t kCount>
void take_deterministic(const std::array<Ranking, kCount>& ranked, int count, Plan& plan) {
  for (int i = 0; i < count; ++i) {
    const Ranking& one = ranked[static_cast<size_t>(i)];
    if (one.status != CUDNN_STATUS_SUCCESS || one.determinism != CUDNN_DETERMINISTIC) continue;
    plan.algorithm = static_cast<int>(one.algo);
    plan.workspace = one.memory;
    plan.fits = true;
    return;
  }
}

constexpr int kRanked = 12;  // more than there are algorithms

std::unique_ptr<Plan> make_plan(Direction direction, const Conv2d& s, cudnnHandle_t handle) {
  auto plan = std::make_unique<Plan>(s);
  const CudnnConvolution& c = plan->shapes;
  int count = 0;
  if (direction == Direction::forward) {
    std::array<cudnnConvolutionFwdAlgoPerf_t, kRanked> ranked;
    CALTROP_CALL(cudnn(), cudnnGetConvolutionForwardAlgorithm_v7, handle, c.x, c.filter, c.convolution, c.y,
                 kRanked, &count, ranked.data());
    take_deterministic(ranked, count, *plan);
  } else if (direction == Direction::input) {
    std::array<cudnnConvolutionBwdDataAlgoPerf_t, kRanked> ranked;
    CALTROP_CALL(cudnn(), cudnnGetConvolutionBackwardDataAlgorithm_v7, handle, c.filter, c.y, c.convolution,
                 c.x, kRanked, &count, ranked.data());
    take_deterministic(ranked, count, *plan);
  } else {
    std::array<cudnnConvolutionBwdFilterAlgoPerf_t, kRanked> ranked;
    CALTROP_CALL(cudnn(), cudnnGetConvolutionBackwardFilterAlgorithm_v7, handle, c.x, c.y, c.convolution,
                 c.filter, kRanked, &count, ranked.data());
    take_deterministic(ranked, count, *plan);
  }
  return plan;
}

const CudnnHandle& handle() {
  static const auto* one = new CudnnHandle;  // never destroyed: the driver may be gone before it
  return *one;
}

const Plan& plan_of(Direction direction, const Conv2d& s, cudnnHandle_t on) {
  using Key = std::tuple<Direction, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                         int64_t, int64_t, int64_t>;
  static auto* plans = new std::map<Key, std::unique_ptr<Plan>>;
  const Key key{direction, s.n,  s.h,        s.w,        s.cin,   s.cout,
                s.kh,      s.kw, s.stride_h, s.stride_w, s.pad_h, s.pad_w};
  std::unique_ptr<Plan>& plan = (*plans)[key];
  if (!plan) plan = make_plan(direction, s, on);
  return *plan;
}

constexpr float kOne = 1.0f, kZero = 0.0f;
constexpr int kTransposed[] = {1, 0};

// The filter as cuDNN wants it: (kh,kw,cin,cout) as a matrix of two axes, transposed.
class Filter {
 public:
  Filter(GpuBackend& backend, const Conv2d& s, const float* w)
      : transposed_(backend.stream(), s.kh * s.kw * s.cin * s.cout) {
    backend.permute(Dims{2, {s.kh * s.kw * s.cin, s.cout}}, kTransposed, w, transposed_.data());
  }
  const float* data() const { return transposed_.data(); }

 private:
  Scratch<float> transposed_;
};

// call(handle, plan, workspace) where cuDNN was asked for and has an algorithm. Whether it was.
template <typename Call>
bool by_cudnn(GpuBackend& backend, Direction direction, const Conv2d& s, const Call& call) {
  if (cuda_convolutions() != Convolutions::cudnn || s.n == 0) return false;
  const cudnnHandle_t on = handle().on(backend.stream());
  const Plan& plan = plan_of(direction, s, on);
  if (!plan.fits) return false;
  const Scratch<char> workspace(backend.stream(), static_cast<int64_t>(plan.workspace));
  call(on, plan, workspace.data());
  return true;
}

}  // namespace

bool conv2d_cudnn(GpuBackend& backend, const Conv2d& s, const float* x, const float* w, float* y) {
  return by_cudnn(backend, Direction::forward, s, [&](cudnnHandle_t on, const Plan& plan, void* workspace) {
    const Filter filter(backend, s, w);
    CALTROP_CALL(cudnn(), cudnnConvolutionForward, on, &kOne, plan.shapes.x, x, plan.shapes.filter,
                 filter.data(), plan.shapes.convolution,
                 static_cast<cudnnConvolutionFwdAlgo_t>(plan.algorithm), workspace, plan.workspace, &kZero,
                 plan.shapes.y, y);
  });
}

bool conv2d_dinput_cudnn(GpuBackend& backend, const Conv2d& s, const float* g, const float* w, float* dx) {
  return by_cudnn(backend, Direction::input, s, [&](cudnnHandle_t on, const Plan& plan, void* workspace) {
    const Filter filter(backend, s, w);
    CALTROP_CALL(cudnn(), cudnnConvolutionBackwardData, on, &kOne, plan.shapes.filter, filter.data(),
                 plan.shapes.y, g, plan.shapes.convolution,
                 static_cast<cudnnConvolutionBwdDataAlgo_t>(plan.algorithm), workspace, plan.workspace,
                 &kZero, plan.shapes.x, dx);
  });
}

bool conv2d_dweight_cudnn(GpuBackend& backend, const Conv2d& s, const float* x, const float* g, float* dw) {
  return by_cudnn(backend, Direction::weight, s, [&](cudnnHandle_t on, const Plan& plan, void* workspace) {
    const int64_t terms = s.kh * s.kw * s.cin;
    const Scratch<float> transposed(backend.stream(), terms * s.cout);
    CALTROP_CALL(cudnn(), cudnnConvolutionBackwardFilter, on, &kOne, plan.shapes.x, x, plan.shapes.y, g,
                 plan.shapes.convolution, static_cast<cudnnConvolutionBwdFilterAlgo_t>(plan.algorithm),
                 workspace, plan.workspace, &kZero, plan.shapes.filter, transposed.data());
    backend.permute(Dims{2, {s.cout, terms}}, kTransposed, transposed.data(), dw);
  });
}

#else

bool conv2d_cudnn(GpuBackend&, const Conv2d&, const float*, const float*, float*) {
  return false;
}
bool conv2d_dinput_cudnn(GpuBackend&, const Conv2d&, const float*, const float*, float*) {
  return false;
}
bool conv2d_dweight_cudnn(GpuBackend&, const Conv2d&, const float*, const float*, float*) {
  return false;
}

#endif

}  // namespace caltrop::CALTROP_WORLD
