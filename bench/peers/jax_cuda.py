#!/usr/bin/env python3
"""Times Caltrop's GPU benchmark jobs in JAX on one device: each step jitted, and the whole job as one program.

train_epoch_target  one epoch of Target with Adam, batch 128, on images that lie on the device (469 steps)
pgd10_target        PGD-10 in L-infinity on the 10,000 test images, eps 0.3, step 0.075

Single precision at JAX's highest precision (no TF32), NHWC; the epoch's last and smaller batch is a program of its own.
Each variant is checked before it is timed: the first losses of both agree, accuracies reach what they must; a wrong one
is an error, not a time. Times are of whole jobs, by the host's clock around block_until_ready.
"""

import argparse
import platform
import statistics
import sys
import time
from functools import partial

import jax
import jax.numpy as jnp
import mnist
import numpy as np
from job_result import write_result

BATCH, STEPS, EPS, STEP_SIZE = 128, 10, 0.3, 0.075
RATE, BETA1, BETA2, SMALL = 1e-3, 0.9, 0.999, 1e-8
JOBS = ("train_epoch_target", "pgd10_target")
VARIANTS = ("jax-step", "jax-whole")


def require(condition, message):
    if not condition:
        raise RuntimeError(message)


def initial_weights(key):
    shapes = {"conv": ((3, 3, 1, 32), 9), "dense1": ((5408, 100), 5408), "dense2": ((100, 10), 100)}
    weights = {}
    for name, (shape, fan_in) in shapes.items():
        key, draw = jax.random.split(key)
        bound = (6 / fan_in) ** 0.5
        weights[name] = {"w": jax.random.uniform(draw, shape, minval=-bound, maxval=bound), "b": jnp.zeros(shape[-1])}
    return weights


def logits(weights, x):
    conv = jax.lax.conv_general_dilated(x, weights["conv"]["w"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    pooled = jax.lax.reduce_window(jax.nn.relu(conv + weights["conv"]["b"]), -jnp.inf, jax.lax.max, (1, 2, 2, 1),
                                   (1, 2, 2, 1), "VALID")
    hidden = jax.nn.relu(pooled.reshape(len(x), -1) @ weights["dense1"]["w"] + weights["dense1"]["b"])
    return hidden @ weights["dense2"]["w"] + weights["dense2"]["b"]


def losses(weights, x, y):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits(weights, x)), y[:, None], 1)[:, 0]


def adam(state, gradient):
    weights, first, second, t = state
    t = t + 1
    first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, gradient)
    second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, gradient)
    scale1, scale2 = 1 / (1 - BETA1**t), 1 / (1 - BETA2**t)
    weights = jax.tree.map(lambda w, m, v: w - RATE * m * scale1 / (jnp.sqrt(v * scale2) + SMALL), weights, first, second)
    return weights, first, second, t


def training_step(images, labels, state, rows):
    loss, gradient = jax.value_and_grad(lambda w: losses(w, images[rows], labels[rows]).mean())(state[0])
    return adam(state, gradient), loss


# Images, labels and weights are arguments: what a program closes over would be compiled into it.
one_step = jax.jit(training_step)
all_steps = jax.jit(lambda images, labels, state, rows: jax.lax.scan(partial(training_step, images, labels), state, rows))


class TrainEpoch:
    def __init__(self, variant, data):
        self.variant, self.data = variant, data
        order = data["order"]
        whole = len(order) // BATCH * BATCH
        self.full, self.rest = order[:whole].reshape(-1, BATCH), order[whole:]
        weights = initial_weights(jax.random.PRNGKey(1))
        zeros = jax.tree.map(jnp.zeros_like, weights)
        self.start = (weights, zeros, zeros, jnp.float32(0))

    def epoch(self, batches=None):
        state, found = self.start, []
        full = self.full[:batches]
        if self.variant == "jax-whole":
            state, found = all_steps(*self.data["train"], state, full)
        else:
            for rows in full:
                state, loss = one_step(*self.data["train"], state, rows)
                found.append(loss)
        if batches is None and len(self.rest):
            state, _ = one_step(*self.data["train"], state, self.rest)
        return state, found

    def check(self):
        first = np.array(self.epoch(8)[1])
        other = np.array(TrainEpoch("jax-step", self.data).epoch(8)[1])
        error = np.abs(first - other).max()
        require(error <= 2e-3, f"the first losses differ from the single steps' by {error:.1e}")
        images, labels = self.data["test"]
        self.trained = self.epoch()[0][0]
        reached = float((jnp.argmax(logits(self.trained, images), 1) == labels).mean())
        require(reached > 0.96, f"an epoch reached {reached:.4f} only, expected above 0.96")
        return f"test accuracy {100 * reached:.2f} %"

    def run(self):
        return self.epoch()


