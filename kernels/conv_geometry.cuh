// What the convolution kernels share: division by a number that is known at launch, and where the terms of a
// convolution stand.
#pragma once

#include "kernels/backend.h"
#include "kernels/gpu.cuh"

namespace caltrop::CALTROP_WORLD {

// n / d for 0 <= n < 2^31 by one multiplication (Granlund and Montgomery, "Division by Invariant Integers
// using Multiplication", 1994): n / d = (n + high half of n m) >> s, with s = ceil(log2 d) and
// m = floor(2^32 (2^s - d) / d) + 1.
class FastDivide {
 public:
  FastDivide() = default;
  explicit FastDivide(int64_t d) : divisor_(d < 1 ? 1 : static_cast<uint32_t>(d)) {
    while ((uint64_t{1} << shift_) < divisor_) ++shift_;
    factor_ = static_cast<uint32_t>((((uint64_t{1} << shift_) - divisor_) << 32) / divisor_ + 1);
  }
  __device__ uint32_t quotient(uint32_t n) const { return (n + __umulhi(n, factor_)) >> shift_; }
  __device__ uint32_t rest(uint32_t n, uint32_t quotient) const { return n - quotient * divisor_; }

 private:
  uint32_t divisor_ = 1, factor_ = 1, shift_ = 0;
};

// A Conv2d with the divisions that its kernels need.
struct ConvShape {
  int h, w, cin, cout, kh, kw, stride_h, stride_w, pad_h, pad_w, out_h, out_w;
  int64_t n;
  explicit ConvShape(const Conv2d& s)
      : h(static_cast<int>(s.h)),
        w(static_cast<int>(s.w)),
        cin(static_cast<int>(s.cin)),
        cout(static_cast<int>(s.cout)),
        kh(static_cast<int>(s.kh)),
        kw(static_cast<int>(s.kw)),
        stride_h(static_cast<int>(s.stride_h)),
        stride_w(static_cast<int>(s.stride_w)),
        pad_h(static_cast<int>(s.pad_h)),
        pad_w(static_cast<int>(s.pad_w)),
        out_h(static_cast<int>(s.out_h())),
        out_w(static_cast<int>(s.out_w())),
        n(s.n) {}
};

}  // namespace caltrop::CALTROP_WORLD
