#include "data/digits.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "data/digit_strokes.h"
#include "engine/error.h"
#include "engine/random.h"

namespace caltrop {
namespace {

constexpr float kTau = 2.0f * std::numbers::pi_v<float>;
constexpr float kMaxExtent = 23.0f;     // pixels, so that a digit stays on the page
constexpr float kSegmentPixels = 1.0f;  // curves are drawn as lines of about this length

struct Point {
  float x = 0, y = 0;
};

// A smooth displacement of the plane: waves longer than half the digit, each in a random direction.
struct Wave {
  float frequency_x, frequency_y, phase, x, y;
};

class Elastic {
 public:
  explicit Elastic(Random& random) {
    const float strength = random.uniform(0.01f, 0.045f);
    for (Wave& wave : waves_) {
      wave = {random.uniform(-1.3f, 1.3f), random.uniform(-1.3f, 1.3f), random.uniform(0, kTau),
              strength * random.normal(), strength * random.normal()};
    }
  }
  Point operator()(Point p) const {
    Point moved = p;
    for (const Wave& wave : waves_) {
      const float height = std::sin(kTau * (wave.frequency_x * p.x + wave.frequency_y * p.y) + wave.phase);
      moved.x += wave.x * height;
      moved.y += wave.y * height;
    }
    return moved;
  }

