#!/usr/bin/env python3
"""Why three peers' images leave Caltrop's under L2: cleverhans' FGSM, ART's MIM and torchattacks' PGD.

The peer's choices are taken back one at a time. They are: fp32, in which PyTorch's gradient of cross-entropy, p - 1, has few
digits where the network is sure; cleverhans' floor of 1e-6 under the norm of the gradient of the batch's mean loss, and the
1e-10 that torchattacks adds to it; ART's order, box before ball. torchattacks has a setting for its own; the others' steps are
written out in PyTorch. Prints a Markdown table of how many pixels lie within 1e-5 of the peer's images and of Caltrop's.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import torch

from attack_peers import (CLOSE, FP32_ALONE, Bed, art_attack, attacked_by, cleverhans_fgm, plain_mim,
                          torchattacks_attack)

EPS, STEP, STEPS = 1.0, 0.25, 10  # as in image_cases() of attack_peers.py


def fgsm(floor):
    def run(bed, x, y, eps):
        leaf = x.detach().requires_grad_(True)
        loss = torch.nn.functional.cross_entropy(bed.model(leaf), y, reduction="mean" if floor > 0 else "sum")
        gradient = torch.autograd.grad(loss, leaf)[0]
        length = gradient.flatten(1).square().sum(1).clamp_min(floor**2).sqrt().view(-1, 1, 1, 1)
        step = torch.nan_to_num(gradient / length, posinf=0, neginf=0)  # none where nothing can be divided
        return (x + eps * step).clamp(0, 1)

    return run


ball_last = partial(plain_mim, size=STEP, steps=STEPS, box_last=False)
box_last = partial(plain_mim, size=STEP, steps=STEPS)


def pgd(**settings):
    return torchattacks_attack("PGDL2", alpha=STEP, steps=STEPS, random_start=False, **settings)


TEN_STEPS = ["--steps", STEPS, "--step-size", STEP]
CASES = [
    ("FGSM", ["fgsm"], "cleverhans", cleverhans_fgm,
     [("as the peer", fgsm(1e-6), False), ("without the floor", fgsm(0), False), ("in fp64", fgsm(1e-6), True),
      ("without the floor, in fp64", fgsm(0), True)]),
    ("MIM", ["mim", *TEN_STEPS], "ART",
     art_attack("MomentumIterativeMethod", norm=2, eps_step=STEP, max_iter=STEPS, decay=1.0, verbose=False),
     [("as the peer", ball_last, False), ("box last", box_last, False), ("in fp64", ball_last, True),
      ("box last, in fp64", box_last, True)]),
    ("PGD", ["pgd", *TEN_STEPS, "--random-start", "no"], "torchattacks", pgd(),
     [("as the peer, in fp64", pgd(), True), ("1e-300 for 1e-10, in fp64", pgd(eps_for_division=1e-300), True)]),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--caltrop", default="build/caltrop")
    parser.add_argument("--weights", nargs="+", required=True, metavar="NAME=FILE", help="target=FILE eat1=FILE")
    parser.add_argument("--data-dir")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--count", type=int, default=200)
    options = parser.parse_args()
    options.caltrop = str(Path(options.caltrop).resolve())
    torch.set_num_threads(options.threads)

    def near(a, b):
        return f"{100 * ((a - b).abs() <= CLOSE).double().mean():.3f} %"

    with tempfile.TemporaryDirectory() as scratch:
        print("| attack, peer | network | its steps | near the peer | near Caltrop |\n|---|---|---|---|---|")
        for pair in options.weights:
            bed = Bed(*pair.split("=", 1), options, Path(scratch))
            for name, words, peer, attack, variants in CASES:
                ours = bed.ours([*words, "--norm", "l2", "--eps", EPS], options.count)[0]
                theirs = attacked_by(attack, bed, options.count, EPS, double=peer not in FP32_ALONE)
                for variant, steps, double in variants:
                    written = attacked_by(steps, bed, options.count, EPS, double=double)
                    print(f"| {name}, {peer} | {bed.name} | {variant} | {near(written, theirs)} | {near(written, ours)} |")


if __name__ == "__main__":
    main()
