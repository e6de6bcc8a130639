"""The command line: ``python -m lab``, and what ``python -m grading`` shares with it."""

import argparse
import importlib
import sys

from lab import extras

COMMANDS = {
    "run": "Execute lessons at a preset; write the notebooks, and the book made from them.",
    "train": "Train a network; the run can be stopped at any time and resumed.",
    "sample": "Draw images from a checkpoint.",
    "evaluate": "Measure images against real ones: distances, variety, how many are recognised.",
    "checkpoints": "List the checkpoints and where they come from.",
    "doctor": "Report versions, threads, GPU and data, and how to get what is missing.",
    "book": "Build the book from the committed notebooks: web pages to read without server and network.",
    "colab": "Write each lesson as one notebook that needs nothing beside it.",
    "copy": "Write your own copies of the lessons, without solutions; notebooks that exist are kept.",
    "play": "For authors: write the page that runs a checkpoint in the browser.",
    "build": "For authors: execute text twins into the committed notebooks.",
    "address": "For authors: write the repository's address into badges and setup cells.",
}


class Parser(argparse.ArgumentParser):
    """argparse, but with one clear line on bad input."""

    def error(self, message):
        """Print one line and leave with exit code 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def run_command(package, description, commands, arguments=None):
    """Parse a command line and run the command it names.

    Only the module of that command is imported. So a command works even if another one lacks a library.

    Args:
        package: the name after ``python -m``.
        description: one line for ``--help``.
        commands: dict name → (module, one line for ``--help``). The module has ``add_arguments(parser)`` and
            ``main(options)``.
        arguments: list of strings; None for those of the process.

    Returns:
        The exit code: 0 done, 1 something failed on the way, 2 bad input or a library is missing, 130 stopped by
        the user.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if hasattr(sys.stdout, "reconfigure"):  # a name that a narrow encoding lacks is printed with escapes
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = Parser(prog=f"python -m {package}", description=description)
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    try:
        for name, (module, text) in commands.items():
            command = subparsers.add_parser(name, help=text, description=text)
            if name in arguments[:1]:
                chosen = importlib.import_module(module)
                chosen.add_arguments(command)
                command.set_defaults(main=chosen.main)
        options = parser.parse_args(arguments)
        return options.main(options) or 0
    except ModuleNotFoundError as error:
        advice = extras.advice(error.name.partition(".")[0])
        if not advice:
            raise
        print(f"python -m {package}: error: {advice}", file=sys.stderr)
        return 2
    except (ValueError, FileNotFoundError) as error:
        print(f"python -m {package}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def main(arguments=None):
    """Run one command of the lab; returns the exit code, see :func:`run_command`."""
    modules = {name: f"lab.{name.replace('copy', 'copies')}" for name in COMMANDS}
    return run_command(
        "lab", "What is done with the lessons.", {n: (modules[n], text) for n, text in COMMANDS.items()}, arguments
    )
