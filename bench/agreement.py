#!/usr/bin/env python3
"""Whether the CPU and the GPU compute the same: a training run, attacks of each kind, and the signs of the gradients.

Both devices train Target from one seed; losses and accuracies of the epochs are compared, with cuDNN's convolutions too
where the program has them. Then the CPU's network is
attacked on both, by FGSM to MIM on all images and by the costlier attacks on some, at a size that leaves about half of the
images correct, and robust accuracies are compared. A command that fails is a check that failed, and the others go on. The perturbations of FGSM are the signs of the gradients: the share of pixels where they differ is counted.
Exits with status 1 where a difference is larger than allowed. Needs the program, MNIST and NumPy.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

ACCURACY, LOSS, FLIPS = 0.002, 0.03, 1e-3  # allowed: points of accuracy, relative, share of signs
SOME = 1000  # images for the costlier attacks


class Agreement:
    def __init__(self, options):
        self.options = options
        self.work = Path(options.work)
        self.checks = []

    def compare(self, what, cpu, cuda, allowed, relative=False):
        difference = abs(cpu - cuda) / (abs(cpu) if relative and cpu else 1)
        passed = bool(difference <= allowed)  # NaN fails
        self.checks.append({"what": what, "cpu": cpu, "cuda": cuda, "difference": difference, "allowed": allowed,
                            "passed": passed})
        print(f"{'ok  ' if passed else 'FAIL'} {what}: {cpu:.6g} and {cuda:.6g}", flush=True)

    def caltrop(self, device, out, *arguments):
        command = [self.options.caltrop, *map(str, arguments), "--device", device, "--quiet", "--out", str(out)]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {result.stderr.strip()}")
        return out

    def attempt(self, what, body):
        try:
            return body()
        except (RuntimeError, OSError, ValueError, KeyError) as problem:
            self.checks.append({"what": f"{what}: {problem}"[:500], "cpu": 0.0, "cuda": 0.0, "difference": 0.0,
                                "allowed": 0.0, "passed": False})
            print(f"FAIL {what}: {problem}", flush=True)
            return None

    def both(self, folder, *arguments):
        places = [self.work / f"{folder}-1-cpu", self.work / f"{folder}-2-{self.options.other}"]
        devices = ["cpu", self.options.other]
        return [self.caltrop(device, place, *arguments) for device, place in zip(devices, places)]

    def has_cudnn(self):
        info = subprocess.run([self.options.caltrop, "info", "--json", "-"], capture_output=True, text=True, check=True)
        return self.options.other == "cuda" and json.loads(info.stdout)["devices"]["cudnn"]

    WORK = ("train", "--model", "target", "--seed", 1)

    def compare_epochs(self, cpu, other, words=""):
        epochs = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (cpu, other)]
        for one, two in zip(*epochs, strict=True):
            where = f"epoch {one['epoch']}{words}"
            self.compare(f"training loss, {where}", one["loss"], two["loss"], LOSS, relative=True)
            self.compare(f"test accuracy, {where}", one["test_accuracy"], two["test_accuracy"], ACCURACY)

    def training(self):
        runs = self.both("train", *self.WORK, *self.data(), "--epochs", self.options.epochs)
        self.compare_epochs(*runs)
        return runs[0]

    def cudnn(self, cpu):
        out = self.caltrop("cuda", self.work / "train-3-cudnn", *self.WORK, *self.data(), "--epochs", self.options.epochs,
                           "--conv", "cudnn")
        self.compare_epochs(cpu, out, " with cuDNN")

    def attack(self, kind, weights, norm, eps, images=None):
        limit = ["--limit", min(images, int(self.options.limit or images))] if images else self.limit()
        runs = self.both(f"{kind}-{norm}", "attack", kind, "--weights", weights, "--dataset", self.options.dataset, *limit,
                         "--norm", norm, "--eps", eps)
        cpu, cuda = (json.loads((run / "summary.json").read_text()) for run in runs)
        # Of few images one is more than 0.2 points: then one may differ.
        allowed = max(ACCURACY, 1.01 / images) if images else ACCURACY
        self.compare(f"robust accuracy under {kind}, {norm}", cpu["robust_accuracy"], cuda["robust_accuracy"], allowed)
        if kind == "fgsm":
            signs = [np.sign(np.load(run / "adversarial.npz")["delta"]) for run in runs]
            self.compare("share of gradient signs that differ", 0.0, float((signs[0] != signs[1]).mean()), FLIPS)

    def run(self):
        trained = self.attempt("training", self.training)
        if trained is None:
            return
        weights = trained / "model.safetensors"
        for kind in ("fgsm", "bim", "pgd", "mim"):
            self.attempt(kind, lambda: self.attack(kind, weights, "linf", 0.1))
        for kind in ("deepfool", "apgd-ce", "apgd-dlr", "apgd-t", "fab", "square"):
            self.attempt(kind, lambda: self.attack(kind, weights, "linf", 0.1, images=SOME))
        self.attempt("cw", lambda: self.attack("cw", weights, "l2", 1.0, images=SOME // 10))
        if self.has_cudnn():
            self.attempt("cuDNN", lambda: self.cudnn(trained))

    def limit(self):
        return ["--limit", self.options.limit] if self.options.limit else []

    def data(self):
        return ["--dataset", self.options.dataset, *self.limit()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--caltrop", required=True, help="the program")
    parser.add_argument("--work", required=True, help="a folder for the runs, which must not exist")
    parser.add_argument("--json", help="where the result goes")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--limit", help="first images only")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--other", default="cuda", help="the device to compare with the CPU")
    options = parser.parse_args()
    if Path(options.work).exists():
        sys.exit(f"error: {options.work} exists")
    agreement = Agreement(options)
    agreement.run()
    if options.json:
        Path(options.json).write_text(json.dumps({"checks": agreement.checks}, indent=1) + "\n")
    failed = sum(not check["passed"] for check in agreement.checks)
    print(f"{len(agreement.checks)} compared, {failed} differ by more than allowed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
