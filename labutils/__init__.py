"""The maths of the lab: each name is a word of the field. The map of the rooms is ``docs/rooms.toml``."""

from labutils.support import startup  # noqa: F401 (first: it imports TensorFlow without its start-up messages)

__version__ = "1.1.0"
