// caltrop bench: times the main jobs, on the CPU or on a GPU, and the ensemble's vote in its two forms.
// bench/run_cpu.sh and scripts/gpu_check.sh set them beside PyTorch's.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <memory>

#include "apps/bench/jobs.h"
#include "apps/core/commands.h"
#include "apps/core/console.h"
#include "apps/core/flags.h"
#include "apps/core/options.h"
#include "apps/core/run_folder.h"
#include "apps/core/setup.h"
#include "apps/report/table.h"
#include "engine/metrics.h"

namespace caltrop {
namespace {

struct BenchOptions {
  CommonOptions common;
  DataOptions data;
  std::vector<std::string> jobs;  // of cpu and cuda
  std::string peer;               // of ensemble
  int64_t repeats = 3;
};

std::string cpu_name() {
  std::ifstream stream("/proc/cpuinfo");
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with("model name")) return line.substr(std::min(line.size(), line.find(':') + 2));
  }
  return "unknown";
}

// The most memory that this process has held since the last forget_peak(), in MiB; 0 where the system does not say.
void forget_peak() {
  std::ofstream("/proc/self/clear_refs") << "5";
}
double peak_memory() {
  std::ifstream stream("/proc/self/status");
  for (std::string word; stream >> word;) {
    double kib = 0;
    if (word == "VmHWM:" && stream >> kib) return kib / 1024;
  }
  return 0;
}

std::vector<std::string> job_names() {
  std::vector<std::string> names;
  for (const BenchJob& job : bench_jobs()) names.push_back(job.name);
  return names;
}

void add_sample_flags(Flags& flags, BenchOptions& options) {
  flags.integer("repeats", options.repeats, 1, 1000, "R", "samples of each; the median counts");
  flags.text("data-dir", options.data.data_dir, "DIR", "folder that holds MNIST's files",
             "searched; see 'caltrop info'");
}

// `device` is "cpu" or "cuda", and the second word of the command.
void declare_jobs(Flags& flags, BenchOptions& options, const std::string& device) {
  flags.usage("[flags]");
  flags.about(
      (device == "cpu" ? std::string("Times the main jobs on the CPU")
                       : "Times the main jobs on the first GPU") +
      " with MNIST's 60,000 + 10,000 images in memory. A job first runs once untimed and its result is "
      "checked (accuracies, logits against the unfused network, budgets): a wrong result is an error, not a "
      "time. What is timed is the work alone, without reading data or testing.");
  flags.group("Jobs");
  flags.list("jobs", options.jobs, job_names(), "A,B,...", "which jobs", "all");
  add_sample_flags(flags, options);
  options.common.device = device;
  add_common_flags(flags, options.common, true, "none", {device});
  std::string jobs;
  for (const BenchJob& job : bench_jobs()) jobs += fmt::format(" {:<20}{}\n", job.name, job.work);
  flags.section("The jobs", jobs);
  flags.section("Files", "With --out: DIR/config.json, bench.json (as --json), bench.csv");
  flags.section(
      "JSON",
      "device, threads, cpu, isa, jobs: {NAME: {seconds: the median, samples: [...], peak_mib: the most "
      "memory held, data included, check}}");
  const std::string command = "caltrop bench " + device;
  flags.example(command + " --jobs inference_target --repeats 9", "One job, nine samples.");
  flags.example(command + (device == "cpu" ? " --threads 2" : "") + " --json -",
                device == "cpu" ? "All jobs on two threads, as JSON." : "All jobs, as JSON.");
}

void declare_ensemble(Flags& flags, BenchOptions& options) {
  flags.about(
      "Times the vote of EAT-1, EAT-2 and EAT-3 (fresh weights, eleven classes) on MNIST's 10,000 test "
      "images: fused (the images are read once, the first blocks of all three computed together, the vote "
      "taken on the device) and composed (network by network, then the vote), in alternation. Before that "
      "both must give the same vote for every image.");
  flags.group("Benchmark");
  options.repeats = 9;
  add_sample_flags(flags, options);
  flags.text(
      "peer", options.peer, "FILE",
      "PyTorch's times of the same job, as bench/peers/cpu_peers.py --jobs inference_ensemble writes them",
      "none");
  add_common_flags(flags, options.common);
  flags.section("Files", "With --out: DIR/config.json, bench.json (as --json), bench.csv");
  flags.section("JSON",
                "device, threads, images, paths: {NAME: {seconds: the median, samples: [...]}}, ratios");
  flags.example("caltrop bench ensemble", "Fused against composed.");
  flags.example(
      "build-peers/venv/bin/python bench/peers/cpu_peers.py --jobs inference_ensemble --json torch.json\n"
      "  caltrop bench ensemble --peer torch.json",
      "PyTorch's row beside them.");
}

