#!/usr/bin/env bash
# Installs the Debian packages that Caltrop builds and runs with, those that are missing only:
# with everything in place it touches neither the network nor the package database.
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config
  libhwy-dev libtbb-dev libfmt-dev libspdlog-dev nlohmann-json3-dev zlib1g-dev libzip-dev libcli11-dev libstb-dev
  libkainjow-mustache-dev doctest-dev gnuplot-nox libboost-dev
)
optional=(dataset-fashion-mnist libvalijson-dev)

missing() {
  local name
  for name in "$@"; do
    dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'install ok installed' || echo "$name"
  done
}

install() {
  local names=("$@") sudo=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "error: no root and no sudo; as root: apt-get install ${names[*]}" >&2; return 1; }
    sudo=(sudo)
  fi
  command -v apt-get >/dev/null || { echo "error: not a Debian system; install the equivalents of: ${names[*]}" >&2; return 1; }
  echo "installing: ${names[*]}"
  local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get)
  "${apt[@]}" install -y -qq --no-install-recommends "${names[@]}" >/dev/null 2>&1 && return 0
  "${apt[@]}" update -qq && "${apt[@]}" install -y -qq --no-install-recommends "${names[@]}" >/dev/null
}

mapfile -t wanted < <(missing "${packages[@]}" "$@")
[ ${#wanted[@]} = 0 ] || install "${wanted[@]}"
mapfile -t wanted < <(missing "${optional[@]}")
[ ${#wanted[@]} = 0 ] || install "${wanted[@]}" || echo "note: going on without ${wanted[*]}" >&2
