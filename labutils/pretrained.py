"""Weights with a record of where they come from.

A checkpoint is two files. ``NAME.weights.h5`` holds numbers only; they are loaded into a network that this package
builds. ``NAME.json`` holds provenance, history and the SHA-256 of the weights, which every load verifies.
"""

import json
import platform
import tempfile
from functools import partial
from pathlib import Path

import h5py
import keras
import numpy as np

from labutils import networks, schedule
from labutils.data import DATA_DIR
from labutils.diffusion import Diffusion
from labutils.support.files import sha256_of_file, write_atomically

CHECKPOINT_DIR = DATA_DIR / "checkpoints"
FOLDER_HELP = "folder of the checkpoints, such as train wrote (default: the lab's own)"


def save(model, name, about, folder=CHECKPOINT_DIR, half=False):
    """Write a checkpoint.

    Args:
        model: keras.Model built by :func:`labutils.networks.build`; its name is kept as ``network``. Or the
            labutils.diffusion.Diffusion of one: then schedule, prediction and guidance are kept, too.
        name: name of the checkpoint, letters, digits, ``_`` and ``-``.
        about: dict that describes the run (data set, config, seed, history …); JSON types only.
        folder: the folder to write to.
        half: store the numbers as float16, in half the space; ``load`` gives float32 again, rounded to 11 bits.

    Returns:
        Path of the JSON file.

    Raises:
        ValueError: a bad name, ``about`` holds other than JSON types, or the folder cannot be written.
    """
    weights_file, json_file = _paths(name, folder)
    network = model
    if isinstance(model, Diffusion):
        network, drawing = model.network, {"prediction": model.prediction, "guidance": model.guidance}
        about = {"schedule": model.schedule.record(), **drawing, **about}
    try:
        json.dumps(about)  # before the weights of an earlier checkpoint are replaced
    except TypeError as error:
        raise ValueError(f"about must hold JSON types only: {error}") from error
    write_atomically(weights_file, partial(_save_half, network) if half else network.save_weights)
    record = {
        "name": name,
        "network": network.name,
        "input_shape": [int(n) for n in network.inputs[0].shape[1:]],
        **({"classes": network.label_count} if network.name in networks.LABELLED else {}),
        "parameters": network.count_params(),
        "weights_sha256": sha256_of_file(weights_file),
        **about,
    }
    # The weights come first. If a kill comes in between, the old record's hash does not match, and load refuses them.
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    write_atomically(json_file, lambda path: path.write_text(text, encoding="utf-8"))
    return json_file


def _save_half(network, path):
    """What ``save_weights`` writes, with float16 in place of float32."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.weights.h5"
        network.save_weights(whole)
        with h5py.File(whole) as source, h5py.File(path, "w") as target:
            target.attrs.update(source.attrs)

            def copy(name, item):
                if isinstance(item, h5py.Dataset):
                    kind = np.float16 if item.dtype == np.float32 else item.dtype
                    copied = target.create_dataset(name, data=item[()].astype(kind))
                else:
                    copied = target.require_group(name)
                copied.attrs.update(item.attrs)

            source.visititems(copy)


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
    network = networks.build(about["network"], about["input_shape"], about.get("classes", networks.CLASSES))
    network.load_weights(weights_file)
    return network, about


def load_or_own(name, folder):
    """The network of the checkpoint ``name`` in ``folder``, or the lab's own if there is none."""
    here = _paths(name, folder)[1].is_file()
    return load(name, folder if here else CHECKPOINT_DIR)[0]


def load_diffusion(name, folder=CHECKPOINT_DIR, fused=False):
    """A checkpoint that draws images, as a diffusion model.

    Args:
        name, folder: as for :func:`load`.
        fused: True for the form of the classic network that gives the same images with less arithmetic, see
            :func:`labutils.networks.fuse_upsampling`.

    Returns:
        labutils.diffusion.Diffusion, with the schedule, prediction and guidance of the record.

    Raises:
        FileNotFoundError, ValueError: as :func:`load`; or the network does not draw images, or the record is of an
            earlier version of the lab, or ``fused`` for another network than the classic one.
    """
    network, about = load(name, folder)
    if "schedule" not in about:
        raise ValueError(f"checkpoint {name} holds the network {about['network']!r}, which does not draw images")
    if "prediction" not in about:
        raise ValueError(
            f"the record of checkpoint {name} is of an earlier version of the lab, which kept the schedule as a text: "
            "train the network again, or use that version"
        )
    if fused:
        network = networks.fuse_upsampling(network)
    return Diffusion(network, schedule.from_record(about["schedule"]), about["prediction"], about.get("guidance", 0.0))


REPAIR = "Restore both files (git checkout -- data/checkpoints) or train again: python -m lab train --help"


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
    return sorted(path.stem for path in Path(folder).glob("[!.]*.json"))  # not the temporary file of a killed write


def versions():
    """Versions of Python and of the libraries that the numbers depend on, for a record."""
    import tensorflow as tf

    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


def _paths(name, folder):
    if not str(name).replace("_", "").replace("-", "").isalnum():
        raise ValueError(
            f"a checkpoint's name has letters, digits, '_' and '-' only, got {name!r}; its folder is named separately"
        )
    return Path(folder) / f"{name}.weights.h5", Path(folder) / f"{name}.json"
