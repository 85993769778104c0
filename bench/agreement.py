#!/usr/bin/env python3
"""Whether the CPU and the GPU compute the same: a training run, every attack, and the signs of the gradients.

Both devices train Target from one seed; losses and accuracies of the epochs are compared, with cuDNN's convolutions too
where the program has them. Then the CPU's network is
attacked on both with FGSM, BIM, PGD and MIM, at a size that leaves about half of the images correct, and accuracies are
compared. The perturbations of FGSM are the signs of the gradients: the share of pixels where they differ is counted.
Exits with status 1 where a difference is larger than allowed. Needs the program, MNIST and NumPy.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

ACCURACY, LOSS, FLIPS = 0.002, 0.03, 1e-3  # allowed: points of accuracy, relative, share of signs


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
            sys.exit(f"error: {' '.join(command)}: {result.stderr.strip()}")
        return out

    def both(self, folder, *arguments):
        places = [self.work / f"{folder}-1-cpu", self.work / f"{folder}-2-{self.options.other}"]
        devices = ["cpu", self.options.other]
        return [self.caltrop(device, place, *arguments) for device, place in zip(devices, places)]

    def has_cudnn(self):
        info = subprocess.run([self.options.caltrop, "info", "--json", "-"], capture_output=True, text=True, check=True)
        return self.options.other == "cuda" and json.loads(info.stdout)["devices"]["cudnn"]

    def training(self):
        work = ["train", "--model", "target", *self.data(), "--epochs", self.options.epochs, "--seed", 1]
        runs = {name: run for name, run in zip(("cpu", ""), self.both("train", *work))}
        if self.has_cudnn():
            runs[" with cuDNN"] = self.caltrop("cuda", self.work / "train-3-cudnn", *work, "--conv", "cudnn")
        epochs = {name: [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
                  for name, run in runs.items()}
        for name in list(runs)[1:]:
            for cpu, cuda in zip(epochs["cpu"], epochs[name], strict=True):
                where = f"epoch {cpu['epoch']}{name}"
                self.compare(f"training loss, {where}", cpu["loss"], cuda["loss"], LOSS, relative=True)
                self.compare(f"test accuracy, {where}", cpu["test_accuracy"], cuda["test_accuracy"], ACCURACY)
        return runs["cpu"] / "model.safetensors"

    def attacks(self, weights):
        for attack in ("fgsm", "bim", "pgd", "mim"):
            runs = self.both(attack, "attack", attack, "--weights", weights, *self.data(), "--norm", "linf", "--eps", 0.1)
            cpu, cuda = (json.loads((run / "summary.json").read_text()) for run in runs)
            self.compare(f"accuracy under {attack}", cpu["accuracy"], cuda["accuracy"], ACCURACY)
            if attack == "fgsm":
                signs = [np.sign(np.load(run / "adversarial.npz")["delta"]) for run in runs]
                self.compare("share of gradient signs that differ", 0.0, float((signs[0] != signs[1]).mean()), FLIPS)

    def data(self):
        words = ["--dataset", self.options.dataset]
        return words + (["--limit", self.options.limit] if self.options.limit else [])


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
    agreement.attacks(agreement.training())
    if options.json:
        Path(options.json).write_text(json.dumps({"checks": agreement.checks}, indent=1) + "\n")
    failed = sum(not check["passed"] for check in agreement.checks)
    print(f"{len(agreement.checks)} compared, {failed} differ by more than allowed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
