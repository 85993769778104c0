#!/usr/bin/env bash
# Configures and builds one folder: scripts/build.sh FOLDER [cmake options] [-- targets]
# CALTROP_CUDA_ARCHITECTURES in the environment chooses the GPUs to compile for: "90", "80;90", "all" as a release
# does; without it those of this machine, or the oldest and PTX where there is none.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$1
shift
options=() targets=()
while [ $# -gt 0 ]; do
  if [ "$1" = -- ]; then shift; targets=("$@"); break; fi
  options+=("$1")
  shift
done
[ -z "${CALTROP_CUDA_ARCHITECTURES:-}" ] ||
  options+=("-DCALTROP_CUDA_ARCHITECTURES=$CALTROP_CUDA_ARCHITECTURES")
if command -v ccache >/dev/null; then
  options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  export CCACHE_SLOPPINESS=pch_defines,time_macros  # it stores nothing with precompiled headers otherwise
  export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1  # checkouts in different places share what they compiled
fi
# A folder that was configured elsewhere (a copied checkout) cannot be used again.
if [ -f "$folder/CMakeCache.txt" ] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$folder/CMakeCache.txt"; then
  rm -rf "$folder"
fi
cmake -S "$root" -B "$folder" -G Ninja "${options[@]}" >"$folder.log" 2>&1 || { cat "$folder.log" >&2; exit 1; }
grep '^-- Caltrop:' "$folder.log" || true
rm -f "$folder.log"
cmake --build "$folder" ${targets[@]+--target "${targets[@]}"}
