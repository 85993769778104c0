// The coefficients under GELU and erf, one list for the CPU's vectors (math-inl.h) and for CUDA's threads
// (gpu_math.cuh). Macros, because device code may read a constant array only where it is local.
//
// R(t) = exp(t^2) erfc(t), t >= 0, is smooth and positive: a polynomial of degree 10 in (t - 3) / (t + 3),
// fitted for least relative error on [0, 10.2] (1.4e-9 before rounding to fp32). Lowest power first.
#pragma once

#define CALTROP_SCALED_ERFC                                                                              \
  0.179001153f, -0.326233566f, 0.2456038f, -0.150115788f, 0.0716658607f, -0.0243942309f, 0.00426887581f, \
      0.000715730479f, -0.00059456937f, 2.88811789e-05f, 5.59163564e-05f

// erf(x) = x + x S(x^2) for |x| < 1.
#define CALTROP_ERF_NEAR_ZERO \
  0.128379166f, -0.37612626f, 0.112835854f, -0.026853811f, 0.00518832775f, -0.000801019254f, 7.85385782e-05f
