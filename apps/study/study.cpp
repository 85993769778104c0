#include "apps/study/study.h"

#include <cmath>

#include "engine/error.h"
#include "engine/training.h"

namespace caltrop {

Model train_network(const StudyNetwork& network, const Images& images, int64_t epochs, uint64_t seed,
                    Console& console, const std::string& label) {
  Model model(parse_architecture(network.line), images.shape(), images.backend());
  model.initialize(parse_initializer(network.initializer), seed);
  Optimizer optimizer({}, model.parameters());
  const TrainingOptions how{.epochs = epochs, .seed = seed, .schedule = Schedule::parse("linear")};
  ProgressLine progress(console, label, epochs * images.count(), "images");
  CrossEntropy objective;
  fit(model, optimizer, images, objective, how, {.progress = [&](int64_t, int64_t done) {
        progress.at(done);
      }});
  return model;
}

MeanAndDeviation over_seeds(const std::vector<double>& values) {
  MeanAndDeviation result;
  for (const double value : values) result.mean += value / static_cast<double>(values.size());
  if (values.size() < 2) return result;
  double squares = 0;
  for (const double value : values) squares += (value - result.mean) * (value - result.mean);
  result.deviation = std::sqrt(squares / static_cast<double>(values.size() - 1));
  return result;
}

}  // namespace caltrop
