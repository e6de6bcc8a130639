"""Execute lessons at a preset; write the notebooks, and the book made from them.

papermill executes the notebooks; :mod:`lab.book` makes the book.
"""

from pathlib import Path

import nbformat

from lab import book, extras
from lab.idle import Watch
from lab.lessons import (
    NOTEBOOK_DIR,
    QUIET_KERNEL,
    find_lessons,
    record_seconds,
    recorded_seconds,
    tidy_outputs,
    write_notebook,
)
from labutils import presets
from labutils.data import check_name
from labutils.support.files import check_writable


def add_arguments(parser):
    """The command's arguments."""
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help="number or name; all if none is given")
    parser.add_argument("--preset", default="quick", help=f"{', '.join(presets.PRESETS)} (default: quick)")
    parser.add_argument(
        "--dataset",
        default="auto",
        help="auto, mnist, digits, fashion_mnist, cifar10, FILE.npz or a folder of pictures",
    )
    parser.add_argument("--out", default="build", help="folder to write to (default: build)")
    parser.add_argument("--record", action="store_true", help="keep the times of an idle machine as the expected ones")


def main(options):
    """Run the command; returns 1 if a lesson failed, or the book has faults."""
    failed = run(options.lessons, options.preset, options.dataset, options.out, options.record)
    return 1 if failed else 0


def run(names=(), preset="quick", dataset="auto", out="build", record=False, say=print):
    """Execute lessons into ``out``: NAME.ipynb; then build the book into its folder ``book``.

    The book has all lessons. Those that are not among ``names`` are shown as they come with the lab. Without the
    packages of requirements-book.txt there is no book.

    Args:
        names, preset, dataset, out, say: as for :func:`execute`.
        record: keep the seconds that were measured on an idle machine as what later runs announce.

    Returns:
        list of what went wrong, empty if all is well: the lessons that failed, and ``"book"`` if it has faults.

    Raises:
        ValueError: unknown lesson, preset or data set, or ``out`` cannot be written.
    """
    out = Path(out).resolve()
    results = execute(names, preset, dataset, out, say, record)
    failed = [lesson for lesson, (_, problem) in results.items() if problem]
    say(f"{len(results) - len(failed)} of {len(results)} lessons ran")
    if absent := extras.missing("requirements-book.txt"):
        say(f"There is no book of them: {extras.advice(absent[0])}")
        return failed
    say("Building the book, about a minute")
    about = {
        "preset": preset,
        "dataset": Path(check_name(dataset)).name,
        "results": [(lesson, _clock(seconds), problem) for lesson, (seconds, problem) in results.items()],
    }
    executed = {lesson: out / f"{lesson}.ipynb" for lesson in results if (out / f"{lesson}.ipynb").exists()}
    index, problems = book.build_book(out / "book", executed, about)
    book.report(index, problems, say)
    return failed + ["book"] * bool(problems)


def execute(names=(), preset="quick", dataset="auto", out="build", say=print, record=False):
    """Execute lessons into ``out``: NAME.ipynb.

    Args:
        names: as in :func:`find_lessons`.
        preset, dataset: injected into each notebook's parameters.
        out: folder, made if missing.
        say: receives each line of progress.
        record: keep the seconds of the lessons that ran.

    Returns:
        dict lesson → (seconds, problem); the problem is '' for a lesson that ran.

    Raises:
        ValueError: unknown lesson, preset or data set, or ``out`` cannot be written.
    """
    lessons = find_lessons(names)
    presets.get(preset)
    dataset = check_name(dataset)  # a path becomes absolute: the notebooks run in another folder
    out = Path(out).resolve()
    check_writable(out / f"{lessons[0]}.ipynb")
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    expected = recorded_seconds().get(preset, {})
    results = {}
    for number, lesson in enumerate(lessons, start=1):
        guess = f", expected {_clock(expected[lesson])}" if lesson in expected else ""
        say(f"[{number}/{len(lessons)}] {lesson}: running at preset {preset}{guess}")
        problem, target = "", out / f"{lesson}.ipynb"
        with Watch() as watch:
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
            except (DeadKernelError, CellTimeoutError, NoSuchKernel) as error:  # for example, out of memory
                problem = f"{type(error).__name__}: {error}".splitlines()[0]
        results[lesson] = (watch.seconds, problem)
        if record and not problem:
            record_seconds(preset, lesson, watch, say)
        if target.exists():
            notebook = nbformat.read(target, as_version=4)
            tidy_outputs(notebook)
            write_notebook(notebook, target)
        say(
            f"[{number}/{len(lessons)}] {lesson}: {'FAILED, ' + problem if problem else 'done'} "
            f"in {_clock(watch.seconds)}"
        )
    return results


def _clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"
