"""Draw images from a checkpoint."""

from pathlib import Path

import numpy as np

from labutils import checkpoints, networks, plots, sampling
from labutils._support.files import check_writable, write_atomically


def add_arguments(parser):
    """The command's arguments."""
    parser.add_argument("--count", type=int, default=64, help="number of images (default: 64)")
    parser.add_argument("--steps", type=int, help="number of steps, 1 … T (default: all T)")
    parser.add_argument("--sampler", default="ddpm", help="ddpm (default), ddim, dpmpp_2m or heun")
    parser.add_argument("--guidance", type=float, metavar="W", help="how strongly labels are followed, at least 0")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", default="classic", help="see the command checkpoints (default: classic)")
    parser.add_argument("--out", required=True, help="FILE.npz (arrays 'images', 'labels') or FILE.png (a grid)")


def main(options):
    """Run the command."""
    out = Path(options.out)
    if out.suffix not in (".npz", ".png"):
        raise ValueError(f"--out must end in .npz or .png, got {options.out}")
    if options.seed < 0:
        raise ValueError(f"--seed must not be negative, got {options.seed}")
    check_writable(out)
    network, schedule, shape, known = checkpoints.load_for_sampling(options.checkpoint)
    known |= {"steps": options.steps, "sampler": options.sampler}
    if "guidance" in known:
        known["labels"] = networks.even_labels(max(options.count, 0))
        if options.guidance is not None:
            known["guidance"] = options.guidance
    elif options.guidance is not None:
        raise ValueError(f"--guidance needs a network with labels, and {options.checkpoint} has none")
    images = sampling.sample(network, schedule, options.count, shape, seed=options.seed, **known)
    images = np.clip(images, -1, 1)
    if out.suffix == ".npz":
        arrays = {"images": images, **({"labels": known["labels"]} if "labels" in known else {})}
        write_atomically(out, lambda path: np.savez_compressed(path, **arrays))
    else:
        write_atomically(out, lambda path: path.write_bytes(plots.grid_png(images)))
    print(f"wrote {out}: {len(images)} images")
