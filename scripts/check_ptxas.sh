#!/usr/bin/env bash
# Compiles every kernel for one GPU and prints what ptxas made of it: registers per thread, shared memory, stack
# frame and spills. Fails on any spill, and on any stack frame: both put values of a thread into global memory.
# Needs nvcc and no GPU.
#   scripts/check_ptxas.sh [compute capability, default 90] [source.cu ...]
set -euo pipefail
cd "$(dirname "$0")/.."

# Kernels that may have a stack frame all the same: one extended regular expression, with the reason beside it.
cold='^$'

capability=${1:-90}
shift || true
nvcc=${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
[ -x "$nvcc" ] || { echo "check_ptxas: nvcc not found; put it on PATH or set NVCC" >&2; exit 2; }
sources=("$@")
[ $# -gt 0 ] || mapfile -t sources < <(grep -rlE --include='*.cu' '^[^#]*(__global__|launch\()' kernels | sort)

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
# A cubin is the device half alone, so no host compiler runs. The flags are those of cmake/CaltropCuda.cmake.
compile() {
  local log=$logs/${1//\//_}
  "$nvcc" -std=c++20 --fmad=false -DFMT_USE_CONSTEXPR=1 -I. -arch="sm_$capability" -Xptxas -v -cubin -o "$log.cubin" "$1" 2> "$log.log" ||
    { cat "$log.log" >&2; echo "check_ptxas: $1 does not compile" >&2; exit 1; }
}
export -f compile
export nvcc capability logs
printf '%s\n' "${sources[@]}" | xargs -P "$(nproc)" -I {} bash -c 'compile {}'

for log in "$logs"/*.log; do
  sed "s/^/$(basename "$log" .cu.log | sed 's/^kernels_//')\t/" "$log"
done | c++filt | awk -F '\t' -v cold="$cold" '
  function short(name) {
    gsub(/\(anonymous namespace\)::/, "", name)
    gsub(/caltrop::gpu::|caltrop::/, "", name)
    sub(/^void /, "", name)
    # The argument list goes; parentheses inside template arguments stay.
    depth = 0
    for (i = 1; i <= length(name); ++i) {
      c = substr(name, i, 1)
      if (c == "<") ++depth
      if (c == ">") --depth
      if (c == "(" && depth == 0) return substr(name, 1, i - 1)
    }
    return name
  }
  function number_before(text, unit) {
    return match(text, "[0-9]+ " unit) ? substr(text, RSTART) + 0 : 0
  }
  match($2, /Compiling entry function .*. for /) {
    kernel = short(substr($2, RSTART + 26, RLENGTH - 26 - 6))
    next
  }
  # Of the kernel, or of a function that it calls.
  /bytes stack frame/ {
    stack += number_before($2, "bytes stack frame")
    spills += number_before($2, "bytes spill stores") + number_before($2, "bytes spill loads")
    next
  }
  /Used [0-9]+ registers/ {
    printf "%-14s %-64s %9d %7d %6d %7d\n", $1, kernel, substr($2, index($2, "Used ") + 5) + 0,
           number_before($2, "bytes smem"), stack, spills
    ++kernels
    if (spills > 0) { ++bad; print "  ^ spills" }
    else if (stack > 0 && kernel !~ cold) { ++bad; print "  ^ stack frame" }
    stack = spills = 0
  }
  BEGIN { printf "%-14s %-64s %9s %7s %6s %7s\n", "file", "kernel", "registers", "shared", "stack", "spills" }
  END {
    if (spills > 0) { ++bad; print "a function that no kernel above calls spills" }
    printf "%d kernels, %d with spills or a stack frame\n", kernels, bad
    exit kernels == 0 || bad > 0
  }'
