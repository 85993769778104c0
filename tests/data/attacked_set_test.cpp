// Sets of attacked images: what is written is read, in the bytes that the arrays alone make, and one refusal for
// each way a file can be no such set.
#include "data/attacked_set.h"

#include <functional>
#include <limits>

#include "data/npz.h"
#include "tests/files.h"
#include "tests/npz_arrays.h"

namespace caltrop::test {
namespace {

// Two images of 2x1, with two sizes where they are stated.
AttackedSet sample(bool stated) {
  const size_t rows = stated ? 4 : 2;
  AttackedSet set{.shape = {2, 1, 1},
                  .index = {7, 3},
                  .label = {1, 0},
                  .clean_prediction = {1, 2},
                  .x = {0, 255, 10, 20},
                  .delta = std::vector<float>(2 * rows, 0.25f),
                  .prediction = std::vector<int32_t>(rows, 4),
                  .success = std::vector<uint8_t>(rows, 1)};
  for (size_t i = 0; i < set.delta.size(); ++i) set.delta[i] -= 0.125f * static_cast<float>(i);
  if (!stated) return set;
  set.eps = {0.1f, 0.3f};
  set.v = {1, 3};
  set.exponent = {1, 1};
  set.ten = {1, 1};
  set.linf = set.l2 = {0.1f, 0.2f, 0.3f, 0.4f};
  set.zero_gradients = set.nan_gradients = {0, 1, 2, 3};
  return set;
}

void check_same(const AttackedSet& a, const AttackedSet& b) {
  CHECK(a.shape == b.shape);
  CHECK(a.index == b.index);
  CHECK(a.label == b.label);
  CHECK(a.clean_prediction == b.clean_prediction);
  CHECK(a.target == b.target);
  CHECK(a.x == b.x);
  CHECK(a.eps == b.eps);
  CHECK(a.v == b.v);
  CHECK(a.exponent == b.exponent);
  CHECK(a.ten == b.ten);
  CHECK(a.delta == b.delta);
  CHECK(a.prediction == b.prediction);
  CHECK(a.success == b.success);
  CHECK(a.linf == b.linf);
  CHECK(a.l2 == b.l2);
  CHECK(a.zero_gradients == b.zero_gradients);
  CHECK(a.nan_gradients == b.nan_gradients);
}

TEST_SUITE("data") {
  TEST_CASE("attacked set: what is written is read, with and without sizes, with and without perturbations") {
    const TempDirectory directory;
    for (const bool stated : {false, true}) {
      const fs::path path = directory / "set.npz";
      AttackedSet set = sample(stated);
      write_attacked_set(path, set);
      check_same(read_attacked_set(path), set);
      CHECK(set.delta_of(1)[0] == set.delta[2]);
      CHECK(set.classes() == 2);
      CHECK((set.clean().pixels == set.x && set.clean().class_names.size() == 2));

      write_attacked_set(path, set, Perturbations::ignored);
      set.delta.clear();
      check_same(read_attacked_set(path, Perturbations::ignored), set);
      const std::string text = refusal([&] { (void)read_attacked_set(path); });
      check_refusal(text, {path.string(), stated ? "--store png or none" : "'delta'"});
    }
  }

  TEST_CASE("attacked set: targets are stored where there are any, behind the clean predictions") {
    const TempDirectory directory;
    const fs::path path = directory / "set.npz";
    for (const bool stated : {false, true}) {
      AttackedSet set = sample(stated);
      CHECK_FALSE(set.targeted());
      set.target = {0, 5};
      write_attacked_set(path, set);
      check_same(read_attacked_set(path), set);
      CHECK((set.targeted() && set.classes() == 6));
      set.target = {0, -1};
      write_attacked_set(path, set);
      check_refusal(refusal([&] { (void)read_attacked_set(path); }), {path.string(), "the target -1"});
      set.target = {0};
      check_refusal(refusal([&] { write_attacked_set(path, set); }), {"target"});
    }
    const AttackedSet set = sample(false);
    const auto with_target = [&](const auto& values) {
      NpzWriter file(path);
      file.add("x", {2, 2, 1, 1}, set.x);
      file.add("delta", {2, 2, 1, 1}, set.delta);
      file.add("index", {2}, set.index);
      file.add("label", {2}, set.label);
      file.add("clean_prediction", {2}, set.clean_prediction);
      file.add("target", {static_cast<int64_t>(values.size())}, values);
      file.add("prediction", {2}, set.prediction);
      file.add("success", {2}, set.success);
      file.close();
      return refusal([&] { (void)read_attacked_set(path); });
    };
    check_refusal(with_target(std::vector<int32_t>{1, 2, 3}),
                  {path.string(), "'target' of shape (2), got (3)"});
    check_refusal(with_target(std::vector<int64_t>{1, 2}),
                  {"target in " + path.string(), "expected int32, found int64"});
    CHECK(with_target(std::vector<int32_t>{1, 2}).empty());
  }

  TEST_CASE("attacked set: files are those that older versions wrote, array by array in their order") {
    const TempDirectory directory;
    for (const bool stated : {false, true}) {
      const AttackedSet set = sample(stated);
      write_attacked_set(directory / "set.npz", set);
      NpzWriter file(directory / "plain.npz");
      if (stated) {
        file.add("index", {2}, set.index);
        file.add("label", {2}, set.label);
        file.add("clean_prediction", {2}, set.clean_prediction);
        file.add("x", {2, 2, 1, 1}, set.x);
        file.add("eps", {2}, set.eps);
        file.add("v", {2}, set.v);
        file.add("exponent", {2}, set.exponent);
        file.add("ten", {2}, set.ten);
        file.add("delta", {2, 2, 2, 1, 1}, set.delta);
        file.add("prediction", {2, 2}, set.prediction);
        file.add("success", {2, 2}, set.success);
        file.add("linf", {2, 2}, set.linf);
        file.add("l2", {2, 2}, set.l2);
        file.add("zero_gradients", {2, 2}, set.zero_gradients);
        file.add("nan_gradients", {2, 2}, set.nan_gradients);
      } else {
        file.add("x", {2, 2, 1, 1}, set.x);
        file.add("delta", {2, 2, 1, 1}, set.delta);
        file.add("index", {2}, set.index);
        file.add("label", {2}, set.label);
        file.add("clean_prediction", {2}, set.clean_prediction);
        file.add("prediction", {2}, set.prediction);
        file.add("success", {2}, set.success);
      }
      file.close();
      CHECK(file_bytes(directory / "set.npz") == file_bytes(directory / "plain.npz"));
    }
  }

  TEST_CASE("attacked set: values that no attack stores are refused") {
    const TempDirectory directory;
    const fs::path path = directory / "set.npz";
    const float nan = std::numeric_limits<float>::quiet_NaN();
    struct Case {
      std::function<void(AttackedSet&)> change;
      const char* word;
    };
    const std::vector<Case> cases = {
        {[](AttackedSet& set) { set.label[1] = -1; }, "the label -1"},
        {[](AttackedSet& set) { set.index[0] = -4; }, "the index -4"},
        {[](AttackedSet& set) { set.clean_prediction[0] = -1; }, "the prediction -1"},
        {[](AttackedSet& set) { set.prediction[3] = 1 << 30; }, "the prediction 1073741824"},
        {[](AttackedSet& set) { set.success[2] = 2; }, "the success 2"},
        {[](AttackedSet& set) { set.eps[1] = 0; }, "the size 0"},
        {[&](AttackedSet& set) { set.eps[0] = nan; }, "the size nan"},
        {[&](AttackedSet& set) { set.delta[5] = nan; }, "not finite"},
        {[](AttackedSet& set) {
           set = {.shape = {2, 1, 1}};
         },
         "no attacked images"},
    };
    for (const Case& one : cases) {
      AttackedSet set = sample(true);
      one.change(set);
      write_attacked_set(path, set);
      CAPTURE(one.word);
      check_refusal(refusal([&] { (void)read_attacked_set(path); }), {path.string(), one.word});
    }
    // Left to the caller where he asks for it.
    AttackedSet set = sample(true);
    set.delta[5] = nan;
    write_attacked_set(path, set);
    CHECK(read_attacked_set(path, Perturbations::any).delta.size() == 8);
  }

  TEST_CASE("attacked set: missing arrays, other types and shapes are named") {
    const TempDirectory directory;
    const fs::path path = directory / "set.npz";
    write_attacked_set(path, sample(true));
    const auto arrays = read_npz(path);
    // The file with `left_out` replaced by what `add` adds.
    const auto written = [&](const std::string& left_out, const std::function<void(NpzWriter&)>& add) {
      NpzWriter file(path);
      add_arrays(file, arrays, left_out);
      add(file);
      file.close();
      return refusal([&] { (void)read_attacked_set(path); });
    };
    for (const auto& [name, array] : arrays) {
      CAPTURE(name);
      // Without sizes the arrays of a set that states them no longer fit.
      const std::string word = name == "eps" ? "delta" : name == "delta" ? "perturbations" : name;
      check_refusal(written(name, [](NpzWriter&) {}), {path.string(), word});
      check_refusal(written(name, [&](NpzWriter& file) { file.add(name, {3}, std::vector<int64_t>(3)); }),
                    {path.string(), name == "eps" ? "" : name.c_str()});
    }
    check_refusal(written("x",
                          [](NpzWriter& file) {
                            file.add("x", {2, 2, 1, 1}, std::vector<float>(4));
                          }),
                  {path.string(), "x"});
    write_file(path, "no archive");
    check_refusal(refusal([&] { (void)read_attacked_set(path); }), {path.string()});
  }
}

}  // namespace
}  // namespace caltrop::test
