"""The committed results: of one machine, complete, and quoted as they are; what is measured again and what is kept."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import (
    ablation,
    contenders,
    copying,
    edits,
    filling,
    gan,
    marking,
    one_call,
    prompts,
    quality,
    report,
    schedules,
    speed,
    unlabelled,
)
from lab import idle
from labutils import pretrained, sampling
from labutils import results as measured
from labutils.schedule import linear_schedule

FILES = {"quality": quality, "ablation": ablation, "schedules": schedules, "speed": speed, "filling": filling}
FILES |= {"grading": marking, "text_to_image": prompts, "copying": copying, "gan": gan, "one_call": one_call}
FILES |= {"unlabelled": unlabelled, "editing": edits}
WEIGHED = ["quality", "ablation", "filling", "speed", "text_to_image"]
WEIGHED += ["copying", "gan", "one_call", "unlabelled", "editing"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Results are written to an empty folder."""
    monkeypatch.setattr(measured, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "SCRATCH", tmp_path / "scratch")
    return tmp_path


def committed(name):
    found = report.read(name)
    assert found is not None, f"results/{name}.json is missing: make bench"
    return found


@pytest.mark.parametrize("name", FILES)
def test_results_are_complete_and_of_one_version(name):
    """Every row of the plan is there, no other row is, and the file says once where it was measured."""
    found, file = committed(name), FILES[name].rows()
    assert found["method"] == report.METHOD, f"python -m benchmarks.{name} measures it again"
    assert len(found["rows"]) == len(file.plan)
    for item, row in zip(file.plan, found["rows"], strict=True):
        assert item.items() <= row.items()
        assert not {"machine", "versions"} & row.keys()


def test_all_results_are_of_one_machine():
    found = [committed(name) for name in FILES]
    for results in found:
        assert {**results["machine"], "cores": 2} == {**found[0]["machine"], "cores": 2}, "make bench on one machine"
        assert results["versions"] == found[0]["versions"], "make bench with one version"


@pytest.mark.parametrize("name", WEIGHED)
def test_results_are_of_the_committed_weights(name):
    for checkpoint, sha256 in committed(name)["weights"].items():
        assert pretrained.read_record(checkpoint)["weights_sha256"] == sha256, f"{checkpoint} has changed: make bench"


@pytest.mark.parametrize("name", ["quality", "speed", "grading", "text_to_image"])
def test_the_documents_quote_the_results(name):
    text = report.MAINTAINERS.read_text(encoding="utf-8")
    assert FILES[name].table(committed(name)) in text, "make bench writes the table"


def test_the_readme_quotes_three_numbers():
    assert speed.headline(committed("speed")) in report.README.read_text(encoding="utf-8"), "make bench writes them"


def test_no_plan_has_an_item_twice():
    for plan in (
        quality.PLAN,
        ablation.plan(),
        schedules.plan(),
        filling.PLAN,
        marking.PLAN,
        prompts.PLAN,
        copying.PLAN,
        edits.PLAN,
        gan.PLAN,
        one_call.PLAN,
        unlabelled.PLAN,
    ):
        keys = [json.dumps(item, sort_keys=True) for item in plan]
        assert len(set(keys)) == len(keys)


def test_what_speed_names_is_in_the_plan_of_quality():
    for name, steps, guidance in contenders.CHECKPOINTS.values():
        wanted = {"checkpoint": name, "sampler": "dpmpp_2m", "steps": steps, "guidance": guidance}
        assert wanted in quality.PLAN


@pytest.fixture
def machine(monkeypatch):
    """A machine whose matrix products and clocks are those of two lists."""
    products, clocks = [], []
    monkeypatch.setattr(idle, "matrix_product", lambda: products.pop(0))
    monkeypatch.setattr(idle, "_clocks", lambda: clocks.pop(0))
    monkeypatch.setattr(idle.psutil, "cpu_count", lambda: 2)
    return products, clocks


CALM, OTHER_WORK = [(0, 0, 0), (10, 18, 17.5)], [(0, 0, 0), (10, 18, 16.9)]  # (wall, all, own): 2.5 % and 5.5 % others


@pytest.mark.parametrize(
    ("before", "after", "clock", "fault"),
    [
        (100, 91, CALM, ""),
        (100, 109, CALM, ""),
        (100, 89, CALM, "89"),
        (100, 111, CALM, "111"),
        (100, 100, OTHER_WORK, "other processes"),
    ],
)
def test_a_time_counts_only_if_the_machine_was_idle(machine, before, after, clock, fault):
    products, clocks = machine
    products += [before, after]
    clocks += clock
    with idle.Watch() as watch:
        pass
    assert watch.seconds == 10 and (fault in watch.fault() if fault else not watch.fault())


