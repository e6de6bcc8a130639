"""The start: whatever Keras, the environment and the process bring along, the lab runs or says in one line why not."""

import json
import os
import platform
import subprocess
import sys

import conftest
import keras
import pytest

from lab import cli
from labutils import pretrained
from labutils.support import startup

WORKS = """
from labutils import pretrained, sampling
import keras
config = keras.config
settings = config.backend(), config.floatx(), config.epsilon(), config.image_data_format(), config.dtype_policy().name
assert settings == ("tensorflow", "float32", 1e-7, "channels_last", "float32"), settings
drawn = sampling.sample(pretrained.load_diffusion("fast"), 1, sampler="ddim", steps=2, progress=False)
assert drawn.shape == (1, 28, 28, 1)
print("works")
"""


def run(code, tmp_path, settings=None, closed=False, **variables):
    """Run Python code in a home with this keras.json; returns the process. The file must stay as it is."""
    file = tmp_path / ".keras" / "keras.json"
    if settings is not None:
        file.parent.mkdir(exist_ok=True)
        file.write_text(settings if isinstance(settings, str) else json.dumps(settings), encoding="utf-8")
        before = file.read_bytes()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KERAS", "TF_"))}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(conftest.ROOT), **variables}
    line = [sys.executable, *(["-c", code] if isinstance(code, str) else code)]
    if closed:
        line = ["sh", "-c", 'exec "$0" "$@" 2>&-', *line]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert settings is None or file.read_bytes() == before
    return done


@pytest.mark.parametrize(
    ("first", "settings", "variables"),
    [
        ("", {"image_data_format": "channels_first", "floatx": "float64", "epsilon": 0.1}, {"KERAS_BACKEND": "jax"}),
        pytest.param("", {"backend": "torch", "floatx": "float16"}, {}, marks=pytest.mark.slow),
        pytest.param("", None, {"KERAS_BACKEND": "no such thing", "KERAS_HOME": "here"}, marks=pytest.mark.slow),
        (
            "import keras; keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])",
            {"image_data_format": "channels_first", "floatx": "float64"},
            {},
        ),
    ],
    ids=["values and jax", "torch", "no backend", "Keras came first"],
)
def test_settings_from_outside_do_no_harm(first, settings, variables, tmp_path):
    done = run(f"{first}\n{WORKS}", tmp_path, settings, **variables)
    assert (done.returncode, done.stdout) == (0, "works\n"), done.stderr[-2000:]
    assert first or not done.stderr


@pytest.mark.parametrize(
    "settings",
    [
        '{"floatx": "float8"}',
        *(pytest.param(more, marks=pytest.mark.slow) for more in ('{"epsilon": "small"}', "[1, 2]")),
    ],
)
def test_settings_that_keras_refuses_are_one_line(settings, tmp_path):
    done = run(["-m", "lab", "doctor"], tmp_path, settings)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert f"{tmp_path / '.keras' / 'keras.json'} may be why: correct or delete it" in done.stderr


def test_another_backend_that_came_first_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(keras.config, "backend", lambda: "torch")
    startup._configure_keras()
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "with the backend torch" in said and "import labutils first" in said
    monkeypatch.setattr(pretrained, "names", lambda: [])
    assert cli.main(["doctor"]) == 1
    assert "Keras runs on torch; the lessons need TensorFlow\n" in capsys.readouterr().out


CLOSED = """
import os
import labutils
assert os.path.realpath("/proc/self/fd/2") == os.devnull  # else messages would go into the next file that is opened
with open("next", "w") as file:
    os.write(2, b"a message of TensorFlow")
assert open("next").read() == ""
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
def test_standard_error_may_be_closed(tmp_path):
    done = run(CLOSED + WORKS, tmp_path, closed=True)
    assert (done.returncode, done.stdout) == (0, "works\n")
    done = run(["-m", "lab", "run", "99"], tmp_path, closed=True)
    assert done.returncode == 2


def test_standard_error_is_as_before(tmp_path):
    done = run("import sys, labutils; sys.stderr.write('heard')", tmp_path)
    assert (done.returncode, done.stderr) == (0, "heard")


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN is asked for on x86 only")
@pytest.mark.parametrize("asked", [None, "0"])
def test_onednn_is_asked_for_unless_the_user_says_no(asked, tmp_path):
    variables = {} if asked is None else {"TF_ENABLE_ONEDNN_OPTS": asked}
    code = "import labutils, os; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    assert run(code, tmp_path, **variables).stdout.strip() == (asked or "1")
