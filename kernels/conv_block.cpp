// Convolution + bias + activation + max-pool in one pass, and its backward passes from the pooled gradient.
//
// Forward (conv_block_forward-inl.h): the activation comes after the maximum. That order is free for relu,
// which is monotone. GELU falls and then rises, so its maximum over a window is at the largest or the
// smallest value: one evaluation, seldom two, instead of one for each value.
//
// Backward: a window passes its gradient to its winner alone, so the work is a quarter of that of an unpooled
// convolution for 2x2 windows. Few input channels (conv_block_patch-inl.h) and many (conv_block_runs-inl.h)
// lay it out differently. Images are taken one by one; weight gradients in chunks that are added in order.

#include "kernels/conv_block_events.h"
#include "kernels/convolution.h"
#include "kernels/cpu_backend.h"
#include "kernels/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/conv_block.cpp"
#include <hwy/foreach_target.h>
//
#include "kernels/conv_block_forward-inl.h"
#include "kernels/conv_block_patch-inl.h"
#include "kernels/conv_block_runs-inl.h"

HWY_BEFORE_NAMESPACE();
namespace caltrop::HWY_NAMESPACE {

template <typename Run>
HWY_INLINE void for_activation(const ConvBlock& b, const Run& run) {
  switch (b.activation) {
    case Activation::none:
      return run.template operator()<Activation::none>();
    case Activation::relu:
      return run.template operator()<Activation::relu>();
    case Activation::gelu:
      return run.template operator()<Activation::gelu>();
  }
}

// One image without padding. room: of block_room(b) floats.
void block_forward(const ConvBlock& b, const float* image, const float* w, const float* bias, float* room,
                   float* y, uint8_t* winner, float* slope) {
  const Pooled to{y, winner, slope};
  for_activation(b, [&]<Activation act>() HWY_ATTR {
    return winner ? forward_windows<act, true>(b, image, w, bias, room, to)
                  : forward_windows<act, false>(b, image, w, bias, room, to);
  });
}

// One image whose convolution is z (out_h,out_w,cout).
void block_pool(const ConvBlock& b, const float* z, float* y, uint8_t* winner, float* slope) {
  const Pooled to{y, winner, slope};
  for_activation(b, [&]<Activation act>() HWY_ATTR {
    return winner ? pool_rows<act, true>(b, 0, b.out_h(), b.conv.out_w(), z, to)
                  : pool_rows<act, false>(b, 0, b.out_h(), b.conv.out_w(), z, to);
  });
}

}  // namespace caltrop::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace caltrop {

HWY_EXPORT(block_forward);
HWY_EXPORT(block_pool);
HWY_EXPORT(patch_dinput);
HWY_EXPORT(patch_dweight);
HWY_EXPORT(runs_dinput);
HWY_EXPORT(runs_dweight);

namespace {

int64_t pooled_size(const ConvBlock& b) {
  return b.out_h() * b.out_w() * b.conv.cout;
}

// For packed filters and unpooled outputs of one image.
int64_t block_room(const ConvBlock& b) {
  return kFilterRoom + rows_together(b) * b.out_w() * b.pool_w * b.conv.cout;
}

// Room for the events of one image, and for the one that sort_by_position writes before it is known to be
// one.
class EventRoom {
 public:
  EventRoom(CpuBackend& backend, const ConvBlock& b, int64_t lists)
      : room_(backend, 2 * (pooled_size(b) + 1) + 2 * (lists + 1)) {
    int64_t* starts = reinterpret_cast<int64_t*>(room_.data());
    float* g = room_.data() + 2 * (lists + 1);
    events_ = {g, reinterpret_cast<int32_t*>(g + pooled_size(b) + 1), starts};
  }
  const Events& events() const { return events_; }

