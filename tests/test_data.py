"""Images in: the right range and shape, verified, and a clear word when something is wrong."""

import hashlib

import keras
import numpy as np
import pytest
from conftest import needs, write_npz

from labutils import data


def test_digits_need_no_network():
    digits = data.load("digits")
    assert digits.x_train.shape == (1500, 28, 28, 1) and digits.x_test.shape == (297, 28, 28, 1)
    for x in (digits.x_train, digits.x_test):
        assert x.dtype == np.float32 and x.min() == -1 and 0.95 < x.max() <= 1
        assert np.all(x[:, :4] < -0.97), "MNIST's digits have a border of four dark pixels"
    assert set(digits.y_train) == set(range(10))


@needs("MNIST")
def test_mnist_is_the_real_one():
    mnist = data.load("mnist")
    assert mnist.x_train.shape == (60_000, 28, 28, 1) and mnist.x_test.shape == (10_000, 28, 28, 1)
    train, test = (np.round((x + 1) * 127.5).astype(np.uint8) for x in (mnist.x_train, mnist.x_test))
    arrays = (train, mnist.y_train.astype(np.uint8), test, mnist.y_test.astype(np.uint8))
    assert hashlib.sha256(b"".join(x.tobytes() for x in arrays)).hexdigest() == data.MNIST_SHA256


@pytest.mark.parametrize("name", ["colour.npz", "X.NPZ"])
def test_a_file_in_cifars_layout(name, tmp_path):
    images = data.load(str(write_npz(tmp_path / "x.npz", shape=(32, 32, 3)).rename(tmp_path / name)))
    assert images.image_shape == (32, 32, 3) and images.y_train.shape == (96,)
    assert images.name == name and images.x_train.min() >= -1 and images.x_train.max() <= 1


@pytest.fixture
def nothing_here(monkeypatch, tmp_path):
    """No MNIST on this machine and no network."""
    monkeypatch.setattr(data, "candidates", lambda name="mnist": [tmp_path / f"{name}.npz"])

    def refuse(*args, **kwargs):
        raise Exception("URL fetch failure: no network")  # what Keras raises

    monkeypatch.setattr(keras.datasets.mnist, "load_data", refuse)
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", refuse)
    return tmp_path


@pytest.mark.parametrize("reason", ["The download failed (URL fetch failure: no network)", "(No space left on device)"])
def test_auto_falls_back_and_says_why(nothing_here, monkeypatch, capsys, reason):
    def full(*args, **kwargs):
        raise OSError("No space left on device")

    if "space" in reason:
        monkeypatch.setattr(keras.datasets.mnist, "load_data", full)
    images = data.load("auto")
    printed = capsys.readouterr().out
    assert images.name == "digits" and "not MNIST" in images.note
    assert printed.count("\n") == 1 and "No MNIST" in printed and reason in printed


def test_no_network_is_a_clear_error(nothing_here):
    for name in ("mnist", "cifar10"):
        with pytest.raises(FileNotFoundError, match="The download failed.*LABUTILS_DATA"):
            data.load(name)


def truncate(path):
    path.write_bytes(path.read_bytes()[:500])
    return path


@pytest.mark.parametrize(("damage", "reason"), [(truncate, "not a zip file"), (lambda path: path, "has the SHA-256")])
def test_a_damaged_mnist_is_named_and_no_dead_end(nothing_here, capsys, damage, reason):
    path = damage(write_npz(nothing_here / "mnist.npz", shape=(28, 28)))
    with pytest.raises(ValueError, match=rf"no mnist: {path} is damaged.*{reason}.*delete it if.*no network"):
        data.load("mnist")
    images = data.load("auto")
    printed = capsys.readouterr().out
    assert images.name == "digits" and images.note == "scikit-learn digits, not MNIST"
    assert printed.count("\n") == 1 and str(path) in printed and reason in printed and "no network" in printed


def test_after_a_damaged_file_comes_the_next_one(nothing_here, monkeypatch, capsys):
    bad = truncate(write_npz(nothing_here / "bad.npz", shape=(28, 28)))
    good = write_npz(nothing_here / "good.npz", shape=(28, 28))
    monkeypatch.setattr(data, "candidates", lambda name="mnist": [bad, good])
    images = data.load("fashion_mnist")
    printed = capsys.readouterr().out
    assert images.name == "fashion_mnist" and np.array_equal(images.x_train, data.load(str(good)).x_train)
    assert printed.count("\n") == 1 and f"{bad} is damaged" in printed and "delete it if it is still there" in printed


def test_a_damaged_file_that_keras_downloads_again(nothing_here, monkeypatch, capsys):
    cached = truncate(write_npz(nothing_here / "fashion_mnist.npz", shape=(28, 28)))

    def replace():
        with np.load(write_npz(cached, shape=(28, 28), seed=1)) as new:
            return (new["x_train"], new["y_train"]), (new["x_test"], new["y_test"])

    monkeypatch.setattr(keras.datasets.fashion_mnist, "load_data", replace)
    assert data.load("fashion_mnist").name == "fashion_mnist"
    printed = capsys.readouterr().out
    assert "delete it if it is still there" in printed and printed.count("\n") == 1


