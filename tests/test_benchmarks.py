"""The committed results: of one machine, complete, quoted as they are; and the arithmetic of the programs."""

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ablation, contenders, filling, marking, prompts, quality, report, speed
from grading.release import release
from labutils import pretrained, sampling
from labutils import results as measured
from labutils.sampling import reverse
from labutils.schedule import linear_schedule

TOLD = "told the digit"  # the variant of the ablation whose network has labels
FILES = {
    "quality": quality,
    "ablation": ablation,
    "speed": speed,
    "grading": marking,
    "filling": filling,
    "text_to_image": prompts,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Results are written to an empty folder."""
    monkeypatch.setattr(measured, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "SCRATCH", tmp_path / "scratch")
    return tmp_path


WINDOWS = """
import psutil  # as it is on this system, it needs resource
import sys
sys.modules |= dict.fromkeys(["fcntl", "resource", "pwd", "grp", "termios"])  # it has none of them
from pathlib import Path
from benchmarks import ablation, contenders, filling, marking, prompts, quality, report, speed
report.RESULTS = report.SCRATCH = Path(sys.argv[1])
report.read = lambda name: None
rows = report.Rows("rows", [{"item": 1}], {})
assert rows.add({"item": 1}, {"value": 2})
print((report.RESULTS / "rows.json").read_text())
"""


def test_programs_start_and_save_rows_on_windows(tmp_path):
    line = [sys.executable, "-c", WINDOWS, str(tmp_path)]
    done = subprocess.run(line, cwd=report.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["rows"] == [{"item": 1, "value": 2}]


def committed(name):
    found = report.read(name)
    assert found is not None, f"results/{name}.json is missing: make bench"
    return found


@pytest.mark.parametrize("name", FILES)
def test_results_are_complete_and_of_one_version(name):
    """Every row of the plan is there, no other row is, and the file says once where it was measured."""
    found, file = committed(name), FILES[name].rows()
    assert found["method"] == report.METHOD, f"python -m {FILES[name].__name__} measures it again"
    assert len(found["rows"]) == len(file.plan)
    for item, row in zip(file.plan, found["rows"], strict=True):
        assert item.items() <= row.items()
        assert not {"machine", "versions"} & row.keys()


def test_all_results_are_of_one_machine():
    found = [committed(name) for name in FILES]
    for results in found:
        assert {**results["machine"], "cores": 2} == {**found[0]["machine"], "cores": 2}, "make bench on one machine"
        assert results["versions"] == found[0]["versions"], "make bench with one version"


@pytest.mark.parametrize("name", ["quality", "ablation", "filling", "speed", "text_to_image"])
def test_results_are_of_the_committed_weights(name):
    for checkpoint, sha256 in committed(name)["weights"].items():
        assert pretrained.read_record(checkpoint)["weights_sha256"] == sha256, f"{checkpoint} has changed: make bench"


@pytest.mark.parametrize("name", ["quality", "speed", "grading", "text_to_image"])
def test_the_documents_quote_the_results(name):
    text = report.MAINTAINERS.read_text(encoding="utf-8")
    assert FILES[name].table(committed(name)) in text, "make bench writes the table"


def test_the_readme_quotes_three_numbers():
    assert speed.headline(committed("speed")) in report.README.read_text(encoding="utf-8"), "make bench writes them"


def test_frechet_distances_are_of_the_same_number_of_images():
    assert committed("quality")["images"] == committed("ablation")["images"] == quality.IMAGES == 1_000


def test_the_measures_are_possible():
    for name in ("quality", "ablation"):
        for row in committed(name)["rows"]:
            m = row["measures"]["frechet"]
            assert m["value"] > m["floor"] > 0
            assert all(m["low"] <= m["value"] <= m["high"] for m in row["measures"].values())
            assert row["measures"]["class_entropy"]["high"] <= 1 and row["measures"]["frechet"]["low"] >= 0
            told = row.get("guidance") is not None or row.get("variant") == TOLD
            assert ("as_asked" in row["measures"]) == told


def test_shares_of_captions_are_possible():
    for row in committed("text_to_image")["rows"]:
        shares = [row[word] for word in ("colour", "digit", "relation", "caption", "same_words") if word in row]
        assert all(0 <= low <= value <= high <= 1 for value, low, high in shares)
        if shares:
            assert row["caption"][0] <= min(share[0] for share in shares)


def test_the_model_composes_and_what_must_fail_fails():
    """What lesson 8 says of the measurement."""
    shares = {
        (row["pictures"], row["kind"]): row["caption"]
        for row in committed("text_to_image")["rows"]
        if row.get("pictures") and row.get("epoch") is None
    }
    for kind in prompts.EVERY_KIND:
        assert shares["text_to_image", kind][0] > 0.9 * shares["real", kind][0]
        assert shares["decoded", kind][0] > 0.95 * shares["real", kind][0]
    assert shares["text_to_image_pairs", "unseen_pair"][2] < 0.05 < shares["text_to_image_pairs", "seen"][1]
    assert shares["text_to_image_bag", "turned"][2] < shares["text_to_image_bag", "seen"][1]


def test_speed_has_every_number_and_picture():
    found = committed("speed")
    assert found["rounds"] == speed.ROUNDS
    for group in ("train", "choices", "sample"):
        assert list(found[group]) == list(speed.CONTENDERS[group])
        assert all(r["low"] <= r["median"] <= r["high"] for r in found[group].values())
    assert list(found["ratios"]) == list(speed.RATIOS)
    for picture in ("speed.png", "cost.png"):
        assert (report.RESULTS / picture).read_bytes().startswith(b"\x89PNG")


def test_no_plan_has_an_item_twice():
    for plan in (quality.PLAN, ablation.plan(), filling.PLAN, marking.PLAN, prompts.PLAN):
        keys = [json.dumps(item, sort_keys=True) for item in plan]
        assert len(set(keys)) == len(keys)


def test_what_speed_names_is_in_the_plan_of_quality():
    for name, steps, guidance in contenders.CHECKPOINTS.values():
        wanted = {"checkpoint": name, "sampler": "dpmpp_2m", "steps": steps, "guidance": guidance}
        assert wanted in quality.PLAN


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


def test_rows_that_left_the_plan_go(folder):
    file = report.Rows("test", PLAN, {})
    for item in PLAN:
        file.add(item, {})
    shorter = report.Rows("test", PLAN[1:], {})
    assert shorter.missing() == [] and shorter.finish() == {"rows": PLAN[1:]}


def test_two_ablations_side_by_side_keep_every_row_once(folder):
    """Both find everything missing, measure the same rows at the same time, and write them: one of each pair stays."""
    together = threading.Barrier(2)
    measured = []

    def measure(item):
        together.wait(60)  # both have looked before either writes
        measured.append(item)
        return {"thread": threading.get_ident()}

    def work():
        ablation.fill(report.Rows("ablation", PLAN, {}), ["a", "b"], report.Budget(), measure)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    rows = report.read("ablation")["rows"]
    assert len(measured) == 2 * len(PLAN)
    assert [(row["variant"], row["seed"]) for row in rows] == [("a", 0), ("a", 1), ("b", 0)]


def test_an_ablation_goes_on_where_it_was_and_measures_what_is_asked(folder):
    file, seen = report.Rows("ablation", PLAN, {}), []

    def measure(item):
        seen.append(item)
        return {}

    file.add(PLAN[0], {})
    ablation.fill(file, ["a"], report.Budget(), measure)
    assert seen == [PLAN[1]]
    with pytest.raises(SystemExit, match="The time is up"):
        ablation.fill(file, ["b"], report.Budget(minutes=-1), measure)
    assert seen == [PLAN[1]] and file.missing() == [PLAN[2]]


def test_a_changed_config_is_measured_again(folder, monkeypatch):
    file = report.Rows("ablation", ablation.plan(), {})
    for item in file.plan:
        file.add(item, {})
    changed = ablation.Variant(config=replace(ablation.FAST.config, clip_norm=5.0))
    monkeypatch.setitem(ablation.VARIANTS, "no clipping", changed)
    (missing,) = report.Rows("ablation", ablation.plan(), {}).missing()
    assert missing["variant"] == "no clipping" and missing["config"]["clip_norm"] == 5.0


def measures(frechet=5.0, **more):
    numbers = {"frechet": (frechet, 2.0), "recognised": (0.9, 0.98), **more}
    return {k: {"value": v, "low": v - 0.1, "high": v + 0.1, "floor": f} for k, (v, f) in numbers.items()}


def test_the_table_of_quality_says_what_was_drawn_as_asked():
    rows = [
        {
            "checkpoint": "fast_conditional",
            "sampler": "ddim",
            "steps": 5,
            "guidance": 0.5,
            "calls": 10,
            "measures": measures(4.0, as_asked=(0.875, 0.97)),
        },
        {"checkpoint": "fast", "sampler": "ddim", "steps": 5, "guidance": None, "calls": 5, "measures": measures()},
    ]
    lines = quality.table({"images": 1_000, "rows": rows}).splitlines()
    assert lines[0].endswith("| recognised | as asked |")
    assert lines[2:] == [
        "| real digits | | | 2.0 | 98.0% | 97.0% |",
        "| `fast_conditional`, `ddim` | 0.5 | 10 | 4.0 (3.9–4.1) | 90.0% | 87.5% |",
        "| `fast`, `ddim` |  | 5 | 5.0 (4.9–5.1) | 90.0% |  |",
    ]


def test_the_original_has_the_tables_of_the_paper():
    """One step x ← a·x − b·ε + σ·z is labutils.sampling.reverse_step, without noise at t = 0."""
    schedule = linear_schedule()
    x, predicted, z = np.random.default_rng(0).standard_normal((3, 2, 3, 3, 1), dtype=np.float32)
    a, b, sigma = contenders.original_tables()
    assert sigma[0] == 0 and len(a) == schedule.T and isinstance(a[0], float)
    for t in (0, 1, 500, 999):
        step = sampling.reverse_step(schedule, x, t, predicted, z)
        np.testing.assert_allclose(a[t] * x - b[t] * predicted + sigma[t] * z, step, rtol=1e-4, atol=1e-5)


def test_the_original_makes_its_tables_once(monkeypatch):
    """Made anew at every step, they would slow the original down and flatter every ratio."""
    made, tables = [], contenders.original_tables
    monkeypatch.setattr(contenders, "original_tables", lambda *T: made.append(T) or tables(*T))
    monkeypatch.setattr(contenders, "SAMPLE_STEPS", 3)
    monkeypatch.setattr(contenders, "WARM_UP", 1)
    monkeypatch.setattr(contenders, "classic", lambda **_: lambda inputs: 0.1 * inputs[0])
    for owner, name in ((sampling, "reverse_step"), (reverse, "reverse_step"), (reverse, "at")):
        monkeypatch.setattr(owner, name, None)  # nothing of the lab is called
    assert contenders.generate_image()["images_per_second"] > 0 and len(made) == 1


def test_the_time_of_a_call_is_without_the_warm_up():
    calls = []
    seconds, cpu = contenders.timed(lambda: calls.append(0), 5)
    assert len(calls) == 5 + contenders.WARM_UP and seconds > 0 and cpu >= 0


@pytest.mark.parametrize("task", filling.TASKS)
def test_a_correction_agrees_with_what_is_known_and_keeps_the_rest(task):
    digits, guess = np.random.default_rng(0).uniform(-1, 1, (2, 3, 28, 28, 1)).astype(np.float32)
    corrected = np.asarray(filling.correct(task, guess, digits))
    if task == "fill":
        np.testing.assert_array_equal(corrected[:, :14], digits[:, :14])
        np.testing.assert_array_equal(corrected[:, 14:], guess[:, 14:])
        np.testing.assert_array_equal(filling.given(task, digits)[:, 14:], -1.0)
    else:
        np.testing.assert_allclose(filling.shrink(corrected), filling.shrink(digits), atol=1e-5)
        detail = guess - filling.enlarge(filling.shrink(guess))
        np.testing.assert_allclose(corrected - filling.enlarge(filling.shrink(digits)), detail, atol=1e-5)
    np.testing.assert_allclose(filling.correct(task, digits, digits), digits, atol=1e-5)


@pytest.mark.parametrize("resample", [1, 2])
@pytest.mark.parametrize("task", filling.TASKS)
def test_completed_digits_agree_with_what_is_known(task, resample):
    digits = np.random.default_rng(0).uniform(-1, 1, (4, 28, 28, 1)).astype(np.float32)
    item = {"task": task, "checkpoint": "fast", "steps": 2, "resample": resample}
    images, calls = filling.complete(item, digits)
    assert images.shape == digits.shape and calls == 2 * resample
    np.testing.assert_allclose(filling.correct(task, images, digits), images, atol=1e-4)


def test_the_true_digit_counts_only_if_the_recogniser_is_sure(monkeypatch):
    scores = np.zeros((4, 10))
    scores[0, 3], scores[1, 3], scores[2, 3], scores[3, 5] = 20, 20, 0.1, 20  # the third is not sure of anything
    monkeypatch.setattr(filling.networks, "predict", lambda network, images: scores)
    found = filling.judge(np.zeros((4, 28, 28, 1)), np.array([3, 4, 3, 5]), None)
    assert (found["recognised"]["value"], found["true_digit"]["value"]) == (0.75, 0.5)


def test_grading_compares_one_job_with_two_and_with_a_cluster():
    counts = dict.fromkeys(marking.marks(Path("nowhere"), {}), 7) | {"command_mb": 700, "all_mb": 2000}
    seconds = (12.0, 1000.0, 500.0, 400.0)
    rows = [{**item, **counts, "seconds": each} for item, each in zip(marking.PLAN, seconds, strict=True)]
    table = marking.table({"rows": rows, "sandbox": "bubblewrap"})
    assert "| 300 | 2 local jobs | 500 s | 700 MB | 2,000 MB |" in table and "| 300 | 2 Dask workers | 400 s |" in table
    assert "against one: 2.00×. Two Dask workers against two jobs: 1.25×. Sandbox: bubblewrap." in table


def test_half_of_the_class_makes_mistakes(tmp_path):
    release(out=tmp_path / "handout", say=lambda line: None)
    expected = marking.make_class(tmp_path / "handout", tmp_path / "class", 16)
    assert len(list(tmp_path.glob("class/*/*.ipynb"))) == 16
    assert len(expected) == 2 * len(marking.MISTAKES) and sum(expected.values()) == len(marking.MISTAKES)
    with pytest.raises(ValueError, match="has no .* any more: change MISTAKES"):
        marking.answers("ex-6-2-inpaint", "def inpaint(): ...")


def test_no_mark_of_the_class_was_wrong():
    for row in committed("grading")["rows"]:
        assert row["right_without_full_marks"] == row["wrong_with_full_marks"] == 0
        assert row["left_to_a_human"] <= 0.01 * (row["right_answers"] + row["wrong_answers"])


def test_ratios_are_taken_round_by_round(monkeypatch):
    """A slow round slows both, and their ratio stays."""
    rates = {"lab": [200.0, 20.0, 400.0], "original loop": [100.0, 10.0, 100.0]}
    rows = []
    for i in range(3):
        found = {
            group: {
                name: {"images_per_second": rates.get(name, [1.0] * 3)[i], "cpu_seconds_per_step": 0.1}
                for name in names
            }
            for group, names in speed.CONTENDERS.items()
            if group in ("train", "choices", "sample")
        }
        found["machine"] = {"matmul": {"gflops": 100.0}}
        found["scaling"] = {"lab, classic": {"seconds": {"64 × 25": [2.0, 1.0, 3.0][i]}}}
        found["layers"] = {"layers": {"milliseconds": {"up_1": 3.0}}}
        if i == 0:
            found["memory"] = {"training": {"peak_mb": 900.0}}
        rows.append({"round": i + 1, "found": found})
    summary = speed.summarise(rows)
    assert summary["rounds"] == 3
    ratio = summary["ratios"]["training step, lab against the original loop"]
    assert ratio == {"median": 2.0, "low": 2.0, "high": 4.0}
    assert summary["scaling"]["64 × 25"] == {"image_steps": 1600, "median": 2.0, "low": 1.0, "high": 3.0}
    assert summary["original_cpu_seconds"]["median"] == pytest.approx(4690)
    monkeypatch.setattr(speed, "distance", lambda *row: 12.0)
    monkeypatch.setattr(speed, "shortest_training", lambda: (110.0, None))
    assert "2.00× (2.00–4.00)" in speed.table({**summary, "machine": {"cores": 2}})


def test_the_shortest_training_that_is_good_enough(folder):
    """The cheapest run of ``fast`` at or below the classic checkpoint's distance, whatever other variants reach."""
    row = {"checkpoint": "classic", "sampler": "ddpm", "steps": 1000, "guidance": None, "measures": measures(100.0)}
    report.save("quality", {"rows": [row]})
    runs = [("fast", 90, 120.0), ("fast", 95, 99.0), ("fast, 2 passes", 180, 60.0), ("told the digit", 10, 20.0)]
    runs = [{"variant": v, "cpu_seconds": s, "measures": measures(f)} for v, s, f in runs]
    report.save("ablation", {"rows": runs})
    assert speed.shortest_training() == (100.0, runs[1])
    report.save("ablation", {"rows": runs[:1]})
    assert speed.shortest_training() == (100.0, None)


def test_a_round_of_speed_runs_every_contender_and_memory_once(monkeypatch):
    monkeypatch.setattr(speed, "run", lambda group, name: f"{group}, {name}")
    plan = {group: dict.fromkeys(names) for group, names in speed.CONTENDERS.items()}
    monkeypatch.setattr(speed, "have_peers", lambda: True)
    first, second = speed.measure(1)["found"], speed.measure(2)["found"]
    assert {group: list(names) for group, names in first.items()} == {g: list(names) for g, names in plan.items()}
    assert set(first) - set(second) == set(speed.ONCE)
    monkeypatch.setattr(speed, "have_peers", lambda: False)
    assert not any(name.startswith(speed.PEERS) for names in speed.measure(2)["found"].values() for name in names)


def test_a_contender_that_fails_is_named():
    with pytest.raises(RuntimeError, match="train, nobody: KeyError"):
        speed.run("train", "nobody")


def test_a_table_is_put_between_its_marks(tmp_path):
    file = tmp_path / "README.md"
    start, end = report.marks("speed")
    file.write_text(f"before\n{start}\nold\n{end}\nafter\n", encoding="utf-8")
    for _ in range(2):
        report.quote("speed", "| new |", file)
    assert file.read_text(encoding="utf-8") == f"before\n{start}\n| new |\n{end}\nafter\n"


def test_results_are_saved_where_they_are_read(folder):
    report.save("quality", {"é": 1})
    assert report.read("quality") == measured.recorded("quality") == {"é": 1}
    assert json.loads((folder / "quality.json").read_text(encoding="utf-8")) == {"é": 1}
    assert report.read("speed") is None
