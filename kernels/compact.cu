// Compaction, permutation and top-k over Thrust: a scan and a scatter, and stable radix sorts. Under nvcc on
// the stream of the caller, with working memory from its cache and without waiting; under the host compiler
// Thrust's system for plain C++ (THRUST_DEVICE_SYSTEM_CPP) does the same on the emulated device's memory.

#include <thrust/for_each.h>
#include <thrust/functional.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/scan.h>
#include <thrust/sequence.h>
#include <thrust/sort.h>
#include <thrust/transform.h>
#include <thrust/transform_scan.h>
#ifdef __CUDACC__
#include <thrust/system/cuda/execution_policy.h>
#else
#include <thrust/system/cpp/execution_policy.h>
// Where CUDA's headers lie on the include path, Thrust takes these names from them; the emulation has its
// own.
#undef __align__
#undef __constant__
#undef __device__
#undef __forceinline__
#undef __global__
#undef __grid_constant__
#undef __host__
#undef __launch_bounds__
#undef __managed__
#undef __shared__
#endif

#include "kernels/compact.cuh"
#include "kernels/philox.h"
#ifndef __CUDACC__
#include "kernels/emulation/memory.h"
#endif

namespace caltrop::CALTROP_WORLD {
namespace {

namespace thrust = THRUST_NS_QUALIFIER;

#ifdef __CUDACC__

// Working memory of Thrust's algorithms.
class Memory {
 public:
  using value_type = char;
  explicit Memory(Stream& stream) : stream_(&stream) {}
  char* allocate(std::ptrdiff_t bytes) {
    return static_cast<char*>(stream_->allocate(static_cast<size_t>(bytes)));
  }
  void deallocate(char* block, size_t bytes) { stream_->deallocate(block, bytes); }

 private:
  Stream* stream_;
};

// Calls body(policy) with what tells Thrust where to run.
template <typename Body>
void run(Stream& stream, const char* op, const Body& body) {
  const Stream::Op named(stream, op);
  Memory memory(stream);
  body(thrust::cuda::par_nosync(memory).on(native_stream(stream)));
}

#else

template <typename Body>
void run(Stream& stream, const char* op, const Body& body) {
  const Stream::Op named(stream, op);
  stream.synchronize();
  const DeviceWork work;
  body(thrust::cpp::par);
}

#endif

struct IsKept {
  __host__ __device__ int64_t operator()(uint8_t keep) const { return keep != 0; }
};

struct WriteKept {
  const uint8_t* keep;
  const int64_t* place;
  int64_t count;
  int64_t *index, *kept;
  __host__ __device__ void operator()(int64_t i) const {
    const bool stays = keep[i] != 0;
    if (stays) index[place[i]] = i;
    if (i == count - 1) *kept = place[i] + stays;
  }
};

struct PhiloxKey {
  uint64_t seed, number;
  __host__ __device__ uint64_t operator()(int64_t i) const {
    const Philox4 four = philox4x32(seed, number, static_cast<uint64_t>(i));
    return static_cast<uint64_t>(four.word[1]) << 32 | four.word[0];
  }
};

// The bits of a float, turned so that a larger value has a smaller key: radix sorts go upwards. As wide as
// the other keys, so that one sort is compiled.
struct DescendingKey {
  __host__ __device__ uint64_t operator()(float value) const {
    union {
      float number;
      uint32_t bits;
    } both{value};
    if (value != value) return 0;
    if (value == 0.0f) both.bits = 0;  // -0 is as large as 0
    return both.bits >> 31 ? both.bits : 0x7FFFFFFFu - both.bits;
  }
};

}  // namespace

void compact(Stream& stream, const uint8_t* keep, int64_t count, int64_t* index, int64_t* kept) {
  if (count == 0) return stream.fill_bytes(kept, 0, sizeof(int64_t));
  const Scratch<int64_t> place(stream, count);
  run(stream, "compact", [&](const auto& policy) {
    thrust::transform_exclusive_scan(policy, keep, keep + count, place.data(), IsKept{}, int64_t{0},
                                     thrust::plus<int64_t>());
    const thrust::counting_iterator<int64_t> first(0);
    thrust::for_each(policy, first, first + count, WriteKept{keep, place.data(), count, index, kept});
  });
}

void permutation(Stream& stream, uint64_t seed, uint64_t number, int64_t count, int64_t* order) {
  if (count == 0) return;
  const Scratch<uint64_t> keys(stream, count);
  run(stream, "permutation", [&](const auto& policy) {
    const thrust::counting_iterator<int64_t> first(0);
    thrust::transform(policy, first, first + count, keys.data(), PhiloxKey{seed, number});
    thrust::sequence(policy, order, order + count);
    // Stable, so that two equal keys leave one answer.
    thrust::stable_sort_by_key(policy, keys.data(), keys.data() + count, order);
  });
}

void top_k(Stream& stream, const float* x, int64_t count, int64_t k, int64_t* index) {
  if (k == 0) return;
  const Scratch<uint64_t> keys(stream, count);
  const Scratch<int64_t> order(stream, count);
  run(stream, "top_k", [&](const auto& policy) {
    thrust::transform(policy, x, x + count, keys.data(), DescendingKey{});
    thrust::sequence(policy, order.data(), order.data() + count);
    thrust::stable_sort_by_key(policy, keys.data(), keys.data() + count, order.data());
  });
  stream.copy(index, order.data(), static_cast<size_t>(k) * sizeof(int64_t));
}

}  // namespace caltrop::CALTROP_WORLD
