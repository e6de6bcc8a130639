"""Checks judge the table of answers; a failed one shows the exercise and one sentence, and nothing of itself."""

import re
from pathlib import Path

import keras
import nbformat
import pytest
from answers import RIGHT, WRONG
from IPython.core.interactiveshell import InteractiveShell

from lab import lessons
from labutils import checks
from labutils.checks import feedback

NAMES = [name for name in checks.__all__ if name.startswith("check_")]
# Lines of the checks that are long enough to be recognised.
SOURCE = {
    line.strip()
    for path in Path(checks.__file__).parent.glob("*.py")
    for line in path.read_text(encoding="utf-8").splitlines()
    if len(line.strip()) > 15 and not line.strip().startswith(('"', "#", "import", "from"))
}


class Shell(InteractiveShell):
    """IPython that keeps what a notebook would show of an error."""

    def _showtraceback(self, etype, evalue, stb):
        self.seen = {"ename": etype.__name__, "evalue": str(evalue), "traceback": stb}


@pytest.fixture(scope="module")
def shell():
    return Shell()


def shown(shell, check, source):
    """Run an answer's cell and its check; returns the error as a notebook keeps it."""
    shell.user_ns |= {"check": check}
    assert shell.run_cell(source, store_history=True).success
    shell.seen = None
    assert not shell.run_cell("check(answer)", store_history=True).success
    return shell.seen


def is_clean(error, check):
    """One sentence that begins with the exercise, in all three fields that a notebook keeps of an error."""
    assert error["ename"] == "CheckFailed" and error["traceback"] == [error["evalue"]]
    assert error["evalue"].startswith(f"Exercise {check.exercise}, `{check.name}`: ")
    assert len(error["evalue"]) > len(f"Exercise {check.exercise}, `{check.name}`: ") + 15
    assert not {"\n", "\x1b"} & set(error["evalue"]) and not [line for line in SOURCE if line in error["evalue"]]
    return error["evalue"]


@pytest.mark.parametrize("name", NAMES)
def test_right_answers_pass_and_wrong_ones_get_their_sentence(name, shell, capsys):
    check = getattr(checks, name)
    right = [answer for tried, answer in RIGHT if tried is check]
    wrong = [(answer, sentence) for tried, answer, sentence in WRONG if tried is check]
    assert len(right) >= 5 and len(wrong) >= 8, "enough answers, in several styles"
    for answer in right:
        keras.utils.set_random_seed(0)
        check(answer)
        assert "All tests in" in capsys.readouterr().out
    for answer, sentence in wrong:
        keras.utils.set_random_seed(0)
        shell.user_ns["wrong"] = answer
        said = is_clean(shown(shell, check, "answer = wrong"), check)
        assert any(part in said for part in sentence.split("|")), said


@pytest.mark.parametrize("name", NAMES)
def test_a_stub_says_what_to_replace(name, shell):
    check = getattr(checks, name)
    stub = f'def answer(*arguments):\n    raise NotImplementedError("{check.name}")'
    said = is_clean(shown(shell, check, stub), check)
    assert said.endswith(f"not written yet: replace the line that raises NotImplementedError in `{check.name}`")


@pytest.mark.parametrize("name", NAMES)
def test_an_error_in_an_answer_shows_type_message_and_line(name, shell):
    check = getattr(checks, name)
    source = 'def answer(*arguments):\n    total = 0\n    total += int("seven")\n    return total'
    said = is_clean(shown(shell, check, source), check)
    assert "stopped with ValueError: invalid literal for int() with base 10: 'seven'" in said
    assert said.endswith('(line 3 of the cell: total += int("seven"))')


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("answer = None", "stopped with TypeError: 'NoneType' object is not callable"),
        ("answer = lambda: 1", "stopped with TypeError: <lambda>() takes 0 positional arguments but 1 was given"),
        ("def answer(betas): raise KeyboardInterrupt", "does a loop in your function never end?"),
        ("def answer(betas): raise ValueError('many\\nlines ' * 500)", "many lines many lines"),
        ("def before(betas): raise NotImplementedError('before')\ndef answer(betas): return before(betas)", "`before`"),
        (
            "import tensorflow as tf\n@tf.function\ndef answer(betas):\n    return betas @ betas.nothing",
            "(line 4 of the cell: return betas @ betas.nothing)",
        ),
    ],
)
def test_other_ends(source, sentence, shell):
    said = is_clean(shown(shell, checks.check_alpha_bars, source), checks.check_alpha_bars)
    assert sentence in said and len(said) < 600


