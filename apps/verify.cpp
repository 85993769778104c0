// caltrop verify: an independent reader of adversarial.npz. It shares no code with the attacks: norms, boxes
// and verdicts are computed anew, pixel by pixel, and only the network is asked again.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <optional>

#include "apps/commands.h"
#include "apps/console.h"
#include "apps/options.h"
#include "apps/setup.h"
#include "apps/table.h"
#include "apps/text_layout.h"
#include "attacks/attack.h"
#include "data/npz.h"
#include "engine/autograd.h"
#include "engine/inference.h"

namespace caltrop {
namespace {

struct VerifyOptions {
  CommonOptions common;
  ModelOptions model;
  std::string file, norm;
  std::optional<double> eps;
  int64_t batch = 0;
};

void declare(Flags& flags, VerifyOptions& options) {
  flags.usage("FILE.npz --weights FILE [flags]");
  flags.about(
      "Checks what a stored set of attacked images claims: that every pixel lies in [0,1], that "
      "perturbations keep to "
      "their size, that labels and predictions are those of the network, that what counts as a success is "
      "one. It says "
      "too what is left when the images are rounded to 8 bits, as pictures are. FILE is adversarial.npz of "
      "'caltrop "
      "attack' or one part of 'caltrop gma generate'. Norm and size come from config.json beside it, or from "
      "flags. "
      "The exit status is 1 where a claim does not hold.");
  flags.positional("file", options.file, {}, "the set");
  add_model_flags(flags, options.model, Weights::required);
  flags.group("Claims");
  flags.text("norm", options.norm, "linf|l2|l1", "norm of the size",
             "config.json's; of a GMA part its name's");
  add_eps_flag(flags, options.eps, "config.json's, or that of each part");
  flags.group("Computing", Scope::local);
  add_batch_flag(flags, options.batch,
                 "images in a batch, 0 for what suits the network; results do not depend on it");
  add_common_flags(flags, options.common, false);
  flags.section("JSON",
                "n (images x sizes), claims: name, checked, broken; success_rate, success_rate_8bit, "
                "within_size_8bit: fractions; holds: whether all claims do");
  flags.example("caltrop verify runs/pgd-linf-mnist/adversarial.npz --weights runs/target/model.safetensors",
                "Check an attack.");
}

// What the set says of itself.
struct Claims {
  std::string norm;
  std::optional<double> eps;  // absent: no bound
  bool minimum_norm = false, targeted = false, predicted_labels = false;
  int32_t target = -1;
  double confidence = 0;
};

Claims read_claims(const VerifyOptions& options) {
  Claims claims;
  const auto config_path = std::filesystem::path(options.file).parent_path() / "config.json";
  std::ifstream file(config_path);
  const Json config = file ? Json::parse(file, nullptr, false) : Json::object();
  if (config.is_discarded() || !config.is_object()) fail("{} is not JSON", config_path.string());
  const auto text = [&](const char* key) {
    return config.contains(key) && config[key].is_string() ? config[key].get<std::string>() : std::string();
  };
  for (const char* defence : {"noise", "quantize"}) {
    if (config.contains(defence))
      fail("the set was attacked behind --{}: the network alone cannot verify it", defence);
  }
  claims.norm = text("norm");
  if (config.contains("eps") && config["eps"].is_number()) claims.eps = config["eps"].get<double>();
  if (config.contains("target") && config["target"].is_number_integer()) {
    claims.targeted = true;
    claims.target = config["target"].get<int32_t>();
  }
  if (config.contains("confidence") && config["confidence"].is_number())
    claims.confidence = config["confidence"];
  claims.predicted_labels = text("labels") == "predicted";
  if (!text("attack").empty()) claims.minimum_norm = is_minimum_norm(parse_attack(text("attack")));
  const std::string name = std::filesystem::path(options.file).filename().string();
  for (const char* norm : {"linf", "l2"}) {
    if (name.starts_with(std::string(norm) + "-")) claims.norm = norm;
  }
  if (!options.norm.empty()) claims.norm = options.norm;
  if (options.eps) claims.eps = options.eps;
  if (claims.norm.empty()) usage_error("no config.json beside {}: say --norm", options.file);
  parse_norm(claims.norm);
  return claims;
}

// The arrays of either kind of file, rows = images x sizes.
struct StoredSet {
  ImageShape shape;
  int64_t images = 0, sizes = 1, pixels = 0;
  std::vector<uint8_t> x, success;
  std::vector<float> delta, eps;
  std::vector<int32_t> label, clean_prediction, prediction;
};

StoredSet read_set(const std::string& path, const Claims& claims) {
  const NpzFile file(path);
  const std::vector<int64_t> x = file.shape("x", 4);
  StoredSet set{{x[1], x[2], x[3]}, x[0], 1, x[1] * x[2] * x[3], {}, {}, {}, {}, {}, {}, {}};
  const int64_t n = x[0];
  std::vector<int64_t> delta = x, rows = {n};
  if (file.has("eps")) {
    set.sizes = file.shape("eps", 1)[0];
    set.eps = file.values<float>("eps", {set.sizes});
    delta.insert(delta.begin() + 1, set.sizes);
    rows.push_back(set.sizes);
  } else {
    const double infinity = std::numeric_limits<double>::infinity();
    set.eps = {static_cast<float>(claims.eps.value_or(infinity))};
  }
  set.x = file.values<uint8_t>("x", x);
  set.delta = file.values<float>("delta", delta);
  set.label = file.values<int32_t>("label", {n});
  set.clean_prediction = file.values<int32_t>("clean_prediction", {n});
  set.prediction = file.values<int32_t>("prediction", rows);
  set.success = file.values<uint8_t>("success", rows);
  return set;
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
Answers ask(const Model& model, const StoredSet& set, int64_t rows, int64_t batch,
            const std::function<void(int64_t row, float* image)>& write) {
  const int64_t outputs = model.outputs();
  Answers answers{{}, std::vector<float>(static_cast<size_t>(rows * outputs))};
  for_chunks(model, rows, batch, [&](int64_t begin, int64_t end) {
    const NoGrad values_only;
    std::vector<float> images(static_cast<size_t>((end - begin) * set.pixels));
    for (int64_t r = begin; r < end; ++r) write(r, images.data() + (r - begin) * set.pixels);
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
  Claim finite{"perturbations are finite numbers"}, box{"pixels lie in [0,1]"},
      size{"perturbations keep to their size"}, clean{"clean predictions are the network's"},
      attacked{"predictions are the network's"}, success{"successes are successes"};
  int64_t rows = 0, successes = 0, rounded_successes = 0, rounded_within = 0;

  std::vector<const Claim*> claims() const { return {&finite, &box, &size, &clean, &attacked, &success}; }
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

Verdict verify(const Model& model, const StoredSet& set, const Claims& claims, int64_t batch) {
  constexpr double kRounding = 1e-6;  // of x / 255 + delta in fp32
  const int64_t rows = set.images * set.sizes;
  const auto image_of = [&](int64_t row) {
    return row / set.sizes;
  };
  const auto pixel = [&](int64_t row, int64_t p) {
    return static_cast<float>(set.x[static_cast<size_t>(image_of(row) * set.pixels + p)]) / 255.0f;
  };
  const auto attacked = [&](int64_t row, int64_t p) {
    return std::clamp(pixel(row, p) + set.delta[static_cast<size_t>(row * set.pixels + p)], 0.0f, 1.0f);
  };
  const Answers clean = ask(model, set, set.images, batch, [&](int64_t image, float* to) {
    for (int64_t p = 0; p < set.pixels; ++p) to[p] = pixel(image * set.sizes, p);
  });
  const Answers stored = ask(model, set, rows, batch, [&](int64_t row, float* to) {
    for (int64_t p = 0; p < set.pixels; ++p) to[p] = attacked(row, p);
  });
  const Answers rounded = ask(model, set, rows, batch, [&](int64_t row, float* to) {
    for (int64_t p = 0; p < set.pixels; ++p) to[p] = std::nearbyint(attacked(row, p) * 255.0f) / 255.0f;
  });

  Verdict verdict;
  verdict.rows = rows;
  const double tolerance = static_cast<double>(ball_tolerance(parse_norm(claims.norm), set.pixels));
  for (int64_t i = 0; i < set.images; ++i) {
    verdict.clean.check(
        same_prediction(clean, i, set.clean_prediction[static_cast<size_t>(i)], model.outputs()));
  }
  std::vector<float> changed(static_cast<size_t>(set.pixels));
  for (int64_t row = 0; row < rows; ++row) {
    const auto at = static_cast<size_t>(row), image = static_cast<size_t>(image_of(row));
    const std::span<const float> delta(set.delta.data() + row * set.pixels, static_cast<size_t>(set.pixels));
    verdict.finite.check(std::all_of(delta.begin(), delta.end(), [](float d) { return std::isfinite(d); }));
    bool inside = true;
    for (int64_t p = 0; p < set.pixels; ++p) {
      const double shown =
          static_cast<double>(pixel(row, p)) + static_cast<double>(delta[static_cast<size_t>(p)]);
      inside = inside && shown >= -kRounding && shown <= 1.0 + kRounding;
      changed[static_cast<size_t>(p)] = std::nearbyint(attacked(row, p) * 255.0f) / 255.0f - pixel(row, p);
    }
    verdict.box.check(inside);
    const double eps = static_cast<double>(set.eps[at % static_cast<size_t>(set.sizes)]);
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
  return verdict;
}

void run(VerifyOptions& options, const Flags&) {
  Console console(options.common.json, options.common.quiet);
  if (!std::filesystem::is_regular_file(options.file))
    fail("cannot read {}: there is no such file", options.file);
  const Claims claims = read_claims(options);
  const StoredSet set = read_set(options.file, claims);
  if (set.images == 0 || set.sizes == 0) fail("{} holds no attacked images", options.file);
  Backend& backend = open_backend(options.common, console);
  int64_t classes = 1;
  for (const int32_t label : set.label) classes = std::max<int64_t>(classes, label + 1);
  const OpenedNetwork network = open_network(options.model, set.shape, classes, backend);
  const Verdict verdict = verify(network.model, set, claims, options.batch);

  Table table({{"claim", "claim"},
               {"checked", "checked", Column::Kind::count},
               {"broken", "broken", Column::Kind::count}});
  for (const Claim* claim : verdict.claims()) table.row({claim->name, claim->checked, claim->broken});
  const auto share = [&](int64_t part) {
    return verdict.rows > 0 ? static_cast<double>(part) / static_cast<double>(verdict.rows) : 0.0;
  };
  console.say("{} attacked images: {} originals, {} size{}", grouped(verdict.rows), grouped(set.images),
              set.sizes, set.sizes == 1 ? "" : "s");
  console.say(table);
  console.blank();
  console.say(
      "success {:.2f} %; rounded to 8 bits {:.2f} % still succeed and {:.2f} % of all keep to their size",
      100 * share(verdict.successes), 100 * share(verdict.rounded_successes),
      100 * share(verdict.rounded_within));
  console.result({{"n", verdict.rows},
                  {"claims", table.json()},
                  {"success_rate", share(verdict.successes)},
                  {"success_rate_8bit", share(verdict.rounded_successes)},
                  {"within_size_8bit", share(verdict.rounded_within)},
                  {"holds", verdict.broken() == 0}});
  if (verdict.broken() > 0) {
    fail("{}: {} of {} claims do not hold", options.file, verdict.broken(), verdict.claims().size());
  }
}

}  // namespace

Run verify_command(Flags& flags) {
  return make_command<VerifyOptions>(flags, declare, run);
}

}  // namespace caltrop
