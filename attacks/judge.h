// What became of the rows of a try, measured on the images that will be stored, and the best of several tries.
#pragma once

#include <vector>

#include "attacks/attack_rows.h"

namespace caltrop {

struct Judged {
  Tensor delta, adversarial;  // (r,h,w,c), see AttackResult
  std::vector<AttackRow> rows;
};

Judged judge(Workbench& bench, const Rows& rows, const Found& found);

// The best that was found for each row.
class Best {
 public:
  explicit Best(const AttackOptions& options) : options_(options) {}

  bool empty() const { return rows_.empty(); }
  const std::vector<AttackRow>& rows() const { return rows_; }
  // Takes over the rows in which this try beats those before it; the first try, of all rows, as it is. `places`
  // are those of its rows.
  void take_over(const Places& places, Judged found);
  void move_to(AttackResult& result);

 private:
  bool beats(const AttackRow& now, const AttackRow& before) const;

  const AttackOptions& options_;
  Tensor delta_, adversarial_;
  std::vector<AttackRow> rows_;
};

}  // namespace caltrop
