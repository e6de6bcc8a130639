"""The committed results: of the committed weights, complete, quoted as they are; and the programs' arithmetic."""

import json

import pytest

from benchmarks import ablation, quality, report, speed
from labutils import checkpoints, evaluation


def readme():
    return report.README.read_text(encoding="utf-8")


def test_quality_is_of_the_committed_weights_and_the_readme_quotes_it():
    recorded = evaluation.recorded("quality")
    assert recorded["rows"] and recorded["images"] == 2_000
    for name, sha256 in recorded["weights"].items():
        assert checkpoints.read_record(name)["weights_sha256"] == sha256, f"measure {name} again: make bench"
    wanted = {(name, *row) for name, rows in quality.PLAN.items() for row in rows}
    assert wanted == {(r["checkpoint"], r["sampler"], r["steps"], r["guidance"]) for r in recorded["rows"]}
    assert quality.readme_table(recorded) in readme(), "make bench writes the table"


def test_the_ablation_has_every_variant():
    recorded = evaluation.recorded("ablation")
    assert {row["variant"] for row in recorded["rows"]} == set(ablation.VARIANTS)
    for row in recorded["rows"]:
        m = row["measures"]["frechet"]
        assert m["low"] <= m["high"] and m["value"] > m["floor"] > 0 and row["cpu_seconds"] > 0


def test_an_ablation_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(ablation, "FILE", tmp_path / "ablation.json")
    monkeypatch.setattr(evaluation, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    names = list(ablation.VARIANTS)
    for seed, name in ((1, names[0]), (0, names[2]), (0, names[0])):
        ablation.keep({"variant": name, "seed": seed})
    assert [(r["variant"], r["seed"]) for r in ablation.read()["rows"]] == [(names[0], 0), (names[0], 1), (names[2], 0)]


def test_speed_is_complete_and_the_readme_quotes_it():
    recorded = evaluation.recorded("speed")
    assert recorded["rounds"] >= 5
    for group in ("train", "choices", "sample"):
        assert list(recorded[group]) == list(speed.CONTENDERS[group])
        assert all(r["low"] <= r["median"] <= r["high"] for r in recorded[group].values())
    assert list(recorded["ratios"]) == list(speed.RATIOS)
    assert speed.readme_table(recorded) in readme(), "make bench writes the table"
    for picture in ("speed.png", "cost.png"):
        assert (evaluation.RESULTS / picture).read_bytes().startswith(b"\x89PNG")


def test_ratios_are_taken_round_by_round():
    """A slow round slows both, and their ratio stays."""
    rates = {"lab": [200.0, 20.0, 400.0], "original loop": [100.0, 10.0, 100.0]}
    found = {
        group: {
            name: [{"images_per_second": v, "cpu_seconds_per_step": 0.1} for v in rates.get(name, [1.0] * 3)]
            for name in names
        }
        for group, names in speed.CONTENDERS.items()
        if group in ("train", "choices", "sample")
    }
    found["machine"] = {"matmul": [{"gflops": 100.0}]}
    found["scaling"] = {"lab, classic": [{"seconds": {"64 × 25": s}} for s in (2.0, 1.0, 3.0)]}
    found["memory"] = {"training": [{"peak_mb": 900.0}]}
    found["layers"] = {"layers": [{"milliseconds": {"up_1": 3.0}}]}
    summary = speed.summarise(found)
    ratio = summary["ratios"]["training step, lab against the original loop"]
    assert ratio == {"median": 2.0, "low": 2.0, "high": 4.0}
    assert summary["scaling"]["64 × 25"] == {"image_steps": 1600, "median": 2.0, "low": 1.0, "high": 3.0}
    assert summary["original_cpu_seconds"]["median"] == pytest.approx(4690)
    assert "2.00× (2.00–4.00)" in speed.readme_table({**summary, "machine": {"cores": 2}})


def test_the_shortest_training_that_is_good_enough():
    target, row = speed.shortest_training()
    assert row["measures"]["frechet"]["value"] <= target and row["variant"].startswith("fast")


def test_a_contender_that_fails_is_named():
    with pytest.raises(RuntimeError, match="train, nobody: KeyError"):
        speed.run("train", "nobody")


def test_a_table_is_put_between_its_marks(tmp_path, monkeypatch):
    file = tmp_path / "README.md"
    start, end = report.marks("speed")
    file.write_text(f"before\n{start}\nold\n{end}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(report, "README", file)
    for _ in range(2):
        report.quote("speed", "| new |")
    assert file.read_text(encoding="utf-8") == f"before\n{start}\n| new |\n{end}\nafter\n"


def test_results_are_saved_where_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    report.save("quality", {"é": 1})
    assert evaluation.recorded("quality") == {"é": 1}
    assert json.loads((tmp_path / "quality.json").read_text(encoding="utf-8")) == {"é": 1}
    with pytest.raises(FileNotFoundError, match="speed.json is missing"):
        evaluation.recorded("speed")
