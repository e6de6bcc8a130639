"""Figures in one style: titles, axis labels, alternative text, colours that colour-blind readers can tell apart.

Every figure of a lesson goes through :func:`show`, which asks for the alternative text.
"""

import html
import io
import itertools
import re
import textwrap

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, display
from matplotlib import font_manager
from matplotlib.mathtext import MathTextParser
from matplotlib.text import Text
from PIL import Image
from scipy.optimize import isotonic_regression

from labutils.support.pictures import animation_gif, as_text, grid_png, png, slider_html

__all__ = [
    "COLOURS",
    "CYCLE",
    "SMALL",
    "axes",
    "captioned",
    "draw_image",
    "draw_text_to_image",
    "draw_unet",
    "grid_png",
    "image_grid",
    "image_table",
    "label_lines",
    "show",
    "show_animation",
    "show_slider",
    "show_table",
    "use_lab_style",
]

# Okabe & Ito's palette (https://jfly.uni-koeln.de/color/), ordered so that neighbours also differ in lightness.
COLOURS = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "red": "#D55E00",
    "sky": "#56B4E9",
    "pink": "#CC79A7",
    "black": "#000000",
}
CYCLE = list(COLOURS.values())

STYLE = {
    "axes.prop_cycle": plt.cycler(color=CYCLE),
    "figure.dpi": 100,
    "font.size": 11,
    "axes.titlesize": 12,
    "legend.fontsize": 10.5,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
}
SMALL = 10.5  # points: the smallest text of a figure, 15 pixels at 100 dots per inch
# A formula stands between two dollars and beside no letter or digit, unlike most dollars in names of files.
FORMULA = re.compile(r"(?<![\w$\\])\$(?!\s)[^$]+(?<![\s\\])\$(?![\w$]|\.\w)")


def use_lab_style():
    """Make the lab's colours and sizes matplotlib's defaults for this session."""
    plt.rcParams.update(STYLE)


def show(figure, alt):
    """Display a figure with alternative text and close it.

    Args:
        figure: matplotlib figure. In its texts, a dollar that does not belong to a formula is drawn as it is.
        alt: describes the figure to readers who cannot see it, in at least four words. The notebook stores it,
            nbconvert uses it, and a terminal shows it.

    Raises:
        ValueError: if ``alt`` is too short to describe anything.
    """
    if len(alt.split()) < 4:
        raise ValueError(f"alt must describe the figure in words, got {alt!r}")
    for text in figure.findobj(Text):
        text.set_text(_drawable(text.get_text()))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    plt.close(figure)
    # 256 colours make the file two times smaller. Maximum coverage keeps rare colours, which a median cut mixes.
    few = {"colors": 256, "method": Image.Quantize.MAXCOVERAGE, "dither": Image.Dither.NONE}
    small = png(Image.open(buffer).convert("RGB").quantize(**few))
    display({"image/png": as_text(small), "text/plain": alt}, raw=True, metadata={"image/png": {"alt": alt}})


def _drawable(text):
    """A text as matplotlib must get it: only formulas keep their dollars, so a name such as ``a$1_$2.npz`` is drawn."""
    pieces, end = [], 0
    for formula in FORMULA.finditer(text):
        if _is_formula(formula.group()):
            pieces += [_without_dollars(text[end : formula.start()]), formula.group()]
            end = formula.end()
    return "".join([*pieces, _without_dollars(text[end:])])


def _without_dollars(text):
    return re.sub(r"(?<!\\)\$", r"\$", text)


def _is_formula(text):
    try:
        MathTextParser("path").parse(text)
    except ValueError:
        return False
    return True


def show_table(headings, rows):
    """Display a table: a real one in a notebook, which a narrow window does not break; aligned text in a terminal.

    Args:
        headings: one text for each column.
        rows: lists of texts or numbers, as long as ``headings``. The first column is aligned to the left, the others to
            the right.

    Raises:
        ValueError: a row of another length.
    """
    table = [[str(value) for value in row] for row in (headings, *rows)]
    if any(len(row) != len(headings) for row in table):
        raise ValueError(f"each row must have {len(headings)} values, as the headings {', '.join(headings)}")
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    first, *others = widths
    plain = "\n".join(
        "  ".join([row[0].ljust(first), *(v.rjust(w) for v, w in zip(row[1:], others, strict=True))]).rstrip()
        for row in table
    )
    head, *body = table
    lines = "".join(_table_row(row, "td") for row in body)
    page = f"<table><thead>{_table_row(head, 'th')}</thead><tbody>{lines}</tbody></table>"
    display({"text/html": page, "text/plain": plain}, raw=True)


