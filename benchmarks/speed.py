"""Speed and memory, side by side in one run: the lab, its original, PyTorch and diffusers.

``python -m benchmarks.speed [--minutes M]`` runs every contender once in each of three rounds, each time in a process
of its own. A slow minute of the machine affects few of them, and ratios are taken within a round. It writes
``results/speed.json`` and two pictures, and quotes them in the documents, with distances of benchmarks.quality and
benchmarks.ablation. Each round is saved as soon as it is over: you may stop the program and start it again. Run
nothing else meanwhile. PyTorch and diffusers come from ``requirements-oracle.txt``; without them their rows are
missing. To measure everything again, delete the file.
"""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np

from benchmarks import ablation, quality, report
from benchmarks.contenders import CHECKPOINTS, CONTENDERS, ENVIRONMENT
from labutils import plots
from labutils.support.files import write_atomically
from labutils.support.progress import progress_bar

PEERS = ("PyTorch", "diffusers")
ROUNDS = 3
ONCE = ("memory",)  # peak memory is the same in every round
ORIGINAL_STEPS = 50 * 938  # 50 passes over MNIST in batches of 64
# What is compared with what: name → (group, contender, against)
RATIOS = {
    "training step, lab against the original loop": ("train", "lab", "original loop"),
    "training step, lab against the original loop, compiled": ("train", "lab", "original loop, compiled"),
    "training step, lab against PyTorch, channels last": ("train", "lab", "PyTorch, channels last"),
    "1000 steps, classic, against generate_image": ("sample", "lab, classic", "original generate_image"),
    "1000 steps, classic, against PyTorch, channels last": ("sample", "lab, classic", "PyTorch, channels last"),
    "1000 steps, classic, against PyTorch, torch.compile": ("sample", "lab, classic", "PyTorch, torch.compile"),
    **{
        f"{name.removeprefix('lab, ')}, against generate_image": ("sample", name, "original generate_image")
        for name in CHECKPOINTS
    },
}


