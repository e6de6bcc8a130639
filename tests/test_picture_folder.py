"""A folder of one's own pictures as a data set: what is read, how, and what is said about the rest."""

import os

import numpy as np
import pytest
from conftest import write_pictures
from PIL import Image

from lab.cli import main
from labutils import data


def brightest(folder, picture, name="odd.png", **options):
    """The one ``picture`` among black ones, as it is loaded: (H, W, C) of 0 … 255."""
    folder.mkdir()
    for number in range(15):
        Image.new("L", (30, 30)).save(folder / f"black{number}.png")
    picture.save(folder / name, **options)
    images = data.load(str(folder))
    x = np.concatenate([images.x_train, images.x_test])
    return np.round((x[x.mean(axis=(1, 2, 3)).argmax()] + 1) * 127.5).astype(int)


def test_a_folder_for_each_class(tmp_path):
    write_pictures(tmp_path / "pets", {"dog": 60, "cat": 70, "eel": 80})
    images = data.load(tmp_path / "pets")
    assert images.name == "pets" and images.image_shape == (32, 32, 3)
    assert images.class_names == ("cat", "dog", "eel")
    assert len(images.x_test) == 21 and len(images.x_train) == 189
    labels = np.concatenate([images.y_train, images.y_test])
    assert list(np.bincount(labels)) == [70, 60, 80] and labels.dtype == np.int64
    assert set(images.y_train[:40]) == {0, 1, 2}, "shuffled: a small preset takes the first images"
    # write_pictures gives each class a colour of its own, in the order in which the classes are named.
    x = np.concatenate([images.x_train, images.x_test])
    strongest = x.mean(axis=(1, 2)).argmax(axis=1)
    assert np.array_equal(strongest, np.array([1, 0, 2])[labels])


def test_a_flat_grey_folder(tmp_path):
    write_pictures(tmp_path / "sketches", {"": 120}, colour=False)
    images = data.load(f"{tmp_path / 'sketches'}{os.sep}")
    assert images.name == "sketches" and images.image_shape == (28, 28, 1) and images.class_names == ()
    assert len(images.x_test) == 12 and not images.y_train.any() and not images.y_test.any()


def test_the_draw_depends_on_names_only(tmp_path, monkeypatch):
    write_pictures(tmp_path / "a", {"é": 40, "z": 40})
    (tmp_path / "b").mkdir()
    for source, name in (("z", "z"), ("é", "e\u0301")):  # as a Mac writes it, and in another order
        (tmp_path / "b" / name).mkdir()
        for path in sorted((tmp_path / "a" / source).iterdir(), reverse=True):
            (tmp_path / "b" / name / path.name).write_bytes(path.read_bytes())
    first, second = data.load(tmp_path / "a"), data.load(tmp_path / "b")
    assert first.sha256 == second.sha256
    monkeypatch.chdir(tmp_path)
    assert data.load("a").sha256 == first.sha256


def beside_other_things(folder):
    """As it comes out of a zip, and as systems leave it."""
    write_pictures(folder / "pets", {"cat": 50, "dog": 50, ".thumbnails": 3})
    (folder / "__MACOSX" / "cat").mkdir(parents=True)
    for name in ("README.txt", ".DS_Store", "pets/Thumbs.db", "pets/desktop.ini", "pets/cat/._a.png"):
        (folder / name).write_bytes(b"?")


@pytest.mark.parametrize(
    ("write", "names"),
    [
        (beside_other_things, ("cat", "dog")),
        (lambda folder: write_pictures(folder, {str(n): 10 for n in range(12)}), tuple(map(str, range(12)))),
    ],
)
def test_names_of_classes(write, names, tmp_path, capsys):
    write(tmp_path / "own")
    assert data.load(tmp_path / "own").class_names == names
    assert not capsys.readouterr().out, "what is hidden is skipped in silence"


