"""Write the page that runs a model in the browser: one HTML file with weights, engine and style inside.

Its parts are in ``docs/play/source``: ``page.html`` names the others where they belong. ``kernel.wasm`` is made from
``kernel.wat`` and committed; a test holds them in step.
"""

import base64
import json
from pathlib import Path

import numpy as np

from labutils import pretrained
from labutils.support.files import write_atomically

PLAY_DIR = Path(__file__).resolve().parents[1] / "docs" / "play"
SOURCE_DIR = PLAY_DIR / "source"
CHECKPOINT = "fast_conditional"
LARGEST = 32767  # of int16


def add_arguments(parser):
    """The command's arguments."""
    parser.add_argument("--checkpoint", default=CHECKPOINT, help=f"a network with labels (default: {CHECKPOINT})")
    parser.add_argument("--out", default=str(PLAY_DIR / "index.html"), help="FILE.html (default: docs/play/index.html)")


def main(options):
    """Run the command."""
    out = Path(options.out)
    if out.suffix.lower() != ".html":
        raise ValueError(f"--out must end in .html, got {options.out}")
    page = make_page(options.checkpoint).encode()
    write_atomically(out, lambda path: path.write_bytes(page))
    print(f"wrote {out}: {len(page) / 1e6:.1f} MB; it opens in a browser, without server or network")


def make_page(checkpoint=CHECKPOINT):
    """The page as a string; the same checkpoint and sources give the same page, byte for byte.

    Raises:
        FileNotFoundError, ValueError: as labutils.pretrained.load; or the checkpoint is not one that the page's engine
            can run.
    """
    record, weights = pack(checkpoint)
    record["kernel"] = _base64((SOURCE_DIR / "kernel.wasm").read_bytes())
    parts = {
        "style.css": _read("style.css"),
        "engine.js": _read("engine.js"),
        "page.js": _read("page.js"),
        "model.json": json.dumps(record),
        "weights": _base64(weights),
    }
    page = _read("page.html")
    for name, text in parts.items():
        if page.count(f"{{{{{name}}}}}") != 1:
            raise ValueError(f"page.html must name {{{{{name}}}}} exactly once")
        page = page.replace(f"{{{{{name}}}}}", text)
    return page


def pack(checkpoint=CHECKPOINT):
    """A checkpoint as the page's engine reads it.

    Returns:
        (record, weights): a dict of JSON types, and the bytes of all layers, see :func:`pack_layer`.

    Raises:
        FileNotFoundError, ValueError: as :func:`make_page`.
    """
    about = pretrained.read_record(checkpoint)
    if about["network"] != "fast_conditional" or about["input_shape"] != [28, 28, 1]:
        raise ValueError(
            f"the page runs the network fast_conditional on images (28, 28, 1); checkpoint {checkpoint} holds "
            f"{about['network']} on {tuple(about['input_shape'])}"
        )
    diffusion = pretrained.load_diffusion(checkpoint)
    layers, weights = [], b""
    for layer in diffusion.network.layers:
        if not layer.weights:
            continue
        taps, _, inputs, outputs = layer.kernel.shape
        layers.append({"name": layer.name, "taps": taps, "inputs": inputs, "outputs": outputs, "offset": len(weights)})
        weights += pack_layer(*(np.asarray(array) for array in layer.get_weights()))
    names, channels = [layer["name"] for layer in layers], {layer["name"]: layer["outputs"] for layer in layers}
    record = {
        "checkpoint": checkpoint,
        "weights_sha256": about["weights_sha256"],
        "parameters": about["parameters"],
        "target": diffusion.prediction,
        "side": about["input_shape"][0],
        "classes": layers[0]["inputs"] - 6,  # 2×2 pixels, the time, and "no label" beside the classes
        "widths": [channels["conv_in"], channels["downsample"]],
        "blocks": [sum(name.startswith(part) for name in names) // 2 for part in ("down_", "middle_")],
        "layers": layers,
        "alpha_bars": _base64(diffusion.schedule.alpha_bars.astype("<f8").tobytes()),
    }
    return record, weights


def pack_layer(kernel, bias):
    """One convolution as bytes: scales, biases (float32), and the kernel as 16-bit integers in Keras' order.

    A weight is scale · integer, with one scale for each output channel. The step of float16 grows with the weight, up
    to 2⁻¹¹ of it; here the step is 2⁻¹⁵ of the channel's largest weight. Measured over the whole network, the answer
    is six times nearer to Keras' than with float16, in as many bytes.

    Args:
        kernel: (k, k, in, out). bias: (out,).

    Returns:
        8 · out + 2 · k · k · in · out bytes, little-endian.
    """
    scales = np.maximum(np.abs(kernel).max(axis=(0, 1, 2)) / LARGEST, np.finfo("float32").tiny).astype("<f4")
    integers = np.clip(np.round(kernel / scales), -LARGEST, LARGEST).astype("<i2")
    return scales.tobytes() + bias.astype("<f4").tobytes() + integers.tobytes()


def _read(name):
    return (SOURCE_DIR / name).read_text(encoding="utf-8")


def _base64(data):
    return base64.b64encode(data).decode("ascii")
