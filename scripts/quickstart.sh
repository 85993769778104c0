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
"$root/scripts/build.sh" "$root/build" -- caltrop
out=$root/runs/demo-$(date +%Y%m%d-%H%M%S)
for argument in "$@"; do
  case $argument in --out | --out=*) out= ;; esac
done
exec "$root/build/caltrop" demo ${out:+--out "$out"} "$@"
