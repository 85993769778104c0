#include "engine/optimizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <sstream>

#include "engine/error.h"
#include "engine/named.h"

namespace caltrop {
namespace {

constexpr std::array<const char*, 4> kRules = {"sgd", "adam", "rmsprop", "adagrad"};

bool needs_state(const OptimizerOptions& options, int slot) {
  if (slot == 1) return options.rule == Rule::adam;
  return options.rule != Rule::sgd || options.momentum != 0.0f;
}

std::string state_name(const std::string& optimizer, size_t parameter, int slot) {
  return fmt::format("{}.{}.{}", optimizer, parameter, slot + 1);
}

}  // namespace

Rule parse_rule(std::string_view name) {
  return parse_named<Rule>("optimiser", name, kRules);
}

std::string to_string(Rule rule) {
  return kRules[static_cast<size_t>(rule)];
}

Optimizer::Optimizer(const OptimizerOptions& options, std::vector<Tensor> parameters)
    : options_(options), parameters_(std::move(parameters)) {
  for (int slot = 0; slot < 2; ++slot) {
    if (!needs_state(options_, slot)) continue;
    for (const Tensor& parameter : parameters_)
      states_[slot].push_back(Tensor::zeros(parameter.backend(), parameter.shape()));
  }
  if (!parameters_.empty()) pace_ = Buffer<Pace>(parameters_[0].backend(), 1);
}

Pace adam_pace(double rate, int64_t t, float beta1) {
  const auto correction = [t](float beta) {
    return 1.0 - std::pow(static_cast<double>(beta), static_cast<double>(t));
  };
  return {static_cast<float>(rate / correction(beta1)),
          static_cast<float>(1.0 / std::sqrt(correction(Adam{}.beta2)))};
}

void Optimizer::step(const std::vector<Tensor>& gradients, float scale) {
  check(gradients);
  begin_step(scale);
  apply(gradients);
}

void Optimizer::begin_step(float scale) {
  ++steps_;
  if (!pace_) return;
  Pace pace{options_.rate * scale};
  if (options_.rule == Rule::adam) pace = adam_pace(static_cast<double>(pace.rate), steps_, options_.beta1);
  pace_.backend().upload(pace_.data(), &pace, sizeof pace);
}

void Optimizer::check(const std::vector<Tensor>& gradients) const {
  if (gradients.size() != parameters_.size()) {
    fail("[optimizer] expected {} gradients, got {}", parameters_.size(), gradients.size());
  }
  for (size_t k = 0; k < parameters_.size(); ++k) {
    if (gradients[k].shape() != parameters_[k].shape()) {
      fail("[optimizer] expected a gradient of shape {}, got {}", to_string(parameters_[k].shape()),
           to_string(gradients[k].shape()));
    }
  }
}

void Optimizer::apply(const std::vector<Tensor>& gradients) {
  check(gradients);
  if (parameters_.empty()) return;
  std::vector<ParameterUpdate> updates;
  for (size_t k = 0; k < parameters_.size(); ++k) {
    updates.push_back({parameters_[k].mutable_data(), gradients[k].data(),
                       states_[0].empty() ? nullptr : states_[0][k].mutable_data(),
                       states_[1].empty() ? nullptr : states_[1][k].mutable_data(), parameters_[k].size()});
  }
  const float decay = options_.weight_decay;
  Backend& backend = parameters_[0].backend();
  switch (options_.rule) {
    case Rule::sgd:
      return backend.sgd(updates, {options_.momentum, decay, options_.nesterov}, pace_.data());
    case Rule::adam:
      return backend.adam(updates, {.beta1 = options_.beta1, .weight_decay = decay}, pace_.data());
    case Rule::rmsprop:
      return backend.rmsprop(updates, {.weight_decay = decay}, pace_.data());
    case Rule::adagrad:
      return backend.adagrad(updates, {.weight_decay = decay}, pace_.data());
  }
}

void Optimizer::save(SafeTensorFile& file, const std::string& name) const {
  file.metadata[name + ".steps"] = std::to_string(steps_);
  for (int slot = 0; slot < 2; ++slot) {
    for (size_t k = 0; k < states_[slot].size(); ++k) {
      file.tensors.emplace_back(
          state_name(name, k, slot),
          SafeTensor::from_floats(states_[slot][k].shape(), states_[slot][k].to_host()));
    }
  }
}

void Optimizer::load(const SafeTensorFile& file, const std::string& name) {
  const auto stated = file.metadata.find(name + ".steps");
  if (stated == file.metadata.end()) fail("the checkpoint holds no state of an optimiser");
  const std::optional<int64_t> steps = file.number(name + ".steps");
  if (!steps) fail("the checkpoint states '{}' optimiser steps; expected a number", stated->second);
  for (int slot = 0; slot < 2; ++slot) {
    for (size_t k = 0; k < states_[slot].size(); ++k) {
      const std::string key = state_name(name, k, slot);
      const SafeTensor* found = file.find(key);
      if (!found || found->shape != states_[slot][k].shape())
        fail("the checkpoint lacks '{}' of shape {}", key, to_string(states_[slot][k].shape()));
      const std::span<const float> values = found->floats();
      states_[slot][k].backend().upload(states_[slot][k].mutable_data(), values.data(), values.size_bytes());
    }
  }
  steps_ = *steps;
}

Schedule Schedule::parse(std::string_view text) {
  std::istringstream words{std::string(text)};
  std::string name, rest;
  Schedule schedule;
  schedule.text_ = text;
  words >> name;
  int numbers = 0;
  if (name == "linear") {
    schedule.kind_ = Kind::linear;
  } else if (name == "cosine") {
    schedule.kind_ = Kind::cosine;
  } else if (name == "triangle") {
    schedule.kind_ = Kind::triangle;
    numbers = 1;
  } else if (name == "step") {
    schedule.kind_ = Kind::step;
    numbers = 2;
  } else if (name != "constant") {
    fail("unknown schedule '{}': expected constant, linear, cosine, triangle PEAK or step EVERY FACTOR",
         text);
  }
  if (numbers > 0) words >> schedule.first_;
  if (numbers > 1) words >> schedule.second_;
  const bool complete = !words.fail();
  words >> rest;
  const bool share = numbers == 0 || (schedule.first_ > 0.0 && schedule.first_ < 1.0);
  const bool factor = numbers < 2 || (schedule.second_ > 0.0 && schedule.second_ <= 1.0);
  if (!complete || !rest.empty() || !share || !factor) {
    fail(
        "bad schedule '{}': expected triangle PEAK with 0 < PEAK < 1, or step EVERY FACTOR with 0 < EVERY < "
        "1 and 0 < FACTOR <= 1",
        text);
  }
  return schedule;
}

float Schedule::factor(double progress) const {
  const double p = std::clamp(progress, 0.0, 1.0);
  switch (kind_) {
    case Kind::constant:
      return 1.0f;
    case Kind::linear:
      return static_cast<float>(1.0 - p);
    case Kind::cosine:
      return static_cast<float>(0.5 * (1.0 + std::cos(std::numbers::pi * p)));
    case Kind::triangle:
      return static_cast<float>(p < first_ ? p / first_ : (1.0 - p) / (1.0 - first_));
    case Kind::step:
      return static_cast<float>(std::pow(second_, std::floor(p / first_)));
  }
  return 1.0f;
}

}  // namespace caltrop
