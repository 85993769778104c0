// The ensemble of EAT-1, EAT-2 and EAT-3 as a benchmark: fused inference beside the composed path, network by
// network, and `caltrop bench ensemble`, which times the two in alternation.
#include <algorithm>
#include <cmath>

#include "apps/bench/jobs.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/core/text_layout.h"
#include "apps/report/table.h"
#include "data/file_bytes.h"
#include "defense/mia.h"
#include "engine/inference.h"
#include "engine/metrics.h"

namespace caltrop {
namespace {

class EnsembleVote final : public TimedWork {
 public:
  EnsembleVote(BenchBed& bed, bool fused) : bed_(bed), fused_(fused) {
    for (const char* name : {"eat-1", "eat-2", "eat-3"}) networks_.push_back(bed.network(name));
  }
  void run() override { votes_ = fused_ ? fused() : composed(); }
  std::string check() override {
    const std::vector<int32_t> other = fused_ ? composed() : fused();
    if (votes_ != other) fail("[bench] the fused ensemble and its networks one by one vote differently");
    return fmt::format("the same {} votes fused and composed", grouped(static_cast<int64_t>(votes_.size())));
  }

 private:
  std::vector<int32_t> fused() const {
    std::vector<const Model*> networks;
    for (const Model& network : networks_) networks.push_back(&network);
    return Ensemble(networks).vote(bed_.test());
  }
  std::vector<int32_t> composed() const {
    std::vector<std::vector<float>> logits;
    for (const Model& network : networks_) logits.push_back(predict(network, bed_.test()));
    return majority_vote(logits, networks_[0].outputs());
  }

  BenchBed& bed_;
  bool fused_;
  std::vector<Model> networks_;
  std::vector<int32_t> votes_;
};

struct EnsembleOptions {
  CommonOptions common;
  DataOptions data;
  int64_t repeats = 9;
  std::string peer;
};

void declare(Flags& flags, EnsembleOptions& options) {
  flags.about(
      "Times the vote of EAT-1, EAT-2 and EAT-3 (fresh weights, eleven classes) on MNIST's 10,000 test "
      "images: "
      "fused (the images are read once, the first blocks of all three computed together, the vote taken on "
      "the "
      "device) and composed (network by network, then the vote), in alternation. Before that both must give "
      "the same vote for every image.");
  flags.group("Benchmark");
  flags.integer("repeats", options.repeats, 1, 1000, "R", "samples of each; the median counts");
  flags.text("data-dir", options.data.data_dir, "DIR", "folder that holds MNIST's files",
             "searched; see 'caltrop info'");
  flags.text(
      "peer", options.peer, "FILE",
      "PyTorch's times of the same job, as bench/peers/torch_cpu.py --jobs inference_ensemble writes them",
      "none");
  add_common_flags(flags, options.common);
  flags.section("Files", "With --out: DIR/config.json, bench.json (as --json), bench.csv");
  flags.section("JSON",
                "device, threads, images, paths: {NAME: {seconds: the median, samples: [...]}}, ratios");
  flags.example("caltrop bench ensemble", "Fused against composed.");
  flags.example(
      "build-peers/venv/bin/python bench/peers/torch_cpu.py --jobs inference_ensemble --json torch.json\n"
      "  caltrop bench ensemble --peer torch.json",
      "PyTorch's row beside them.");
}

// PyTorch's samples and configuration from torch_cpu.py's file.
std::pair<std::vector<double>, std::string> peer_samples(const std::string& path) {
  try {
    const std::vector<std::byte> bytes = read_file_bytes(path);
    const Json file = Json::parse(reinterpret_cast<const char*>(bytes.data()),
                                  reinterpret_cast<const char*>(bytes.data()) + bytes.size());
    const Json& job = file.at("jobs").at("inference_ensemble");
    const auto& variant = job.at("variants").at(job.at("best").get<std::string>());
    auto samples = job.at("samples").get<std::vector<double>>();
    const bool times = std::ranges::all_of(samples, [](double s) { return s > 0 && std::isfinite(s); });
    if (times && !samples.empty()) {
      return {std::move(samples), fmt::format("{}, {} threads", variant.at("config").get<std::string>(),
                                              file.at("threads").get<int64_t>())};
    }
  } catch (const Json::exception&) {  // refused below
  }
  fail("{} holds no times of inference_ensemble, as bench/peers/torch_cpu.py writes them", path);
}

void run(EnsembleOptions& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  RunFolder::check(options.common.out, options.common.resume);
  std::vector<std::pair<std::string, std::vector<double>>> paths = {{"fused", {}}, {"composed", {}}};
  if (!options.peer.empty()) {
    auto [samples, config] = peer_samples(options.peer);
    paths.emplace_back("PyTorch (" + config + ")", std::move(samples));
  }
  Backend& backend = open_backend(options.common, console);
  options.data.dataset = "mnist";
  const TrainingData data = load_training_data(options.data, backend, console);
  BenchBed bed(data, static_cast<uint64_t>(options.common.seed));
  const std::unique_ptr<TimedWork> works[] = {ensemble_job(bed, true), ensemble_job(bed, false)};
  std::string check;
  for (const auto& work : works) {
    work->run();
    check = work->check();
  }
  ProgressLine progress(console, "ensemble", options.repeats, "rounds");
  for (int64_t i = 0; i < options.repeats; ++i) {
    for (size_t k = 0; k < 2; ++k) paths[k].second.push_back(seconds_of(*works[k]));
    progress.at(i + 1);
  }
  progress.finish();
  Table table = timing_table("path", {"ratio", "times fused", Column::Kind::general, 3});
  const double fused = quantile(paths[0].second, 0.5);
  Json numbers = Json::object(), ratios = Json::object();
  for (const auto& [name, samples] : paths) {
    ratios[name] = quantile(samples, 0.5) / fused;
    numbers[name] = add_times(table, name, samples, ratios[name].get<double>());
  }
  console.say("{}; {}", backend.description(), check);
  console.blank();
  console.say(table);
  const Json result = {{"device", backend.description()},
                       {"threads", cpu_threads()},
                       {"images", data.test.count()},
                       {"check", check},
                       {"paths", numbers},
                       {"ratios", ratios}};
  write_bench(options.common, flags, data.info.facts, result, table);
  console.result(result);
}

}  // namespace

std::unique_ptr<TimedWork> ensemble_job(BenchBed& bed, bool fused) {
  return std::make_unique<EnsembleVote>(bed, fused);
}

Run bench_ensemble_command(Flags& flags) {
  return make_command<EnsembleOptions>(flags, declare, run);
}

}  // namespace caltrop
