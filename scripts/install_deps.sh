#!/usr/bin/env bash
# Installs the Debian packages that Caltrop builds and runs with, those that are missing only:
# with everything in place it touches neither the network nor the package database.
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config
  libhwy-dev libtbb-dev libfmt-dev libspdlog-dev nlohmann-json3-dev zlib1g-dev libzip-dev libcli11-dev libstb-dev
  doctest-dev gnuplot-nox
)
optional=(dataset-fashion-mnist)

missing() {
  local name
  for name in "$@"; do
    dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'install ok installed' || echo "$name"
  done
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else
    echo "error: these packages are missing and there is no sudo: $wanted" >&2
    echo "       run as root: apt-get install $wanted" >&2
    exit 1
  fi
}

wanted=$(missing "${packages[@]}" "${optional[@]}" "$@" | tr '\n' ' ')
[ -n "$wanted" ] || exit 0
command -v apt-get >/dev/null || { echo "error: not a Debian system; install the equivalents of: $wanted" >&2; exit 1; }

echo "installing: $wanted"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
if ! as_root apt-get install -y -qq --no-install-recommends $wanted >/dev/null 2>&1; then
  as_root apt-get update -qq
  as_root apt-get install -y -qq --no-install-recommends $wanted >/dev/null
fi
