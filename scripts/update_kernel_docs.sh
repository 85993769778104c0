#!/usr/bin/env bash
# Writes the tables of docs/kernels.md, between their markers, from the JSON of `caltrop bench kernels`.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

usage() {
  cat <<'TEXT'
usage: scripts/update_kernel_docs.sh [KERNELS.json] [--check]

  KERNELS.json  the output of `caltrop bench kernels --json FILE`; without it the command is run, on a GPU if there
                is one. What was only checked, not timed, is marked as not measured.
  --check       change nothing; fail where the page does not match

CALTROP names the binary (default: build/caltrop).
TEXT
}

check=no input=
while [ $# -gt 0 ]; do
  case $1 in
    --check) check=yes ;;
    -h | --help) usage; exit 0 ;;
    -*) echo "error: unknown option $1" >&2; usage >&2; exit 2 ;;
    *) [ -z "$input" ] || { echo "error: one JSON file at most" >&2; exit 2; }; input=$1 ;;
  esac
  shift
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -z "$input" ]; then
  caltrop=${CALTROP:-$root/build/caltrop}
  [ -x "$caltrop" ] || { echo "error: no caltrop binary; build it (scripts/quickstart.sh) or set CALTROP" >&2; exit 1; }
  input=$work/kernels.json
  "$caltrop" bench kernels --json "$input" >/dev/null
fi

python3 - "$input" "$root/docs/kernels.md" "$check" <<'PYTHON'
import json
import re
import sys
from pathlib import Path

source, page, check = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "yes"
result = json.loads(source.read_text())
device = result["device"]


def micro(seconds):
    return f"{1e6 * seconds:,.1f}"


def versions_table(ladder):
    lines = ["| # | technique | what it mends |", "|---|---|---|"]
    return lines + [f"| {v['number']} | {v['technique']} | {v['why']} |" for v in ladder["versions"]]


def times_table(ladder, problem):
    technique = {v["number"]: v["technique"] for v in ladder["versions"]}
    library = problem["library"]
    timed = bool(library) and "seconds" in library
    name = library["name"] if timed else "library"
    lines = [f"**{problem['name'][0].upper() + problem['name'][1:]}**, {problem['sizes']}: "
             f"{1e-9 * problem['flops']:,.2f} GFLOP, {1e-6 * problem['bytes']:,.1f} MB, bound by {problem['bound']}; "
             f"{micro(problem['floor_seconds'])} µs at the peak"
             + (f"; {name}: {micro(library['seconds'])} µs" if timed else "") + ".", "",
             f"| # | technique | median, µs | interquartile range, µs | of peak | × {name} |",
             "|---|---|---|---|---|---|"]
    for time in problem["times"]:
        start = f"| {time['number']} | {technique[time['number']]} |"
        if "failure" in time:
            lines.append(f"{start} wrong result, not timed | | | |")
            continue
        spread = time["third_quartile"] - time["first_quartile"]
        ratio = "" if time["library_ratio"] is None else f"{time['library_ratio']:.2f}"
        lines.append(f"{start} {micro(time['seconds'])} | {micro(spread)} | {100 * time['peak_share']:.1f} % | {ratio} |")
    return lines


def where():
    if device is None:
        return "Not measured yet: this table is of a machine without a GPU, where versions are checked and not timed."
    return (f"Measured on {device['name']} (compute capability {device['compute_capability']}, "
            f"{1e-12 * device['peak_flops_per_second']:.1f} TFLOP/s, {1e-12 * device['peak_bytes_per_second']:.2f} TB/s), "
            f"commit {result['commit']}.")


def section(ladder):
    lines = versions_table(ladder) + ["", where()]
    for problem in ladder["problems"]:
        lines += ["", *times_table(ladder, problem)]
    return "\n".join(lines)


text = page.read_text()
for name in ("matmul", "conv2d", "softmax"):
    if name not in result["ladders"]:
        sys.exit(f"error: {source} has no ladder {name}; run `caltrop bench kernels` without a word or a version")
    pattern = re.compile(rf"(<!-- ladder {name}:[^\n]*-->\n).*?(<!-- end of ladder {name} -->)", re.S)
    if not pattern.search(text):
        sys.exit(f"error: {page} has lost its markers of {name}")
    body = section(result["ladders"][name])
    text = pattern.sub(lambda match, body=body: f"{match[1]}\n{body}\n\n{match[2]}", text)
if check:
    if text != page.read_text():
        sys.exit(f"error: {page} does not match {source}; run scripts/update_kernel_docs.sh")
else:
    page.write_text(text)
    print(f"{page} is up to date", file=sys.stderr)
PYTHON
