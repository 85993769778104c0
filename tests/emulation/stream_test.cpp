// Streams, events, graphs and memory of the emulated device. They run work as late as allowed, so what these
// tests see early or late is what a GPU may show.
#include <doctest/doctest.h>

#include "kernels/emulation/memory.h"
#include "kernels/emulation/sanitizer.h"
#include "tests/emulation/kernels.cuh"
#include "tests/emulation/setup.h"

#ifdef CALTROP_ASAN
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace caltrop::emu {
namespace {

using test::refusal;

#ifdef CALTROP_ASAN
// Whether body ends its process, tried in a child.
bool dies(const std::function<void()>& body) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::freopen("/dev/null", "w", stderr);
    try {
      body();
    } catch (...) {
      _exit(2);  // an Error is not what is asked for
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return !(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 2));
}
#endif

TEST_SUITE("emulation") {
  TEST_CASE("work waits until somebody waits for it") {
    Stream stream, other;
    const Array<float> x(stream, std::vector<float>(8, 1.0f)), y(stream, std::vector<float>(8, 0.0f));
    stream.synchronize();
    scale(stream, 3.0f, x.data(), y.data(), 8);
    std::vector<float> seen(8);
    other.download(seen.data(), y.data(), 8 * sizeof(float));  // another stream, and no event
    CHECK(seen == std::vector<float>(8, 0.0f));
    Event done;
    stream.record(done);
    other.wait(done);
    other.download(seen.data(), y.data(), 8 * sizeof(float));
    CHECK(seen == std::vector<float>(8, 3.0f));
  }

  TEST_CASE("an event is a point in a stream") {
    Stream stream;
    const Array<float> x(stream, std::vector<float>(8, 1.0f)), y(stream, std::vector<float>(8, 0.0f));
    Event before, after;
    CHECK(refusal([&] { (void)after.elapsed_ms(before); }).find("[event]") == 0);
    stream.record(before);
    scale(stream, 2.0f, x.data(), y.data(), 8);
    stream.record(after);
    after.synchronize();
    CHECK(after.elapsed_ms(before) >= 0.0);
    CHECK(y.take()[0] == 2.0f);
  }

  TEST_CASE("an upload has the values of its time") {
    Stream stream;
    std::vector<float> values(100, 1.0f);
    const Array<float> x(stream, 100);
    stream.upload(x.data(), values.data(), 400);
    values.assign(100, 2.0f);
    CHECK(x.take() == std::vector<float>(100, 1.0f));
  }

  TEST_CASE("a graph repeats what was captured") {
    Stream stream;
    const Array<float> x(stream, std::vector<float>{1.0f, 2.0f}), y(stream, std::vector<float>{0.0f, 0.0f});
    float* inside = nullptr;
    stream.begin_capture();
    {
      const Scratch<float> middle(stream, 2);
      inside = middle.data();
      scale(stream, 2.0f, x.data(), middle.data(), 2);
      scale(stream, 5.0f, middle.data(), y.data(), 2);
      stream.copy(x.data(), y.data(), 2 * sizeof(float));
    }
    CHECK(refusal([&] { stream.synchronize(); }).find("while a graph is captured") != std::string::npos);
    {
      const Graph graph = stream.end_capture();
      CHECK(graph.nodes() == 3);
      CHECK(y.take() == std::vector<float>{0.0f, 0.0f});  // capturing runs nothing
      // Memory that the graph uses is nobody else's while it lives.
      const Array<float> next(stream, 2);
      CHECK(next.data() != inside);
      CHECK(device_block(inside).begin == inside);
      stream.launch(graph);
      stream.launch(graph);
      CHECK(y.take() == std::vector<float>{100.0f, 200.0f});
      stream.launch(graph);
    }
    CHECK(y.take() == std::vector<float>{1000.0f, 2000.0f});  // queued before the graph went
    CHECK(device_block(inside).begin != inside);
  }

  TEST_CASE("freed memory is there for queued work, and then gone") {
    Stream stream;
    const size_t before = device_bytes_used();
    const Array<float> y(stream, std::vector<float>(1000, 0.0f));
    {
      const Array<float> x(stream, std::vector<float>(1000, 4.0f));
      scale(stream, 0.5f, x.data(), y.data(), 1000);
    }
    CHECK(y.take() == std::vector<float>(1000, 2.0f));
    stream.synchronize();
    CHECK(device_bytes_used() == before + 4000);
    // A program that never waits does not grow without bound.
    size_t most = 0;
    for (int i = 0; i < 2000; ++i) {
      const Array<float> block(stream, 100000);
      most = std::max(most, device_bytes_used());
    }
    CHECK(most < before + (size_t{128} << 20));
  }

  TEST_CASE("out of memory says how much was asked for and what is free") {
    Stream stream;
    const size_t limit = device_bytes_limit();
    set_device_bytes_limit(device_bytes_used() + (size_t{8} << 20));
    { const Array<float> waits_to_be_freed(stream, 1 << 20); }
    { const Array<float> fits_after_that(stream, 1 << 21); }
    const Stream::Op op(stream, "conv2d");
    CHECK(refusal([&] { const Array<float> large(stream, (1 << 21) + 1); }) ==
          fmt::format(
              "[conv2d] out of device memory: 8388612 bytes (8.0 MiB) were asked for, 8.0 MiB of {:.1f} MiB "
              "are free",
              static_cast<double>(device_bytes_limit()) / 1048576.0));
    set_device_bytes_limit(limit);
  }

#ifdef CALTROP_ASAN
  TEST_CASE("sanitizers stop what touches memory that it must not") {
    Stream stream;
    const Array<float> x(stream, std::vector<float>(32, 1.0f)), y(stream, 32), small(stream, 31);
    stream.synchronize();
    CHECK(!dies([&] { copy_vectors(stream, x.data(), y.data()), stream.synchronize(); }));
    CHECK(dies([&] { copy_vectors(stream, x.data(), small.data()), stream.synchronize(); }));
    // A float4 at an address that only suits a float: UBSan.
    CHECK(dies([&] { copy_vectors(stream, x.data() + 1, y.data()), stream.synchronize(); }));
    CHECK(!dies([&] { overrun(stream, y.data(), 0), stream.synchronize(); }));
    CHECK(dies([&] { overrun(stream, y.data(), 1), stream.synchronize(); }));
    // The host reads device memory.
    volatile float seen = 0.0f;
    CHECK(dies([&] { seen = x.data()[0]; }));
    // A kernel uses a block after it was freed.
    float* gone = nullptr;
    {
      const Array<float> block(stream, 32);
      gone = block.data();
      CHECK(!dies([&] { copy_vectors(stream, block.data(), y.data()), stream.synchronize(); }));
    }
    CHECK(dies([&] { copy_vectors(stream, gone, y.data()), stream.synchronize(); }));
  }
#endif
}

}  // namespace
}  // namespace caltrop::emu
