#!/usr/bin/env python3
"""Compares Caltrop's attacks with torchattacks, foolbox, cleverhans and ART on the same weights and images.

Same images: attacks without randomness must give the same pixels, but for those whose gradient is so small that rounding
decides its sign. The peers compute in float64 there: in fp32 PyTorch's gradient of cross-entropy, p - 1, has no digits left
where the network is sure, and its own result is rounding. Same verdict: attacks with randomness must leave the same share of
images robust; one judge, the network in PyTorch, asks of both sides' images whether they keep to the size and fool it, and where
one seed of each differs by more than 0.3 points, several seeds of both are taken. Same cores: times of both, one after the other
in one run; Caltrop's is that of the whole command, from start to files. Writes the tables between the markers of
docs/attacks.md.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch

import mnist
from torch_zoo import exported

warnings.filterwarnings("ignore")
CLOSE = 1e-5  # of a pixel: what fp32 sums in another order may differ by
FP32_ALONE = ("ART", "cleverhans")  # these peers do not take float64
AGREE = 0.3  # points between two verdicts


class Bed:
    """One network in both programs, and its images."""

    def __init__(self, name, weights, options, scratch):
        self.name, self.weights, self.options, self.scratch = name, weights, options, scratch
        self.model = exported(options.caltrop, weights, name, scratch).requires_grad_(False)
        self.classes = self.model[-1].out_features
        images, labels = mnist.load(mnist.find_mnist(options.data_dir), "test")
        self.images, self.labels = torch.from_numpy(images), torch.from_numpy(labels)

    def ours(self, words, count, save=True):
        """(attacked images or None, robust share, seconds, passes) of `caltrop attack`."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            out = Path(folder) / "out"
            command = [self.options.caltrop, "attack", *map(str, words), "--weights", self.weights, "--dataset", "mnist",
                       "--limit", str(count), "--out", out, "--quiet", "--threads", str(self.options.threads)]
            if not save:
                command += ["--save-images", "0"]
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            seconds = time.perf_counter() - start
            summary = json.loads((out / "summary.json").read_text())
            attacked = None
            if save:
                arrays = np.load(out / "adversarial.npz")
                x = arrays["x"].astype(np.float32) / np.float32(255) + arrays["delta"]
                attacked = torch.from_numpy(np.clip(x, 0, 1)).permute(0, 3, 1, 2)
            return attacked, summary["robust_accuracy"], seconds, summary["forward_passes"]

    def robust(self, attacked, norm=None, eps=None):
        """Share of images right when clean and under the attack (within eps, where the attack knows no bound)."""
        n = len(attacked)
        x, y = self.images[:n], self.labels[:n]
        with torch.no_grad():
            right, after = self.model(x).argmax(1) == y, self.model(attacked).argmax(1) == y
        if eps is not None:
            delta = (attacked - x).flatten(1)
            length = delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)
            after |= length > eps + 1e-5
        return (right & after).double().mean().item()


def foolbox_attack(kind, **settings):
    import foolbox

    attack = getattr(foolbox.attacks, kind)(**settings)

    def run(bed, x, y, eps):
        model = foolbox.PyTorchModel(bed.model, bounds=(0, 1))
        raw = attack(model, x, y, epsilons=eps)
        return raw[1] if eps is not None else raw[0]

    return run


def torchattacks_attack(kind, **settings):
    import torchattacks

    def run(bed, x, y, eps):
        extra = {} if eps is None else {"eps": eps}
        if kind in ("APGDT", "FAB"):
            extra["n_classes"] = bed.classes
        return seeded(getattr(torchattacks, kind)(bed.model, **extra, **settings))(x, y)

    return run


def seeded(attack):
    """With the seed of this run: torchattacks' copies of the authors' code have one of their own, 0."""
    if hasattr(attack, "seed"):
        attack.seed = torch.initial_seed()
    return attack


def cleverhans_fgm(bed, x, y, eps):
    from cleverhans.torch.attacks.fast_gradient_method import fast_gradient_method

    return fast_gradient_method(bed.model, x, eps, 2, clip_min=0, clip_max=1, y=y)


