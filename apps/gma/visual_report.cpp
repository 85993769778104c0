#include "apps/gma/visual_report.h"

#include <algorithm>
#include <array>

#include "apps/core/console.h"
#include "apps/core/run_folder.h"
#include "apps/core/text_layout.h"
#include "apps/report/image_sheet.h"
#include "apps/report/table.h"
#include "attacks/gma.h"
#include "attacks/similarity.h"
#include "engine/error.h"
#include "engine/inference.h"

namespace caltrop {
namespace {

bool is_gma(const GmaSize& size) {
  return size.v > 0;
}

// The sizes that have a row in the sheets, the smallest first.
std::vector<float> shown_sizes(const std::vector<GmaSize>& sizes) {
  // 3 e^-1 = 1.10, 1 e^-1 = 0.37, 1 e^-3 = 0.05, 0.1 e^-6 = 0.00025.
  constexpr std::array<std::pair<double, int>, 4> kShown = {{{3.0, 1}, {1.0, 1}, {1.0, 3}, {0.1, 6}}};
  std::vector<float> shown;
  for (const GmaSize& size : sizes) {
    const bool of_gma = std::ranges::count(kShown, std::pair(size.v, size.i)) > 0;
    if (is_gma(size) ? of_gma : &size == &sizes.front() || &size == &sizes.back()) shown.push_back(size.eps);
  }
  std::ranges::sort(shown);
  return shown;
}

// One image of each class under all attacks, and their perturbations.
class Sheets {
 public:
  explicit Sheets(const VisualInput& input)
      : input_(input),
        columns_(
            first_of_each_class(input.model, input.images, static_cast<int64_t>(input.class_names.size()))) {
    if (columns_.labels.empty()) fail("the network gets no image right: there is nothing to show");
    const ImageShape& shape = input.images.shape();
    images_.title = input.title;
    images_.height = shape.height, images_.width = shape.width;
    for (const int32_t label : columns_.labels)
      images_.columns.push_back(input.class_names[static_cast<size_t>(label)]);
    perturbations_ = images_;
    perturbations_.title += ": perturbations, each magnified to its largest value";
    perturbations_.perturbations = true;
    add_row(images_, "clean", columns_.x.to_host(), likeliest(input.model, columns_.x));
  }

  // A class without a column is missed by who looks at the sheet.
  std::vector<std::string> missing() const {
    std::vector<std::string> names = input_.class_names;
    std::erase_if(names, [&](const auto& name) { return std::ranges::count(images_.columns, name) > 0; });
    return names;
  }

  void add(const StudyAttack& attack) {
    const std::vector<float> sizes = shown_sizes(attack.sizes);
    const AttackResult result = craft(input_.model, columns_, sizes, attack.options);
    const std::vector<float> adversarial = result.adversarial.to_host(), delta = result.delta.to_host();
    const Likeliest said = likeliest(input_.model, result.adversarial);
    for (size_t s = 0; s < sizes.size(); ++s) {
      const std::string title =
          fmt::format("{} {} {:.2g}", attack.name, norm_title(attack.options.norm), sizes[s]);
      add_row(images_, title, adversarial, said, s, sizes.size());
      add_row(perturbations_, title, delta, said, s, sizes.size());
    }
  }

  const ImageSheet& images() const { return images_; }
  const ImageSheet& perturbations() const { return perturbations_; }

 private:
  std::string words(const Likeliest& said, size_t row) const {
    const auto label = static_cast<size_t>(said.label[row]);
    const std::string name =
        label < input_.class_names.size() ? input_.class_names[label] : fmt::format("{}", label);
    return fmt::format("{} {:.0f} %", name, 100 * static_cast<double>(said.probability[row]));
  }

