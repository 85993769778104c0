#!/usr/bin/env python3
"""Times Caltrop's GPU benchmark jobs in PyTorch on one CUDA device: eager, torch.compile and CUDA graph.

train_epoch_target  one epoch of Target with Adam, batch 128, on images that lie on the device (469 steps)
pgd10_target        PGD-10 in L-infinity on the 10,000 test images, eps 0.3, step 0.075

Single precision without TF32, the same images in the same order for every variant, the last and smaller batch left to
the eager step. Each variant is checked before it is timed (losses, budgets, robust accuracy) against eager, and eager
against accuracy thresholds; a wrong one is an error, not a time. Times are between CUDA events, of whole jobs.
"""

import argparse
import platform
import statistics
import sys
import time

import mnist
import torch
import torch.nn.functional as F
from job_result import write_result
from torch_zoo import MODELS, require

BATCH, STEPS, EPS, STEP_SIZE = 128, 10, 0.3, 0.075
JOBS = ("train_epoch_target", "pgd10_target")
VARIANTS = ("eager", "compile", "graph")


def timed(body):
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    body()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1e-3


def captured(body, warm_ups=3):
    """A CUDA graph of body(), warmed up on a side stream as PyTorch asks for."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(warm_ups):
            body()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        body()
    return graph


class TrainEpoch:
    def __init__(self, variant, data):
        self.variant, self.data = variant, data
        self.images, self.labels = data["train"]
        torch.manual_seed(1)
        self.model = MODELS["target"]().cuda()
        self.start = [p.detach().clone() for p in self.model.parameters()]
        self.adam = torch.optim.Adam(self.model.parameters(), 1e-3, fused=True, capturable=variant == "graph")
        self.loss = torch.zeros((), device="cuda")
        self.rows = torch.zeros(BATCH, dtype=torch.long, device="cuda")
        self.forward = self.model
        if variant == "compile":
            self.forward = torch.compile(self.model, mode="max-autotune-no-cudagraphs", dynamic=False)
        self.eager_step(self.rows)  # the optimiser's state exists
        self.graph = captured(lambda: self.eager_step(self.rows)) if variant == "graph" else None

    def reset(self):
        with torch.no_grad():
            for p, start in zip(self.model.parameters(), self.start):
                p.copy_(start)
            for state in self.adam.state.values():
                for value in state.values():
                    value.zero_()

    def eager_step(self, rows, forward=None):
        x, y = self.images[rows], self.labels[rows]
        # Gradients keep their memory, which a graph needs, and are overwritten instead of added to.
        self.adam.zero_grad(set_to_none=self.variant != "graph")
        loss = F.cross_entropy((forward or self.model)(x), y)
        loss.backward()
        self.adam.step()
        self.loss.copy_(loss.detach())

    def step(self, rows):
        if len(rows) < BATCH or self.variant == "eager":
            self.eager_step(rows)
        elif self.graph is not None:
            self.rows.copy_(rows)
            self.graph.replay()
        else:
            self.eager_step(rows, self.forward)

    def epoch(self):
        for rows in self.data["order"].split(BATCH):
            self.step(rows)

    def first_losses(self):
        self.reset()
        losses = []
        for rows in self.data["order"].split(BATCH)[:8]:
            self.step(rows)
            losses.append(self.loss.item())
        return torch.tensor(losses)

    def check(self):
        losses = self.first_losses()
        if self.variant != "eager":
            error = (losses - TrainEpoch("eager", self.data).first_losses()).abs().max().item()
            require(error <= 2e-3, f"the first losses differ from eager's by {error:.1e}")
        self.reset()
        self.epoch()
        images, labels = self.data["test"]
        with torch.no_grad():
            reached = (self.model(images).argmax(1) == labels).double().mean().item()
        require(reached > 0.96, f"an epoch reached {reached:.4f} only, expected above 0.96")
        return f"test accuracy {100 * reached:.2f} %"

    def sample(self):
        self.reset()
        torch.cuda.synchronize()
        return timed(self.epoch)


class Pgd:
    batches = (1000, 2000, 10000)

    def __init__(self, variant, data, batch=None):
        self.variant, self.data = variant, data
        self.images, self.labels = data["test"]
        self.model = data["model"]
        self.batch = batch
        if batch is None:  # the fastest, probed
            self.batch = min(self.batches, key=self.probe)
        self.prepare()

    def probe(self, batch):
        other = Pgd(self.variant, self.data, batch)
        other.attack()
        seconds = min(timed(other.attack) for _ in range(3))
        del other
        torch.cuda.empty_cache()
        return seconds

    def prepare(self):
        n = self.batch
        self.x0, self.y = self.images[:n].clone(), self.labels[:n].clone()
        self.x = torch.empty_like(self.x0)
        self.step = self.eager_step
        self.graph = None
        if self.variant == "compile":
            torch._dynamo.reset()
            self.step = torch.compile(self.eager_step, mode="max-autotune-no-cudagraphs", dynamic=False)
        elif self.variant == "graph":
            self.graph = captured(self.steps)

    def eager_step(self, x, y, low, high):
        x = x.detach().requires_grad_(True)
        loss = F.cross_entropy(self.model(x), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
        return torch.minimum(torch.maximum(x.detach() + STEP_SIZE * gradient.sign(), low), high)

    def steps(self):
        low, high, x = (self.x0 - EPS).clamp(0, 1), (self.x0 + EPS).clamp(0, 1), self.x0
        for _ in range(STEPS):
            x = self.step(x, self.y, low, high)
        self.x.copy_(x)

    def attack(self):
        found = []
        for x, y in zip(self.images.split(self.batch), self.labels.split(self.batch)):
            self.x0.copy_(x)
            self.y.copy_(y)
            if self.graph is not None:
                self.graph.replay()
            else:
                self.steps()
            found.append(self.x.clone())
        return torch.cat(found)

    def robust(self, found):
        with torch.no_grad():
            return (self.model(found).argmax(1) == self.labels).double().mean().item()

    def check(self):
        found = self.attack()
        require((found - self.images).abs().max().item() <= EPS + 1e-6, "a perturbation leaves its ball")
        require(found.min().item() >= 0 and found.max().item() <= 1, "an adversarial pixel leaves [0,1]")
        robust = self.robust(found)
        require(robust < 0.05, f"robust accuracy is {robust:.3f}, expected below 0.05")
        return f"accuracy {100 * robust:.2f} % at size {EPS}, batch {self.batch}"

    def sample(self):
        torch.cuda.synchronize()
        return timed(self.attack)


def load(data_dir):
    folder = mnist.find_mnist(data_dir)
    data = {}
    for split in ("train", "test"):
        images, labels = mnist.load(folder, split)
        data[split] = torch.from_numpy(images).cuda(), torch.from_numpy(labels).cuda()
    data["order"] = torch.randperm(len(data["train"][0]), generator=torch.Generator().manual_seed(1)).cuda()
    return data


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", default="-", help="where the result goes; - is standard output")
    parser.add_argument("--jobs", default=",".join(JOBS), help="comma-separated; default all: %(default)s")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="comma-separated; default all: %(default)s")
    parser.add_argument("--samples", type=int, default=5, help="of each job and variant, after two warm-ups")
    parser.add_argument("--data-dir", help="folder of the MNIST files; default as in the product")
    options = parser.parse_args()
    for name, known in ((options.jobs, JOBS), (options.variants, VARIANTS)):
        for word in name.split(","):
            if word not in known:
                parser.error(f"unknown {word!r}; expected {', '.join(known)}")
    if not torch.cuda.is_available():
        sys.exit("error: PyTorch finds no CUDA device here")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True

    data = load(options.data_dir)
    trained = TrainEpoch("eager", data)
    trained.check()
    data["model"] = trained.model.eval().requires_grad_(False)
    makers = {"train_epoch_target": TrainEpoch, "pgd10_target": Pgd}
    jobs = {}
    for job in options.jobs.split(","):
        variants = {}
        for variant in options.variants.split(","):
            try:
                began = time.perf_counter()
                work = makers[job](variant, data)
                words = work.check()
                for _ in range(2):
                    work.sample()
                samples = [work.sample() for _ in range(options.samples)]
                variants[variant] = {"seconds": statistics.median(samples), "samples": samples, "check": words,
                                     "preparation_seconds": time.perf_counter() - began - sum(samples)}
            except Exception as problem:  # one variant that fails leaves the others their times
                variants[variant] = {"error": f"{type(problem).__name__}: {problem}"[:2000]}
            print(f"{job} {variant}: {variants[variant].get('seconds', variants[variant].get('error'))}",
                  file=sys.stderr, flush=True)
        jobs[job] = {"variants": variants}
    result = {"device": torch.cuda.get_device_name(),
              "versions": {"python": platform.python_version(), "torch": torch.__version__,
                           "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()},
              "precision": "fp32, TF32 off", "jobs": jobs}
    write_result(result, options.json)


if __name__ == "__main__":
    main()
