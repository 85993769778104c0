// Streams, events, graphs and device memory, in one interface with two bodies: gpu_runtime.cu over the CUDA
// runtime and emulation/stream.cpp, which queues work and runs it as late as the interface allows, so that a
// missing wait shows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>

#include "kernels/gpu.cuh"

namespace caltrop::CALTROP_WORLD {

class Event;
class Graph;

// "NVIDIA H200, 139.8 GiB, compute capability 9.0"
std::string describe_device(int device);

// Work in order on one device, and the memory of that work. A freed block may be handed out again at once:
// whatever reads it was queued before whatever will write it.
class Stream {
 public:
  explicit Stream(int device = 0);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Blocks are aligned to 256 bytes and not initialised. Out of memory is an Error that says how much was
  // asked for and what is free, after the cache was given back and the request tried again.
  void* allocate(size_t bytes);
  void deallocate(void* block, size_t bytes) noexcept;

  void upload(void* device, const void* host, size_t bytes);    // host may be reused on return
  void download(void* host, const void* device, size_t bytes);  // waits
  void copy(void* to, const void* from, size_t bytes);
  void fill_bytes(void* to, uint8_t value, size_t bytes);

  void record(Event& event);
  void wait(const Event& event);  // later work of this stream runs after it
  void synchronize();

  // Between begin and end work is noted instead of run. upload() keeps the values of now; download(),
  // synchronize() and events are errors.
  void begin_capture();
  Graph end_capture();
  void launch(const Graph& graph);

  // The op on whose behalf work is queued: in error messages and on profiler timelines.
  class Op {
   public:
    Op(Stream& stream, const char* name);
    ~Op();
    Op(const Op&) = delete;
    Op& operator=(const Op&) = delete;

   private:
    Stream& stream_;
    const char* outer_;
  };

  struct Body;
  Body& body() { return *body_; }

 private:
  std::unique_ptr<Body> body_;
};

// A point in a stream.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void synchronize() const;  // waits until the work before it is done
  // Milliseconds from `start` to this event, both done. The emulation measures the time it took.
  double elapsed_ms(const Event& start) const;

  struct Body;
  Body& body() const { return *body_; }

 private:
  std::unique_ptr<Body> body_;
};

// Captured work, to be launched any number of times. Blocks that were allocated or freed during the capture
// stay reserved for the graph while it lives; blocks from before are the caller's to keep.
class Graph {
 public:
  struct Body;
  explicit Graph(std::shared_ptr<Body> body);
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;
  ~Graph();
  size_t nodes() const;  // kernels, copies and fills
  const std::shared_ptr<Body>& shared_body() const { return body_; }

 private:
  std::shared_ptr<Body> body_;
};

// Working memory of one op on the device. Its destruction is safe while work is queued: see Stream.
template <typename T>
class Scratch {
 public:
  Scratch(Stream& stream, int64_t count)
      : stream_(stream), bytes_(static_cast<size_t>(count) * sizeof(T)), block_(stream.allocate(bytes_)) {}
  ~Scratch() { stream_.deallocate(block_, bytes_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* data() const { return static_cast<T*>(block_); }

 private:
  Stream& stream_;
  size_t bytes_;
  void* block_;
};

// A host array that an op reads on the device.
template <typename T>
class Staged {
 public:
  Staged(Stream& stream, const T* values, int64_t count) : memory_(stream, count) {
    stream.upload(memory_.data(), values, static_cast<size_t>(count) * sizeof(T));
  }
  const T* data() const { return memory_.data(); }

 private:
  Scratch<T> memory_;
};

#ifdef __CUDACC__
// For libraries that queue their own work: cuBLAS and cuDNN.
cudaStream_t native_stream(Stream& stream);
#endif

}  // namespace caltrop::CALTROP_WORLD
