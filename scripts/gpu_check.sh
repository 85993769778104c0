#!/usr/bin/env bash
# The one command for a machine with an NVIDIA GPU: builds for it, runs the whole suite on it, compute-sanitizer on the
# kernels, the kernel ladders and the benchmarks against PyTorch and JAX, and writes one results file. Needs no network.
# A stage that fails is recorded and the next one runs; the exit status is 0 only if all passed.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

usage() {
  cat <<'TEXT'
usage: scripts/gpu_check.sh [OUT] [--rehearse] [--rounds N] [--only A,B,...] [--jobs N] [--budget SECONDS]

  OUT         folder of the logs and raw results (default: out-gpu/); the summary goes to bench/results/ as
              <date>-<gpu>.md and .json as well, unless --rehearse
  --rehearse  on a machine without a GPU: configure and build with nvcc, run the suite on the CPU and the emulation, and
              the ladders' checks; what needs a GPU is recorded as skipped
  --rounds    alternations of Caltrop and its peers (default 2)
  --only      these stages alone: configure build device suite peers agreement ladder ensemble memcheck racecheck initcheck
              synccheck
  --budget    seconds for all together (default 540; none in a rehearsal): what does not fit is recorded as skipped, and
              can be made up with --only
  --jobs      parallel jobs (default: all cores)

The build needs what scripts/install_deps.sh installs. Where that cannot be installed, CALTROP_PACKAGES names a folder
made by scripts/carry_packages.sh elsewhere. CMAKE_PREFIX_PATH and CALTROP_CMAKE_OPTIONS (options for cmake) are honoured.
CUDACXX names nvcc, PEERS_PYTHON a Python with PyTorch and perhaps JAX for this GPU (default: python3), CALTROP_DATA the folder that
holds mnist/. The data and PyTorch are needed by the stages agreement and peers alone.
TEXT
}

out=$root/out-gpu rehearse=no rounds=2 only='' jobs=$(nproc) budget=540
while [ $# -gt 0 ]; do
  case $1 in
    --rehearse) rehearse=yes ;;
    --rounds | --only | --jobs | --budget)
      [ $# -ge 2 ] || { echo "error: $1 wants a value" >&2; exit 2; }
      name=${1#--}
      printf -v "$name" '%s' "$2"
      shift ;;
    -h | --help) usage; exit 0 ;;
    -*) echo "error: unknown option $1" >&2; usage >&2; exit 2 ;;
    *) out=$1 ;;
  esac
  shift
done
for number in "$rounds" "$jobs" "$budget"; do
  [[ $number =~ ^[1-9][0-9]*$ ]] || { echo "error: '$number' is not a count" >&2; exit 2; }
done

query() { nvidia-smi --query-gpu="$1" --format=csv,noheader 2>/dev/null | head -n 1; }
gpu=$(query name) || gpu=
if [ -z "$gpu" ]; then
  echo "gpu_check: there is no NVIDIA GPU here (nvidia-smi names none)." >&2
  if [ "$rehearse" = no ]; then
    echo "gpu_check: stopped; nothing was built or measured. --rehearse runs what needs no GPU." >&2
    exit 1
  fi
  echo "gpu_check: rehearsing what needs no GPU." >&2
  driver=none architecture=${CALTROP_CUDA_ARCHITECTURES:-90}
else
  driver=$(query driver_version)
  architecture=$(query compute_cap | tr -d '.')
fi

mkdir -p "$out/logs" && out=$(cd "$out" && pwd)
stages=$out/stages.tsv
: >"$stages"
# An earlier run's results are not this run's.
rm -rf "$out"/agreement* "$out"/kernels.json "$out"/ensemble.json "$out"/caltrop-*.json "$out"/torch-*.json "$out"/jax-*.json
if [ -n "${CALTROP_PACKAGES:-}" ]; then
  # shellcheck disable=SC1091
  . "$CALTROP_PACKAGES/env.sh" || { echo "error: $CALTROP_PACKAGES was not made by scripts/carry_packages.sh" >&2; exit 2; }
fi
if [ -z "${CUDACXX:-}" ] && ! command -v nvcc >/dev/null && [ -x /usr/local/cuda/bin/nvcc ]; then
  export CUDACXX=/usr/local/cuda/bin/nvcc
fi
# Tools of the CUDA toolkit that are not on PATH.
export PATH=$PATH:/usr/local/cuda/bin
build=$root/build-gpu
caltrop=$build/caltrop
python=${PEERS_PYTHON:-python3}
failures=0