def half(size, left, right, mode="RGB"):
    picture = Image.new(mode, size, right)
    picture.paste(left, (0, 0, size[0] // 2, size[1]))
    return picture


def test_cropped_in_the_middle(tmp_path):
    wide = Image.new("RGB", (300, 100), "red")
    wide.paste("white", (100, 0, 200, 100))
    assert np.all(brightest(tmp_path / "wide", wide)[:, 3:-3] >= 250)
    tall = Image.new("RGB", (20, 900), "red")
    tall.paste("white", (0, 440, 20, 460))
    assert np.all(brightest(tmp_path / "tall", tall)[3:-3] >= 250)


def test_turned_as_the_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    x = brightest(tmp_path / "turned", half((60, 60), "white", "black"), "photo.jpg", exif=exif)
    assert x[:10].mean() > 240 and x[-10:].mean() < 15, "the left half is the upper one"


@pytest.mark.parametrize(
    ("picture", "options", "expected"),
    [
        (Image.new("RGBA", (40, 40), (255, 0, 0, 0)), {}, [255]),
        (Image.new("RGBA", (40, 40), (0, 0, 255, 128)), {}, [127, 127, 255]),
        (Image.new("LA", (40, 40), (0, 128)), {}, [127]),
        (Image.new("RGB", (40, 40), (0, 200, 0)).quantize(8), {}, [0, 200, 0]),
        (Image.new("L", (40, 40), 7).convert("P"), {"transparency": 7}, [255]),
        (Image.fromarray(np.full((40, 40), 51_400, np.uint16)), {}, [200]),
        (Image.new("1", (40, 40), 1), {}, [255]),
        (Image.new("CMYK", (40, 40), (0, 255, 255, 0)), {"name": "print.jpg"}, [254, 0, 0]),
        (Image.new("RGB", (40, 40), (90, 90, 90)), {"name": "GREY.JPG"}, [90]),
        (Image.new("RGB", (40, 40), (0, 0, 250)), {"name": "a.gif"}, [0, 0, 250]),
        (Image.new("RGB", (40, 40), (0, 0, 250)), {"name": "a.bmp"}, [0, 0, 250]),
        (Image.new("RGB", (40, 40), (0, 0, 250)), {"name": "a.webp", "lossless": True}, [0, 0, 250]),
        (Image.new("RGB", (40, 40), (0, 0, 250)), {"name": "png.jpeg", "format": "PNG"}, [0, 0, 250]),
    ],
)
def test_kinds_of_pictures(tmp_path, picture, options, expected):
    x = brightest(tmp_path / "kinds", picture, **options)
    assert x.shape == ((28, 28, 1) if len(expected) == 1 else (32, 32, 3))
    assert np.abs(x - expected).max() <= 1


def bomb(path):
    Image.new("1", (10_000, 10_000)).save(path)


def float_pixels(path):
    Image.new("F", (30, 30)).save(path, format="TIFF")


def cut_off(path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (90, 90, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:3000])


@pytest.mark.parametrize(
    ("name", "write", "reason"),
    [
        ("bad.png", lambda path: path.write_bytes(b"no picture"), "not a picture, or damaged"),
        ("cut.png", cut_off, "truncated"),
        ("bomb.png", bomb, "decompression bomb"),
        ("float.tif", float_pixels, "floating-point"),
        ("page.png", lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n"), "not a picture"),
        ("photo.heic", lambda path: path.write_bytes(b"ftypheic"), "not a picture"),
        ("a\nb.png", lambda path: path.write_bytes(b""), "not a picture"),
        ("gone.png", lambda path: path.symlink_to("nowhere"), "not a picture"),
        (os.fsdecode(b"caf\xe9.png"), lambda path: path.write_bytes(b""), "not a picture"),
    ],
)
def test_what_cannot_be_read_is_named_and_the_rest_used(tmp_path, capsys, name, write, reason):
    write_pictures(tmp_path / "mixed", {"": 100})
    write(tmp_path / "mixed" / name)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "mixed" / "zz.png")  # is not waited for
    assert len(data.load(tmp_path / "mixed").x_train) == 90
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1 and name[:3].replace("\n", " ") in printed and reason in printed
    assert printed.encode("utf-8").startswith(b"mixed: 100 pictures. Left out: ")


def test_few_pictures_and_many_bad_files_are_said(tmp_path, capsys):
    write_pictures(tmp_path / "few", {"": 60})
    images = data.load(tmp_path / "few")
    assert len(images.x_test) == 8, "as many as the lessons show"
    printed = capsys.readouterr().out
    assert printed == "few: 60 pictures. A network learns so few by heart; new pictures need some hundreds.\n"
    write_pictures(tmp_path / "more", {"": 100})
    data.load(tmp_path / "more")
    assert not capsys.readouterr().out
    for number in range(8):
        (tmp_path / "more" / f"x{number}.png").write_bytes(b"")
    data.load(tmp_path / "more")
    printed = capsys.readouterr().out
    assert "x0.png" in printed and "x2.png" in printed and "x3.png" not in printed and "and 5 more" in printed


def split(folder):
    write_pictures(folder / "train", {"cat": 10, "dog": 10})
    write_pictures(folder / "Test", {"cat": 10, "dog": 10})


def mixed(folder):
    write_pictures(folder, {"": 20, "cat": 20})


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: folder.mkdir(), "pets: 0 pictures can be read, at least 16 are needed.*They end in .png, .jpg"),
        (lambda folder: write_pictures(folder, {"": 15}), "pets: 15 pictures can be read, at least 16"),
        (lambda folder: [folder.mkdir(), (folder / "a.png").write_bytes(b"")], r"0 pictures.*Left out: a.png \("),
        (split, r"is split already \(Test, train\).*name one of its folders"),
        (mixed, "holds pictures and folders with pictures"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path, write, message):
    write(tmp_path / "pets")
    with pytest.raises(ValueError, match=message):
        data.load(tmp_path / "pets")


def test_links(tmp_path):
    write_pictures(tmp_path / "elsewhere", {"cat": 20, "dog": 20})
    (tmp_path / "pets" / "dog").mkdir(parents=True)
    (tmp_path / "pets" / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
    for path in (tmp_path / "elsewhere" / "dog").iterdir():
        (tmp_path / "pets" / "dog" / path.name).symlink_to(path)
    (tmp_path / "pets" / "dog" / "again").symlink_to(tmp_path / "pets")  # a circle
    images = data.load(tmp_path / "pets")
    assert images.class_names == ("cat", "dog") and len(images.x_train) + len(images.x_test) == 40
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ValueError, match="cannot read the folder|0 pictures"):
        data.load(tmp_path / "loop")


def test_a_name_of_the_lab_comes_first(tmp_path, monkeypatch):
    write_pictures(tmp_path / "digits", {"": 20})
    monkeypatch.chdir(tmp_path)
    assert data.load("digits").image_shape == (28, 28, 1)
    assert data.load("./digits").image_shape == (32, 32, 3)
    with pytest.raises(FileNotFoundError, match="no such data folder: ./nothing"):
        data.load("./nothing")


@pytest.mark.slow
def test_train_takes_a_folder(tmp_path, capsys):
    write_pictures(tmp_path / "pets", {"cat": 20, "dog": 20})
    command = ["train", "--model", "fast", "--preset", "smoke", "--dataset", str(tmp_path / "pets")]
    assert main([*command, "--out", str(tmp_path / "out")]) in (0, None)
    assert "wrote" in capsys.readouterr().out


@pytest.mark.parametrize("model", ["fast_conditional", "digit_recogniser", "digit_features"])
def test_a_network_that_learns_from_labels_needs_some(tmp_path, capsys, model):
    write_pictures(tmp_path / "sketches", {"": 20}, colour=False)
    command = ["train", "--model", model, "--preset", "smoke", "--dataset", str(tmp_path / "sketches")]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    assert "the images of sketches have no labels that differ" in capsys.readouterr().err
