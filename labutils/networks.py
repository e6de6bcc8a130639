"""Every network by its name: what a checkpoint's record says is built here."""

from functools import partial

from labutils import recognisers
from labutils.fastnet import build_fast
from labutils.unet import build_classic_unet

CLASSES = 10  # labels of a network that is told what to draw
DENOISERS = {
    "classic": build_classic_unet,
    "fast": build_fast,
    "fast_conditional": partial(build_fast, classes=CLASSES),
}
NETWORKS = {**DENOISERS, **recognisers.NETWORKS}


def build(name, input_shape):
    """Build the network called ``name`` for images of ``input_shape``; ``ValueError`` names the known ones."""
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}, known: {', '.join(NETWORKS)}")
    return NETWORKS[name](input_shape)
