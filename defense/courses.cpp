#include "defense/courses.h"

#include <fmt/format.h>

#include "engine/error.h"
#include "engine/inference.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCheckpoint = "checkpoint.safetensors";

// "eat-1-cycle-40.safetensors" -> "eat-1-cycle-40-state.safetensors"
std::string state_file(const CourseStage& stage) {
  return stage.file.substr(0, stage.file.rfind('.')) + "-state.safetensors";
}
std::string logits_file(const Course& course, int64_t epoch) {
  const std::string& last = course.stages.back().file;
  return fmt::format("{}-logits-{}.safetensors", last.substr(0, last.rfind('.')), epoch);
}

class Courses {
 public:
  Courses(const std::vector<Course>& courses, const CourseTest& test, const CourseOptions& options,
          Watch& watch)
      : courses_(courses), test_(test), options_(options), watch_(watch) {}

  void run() {
    SafeTensorFile checkpoint;
    size_t first = 0;
    if (fs::exists(path(kCheckpoint))) {
      checkpoint = read_safetensors(path(kCheckpoint));
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
        training.load(checkpoint, path(kCheckpoint).string());
      } else if (course.trunk) {
        const std::string state = state_file(course.stages[course.shared - 1]);
        training.load(read_safetensors(path(state)), path(state).string());
      }
      if (training.done() < shared) fail("{}: expected a later epoch", path(kCheckpoint).string());
      if (!begun_) begin(epochs + training.done() - shared, images + done_images(course, training));
      train(k, model, training, epochs - shared, images - training.images(shared));
      epochs += course.own_epochs();
      images += own_images(course);
    }
  }

 private:
  fs::path path(const std::string& name) const { return options_.folder / name; }

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
    const int64_t course = file.number("course").value_or(-1);
    if (course < 0 || course >= static_cast<int64_t>(courses_.size()))
      fail("{}: expected a course below {} in its metadata", path(kCheckpoint).string(), courses_.size());
    return static_cast<size_t>(course);
  }

  void begin(int64_t epochs_done, int64_t images_done) {
    int64_t epochs = 0, images = 0;
    for (const Course& course : courses_) {
      epochs += course.own_epochs();
      images += own_images(course);
    }
    begun_ = true;
    watch_.begin_training(epochs_done, epochs);
    watch_.begin("training", images, images_done);
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
        weights.metadata.insert(options_.metadata.begin(), options_.metadata.end());
        write_safetensors(path(course.stages[epoch.stage].file), weights);
        if (branches_after(number, epoch.stage))
          write_safetensors(path(state_file(course.stages[epoch.stage])), file);
      }
      file.metadata["course"] = std::to_string(number);
      write_safetensors(path(kCheckpoint), file);
    };
    training.run(on_epoch, [&](int64_t images) {
      watch_.at(course.name + ", " + training.stage(), images_before + images);
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
    const Scores scores = scores_of(cross_entropies(logits, labels, model.outputs()),
                                    argmax_rows(logits, model.outputs()), labels, test_.clean, *test_.pool);
    if (course.votes) {
      SafeTensorFile file;
      file.tensors.emplace_back(
          "logits", SafeTensor::from_floats({static_cast<int64_t>(labels.size()), model.outputs()}, logits));
      write_safetensors(path(logits_file(course, done - course.epochs(0, course.shared))), file);
    }
    watch_.epoch({course.name, course.stages[epoch.stage].name, number, epoch, scores});
  }

  const std::vector<Course>& courses_;
  const CourseTest& test_;
  const CourseOptions& options_;
  Watch& watch_;
  bool begun_ = false;
};

}  // namespace

int64_t Course::epochs(size_t from, size_t to) const {
  int64_t sum = 0;
  for (size_t s = from; s < to; ++s) sum += stages[s].epochs;
  return sum;
}

void train_courses(const std::vector<Course>& courses, const CourseTest& test, const CourseOptions& options,
                   Watch& watch) {
  Courses(courses, test, options, watch).run();
}

std::vector<float> logits_after(const Course& course, int64_t epoch, const fs::path& folder) {
  const fs::path path = folder / logits_file(course, epoch);
  const SafeTensorFile file = read_safetensors(path);
  const SafeTensor* const logits = file.find("logits");
  if (logits == nullptr) fail("{}: expected logits", path.string());
  const std::span<const float> values = logits->floats();
  return {values.begin(), values.end()};
}

void remove_working_files(const std::vector<Course>& courses, const fs::path& folder) {
  std::error_code error;
  for (const Course& course : courses) {
    for (const CourseStage& stage : course.stages) fs::remove(folder / state_file(stage), error);
    for (int64_t epoch = 1; course.votes && epoch <= course.own_epochs(); ++epoch)
      fs::remove(folder / logits_file(course, epoch), error);
  }
}

}  // namespace caltrop
