"""The checks: every right answer of any style passes, and nonsense fails clearly; test_feedback tries wrong answers."""

import numpy as np
import pytest
from answers import RIGHT, WRONG

from labutils import checks


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_right_answers_pass(check, answer, capsys):
    check(answer)
    assert "All tests in" in capsys.readouterr().out


@pytest.mark.parametrize("name", [n for n in checks.__all__ if n.startswith("check_")])
def test_every_check_knows_enough_answers(name):
    check = getattr(checks, name)
    assert sum(row[0] is check for row in RIGHT) >= 5 and sum(row[0] is check for row in WRONG) >= 8


@pytest.mark.parametrize("name", [n for n in checks.__all__ if n.startswith("check_")])
def test_stubs_nothing_and_nonsense_fail_clearly(name):
    check = getattr(checks, name)

    def stub(*arguments):
        raise NotImplementedError

    with pytest.raises(checks.CheckFailed, match="is not written yet"):
        check(stub)
    for answer in (None, "text", np.nan, [], {}):
        with pytest.raises(checks.CheckFailed):
            check(lambda *arguments, answer=answer: answer)
