#include "defense/filters/cascade.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/autograd.h"
#include "engine/error.h"

namespace caltrop {
namespace {

// Statistics of all images at each convolution, (images, statistics) row-major.
struct Rows {
  int64_t width = 0;
  std::vector<float> values = {};
};
std::vector<Rows> statistics_of(const Model& model, const ImageSource& images,
                                const std::vector<FilterAxes>& axes, const Progress& progress) {
  std::vector<Rows> all;
  for (const FilterAxes& of : axes) {
    all.push_back({of.statistics(), {}});
    all.back().values.resize(static_cast<size_t>(images.count() * of.statistics()));
  }
  for_chunks(
      model, images.count(), 0,
      [&](int64_t begin, int64_t end) {
        const NoGrad values_only;
        const Convolved seen = convolved(model, images.pixels(row_range(begin, end)));
        for (size_t c = 0; c < axes.size(); ++c) {
          int64_t column = 0;
          for (const Tensor& part : filter_statistics(seen.convolutions[c], axes[c])) {
            const std::vector<float> values = part.to_host();
            const int64_t width = part.dim(1);
            for (int64_t row = begin; row < end; ++row)
              std::copy_n(values.begin() + (row - begin) * width, width,
                          all[c].values.begin() + row * all[c].width + column);
            column += width;
          }
        }
      },
      progress);
  return all;
}

// Scores of all images at each stage.
std::vector<std::vector<float>> scores_of(const Model& model, const ImageSource& images,
                                          const std::vector<FilterStage>& stages, const Progress& progress) {
  std::vector<std::vector<float>> all(stages.size(), std::vector<float>(static_cast<size_t>(images.count())));
  for_chunks(
      model, images.count(), 0,
      [&](int64_t begin, int64_t end) {
        const NoGrad values_only;
        const Convolved seen = convolved(model, images.pixels(row_range(begin, end)));
        for (size_t c = 0; c < stages.size(); ++c)
          std::ranges::copy(stages[c].score(seen.convolutions[c]).to_host(), all[c].begin() + begin);
      },
      progress);
  return all;
}

// Rows of both kinds, standardised in place; what does not vary becomes 0.
struct Standard {
  std::vector<double> mean, scale;
};
Standard standardise(std::vector<float>& rows, size_t width) {
  Standard of{std::vector<double>(width), std::vector<double>(width)};
  const auto count = static_cast<double>(rows.size() / width);
  for (size_t i = 0; i < rows.size(); ++i) of.mean[i % width] += static_cast<double>(rows[i]) / count;
  for (size_t i = 0; i < rows.size(); ++i)
    of.scale[i % width] += std::pow(static_cast<double>(rows[i]) - of.mean[i % width], 2) / count;
  for (double& value : of.scale) value = value > 0 ? 1 / std::sqrt(value) : 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const double value = (static_cast<double>(rows[i]) - of.mean[i % width]) * of.scale[i % width];
    rows[i] = static_cast<float>(value);
  }
  return of;
}

// A stage of what was found on the host, its numbers cut into the parts of the statistics.
FilterStage stage_of(const FilterAxes& axes, const Standard& standard, const LinearSvm& svm) {
  FilterStage stage{.axes = axes, .mean = {}, .scale = {}, .weights = {}};
  Backend& backend = axes.scale.backend();
  const int64_t channels = axes.centre.dim(1);
  size_t begin = 0;
  for (int64_t width = axes.scale.dim(1); begin < standard.mean.size(); width = channels) {
    const auto cut = [&](const std::vector<double>& all, Shape shape) {
      const auto first = all.begin() + static_cast<std::ptrdiff_t>(begin);
      const std::vector<float> floats(first, first + width);
      return Tensor::from(backend, std::move(shape), floats);
    };
    stage.mean.push_back(cut(standard.mean, {1, width}));
    stage.scale.push_back(cut(standard.scale, {1, width}));
    stage.weights.push_back(cut(svm.weights, {width, 1}));
    begin += static_cast<size_t>(width);
  }
  stage.bias = static_cast<float>(svm.bias);
  return stage;
}

SafeTensor stored(const Tensor& tensor) {
  return SafeTensor::from_floats(tensor.shape(), tensor.to_host());
}

}  // namespace

