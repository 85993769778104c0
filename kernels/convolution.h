// The convolution of whole images on the CPU, by the way that suits their shape: what conv2d and deep blocks share.
#pragma once

#include "kernels/cpu_backend.h"

namespace caltrop {

class Convolution {
 public:
  // w (kh,kw,cin,cout) is read here or in run(). Results do not depend on how images are grouped.
  Convolution(CpuBackend& backend, const Conv2d& shape, const float* w);

  int64_t together() const { return together_; }  // images that a task does best to take
  // y (count,out_h,out_w,cout) of `count` images from x on, whose residual the epilogue begins with. Runs on this thread.
  void run(int64_t count, const float* x, float* y, const ConvEpilogue& epilogue) const;

 private:
  CpuBackend& backend_;
  Conv2d shape_;
  const float* w_;
  bool winograd_;
  int64_t together_;
  Scratch filters_;  // transformed
};

}  // namespace caltrop