 private:
  std::array<Wave, 3> waves_{};
};

// One position of the pen.
struct Dot {
  float x, y, radius;
};

// Catmull-Rom: a curve through all points, its direction at each that of the line between its neighbours.
Point curve_at(const std::vector<Point>& points, size_t piece, float t) {
  const Point& b = points[piece];
  const Point& c = points[piece + 1];
  const Point& a = piece > 0 ? points[piece - 1] : b;
  const Point& d = piece + 2 < points.size() ? points[piece + 2] : c;
  const auto blend = [t](float p, float q, float r, float s) {
    return q + 0.5f * t * (r - p + t * (2 * p - 5 * q + 4 * r - s + t * (3 * (q - r) + s - p)));
  };
  return {blend(a.x, b.x, c.x, d.x), blend(a.y, b.y, c.y, d.y)};
}

// The strokes of one digit as curves in the unit square, jittered and displaced. A corner ends a curve.
std::vector<std::vector<Point>> write_glyph(const Glyph& glyph, Random& random) {
  const float jitter = random.uniform(0.008f, 0.035f);
  const Elastic elastic(random);
  std::vector<std::vector<Point>> curves;
  for (const Stroke& stroke : glyph) {
    curves.emplace_back();
    for (const StrokePoint& point : stroke) {
      // Ends of strokes vary most: writers start early and stop late.
      const bool end = &point == &stroke.front() || &point == &stroke.back();
      const float spread = end ? 1.6f * jitter : jitter;
      const Point moved = elastic({point.x + spread * random.normal(), point.y + spread * random.normal()});
      curves.back().push_back(moved);
      if (point.corner) curves.push_back({moved});
    }
  }
  return curves;
}

// Slant, turn, size and place on the page, in pixels.
void place_on_page(std::vector<std::vector<Point>>& curves, Random& random) {
  const float slant = 0.22f * random.normal(), turn = 0.11f * random.normal();
  const float height = random.uniform(15.0f, 21.0f), width = height * random.uniform(0.6f, 1.05f);
  const float cosine = std::cos(turn), sine = std::sin(turn);
  Point low{1e9f, 1e9f}, high{-1e9f, -1e9f};
  for (auto& curve : curves) {
    for (Point& p : curve) {
      const float y = height * (p.y - 0.5f), x = width * (p.x - 0.5f) - slant * y;
      p = {cosine * x - sine * y, sine * x + cosine * y};
      low = {std::min(low.x, p.x), std::min(low.y, p.y)};
      high = {std::max(high.x, p.x), std::max(high.y, p.y)};
    }
  }
  const float extent = std::max(high.x - low.x, high.y - low.y);
  const float shrink = extent > kMaxExtent ? kMaxExtent / extent : 1.0f;
  const float page = static_cast<float>(kDigitSize);
  // Centred, then moved by up to two pixels, but not beyond the page.
  const auto offset = [&](float from, float to) {
    const float room = 0.5f * (page - 2.0f - shrink * (to - from));
    const float move = std::clamp(random.uniform(-2.0f, 2.0f), -room, room);
    return 0.5f * (page - 1.0f) + move - 0.5f * shrink * (from + to);
  };
  const Point shift{offset(low.x, high.x), offset(low.y, high.y)};
  for (auto& curve : curves) {
    for (Point& p : curve) p = {shrink * p.x + shift.x, shrink * p.y + shift.y};
  }
}

// Raises each pixel near the line between two pen positions to the ink that covers it.
void draw_line(const Dot& from, const Dot& to, float softness, std::span<float> ink) {
  const float reach = std::max(from.radius, to.radius) + softness;
  const auto bound = [](float value) {
    return static_cast<int64_t>(std::clamp(value, 0.0f, static_cast<float>(kDigitSize - 1)));
  };
  const int64_t left = bound(std::min(from.x, to.x) - reach),
                right = bound(std::max(from.x, to.x) + reach + 1);
  const int64_t top = bound(std::min(from.y, to.y) - reach),
                bottom = bound(std::max(from.y, to.y) + reach + 1);
  const float dx = to.x - from.x, dy = to.y - from.y;
  const float squared = std::max(dx * dx + dy * dy, 1e-6f);
  for (int64_t y = top; y <= bottom; ++y) {
    for (int64_t x = left; x <= right; ++x) {
      const float px = static_cast<float>(x) - from.x, py = static_cast<float>(y) - from.y;
      const float along = std::clamp((px * dx + py * dy) / squared, 0.0f, 1.0f);
      const float distance = std::hypot(px - along * dx, py - along * dy);
      const float radius = from.radius + along * (to.radius - from.radius);
      const float cover = std::clamp(0.5f + (radius - distance) / softness, 0.0f, 1.0f);
      float& pixel = ink[static_cast<size_t>(y * kDigitSize + x)];
      pixel = std::max(pixel, cover);
    }
  }
}

// Draws the curves with a round pen whose pressure rises and falls along each.
void draw_curves(const std::vector<std::vector<Point>>& curves, Random& random, std::span<float> ink) {
  const float radius = random.uniform(0.75f, 1.75f), softness = random.uniform(1.0f, 1.7f);
  const float swing = random.uniform(0.0f, 0.3f);
  for (const auto& curve : curves) {
    const float phase = random.uniform(0, kTau), pace = random.uniform(0.5f, 1.5f);
    float length = 0;
    Point last = curve.front();
    const auto dot = [&](Point p) {
      length += std::hypot(p.x - last.x, p.y - last.y);
      last = p;
      const float pressure =
          1.0f + swing * std::sin(phase + kTau * pace * length / static_cast<float>(kDigitSize));
      return Dot{p.x, p.y, radius * pressure};
    };
    Dot from = dot(curve.front());
    for (size_t piece = 0; piece + 1 < curve.size(); ++piece) {
      const float span = std::hypot(curve[piece + 1].x - curve[piece].x, curve[piece + 1].y - curve[piece].y);
      const int steps = 2 + static_cast<int>(span / kSegmentPixels);
      for (int step = 1; step <= steps; ++step) {
        const Dot to = dot(curve_at(curve, piece, static_cast<float>(step) / static_cast<float>(steps)));
        draw_line(from, to, softness, ink);
        from = to;
      }
    }
  }
}

}  // namespace

int32_t draw_digit(uint64_t seed, int64_t index, std::span<uint8_t> pixels) {
  if (index < 0 || pixels.size() != kDigitSize * kDigitSize) {
    fail("[draw_digit] expected an index of at least 0 and {} pixels, got {} and {}", kDigitSize * kDigitSize,
         index, pixels.size());
  }
  Random random(seed, Purpose::digits, static_cast<uint64_t>(index));
  const auto label = static_cast<int32_t>(index % 10);
  const std::span<const Glyph> ways = ways_to_write(label);
  auto curves = write_glyph(ways[random.below(ways.size())], random);
  place_on_page(curves, random);
  std::array<float, kDigitSize * kDigitSize> ink{};
  draw_curves(curves, random, ink);
  const float darkness = random.uniform(170.0f, 255.0f);
  std::transform(ink.begin(), ink.end(), pixels.begin(),
                 [&](float cover) { return static_cast<uint8_t>(std::lround(darkness * cover)); });
  return label;
}

ImageSet draw_digits(uint64_t seed, int64_t first, int64_t count) {
  constexpr int64_t kMaxDigits = 10'000'000;
  if (first < 0 || count < 1 || count > kMaxDigits) {
    fail("[draw_digits] expected 1 to {} images from an index of at least 0, got {} from {}", kMaxDigits,
         count, first);
  }
  ImageSet set{.height = kDigitSize, .width = kDigitSize, .channels = 1, .classes = 10};
  set.pixels.resize(static_cast<size_t>(count * set.image_size()));
  const std::span<uint8_t> pixels(set.pixels);
  for (int64_t i = 0; i < count; ++i) {
    const auto size = static_cast<size_t>(set.image_size());
    set.labels.push_back(draw_digit(seed, first + i, pixels.subspan(static_cast<size_t>(i) * size, size)));
  }
  for (int digit = 0; digit < 10; ++digit) set.class_names.push_back(std::to_string(digit));
  return set;
}

}  // namespace caltrop
