// 16-bit floats in kernels. A header of its own, since CUDA's cost compile time.
#pragma once

#include "kernels/gpu.cuh"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#else
#include "kernels/emulation/half.h"
#endif