def plain_mim(bed, x, y, eps, size=0.25, steps=10, box_last=True):
    """Dong et al. 2018 under L2, written out: no library has it as defined. ART goes to the ball last, not to the box."""
    adversarial, momentum = x.clone(), torch.zeros_like(x)

    def scaled(v, order):
        return v / v.flatten(1).norm(p=order, dim=1).clamp_min(1e-300 if v.dtype == torch.float64 else 1e-30).view(-1, 1, 1, 1)

    for _ in range(steps):
        leaf = adversarial.requires_grad_(True)
        loss = torch.nn.functional.cross_entropy(bed.model(leaf), y, reduction="sum")
        momentum = momentum + scaled(torch.autograd.grad(loss, leaf)[0], 1)
        moved = leaf.detach() + size * scaled(momentum, 2)
        delta = (moved if box_last else moved.clamp(0, 1)) - x
        length = delta.flatten(1).norm(dim=1).clamp_min(1e-30).view(-1, 1, 1, 1)
        adversarial = x + delta * (eps / length).clamp_max(1)
        if box_last:
            adversarial = adversarial.clamp(0, 1)
    return adversarial


def art_attack(kind, **settings):
    def run(bed, x, y, eps):
        import art.attacks.evasion
        from art.estimators.classification import PyTorchClassifier

        classifier = PyTorchClassifier(bed.model, loss=torch.nn.CrossEntropyLoss(), input_shape=(1, 28, 28),
                                       nb_classes=bed.classes, clip_values=(0, 1), device_type="cpu")
        attack = getattr(art.attacks.evasion, kind)(classifier, eps=eps, batch_size=len(x), **settings)
        return torch.from_numpy(attack.generate(x.numpy(), y=np.eye(bed.classes, dtype=np.float32)[y.numpy()]))

    return run


def authors_ensemble(norm):
    """AutoAttack's four attacks with the authors' settings, from the copies of their code in torchattacks."""

    def run(bed, x, y, eps):
        import torchattacks as ta

        found = x.clone()
        stages = [ta.APGD(bed.model, norm=norm, eps=eps, steps=100, loss="ce"),
                  ta.APGDT(bed.model, norm=norm, eps=eps, steps=100, n_classes=bed.classes),
                  ta.FAB(bed.model, norm=norm, eps=eps, steps=100, multi_targeted=True, n_classes=bed.classes),
                  ta.Square(bed.model, norm=norm, eps=eps, n_queries=5000, resc_schedule=False)]
        for stage in stages:
            with torch.no_grad():
                left = (bed.model(found).argmax(1) == y).nonzero().flatten()
            if len(left) == 0:
                break
            attacked = seeded(stage)(x[left], y[left])
            delta = (attacked - x[left]).flatten(1)
            length = delta.abs().amax(1) if norm == "Linf" else delta.norm(dim=1)
            with torch.no_grad():
                taken = (bed.model(attacked).argmax(1) != y[left]) & (length <= eps + 1e-5)
            found[left[taken]] = attacked[taken]
        return found

    return run


# attack, norm, eps, Caltrop's words, peer, its attack.
STEPS = ["--steps", 10]


