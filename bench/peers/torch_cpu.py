#!/usr/bin/env python3
"""Times Caltrop's benchmark jobs in PyTorch on the CPU, each as stock and as tuned.

stock   PyTorch as it comes: contiguous tensors, the default allocator, eager, batch 128
tuned   the fastest of the candidates in torch_zoo.py: memory format, batch size, allocator, frozen parameters, Adam's
        implementation, torch.compile or TorchScript, GMA's sizes stacked or one by one. Each candidate is probed on
        a part of the job; the winner alone is measured. Choices are kept in the work folder (--retune forgets them)

Single precision throughout, data in memory, the same shapes for all. The headline of a job, its "seconds", is the
better of the two. foolbox and torchattacks run PGD-10 as further rows, tuned as far as they allow (allocator,
channels-last, frozen parameters). This file never imports torch: the allocator is set by environment variables that
must be there when a process starts, so each allocator's work runs in a process of its own (torch_worker.py).
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
JOBS = ["train_epoch_target", "train_epoch_eat3", "inference_target", "inference_eat1", "inference_eat2",
        "inference_eat3", "inference_ensemble", "pgd10_target", "gma_target"]
LIBRARIES = {"pgd10_target": ["foolbox", "torchattacks"]}
STOCK = {}
LIBRARY_CONFIG = {"allocator": "keep", "channels_last": True, "frozen": True}
ALLOCATORS = {"default": {}, "keep": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}}


def cpu_name():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


class Peer:
    def __init__(self, options):
        self.options = options
        self.work = Path(options.work).resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        self.isa = None

    def run(self, allocator, tasks):
        """The tasks' results, from a fresh process under this allocator."""
        environment = {**os.environ, **ALLOCATORS[allocator], "OMP_NUM_THREADS": str(self.options.threads),
                       "TORCHINDUCTOR_CACHE_DIR": str(self.work / "inductor")}
        spec = {"threads": self.options.threads, "data_dir": self.options.data_dir, "tasks": tasks,
                "weights": str(self.work / "target.safetensors")}
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            out = Path(folder) / "results.json"
            log = Path(folder) / "log"
            with log.open("w") as stream:
                worker = subprocess.run([sys.executable, str(HERE / "torch_worker.py"), str(out)], text=True,
                                        input=json.dumps(spec), env=environment, stdout=stream, stderr=stream)
            if worker.returncode != 0 or not out.exists():
                tail = log.read_text()[-3000:]
                raise SystemExit(f"error: the PyTorch process failed with status {worker.returncode}:\n{tail}")
            answer = json.loads(out.read_text())
        self.isa = answer["isa"]
        return answer["results"]

    def tuned(self, job):
        """The fastest configuration of a job, from the work folder or probed now."""
        path = self.work / "tuning.json"
        setting = {"torch": metadata.version("torch"), "cpu": cpu_name(), "threads": self.options.threads}
        known = json.loads(path.read_text()) if path.exists() else {}
        if known.get("setting") != setting:
            known = {"setting": setting, "jobs": {}}
        if job not in known["jobs"] or self.options.retune:
            probes = []
            for allocator in ALLOCATORS:
                configs = self.candidates(job, allocator)
                tasks = [{"job": job, "config": c, "mode": "probe", "repeats": 2, "fraction": 1} for c in configs]
                for config, result in zip(configs, self.run(allocator, tasks)):
                    seconds = min(result["samples"]) if "samples" in result else None
                    probes.append({"config": config, "seconds": seconds, "error": result.get("error")})
            ran = [p for p in probes if p["seconds"] is not None]
            if not ran:
                raise SystemExit(f"error: no PyTorch candidate of {job} runs: {probes[0]['error']}")
            known["jobs"][job] = {"config": min(ran, key=lambda p: p["seconds"])["config"], "probes": probes}
            path.write_text(json.dumps(known, indent=1) + "\n")
        return known["jobs"][job]

    def candidates(self, job, allocator):
        command = [sys.executable, str(HERE / "torch_zoo.py"), job, allocator]
        return json.loads(subprocess.check_output(command))

    def measure(self, job, config, library=None):
        fraction = 1 if job.startswith("inference") else self.options.fraction
        task = {"job": job, "library": library, "config": config, "mode": "measure", "fraction": fraction,
                "repeats": self.options.repeats}
        (result,) = self.run(config.get("allocator", "default"), [task])
        if "error" in result:
            raise SystemExit(f"error: {job} failed in PyTorch: {result['error']}")
        return {"seconds": statistics.median(result["samples"]), "samples": result["samples"],
                "config": describe(job, config), "measured_fraction": fraction}

    def job(self, name):
        variants = {}
        if self.options.variant in ("stock", "both"):
            variants["stock"] = self.measure(name, STOCK)
        if self.options.variant in ("tuned", "both"):
            choice = self.tuned(name)
            variants["tuned"] = self.measure(name, choice["config"])
            variants["tuned"]["probes"] = {describe(name, p["config"]): p["seconds"] or p["error"]
                                           for p in choice["probes"]}
        best = min(variants, key=lambda v: variants[v]["seconds"])
        if not self.options.no_libraries:
            for library in LIBRARIES.get(name, []):
                variants[library] = self.measure(name, LIBRARY_CONFIG, library)
        return {"seconds": variants[best]["seconds"], "samples": variants[best]["samples"], "best": best,
                "variants": variants}


