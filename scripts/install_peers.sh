#!/usr/bin/env bash
# Prints the path of a Python that has the peers (PyTorch, foolbox, ...), for the scripts in bench/peers.
# PEERS_PYTHON names one that exists; otherwise a virtual environment is made once in build-peers/, from PyPI.
# pip's own variables (PIP_INDEX_URL, ...) choose another source, say PyTorch's smaller CPU-only builds.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
requirements=$root/bench/peers/requirements.txt

check() { "$1" -c 'import torch, numpy, safetensors, onnx, onnxruntime, openvino, jax, foolbox, torchattacks' >&2; }

if [ -n "${PEERS_PYTHON:-}" ]; then
  check "$PEERS_PYTHON" || { echo "error: PEERS_PYTHON=$PEERS_PYTHON lacks a package of $requirements" >&2; exit 1; }
  echo "$PEERS_PYTHON"
  exit 0
fi

venv=$root/build-peers/venv
# The copy is written last, so an interrupted installation starts again.
if ! cmp -s "$requirements" "$venv/requirements.txt"; then
  echo "installing PyTorch, ONNX Runtime and the other peers into $venv (some gigabytes)" >&2
  if ! { python3 -m venv "$venv" && "$venv/bin/python" -m pip install --quiet -r "$requirements"; } >&2; then
    echo "error: the peers could not be installed; python3 -m venv (Debian: python3-venv) and PyPI are needed," >&2
    echo "       or PEERS_PYTHON=/path/to/python with the packages of $requirements" >&2
    exit 1
  fi
  check "$venv/bin/python"
  cp "$requirements" "$venv/requirements.txt"
fi
echo "$venv/bin/python"
