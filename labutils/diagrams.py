"""Diagrams in the style of ``plots``: the pipeline, the U-Net of lesson 3, the model of lesson 8, vectors exchanged."""

import itertools

import matplotlib.pyplot as plt
import numpy as np

from labutils import plots

__all__ = ["describe_costs", "draw_exchange", "draw_text_to_image", "draw_unet", "show_pipeline"]

PIPELINE = {  # part: column, row, text of its box, the lessons that are about it
    "image": (0, 2, "an image $x_0$", ()),
    "forward": (1, 2, "add noise ε,\nas much as step t says", (2,)),
    "network": (2, 2, "the network predicts ε\nfrom $x_t$ and t", (3, 7)),
    "loss": (3, 2, "compare with ε,\nchange the weights", (4,)),
    "noise": (0, 1, "pure noise", ()),
    "trained": (1, 1, "the trained network\npredicts the noise", (3, 7)),
    "step": (2, 1, "remove a little of it,\nask again", (5, 9)),
    "new image": (3, 1, "a new image", ()),
    "condition": (1, 0, "a digit or a caption,\nif you like", (8, 10)),
}


def show_pipeline(lesson):
    """Show what a diffusion model does, training above and drawing below, with the part of one lesson in colour.

    Args:
        lesson: its number. Lessons 1 and 6 are about the whole, so nothing is coloured.
    """
    figure, ax = plt.subplots(figsize=(11.5, 4.4))
    wide, high = 2.2, 0.8
    centres = {name: (3.2 * column, 1.7 * row) for name, (column, row, *_) in PIPELINE.items()}

    def arrow(start, end, side=(1, 0), text="", **style):
        step = np.multiply(side, (wide / 2, high / 2))
        _arrow(ax, np.add(centres[start], step), np.subtract(centres[end], step), text, (0, 6), **style)

    for name, (_, row, text, lessons) in PIPELINE.items():
        x, y = centres[name]
        own = lesson in lessons
        corner, colour = (x - wide / 2, y - high / 2), plots.COLOURS["sky"] if own else "white"
        ax.add_patch(plt.Rectangle(corner, wide, high, fc=colour, ec="black", lw=2.5 if own else 1))
        ax.text(x, y, text, ha="center", va="center", fontsize=plots.SMALL)
        if lessons:
            number = f"lesson{'s' * (len(lessons) > 1)} {' and '.join(map(str, lessons))}"
            if row == 0:  # an arrow goes up from this box: its lessons stand beside it
                ax.text(x - wide / 2 - 0.1, y, number, ha="right", va="center", fontsize=plots.SMALL)
            else:
                ax.text(x - wide / 2, y + high / 2 + 0.08, number, fontsize=plots.SMALL)
    for row in (("image", "forward", "network", "loss"), ("noise", "trained", "step", "new image")):
        for start, end in itertools.pairwise(row):
            arrow(start, end)
    arrow("condition", "trained", (0, 1))
    (x, y), (back, _) = centres["step"], centres["trained"]
    below = {"arrowstyle": "-|>", "lw": 1.8, "connectionstyle": "bar,angle=180,fraction=-0.12"}
    ax.annotate("", (back + 0.5, y - high / 2), (x, y - high / 2), arrowprops=below)
    ax.text((x + back) / 2 + 0.25, y - high / 2 - 0.62, "again, for every step", ha="center", fontsize=plots.SMALL)
    for row, text in ((2, "Training"), (1, "Drawing")):
        ax.text(-wide / 2, 1.7 * row + high / 2 + 0.08, text, weight="bold", fontsize=12)
    ax.set(title="A diffusion model, and the lessons about its parts", xlim=(-1.2, 10.8), ylim=(-0.5, 4.2))
    ax.set_axis_off()
    own = [text.replace("\n", " ") for _, _, text, lessons in PIPELINE.values() if lesson in lessons]
    plots.show(
        figure,
        "Two rows of boxes. Training: an image, add noise, the network predicts the noise, compare and change the "
        "weights. Drawing: pure noise, the trained network predicts the noise, remove a little of it and ask again, a "
        f"new image. In colour, the part of this lesson: {'; '.join(own) or 'none, it is about the whole'}.",
    )


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
        _arrow(ax, start, end, text, at, color=plots.COLOURS[colour], linestyle=line, zorder=0)

    for name, (x, level, colour) in UNET_PLACES.items():
        if name in shapes:
            H, W, C = shapes[name]
            wide, high, y = 0.14 + 0.5 * C / 192, H / full, -1.75 * level
            ax.add_patch(plt.Rectangle((x - wide / 2, y - high / 2), wide, high, fc=plots.COLOURS[colour], ec="black"))
            ax.text(x, y + high / 2 + 0.05, name, ha="center", va="bottom", fontsize=plots.SMALL)
            ax.text(x, y - high / 2 - 0.05, f"{H}×{W}×{C}", ha="center", va="top", fontsize=plots.SMALL)
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
                fontsize=plots.SMALL,
                bbox={"boxstyle": "round", "fc": "white", "ec": plots.COLOURS["orange"]},
            )
            arrow((x, y + 0.17), (x, above - (0.2 if above < -0.9 else 0)), colour="orange")
    for picture, x in ((picture_in, -1.75), (picture_out, 12.45)):
        if picture is not None:
            plots.draw_image(ax.inset_axes((x, -0.5, 1.3, 1), transform=ax.transData), picture)
    ax.set(title="The classic network: a box is a map, height × width × channels", xlim=(-1.9, 13.9), ylim=(-4, 0.95))
    ax.set_axis_off()
    return figure


