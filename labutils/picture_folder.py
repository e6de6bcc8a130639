"""Your own pictures: a folder of files becomes the four arrays of a data set.

Either each class has a folder of its own (``pets/cat/…``, ``pets/dog/…``), or all pictures lie in one folder, and there
are no labels.
"""

import os
import unicodedata
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from labutils.support.progress import progress_bar

ENDINGS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")  # no other reader of Pillow sees a file
GREY_SIDE, COLOUR_SIDE = 28, 32  # the sizes of MNIST and CIFAR-10, which the lab's networks and plans are made for
TINT = 8  # of 255: a grey picture that was saved as JPEG may be tinted so much
HELD_OUT = 8  # at least: the lessons show so many test images side by side
FEW = 100
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}


def read_folder(folder):
    """Read the pictures of a folder: cropped to the square in the middle, made small, shuffled and split.

    If all are grey, they become 28×28×1; if any has colour, all become 32×32×3. A tenth is held out, at least 8: the
    draw depends only on the names of the files. Hidden files are skipped. Links are followed, except those to folders
    inside the folder of a class. Transparent pixels become white; of a film the first picture is taken.

    Args:
        folder: path. It holds pictures, or one folder for each class. A folder that holds only another one stands for
            it.

    Returns:
        (arrays, class_names): dict with ``x_train``, ``x_test`` (uint8, (N, 28, 28) or (N, 32, 32, 3)), ``y_train``,
        ``y_test`` (int64, 0 … n − 1 in the order of ``class_names``; all 0 without classes), and a tuple of str, empty
        without classes. Prints a line if files cannot be read, or if there are few pictures.

    Raises:
        ValueError: fewer than 16 pictures can be read; pictures lie beside folders with pictures; the folder is split
            into training and test already; or it cannot be read.
    """
    files, left_out = _find(Path(folder))
    colour, grey, classes = [], [], []
    with progress_bar(len(files), "reading pictures", disable=len(files) < 2_000) as bar:
        for name, path in files.items():
            try:
                small = _read(path)
            except Exception as error:  # Pillow raises errors of many kinds for damaged files
                unknown = isinstance(error, UnidentifiedImageError)
                left_out[name] = "not a picture, or damaged" if unknown else str(error) or type(error).__name__
            else:
                colour.append(small[0])
                grey.append(small[1])
                classes.append(name.partition("/")[0] if "/" in name else "")
            bar.update()
    count, title = len(classes), Path(folder).name
    remarks = [f"Left out: {_some(left_out)}."] if left_out else []
    if count < 2 * HELD_OUT:
        needed = f"at least {2 * HELD_OUT} are needed, {HELD_OUT} to learn from and {HELD_OUT} held out"
        remarks.insert(0, f"{title}: {count} pictures can be read, {needed}. They end in {', '.join(ENDINGS)}.")
        _refuse(" ".join(remarks))
    if count < FEW:
        remarks.append("A network learns so few by heart; new pictures need some hundreds.")
    if remarks:
        print(_sayable(f"{title}: {count} pictures. {' '.join(remarks)}"))
    x = np.stack(colour)
    if np.ptp(x.astype(np.int16), axis=-1).max() <= TINT:
        x = np.stack(grey)
    numbers = all(name.isdecimal() for name in classes)  # the folder 10 comes after 9, not after 1
    class_names = tuple(sorted(set(classes), key=int if numbers else None))
    y = np.array([class_names.index(name) for name in classes], np.int64)
    order = np.random.default_rng(0).permutation(count)
    held_out = max(count // 10, HELD_OUT)
    test, train = order[:held_out], order[held_out:]
    arrays = {"x_train": x[train], "y_train": y[train], "x_test": x[test], "y_test": y[test]}
    return arrays, tuple(map(_sayable, filter(None, class_names)))


def _find(folder):
    """Look for files: (dict name → path of the pictures, sorted; dict name → reason of what is no picture)."""
    found, left_out = {}, {}

    def keep(path):
        if _is_visible(path.name):
            # One spelling of "é" on every system, so that the order is the same everywhere.
            name = unicodedata.normalize("NFC", path.relative_to(folder).as_posix())
            if _is_picture(path):
                found[name] = path
            else:
                left_out[name] = "not a picture"

    try:
        while True:
            entries = [path for path in folder.iterdir() if _is_visible(path.name)]
            below = [path for path in entries if path.is_dir()]
            beside = [path for path in entries if path not in below]
            if len(below) != 1 or any(map(_is_picture, beside)):
                break
            folder = below[0]
        for path in beside:
            keep(path)
        loose = len(found)
        for top in below:
            for where, folders, files in os.walk(top, onerror=_fail):
                folders[:] = filter(_is_visible, folders)
                for name in files:
                    keep(Path(where, name))
    except OSError as error:
        _refuse(f"cannot read the folder {folder}: {error.strerror or error}")
    if loose and len(found) > loose:
        _refuse(
            f"{folder} holds pictures and folders with pictures: put each picture into the folder of its class, or all "
            "into one folder"
        )
    if below and {path.name.lower() for path in below} <= SPLITS:
        names = ", ".join(sorted(path.name for path in below))
        _refuse(f"{folder} is split already ({names}), and these are no classes: name one of its folders")
    return dict(sorted(found.items())), left_out


def _refuse(sentence):
    raise ValueError(_sayable(sentence))


def _fail(error):
    raise error


def _is_visible(name):
    return not name.startswith(".") and name.lower() not in ("__macosx", "thumbs.db", "desktop.ini")


def _is_picture(path):
    return path.suffix.lower() in ENDINGS and path.is_file()


def _read(path):
    """One picture as uint8: (32, 32, 3), and (28, 28) in grey."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a damaged remark in a file, for example
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=FORMATS) as image:
            image.draft(None, (4 * COLOUR_SIDE, 4 * COLOUR_SIDE))  # a large JPEG is made smaller as it is read
            image = ImageOps.exif_transpose(image)
            if image.mode == "F":
                raise ValueError("its pixels are floating-point numbers")
            if image.mode.startswith("I"):  # Pillow itself would cut 16 bits off at 255
                levels = np.asarray(image)
                if levels.min() < 0 or levels.max() > 65_535:
                    raise ValueError("its pixels have more than 16 bits")
                image = Image.fromarray((levels // 256).astype(np.uint8))
            image = image.convert("RGBA")
            colour, grey = (_square(image, side) for side in (COLOUR_SIDE, GREY_SIDE))
    return np.asarray(colour), np.asarray(grey.convert("L"))


def _square(image, side):
    """The middle of an RGBA picture on white, as RGB."""
    small = ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)
    return Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")


def _some(left_out):
    """The first three files and why, and how many more."""
    said = [f"{name} ({reason})" for name, reason in sorted(left_out.items())[:3]]
    more = len(left_out) - 3
    return ", ".join(said) + (f" and {more} more" if more > 0 else "")


def _sayable(text):
    """One line that every output can encode as UTF-8: names of files may hold line feeds and broken bytes."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode("utf-8").split())
