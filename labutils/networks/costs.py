"""What a network costs: parameters and multiply-adds of each layer."""

from keras import layers


def layer_costs(network):
    """Count what each layer with weights costs for one image.

    Returns:
        list of dicts with ``name``, ``output_shape`` (without batch), ``parameters`` and ``multiply_adds``.
    """
    rows = []
    for layer in network.layers:
        if not layer.weights:
            continue
        kernel, shape = layer.kernel, layer.output.shape[1:]
        positions = 1 if isinstance(layer, layers.Dense) else shape[0] * shape[1]  # a conv repeats its kernel
        rows.append(
            {
                "name": layer.name,
                "output_shape": tuple(shape),
                "parameters": layer.count_params(),
                "multiply_adds": int(positions * kernel.shape[0] * kernel.shape[-1] * _kernel_area(kernel)),
            }
        )
    return rows


def _kernel_area(kernel):
    # Dense kernels are (in, out); Conv2D kernels (k, k, in, out): the product of what stands between first and last.
    area = 1
    for n in kernel.shape[1:-1]:
        area *= n
    return area
