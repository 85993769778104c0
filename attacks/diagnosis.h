// What makes an evaluation of robustness doubtful before it begins (Croce & Hein's checks.py; Carlini et al.,
// "On evaluating adversarial robustness", 2019).
#pragma once

#include <string>
#include <vector>

#include "attacks/attack_images.h"
#include "attacks/classifier.h"
#include "engine/ops.h"

namespace caltrop {

struct Diagnosis {
  int64_t images = 0;
  bool random = false;         // two looks at the same image gave other logits
  bool probabilities = false;  // each row is in [0,1] and sums to 1: softmax instead of logits
  int64_t zero_gradients = 0;  // images at which the cross-entropy has no gradient
};
// Looks at the first images, at most 64.
Diagnosis diagnose(const Classifier& classifier, const Images& images);

// How many of the first `count` images have no gradient of cross-entropy at all, in fp32: as attacks here take it, or as
// PyTorch computes it.
int64_t zero_gradients(const Classifier& classifier, const Images& images, int64_t count,
                       CrossEntropyGrad style = CrossEntropyGrad::stable);

// Sentences for people, one for each reason to doubt.
std::vector<std::string> doubts(const Diagnosis& diagnosis, bool averaged);
// Where an attack of these options is an ascent by its default steps, which as PGD under L-inf left more than a point of
// robust accuracy to APGD in the table of docs/attacks.md: so many words, and whether it is the one measured; else "".
std::string flattering(const AttackOptions& options);
// The same once it is done, one for each kind of anomaly: violations, zero and NaN gradients, and a search without
// gradients that fools what gradients did not. `fooled_by`: of autoattack, images that were right, by the attack that
// fooled them.
std::vector<std::string> anomalies(const AttackSummary& summary,
                                   const std::map<std::string, int64_t>& fooled_by);

}  // namespace caltrop
