// Several networks of files by name, on one data set.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/core/setup.h"
#include "apps/study/run.h"

namespace caltrop {

struct NamedFile {
  std::string name, file;  // absolute
};
// "NAME=FILE" or "FILE", which is called as its folder where it is a model.safetensors, else as itself. UsageError where
// two have one name, or a name is no part of a file's name.
std::vector<NamedFile> named_files(const std::vector<std::string>& texts);

struct NamedNetworks {
  std::vector<StudyArm> arms;  // given networks
  std::shared_ptr<const StudyImages> images;
  Json facts;  // for make_config: data; network and inputs by name
};
// Opens all of them before anything is done with one. Without --dataset the first one's is taken; an Error where another
// was trained on a different one.
NamedNetworks open_networks(const std::vector<NamedFile>& files, const ModelOptions& options,
                            DataOptions& data, const std::string& subset, const Flags& flags,
                            Backend& backend, Console& console);

}  // namespace caltrop
