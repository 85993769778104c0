#include "apps/study/training_task.h"

#include "apps/core/console.h"
#include "apps/study/defence_run.h"
#include "engine/training.h"

namespace caltrop {

std::map<std::string, std::string> weights_metadata(const StudyImages& images) {
  SafeTensorFile file;
  DataOptions known;
  known.dataset = images.info.name;
  describe_data(file, known);
  return file.metadata;
}

TestSet clean_test(const Images& test, int64_t classes) {
  AttackedPool none;
  none.pixels = test.pixels(std::vector<int64_t>{});
  return {"clean", test, std::move(none), static_cast<int32_t>(classes)};
}

void TrainingWatch::at(const std::string&, int64_t done) {
  if (log_ && done_ && images_ > 0) done_(static_cast<double>(done) / static_cast<double>(images_));
}
void TrainingWatch::epoch(const WatchedEpoch& epoch) {
  log_->append(metrics_line(epoch));
}
void TrainingWatch::note(const std::string& text) {
  console_.note("{}", text);
}
void TrainingWatch::warn(const std::string& text) {
  console_.warn("{}", text);
}

TrainingTask::TrainingTask(const StudyCell& cell, ReadTraining training, const Model& target,
                           const StudyImages& images, const Images& train,
                           const std::filesystem::path& folder, Watch& watch)
    : read(std::move(training)),
      crafter(target, folder.empty() ? std::filesystem::path() : folder / kCraftedFolder,
              {images.info.name, {checksum_of(target), checksum_of(target)}}, watch),
      task{.target = target,
           .train = train,
           .test = images.test,
           .classes = images.info.classes,
           .known = read.settings->recipe(static_cast<uint64_t>(cell.seed)),
           .pool = read.settings->pool(),
           .crafter = crafter,
           .folder = folder,
           .metadata = weights_metadata(images),
           .pool_stride = cell.arm.pool_stride,
           .seed = static_cast<uint64_t>(cell.seed),
           .watch = watch} {}

Model train_plain(Model model, const StudyCell& cell, const StudyImages& images, const Images& train,
                  int64_t epochs, Watch& watch) {
  watch.begin_training(0, epochs);
  watch.begin("training", epochs * train.count(), 0);
  const std::vector<int32_t>& labels = images.test.labels();
  const auto after = [&](const EpochResult& result) {
    const std::vector<float> logits = predict(model, images.test);
    const Scores scores = scores_of(cross_entropies(logits, labels, model.outputs()),
                                    argmax_rows(logits, model.outputs()), labels, images.test.count(), {});
    watch.epoch({.model = cell.arm.name,
                 .stage = kPlainTraining,
                 .number = result.epoch,
                 .trained = {.epoch = result.epoch,
                             .loss = result.loss,
                             .accuracy = result.accuracy,
                             .last = result.epoch == epochs},
                 .tested = scores});
    return true;
  };
  train_further(model, train, epochs, static_cast<uint64_t>(cell.seed),
                {.progress = [&](int64_t, int64_t done) { watch.at(cell.arm.name, done); }, .epoch = after});
  return model;
}

}  // namespace caltrop
