"""Pictures: alternative text is required, any number of channels works, labels do not overlap, sliders work."""

import ast
import base64
import io
import json
import re

import IPython.display
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.cbook import is_math_text
from matplotlib.text import Text
from PIL import Image

from lab import lessons
from labutils import diagrams, networks, plots
from labutils.support import pictures

IMAGES = {channels: np.random.default_rng(0).uniform(-1.2, 1.2, (10, 8, 8, channels)) for channels in (1, 3)}


@pytest.fixture(autouse=True)
def shown(monkeypatch):
    """Collects what would be displayed; closes every figure."""
    collected = []
    monkeypatch.setattr(plots, "display", lambda what, metadata=None, raw=False: collected.append((what, metadata)))
    yield collected
    plt.close("all")


def test_show_asks_for_words(shown):
    figure, _ = plots.axes("title", "x", "y")
    for alt in ("", "plot", "a nice plot"):
        with pytest.raises(ValueError, match="alt must describe"):
            plots.show(figure, alt)
    plots.show(figure, "a straight line from left to right")
    data, metadata = shown[0]
    assert metadata == {"image/png": {"alt": "a straight line from left to right"}}
    assert data["text/plain"] == "a straight line from left to right"
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert picture.format == "PNG" and picture.mode == "P"  # at most 256 colours
    assert not plt.fignum_exists(figure.number)


def test_a_table_is_real_and_readable_as_text(shown):
    plots.show_table(["who", "share"], [["a <b>", 0.5], ["longer", "12 %"]])
    ((data, _),) = shown
    assert data["text/plain"] == "who     share\na <b>     0.5\nlonger   12 %"
    assert data["text/html"].count("<tr>") == 3 and data["text/html"].count("<th ") == 2
    assert "a &lt;b&gt;" in data["text/html"] and "<b>" not in data["text/html"]
    with pytest.raises(ValueError, match="each row must have 2 values, as the headings who, share"):
        plots.show_table(["who", "share"], [["a", 1], ["b"]])


def test_rare_colours_survive(shown):
    """One pixel of each of a few colours in many grey pictures."""
    images = np.random.default_rng(0).uniform(-1, 1, (40, 8, 8, 1)).repeat(3, axis=-1)
    rare = np.array([[255, 0, 0], [0, 0, 255], [0, 160, 0], [255, 150, 200], [120, 0, 120]])
    images[[3, 9, 17, 30, 36], 2, 5] = rare / 127.5 - 1
    plots.show(plots.image_grid(images, "few pixels with colour"), "grey pictures with single pixels in colour")
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown[0][0]["image/png"]))).convert("RGB"), int)
    for colour in rare:
        assert np.abs(drawn - colour).max(axis=-1).min() <= 8


@pytest.mark.parametrize("channels", [1, 3])
def test_grids_and_tables(channels, shown):
    images = IMAGES[channels]
    assert plots.image_grid(images, "title", columns=4).get_suptitle() == "title"
    table = plots.image_table([list(images[:3]), list(images[3:6])], ["a", "b"], ["1", "2", "3"], "title")
    heads = [ax.get_title() for ax in table.axes]
    assert heads == ["1", "2", "3", "", "", ""] and table.axes[3].get_ylabel() == "b"
    png = plots.grid_png(images)
    assert png.startswith(b"\x89PNG")
    plots.show_animation([images, images[::-1]], ["one", "two"], "two frames of noise")
    html = shown[-1][0]
    assert isinstance(html, IPython.display.HTML) and 'alt="two frames of noise"' in html.data


def test_text_of_a_figure_is_readable():
    plots.use_lab_style()
    table = plots.image_table([list(IMAGES[1][:3])], ["row"], ["1", "2", "3"], "title")
    network = networks.build_classic_unet((16, 16, 1))
    for figure in (table, diagrams.draw_unet(network)):
        texts = [text for ax in figure.axes for text in (*ax.texts, ax.title, ax.yaxis.label) if text.get_text()]
        pixels = [text.get_fontsize() * figure.dpi / 72 for text in texts]
        assert len(pixels) > 3 and min(pixels) >= 14


@pytest.mark.parametrize("channels", [1, 3])
def test_the_animation_is_large_enough_to_see(channels):
    frames = [IMAGES[channels], IMAGES[channels][::-1]]
    gif = Image.open(io.BytesIO(pictures.animation_gif(frames, ["one", "two"], columns=5)))
    assert gif.n_frames == 2 and gif.width == 3 * 5 * 8 and gif.height > 3 * 2 * 8 + 16
    assert np.ptp(np.asarray(gif.convert("L"))[:20]) > 200  # the title is written in the strip above


@pytest.mark.parametrize("channels", [1, 3])
def test_a_slider_stands_without_its_script(channels, shown):
    labels = [f"t = {t}</script>" for t in range(10)]
    plots.show_slider(IMAGES[channels], labels, [0, 4, 9], "title", "three pictures of noise in a row")
    (strip, metadata), (page, _) = shown
    assert "image/png" in strip and metadata["image/png"]["alt"] == "three pictures of noise in a row"
    static, script = re.fullmatch(r"(.*?)<script>(.*)</script>", page.data, re.DOTALL).groups()
    assert re.fullmatch(r'<div class="slider-[0-9a-f]{8}"></div>', static)  # no control without its script
    assert "</script>" not in script and "http" not in script and "ipywidgets" not in script
    data = json.loads(re.search(r"labels} = (.*);\n", script).group(1))
    assert data["title"] == "title" and data["labels"] == labels and len(data["frames"]) == 10
    frame = np.asarray(Image.open(io.BytesIO(base64.b64decode(data["frames"][3]))))
    assert np.array_equal(
        frame.reshape(8, 8, channels), pictures.tile(IMAGES[channels][3:4], 1).reshape(8, 8, channels)
    )


