"""The maths of the lab, one module a topic.

In the order the data flows, each importing only what stands above it: data → schedule → unet → training →
checkpoints → sampling → plots. Beside that line: inversion (lesson 1), checks (what tells a student what is wrong),
presets, lessons and book (how notebooks are run and written), cli (``python -m labutils``).
"""

from labutils import backend  # noqa: F401 (first: it imports TensorFlow without its start-up messages)

__version__ = "1.0.0"