def image_cases():
    linf, l2 = 0.1, 1.0
    return [
        ("FGSM", "linf", linf, ["fgsm"], "torchattacks", torchattacks_attack("FGSM")),
        ("FGSM", "l2", l2, ["fgsm"], "cleverhans", cleverhans_fgm),
        ("FGSM", "l2", l2, ["fgsm"], "foolbox", foolbox_attack("L2FastGradientAttack")),
        ("BIM", "linf", linf, ["bim", *STEPS, "--step-size", 0.025], "torchattacks",
         torchattacks_attack("BIM", alpha=0.025, steps=10)),
        ("BIM", "l2", l2, ["bim", *STEPS, "--step-size", 0.25], "foolbox",
         foolbox_attack("L2BasicIterativeAttack", abs_stepsize=0.25, steps=10, random_start=False)),
        ("PGD, no random start", "linf", linf, ["pgd", *STEPS, "--step-size", 0.025, "--random-start", "no"], "foolbox",
         foolbox_attack("LinfPGD", abs_stepsize=0.025, steps=10, random_start=False)),
        ("PGD, no random start", "l2", l2, ["pgd", *STEPS, "--step-size", 0.25, "--random-start", "no"], "torchattacks",
         torchattacks_attack("PGDL2", alpha=0.25, steps=10, random_start=False)),
        ("MIM", "linf", linf, ["mim", *STEPS, "--step-size", 0.025], "torchattacks",
         torchattacks_attack("MIFGSM", alpha=0.025, steps=10)),
        ("MIM", "l2", l2, ["mim", *STEPS, "--step-size", 0.25], "ART",
         art_attack("MomentumIterativeMethod", norm=2, eps_step=0.25, max_iter=10, decay=1.0, verbose=False)),
        ("MIM", "l2", l2, ["mim", *STEPS, "--step-size", 0.25], "its definition in PyTorch", plain_mim),
        ("DeepFool", "linf", None, ["deepfool"], "foolbox", foolbox_attack("LinfDeepFoolAttack")),
        ("DeepFool", "l2", None, ["deepfool"], "foolbox", foolbox_attack("L2DeepFoolAttack")),
    ]


def verdict_cases():
    linf, l2 = 0.06, 0.7
    cases = []
    for norm, eps, theirs in (("linf", linf, "Linf"), ("l2", l2, "L2")):
        pgd = "LinfPGD" if norm == "linf" else "L2PGD"
        cases += [
            ("PGD-40", norm, eps, ["pgd", "--steps", 40, "--step-size", eps / 10], "foolbox", 500,
             foolbox_attack(pgd, abs_stepsize=eps / 10, steps=40)),
            ("APGD-CE", norm, eps, ["apgd-ce"], "torchattacks", 500,
             torchattacks_attack("APGD", norm=theirs, steps=100, loss="ce")),
            ("APGD-DLR", norm, eps, ["apgd-dlr"], "torchattacks", 500,
             torchattacks_attack("APGD", norm=theirs, steps=100, loss="dlr")),
            ("APGD-T", norm, eps, ["apgd-t"], "torchattacks", 200, torchattacks_attack("APGDT", norm=theirs, steps=100)),
            ("FAB-T", norm, eps, ["fab-t"], "torchattacks", 200,
             torchattacks_attack("FAB", norm=theirs, steps=100, multi_targeted=True)),
            ("Square, 1000 queries", norm, eps, ["square", "--steps", 1000], "torchattacks", 200,
             torchattacks_attack("Square", norm=theirs, n_queries=1000, resc_schedule=False)),
            ("AutoAttack", norm, eps, ["autoattack"], "authors' code in torchattacks", 200, authors_ensemble(theirs)),
        ]
    cases.append(("CW, 5 x 200", "l2", 0.9, ["cw", "--cw-rounds", 5, "--steps", 200, "--cw-constant", 0.1], "foolbox", 200,
                  lambda bed, x, y, eps: foolbox_attack("L2CarliniWagnerAttack", binary_search_steps=5, steps=200,
                                                        initial_const=0.1)(bed, x, y, None)))
    return cases


def time_cases():
    return [
        ("PGD-10", 10000, ["pgd", "--eps", 0.1, "--step-size", 0.025, "--random-start", "no"],
         [("torchattacks", torchattacks_attack("PGD", alpha=0.025, steps=10, random_start=False), 0.1),
          ("foolbox", foolbox_attack("LinfPGD", abs_stepsize=0.025, steps=10, random_start=False), 0.1)]),
        ("CW, 1000 steps, c = 1", 100, ["cw", "--cw-rounds", 1, "--cw-constant", 1, "--steps", 1000, "--cw-abort", "no"],
         [("torchattacks", torchattacks_attack("CW", c=1, steps=1000), None),
          ("foolbox", foolbox_attack("L2CarliniWagnerAttack", binary_search_steps=1, steps=1000, initial_const=1,
                                     abort_early=False), None)]),
        ("APGD-CE-100", 1000, ["apgd-ce", "--eps", 0.06],
         [("torchattacks", torchattacks_attack("APGD", norm="Linf", steps=100, loss="ce"), 0.06),
          ("ART", art_attack("AutoProjectedGradientDescent", norm=np.inf, eps_step=0.12, max_iter=100,
                             nb_random_init=1, loss_type="cross_entropy", verbose=False), 0.06)]),
    ]