  // The images of size `s` among `sizes`, one for each column.
  void add_row(ImageSheet& sheet, const std::string& title, const std::vector<float>& pixels,
               const Likeliest& said, size_t s = 0, size_t sizes = 1) const {
    sheet.rows.push_back(title);
    std::vector<SheetCell>& cells = sheet.cells.emplace_back();
    const auto size = static_cast<std::ptrdiff_t>(input_.images.image_size());
    for (size_t c = 0; c < columns_.labels.size(); ++c) {
      const size_t row = c * sizes + s;
      const auto begin = pixels.begin() + static_cast<std::ptrdiff_t>(row) * size;
      cells.push_back({{begin, begin + size},
                       sheet.perturbations ? "" : words(said, row),
                       said.label[row] != columns_.labels[c]});
    }
  }

  const VisualInput& input_;
  AttackBatch columns_;
  ImageSheet images_, perturbations_;
};

Table similarity_table() {
  return Table({{"attack", "attack"},
                {"norm", "norm"},
                {"size", "size"},
                {"eps", "epsilon", Column::Kind::general, 3},
                {"l2", "L2", Column::Kind::number, 3},
                {"linf", "L-inf", Column::Kind::number, 4},
                {"psnr", "PSNR dB", Column::Kind::number, 1},
                {"ssim", "SSIM", Column::Kind::number, 4},
                {"changed", "pixels changed, 8 bits", Column::Kind::percent, 1},
                {"fooled", "fooled of right", Column::Kind::percent, 1},
                {"still_fooled", "of those, after rounding", Column::Kind::percent, 1}});
}

void measure(const VisualInput& input, const StudyAttack& attack, Table& table, Console& console) {
  const std::string norm = to_string(attack.options.norm);
  ProgressLine progress(console, attack.name + " " + norm, std::min(input.measured, input.images.count()),
                        "images");
  const std::vector<Similarity> found =
      measure_similarity(input.model, input.images, input.measured, eps_of(attack.sizes), attack.options,
                         [&](int64_t done) { progress.at(done); });
  for (size_t s = 0; s < found.size(); ++s) {
    const GmaSize& size = attack.sizes[s];
    const Similarity& one = found[s];
    table.row({attack.name, norm, is_gma(size) ? size.name() : fmt::format("{:g}", size.eps),
               static_cast<double>(size.eps), one.l2, one.linf,
               one.squared_error > 0 ? Cell{peak_signal_to_noise(one.squared_error)} : Cell{}, one.ssim,
               one.changed, quotient(one.fooled, one.correct), quotient(one.fooled_rounded, one.fooled)});
  }
}

}  // namespace

std::vector<StudyAttack> visual_attacks(const std::vector<Norm>& norms, const std::string& dataset,
                                        uint64_t seed) {
  std::vector<StudyAttack> attacks;
  for (const Norm norm : norms) attacks.push_back({"GMA", gma_attack(AttackKind::pgd, norm), gma_sizes()});
  for (const BigAttack& big : big_attacks(dataset)) {
    std::span<const float> sizes = big.sizes;
    // It seeks the smallest perturbation, whatever the size, which only bounds what counts.
    if (is_minimum_norm(big.options.kind)) sizes = sizes.last(1);
    attacks.push_back({upper(to_string(big.options.kind)), big.options, plain_sizes(sizes)});
    attacks.back().options.seed = seed;
  }
  return attacks;
}

VisualReport write_visual(const RunFolder& folder, const std::string& stem, const VisualInput& input,
                          const std::vector<StudyAttack>& attacks, Console& console) {
  Sheets sheets(input);
  if (const std::vector<std::string> missing = sheets.missing(); !missing.empty()) {
    console.warn("no column for {}: among these {} images the network gets none of it right; take more",
                 fmt::join(missing, ", "), input.images.count());
  }
  Table table = similarity_table();
  for (const StudyAttack& attack : attacks) {
    sheets.add(attack);
    measure(input, attack, table, console);
  }
  folder.write_table(stem + "-similarity", table);
  return {table, write_image_sheet(folder, stem, sheets.images()),
          write_image_sheet(folder, stem + "-perturbation", sheets.perturbations())};
}

}  // namespace caltrop
