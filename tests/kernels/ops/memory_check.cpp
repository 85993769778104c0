// Memory, for_each, capture, chunk and fill.

#include <atomic>
#include <stdexcept>

#include "tests/kernels/checks.h"

namespace caltrop::test {

Report check_memory(Backend& backend) {
  Report report;
  struct Block {
    void* at;
    std::vector<uint8_t> bytes;
  };
  // Twice, so that the second round reuses what the first gave back.
  for (int round = 0; round < 2; ++round) {
    std::vector<Block> blocks;
    for (const size_t bytes : {0, 1, 3, 63, 64, 65, 100, 1000, 1024, 4097, 100000}) {
      Block block{backend.allocate(bytes), std::vector<uint8_t>(bytes)};
      report.expect(block.at != nullptr && reinterpret_cast<uintptr_t>(block.at) % 64 == 0,
                    "allocate: alignment");
      for (size_t i = 0; i < bytes; ++i) block.bytes[i] = static_cast<uint8_t>(i * 7 + bytes + blocks.size());
      backend.upload(block.at, block.bytes.data(), bytes);
      blocks.push_back(std::move(block));
    }
    // All are live at once: had any two overlapped, one would have lost its bytes.
    for (const Block& block : blocks) {
      std::vector<uint8_t> back(block.bytes.size());
      backend.download(back.data(), block.at, back.size());
      report.equal("upload and download", back, block.bytes);
      void* other = backend.allocate(back.size());
      backend.copy(other, block.at, back.size());
      std::vector<uint8_t> copied(back.size());
      backend.download(copied.data(), other, copied.size());
      report.equal("copy", copied, block.bytes);
      backend.deallocate(other, back.size());
    }
    for (const Block& block : blocks) backend.deallocate(block.at, block.bytes.size());
  }
  return report;
}

Report check_for_each(Backend& backend) {
  Report report;
  for (const int64_t count : {0, 1, 2, 3, 17, 1000}) {
    std::vector<std::atomic<int>> visits(static_cast<size_t>(count));
    backend.for_each(count, [&](int64_t i) { visits.at(static_cast<size_t>(i)).fetch_add(1); });
    bool once = true;
    for (const auto& n : visits) once = once && n.load() == 1;
    report.expect(once, fmt::format("for_each({}): not every index once", count));
  }
  // Ops inside a body, each on memory of its own.
  constexpr int64_t kParts = 9, kSize = 1000;
  Samples samples(11);
  const std::vector<float> values = samples.floats(kParts * kSize);
  const Input<float> x(backend, values);
  const Output<float> y(backend, kParts * kSize);
  backend.for_each(kParts, [&](int64_t part) {
    backend.unary(Unary::neg, x + part * kSize, y.data() + part * kSize, kSize);
  });
  Values expected = reference::widen(values);
  for (double& v : expected) v = -v;
  report.compare("for_each(unary)", y.take(report, "for_each"), expected, 0.0);

  bool thrown = false;
  try {
    backend.for_each(8, [](int64_t i) {
      if (i == 5) throw std::runtime_error("five");
    });
  } catch (const std::runtime_error& error) {
    thrown = std::string(error.what()) == "five";
  }
  report.expect(thrown, "for_each: an exception of a body does not reach the caller");
  return report;
}

Report check_capture(Backend& backend) {
  Report report;
  constexpr int64_t kSize = 1000;
  Samples samples(12);
  const std::vector<float> values = samples.floats(kSize), start = samples.floats(kSize);
  const Input<float> x(backend, values);
  const Output<float> y(backend, start);
  // y = -(x + y), by way of working memory.
  const auto body = [&] {
    float* sum = static_cast<float*>(backend.allocate(kSize * sizeof(float)));
    const Dims dims{1, {kSize}};
    backend.binary(Binary::add, dims, {x, {1}}, {y.data(), {1}}, sum);
    backend.unary(Unary::neg, sum, y.data(), kSize);
    backend.deallocate(sum, kSize * sizeof(float));
  };
  Values expected = reference::widen(start);
  const auto advance = [&] {
    for (size_t i = 0; i < values.size(); ++i)
      expected[i] = static_cast<double>(-(values[i] + static_cast<float>(expected[i])));
  };
  const std::unique_ptr<Replay> replay = backend.capture(body);
  report.compare("capture: runs nothing", y.take(report, "capture"), expected, 0.0);
  for (int run = 0; run < 3; ++run) {
    replay->run();
    advance();
    report.compare(fmt::format("replay {}", run), y.take(report, "replay"), expected, 0.0);
    // Ordinary work between replays must not meet their memory.
    const Output<float> other(backend, kSize);
    backend.fill(7.0f, other.data(), kSize);
    other.take(report, "between replays");
  }
  return report;
}

Report check_chunk(Backend& backend) {
  Report report;
  for (const int64_t floats : {1, 784, 21632, 1 << 20, 1 << 30}) {
    for (const int64_t weights : {0, 1, 542230, 1 << 30}) {
      const int64_t images = backend.chunk(floats, weights);
      report.expect(images >= 1, fmt::format("chunk({}, {}) is {}", floats, weights, images));
    }
  }
  report.equal("chunk", std::vector<bool>{backend.chunk(1, 1) >= backend.chunk(1 << 20, 1)}, {true});
  return report;
}

Report check_fill(Backend& backend) {
  Report report;
  for (const float value : {0.0f, -0.0f, 3.25f, -1e-40f, HUGE_VALF}) {
    for (const int64_t count : {0, 1, 7, 16, 64, 1001}) {
      const Output<float> y(backend, count);
      backend.fill(value, y.data(), count);
      bool same = true;
      for (const float v : y.take(report, "fill")) same = same && same_bits(v, value);
      report.expect(same, fmt::format("fill({}, {} values)", value, count));
    }
  }
  return report;
}

}  // namespace caltrop::test
