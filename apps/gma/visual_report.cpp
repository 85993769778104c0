#include "apps/gma/visual_report.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "apps/core/console.h"
#include "apps/core/run_folder.h"
#include "apps/core/text_layout.h"
#include "apps/paper/attack_study.h"
#include "apps/report/image_sheet.h"
#include "apps/report/table.h"
#include "attacks/attack_images.h"
#include "attacks/gma.h"
#include "attacks/similarity.h"
#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/inference.h"

namespace caltrop {
namespace {

// 3 e^-1 = 1.10, 1 e^-1 = 0.37, 1 e^-3 = 0.05, 0.1 e^-6 = 0.00025: from the largest to the smallest.
bool is_shown(const GmaSize& size) {
  constexpr std::array<std::pair<double, int>, 4> kShown = {{{3.0, 1}, {1.0, 1}, {1.0, 3}, {0.1, 6}}};
  return std::find(kShown.begin(), kShown.end(), std::pair(size.v, size.i)) != kShown.end();
}

std::string norm_text(Norm norm) {
  return norm == Norm::linf ? "L-inf" : norm == Norm::l2 ? "L2" : "L1";
}

float rounded(float pixel) {
  return static_cast<float>(to_byte(std::clamp(pixel, 0.0f, 1.0f))) / 255.0f;
}

// Sums over the images attacked with one size.
struct Similarity {
  int64_t images = 0, correct = 0, fooled = 0, fooled_rounded = 0;
  double l2 = 0, linf = 0, squares = 0, ssim = 0, changed = 0;
};

struct Shown {
  int64_t row = 0;  // of the images
  int32_t label = 0;
};

std::vector<Shown> first_of_each_class(const VisualInput& input) {
  std::vector<Shown> shown;
  const std::vector<int32_t> said = argmax_rows(predict(input.model, input.images), input.model.outputs());
  for (int32_t k = 0; k < static_cast<int32_t>(input.class_names.size()); ++k) {
    for (int64_t i = 0; i < input.images.count(); ++i) {
      if (input.images.labels()[static_cast<size_t>(i)] != k || said[static_cast<size_t>(i)] != k) continue;
      shown.push_back({i, k});
      break;
    }
  }
  if (shown.empty()) fail("the network gets no image right: there is nothing to show");
  return shown;
}

// A class without a column is missed by who looks at the sheet.
std::vector<std::string> classes_without(const std::vector<Shown>& shown,
                                         const std::vector<std::string>& names) {
  std::vector<std::string> missing;
  for (size_t k = 0; k < names.size(); ++k) {
    const bool there = std::any_of(shown.begin(), shown.end(),
                                   [&](const Shown& one) { return one.label == static_cast<int32_t>(k); });
    if (!there) missing.push_back(names[k]);
  }
  return missing;
}

struct Said {
  std::vector<int32_t> label;
  std::vector<double> confidence;
};

Said say(const Model& model, const Tensor& x) {
  const NoGrad values_only;
  const Tensor p = softmax(model.forward(x));
  const std::vector<float> rows = p.to_host();
  Said said{argmax_rows(rows, model.outputs()), {}};
  for (size_t i = 0; i < said.label.size(); ++i) {
    said.confidence.push_back(static_cast<double>(
        rows[i * static_cast<size_t>(model.outputs()) + static_cast<size_t>(said.label[i])]));
  }
  return said;
}

class Visual {
 public:
  Visual(const VisualInput& input, Console& console)
      : input_(input), console_(console), columns_(first_of_each_class(input)) {
    const ImageShape& shape = input.images.shape();
    const std::vector<std::string> missing = classes_without(columns_, input.class_names);
    if (!missing.empty()) {
      console.warn("no column for {}: among these {} images the network gets none of it right; take more",
                   fmt::join(missing, ", "), input.images.count());
    }
    for (ImageSheet* sheet : {&sheet_, &perturbations_}) {
      sheet->title = input.title;
      sheet->height = shape.height, sheet->width = shape.width;
      for (const Shown& shown : columns_)
        sheet->columns.push_back(input.class_names[static_cast<size_t>(shown.label)]);
    }
    perturbations_.title += ": perturbations, each magnified to its largest value";
    perturbations_.perturbations = true;
    std::vector<int64_t> rows;
    rows.reserve(columns_.size());
    for (const Shown& shown : columns_) rows.push_back(shown.row);
    const Tensor x = input.images.pixels(rows);
    add_row(sheet_, "clean", x.to_host(), say(input.model, x), true);
  }

