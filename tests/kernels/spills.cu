// Kernels that scripts/check_ptxas.sh must reject: one that holds more values than it has registers, and one
// that indexes an array of its own at run time in a function that is not inlined.

__global__ void __launch_bounds__(1024) spills(float* x) {
  float value[120];
#pragma unroll
  for (int i = 0; i < 120; ++i) value[i] = x[i * 1024 + threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 120; ++i) x[i * 1024 + threadIdx.x] = value[i] * value[119 - i];
}

__device__ __noinline__ float pick(const float* x, int k) {
  float value[8];
  for (int i = 0; i < 8; ++i) value[i] = x[i];
  value[k] = 1.0f;
  return value[(k * 3) % 8];
}
__global__ void calls(float* x, int k) {
  x[k] = pick(x, k);
}
