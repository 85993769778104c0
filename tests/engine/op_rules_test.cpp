// What the op suite's smooth samples cannot show: refusals, empty tensors, saturated losses, dropout's
// statistics, and the fused block against its composed form on one point.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/ops.h"
#include "engine/random.h"
#include "tests/compare.h"
#include "tests/reference.h"

namespace caltrop::test {
namespace {

using reference::Samples;

Tensor random(const Shape& shape, uint64_t seed, double low = -1.0, double high = 1.0) {
  return Tensor::from(cpu_backend(), shape, Samples(seed).floats(element_count(shape), low, high));
}
Labels labels_of(std::initializer_list<int32_t> values) {
  return Labels(cpu_backend(), std::span<const int32_t>(values.begin(), values.size()));
}

struct Refusal {
  const char* text;
  std::function<void()> call;
};

double largest_difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  return test::largest_difference(a.to_host(), b.to_host());  // of floats, which this one hides
}

TEST_SUITE("engine") {
  TEST_CASE("each op refuses what it cannot do, in one line") {
    const Tensor a = random({2, 3}, 1), b = random({4}, 2), image = random({1, 5, 5, 2}, 3),
                 w = random({3, 3, 2, 4}, 4);
    const Tensor bias = random({4}, 5), empty;
    const Labels labels = labels_of({0, 1, 2});
    const Refusal refusals[] = {
        {"[add] expected shapes that broadcast, got (2,3) and (4)",
         [&] {
           (void)(a + b);
         }},
        {"[sub] expected shapes that broadcast, got (2,3) and (4)",
         [&] {
           (void)(a - b);
         }},
        {"[mul] expected shapes that broadcast, got (2,3) and (4)",
         [&] {
           (void)(a * b);
         }},
        {"[div] expected shapes that broadcast, got (2,3) and (4)",
         [&] {
           (void)(a / b);
         }},
        {"[maximum] expected shapes that broadcast, got (2,3) and (4)",
         [&] {
           (void)maximum(a, b);
         }},
        {"[greater] expected shapes that broadcast, got (2,3) and (4)",
         [&] {
           (void)greater(a, b);
         }},
        {"[equal] expected shapes that broadcast, got (2,3) and (4)",
         [&] {
           (void)equal(a, b);
         }},
        {"[tensor] expected a tensor, got an empty handle",
         [&] {
           (void)exp(empty);
         }},
        {"[tensor] expected a tensor, got an empty handle",
         [&] {
           (void)(a + empty);
         }},
        {"[reshape] expected 6 elements, got shape (4)",
         [&] {
           (void)reshape(a, {4});
         }},
        {"[reshape] expected at most 6 axes, got (1,1,1,1,1,2,3)",
         [&] {
           (void)reshape(a, {1, 1, 1, 1, 1, 2, 3});
         }},
        {"[tensor] expected extents of at least 0, got (-2,-3)",
         [&] {
           (void)reshape(a, {-2, -3});
         }},
        {"[permute] expected 2 axes for (2,3), got 1",
         [&] {
           (void)permute(a, {0});
         }},
        {"[permute] expected each axis of (2,3) once, got axis 0",
         [&] {
           (void)permute(a, {0, 0});
         }},
        {"[permute] expected each axis of (2,3) once, got axis 2",
         [&] {
           (void)permute(a, {0, 2});
         }},
        {"[permute] expected 1 axes for (4), got 2",
         [&] {
           (void)transpose(b);
         }},
        {"[broadcast_to] expected shapes that broadcast, got (2,3) and (4,3)",
         [&] {
           (void)broadcast_to(a, {4, 3});
         }},
        {"[broadcast_to] expected a shape that (2,3) broadcasts to, got (3)",
         [&] {
           (void)broadcast_to(a, {3});
         }},
        {"[sum_to] expected a shape that broadcasts to (2,3), got (3,2)",
         [&] {
           (void)sum_to(a, {3, 2});
         }},
        {"[sum_to] expected a shape that broadcasts to (2,3), got (1,2,3)",
         [&] {
           (void)sum_to(a, {1, 2, 3});
         }},
        {"[sum] expected distinct axes of (2,3), got axis 2",
         [&] {
           (void)sum(a, {2});
         }},
        {"[sum] expected distinct axes of (2,3), got axis -2",
         [&] {
           (void)sum(a, {0, -2});
         }},
        {"[sum] expected distinct axes of (2,3), got axis -3",
         [&] {
           (void)mean(a, {-3});
         }},
        {"[mean] expected at least one element, got (0,3)",
         [&] {
           (void)mean(random({0, 3}, 1));
         }},
        {"[matmul] expected two matrices, got (2,3) and (4)",
         [&] {
           (void)matmul(a, b);
         }},
        {"[matmul] expected equal inner extents, got (2,3) and (2,3)",
         [&] {
           (void)matmul(a, a);
         }},
        {"[matmul] expected equal inner extents, got (2,3)^T and (2,3)^T",
         [&] {
           (void)matmul(a, a, true, true);
         }},
        {"[dense] expected x (n,in) and w (out,in), got (2,3) and (4)",
         [&] {
           (void)dense(a, b, b);
         }},
        {"[dense] expected x (n,in) and w (out,in), got (2,3) and (5,4)",
         [&] {
           (void)dense(a, random({5, 4}, 1), b);
         }},
        {"[dense] expected a bias of shape (5), got (4)",
         [&] {
           (void)dense(a, random({5, 3}, 1), b);
         }},
        {"[conv2d] expected x (n,h,w,cin) and w (kh,kw,cin,cout), got (2,3) and (3,3,2,4)",
         [&] {
           (void)conv2d(a, w);
         }},
        {"[conv2d] expected x (n,h,w,cin) and w (kh,kw,cin,cout), got (1,5,5,3) and (3,3,2,4)",
         [&] {
           (void)conv2d(random({1, 5, 5, 3}, 1), w);
         }},
        {"[conv2d] expected strides of at least 1 and padding of at least 0, got stride 0x1, padding 0x0",
         [&] {
           (void)conv2d(image, w, {.stride_h = 0});
         }},
        {"[conv2d] expected strides of at least 1 and padding of at least 0, got stride 1x1, padding 0x-1",
         [&] {
           (void)conv2d(image, w, {.pad_w = -1});
         }},
        {"[conv2d] expected a padded image of at least the window, got (1,2,5,2) and (3,3,2,4)",
         [&] {
           (void)conv2d(random({1, 2, 5, 2}, 1), w);
         }},
        {"[conv2d] expected a bias of shape (4), got (3)",
         [&] {
           (void)conv2d(image, w, random({3}, 1), {});
         }},
        {"[conv2d] expected a residual of shape (1,3,3,4), got (1,5,5,2)",
         [&] {
           (void)conv2d(image, w, random({4}, 1), {}, Activation::relu, image);
         }},
        {"[conv2d_dinput] expected a gradient of shape (1,3,3,4), got (1,5,5,2)",
         [&] {
           (void)conv2d_dinput(image, w, {1, 5, 5, 2}, {});
         }},
        {"[conv2d_dweight] expected a gradient of shape (1,3,3,4), got (1,5,5,2)",
         [&] {
           (void)conv2d_dweight(image, image, {3, 3, 2, 4}, {});
         }},
        {"[batch_matmul] expected equally many matrices (batch,rows,columns), got (2,3) and (2,3)",
         [&] {
           (void)batch_matmul(a, a);
         }},
        {"[batch_matmul] expected equal inner extents, got (1,5,10) and (1,5,10)",
         [&] {
           (void)batch_matmul(reshape(image, {1, 5, 10}), reshape(image, {1, 5, 10}));
         }},
        {"[rankpool] expected x (n,h,w,c), got (2,3)",
         [&] {
           (void)rankpool(a, 1, {2, 2, 2, 2});
         }},
        {"[rankpool] expected a rank from 0 to 3, got 4",
         [&] {
           (void)rankpool(image, 4, {2, 2, 2, 2});
         }},
        {"[mean_filter] expected x (n,h,w,c), got (2,3)",
         [&] {
           (void)mean_filter(a, 3);
         }},
        {"[median_filter] expected an odd window, got 2",
         [&] {
           (void)median_filter(image, 2);
         }},
        {"[nonlocal_means] expected two embeddings (d,2), got (2,3) and (4)",
         [&] {
           (void)nonlocal_means(image, a, b);
         }},
        {"[maxpool] expected x (n,h,w,c), got (2,3)",
         [&] {
           (void)maxpool(a, {2, 2, 2, 2});
         }},
        {"[maxpool] expected a window of at most 5x5 and strides of at least 1, got window 6x2, stride 2x2",
         [&] {
           (void)maxpool(image, {6, 2, 2, 2});
         }},
        {"[avgpool] expected a window of at most 5x5 and strides of at least 1, got window 2x2, stride 2x0",
         [&] {
           (void)avgpool(image, {2, 2, 2, 0});
         }},
        {"[conv_block] expected a bias of shape (4), got (2,3)",
         [&] {
           (void)conv_block(image, w, a, {});
         }},
        {"[conv_block] expected a window of 1 to 254 elements that fits 3x3, got 4x1",
         [&] {
           (void)conv_block(image, w, bias, {.pool_h = 4});
         }},
        {"[conv_block] expected a window of 1 to 254 elements that fits 20x20, got 16x16",
         [&] {
           (void)conv_block(random({1, 20, 20, 1}, 1), random({1, 1, 1, 4}, 2), bias,
                            {.pool_h = 16, .pool_w = 16});
         }},
        {"[batch_norm] expected vectors of 3 channels, got (4)",
         [&] {
           (void)batch_norm(a, b, b, b, b, 1e-5f);
         }},
        {"[batch_norm] expected vectors of 3 channels, got (2,3)",
         [&] {
           (void)batch_norm(a, random({3}, 1), a, 1e-5f);
         }},
        {"[batch_norm] expected a residual of shape (2,3), got (3)",
         [&] {
           (void)batch_norm(a, random({3}, 1), random({3}, 2), 1e-5f, Activation::relu, random({3}, 3));
         }},
        {"[batch_norm] expected no activation or relu, got gelu",
         [&] {
           (void)batch_norm(a, random({3}, 1), random({3}, 2), 1e-5f, Activation::gelu);
         }},
        {"[batch_norm] expected x (...,c) of at least one row, got (0,4)",
         [&] {
           (void)batch_norm(random({0, 4}, 1), b, b, 1e-5f);
         }},
        {"[batch_norm] expected x (...,c) of at least one row, got ()",
         [&] {
           (void)batch_norm(random({}, 1), b, b, 1e-5f);
         }},
        {"[dropout] expected a probability in [0, 1), got 1",
         [&] {
           (void)dropout(a, 1.0f, 0, 0);
         }},
        {"[dropout] expected a probability in [0, 1), got nan",
         [&] {
           (void)dropout(a, std::nanf(""), 0, 0);
         }},
        {"[softmax] expected rows of logits (n,k), got (4)",
         [&] {
           (void)softmax(b);
         }},
        {"[log_softmax] expected rows of logits (n,k), got (2,0)",
         [&] {
           (void)log_softmax(random({2, 0}, 1));
         }},
        {"[conv_blocks] expected 1 to 8 networks, got 0",
         [&] {
           (void)conv_blocks(image, {}, {});
         }},
        {"[conv_blocks] expected filters of one size, got (3,3,2,4) and (1,1,2,4)",
         [&] {
           (void)conv_blocks(image, {{w, bias}, {random({1, 1, 2, 4}, 6), bias}}, {});
         }},
        {"[conv_blocks] expected a bias of shape (4), got (2,3)",
         [&] {
           (void)conv_blocks(image, {{w, a}}, {});
         }},
        {"[vote] expected the logits of 1 to 8 networks, got 9",
         [&] {
           (void)vote(std::vector<Tensor>(9, a));
         }},
        {"[vote] expected logits of one shape, got (2,3) and (2,4)",
         [&] {
           (void)vote({a, random({2, 4}, 7)});
         }},
        {"[argmax] expected rows of logits (n,k), got (4)",
         [&] {
           (void)argmax(b);
         }},
        {"[pick] expected 2 labels, got 3",
         [&] {
           (void)pick(a, labels);
         }},
        {"[cross_entropy] expected 2 labels, got 3",
         [&] {
           (void)cross_entropy(a, labels);
         }},
        {"[soft_cross_entropy] expected targets of shape (2,3), got (4)",
         [&] {
           (void)soft_cross_entropy(a, b);
         }},
        {"[kl_divergence] expected logits of shape (2,3), got (3,2)",
         [&] {
           (void)kl_divergence(transpose(a), a);
         }},
        {"[mean_squared_error] expected equal shapes (n,...), got (2,3) and (4)",
         [&] {
           (void)mean_squared_error(a, b);
         }},
        {"[logit_margin] expected 2 labels, got 3",
         [&] {
           (void)logit_margin(a, labels);
         }},
        {"[logit_margin] expected at least two classes, got (3,1)",
         [&] {
           (void)logit_margin(random({3, 1}, 1), labels);
         }},
        {"[item] expected a tensor of one element, got (2,3)",
         [&] {
           (void)a.item();
         }},
        {"[tensor] expected 6 values for shape (2,3), got 1",
         [&] {
           (void)Tensor::from(cpu_backend(), {2, 3}, {1.0f});
         }},
        {"[tensor] expected an axis of (2,3), got axis 2",
         [&] {
           (void)a.dim(2);
         }},
        {"[tensor] the shape (4294967296,4294967296) is too large",
         [&] {
           (void)Tensor::zeros(cpu_backend(), {int64_t{1} << 32, int64_t{1} << 32});
         }},
    };
    for (const Refusal& refusal : refusals) {
      std::string text = "nothing was refused";
      try {
        refusal.call();
      } catch (const Error& error) {
        text = error.what();
      }
      CHECK(text == refusal.text);
    }
  }

  TEST_CASE("empty batches pass through every layer and back") {
    const Tensor x = variable(random({0, 6, 6, 1}, 1)), w = variable(random({3, 3, 1, 2}, 2)),
                 b = variable(random({2}, 3));
    const Tensor d = variable(random({3, 8}, 4));
    for (const bool fused : {true, false}) {
      const ConvBlockOptions block{{}, Activation::gelu, 2, 2};
      const Tensor y = fused ? conv_block(x, w, b, block) : conv_block_composed(x, w, b, block);
      CHECK(y.shape() == Shape{0, 2, 2, 2});
      const Tensor z = dense(reshape(y, {0, 8}), d, variable(random({3}, 5)));
      const Tensor loss = sum(cross_entropy(z, labels_of({})));
      CHECK(loss.item() == 0.0f);
      const std::vector<Tensor> g = grad({loss}, {x, w, b, d});
      CHECK(g[0].size() == 0);
      for (size_t k = 1; k < 4; ++k) {
        const std::vector<float> values = g[k].to_host();
        CHECK(std::count(values.begin(), values.end(), 0.0f) == static_cast<int64_t>(values.size()));
      }
    }
    CHECK(softmax(random({0, 3}, 1)).shape() == Shape{0, 3});
    CHECK(maxpool(random({0, 4, 4, 2}, 1), {2, 2, 2, 2}).shape() == Shape{0, 2, 2, 2});
    CHECK(sum(random({0, 3}, 1)).item() == 0.0f);
  }

  TEST_CASE("cross-entropy keeps its gradient where p is 1, PyTorch's form loses it") {
    const Tensor z = variable(Tensor::from(cpu_backend(), {1, 3}, {25.0f, 0.0f, 0.0f}));
    const Labels label = labels_of({0});
    const std::vector<float> stable = grad(cross_entropy(z, label), z).to_host();
    const std::vector<float> torch = grad(cross_entropy(z, label, CrossEntropyGrad::torch), z).to_host();
    const double exact = -2.0 * std::exp(-25.0) / (1.0 + 2.0 * std::exp(-25.0));
    CHECK(std::fabs(static_cast<double>(stable[0]) / exact - 1.0) <= 1e-6);
    CHECK(torch[0] == 0.0f);
    CHECK(stable[1] == torch[1]);
    // At second order both are the softmax's Jacobian: -p0 p1 between the first two logits.
    for (const CrossEntropyGrad style : {CrossEntropyGrad::stable, CrossEntropyGrad::torch}) {
      const Tensor g = grad(cross_entropy(z, label, style), z, {.create_graph = true});
      const Tensor first = sum(g * Tensor::from(cpu_backend(), {1, 3}, {1.0f, 0.0f, 0.0f}));
      const double mixed = -std::exp(-25.0);
      CHECK(std::fabs(static_cast<double>(grad(first, z).to_host()[1]) / mixed - 1.0) <= 1e-5);
    }
  }

  TEST_CASE("dropout keeps the share and the mean that it promises, and its mask is that of its stream") {
    const Tensor ones = Tensor::full(cpu_backend(), {200, 200}, 1.0f);
    for (const float p : {0.1f, 0.5f, 0.9f}) {
      const std::vector<float> y = dropout(ones, p, 1, 2).to_host();
      int64_t zeros = 0;
      for (const float v : y) {
        zeros += v == 0.0f;
        REQUIRE((v == 0.0f || std::fabs(v * (1.0f - p) - 1.0f) <= 1e-6f));
      }
      const double share = static_cast<double>(zeros) / 40000.0, error = 5.0 * std::sqrt(0.25 / 40000.0);
      CHECK(std::fabs(share - static_cast<double>(p)) <= error);
      CHECK(dropout(ones, p, 1, 2).to_host() == y);
      CHECK(dropout(ones, p, 1, 3).to_host() != y);
      CHECK(dropout(ones, p, 2, 2).to_host() != y);
    }
    CHECK(dropout(ones, 0.0f, 1, 2).to_host() == ones.to_host());
  }

  TEST_CASE("the fused block is its composed form, to second order") {
    const Tensor x = variable(random({3, 9, 8, 3}, 31)), w = variable(random({3, 3, 3, 6}, 32)),
                 b = variable(random({6}, 33));
    const std::vector<Tensor> inputs = {x, w, b};
    for (const Activation activation : {Activation::none, Activation::relu, Activation::gelu}) {
      for (const int64_t pool : {1, 2, 3}) {
        const ConvBlockOptions options{{1, 1, 1, 1}, activation, pool, pool};
        const auto curvature = [&](const Tensor& y) {
          const std::vector<Tensor> g = grad({sum(square(y))}, inputs, {.create_graph = true});
          return grad({sum(square(g[0])) + sum(g[1]) + sum(g[2])}, inputs);
        };
        const Tensor fused = conv_block(x, w, b, options), composed = conv_block_composed(x, w, b, options);
        CHECK(largest_difference(fused, composed) <= 2e-6);
        const Tensor seed = random(fused.shape(), 34);
        const std::vector<Tensor> g1 = grad({fused}, inputs, {.grad_outputs = {seed}}),
                                  g2 = grad({composed}, inputs, {.grad_outputs = {seed}});
        const std::vector<Tensor> h1 = curvature(fused), h2 = curvature(composed);
        for (size_t k = 0; k < 3; ++k) {
          CHECK(largest_difference(g1[k], g2[k]) <= 1e-5 * (1.0 + largest_difference(g2[k], g2[k] * 0.0f)));
          CHECK(largest_difference(h1[k], h2[k]) <= 1e-5 * (1.0 + largest_difference(h2[k], h2[k] * 0.0f)));
        }
      }
    }
  }
}

}  // namespace
}  // namespace caltrop::test
