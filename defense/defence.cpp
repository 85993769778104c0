#include "defense/defence.h"

#include <algorithm>

#include "defense/cycles.h"
#include "defense/filters/filter_statistics.h"
#include "defense/training/adversarial.h"
#include "defense/training/alp.h"
#include "defense/training/ape_gan.h"
#include "defense/training/bilateral.h"
#include "defense/training/distillation.h"
#include "defense/training/fast.h"
#include "defense/training/feature_denoising.h"
#include "defense/training/free.h"
#include "defense/training/gaussian.h"
#include "defense/training/masking.h"
#include "defense/training/trades.h"
#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/ops.h"
#include "engine/text.h"

namespace caltrop {

namespace {

// `rows`: the numbers of the images, from which a classifier that draws takes what it draws.
std::vector<int32_t> answers_to(const Defended& defended, const Tensor& x, const std::vector<int64_t>& rows) {
  if (defended.answers) return defended.answers(x);
  const NoGrad values_only;
  return argmax(defended.classifier->verdict(x, {.images = rows, .step = kFinalStep})).to_host();
}

}  // namespace

std::vector<int32_t> Defended::operator()(const Tensor& x) const {
  return answers_to(*this, x, row_range(0, x.dim(0)));
}

std::vector<int32_t> Defended::operator()(const Tensor& x, const std::vector<int64_t>& images) const {
  return answers_to(*this, x, images);
}

std::vector<int32_t> Defended::operator()(const ImageSource& images) const {
  std::vector<int32_t> all(static_cast<size_t>(images.count()));
  for_chunks(images.backend(), images.count(), classifier->chunk(), [&](int64_t begin, int64_t end) {
    const std::vector<int64_t> rows = row_range(begin, end);
    std::ranges::copy(answers_to(*this, images.pixels(rows), rows), all.begin() + begin);
  });
  return all;
}

Defended defended_by(std::shared_ptr<const Model> model, int64_t classes) {
  if (classes > 0 && model->outputs() != classes + 1)
    fail("[defence] expected a logit for each of {} classes and an alarm, got {}", classes, model->outputs());
  struct Held {
    std::shared_ptr<const Model> model;
    Network network;
  };
  const auto held = std::make_shared<Held>(Held{model, Network(*model)});
  return {.classifier = std::shared_ptr<const Classifier>(held, &held->network),
          .detects = classes > 0,
          .parameters = count_parameters(model->architecture(), model->input()),
          .model = model};
}

const std::vector<DefenceInfo>& defences() {
  static const std::vector<DefenceInfo> all = {eat_info(),          mia_info(),
                                               adversarial_info(),  trades_info(),
                                               free_info(),         fast_info(),
                                               alp_info(),          bilateral_info(),
                                               distillation_info(), masking_info(),
                                               gaussian_info(),     feature_denoising_info(),
                                               ape_gan_info(),      filter_statistics_info()};
  return all;
}

const DefenceInfo& defence_info(std::string_view name) {
  const auto found = std::ranges::find(defences(), name, &DefenceInfo::name);
  if (found == defences().end()) fail("unknown defence '{}'", shown(name));
  return *found;
}

}  // namespace caltrop