def _table_row(row, tag):
    sides = ["left", *["right"] * (len(row) - 1)]
    cells = (
        f'<{tag} style="text-align: {side}">{html.escape(text)}</{tag}>' for text, side in zip(row, sides, strict=True)
    )
    return f"<tr>{''.join(cells)}</tr>"


def axes(title, xlabel, ylabel, size=(6, 3.5)):
    """One empty pair of axes with its title and labels; returns (figure, axes)."""
    figure, ax = plt.subplots(figsize=size)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    return figure, ax


def label_lines(ax, min_gap=0.05):
    """Write the label of each line at its right end, in the colour of the line: easier to read than a long legend.

    Call it last, after the lines and the limits of the axes are set. Labels that would overlap are moved apart as
    little as possible (least squares, by isotonic regression). They stay inside the height of the axes. A thin line
    leads from the end of a curve to its label. The labels of curves that end near the right edge form one column.

    Args:
        ax: axes with lines that have a ``label``. Lines without a label and empty lines get no text.
        min_gap: smallest distance of two labels, as a share of the height of the axes; never less than the height of
            the text.

    Returns:
        list of the matplotlib texts, from the lowest to the highest.
    """
    ax.get_xlim(), ax.get_ylim()  # asking for the limits makes matplotlib compute them
    to_axes = ax.transScale + ax.transLimits  # from data to shares of the axes, for linear and logarithmic scales
    size = plt.rcParams["legend.fontsize"]
    size = font_manager.FontProperties(size=size).get_size_in_points()
    ends = []
    for line in ax.get_lines():
        x, y = line.get_xdata(orig=False), line.get_ydata(orig=False)
        known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        if not line.get_label().startswith("_") and known.size:
            last = known[np.argmax(x[known])]
            ends.append((*to_axes.transform((x[last], y[last])), line))
    ends.sort(key=lambda end: end[1])
    height = ax.bbox.height / ax.figure.dpi * 72  # in points
    gap = min(max(min_gap, 1.2 * size / height), 1 / max(len(ends) - 1, 1))
    steps = gap * np.arange(len(ends))
    wanted = np.array([y for _, y, _ in ends]) - steps
    places = np.clip(isotonic_regression(wanted).x, 0, 1 - steps[-1]) + steps if ends else []
    return [
        ax.annotate(
            line.get_label(),
            (x, y),
            (1.03 if x > 0.8 else x + 0.03, place),
            xycoords="axes fraction",
            va="center",
            textcoords="axes fraction",
            color=line.get_color(),
            fontsize=size,
            annotation_clip=False,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            arrowprops={"arrowstyle": "-", "color": line.get_color(), "lw": 0.7, "relpos": (0, 0.5)},
        )
        for (x, y, line), place in zip(ends, places, strict=True)
    ]


