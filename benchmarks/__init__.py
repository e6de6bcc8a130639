"""Measurements whose results are committed and quoted; see README."""

import labutils  # noqa: F401 (before TensorFlow: it keeps the start-up messages away)
