"""Measure images against real ones: distances, variety, how many are recognised."""

import json
from dataclasses import asdict

from labutils import data, evaluation, pretrained
from labutils.support.files import check_writable, write_atomically


def add_arguments(parser):
    """The command's arguments."""
    parser.add_argument(
        "file",
        metavar="FILE.npz",
        help="arrays 'images' (N, H, W, C) in [-1, 1] and perhaps 'labels', as sample writes",
    )
    parser.add_argument("--dataset", default="auto", help="the real images; as for run")
    parser.add_argument(
        "--folder",
        metavar="DIR",
        default=pretrained.CHECKPOINT_DIR,
        help="folder of the judges, the checkpoints digit_features and digit_recogniser (default: the lab's own)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the numbers there, too")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap and the choice of real images")


def main(options):
    """Run the command."""
    if options.seed < 0:
        raise ValueError(f"--seed must not be negative, got {options.seed}")
    if options.json:
        check_writable(options.json)
    images, labels = evaluation.read_images(options.file), evaluation.read_labels(options.file)
    dataset, judges = data.load(options.dataset), evaluation.load_judges(options.folder)
    evaluation.check_judges(judges[1], dataset)
    measures = evaluation.evaluate(images, dataset, judges, labels, seed=options.seed)
    print(evaluation.table(measures, len(images)))
    if options.json:
        numbers = {"images": len(images), "dataset": dataset.name, "seed": options.seed}
        numbers |= {name: asdict(measure) for name, measure in measures.items()}
        text = json.dumps(numbers, indent=1) + "\n"
        write_atomically(options.json, lambda path: path.write_text(text, encoding="utf-8"))
        print(f"wrote {options.json}")
