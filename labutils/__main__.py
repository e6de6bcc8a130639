"""Entry point of ``python -m labutils``."""

import sys

from labutils.cli import main

sys.exit(main())