def test_a_measurement_is_repeated_at_most_five_times(machine):
    """Three things are measured; the second is slow until its third try, and the others set the standard."""
    products, clocks = machine
    said, calls = [], []
    products += [100, 101, 60, 60, 102, 99, 60, 101, 100, 101]
    clocks += 5 * CALM
    works = {name: lambda name=name: calls.append(name) or len(calls) for name in "abc"}
    found = idle.measured(works, said.append)
    assert calls == [*"abcbb"] and [result for result, _ in found.values()] == [1, 5, 3] and len(said) == 2
    assert found["b"][1] == {"gflops": [100, 101], "others": 0.025, "tries": 3}
    clocks += 5 * OTHER_WORK
    products += 10 * [100]
    with pytest.raises(idle.Busy, match="5 tries of a"):
        idle.measured({"a": works["a"]}, said.append)
    assert not products


PLAN = [{"variant": "a", "seed": 0}, {"variant": "a", "seed": 1}, {"variant": "b", "seed": 0}]


def test_rows_are_kept_in_the_order_of_the_plan_and_a_row_measured_twice_is_dropped(folder):
    file = report.Rows("test", PLAN, {"machine": "one"})
    assert all(file.add(PLAN[i], {"found": i}) for i in (2, 0))
    assert not file.add(PLAN[2], {"found": "again"})
    assert not file.add({"variant": "c", "seed": 0}, {"found": "not in the plan"})
    assert file.missing() == [PLAN[1]] and file.finish() is None
    assert file.add(PLAN[1], {"found": 1})
    assert file.finish() == {"machine": "one", "rows": [{**item, "found": i} for i, item in enumerate(PLAN)]}


@pytest.mark.parametrize("header", [{"machine": "other", "versions": 1}, {"machine": "one", "versions": 2}])
def test_rows_of_another_machine_or_version_are_measured_anew(folder, header):
    old = report.Rows("test", PLAN, {"machine": "one", "versions": 1})
    for item in PLAN:
        old.add(item, {"found": "old"})
    new = report.Rows("test", PLAN, header)
    assert new.missing() == PLAN
    assert report.read("test")["machine"] == "one"  # until the first new row is there
    new.add(PLAN[1], {"found": "new"})
    assert report.read("test") == {**header, "rows": [{**PLAN[1], "found": "new"}]}


def test_a_changed_config_is_measured_again(folder, monkeypatch):
    file = report.Rows("ablation", ablation.plan(), {})
    for item in file.plan:
        file.add(item, {})
    changed = ablation.Variant(config=replace(ablation.FAST.config, clip_norm=5.0))
    monkeypatch.setitem(ablation.VARIANTS, "no clipping", changed)
    (missing,) = report.Rows("ablation", ablation.plan(), {}).missing()
    assert missing["variant"] == "no clipping" and missing["config"]["clip_norm"] == 5.0


def test_the_original_has_the_tables_of_the_paper():
    """One step x ← a·x − b·ε + σ·z is labutils.sampling.reverse_step, without noise at t = 0."""
    schedule = linear_schedule()
    x, predicted, z = np.random.default_rng(0).standard_normal((3, 2, 3, 3, 1), dtype=np.float32)
    a, b, sigma = contenders.original_tables()
    assert sigma[0] == 0 and len(a) == schedule.T and isinstance(a[0], float)
    for t in (0, 1, 500, 999):
        step = sampling.reverse_step(schedule, x, t, predicted, z)
        np.testing.assert_allclose(a[t] * x - b[t] * predicted + sigma[t] * z, step, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("task", filling.TASKS)
def test_a_correction_agrees_with_what_is_known_and_keeps_the_rest(task):
    digits, guess = np.random.default_rng(0).uniform(-1, 1, (2, 3, 28, 28, 1)).astype(np.float32)
    corrected = np.asarray(filling.correct(task, guess, digits))
    if task == "fill":
        np.testing.assert_array_equal(corrected[:, :14], digits[:, :14])
        np.testing.assert_array_equal(corrected[:, 14:], guess[:, 14:])
        np.testing.assert_array_equal(filling.given(task, digits)[:, 14:], -1.0)
    else:
        np.testing.assert_allclose(sampling.shrink(corrected), sampling.shrink(digits), atol=1e-5)
        detail = guess - sampling.enlarge(sampling.shrink(guess))
        np.testing.assert_allclose(corrected - sampling.enlarge(sampling.shrink(digits)), detail, atol=1e-5)
    np.testing.assert_allclose(filling.correct(task, digits, digits), digits, atol=1e-5)
