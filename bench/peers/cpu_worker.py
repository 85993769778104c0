"""Runs benchmark tasks in this process and writes their times; cpu_peers.py starts it.

The task list arrives as JSON on standard input:
  {"threads", "data_dir", "weights": FILE, "networks": {NAME: architecture line}, "tasks": [{"job", "peer",
   "config": {...}, "mode": "probe" | "measure", "repeats", "fraction"}]}
and the results go to the file named as the only argument: one {"samples": [...], "peak_mib"} or {"error": "..."} per
task. The peak is the process's: of a measured job, which has a process of its own, data and libraries included.
"""

import json
import os
import resource
import sys
import time
import warnings
from pathlib import Path

import mnist


def make(job, config, data, peer):
    import torch_attacks
    import torch_jobs

    kind, model = job.rsplit("_", 1)
    if peer in ("onnxruntime", "openvino"):
        return torch_jobs.OnnxInference(model, config, data, peer)
    if peer == "jax":
        import jax_jobs

        return {"train_epoch": jax_jobs.train_epoch, "pgd10": jax_jobs.pgd}[kind](config, data)
    if peer != "torch":
        libraries = {"pgd10": torch_attacks.Library, "cw1000": torch_attacks.Cw, "apgd": torch_attacks.Apgd}
        return libraries[kind](model, config, data, peer)
    if kind.endswith("_train"):
        return torch_jobs.AdversarialTrain(kind.removesuffix("_train"), model, config, data)
    kinds = {"train_epoch": torch_jobs.TrainEpoch, "train": torch_jobs.TrainEpoch, "inference": torch_jobs.Inference,
             "pgd10": torch_attacks.Pgd, "gma": torch_attacks.Sweep}
    return kinds[kind](model, config, data)


def trained_target(path, data):
    """Target after one epoch, from the file of an earlier run or trained now; its accuracy is checked either way."""
    import safetensors.torch
    import torch_jobs
    import torch_zoo

    config = torch_zoo.Config(channels_last=True, adam="fused")
    model = torch_zoo.build("target", config)
    if path.exists():
        model.load_state_dict(safetensors.torch.load_file(path))
    else:
        job = torch_jobs.TrainEpoch("target", config, data)
        job.run(1)
        model = job.model
    reached = torch_zoo.accuracy(model, *data["test"])
    torch_zoo.require(reached > 0.96, f"Target reaches an accuracy of {reached:.4f} only, expected above 0.96")
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if not path.exists():
        safetensors.torch.save_file(weights, path)
    return weights


def samples(job, mode, repeats, fraction):
    """`repeats` times of the whole job; short jobs are repeated for two seconds, 20 times at most."""
    job.check()
    if mode == "probe":
        return [job.run(job.probe_fraction) for _ in range(2)]
    times, start = [], time.perf_counter()
    while len(times) < repeats or (time.perf_counter() - start < 2 and len(times) < 20):
        times.append(job.run(fraction))
    return times


def main():
    import torch
    import torch_zoo

    warnings.filterwarnings("ignore")
    spec = json.load(sys.stdin)
    torch.set_num_threads(spec["threads"])
    torch_zoo.add_networks(spec["networks"])
    folder = mnist.find_mnist(spec["data_dir"])
    tensors = lambda split: tuple(torch.from_numpy(array) for array in mnist.load(folder, split))  # noqa: E731
    weights = Path(spec["weights"])
    data = {"test": tensors("test")}
    if not weights.exists() or any("train" in task["job"] for task in spec["tasks"]):
        data["train"] = tensors("train")
    data["weights"] = trained_target(weights, data)
    results = []
    for task in spec["tasks"]:
        try:
            job = make(task["job"], torch_zoo.Config(**task["config"]), data, task["peer"])
            times = samples(job, task["mode"], task["repeats"], task["fraction"])
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            results.append({"samples": times, "peak_mib": peak})
        except Exception as error:  # one candidate that cannot run here, say for want of a compiler, is no failure
            results.append({"error": f"{type(error).__name__}: {error}".splitlines()[0]})
    temporary = Path(sys.argv[1] + ".tmp")
    temporary.write_text(json.dumps({"isa": torch.backends.cpu.get_cpu_capability(), "results": results}))
    os.replace(temporary, sys.argv[1])


if __name__ == "__main__":
    main()
