#include "data/image_folder.h"

#include <algorithm>
#include <cctype>
#include <system_error>
#include <utility>

#include "data/png.h"
#include "engine/error.h"
#include "engine/text.h"

namespace caltrop {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxSetBytes = int64_t{1} << 34;
constexpr size_t kMaxClasses = 100000;

struct ImageFile {
  fs::path path;
  int32_t label = 0;
};

// What happened to the files of a data set, counted for the notices.
struct Tally {
  int64_t files = 0, ignored = 0, resized = 0, transparent = 0, made_colour = 0;
};

std::vector<fs::path> sorted_entries(const fs::path& directory) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (auto it = fs::directory_iterator(directory, error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    if (!it->path().filename().string().starts_with('.')) entries.push_back(it->path());
  }
  if (error) fail("cannot read the directory {}: {}", directory.string(), error.message());
  std::sort(entries.begin(), entries.end());
  return entries;
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool has_image_suffix(const fs::path& path) {
  std::string suffix = path.extension().string();
  std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return suffix == ".png" || suffix == ".jpg" || suffix == ".jpeg";
}

std::vector<std::string> class_folders(const fs::path& directory) {
  std::vector<std::string> names;
  for (const fs::path& entry : sorted_entries(directory)) {
    if (is_folder(entry)) names.push_back(entry.filename().string());
  }
  if (names.size() < 2 || names.size() > kMaxClasses) {
    fail("cannot read {} as an image folder: expected 2 to {} sub-folders, one for each class, found {}",
         directory.string(), kMaxClasses, names.size());
  }
  return names;
}

// The files of all classes, class by class in turn.
std::vector<ImageFile> list_files(const fs::path& directory, const std::vector<std::string>& classes,
                                  bool all_classes, Tally& tally) {
  std::vector<std::vector<fs::path>> by_class;
  size_t longest = 0;
  for (const std::string& name : classes) {
    by_class.emplace_back();
    const fs::path folder = directory / name;
    if (!all_classes && !is_folder(folder)) continue;
    for (fs::path& entry : sorted_entries(folder)) {
      if (has_image_suffix(entry)) {
        by_class.back().push_back(std::move(entry));
      } else {
        ++tally.ignored;
      }
    }
    if (by_class.back().empty() && all_classes) fail("{} holds no PNG or JPEG file", folder.string());
    longest = std::max(longest, by_class.back().size());
  }
  std::vector<ImageFile> files;
  for (size_t turn = 0; turn < longest; ++turn) {
    for (size_t c = 0; c < by_class.size(); ++c) {
      if (turn < by_class[c].size()) files.push_back({std::move(by_class[c][turn]), static_cast<int32_t>(c)});
    }
  }
  if (files.empty()) fail("{} holds no PNG or JPEG file", directory.string());
  return files;
}

// What all images become.
struct Form {
  int64_t height = 0, width = 0, channels = 1;
};

void survey(const std::vector<ImageFile>& files, Form& form, Tally& tally) {
  int64_t grey = 0;
  for (const ImageFile& file : files) {
    const ImageInfo info = read_image_info(file.path);
    if (form.height == 0) form.height = info.height;
    if (form.width == 0) form.width = info.width;
    if (info.height != form.height || info.width != form.width) ++tally.resized;
    if (info.alpha) ++tally.transparent;
    if (info.channels == 1) ++grey;
  }
  tally.files += static_cast<int64_t>(files.size());
  tally.made_colour += grey;
  if (grey < static_cast<int64_t>(files.size())) form.channels = 3;
}

ImageSet read_images(const std::vector<ImageFile>& files, const Form& form,
                     const std::vector<std::string>& classes) {
  ImageSet set{.height = form.height,
               .width = form.width,
               .channels = form.channels,
               .classes = static_cast<int>(classes.size()),
               .class_names = classes};
  int64_t bytes = 0;
  if (__builtin_mul_overflow(static_cast<int64_t>(files.size()), set.image_size(), &bytes) ||
      bytes > kMaxSetBytes) {
    fail("{} images of {} x {} x {} need more than {} bytes", files.size(), form.height, form.width,
         form.channels, kMaxSetBytes);
  }
  set.pixels.reserve(static_cast<size_t>(bytes));
  for (const ImageFile& file : files) {
    Image image = read_image(file.path, form.channels);
    if (image.height != form.height || image.width != form.width)
      image = resize(image, form.height, form.width);
    set.pixels.insert(set.pixels.end(), image.pixels.begin(), image.pixels.end());
    set.labels.push_back(file.label);
  }
  return set;
}

std::vector<std::string> notices_of(const Tally& tally, const Form& form) {
  std::vector<std::string> notices;
  if (tally.resized > 0) {
    notices.push_back(fmt::format("resized {} of {} images to {} x {}", tally.resized, tally.files,
                                  form.height, form.width));
  }
  if (form.channels == 3 && tally.made_colour > 0) {
    notices.push_back(
        fmt::format("{} of {} images are grey and were read as colour", tally.made_colour, tally.files));
  }
  if (tally.transparent > 0) {
    notices.push_back(
        fmt::format("left out the transparency of {} of {} images", tally.transparent, tally.files));
  }
  if (tally.ignored > 0) {
    notices.push_back(fmt::format("ignored {} files that are neither PNG nor JPEG by name", tally.ignored));
  }
  return notices;
}

}  // namespace

ImageFolder read_image_folder(const fs::path& directory, int64_t height, int64_t width) {
  if (height < 0 || width < 0 || (height > 0 && width > kMaxImagePixels / height)) {
    fail("cannot resize images to {} x {}: expected 1 to {} pixels", height, width, kMaxImagePixels);
  }
  if (!is_folder(directory)) fail("cannot read {}: it is not a directory", directory.string());
  const bool has_train = is_folder(directory / "train"), has_test = is_folder(directory / "test");
  if (has_train != has_test) {
    fail("{} has {}/ but no {}/: expected both, or one sub-folder for each class", directory.string(),
         has_train ? "train" : "test", has_train ? "test" : "train");
  }
  const fs::path train_directory = has_train ? directory / "train" : directory;
  const std::vector<std::string> classes = class_folders(train_directory);
  if (has_test) {
    for (const std::string& name : class_folders(directory / "test")) {
      if (!std::binary_search(classes.begin(), classes.end(), name)) {
        fail("{} holds class '{}', which {} does not", (directory / "test").string(), shown(name),
             train_directory.string());
      }
    }
  }
  Tally tally;
  Form form{.height = height, .width = width, .channels = 1};
  const std::vector<ImageFile> train = list_files(train_directory, classes, true, tally);
  std::vector<ImageFile> test;
  if (has_test) test = list_files(directory / "test", classes, false, tally);
  survey(train, form, tally);
  survey(test, form, tally);

  ImageFolder folder;
  folder.train = read_images(train, form, classes);
  if (has_test) folder.test = read_images(test, form, classes);
  folder.notices = notices_of(tally, form);
  return folder;
}

}  // namespace caltrop
