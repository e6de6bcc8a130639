"""Quality against the number of network calls.

``python -m benchmarks.quality [CHECKPOINT …] [--count N]`` draws N images for each checkpoint, sampler and number of
steps, measures them (labutils.evaluation), and writes ``results/quality.json``, which lesson 5 and the README quote.
Each row is kept as soon as it is measured, so the run may be stopped and started again; rows of another N, or of other
weights, are measured anew.
"""

import argparse
import time
from dataclasses import asdict

from benchmarks.report import quote, save
from labutils import checkpoints, data, doctor, evaluation, plans, sampling

FEW = [(sampler, steps) for steps in (5, 10) for sampler in ("ddim", "dpmpp_2m", "ddpm")] + [("heun", 3), ("heun", 5)]
MANY = [("dpmpp_2m", 20), ("ddpm", 20), ("dpmpp_2m", 50), ("ddpm", 50), ("ddpm", 1000)]
PLAN = {  # rows are (sampler, steps, guidance or None for a network without labels)
    "fast_conditional": [(*row, 1.0) for row in (("dpmpp_2m", 6), ("dpmpp_2m", 12), *FEW)]
    + [("dpmpp_2m", 12, 0.5), ("dpmpp_2m", 5, 0.0), ("dpmpp_2m", 20, 0.0)],
    "fast": [(*row, None) for row in (("ddim", 10), ("ddim", 20), ("dpmpp_2m", 5), ("dpmpp_2m", 10), ("dpmpp_2m", 20))],
    "classic": [(*row, None) for row in (*FEW, *MANY)],
}


def measure(name, sampler, steps, guidance, dataset, count):
    """One row: draw, measure, and say what it cost."""
    network, schedule, shape, options = plans.load_for_sampling(name)
    if guidance is not None:
        options |= {"guidance": guidance, "labels": plans.even_labels(count)}
    wall, cpu = time.perf_counter(), time.process_time()
    images = sampling.sample(network, schedule, count, shape, seed=1, sampler=sampler, steps=steps, **options)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    measures = evaluation.evaluate(images, dataset)
    rows = 2 * steps - 1 if sampler == "heun" else steps
    return {
        "checkpoint": name, "sampler": sampler, "steps": steps, "guidance": guidance,
        "calls": rows * (2 if guidance else 1),  # with guidance the network is asked twice
        "seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2), "machine": doctor.machine(),
        "versions": checkpoints.versions(),
        "measures": {key: {k: round(v, 5) for k, v in asdict(m).items()} for key, m in measures.items()},
    }  # fmt: skip


def readme_table(results, best=3):
    """The rows of each checkpoint with the smallest Fréchet distance, as a Markdown table."""
    floor = results["rows"][0]["measures"]
    lines = [
        f"| {results['images']:,} images | guidance | calls | Fréchet distance (95 %) | recognised |",
        "| --- | --- | --- | --- | --- |",
        f"| real digits | | | {floor['frechet']['floor']:.1f} | {floor['recognised']['floor']:.1%} |",
    ]
    for name in results["weights"]:
        rows = [row for row in results["rows"] if row["checkpoint"] == name]
        for row in sorted(rows, key=lambda row: row["measures"]["frechet"]["value"])[:best]:
            frechet = row["measures"]["frechet"]
            cells = [
                f"`{name}`, `{row['sampler']}`", "" if row["guidance"] is None else row["guidance"], row["calls"],
                f"{frechet['value']:.1f} ({frechet['low']:.1f}–{frechet['high']:.1f})",
                f"{row['measures']['recognised']['value']:.1%}",
            ]  # fmt: skip
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main():
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="*", default=list(PLAN), metavar="CHECKPOINT")
    parser.add_argument("--count", type=int, default=2_000, help="images for each row (default: 2000)")
    options = parser.parse_args()
    dataset = data.load("mnist")
    known = evaluation.recorded("quality") if (evaluation.RESULTS / "quality.json").exists() else {}
    results = {"images": options.count, "dataset": dataset.name, "weights": {}, "rows": []}
    for name in PLAN:
        results["weights"][name] = checkpoints.read_record(name)["weights_sha256"]
        same = known.get("images") == options.count and known["weights"].get(name) == results["weights"][name]
        results["rows"] += [row for row in known.get("rows", []) if same and row["checkpoint"] == name]
    for name in options.checkpoints:
        for sampler, steps, guidance in PLAN[name]:
            wanted = {"checkpoint": name, "sampler": sampler, "steps": steps, "guidance": guidance}
            if any(wanted.items() <= row.items() for row in results["rows"]):
                continue
            row = measure(name, sampler, steps, guidance, dataset, options.count)
            results["rows"].append(row)
            save("quality", results)
            quote("quality", readme_table(results))
            found = {key: row["measures"][key]["value"] for key in ("frechet", "recognised")}
            print(wanted, f"{row['calls']} calls, {row['seconds']:.0f} s:", found, flush=True)


if __name__ == "__main__":
    main()
