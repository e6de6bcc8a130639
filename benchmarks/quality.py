"""Quality of the images against the number of network calls.

``python -m benchmarks.quality [--minutes M] [CHECKPOINT …]`` draws 1,000 images for each checkpoint, sampler and number
of steps, measures them (labutils.evaluation), and writes ``results/quality.json``. Lesson 5 and docs/maintainers.md
quote it. Each row is saved as soon as it is measured: you may stop the program and start it again. To measure
everything again, delete the file.
"""

import numpy as np

from benchmarks import report
from labutils import data, evaluation, networks, pretrained, samplers, sampling

IMAGES = 1_000  # in benchmarks.ablation, too: Fréchet distances of different numbers of images cannot be compared
FEW = [(sampler, steps) for steps in (5, 10) for sampler in ("ddim", "dpmpp_2m", "ddpm")] + [("heun", 3), ("heun", 5)]
ROWS = {  # checkpoint → rows (sampler, steps, guidance or None for a network without labels)
    "fast_conditional": [
        *((*row, 1.0) for row in (*FEW, ("dpmpp_2m", 12))),
        ("dpmpp_2m", 12, 0.5),
        ("dpmpp_2m", 5, 0.0),
        ("dpmpp_2m", 20, 0.0),
    ],
    "fast": [(*row, None) for row in (("ddim", 10), ("ddim", 20), ("dpmpp_2m", 5), ("dpmpp_2m", 10), ("dpmpp_2m", 20))],
    "classic": [(*row, None) for row in (*FEW, ("dpmpp_2m", 20), ("ddpm", 20), ("ddpm", 50), ("ddpm", 1000))],
}
PLAN = [
    {"checkpoint": name, "sampler": sampler, "steps": steps, "guidance": guidance}
    for name, rows in ROWS.items()
    for sampler, steps, guidance in rows
]


def rows():
    """The result file."""
    return report.Rows("quality", PLAN, {"images": IMAGES, "dataset": "mnist", **report.about([*ROWS, *report.JUDGES])})


def measure(item, dataset):
    """What one row holds: draw, and measure."""
    guidance = item["guidance"] or 0.0
    # The classic network is slow. Its fused form draws the same images with less arithmetic.
    diffusion = pretrained.load_diffusion(item["checkpoint"], fused=item["checkpoint"] == "classic")
    labels = networks.even_labels(IMAGES) if diffusion.is_conditional else None
    how = {"sampler": item["sampler"], "steps": item["steps"]}
    images = sampling.sample(diffusion.with_guidance(guidance), IMAGES, condition=labels, **how)
    calls = len(samplers.coefficients(diffusion.schedule, **how).t)
    return {
        "calls": calls * (2 if guidance else 1),  # with guidance, each needs two calls of the network
        "measures": report.rounded(evaluation.evaluate(np.clip(images, -1, 1), dataset, labels=labels)),
    }


def table(results, best=3):
    """The rows of each checkpoint with the smallest Fréchet distance, as a Markdown table."""
    floor = results["rows"][0]["measures"]  # of a network with labels, so that as_asked is there
    lines = [
        f"| {results['images']:,} images | guidance | calls | Fréchet distance (95 %) | recognised | as asked |",
        "| --- | --- | --- | --- | --- | --- |",
        f"| real digits | | | {floor['frechet']['floor']:.1f} | {floor['recognised']['floor']:.1%} | "
        f"{floor['as_asked']['floor']:.1%} |",
    ]
    for name in ROWS:
        rows = [row for row in results["rows"] if row["checkpoint"] == name]
        for row in sorted(rows, key=lambda row: row["measures"]["frechet"]["value"])[:best]:
            frechet, asked = row["measures"]["frechet"], row["measures"].get("as_asked")
            cells = [
                f"`{name}`, `{row['sampler']}`",
                "" if row["guidance"] is None else row["guidance"],
                row["calls"],
                f"{frechet['value']:.1f} ({frechet['low']:.1f}–{frechet['high']:.1f})",
                f"{row['measures']['recognised']['value']:.1%}",
                "" if asked is None else f"{asked['value']:.1%}",
            ]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main():
    """Measure what is missing."""
    options, file = report.arguments(__doc__, "CHECKPOINT", ROWS), rows()
    dataset = data.load("mnist")
    for item in file.missing():
        if item["checkpoint"] in options.names:
            options.budget.check()
            row = measure(item, dataset)
            file.add(item, row)
            found = {key: row["measures"][key]["value"] for key in ("frechet", "recognised")}
            print(item, f"{row['calls']} calls:", found, flush=True)
    if results := file.finish():
        report.quote("quality", table(results))


if __name__ == "__main__":
    main()
