"""MNIST from its IDX files, gzipped or plain, as NumPy arrays: what the peer scripts read their images with."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np

CHECKOUT = Path(__file__).resolve().parents[2]


def find_mnist(data_dir=None):
    """The folder with the four files, in the search order of the product: flag, environment, checkout, cache."""
    candidates = []
    if data_dir:
        candidates += [Path(data_dir), Path(data_dir) / "mnist"]
    if os.environ.get("CALTROP_DATA"):
        candidates.append(Path(os.environ["CALTROP_DATA"]) / "mnist")
    candidates.append(CHECKOUT / "data" / "mnist")
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    candidates.append(Path(cache) / "caltrop" / "mnist")
    candidates.append(Path("/usr/share/datasets/mnist"))
    for folder in candidates:
        if any(folder.glob("t10k-images-idx3-ubyte*")):
            return folder
    tried = "\n  ".join(str(folder) for folder in candidates)
    raise SystemExit(f"error: MNIST was not found; give --data-dir or set CALTROP_DATA. Tried:\n  {tried}")


def read_idx(folder, name):
    """An unsigned-byte IDX array; `name` is without .gz."""
    zipped = folder / (name + ".gz")
    raw = gzip.decompress(zipped.read_bytes()) if zipped.exists() else (folder / name).read_bytes()
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise SystemExit(f"error: {folder / name} is not an IDX file of unsigned bytes")
    rank = raw[3]
    header = 4 + 4 * rank
    shape = struct.unpack(f">{rank}I", raw[4:header])
    if len(raw) != header + int(np.prod(shape)):
        raise SystemExit(f"error: {folder / name} holds {len(raw) - header} bytes, its header says {shape}")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def load(folder, split):
    """(images float32 in [0,1] of shape (N,1,28,28), labels int64 of shape (N,)); split is train or test."""
    prefix = {"train": "train", "test": "t10k"}[split]
    images = read_idx(folder, f"{prefix}-images-idx3-ubyte").astype(np.float32) / np.float32(255)
    labels = read_idx(folder, f"{prefix}-labels-idx1-ubyte").astype(np.int64)
    return images[:, None], labels
