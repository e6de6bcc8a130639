"""The networks: every one takes a batch of images, and :func:`build` makes it by its name.

- ``classic``: the U-Net of the lab, in plain layers; ``fusion``: the same network with less arithmetic
- ``fast``: a network that is made for two CPU cores
- ``conditioning``: what a denoising network is told beside the image, such as the time t/T
- ``recognisers``: two networks that know digits, which judge what the others draw
- ``costs``: parameters and multiply-adds of each layer
"""

from functools import partial

from labutils.networks.classic import build_classic_unet, up_block
from labutils.networks.conditioning import CLASSES, NO_LABEL, even_labels, network_time, sinusoidal_embedding
from labutils.networks.costs import layer_costs
from labutils.networks.fast import build_fast, depth_to_space, space_to_depth
from labutils.networks.fusion import fuse_upsampling, upsample_and_convolve
from labutils.networks.recognisers import RECOGNISERS, predict

DENOISERS = {
    "classic": build_classic_unet,
    "fast": build_fast,
    "fast_conditional": partial(build_fast, classes=CLASSES),
}
NETWORKS = {**DENOISERS, **RECOGNISERS}


def build(name, input_shape):
    """Build the network called ``name`` for images of ``input_shape``; ``ValueError`` names the known ones."""
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}, known: {', '.join(NETWORKS)}")
    return NETWORKS[name](input_shape)


__all__ = [
    "CLASSES",
    "DENOISERS",
    "NETWORKS",
    "NO_LABEL",
    "build",
    "build_classic_unet",
    "build_fast",
    "depth_to_space",
    "even_labels",
    "fuse_upsampling",
    "layer_costs",
    "network_time",
    "predict",
    "sinusoidal_embedding",
    "space_to_depth",
    "up_block",
    "upsample_and_convolve",
]
