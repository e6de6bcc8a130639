"""The command line: what it writes, and one clear line with exit code 2 for bad input."""

import importlib.metadata
import json
import shlex
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest
from conftest import needs, write_classes

from grading import __main__ as for_instructors
from lab import cli
from labutils import data, networks, pretrained, sampling, training


@pytest.mark.parametrize("package", [cli, pytest.param(for_instructors, marks=needs("requirements-grading.txt"))])
def test_help_of_every_command(package):
    for arguments in ([], *([name] for name in package.COMMANDS)):
        with pytest.raises(SystemExit) as left:
            package.main([*arguments, "--help"])
        assert left.value.code == 0


BAD = [
    ([], "COMMAND"),
    (["fly"], "invalid choice: 'fly'"),
    (["run", "--preset", "huge"], "unknown preset 'huge', known: smoke, quick, full"),
    (["run", "99"], "unknown lesson '99', known: 1 … "),
    (["run", "02_backward"], "unknown lesson"),
    (["run", "--dataset", "mnits"], "unknown data set 'mnits'"),
    (["run", "--dataset", "none.npz"], "no such data file: none.npz"),
    (["run", "--out", "/dev/null/x"], "cannot write"),
    (["train", "--model", "classic"], "--out"),
    (["train", "--model", "modern", "--out", "OUT", "--dataset", "digits"], "unknown network 'modern'"),
    (["train", "--model", "classic", "--out", "OUT", "--epochs", "0"], "--epochs must be at least 1"),
    (["train", "--model", "classic", "--out", "OUT", "--epochs", "two"], "invalid int value: 'two'"),
    (["train", "--model", "classic", "--out", "OUT", "--epochs", "1", "--preset", "quick"], "not allowed with"),
    (["train", "--model", "classic", "--out", "OUT", "--preset", "huge"], "unknown preset"),
    (["train", "--model", "classic", "--out", "OUT", "--seed", "-1"], "--seed must not be negative"),
    (["train", "--model", "classic", "--out", "/dev/null/x", "--epochs", "1"], "cannot write"),
    (["sample", "--out", "OUT/a.jpg"], "must end in .npz or .png"),
    (["sample", "--out", "OUT/a.png", "--count", "0"], "count must be an integer of at least 1"),
    (["sample", "--out", "OUT/a.png", "--steps", "1001"], "steps must be an integer in 1 … 1000"),
    (["sample", "--out", "OUT/a.png", "--sampler", "euler"], "unknown sampler 'euler'"),
    (["sample", "--out", "OUT/a.png", "--checkpoint", "none"], "no checkpoint 'none'"),
    (["sample", "--out", "OUT/a.png", "--checkpoint", "fast", "--folder", "OUT"], "no checkpoint 'fast' in"),
    (["sample", "--out", "OUT/a.png", "--checkpoint", "text_to_image", "--folder", "OUT"], "(there: none)"),
    (["sample", "--out", "OUT/a.png", "--checkpoint", "OUT/fast"], "its folder is named separately"),
    (["checkpoints", "--folder", "OUT"], "no checkpoints in"),
    (["sample", "--out", "OUT/a.png", "--seed", "-5"], "--seed must not be negative"),
    (["sample", "--out", "/dev/null/a.png"], "cannot write"),
    (
        ["sample", "--out", "OUT/a.png", "--guidance", "1"],
        "--guidance needs a conditional network, and classic is unconditional",
    ),
    (["sample", "--out", "OUT/a.png", "--checkpoint", "digit_features"], "which does not draw images"),
    (["evaluate", "OUT/none.npz"], "no such file"),
    (["evaluate", "setup.npz", "--seed", "-1"], "--seed must not be negative"),
    (["evaluate", "setup.npz", "--json", "/dev/null/x"], "cannot write"),
    (["copy", "--out", "/dev/null/x"], "cannot write"),
    (["build", "99"], "unknown lesson '99'"),
    (["address", "ftp://example.org"], "need https://github.com/OWNER/NAME"),
]


BAD_FOR_INSTRUCTORS = [
    ([], "COMMAND"),
    (["release"], "--out"),
    (["release", "--out", "OUT", "99"], "unknown lesson '99'"),
    (["release", "--out", "/dev/null/x", "2"], "cannot write"),
]