 private:
  Scratch room_;
  Events events_;
};

// Events of each (window, position), with the filter of their channel.
void sort_by_position(const ConvBlock& b, const Runs& r, const Pooled8& from, const Events& to) {
  const int64_t filter = b.conv.kh * r.padded;
  int64_t n = 0;
  for (int64_t window = 0; window < b.out_h() * b.out_w(); ++window) {
    const Pooled8 here = from.at(window * b.conv.cout);
    for (int64_t position = 0; position < r.positions; ++position) {
      to.starts[window * r.positions + position] = n;
      for (int64_t o = 0; o < b.conv.cout; ++o) {
        to.g[n] = here.scaled(o);
        to.offset[n] = static_cast<int32_t>(o * filter);
        n += here.winner[o] == position;  // kept or overwritten: no branch to mispredict
      }
    }
  }
  to.starts[b.out_h() * b.out_w() * r.positions] = n;
}

// Events of each output channel, with the run of the image under their winner.
void sort_by_channel(const ConvBlock& b, const Runs& r, const Pooled8& from, const Events& to) {
  const int64_t windows = b.out_h() * b.out_w();
  int64_t n = 0;
  for (int64_t o = 0; o < b.conv.cout; ++o) {
    to.starts[o] = n;
    for (int64_t window = 0; window < windows; ++window) {
      const int64_t at = window * b.conv.cout + o;
      const uint8_t winner = from.winner[at];
      if (winner == kDead) continue;
      to.g[n] = from.scaled(at);
      to.offset[n] = r.corners[static_cast<size_t>(window * r.positions + winner)];
      ++n;
    }
  }
  to.starts[b.conv.cout] = n;
}

// body(index of the weight in (kh,kw,cin,cout), index in a table (cout, positions, patch)).
template <typename Body>
void for_patch_taps(const ConvBlock& b, const Patch& p, const Body& body) {
  const Conv2d& s = b.conv;
  for (int64_t position = 0; position < p.positions; ++position) {
    const int64_t y = position / b.pool_w * s.stride_h, x = position % b.pool_w * s.stride_w;
    int64_t weight = 0;
    for (int64_t ky = 0; ky < s.kh; ++ky) {
      for (int64_t k = 0; k < s.kw * s.cin; ++k) {
        const int64_t tap = (y + ky) * p.row + x * s.cin + k;
        for (int64_t o = 0; o < s.cout; ++o, ++weight)
          body(weight, (o * p.positions + position) * p.size + tap);
      }
    }
  }
}

// body(index of the weight in (kh,kw,cin,cout), index in (cout, kh, padded run)).
template <typename Body>
void for_run_taps(const ConvBlock& b, const Runs& r, const Body& body) {
  const Conv2d& s = b.conv;
  int64_t weight = 0;
  for (int64_t ky = 0; ky < s.kh; ++ky) {
    for (int64_t k = 0; k < r.run; ++k) {
      for (int64_t o = 0; o < s.cout; ++o, ++weight) body(weight, (o * s.kh + ky) * r.padded + k);
    }
  }
}

// Copies the rows of image n between a tensor and a padded image with rows of `padded_row` floats.
template <typename Copy>
void for_image_rows(const Conv2d& s, int64_t n, int64_t padded_row, const Copy& copy) {
  for (int64_t y = 0; y < s.h; ++y)
    copy((n * s.h + y) * s.w * s.cin, (y + s.pad_h) * padded_row + s.pad_w * s.cin);
}

// Where every output has a gradient, its convolution is taken whole; what pooling leaves is sparse, and events are fewer.
bool goes_back_whole(const ConvBlock& b) {
  return is_deep(b.conv) && b.pool_h * b.pool_w == 1;
}

// That gradient, (n,out_h,out_w,cout).
void before_activation(const ConvBlock& b, const Pooled8& from, float* to) {
  constexpr int64_t kGrain = 16 * 1024;
  parallel_ranges(b.pooled(), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] = from.winner[i] == kDead ? 0.0f : from.scaled(i);
  });
}

}  // namespace

