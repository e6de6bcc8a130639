"""What a network costs: parameters and multiply-adds of each layer."""

import math

import keras

from labutils.networks.attention import Attention
from labutils.networks.unet_fused import FusedUNet


def layer_costs(network):
    """Count what each layer with weights costs for one image.

    Args:
        network: keras.Model. The layers of a model inside it are listed as ``model/layer``.

    Returns:
        list of dicts with ``name``, ``output_shape`` (without batch), ``parameters`` and ``multiply_adds``.
    """
    rows = []
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            rows += [{**row, "name": f"{layer.name}/{row['name']}"} for row in layer_costs(layer)]
        elif layer.weights:
            output = layer.output[0] if isinstance(layer.output, list) else layer.output
            part = network.part_left(layer.name) if isinstance(network, FusedUNet) else 1.0
            rows.append(
                {
                    "name": layer.name,
                    "output_shape": tuple(output.shape[1:]),
                    "parameters": layer.count_params(),
                    "multiply_adds": round(part * _multiply_adds(layer)),
                }
            )
    return rows


def total_costs(network):
    """The whole network: a dict with ``parameters`` and ``multiply_adds``, the latter for one image."""
    multiply_adds = sum(row["multiply_adds"] for row in layer_costs(network))
    return {"parameters": network.count_params(), "multiply_adds": multiply_adds}


def _multiply_adds(layer):
    """Multiply-adds of one layer: each position of its output uses the whole kernel once."""
    if isinstance(layer, Attention):
        x, context = layer.input
        n, m = x.shape[1], context.shape[1]
        projections = n * (_size(layer.query) + _size(layer.out)) + m * (_size(layer.key) + _size(layer.value))
        return projections + 2 * n * m * layer.width  # Q·Kᵀ, and weights·V
    if not hasattr(layer, "kernel"):
        return 0  # normalisations, embeddings: no products with weights that would count beside the others
    return math.prod(layer.output.shape[1:-1]) * _size(layer)


def _size(layer):
    return math.prod(layer.kernel.shape)
