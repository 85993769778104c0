#include "apps/demo/page.h"

#include <algorithm>
#include <cmath>

#include "apps/commands/attack_report.h"
#include "apps/core/text_layout.h"
#include "apps/demo/examples.h"
#include "apps/demo/pieces.h"
#include "apps/demo/words.h"
#include "apps/report/svg_chart.h"

namespace caltrop {
namespace {

Html tile(const std::string& number, const std::string& words) {
  return element("div", {{"class", "tile"}}, element("b", {}, number), words);
}

Html opening(const DemoResult& run) {
  const AttackSummary& s = run.pictured_attack();
  const Verdicts& vote = run.defence.vote();
  Html html = element("h1", {}, "One network, attacked and defended");
  html += element(
      "p", {{"class", "lead"}},
      fmt::format(
          "A program taught a small neural network to recognise the images of {}, attacked it, taught a "
          "defence to notice the attacks, and attacked that. This page tells what came of it.",
          data_words(run)));
  html += element(
      "div", {{"class", "tiles"}},
      tile(percent_words(std::llround(run.clean.accuracy * static_cast<double>(run.clean.n)), run.clean.n),
           "of new images recognised, unattacked"),
      tile(percent_words(s.correct, s.images), fmt::format("recognised when each pixel may change by {}",
                                                           size_words(static_cast<double>(s.size)))),
      tile(percent_words(vote.fooling.flagged, vote.fooling.images),
           "of attacked images that fool it flagged by the defence"),
      tile(percent_words(vote.clean.flagged, vote.clean.images), "of honest images flagged as well"));
  html += paragraph(short_words(run));
  html += note("Every number was measured in this run, but for those that are said to be the paper’s.");
  return html;
}

Html trained(const DemoResult& run) {
  const auto passes = std::count_if(run.epochs.begin(), run.epochs.end(),
                                    [](const TrainingEpoch& epoch) { return epoch.stage.empty(); });
  Html html = heading("What was trained");
  html += paragraph(fmt::format(
      "The network is called Target. It has {} adjustable numbers and saw {} images of {} classes, {}. The "
      "numbers began at random and changed a little after each group of images, so that the answers came "
      "closer to the right ones.",
      grouped(run.parameters), grouped(run.train_images), run.class_names.size(),
      passes == 1 ? "each once" : fmt::format("each {} times", passes)));
  html += paragraph(clean_words(run));
  Figure figure{.title = "Accuracy of Target after each pass over the training images",
                .x_label = "pass",
                .y_label = "accuracy",
                .series = {{"training images", {}, {}}, {"test images", {}, {}}},
                .thresholds = {}};
  for (const TrainingEpoch& epoch : run.epochs) {
    if (!epoch.stage.empty()) continue;
    for (Series& series : figure.series) series.x.push_back(static_cast<double>(epoch.epoch));
    figure.series[0].y.push_back(epoch.train_accuracy);
    figure.series[1].y.push_back(epoch.test_accuracy);
  }
  if (figure.series[0].x.size() > 1) {  // one point is no curve
    fit_to_lowest(figure);
    html +=
        svg_chart(figure, "Accuracy on training and test images after each pass over the training images.");
    html +=
        note("Accuracy on training images is counted while a pass goes on and the network still changes.");
  }
  html += element("details", {}, element("summary", {}, "The network as one line"),
                  element("pre", {}, run.network));
  return html;
}

Html card(const DemoResult& run, const Example& example) {
  const std::string name = class_name(run, example.label);
  const Html three =
      element("div", {{"class", "three"}}, picture(run, example.clean, name + ", as it is"),
              picture(run, example.attacked, name + ", attacked"),
              picture(run, difference(example), "the difference, magnified", run.pictured_attack().size));
  return element("div", {{"class", "card"}}, three,
                 paragraph("Target said ", opinion_words(run, example.before, example.label), ", now says ",
                           opinion_words(run, example.after, example.label),
                           ". The vote: ", answer_words(run, example.vote, example.label), "."));
}

Html pictures(const DemoResult& run) {
  const std::string size = size_words(static_cast<double>(run.pictured_attack().size));
  Html html = heading("The attack, in pictures");
  html += paragraph(
      "Training asks how the network’s error would change if one of its numbers were a little larger or "
      "smaller, and improves them all by that. The same question can be asked of the pixels of an image. An "
      "attack asks it, and moves each pixel a little in the direction that makes the answer worse.");
  html += paragraph(fmt::format(
      "Below is the first test image of each class{1}; none was picked by hand. PGD, the attack, began with "
      "a small random change and took ten such steps; no pixel ended more than {0} from where it was, where "
      "black is 0 and white is 1. From left to right: the image, the attacked image, and the difference, "
      "magnified so that {0} fills the scale ({2}). In brackets: how sure the network says it is. The vote "
      "is that of the defence, further below.",
      size, run.examples.size() < run.class_names.size() ? " that is among those attacked, ten at most" : "",
      run.shape.channels == 1 ? "red: lighter, blue: darker" : "grey: no change"));
  Html cards;
  for (const Example& example : run.examples) cards += card(run, example);
  html += element("div", {{"class", "cards"}}, cards);
  html += paragraph(examples_words(run), " ", attack_words(run));
  std::vector<std::vector<std::string>> rows = {
      {"attack", "measure", "size", "still right", "right answers turned"}};
  for (const AttackOutcome& attack : run.attacks) {
    const AttackSummary& s = attack.summary;
    rows.push_back({attack.name, norm_words(attack.norm), size_words(static_cast<double>(s.size)),
                    percent_words(s.correct, s.images),
                    percent_words(s.successes_of_correct, s.clean_correct)});
  }
  html += page_table(
      fmt::format("Target under attack, {} test images", grouped(run.pictured_attack().images)), rows);
  html += note(
      "FGSM takes one step, PGD-10 ten. L∞ (L-infinity) is the largest change of any pixel. L2 is the length "
      "of the whole change: the root of the sum of the squares of all pixels’ changes.");
  return html;
}

Html strip(const DemoResult& run, Norm norm) {
  Html cells;
  for (const SizeExample& example : run.sizes) {
    if (example.norm != norm) continue;
    const Example& image = example.image;
    const std::string size = size_words(static_cast<double>(example.size));
    cells += element("div", {},
                     picture(run, image.attacked,
                             fmt::format("{} attacked with size {}", class_name(run, image.label), size)),
                     element("b", {}, size), element("br", {}),
                     "Target: ", answer_words(run, image.after.says, image.label), element("br", {}),
                     "vote: ", answer_words(run, image.vote, image.label));
  }
  Html html = question(fmt::format("The first test image under {}, from small to large", norm_words(norm)));
  html += element("div", {{"class", "strip"}}, cells);
  return html;
}

Html sizes(const DemoResult& run) {
  Html html = heading("How small can an attack be?");
  html += paragraph(
      "GMA, the gradient-based miniature attack, is the subject of the paper that this program reproduces "
      "(Sanapala and Gondi 2025). It is the same idea at thirty prescribed sizes, from 0.00025 to 1.1. "
      "Whether those are miniature depends on the measure, which the paper does not name, so here are both.");
  Figure figure = gma_figure(run.gma, "Target");
  for (size_t k = 0; k < run.gma.size(); ++k) figure.series[k].title = norm_words(run.gma[k].norm);
  html += svg_chart(figure, "Accuracy of Target under attacks of growing size, by both measures.");
  for (const GmaAnalysis& analysis : run.gma) html += paragraph(gma_words(analysis));
  html += note(
      "The paper calls a network fooled by a size where its accuracy falls below 50 %, and robust where it "
      "stays above 80 %. Between the two it says nothing.");
  html += paragraph(
      "A picture file knows 255 steps from black to white. Under L∞ a change below half a step, 0.002, "
      "disappears when the image is saved; a change of 1 may replace any image by any other.");
  for (const Norm norm : {Norm::linf, Norm::l2}) html += strip(run, norm);
  html += said(gma_paper_words(run));
  return html;
}

Html limits(const DemoResult& run) {
  const int64_t tested = run.defence.vote().clean.images;
  const Interval half = wilson_interval(tested / 2, tested);
  const auto item = [](const std::string& words) {
    return element("li", {}, words);
  };
  Html html = heading("What this page does not show");
  html += element(
      "ul", {},
      item(fmt::format(
          "One run with one seed, {}. Another seed gives other numbers, and two seeds can differ by more "
          "than two lines of a table.",
          run.seed)),
      item(fmt::format(
          "Small networks and small images, and {} images to learn a defence from. A share measured on {} "
          "images is uncertain by up to {:.1f} points either way.",
          grouped(run.defence.clean_train), grouped(tested), 50 * (half.high - half.low))),
      item("But for the attack that knows it, the defence was tested on the kinds of attacks that it was "
           "trained on. What it does with others is not measured here."),
      item("No attack here was tuned. That one fails shows that this one fails, not that none can succeed."),
      item("Flagging is not recognising: someone has to decide what happens to a flagged image, honest ones "
           "among them."));
  return html;
}

Html again(const DemoResult& run) {
  Html html = heading("Do it again");
  html += element("pre", {}, run.command);
  html += paragraph(
      fmt::format("Caltrop {} ({}), seed {}, on {}. On one machine the same images give the same numbers, "
                  "digit for digit, with any number of threads. ",
                  run.version, run.commit, run.seed, run.device == "cpu" ? "the CPU" : "a GPU"),
      element("code", {}, "caltrop demo --config config.json"),
      " repeats the run from the file beside this page. All numbers are in demo.json, the training is in "
      "metrics.jsonl, tables are in the .csv files.");
  html +=
      element("footer", {},
              fmt::format("Made by caltrop {}. This page loads nothing and runs no script.", run.version));
  return html;
}

}  // namespace

std::string demo_page(const DemoResult& run) {
  Html main = opening(run);
  main += trained(run);
  main += pictures(run);
  main += sizes(run);
  main += defence_part(run);
  main += controls_part(run);
  main += limits(run);
  main += again(run);
  return html_page("en", fmt::format("One network, attacked and defended: {}", data_words(run)),
                   element("main", {}, main));
}

}  // namespace caltrop