record() { printf '%s\t%s\t%s\t%s\n' "$@" >>"$stages"; }
# stage NAME SECONDS command...: the command's output goes to logs/NAME.log; a failure or a time-out is recorded.
stage() {
  local name=$1 limit=$2 status=0 start=$SECONDS
  shift 2
  if [ -n "$only" ] && [[ ,$only, != *,$name,* ]]; then return 0; fi
  # The limits keep the whole within the minutes of a borrowed GPU; a rehearsal may be on any machine.
  if [ "$rehearse" = yes ]; then
    limit=$((10 * limit))
  else
    local left=$((budget - SECONDS))
    if [ "$left" -lt 10 ]; then
      record "$name" skipped 0 "no time left of $budget s"
      echo "== $name skipped: no time left of $budget s" >&2
      return 0
    fi
    [ "$limit" -le "$left" ] || limit=$left
  fi
  printf '== %-12s ' "$name" >&2
  if [ "$(type -t "$1")" = function ]; then
    # In a shell of its own, so that a time limit and set -e reach it.
    # shellcheck disable=SC2163
    export -f "$1"
    timeout -k 10 "$limit" bash -euo pipefail -c "$1" >"$out/logs/$name.log" 2>&1 || status=$?
  else
    timeout -k 10 "$limit" "$@" >"$out/logs/$name.log" 2>&1 || status=$?
  fi
  local seconds=$((SECONDS - start)) word=passed note=
  if [ "$status" = 77 ]; then
    word=skipped note=$(tail -n 1 "$out/logs/$name.log")
  elif [ "$status" = 124 ] || [ "$status" = 137 ]; then
    word=failed note="stopped after $limit s"
  elif [ "$status" != 0 ]; then
    note=$(grep -E 'rror|FAIL' "$out/logs/$name.log" | tail -n 1)
    [ -n "$note" ] || note=$(tail -n 1 "$out/logs/$name.log")
    word=failed note="status $status: $(tr '\t' ' ' <<<"$note" | cut -c1-200)"
  fi
  [ "$word" != failed ] || failures=$((failures + 1))
  record "$name" "$word" "$seconds" "$note"
  echo "$word in $seconds s${note:+: $note}" >&2
}
needs_gpu() {
  if [ -z "$gpu" ]; then echo "no GPU"; exit 77; fi
}
needs_mnist() {
  # The search of the product; the program itself says what it tried.
  "$caltrop" info --json - 2>/dev/null | "$python" -c '
import json, sys
found = [d for d in json.load(sys.stdin)["datasets"] if d["name"] == "mnist" and not d["place"].startswith("not found")]
sys.exit(0 if found else 77)' || { echo "MNIST was not found; set CALTROP_DATA"; exit 77; }
}
export root out build caltrop python gpu rounds jobs architecture
export -f needs_gpu needs_mnist

configure() {
  # shellcheck disable=SC2086
  cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCALTROP_CUDA=ON \
    -DCALTROP_CUDA_ARCHITECTURES="$architecture" -DCALTROP_WARNINGS_AS_ERRORS=OFF ${CALTROP_CMAKE_OPTIONS:-}
}
suite() {
  cd "$build" || exit 1
  ctest --output-on-failure --no-tests=error -j "$jobs"
}
# That the suite ran on the device, and did not skip it.
device() {
  needs_gpu
  "$build/tests/test_kernels" -tc=backends | tee /dev/stderr | grep -E '^RUN +kernels on cuda' ||
    { echo "error: the suite has no backend on the GPU"; exit 1; }
  "$caltrop" info
}
sanitizer() {
  needs_gpu
  command -v compute-sanitizer >/dev/null || { echo "error: compute-sanitizer was not found"; exit 1; }
  CALTROP_TEST_BACKEND=cuda compute-sanitizer --tool "$1" --error-exitcode 9 --print-limit 20 \
    "$build/tests/test_kernels" -tc="parity*,every version on the GPU*"
}
export -f sanitizer
memcheck() { sanitizer memcheck; }
racecheck() { sanitizer racecheck; }
initcheck() { sanitizer initcheck; }
synccheck() { sanitizer synccheck; }
ladder() {
  if [ -n "$gpu" ]; then
    "$caltrop" bench kernels --device cuda --json "$out/kernels.json"
  else
    "$caltrop" bench kernels --device emulated --json "$out/kernels.json"
  fi
}
agreement() {
  needs_gpu
  needs_mnist
  "$python" "$root/bench/agreement.py" --caltrop "$caltrop" --work "$out/agreement" --json "$out/agreement.json"
}
peers() {
  needs_gpu
  needs_mnist
  local round job peer status=0
  local -a peers=()
  for peer in torch jax; do
    if "$python" -c "import $peer" 2>/dev/null; then peers+=("$peer"); else echo "$peer is not here"; fi
  done
  # A-B-A-B, job by job, so that whatever the machine does meanwhile meets all. Caltrop is timed without peers too.
  for job in train_epoch_target pgd10_target; do
    for ((round = 1; round <= rounds; round++)); do
      "$caltrop" bench cuda --jobs "$job" --repeats 5 --json "$out/caltrop-$job-$round.json" || status=$?
      for peer in ${peers[@]+"${peers[@]}"}; do
        "$python" "$root/bench/peers/${peer}_cuda.py" --jobs "$job" --json "$out/$peer-$job-$round.json" || status=$?
      done
    done
  done
  exit "$status"
}
# The rehearsal takes the CPU: it shows that both paths vote alike.
ensemble() {
  needs_mnist
  "$caltrop" bench ensemble --device "$([ -n "$gpu" ] && echo cuda || echo cpu)" --json "$out/ensemble.json"
}

# What tells most comes first: a borrowed GPU may be gone before the last.
stage configure 120 configure
stage build 420 cmake --build "$build" -j "$jobs"
stage device 60 device
stage suite 300 suite
stage peers 300 peers
stage agreement 180 agreement
stage ladder 180 ladder
stage ensemble 60 ensemble
stage memcheck 180 memcheck
stage racecheck 180 racecheck
stage initcheck 180 initcheck
stage synccheck 180 synccheck

results=$root/bench/results
[ "$rehearse" = no ] || results=$out
"$python" "$root/bench/peers/cuda_report.py" --from "$out" --out-dir "$results" --gpu "${gpu:-no GPU}" --driver "$driver" \
  --rehearsal "$rehearse" || failures=$((failures + 1))
if [ "$failures" != 0 ]; then
  echo "gpu_check: $failures of the parts failed; logs in $out/logs" >&2
  exit 1
fi