@pytest.mark.parametrize(
    ("package", "arguments", "message"),
    [(cli, *bad) for bad in BAD] + [(for_instructors, *bad) for bad in BAD_FOR_INSTRUCTORS],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_exit_code_2(package, arguments, message, capsys, tmp_path):
    arguments = [a.replace("OUT", str(tmp_path)) for a in arguments]
    try:
        code = package.main(arguments)
    except SystemExit as left:
        code = left.code
    error = capsys.readouterr().err
    assert code == 2 and message in error and error.count("\n") == 1, error
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "bad input must leave no file"


def test_exit_code_of_the_process():
    done = subprocess.run([sys.executable, "-m", "lab", "run", "99"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "unknown lesson" in done.stderr


def test_the_old_name_of_the_commands_names_the_new_one():
    done = subprocess.run([sys.executable, "-m", "labutils", "doctor"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "python -m lab --help" in done.stderr


def test_sample_writes_npz_and_png(tmp_path):
    common = ["sample", "--count", "3", "--steps", "5", "--seed", "1"]
    assert cli.main([*common, "--out", str(tmp_path / "a.npz")]) == 0
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        images = archive["images"]
    assert images.dtype == np.float32 and images.shape == (3, 28, 28, 1)
    assert images.min() >= -1 and images.max() <= 1
    assert cli.main([*common, "--out", str(tmp_path / "new" / "a.png")]) == 0
    assert matplotlib.image.imread(tmp_path / "new" / "a.png").shape[:2] == (3 * 28, 3 * 3 * 28)
    for name in ("B.PNG", "b.Png", "B.NPZ", "b.nPz"):  # the case of an ending does not matter
        assert cli.main([*common, "--out", str(tmp_path / "capitals" / name)]) == 0
        assert (tmp_path / "capitals" / name).is_file()
    assert len(list((tmp_path / "capitals").iterdir())) == 4
    with np.load(tmp_path / "capitals" / "B.NPZ", allow_pickle=False) as archive:
        assert np.array_equal(archive["images"], images)


def test_samples_of_a_network_with_labels_are_measured_as_asked(tmp_path, capsys):
    file = tmp_path / "a.npz"
    options = "--checkpoint fast_conditional --sampler dpmpp_2m --steps 4 --count 140"
    assert cli.main(["sample", *options.split(), "--out", str(file)]) == 0
    with np.load(file, allow_pickle=False) as archive:
        assert list(archive["labels"][:12]) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    capsys.readouterr()
    assert cli.main(["evaluate", str(file), "--dataset", "digits", "--json", str(tmp_path / "a.json")]) == 0
    asked = json.loads((tmp_path / "a.json").read_text())["as_asked"]
    assert "as_asked" in capsys.readouterr().out and asked["value"] > 0.9


def test_train_writes_a_checkpoint_that_can_be_resumed(tmp_path, tiny_npz, capsys):
    arguments = ["train", "--model", "classic", "--epochs", "1", "--dataset", str(tiny_npz)]
    arguments += ["--out", str(tmp_path / "run")]
    assert cli.main(arguments) == 0
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"classic.json", "classic.weights.h5", "state.npz"}
    capsys.readouterr()
    assert cli.main(arguments) == 2
    assert "add --resume" in capsys.readouterr().err
    arguments[4] = "2"
    assert cli.main([*arguments, "--resume"]) == 0


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "classic.weights.h5").write_bytes(b"0"), "checkpoint classic: "),
        (lambda folder: (folder / "fast.json").write_text("{"), "checkpoint fast: "),
        (lambda folder: [file.unlink() for file in folder.glob("digit_recogniser.*")], "checkpoint digit_recogniser: "),
    ],
    ids=["weights", "record", "nothing there"],
)
def test_doctor_names_each_checkpoint_that_does_not_load(damage, said, tmp_path, monkeypatch, capsys):
    for file in pretrained.CHECKPOINT_DIR.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damage(tmp_path)
    load, names = pretrained.load, pretrained.names
    monkeypatch.setattr(pretrained, "load", lambda name: load(name, tmp_path))
    monkeypatch.setattr(pretrained, "names", lambda: names(tmp_path))
    assert cli.main(["doctor"]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(said)]
    assert not line.endswith("good")


