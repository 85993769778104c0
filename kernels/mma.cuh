// Tensor-core products and asynchronous copies: the only inline PTX of the project, each instruction with an
// emulated body. Instructions and fragment layouts: NVIDIA, "Parallel Thread Execution ISA", sections
// "Matrix Fragments for mma" and "cp.async"; all exist from compute capability 8.0 on.
//
// Fragments of a warp, with g = lane / 4 and t = lane % 4; a pair is two 16-bit values, the first in the low
// half:
//   m16n8k8  (tf32)       a[i] = A[g + 8 (i % 2)][t + 4 (i / 2)]          b[i] = B[t + 4 i][g]
//   m16n8k16 (half, bf16) a[i] = pair A[g + 8 (i % 2)][2 t + 8 (i / 2)]   b[i] = pair B[2 t + 8 i][g]
//   both                  d[i] = D[g + 8 (i / 2)][2 t + i % 2]
#pragma once

#include "kernels/gpu.cuh"

namespace caltrop::CALTROP_WORLD {

#ifndef __CUDACC__
enum class MmaKind : uint8_t { tf32, half, bfloat16 };
void mma_meet(MmaKind kind, float* d, const uint32_t* a, const uint32_t* b, Site site);
void ldmatrix_meet(uint32_t* r, const void* row, Site site);
#define CALTROP_SITE , CALTROP_HERE
#define CALTROP_SITE_ALONE CALTROP_HERE
#else
#define CALTROP_SITE
#define CALTROP_SITE_ALONE
#endif

// The nearest value with 10 bits of mantissa, ties away from zero, as the bits of a float.
__device__ inline uint32_t to_tf32(float value) {
#ifdef __CUDACC__
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
#else
  const uint32_t bits = __float_as_uint(value);
  if ((bits & 0x7F800000u) == 0x7F800000u) return bits;
  return (bits + 0x1000u) & ~0x1FFFu;
#endif
}

// d += A B on 16 x 8 x 8 tf32 values; the sums are fp32.
__device__ inline void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] CALTROP_SITE) {
#ifdef __CUDACC__
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  mma_meet(MmaKind::tf32, d, a, b, site);
#endif
}

// d += A B on 16 x 8 x 16 halves.
__device__ inline void mma_half(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] CALTROP_SITE) {
#ifdef __CUDACC__
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  mma_meet(MmaKind::half, d, a, b, site);
#endif
}

// d += A B on 16 x 8 x 16 bfloat16s.
__device__ inline void mma_bfloat16(float (&d)[4], const uint32_t (&a)[4],
                                    const uint32_t (&b)[2] CALTROP_SITE) {
#ifdef __CUDACC__
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  mma_meet(MmaKind::bfloat16, d, a, b, site);
#endif
}

// Four 8 x 8 matrices of 16-bit values from shared memory: lane 8 i + j gives the address of row j of matrix
// i (16 bytes, aligned), and gets r[i] = pair [g][2 t] of matrix i.
__device__ inline void ldmatrix_x4(uint32_t (&r)[4], const void* row CALTROP_SITE) {
#ifdef __CUDACC__
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
               : "memory");
#else
  ldmatrix_meet(r, row, site);
#endif
}

// Copies 16 bytes from global to shared memory, both aligned to 16, past the registers; of these the first
// `valid` are read and the others become zero. Done after commit and wait, for the thread that copied; a
// barrier then shows it to the others.
__device__ inline void cp_async16(void* to_shared, const void* from, int valid = 16 CALTROP_SITE) {
#ifdef __CUDACC__
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to_shared))),
               "l"(from), "r"(valid)
               : "memory");
#else
  async_copy(to_shared, from, 16, static_cast<size_t>(valid), site);
#endif
}
// The same for 4 bytes; `valid` is 0 or 4.
__device__ inline void cp_async4(void* to_shared, const void* from, int valid = 4 CALTROP_SITE) {
#ifdef __CUDACC__
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to_shared))),
               "l"(from), "r"(valid)
               : "memory");
#else
  async_copy(to_shared, from, 4, static_cast<size_t>(valid), site);
#endif
}
// Copies since the last commit become one group.
__device__ inline void cp_async_commit() {
#ifdef __CUDACC__
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  async_commit();
#endif
}
// Waits until at most kInFlight of this thread's latest groups are unfinished.
template <int kInFlight>
__device__ inline void cp_async_wait(CALTROP_SITE_ALONE) {
#ifdef __CUDACC__
  asm volatile("cp.async.wait_group %0;" ::"n"(kInFlight) : "memory");
#else
  async_wait(kInFlight, site);
#endif
}

#undef CALTROP_SITE
#undef CALTROP_SITE_ALONE

}  // namespace caltrop::CALTROP_WORLD
