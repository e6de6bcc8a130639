"""``python -m labutils …``: one module for each command."""

from labutils._support.command_line import run_command

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


def main(arguments=None):
    """Run one command; returns the exit code, see :func:`labutils._support.command_line.run_command`."""
    commands = {name: (f"labutils.commands.{name}", text) for name, text in COMMANDS.items()}
    return run_command("labutils", "Introduction to Stable Diffusion Models: the tools.", commands, arguments)
