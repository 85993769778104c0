#include "apps/study/study.h"

#include "apps/core/console.h"
#include "engine/training.h"

namespace caltrop {

Model train_network(const StudyNetwork& network, const Images& images, int64_t epochs, uint64_t seed,
                    const Progress& progress) {
  Model model(parse_architecture(network.line), images.shape(), images.backend());
  model.initialize(parse_initializer(network.initializer), seed);
  Optimizer optimizer({}, model.parameters());
  const TrainingOptions how{.epochs = epochs, .seed = seed, .schedule = Schedule::parse("linear")};
  CrossEntropy objective;
  fit(model, optimizer, images, objective, how, {.progress = [&](int64_t, int64_t done) {
        if (progress) progress(done);
      }});
  return model;
}

Model train_network(const StudyNetwork& network, const Images& images, int64_t epochs, uint64_t seed,
                    Console& console, const std::string& label) {
  ProgressLine progress(console, label, epochs * images.count(), "images");
  return train_network(network, images, epochs, seed, [&](int64_t done) { progress.at(done); });
}

}  // namespace caltrop