Tensor FilterStage::score(const Tensor& convolution) const {
  const std::vector<Tensor> parts = filter_statistics(convolution, axes);
  Tensor total;
  for (size_t p = 0; p < parts.size(); ++p) {
    const Tensor part = matmul((parts[p] - mean[p]) * scale[p], weights[p]);
    total = p == 0 ? part : total + part;
  }
  return reshape(total, {convolution.dim(0)}) + bias;
}

Tensor FilterCascade::excess(const std::vector<Tensor>& convolutions) const {
  if (stages_.empty() || convolutions.size() != stages_.size())
    fail("[cascade] expected {} convolutions, got {}", stages_.size(), convolutions.size());
  Tensor most;
  for (size_t c = 0; c < stages_.size(); ++c) {
    const Tensor beyond = stages_[c].score(convolutions[c]) - stages_[c].threshold;
    most = c == 0 ? beyond : maximum(most, beyond);
  }
  return most;
}

int64_t FilterCascade::numbers() const {
  int64_t count = 0;
  for (const auto& [name, tensor] : state().tensors) count += element_count(tensor.shape);
  return count;
}

SafeTensorFile FilterCascade::state() const {
  SafeTensorFile file;
  file.metadata["stages"] = std::to_string(stages_.size());
  for (size_t c = 0; c < stages_.size(); ++c) {
    const FilterStage& stage = stages_[c];
    const auto add = [&](const std::string& name, SafeTensor tensor) {
      file.tensors.emplace_back(fmt::format("{}.{}", c, name), std::move(tensor));
    };
    add("centre", stored(stage.axes.centre));
    add("axes", stored(stage.axes.axes));
    add("axes_scale", stored(stage.axes.scale));
    for (size_t p = 0; p < stage.mean.size(); ++p) {
      add(fmt::format("mean.{}", p), stored(stage.mean[p]));
      add(fmt::format("scale.{}", p), stored(stage.scale[p]));
      add(fmt::format("weights.{}", p), stored(stage.weights[p]));
    }
    const std::vector<float> rest = {stage.bias, stage.threshold};
    add("bias_threshold", SafeTensor::from_floats({2}, rest));
  }
  return file;
}

FilterCascade FilterCascade::from(const SafeTensorFile& file, Backend& backend) {
  constexpr size_t kParts = 6;
  std::vector<FilterStage> stages(static_cast<size_t>(file.number("stages").value_or(0)));
  for (size_t c = 0; c < stages.size(); ++c) {
    FilterStage& stage = stages[c];
    const auto find = [&](const std::string& name) -> const SafeTensor& {
      const SafeTensor* found = file.find(fmt::format("{}.{}", c, name));
      if (found == nullptr) fail("[cascade] the file lacks '{}.{}'", c, name);
      return *found;
    };
    const auto get = [&](const std::string& name) {
      const SafeTensor& found = find(name);
      return Tensor::from(backend, found.shape, found.floats());
    };
    stage.axes = {get("centre"), get("axes"), get("axes_scale")};
    for (size_t p = 0; p < kParts; ++p) {
      stage.mean.push_back(get(fmt::format("mean.{}", p)));
      stage.scale.push_back(get(fmt::format("scale.{}", p)));
      stage.weights.push_back(get(fmt::format("weights.{}", p)));
    }
    const std::span<const float> rest = find("bias_threshold").floats();
    if (rest.size() != 2) fail("[cascade] expected a bias and a threshold, got {} numbers", rest.size());
    stage.bias = rest[0], stage.threshold = rest[1];
  }
  return FilterCascade(std::move(stages));
}