// PyTorch's samples and configuration from cpu_peers.py's file.
std::pair<std::vector<double>, std::string> peer_samples(const std::string& path) {
  try {
    const Json file = read_json(path), &job = file.at("jobs").at("inference_ensemble");
    const Json& variant = job.at("variants").at(job.at("best").get<std::string>());
    auto samples = job.at("samples").get<std::vector<double>>();
    const bool times = std::ranges::all_of(samples, [](double s) { return s > 0 && std::isfinite(s); });
    if (times && !samples.empty()) {
      return {std::move(samples), fmt::format("{}, {} threads", variant.at("config").get<std::string>(),
                                              file.at("threads").get<int64_t>())};
    }
  } catch (const Json::exception&) {  // refused below
  }
  fail("{} holds no times of inference_ensemble, as bench/peers/cpu_peers.py writes them", path);
}

double seconds_of(const TimedWork& work) {
  if (work.prepare) work.prepare();
  const auto start = std::chrono::steady_clock::now();
  work.run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Table timing_table(const std::string& what, const std::vector<Column>& more) {
  std::vector<Column> columns = {{what, what},
                                 {"seconds", "seconds", Column::Kind::general, 4},
                                 {"fastest", "fastest", Column::Kind::general, 4},
                                 {"slowest", "slowest", Column::Kind::general, 4}};
  columns.insert(columns.end(), more.begin(), more.end());
  return Table(columns);
}

// Adds a row, and returns {seconds: the median, samples}.
Json add_times(Table& table, const std::string& what, const std::vector<double>& samples,
               const std::vector<Cell>& more) {
  const double median = quantile(samples, 0.5);
  const auto [fastest, slowest] = std::ranges::minmax(samples);
  std::vector<Cell> row = {what, median, fastest, slowest};
  row.insert(row.end(), more.begin(), more.end());
  table.row(row);
  return {{"seconds", median}, {"samples", samples}};
}

// What `time` measures with MNIST on the device: for people, and in the files of --out.
struct Times {
  std::string heading;
  Table table;
  Json result;
};
template <typename Time>
void run(BenchOptions& options, const Flags& flags, Console& console, const Time& time) {
  RunFolder::check(options.common.out, options.common.resume);
  Backend& backend = open_backend(options.common, console);
  options.data.dataset = "mnist";
  const TrainingData data = load_training_data(options.data, backend, console);
  BenchBed bed{data, static_cast<uint64_t>(options.common.seed)};
  const Times found = time(bed, backend);
  console.say("{}", found.heading);
  console.blank();
  console.say(found.table);
  const RunFolder folder(options.common.out, make_config(flags, data.info.facts), options.common.resume);
  const Json result = with_schema("bench/1", found.result);
  folder.write_json("bench.json", result);
  folder.write("bench.csv", found.table.csv());
  console.result(result);
}

void run_jobs(BenchOptions& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  if (options.jobs.empty()) options.jobs = job_names();
  run(options, flags, console, [&](BenchBed& bed, Backend& backend) {
    Table table =
        timing_table("job", {{"peak_mib", "peak MiB", Column::Kind::number, 0}, {"check", "checked"}});
    Json jobs = Json::object();
    ProgressLine progress(console, "", static_cast<int64_t>(options.jobs.size()) * (options.repeats + 1),
                          "samples");
    int64_t done = 0;
    for (const std::string& name : options.jobs) {
      progress.label(name);
      const BenchJob& job = *std::ranges::find(bench_jobs(), name, &BenchJob::name);
      const TimedWork work = job.make(bed, job.network, job.images);
      std::string check;
      std::vector<double> samples;
      double peak = 0;
      for (int64_t i = 0; i <= options.repeats; ++i) {
        forget_peak();
        const double seconds = seconds_of(work);
        if (i > 0) samples.push_back(seconds);
        peak = std::max(peak, peak_memory());
        check = work.check();
        progress.at(++done);
      }
      jobs[name] = add_times(table, name, samples, {peak, check});
      jobs[name]["peak_mib"] = peak;
      jobs[name]["check"] = check;
    }
    const std::string isa = backend.description();
    return Times{fmt::format("{}; {}", cpu_name(), isa), std::move(table),
                 Json{{"device", isa},
                      {"threads", cpu_threads()},
                      {"cpu", cpu_name()},
                      {"isa", isa.substr(0, isa.find(','))},
                      {"jobs", std::move(jobs)}}};
  });
}

void run_ensemble(BenchOptions& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  std::vector<std::pair<std::string, std::vector<double>>> paths = {{"fused", {}}, {"composed", {}}};
  if (!options.peer.empty()) {
    auto [samples, config] = peer_samples(options.peer);
    paths.emplace_back("PyTorch (" + config + ")", std::move(samples));
  }
  run(options, flags, console, [&](BenchBed& bed, Backend& backend) {
    const TimedWork works[] = {ensemble_work(bed, true), ensemble_work(bed, false)};
    std::string check;
    for (const TimedWork& work : works) {
      work.run();
      check = work.check();
    }
    ProgressLine progress(console, "ensemble", options.repeats, "rounds");
    for (int64_t i = 0; i < options.repeats; ++i) {
      for (size_t k = 0; k < 2; ++k) paths[k].second.push_back(seconds_of(works[k]));
      progress.at(i + 1);
    }
    Table table = timing_table("path", {{"ratio", "times fused", Column::Kind::general, 3}});
    const double fused = quantile(paths[0].second, 0.5);
    Json numbers = Json::object(), ratios = Json::object();
    for (const auto& [name, samples] : paths) {
      const double ratio = quantile(samples, 0.5) / fused;
      ratios[name] = ratio;
      numbers[name] = add_times(table, name, samples, {ratio});
    }
    return Times{fmt::format("{}; {}", backend.description(), check), std::move(table),
                 Json{{"device", backend.description()},
                      {"threads", cpu_threads()},
                      {"images", bed.data.test.count()},
                      {"check", check},
                      {"paths", numbers},
                      {"ratios", ratios}}};
  });
}

void declare_cpu(Flags& flags, BenchOptions& options) {
  declare_jobs(flags, options, "cpu");
}
void declare_cuda(Flags& flags, BenchOptions& options) {
  declare_jobs(flags, options, "cuda");
}

}  // namespace

