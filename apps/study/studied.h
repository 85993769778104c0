// What a study attacks: a network by itself, or a defended classifier, and what tells it from others in stored results.
#pragma once

#include <memory>
#include <string>

#include "defense/defence.h"
#include "engine/images.h"
#include "engine/metrics.h"

namespace caltrop {

struct Studied {
  Defended defended;
  std::string weights;  // CRC-32 of its networks: what was asked of it holds for no other
  double macs = 0;      // multiply-accumulates of an answer
};
std::shared_ptr<const Studied> studied(Model model);

// CRC-32 of a network's tensors, in hexadecimal. Not that of its file, which has metadata too.
std::string checksum_of(const Model& model);

// Images whose answer is their label, of all or of `rows`; an alarm is none.
int64_t right_answers(const Defended& defended, const Images& images);
int64_t right_answers(const Defended& defended, const Images& images, const std::vector<int64_t>& rows);
// "98.76 % (95 % interval 98.53 to 98.96 %)"
std::string accuracy_in_words(int64_t right, int64_t images);

}  // namespace caltrop
