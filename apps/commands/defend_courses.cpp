#include "apps/commands/defend_courses.h"

#include <charconv>
#include <memory>

#include "apps/core/setup.h"
#include "data/npz.h"
#include "defense/scores.h"
#include "engine/inference.h"

namespace caltrop {
namespace {

constexpr const char* kCheckpoint = "checkpoint.safetensors";

// "eat-1-cycle-40.safetensors" -> "eat-1-cycle-40-state.safetensors"
std::string state_file(const CourseStage& stage) {
  return stage.file.substr(0, stage.file.rfind('.')) + "-state.safetensors";
}
std::string logits_file(const Course& course, int64_t epoch) {
  const std::string& last = course.stages.back().file;
  return fmt::format("{}-logits-{}.npz", last.substr(0, last.rfind('.')), epoch);
}

class Courses {
 public:
  Courses(const std::vector<Course>& courses, const CourseTest& test, const CourseOptions& options,
          const RunFolder& folder, Console& console)
      : courses_(courses), test_(test), options_(options), folder_(folder), console_(console) {}

  Json run() {
    SafeTensorFile checkpoint;
    size_t first = 0;
    if (folder_.has(kCheckpoint)) {
      checkpoint = read_safetensors(folder_.file(kCheckpoint));
      first = course_of(checkpoint);
    }
    int64_t epochs = 0, images = 0;  // before this course
    for (size_t k = 0; k < courses_.size(); ++k) {
      const Course& course = courses_[k];
      const int64_t shared = course.epochs(0, course.shared);
      if (k < first) {
        epochs += course.own_epochs();
        images += own_images(course);
        continue;
      }
      Model model(parse_architecture(course.line), test_.images->shape(), test_.images->backend());
      model.initialize(parse_initializer(course.initializer), course.seed);
      StagedTraining training = training_of(course, model);
      if (k == first && !checkpoint.tensors.empty()) {
        training.load(checkpoint, folder_.file(kCheckpoint).string());
      } else if (course.trunk) {
        const std::string state = state_file(course.stages[course.shared - 1]);
        training.load(read_safetensors(folder_.file(state)), folder_.file(state).string());
      }
      if (training.done() < shared) fail("{}: expected a later epoch", folder_.file(kCheckpoint).string());
      if (!log_) begin(epochs + training.done() - shared, images + done_images(course, training));
      train(k, model, training, epochs - shared, images - training.images(shared));
      epochs += course.own_epochs();
      images += own_images(course);
    }
    progress_->finish();
    return log_->lines();
  }

 private:
  StagedTraining training_of(const Course& course, Model& model) const {
    std::vector<Stage> stages;
    for (const CourseStage& stage : course.stages) stages.push_back({stage.name, stage.images, stage.epochs});
    StagedOptions how = options_.staged;
    how.seed = course.seed;
    return StagedTraining(model, std::move(stages), how);
  }

  static int64_t own_images(const Course& course) {
    int64_t sum = 0;
    for (size_t s = course.shared; s < course.stages.size(); ++s)
      sum += course.stages[s].epochs * course.stages[s].images->count();
    return sum;
  }
  static int64_t done_images(const Course& course, const StagedTraining& training) {
    return training.images(training.done()) - training.images(course.epochs(0, course.shared));
  }

  // The course that the checkpoint is of: those before it are finished.
  size_t course_of(const SafeTensorFile& file) const {
    const auto stated = file.metadata.find("course");
    size_t course = courses_.size();
    if (stated != file.metadata.end()) {
      const std::string& text = stated->second;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), course);
      if (error != std::errc() || end != text.data() + text.size()) course = courses_.size();
    }
    if (course >= courses_.size())
      fail("{}: expected a course below {} in its metadata", folder_.file(kCheckpoint).string(),
           courses_.size());
    return course;
  }

  void begin(int64_t epochs_done, int64_t images_done) {
    int64_t epochs = 0, images = 0;
    for (const Course& course : courses_) {
      epochs += course.own_epochs();
      images += own_images(course);
    }
    log_ = std::make_unique<MetricsLog>(folder_.file("metrics.jsonl"), epochs_done);
    if (folder_.resumed()) console_.say("resumed after epoch {} of {}", epochs_done, epochs);
    progress_ = std::make_unique<ProgressLine>(console_, "", images, "images", images_done);
  }