def test_doctor_survives_whatever_a_checkpoint_raises(monkeypatch, capsys):
    def fail(name):
        raise RuntimeError(f"{name} is\n\nbad")

    monkeypatch.setattr(pretrained, "load", fail)
    assert cli.main(["doctor"]) == 1
    assert "checkpoint fast: fast is bad\n" in capsys.readouterr().out


@pytest.mark.parametrize("package", ["nbformat", "scipy", "keras"])
def test_doctor_names_a_missing_package(package, monkeypatch, capsys):
    version = importlib.metadata.version

    def found(name):
        if name == package:
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", found)
    monkeypatch.setitem(sys.modules, package, None)
    assert cli.main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert f"  {package} MISSING\n" in printed and printed.splitlines()[-1].startswith("To do: python -m pip install")


def test_doctor_is_content_without_mnist(monkeypatch, capsys, tmp_path):
    (tmp_path / "mnist.npz").write_bytes(b"damaged")
    for files in ([], [tmp_path / "mnist.npz"]):
        monkeypatch.setattr(data, "candidates", lambda name="mnist", files=files: files)
        monkeypatch.setattr(data, "_download", lambda name: data.read_npz(tmp_path / "mnist.npz", data.ARRAYS))
        assert cli.main(["doctor"]) == 0
        assert ("is damaged or unreadable" in capsys.readouterr().out) == bool(files)


@pytest.mark.parametrize(
    "model", ["fast", *(pytest.param(model, marks=pytest.mark.slow) for model in ("classic", "fast_conditional"))]
)
def test_the_command_that_train_prints_draws_what_was_trained(model, tmp_path, capsys):
    folder, file = tmp_path / "my run", tmp_path / "a.npz"
    arguments = ["train", "--model", model, "--preset", "smoke", "--dataset", "digits", "--out", str(folder)]
    assert cli.main(arguments) == 0
    printed = shlex.split(capsys.readouterr().out.partition("draw from it: ")[2])
    assert printed[:4] == ["python", "-m", "lab", "sample"] and printed[-1] == str(folder / f"{model}.png")
    quick = ["--sampler", "ddim", "--steps", "4", "--count", "3", "--out", str(file)]
    assert cli.main([*printed[3:], *quick]) == 0
    with np.load(file) as archive:
        drawn = archive["images"]
    network = networks.build(model, (28, 28, 1))
    options = {"steps": 4, "sampler": "ddim", "progress": False}
    if model == "fast_conditional":
        options["condition"] = [0, 1, 2]
    for weights, is_same in ((folder, True), (pretrained.CHECKPOINT_DIR, False)):
        network.load_weights(weights / f"{model}.weights.h5")
        expected = sampling.sample(training.EXPERIMENTS[model].diffusion(network), 3, **options).clip(-1, 1)
        assert np.allclose(drawn, expected, atol=1e-3) == is_same
    capsys.readouterr()
    assert cli.main(["checkpoints", "--folder", str(folder)]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith(f"{model}: network {model}") and "digit_features" not in listed


def test_samples_of_26_classes(tmp_path, capsys):
    """The labels of the samples are those of the data; the lab's judges say that they cannot read them."""
    letters, file = write_classes(tmp_path / "letters.npz", 26), str(tmp_path / "a.npz")
    common = ["--model", "fast_conditional", "--epochs", "1", "--dataset", str(letters), "--out", str(tmp_path)]
    assert cli.main(["train", *common]) == 0
    options = ["--sampler", "ddim", "--steps", "2", "--count", "30", "--checkpoint", "fast_conditional"]
    assert cli.main(["sample", *options, "--folder", str(tmp_path), "--out", file]) == 0
    with np.load(file) as archive:
        assert list(archive["labels"]) == [*range(26), 0, 1, 2, 3]
    capsys.readouterr()
    assert cli.main(["evaluate", file, "--dataset", str(letters)]) == 2
    assert "the judges know images of shape (28, 28, 1), letters.npz has (8, 8, 1)" in capsys.readouterr().err


def test_checkpoints_and_doctor(capsys):
    assert cli.main(["checkpoints"]) == 0
    printed = capsys.readouterr().out
    assert "classic: network classic, 257,265 parameters" in printed and "trained on mnist" in printed
    assert cli.main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for word in ("Python", "tensorflow", "threads", "GPU", "MNIST", "checkpoint classic: good"):
        assert word in printed
