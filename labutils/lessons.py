"""Runs the lessons: papermill executes them at a preset, nbconvert makes an HTML copy of each and an index page."""

import html
import json
import os
import time
from pathlib import Path

import nbformat

from labutils import presets
from labutils.data import check_name
from labutils.files import check_writable, write_atomically

NOTEBOOK_DIR = Path(__file__).resolve().parent.parent / "notebooks"
SECONDS_FILE = NOTEBOOK_DIR / "seconds.json"  # {preset: {lesson: seconds}}, as measured by `run --record` and `build`
QUIET_KERNEL = ("--log-level=ERROR",)  # a kernel's warnings, about the transport say, are no news to a student
LESSONS = (
    "01_function_inversion", "02_forward_noising", "03_unet", "04_training", "05_sampling", "06_discussion",
    "07_better_and_faster",
)  # fmt: skip


def find_lessons(names):
    """Turn ``["2", "04_training"]`` into full names, in lesson order; all lessons for an empty list.

    Raises:
        ValueError: unknown lesson; lists the known ones.
    """
    chosen = set()
    for name in names or LESSONS:
        stem = Path(str(name)).name.removesuffix(".ipynb")
        matches = [lesson for lesson in LESSONS if lesson == stem or (stem.isdigit() and int(stem) == int(lesson[:2]))]
        if not matches:
            raise ValueError(f"unknown lesson {name!r}, known: 1 … {len(LESSONS)} or {', '.join(LESSONS)}")
        chosen.update(matches)
    return sorted(chosen)


def run(names=(), preset="quick", dataset="auto", out="build", record=False, say=print):
    """Execute lessons into ``out``: NAME.ipynb, NAME.html and index.html.

    Args:
        names: as in :func:`find_lessons`.
        preset, dataset: injected into each notebook's parameters.
        out: folder, made if missing.
        record: keep the measured seconds as what later runs announce.
        say: receives each line of progress.

    Returns:
        list of the lessons that failed, empty if all is well.

    Raises:
        ValueError: unknown lesson, preset or data set, or ``out`` cannot be written.
    """
    lessons = find_lessons(names)
    presets.get(preset)
    dataset = check_name(dataset)  # a path becomes absolute: the notebooks run in another folder
    out = Path(out).resolve()
    check_writable(out / "index.html")
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    os.environ["LABUTILS_BATCH"] = "1"  # the kernels inherit it: pictures instead of sliders
    expected = _recorded().get(preset, {})
    results = {}
    for number, lesson in enumerate(lessons, start=1):
        guess = f", expected {_clock(expected[lesson])}" if lesson in expected else ""
        say(f"[{number}/{len(lessons)}] {lesson}: running at preset {preset}{guess}")
        started, problem = time.perf_counter(), ""
        target = out / f"{lesson}.ipynb"
        try:
            papermill.execute_notebook(
                str(NOTEBOOK_DIR / f"{lesson}.ipynb"), str(target), cwd=str(NOTEBOOK_DIR), log_output=False,
                parameters={"PRESET": preset, "DATASET": dataset}, kernel_name="python3",
                extra_arguments=list(QUIET_KERNEL),
            )  # fmt: skip
        except PapermillExecutionError as error:
            problem = f"{error.ename}: {error.evalue}".splitlines()[0]
        except (DeadKernelError, CellTimeoutError, NoSuchKernel) as error:  # out of memory, say
            problem = f"{type(error).__name__}: {error}".splitlines()[0]
        seconds = time.perf_counter() - started
        results[lesson] = (seconds, problem)
        if target.exists():
            tidy(target)
            write_html(target)
        say(f"[{number}/{len(lessons)}] {lesson}: {'FAILED, ' + problem if problem else 'done'} in {_clock(seconds)}")
    _write_index(out, results, preset, dataset)
    failed = [lesson for lesson, (_, problem) in results.items() if problem]
    if record and not failed:
        record_seconds(preset, {lesson: seconds for lesson, (seconds, _) in results.items()})
    say(f"{len(results) - len(failed)} of {len(results)} lessons ran. Open {out / 'index.html'}")
    return failed


def tidy(path):
    """Keep only the last state of each progress bar in an executed notebook, as a screen would."""
    notebook = nbformat.read(path, as_version=4)
    tidy_outputs(notebook)
    write_atomically(path, lambda partial: nbformat.write(notebook, partial))


def tidy_outputs(notebook):
    """Join what one cell printed into one output per stream, and drop what a carriage return overwrote; in place."""
    for cell in notebook.cells:
        joined = {}
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name in joined:
                joined[output.name].text += output.text
            else:
                key = output.name if output.output_type == "stream" else id(output)
                joined[key] = output
        for output in joined.values():
            if output.output_type == "stream":
                output.text = "\n".join(line.rsplit("\r", 1)[-1] for line in output.text.split("\n"))
        if "outputs" in cell:
            cell.outputs = list(joined.values())


def write_html(notebook):
    """Write NAME.html beside NAME.ipynb. Formulas become MathML, which browsers draw without fetching a script."""
    from latex2mathml.converter import convert
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def block_math(self, body):
            return convert(body, display="block")

        def inline_math(self, body):
            return convert(body)

    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="")  # nothing from the network
    exporter.register_filter("markdown2html", MarkdownWithMath(renderer=Renderer(escape=False)).render)
    body, _ = exporter.from_filename(str(notebook))
    write_atomically(notebook.with_suffix(".html"), lambda path: path.write_text(body, encoding="utf-8"))


def title(lesson):
    """The lesson's heading, as its notebook has it."""
    notebook = json.loads((NOTEBOOK_DIR / f"{lesson}.ipynb").read_text(encoding="utf-8"))
    return "".join(notebook["cells"][0]["source"]).splitlines()[0].lstrip("# ")


def _write_index(out, results, preset, dataset):
    rows = "\n".join(
        f'<li><a href="{lesson}.html">{html.escape(title(lesson))}</a> – {_clock(seconds)}'
        f"{' – <strong>failed</strong>: ' + html.escape(problem) if problem else ''}</li>"
        for lesson, (seconds, problem) in results.items()
    )
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Introduction to Stable Diffusion Models</title>'
        "<style>body{font:16px/1.6 sans-serif;max-width:42em;margin:3em auto;padding:0 1em}</style>"
        f"<h1>Introduction to Stable Diffusion Models</h1><p>Executed at preset <code>{preset}</code>, data set "
        f"<code>{html.escape(Path(dataset).name)}</code>.</p><ul>{rows}</ul></html>\n"
    )
    write_atomically(out / "index.html", lambda path: path.write_text(page, encoding="utf-8"))


def _recorded():
    return json.loads(SECONDS_FILE.read_text(encoding="utf-8")) if SECONDS_FILE.exists() else {}


def record_seconds(preset, seconds):
    """Keep measured times, a dict lesson → seconds, as what later runs announce."""
    recorded = _recorded()
    recorded.setdefault(preset, {}).update({lesson: round(value, 1) for lesson, value in seconds.items()})
    text = json.dumps(recorded, indent=1, sort_keys=True) + "\n"
    write_atomically(SECONDS_FILE, lambda path: path.write_text(text, encoding="utf-8"))


def _clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"
