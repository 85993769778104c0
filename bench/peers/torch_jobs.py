"""The benchmark's training and inference jobs in PyTorch; torch_attacks.py holds the others.

A job object is built for one configuration and offers
  check()        compares its results with those of the plainest PyTorch, so that nothing wrong is ever timed
  run(fraction)  does the job, or a fixed part of it, and returns the seconds of the whole job
What is timed is the work alone: data are tensors in memory, models and optimisers exist, code is compiled and
warm. Attacks are timed without a final evaluation of their images.
"""

import math
import time

import torch
import torch.nn.functional as F

from torch_zoo import Config, accuracy, build, kept, require

EPOCH_BATCH = 128


class TrainEpoch:
    """One epoch of Adam (1e-3) on shuffled images, batch 128, the last batch smaller."""

    probe_fraction = 24 / 469

    def __init__(self, name, config, data):
        self.name, self.config, self.data = name, config, data
        self.images, self.labels = data["train"]
        self.model = build(name, config)
        self.names = [n for n, _ in self.model.named_parameters()]
        self.start = [p.detach().clone() for p in self.model.parameters()]
        if config.engine == "compile":
            self.gradient = torch.compile(torch.func.grad_and_value(self._functional_loss), dynamic=False)
        self.reset()

    def reset(self):
        with torch.no_grad():
            for p, start in zip(self.model.parameters(), self.start):
                p.copy_(start)
        flags = {"loop": {}, "foreach": {"foreach": True}, "fused": {"fused": True}}[self.config.adam]
        self.adam = torch.optim.Adam(self.model.parameters(), lr=1e-3, **flags)

    def _functional_loss(self, parameters, x, y):
        return F.cross_entropy(torch.func.functional_call(self.model, parameters, (x,)), y)

    def step(self, x, y):
        if self.config.engine == "compile":  # forward and backward as one graph
            parameters = list(self.model.parameters())
            with torch.no_grad():
                gradients, loss = self.gradient({n: p.detach() for n, p in zip(self.names, parameters)}, x, y)
            for n, p in zip(self.names, parameters):
                p.grad = gradients[n]
        else:
            self.adam.zero_grad()
            loss = F.cross_entropy(self.model(x), y)
            loss.backward()
        self.adam.step()
        return loss.detach()

    def check(self):
        plain = TrainEpoch(self.name, Config(), self.data)
        expected = kept(self.data, ("first losses", self.name), plain._first_losses)
        error = (self._first_losses() - expected).abs().max().item()
        require(error <= 1e-3, f"the first losses differ from plain PyTorch's by {error:.1e}")

    def _first_losses(self):
        self.reset()
        n = EPOCH_BATCH
        return torch.stack([self.step(self.images[i:i + n], self.labels[i:i + n]) for i in range(0, 8 * n, n)])

    def run(self, fraction):
        total = math.ceil(len(self.images) / EPOCH_BATCH)
        steps = max(1, round(total * fraction))
        self.reset()
        for rows in (EPOCH_BATCH, EPOCH_BATCH, len(self.images) % EPOCH_BATCH if steps == total else 0):
            if rows:  # warm, the last and smaller batch included
                self.step(self.images[:rows], self.labels[:rows])
        self.reset()
        start = time.perf_counter()
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(1))
        for rows in order.split(EPOCH_BATCH)[:steps]:
            self.step(self.images[rows], self.labels[rows])
        seconds = time.perf_counter() - start
        if steps == total and self.name == "target":
            reached = accuracy(self.model, *self.data["test"])
            require(reached > 0.96, f"an epoch reached an accuracy of {reached:.4f} only, expected above 0.96")
        return seconds * total / steps


class Inference:
    """Logits of the 10,000 test images."""

    probe_fraction = 1

    def __init__(self, name, config, data):
        self.name, self.config, self.data = name, config, data
        self.images, _ = data["test"]
        model = build(name, config, data["weights"] if name == "target" else None).eval().requires_grad_(False)
        if config.engine == "compile":
            model = torch.compile(model, dynamic=False, options={"freezing": True})
        elif config.engine == "jit":
            model = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(model, self.images[:2])))
        self.model = model

    def logits(self):
        with torch.no_grad() if self.config.engine == "compile" else torch.inference_mode():
            return torch.cat([self.model(x) for x in self.images.split(self.config.batch)])

    def check(self):
        expected = kept(self.data, ("logits", self.name), Inference(self.name, Config(), self.data).logits)
        for _ in range(3):  # compilers specialise in the first calls
            error = ((self.logits() - expected).abs().max() / expected.abs().max()).item()
            require(error <= 1e-4, f"the logits differ from plain PyTorch's by {error:.1e} of the largest")

    def run(self, fraction):
        start = time.perf_counter()
        self.logits()
        return time.perf_counter() - start
