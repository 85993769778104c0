#!/usr/bin/env python3
"""What does a network with a class for attacked images look at? Adds noise that is no attack to clean test images: random
signs times a size, on all pixels, on the black background alone, on the ink alone; and single background pixels at 1/255, as
an 8-bit file can hold them. Prints the share of images that the vote of the networks calls attacked. They run in PyTorch.

  caltrop defend mia ... --out runs/mia
  bench/peers/background_noise.py runs/mia/eat-?-bootstrap.safetensors
"""

import argparse
import re
import tempfile
from pathlib import Path

import torch

import mnist
from torch_zoo import Vote, exported

SIZES = (1e-4, 1e-3, 1 / 255, 1e-2, 3e-2)
PIXELS = (1, 4, 16, 64)


def name_of(weights):
    """Of the network in a file of `caltrop defend`."""
    digit = re.match(r"eat-(\d)", weights.name)
    if not digit:
        raise SystemExit(f"error: {weights}: expected a file named eat-1-..., eat-2-... or eat-3-...")
    return "eat" + digit[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", nargs="+", type=Path)
    parser.add_argument("--caltrop", default="build/caltrop")
    parser.add_argument("--data-dir")
    parser.add_argument("--count", type=int, default=2000, help="test images")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        vote = Vote([exported(options.caltrop, weights, name_of(weights), scratch) for weights in options.weights])
    images, _ = mnist.load(mnist.find_mnist(options.data_dir), "test")
    x = torch.from_numpy(images)[:options.count]
    background = (x == 0).float()
    random = torch.Generator().manual_seed(0)

    def attacked(images):
        """Per cent that the vote calls attacked."""
        with torch.no_grad():
            return f"{100 * (vote(images).argmax(1) == 10).float().mean():.1f}"

    print(f"clean images called attacked: {attacked(x)} %\n")
    print("| noise | all pixels | background | ink |")
    print("|---|---|---|---|")
    for size in SIZES:
        noise = size * (2 * torch.randint(0, 2, x.shape, generator=random) - 1)
        shares = [attacked((x + noise * where).clamp(0, 1)) for where in (torch.ones_like(x), background, 1 - background)]
        print(f"| {size:.4f} | {' | '.join(shares)} |")
    print("\n| background pixels at 1/255 | called attacked |")
    print("|---|---|")
    for count in PIXELS:
        order = torch.rand(x.shape, generator=random) - 2 * (1 - background)  # random, the ink behind all of it
        chosen = order.flatten(1).topk(count).indices
        print(f"| {count} | {attacked(x.flatten(1).scatter(1, chosen, 1 / 255).view_as(x))} |")


if __name__ == "__main__":
    main()
