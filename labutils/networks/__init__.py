"""The networks: each takes a batch of images, and :func:`build` makes it by name.

- ``unet``: the U-Net of the lab, in plain layers; ``unet_fused``: the same network with less arithmetic
- ``unet_fast``: a network that is made for two CPU cores
- ``autoencoder``: a picture to a smaller latent and back
- ``attention``, ``text_to_image``: a text encoder, and a U-Net on latents that asks the words
- ``embeddings``: what a denoising network gets in addition to the image, such as the time t/T
- ``classifiers``: two networks that know digits, which judge what the others draw
- ``costs``: parameters and multiply-adds of each layer
"""

from functools import partial

from labutils.networks.attention import Attention, attention_model, scaled_dot_product_attention
from labutils.networks.autoencoder import build_autoencoder, decode, encode, moments, reparameterise
from labutils.networks.classifiers import CLASSIFIERS, predict
from labutils.networks.costs import layer_costs, total_costs
from labutils.networks.embeddings import (
    CLASSES,
    NO_LABEL,
    add_time,
    check_known,
    count_classes,
    even_labels,
    network_time,
    sinusoidal_embedding,
)
from labutils.networks.text_to_image import attention_maps, build_text_encoder, build_text_to_image
from labutils.networks.unet import build_classic_unet, up_block
from labutils.networks.unet_fast import build_fast, depth_to_space, space_to_depth
from labutils.networks.unet_fused import fuse_upsampling, split_taps, upsample_and_convolve

DENOISERS = {
    "classic": build_classic_unet,
    "fast": build_fast,
    "fast_conditional": partial(build_fast, classes=CLASSES),
    "text_to_image": build_text_to_image,
}
NETWORKS = {**DENOISERS, "autoencoder": build_autoencoder, **CLASSIFIERS}
LABELLED = ("fast_conditional", *CLASSIFIERS)  # built for a number of classes


def build(name, input_shape, classes=CLASSES):
    """Build a network.

    Args:
        name: a key of NETWORKS.
        input_shape: (H, W, C) of the images.
        classes: number of labels that a network in LABELLED knows, see :func:`count_classes`; others have none.

    Raises:
        ValueError: unknown name, which names the known ones; or a shape that the network cannot take.
    """
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}, known: {', '.join(NETWORKS)}")
    return NETWORKS[name](input_shape, **({"classes": classes} if name in LABELLED else {}))


__all__ = [
    "CLASSES",
    "Attention",
    "DENOISERS",
    "LABELLED",
    "NETWORKS",
    "NO_LABEL",
    "add_time",
    "scaled_dot_product_attention",
    "attention_maps",
    "attention_model",
    "build",
    "build_autoencoder",
    "build_classic_unet",
    "build_fast",
    "build_text_encoder",
    "build_text_to_image",
    "check_known",
    "count_classes",
    "decode",
    "depth_to_space",
    "encode",
    "even_labels",
    "fuse_upsampling",
    "layer_costs",
    "moments",
    "network_time",
    "predict",
    "reparameterise",
    "sinusoidal_embedding",
    "space_to_depth",
    "split_taps",
    "total_costs",
    "up_block",
    "upsample_and_convolve",
]
