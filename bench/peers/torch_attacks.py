"""The benchmark's attack jobs in PyTorch: PGD-10 and the GMA sweep, and PGD-10, CW and APGD by libraries.

The job interface is described in torch_jobs.py.
"""

import math
import time

import torch
import torch.nn.functional as F

from torch_jobs import IMAGES
from torch_zoo import Config, accuracy, build, kept, part, require

EPS, STEP_SIZE, STEPS = 0.3, 0.075, 10
APGD_EPS = 0.06  # leaves images to the last step
SWEEP_SIZES = [v * math.exp(-i) for v in (0.1, 0.5, 1.0, 2.0, 3.0) for i in range(1, 7)]


class Pgd:
    """PGD-10 in L-infinity, eps 0.3, step 0.075, from the clean image, on the 10,000 test images."""

    probe_fraction = 0.1

    def __init__(self, name, config, data):
        self.name, self.config, self.data = name, config, data
        self.images, self.labels = data["test"]
        self.model = build(name, config, data["weights"]).eval()
        if config.frozen:
            self.model.requires_grad_(False)
        self.step = self._eager_step
        if config.engine == "compile":
            self.step = torch.compile(self._functional_step, dynamic=False)

    def _loss(self, x, y):
        return F.cross_entropy(self.model(x), y, reduction="sum")

    def _gradient(self, x, y):
        x = x.detach().requires_grad_(True)
        return torch.autograd.grad(self._loss(x, y), x)[0]

    # The ball and the box clip as one interval: for L-infinity the two projections commute.
    def _eager_step(self, x, y, low, high, size):
        return torch.minimum(torch.maximum(x + size * self._gradient(x, y).sign(), low), high)

    def _functional_step(self, x, y, low, high, size):
        return torch.minimum(torch.maximum(x + size * torch.func.grad(self._loss)(x, y).sign(), low), high)

    def pgd(self, images, labels, eps):
        size = torch.full((1, 1, 1, 1), eps * STEP_SIZE / EPS)
        found = []
        for x0, y in zip(images.split(self.config.batch), labels.split(self.config.batch)):
            low, high, x = (x0 - eps).clamp(0, 1), (x0 + eps).clamp(0, 1), x0
            for _ in range(STEPS):
                x = self.step(x, y, low, high, size)
            found.append(x)
        return torch.cat(found)

    def check(self):
        n = 1000 // self.config.batch * self.config.batch
        x, y = self.images[:n], self.labels[:n]
        found = self.pgd(x, y, EPS)
        require((found - x).abs().max().item() <= EPS + 1e-6, "a perturbation leaves its ball")
        require(found.min().item() >= 0 and found.max().item() <= 1, "an adversarial pixel leaves [0,1]")
        plain = Pgd(self.name, Config(), self.data)
        theirs = kept(self.data, ("pgd", n), lambda: plain.pgd(x, y, EPS))
        robust, expected = (accuracy(plain.model, images, y) for images in (found, theirs))
        require(robust <= 0.05 and abs(robust - expected) <= 0.01,
                f"robust accuracy is {robust:.3f}, plain PyTorch's {expected:.3f}, expected at most 0.05")

    def run(self, fraction):
        n = part(len(self.images), fraction, self.config.batch)
        for rows in {min(n, self.config.batch), n % self.config.batch} - {0}:  # warm, the last batch included
            self.pgd(self.images[:rows], self.labels[:rows], EPS)
        start = time.perf_counter()
        self.pgd(self.images[:n], self.labels[:n], EPS)
        return (time.perf_counter() - start) * len(self.images) / n


