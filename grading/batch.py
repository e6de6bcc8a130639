"""Grades a whole class: ``python -m labutils grade``.

Each different set of answers is judged once, in any order, by as many processes as are asked for; what was found is
kept in ``OUT/judged`` under a key of all that it depends on. The reports are made from there when all is judged, so
that a run that was killed goes on, and ends at the same files.
"""

import hashlib
import itertools
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import labutils
from grading import gradebook, sandbox
from grading.judging import Answer, judge
from grading.matching import HUMAN, Unreadable, identify, match, read_cells
from grading.release import MANIFEST_VERSION
from grading.submissions import stream
from labutils import __version__
from labutils.checkpoints import CHECKPOINT_DIR
from labutils.files import check_writable, write_atomically
from labutils.progress import progress_bar


@dataclass(frozen=True)
class Paper:
    """One notebook of one student, read but not judged.

    Attributes:
        student, name: who sent it, under which file name.
        lesson: of the manifest; None if it cannot be told.
        answers: question → Answer; None if the notebook is not judged.
        status: what it is then: "unreadable", "needs a human", "not counted".
        problem: why, in words.
        content: the bytes.
    """

    student: str
    name: str
    lesson: str | None
    answers: dict | None
    status: str = ""
    problem: str = ""
    content: bytes | None = None


def grade(submissions, manifest, out, jobs=1, level="auto", seeds=1, rerun=False, marks=None, say=print):
    """Grade all submissions and write the reports into ``out``.

    Args:
        submissions: folder or zip, ``STUDENT/NOTEBOOK.ipynb``.
        manifest: the file that ``release`` wrote.
        out: folder for ``grades.csv``, ``verdicts``, ``feedback``, ``by_hand`` and ``index.html``.
        jobs: processes.
        level: "required", "auto" or "off", see :func:`grading.sandbox.choose_level`.
        seeds: each property is tried with so many different inputs.
        rerun: judge again what is judged already.
        marks: None, or a CSV file with marks of free text: ``student_id, question, points``.
        say: receives one line at the end.

    Raises:
        FileNotFoundError, ValueError: nothing to grade, a manifest that ``release`` did not write, ``out`` cannot be
            used, or no level of the sandbox works here.
    """
    manifest, digest = read_manifest(manifest)
    out = Path(out)
    check_writable(out / "grades.csv")
    level = sandbox.choose_level(level)
    if reason := sandbox.failure(level):
        raise ValueError(f"students' code cannot be run here: {reason}")
    if seeds < 1 or jobs < 1:
        raise ValueError(f"seeds and jobs must be at least 1, got {seeds} and {jobs}")
    marks = gradebook.read_marks(marks, manifest) if marks is not None else {}
    papers = settle([read_paper(submission, manifest) for submission in stream(submissions)])
    numbers = hidden_seeds(digest, seeds)
    tasks = {}
    for paper in papers:
        if paper.answers is not None:
            tasks[key_of(paper, digest, level, numbers)] = (paper.lesson, paper.answers)
    kept = out / "judged"
    todo = {key: task for key, task in tasks.items() if rerun or not (kept / f"{key}.json").exists()}
    work = partial(judge_and_keep, entries=manifest["notebooks"], level=level, seeds=numbers, folder=kept)
    run_all(work, todo, jobs)
    rows = []
    for paper in papers:
        known = None
        if paper.answers is not None:
            known = json.loads((kept / f"{key_of(paper, digest, level, numbers)}.json").read_text(encoding="utf-8"))
        rows.append((paper, known))
    gradebook.write(out, rows, manifest, level, marks)
    say(f"graded {len(papers)} notebooks ({len(tasks)} different ones, sandbox: {level}). Open {out / 'index.html'}")


