#!/usr/bin/env python3
"""Combines the rounds of bench/run_cpu.sh into one Markdown file and one JSON file.

Each round is a pair of files, Caltrop's and its peers', of one job, measured one right after the other. A time is the
median over all rounds; a ratio is to the fastest of all peers, and its range that of the rounds taken one by one, so it
shows what drift remains.
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
    "cw1000_target": "Target, CW, 1,000 steps, 100 images",
    "apgd_target": "Target, APGD-CE, 100 steps, 1,000 images",
    "train_kim3": "Kim-3, 6,400 images of an epoch, batch 128",
    "train_kim2": "Kim-2, 6,400 images of an epoch, batch 128",
    "pgd7_train_target": "Target, PGD-7 training, 6,400 images, batch 128",
    "pgd7_train_kim2": "Kim-2, PGD-7 training, 6,400 images, batch 128",
    "fast_train_target": "Target, fast adversarial training, 6,400 images, batch 128",
    "fast_train_kim2": "Kim-2, fast adversarial training, 6,400 images, batch 128",
    "train_vgg7": "VGG7, 256 images of an epoch, batch 128",
    "train_vgg16": "VGG16, 256 images of an epoch, batch 128",
    "train_resnet32": "ResNet32, 1,280 images of an epoch, batch 128",
    "train_resnet50": "ResNet50, 128 images, one batch",
    "inference_kim3": "Kim-3, inference, 10,000 images",
    "inference_vgg7": "VGG7, inference, 500 images",
    "inference_vgg16": "VGG16, inference, 500 images",
    "inference_resnet32": "ResNet32, inference, 2,000 images",
    "inference_resnet50": "ResNet50, inference, 200 images",
}
VARIANTS = {"stock": "PyTorch, stock", "tuned": "PyTorch, tuned", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO",
            "jax": "JAX", "foolbox": "foolbox", "torchattacks": "torchattacks"}


def commit(checkout):
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    result = subprocess.run(command, capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else "unknown"


def combine(rounds):
    """The table's data from [(caltrop, peers)], one pair of parsed files per job and round."""
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
            kept = variants.setdefault(name, {"samples": [], "peak_mib": 0, "config": variant["config"],
                                              "measured_fraction": variant["measured_fraction"]})
            kept["samples"] += variant["samples"]
            kept["peak_mib"] = max(kept["peak_mib"], variant["peak_mib"])
    for variant in variants.values():
        variant["seconds"] = statistics.median(variant["samples"])
    samples = [s for ours, _ in pairs for s in ours["samples"]]
    best = min(variants, key=lambda v: variants[v]["seconds"])
    seconds = statistics.median(samples)
    each = [theirs["variants"][best]["seconds"] / ours["seconds"] for ours, theirs in pairs]
    peak = max(ours["peak_mib"] for ours, _ in pairs)
    return {"caltrop": {"seconds": seconds, "samples": samples, "peak_mib": peak}, "peers": variants, "best": best,
            "ratio": variants[best]["seconds"] / seconds, "ratio_range": [min(each), max(each)]}


def duration(seconds):
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def markdown(result):
    jobs = result["jobs"]
    shown = [v for v in VARIANTS if any(v in job["peers"] for job in jobs.values())]
    lines = [f"# CPU: Caltrop and its peers, {result['date']}", "",
             f"{result['cpu']}, {result['threads']} threads, {result['rounds']} round{'s' if result['rounds'] > 1 else ''} in alternation on the "
             f"same cores; commit {result['commit']}. Caltrop's instruction set: {result['isa']['caltrop']}; PyTorch's: "
             f"{result['isa']['torch']}. " + ", ".join(f"{k} {v}" for k, v in result["versions"].items())
             + f". Load average before the run: {result['load_average']}. A ratio above 1 means that Caltrop is faster than "
             "the fastest of all (bold).", "",
             f"| job | Caltrop | {' | '.join(VARIANTS[v] for v in shown)} | ratio | rounds |",
             "|---" * (len(shown) + 4) + "|"]
    for name, job in jobs.items():
        cells = [duration(job["peers"][v]["seconds"]) if v in job["peers"] else "–" for v in shown]
        cells = [f"**{cell}**" if v == job["best"] else cell for v, cell in zip(shown, cells)]
        low, high = job["ratio_range"]
        lines.append(f"| {TITLES.get(name, name)} | {duration(job['caltrop']['seconds'])} | {' | '.join(cells)} | "
                     f"**{job['ratio']:.2f}×** | {low:.2f}–{high:.2f} |")
    lines += ["", "Peak resident memory of the process, in MiB, its data and libraries included:", "",
              f"| job | Caltrop | {' | '.join(VARIANTS[v] for v in shown)} |", "|---" * (len(shown) + 2) + "|"]
    for name, job in jobs.items():
        cells = [f"{job['peers'][v]['peak_mib']:,.0f}" if v in job["peers"] else "–" for v in shown]
        lines.append(f"| {TITLES.get(name, name)} | {job['caltrop']['peak_mib']:,.0f} | {' | '.join(cells)} |")
    lines += ["", "What tuning chose:", ""]
    for name, job in jobs.items():
        chosen = [f"{VARIANTS[v]}: {job['peers'][v]['config']}" for v in shown if v in job["peers"] and v != "stock"]
        lines.append(f"- {TITLES.get(name, name)}. " + "; ".join(chosen))
    parts = {name: v["measured_fraction"] for name, job in jobs.items()
             for v in job["peers"].values() if v["measured_fraction"] != 1}
    if parts:
        lines += ["", "PyTorch's times of these jobs are scaled from a part: "
                  + ", ".join(f"{name} ({part:g})" for name, part in parts.items()) + "."]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", nargs="+", required=True, metavar="CALTROP:PEERS", help="pairs of result files")
    parser.add_argument("--out-dir", required=True, help="receives <date>-cpu.md and <date>-cpu.json")
    parser.add_argument("--load-average", default="unknown")
    options = parser.parse_args()
    rounds = [tuple(json.loads(Path(p).read_text()) for p in pair.split(":")) for pair in options.rounds]
    ours, theirs = rounds[0]
    if ours["threads"] != theirs["threads"]:
        raise SystemExit(f"error: Caltrop ran {ours['threads']} threads, its peers {theirs['threads']}")
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
