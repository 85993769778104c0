// The attack that docs/adding_an_attack.md builds, run and judged as craft() would.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "attacks/attack_info.h"
#include "attacks/judge.h"
#include "tests/attacks/setup.h"

namespace caltrop {

Found scaled_gradient(Workbench& bench, const Rows& rows, const Try&);  // example_attack.cpp

namespace {

using namespace test;

std::string text_of(const char* path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

TEST_SUITE("attacks") {
  TEST_CASE("the attack of the guide: its largest pixel moves by the size, and it is counted and judged") {
    const Model model = small_model();
    const Network network(model);
    const Images images = random_images(model.input(), 6, 10);
    const AttackBatch batch = batch_of(images, 0, 6);
    const Rows rows{batch.x, batch.indices, batch.labels, {}, std::vector<float>(6, 0.2f)};
    AttackOptions options = attack_of(AttackKind::pgd, Norm::linf);
    options.low = -1.0f, options.high = 2.0f;  // so that no pixel is clipped
    Workbench bench(network, options);
    const Judged judged = judge(bench, rows, scaled_gradient(bench, rows, {}));
    CHECK(bench.backward_passes() == 6);
    CHECK(bench.forward_passes() == 12);
    const std::vector<float> before =
        cross_entropy(network.logits(batch.x, {}), bench.labels(batch.labels)).to_host();
    for (size_t r = 0; r < judged.rows.size(); ++r) {
      CHECK(std::fabs(judged.rows[r].linf - 0.2f) <= 1e-6f);
      CHECK(judged.rows[r].loss > before[r]);
      CHECK(judged.rows[r].zero_gradients == 0);
      CHECK(judged.rows[r].success == (judged.rows[r].prediction != batch.labels[r]));
    }
  }

  TEST_CASE("the guide shows that attack and its row as they compile") {
    // Its row, with the enumerator and the shorthands that it has in attack_table.cpp.
    using Kind = AttackKind;
    const std::vector<Norm> linf_l2 = {Norm::linf, Norm::l2};
    const AttackInfo row = {.kind = Kind::fgsm,
                            .name = "scaled",
                            .source = "the guide",
                            .norms = linf_l2,
                            .steps = 1,
                            .reads = {"cross_entropy"},
                            .run = scaled_gradient};
    CHECK((row.run == scaled_gradient));
    const std::string guide = text_of(CALTROP_SOURCE_DIR "/docs/adding_an_attack.md");
    const std::string source = text_of(CALTROP_SOURCE_DIR "/tests/attacks/example_attack.cpp");
    REQUIRE(source.size() > 500);
    CHECK(guide.find("```cpp\n" + source + "```\n") != std::string::npos);
    for (const char* field : {".name = \"scaled\"", ".norms = linf_l2", ".steps = 1",
                              ".reads = {\"cross_entropy\"}", ".run = scaled_gradient"})
      CHECK(mentions(guide, field));
  }
}

}  // namespace caltrop
