// An arm with one seed on its images: how its network comes to be, and what is attacked then.
//
// In the run folder, of a network that is trained:
//   STEM.safetensors      the network, where what is attacked is one
// and of one with trainings (StudyArm::trainings):
//   STEM-trained.json     what they were, and what the classifier is worth on the test images (docs/files.md)
//   STEM/N-METHOD/        of each training: model.safetensors, the network it ended with; metrics.jsonl, a line for each
//                         epoch; a defence's own files and checkpoints
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "apps/study/run.h"
#include "apps/study/studied.h"
#include "apps/study/training.h"
#include "engine/zoo.h"

namespace caltrop {

inline constexpr double kPasses =
    3;  // of a network, for one forward and backward: that counts as two forward ones

// A training, and what it takes as estimated.
struct TrainingPart {
  std::string name;   // "training", or the training's text
  double macs = 0;    // multiply-accumulates, forward and backward
  int64_t bytes = 0;  // of files
};
// Is told that a part begins, and returns who is told what share of it is done.
using PartProgress = std::function<std::function<void(double share)>(const TrainingPart& part)>;

class Arm {
 public:
  // An Error where the network does not fit the images, or trainings cannot be done on them. All must outlive it.
  Arm(const StudyCell& cell, const StudyImages& images, Backend& backend);

  int64_t training_images() const { return training_images_; }  // 0: given
  double macs() const { return macs_; }                         // of an answer
  const std::vector<TrainingPart>& parts() const { return parts_; }

  // Of what is in the folder already, if that can be told without opening it; else "".
  // An Error where it is not what the folder records.
  std::string weights(const StudyPlace& place) const;
  // Given, of the folder, or trained now and kept there.
  std::shared_ptr<const Studied> open(const StudyPlace& place, const PartProgress& progress = {}) const;
  // What only an arm that is attacked further would need.
  void remove_working_files(const StudyPlace& place) const;

 private:
  std::shared_ptr<const Studied> open_plain(const StudyPlace& place, const PartProgress& progress) const;
  std::shared_ptr<const Studied> open_sequence(const StudyPlace& place, const PartProgress& progress) const;
  void plan_sequence();
  Model fresh() const;
  // A training by a defence as it begins: from the file of the one before, or with the arm's initializer.
  StudyTraining begun(size_t number, const std::filesystem::path& before) const;
  Images training_set() const;
  std::string file() const { return cell_.stem + ".safetensors"; }
  std::string record() const { return cell_.stem + "-trained.json"; }
  // Null where there is none of this version.
  Json recorded(const StudyPlace& place) const;

  const StudyCell& cell_;
  const StudyImages& images_;
  Backend& backend_;
  ZooEntry network_ = {};
  int64_t training_images_ = 0;
  double macs_ = 0;
  std::vector<TrainingPart> parts_;
};

}  // namespace caltrop
