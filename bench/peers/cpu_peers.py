#!/usr/bin/env python3
"""Times Caltrop's benchmark jobs in its peers on the CPU: PyTorch, ONNX Runtime, OpenVINO, JAX, and attack libraries.

stock          PyTorch as it comes: contiguous tensors, the default allocator, eager, batch 128
NAME, tuned    the fastest of the peer's candidates in torch_zoo.py. PyTorch's: memory format, batch size, allocator,
               frozen parameters, Adam's implementation, torch.compile or TorchScript, GMA's sizes stacked or one by
               one; of the others the batch size. Each candidate is probed, the deep networks' on less; the winner alone
               is measured. Choices are kept in the work folder (--retune forgets them)

Single precision throughout, data in memory, the same shapes for all. ONNX Runtime and OpenVINO infer, JAX runs whole
jitted loops of Target; foolbox and torchattacks run the attacks that they have. The headline of a job, its "seconds", is
the best of all. This file never imports torch: the allocator is set by environment variables that must be there when a
process starts, so each allocator's work runs in a process of its own (cpu_worker.py).
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
DEEP = {"kim3": "kim-3", "vgg7": "vgg7", "vgg16": "vgg16", "resnet32": "resnet32", "resnet50": "resnet50"}
ADVERSARIAL = ["pgd7_train_target", "pgd7_train_kim2", "fast_train_target", "fast_train_kim2"]
JOBS = ["train_epoch_target", "train_epoch_eat3", *(f"train_{name}" for name in DEEP), "train_kim2", *ADVERSARIAL,
        "inference_target",
        "inference_eat1", "inference_eat2", "inference_eat3", "inference_ensemble",
        *(f"inference_{name}" for name in DEEP), "pgd10_target", "gma_target", "cw1000_target", "apgd_target"]
PACKAGES = ("torch", "numpy", "onnxruntime", "openvino", "jax", "foolbox", "torchattacks")
STOCK = {}
ALLOCATORS = {"default": {}, "keep": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}}


def peers_of(job):
    if job.startswith("inference"):
        return ["torch", "onnxruntime", "openvino"]
    attacks = {"pgd10_target": ["torch", "jax", "foolbox", "torchattacks"], "cw1000_target": ["foolbox", "torchattacks"],
               "apgd_target": ["torchattacks"], "train_epoch_target": ["torch", "jax"]}
    return attacks.get(job, ["torch"])


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
        self.lines = {}

    def networks(self, tasks):
        """The architecture lines of the tasks' deep networks, from Caltrop."""
        known = {**DEEP, "kim2": "kim-2"}
        for name in {task["job"].rsplit("_", 1)[1] for task in tasks} & (known.keys() - self.lines.keys()):
            command = [self.options.caltrop, "info", "--model", known[name], "--json", "-"]
            self.lines[name] = json.loads(subprocess.check_output(command))["network"]
        return self.lines

    def run(self, allocator, tasks):
        """The tasks' results, from a fresh process under this allocator."""
        environment = {**os.environ, **ALLOCATORS[allocator], "OMP_NUM_THREADS": str(self.options.threads),
                       "TORCHINDUCTOR_CACHE_DIR": str(self.work / "inductor"), "JAX_PLATFORMS": "cpu"}
        spec = {"threads": self.options.threads, "data_dir": self.options.data_dir, "tasks": tasks,
                "networks": self.networks(tasks), "weights": str(self.work / "target.safetensors")}
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            out = Path(folder) / "results.json"
            log = Path(folder) / "log"
            with log.open("w") as stream:
                worker = subprocess.run([sys.executable, str(HERE / "cpu_worker.py"), str(out)], text=True,
                                        input=json.dumps(spec), env=environment, stdout=stream, stderr=stream)
            if worker.returncode != 0 or not out.exists():
                tail = log.read_text()[-3000:]
                raise SystemExit(f"error: the peers' process failed with status {worker.returncode}:\n{tail}")
            answer = json.loads(out.read_text())
        self.isa = answer["isa"]
        return answer["results"]

    def tuned(self, job, peer):
        """The fastest configuration of a job, from the work folder or probed now."""
        path = self.work / "tuning.json"
        setting = {"versions": versions(), "cpu": cpu_name(), "threads": self.options.threads}
        known = json.loads(path.read_text()) if path.exists() else {}
        if known.get("setting") != setting:
            known = {"setting": setting, "jobs": {}}
        key = f"{job} {peer}"
        if key not in known["jobs"] or self.options.retune:
            probes = []
            for allocator in ALLOCATORS:
                configs = self.candidates(job, allocator, peer)
                tasks = [{"job": job, "peer": peer, "config": c, "mode": "probe", "repeats": 2, "fraction": 1}
                         for c in configs]
                for config, result in zip(configs, self.run(allocator, tasks) if tasks else []):
                    seconds = min(result["samples"]) if "samples" in result else None
                    probes.append({"config": config, "seconds": seconds, "error": result.get("error")})
            ran = [p for p in probes if p["seconds"] is not None]
            if not ran:
                raise SystemExit(f"error: no candidate of {job} runs in {peer}: {probes[0]['error']}")
            known["jobs"][key] = {"config": min(ran, key=lambda p: p["seconds"])["config"], "probes": probes}
            path.write_text(json.dumps(known, indent=1) + "\n")
        return known["jobs"][key]

    def candidates(self, job, allocator, peer):
        command = [sys.executable, str(HERE / "torch_zoo.py"), job, allocator, peer]
        return json.loads(subprocess.check_output(command))

    def measure(self, job, peer, config):
        whole = job.startswith("inference") or peer == "jax"
        fraction = 1 if whole else self.options.fraction
        task = {"job": job, "peer": peer, "config": config, "mode": "measure", "fraction": fraction,
                "repeats": self.options.repeats}
        (result,) = self.run(config.get("allocator", "default"), [task])
        if "error" in result:
            raise SystemExit(f"error: {job} failed in {peer}: {result['error']}")
        return {"seconds": statistics.median(result["samples"]), "samples": result["samples"],
                "peak_mib": result["peak_mib"], "config": describe(job, peer, config), "measured_fraction": fraction}

    def job(self, name):
        variants = {}
        peers = peers_of(name)
        if "torch" in peers and self.options.variant in ("stock", "both"):
            variants["stock"] = self.measure(name, "torch", STOCK)
        if self.options.variant in ("tuned", "both"):
            for peer in peers:
                choice = self.tuned(name, peer)
                label = "tuned" if peer == "torch" else peer
                variants[label] = self.measure(name, peer, choice["config"])
                variants[label]["probes"] = {describe(name, peer, p["config"]): p["seconds"] or p["error"]
                                             for p in choice["probes"]}
        best = min(variants, key=lambda v: variants[v]["seconds"])
        return {"seconds": variants[best]["seconds"], "samples": variants[best]["samples"], "best": best,
                "variants": variants}


