#!/usr/bin/env python3
"""Proves that weights travel between PyTorch and Caltrop: the same logits, to 1e-4, in both directions.

there     a PyTorch network, briefly trained, is saved as safetensors; `caltrop eval --layout torch` reads it
and back  a network trained by Caltrop goes through `caltrop export --layout torch`; PyTorch loads it

Exits with status 1 where a logit differs by more than the tolerance or a command fails.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import mnist
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

TOLERANCE = 1e-4


class Named(nn.Module):
    """Modules by name, their functions in forward(), as many a tutorial writes it."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 84)
        self.fc2 = nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.avg_pool2d(F.leaky_relu(self.conv2(x), 0.1), 2)
        return self.fc2(torch.tanh(self.fc1(x.flatten(1))))


class Nested(nn.Module):
    """Sub-networks whose names sort against the order of use (classifier before features), and no bias before batch
    norm."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2))
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(784, 40), nn.ReLU(), nn.Linear(40, 10))

    def forward(self, x):
        return self.classifier(self.features(x))


def target():
    return nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Linear(5408, 100), nn.ReLU(), nn.Linear(100, 10))


def strided():
    return nn.Sequential(nn.Conv2d(1, 8, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.GELU(),
                         nn.MaxPool2d(2), nn.BatchNorm2d(12), nn.Flatten(), nn.Linear(588, 32), nn.ReLU(),
                         nn.Linear(32, 10))


def deep():
    """More than ten modules, so that "10.weight" comes before "2.weight" in the file; nothing square."""
    return nn.Sequential(nn.Conv2d(1, 4, (3, 5), stride=(1, 2), padding=(1, 0)), nn.BatchNorm2d(4), nn.GELU("tanh"),
                         nn.Conv2d(4, 6, (5, 3), stride=(2, 1), padding=(0, 1)), nn.Sigmoid(), nn.AvgPool2d((2, 1)),
                         nn.Conv2d(6, 10, 3), nn.LeakyReLU(0.01), nn.MaxPool2d(3, 2), nn.Flatten(), nn.BatchNorm1d(40),
                         nn.Linear(40, 24), nn.Tanh(), nn.Linear(24, 10))


# Each network beside the line that says the same.
CASES = {
    "target": (target, "conv 32 3x3 | relu | maxpool 2 | flatten | dense 100 | relu | dense 10"),
    "strided": (strided, "conv 8 5x5 stride 2 pad 2 | relu | conv 12 3x3 pad 1 | gelu | maxpool 2 | batchnorm | "
                         "flatten | dense 32 | relu | dense 10"),
    "deep": (deep, "conv 4 3x5 stride 1x2 pad 1x0 | batchnorm | gelu tanh | conv 6 5x3 stride 2x1 pad 0x1 | sigmoid | "
                   "avgpool 2x1 | conv 10 3x3 | leakyrelu 0.01 | maxpool 3 stride 2 | flatten | batchnorm | "
                   "dense 24 | tanh | dense 10"),
    "named": (Named, "conv 6 5x5 pad 2 | relu | maxpool 2 | conv 16 5x5 | leakyrelu 0.1 | avgpool 2 | flatten | "
                     "dense 84 | tanh | dense 10"),
    "nested": (Nested, "conv 8 3x3 pad 1 | batchnorm | relu | maxpool 2 | conv 16 3x3 pad 1 | batchnorm | relu | "
                       "maxpool 2 | flatten | dropout 0.3 | dense 40 | relu | dense 10"),
}


class Check:
    def __init__(self, options):
        self.options = options
        self.folder = mnist.find_mnist(options.data_dir)
        images, labels = mnist.load(self.folder, "train")
        self.train = torch.from_numpy(images[:4096]), torch.from_numpy(labels[:4096])
        self.test = torch.from_numpy(mnist.load(self.folder, "test")[0][:options.limit])

    def caltrop(self, *arguments):
        command = [self.options.caltrop, *map(str, arguments), "--device", self.options.device]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}\n  exited with {result.returncode}: {result.stderr.strip()}")

    def caltrop_logits(self, folder, *model):
        out = folder / "logits.npz"
        self.caltrop("eval", *model, "--dataset", "mnist", "--data-dir", self.folder, "--limit", self.options.limit,
                     "--logits", out, "--json", folder / "eval.json", "--out", folder / "eval")
        return np.load(out)["logits"]

    def torch_logits(self, model):
        with torch.inference_mode():
            return model.eval()(self.test).numpy()

    def briefly_trained(self, make):
        torch.manual_seed(7)
        model = make().train()
        adam = torch.optim.Adam(model.parameters(), 2e-3)
        for x, y in zip(self.train[0].split(128), self.train[1].split(128)):
            adam.zero_grad()
            F.cross_entropy(model(x), y).backward()
            adam.step()
        return model

    def there(self, make, line, folder):
        model = self.briefly_trained(make)
        weights = folder / "torch.safetensors"
        save_file(model.state_dict(), weights)
        found = self.caltrop_logits(folder, "--arch", line, "--weights", weights, "--layout", "torch")
        return difference(found, self.torch_logits(model))

    def back(self, make, line, folder):
        self.caltrop("train", "--arch", line, "--dataset", "mnist", "--data-dir", self.folder, "--limit", 4096,
                     "--epochs", 1, "--seed", 7, "--out", folder / "trained")
        weights = folder / "trained" / "model.safetensors"
        expected = self.caltrop_logits(folder, "--weights", weights)
        self.caltrop("export", "--weights", weights, "--layout", "torch", "--out", folder / "exported")
        model = make()
        state = renamed(load_file(folder / "exported" / "model.safetensors"), model)
        missing, unexpected = model.load_state_dict(state, strict=False)
        missing = [k for k in missing if not k.endswith("num_batches_tracked")]
        if missing or unexpected:
            raise RuntimeError(f"PyTorch misses {missing} and does not know {unexpected}")
        return difference(self.torch_logits(model), expected)


def renamed(state, model):
    """An export has the names of a Sequential; a network with names of its own takes its modules in their order."""
    if isinstance(model, nn.Sequential):
        return state
    own = list(dict.fromkeys(key.rpartition(".")[0] for key in model.state_dict()))
    there = sorted({key.partition(".")[0] for key in state}, key=int)
    names = dict(zip(there, own, strict=True))
    return {f"{names[key.partition('.')[0]]}.{key.partition('.')[2]}": tensor for key, tensor in state.items()}


def difference(found, expected):
    if found.shape != expected.shape:
        raise RuntimeError(f"the logits have the shape {found.shape}, expected {expected.shape}")
    return float(np.abs(found.astype(np.float64) - expected).max())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--caltrop", default=str(mnist.CHECKOUT / "build" / "caltrop"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data-dir", help="folder of the MNIST files; default as in the product")
    parser.add_argument("--limit", type=int, default=256, help="test images compared")
    parser.add_argument("--cases", default=",".join(CASES), help="comma-separated; default: %(default)s")
    options = parser.parse_args()
    torch.set_num_threads(2)
    check = Check(options)
    failed = False
    for name in options.cases.split(","):
        make, line = CASES[name]
        ways = {"PyTorch -> Caltrop": check.there}
        # Caltrop's layers always have a bias, so what it trained does not fit a network without.
        if all(getattr(module, "bias", True) is not None for module in make().modules()):
            ways["Caltrop -> PyTorch"] = check.back
        for way, run in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                try:
                    error = run(make, line, Path(folder))
                    good = error <= TOLERANCE
                    print(f"{'ok  ' if good else 'FAIL'} {name:8} {way}: largest difference of a logit {error:.1e}")
                except (RuntimeError, OSError, KeyError) as problem:
                    good = False
                    print(f"FAIL {name:8} {way}: {problem}")
            failed = failed or not good
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