STABLE_DIFFUSION_PLACES = {  # part: left edge, bottom edge and colour of its box
    "text encoder": (0.0, 3.1, "orange"),
    "denoiser": (4.7, 1.6, "blue"),
    "decoder": (9.4, 1.6, "green"),
    "encoder": (0.0, 0.0, "sky"),
}


def describe_costs(costs):
    """Parameters and multiply-adds in words, such as "1.7 M parameters, 31 M multiply-adds"."""

    def short(number):
        unit, name = (1e9, "G") if number >= 1e9 else (1e6, "M")
        return f"{number / unit:,.{0 if number >= 20 * unit else 1}f} {name}"

    return f"{short(costs['parameters'])} parameters, {short(costs['multiply_adds'])} multiply-adds"


def draw_text_to_image(parts, title):
    """Draw the parts of a latent diffusion model that is conditional on captions, with text in each box.

    Args:
        parts: dict from "text encoder", "denoiser", "decoder" and "encoder" to a list of lines.
        title: of the figure.

    Returns:
        The figure.
    """
    figure, ax = plt.subplots(figsize=(12, 5.4))
    wide, high = 4.1, 2.0
    for name, (x, y, colour) in STABLE_DIFFUSION_PLACES.items():
        ax.add_patch(plt.Rectangle((x, y), wide, high, fc="white", ec=plots.COLOURS[colour], lw=2.5))
        ax.text(x + wide / 2, y + high - 0.1, name, ha="center", va="top", fontsize=12, weight="bold")
        ax.text(x + wide / 2, y + high - 0.45, "\n".join(parts[name]), ha="center", va="top", fontsize=plots.SMALL)

    _arrow(ax, (wide / 2, 5.8), (wide / 2, 5.1), "caption, as tokens", (8, -4), "left")
    _arrow(ax, (wide, 4.2), (6.4, 3.6), "one vector a word", (20, 16))
    _arrow(ax, (4.7 + wide, 2.6), (9.4, 2.6), "$x_0$", (0, 6))
    _arrow(ax, (9.4 + wide, 2.6), (14.4, 2.6), "picture", (0, 6))
    _arrow(ax, (6.7, 0.6), (6.7, 1.6), "noise $x_T$, then each $x_t$ and t", (8, -34), "left")
    again = {"connectionstyle": "bar,angle=180,fraction=-0.35"}
    _arrow(ax, (8.5, 1.6), (7.6, 1.6), "again for every step", (0, -36), **again)
    _arrow(ax, (wide, 1.2), (5.2, 1.6), "latents,\ntraining only", (6, -32), "left", linestyle="--")
    ax.set(title=title, xlim=(-0.1, 14.6), ylim=(-0.1, 5.9))
    ax.set_axis_off()
    return figure


def draw_exchange(words, other, place):
    """Draw the vectors of two captions, and those of the first with one of the second put in.

    Args:
        words, other: two captions with as many words. place: of the word whose vector is exchanged.

    Returns:
        The figure.
    """
    figure, ax = plt.subplots(figsize=(11, 3.4))
    own, new = plots.COLOURS["sky"], plots.COLOURS["orange"]
    first, second = words.split(), other.split()
    rows = {2: (first, own, "vectors of the first caption"), 1: (second, new, "vectors of the other one")}
    for y, (texts, colour, label) in {**rows, 0: (first, own, "what the denoiser gets")}.items():
        ax.text(-0.2, y + 0.25, label, ha="right", va="center", fontsize=plots.SMALL)
        for x, text in enumerate(texts):
            exchanged = y == 0 and x == place
            ax.add_patch(plt.Rectangle((x, y), 0.9, 0.5, fc=new if exchanged else colour, ec="black"))
            text = second[x] if exchanged else text
            ax.text(x + 0.45, y + 0.25, f"of “{text}”", ha="center", va="center", fontsize=plots.SMALL)
    _arrow(ax, (place + 0.45, 1), (place + 0.45, 0.5), "", (0, 0))
    ax.set(title="Between text encoder and denoiser: one vector is exchanged", xlim=(-2.4, 8), ylim=(-0.1, 2.6))
    ax.set_axis_off()
    return figure


def _arrow(ax, start, end, text, offset, ha="center", zorder=None, **style):
    """An arrow with a text near its middle, ``offset`` in points."""
    style = {"arrowstyle": "-|>", "lw": 1.8, "shrinkA": 0, "shrinkB": 0, **style}
    ax.annotate("", end, start, arrowprops=style, zorder=zorder)
    ax.annotate(text, np.add(start, end) / 2, offset, textcoords="offset points", ha=ha, fontsize=plots.SMALL)
