"""The benchmark's models in PyTorch, and the configurations that a job can be run in."""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn


def _dense_tail(width):
    return [nn.Linear(width, 100), nn.GELU(), nn.Linear(100, 100), nn.GELU(), nn.Linear(100, 100), nn.GELU(),
            nn.Linear(100, 11)]


MODELS = {
    "target": lambda: nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(5408, 100), nn.ReLU(), nn.Linear(100, 10)),
    "eat1": lambda: nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(5408, 100), nn.GELU(), nn.Linear(100, 11)),
    "eat2": lambda: nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.GELU(), nn.MaxPool2d(2), nn.MaxPool2d(2), nn.Flatten(), *_dense_tail(1152)),
    "eat3": lambda: nn.Sequential(
        nn.Conv2d(1, 64, 3), nn.GELU(), nn.MaxPool2d(2), nn.Conv2d(64, 32, 3), nn.GELU(), nn.MaxPool2d(2),
        nn.Flatten(), *_dense_tail(800)),
}


class Vote(nn.Module):
    """The majority vote as scores (n, 11): votes, and less than one more that decides their ties. Of EAT-1, -2, -3,
    untrained, where no networks are given."""

    def __init__(self, networks=None):
        super().__init__()
        self.networks = nn.ModuleList(networks or [MODELS[name]() for name in ("eat1", "eat2", "eat3")])

    def forward(self, x):
        logits = torch.stack([network(x) for network in self.networks])
        votes = nn.functional.one_hot(logits.argmax(2), logits.shape[2]).sum(0)
        return votes + logits.softmax(2).sum(0) / (len(self.networks) + 1)


MODELS["ensemble"] = Vote


class Residual(nn.Module):
    """Sum of a branch and of what went in, or of what a shortcut makes of that."""

    def __init__(self, branch, shortcut):
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x):
        return self.branch(x) + self.shortcut(x)


def network_of(line, shape=(1, 28, 28)):
    """The network that an architecture line of Caltrop describes, of the layers that its deep networks have."""
    layers = [layer.split() for layer in line.split(" | ")]
    sample = torch.zeros(1, *shape)

    def number(words, name, default):
        return int(words[words.index(name) + 1]) if name in words else default

    def simple(words, x):
        kind = words[0]
        if kind == "conv":
            kernel = tuple(int(v) for v in words[2].split("x"))
            return nn.Conv2d(x.shape[1], int(words[1]), kernel, number(words, "stride", 1), number(words, "pad", 0))
        if kind == "maxpool":
            return nn.MaxPool2d(int(words[1]), number(words, "stride", int(words[1])))
        if kind == "dense":
            return nn.Linear(x.shape[1], int(words[1]))
        return {"batchnorm": lambda: nn.BatchNorm2d(x.shape[1]), "relu": nn.ReLU, "gelu": nn.GELU,
                "flatten": nn.Flatten,
                "globalavgpool": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())}[kind]()

    def until(ends, x):
        modules = []
        while layers and layers[0][0] not in ends:
            words = layers.pop(0)
            if words[0] == "residual":
                branch, _ = until(("shortcut", "add"), x)
                shortcut = nn.Identity()
                if layers.pop(0)[0] == "shortcut":
                    shortcut, _ = until(("add",), x)
                    layers.pop(0)
                modules.append(Residual(branch, shortcut))
            else:
                modules.append(simple(words, x))
            with torch.no_grad():
                x = modules[-1].eval()(x)
        return nn.Sequential(*modules).train(), x

    return until((), sample)[0]


def add_networks(lines):
    for name, line in lines.items():
        MODELS[name] = lambda line=line: network_of(line)


DEEP_INFERENCE = ("inference_vgg7", "inference_vgg16", "inference_resnet32", "inference_resnet50")


@dataclass(frozen=True)
class Config:
    """One way to run a job. `allocator` belongs to the process: the driver sets it before Python starts."""

    allocator: str = "default"  # keep: freed memory is never returned to the kernel
    channels_last: bool = False
    engine: str = "eager"  # compile: torch.compile; jit: frozen TorchScript (inference)
    batch: int = 128
    frozen: bool = False  # attacks: parameters ask for no gradient
    adam: str = "loop"  # training: loop (PyTorch's default on a CPU), foreach, fused
    sweep: str = "sizes"  # GMA: one attack per size, or all sizes of an image stacked in one batch