  void add(const VisualAttack& attack) {
    show(attack);
    measure(attack);
  }

  VisualReport write(const RunFolder& folder, const std::string& stem) const {
    folder.write_table(stem + "-similarity", table_);
    return {table_, write_image_sheet(folder, stem, sheet_),
            write_image_sheet(folder, stem + "-perturbation", perturbations_)};
  }

 private:
  std::string words(int32_t label, double confidence) const {
    const auto at = static_cast<size_t>(label);
    const std::string name =
        at < input_.class_names.size() ? input_.class_names[at] : fmt::format("{}", label);
    return fmt::format("{} {:.0f} %", name, 100 * confidence);
  }

  // One image for each column.
  void add_row(ImageSheet& sheet, const std::string& title, const std::vector<float>& pixels,
               const Said& said, bool with_words) const {
    sheet.rows.push_back(title);
    std::vector<SheetCell> cells;
    const auto size = static_cast<std::ptrdiff_t>(input_.images.image_size());
    for (size_t c = 0; c < columns_.size(); ++c) {
      const auto begin = pixels.begin() + static_cast<std::ptrdiff_t>(c) * size;
      cells.push_back({{begin, begin + size},
                       with_words ? words(said.label[c], said.confidence[c]) : "",
                       said.label[c] != columns_[c].label});
    }
    sheet.cells.push_back(std::move(cells));
  }

  void show(const VisualAttack& attack) {
    std::vector<float> sizes;
    for (size_t s = 0; s < attack.sizes.size(); ++s) {
      if (attack.shown[s]) sizes.push_back(attack.sizes[s]);
    }
    std::sort(sizes.begin(), sizes.end());
    AttackBatch batch;
    for (const Shown& shown : columns_) {
      batch.indices.push_back(shown.row);
      batch.labels.push_back(shown.label);
    }
    batch.x = input_.images.pixels(batch.indices);
    const AttackResult result = craft(input_.model, batch, sizes, attack.how);
    const std::vector<float> adversarial = result.adversarial.to_host(), delta = result.delta.to_host();
    const Said all = say(input_.model, result.adversarial);
    const auto size = static_cast<size_t>(input_.images.image_size());
    for (size_t s = 0; s < sizes.size(); ++s) {
      const std::string title =
          fmt::format("{} {} {:.2g}", attack.name, norm_text(attack.how.norm), sizes[s]);
      std::vector<float> images, changes;
      Said said;
      for (size_t c = 0; c < columns_.size(); ++c) {
        const size_t row = c * sizes.size() + s;
        const auto pick = [&](const std::vector<float>& from, std::vector<float>& to) {
          to.insert(to.end(), from.begin() + static_cast<std::ptrdiff_t>(row * size),
                    from.begin() + static_cast<std::ptrdiff_t>((row + 1) * size));
        };
        pick(adversarial, images);
        pick(delta, changes);
        said.label.push_back(all.label[row]);
        said.confidence.push_back(all.confidence[row]);
      }
      add_row(sheet_, title, images, said, true);
      add_row(perturbations_, title, changes, said, false);
    }
  }