def versions():
    return {"python": platform.python_version(), **{p: metadata.version(p) for p in PACKAGES}}


def describe(job, peer, config):
    """A configuration in words, without what the job has no use for."""
    if peer in ("onnxruntime", "openvino", "jax"):
        return f"batch {config['batch']}"
    words = ["channels-last" if config.get("channels_last") else "contiguous", config.get("engine", "eager"),
             f"batch {config.get('batch', 128)}", f"{config.get('allocator', 'default')} allocator"]
    if "train" in job:
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
    parser.add_argument("--caltrop", default=os.environ.get("CALTROP", str(HERE.parents[1] / "build" / "caltrop")),
                        help="the program that knows the networks' layers (default: $CALTROP, build/caltrop)")
    parser.add_argument("--list", action="store_true", help="print the names of all jobs, comma-separated")
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
    if options.list:
        print(",".join(JOBS))
        return
    peer = Peer(options)
    if options.tune_only:
        for name in options.jobs.split(","):
            for library in peers_of(name):
                words = describe(name, library, peer.tuned(name, library)["config"])
                print(f"{name}: {library}: {words}", file=sys.stderr, flush=True)
        return
    jobs = {}
    for name in options.jobs.split(","):
        jobs[name] = peer.job(name)
        times = ", ".join(f"{v} {t['seconds']:.3f} s" for v, t in jobs[name]["variants"].items())
        print(f"{name}: {times}", file=sys.stderr, flush=True)
    result = {"threads": options.threads, "cpu": cpu_name(), "isa": peer.isa,
              "versions": versions(),
              "fraction": options.fraction, "jobs": jobs}
    text = json.dumps(result, indent=1) + "\n"
    if options.json == "-":
        sys.stdout.write(text)
    else:
        Path(options.json).write_text(text)


if __name__ == "__main__":
    main()