def run(group, name):
    """One measurement in a process of its own: a dict, or the process's error."""
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.contenders", group, name],
        env={**os.environ, **ENVIRONMENT.get(name, {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise RuntimeError(f"{group}, {name}: {finished.stderr.strip().splitlines()[-1]}")
    return json.loads(finished.stdout.splitlines()[-1])


def have_peers():
    """Whether PyTorch and diffusers are installed."""
    return all(importlib.util.find_spec(name) for name in ("torch", "diffusers"))


def contenders():
    """(group, name) of every contender that can run here."""
    peers = have_peers()
    return [(g, name) for g, names in CONTENDERS.items() for name in names if peers or not name.startswith(PEERS)]


def rows():
    """The result file: one row for each round."""
    header = {**report.about(sorted({row[0] for row in CHECKPOINTS.values()}), timing=True), "contenders": contenders()}
    return report.Rows("speed", [{"round": number + 1} for number in range(ROUNDS)], header, summarise)


def measure(number):
    """One round: group → contender → what its process found."""
    plan = [item for item in contenders() if number == 1 or item[0] not in ONCE]
    found = {}
    with progress_bar(len(plan), f"round {number}") as bar:
        for group, name in plan:
            found.setdefault(group, {})[name] = run(group, name)
            bar.update()
    return {"found": found}


def spread(values):
    """Median, smallest and largest."""
    return {"median": float(np.median(values)), "low": float(min(values)), "high": float(max(values))}


def summarise(rows):
    """The numbers of the report from those of the rounds."""
    found = {}  # group → contender → list of what each round found
    for row in rows:
        for group, names in row["found"].items():
            for name, result in names.items():
                found.setdefault(group, {}).setdefault(name, []).append(result)
    rates = {
        group: {name: spread([r["images_per_second"] for r in runs]) for name, runs in found[group].items()}
        for group in ("train", "choices", "sample")
    }
    ratios = {}
    for name, (group, one, other) in RATIOS.items():
        if other in found[group]:
            pairs = zip(found[group][one], found[group][other], strict=True)  # of the same round
            ratios[name] = spread([a["images_per_second"] / b["images_per_second"] for a, b in pairs])
    cpu_per_step = [r["cpu_seconds_per_step"] for r in found["train"]["original loop"]]
    return {
        "rounds": len(rows),
        **rates,
        "ratios": ratios,
        "original_cpu_seconds": spread([ORIGINAL_STEPS * cpu for cpu in cpu_per_step]),
        "matmul_gflops": spread([r["gflops"] for r in found["machine"]["matmul"]]),
        "scaling": {
            size: {
                "image_steps": int(np.prod([int(n) for n in size.split(" × ")])),
                **spread([r["seconds"][size] for r in found["scaling"]["lab, classic"]]),
            }
            for size in found["scaling"]["lab, classic"][0]["seconds"]
        },
        "peak_mb": {name: runs[0]["peak_mb"] for name, runs in found["memory"].items()},
        "layers_ms": {
            layer: spread([r["milliseconds"][layer] for r in found["layers"]["layers"]])
            for layer in found["layers"]["layers"][0]["milliseconds"]
        },
    }


def distance(checkpoint, sampler, steps, guidance=None):
    """The Fréchet distance that benchmarks.quality found."""
    wanted = {"checkpoint": checkpoint, "sampler": sampler, "steps": steps, "guidance": guidance}
    (row,) = (row for row in report.read("quality")["rows"] if wanted.items() <= row.items())
    return row["measures"]["frechet"]["value"]


def headline(results):
    """The three numbers of the README, as a list."""
    best = min(
        (row for row in report.read("quality")["rows"] if row["checkpoint"] == "fast_conditional"),
        key=lambda row: row["measures"]["frechet"]["value"],
    )
    frechet, asked = best["measures"]["frechet"], best["measures"]["as_asked"]
    rate = results["ratios"]["fast_conditional, 5 calls, against generate_image"]["median"]
    step = results["ratios"]["training step, lab against the original loop"]["median"]
    return (
        f"- **Quality.** {asked['value']:.0%} of the digits of the best network are recognised as the digit asked for. "
        f"Their Fréchet distance to real digits is {frechet['value']:.1f}; the original recipe has "
        f"{distance('classic', 'ddpm', 1000):.0f}, and other real digits have {frechet['floor']:.1f}.\n"
        f"- **Drawing.** It draws {rate:,.0f} times as many digits per second as the original program, with 5 calls of "
        f"the network instead of 1000.\n"
        f"- **Training.** A training step is {step:.1f} times as fast as that of the original program."
    )


def shortest_training():
    """(target, row): the Fréchet distance of the classic checkpoint with all steps; the shortest ``fast`` run below it.

    Both are measured with the same number of images. The row is None if no run is good enough.
    """
    target = distance("classic", "ddpm", 1000)
    runs = [r for r in report.read("ablation")["rows"] if r["variant"].split(",")[0] == "fast"]
    good = [r for r in runs if r["measures"]["frechet"]["value"] <= target]
    return target, min(good, key=lambda r: r["cpu_seconds"], default=None)


def draw(results):
    """The two pictures: images/s of every contender, and where a training step's time goes and how cost grows."""
    import matplotlib.pyplot as plt

    plots.use_lab_style()
    figure, axes = plt.subplots(1, 3, figsize=(15, 4), layout="constrained")
    titles = ("Training, batch 64", "Choices (training step)", "Drawing, 1000 steps or as named")
    titles = dict(zip(("train", "choices", "sample"), titles, strict=True))
    for ax, (group, title) in zip(axes, titles.items(), strict=True):
        names = list(results[group])[::-1]
        values = [results[group][name] for name in names]
        middle = np.array([v["median"] for v in values])
        bars = np.abs([[v[end] for v in values] - middle for end in ("low", "high")])
        ax.barh(names, middle, xerr=bars, color=[plots.COLOURS["blue" if "lab" in n else "orange"] for n in names])
        ax.set(title=title, xlabel="images per second", ylabel="contender")
    axes[2].set(xscale="log", xlabel="images per second (logarithmic)")
    write_atomically(report.RESULTS / "speed.png", lambda path: figure.savefig(path, format="png", dpi=80))

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    names = list(results["layers_ms"])[::-1]
    left.barh(names, [results["layers_ms"][name]["median"] for name in names], color=plots.COLOURS["blue"])
    left.set(title="Layer by layer, forward and backward, batch 64", xlabel="milliseconds", ylabel="layer")
    work = np.array([row["image_steps"] for row in results["scaling"].values()])
    seconds = np.array([row["median"] for row in results["scaling"].values()])
    right.loglog(work, seconds, "o", color=plots.COLOURS["blue"], label="measured (compiling included)")
    right.loglog(work, work * seconds[-1] / work[-1], "--", color="black", label="in proportion")
    right.set(title="Drawing with the classic network", xlabel="images × steps", ylabel="seconds")
    right.set_xticks(work, [f"{n:,}" for n in work])
    right.set_yticks(seconds, [f"{n:.2g}" for n in seconds])
    right.minorticks_off()
    right.legend()
    write_atomically(report.RESULTS / "cost.png", lambda path: figure.savefig(path, format="png", dpi=80))


def table(results):
    """The ratios and peaks as a Markdown table."""
    lines = ["| what | measured |", "| --- | --- |"]
    for name, r in results["ratios"].items():
        digits = 0 if r["median"] > 20 else 2
        if row := CHECKPOINTS.get(RATIOS[name][1]):
            checkpoint, steps, guidance = row
            name += f" (Fréchet distance {distance(checkpoint, 'dpmpp_2m', steps, guidance):.0f})"
        lines.append(f"| {name} | {r['median']:,.{digits}f}× ({r['low']:,.{digits}f}–{r['high']:,.{digits}f}) |")
    target, row = shortest_training()
    if row:
        cpu = results["original_cpu_seconds"]["median"]
        lines.append(
            f"| CPU seconds of training to a Fréchet distance of {target:.0f}, that of the original recipe's 50 passes "
            f"with 1000 steps: original loop {cpu:,.0f} (computed from the seconds of one step), `fast` "
            f"{row['cpu_seconds']:,.0f} (reaches {row['measures']['frechet']['value']:.0f} with 20 steps) | "
            f"{cpu / row['cpu_seconds']:.0f}× |"
        )
    for name, value in results["peak_mb"].items():
        images = " images" if "sampling" in name else ""
        lines.append(f"| peak memory, {name}{images} | {value:,.0f} MB |")
    lines.append(
        f"| matrix product, {results['machine']['cores']} cores | {results['matmul_gflops']['median']:.0f} GFLOP/s |"
    )
    return "\n".join(lines)


def main():
    """Measure, summarise, draw and quote."""
    options, file = report.arguments(__doc__), rows()
    for item in file.missing():
        options.budget.check()
        file.add(item, measure(item["round"]))
    if results := file.finish():
        draw(results)
        if quality.rows().missing() or ablation.rows().missing():
            raise SystemExit(
                "The table quotes benchmarks.quality and benchmarks.ablation, which lack rows. "
                "Run them, then this program again: it measures nothing twice."
            )
        report.quote("speed", table(results))
        report.quote("headline", headline(results), report.README)


if __name__ == "__main__":
    main()
