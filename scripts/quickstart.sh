#!/usr/bin/env bash
# From a fresh checkout to a first result: installs what is missing, builds into build/, runs `caltrop demo`.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

case ${1:-} in
  -h | --help)
    cat <<'END'
usage: scripts/quickstart.sh [flags of 'caltrop demo']

Installs missing Debian packages (apt-get, with sudo when not root), builds Caltrop into build/ and runs the
demonstration: it trains a network on real data, attacks it, trains a defence, and writes a page that tells what
happened, with tables and figures, into runs/.
It can be repeated, and works offline once the packages are there.
END
    exit 0 ;;
esac

"$root/scripts/install_deps.sh"
# Without a GPU nothing of this needs nvcc's half of the kernels, a quarter of the work; scripts/test.sh and
# scripts/build.sh compile it wherever nvcc is.
options=()
if command -v nvcc >/dev/null && ! nvidia-smi >/dev/null 2>&1 && [ ! -f "$root/build/CMakeCache.txt" ]; then
  echo "no GPU found: building for the CPU alone (scripts/build.sh build -DCALTROP_CUDA=ON builds the rest)"
  options=(-DCALTROP_CUDA=OFF)
fi
"$root/scripts/build.sh" "$root/build" ${options[@]+"${options[@]}"} -- caltrop
out=$root/runs/demo-$(date +%Y%m%d-%H%M%S)
for argument in "$@"; do
  case $argument in --out | --out=*) out= ;; esac
done
exec "$root/build/caltrop" demo ${out:+--out "$out"} "$@"
