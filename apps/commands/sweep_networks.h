// Several networks of files by name, on one data set, and the attacks on them: what 'sweep' and 'transfer' ask for alike.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/core/setup.h"
#include "apps/study/run.h"

namespace caltrop {

// An Error unless it may stand in the names of files and in a table without trouble.
void check_name(const std::string& name);
struct NamedFile {
  std::string name, file;  // absolute
};
// "NAME=FILE" or "FILE", which is called as its folder where it is a model.safetensors, else as itself. UsageError where
// two have one name, or a name is no part of a file's name.
std::vector<NamedFile> named_files(const std::vector<std::string>& texts);

struct CrossedOptions {
  DataOptions data;
  ModelOptions model;
  std::vector<std::string> weights, attacks;
  std::string norm = "linf", subset = "test";
  std::vector<Size> sizes;
};
// --weights, --attacks, --norm, --eps, in the group that is open.
void add_crossed_flags(Flags& flags, CrossedOptions& options, const std::string& weights_help);
// How networks are read, and the images.
void add_crossed_inputs(Flags& flags, CrossedOptions& options);

// What the flags say, before any file is read. UsageError where --attacks or --eps is missing; options.weights then has
// absolute files with their names.
struct Crossed {
  std::vector<StudyAttack> attacks;
  std::vector<NamedFile> files;
};
Crossed read_crossed(CrossedOptions& options);

struct NamedNetworks {
  std::vector<StudyArm> arms;  // given networks
  std::shared_ptr<const StudyImages> images;
  Json facts;  // for make_config: data; network and inputs by name
};
// Opens all of them before anything is done with one. Without --dataset the first one's is taken; an Error where another
// was trained on a different one, or an attack does not fit the images.
NamedNetworks open_networks(const Crossed& crossed, CrossedOptions& options, const Flags& flags,
                            Backend& backend, Console& console);

}  // namespace caltrop
