"""What grading a class costs, and whether its marks are right.

``python -m benchmarks.marking [--minutes M]`` hands out all lessons and invents a class. Every other student sends the
lab's own answers, the rest send them with one mistake each; no two students have the same text. The program grades the
class with one process, with two, and with two workers of a Dask cluster on the same machine. ``results/grading.json``
keeps the time and the memory, and counts wrong marks. Each row is saved as soon as it is measured: you may stop the
program and start it again. To measure everything again, delete the file.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import psutil

from benchmarks import report
from grading import sandbox
from grading.release import release
from grading.verdicts import Status
from lab import idle

CLASS = 300  # notebooks
PLAN = [
    {"notebooks": 1, "jobs": 1, "workers": 0},
    {"notebooks": CLASS, "jobs": 1, "workers": 0},
    {"notebooks": CLASS, "jobs": 2, "workers": 0},
    {"notebooks": CLASS, "jobs": 1, "workers": 2},
]
TICK = 5.0  # seconds between two measurements of the memory
MISTAKES = {  # exercise → (what stands in the lab's answer, what a student writes instead)
    "ex-1-1-build-mlp": ('"relu"', '"tanh"'),
    "ex-1-2-all-inverses": ("(-2, -1, 0, 1)", "(0,)"),
    "ex-2-1-alpha-bars": ("1.0 - betas", "betas"),
    "ex-2-2-add-noise": ("np.sqrt(alpha_bar)", "alpha_bar"),
    "ex-2-3-posterior-variances": ("1.0 - bars_before", "bars_before"),
    "ex-2-4-reverse-density": ("alpha_bars[t] / alpha_bars[s]", "alpha_bars[t]"),
    "ex-3-1-up-block": (', activation="relu"', ""),
    "ex-3-2-sinusoidal-embedding": ("10_000.0", "100.0"),
    "ex-3-3-add-time": ("[:, None, None]", ""),
    "ex-4-1-noise-loss": ("reduce_mean", "reduce_sum"),
    "ex-4-2-train-step": ("optimizer.apply_gradients(", "list("),
    "ex-4-3-predict-x0": ("np.sqrt(1 - alpha_bar)", "(1 - alpha_bar)"),
    "ex-4-5-diagnosis": ('"A": "range"', '"A": "slow"'),
    "ex-4-6-relu-floor": (" ** 2", ""),
    "ex-5-1-reverse-step": ("np.sqrt(schedule.posterior_variances[t])", "schedule.posterior_variances[t]"),
    "ex-5-2-sampling-loop": ("range(schedule.T - 1, -1, -1)", "range(schedule.T)"),
    "ex-5-3-exact-x0": ("(2 * (1 - bar))", "(1 - bar)"),
    "ex-5-4-ddim-step": ("1.0 if s < 0 else ", ""),
    "ex-5-5-patch-x0": ("exponents.max(axis=0)", "0"),
    "ex-6-1-difference": ("1.96", "1"),
    "ex-6-2-inpaint": ("(1 - mask)", "mask"),
    "ex-7-1-split-taps": ("w[1] + w[2]", "w[1]"),
    "ex-7-2-space-to-depth": ("j::2", "i::2"),
    "ex-7-3-loss-weight": ("(x0 + d, xt,", "(x0 + d, xt + d,"),
    "ex-7-5-autoguided": ("answer - weak", "answer + weak"),
    "ex-8-1-sample-latent": ("0.5 * log_variance", "log_variance"),
    "ex-8-2-cross-attention": (" / np.sqrt(queries.shape[-1])", ""),
    "ex-8-3-guided": (" - w * ", " + w * "),
    "ex-8-4-encode-for-falsifier": ("after + colour", "after"),
    "ex-9-1-straight-path": ("noise - x0", "x0 - noise"),
    "ex-9-2-flow-sampler": (") / tau", ")"),
    "ex-9-3-mean-velocity-target": ("u - (tau", "u + (tau"),
    "ex-10-1-swap-word": ("np.array(words)", "words"),
    "ex-10-2-negative-prompt": ("w * (towards", "-w * (towards"),
    "ex-10-3-look-up": (" - caption_data.NO_WORD", ""),
}


def answers(question, source):
    """The lab's own answer to an exercise and one with a mistake, as a list of (code of a cell, whether it is right).

    Raises:
        ValueError: the mistake cannot be made, because the lab's answer has changed.
    """
    right, wrong = MISTAKES[question]
    if right not in source:
        raise ValueError(f"the answer to {question} has no {right!r} any more: change MISTAKES")
    return [(source, True), (source.replace(right, wrong), False)]


def make_class(handout, folder, count):
    """Write ``folder/STUDENT/LESSON.ipynb``, ``count`` notebooks.

    Returns:
        dict (student, question) → whether the answer is right.
    """
    manifest = json.loads((handout / "manifest.json").read_text(encoding="utf-8"))["notebooks"]
    expected, lessons = {}, list(manifest)
    for number in range(count):
        turn, lesson = divmod(number, len(lessons))
        student, lesson = f"s{turn:04}", lessons[lesson]
        notebook = nbformat.read(handout / "student" / f"{lesson}.ipynb", as_version=4)
        source_of = {cell["id"]: cell["source"] for cell in manifest[lesson]["cells"]}
        for question in manifest[lesson]["questions"]:
            (cell,) = (cell for cell in notebook.cells if cell.id == question["cell"])
            if question["kind"] == "text":
                cell.source = f"In my own words, {student}."
                continue
            name = question["answer"]
            source, expected[student, name] = answers(name, source_of[question["cell"]])[turn % 2]
            cell.source = f"# {student}\n{source}"
        (folder / student).mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, folder / student / f"{lesson}.ipynb")
    return expected


def grade(handout, students, item, out):
    """Grade a class from the start; returns a dict of seconds and megabytes.

    Memory is that of the command, and that of all processes together, with shared pages counted once.
    """
    line = [sys.executable, "-m", "grading", "grade", str(students), "--manifest", str(handout / "manifest.json")]
    line += ["--out", str(out), "--jobs", str(item["jobs"])]
    with _cluster(item["workers"]) as more:
        started = time.perf_counter()
        with subprocess.Popen([*line, *more], stdout=subprocess.DEVNULL) as command:
            memory = {"command_mb": 0, "all_mb": 0}
            while command.poll() is None:
                processes = psutil.Process().children(recursive=True)
                mine = [process for process in processes if process.pid == command.pid]
                for name, tree in (("command_mb", mine), ("all_mb", processes)):
                    memory[name] = max(memory[name], round(sandbox.proportional(tree) / 1e6))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    command.wait(TICK)
        if command.returncode:
            raise SystemExit(command.returncode)
        return {"seconds": round(time.perf_counter() - started, 1), **memory}


@contextlib.contextmanager
def _cluster(workers):
    """Options of the command for a Dask cluster on this machine; none without workers."""
    if not workers:
        yield []
        return
    from distributed import LocalCluster

    with LocalCluster(workers, threads_per_worker=1, memory_limit=None, dashboard_address=None) as cluster:
        yield ["--dask", cluster.scheduler_address]


def marks(out, expected):
    """How many marks are right and wrong: dict of counts."""
    counts = {"right_answers": 0, "right_without_full_marks": 0, "wrong_answers": 0, "wrong_with_full_marks": 0}
    counts["left_to_a_human"] = 0
    for path in out.glob("verdicts/*/*.json"):
        verdict = json.loads(path.read_text(encoding="utf-8"))
        for question in verdict["questions"]:
            right = expected.get((verdict["student_id"], question["question"]))
            if right is None:
                continue
            counts["right_answers" if right else "wrong_answers"] += 1
            full = question["points"] == question["max_points"]
            counts["left_to_a_human"] += question["status"] == Status.HUMAN
            counts["right_without_full_marks"] += right and not full and question["status"] != Status.HUMAN
            counts["wrong_with_full_marks"] += full and not right
    return counts


def rows():
    """The result file."""
    # The command ``grade`` uses this sandbox or measures nothing.
    return report.Rows("grading", PLAN, {**report.about(timing=True), "sandbox": sandbox.BUBBLEWRAP})


def fill(file, budget):
    """Measure the missing rows."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        release(out=folder / "handout", say=lambda line: None)
        for number, item in enumerate(file.missing()):
            budget.check()
            students = folder / f"class{number}"
            expected = make_class(folder / "handout", students, item["notebooks"])

            def once(item=item, students=students, expected=expected):
                out = Path(tempfile.mkdtemp(dir=folder))  # a new one each time: `grade` would go on where it stopped
                return grade(folder / "handout", students, item, out) | marks(out, expected)

            ((found, seen),) = idle.measured({json.dumps(item): once}).values()
            file.add(item, {**found, "idle": seen})