def attacked_by(attack, bed, count, eps, batch=200, double=False, seed=0):
    torch.manual_seed(seed)
    x, y = bed.images[:count], bed.labels[:count]
    if double:
        bed.model.double()
        x = x.double()
    try:
        return torch.cat([attack(bed, a, b, eps).detach().float() for a, b in zip(x.split(batch), y.split(batch))])
    finally:
        bed.model.float()


def compare_images(beds, count, add):
    add("| attack | norm | peer | network | pixels within 1e-5 | images within 1e-5 | robust, Caltrop | robust, peer |")
    add("|---|---|---|---|---|---|---|---|")
    for name, norm, eps, words, peer, attack in image_cases():
        for bed in beds:
            words_here = [*words, "--norm", norm, *(["--eps", eps] if eps is not None else [])]
            try:
                ours = bed.ours(words_here, count)
                theirs = attacked_by(attack, bed, count, eps, double=peer not in FP32_ALONE)
            except Exception as problem:  # a peer that cannot run this is a line of the table, not the end of it
                add(f"| {name} | {norm} | {peer} | {bed.name} | failed: {type(problem).__name__} | | | |")
                print(f"{name} {norm} {bed.name}: {problem}", file=sys.stderr)
                continue
            apart = (ours[0] - theirs).abs().flatten(1)
            add(f"| {name} | {norm} | {peer} | {bed.name} | {100 * (apart <= CLOSE).double().mean():.3f} % | "
                f"{100 * (apart.amax(1) <= CLOSE).double().mean():.1f} % | {100 * bed.robust(ours[0]):.1f} % | "
                f"{100 * bed.robust(theirs):.1f} % |")


class Measured:
    """Robust images by side, cell and seed, in a file that a second run continues: peers take hours."""

    def __init__(self, path):
        self.path = Path(path) if path else None
        self.counts = json.loads(self.path.read_text()) if self.path and self.path.exists() else {}

    def robust(self, key, measure):
        key = " ".join(map(str, key))
        if key not in self.counts:
            self.counts[key] = measure()
            if self.path:
                self.path.write_text(json.dumps(self.counts, indent=1) + "\n")
        return self.counts[key]


def verdict(counts, images):
    """The mean over seeds, and between which values they lie where there are several."""
    shares = [100 * count / images for count in counts]
    mean = sum(shares) / len(shares)
    return mean, f"{mean:.1f} %" + (f" ({min(shares):.1f} to {max(shares):.1f})" if len(shares) > 1 else "")


def compare_verdicts(beds, options, add):
    add("| attack | norm | size | peer | network | images | seeds | robust, Caltrop | robust, peer | difference, points |")
    add("|---|---|---|---|---|---|---|---|---|---|")
    measured = Measured(options.measured)
    for name, norm, eps, words, peer, count, attack in verdict_cases():
        if options.only and name not in options.only:
            continue
        count = min(count, options.count or count)
        for bed in beds:
            def judged(attacked):
                return round(count * bed.robust(attacked, norm, eps))

            def ours(seed):
                return judged(bed.ours([*words, "--norm", norm, "--eps", eps, "--seed", seed], count)[0])

            def theirs(seed):
                return judged(attacked_by(attack, bed, count, eps, seed=seed))

            sides = {"Caltrop": ours, peer: theirs}
            try:
                for seeds in (1, options.seeds):
                    (own, own_text), (other, other_text) = [
                        verdict([measured.robust((side, *words, norm, eps, bed.name, count, seed), lambda: run(seed))
                                 for seed in range(seeds)], count) for side, run in sides.items()]
                    if abs(own - other) <= AGREE + 1e-9:
                        break
            except Exception as problem:
                add(f"| {name} | {norm} | {eps} | {peer} | {bed.name} | {count} | failed: {type(problem).__name__} | | | |")
                print(f"{name} {norm} {bed.name}: {problem}", file=sys.stderr)
                continue
            add(f"| {name} | {norm} | {eps} | {peer} | {bed.name} | {count} | {seeds} | {own_text} | {other_text} | "
                f"{round(own - other, 1) + 0:+.1f} |")  # no -0.0


