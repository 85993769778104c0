// The sentences of the demonstration's page: true for good outcomes, bad ones and none at all.
#include <doctest/doctest.h>

#include <regex>

#include "apps/demo/page.h"
#include "apps/report/page.h"

namespace caltrop::test {
namespace {

bool says(const std::string& words, const std::string& part) {
  return words.find(part) != std::string::npos;
}

// What the page says, as a reader sees it, but for its figures.
std::string told(const DemoResult& run) {
  std::string text = std::regex_replace(demo_page(run, false), std::regex("<[^>]*>"), "");
  text = std::regex_replace(text, std::regex("\xC2\xA0"), " ");
  return std::regex_replace(text, std::regex("\\s+"), " ");
}

// {flagged, right, wrong} of their sum.
Fates fates(int64_t flagged, int64_t right, int64_t wrong) {
  return {flagged + right + wrong, flagged, right, wrong};
}

JudgedTest judged(const std::string& name, const Fates& clean, const Fates& attacked, const Fates& fooling) {
  return {.model = name, .stage = "", .test = "exact", .clean = clean, .attacked = {attacked, fooling}};
}

// 1,000 clean and 1,000 attacked images, of which 400 fool the network. The vote flags `detected` of those
// 400 and `alarms` clean ones.
DefenceResult defence(int64_t detected, int64_t alarms) {
  DefenceResult result;
  result.attacked = 10;
  result.clean_train = 10000;
  result.attacked_train = 6667;
  result.vanished = 200;
  const JudgedTest alone = judged("Target alone", fates(0, 985, 15), fates(0, 600, 400), fates(0, 0, 400));
  JudgedTest vote = judged("vote", fates(alarms, 985 - alarms, 15), fates(detected, 600, 400 - detected),
                           fates(detected, 0, 400 - detected));
  vote.attacks = {{"gma", vote.attacked, {}}};
  const JudgedTest member = judged("EAT-1", fates(alarms + 5, 980 - alarms, 15),
                                   fates(detected, 600, 400 - detected), fates(detected, 0, 400 - detected));
  const JudgedTest check = judged("pixel check", fates(0, 985, 15), fates(1000, 0, 0), fates(400, 0, 0));
  result.exact = {alone, member, vote, check};
  const JudgedTest blind = judged("pixel check", fates(0, 985, 15), fates(0, 500, 300), fates(0, 0, 300));
  JudgedTest rounded = vote;
  rounded.attacked.all = fates(detected, 800 - detected, 0);
  result.rounded = {alone, member, rounded, blind};
  for (const Norm norm : {Norm::linf, Norm::l2}) {
    result.by_size.push_back({norm, 0.1f, fates(0, 10, 90), fates(80, 15, 5)});
    result.adaptive.push_back({"apgd-ce", norm, 0.3f, fates(60, 10, 30), fates(65, 10, 25)});
  }
  return result;
}
AttackSummary summary(int64_t turned) {
  AttackSummary s;
  s.size = 0.1f;
  s.images = 1000;
  s.clean_correct = 985;
  s.correct = s.robust = 985 - turned;
  s.successes_of_correct = turned;
  s.successes = turned + 15;
  return s;
}

DemoResult good_run() {
  DemoResult run;
  run.dataset = "mnist";
  run.class_names = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
  run.network = "flatten | dense 10";
  run.shape = {2, 2, 1};
  run.train_images = 60000;
  run.parameters = 50;
  run.clean.accuracy = 0.985;
  run.clean.interval = {0.98, 0.99};
  run.clean.n = 10000;
  run.training = {{{"epoch", 1}, {"train_accuracy", 0.9}, {"test_accuracy", 0.95}},
                  {{"epoch", 2}, {"train_accuracy", 0.97}, {"test_accuracy", 0.98}}};
  run.defence_training = {{{"model", "eat-1"}, {"test_accuracy", 0.6}}};
  run.attacks = {{"PGD-10", Norm::linf, summary(800)}};
  run.examples = {{{{0, 1, 0, 1}, {0.1f, 0.9f, 0.1f, 0.9f}, 3, {3, 0.99}, {5, 0.95}}, 10, Norm::linf, 0.1f},
                  {{{1, 1, 0, 1}, {0.9f, 0.9f, 0.1f, 0.9f}, 4, {4, 0.99}, {4, 0.6}}, 4, Norm::linf, 0.1f}};
  for (const Norm norm : {Norm::linf, Norm::l2}) {
    GmaAnalysis analysis;
    analysis.norm = norm;
    analysis.images = 1000;
    for (const GmaSize& size : gma_sizes()) {
      analysis.sizes.push_back({size, {summary(size.eps > 0.09f ? 800 : 10)}});
    }
    run.gma.push_back(analysis);
    run.sizes.push_back({run.examples[0].image, 10, norm, 0.1f});
  }
  run.defence = defence(390, 20);
  run.defence.missed = {{{0, 1, 1, 1}, 3, 5, 8}};
  run.command = "caltrop demo --dataset mnist --seed 0";
  run.version = "1.2.3";
  run.commit = "abc";
  run.device = "cpu";
  return run;
}

std::string told(const DefenceResult& defence) {
  DemoResult run = good_run();
  run.defence = defence;
  return told(run);
}
std::string told(const GmaAnalysis& analysis) {
  DemoResult run = good_run();
  run.gma = {analysis};
  return told(run);
}

TEST_SUITE("apps") {
  TEST_CASE("demo: shares in words round neither to all nor to none") {
    CHECK(percent_words(1, 2) == "50.0 %");
    CHECK(percent_words(0, 7) == "0 %");
    CHECK(percent_words(7, 7) == "100 %");
    CHECK(percent_words(9999, 10000) == "> 99.9 %");
    CHECK(percent_words(1, 10000) == "< 0.1 %");
    CHECK(percent_words(0, 0) == "–");
  }

  TEST_CASE("demo: a network that has learned, one that has hardly, one that guesses") {
    DemoResult run = good_run();
    CHECK(says(
        told(run),
        "On 10,000 test images, which played no part in training, it names the right class for 98.50 % (95 % "
        "interval 98.00 to 99.00 %). The network as one line"));
    run.clean.accuracy = 0.6;
    run.clean.interval = {0.55, 0.65};
    CHECK(says(told(run), "That is not much."));
    run.clean.accuracy = 0.12;
    run.clean.interval = {0.09, 0.15};
    CHECK(says(told(run), "cannot be told from guessing"));
  }

  TEST_CASE("demo: an attack that works, half works, fails, has nothing to do") {
    DemoResult run = good_run();
    CHECK(says(told(run), "turned 800 wrong (81.2 %). More often than not"));
    run.attacks[0].summary = summary(200);
    CHECK(says(told(run), "Most right answers survive"));
    run.attacks[0].summary = summary(3);
    CHECK(says(told(run), "hardly matter"));
    run.attacks[0].summary = {};
    CHECK(says(told(run), "nothing to attack"));
    CHECK_FALSE(says(told(run), "right answers wrong"));
    CHECK(says(told(run),
               "Of these 2 images, the network gets 1 wrong after the attack, and is at least 90 % sure"));
    run.examples[0].image.after.sure = 0.5;
    CHECK(says(told(run), "in no case at least 90 % sure"));
    run.examples[0].image.after = {3, 0.8};
    CHECK(says(told(run), "Of these 2 images, the network gets 0 wrong after the attack. "));
  }

  TEST_CASE("demo: GMA from harmless to everywhere") {
    GmaAnalysis analysis = good_run().gma[0];
    CHECK(says(
        told(analysis),
        "Under L∞, 9 of the 30 sizes bring the accuracy below 50 %, the smallest of them 0.0996 (25.4 of the "
        "255 steps from black to white); 21 leave it above 80 %. "));
    for (GmaSizeResult& size : analysis.sizes) {
      if (size.size.eps < 1) size.tries = {summary(0)};
    }
    analysis.norm = Norm::l2;
    CHECK(
        says(told(analysis),
             "Under L2, one of the 30 sizes, 1.1, brings the accuracy below 50 %; 29 leave it above 80 %. "));
    analysis.norm = Norm::linf;
    for (GmaSizeResult& size : analysis.sizes) size.tries = {summary(0)};
    CHECK(says(told(analysis),
               "Under L∞, none of the 30 sizes brings the accuracy below 50 %; 30 leave it above 80 %. "));
    for (GmaSizeResult& size : analysis.sizes) size.tries = {summary(985)};
    CHECK(says(told(analysis), "30 of the 30 sizes bring"));
    CHECK(says(told(analysis), "none leaves it above 80 %."));
    DemoResult run = good_run();
    CHECK(says(told(run), "from 97.5 % at one size to 18.5 % at another"));
    run.dataset = "digits";
    CHECK_FALSE(says(told(run), "The paper gives"));
    CHECK_FALSE(says(told(run), "The paper reports"));
  }

  TEST_CASE("demo: a defence that finds nearly all, most, half, little, and has nothing to find") {
    CHECK(says(told(defence(400, 0)), "these it flags 100 %, all of them."));
    CHECK(says(told(defence(390, 0)), "97.5 %, nearly all."));
    CHECK(says(told(defence(350, 0)), "87.5 %, most of them."));
    CHECK(says(told(defence(250, 0)), "more than half, and far from all."));
    CHECK(says(told(defence(40, 0)), "it misses more than it finds."));
    DefenceResult harmless = defence(0, 0);
    for (JudgedTest& row : harmless.exact) row.attacked.fooling = {};
    CHECK(says(told(harmless), "nothing harmful to find"));
    CHECK(says(told(defence(390, 0)),
               "10 of 1,000 attacked images (1.0 %). Without a defence it is 400 (40.0 %)."));
  }

  TEST_CASE("demo: the price, on honest images") {
    CHECK(says(told(defence(390, 100)), "100 attacked (10.0 %), which is a false alarm"));
    CHECK(says(told(defence(390, 100)), "To honest users the defence costs 10.0 percentage points."));
    CHECK(says(told(defence(390, 0)), "calls none attacked"));
    CHECK(says(told(defence(390, 0)), "next to nothing"));
    DefenceResult better = defence(390, 0);
    better.exact[2].clean = fates(0, 1000, 0);
    CHECK(says(told(better), "gains 1.5 percentage points"));
  }

  TEST_CASE("demo: the vote beside its members and the paper") {
    DefenceResult result = defence(390, 20);
    CHECK(says(told(result), "EAT-1, for 67.5 %. Here the vote is ahead."));
    result.exact[1] = result.exact[2];
    CHECK(says(told(result), "gains nothing"));
    result.exact[1].clean.right += 1;
    CHECK(says(told(result), "one network alone does better"));
    DemoResult run = good_run();
    CHECK(says(told(run), "Here it is 68.5 %"));
    CHECK(says(told(run), "this run does not reach it"));
    run.defence.exact[2].attacked.all = fates(998, 2, 0);
    run.defence.exact[2].clean = fates(1, 999, 0);
    CHECK(says(told(run), "this run reaches it"));
  }

  TEST_CASE("demo: the check that learns nothing is said to win where it wins") {
    DefenceResult result = defence(390, 20);
    CHECK(says(told(result), "beats the trained defence"));
    CHECK(says(told(result), "Rounding turns 200 of 1,000"));
    CHECK(says(told(result), "Of the 800 others the pixel check now finds 0 %, and the vote 48.8 %"));
    CHECK(says(told(result), "The two shares are not of the same images"));
    result.rounded[2].attacked.all = fates(100, 700, 0);
    CHECK(says(told(result), "The vote, too, loses by it"));
    result.exact[3].attacked.all = fates(100, 500, 400);
    CHECK(says(told(result), "Neither is better in both."));
    result.exact[3].clean = fates(30, 955, 15);
    CHECK(says(told(result), "the trained defence beats it"));
    result.exact[3] = result.exact[2];
    CHECK(says(told(result), "no better than one comparison per pixel"));
  }

  TEST_CASE("demo: an attacker who knows the defence") {
    DefenceResult result = defence(390, 20);
    CHECK(says(told(result), "L∞ size 0.3, it gets 30 of 100 images past the vote (30.0 %)"));
    CHECK(
        says(told(result),
             "(95 % interval 21.9 to 39.6 %); 25 after rounding to 8 bits. Of clean images 1.5 % get a wrong "
             "class anyhow. An attacker who knows this defence gets past it often enough"));
    DefenceResult few = result;
    for (AdaptiveRow& row : few.adaptive) row.exact = fates(2, 1, 17);
    CHECK(says(told(few), "So few images say little."));
    result.adaptive[1].exact = fates(10, 10, 80);
    CHECK(says(told(result), "At its best, with L2 size 0.3, it gets 80"));
    CHECK(says(told(result), "defeats it"));
    for (AdaptiveRow& row : result.adaptive) row.exact = fates(90, 8, 2);
    CHECK(says(told(result), "no proof of safety"));
    for (AdaptiveRow& row : result.adaptive) row.exact = fates(92, 8, 0);
    CHECK(says(told(result), "None of 100 images got past"));
    CHECK(says(told(result), "up to 3.7 %"));
  }

  TEST_CASE("demo: in short") {
    DemoResult run = good_run();
    CHECK(says(
        told(run),
        "Changes of at most 0.1 per pixel, where black is 0 and white is 1, turned 81.2 % of the network’s "
        "right answers wrong. A defence trained to notice attacked images flags 97.5 % of those that fool "
        "the network, and raises false alarms for 2.0 % of honest ones. One comparison per pixel, with "
        "nothing learned, does as well or better, until pixels are rounded as any image file rounds them. "
        "An attacker who knows the defence gets 30.0 % of images past it. "));
    const Fates fooling = run.defence.exact[2].attacked.fooling;
    run.defence.exact[2].attacked.fooling = {};
    CHECK(says(told(run), "fools the network; the defence raises false alarms for 2.0 % of honest ones."));
    run.defence.exact[2].attacked.fooling = fooling;
    run.defence.exact[3].clean = fates(500, 485, 15);
    for (AdaptiveRow& row : run.defence.adaptive) row.exact = fates(92, 8, 0);
    CHECK_FALSE(says(told(run), "nothing learned"));
    CHECK(says(told(run), "did not get past it in this short trial"));
  }

  TEST_CASE("demo: the page holds what it tells, and nothing of a foreign name is taken for markup") {
    DemoResult run = good_run();
    run.class_names[3] = "<img src=http://x>";
    const std::string page = demo_page(run);
    CHECK(says(page, "&lt;img src=http://x&gt; (99"));
    CHECK_FALSE(says(page, "<img src=http"));
    CHECK(says(page, "<tr class=\"chief\"><td>vote</td><td>96.5\u00A0%</td>"));
    const std::string figure = "Attacked images that the vote flags, by attack";
    CHECK((says(page, figure) && !says(told(run), figure)));
    CHECK(says(page, fill_page("{{words}}", {{"words", run.command}})));
    // Three pictures of each example, one of each size and mistake.
    size_t pictures = 0;
    for (size_t at = page.find("<img"); at != std::string::npos; at = page.find("<img", at + 1)) ++pictures;
    CHECK(pictures == 3 * 2 + 2 + 1);
    CHECK(demo_page(run) == page);
  }
}

}  // namespace
}  // namespace caltrop::test