Run bench_command(Flags& flags) {
  auto options = std::make_shared<CommonOptions>();
  flags.usage("[flags]");
  flags.about("Lists the jobs of 'caltrop bench cpu' and 'caltrop bench cuda', which time them.");
  add_common_flags(flags, *options, false);
  flags.section("JSON", "jobs: a list of {job, work}");
  flags.example("caltrop bench", "The names of the jobs.");
  flags.example("caltrop bench cpu --help", "How to run them.");
  return [options, &flags] {
    Console console(options->json, options->quiet);
    Table jobs({{"job", "job"}, {"work", "work"}});
    for (const BenchJob& job : bench_jobs()) jobs.row({job.name, job.work});
    const Json result = {{"schema", "bench-jobs/1"}, {"jobs", jobs.json()}};
    console.say(
        "'caltrop bench cpu --jobs A,B,...' times these jobs on the CPU, 'caltrop bench cuda' on a GPU:");
    console.blank();
    console.say(jobs);
    RunFolder(options->out, make_config(flags, {}), options->resume).write_json("bench.json", result);
    console.result(result);
  };
}

Run bench_cpu_command(Flags& flags) {
  return make_command<BenchOptions>(flags, declare_cpu, run_jobs);
}
Run bench_cuda_command(Flags& flags) {
  return make_command<BenchOptions>(flags, declare_cuda, run_jobs);
}
Run bench_ensemble_command(Flags& flags) {
  return make_command<BenchOptions>(flags, declare_ensemble, run_ensemble);
}

}  // namespace caltrop
