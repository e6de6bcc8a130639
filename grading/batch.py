"""Grades a whole class: ``python -m grading grade``.

First the lab's own answers are judged, in the same sandbox: if they do not get full marks, no student is judged. Each
different set of answers is judged once. Several processes may judge, and the order does not matter. Each result is
stored in ``OUT/judged``; its file name is a hash of everything that the result depends on. The reports are made from
these files when everything is judged. So a killed run can continue, and it ends with the same reports.

A file ``OUT/judged/….now`` exists while answers are judged. If it is there at the start, the last run ended at them,
for example because the machine had no memory left. Then they are left to a human, once: the run after this one tries
again. So no student can stop the class.
"""

import contextlib
import functools
import hashlib
import itertools
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

from grading import gradebook, sandbox
from grading.bench import PACKAGES
from grading.judging import judge_student
from grading.papers import read_papers
from grading.release import MANIFEST_VERSION
from grading.shown import NOT_RUN_AGAIN
from grading.submissions import stream
from grading.verdicts import Answer, Status, first_verdict
from lab import cluster
from labutils.support.files import check_writable, write_atomically
from labutils.support.progress import progress_bar

NOW = ".now"  # ending of a file that names what is being judged
ENDED = "grading ended while this student was judged; run the same command again to try once more"


def add_arguments(parser):
    """The arguments of ``python -m grading grade``."""
    parser.add_argument("submissions", metavar="SUBMISSIONS", help="folder or zip: STUDENT/NOTEBOOK.ipynb")
    parser.add_argument("--manifest", required=True, metavar="FILE", help="what release wrote for you")
    parser.add_argument("--out", required=True, help="folder for grades.csv, verdicts, feedback and index.html")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="notebooks judged at once (default: 1)")
    parser.add_argument(
        "--sandbox",
        default=sandbox.REQUIRED,
        choices=sandbox.LEVELS,
        help="off: run students' code without protection, because you trust them (default: required)",
    )
    parser.add_argument("--seeds", type=int, default=2, metavar="K", help="inputs for each property (default: 2)")
    parser.add_argument("--rerun", action="store_true", help="ignore stored results and judge everything again")
    parser.add_argument("--no-execute", action="store_true", help="run nothing: mark what the notebooks show")
    parser.add_argument("--dask", metavar="ADDRESS", help=cluster.HELP)
    parser.add_argument("--marks", metavar="FILE.csv", help="points that you give: student_id, question, points")


def main(options):
    """Run ``python -m grading grade``."""
    return grade(options)


def grade(options, say=print):
    """Grade all submissions and write the reports.

    Args:
        options: object with the arguments of :func:`add_arguments` as attributes.
        say: receives one line at the end.

    Returns:
        The exit code: 0, or 1 if no notebook could be read.

    Raises:
        FileNotFoundError, ValueError: there is nothing to grade, ``release`` did not write the manifest, ``out`` cannot
            be used, the sandbox does not work here, the lab's own answers do not get full marks, ``marks`` names an
            unknown student or question, or a grading process or worker was killed.
    """
    manifest, digest = read_manifest(options.manifest)
    out, execute, level = Path(options.out), not options.no_execute, options.sandbox
    check_writable(out / "grades.csv")
    if options.seeds < 1 or options.jobs < 1:
        raise ValueError(f"seeds and jobs must be at least 1, got {options.seeds} and {options.jobs}")
    said = sandbox.choose(level) if execute else NOT_RUN_AGAIN
    papers = read_papers(stream(options.submissions), manifest, execute)
    students = {paper.student for paper in papers}
    marks = gradebook.read_marks(options.marks, manifest, students) if options.marks is not None else {}
    found, different = [paper.shown for paper in papers], ""
    if execute:
        seeds, kept = hidden_seeds(manifest["secret"], options.seeds), out / "judged"
        keys = [key_of(paper, digest, level, seeds) if paper.answers is not None else None for paper in papers]
        tasks = {key: paper for key, paper in zip(keys, papers, strict=True) if key}
        todo = {key: paper for key, paper in tasks.items() if options.rerun or not _is_final(_stored(kept, key))}
        work = partial(judge_student, entries=manifest["notebooks"], level=level, seeds=seeds)
        set_aside(todo, manifest["notebooks"], kept)
        if todo:
            run_all(work, todo, own_answers(manifest, todo.values()), kept, options.jobs, options.dask)
        found = [_stored(kept, key) for key in keys]
        different = f"{len(tasks)} different ones; "
    gradebook.write(out, list(zip(papers, found, strict=True)), manifest, said, marks)
    unread = [paper.problem for paper in papers if paper.status == Status.UNREADABLE]
    if len(unread) == len(papers):
        say(f"none of {len(papers)} could be read{f': {unread[0]}' if unread else ''}. Open {out / 'index.html'}")
        return 1
    without = f", {len(unread)} could not be read" if unread else ""
    count = len(papers) - len(unread)
    say(f"graded {count} notebooks{without} ({different}sandbox: {said}). Open {out / 'index.html'}")
    return 0


def _stored(folder, key):
    """A stored result; None if there is none. It has the key ``again`` if the grader itself had failed."""
    path = folder / f"{key}.json"
    return json.loads(path.read_text(encoding="utf-8")) if key and path.exists() else None


def _is_final(found):
    return found is not None and not found.get("again")


