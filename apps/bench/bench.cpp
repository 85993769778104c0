// caltrop bench: times the main jobs, on the CPU or on a GPU. bench/run_cpu.sh and scripts/gpu_check.sh set
// them beside PyTorch's.
#include <algorithm>
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
  std::vector<std::string> jobs;
  int64_t repeats = 3;
};

std::string cpu_name() {
  std::ifstream stream("/proc/cpuinfo");
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with("model name")) return line.substr(std::min(line.size(), line.find(':') + 2));
  }
  return "unknown";
}

std::vector<std::string> job_names() {
  std::vector<std::string> names;
  for (const BenchJob& job : bench_jobs()) names.push_back(job.name);
  return names;
}

Table job_table() {
  Table table({{"job", "job"}, {"work", "work"}});
  for (const BenchJob& job : bench_jobs()) table.row({job.name, job.work});
  return table;
}

// `device` is "cpu" or "cuda", and the second word of the command.
void declare(Flags& flags, BenchOptions& options, const std::string& device) {
  flags.usage("[flags]");
  flags.about(
      (device == "cpu" ? std::string("Times the main jobs on the CPU")
                       : "Times the main jobs on the first GPU") +
      " with MNIST's 60,000 + 10,000 images in memory. A job first runs once "
      "untimed and "
      "its result is checked (accuracies, logits against the unfused network, budgets): a wrong result is an "
      "error, not a "
      "time. What is timed is the work alone, without reading data or testing.");
  flags.group("Jobs");
  flags.list("jobs", options.jobs, job_names(), "A,B,...", "which jobs", "all");
  flags.integer("repeats", options.repeats, 1, 1000, "R", "samples of each; the median counts");
  flags.text("data-dir", options.data.data_dir, "DIR", "folder that holds MNIST's files",
             "searched; see 'caltrop info'");
  options.common.device = device;
  add_common_flags(flags, options.common, true, "none", {device});
  std::string jobs;
  for (const BenchJob& job : bench_jobs()) jobs += fmt::format(" {:<20}{}\n", job.name, job.work);
  flags.section("The jobs", jobs);
  flags.section("Files", "With --out: DIR/config.json, bench.json (as --json), bench.csv");
  flags.section("JSON",
                "device, threads, cpu, isa, jobs: {NAME: {seconds: the median, samples: [...], check}}");
  const std::string command = "caltrop bench " + device;
  flags.example(command + " --jobs inference_target --repeats 9", "One job, nine samples.");
  flags.example(command + (device == "cpu" ? " --threads 2" : "") + " --json -",
                device == "cpu" ? "All jobs on two threads, as JSON." : "All jobs, as JSON.");
}

void run(BenchOptions& options, const Flags& flags) {
  Console console(options.common.json, options.common.quiet);
  RunFolder::check(options.common.out, options.common.resume);
  Backend& backend = open_backend(options.common, console);
  options.data.dataset = "mnist";
  if (options.jobs.empty()) options.jobs = job_names();
  const TrainingData data = load_training_data(options.data, backend, console);
  const std::string isa = backend.description();
  BenchBed bed(data, static_cast<uint64_t>(options.common.seed));
  Table table = timing_table("job", {"check", "checked"});
  Json jobs = Json::object();
  ProgressLine progress(console, "", static_cast<int64_t>(options.jobs.size()) * (options.repeats + 1),
                        "samples");
  int64_t done = 0;
  for (const std::string& name : options.jobs) {
    const BenchJob& job = *std::ranges::find(bench_jobs(), name, &BenchJob::name);
    progress.label(name);
    const std::unique_ptr<TimedWork> work = job.make(bed);
    work->run();
    const std::string check = work->check();
    progress.at(++done);
    std::vector<double> samples;
    for (int64_t i = 0; i < options.repeats; ++i) {
      samples.push_back(seconds_of(*work));
      work->check();
      progress.at(++done);
    }
    jobs[name] = add_times(table, name, samples, check);
    jobs[name]["check"] = check;
  }
  progress.finish();
  console.say("{}; {}", cpu_name(), isa);
  console.blank();
  console.say(table);
  const Json result = {{"device", isa},
                       {"threads", cpu_threads()},
                       {"cpu", cpu_name()},
                       {"isa", isa.substr(0, isa.find(','))},
                       {"jobs", std::move(jobs)}};
  write_bench(options.common, flags, data.info.facts, result, table);
  console.result(result);
}

auto declare_for(const std::string& device) {
  return [device](Flags& flags, BenchOptions& options) {
    declare(flags, options, device);
  };
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
    const Table jobs = job_table();
    const Json result = {{"jobs", jobs.json()}};
    console.say(
        "'caltrop bench cpu --jobs A,B,...' times these jobs on the CPU, 'caltrop bench cuda' on a GPU:");
    console.blank();
    console.say(jobs);
    RunFolder(options->out, make_config(flags, {}), options->resume).write_json("bench.json", result);
    console.result(result);
  };
}

Run bench_cpu_command(Flags& flags) {
  return make_command<BenchOptions>(flags, declare_for("cpu"), run);
}
Run bench_cuda_command(Flags& flags) {
  return make_command<BenchOptions>(flags, declare_for("cuda"), run);
}

}  // namespace caltrop
