// caltrop verify: an independent reader of adversarial.npz. It shares no code with the attacks: norms, boxes
// and verdicts are computed anew, pixel by pixel, and only the network is asked again.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <optional>
#include <set>

#include "apps/commands/verify_set.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/core/text_layout.h"
#include "apps/report/table.h"
#include "attacks/attack.h"
#include "engine/autograd.h"
#include "engine/inference.h"

namespace caltrop {
namespace {

struct VerifyOptions {
  CommonOptions common;
  DataOptions data;
  ModelOptions model;
  std::string file, norm, subset = "test";
  std::optional<double> eps;
  int64_t batch = 0;
};

void declare(Flags& flags, VerifyOptions& options) {
  flags.usage("FILE.npz --weights FILE --dataset NAME [flags]");
  flags.about(
      "Checks what a stored set of attacked images claims: that clean images and labels are those of the "
      "data set, each taken once, that every pixel lies in [0,1], that perturbations keep to their size, "
      "that predictions are those of the network, that what counts as a success is one. It says too what "
      "is left when the images are rounded to 8 bits, as pictures are. FILE is adversarial.npz of 'caltrop "
      "attack' or one part of 'caltrop gma generate'. Norm and size come from config.json beside it, or "
      "from flags. Without --dataset and --data-dir clean images and labels are taken from FILE itself, "
      "and the result says so. The exit status is 1 where a claim does not hold.");
  flags.positional("file", options.file, {}, "the set");
  add_model_flags(flags, options.model, Weights::required);
  add_data_flags(flags, options.data, "");
  add_subset_flag(flags, options.subset);
  flags.group("Claims");
  flags.text("norm", options.norm, "linf|l2|l1", "norm of the size",
             "config.json's; of a GMA part its name's");
  add_eps_flag(flags, options.eps, "config.json's, or that of each part");
  flags.group("Computing", Scope::local);
  add_batch_flag(flags, options.batch,
                 "images in a batch, 0 for what suits the network; results do not depend on it");
  add_common_flags(flags, options.common, false);
  flags.section("Files", "With --out: DIR/config.json, verdict.json (as --json), claims.csv");
  flags.section(
      "JSON",
      "n (images x sizes), claims: name, checked, broken; trusted: what was taken from the set's own word; "
      "success_rate, success_rate_8bit, within_size_8bit: fractions; holds: whether all claims do");
  flags.example(
      "caltrop verify runs/pgd-linf-mnist/adversarial.npz --weights runs/target/model.safetensors "
      "--dataset mnist",
      "Check an attack.");
}

double length_of(std::span<const float> delta, const std::string& norm) {
  double largest = 0, sum = 0, squares = 0;
  for (const float value : delta) {
    const double d = std::fabs(static_cast<double>(value));
    largest = std::max(largest, d);
    sum += d;
    squares += d * d;
  }
  return norm == "linf" ? largest : norm == "l2" ? std::sqrt(squares) : sum;
}

// What the network says of images, row by row, and by how much it prefers it.
struct Answers {
  std::vector<int32_t> prediction;
  std::vector<float> logits;
};
Answers ask(const Model& model, const AttackedSet& set, int64_t rows, int64_t batch,
            const std::function<void(int64_t row, float* image)>& write) {
  const int64_t outputs = model.outputs();
  Answers answers{{}, std::vector<float>(static_cast<size_t>(rows * outputs))};
  for_chunks(model, rows, batch, [&](int64_t begin, int64_t end) {
    const NoGrad values_only;
    std::vector<float> images(static_cast<size_t>((end - begin) * set.image_size()));
    for (int64_t r = begin; r < end; ++r) write(r, images.data() + (r - begin) * set.image_size());
    const Shape shape{end - begin, set.shape.height, set.shape.width, set.shape.channels};
    const std::vector<float> z = model.forward(Tensor::from(model.backend(), shape, images)).to_host();
    std::copy(z.begin(), z.end(), answers.logits.begin() + begin * outputs);
  });
  answers.prediction = argmax_rows(answers.logits, outputs);
  return answers;
}

struct Claim {
  std::string name;
  int64_t checked = 0, broken = 0;
  void check(bool holds) {
    ++checked;
    broken += !holds;
  }
};

struct Verdict {
  // The first two only where a data set says what is true.
  Claim images{"clean images are the data set's"}, labels{"labels are the data set's"},
      once{"no image counts twice"}, finite{"perturbations are finite numbers"}, box{"pixels lie in [0,1]"},
      size{"perturbations keep to their size"}, clean{"clean predictions are the network's"},
      attacked{"predictions are the network's"}, success{"successes are successes"};
  int64_t rows = 0, successes = 0, rounded_successes = 0, rounded_within = 0;