def read_manifest(path):
    """(manifest, its SHA-256).

    Raises:
        FileNotFoundError, ValueError: none, or not what ``release`` writes.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no manifest {path}; the command release writes it")
    content = path.read_bytes()
    try:
        manifest = json.loads(content)
        version = manifest["manifest_version"]
        known = all(entry["questions"] is not None and entry["cells"] for entry in manifest["notebooks"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a manifest of release") from error
    if version != MANIFEST_VERSION or not known:
        raise ValueError(f"{path} has version {version!r} of the manifest, this program reads {MANIFEST_VERSION}")
    return manifest, hashlib.sha256(content).hexdigest()


def read_paper(submission, manifest):
    """What a student sent, as answers to the questions of a lesson."""
    paper = partial(Paper, submission.student, submission.name, content=submission.content)
    named = submission.name if submission.name in manifest["notebooks"] else None
    if submission.problem:
        return paper(named, None, gradebook.UNREADABLE, submission.problem)
    try:
        cells = read_cells(submission.content)
    except Unreadable as error:
        return paper(named, None, gradebook.UNREADABLE, str(error))
    found = identify(cells, submission.name, manifest)
    if found is None:
        return paper(None, None, HUMAN, "this is none of the notebooks that were handed out")
    lesson, _ = found
    matches = match(cells, manifest["notebooks"][lesson])
    answers = {q: Answer(m.source, m.how, m.note, not m.answered, bool(m.helpers)) for q, m in matches.items()}
    return paper(lesson, answers)


def settle(papers):
    """Of several notebooks that one student sent for one lesson, decide which counts; if they differ, a human does."""
    settled = []
    for _, group in itertools.groupby(sorted(papers, key=_order), key=lambda paper: _order(paper)[:2]):
        first, *others = group
        if first.lesson is not None and any(other.answers != first.answers for other in others):
            words = f"{len(others) + 1} different notebooks for {first.lesson}: which one counts?"
            settled += [replace(paper, answers=None, status=HUMAN, problem=words) for paper in (first, *others)]
        elif first.lesson is not None:
            words = f"the same answers as {first.name}"
            settled += [first, *(replace(p, answers=None, status=gradebook.IGNORED, problem=words) for p in others)]
        else:
            settled += [first, *others]
    return settled


def _order(paper):
    return paper.student, paper.lesson or "", paper.name != paper.lesson, paper.name


def hidden_seeds(digest, count):
    """Seeds that no student has seen: they follow from the manifest, which stays with the instructor."""
    return tuple(int(hashlib.sha256(f"{digest} {k}".encode()).hexdigest()[:8], 16) for k in range(count))


def key_of(paper, digest, level, seeds):
    """The name of all that a verdict depends on."""
    answers = {question: asdict(answer) for question, answer in paper.answers.items()}
    parts = json.dumps([__version__, digest, level, seeds, paper.lesson, answers], sort_keys=True)
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def judge_and_keep(key, task, entries, level, seeds, folder):
    """Judge one set of answers and keep what was found."""
    lesson, answers = task
    started = time.perf_counter()
    verdicts = judge(entries[lesson], answers, partial(start_answering, level), seeds)
    found = {"verdicts": verdicts, "seconds": round(time.perf_counter() - started, 1), "sandbox": level}
    text = json.dumps(found, indent=1, ensure_ascii=True)
    write_atomically(folder / f"{key}.json", lambda path: path.write_text(text, encoding="utf-8"))


def start_answering(level):
    """A confined process that runs grading.answering; of this project it sees packages and checkpoints, no notebook."""
    packages = [Path(labutils.__file__).parent, Path(__file__).parent]
    environment = {"PYTHONPATH": os.pathsep.join(dict.fromkeys(str(folder.parent) for folder in packages))}
    command = [sys.executable, "-m", "grading.answering"]
    return sandbox.Confined(command, level=level, visible=[*packages, CHECKPOINT_DIR], environment=environment)


def run_all(work, todo, jobs):
    """Do all tasks, with a progress bar; each is a pure function of its arguments, wherever joblib runs it."""
    import joblib

    with progress_bar(len(todo), "judging") as bar:
        done = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(
            joblib.delayed(work)(key, task) for key, task in todo.items()
        )
        for _ in done:
            bar.update()
