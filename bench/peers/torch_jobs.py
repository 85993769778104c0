"""The benchmark's training and inference jobs in PyTorch; torch_attacks.py holds the others.

A job object is built for one configuration and offers
  check()        compares its results with those of the plainest PyTorch, so that nothing wrong is ever timed
  run(fraction)  does the job, or a fixed part of it, and returns the seconds of the whole job
What is timed is the work alone: data are tensors in memory, models and optimisers exist, code is compiled and
warm. Attacks are timed without a final evaluation of their images.
"""

import io
import math
import time

import numpy as np
import torch
import torch.nn.functional as F

from torch_zoo import Config, accuracy, build, kept, require

EPOCH_BATCH = 128
# Of the jobs that do not take all images there are; as in apps/bench/jobs.cpp.
IMAGES = {"train_kim3": 6400, "train_vgg7": 256, "train_vgg16": 256, "train_resnet32": 1280, "train_resnet50": 128,
          "inference_vgg7": 500, "inference_vgg16": 500, "inference_resnet32": 2000, "inference_resnet50": 200,
          "train_kim2": 6400, "gma_target": 1000, "cw1000_target": 100, "apgd_target": 1000}


class TrainEpoch:
    """One epoch of Adam (1e-3) on shuffled images, batch 128, the last batch smaller."""

    probe_fraction = 24 / 469

    def __init__(self, name, config, data):
        self.name, self.config, self.data = name, config, data
        count = IMAGES.get("train_" + name)
        self.images, self.labels = (tensor[:count] for tensor in data["train"])
        self.deep = count is not None
        self.model = build(name, config)
        self.normed = any(isinstance(m, torch.nn.BatchNorm2d) for m in self.model.modules())
        self.names = [n for n, _ in self.model.named_parameters()]
        self.start = [p.detach().clone() for p in self.model.parameters()]
        self.forward = self.model
        if config.engine == "compile" and self.normed:  # whose running averages a functional gradient cannot write
            self.forward = torch.compile(self.model, dynamic=False)
        elif config.engine == "compile":
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
        if self.config.engine == "compile" and not self.normed:  # forward and backward as one graph
            parameters = list(self.model.parameters())
            with torch.no_grad():
                gradients, loss = self.gradient({n: p.detach() for n, p in zip(self.names, parameters)}, x, y)
            for n, p in zip(self.names, parameters):
                p.grad = gradients[n]
        else:
            self.adam.zero_grad()
            loss = F.cross_entropy(self.forward(x), y)
            loss.backward()
        self.adam.step()
        return loss.detach()

    def check(self):
        plain = TrainEpoch(self.name, Config(), self.data)
        expected = kept(self.data, ("first losses", self.name), plain._first_losses)
        error = (self._first_losses() - expected).abs().max().item()
        # Adam's first step has the size of the rate wherever a gradient is not 0: in deep networks rounding spreads.
        require(error <= (0.1 if self.deep else 1e-3), f"the first losses differ from plain PyTorch's by {error:.1e}")

    def _first_losses(self):
        self.reset()
        n = EPOCH_BATCH
        steps = min(2 if self.deep else 8, len(self.images) // n)
        return torch.stack([self.step(self.images[i:i + n], self.labels[i:i + n]) for i in range(0, steps * n, n)])

    def run(self, fraction):
        total = math.ceil(len(self.images) / EPOCH_BATCH)
        steps = max(1, round(total * fraction))
        self.reset()
        for rows in (EPOCH_BATCH, 0 if self.deep else EPOCH_BATCH, len(self.images) % EPOCH_BATCH if steps == total else 0):
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


class AdversarialTrain(TrainEpoch):
    """Adam (1e-3) on 6,400 shuffled images that are attacked first, batch 128: PGD-7 (eps 0.3, steps of eps / 4, from a
    random start in the box) or fast adversarial training (one step of 1.25 eps, from a start outside it)."""

    EPS, IMAGES = 0.3, 6400

    def __init__(self, recipe, name, config, data):
        self.steps, self.size = (7, self.EPS / 4) if recipe == "pgd7" else (1, 1.25 * self.EPS)
        self.boxed = recipe == "pgd7"
        self.recipe = recipe
        short = {"train": tuple(tensor[:self.IMAGES] for tensor in data["train"])}
        super().__init__(name, config, short)
        self.deep = True  # no accuracy to reach
        self.slope = torch.func.grad(self._attacked_loss)
        if config.engine == "compile":
            self.slope = torch.compile(self.slope, dynamic=False)

    def _attacked_loss(self, x, parameters, y):
        return F.cross_entropy(torch.func.functional_call(self.model, parameters, (x,)), y, reduction="sum")

    def attacked(self, x, y):
        low, high = (x - self.EPS).clamp(0, 1), (x + self.EPS).clamp(0, 1)
        at = x + torch.empty_like(x).uniform_(-self.EPS, self.EPS)
        if self.boxed:
            at = at.clamp(0, 1)
        if self.config.engine == "compile":
            parameters = {n: p.detach() for n, p in self.model.named_parameters()}
        for _ in range(self.steps):
            if self.config.engine == "compile":
                slope = self.slope(at, parameters, y)
            else:
                at.requires_grad_(True)
                slope, = torch.autograd.grad(F.cross_entropy(self.model(at), y, reduction="sum"), at)
                at = at.detach()
            at = torch.minimum(torch.maximum(at + self.size * slope.sign(), low), high)
        return at

    def step(self, x, y):
        return super().step(self.attacked(x, y), y)

    def check(self):
        """The images that a candidate attacks are those of plain PyTorch from the same start, but for signs that rounding
        turns."""
        n = EPOCH_BATCH

        def images(job):
            job.reset()
            torch.manual_seed(1)
            return job.attacked(job.images[:n], job.labels[:n])

        expected = kept(self.data, ("attacked", self.recipe, self.name),
                        lambda: images(AdversarialTrain(self.recipe, self.name, Config(), self.data)))
        apart = ((images(self) - expected).abs() > 1e-3).double().mean().item()
        require(apart <= 0.02, f"{100 * apart:.1f} % of the attacked pixels differ from plain PyTorch's")


class Inference:
    """Logits of the test images, or of the first of them."""

    probe_fraction = 1

    def __init__(self, name, config, data):
        self.name, self.config, self.data = name, config, data
        self.images = data["test"][0][:IMAGES.get("inference_" + name)]
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


class OnnxInference(Inference):
    """The same network, exported from PyTorch as ONNX, in ONNX Runtime or OpenVINO, in fp32."""

    def __init__(self, name, config, data, peer):
        super().__init__(name, Config(), data)
        self.config, self.threads = config, torch.get_num_threads()
        buffer = io.BytesIO()
        torch.onnx.export(self.model, (self.images[:2],), buffer, input_names=["x"], output_names=["y"], dynamo=False,
                          dynamic_axes={"x": {0: "n"}, "y": {0: "n"}}, opset_version=17)
        self.answer = getattr(self, "_" + peer)(buffer.getvalue())
        self.arrays = self.images.numpy()

    def _onnxruntime(self, network):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        return lambda x: session.run(None, {"x": x})[0]

    def _openvino(self, network):
        import openvino

        core = openvino.Core()
        settings = {"INFERENCE_NUM_THREADS": self.threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        compiled = core.compile_model(core.read_model(io.BytesIO(network)), "CPU", settings)
        request = compiled.create_infer_request()
        return lambda x: request.infer({0: x})[0].copy()

    def logits(self):
        parts = range(0, len(self.arrays), self.config.batch)
        return torch.from_numpy(np.concatenate([self.answer(self.arrays[i:i + self.config.batch]) for i in parts]))
