// The coefficients under GELU and erf, one list for the CPU's vectors (math-inl.h) and for CUDA's threads
// (gpu_math.cuh). Macros, because device code may read a constant array only where it is local.
//
// R(t) = exp(t^2) erfc(t), t >= 0, is smooth and positive: a polynomial of degree 9 in (t - c) / (t + c),
// fitted for least relative error on [0, 10.97] (9.6e-9 before rounding to fp32). Lowest power first. Below c
// the fraction's terms lie between 2 and 4 for x = t sqrt 2, which keeps what rounding costs near 0 small.
#pragma once

#define CALTROP_SCALED_ERFC_CENTER 2.1f
#define CALTROP_SCALED_ERFC                                                                                \
  0.245119125f, -0.41529119f, 0.245742232f, -0.090172559f, 0.0107305069f, 0.00609600078f, -0.00179322914f, \
      -0.000738105969f, 0.000205195654f, 0.000109689601f

// 2^f for |f| <= 1/2, relative error 1.9e-9 before rounding; exact at 0.
#define CALTROP_EXP2 \
  1.0f, 0.693147206f, 0.240226469f, 0.0555032878f, 0.00961848896f, 0.00133999312f, 0.000153458120f

// erf(x) = x + x S(x^2) for |x| < 1.
#define CALTROP_ERF_NEAR_ZERO \
  0.128379166f, -0.37612626f, 0.112835854f, -0.026853811f, 0.00518832775f, -0.000801019254f, 7.85385782e-05f
