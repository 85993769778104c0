// Convolution and its adjoints, pooling, filters, batch norm, dropout.

#include <fmt/format.h>

#include <algorithm>

#include "engine/random.h"
#include "kernels/philox.h"
#include "tests/engine/op_cases.h"

namespace caltrop::test {
namespace {

// How far relu's kink is.
double nearest_to_zero(const Values& values) {
  double nearest = HUGE_VAL;
  for (const double value : values) nearest = std::min(nearest, std::fabs(value));
  return nearest;
}

std::string text_of(const Conv2d& s) {
  return fmt::format("{}x{}x{}->{} window {}x{} stride {}x{} pad {}x{}", s.h, s.w, s.cin, s.cout, s.kh, s.kw,
                     s.stride_h, s.stride_w, s.pad_h, s.pad_w);
}

void add_convolutions(std::vector<OpCase>& list, const Conv2d& s) {
  const ConvOptions options{s.stride_h, s.stride_w, s.pad_h, s.pad_w};
  const Shape x{s.n, s.h, s.w, s.cin}, w{s.kh, s.kw, s.cin, s.cout}, y{s.n, s.out_h(), s.out_w(), s.cout};
  list.push_back({"conv2d(Tensor,Tensor,ConvOptions)",
                  text_of(s),
                  {x, w},
                  [=](const Tensors& in) { return conv2d(in[0], in[1], options); },
                  [=](const Inputs& in) {
                    return reference::conv2d(s, in[0], in[1]);
                  }});
  for (const Activation activation : {Activation::none, Activation::relu, Activation::gelu}) {
    for (const bool residual : {false, true}) {
      const auto sums = [=](const Inputs& in) {
        Values z = reference::conv2d(s, in[0], in[1]);
        for (size_t i = 0; i < z.size(); ++i) z[i] += in[2][i % in[2].size()] + (residual ? in[3][i] : 0.0);
        return z;
      };
      OpCase c{"conv2d(Tensor,Tensor,Tensor,ConvOptions,Activation,Tensor)",
               fmt::format("{} activation {}{}", text_of(s), static_cast<int>(activation),
                           residual ? " residual" : ""),
               {x, w, {s.cout}},
               [=](const Tensors& in) {
                 return conv2d(in[0], in[1], in[2], options, activation, residual ? in[3] : Tensor());
               },
               [=](const Inputs& in) {
                 Values z = sums(in);
                 for (double& v : z) v = reference::activate(activation, v);
                 return z;
               }};
      if (residual) c.shapes.push_back(y);
      if (activation == Activation::relu) {
        c.kink = [sums](const Inputs& in) {
          return nearest_to_zero(sums(in));
        };
        c.step = 5e-5;
        c.margin = 1e-3;
      }
      list.push_back(c);
    }
  }
  list.push_back({"conv2d_dinput(Tensor,Tensor,Shape,ConvOptions)",
                  text_of(s),
                  {y, w},
                  [=](const Tensors& in) { return conv2d_dinput(in[0], in[1], x, options); },
                  [=](const Inputs& in) {
                    return reference::conv2d_dinput(s, in[0], in[1]);
                  }});
  list.push_back({"conv2d_dweight(Tensor,Tensor,Shape,ConvOptions)",
                  text_of(s),
                  {x, y},
                  [=](const Tensors& in) { return conv2d_dweight(in[0], in[1], w, options); },
                  [=](const Inputs& in) {
                    return reference::conv2d_dweight(s, in[0], in[1]);
                  }});
}

void add_pools(std::vector<OpCase>& list, const Pool2d& s) {
  const PoolOptions options{s.kh, s.kw, s.stride_h, s.stride_w};
  const std::string variant =
      fmt::format("{}x{}x{} window {}x{} stride {}x{}", s.h, s.w, s.c, s.kh, s.kw, s.stride_h, s.stride_w);
  OpCase max{"maxpool(Tensor,PoolOptions)",
             variant,
             {{s.n, s.h, s.w, s.c}},
             [=](const Tensors& in) { return maxpool(in[0], options); },
             [=](const Inputs& in) {
               return reference::maxpool(s, in[0]).values;
             }};
  max.distinct = true;
  list.push_back(max);
  for (const int64_t rank : {int64_t{0}, s.kh * s.kw / 2}) {
    OpCase ranked = max;
    ranked.op = "rankpool(Tensor,int64_t,PoolOptions)";
    ranked.variant = fmt::format("{} rank {}", variant, rank);
    ranked.run = [=](const Tensors& in) {
      return rankpool(in[0], rank, options);
    };
    ranked.reference = [=](const Inputs& in) {
      return reference::rankpool(s, rank, in[0]).values;
    };
    list.push_back(ranked);
  }
  list.push_back({"avgpool(Tensor,PoolOptions)",
                  variant,
                  {{s.n, s.h, s.w, s.c}},
                  [=](const Tensors& in) { return avgpool(in[0], options); },
                  [=](const Inputs& in) {
                    return reference::avgpool(s, in[0]);
                  }});
}

// For each pixel of (n,h,w,c) its window, cut from an image without edges: the outermost pixels go on for ever.
Values filtered(const Shape& x, int64_t window, const Values& in,
                const std::function<double(Values)>& of_window) {
  const int64_t h = x[1], w = x[2], c = x[3], reach = window / 2;
  Values y;
  for (int64_t i = 0; i < element_count(x); ++i) {
    const int64_t channel = i % c, column = i / c % w, row = i / c / w % h, image = i / c / w / h;
    Values seen;
    for (int64_t r = row - reach; r <= row + reach; ++r) {
      for (int64_t s = column - reach; s <= column + reach; ++s) {
        const int64_t at_r = std::clamp<int64_t>(r, 0, h - 1), at_s = std::clamp<int64_t>(s, 0, w - 1);
        seen.push_back(in[static_cast<size_t>(((image * h + at_r) * w + at_s) * c + channel)]);
      }
    }
    y.push_back(of_window(std::move(seen)));
  }
  return y;
}

void add_filters(std::vector<OpCase>& list) {
  for (const auto& [shape, window] : std::vector<std::pair<Shape, int64_t>>{
           {{2, 4, 3, 2}, 3}, {{1, 1, 4, 2}, 3}, {{1, 2, 3, 1}, 5}, {{1, 3, 3, 2}, 1}}) {
    const std::string variant = fmt::format("{} window {}", to_string(shape), window);
    list.push_back({"mean_filter(Tensor,int64_t)",
                    variant,
                    {shape},
                    [window](const Tensors& in) { return mean_filter(in[0], window); },
                    [shape, window](const Inputs& in) {
                      return filtered(shape, window, in[0], [](const Values& seen) {
                        double sum = 0.0;
                        for (const double v : seen) sum += v;
                        return sum / static_cast<double>(seen.size());
                      });
                    }});
    OpCase median{"median_filter(Tensor,int64_t)",
                  variant,
                  {shape},
                  [window](const Tensors& in) { return median_filter(in[0], window); },
                  [shape, window](const Inputs& in) {
                    return filtered(shape, window, in[0], [](Values seen) {
                      std::sort(seen.begin(), seen.end());
                      return seen[seen.size() / 2];
                    });
                  }};
    median.distinct = true;
    list.push_back(median);
  }
  for (const auto& [shape, d] :
       std::vector<std::pair<Shape, int64_t>>{{{2, 2, 3, 4}, 2}, {{1, 3, 2, 1}, 1}, {{2, 1, 1, 3}, 2}}) {
    const int64_t c = shape[3];
    OpCase nonlocal{"nonlocal_means(Tensor,Tensor,Tensor)",
                    fmt::format("{} by {} features", to_string(shape), d),
                    {shape, {d, c}, {d, c}},
                    [](const Tensors& in) { return nonlocal_means(in[0], in[1], in[2]); },
                    [shape, d](const Inputs& in) {
                      const auto pixels = static_cast<size_t>(shape[1] * shape[2]),
                                 channels = static_cast<size_t>(shape[3]);
                      Values y;
                      for (size_t image = 0; image < static_cast<size_t>(shape[0]); ++image) {
                        const double* x = in[0].data() + image * pixels * channels;
                        const auto embedded = [&](const Values& by, size_t pixel, size_t feature) {
                          double sum = 0.0;
                          for (size_t k = 0; k < channels; ++k)
                            sum += by[feature * channels + k] * x[pixel * channels + k];
                          return sum;
                        };
                        for (size_t i = 0; i < pixels; ++i) {
                          Values weights;
                          double all = 0.0;
                          for (size_t j = 0; j < pixels; ++j) {
                            double likeness = 0.0;
                            for (size_t f = 0; f < static_cast<size_t>(d); ++f)
                              likeness += embedded(in[1], i, f) * embedded(in[2], j, f);
                            weights.push_back(std::exp(likeness / std::sqrt(static_cast<double>(d))));
                            all += weights.back();
                          }
                          for (size_t k = 0; k < channels; ++k) {
                            double sum = 0.0;
                            for (size_t j = 0; j < pixels; ++j) sum += weights[j] / all * x[j * channels + k];
                            y.push_back(sum);
                          }
                        }
                      }
                      return y;
                    }};
    nonlocal.ranges = {{-1.0, 1.0}, {-1.0, 1.0}, {-1.0, 1.0}};
    list.push_back(nonlocal);
  }
}

// Mean and biased variance of each of `channels` columns.
std::pair<Values, Values> moments(const Values& x, size_t channels) {
  const double rows = static_cast<double>(x.size()) / static_cast<double>(channels);
  Values mean(channels), variance(channels);
  for (size_t i = 0; i < x.size(); ++i) mean[i % channels] += x[i] / rows;
  for (size_t i = 0; i < x.size(); ++i)
    variance[i % channels] += (x[i] - mean[i % channels]) * (x[i] - mean[i % channels]) / rows;
  return {mean, variance};
}

Values normalized(const Values& x, const Values& mean, const Values& variance, const Values& weight,
                  const Values& bias, double epsilon) {
  Values y;
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t c = i % mean.size();
    y.push_back((x[i] - mean[c]) / std::sqrt(variance[c] + epsilon) * weight[c] + bias[c]);
  }
  return y;
}

void add_batch_norms(std::vector<OpCase>& list) {
  const Shape x{2, 3, 2, 3}, c{3};
  constexpr float kEpsilon = 1e-3f;
  list.push_back({"batch_moments(Tensor)",
                  "mean",
                  {x},
                  [](const Tensors& in) { return batch_moments(in[0]).mean; },
                  [](const Inputs& in) {
                    return moments(in[0], 3).first;
                  }});
  list.push_back({"batch_moments(Tensor)",
                  "variance",
                  {x},
                  [](const Tensors& in) { return batch_moments(in[0]).variance; },
                  [](const Inputs& in) {
                    return moments(in[0], 3).second;
                  }});
  list.push_back({"batch_moments(Tensor)",
                  "variance of rows",
                  {{5, 4}},
                  [](const Tensors& in) { return batch_moments(in[0]).variance; },
                  [](const Inputs& in) {
                    return moments(in[0], 4).second;
                  }});
  const std::string op = "batch_norm(Tensor,Tensor,Tensor,Tensor,Tensor,float)";
  OpCase fixed{op,
               "given moments",
               {x, c, c, c, c},
               [](const Tensors& in) { return batch_norm(in[0], in[1], in[2], in[3], in[4], kEpsilon); },
               [](const Inputs& in) {
                 return normalized(in[0], in[1], in[2], in[3], in[4], static_cast<double>(kEpsilon));
               }};
  fixed.ranges = {{}, {}, {0.5, 2.0}, {}, {}};
  list.push_back(fixed);
  OpCase batch{op,
               "moments of the batch",
               {x, c, c},
               [](const Tensors& in) {
                 const BatchMoments m = batch_moments(in[0]);
                 return batch_norm(in[0], m.mean, m.variance, in[1], in[2], kEpsilon);
               },
               [](const Inputs& in) {
                 const auto [mean, variance] = moments(in[0], 3);
                 return normalized(in[0], mean, variance, in[1], in[2], static_cast<double>(kEpsilon));
               }};
  list.push_back(batch);
  // The fused op: images, and rows of vectors; with what may follow.
  for (const Shape& shape : {x, Shape{5, 4}}) {
    const int64_t channels = shape.back();
    for (const bool residual : {false, true}) {
      const auto sums = [channels, residual](const Inputs& in) {
        const auto [mean, variance] = moments(in[0], static_cast<size_t>(channels));
        Values y = normalized(in[0], mean, variance, in[1], in[2], static_cast<double>(kEpsilon));
        for (size_t i = 0; residual && i < y.size(); ++i) y[i] += in[3][i];
        return y;
      };
      OpCase fused{
          "batch_norm(Tensor,Tensor,Tensor,float,Activation,Tensor)",
          fmt::format("fused, of {}{}", to_string(shape), residual ? ", residual" : ""),
          {shape, {channels}, {channels}},
          [residual](const Tensors& in) {
            return batch_norm(in[0], in[1], in[2], kEpsilon, Activation::none, residual ? in[3] : Tensor()).y;
          },
          sums};
      if (residual) fused.shapes.push_back(shape);
      list.push_back(fused);
      OpCase with_relu = fused;
      with_relu.variant += ", relu";
      with_relu.run = [residual](const Tensors& in) {
        return batch_norm(in[0], in[1], in[2], kEpsilon, Activation::relu, residual ? in[3] : Tensor()).y;
      };
      with_relu.reference = [sums](const Inputs& in) {
        Values y = sums(in);
        for (double& v : y) v = reference::activate(Activation::relu, v);
        return y;
      };
      with_relu.kink = [sums](const Inputs& in) {
        return nearest_to_zero(sums(in));
      };
      with_relu.step = 5e-5;
      with_relu.margin = 5e-3;
      list.push_back(with_relu);
    }
  }
}

OpCase dropout_case(float p) {
  constexpr uint64_t kSeed = 77;
  const uint64_t stream = stream_of(Purpose::test, 5);
  return {"dropout(Tensor,float,uint64_t,uint64_t)",
          fmt::format("p = {}", p),
          {{4, 9}},
          [=](const Tensors& in) { return dropout(in[0], p, kSeed, stream); },
          [=](const Inputs& in) {
            Values y;
            for (size_t i = 0; i < in[0].size(); ++i) {
              const float draw = unit_float(philox4x32(kSeed, stream, i / 4).word[i % 4]);
              y.push_back(draw < p ? 0.0 : in[0][i] / (1.0 - static_cast<double>(p)));
            }
            return y;
          }};
}

}  // namespace