std::vector<float> cascade_thresholds(const std::vector<std::vector<float>>& scores, double allowed) {
  const size_t images = scores.at(0).size();
  const auto alarms = static_cast<size_t>(std::llround(allowed * static_cast<double>(images)));
  std::vector<size_t> passing(images);
  for (size_t i = 0; i < images; ++i) passing[i] = i;
  std::vector<float> thresholds;
  for (size_t stage = 0; stage < scores.size(); ++stage) {
    // So many alarms in all after this stage; those of the stages before are given.
    const size_t until = alarms * (stage + 1) / scores.size(), given = images - passing.size();
    const std::vector<float>& of = scores[stage];
    std::stable_sort(passing.begin(), passing.end(), [&](size_t a, size_t b) { return of[a] > of[b]; });
    const size_t ringing = std::min(until > given ? until - given : 0, passing.size() - 1);
    thresholds.push_back(of[passing[ringing]]);
    std::erase_if(passing, [&](size_t i) { return of[i] > thresholds.back(); });
  }
  return thresholds;
}

FilterCascade train_cascade(const Model& model, const CascadeImages& images, const CascadeOptions& options,
                            std::vector<TrainedStage>* told, const Progress& progress) {
  int64_t before = 0;
  const auto on = [&](int64_t done) {
    if (progress) progress(before + done);
  };
  const std::vector<FilterAxes> axes = filter_axes(model, images.axes);
  std::vector<Rows> clean = statistics_of(model, images.clean, axes, on);
  before += images.clean.count();
  std::vector<Rows> attacked = statistics_of(model, images.attacked, axes, on);
  before += images.attacked.count();
  std::vector<bool> positive(static_cast<size_t>(images.clean.count()), false);
  positive.resize(positive.size() + static_cast<size_t>(images.attacked.count()), true);
  std::vector<FilterStage> stages;
  std::vector<TrainedStage> trained;
  for (size_t c = 0; c < axes.size(); ++c) {
    std::vector<float> rows = std::move(clean[c].values);
    rows.insert(rows.end(), attacked[c].values.begin(), attacked[c].values.end());
    attacked[c].values = {};
    const Standard standard = standardise(rows, static_cast<size_t>(axes[c].statistics()));
    trained.push_back({axes[c].statistics(), train_svm(rows, positive, options.svm), 0});
    stages.push_back(stage_of(axes[c], standard, trained.back().svm));
  }
  const std::vector<float> thresholds =
      cascade_thresholds(scores_of(model, images.calibration, stages, on), options.false_alarms);
  for (size_t c = 0; c < stages.size(); ++c) stages[c].threshold = thresholds[c];
  if (told != nullptr) {
    before += images.calibration.count();
    const std::vector<std::vector<float>> scores = scores_of(model, images.attacked, stages, on);
    std::vector<bool> passing(scores.at(0).size(), true);
    for (size_t c = 0; c < stages.size(); ++c) {
      int64_t left = 0, found = 0;
      for (size_t i = 0; i < passing.size(); ++i) {
        if (!passing[i]) continue;
        ++left;
        passing[i] = !(scores[c][i] > thresholds[c]);
        found += !passing[i];
      }
      trained[c].found = left > 0 ? static_cast<double>(found) / static_cast<double>(left) : 0;
    }
    *told = std::move(trained);
  }
  return FilterCascade(std::move(stages));
}

WatchedNetwork::WatchedNetwork(std::shared_ptr<const Model> model, FilterCascade cascade)
    : model_(std::move(model)), cascade_(std::move(cascade)) {
  const int64_t classes = model_->outputs();
  std::vector<float> columns(static_cast<size_t>(classes * (classes + 1))),
      last(static_cast<size_t>(classes + 1));
  for (int64_t k = 0; k < classes; ++k) columns[static_cast<size_t>(k * (classes + 1) + k)] = 1;
  last.back() = 1;
  classes_ = Tensor::from(backend(), {classes, classes + 1}, columns);
  alarm_ = Tensor::from(backend(), {1, classes + 1}, last);
}

Tensor WatchedNetwork::logits(const Tensor& x, const Query& /*query*/) const {
  const Convolved seen = convolved(*model_, x);
  const Tensor alarm = row_max(seen.logits) + cascade_.excess(seen.convolutions);
  return matmul(seen.logits, classes_) + matmul(reshape(alarm, {x.dim(0), 1}), alarm_);
}

}  // namespace caltrop
