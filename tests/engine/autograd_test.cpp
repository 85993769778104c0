// The tape itself: what it records, what it computes, what it leaves alone, and that it lets go of memory.
#include "engine/autograd.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <thread>

#include "engine/error.h"
#include "engine/ops.h"
#include "tests/compare.h"
#include "tests/reference.h"
#include "tests/refusal.h"

namespace caltrop::test {
namespace {

Tensor of(Shape shape, std::initializer_list<float> values) {
  return Tensor::from(cpu_backend(), std::move(shape), values);
}
Tensor leaf(Shape shape, std::initializer_list<float> values) {
  return variable(of(std::move(shape), values));
}
Tensor random(const Shape& shape, uint64_t seed) {
  return Tensor::from(cpu_backend(), shape, reference::Samples(seed).floats(element_count(shape)));
}

// How often each op ran while `body` did.
class Calls {
 public:
  explicit Calls(std::initializer_list<std::string> ops) : ops_(ops) {
    for (const std::string& op : ops_) before_.push_back(op_calls(op));
  }
  int64_t of(const std::string& op) const {
    for (size_t i = 0; i < ops_.size(); ++i) {
      if (ops_[i] == op) return op_calls(op) - before_[i];
    }
    return -1;
  }

 private:
  std::vector<std::string> ops_;
  std::vector<int64_t> before_;
};

TEST_SUITE("engine") {
  TEST_CASE("a gradient is that of the formula, by hand") {
    const Tensor x = leaf({2}, {3.0f, -2.0f}), y = leaf({2}, {0.5f, 4.0f});
    const Tensor f = sum(x * x * y + y);  // df/dx = 2xy, df/dy = x^2 + 1
    const std::vector<Tensor> d = grad({f}, {x, y});
    CHECK(d[0].to_host() == std::vector<float>{3.0f, -16.0f});
    CHECK(d[1].to_host() == std::vector<float>{10.0f, 5.0f});
  }

  TEST_CASE("several outputs add up, each with its own gradient") {
    const Tensor x = leaf({2}, {3.0f, -2.0f});
    const Tensor a = x * 2.0f, b = square(x);
    CHECK(grad({a, b}, {x})[0].to_host() == std::vector<float>{8.0f, -2.0f});
    const Tensor of_b = of({2}, {10.0f, 100.0f});
    CHECK(grad({a, b}, {x}, {.grad_outputs = {of_b, Tensor()}})[0].to_host() ==
          std::vector<float>{26.0f, 196.0f});
    CHECK(grad({a, a}, {x, x})[1].to_host() == std::vector<float>{4.0f, 4.0f});
  }

  TEST_CASE("shared sub-expressions are counted once for each use") {
    const Tensor x = leaf({1}, {3.0f});
    const Tensor shared = square(x);
    const Tensor f = shared * shared + shared;  // x^4 + x^2
    CHECK(grad(f, x).item() == 4.0f * 27.0f + 6.0f);
    // A chain of doublings: 2^40 paths, one visit each.
    Tensor y = x;
    for (int i = 0; i < 40; ++i) y = y + y;
    CHECK(grad(y, x).item() == std::ldexp(1.0f, 40));
  }

  TEST_CASE("the gradient of an intermediate, and of an output itself") {
    const Tensor x = leaf({1}, {2.0f});
    const Tensor y = square(x), z = y * y;
    const std::vector<Tensor> d = grad({z}, {x, y, z});
    CHECK(d[0].item() == 32.0f);
    CHECK(d[1].item() == 8.0f);
    CHECK(d[2].item() == 1.0f);
  }

  TEST_CASE("no path gives zeros") {
    const Tensor x = leaf({2}, {1.0f, 2.0f}), other = leaf({2, 3}, {1, 2, 3, 4, 5, 6});
    CHECK(grad(sum(x), other).to_host() == std::vector<float>(6, 0.0f));
    CHECK(grad(sum(x), other).shape() == Shape{2, 3});
    CHECK(grad(sum(x.detach()), x).to_host() == std::vector<float>(2, 0.0f));
    CHECK(grad(sum(sign(x)), x).to_host() == std::vector<float>(2, 0.0f));  // an op without gradient
  }

  TEST_CASE("ties go where the contract says") {
    const Tensor a = leaf({4}, {1.0f, 2.0f, -0.0f, 0.0f}), b = leaf({4}, {1.0f, 1.0f, 0.0f, 5.0f});
    const std::vector<Tensor> d = grad({maximum(a, b)}, {a, b});
    CHECK(d[0].to_host() == std::vector<float>{1.0f, 1.0f, 1.0f, 0.0f});  // the first
    CHECK(d[1].to_host() == std::vector<float>{0.0f, 0.0f, 0.0f, 1.0f});
    const Tensor zero = leaf({1}, {0.0f});
    CHECK(grad(relu(zero), zero).item() == 0.0f);
    CHECK(grad(abs(zero), zero).item() == 0.0f);
    const Tensor flat = leaf({1, 2, 2, 1}, {3.0f, 3.0f, 3.0f, 3.0f});
    CHECK(grad(maxpool(flat, {2, 2, 2, 2}), flat).to_host() == std::vector<float>{1.0f, 0.0f, 0.0f, 0.0f});
    const Tensor row = leaf({1, 3}, {2.0f, 7.0f, 7.0f});
    CHECK(grad(row_max(row), row).to_host() == std::vector<float>{0.0f, 1.0f, 0.0f});
    // The fused block agrees: the first maximum, and nothing where relu is flat.
    const Tensor one = of({1, 1, 1, 1}, {1.0f}), none = of({1}, {0.0f});
    const ConvBlockOptions block{{}, Activation::relu, 2, 2};
    CHECK(grad(conv_block(flat, one, none, block), flat).to_host() ==
          std::vector<float>{1.0f, 0.0f, 0.0f, 0.0f});
    const Tensor dead = leaf({1, 2, 2, 1}, {-3.0f, 0.0f, -1.0f, 0.0f});
    CHECK(grad(conv_block(dead, one, none, block), dead).to_host() == std::vector<float>(4, 0.0f));
  }

  TEST_CASE("grad changes nothing") {
    const Tensor x = variable(random({4, 5}, 1));
    const Tensor y = sum(tanh(x) * x);
    const std::vector<float> before = x.to_host();
    const std::vector<float> first = grad(y, x).to_host(), second = grad(y, x).to_host();
    CHECK(first == second);  // nothing accumulates, and a graph can be walked again
    CHECK(x.to_host() == before);
    CHECK(x.tracked());
    CHECK(y.tracked());
    CHECK(recording());
  }

  TEST_CASE("a gradient is tracked only where a graph is asked for") {
    const Tensor x = variable(random({3}, 2));
    const Tensor y = sum(x * x * x);
    CHECK(!grad(y, x).tracked());
    const Tensor g = grad(y, x, {.create_graph = true});
    CHECK(g.tracked());
    const Tensor h = grad(sum(g), x);  // 6x
    for (size_t i = 0; i < 3; ++i) CHECK(std::fabs(h.to_host()[i] - 6.0f * x.to_host()[i]) <= 1e-6f);
  }

  TEST_CASE("nothing is recorded without tracked inputs or where recording is off") {
    const Tensor x = variable(random({3}, 3));
    CHECK(!(x.detach() * 2.0f).tracked());
    {
      const NoGrad off;
      CHECK(!recording());
      CHECK(!(x * 2.0f).tracked());
      {
        const Recording on(true);
        CHECK((x * 2.0f).tracked());
      }
      CHECK(!recording());
    }
    CHECK(recording());
    // Another thread has a switch of its own.
    const NoGrad off;
    bool other = false;
    std::thread([&] { other = recording(); }).join();
    CHECK(other);
  }

  TEST_CASE("recording comes back on when a vjp throws") {
    const Tensor x = variable(random({3}, 4));
    const Tensor y =
        record("broken", (x * 2.0f).detach(), {x},
               [](const Tensor&, const Needs&) -> std::vector<Tensor> { fail("[broken] expected nothing"); });
    CHECK(refusal([&] { (void)grad(y, x); }) == "[broken] expected nothing");
    CHECK(recording());
  }

  TEST_CASE("an attack pays for no weight gradient") {
    const Tensor x = variable(random({2, 8, 8, 1}, 5));
    const Tensor w1 = variable(random({3, 3, 1, 4}, 6)), b1 = variable(random({4}, 7));
    const Tensor w2 = variable(random({3, 3, 4, 5}, 8)), w3 = variable(random({10, 5}, 9)),
                 b3 = variable(random({10}, 10));
    const auto loss = [&] {
      const Tensor a = conv_block(x, w1, b1, {{}, Activation::relu, 2, 2});
      const Tensor b = relu(conv2d(a, w2));
      return sum(dense(reshape(b, {2, 5}), w3, b3));
    };
    const Calls all(
        {"conv2d_dinput", "conv2d_dweight", "conv_block_dinput", "conv_block_dweight", "dense_dweight"});
    (void)grad(loss(), x);
    CHECK(all.of("conv2d_dinput") == 1);
    CHECK(all.of("conv_block_dinput") == 1);
    CHECK(all.of("conv2d_dweight") == 0);
    CHECK(all.of("conv_block_dweight") == 0);
    CHECK(all.of("dense_dweight") == 0);
  }

  TEST_CASE("training pays for no image gradient, and a frozen layer for nothing below it") {
    const Tensor x = random({2, 8, 8, 1}, 5);
    const Tensor w1 = variable(random({3, 3, 1, 4}, 6)), b1 = variable(random({4}, 7)),
                 w2 = variable(random({3, 3, 4, 5}, 8));
    const Tensor y = sum(conv2d(conv_block(x, w1, b1, {{}, Activation::relu, 2, 2}), w2));
    const Calls all({"conv2d_dinput", "conv2d_dweight", "conv_block_dinput", "conv_block_dweight"});
    (void)grad({y}, {w1, b1, w2});
    CHECK(all.of("conv2d_dinput") == 1);
    CHECK(all.of("conv2d_dweight") == 1);
    CHECK(all.of("conv_block_dweight") == 1);
    CHECK(all.of("conv_block_dinput") == 0);
    const Calls last({"conv2d_dinput", "conv2d_dweight", "conv_block_dinput", "conv_block_dweight"});
    (void)grad(y, w2);
    CHECK(last.of("conv2d_dweight") == 1);
    CHECK(last.of("conv2d_dinput") + last.of("conv_block_dinput") + last.of("conv_block_dweight") == 0);
  }

  TEST_CASE("a fused block counts each path once, also where its inputs depend on one another") {
    const ConvBlockOptions options{
        .conv = {.pad_h = 1, .pad_w = 1}, .activation = Activation::gelu, .pool_h = 2, .pool_w = 2};
    const Tensor x = variable(random({2, 4, 4, 3}, 20)), w = variable(random({3, 3, 3, 3}, 21));
    const Tensor bias = variable(random({3}, 22));
    // The same weights twice; weights and bias that are functions of the image.
    const auto tied = [&](auto block) {
      return sum(square(block(block(x, w, bias, options), w, bias, options)));
    };
    const auto entangled = [&](auto block) {
      const Tensor scale = mean(x);
      return sum(square(block(x, w * scale, bias * scale, options)));
    };
    const auto check = [&](const Tensor& fused, const Tensor& composed) {
      for (const Tensor& at : {x, w, bias}) {
        const Tensor g = grad(fused, at, {.create_graph = true}),
                     h = grad(composed, at, {.create_graph = true});
        for (const Tensor& again : {x, w, bias}) {
          const std::vector<float> found = grad(sum(square(g)), again).to_host();
          const std::vector<float> right = grad(sum(square(h)), again).to_host();
          const double size = std::abs(*std::max_element(
              right.begin(), right.end(), [](float a, float b) { return std::abs(a) < std::abs(b); }));
          CHECK(size > 0.0);
          CHECK(largest_difference(found, right) <= 1e-5 * size);
        }
      }
    };
    check(tied(conv_block), tied(conv_block_composed));
    check(entangled(conv_block), entangled(conv_block_composed));
  }

  TEST_CASE("a graph dies with its last tensor") {
    std::weak_ptr<Node> node, inner, curved;
    {
      const Tensor x = variable(random({3}, 10));
      const Tensor y = exp(x), z = sum(y * softmax(reshape(y, {1, 3})));
      inner = y.node();
      node = z.node();
      const Tensor g = grad(z, x, {.create_graph = true});
      curved = g.node();
      CHECK(!node.expired());
      CHECK(!curved.expired());
    }
    CHECK(node.expired());
    CHECK(inner.expired());
    CHECK(curved.expired());
  }

  TEST_CASE("a graph as deep as a long training run can be let go") {
    const Tensor x = leaf({1}, {1.0f});
    Tensor y = x;
    for (int i = 0; i < 300000; ++i) y = y + x;
    CHECK(grad(y, x).item() == 300001.0f);
    y = Tensor();  // must not use the stack once for each node
    CHECK(x.item() == 1.0f);
  }

  TEST_CASE("refusals of grad") {
    const Tensor x = variable(random({2, 3}, 11)), plain = random({2, 3}, 12);
    const Tensor y = x * 2.0f;
    CHECK(refusal([&] { (void)grad(y, plain); }) ==
          "[grad] expected tracked tensors, got one of shape (2,3) without history; wrap it in variable()");
    CHECK(refusal([&] {
            (void)grad({y}, {x}, {.grad_outputs = {plain, plain}});
          }) == "[grad] expected 1 grad_outputs, got 2");
    CHECK(refusal([&] { (void)grad(y, x, {.grad_outputs = {random({3}, 1)}}); }) ==
          "[grad] expected a grad_output of shape (2,3), got (3)");
    CHECK(refusal([&] { (void)grad(Tensor(), x); }).starts_with("[tensor] expected a tensor"));
  }
}

}  // namespace
}  // namespace caltrop::test
