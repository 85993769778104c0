#include "apps/study/studied.h"

#include <fmt/format.h>

#include "engine/checksum.h"
#include "engine/safetensors.h"

namespace caltrop {

std::shared_ptr<const Studied> studied(Model model) {
  const auto kept = std::make_shared<const Model>(std::move(model));
  return std::make_shared<const Studied>(
      Studied{defended_by(kept), checksum_of(*kept),
              static_cast<double>(count_macs(kept->architecture(), kept->input()))});
}

std::string checksum_of(const Model& model) {
  const std::string bytes = serialize_safetensors(model.state(), "a network");
  return fmt::format("{:08x}", checksum(std::span<const char>(bytes)));
}

int64_t right_answers(const Defended& defended, const Images& images) {
  const std::vector<int32_t> answers = defended(images);
  int64_t right = 0;
  for (size_t i = 0; i < answers.size(); ++i) right += answers[i] == images.labels()[i];
  return right;
}

int64_t right_answers(const Defended& defended, const Images& images, const std::vector<int64_t>& rows) {
  int64_t right = 0;
  const auto count = static_cast<int64_t>(rows.size());
  for_chunks(images.backend(), count, defended.classifier->chunk(), [&](int64_t begin, int64_t end) {
    const std::vector<int64_t> some(rows.begin() + begin, rows.begin() + end);
    const std::vector<int32_t> answers = defended(images.pixels(some), some);
    for (size_t i = 0; i < some.size(); ++i)
      right += answers[i] == images.labels()[static_cast<size_t>(some[i])];
  });
  return right;
}

std::string accuracy_in_words(int64_t right, int64_t images) {
  const Interval interval = wilson_interval(right, images);
  return fmt::format("{:.2f} % (95 % interval {:.2f} to {:.2f} %)", 100 * share_of(right, images),
                     100 * interval.low, 100 * interval.high);
}

}  // namespace caltrop