void CpuBackend::conv_block(const ConvBlock& block, const float* x, const float* w, const float* bias,
                            float* y, uint8_t* winner, float* slope) {
  if (is_deep(block.conv)) {
    const Convolution convolution(*this, block.conv, w);
    const int64_t size = output_size(block.conv), pooled = pooled_size(block);
    return parallel_ranges(block.conv.n, convolution.together(), [&](int64_t begin, int64_t end) {
      const Scratch z(*this, (end - begin) * size);
      convolution.run(end - begin, x + begin * image_size(block.conv), z.data(), {.bias = bias});
      for (int64_t n = begin; n < end; ++n) {
        HWY_DYNAMIC_DISPATCH(block_pool)
        (block, z.data() + (n - begin) * size, y + n * pooled, winner ? winner + n * pooled : nullptr,
         slope ? slope + n * pooled : nullptr);
      }
    });
  }
  ConvBlock b = block;
  b.conv = padded(block.conv);
  const int64_t pooled = pooled_size(b);
  parallel_for(block.conv.n, [&](int64_t n) {
    const Scratch room(*this, image_size(b.conv) + block_room(b));
    const float* image = padded_image(block.conv, x, n, room.data());
    HWY_DYNAMIC_DISPATCH(block_forward)
    (b, image, w, bias, room.data() + image_size(b.conv), y + n * pooled,
     winner ? winner + n * pooled : nullptr, slope ? slope + n * pooled : nullptr);
  });
}

void CpuBackend::conv_blocks(const ConvBlock& block, const float* x, std::span<const BlockFilters> networks) {
  if (is_deep(block.conv)) {
    for (const BlockFilters& network : networks) {
      ConvBlock own = block;
      own.conv.cout = network.cout;
      conv_block(own, x, network.w, network.bias, network.y, nullptr, nullptr);
    }
    return;
  }
  ConvBlock b = block;
  b.conv = padded(block.conv);
  const int64_t windows = b.out_h() * b.out_w();
  parallel_for(block.conv.n, [&](int64_t n) {
    const Scratch room(*this, image_size(b.conv) + block_room(b));
    const float* image = padded_image(block.conv, x, n, room.data());
    ConvBlock own = b;
    for (const BlockFilters& network : networks) {
      own.conv.cout = network.cout;
      HWY_DYNAMIC_DISPATCH(block_forward)
      (own, image, network.w, network.bias, room.data() + image_size(b.conv),
       network.y + n * windows * network.cout, nullptr, nullptr);
    }
  });
}

void CpuBackend::conv_block_dinput(const ConvBlock& b, const float* g, const uint8_t* winner,
                                   const float* slope, const float* w, float* dx) {
  const Conv2d& s = b.conv;
  const Pooled8 all{g, winner, slope};
  if (goes_back_whole(b)) {
    const Scratch whole(*this, s.n * output_size(s));
    before_activation(b, all, whole.data());
    return conv2d_dinput(s, whole.data(), w, dx);
  }
  const int64_t rows = s.h + 2 * s.pad_h, row = s.w * s.cin;
  if (const Patch p = patch_of(b); p.size <= kPatchLimit) {
    const int64_t table = s.cout * p.positions * p.size, events = EventSpace::floats(b);
    const Scratch filters(*this, table);
    std::fill_n(filters.data(), table, 0.0f);
    for_patch_taps(b, p, [&](int64_t weight, int64_t tap) { filters.data()[tap] = w[weight]; });
    parallel_for(s.n, [&](int64_t n) {
      const Scratch room(*this, events + rows * p.images_w);
      float* image = room.data() + events;
      std::fill_n(image, rows * p.images_w, 0.0f);
      HWY_DYNAMIC_DISPATCH(patch_dinput)
      (b, p, all.at(n * pooled_size(b)), filters.data(), EventSpace::in(b, room.data()), image);
      for_image_rows(s, n, p.images_w,
                     [&](int64_t to, int64_t from) { std::copy_n(image + from, row, dx + to); });
    });
    return;
  }
  const Runs r = runs_of(b);
  ConvBlock bare = b;
  bare.conv = padded(s);
  const Scratch filters(*this, s.cout * s.kh * r.padded);
  std::fill_n(filters.data(), s.cout * s.kh * r.padded, 0.0f);
  for_run_taps(b, r, [&](int64_t weight, int64_t tap) { filters.data()[tap] = w[weight]; });
  parallel_for(s.n, [&](int64_t n) {
    const Scratch room(*this, r.image);
    const EventRoom lists(*this, b, b.out_h() * b.out_w() * r.positions);
    sort_by_position(bare, r, all.at(n * pooled_size(b)), lists.events());
    std::fill_n(room.data(), r.image, 0.0f);
    HWY_DYNAMIC_DISPATCH(runs_dinput)(bare, r, lists.events(), filters.data(), room.data());
    for_image_rows(s, n, bare.conv.w * s.cin,
                   [&](int64_t to, int64_t from) { std::copy_n(room.data() + from, row, dx + to); });
  });
}