def candidates(job, allocator, peer="torch"):
    """The configurations of one allocator from which a peer's `tuned` is the fastest.

    With the default allocator only batch 128 is worth a probe: larger activations cost it a page fault each. The deep
    networks are not compiled: that takes minutes, and their time is in oneDNN's convolutions either way.
    """
    if peer in ("onnxruntime", "openvino"):
        return [Config(allocator, batch=batch) for batch in (25, 100, 250, 1000)] if allocator == "default" else []
    if peer == "jax":
        batches = (128,) if job.startswith("train") else (250, 1000, 2000)
        return [Config(allocator, batch=batch) for batch in batches] if allocator == "default" else []
    if peer in ("foolbox", "torchattacks"):
        batches = (25, 50, 100) if job.startswith("cw") else (128, 500)
        return [Config(allocator, True, batch=batch, frozen=True) for batch in batches] if allocator == "keep" else []
    if job.startswith("train_") and not job.startswith("train_epoch"):
        if allocator == "default":
            return []
        return [Config(allocator, cl, adam="fused") for cl in (False, True)]
    if "_train_" in job:
        eager = [Config(allocator, cl, adam="fused") for cl in (False, True)]
        return [*eager, Config(allocator, True, "compile", adam="fused")] if allocator == "keep" else []
    if job.startswith("train"):
        eager = [Config(allocator, cl, adam=adam) for cl in (False, True) for adam in ("loop", "foreach", "fused")]
        return [*eager, Config(allocator, True, "compile", adam="fused")]
    ways = [(False, "eager"), (True, "eager"), (True, "compile")]
    batches = (128, 256, 1000) if allocator == "keep" else (128,)
    if job in DEEP_INFERENCE:
        ways, batches = ways[1:2], ((25, 100) if allocator == "keep" else ())
    if job.startswith("inference"):
        return [Config(allocator, cl, engine, batch) for cl, engine in [*ways, (False, "jit")] for batch in batches]
    sweeps = ("sizes",)
    if job.startswith("gma"):
        sweeps, batches = ("sizes", "stacked"), batches[::2]
    return [Config(allocator, cl, engine, batch, frozen=True, sweep=sweep)
            for sweep in sweeps for cl, engine in ways for batch in batches]


def build(name, config, weights=None):
    torch.manual_seed(1)
    model = MODELS[name]()
    if weights:
        model.load_state_dict(weights)
    if config.engine == "compile":
        torch._dynamo.reset()  # its cache is per function, and a full one falls back to eager in silence
    return model.to(memory_format=torch.channels_last) if config.channels_last else model


def exported(caltrop, weights, name, scratch):
    """MODELS[name] with the weights of a file of Caltrop's, and as many outputs: EAT's have one more when defended."""
    from safetensors.torch import load_file  # the GPU comparison does without it

    out = Path(scratch) / f"{Path(weights).stem}-{name}"
    subprocess.run([caltrop, "export", "--weights", weights, "--layout", "torch", "--out", out, "--quiet"], check=True,
                   stdout=subprocess.DEVNULL)
    state = load_file(next(out.glob("*.safetensors")))
    model = MODELS[name]()
    model[-1] = nn.Linear(model[-1].in_features, len(state[f"{len(model) - 1}.bias"]))
    model.load_state_dict(state)
    return model.eval()


def accuracy(model, images, labels):
    with torch.no_grad():
        found = torch.cat([model(x).argmax(1) for x in images.split(1000)])
    return (found == labels).double().mean().item()


def require(condition, message):
    """Like assert, but never switched off."""
    if not condition:
        raise RuntimeError(message)


def part(whole, fraction, unit):
    """How many things a fraction of a job covers, in whole units so that full batches stay full."""
    return whole if fraction >= 1 else min(whole, max(unit, round(whole * fraction / unit) * unit))


def kept(data, key, make):
    """make() of the first call with this key: plain PyTorch's result is the same for every candidate of a job."""
    if key not in data:
        data[key] = make()
    return data[key]


if __name__ == "__main__":  # the driver, which imports no torch, asks for the candidates of a job and an allocator
    print(json.dumps([asdict(config) for config in candidates(*sys.argv[1:])]))
