"""Entry point of ``python -m labutils``."""

import sys

from labutils.commands import main

sys.exit(main())
