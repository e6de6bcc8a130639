"""Load real images and verify them. One data set is always available.

``load("mnist")`` gives float32 images in [-1, 1], shape (N, H, W, C). MNIST is looked for on this machine, then
downloaded. A damaged file is named and skipped. If no source works, ``load("auto")`` says why and falls back to real
handwritten digits that come inside scikit-learn.
"""

import hashlib
import io
import os
import socket
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labutils.picture_folder import HELD_OUT, read_folder
from labutils.support.files import read_npz

DATA_DIR = Path(__file__).resolve().parent.parent / "data"
NAMES = ("auto", "mnist", "digits", "fashion_mnist", "cifar10")
# SHA-256 of the bytes of the four arrays. The hash of a file would differ from mirror to mirror.
MNIST_SHA256 = "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16"
ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class Images:
    """A data set, ready for the network.

    Attributes:
        name: name of the data set that was loaded (never ``auto``); for your own file or folder, its name.
        x_train, x_test: float32, shape (N, H, W, C), in [-1, 1].
        y_train, y_test: int64 labels, shape (N,).
        sha256: hash of the bytes of the four arrays before scaling; a checkpoint's record keeps it.
        note: a remark for figure titles if this is another data set than the one requested; else empty.
        class_names: of a folder with one folder for each class, their names: label 0 is the first. Else empty.
        first_pixels: the first 16 training images before scaling, as they stand in the file: uint8.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    sha256: str
    note: str = ""
    class_names: tuple = ()
    first_pixels: np.ndarray | None = None

    @property
    def image_shape(self):
        """(H, W, C)."""
        return self.x_train.shape[1:]


def load(name="auto"):
    """Load a data set by name or path.

    Args:
        name: ``mnist``, ``digits``, ``fashion_mnist``, ``cifar10``, ``auto`` (MNIST, or the digits with a
            message), the path of an ``.npz`` with ``x_train``, ``y_train``, ``x_test``, ``y_test``: uint8 images
            (N, H, W) or (N, H, W, C), or the path of a folder of pictures (labutils.picture_folder).

    Returns:
        Images.

    Raises:
        ValueError: unknown name; a file that is not such an npz; a folder that cannot be used; fewer than 8 training or
            test images; or every copy found is damaged and the download fails. A copy of MNIST with a wrong hash counts
            as damaged.
        FileNotFoundError: the path does not exist; or the data set is not on this machine and the download fails.
    """
    name = check_name(name)
    if Path(name).is_dir() and name not in NAMES:
        arrays, class_names = read_folder(name)
        return _prepare(Path(name).name, arrays, class_names=class_names)
    if name not in NAMES:
        return _prepare(Path(name).name, read_npz(name, ARRAYS))
    if name == "digits":
        return _prepare("digits", _sklearn_digits())
    wanted = "mnist" if name == "auto" else name
    images, failures = _find_or_download(wanted)
    happened = " ".join(failures)
    if images is not None:
        if failures:
            print(happened)
        return images
    if name == "auto":
        print(f"No MNIST: {happened} Using the 1,797 handwritten digits of scikit-learn instead.")
        return _prepare("digits", _sklearn_digits(), "scikit-learn digits, not MNIST")
    advice = f"Put {name}.npz into data/ or name its folder in LABUTILS_DATA, or use DATASET = 'digits'."
    damaged = len(failures) > 1  # the last one is about the download
    raise (ValueError if damaged else FileNotFoundError)(f"no {name}: {happened} {advice}")


def check_name(name):
    """Check a name before anything is read. Returns it, a path made absolute; errors as in :func:`load`."""
    name = str(name)
    if name in NAMES:
        return name
    path = Path(os.path.expanduser(name)).resolve()
    if (name and path.is_dir()) or (path.is_file() and path.suffix.lower() == ".npz"):
        return str(path)
    if path.suffix.lower() == ".npz" or (os.path.dirname(name) and not path.exists()):
        raise FileNotFoundError(f"no such data {'file' if path.suffix else 'folder'}: {name}")
    known = f"{', '.join(NAMES)}, or the path of an .npz file or of a folder of pictures"
    raise ValueError(f"unknown data set {name!r}, known: {known}")


def to_model_range(pixels):
    """Scale pixel values 0 … 255 to [-1, 1] and add a channel axis if there is none; no pixel is moved or resized.

    Args:
        pixels: uint8, shape (N, H, W) or (N, H, W, C).

    Returns:
        float32, shape (N, H, W, C).
    """
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4):
        raise ValueError(f"need uint8 images (N, H, W) or (N, H, W, C), got {pixels.dtype} {pixels.shape}")
    _check_channels(pixels, "the images")
    scaled = pixels.astype(np.float32)
    scaled /= np.float32(127.5)
    scaled -= np.float32(1.0)
    return scaled if scaled.ndim == 4 else scaled[..., np.newaxis]


def check_images(images, name="images"):
    """Return ``images`` as float32, or raise ``ValueError`` unless it is (N, H, W, C) with values in [-1, 1]."""
    images = np.asarray(images, dtype=np.float32)
    if images.ndim != 4:
        raise ValueError(
            f"{name} must have shape (N, H, W, C); got {images.shape}. Grey images need a channel axis: x[..., None]"
        )
    if images.size == 0:
        raise ValueError(f"{name} is empty: shape {images.shape}")
    _check_channels(images, name)
    low, high = images.min(), images.max()
    if not (low >= -1 and high <= 1):  # written so that NaN fails too
        raise ValueError(f"{name} must lie in [-1, 1], got {low} … {high}; scale pixels with x / 127.5 - 1")
    return images


def _check_channels(images, name):
    """Raise ``ValueError`` for (N, C, H, W), the order of PyTorch: its columns would be taken for channels."""
    if images.ndim == 4 and images.shape[1] <= 4 < min(images.shape[2:]):
        raise ValueError(f"{name} have the channels first, {images.shape}: use np.moveaxis(images, 1, -1)")


def candidates(name="mnist"):
    """The files in which a data set is looked for, in order, before it is downloaded."""
    folders = [Path(os.path.expanduser(os.environ["LABUTILS_DATA"]))] if os.environ.get("LABUTILS_DATA") else []
    keras_home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    folders += [DATA_DIR, Path(keras_home) / "datasets"]
    return [folder / f"{name}.npz" for folder in folders]


def _find_or_download(name):
    """Try every candidate, then a download.

    Returns:
        (images, failures): Images, or None if every source failed; a sentence for each source that failed, in order.
    """
    failures = []
    for path in filter(Path.is_file, candidates(name)):
        try:
            return _verified(_prepare(name, read_npz(path, ARRAYS))), failures
        except ValueError as error:
            reason = _one_line(error.__cause__ or error)
            # Keras may replace or delete a damaged file in its own cache.
            failures.append(f"{path} is damaged or unreadable ({reason}): delete it if it is still there.")
    try:
        return _verified(_prepare(name, _download(name))), failures
    except Exception as error:  # Keras raises plain Exception when a download fails
        return None, [*failures, f"The download failed ({_one_line(error)})."]


def _download(name):
    import keras

    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(15)  # seconds; without a limit Keras waits for ever if the network does not answer
    try:
        with redirect_stdout(io.StringIO()):  # Keras' progress bar is written for terminals
            (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    finally:
        socket.setdefaulttimeout(patience)
    return dict(zip(ARRAYS, (x_train, y_train, x_test, y_test), strict=True))


def _one_line(error):
    return " ".join(str(error).split()) or type(error).__name__


def _verified(images):
    """Return ``images``. If they are called mnist, raise ``ValueError`` unless they are MNIST."""
    known = images.sha256 == MNIST_SHA256 and images.image_shape == (28, 28, 1)
    if images.name == "mnist" and not known:
        raise ValueError(f"the data has the SHA-256 {images.sha256[:12]}…, MNIST has {MNIST_SHA256[:12]}…")
    return images


def _prepare(name, arrays, note="", class_names=()):
    """The four arrays as Images. Raises ``ValueError`` if they are no data set."""
    digest = hashlib.sha256()
    for key in ARRAYS:
        digest.update(np.ascontiguousarray(arrays[key]).tobytes())
    loaded = {}
    for part in ("train", "test"):
        y = np.asarray(arrays[f"y_{part}"]).reshape(-1)
        try:
            x = to_model_range(arrays[f"x_{part}"])
        except ValueError as error:
            raise ValueError(f"{name}, x_{part}: {error}") from error
        if len(x) != len(y):
            raise ValueError(f"{name}: need one label per image, got {len(x)} images and {len(y)} labels ({part})")
        if not np.issubdtype(y.dtype, np.integer):
            raise ValueError(f"{name}: y_{part} must be integer labels, got {y.dtype}")
        loaded |= {f"x_{part}": x, f"y_{part}": y.astype(np.int64)}
    shape, test_shape = loaded["x_train"].shape[1:], loaded["x_test"].shape[1:]
    if shape != test_shape:
        raise ValueError(f"{name}: training images {shape} and test images {test_shape} must have the same shape")
    for part, count in (("training", len(loaded["x_train"])), ("test", len(loaded["x_test"]))):
        if count < HELD_OUT:
            needed = f"at least {HELD_OUT} are needed: so many are shown side by side"
            raise ValueError(f"{name}: {count} {part} images, {needed}")
    first = np.array(arrays["x_train"][:16])
    return Images(
        name=name, **loaded, sha256=digest.hexdigest(), note=note, class_names=class_names, first_pixels=first
    )


def _sklearn_digits():
    """The UCI digits (8×8, values 0 … 16), made like MNIST: 20×20 by cubic splines, more contrast, a border of 4."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    small, labels = load_digits(return_X_y=True)
    small = small.reshape(-1, 8, 8) / 16.0
    large = zoom(small, (1, 20 / 8, 20 / 8), order=3)
    # Enlarging blurs the strokes; a steep sigmoid around half grey makes them crisp again, as in MNIST.
    crisp = 1.0 / (1.0 + np.exp(-12.0 * (large - 0.5)))
    pixels = np.pad(crisp, ((0, 0), (4, 4), (4, 4)))
    pixels = np.round(255 * pixels).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(pixels))  # the file is sorted by writer
    train, test = order[:1500], order[1500:]
    return dict(zip(ARRAYS, (pixels[train], labels[train], pixels[test], labels[test]), strict=True))
