// Bad options are one clear line that names the option; the table of attacks; options as text.

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <set>

#include "attacks/attack_info.h"
#include "attacks/option_fields.h"
#include "tests/attacks/setup.h"

namespace caltrop {

using namespace test;

namespace {

// The smallest change of a value.
template <typename Value>
void change(Value& value) {
  if constexpr (std::is_same_v<Value, bool>) {
    value = !value;
  } else if constexpr (std::is_floating_point_v<Value>) {
    value = std::nextafter(value, 2 * value + 1);
  } else if constexpr (std::is_enum_v<Value>) {
    value = static_cast<Value>(value == Value{});
  } else {
    ++value;
  }
}

std::string refusal_of(const AttackOptions& options, float eps) {
  return refusal([&] { check_attack(options, std::span(&eps, 1), 784); });
}

}  // namespace

TEST_SUITE("attacks") {
  TEST_CASE("names go both ways") {
    for (const char* name : {"fgsm", "bim", "pgd", "mim"}) CHECK(to_string(parse_attack(name)) == name);
    for (const char* name : {"linf", "l2", "l1"}) CHECK(to_string(parse_norm(name)) == name);
    for (const std::string& name : attack_names()) CHECK(to_string(parse_attack(name)) == name);
    CHECK(mentions(refusal([] { parse_attack("jsma"); }), "jsma"));
    CHECK(mentions(refusal([] { parse_norm("l3"); }), "linf, l2 or l1"));
  }

  TEST_CASE("defaults are those of the table") {
    CHECK(attack_defaults(AttackKind::fgsm).steps == 1);
    CHECK(attack_defaults(AttackKind::pgd).steps == 10);
    CHECK(attack_defaults(AttackKind::pgd).random_start);
    CHECK_FALSE(attack_defaults(AttackKind::bim).random_start);
    CHECK_FALSE(attack_defaults(AttackKind::mim).random_start);
    CHECK(step_size_of(attack_defaults(AttackKind::fgsm), 0.3f) == 0.3f);
    CHECK(step_size_of(attack_defaults(AttackKind::pgd), 0.2f) == 0.05f);
    AttackOptions forty = attack_defaults(AttackKind::pgd);
    forty.steps = 40;
    CHECK(std::fabs(step_size_of(forty, 0.3f) - 0.03f) <= 1e-8f);
    forty.step_share = 0.5f;
    CHECK(step_size_of(forty, 0.3f) == 0.15f);
    forty.step_size = 0.02f;
    CHECK(step_size_of(forty, 0.3f) == 0.02f);
  }

  TEST_CASE("each attack has one row, whose defaults make an attack and whose options exist") {
    std::set<std::string> options, groups;
    AttackOptions any;
    for_each_option(any, [&](const std::string& name, const auto&) {
      options.insert(name);
      if (name.find('.') != std::string::npos) groups.insert(name.substr(0, name.find('.')));
    });
    std::set<AttackKind> kinds;
    for (const AttackInfo& info : all_attacks()) {
      CAPTURE(info.name);
      CHECK(kinds.insert(info.kind).second);
      CHECK(&info_of(info.kind) == &info);
      CHECK((info.run != nullptr) != (info.stages != nullptr));
      CHECK(std::string(info.source).size() > 10);
      const AttackOptions defaults = attack_defaults(info.kind);
      CHECK(refusal_of(defaults, default_eps(info.kind, defaults.norm)).empty());
      for (const std::string_view read : info.reads) {
        CAPTURE(read);
        CHECK(options.count(std::string(read)) + groups.count(std::string(read)) == 1);
      }
    }
    CHECK(kinds.size() == static_cast<size_t>(AttackKind::autoattack) + 1);
    CHECK(info_of(AttackKind::cw).reads_option("cw.rounds"));
    CHECK_FALSE(info_of(AttackKind::cw).reads_option("decay"));
    CHECK_FALSE(info_of(AttackKind::pgd).reads_option("cw.rounds"));
  }

  TEST_CASE("another option is another text") {
    AttackOptions options = attack_defaults(AttackKind::cw);
    const std::string before = to_text(options);
    CHECK(mentions(before, "kind=cw norm=l2 steps=1000 "));
    CHECK(mentions(before, " cw.first_constant=0.001 "));
    std::set<std::string> texts = {before};
    size_t changes = 0;
    for_each_option(options, [&](const char* name, auto& value) {
      CAPTURE(name);
      const auto kept = value;
      change(value);
      CHECK(texts.insert(to_text(options)).second);
      value = kept;
      CHECK(to_text(options) == before);
      ++changes;
    });
    CHECK(changes == 31);
  }

  TEST_CASE("a size must be a size") {
    const AttackOptions pgd = attack_defaults(AttackKind::pgd);
    CHECK(refusal_of(pgd, 0.3f).empty());
    CHECK(refusal_of(pgd, 0.0f).empty());
    CHECK(refusal_of(pgd, 1.1037f).empty());  // the largest of GMA
    CHECK(mentions(refusal_of(pgd, -0.1f), "eps -0.1 is negative"));
    CHECK(mentions(refusal_of(pgd, std::nanf("")), "eps nan"));
    CHECK(mentions(refusal_of(pgd, std::numeric_limits<float>::infinity()), "eps inf"));
    CHECK(mentions(refusal_of(pgd, 8.0f), "divide by 255"));
    CHECK(refusal_of(attack_of(AttackKind::pgd, Norm::l2), 8.0f).empty());
    CHECK(mentions(refusal_of(attack_of(AttackKind::pgd, Norm::l2), 57.0f), "eps 57 is absurd"));
    CHECK(refusal_of(attack_of(AttackKind::fgsm, Norm::l1), 700.0f).empty());
    CHECK(mentions(refusal_of(attack_of(AttackKind::fgsm, Norm::l1), 2000.0f), "eps 2000"));
    CHECK(mentions(refusal([&] { check_attack(pgd, {}, 784); }), "at least one size"));
  }

  TEST_CASE("options that make no attack are refused by name") {
    const auto refused = [](auto change, const char* flag) {
      AttackOptions options = attack_defaults(AttackKind::pgd);
      change(options);
      const std::string message = refusal_of(options, 0.3f);
      CAPTURE(message);
      CHECK(mentions(message, flag));
      CHECK_FALSE(mentions(message, "\n"));
    };
    refused([](AttackOptions& o) { o.steps = 0; }, "steps 0");
    refused([](AttackOptions& o) { o.steps = -3; }, "steps -3");
    refused([](AttackOptions& o) { o.steps = int64_t{1} << 40; }, "steps");
    refused([](AttackOptions& o) { o.step_size = -1.0f; }, "step_size -1");
    refused([](AttackOptions& o) { o.step_size = std::nanf(""); }, "step_size nan");
    refused([](AttackOptions& o) { o.step_size = 5.0f; }, "step_size 5 is absurd");
    refused([](AttackOptions& o) { o.norm = Norm::l1; }, "norm l1 is for fgsm");
    refused([](AttackOptions& o) { o.restarts = 0; }, "restarts 0");
    refused([](AttackOptions& o) { o.restarts = 1 << 20; }, "restarts");
    refused([](AttackOptions& o) { o.decay = std::nanf(""); }, "decay nan");
    refused([](AttackOptions& o) { o.decay = -1.0f; }, "decay -1");
    refused([](AttackOptions& o) { o.kind = AttackKind::bim; }, "random_start");
    refused([](AttackOptions& o) { o.kind = AttackKind::fgsm; }, "steps 10 does not fit fgsm");
    refused([](AttackOptions& o) { o.random_start = false, o.restarts = 2; },
            "restarts 2 needs a random start");
    refused([](AttackOptions& o) { o.high = o.low; }, "box");
    const auto towards = [](AttackKind kind) {
      return [kind](AttackOptions& o) {
        o = attack_defaults(kind);
        o.targeted = true;
      };
    };
    refused(towards(AttackKind::fab), "targeted does not fit fab, which goes to the nearest class");
    refused(towards(AttackKind::deepfool), "cw takes a target");
    refused(towards(AttackKind::apgd_t), "tries the likeliest classes in turn");
    refused(towards(AttackKind::autoattack), "targeted does not fit autoattack");
    refused([](AttackOptions& o) { o.kind = AttackKind::fgsm, o.steps = 1, o.norm = Norm::l1; },
            "random_start");
  }

  TEST_CASE("what needs no images is refused without any") {
    AttackOptions cw = attack_defaults(AttackKind::cw);
    CHECK(refusal([&] { check_attack(cw); }).empty());
    cw.norm = Norm::linf;
    CHECK(mentions(refusal([&] { check_attack(cw); }), "norm linf does not fit cw"));
    CHECK(refusal([&] { check_length("eps", 2.0f, Norm::linf, 784); }).empty());
    CHECK(mentions(refusal([&] { check_length("eps", 5.0f, Norm::linf, 784); }), "eps 5 is absurd"));
    CHECK(refusal([&] { check_length("eps", 5.0f, Norm::l2, 784); }).empty());
  }

  TEST_CASE("a batch must fit the model") {
    const Model model = small_model();
    const Images images = random_images(model.input(), 3, 10);
    const float eps = 0.1f;
    const AttackOptions fgsm = attack_defaults(AttackKind::fgsm);
    const auto refused = [&](auto change, const AttackOptions& options, const char* part) {
      AttackBatch batch = batch_of(images, 0, 3);
      change(batch);
      const std::string message = refusal([&] { craft(model, batch, std::span(&eps, 1), options); });
      CAPTURE(message);
      CHECK(mentions(message, part));
    };
    AttackOptions targeted = fgsm;
    targeted.targeted = true;
    refused([](AttackBatch& b) { b.labels[1] = 10; }, fgsm, "labels from 0 to 9, got 10");
    refused([](AttackBatch& b) { b.labels[1] = -1; }, fgsm, "got -1");
    refused([](AttackBatch& b) { b.labels.pop_back(); }, fgsm, "3 labels, got 2");
    refused([](AttackBatch&) {}, targeted, "3 targets, got 0");
    refused([](AttackBatch& b) { b.targets = {0, 1, 12}; }, targeted, "targets from 0 to 9, got 12");
    refused([](AttackBatch& b) { b.indices[0] = -1; }, fgsm, "indices");
    refused([](AttackBatch& b) { b.indices[2] = int64_t{1} << 32; }, fgsm, "indices");
    refused([](AttackBatch& b) { b.indices.clear(); }, fgsm, "3 indices, got 0");
    refused([](AttackBatch& b) { b.x = b.x.view({3, 144}); }, fgsm, "images (n,h,w,c)");
    refused(
        [](AttackBatch& b) {
          b.x = b.x.view({3, 6, 24, 1});
        },
        fgsm, "[model] expected images (n,12,12,1)");

    const Images other = random_images({6, 6, 1}, 3, 10);
    CHECK(mentions(refusal([&] { attack_images(model, other, std::span(&eps, 1), fgsm, {.rows = {0}}); }),
                   "expected images of 12x12x1"));
    CHECK(
        mentions(refusal([&] { attack_images(model, images, std::span(&eps, 1), targeted, {.rows = {0}}); }),
                 "1 targets, got 0"));
    CHECK(mentions(refusal([&] { attack_images(model, images, std::span(&eps, 1), fgsm, {.rows = {3}}); }),
                   "rows"));
  }

  TEST_CASE("no images make no work") {
    const Model model = small_model();
    const Images images = random_images(model.input(), 1, 10);
    const float eps = 0.1f;
    const AttackReport report =
        attack_images(model, images, std::span(&eps, 1), attack_defaults(AttackKind::pgd), {.rows = {}});
    CHECK(report.sizes.at(0).images == 0);
    CHECK(report.forward_passes == 0);
    const AttackResult empty =
        craft(model, batch_of(images, 0, 0), std::span(&eps, 1), attack_defaults(AttackKind::bim));
    CHECK(empty.rows.empty());
  }
}

}  // namespace caltrop