@pytest.mark.parametrize(
    ("source", "stub"),
    [
        ("def before(b): raise NotImplementedError\ndef answer(b): return before(b)", "before"),
        ("import tensorflow as tf\n@tf.function\ndef answer(b): raise NotImplementedError('alpha_bars')", "alpha_bars"),
        ("class A:\n    def bars(self, b): raise NotImplementedError\ndef answer(b): return A().bars(b)", None),
        ("class A:\n    def f(self, b): raise NotImplementedError('alpha_bars')\nanswer = A().f", None),
        ("import keras\ndef answer(b): return keras.Model()(b)", None),
        ("def answer(b): get_ipython().enable_gui('qt')", None),
        ("def answer(b): raise NotImplementedError('for T = 3')", None),
    ],
)
def test_only_a_stub_is_not_written_yet(source, stub, shell):
    said = is_clean(shown(shell, checks.check_alpha_bars, source), checks.check_alpha_bars)
    assert (
        f"NotImplementedError in `{stub}`" in said if stub else "not written yet" not in said and "stopped with" in said
    )


def test_a_check_that_stumbles_shows_nothing_of_itself(shell):
    check = feedback.Check("9.9", "odd", "For this test.")

    @check.property("never")
    def _(odd, rng):
        right_answer = {}
        return right_answer[feedback.run(odd)]

    assert "cannot be checked: KeyError: 5" in is_clean(shown(shell, check, "answer = lambda: 5"), check)


def test_in_a_script_it_is_an_ordinary_error_without_a_chain():
    with pytest.raises(AssertionError) as caught:
        checks.check_alpha_bars(lambda betas: 1 / 0)
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_a_kernel_sends_the_same(tmp_path):
    """One real kernel, asked by nbclient as nbconvert and papermill ask it; and the HTML that nbconvert makes."""
    from nbclient import NotebookClient
    from nbconvert import HTMLExporter

    code = [
        "from labutils import checks",
        "def alpha_bars(betas):\n    return 1 - betas",
        "checks.check_alpha_bars(alpha_bars)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in code])
    NotebookClient(
        notebook,
        allow_errors=True,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
        extra_arguments=list(lessons.QUIET_KERNEL),
    ).execute()
    (error,) = notebook.cells[2].outputs
    assert "you returned α_t where ᾱ_t is needed" in is_clean(error, checks.check_alpha_bars)
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert "you returned α_t where ᾱ_t is needed" in page and "cumprod" not in page and "feedback.py" not in page


def test_answer_or_is_the_answer_that_passed_last(capsys):
    check = checks.check_alpha_bars
    right = next(answer for tried, answer in RIGHT if tried is check)
    wrong = next(answer for tried, answer, _ in WRONG if tried is check)

    def reference(betas):
        return betas

    check(right)
    capsys.readouterr()
    assert check.answer_or(reference) is right and capsys.readouterr().out == ""
    with pytest.raises(checks.CheckFailed):
        check(wrong)
    assert check.answer_or(reference) is reference
    said = capsys.readouterr().out
    assert said == "exercise 2.1 `alpha_bars` is not solved yet: the lab's own function is used\n"


def test_checks_know_the_numbers_that_the_lessons_give_their_exercises():
    numbers, exercise = {}, ""
    for lesson in lessons.LESSONS:
        for cell in nbformat.read(lessons.NOTEBOOK_DIR / f"{lesson}.ipynb", as_version=4).cells:
            if found := re.search(r"### Exercise (\d+\.\d+)", cell.source):
                exercise = found[1]
            elif found := re.match(r"checks\.(check_\w+)\((\w+)\)$", cell.source):
                numbers[found[1]] = (exercise, found[2])
    assert numbers == {name: (getattr(checks, name).exercise, getattr(checks, name).name) for name in NAMES}
