"""Draw images from a checkpoint."""

from pathlib import Path

import numpy as np

from labutils import caption_data, networks, pipeline, plots, pretrained, samplers, sampling
from labutils.support.files import check_writable, write_atomically


def add_arguments(parser):
    """The command's arguments."""
    parser.add_argument("--count", type=int, default=64, help="number of images (default: 64)")
    parser.add_argument(
        "--steps",
        type=int,
        help="number of steps, 1 … T (default: all T; with captions 12; one_call and one_call_text 1)",
    )
    parser.add_argument("--sampler", help=f"{', '.join(samplers.SAMPLERS)} (default: ddpm, with captions dpmpp_2m)")
    parser.add_argument(
        "--prompt", help="what to draw, such as 'a red three left of a blue seven' (text_to_image, one_call_text)"
    )
    parser.add_argument("--guidance", type=float, metavar="W", help="how strongly labels are followed, at least 0")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", default="classic", help="see the command checkpoints (default: classic)")
    parser.add_argument("--folder", metavar="DIR", default=pretrained.CHECKPOINT_DIR, help=pretrained.FOLDER_HELP)
    parser.add_argument("--out", required=True, help="FILE.npz (arrays 'images', 'labels') or FILE.png (a grid)")


def main(options):
    """Run the command."""
    out = Path(options.out)
    if out.suffix.lower() not in (".npz", ".png"):
        raise ValueError(f"--out must end in .npz or .png, got {options.out}")
    if options.seed < 0:
        raise ValueError(f"--seed must not be negative, got {options.seed}")
    check_writable(out)
    about = pretrained.read_record(options.checkpoint, options.folder)
    if options.steps is None and "teacher" in about:  # a student of labutils.distillation
        options.steps = 1
    if options.prompt is not None or about["network"] == "text_to_image":
        images, labels = _draw_captions(options)
    else:
        images, labels = _draw(options, fused=about["network"] == "classic")
    if out.suffix.lower() == ".npz":
        arrays = {"images": images, **({} if labels is None else {"labels": labels})}
        write_atomically(out, lambda path: _write_npz(path, arrays))
    else:
        write_atomically(out, lambda path: path.write_bytes(plots.grid_png(images)))
    print(f"wrote {out}: {len(images)} images, drawn by {Path(options.folder) / options.checkpoint}")


def _write_npz(path, arrays):
    with open(path, "wb") as file:  # to a name that ends in .NPZ, NumPy would add .npz
        np.savez_compressed(file, **arrays)


def _draw_captions(options):
    """Pictures (N, 32, 32, 3) and tokens (N, LENGTH): all of --prompt, or each of another caption."""
    if options.count < 1:
        raise ValueError(f"count must be an integer of at least 1, got {options.count}")
    if options.prompt is None:
        tokens = caption_data.tokenize(
            caption_data.sentences(caption_data.draw_scenes(options.count, np.random.default_rng(options.seed)))
        )
    else:
        tokens = caption_data.tokenize([options.prompt] * options.count)
    chosen = {"steps": options.steps, "sampler": options.sampler, "guidance": options.guidance}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    drawer = pipeline.TextToImage(options.checkpoint, options.folder)
    return drawer.draw(tokens, seed=options.seed, progress=True, **chosen), tokens


def _draw(options, fused):
    """Images (N, H, W, C), and labels (N,) or None; ``fused``: the same images with less arithmetic, sooner."""
    diffusion, labels = pretrained.load_diffusion(options.checkpoint, options.folder, fused), None
    if diffusion.is_conditional:
        labels = networks.even_labels(max(options.count, 0), diffusion.network.label_count)
        if options.guidance is not None:
            diffusion = diffusion.with_guidance(options.guidance)
    elif options.guidance is not None:
        raise ValueError(f"--guidance needs a conditional network, and {options.checkpoint} is unconditional")
    how = {"steps": options.steps, "sampler": options.sampler or "ddpm", "seed": options.seed}
    images = sampling.sample(diffusion, options.count, condition=labels, **how)
    return np.clip(images, -1, 1), labels
