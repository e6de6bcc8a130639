"""``python -m grading …``: hand out the lessons, and mark what comes back."""

import sys

from lab.cli import run_command

COMMANDS = {
    "release": ("grading.release", "Write notebooks without solutions for the students, and a manifest for you."),
    "grade": ("grading.batch", "Mark a folder of submissions. A stopped run continues where it was."),
}


def main(arguments=None):
    """Run one command; returns the exit code, see :func:`lab.cli.run_command`."""
    return run_command("grading", "Introduction to Stable Diffusion Models: for instructors.", COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())