def compare_times(bed, most, add):
    add("| job | images | Caltrop | peer | peer's time | ratio |")
    add("|---|---|---|---|---|---|")
    for name, count, words, peers in time_cases():
        count = min(count, most or count)
        for peer, attack, eps in peers:
            _, _, seconds, _ = bed.ours(words, count, save=False)
            try:
                attacked_by(attack, bed, 8, eps)  # warm
                start = time.perf_counter()
                attacked_by(attack, bed, count, eps)
                theirs = time.perf_counter() - start
            except Exception as problem:
                add(f"| {name} | {count} | {seconds:.2f} s | {peer} | failed: {type(problem).__name__} | |")
                print(f"{name}: {problem}", file=sys.stderr)
                continue
            again = bed.ours(words, count, save=False)[2]
            seconds = (seconds + again) / 2  # one run on each side of the peer's: the machine drifts
            add(f"| {name} | {count} | {seconds:.2f} s | {peer} | {theirs:.2f} s | **{theirs / seconds:.1f}×** |")


def write(page, part, lines):
    """Replaces what stands between the markers of one part."""
    begin, end = f"<!-- peers {part}: begin -->", f"<!-- peers {part}: end -->"
    text = page.read_text()
    if begin not in text or end not in text:
        raise SystemExit(f"error: {page} lacks the markers of {part}")
    head, rest = text.split(begin)
    page.write_text(head + begin + "\n\n" + "\n".join(lines) + "\n\n" + end + rest.split(end)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--caltrop", default="build/caltrop")
    parser.add_argument("--weights", nargs="+", required=True, metavar="NAME=FILE", help="target=FILE eat1=FILE")
    parser.add_argument("--data-dir")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--parts", nargs="+", default=["images", "verdicts", "times"], choices=["images", "verdicts", "times"])
    parser.add_argument("--count", type=int, help="images, where fewer than each comparison takes by itself")
    parser.add_argument("--seeds", type=int, default=3, help="of both sides, where one of each is not enough to agree")
    parser.add_argument("--only", nargs="+", metavar="ATTACK", help="rows of these verdicts alone, such as AutoAttack")
    parser.add_argument("--measured", help="JSON file of verdicts, read and continued")
    parser.add_argument("--page", default=str(mnist.CHECKOUT / "docs" / "attacks.md"))
    options = parser.parse_args()
    options.caltrop = str(Path(options.caltrop).resolve())
    torch.set_num_threads(options.threads)

    def say(line):
        print(line, file=sys.stderr, flush=True)

    packages = ("torch", "torchattacks", "foolbox", "cleverhans", "adversarial-robustness-toolbox")
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)
    with tempfile.TemporaryDirectory() as scratch:
        beds = [Bed(*pair.split("=", 1), options, Path(scratch)) for pair in options.weights]
        said = f"Python {platform.python_version()}, {versions}; threads: {options.threads}; MNIST test images."
        compare = {"images": lambda add: compare_images(beds, options.count or 200, add),
                   "verdicts": lambda add: compare_verdicts(beds, options, add),
                   "times": lambda add: compare_times(beds[0], options.count, add)}
        for part in options.parts:
            lines = [said, ""]

            def add(line, part=part, lines=lines):  # the page grows line by line: peers take hours
                say(line)
                lines.append(line)
                write(Path(options.page), part, lines)

            compare[part](add)


if __name__ == "__main__":
    main()
