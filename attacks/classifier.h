// What an attack sees of a classifier: logits that can be differentiated with respect to pixels.
//
// A Model is one (Network). Others are wrappers: a defence in front of a network, an average over the random
// draws of one (attacks/adaptive.h), an ensemble. An attack asks through a Query, which says for which images
// and in which step: a classifier that draws random numbers draws them from that and from nothing else, so
// that a row's answer depends neither on its batch nor on the threads.
//
// The verdict on a classifier that draws: it says the class whose probability is the largest in the mean over
// kVerdictDraws draws. Clean predictions, success and the stored prediction are verdicts, and an attack that ends
// where an image is fooled (deepfool, fab, square, cw) asks for one: a single lucky draw proves nothing. A
// class that three answers of four name wins 97 verdicts of 100.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/model.h"
#include "engine/tensor.h"

namespace caltrop {

struct Query {
  std::span<const int64_t> images = {};  // of each row: the number of its image in its set
  uint64_t step = 0;                     // counts the questions that an attack asks about a row; below 2^24
  uint64_t draw = 0;                     // numbers the repetitions of one question; below 2^8
};
// Of a random classifier, behind each verdict. They number the draws of a question from 0, as EOT does.
inline constexpr int64_t kVerdictDraws = 16;
// The steps of questions that are no part of an attack's own counting: about the clean image, and at the end.
inline constexpr uint64_t kCleanStep = (1u << 24) - 2, kFinalStep = (1u << 24) - 1;

// Logits (n,k) -> one or more values (n) for each row, whose gradients are wanted.
using Objectives = std::function<std::vector<Tensor>(const Tensor& logits)>;

struct Pass {
  Tensor logits;                  // (n,k)
  std::vector<Tensor> values;     // (n) each
  std::vector<Tensor> gradients;  // (n,h,w,c) each: of the sum over rows, so of each row's own value
};

class Classifier {
 public:
  virtual ~Classifier() = default;

  // x (n,h,w,c) in the box -> (n,outputs), tracked where x is. Safe to call from several threads.
  virtual Tensor logits(const Tensor& x, const Query& query) const = 0;
  // The logits; of a random classifier the logarithms of its mean probabilities, to be read like logits.
  Tensor verdict(const Tensor& x, const Query& query) const;
  // Passes forward for one verdict.
  int64_t verdict_passes() const { return random() ? kVerdictDraws : 1; }
  // One pass forward, and one backward for each objective.
  virtual Pass differentiate(const Tensor& x, const Objectives& objectives, const Query& query) const;

  virtual const ImageShape& input() const = 0;
  virtual int64_t outputs() const = 0;
  virtual Backend& backend() const = 0;
  virtual int64_t chunk() const = 0;             // images that go best through it together
  virtual bool random() const { return false; }  // whether two draws of one question can differ
  virtual int64_t passes() const { return 1; }   // through a network, for one differentiate()

  int64_t image_size() const { return input().height * input().width * input().channels; }
};

// A network without more; the Model must outlive it.
class Network final : public Classifier {
 public:
  explicit Network(const Model& model) : model_(model) {}
  Tensor logits(const Tensor& x, const Query&) const override { return model_.forward(x); }
  const ImageShape& input() const override { return model_.input(); }
  int64_t outputs() const override { return model_.outputs(); }
  Backend& backend() const override { return model_.backend(); }
  int64_t chunk() const override { return model_.chunk(); }

 private:
  const Model& model_;
};

// A classifier in front of another, which must outlive it: as that one is, but where a derived class says otherwise.
class Wrapper : public Classifier {
 public:
  Tensor logits(const Tensor& x, const Query& query) const override { return inner_.logits(x, query); }
  const ImageShape& input() const override { return inner_.input(); }
  int64_t outputs() const override { return inner_.outputs(); }
  Backend& backend() const override { return inner_.backend(); }
  int64_t chunk() const override { return inner_.chunk(); }
  bool random() const override { return inner_.random(); }
  int64_t passes() const override { return inner_.passes(); }

 protected:
  explicit Wrapper(const Classifier& inner) : inner_(inner) {}
  const Classifier& inner() const { return inner_; }

 private:
  const Classifier& inner_;
};

}  // namespace caltrop