  std::vector<const Claim*> claims() const {
    std::vector<const Claim*> all = {&images, &labels, &once,     &finite, &box,
                                     &size,   &clean,  &attacked, &success};
    std::erase_if(all, [](const Claim* claim) { return claim->checked == 0; });
    return all;
  }
  int64_t broken() const {
    int64_t sum = 0;
    for (const Claim* claim : claims()) sum += claim->broken > 0;
    return sum;
  }
};

// Predictions of one image on two devices may differ where two classes are as good as equal.
bool same_prediction(const Answers& answers, int64_t row, int32_t claimed, int64_t outputs) {
  if (claimed < 0 || claimed >= outputs) return false;
  const float* z = answers.logits.data() + row * outputs;
  const float best = z[answers.prediction[static_cast<size_t>(row)]];
  return best - z[claimed] <= 1e-4f * std::max(1.0f, std::fabs(best));
}

// Checks the set, its images and labels already those of the data set, into `verdict`.
void verify(const Model& model, const AttackedSet& set, const Claims& claims, int64_t batch,
            Verdict& verdict) {
  constexpr double kRounding = 1e-6;  // of x / 255 + delta in fp32
  const int64_t rows = set.images() * set.sizes(), pixels = set.image_size();
  const auto image_of = [&](int64_t row) {
    return row / set.sizes();
  };
  const auto pixel = [&](int64_t row, int64_t p) {
    return static_cast<float>(set.x[static_cast<size_t>(image_of(row) * pixels + p)]) / 255.0f;
  };
  const auto attacked = [&](int64_t row, int64_t p) {
    return std::clamp(pixel(row, p) + set.delta[static_cast<size_t>(row * pixels + p)], 0.0f, 1.0f);
  };
  const Answers clean = ask(model, set, set.images(), batch, [&](int64_t image, float* to) {
    for (int64_t p = 0; p < pixels; ++p) to[p] = pixel(image * set.sizes(), p);
  });
  const Answers stored = ask(model, set, rows, batch, [&](int64_t row, float* to) {
    for (int64_t p = 0; p < pixels; ++p) to[p] = attacked(row, p);
  });
  const Answers rounded = ask(model, set, rows, batch, [&](int64_t row, float* to) {
    for (int64_t p = 0; p < pixels; ++p) to[p] = std::nearbyint(attacked(row, p) * 255.0f) / 255.0f;
  });

  verdict.rows = rows;
  std::set<int64_t> seen;
  for (const int64_t index : set.index) verdict.once.check(seen.insert(index).second);
  const double tolerance = static_cast<double>(ball_tolerance(parse_norm(claims.norm), pixels));
  for (int64_t i = 0; i < set.images(); ++i) {
    verdict.clean.check(
        same_prediction(clean, i, set.clean_prediction[static_cast<size_t>(i)], model.outputs()));
  }
  // Of a set that states no sizes; in fp32, as the attack took it.
  const auto claimed =
      static_cast<double>(static_cast<float>(claims.eps.value_or(std::numeric_limits<double>::infinity())));
  std::vector<float> changed(static_cast<size_t>(pixels));
  for (int64_t row = 0; row < rows; ++row) {
    const auto at = static_cast<size_t>(row), image = static_cast<size_t>(image_of(row));
    const std::span<const float> delta = set.delta_of(row);
    verdict.finite.check(std::all_of(delta.begin(), delta.end(), [](float d) { return std::isfinite(d); }));
    bool inside = true;
    for (int64_t p = 0; p < pixels; ++p) {
      const double shown =
          static_cast<double>(pixel(row, p)) + static_cast<double>(delta[static_cast<size_t>(p)]);
      inside = inside && shown >= -kRounding && shown <= 1.0 + kRounding;
      changed[static_cast<size_t>(p)] = std::nearbyint(attacked(row, p) * 255.0f) / 255.0f - pixel(row, p);
    }
    verdict.box.check(inside);
    const double eps = set.eps.empty() ? claimed : static_cast<double>(set.eps[at % set.eps.size()]);
    const bool fits = length_of(delta, claims.norm) <= eps + tolerance;
    const bool claims_success = set.success[at] != 0;
    // A minimum-norm attack promises its size for successes alone.
    if (std::isfinite(eps) && (!claims.minimum_norm || claims_success)) verdict.size.check(fits);
    verdict.attacked.check(same_prediction(stored, row, set.prediction[at], model.outputs()));

    const int32_t label = claims.predicted_labels ? set.clean_prediction[image] : set.label[image];
    const auto fooled = [&](int32_t prediction) {
      return claims.targeted ? prediction == claims.target : prediction != label;
    };
    const bool success = fooled(set.prediction[at]) && (fits || !claims.minimum_norm);
    // With a confidence a success needs a lead as well, so that not every changed prediction is one.
    verdict.success.check(claims.confidence > 0 ? success || !claims_success : success == claims_success);
    verdict.successes += claims_success;
    verdict.rounded_successes += claims_success && fooled(rounded.prediction[at]);
    verdict.rounded_within += length_of(changed, claims.norm) <= eps + tolerance;
  }
}

// Compares the set with the data set that the flags choose, and lets it speak from there on. Nothing where the
// flags choose none.
std::optional<DataInfo> compare_with_data(VerifyOptions& options, const Flags& flags, const Claims& claims,
                                          AttackedSet& set, Verdict& verdict, Console& console) {
  if (!flags.given("dataset") && !flags.given("data-dir")) {
    for (const char* flag : {"subset", "split", "split-seed", "image-size"}) {
      if (flags.given(flag))
        usage_error("--{} chooses among the images of --dataset, which is missing", flag);
    }
    return std::nullopt;
  }
  follow_config(claims.config, flags, options.data, options.subset);
  HostData data = load_host_data(options.data, options.subset, console);
  const Differences found = replace_by(data.images, set);
  verdict.images = {verdict.images.name, set.images(), found.images};
  verdict.labels = {verdict.labels.name, set.images(), found.labels};
  return std::move(data.info);
}

// What nobody but the set or the run that made it says.
std::vector<std::string> trusted(const VerifyOptions& options, bool has_data) {
  std::vector<std::string> words;
  if (!has_data) words.emplace_back("clean images and labels");
  if (options.norm.empty()) words.emplace_back("norm");
  if (!options.eps) words.emplace_back("size");
  return words;
}

void run(VerifyOptions& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  RunFolder::check(options.common.out, options.common.resume);
  if (!std::filesystem::is_regular_file(options.file))
    fail("cannot read {}: there is no such file", options.file);
  options.file = std::filesystem::absolute(options.file).lexically_normal().string();
  const Claims claims = read_claims(options.file, options.norm, options.eps);
  // Perturbations that are no numbers are a claim that does not hold.
  AttackedSet set = read_attacked_set(options.file, Perturbations::any);
  if (!set.eps.empty() && claims.eps)
    usage_error("--eps: {} states a size of its own for each perturbation", options.file);
  Verdict verdict;
  const std::optional<DataInfo> data = compare_with_data(options, flags, claims, set, verdict, console);
  Backend& backend = open_backend(options.common, console);
  const int64_t classes = std::max(data ? data->classes : 1, set.classes());
  const OpenedNetwork network = open_network(options.model, set.shape, classes, backend);
  Json facts = network.facts;
  if (data) facts.update(data->facts);
  const RunFolder folder(options.common.out, make_config(flags, facts), options.common.resume);
  verify(network.model, set, claims, options.batch, verdict);

  Table table({{"claim", "claim"},
               {"checked", "checked", Column::Kind::count},
               {"broken", "broken", Column::Kind::count}});
  for (const Claim* claim : verdict.claims()) table.row({claim->name, claim->checked, claim->broken});
  const auto share = [&](int64_t part) {
    return verdict.rows > 0 ? static_cast<double>(part) / static_cast<double>(verdict.rows) : 0.0;
  };
  const std::vector<std::string> on_trust = trusted(options, data.has_value());
  console.say("{} attacked images: {} originals, {} size{}", grouped(verdict.rows), grouped(set.images()),
              set.sizes(), set.sizes() == 1 ? "" : "s");
  console.say(table);
  console.blank();
  console.say(
      "success {:.2f} %; rounded to 8 bits {:.2f} % still succeed and {:.2f} % of all keep to their size",
      100 * share(verdict.successes), 100 * share(verdict.rounded_successes),
      100 * share(verdict.rounded_within));
  if (!on_trust.empty()) {
    console.say("taken on the set's word: {}{}", fmt::join(on_trust, ", "),
                data ? "" : " (--dataset checks images and labels)");
  }
  const Json result = {{"n", verdict.rows},
                       {"claims", table.json()},
                       {"trusted", on_trust},
                       {"success_rate", share(verdict.successes)},
                       {"success_rate_8bit", share(verdict.rounded_successes)},
                       {"within_size_8bit", share(verdict.rounded_within)},
                       {"holds", verdict.broken() == 0}};
  folder.write_json("verdict.json", result);
  folder.write("claims.csv", table.csv());
  console.result(result);
  if (verdict.broken() > 0) {
    fail("{}: {} of {} claims do not hold", options.file, verdict.broken(), verdict.claims().size());
  }
}

}  // namespace

Run verify_command(Flags& flags) {
  return make_command<VerifyOptions>(flags, declare, run);
}

}  // namespace caltrop
