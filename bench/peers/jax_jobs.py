"""The CPU benchmark's jobs in JAX, each jitted as one program; the programs are those of jax_cuda.py.

The job interface is described in torch_jobs.py.
"""

import jax.numpy as jnp
import jax_cuda
import numpy as np


def arrays(images, labels):
    return jnp.asarray(images.permute(0, 2, 3, 1).numpy()), jnp.asarray(labels.numpy().astype(np.int32))


def weights_of(state):
    """PyTorch's weights of Target; its dense layer reads channels first."""
    dense = state["4.weight"].reshape(100, 32, 13, 13).permute(2, 3, 1, 0).reshape(5408, 100)
    tensors = {"conv": (state["0.weight"].permute(2, 3, 1, 0), state["0.bias"]), "dense1": (dense, state["4.bias"]),
               "dense2": (state["6.weight"].T, state["6.bias"])}
    return {name: {"w": jnp.asarray(w.numpy()), "b": jnp.asarray(b.numpy())} for name, (w, b) in tensors.items()}


class Job:
    """A job of jax_cuda.py behind the interface of torch_jobs.py; it is compiled for the whole, so no part can be run."""

    probe_fraction = 1

    def __init__(self, job):
        self.job, self.check = job, job.check

    def run(self, fraction):
        del fraction
        return jax_cuda.seconds_of(self.job.run)


def train_epoch(config, data):
    del config
    order = np.random.default_rng(1).permutation(len(data["train"][1])).astype(np.int32)
    own = {"train": arrays(*data["train"]), "test": arrays(*data["test"]), "order": jnp.asarray(order)}
    return Job(jax_cuda.TrainEpoch("jax-whole", own))


def pgd(config, data):
    own = {"test": arrays(*data["test"]), "weights": weights_of(data["weights"])}
    return Job(jax_cuda.Pgd("jax-whole", own, (config.batch,)))
