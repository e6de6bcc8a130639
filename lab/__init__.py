"""What is done with the lessons: ``python -m lab …``, one module for each command."""

import labutils  # noqa: F401 (before Keras: it keeps the start-up messages away)
