"""Train a network; the run can be stopped at any time and resumed."""

import os
import shlex
import subprocess
from pathlib import Path

from lab.pipelines import MODELS, check_model, train_model
from lab.student_training import RECIPES
from labutils import data, presets
from labutils.support.files import check_writable
from labutils.training import EXPERIMENTS

MILESTONES = (1, 2, 5, 20)  # after these epochs a full run saves an extra checkpoint, for lessons 4 and 7


def add_arguments(parser):
    """The command's arguments."""
    parser.add_argument("--model", required=True, help=", ".join(MODELS))
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--preset", default="full", help="size of the run (default: full, all epochs of the experiment)")
    size.add_argument("--epochs", type=int, help="this many epochs on all training images")
    parser.add_argument("--out", required=True, help="folder for the checkpoint and the state of the run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in that folder")
    parser.add_argument(
        "--dataset",
        default="auto",
        help="auto, mnist, digits, fashion_mnist, cifar10, FILE.npz or a folder of pictures",
    )
    parser.add_argument("--seed", type=int, default=0)


def main(options):
    """Run the command."""
    preset = presets.get(options.preset)
    if options.epochs is not None and options.epochs < 1:
        raise ValueError(f"--epochs must be at least 1, got {options.epochs}")
    if options.seed < 0:
        raise ValueError(f"--seed must not be negative, got {options.seed}")
    folder = Path(options.out)
    state_file = folder / "state.npz"
    check_writable(state_file)
    if state_file.exists() and not options.resume:
        raise ValueError(f"{folder} holds a run already: add --resume to go on with it, or name another folder")
    epochs, images = preset.epochs, preset.train_images
    if options.epochs is not None:
        epochs, images = options.epochs, None
    elif preset.name == "full":
        epochs = images = None  # as long, and with as many images, as the model's experiment says
    check_model(options.model)
    dataset = data.load(options.dataset)
    record = train_model(options.model, dataset, folder, epochs, images, options.seed, MILESTONES)
    print(f"wrote {record}")
    if options.model in EXPERIMENTS or options.model in RECIPES:
        picture = folder / f"{options.model}.png"
        words = f"python -m lab sample --checkpoint {options.model}".split()
        words += ["--folder", str(folder), "--out", str(picture)]
        print(f"draw from it: {subprocess.list2cmdline(words) if os.name == 'nt' else shlex.join(words)}")
