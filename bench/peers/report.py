#!/usr/bin/env python3
"""Combines the rounds of bench/run_cpu.sh into one Markdown table and one JSON file.

Each round is a pair of files, Caltrop's and PyTorch's, of one job, measured one right after the other. A time is the
median over all rounds; a ratio's range is that of the rounds taken one by one, so it shows what drift remains.
"""

import argparse
import datetime
import json
import statistics
import subprocess
from pathlib import Path

TITLES = {
    "train_epoch_target": "Target, one epoch, batch 128",
    "train_epoch_eat3": "EAT-3, one epoch, batch 128",
    "inference_target": "Target, inference, 10,000 images",
    "inference_eat1": "EAT-1, inference, 10,000 images",
    "inference_eat2": "EAT-2, inference, 10,000 images",
    "inference_eat3": "EAT-3, inference, 10,000 images",
    "inference_ensemble": "EAT-1, -2, -3 and their vote, 10,000 images",
    "pgd10_target": "Target, PGD-10, 10,000 images",
    "gma_target": "Target, GMA sweep (30 sizes, PGD-10), 1,000 images",
}
HEADLINE = ("stock", "tuned")  # the variants that the ratio is taken against; libraries are for information


def commit(checkout):
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    result = subprocess.run(command, capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else "unknown"


def combine(rounds):
    """The table's data from [(caltrop, torch)], one pair of parsed files per job and round."""
    jobs = {}
    for ours, theirs in rounds:
        for name in ours["jobs"]:
            if name not in theirs["jobs"]:
                raise SystemExit(f"error: job {name} was timed in Caltrop alone")
            jobs.setdefault(name, []).append((ours["jobs"][name], theirs["jobs"][name]))
    return {name: combine_job(pairs) for name, pairs in jobs.items()}


def combine_job(pairs):
    variants = {}
    for _, theirs in pairs:
        for name, variant in theirs["variants"].items():
            kept = variants.setdefault(name, {"samples": [], "config": variant["config"],
                                              "measured_fraction": variant["measured_fraction"]})
            kept["samples"] += variant["samples"]
    for variant in variants.values():
        variant["seconds"] = statistics.median(variant["samples"])
    samples = [s for ours, _ in pairs for s in ours["samples"]]
    best = min((v for v in HEADLINE if v in variants), key=lambda v: variants[v]["seconds"])
    seconds = statistics.median(samples)
    each = [theirs["variants"][best]["seconds"] / ours["seconds"] for ours, theirs in pairs]
    return {"caltrop": {"seconds": seconds, "samples": samples}, "torch": variants, "best": best,
            "ratio": variants[best]["seconds"] / seconds, "ratio_range": [min(each), max(each)]}


def duration(seconds):
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def markdown(result):
    lines = [f"# CPU: Caltrop and PyTorch, {result['date']}", "",
             f"{result['cpu']}, {result['threads']} threads, {result['rounds']} rounds in alternation on the "
             f"same cores; commit {result['commit']}. Caltrop's instruction set: {result['isa']['caltrop']}; PyTorch's: "
             f"{result['isa']['torch']}. " + ", ".join(f"{k} {v}" for k, v in result["versions"].items())
             + f". Load average before the run: {result['load_average']}.", "",
             "| job | Caltrop | PyTorch, stock | PyTorch, tuned | ratio to the better | rounds |",
             "|---|---|---|---|---|---|"]
    for name, job in result["jobs"].items():
        cells = [duration(job["torch"][v]["seconds"]) if v in job["torch"] else "–" for v in HEADLINE]
        low, high = job["ratio_range"]
        lines.append(f"| {TITLES.get(name, name)} | {duration(job['caltrop']['seconds'])} | {' | '.join(cells)} | "
                     f"**{job['ratio']:.1f}×** | {low:.1f}–{high:.1f} |")
    extra = [f"- {TITLES.get(name, name)}, {variant}: {duration(job['torch'][variant]['seconds'])} "
             f"({job['torch'][variant]['seconds'] / job['caltrop']['seconds']:.1f}×), "
             f"{job['torch'][variant]['config']}"
             for name, job in result["jobs"].items() for variant in job["torch"] if variant not in HEADLINE]
    if extra:
        lines += ["", "For information, the same attack by libraries:", "", *extra]
    tuned = [f"- {TITLES.get(name, name)}: {job['torch']['tuned']['config']}"
             for name, job in result["jobs"].items() if "tuned" in job["torch"]]
    lines += ["", "What tuning chose:", "", *tuned]
    parts = {name: v["measured_fraction"] for name, job in result["jobs"].items()
             for v in job["torch"].values() if v["measured_fraction"] != 1}
    if parts:
        lines += ["", "PyTorch's times of these jobs are scaled from a part: "
                  + ", ".join(f"{name} ({part:g})" for name, part in parts.items()) + "."]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", nargs="+", required=True, metavar="CALTROP:TORCH", help="pairs of result files")
    parser.add_argument("--out-dir", required=True, help="receives <date>-cpu.md and <date>-cpu.json")
    parser.add_argument("--load-average", default="unknown")
    options = parser.parse_args()
    rounds = [tuple(json.loads(Path(p).read_text()) for p in pair.split(":")) for pair in options.rounds]
    ours, theirs = rounds[0]
    if ours["threads"] != theirs["threads"]:
        raise SystemExit(f"error: Caltrop ran {ours['threads']} threads, PyTorch {theirs['threads']}")
    jobs = combine(rounds)
    result = {"date": datetime.date.today().isoformat(), "commit": commit(Path(__file__).resolve().parents[2]),
              "cpu": theirs["cpu"], "threads": ours["threads"],
              "isa": {"caltrop": ours["isa"], "torch": theirs["isa"]}, "versions": theirs["versions"],
              "load_average": options.load_average, "rounds": max(len(rounds) // len(jobs), 1), "jobs": jobs}
    folder = Path(options.out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    text = markdown(result)
    (folder / f"{result['date']}-cpu.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / f"{result['date']}-cpu.md").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
