"""Execute lessons at a preset; write notebooks, HTML copies and an index page.

papermill executes them, nbconvert makes the HTML.
"""

import html
import time
from pathlib import Path

import nbformat

from labutils import presets
from labutils._support.files import check_writable, write_atomically
from labutils._support.lessons import (
    NOTEBOOK_DIR,
    QUIET_KERNEL,
    find_lessons,
    record_seconds,
    recorded_seconds,
    tidy_outputs,
    title,
    write_notebook,
)
from labutils.data import check_name


def add_arguments(parser):
    """The command's arguments."""
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help="number or name; all if none is given")
    parser.add_argument("--preset", default="quick", help=f"{', '.join(presets.PRESETS)} (default: quick)")
    parser.add_argument("--dataset", default="auto", help="auto, mnist, digits, fashion_mnist, cifar10 or FILE.npz")
    parser.add_argument("--out", default="build", help="folder to write to (default: build)")
    parser.add_argument("--record", action="store_true", help="keep the times as the expected ones")


def main(options):
    """Run the command; returns 1 if a lesson failed."""
    failed = run(options.lessons, options.preset, options.dataset, options.out, options.record)
    return 1 if failed else 0


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

    expected = recorded_seconds().get(preset, {})
    results = {}
    for number, lesson in enumerate(lessons, start=1):
        guess = f", expected {_clock(expected[lesson])}" if lesson in expected else ""
        say(f"[{number}/{len(lessons)}] {lesson}: running at preset {preset}{guess}")
        started, problem = time.perf_counter(), ""
        target = out / f"{lesson}.ipynb"
        try:
            papermill.execute_notebook(
                str(NOTEBOOK_DIR / f"{lesson}.ipynb"),
                str(target),
                cwd=str(NOTEBOOK_DIR),
                log_output=False,
                parameters={"PRESET": preset, "DATASET": dataset},
                kernel_name="python3",
                extra_arguments=list(QUIET_KERNEL),
            )
        except PapermillExecutionError as error:
            problem = f"{error.ename}: {error.evalue}".splitlines()[0]
        except (DeadKernelError, CellTimeoutError, NoSuchKernel) as error:  # out of memory, say
            problem = f"{type(error).__name__}: {error}".splitlines()[0]
        seconds = time.perf_counter() - started
        results[lesson] = (seconds, problem)
        if target.exists():
            notebook = nbformat.read(target, as_version=4)
            tidy_outputs(notebook)
            write_notebook(notebook, target)
            write_html(target)
        say(f"[{number}/{len(lessons)}] {lesson}: {'FAILED, ' + problem if problem else 'done'} in {_clock(seconds)}")
    _write_index(out, results, preset, dataset)
    failed = [lesson for lesson, (_, problem) in results.items() if problem]
    if record and not failed:
        record_seconds(preset, {lesson: seconds for lesson, (seconds, _) in results.items()})
    say(f"{len(results) - len(failed)} of {len(results)} lessons ran. Open {out / 'index.html'}")
    return failed


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


def _clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"
