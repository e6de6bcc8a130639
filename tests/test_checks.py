"""The checks: every right answer of any style passes, every typical wrong one fails with the sentence that names it."""

import numpy as np
import pytest
from answers import RIGHT, WRONG

from labutils import checks


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_right_answers_pass(check, answer, capsys):
    check(answer)
    assert "All tests in" in capsys.readouterr().out


@pytest.mark.parametrize(("check", "answer", "sentence"), WRONG)
def test_wrong_answers_get_the_right_sentence(check, answer, sentence):
    with pytest.raises(checks.CheckFailed) as caught:
        check(answer)
    assert any(part in str(caught.value) for part in sentence.split("|")), str(caught.value)


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
