"""Attention: each query is answered by a weighted mean of values (Vaswani et al. 2017, arXiv:1706.03762)."""

import math

import keras
from keras import layers, ops


def scaled_dot_product_attention(queries, keys, values, mask=None):
    """Scaled dot-product attention (Vaswani et al. 2017, eq. 1): softmax(Q Kᵀ / √d) V.

    Args:
        queries: (…, n, d), one per position. keys: (…, m, d). values: (…, m, e).
        mask: None, or bool (…, 1 or n, m): False where a value gets no weight, unless no value of the row may have any.

    Returns:
        (answers, weights): (…, n, e), and (…, n, m), the weight of each value for each query: rows that sum to 1.
    """
    scores = ops.matmul(queries, ops.swapaxes(keys, -1, -2)) / math.sqrt(keys.shape[-1])
    if mask is not None:
        scores = ops.where(mask, scores, -1e9)
    weights = ops.softmax(scores, axis=-1)
    return ops.matmul(weights, values), weights


class Attention(layers.Layer):
    """Multi-head attention.

    Args:
        width: numbers in each vector of the answer, a multiple of ``heads``.
        heads: number of heads.

    Call:
        queries come from x (B, n, width), keys and values from context (B, m, ·). Where both are the same it is
        *self-attention*, where the context is a caption it is *cross-attention*. Returns [answers (B, n, width),
        weights (B, heads, n, m)]. The answers are 0 before training. ``weights`` given at the call are used in place
        of its own.
    """

    def __init__(self, width, heads=4, **options):
        super().__init__(**options)
        self.width, self.heads = width, heads
        self.query, self.key, self.value = (layers.Dense(width, use_bias=False, name=n) for n in ("q", "k", "v"))
        self.out = layers.Dense(width, kernel_initializer="zeros", name="out")

    def build(self, x_shape, context_shape):
        """Make the four dense layers."""
        self.query.build(x_shape)
        for layer in (self.key, self.value):
            layer.build(context_shape)
        self.out.build((*x_shape[:-1], self.width))

    def call(self, x, context, weights=None):
        """Ask, scaled_dot_product_attention in each head, and join the heads' answers."""
        q, k, v = (self._split(layer(y)) for layer, y in ((self.query, x), (self.key, context), (self.value, context)))
        if weights is None:
            answers, weights = scaled_dot_product_attention(q, k, v)  # (B, heads, n, width/heads), (B, heads, n, m)
        else:
            answers = ops.matmul(weights, v)
        joined = ops.reshape(ops.transpose(answers, (0, 2, 1, 3)), (-1, answers.shape[2], self.width))
        return [self.out(joined), weights]

    def _split(self, x):
        """(B, n, width) → (B, heads, n, width/heads)."""
        x = ops.reshape(x, (-1, x.shape[1], self.heads, self.width // self.heads))
        return ops.transpose(x, (0, 2, 1, 3))


class Places(layers.Layer):
    """Learned positional embedding, added to (B, …, width): attention alone does not see the order of its inputs.

    Keras files weights under the name of the class, so the class keeps the name that the checkpoint has.
    """

    def build(self, shape):
        """Make the vectors."""
        start = keras.initializers.RandomNormal(stddev=0.1)
        self.vectors = self.add_weight(shape=(1, *shape[1:]), initializer=start, name="vectors")

    def call(self, x):
        """Add them."""
        return x + self.vectors


def mlp_block(x, name):
    """Pre-norm MLP with a residual connection: each vector alone through two dense layers."""
    width = x.shape[-1]
    h = layers.LayerNormalization(name=f"{name}_norm")(x)
    h = layers.Dense(2 * width, activation="gelu", name=f"{name}_hidden")(h)
    return x + layers.Dense(width, kernel_initializer="zeros", name=f"{name}_out")(h)


def attention_block(x, context, name, heads=4):
    """Pre-norm attention with a residual connection, (B, n, width). Self-attention if ``context`` is None."""
    normed = layers.LayerNormalization(name=f"{name}_norm")(x)
    answers, _ = Attention(x.shape[-1], heads, name=name)(normed, normed if context is None else context)
    return x + answers


def attention_model(network, name):
    """The weights of the attention layer ``name`` as a model of the same inputs: (B, heads, n, m)."""
    return keras.Model(network.input, network.get_layer(name).output[1])
