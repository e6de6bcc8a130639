"""Weights that say where they come from.

A checkpoint is two files: ``NAME.weights.h5`` (numbers only; they are loaded into a network that this package
builds) and ``NAME.json`` (provenance, history, and the SHA-256 of the weights, verified at every load).
"""

import json
import platform
from pathlib import Path

import keras
import numpy as np

from labutils import networks
from labutils.data import DATA_DIR
from labutils.files import sha256_of_file, write_atomically

CHECKPOINT_DIR = DATA_DIR / "checkpoints"


def save(network, name, about, folder=CHECKPOINT_DIR):
    """Write a checkpoint.

    Args:
        network: keras.Model built by :func:`labutils.networks.build`; its name is kept as ``network``.
        name: name of the checkpoint, letters, digits, ``_`` and ``-``.
        about: dict with what is known of the run (data set, recipe, seed, history …); JSON types only.
        folder: where to.

    Returns:
        Path of the JSON file.
    """
    weights_file, json_file = _paths(name, folder)
    write_atomically(weights_file, network.save_weights)
    record = {
        "name": name,
        "network": network.name,
        "input_shape": [int(n) for n in network.inputs[0].shape[1:]],
        "parameters": network.count_params(),
        "weights_sha256": sha256_of_file(weights_file),
        **about,
    }
    # The weights first: a kill in between leaves a pair that the hash refuses, never one that is silently wrong.
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    write_atomically(json_file, lambda path: path.write_text(text, encoding="utf-8"))
    return json_file


def load(name="classic", folder=CHECKPOINT_DIR):
    """Load a checkpoint.

    Returns:
        (network, about): a keras.Model with the weights in it, and the JSON record as a dict.

    Raises:
        FileNotFoundError: no such checkpoint; names those that are there.
        ValueError: the record is damaged, or the weights are not those the record was written for.
    """
    about = read_record(name, folder)
    weights_file, _ = _paths(name, folder)
    if not weights_file.is_file():
        raise FileNotFoundError(f"{weights_file} is missing. {REPAIR}")
    if sha256_of_file(weights_file) != about["weights_sha256"]:
        raise ValueError(f"{weights_file} does not match the SHA-256 in {name}.json: damaged or replaced. {REPAIR}")
    network = networks.build(about["network"], about["input_shape"])
    network.load_weights(weights_file)
    return network, about


REPAIR = "Restore both files (git checkout -- data/checkpoints) or train again: python -m labutils train --help"


def read_record(name, folder=CHECKPOINT_DIR):
    """Read a checkpoint's JSON record; errors as in :func:`load`."""
    _, json_file = _paths(name, folder)
    if not json_file.is_file():
        known = ", ".join(names(folder)) or "none"
        raise FileNotFoundError(f"no checkpoint {name!r} in {folder} (there: {known})")
    try:
        about = json.loads(json_file.read_text(encoding="utf-8"))
        missing = {"network", "input_shape", "parameters", "weights_sha256"} - about.keys()
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{json_file} is damaged: {error}. {REPAIR}") from error
    if missing:
        raise ValueError(f"{json_file} is damaged: it lacks {', '.join(sorted(missing))}. {REPAIR}")
    return about


def names(folder=CHECKPOINT_DIR):
    """Names of the checkpoints in ``folder``, sorted."""
    return sorted(path.stem for path in Path(folder).glob("[!.]*.json"))  # not what a killed write left


def versions():
    """Versions of what the numbers depend on, for a record."""
    import tensorflow as tf

    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


def _paths(name, folder):
    if not str(name).replace("_", "").replace("-", "").isalnum():
        raise ValueError(f"a checkpoint's name has letters, digits, '_' and '-' only, got {name!r}")
    return Path(folder) / f"{name}.weights.h5", Path(folder) / f"{name}.json"
