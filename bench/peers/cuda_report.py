#!/usr/bin/env python3
"""Combines what scripts/gpu_check.sh left in its folder into one Markdown page and one JSON file."""

import argparse
import csv
import datetime
import json
import platform
import re
import statistics
from pathlib import Path

from report import commit, duration

TITLES = {"train_epoch_target": "Target, one epoch, batch 128 (469 steps)", "pgd10_target": "Target, PGD-10, 10,000 images"}
EPOCH_STEPS = 469
# Of each peer: its name in files, and its variants with their titles.
PEERS = {"torch": {"eager": "PyTorch eager", "compile": "torch.compile", "graph": "CUDA graph"},
         "jax": {"jax-step": "JAX by step", "jax-whole": "JAX whole"}}
VARIANTS = {variant: title for variants in PEERS.values() for variant, title in variants.items()}


def read(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def read_stages(path):
    rows = csv.reader(path.open(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return [{"stage": r[0], "status": r[1], "seconds": int(r[2]), "note": r[3]} for r in rows]


def combine(folder):
    """Per job: Caltrop's samples and those of each variant of its peers over all rounds, and the ratio to the best."""
    rounds = {}
    for path in sorted(folder.glob("caltrop-*-*.json")):
        job, number = re.fullmatch(r"caltrop-(.+)-(\d+)", path.stem).groups()
        ours = read(path)
        peers = [peer for name in PEERS if (peer := read(folder / f"{name}-{job}-{number}.json")) is not None]
        if ours is None:
            continue
        variants = {name: variant for peer in peers for name, variant in peer["jobs"][job]["variants"].items()}
        versions = {name: version for peer in peers for name, version in peer["versions"].items()}
        rounds.setdefault(job, []).append((ours["jobs"][job], variants, versions))
    return {job: combine_rounds(of_job) for job, of_job in rounds.items()}


def combine_rounds(rounds):
    samples = [s for ours, _, _ in rounds for s in ours["samples"]]
    peers = {}
    for variant in VARIANTS:
        kept = [variants[variant] for _, variants, _ in rounds if variant in variants]
        right = [s for v in kept if "samples" in v for s in v["samples"]]
        if right:
            peers[variant] = {"seconds": statistics.median(right), "samples": right, "check": kept[0].get("check")}
        elif kept:
            peers[variant] = {"error": kept[0]["error"]}
    timed = {name: v for name, v in peers.items() if "seconds" in v}
    entry = {"caltrop": {"seconds": statistics.median(samples), "samples": samples, "check": rounds[0][0]["check"]},
             "peers": peers, "rounds": len(rounds), "versions": rounds[0][2]}
    if timed:
        best = min(timed, key=lambda name: timed[name]["seconds"])
        ratios = [v[best]["seconds"] / ours["seconds"] for ours, v, _ in rounds if "seconds" in v.get(best, {})]
        entry.update(best=best, ratio=timed[best]["seconds"] / entry["caltrop"]["seconds"],
                     ratio_range=[min(ratios), max(ratios)])
    return entry


def peers_lines(jobs):
    versions = next(iter(jobs.values()))["versions"]
    names = " and ".join(f"{title} {versions[name]}" for name, title in (("torch", "PyTorch"), ("jax", "JAX"))
                         if name in versions)
    lines = ["## Against its peers", "",
             f"{names or 'None was there'}, fp32 without TF32, in alternation on the same GPU. The ratio is to the best variant; its range is "
             "that of the rounds one by one.", "",
             f"| job | Caltrop | {' | '.join(VARIANTS.values())} | ratio | rounds |", "|---" * (4 + len(VARIANTS)) + "|"]
    for job, entry in jobs.items():
        cells = [duration(entry["peers"][v]["seconds"]) if "seconds" in entry["peers"].get(v, {}) else "–" for v in VARIANTS]
        ratio = f"**{entry['ratio']:.1f}×** | {entry['ratio_range'][0]:.1f}–{entry['ratio_range'][1]:.1f}" \
            if "ratio" in entry else "– | –"
        lines.append(f"| {TITLES.get(job, job)} | {duration(entry['caltrop']['seconds'])} | {' | '.join(cells)} | {ratio} |")
    if "train_epoch_target" in jobs:
        step = jobs["train_epoch_target"]["caltrop"]["seconds"] / EPOCH_STEPS
        lines += ["", f"One training step of Target at batch 128, as a share of the epoch: {1e6 * step:.0f} µs."]
    return lines


def ladder_lines(ladders):
    lines = ["## Kernel ladders", ""]
    for name, ladder in ladders["ladders"].items():
        technique = {v["number"]: v["technique"] for v in ladder["versions"]}
        wrong = [v for v in ladder["versions"] if not v["check"]["passed"]]
        lines += [f"- {name}, version {v['number']}: WRONG, {v['check']['failure']}" for v in wrong]
        if not ladder["problems"]:
            lines.append(f"- {name}: {len(technique) - len(wrong)} of {len(technique)} versions right in the emulation, not timed")
        for problem in ladder["problems"]:
            library = problem["library"] or {}
            lines += ["", f"{name}, {problem['sizes']} (bound by {problem['bound']}):", "",
                      f"| # | technique | median, µs | of peak | × {library.get('name', 'library')} |", "|---|---|---|---|---|"]
            for time in problem["times"]:
                ratio = time.get("library_ratio")
                cells = "wrong | | " if "failure" in time else (
                    f"{1e6 * time['seconds']:,.1f} | {100 * time['peak_share']:.1f} % | " + ("" if ratio is None else f"{ratio:.2f}"))
                lines.append(f"| {time['number']} | {technique[time['number']]} | {cells} |")
        lines.append("")
    return lines


def markdown(result):
    lines = [f"# {result['gpu']}, {result['date']}", "",
             f"{result['gpu']}, driver {result['driver']}, host {result['host']}; commit {result['commit']}.", ""]
    if result["rehearsal"]:
        lines += ["**A rehearsal without a GPU: nothing here was measured on one.**", ""]
    lines += ["| part | result | seconds | |", "|---|---|---|---|"]
    lines += [f"| {s['stage']} | {s['status']} | {s['seconds']} | {s['note'].replace('|', '/')} |" for s in result["stages"]]
    if result["suite"]:
        lines += ["", f"The suite: {result['suite']}."]
    if result["agreement"]:
        lines += ["", "## Agreement of CPU and GPU", "", "| what | CPU | GPU | difference | allowed | |", "|---|---|---|---|---|---|"]
        lines += [f"| {c['what']} | {c['cpu']:.6g} | {c['cuda']:.6g} | {c['difference']:.3g} | {c['allowed']:.3g} | "
                  f"{'ok' if c['passed'] else 'FAILED'} |" for c in result["agreement"]["checks"]]
    if result["jobs"]:
        lines += ["", *peers_lines(result["jobs"])]
    if result["ensemble"]:
        lines += ["", f"## The vote of EAT-1, -2, -3 on {result['ensemble']['images']:,} images, {result['ensemble']['device']}", "",
                  "| path | median, ms | times fused |", "|---|---|---|"]
        lines += [f"| {name} | {1e3 * path['seconds']:.3g} | {result['ensemble']['ratios'][name]:.2f} |"
                  for name, path in result["ensemble"]["paths"].items()]
    if result["kernels"]:
        lines += ["", *ladder_lines(result["kernels"])]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="folder", required=True, help="what gpu_check.sh wrote")
    parser.add_argument("--out-dir", required=True, help="receives <date>-<gpu>.md and .json")
    parser.add_argument("--gpu", required=True)
    parser.add_argument("--driver", required=True)
    parser.add_argument("--rehearsal", choices=["yes", "no"], required=True)
    options = parser.parse_args()
    folder = Path(options.folder)
    log = folder / "logs" / "suite.log"
    summary = re.findall(r"^\d+% tests passed.*$", log.read_text(errors="replace"), re.M) if log.exists() else []
    result = {"date": datetime.date.today().isoformat(), "gpu": options.gpu, "driver": options.driver,
              "host": f"{platform.system()} {platform.machine()}", "commit": commit(Path(__file__).resolve().parents[2]),
              "rehearsal": options.rehearsal == "yes", "stages": read_stages(folder / "stages.tsv"),
              "suite": summary[-1] if summary else None, "agreement": read(folder / "agreement.json"),
              "jobs": combine(folder), "kernels": read(folder / "kernels.json"),
              "ensemble": read(folder / "ensemble.json")}
    target = Path(options.out_dir)
    target.mkdir(parents=True, exist_ok=True)
    slug = re.sub(r"[^a-z0-9]+", "-", options.gpu.lower()).strip("-")
    text = markdown(result)
    (target / f"{result['date']}-{slug}.json").write_text(json.dumps(result, indent=1) + "\n")
    (target / f"{result['date']}-{slug}.md").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
