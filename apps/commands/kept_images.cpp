#include "apps/commands/kept_images.h"

#include "apps/report/attack_report.h"

namespace caltrop {
namespace {

constexpr int64_t kShownImages = 10;

}  // namespace

KeptImages::KeptImages(const Images& images, int64_t stored)
    : images_(images),
      stored_(stored),
      set_{images.shape()},
      shown_{images.shape()},
      table_({{"index", "index", Column::Kind::count},
              {"label", "label", Column::Kind::count},
              {"clean_prediction", "clean prediction", Column::Kind::count},
              {"target", "target", Column::Kind::count},
              {"prediction", "prediction", Column::Kind::count},
              {"success", "success", Column::Kind::count},
              {"by", "by"},
              {"loss", "loss", Column::Kind::general, 4},
              {"linf", "L-inf", Column::Kind::general, 4},
              {"l2", "L2", Column::Kind::general, 4},
              {"l1", "L1", Column::Kind::general, 4},
              {"l0", "L0", Column::Kind::count},
              {"forward_passes", "forward", Column::Kind::count},
              {"backward_passes", "backward", Column::Kind::count}}) {}

void KeptImages::add(const AttackResult& chunk) {
  keep(chunk, images_, set_, stored_ - set_.images());
  keep(chunk, images_, shown_, kShownImages - shown_.images());
  for (size_t i = 0; i < chunk.images.size(); ++i) {
    const AttackedImage& image = chunk.images[i];
    const AttackRow& row = chunk.rows[i];
    fooled_.add(image, row);
    table_.row({image.index, int64_t{image.label}, int64_t{image.clean_prediction},
                image.target < 0 ? Cell() : Cell(int64_t{image.target}), int64_t{row.prediction},
                int64_t{row.success}, to_string(row.by), static_cast<double>(row.loss),
                static_cast<double>(row.linf), static_cast<double>(row.l2), static_cast<double>(row.l1),
                int64_t{row.l0}, image.forward_passes, image.backward_passes});
  }
}

void KeptImages::write(const RunFolder& folder) const {
  write_attacked_set(folder.file("adversarial.npz"), set_);
  write_attack_grid(folder, "grid.png", shown_);
  folder.write("images.csv", table_.csv());
}

}  // namespace caltrop