def pgd_step(weights, origin, y, x, _):
    gradient = jax.grad(lambda pixels: losses(weights, pixels, y).sum())(x)
    x = jnp.clip(x + STEP_SIZE * jnp.sign(gradient), origin - EPS, origin + EPS)
    return jnp.clip(x, 0, 1), None


one_ascent = jax.jit(lambda weights, origin, y, x: pgd_step(weights, origin, y, x, None)[0])
all_ascents = jax.jit(lambda weights, origin, y: jax.lax.scan(partial(pgd_step, weights, origin, y), origin, length=STEPS)[0])


class Pgd:
    def __init__(self, variant, data, batches=(1000, 2000, 10000)):
        self.variant, self.data = variant, data
        self.images, self.labels = data["test"]
        self.weights = data["weights"]
        self.batch = min(batches, key=self.probe)

    def probe(self, batch):
        self.batch = batch
        jax.block_until_ready(self.run())
        return min(seconds_of(self.run) for _ in range(3))

    def run(self):
        found = []
        for begin in range(0, len(self.images), self.batch):
            origin, y = self.images[begin:begin + self.batch], self.labels[begin:begin + self.batch]
            if self.variant == "jax-whole":
                found.append(all_ascents(self.weights, origin, y))
                continue
            x = origin
            for _ in range(STEPS):
                x = one_ascent(self.weights, origin, y, x)
            found.append(x)
        return found

    def check(self):
        found = jnp.concatenate(self.run())
        require(float(jnp.abs(found - self.images).max()) <= EPS + 1e-6, "a perturbation leaves its ball")
        require(float(found.min()) >= 0 and float(found.max()) <= 1, "an adversarial pixel leaves [0,1]")
        robust = float((jnp.argmax(logits(self.data["weights"], found), 1) == self.labels).mean())
        require(robust < 0.05, f"robust accuracy is {robust:.3f}, expected below 0.05")
        return f"accuracy {100 * robust:.2f} % at size {EPS}, batch {self.batch}"


def seconds_of(body):
    began = time.perf_counter()
    jax.block_until_ready(body())
    return time.perf_counter() - began


def load(data_dir):
    folder = mnist.find_mnist(data_dir)
    data = {}
    for split in ("train", "test"):
        images, labels = mnist.load(folder, split)
        data[split] = jnp.asarray(images.transpose(0, 2, 3, 1)), jnp.asarray(labels, dtype=jnp.int32)
    data["order"] = jnp.asarray(np.random.default_rng(1).permutation(len(data["train"][1])), dtype=jnp.int32)
    return data


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", default="-", help="where the result goes; - is standard output")
    parser.add_argument("--jobs", default=",".join(JOBS), help="comma-separated; default all: %(default)s")
    parser.add_argument("--samples", type=int, default=5, help="of each job and variant, after two warm-ups")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu only shows that it runs")
    parser.add_argument("--data-dir", help="folder of the MNIST files; default as in the product")
    options = parser.parse_args()
    for word in options.jobs.split(","):
        if word not in JOBS:
            parser.error(f"unknown {word!r}; expected {', '.join(JOBS)}")
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        device = jax.devices(options.device)[0]
    except RuntimeError:
        sys.exit(f"error: JAX finds no {options.device} device here")
    jax.config.update("jax_default_device", device)

    data = load(options.data_dir)
    trained = TrainEpoch("jax-step", data)
    trained.check()
    data["weights"] = trained.trained
    makers = {"train_epoch_target": TrainEpoch, "pgd10_target": Pgd}
    jobs = {}
    for job in options.jobs.split(","):
        variants = {}
        for variant in VARIANTS:
            try:
                work = makers[job](variant, data)
                words = work.check()
                for _ in range(2):
                    seconds_of(work.run)
                samples = [seconds_of(work.run) for _ in range(options.samples)]
                variants[variant] = {"seconds": statistics.median(samples), "samples": samples, "check": words}
            except Exception as problem:  # one variant that fails leaves the others their times
                variants[variant] = {"error": f"{type(problem).__name__}: {problem}"[:2000]}
            print(f"{job} {variant}: {variants[variant].get('seconds', variants[variant].get('error'))}",
                  file=sys.stderr, flush=True)
        jobs[job] = {"variants": variants}
    result = {"device": device.device_kind, "versions": {"python": platform.python_version(), "jax": jax.__version__},
              "precision": "fp32, highest", "jobs": jobs}
    write_result(result, options.json)


if __name__ == "__main__":
    main()