std::vector<OpCase> image_cases() {
  std::vector<OpCase> list;
  const Conv2d convolutions[] = {
      {2, 5, 4, 2, 3, 3, 2},              // plain
      {2, 5, 5, 1, 2, 3, 3, 1, 1, 1, 1},  // "same"
      {1, 7, 6, 2, 3, 3, 3, 2, 2, 1, 1},  // strides
      {2, 6, 7, 1, 2, 2, 3, 2, 3, 0, 1},  // strides that leave a remainder
      {1, 5, 5, 2, 2, 1, 1, 3, 2, 0, 0},  // gaps
      {1, 3, 3, 2, 2, 5, 4, 1, 1, 2, 1},  // a window larger than the image
      {1, 2, 2, 1, 1, 1, 1, 1, 1, 1, 2},  // outputs of padding alone
  };
  for (const Conv2d& s : convolutions) add_convolutions(list, s);
  const Pool2d pools[] = {
      {2, 4, 4, 3, 2, 2, 2, 2}, {2, 5, 5, 2, 2, 2, 1, 1}, {1, 7, 6, 2, 3, 2, 2, 2},
      {1, 7, 7, 1, 2, 2, 3, 3}, {1, 4, 4, 2, 1, 1, 1, 1},
  };
  for (const Pool2d& s : pools) add_pools(list, s);
  add_filters(list);
  add_batch_norms(list);
  for (const float p : {0.0f, 0.25f, 0.5f}) list.push_back(dropout_case(p));
  return list;
}

