"""What ``python -m labutils`` and ``python -m grading`` have in common."""

import argparse
import importlib
import sys


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
        The exit code: 0 done, 1 something failed on the way, 2 bad input, 130 stopped by the user.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if hasattr(sys.stdout, "reconfigure"):  # a name that a narrow encoding lacks is printed with escapes
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = Parser(prog=f"python -m {package}", description=description)
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, (module, text) in commands.items():
        command = subparsers.add_parser(name, help=text, description=text)
        if name in arguments[:1]:
            chosen = importlib.import_module(module)
            chosen.add_arguments(command)
            command.set_defaults(main=chosen.main)
    options = parser.parse_args(arguments)
    try:
        return options.main(options) or 0
    except (ValueError, FileNotFoundError) as error:
        print(f"python -m {package}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