void CpuBackend::conv_block_dweight(const ConvBlock& b, const float* x, const float* g, const uint8_t* winner,
                                    const float* slope, float* dw, float* dbias) {
  const Conv2d& s = b.conv;
  const Pooled8 all{g, winner, slope};
  if (goes_back_whole(b)) {
    const Scratch whole(*this, s.n * output_size(s));
    before_activation(b, all, whole.data());
    if (dbias) sum({2, {s.n * s.out_h() * s.out_w(), s.cout}}, 1u, whole.data(), dbias);
    return conv2d_dweight(s, x, whole.data(), dw);
  }
  const Patch p = patch_of(b);
  const Runs r = runs_of(b);
  const bool few = p.size <= kPatchLimit;
  ConvBlock bare = b;
  bare.conv = padded(s);
  const int64_t row = s.w * s.cin, padded_row = few ? p.images_w : bare.conv.w * s.cin;
  const int64_t image_floats = few ? bare.conv.h * p.images_w : r.image;
  const int64_t table = few ? s.cout * p.positions * p.size : s.cout * s.kh * r.padded;
  const int64_t events = EventSpace::floats(b),
                sums = table + EventSpace::channels(b);  // then the bias gradient
  const int64_t chunk = chunk_of(s.n), chunks = (s.n + chunk - 1) / chunk;
  const Scratch partial(*this, chunks * sums);
  parallel_for(chunks, [&](int64_t c) {
    float* to = partial.data() + c * sums;
    std::fill_n(to, sums, 0.0f);
    const Scratch room(*this, events + image_floats);
    float* image = room.data() + events;
    std::fill_n(image, image_floats, 0.0f);
    for (int64_t n = c * chunk; n < std::min(s.n, (c + 1) * chunk); ++n) {
      for_image_rows(s, n, padded_row,
                     [&](int64_t from, int64_t at) { std::copy_n(x + from, row, image + at); });
      const Pooled8 here = all.at(n * pooled_size(b));
      if (few) {
        HWY_DYNAMIC_DISPATCH(patch_dweight)
        (b, p, image, here, EventSpace::in(b, room.data()), to, to + table);
        continue;
      }
      const EventRoom lists(*this, b, s.cout);
      sort_by_channel(bare, r, here, lists.events());
      HWY_DYNAMIC_DISPATCH(runs_dweight)(bare, r, lists.events(), image, to);
      for (int64_t o = 0; o < s.cout; ++o) {
        for (int64_t e = lists.events().starts[o]; e < lists.events().starts[o + 1]; ++e)
          to[table + o] += lists.events().g[e];
      }
    }
  });
  std::fill_n(dw, weight_size(s), 0.0f);
  if (dbias) std::fill_n(dbias, s.cout, 0.0f);
  for (int64_t c = 0; c < chunks; ++c) {
    const float* from = partial.data() + c * sums;
    const auto add = [&](int64_t weight, int64_t tap) {
      dw[weight] += from[tap];
    };
    if (few) {
      for_patch_taps(b, p, add);
    } else {
      for_run_taps(b, r, add);
    }
    for (int64_t o = 0; dbias && o < s.cout; ++o) dbias[o] += from[table + o];
  }
}

}  // namespace caltrop
#endif
