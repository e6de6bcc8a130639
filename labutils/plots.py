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
    "draw_proportions",
    "grid_png",
    "image_grid",
    "image_table",
    "label_lines",
    "measure_curves",
    "show",
    "show_animation",
    "show_prediction",
    "show_slider",
    "show_table",
    "use_lab_style",
    "write_below",
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


def show(figure, alt, exact=False):
    """Display a figure with alternative text and close it.

    Args:
        figure: matplotlib figure. In its texts, a dollar that does not belong to a formula is drawn as it is.
        alt: describes the figure to readers who cannot see it, in at least four words. The notebook stores it,
            nbconvert uses it, and a terminal shows it.
        exact: keep all colours, for a figure with more than 256 that matter, such as grey maps with a colour bar.

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
    drawn = Image.open(buffer).convert("RGB")
    small = png(drawn if exact else drawn.quantize(**few))
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


def show_prediction(prediction, answer):
    """Print what a student predicted, and below it what the cells found."""
    unanswered = not str(prediction).strip(" .…")
    print(f"your prediction: {'(none written)' if unanswered else prediction}\nfound:           {answer}")


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


def label_lines(ax):
    """Write the label of each line at its right end, in the colour of the line: easier to read than a long legend.

    Call it last, after the lines and the limits of the axes are set. Labels that would overlap are moved apart as
    little as possible (least squares, by isotonic regression). They stay inside the height of the axes. A thin line
    leads from the end of a curve to its label. The labels of curves that end near the right edge form one column.

    Args:
        ax: axes with lines that have a ``label``. Lines without a label and empty lines get no text.

    Returns:
        list of the matplotlib texts, from the lowest to the highest.
    """
    ax.get_xlim(), ax.get_ylim()  # asking for the limits makes matplotlib compute them
    to_axes = ax.transScale + ax.transLimits  # from data to proportions of the axes, for linear and logarithmic scales
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
    # The distance of two labels is at least 5 % of the axes and the height of the text.
    gap = min(max(0.05, 1.2 * size / height), 1 / max(len(ends) - 1, 1))
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


def measure_curves(ax, curves, real):
    """Draw a measure against the calls of the network: a line with 95 % intervals for each curve.

    Args:
        ax: axes; the one for the calls becomes logarithmic.
        curves: dict label → list of (calls, value, low, high), see labutils.results.curve; an empty list is left out.
        real: the value of real images, drawn as a dotted line.
    """
    colours = [COLOURS[name] for name in ("blue", "red", "green", "black", "pink")]
    for (label, points), colour, marker in zip(curves.items(), colours, "os^dv", strict=False):
        if points:
            calls, value, low, high = np.array(points).T
            ax.plot(calls, value, color=colour, marker=marker, label=label)
            ax.errorbar(calls, value, [value - low, high - value], fmt="none", capsize=3, color=colour)
    ax.axhline(real, color="black", linewidth=1.5, linestyle=":", label="real images")
    ax.set(xlabel="calls of the network", xscale="log")
    left, right = ax.get_xlim()
    shown = [calls for calls in (5, 10, 20, 50, 100, 1000) if left <= calls <= right]
    ax.set_xticks(shown, shown)
    ax.minorticks_off()


def draw_proportions(ax, x, proportions, label, marker="o", **style):
    """Draw proportions, each (value, low, high), at the places x: points with their intervals."""
    value, low, high = np.transpose(proportions)
    ax.errorbar(x, value, [value - low, high - value], label=label, marker=marker, capsize=3, **style)


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
    """A grid of images (N, H, W, C); returns the figure. ``scale``: inches for one image."""
    return _grid(images, itertools.repeat(None), title, columns, (scale, scale, 0.5))


def captioned(images, texts, title, columns=4):
    """A grid of images (N, H, W, C), each below its text (N); returns the figure."""
    texts = [textwrap.fill(text, 22) for text in texts]
    return _grid(images, texts, title, columns, (2.2, 2.55, 0.4))


def _grid(images, texts, title, columns, sizes):
    """Images below their texts; ``sizes`` in inches: width and height of a cell, height of the title."""
    rows, (width, height, above) = -(-len(images) // columns), sizes
    figure, grid = plt.subplots(rows, columns, figsize=(width * columns, height * rows + above), squeeze=False)
    for ax, image, text in zip(grid.flat, images, texts, strict=False):
        draw_image(ax, image, text)
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


def write_below(figure, texts, width=22):
    """Write a text below each image of a grid or table, at most ``width`` letters a line; returns the figure."""
    rows = figure.axes[0].get_subplotspec().get_gridspec().nrows
    figure.set_figheight(figure.get_figheight() + 0.45 * rows)  # inches: room for two lines below each row
    for ax, text in zip(figure.axes, texts, strict=False):
        ax.set_xlabel(textwrap.fill(text, width), fontsize=SMALL)
    return figure


def show_animation(frames, titles, alt, columns=8):
    """Display an animated GIF of image grids, embedded in the notebook.

    Args:
        frames: list of arrays (N, H, W, C) with values around [-1, 1].
        titles: one for each frame.
        alt: alternative text.
        columns: images in a row.
    """
    data = as_text(animation_gif(frames, titles, columns))
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