class Sweep(Pgd):
    """GMA generation: PGD-10 at 30 sizes on 1,000 images, L-infinity, each step a quarter of the size."""

    probe_fraction = 1 / 30

    def __init__(self, name, config, data):
        super().__init__(name, config, data)
        self.chunk = max(1, config.batch // len(SWEEP_SIZES))

    def stacked(self, images, labels):
        """All sizes of an image in one batch; their common first gradient is computed once."""
        n = len(SWEEP_SIZES)
        eps = torch.tensor(SWEEP_SIZES).view(n, 1, 1, 1)
        found = []
        for x0, y0 in zip(images.split(self.chunk), labels.split(self.chunk)):
            x, y = x0.repeat_interleave(n, 0), y0.repeat_interleave(n, 0)
            sizes = eps.repeat(len(x0), 1, 1, 1)
            low, high, step = (x - sizes).clamp(0, 1), (x + sizes).clamp(0, 1), sizes * (STEP_SIZE / EPS)
            sign = self._gradient(x0, y0).sign().repeat_interleave(n, 0)
            x = torch.minimum(torch.maximum(x + step * sign, low), high)
            for _ in range(STEPS - 1):
                x = self.step(x, y, low, high, step)
            found.append(x)
        return torch.cat(found).view(len(images), n, *images.shape[1:])

    def per_size(self, images, labels, sizes):
        return torch.stack([self.pgd(images, labels, eps) for eps in sizes], 1)

    def check(self):
        """The same images fall at the same sizes, one in a size aside: gradients near zero differ by rounding."""
        count = 32 // self.chunk * self.chunk or self.chunk
        x, y = self.images[:count], self.labels[:count]
        found = self.stacked(x, y) if self.config.sweep == "stacked" else self.per_size(x, y, SWEEP_SIZES)
        plain = Sweep(self.name, Config(), self.data)
        expected = kept(self.data, ("sweep", count), lambda: plain.per_size(x, y, SWEEP_SIZES))
        for i, eps in enumerate(SWEEP_SIZES):
            largest = (found[:, i] - x).abs().max().item()
            require(largest <= eps + 1e-6, f"a perturbation of {largest:.2e} leaves its ball of {eps:.2e}")
            here, there = (round(accuracy(plain.model, images[:, i], y) * count) for images in (found, expected))
            require(abs(here - there) <= 1, f"size {eps:.2e} leaves {here} images correct, plain PyTorch {there}")

    def run(self, fraction):
        images, labels = self.images[:IMAGES["gma_target"]], self.labels[:IMAGES["gma_target"]]
        if self.config.sweep == "stacked":
            n = part(len(images), fraction, self.chunk)
            for rows in {self.chunk, n % self.chunk} - {0}:
                self.stacked(images[:rows], labels[:rows])
            start = time.perf_counter()
            self.stacked(images[:n], labels[:n])
            return (time.perf_counter() - start) * len(images) / n
        n = part(len(SWEEP_SIZES), fraction, 1)
        for rows in {min(len(images), self.config.batch), len(images) % self.config.batch} - {0}:
            self.pgd(images[:rows], labels[:rows], EPS)
        start = time.perf_counter()
        self.per_size(images, labels, SWEEP_SIZES[:n])
        return (time.perf_counter() - start) * len(SWEEP_SIZES) / n


class Library(Pgd):
    """The same attack as a library runs it; what the library checks of its result is part of its time."""

    kind = "pgd10"

    def __init__(self, name, config, data, library):
        super().__init__(name, config, data)
        count = IMAGES.get(f"{self.kind}_{name}")
        self.images, self.labels = self.images[:count], self.labels[:count]
        self.attack = getattr(self, "_" + library)()

    def _foolbox(self):
        import foolbox

        wrapped = foolbox.PyTorchModel(self.model, bounds=(0, 1))
        if self.kind == "cw1000":
            attack = foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=1, steps=1000, initial_const=1,
                                                           abort_early=False)
            return lambda x, y: attack(wrapped, x, y, epsilons=None)[0]
        attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP_SIZE, steps=STEPS, random_start=False)
        return lambda x, y: attack(wrapped, x, y, epsilons=EPS)[1]

    def _torchattacks(self):
        import torchattacks

        if self.kind == "cw1000":
            return torchattacks.CW(self.model, c=1, steps=1000)
        if self.kind == "apgd":
            return torchattacks.APGD(self.model, norm="Linf", eps=APGD_EPS, steps=100, loss="ce")
        return torchattacks.PGD(self.model, EPS, STEP_SIZE, STEPS, random_start=False)

    def pgd(self, images, labels, eps):
        batches = zip(images.split(self.config.batch), labels.split(self.config.batch))
        return torch.cat([self.attack(x, y) for x, y in batches])


class Cw(Library):
    """Carlini and Wagner's L2 attack: 1,000 steps at one constant, 1, on 100 images."""

    kind, probe_fraction = "cw1000", 1

    def check(self):
        """Whether it fools the network; its size is what it is."""
        x, y = self.images[:self.config.batch], self.labels[:self.config.batch]
        robust = accuracy(self.model, self.pgd(x, y, None), y)
        require(robust <= 0.1, f"robust accuracy is {robust:.3f}, expected at most 0.1")


class Apgd(Library):
    """APGD on cross-entropy: 100 steps in L-infinity, eps 0.06, on 1,000 images."""

    kind, probe_fraction = "apgd", 1

    def check(self):
        x, y = self.images[:self.config.batch], self.labels[:self.config.batch]
        found = self.pgd(x, y, APGD_EPS)
        require((found - x).abs().max().item() <= APGD_EPS + 1e-6, "a perturbation leaves its ball")
        robust = accuracy(self.model, found, y)
        require(robust <= 0.9, f"robust accuracy is {robust:.3f}, expected at most 0.9")
