"""Measurements whose results are committed and quoted; see docs/maintainers.md."""

import labutils  # noqa: F401 (before TensorFlow: it keeps the start-up messages away)