  void measure(const VisualAttack& attack) {
    const ImageShape shape = input_.images.shape();
    const int64_t size = input_.images.image_size(),
                  images = std::min(input_.measured, input_.images.count());
    std::vector<Similarity> sums(attack.sizes.size());
    AttackJob job{.rows = row_range(0, images)};
    ProgressLine progress(console_, attack.name + " " + to_string(attack.how.norm), images, "images");
    job.progress = [&](int64_t done) {
      progress.at(done);
    };
    job.sink = [&](int64_t, const AttackResult& chunk) {
      const std::vector<float> adversarial = chunk.adversarial.to_host(), delta = chunk.delta.to_host();
      std::vector<float> stored(adversarial.size());
      std::transform(adversarial.begin(), adversarial.end(), stored.begin(), rounded);
      const Said said =
          say(input_.model, Tensor::from(input_.images.backend(), chunk.adversarial.shape(), stored));
      for (size_t row = 0; row < chunk.rows.size(); ++row) {
        const AttackedImage& image = chunk.images[row / sums.size()];
        Similarity& sum = sums[row % sums.size()];
        const auto from = static_cast<size_t>(size) * row;
        std::vector<float> clean(static_cast<size_t>(size));
        int64_t changed = 0;
        double squares = 0;
        for (size_t p = 0; p < clean.size(); ++p) {
          const double d = static_cast<double>(delta[from + p]);
          clean[p] = adversarial[from + p] - delta[from + p];
          squares += d * d;
          changed += to_byte(clean[p]) != to_byte(adversarial[from + p]);
        }
        ++sum.images;
        sum.l2 += static_cast<double>(chunk.rows[row].l2);
        sum.linf += static_cast<double>(chunk.rows[row].linf);
        sum.squares += squares;
        sum.ssim += structural_similarity(clean, std::span(adversarial).subspan(from, clean.size()), shape);
        sum.changed += static_cast<double>(changed) / static_cast<double>(size);
        if (image.clean_prediction != image.label) continue;
        ++sum.correct;
        const bool fooled = chunk.rows[row].prediction != image.label;
        sum.fooled += fooled;
        sum.fooled_rounded += fooled && said.label[row] != image.label;
      }
    };
    (void)attack_images(input_.model, input_.images, attack.sizes, attack.how, job);
    progress.finish();
    for (size_t s = 0; s < sums.size(); ++s) add_numbers(attack, s, sums[s]);
  }

  void add_numbers(const VisualAttack& attack, size_t s, const Similarity& sum) {
    const auto n = static_cast<double>(std::max<int64_t>(1, sum.images));
    const double mse = sum.squares / (n * static_cast<double>(input_.images.image_size()));
    table_.row({attack.name, to_string(attack.how.norm), attack.size_names[s],
                static_cast<double>(attack.sizes[s]), sum.l2 / n, sum.linf / n,
                mse > 0 ? Cell{peak_signal_to_noise(mse)} : Cell{}, sum.ssim / n, sum.changed / n,
                quotient(sum.fooled, sum.correct), quotient(sum.fooled_rounded, sum.fooled)});
  }

  const VisualInput& input_;
  Console& console_;
  std::vector<Shown> columns_;
  ImageSheet sheet_, perturbations_;
  Table table_{{{"attack", "attack"},
                {"norm", "norm"},
                {"size", "size"},
                {"eps", "epsilon", Column::Kind::general, 3},
                {"l2", "L2", Column::Kind::number, 3},
                {"linf", "L-inf", Column::Kind::number, 4},
                {"psnr", "PSNR dB", Column::Kind::number, 1},
                {"ssim", "SSIM", Column::Kind::number, 4},
                {"changed", "pixels changed, 8 bits", Column::Kind::percent, 1},
                {"fooled", "fooled of right", Column::Kind::percent, 1},
                {"still_fooled", "of those, after rounding", Column::Kind::percent, 1}}};
};

}  // namespace

std::vector<VisualAttack> visual_attacks(const std::vector<Norm>& norms, const std::string& dataset,
                                         uint64_t seed) {
  std::vector<VisualAttack> attacks;
  const std::vector<GmaSize> sizes = gma_sizes();
  for (const Norm norm : norms) {
    VisualAttack gma{.name = "GMA", .how = gma_attack(AttackKind::pgd, norm), .sizes = eps_of(sizes)};
    for (const GmaSize& size : sizes) {
      gma.size_names.push_back(size.name());
      gma.shown.push_back(is_shown(size));
    }
    attacks.push_back(std::move(gma));
  }
  for (const StudyAttack& one : big_attacks(dataset)) {
    std::vector<float> big = eps_of(one.sizes);
    VisualAttack attack{.name = upper(one.name), .how = one.options};
    // It seeks the smallest perturbation, whatever the size, which only bounds what counts.
    if (is_minimum_norm(attack.how.kind)) big.erase(big.begin(), big.end() - 1);
    attack.sizes = big;
    attack.how.seed = seed;
    for (const float size : big) attack.size_names.push_back(fmt::format("{:g}", size));
    attack.shown.assign(big.size(), false);
    attack.shown.front() = attack.shown.back() = true;
    attacks.push_back(std::move(attack));
  }
  return attacks;
}

VisualReport write_visual(const RunFolder& folder, const std::string& stem, const VisualInput& input,
                          const std::vector<VisualAttack>& attacks, Console& console) {
  Visual visual(input, console);
  for (const VisualAttack& attack : attacks) visual.add(attack);
  return visual.write(folder, stem);
}

}  // namespace caltrop