def test_a_slider_is_the_same_at_every_run_and_its_own():
    first, again = (pictures.slider_html(IMAGES[1], list("abcdefghij"), "title") for _ in range(2))
    other = pictures.slider_html(IMAGES[1], list("abcdefghij"), "another")
    assert first == again and first.split(">")[0] != other.split(">")[0]
    with pytest.raises(ValueError, match="labels must have one text for each of the 10 images, got 1"):
        pictures.slider_html(IMAGES[1], ["a"], "title")


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_labels_of_lines_do_not_meet(scale):
    figure, ax = plots.axes("title", "x", "y", size=(6, 4))
    x = np.arange(1, 21)
    for i in range(12):
        line = 1 + np.exp(-x / 4) + 1e-2 * i if i < 11 else 3.0 - 0 * x
        ax.plot(x, np.where(x > 18 + i % 2, np.nan, line), label=f"variant {i}")
    ax.plot(x, x / 20)  # no label, none is written
    ax.set_yscale(scale)
    texts = plots.label_lines(ax)
    figure.canvas.draw()
    assert [text.get_text() for text in texts] == [f"variant {i}" for i in range(12)]  # in the order of the ends
    boxes = [Text.get_window_extent(text) for text in texts]  # without the line that leads to it
    assert all(low.y1 <= high.y0 + 1 for low, high in zip(boxes, boxes[1:], strict=False))
    frame = ax.get_window_extent()
    assert all(frame.y0 <= (box.y0 + box.y1) / 2 <= frame.y1 + 1 for box in boxes)
    assert [text.get_color() for text in texts] == [line.get_color() for line in ax.get_lines()[:12]]
    if scale == "linear":  # here the highest has room, so it stays at the end of its line
        end = ax.transData.transform((19, 3.0))[1]
        assert abs((boxes[-1].y0 + boxes[-1].y1) / 2 - end) < 2


@pytest.mark.parametrize("name", ["d02_$x_t$_cost.npz", "a$$b.npz", "x\\alpha.npz", "50%_b^c{d}", "$", "5$, $6.npz"])
def test_names_of_files_are_drawn_as_they_are(name, shown):
    """Wherever they stand in a figure, and beside a formula of the lab."""
    figure = plots.image_grid(IMAGES[1], f"Training images: {name}")
    ax = figure.axes[0]
    ax.plot([0, 1], label=name)
    ax.legend(title=f"($x_0$) {name}")
    ax.set(title=f"$x_0$ ({name})", xlabel=name)
    plots.show(figure, "ten pictures of noise in a grid")
    texts = [text.get_text() for text in figure.findobj(Text)]
    plain = [text.replace(r"\$", "$") for text in texts if not is_math_text(text)]
    assert f"Training images: {name}" in plain and plain.count(name) == 2
    safe = name.replace("$", r"\$")
    assert {text for text in texts if is_math_text(text)} == {f"$x_0$ ({safe})", f"($x_0$) {safe}"}


def test_the_labs_own_formulas_stay():
    """Every text with a formula in the code of the lessons."""
    found = set()
    for lesson in lessons.LESSONS:
        for node in ast.walk(ast.parse(lessons.twin_path(lesson).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and is_math_text(str(node.value)):
                found.add(node.value)
    assert len(found) > 20
    figure, ax = plots.axes("title", "x", "y")
    texts = [ax.text(0, 0, text) for text in found]
    plots.show(figure, "a figure with all formulas of the lessons")
    assert [text.get_text() for text in texts] == list(found)


def test_what_is_public():
    """What the lessons use is in ``__all__``, and all of it exists."""
    used = "\n".join(lessons.twin_path(lesson).read_text(encoding="utf-8") for lesson in lessons.LESSONS)
    assert set(re.findall(r"\bplots\.(\w+)", used)) <= set(plots.__all__)
    assert all(hasattr(plots, name) for name in plots.__all__) and len(set(plots.__all__)) == len(plots.__all__)


def test_no_labels_no_texts():
    assert plots.label_lines(plots.axes("title", "x", "y")[1]) == []


def test_drawing_of_any_unet():
    for options in ({}, {"time_input": False}, {"skip_connections": False}):
        network = networks.build_classic_unet((16, 16, 3), **options)
        texts = [text.get_text() for text in diagrams.draw_unet(network).axes[0].texts]
        assert "16×16×32" in texts and "4×4×128" in texts and "pool_2: ÷ 2" in texts and "grow_1: × 2" in texts
        assert ("time_map: dense 256" in texts) == options.get("time_input", True)
        assert texts.count("skip connection") == 2 * options.get("skip_connections", True)


def test_pictures_at_the_ends_of_the_unet():
    network = networks.build_classic_unet((16, 16, 1))
    ax = diagrams.draw_unet(network, picture_in=np.full((16, 16, 1), -1.0), picture_out=np.full((16, 16, 1), 1.0)).axes[
        0
    ]
    left, right = ax.child_axes
    assert np.all(left.images[0].get_array() == 0) and np.all(right.images[0].get_array() == 1)
    assert left.get_window_extent().x1 < right.get_window_extent().x0
