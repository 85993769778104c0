// Host entry points of the small kernels in kernels.cu; all pointers are device memory.
#pragma once

#include "kernels/gpu_runtime.h"

namespace caltrop::CALTROP_WORLD {

void scale(Stream& stream, float factor, const float* x, float* y, int64_t count);
void block_sums(Stream& stream, const float* x, float* y, int64_t count);  // y[3]
void histogram(Stream& stream, const int32_t* x, unsigned* bins, int count, int64_t total);
void compact_odd(Stream& stream, const int32_t* x, int32_t* y, int* kept);      // 128 values
void async_reverse(Stream& stream, const float* x, float* y, bool wait);        // 2 x 256 values
void reverse(Stream& stream, const float* x, float* y, bool barrier);           // 2 x 48 values
void copy_vectors(Stream& stream, const float* x, float* y);                    // 32 values
void warp_reverse(Stream& stream, const float* x, float* y, bool synchronize);  // 2 x 32 values
void overrun(Stream& stream, float* y, unsigned past);                          // 32 values

enum class MmaTest : int { tf32, half, bfloat16 };
void multiply(Stream& stream, MmaTest kind, const float* a, const float* b, float* c);  // 16x8(16), 8(16)x8

enum class Wrong : int { divergent_barrier, early_return, deadlock, bad_mask, absent_lane };
void wrong(Stream& stream, Wrong how, float* y);  // 32 values

}  // namespace caltrop::CALTROP_WORLD