std::vector<OpCase> block_cases() {
  std::vector<OpCase> list;
  const Conv2d convolutions[] = {
      {2, 6, 6, 1, 3, 3, 3},
      {1, 6, 5, 2, 2, 3, 3, 1, 1, 1, 1},
      {1, 8, 7, 1, 2, 2, 2, 2, 1, 0, 1},
      {1, 5, 5, 8, 2, 3, 3, 1, 1, 1, 1},  // many channels: the other backward path
  };
  for (const Conv2d& s : convolutions) {
    for (const Activation activation : {Activation::none, Activation::relu, Activation::gelu}) {
      for (const auto& [pool_h, pool_w] :
           std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {2, 2}, {2, 3}, {3, 3}}) {
        const ConvBlock block{s, activation, pool_h, pool_w};
        if (block.out_h() < 1 || block.out_w() < 1) continue;
        const Pool2d pool{s.n, s.out_h(), s.out_w(), s.cout, pool_h, pool_w, pool_h, pool_w};
        const ConvBlockOptions options{
            {s.stride_h, s.stride_w, s.pad_h, s.pad_w}, activation, pool_h, pool_w};
        const auto outputs = [s](const Inputs& in) {
          Values z = reference::conv2d(s, in[0], in[1]);
          for (size_t i = 0; i < z.size(); ++i) z[i] += in[2][i % in[2].size()];
          return z;
        };
        const auto activated = [outputs, activation](const Inputs& in) {
          Values z = outputs(in);
          for (double& v : z) v = reference::activate(activation, v);
          return z;
        };
        constexpr const char* kNames[] = {"none", "relu", "gelu"};
        OpCase c{
            "conv_block(Tensor,Tensor,Tensor,ConvBlockOptions)",
            fmt::format("{} {} pool {}x{}", text_of(s), kNames[static_cast<int>(activation)], pool_h, pool_w),
            {{s.n, s.h, s.w, s.cin}, {s.kh, s.kw, s.cin, s.cout}, {s.cout}},
            [options](const Tensors& in) { return conv_block(in[0], in[1], in[2], options); },
            [activated, pool](const Inputs& in) {
              return reference::maxpool(pool, activated(in)).values;
            }};
        c.ranges = {{-1.0, 1.0}, {-1.0, 1.0}, {-1.0, 1.0}};
        // relu's kink at 0, and windows whose two largest values are close.
        c.kink = [outputs, activated, pool, activation](const Inputs& in) {
          double nearest = activation == Activation::relu ? nearest_to_zero(outputs(in)) : HUGE_VAL;
          const Values z = activated(in);
          const reference::Maxima best = reference::maxpool(pool, z);
          reference::for_windows(pool, [&](size_t to, size_t from, int64_t position) {
            const bool zeros = activation == Activation::relu && z[from] == 0.0 && best.values[to] == 0.0;
            if (position != best.index[to] && !zeros) nearest = std::min(nearest, best.values[to] - z[from]);
          });
          return nearest;
        };
        c.step = 5e-5;
        c.margin = 5e-3;
        list.push_back(c);
        OpCase composed = c;
        composed.op = "conv_block_composed(Tensor,Tensor,Tensor,ConvBlockOptions)";
        composed.run = [options](const Tensors& in) {
          return conv_block_composed(in[0], in[1], in[2], options);
        };
        list.push_back(composed);
        OpCase twice = c;
        twice.op = "conv_blocks(Tensor,vector<BlockWeights>,ConvBlockOptions)";
        twice.run = [options](const Tensors& in) {
          const std::vector<Tensor> y = conv_blocks(in[0], {{in[1], in[2]}, {in[1], in[2]}}, options);
          return y[0] * 2.0f - y[1];
        };
        list.push_back(twice);
      }
    }
  }
  return list;
}

}  // namespace caltrop::test
