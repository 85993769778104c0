#include "apps/study/arm.h"

#include <algorithm>
#include <optional>

#include "apps/core/console.h"
#include "apps/core/run_folder.h"
#include "apps/study/training_task.h"
#include "data/file_bytes.h"
#include "engine/checksum.h"
#include "engine/training.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRecordSchema = "study-trained/2";
constexpr const char* kModelFile = "model.safetensors";

fs::path folder_of(const StudyCell& cell, size_t number, const StudyPlace& place) {
  return place.folder.file(cell.stem) / fmt::format("{}-{}", number + 1, cell.arm.trainings[number].method);
}

// A network as a file has it.
Model stored(const fs::path& file, const ImageShape& shape, Backend& backend) {
  const SafeTensorFile weights = read_safetensors(file);
  const auto line = weights.metadata.find("arch");
  if (line == weights.metadata.end()) fail("{}: expected the network's line in its metadata", file.string());
  Model model(parse_architecture(line->second), shape, backend);
  model.load(weights);
  return model;
}

void write_network(const fs::path& file, const Model& model, const StudyImages& images) {
  SafeTensorFile weights = model.state();
  const auto more = weights_metadata(images);
  weights.metadata.insert(more.begin(), more.end());
  write_safetensors(file, weights);
}

// CRC-32 over all weights in a folder, of several networks.
std::string checksum_of(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  std::ranges::sort(files);
  uint32_t all = 0;
  for (const fs::path& file : files) all = checksum(read_file_bytes(file), all);
  return fmt::format("{:08x}", all);
}

}  // namespace

Arm::Arm(const StudyCell& cell, const StudyImages& images, Backend& backend)
    : cell_(cell), images_(images), backend_(backend) {
  const StudyArm& arm = cell.arm;
  if (arm.given) {
    macs_ = arm.given->macs;
    return;
  }
  network_ = arm.line.empty() ? zoo(arm.name, images.info.classes)
                              : ZooEntry{arm.name, arm.line, arm.initializer, ""};
  if (!images.train) fail("[study] there are no training images");
  const int64_t all = images.train->count();
  training_images_ = arm.train_images > 0 ? std::min(arm.train_images, all) : all;
  const Architecture line = parse_architecture(network_.line);
  macs_ = static_cast<double>(count_macs(line, images.test.shape()));
  if (!arm.trainings.empty()) {
    plan_sequence();
    return;
  }
  parts_.push_back({"training", kPasses * macs_ * static_cast<double>(training_images_ * arm.epochs),
                    4 * count_parameters(line, images.test.shape())});
}

void Arm::plan_sequence() {
  const StudyArm& arm = cell_.arm;
  check_trainings(arm.trainings);
  const Model target = fresh();
  const Images& train = *images_.train;
  std::optional<Images> some;
  if (training_images_ < train.count()) some = training_set();
  const int64_t bytes = 4 * count_parameters(target.architecture(), target.input());
  for (const StudyTraining& training : arm.trainings) {
    ReadTraining read = read_training(training);
    const double epoch = kPasses * macs_ * static_cast<double>(training_images_);
    TrainingPart part{training.text(), epoch * static_cast<double>(read.epochs), bytes};
    if (read.defence) {
      Watch silent;
      const TrainingTask task(cell_, std::move(read), target, images_, some ? *some : train, {}, silent);
      task.read.defence->check(task.task);
      const DefenceCost cost = task.read.defence->cost(task.task);
      if (cost.macs > 0) part.macs = cost.macs;
      if (cost.bytes > 0) part.bytes = cost.bytes;
      if (cost.answer > 0) macs_ = cost.answer;
    }
    parts_.push_back(std::move(part));
  }
  parts_.back().bytes += bytes;  // STEM.safetensors
}

Model Arm::fresh() const {
  Model model(parse_architecture(network_.line), images_.test.shape(), backend_);
  model.initialize(parse_initializer(network_.initializer), static_cast<uint64_t>(cell_.seed));
  return model;
}

Images Arm::training_set() const {
  return images_.train->at(row_range(0, training_images_));
}

std::string Arm::weights(const StudyPlace& place) const {
  if (cell_.arm.given) return cell_.arm.given->weights;
  if (cell_.arm.trainings.empty()) return "";
  const Json said = recorded(place);
  if (!said.is_object()) return "";
  const bool one = !said.value("file", Json()).is_null();
  const fs::path what =
      one ? place.folder.file(file()) : folder_of(cell_, cell_.arm.trainings.size() - 1, place);
  if (!fs::exists(what)) return "";
  const std::string now =
      one ? caltrop::checksum_of(stored(what, images_.test.shape(), backend_)) : checksum_of(what);
  if (now != said.value("tensors_crc32", ""))
    fail("{} is not what {} records: it has changed; delete both to train it again", what.string(),
         place.folder.file(record()).string());
  return now;
}

Json Arm::recorded(const StudyPlace& place) const {
  if (!place.folder.has(record())) return {};
  Json said = place.folder.read_json(record());
  return said.is_object() && said.value("schema", Json()) == kRecordSchema ? std::move(said) : Json();
}

std::shared_ptr<const Studied> Arm::open(const StudyPlace& place, const PartProgress& progress) const {
  if (cell_.arm.given) return cell_.arm.given;
  return cell_.arm.trainings.empty() ? open_plain(place, progress) : open_sequence(place, progress);
}