def draw_image(ax, image, title=None):
    """Draw one image (H, W, C) with values in [-1, 1]; values outside are shown as black or white."""
    pixels = np.clip((np.asarray(image) + 1) / 2, 0, 1)
    ax.imshow(pixels if pixels.shape[-1] == 3 else pixels[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():  # a thin frame shows where a white image ends on a white page
        spine.set(visible=True, color="0.7", linewidth=0.5)
    if title is not None:
        ax.set_title(title, fontsize=SMALL)


def image_grid(images, title, columns=8, scale=0.75):
    """A grid of images (N, H, W, C); returns the figure."""
    rows = -(-len(images) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(scale * columns, scale * rows + 0.5), squeeze=False)
    for ax, image in zip(grid.flat, images, strict=False):
        draw_image(ax, image)
    for ax in grid.flat[len(images) :]:
        ax.set_axis_off()
    figure.suptitle(title)
    return figure


def captioned(images, texts, title, columns=4, scale=2.2):
    """A grid of images (N, H, W, C), each below its text (N); returns the figure."""
    rows = -(-len(images) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(scale * columns, (scale + 0.35) * rows + 0.4), squeeze=False)
    for ax, image, text in zip(grid.flat, images, texts, strict=False):
        draw_image(ax, image, textwrap.fill(text, 22))
    for ax in grid.flat[len(images) :]:
        ax.set_axis_off()
    figure.suptitle(title)
    return figure


def image_table(rows, row_labels, column_labels, title, scale=1.0):
    """A table of images: ``rows`` is a list of equally long lists of (H, W, C); returns the figure."""
    shape = (len(rows), len(rows[0]))
    figure, grid = plt.subplots(*shape, figsize=(scale * shape[1] + 1, scale * shape[0] + 0.6), squeeze=False)
    for ax, head in zip(grid[0], column_labels, strict=True):
        ax.set_title(head, fontsize=SMALL)
    for row, images, label in zip(grid, rows, row_labels, strict=True):
        for ax, image in zip(row, images, strict=True):
            draw_image(ax, image)
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=SMALL)
    figure.suptitle(title)
    return figure


def show_animation(frames, titles, alt, columns=8, seconds=5.0, zoom=3):
    """Display an animated GIF of image grids, embedded in the notebook.

    Args:
        frames: list of arrays (N, H, W, C) with values around [-1, 1].
        titles: one for each frame.
        alt: alternative text.
        columns: images in a row.
        seconds: length of one round.
        zoom: width in pixels of one pixel of an image.
    """
    data = as_text(animation_gif(frames, titles, columns, seconds, zoom))
    display(HTML(f'<img src="data:image/gif;base64,{data}" alt="{html.escape(alt, quote=True)}">'))


def show_slider(images, labels, strip, title, alt):
    """Show a few of the images as a strip, and below it a slider that goes through all of them.

    The strip is an ordinary figure. The slider is a script that is stored in the output together with its pictures. It
    needs no kernel and no network. JupyterLab removes scripts from a notebook that it does not trust; then only the
    strip is shown.

    Args:
        images: (N, H, W, C) with values around [-1, 1].
        labels: N texts, one for each image.
        strip: indices of the images in the strip.
        title, alt: title and alternative text of the strip.

    Raises:
        ValueError: not as many labels as images.
    """
    slider = slider_html(images, labels, title)
    table = [[images[i] for i in strip]]
    show(image_table(table, [""], [labels[i] for i in strip], title, scale=1.3), alt)
    display(HTML(slider))


UNET_PLACES = {  # name of the layer: column, level and colour of its map in the drawing
    "noisy_image": (0, 0, "pink"),
    "image_and_time": (1.6, 0, "sky"),
    "down_1": (3, 0, "blue"),
    "down_2": (4.1, 1, "blue"),
    "middle": (5.7, 2, "blue"),
    "skip_2": (7.1, 1, "sky"),
    "up_2": (8.4, 1, "blue"),
    "skip_1": (9.3, 0, "sky"),
    "up_1": (10.6, 0, "blue"),
    "predicted_noise": (12, 0, "pink"),
}


def draw_unet(network, picture_in=None, picture_out=None):
    """Draw the classic network as a U: the way down on the left, the way up on the right, the time below on the left.

    A box is a map. Its height is the height of the map, and its width grows with the number of channels.

    Args:
        network: from :func:`labutils.networks.build_classic_unet`, of any image shape, also without time or skips.
        picture_in, picture_out: images (H, W, C) to show at the ends of the U, or None.

    Returns:
        The figure.
    """
    figure, ax = plt.subplots(figsize=(12, 6.2))
    shapes = {layer.name: layer.output.shape[1:] for layer in network.layers}
    shapes["noisy_image"] = network.inputs[0].shape[1:]
    full, boxes = shapes["noisy_image"][0], {}

    def arrow(start, end, text="", colour="black", line="-", at=(0, 9)):
        style = {
            "arrowstyle": "-|>",
            "color": COLOURS[colour],
            "lw": 1.8,
            "linestyle": line,
            "shrinkA": 0,
            "shrinkB": 0,
        }
        ax.annotate("", end, start, arrowprops=style, zorder=0)
        ax.annotate(text, np.add(start, end) / 2, at, textcoords="offset points", ha="center", fontsize=SMALL)

    for name, (x, level, colour) in UNET_PLACES.items():
        if name in shapes:
            H, W, C = shapes[name]
            wide, high, y = 0.14 + 0.5 * C / 192, H / full, -1.75 * level
            ax.add_patch(plt.Rectangle((x - wide / 2, y - high / 2), wide, high, fc=COLOURS[colour], ec="black"))
            ax.text(x, y + high / 2 + 0.05, name, ha="center", va="bottom", fontsize=SMALL)
            ax.text(x, y - high / 2 - 0.05, f"{H}×{W}×{C}", ha="center", va="top", fontsize=SMALL)
            boxes[name] = (x, y, wide / 2, high / 2)
    moves = iter(["pool_1: ÷ 2", "pool_2: ÷ 2", "grow_2: × 2", "grow_1: × 2"])
    for (x, y, wide, high), (next_x, next_y, next_wide, next_high) in itertools.pairwise(boxes.values()):
        if y == next_y:
            arrow((x + wide, y), (next_x - next_wide, y))
        else:
            sign = np.sign(y - next_y)  # 1 on the way down, -1 on the way up
            arrow(
                (x, y - sign * (high + 0.27)),
                (next_x, next_y + sign * (next_high + 0.27)),
                next(moves),
                "green",
                at=(-40 * sign, -14),
            )
    for source, skip in (("down_1", "skip_1"), ("down_2", "skip_2")):
        if skip in boxes:
            (x, y, wide, _), (end, _, end_wide, _) = boxes[source], boxes[skip]
            arrow((x + wide, y), (end - end_wide, y), "skip connection", "red", "--", (0, 5))
    if "image_and_time" in boxes:
        x, ends = boxes["image_and_time"][0], [-3.75, -3.05, -2.35, -1.6, -0.85]
        H, W, _ = shapes["image_and_time"]
        texts = ("t/T, one number", "time_hidden: dense 32", f"time_map: dense {H * W:,}", f"time_image: {H}×{W}×1")
        for text, y, above in zip(texts, ends, ends[1:], strict=False):
            ax.text(
                x,
                y,
                text,
                ha="center",
                va="center",
                fontsize=SMALL,
                bbox={"boxstyle": "round", "fc": "white", "ec": COLOURS["orange"]},
            )
            arrow((x, y + 0.17), (x, above - (0.2 if above < -0.9 else 0)), colour="orange")
    for picture, x in ((picture_in, -1.75), (picture_out, 12.45)):
        if picture is not None:
            draw_image(ax.inset_axes((x, -0.5, 1.3, 1), transform=ax.transData), picture)
    ax.set(title="The classic network: a box is a map, height × width × channels", xlim=(-1.9, 13.9), ylim=(-4, 0.95))
    ax.set_axis_off()
    return figure


STABLE_DIFFUSION_PLACES = {  # part: left edge, bottom edge and colour of its box
    "text encoder": (0.0, 3.1, "orange"),
    "denoiser": (4.7, 1.6, "blue"),
    "decoder": (9.4, 1.6, "green"),
    "encoder": (0.0, 0.0, "sky"),
}


def draw_text_to_image(parts, title):
    """Draw the parts of a latent diffusion model that is told captions, with text in each box.

    Args:
        parts: dict from "text encoder", "denoiser", "decoder" and "encoder" to a list of lines.
        title: of the figure.

    Returns:
        The figure.
    """
    figure, ax = plt.subplots(figsize=(12, 5.4))
    wide, high = 4.1, 2.0
    for name, (x, y, colour) in STABLE_DIFFUSION_PLACES.items():
        ax.add_patch(plt.Rectangle((x, y), wide, high, fc="white", ec=COLOURS[colour], lw=2.5))
        ax.text(x + wide / 2, y + high - 0.1, name, ha="center", va="top", fontsize=12, weight="bold")
        ax.text(x + wide / 2, y + high - 0.45, "\n".join(parts[name]), ha="center", va="top", fontsize=SMALL)

    def arrow(start, end, text, offset=(0, 6), ha="center", line="-"):
        style = {"arrowstyle": "-|>", "lw": 1.8, "linestyle": line, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", end, start, arrowprops=style)
        ax.annotate(text, np.add(start, end) / 2, offset, textcoords="offset points", ha=ha, fontsize=SMALL)

    arrow((wide / 2, 5.8), (wide / 2, 5.1), "caption, as tokens", (8, -4), "left")
    arrow((wide, 4.2), (6.4, 3.6), "one vector a word", (20, 16))
    arrow((4.7 + wide, 2.6), (9.4, 2.6), "$x_0$")
    arrow((9.4 + wide, 2.6), (14.4, 2.6), "picture")
    arrow((6.7, 0.6), (6.7, 1.6), "noise $x_T$, then each $x_t$ and t", (8, -4), "left")
    arrow((wide, 1.2), (5.2, 1.6), "latents,\ntraining only", (6, -32), "left", "--")
    ax.set(title=title, xlim=(-0.1, 14.6), ylim=(-0.1, 5.9))
    ax.set_axis_off()
    return figure
