"""Images as files and as pages: PNG, animated GIF, and a slider that works in a saved notebook.

Figures with axes and titles are made in ``plots``, which puts these into the notebook.
"""

import base64
import io
import json
import zlib
from string import Template

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

# The script makes its own controls. So no broken control is left if a page removes scripts.
SLIDER = Template("""<div class="$key"></div><script>
for (const box of document.querySelectorAll(".$key:empty")) {
  const {title, frames, labels} = $data;
  const [text, slider, picture] = ["div", "input", "img"].map(name => box.appendChild(document.createElement(name)));
  Object.assign(slider, {type: "range", min: 0, max: frames.length - 1, step: 1, value: frames.length >> 1});
  slider.setAttribute("aria-label", title);
  slider.dataset.lmSuppressShortcuts = "true";  // the arrow keys are the slider's, not JupyterLab's
  slider.style.cssText = "display: block; width: 600px; max-width: 95%; margin: 8px 0";
  picture.style.cssText = "display: block; width: 224px; image-rendering: pixelated; border: 1px solid #bbb";
  slider.oninput = () => {
    text.textContent = labels[slider.value];
    slider.setAttribute("aria-valuetext", labels[slider.value]);
    picture.src = "data:image/png;base64," + frames[slider.value];
    picture.alt = title + ": " + labels[slider.value];
  };
  slider.oninput();
}
</script>""")


def tile(images, columns):
    """Put images (N, H, W, C), values around [-1, 1], side by side as one uint8 picture; a grey one has no channels."""
    images = (255 * np.clip((np.asarray(images) + 1) / 2, 0, 1)).astype(np.uint8)
    n, H, W, C = images.shape
    rows = -(-n // columns)
    padded = np.concatenate([images, np.zeros((rows * columns - n, H, W, C), np.uint8)])
    tiled = padded.reshape(rows, columns, H, W, C).swapaxes(1, 2).reshape(rows * H, columns * W, C)
    return tiled if C == 3 else tiled[..., 0]


def png(picture):
    """A PIL picture as a small PNG (bytes)."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def as_text(data):
    """Bytes in base64, as notebooks and pages store them."""
    return base64.b64encode(data).decode()


def grid_png(images):
    """The images as one PNG (bytes), eight in a row."""
    return png(_enlarged(tile(images, min(8, len(images)))))


def animation_gif(frames, titles, columns=8):
    """An animated GIF (bytes) of image grids; the arguments are those of :func:`labutils.plots.show_animation`."""
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 16)  # the font comes with matplotlib
    pictures = []
    for frame, title in zip(frames, titles, strict=True):
        grid = _enlarged(tile(frame, columns))
        picture = Image.new(grid.mode, (grid.width, grid.height + 26), "white")
        picture.paste(grid, (0, 26))
        ImageDraw.Draw(picture).text((4, 3), title, fill="black", font=font)
        pictures.append(picture.quantize(16))  # few grey levels, because noise compresses badly
    buffer = io.BytesIO()
    pause = round(5000 / len(frames))  # milliseconds: one round takes five seconds
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=pause, loop=0)
    return buffer.getvalue()


def slider_html(images, labels, title):
    """A page fragment with a slider that scrolls through images; its script needs no kernel and no network.

    Args:
        images: (N, H, W, C) with values around [-1, 1].
        labels: N texts, one for each image.
        title: what screen readers call the slider.

    Raises:
        ValueError: not as many labels as images.
    """
    if len(labels) != len(images):
        raise ValueError(f"labels must have one text for each of the {len(images)} images, got {len(labels)}")
    frames = [as_text(png(Image.fromarray(tile(image[None], 1)))) for image in np.asarray(images)]
    data = json.dumps({"title": title, "frames": frames, "labels": list(labels)}, ensure_ascii=False)
    data = data.replace("<", "\\u003c")  # so that no text can end the script
    key = f"slider-{zlib.crc32(data.encode()):08x}"  # the same at every run; two sliders on one page differ
    return SLIDER.substitute(key=key, data=data)


def _enlarged(pixels):
    """A PIL picture in which each pixel is three pixels wide."""
    picture = Image.fromarray(pixels)
    return picture.resize((3 * picture.width, 3 * picture.height), Image.Resampling.NEAREST)