def test_labutils_data_comes_first(monkeypatch, tmp_path):
    monkeypatch.setenv("LABUTILS_DATA", str(tmp_path))
    assert data.candidates()[0] == tmp_path / "mnist.npz"
    monkeypatch.delenv("LABUTILS_DATA")
    assert data.candidates()[0] == data.DATA_DIR / "mnist.npz"


@pytest.mark.parametrize("folder", ["~/data", "~", "~/a/../data"])
def test_labutils_data_may_begin_with_a_tilde(monkeypatch, tmp_path, folder):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("LABUTILS_DATA", folder)
    expected = (tmp_path / folder[2:] / "mnist.npz").resolve()
    assert data.candidates()[0].resolve() == expected
    assert data.check_name(str(write_npz(tmp_path / "x.npz"))) == data.check_name("~/x.npz")


def test_a_tilde_of_nobody_is_no_traceback(monkeypatch):
    monkeypatch.setenv("LABUTILS_DATA", "~no-such-user/data")
    assert data.candidates()[0].name == "mnist.npz"
    with pytest.raises(FileNotFoundError, match="no such data file"):
        data.check_name("~no-such-user/x.npz")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("mnits", ValueError, "unknown data set 'mnits', known: auto, mnist"),
        ("", ValueError, "unknown data set ''"),  # not the working folder
        (None, ValueError, "unknown data set 'None'"),
        ("picture.png", ValueError, r"unknown data set .*picture.png.*\.npz file or of a folder of pictures"),
        ("none.npz", FileNotFoundError, "no such data file"),
        ("none.NPZ", FileNotFoundError, "no such data file"),
    ],
)
def test_bad_names(name, error, message, tmp_path, monkeypatch):
    (tmp_path / "picture.png").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        data.load(name)


def compressed_and_flipped(path):
    with np.load(write_npz(path)) as archive:
        np.savez_compressed(path, **archive)
    content = bytearray(path.read_bytes())
    content[300:330] = bytes(30)  # inside the compressed images
    path.write_bytes(content)


def array(path):
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))


def pickled(path):
    np.savez(path, **dict.fromkeys(data.ARRAYS, np.array([{"a": 1}], dtype=object)))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: truncate(write_npz(path)),
        compressed_and_flipped,
        array,
        lambda path: np.savez(path, a=np.zeros(3)),
        pickled,
    ],
)
def test_files_that_cannot_be_read(write, tmp_path):
    write(tmp_path / "bad.npz")
    with pytest.raises(ValueError, match="is not an npz with plain arrays x_train"):
        data.load(str(tmp_path / "bad.npz"))


@pytest.mark.parametrize(("part", "count"), [("test", 5), ("test", 1), ("train", 7)])
def test_too_few_images_are_said_at_loading(tmp_path, part, count):
    with np.load(write_npz(tmp_path / "good.npz")) as good:
        arrays = dict(good)
    np.savez(tmp_path / "few.npz", **{k: v[:count] if k.endswith(part) else v for k, v in arrays.items()})
    with pytest.raises(ValueError, match=f"few.npz: {count} {part}.* images, at least 8 are needed"):
        data.load(str(tmp_path / "few.npz"))


@pytest.mark.parametrize("shape", [(16, 1, 28, 28), (16, 3, 32, 32), (16, 4, 8, 12)])
def test_channels_first_is_refused_everywhere(tmp_path, shape):
    x, y = np.zeros(shape, np.uint8), np.zeros(shape[0], np.uint8)
    np.savez(tmp_path / "torch.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    for call in (
        lambda: data.load(str(tmp_path / "torch.npz")),
        lambda: data.to_model_range(x),
        lambda: data.check_images(x.astype(np.float32)),
    ):
        with pytest.raises(ValueError, match=r"channels first.*np.moveaxis\(images, 1, -1\)"):
            call()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": np.zeros((4, 8, 8), np.float32)}, "need uint8 images"),
        ({"x_train": np.zeros((4, 64), np.uint8)}, "need uint8 images"),
        ({"x_test": np.zeros((4, 8, 12), np.uint8)}, "must have the same shape"),
        ({"y_test": np.zeros(4)}, "y_test must be integer labels"),
        ({"y_train": np.zeros(3, np.uint8)}, "one label per image, got 4 images and 3 labels"),
    ],
)
def test_wrong_arrays_in_a_file(tmp_path, arrays, message):
    good = {"x": np.zeros((4, 8, 8), np.uint8), "y": np.zeros(4, np.uint8)}
    content = {f"{k}_{part}": v for part in ("train", "test") for k, v in good.items()}
    np.savez(tmp_path / "wrong.npz", **{**content, **arrays})
    with pytest.raises(ValueError, match=message):
        data.load(str(tmp_path / "wrong.npz"))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((3, 8, 8)), "need.*channel axis|channel axis"),
        (np.full((1, 8, 8, 1), 1.5), r"must lie in \[-1, 1\]"),
        (np.full((1, 8, 8, 1), np.nan), r"must lie in \[-1, 1\]"),
        (np.zeros((0, 8, 8, 1)), "is empty"),
    ],
)
def test_bad_images_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        data.check_images(images)
