// A stored set of attacked images, and what the run that made it says of it in config.json beside the file.
#pragma once

#include <optional>
#include <string>

#include "apps/core/setup.h"
#include "apps/core/size.h"
#include "data/attacked_set.h"

namespace caltrop {

struct StoredSet {
  std::string file;  // absolute
  AttackedSet set;
  Json config = Json::object();  // empty where none lies beside the file

  // A value of config.json; what is there of another type counts as absent.
  std::string text(const char* key) const;  // "": absent
  std::optional<double> number(const char* key) const;
  std::optional<Size> size(const char* key) const;
};

// Targets are the set's own; of a set from before these were stored they are what --target in config.json says. An Error of
// one line where set and config.json do not agree about them, besides those of read_attacked_set.
StoredSet open_stored_set(const std::string& file, Perturbations perturbations = Perturbations::finite);

// An Error unless the network of `weights` has an output for each label and each target of the set in `file`.
void expect_outputs(const Model& model, const std::string& weights, const std::string& file,
                    const AttackedSet& set);

// Whether the network that is asked (`facts`, of open_network) is the one that the set was made on; nothing where its run
// does not say.
std::optional<bool> made_on(const StoredSet& stored, const Json& facts);

// "towards class 3", "towards a class of its own"; "" where there are no targets.
std::string target_in_words(const AttackedSet& set);

}  // namespace caltrop