std::shared_ptr<const Studied> Arm::open_plain(const StudyPlace& place, const PartProgress& progress) const {
  const auto done = progress ? progress(parts_[0]) : nullptr;
  const Images& all = *images_.train;
  std::shared_ptr<const Studied> trained;
  if (place.folder.has(file())) {
    Model model = fresh();
    model.load(read_safetensors(place.folder.file(file())));
    trained = studied(std::move(model));
  } else {
    const int64_t epochs = cell_.arm.epochs;
    const auto train = [&](const Images& some) {
      return train_network(network_, some, epochs, static_cast<uint64_t>(cell_.seed), [&](int64_t images) {
        if (done) done(static_cast<double>(images) / static_cast<double>(training_images_ * epochs));
      });
    };
    Model model = training_images_ == all.count() ? train(all) : train(training_set());
    write_network(place.folder.file(file()), model, images_);
    trained = studied(std::move(model));
  }
  place.console.say("{} {}: {} parameters, {} training images, {} epochs: test accuracy {}", cell_.dataset,
                    cell_.arm.name, trained->defended.parameters, training_images_, cell_.arm.epochs,
                    accuracy_in_words(right_answers(trained->defended, images_.test), images_.test.count()));
  return trained;
}

StudyTraining Arm::begun(size_t number, const fs::path& before) const {
  StudyTraining training = cell_.arm.trainings[number];
  const std::vector<DefenceOption> options = read_training(training).defence->options();
  const auto set = [&](const char* name, const std::string& value) {
    if (std::ranges::find(options, name, &DefenceOption::name) != options.end() && !training.value(name))
      training.options.push_back(fmt::format("{}={}", name, value));
  };
  if (number > 0) {
    set(kFromOption, fs::absolute(before).string());
  } else if (!training.value(kFromOption)) {
    set(kInitOption, network_.initializer);
  }
  return training;
}

std::shared_ptr<const Studied> Arm::open_sequence(const StudyPlace& place,
                                                  const PartProgress& progress) const {
  const std::vector<StudyTraining>& trainings = cell_.arm.trainings;
  const ImageShape& shape = images_.test.shape();
  std::optional<Images> some;
  if (training_images_ < images_.train->count()) some = training_set();
  const Images& train = some ? *some : *images_.train;
  auto network = std::make_shared<const Model>(fresh());
  fs::path before;  // the file of `network`, where a training ended with it
  Defended defended;
  for (size_t k = 0; k < trainings.size(); ++k) {
    const auto done = progress ? progress(parts_[k]) : nullptr;
    const fs::path folder = folder_of(cell_, k, place), file = folder / kModelFile;
    const bool last = k + 1 == trainings.size(), there = fs::exists(file);
    ReadTraining read = read_training(trainings[k]);
    if (there && (!last || !read.defence)) {
      network = std::make_shared<const Model>(stored(file, shape, backend_));
      defended = defended_by(network);
    } else {
      fs::create_directories(folder);
      TrainingWatch watch(folder / "metrics.jsonl", place.console, done);
      if (read.defence) {
        read = read_training(begun(k, before));
        const TrainingTask task(cell_, std::move(read), *network, images_, train, folder, watch);
        task.read.defence->check(task.task);
        defended = task.read.defence->train(task.task, clean_test(images_.test, images_.info.classes));
        task.read.defence->remove_working_files();
        if (!last && !defended.model)
          fail("[study] nothing can go on from {}, which leaves no single network", trainings[k].text());
        if (defended.model) network = defended.model;
      } else {
        Model copy(network->architecture(), shape, backend_);
        copy.load(network->state());
        network = std::make_shared<const Model>(
            train_plain(std::move(copy), cell_, images_, train, read.epochs, watch));
        defended = defended_by(network);
      }
      if (defended.model && !fs::exists(file)) write_network(file, *network, images_);
    }
    before = file;
  }

  const bool one = defended.model != nullptr;
  const fs::path last = folder_of(cell_, trainings.size() - 1, place);
  auto trained = std::make_shared<Studied>(
      Studied{std::move(defended), one ? caltrop::checksum_of(*network) : checksum_of(last), macs_});
  if (recorded(place).is_null() || (one && !place.folder.has(file()))) {
    if (one) write_network(place.folder.file(file()), *network, images_);
    Json texts = Json::array();
    for (const StudyTraining& training : trainings) texts.push_back(training.text());
    place.folder.write_json(record(), {{"schema", kRecordSchema},
                                       {"dataset", cell_.dataset},
                                       {"network", cell_.arm.name},
                                       {"seed", cell_.seed},
                                       {"trainings", texts},
                                       {"training_images", training_images_},
                                       {"parameters", trained->defended.parameters},
                                       {"detects", trained->defended.detects},
                                       {"file", one ? Json(file()) : Json()},
                                       {"tensors_crc32", trained->weights},
                                       {"n", images_.test.count()},
                                       {"right", right_answers(trained->defended, images_.test)}});
  }
  const Json said = place.folder.read_json(record());
  std::string words;
  for (const StudyTraining& training : trainings) words += (words.empty() ? "" : ", ") + training.text();
  place.console.say("{} {}: {} parameters, {} training images, {}: test accuracy {}", cell_.dataset,
                    cell_.arm.name, trained->defended.parameters, training_images_, words,
                    accuracy_in_words(said.at("right").get<int64_t>(), said.at("n").get<int64_t>()));
  return trained;
}

void Arm::remove_working_files(const StudyPlace& place) const {
  for (size_t k = 0; k < cell_.arm.trainings.size(); ++k)
    fs::remove_all(folder_of(cell_, k, place) / kCraftedFolder);
}

}  // namespace caltrop
