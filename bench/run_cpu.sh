#!/usr/bin/env bash
# Times Caltrop and its peers on the same jobs, the same cores, in one run, and prints the table of ratios.
# Job by job the two alternate (A-B-A-B), so that whatever the machine does meanwhile meets both.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

usage() {
  cat <<'END'
usage: bench/run_cpu.sh [--jobs a,b,...] [--rounds N] [--repeats N] [--threads N] [--fraction F] [--retune] [--out-dir DIR]

  --jobs      jobs of `caltrop bench cpu` (default: all)
  --rounds    alternations of Caltrop and its peers (default 2)
  --repeats   samples of each in a round, at least (default 3)
  --threads   threads of each, pinned to as many cores (default 2)
  --fraction  let PyTorch run this part of its epochs and attacks, scaled to the whole (default 1; noted in the table)
  --retune    search the peers' fastest configurations again
  --out-dir   where <date>-cpu.md and <date>-cpu.json go (default bench/results)

CALTROP names the binary (default: build/caltrop), PEERS_PYTHON a Python with the peers
(default: a virtual environment in build-peers/, made when missing), CALTROP_DATA the folder that holds mnist/.
END
}

jobs=
rounds=2 repeats=3 threads=2 fraction=1 out_dir=$root/bench/results tune=()
while [ $# -gt 0 ]; do
  case $1 in
    --jobs | --rounds | --repeats | --threads | --fraction | --out-dir)
      [ $# -ge 2 ] || { echo "error: $1 wants a value" >&2; exit 2; }
      name=${1#--}
      printf -v "${name//-/_}" '%s' "$2"
      shift 2 ;;
    --retune) tune=(--retune); shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "error: unknown option $1" >&2; usage >&2; exit 2 ;;
  esac
done

caltrop=${CALTROP:-$root/build/caltrop}
[ -x "$caltrop" ] || { echo "error: no caltrop binary; build it (scripts/quickstart.sh) or set CALTROP" >&2; exit 1; }
export CALTROP=$caltrop
python=$("$root/scripts/install_peers.sh")
peers() { taskset -c "${cores:?}" "$python" "$root/bench/peers/cpu_peers.py" --threads "$threads" "$@"; }

# The first cores this process may use.
allowed=$("$python" -c 'import os; print(*sorted(os.sched_getaffinity(0)))')
cores=$(tr ' ' '\n' <<<"$allowed" | head -n "$threads" | paste -sd,)
[ "$(tr ',' '\n' <<<"$cores" | wc -l)" = "$threads" ] ||
  { echo "error: $threads threads were asked for, the cores are $allowed" >&2; exit 1; }
[ -n "$jobs" ] || jobs=$(peers --list)
load=$(cut -d' ' -f1 /proc/loadavg)
if awk "BEGIN { exit !($load > 0.5) }"; then
  echo "note: the machine is busy (load average $load); idle it for times worth keeping" >&2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "searching the peers' fastest configurations (kept in build-peers/tuning.json)" >&2
peers --jobs "$jobs" --tune-only "${tune[@]}"
pairs=()
for job in ${jobs//,/ }; do
  for ((round = 1; round <= rounds; round++)); do
    ours=$work/caltrop-$job-$round.json theirs=$work/peers-$job-$round.json
    taskset -c "$cores" "$caltrop" bench cpu --json "$ours" --jobs "$job" --repeats "$repeats" --threads "$threads" >&2
    peers --json "$theirs" --jobs "$job" --repeats "$repeats" --fraction "$fraction"
    pairs+=("$ours:$theirs")
  done
done
"$python" "$root/bench/peers/report.py" --out-dir "$out_dir" --load-average "$load" --rounds "${pairs[@]}"
