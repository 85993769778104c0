// The second stage of reductions that many blocks share: y = epilogue(sum of the parts, in order).
#pragma once

#include "kernels/backend.h"
#include "kernels/gpu_math.cuh"
#include "kernels/gpu_runtime.h"

namespace caltrop::CALTROP_WORLD {

inline __device__ bool has_effect(const Epilogue& epilogue) {
  return epilogue.bias || epilogue.activation != Activation::none;
}

// The value that an epilogue makes of a sum in `column`.
__device__ inline float finished(const Epilogue& epilogue, float sum, int64_t column) {
  if (epilogue.bias) sum += epilogue.bias[column];
  if (epilogue.activation == Activation::relu) return sum < 0.0f ? 0.0f : sum;  // NaN stays
  if (epilogue.activation == Activation::gelu) return gelu_of(sum);
  return sum;
}

// partial (parts, count), y (count); a row of y has `columns` elements. At least one part.
void add_partial_sums(Stream& stream, const char* op, int64_t parts, int64_t count, int64_t columns,
                      const float* partial, const Epilogue& epilogue, float* y);

}  // namespace caltrop::CALTROP_WORLD
