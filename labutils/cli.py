"""``python -m labutils …``: run the lessons, train, draw samples, look at checkpoints, hand out, write notebooks."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from labutils import presets
from labutils.files import check_writable, write_atomically

MILESTONES = (1, 5, 20)  # epochs after which a full run keeps a checkpoint of its own, for lesson 4


class Parser(argparse.ArgumentParser):
    """argparse, but with one clear line on bad input."""

    def error(self, message):
        """Print one line and leave with exit code 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(arguments=None):
    """Run one command; returns the exit code: 0 done, 1 something failed on the way, 2 bad input."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options) or 0
    except (ValueError, FileNotFoundError) as error:
        print(f"python -m labutils: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _parser():
    parser = Parser(prog="python -m labutils", description="Introduction to Stable Diffusion Models: the tools.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name, function, text):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=function)
        return command

    run = add("run", _run, "Execute lessons at a preset; write notebooks, HTML copies and an index page.")
    run.add_argument("lessons", nargs="*", metavar="LESSON", help="number or name; all if none is given")
    run.add_argument("--preset", default="quick", help=f"{', '.join(presets.PRESETS)} (default: quick)")
    run.add_argument("--dataset", default="auto", help="auto, mnist, digits, fashion_mnist, cifar10 or FILE.npz")
    run.add_argument("--out", default="build", help="folder to write to (default: build)")
    run.add_argument("--record", action="store_true", help="keep the times as the expected ones")

    train = add("train", _train, "Train a network; the run can be stopped at any time and resumed.")
    train.add_argument("--model", required=True, help="classic, fast, fast_conditional, …")
    size = train.add_mutually_exclusive_group()
    size.add_argument("--preset", default="full", help="size of the run (default: full, as long as pays)")
    size.add_argument("--epochs", type=int, help="this many epochs on all training images")
    train.add_argument("--out", required=True, help="folder for the checkpoint and the state of the run")
    train.add_argument("--resume", action="store_true", help="go on with the run in that folder")
    train.add_argument("--dataset", default="auto", help="as for run")
    train.add_argument("--seed", type=int, default=0)

    sample = add("sample", _sample, "Draw images from a checkpoint.")
    sample.add_argument("--count", type=int, default=64, help="number of images (default: 64)")
    sample.add_argument("--steps", type=int, help="number of steps, 1 … T (default: all T)")
    sample.add_argument("--sampler", default="ddpm", help="ddpm (default), ddim, dpmpp_2m or heun")
    sample.add_argument("--guidance", type=float, metavar="W", help="how strongly labels are followed, at least 0")
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument("--checkpoint", default="classic", help="see the command checkpoints (default: classic)")
    sample.add_argument("--out", required=True, help="FILE.npz (array 'images') or FILE.png (a grid)")

    evaluate = add(
        "evaluate", _evaluate, "Measure images against real ones: distances, variety, how many are recognised."
    )
    evaluate.add_argument(
        "file", metavar="FILE.npz", help="array 'images' (N, H, W, C) in [-1, 1], as sample writes it"
    )
    evaluate.add_argument("--dataset", default="auto", help="the real images; as for run")
    evaluate.add_argument("--json", metavar="FILE", help="write the numbers there, too")
    evaluate.add_argument("--seed", type=int, default=0, help="of the bootstrap and the choice of real images")

    add("checkpoints", _checkpoints, "List the checkpoints and where they come from.")
    add("doctor", _doctor, "Report versions, threads, GPU and data, and what to do about what is missing.")

    release = add("release", _release, "For instructors: write notebooks without solutions, and a manifest.")
    release.add_argument("lessons", nargs="*", metavar="LESSON", help="number or name; all if none is given")
    release.add_argument("--out", required=True, help="folder: student/ is for them, manifest.json for you alone")

    grade = add("grade", _grade, "For instructors: mark a folder of submissions; stopped, it goes on where it was.")
    grade.add_argument("submissions", metavar="SUBMISSIONS", help="folder or zip: STUDENT/NOTEBOOK.ipynb")
    grade.add_argument("--manifest", required=True, metavar="FILE", help="what release wrote for you")
    grade.add_argument("--out", required=True, help="folder for grades.csv, verdicts, feedback and index.html")
    grade.add_argument("--jobs", type=int, default=1, metavar="N", help="notebooks judged at once (default: 1)")
    grade.add_argument(
        "--sandbox", default="auto", choices=("required", "auto", "off"), help="how students' code is confined"
    )
    grade.add_argument("--seeds", type=int, default=2, metavar="K", help="inputs for each property (default: 2)")
    grade.add_argument("--rerun", action="store_true", help="judge again what is judged already")
    grade.add_argument("--marks", metavar="FILE.csv", help="points for free text: student_id, question, points")

    build = add("build", _build, "For authors: execute text twins into the committed notebooks.")
    build.add_argument("lessons", nargs="*", metavar="LESSON")
    address = add("address", _address, "For authors: write the repository's address into badges and setup cells.")
    address.add_argument("repository", help="https://github.com/OWNER/NAME, or '' for none")
    address.add_argument("--tag", default="v1.0.0", help="the release that Colab fetches")
    return parser


def _run(options):
    from labutils import lessons

    failed = lessons.run(options.lessons, options.preset, options.dataset, options.out, options.record)
    return 1 if failed else 0


def _train(options):
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
    from labutils import data, plans

    epochs, images = preset.epochs, preset.train_images
    if options.epochs is not None:
        epochs, images = options.epochs, None
    elif preset.name == "full":
        epochs = None  # as long as the model's plan says
    plans.check_model(options.model)
    dataset = data.load(options.dataset)
    record = plans.train_model(options.model, dataset, folder, epochs, images, options.seed, MILESTONES)
    print(f"wrote {record}")


def _sample(options):
    out = Path(options.out)
    if out.suffix not in (".npz", ".png"):
        raise ValueError(f"--out must end in .npz or .png, got {options.out}")
    if options.seed < 0:
        raise ValueError(f"--seed must not be negative, got {options.seed}")
    check_writable(out)
    import numpy as np

    from labutils import plans, plots, sampling

    network, schedule, shape, known = plans.load_for_sampling(options.checkpoint)
    known |= {"steps": options.steps, "sampler": options.sampler}
    if "guidance" in known:
        known["labels"] = plans.even_labels(max(options.count, 0))
        if options.guidance is not None:
            known["guidance"] = options.guidance
    elif options.guidance is not None:
        raise ValueError(f"--guidance needs a network with labels, and {options.checkpoint} has none")
    images = sampling.sample(network, schedule, options.count, shape, seed=options.seed, **known)
    images = np.clip(images, -1, 1)
    if out.suffix == ".npz":
        write_atomically(out, lambda path: np.savez_compressed(path, images=images))
    else:
        write_atomically(out, lambda path: path.write_bytes(plots.grid_png(images)))
    print(f"wrote {out}: {len(images)} images")


def _evaluate(options):
    if options.seed < 0:
        raise ValueError(f"--seed must not be negative, got {options.seed}")
    if options.json:
        check_writable(options.json)
    from labutils import data, evaluation

    images = evaluation.read_images(options.file)
    dataset = data.load(options.dataset)
    measures = evaluation.evaluate(images, dataset, seed=options.seed)
    print(evaluation.report(measures, len(images)))
    if options.json:
        numbers = {"images": len(images), "dataset": dataset.name, "seed": options.seed}
        numbers |= {name: asdict(measure) for name, measure in measures.items()}
        text = json.dumps(numbers, indent=1) + "\n"
        write_atomically(options.json, lambda path: path.write_text(text, encoding="utf-8"))
        print(f"wrote {options.json}")


def _checkpoints(options):
    from labutils import checkpoints

    for name in checkpoints.names():
        about = checkpoints.read_record(name)
        missing = {"dataset", "epochs", "seconds", "seed", "versions"} - about.keys()
        if missing:
            print(f"{name}: network {about['network']}, its record lacks {', '.join(sorted(missing))}")
            continue
        if "test_mse" in about:
            quality = f"test noise MSE {about['test_mse']['mean']:.4f}"
        elif "test_accuracy" in about:
            quality = f"test accuracy {about['test_accuracy']:.2%}"
        else:
            quality = f"last test loss {about.get('history', {}).get('val_loss', [float('nan')])[-1]:.4f}"
        print(f"{name}: network {about['network']}, {about['parameters']:,} parameters, input {about['input_shape']}")
        print(f"    trained on {about['dataset']} for {about['epochs']} epochs in {about['seconds'] / 3600:.1f} h, "
              f"seed {about['seed']}; {quality}")  # fmt: skip
        print(f"    {', '.join(f'{k} {v}' for k, v in about['versions'].items())}; "
              f"SHA-256 {about['weights_sha256'][:16]}…")  # fmt: skip


def _doctor(options):
    from labutils import doctor

    return doctor.report()


def _release(options):
    from grading.release import release

    release(options.lessons, options.out)


def _grade(options):
    from grading.batch import grade

    grade(options.submissions, options.manifest, options.out, options.jobs, options.sandbox, options.seeds,
          options.rerun, options.marks)  # fmt: skip


def _build(options):
    from labutils import book, lessons

    for lesson in lessons.find_lessons(options.lessons):
        print(f"executing {book.twin_path(lesson).name}")
        book.build(lesson)


def _address(options):
    from labutils import book

    book.set_address(options.repository, options.tag)