def table(results):
    """The cost as a Markdown table."""
    lines = [
        "| notebooks | judged by | time | memory of the command | memory of all processes |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in results["rows"]:
        count, what = (row["workers"], "Dask worker") if row["workers"] else (row["jobs"], "local job")
        cells = f"{row['notebooks']} | {count} {what}{'s' * (count > 1)} | {row['seconds']:,.0f} s"
        lines.append(f"| {cells} | {row['command_mb']:,} MB | {row['all_mb']:,} MB |")
    _, one, two, dask = results["rows"]
    jobs, cluster = one["seconds"] / two["seconds"], two["seconds"] / dask["seconds"]
    lines += [
        "",
        f"Two jobs against one: {jobs:.2f}×. Two Dask workers against two jobs: {cluster:.2f}×. "
        f"Sandbox: {results['sandbox']}.",
        f"{two['right_without_full_marks']} of {two['right_answers']} right answers did not get full marks. "
        f"{two['wrong_with_full_marks']} of {two['wrong_answers']} wrong answers got them. "
        f"{two['left_to_a_human']} answers were left to a human.",
    ]
    return "\n".join(lines)


def main():
    """Measure what is missing, and quote."""
    options, file = report.arguments(__doc__), rows()
    if file.missing():
        fill(file, options.budget)
    if results := file.finish():
        report.quote("grading", table(results))


if __name__ == "__main__":
    main()
