"""``python -m labutils`` names the command that took its place."""

import sys

sys.exit("the commands of the lab are in another package: python -m lab --help")