def describe(job, config):
    """A configuration in words, without what the job has no use for."""
    words = ["channels-last" if config.get("channels_last") else "contiguous", config.get("engine", "eager"),
             f"batch {config.get('batch', 128)}", f"{config.get('allocator', 'default')} allocator"]
    if job.startswith("train"):
        words.append(f"{config.get('adam', 'loop')} Adam")
    elif not job.startswith("inference") and config.get("frozen"):
        words.append("frozen")
    if job.startswith("gma"):
        words.append(config.get("sweep", "sizes"))
    return ", ".join(words)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", default="-", help="where the result goes; - is standard output")
    parser.add_argument("--jobs", default=",".join(JOBS), help="comma-separated; default all: %(default)s")
    parser.add_argument("--repeats", type=int, default=1, help="samples of each job and variant, at least")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data-dir", help="folder of the MNIST files; default as in the product")
    parser.add_argument("--variant", choices=["stock", "tuned", "both"], default="both")
    parser.add_argument("--no-libraries", action="store_true", help="leave foolbox and torchattacks out")
    parser.add_argument("--retune", action="store_true", help="probe the candidates again")
    parser.add_argument("--tune-only", action="store_true", help="probe what has no choice yet, and measure nothing")
    parser.add_argument("--work", default=str(HERE.parents[1] / "build-peers"), help="weights, tuning, compiled code")
    parser.add_argument("--fraction", type=float, default=1,
                        help="measure this part of epochs and attacks and scale it (noted in the result)")
    options = parser.parse_args()
    unknown = set(options.jobs.split(",")) - set(JOBS)
    if unknown:
        parser.error(f"unknown job {', '.join(sorted(unknown))}; the jobs are {', '.join(JOBS)}")
    if not 0 < options.fraction <= 1:
        parser.error("--fraction must be above 0 and at most 1")
    if options.repeats < 1 or options.threads < 1:
        parser.error("--repeats and --threads must be at least 1")
    return options


def main():
    options = parse()
    peer = Peer(options)
    if options.tune_only:
        for name in options.jobs.split(","):
            print(f"{name}: {describe(name, peer.tuned(name)['config'])}", file=sys.stderr, flush=True)
        return
    jobs = {}
    for name in options.jobs.split(","):
        jobs[name] = peer.job(name)
        times = ", ".join(f"{v} {t['seconds']:.3f} s" for v, t in jobs[name]["variants"].items())
        print(f"{name}: {times}", file=sys.stderr, flush=True)
    packages = ("torch", "numpy", "foolbox", "torchattacks")
    result = {"threads": options.threads, "cpu": cpu_name(), "isa": peer.isa,
              "versions": {"python": platform.python_version(), **{p: metadata.version(p) for p in packages}},
              "fraction": options.fraction, "jobs": jobs}
    text = json.dumps(result, indent=1) + "\n"
    if options.json == "-":
        sys.stdout.write(text)
    else:
        Path(options.json).write_text(text)


if __name__ == "__main__":
    main()
