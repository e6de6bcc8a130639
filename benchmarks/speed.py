"""Speed and memory, side by side in one run: the lab, its original, PyTorch, ONNX Runtime, OpenVINO and diffusers.

``python -m benchmarks.speed [--minutes M]`` runs every contender once in each of three rounds, each time in a process
of its own. Ratios are taken within a round. A contender counts only if the machine was idle (lab.idle): a matrix
product before and after it was within a tenth of its median in the round, and other processes used at most 5 % of the
processor. Otherwise it runs again, at most five times; then the program stops. It writes ``results/speed.json`` and
two pictures, and quotes them in the documents, with distances of benchmarks.quality. Each round is saved as soon as it
is over: you may stop the program and start it again. Run nothing else meanwhile. The peers come from
``requirements-oracle.txt``; without them their rows are missing. To measure everything again, delete the file.
"""

import functools
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks import quality, report
from benchmarks.contenders import BATCH, CHECKPOINTS, CONTENDERS, ENVIRONMENT, classic
from lab import idle
from labutils import networks, plots, pretrained
from labutils.support.files import write_atomically
from labutils.support.progress import progress_bar

PEERS = {"PyTorch": "torch", "ONNX": "onnxruntime", "OpenVINO": "openvino", "diffusers": "diffusers"}
ROUNDS = 3
ONCE = ("memory",)  # peak memory is the same in every round
ORIGINAL_STEPS = 50 * 938  # 50 passes over MNIST in batches of 64
# What is compared with what: name → (group, contender, against)
RATIOS = {
    "training step of the classic network, against PyTorch, channels last": ("train", "lab", "PyTorch, channels last"),
    "training step of the classic network, against the original": ("train", "lab", "original loop"),
    "drawing with the classic network, against PyTorch, channels last": (
        "sample",
        "lab, classic",
        "PyTorch, channels last",
    ),
    "drawing with the classic network, against PyTorch, torch.compile": (
        "sample",
        "lab, classic",
        "PyTorch, torch.compile",
    ),
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


def installed():
    """The version of each package of a peer that is installed."""
    found = [package for package in PEERS.values() if importlib.util.find_spec(package)]
    return {package: importlib.metadata.version(package) for package in found}


def contenders():
    """(group, name) of every contender that can run here."""
    absent = tuple(start for start, package in PEERS.items() if package not in installed())
    return [(group, name) for group, names in CONTENDERS.items() for name in names if not name.startswith(absent)]


def instructions():
    """The widest vector instructions of the processor, which decide about the speed of a convolution."""
    info = Path("/proc/cpuinfo")
    return "AVX-512" if info.is_file() and " avx512f" in info.read_text() else "AVX2"


def rows():
    """The result file: one row for each round."""
    about = report.about(sorted({row[0] for row in CHECKPOINTS.values()}), timing=True)
    header = {**about, "instructions": instructions(), "peers": installed(), "contenders": contenders()}
    return report.Rows("speed", [{"round": number + 1} for number in range(ROUNDS)], header, summarise)


def measure(number):
    """One round: group → contender → what its process found, and what the watch on the machine saw."""
    plan = [item for item in contenders() if number == 1 or item[0] not in ONCE]
    with progress_bar(len(plan), f"round {number}") as bar:

        def once(group, name):
            result = run(group, name)
            bar.update()
            return result

        works = {f"{group}, {name}": functools.partial(once, group, name) for group, name in plan}
        results = idle.measured(works, bar.write)
    found = {}
    for (group, name), (result, seen) in zip(plan, results.values(), strict=True):
        found.setdefault(group, {})[name] = {**result, "idle": seen}
    return {"found": found}


def spread(values):
    """Median, smallest and largest."""
    return {"median": float(np.median(values)), "low": float(min(values)), "high": float(max(values))}


def gflop_of_an_image():
    """How much a contender computes for one image, GFLOP: group → contender; not for programs with other networks.

    A multiply-add is two operations. The backward pass costs about twice the forward pass.
    """
    as_drawn, fused = (2e-9 * networks.total_costs(classic(fused=f))["multiply_adds"] for f in (False, True))
    work = {
        "train": {name: 3 * (fused if name == "lab" else as_drawn) for name in CONTENDERS["train"]},
        "choices": dict.fromkeys(CONTENDERS["choices"], 3 * fused),
        "sample": {name: 1000 * (fused if "lab" in name else as_drawn) for name in CONTENDERS["sample"]},
    }
    del work["sample"]["diffusers DDPMPipeline"]
    for name, (checkpoint, steps, guidance) in CHECKPOINTS.items():
        network = pretrained.load_diffusion(checkpoint).network
        work["sample"][name] = 2e-9 * calls(steps, guidance) * networks.total_costs(network)["multiply_adds"]
    return work


def calls(steps, guidance):
    """Calls of the network for a drawing with ``dpmpp_2m``."""
    return steps * (2 if guidance else 1)


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
    seen = [result["idle"] for names in found.values() for runs in names.values() for result in runs]
    return {
        "rounds": len(rows),
        **rates,
        "ratios": ratios,
        "gflops": {
            group: {name: work * rates[group][name]["median"] for name, work in names.items() if name in rates[group]}
            for group, names in gflop_of_an_image().items()
        },
        "compile_seconds": {
            name: spread([r["compile_seconds"] for r in runs])
            for name, runs in found["sample"].items()
            if "compile_seconds" in runs[0]
        },
        "original_cpu_seconds": spread(
            [ORIGINAL_STEPS * r["cpu_seconds_per_step"] for r in found["train"]["original loop"]]
        ),
        "matmul_gflops": spread([rate for one in seen for rate in one["gflops"]]),
        "idle": {"others": max(one["others"] for one in seen), "repeated": sum(one["tries"] - 1 for one in seen)},
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


def measures(checkpoint, sampler, steps, guidance=None):
    """What benchmarks.quality found: name → labutils.evaluation.Measure as a dict."""
    wanted = {"checkpoint": checkpoint, "sampler": sampler, "steps": steps, "guidance": guidance}
    (row,) = (row for row in report.read("quality")["rows"] if wanted.items() <= row.items())
    return row["measures"]


def headline(results):
    """The measured numbers of the README: one way to draw a line, then the comparison with PyTorch."""
    lines = [
        "| 1,000 digits drawn by | network calls | recognised | Fréchet distance | in floors | time of one digit |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    points = [(row[0], "dpmpp_2m", *row[1:], calls(*row[1:]), name) for name, row in CHECKPOINTS.items()]
    points.append(("classic", "ddpm", 1000, None, 1000, "lab, classic"))
    for checkpoint, sampler, steps, guidance, count, name in points:
        found = measures(checkpoint, sampler, steps, guidance)
        frechet, recognised = found["frechet"], found["recognised"]["value"]
        lines.append(
            f"| `{checkpoint}` | {count} | {recognised:.1%} | {frechet['value']:.1f} | "
            f"{frechet['value'] / frechet['floor']:.1f} | {1e3 / results['sample'][name]['median']:,.1f} ms |"
        )
    lines.insert(2, f"| (real digits) | | {found['recognised']['floor']:.1%} | {frechet['floor']:.1f} | 1 | |")
    train, _, _, draw = (f"{results['ratios'][name]['median']:.2f}" for name in RATIOS)
    lines += [
        "",
        f"In the same run on {results['machine']['cores']} cores, the lab trains the classic network at {train} times "
        f"the rate of PyTorch (channels last). It draws with it at {draw} times the rate of PyTorch (`torch.compile`).",
    ]
    return "\n".join(lines)


def draw(results):
    """The two pictures: rates and a roofline of every contender; where a step's time goes, and how cost grows."""
    import matplotlib.pyplot as plt

    plots.use_lab_style()
    figure, axes = plt.subplots(1, 3, figsize=(17, 5), layout="constrained")
    training = {**results["train"], **{f"choice: {name}": rate for name, rate in results["choices"].items()}}
    for ax, rates, title in (
        (axes[0], training, "Training the classic network, batch 64"),
        (axes[1], results["sample"], "Drawing, 1000 steps or as named"),
    ):
        names = list(rates)[::-1]
        middle = np.array([rates[name]["median"] for name in names])
        bars = np.abs([[rates[name][end] for name in names] - middle for end in ("low", "high")])
        ax.barh(names, middle, xerr=bars, color=[_colour(name) for name in names])
        ax.set(title=title, xlabel="images per second", ylabel="contender")
    axes[1].set(xscale="log", xlabel="images per second (logarithmic)")
    rates = {
        f"{group}: {name}": rate for group in ("train", "sample") for name, rate in results["gflops"][group].items()
    }
    names = list(rates)[::-1]
    axes[2].barh(names, [rates[name] for name in names], color=[_colour(name) for name in names])
    top = results["matmul_gflops"]["median"]
    axes[2].axvline(top, color="black", linestyle="--")
    axes[2].text(1.02 * top, len(names) / 2, "matrix\nproduct")
    axes[2].set(title="Arithmetic that is really done", xlabel="GFLOP/s", ylabel="contender", xlim=(0, 1.4 * top))
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


def _colour(contender):
    """Blue for the lab, orange for the others."""
    return plots.COLOURS["blue" if "lab" in contender or "choice" in contender else "orange"]


def table(results):
    """All measurements as Markdown tables."""
    product, seen = results["matmul_gflops"], results["idle"]
    lines = ["| compared within a round | rate |", "| --- | --- |"]
    lines += [f"| {name} | {_range(r, 2)}× |" for name, r in results["ratios"].items()]
    lines += [
        "",
        "| training, batch 64 | images per second | GFLOP/s | of a matrix product |",
        "| --- | --- | --- | --- |",
    ]
    for group in ("train", "choices"):
        for name, rate in results[group].items():
            speed = results["gflops"][group][name]
            lines.append(f"| {name} | {_range(rate)} | {speed:.0f} | {speed / product['median']:.2f} |")
    lines += [
        "",
        "| drawing, batch 64 | ms an image | ms a call | compiling, s | GFLOP/s | of a matrix product |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, rate in results["sample"].items():
        steps = calls(*CHECKPOINTS[name][1:]) if name in CHECKPOINTS else 1000
        batch = 1 if name == "original generate_image" else BATCH
        speed, ms = results["gflops"]["sample"].get(name), 1e3 / rate["median"]
        compiling = results["compile_seconds"].get(name)
        line = (
            f"| {name} | {ms:,.1f} | {ms * batch / steps:.1f} | {compiling['median']:.1f} | "
            if compiling
            else (f"| {name} | {ms:,.1f} | {ms * batch / steps:.1f} | | ")
        )
        lines.append(line + (f"{speed:.0f} | {speed / product['median']:.2f} |" if speed else "| |"))
    peaks = [
        f"{name}{' images' if 'sampling' in name else ''} {value:,.0f} MB" for name, value in results["peak_mb"].items()
    ]
    lines += [
        "",
        f"The processor has {results['machine']['cores']} cores with {results['instructions']}. A matrix product "
        f"reached {_range(product)} GFLOP/s before and after the contenders. Other processes used at most "
        f"{seen['others']:.1%} of the processor; {seen['repeated']} measurements were repeated.",
        f"50 passes of the original loop over MNIST take {results['original_cpu_seconds']['median']:,.0f} CPU seconds "
        "(computed from those of one step).",
        f"Peak memory: {', '.join(peaks)}.",
    ]
    return "\n".join(lines)


def _range(value, digits=0):
    """Median (smallest–largest)."""
    median, low, high = (f"{value[key]:,.{digits}f}" for key in ("median", "low", "high"))
    return f"{median} ({low}–{high})"


def main():
    """Measure, summarise, draw and quote."""
    options, file = report.arguments(__doc__), rows()
    for item in file.missing():
        options.budget.check()
        file.add(item, measure(item["round"]))
    if results := file.finish():
        draw(results)
        if quality.rows().missing():
            raise SystemExit(
                "The README's table quotes benchmarks.quality, which lacks rows. "
                "Run it, then this program again: it measures nothing twice."
            )
        report.quote("speed", table(results))
        report.quote("headline", headline(results), report.README)


if __name__ == "__main__":
    main()
