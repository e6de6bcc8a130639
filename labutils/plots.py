"""Numbers to pictures, in one style: titles, axis labels, alternative text, colours that colour-blind readers can tell.

Every figure of a lesson goes through :func:`show`, which asks for the alternative text.
"""

import base64
import html
import io
import os

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, display
from PIL import Image, ImageDraw, ImageFont

# Okabe & Ito's palette (https://jfly.uni-koeln.de/color/), in an order that also differs in lightness.
COLOURS = {"blue": "#0072B2", "orange": "#E69F00", "green": "#009E73", "red": "#D55E00", "sky": "#56B4E9",
           "pink": "#CC79A7", "black": "#000000"}  # fmt: skip
CYCLE = list(COLOURS.values())

STYLE = {"axes.prop_cycle": plt.cycler(color=CYCLE), "figure.dpi": 80, "axes.grid": True, "grid.alpha": 0.25,
         "axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True}  # fmt: skip


def use_lab_style():
    """Make the lab's colours and sizes matplotlib's defaults for this session."""
    plt.rcParams.update(STYLE)


def show(figure, alt):
    """Display a figure with alternative text and close it.

    Args:
        figure: matplotlib figure.
        alt: what a reader who cannot see it needs to know, at least a few words; stored in the notebook and used by
            nbconvert.

    Raises:
        ValueError: if ``alt`` is too short to describe anything.
    """
    if len(alt.split()) < 4:
        raise ValueError(f"alt must describe the figure in words, got {alt!r}")
    display(figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure)


def axes(title, xlabel, ylabel, size=(6, 3.5)):
    """One empty pair of axes with its title and labels; returns (figure, axes)."""
    figure, ax = plt.subplots(figsize=size)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    return figure, ax


def draw_image(ax, image, title=None):
    """Draw one image (H, W, C) with values in [-1, 1]; what leaves the range is shown as black or white."""
    pixels = np.clip((np.asarray(image) + 1) / 2, 0, 1)
    ax.imshow(pixels if pixels.shape[-1] == 3 else pixels[..., 0], cmap="gray", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():  # a thin frame: a white image must not vanish on a white page
        spine.set(visible=True, color="0.7", linewidth=0.5)
    if title is not None:
        ax.set_title(title, fontsize=9)


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


def image_table(rows, row_labels, column_labels, title, scale=1.0):
    """A table of images: ``rows`` is a list of equally long lists of (H, W, C); returns the figure."""
    shape = (len(rows), len(rows[0]))
    figure, grid = plt.subplots(*shape, figsize=(scale * shape[1] + 1, scale * shape[0] + 0.6), squeeze=False)
    for ax, head in zip(grid[0], column_labels, strict=True):
        ax.set_title(head, fontsize=9)
    for row, images, label in zip(grid, rows, row_labels, strict=True):
        for ax, image in zip(row, images, strict=True):
            draw_image(ax, image)
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    figure.suptitle(title)
    return figure


def show_animation(frames, titles, alt, columns=8, seconds=5.0, zoom=2):
    """Display an animated GIF of image grids, embedded in the notebook.

    Args:
        frames: list of arrays (N, H, W, C) with values around [-1, 1].
        titles: one for each frame.
        alt: alternative text.
        columns: images in a row.
        seconds: length of one round.
        zoom: each pixel of an image becomes so many pixels wide.
    """
    pictures = []
    for frame, title in zip(frames, titles, strict=True):
        tile = Image.fromarray((255 * _tile(frame, columns)).astype(np.uint8))
        tile = tile.resize((zoom * tile.width, zoom * tile.height), Image.Resampling.NEAREST)
        picture = Image.new(tile.mode, (tile.width, tile.height + 16), "white")
        picture.paste(tile, (0, 16))
        ImageDraw.Draw(picture).text((4, 2), title, fill="black", font=ImageFont.load_default())
        pictures.append(picture.quantize(16))  # few levels: noise hardly compresses otherwise
    buffer = io.BytesIO()
    pause = round(1000 * seconds / len(frames))
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=pause, loop=0)
    data = base64.b64encode(buffer.getvalue()).decode()
    display(HTML(f'<img src="data:image/gif;base64,{data}" alt="{html.escape(alt, quote=True)}">'))


def slider_or_strip(draw, maximum, values, title, alt):
    """A slider over the integer t where somebody can move it; a strip of pictures where a program runs the notebook.

    Args:
        draw: function (axes, t) that draws the picture of step t.
        maximum: largest t.
        values: the t of the strip.
        title, alt: title and alternative text of the strip.
    """
    if "LABUTILS_BATCH" in os.environ:  # set by the commands that execute notebooks
        figure, row = plt.subplots(1, len(values), figsize=(1.5 * len(values), 2.1), squeeze=False)
        for ax, t in zip(row[0], values, strict=True):
            draw(ax, t)
        figure.suptitle(title)
        show(figure, alt)
        return
    import ipywidgets

    def one(t):
        figure, ax = plt.subplots(figsize=(2.4, 2.6))
        draw(ax, t)
        show(figure, f"{title}: t = {t}")

    slider = ipywidgets.IntSlider(value=values[len(values) // 2], max=maximum, continuous_update=False)
    ipywidgets.interact(one, t=slider)


def _tile(images, columns):
    """Put (N, H, W, C) images side by side as one picture with values in [0, 1]."""
    images = np.clip((np.asarray(images) + 1) / 2, 0, 1)
    n, H, W, C = images.shape
    rows = -(-n // columns)
    padded = np.concatenate([images, np.zeros((rows * columns - n, H, W, C), images.dtype)])
    tiled = padded.reshape(rows, columns, H, W, C).swapaxes(1, 2).reshape(rows * H, columns * W, C)
    return tiled if C == 3 else tiled[..., 0]


def grid_png(images, columns=8, zoom=3):
    """The images as one PNG (bytes), each pixel ``zoom`` pixels wide."""
    tiled = _tile(images, min(columns, len(images)))
    tiled = tiled.repeat(zoom, axis=0).repeat(zoom, axis=1)
    buffer = io.BytesIO()
    plt.imsave(buffer, tiled, cmap="gray", vmin=0, vmax=1, format="png")
    return buffer.getvalue()


def draw_unet(network):
    """Draw the U-Net's layers as boxes: height for the map's size, depth by the number of channels; returns the figure.

    Left to right in the order of the computation, boxes of one size at one level, skip connections as arrows.
    """
    kinds = ("Conv2D", "MaxPooling2D", "UpSampling2D", "Concatenate")
    drawn = [layer for layer in network.layers if type(layer).__name__ in kinds]
    colours = dict(zip(kinds, ("blue", "orange", "green", "sky"), strict=True))
    figure, ax = plt.subplots(figsize=(11, 5))
    full = network.inputs[0].shape[1]
    position, labels = {}, set()
    for x, layer in enumerate(drawn):
        H, W, C = layer.output.shape[1:]
        kind = type(layer).__name__
        height, width = H / full, 0.12 + 0.6 * C / 192
        label = kind if kind not in labels else None
        labels.add(kind)
        level = -1.35 * np.log2(full / H)
        ax.bar(x, height, width, level - height / 2, color=COLOURS[colours[kind]], label=label, edgecolor="black")
        ax.text(x, level + height / 2 + 0.06, layer.name, ha="center", va="bottom", fontsize=9, rotation=30)
        ax.text(x, level - height / 2 - 0.06, f"{H}×{W}×{C}", ha="center", va="top", fontsize=8)
        position[layer.name] = (x, level, width / 2)
    for skip, source in (("skip_1", "down_1"), ("skip_2", "down_2")):
        if skip in position and source in position:
            (start, level, before), (end, _, after) = position[source], position[skip]
            ax.annotate(
                "",
                (end - after, level),
                (start + before, level),
                zorder=0,  # behind what lies between
                arrowprops={"arrowstyle": "->", "linestyle": "--", "color": COLOURS["red"], "lw": 1.6},
            )
    ax.set(title="The classic U-Net: shapes height × width × channels, skip connections dashed", ylim=(-3.6, 1.15))
    ax.set(xlabel="order of the computation", ylabel="size of the map", xticks=[])
    ax.set_yticks([0, -1.35, -2.7], ["full", "half", "quarter"])
    ax.grid(False)
    ax.legend(loc="lower right", fontsize=8)
    return figure