def _store(folder, key, found):
    text = json.dumps(found, indent=1, ensure_ascii=True)
    write_atomically(folder / f"{key}.json", lambda path: path.write_text(text, "utf-8"))


def set_aside(todo, entries, folder):
    """Take out of ``todo`` at what the last run ended, and store that a human decides.

    Args:
        todo: dict key → grading.papers.Paper; it is changed.
        entries: dict lesson → entry of the manifest.
        folder: of the stored results.
    """
    for path in folder.glob(f"*{NOW}"):
        if paper := todo.pop(path.stem, None):
            first = [first_verdict(q, paper.answers[q["answer"]]) for q in entries[paper.lesson]["questions"]]
            human = {"status": Status.HUMAN, "found": ENDED}
            verdicts = [verdict if decided else verdict | human for verdict, decided in first]
            _store(folder, path.stem, {"verdicts": verdicts, "again": True})
    _clear(folder)


def _clear(folder):
    for path in folder.glob(f"*{NOW}"):
        path.unlink(missing_ok=True)


def _judge_marked(tasks, work, folder):
    """Judge one student. Meanwhile files name the tasks; they stay if this process is killed."""
    marks = [folder / f"{key}{NOW}" for key, *_ in tasks] if folder else []
    with contextlib.suppress(OSError):
        for mark in marks:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
    try:
        return work(tasks)
    finally:
        for mark in marks:
            mark.unlink(missing_ok=True)


def read_manifest(path):
    """Read and verify the manifest.

    Returns:
        tuple (manifest, its SHA-256).

    Raises:
        FileNotFoundError, ValueError: there is no such file, or ``release`` did not write it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no manifest {path}; the command release writes one")
    content = path.read_bytes()
    try:
        manifest = json.loads(content)
        version = manifest["manifest_version"]
        known = all(entry["questions"] is not None and entry["cells"] for entry in manifest["notebooks"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a manifest that release wrote") from error
    if version != MANIFEST_VERSION or not known:
        raise ValueError(
            f"{path} has manifest version {version!r}, but this program reads {MANIFEST_VERSION}: another version of "
            "the lab wrote it, with other questions. Run release again, into the same folder, or into another one to "
            "keep both"
        )
    return manifest, hashlib.sha256(content).hexdigest()


def hidden_seeds(secret, count):
    """Seeds that no student can know: they are computed from the secret that ``release`` drew."""
    return tuple(int(hashlib.sha256(f"{secret} {k}".encode()).hexdigest()[:8], 16) for k in range(count))


def key_of(paper, digest, level, seeds):
    """A hash of everything that the result for a paper depends on."""
    answers = {question: asdict(answer) for question, answer in paper.answers.items()}
    parts = json.dumps([code_digest(), digest, level, seeds, paper.lesson, answers], sort_keys=True)
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@functools.cache
def code_digest():
    """A hash of the checks' code, and of all code that they and the grader use."""
    files = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


def own_answers(manifest, papers):
    """The lab's own answers to the lessons of these papers: a list of tasks for grading.judging.judge_student."""
    tasks = []
    for lesson in sorted({paper.lesson for paper in papers}):
        entry = manifest["notebooks"][lesson]
        sources = {cell["id"]: cell["source"] for cell in entry["cells"]}
        tasks.append(("", lesson, {q["answer"]: Answer(sources[q["cell"]], "lab") for q in entry["questions"]}))
    return tasks


def check_own(results):
    """Refuse to grade if the lab's own answers do not get full marks.

    Raises:
        ValueError: they do not; names the first question. One line.
    """
    for _, found in itertools.chain.from_iterable(results):
        for verdict in found["verdicts"]:
            if verdict["status"] not in (Status.RIGHT, Status.BY_HAND):
                raise ValueError(
                    f"no student was graded: the lab's own answer to {verdict['question']} does not get full marks on "
                    f"this machine: {verdict['found'] or verdict['status']}"
                )


def run_all(work, todo, own, folder, jobs, dask=None):
    """Judge the lab's own answers, then all students in any order. Each result is stored as soon as it is known.

    Args:
        work: function of the tasks of one student, like grading.judging.judge_student.
        todo: dict key → grading.papers.Paper.
        own: list of tasks with the lab's own answers.
        folder: the results are stored here as ``KEY.json``.
        jobs, dask: as for :func:`grade`.

    Raises:
        ValueError: the cluster cannot be used, the lab's own answers do not get full marks, or a grading process was
            killed. Stored results remain.
    """
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    students = {}
    for key, paper in todo.items():
        students.setdefault(paper.student, []).append((key, paper.lesson, paper.answers))
    with progress_bar(len(todo), "judging") as bar, cluster.backend(dask):
        parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
        try:
            count = joblib.effective_n_jobs(jobs)
            check_own(parallel(joblib.delayed(work)(own[k::count]) for k in range(count)))
            here = None if dask else folder  # other machines may not have the folder
            judge = joblib.delayed(_judge_marked)
            results = parallel(judge(tasks, work, here) for tasks in students.values())
            for key, found in itertools.chain.from_iterable(results):
                _store(folder, key, found)
                bar.update()
        except TerminatedWorkerError as error:
            raise ValueError("a grading process was killed; run the same command again to continue") from error
        except BaseException:  # for example Ctrl-C: this was no student's fault
            _clear(folder)
            raise