  void train(size_t number, const Model& model, StagedTraining& training, int64_t epochs_before,
             int64_t images_before) {
    const Course& course = courses_[number];
    const auto on_epoch = [&](const StageEpoch& epoch) {
      test_epoch(course, model, epoch, epochs_before + training.done(), training.done());
      SafeTensorFile file;
      training.save(file);
      if (epoch.last) {
        SafeTensorFile weights = model.state();
        describe_data(weights, *options_.data);
        write_safetensors(folder_.file(course.stages[epoch.stage].file), weights);
        if (branches_after(number, epoch.stage))
          write_safetensors(folder_.file(state_file(course.stages[epoch.stage])), file);
      }
      file.metadata["course"] = std::to_string(number);
      write_safetensors(folder_.file(kCheckpoint), file);
    };
    training.run(on_epoch, [&](int64_t images) {
      progress_->label(course.name + ", " + training.stage());
      progress_->at(images_before + images);
    });
  }

  bool branches_after(size_t trunk, size_t stage) const {
    for (const Course& course : courses_) {
      if (course.trunk == trunk && course.shared == stage + 1) return true;
    }
    return false;
  }

  void test_epoch(const Course& course, const Model& model, const StageEpoch& epoch, int64_t number,
                  int64_t done) {
    const std::vector<float> logits = predict(model, *test_.images);
    const std::vector<int32_t>& labels = test_.images->labels();
    const Scores scores =
        scores_of(cross_entropies(logits, labels, model.outputs()), argmax_rows(logits, model.outputs()),
                  labels, test_.clean, *test_.pool, test_.lanes);
    if (course.votes) {
      NpzWriter file(folder_.file(logits_file(course, done - course.epochs(0, course.shared))));
      file.add("logits", {static_cast<int64_t>(labels.size()), model.outputs()}, logits);
      file.close();
    }
    const std::string& stage = course.stages[epoch.stage].name;
    Json line = {{"epoch", number},
                 {"model", course.name},
                 {"stage", stage},
                 {"stage_epoch", epoch.epoch},
                 {"loss", epoch.loss},
                 {"train_accuracy", epoch.accuracy},
                 {"test_loss", scores.all.loss},
                 {"test_accuracy", scores.all.accuracy},
                 {"attacks", Json::object()},
                 {"stop_rule", epoch.stop_rule}};
    for (const auto& [attack, score] : scores.attacks)
      line["attacks"][attack] = {{"test_loss", score.loss}, {"test_accuracy", score.accuracy}};
    log_->append(line);
    console_.say("{:<8} {:<12} epoch {:>2}  loss {:.4f}  train {:6.2f} %  test {:6.2f} %{}", course.name,
                 stage, epoch.epoch, epoch.loss, 100 * epoch.accuracy, 100 * scores.all.accuracy,
                 epoch.stop_rule ? "  (above 80 %: the paper's rule would stop here)" : "");
  }

  const std::vector<Course>& courses_;
  const CourseTest& test_;
  const CourseOptions& options_;
  const RunFolder& folder_;
  Console& console_;
  std::unique_ptr<MetricsLog> log_;
  std::unique_ptr<ProgressLine> progress_;
};

}  // namespace

int64_t Course::epochs(size_t from, size_t to) const {
  int64_t sum = 0;
  for (size_t s = from; s < to; ++s) sum += stages[s].epochs;
  return sum;
}

Json train_courses(const std::vector<Course>& courses, const CourseTest& test, const CourseOptions& options,
                   const RunFolder& folder, Console& console) {
  return Courses(courses, test, options, folder, console).run();
}

std::vector<float> logits_after(const Course& course, int64_t epoch, const RunFolder& folder) {
  const NpzFile file(folder.file(logits_file(course, epoch)));
  return file.values<float>("logits", file.shape("logits", 2));
}

void remove_working_files(const std::vector<Course>& courses, const RunFolder& folder) {
  const auto remove = [&](const std::string& name) {
    std::error_code error;
    std::filesystem::remove(folder.file(name), error);
  };
  for (const Course& course : courses) {
    for (const CourseStage& stage : course.stages) remove(state_file(stage));
    for (int64_t epoch = 1; course.votes && epoch <= course.own_epochs(); ++epoch)
      remove(logits_file(course, epoch));
  }
}

}  // namespace caltrop
