"""Report versions, threads, GPU, data and checkpoints, and how to get what is missing."""

import importlib.metadata
import platform
import re
from pathlib import Path


def add_arguments(parser):
    """No arguments."""


def main(options):
    """Print the report; returns 0 if every lesson can run, else 1."""
    print(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    missing = []
    for package in required():
        try:
            print(f"  {package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
            print(f"  {package} MISSING")
    if missing:
        print("To do: python -m pip install -r requirements.txt -c constraints.txt; then run this again")
        return 1  # what follows needs them
    _report_hardware()
    _report_mnist()
    problems = [*_problems_of_keras(), *_problems_of_checkpoints()]
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def required():
    """Names of the packages in requirements.txt, which stands beside labutils."""
    lines = (Path(__file__).resolve().parents[1] / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = (re.match(r"[\w.-]+", line) for line in lines)
    return [name.group() for name in names if name]


def _report_hardware():
    import tensorflow as tf

    from labutils.support.machine import machine

    found = machine()
    print(
        f"{found['processor']}; CPU cores this process may use: {found['cores']}; TensorFlow threads: "
        f"{tf.config.threading.get_intra_op_parallelism_threads() or 'one per core'}"
    )
    gpus = tf.config.list_physical_devices("GPU")
    print(f"GPU: {', '.join(gpu.name for gpu in gpus) or 'none; the lab does not need one'}")


def _report_mnist():
    """Say where MNIST is. It is no problem if it is nowhere: the digits of scikit-learn replace it."""
    from labutils import data

    found = [path for path in data.candidates() if path.is_file()]
    if found:
        try:
            data.load("mnist")
            print("MNIST: good")
        except (ValueError, FileNotFoundError) as error:
            print(f"MNIST: {_one_line(error)}")
    else:
        print(
            "MNIST: not on this machine; Keras will download it, and without a network DATASET = 'auto' uses the "
            "digits of scikit-learn.\nTo do, for MNIST without a network: put mnist.npz into one of"
        )
        for path in data.candidates():
            print(f"  {path.parent}")


def _problems_of_keras():
    import keras

    backend = keras.config.backend()
    return [] if backend == "tensorflow" else [f"Keras runs on {backend}; the lessons need TensorFlow"]


def _problems_of_checkpoints():
    """Load the lab's checkpoints and those that the lessons name; prints one line for each that is good."""
    from lab.lessons import LESSONS, needs
    from labutils import pretrained

    named = {name for lesson in LESSONS for name in needs(lesson)["checkpoints"]}
    problems = []
    for name in sorted({*named, *pretrained.names()}):
        try:
            pretrained.load(name)
            print(f"checkpoint {name}: good")
        except Exception as error:  # Keras and h5py have many; whatever it is, this report goes on
            problems.append(f"checkpoint {name}: {_one_line(error)}")
    return problems


def _one_line(error):
    return " ".join(str(error).split()) or type(error).__name__
