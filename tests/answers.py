"""Answers as students give them: right ones in many styles, wrong ones with a part of the sentence they must get."""

from decimal import Decimal
from fractions import Fraction

import keras
import numpy as np
import scipy.special
import tensorflow as tf

from labutils import caption_data, checks, flow, metrics, networks, sampling, schedule, textual_inversion
from labutils.diffusion import Diffusion
from labutils.toys import inversion, reverse_steps

L = keras.layers


# --- right answers, in several styles ---------------------------------------------------------------------------------
def bars(betas):
    return np.cumprod(1 - np.asarray(betas))


def bars_by_loop(betas):
    result, kept = [], 1.0
    for beta in betas:
        kept *= 1 - beta
        result.append(kept)
    return result


def noisy_by_loop(x0, t, noise, table):
    return [np.sqrt(table[k]) * x + np.sqrt(1 - table[k]) * e for x, k, e in zip(x0, t, noise, strict=True)]


def own_noise(x):
    """Noise that an answer draws itself; the same each time, so that no test depends on chance."""
    return np.random.default_rng(5).standard_normal(np.shape(x))


def tilde(betas, first=1.0):
    before = np.concatenate([[first], bars(betas)[:-1]])
    return betas * (1 - before) / (1 - bars(betas))


def tilde_by_loop(betas):
    result, before = [], 1.0
    for beta in betas:
        now = before * (1 - beta)
        result.append(beta * (1 - before) / (1 - now))
        before = now
    return result


def reverse(grid, x_t, t, s, clean, table, kept=None, around=None, seen=None, total=None):
    """By Bayes' rule on the grid, as in the lesson; the last arguments are for mistakes."""
    kept = table[t] / table[s] if kept is None else kept
    scale, spread = (np.sqrt(table[s]), 1 - table[s]) if around is None else around(table)
    before = sum(reverse_steps.gaussian(grid, scale * value, spread) for value in clean)
    product = before * (reverse_steps.gaussian(x_t, np.sqrt(kept) * grid, 1 - kept) if seen is None else seen(kept))
    return product / (product.sum() * (grid[1] - grid[0]) if total is None else total(product))


def reverse_by_loop(grid, x_t, t, s, clean, table):
    kept, values = table[t] / table[s], []
    for x_s in grid:
        prior = sum(np.exp(-((x_s - table[s] ** 0.5 * c) ** 2) / (2 - 2 * table[s])) for c in clean)
        values.append(prior * np.exp(-((x_t - kept**0.5 * x_s) ** 2) / (2 - 2 * kept)))
    area = sum((a + b) / 2 * (v - u) for a, b, u, v in zip(values, values[1:], grid, grid[1:], strict=False))
    return [value / area for value in values]


def reverse_by_logarithms(grid, x_t, t, s, clean, table):
    x, kept = np.asarray(grid)[:, None], np.prod(np.divide(table[s + 1 : t + 1], table[s:t]))
    log = -((x - np.sqrt(table[s]) * clean) ** 2) / (2 * (1 - table[s])) - (x_t - np.sqrt(kept) * x) ** 2 / (
        2 - 2 * kept
    )
    density = np.exp(log - log.max()).sum(axis=1)
    return density / np.sum((density[1:] + density[:-1]) / 2 * np.diff(grid))


def mlp(hidden, activation="relu", extra=0, last=None, kernel="glorot_uniform"):
    inner = [L.Dense(n, activation=activation, kernel_initializer=kernel) for n in hidden]
    inner += [L.Dense(hidden[-1], activation=activation) for _ in range(extra)]
    return keras.Sequential([keras.Input((1,)), *inner, L.Dense(1, activation=last)])


def mlp_with_separate_activations(hidden):
    x = inputs = keras.Input((1,))
    for n in hidden:
        x = L.ReLU()(L.Dense(n)(x))
    return keras.Model(inputs, L.Dense(1)(x))


def up(x, skip, filters, join=True, size=3, activation="relu", grow=2):
    x = L.UpSampling2D(grow)(x)
    if join:
        x = L.Concatenate()([skip, x])
    return L.Conv2D(filters, size, padding="same", activation=activation)(x)


def embed(t, dim, base=10_000.0, cosine=np.cos, power=None):
    half = dim // 2
    frequencies = base ** (-np.arange(half) / (power or half))
    angles = np.asarray(t, float)[:, None] * frequencies
    return np.concatenate([np.sin(angles), cosine(angles)], axis=1)


def embed_interleaved(t, dim):
    e = embed(t, dim)
    return np.stack([e[:, : dim // 2], e[:, dim // 2 :]], axis=2).reshape(len(t), dim)


def timed(features, embedding, units=None, activation=None, reshape=lambda shift: shift[:, None, None, :]):
    return features + reshape(L.Dense(units or features.shape[-1], activation=activation)(embedding))


def timed_by_hidden(features, embedding):
    hidden = L.Dense(32, activation="silu")(embedding)
    shift = L.Reshape((1, 1, features.shape[-1]))(L.Dense(features.shape[-1])(hidden))
    return L.Add()([features, shift])


def timed_by_repeat(features, embedding):
    _, H, W, C = features.shape
    return L.Add()([features, L.Reshape((H, W, C))(L.RepeatVector(H * W)(L.Dense(C)(embedding)))])


def timed_by_map(features, embedding):
    _, H, W, _ = features.shape
    return features + L.Reshape((H, W, 1))(L.Dense(H * W)(embedding))


def loss_numpy(network, s, x0, t, noise):
    xt = np.sqrt(s.alpha_bars[t])[:, None, None, None] * x0 + np.sqrt(1 - s.alpha_bars[t])[:, None, None, None] * noise
    return np.mean((np.asarray(network([xt, (t / s.T)[:, None]])) - noise) ** 2)


def loss(network, s, x0, t, noise, see=None, time=None, reduce=tf.reduce_mean, target=None, power=2):
    xt = s.add_noise(x0, t, noise) if see is None else see(x0, noise)
    time = networks.network_time(t, s.T) if time is None else time(t)
    return reduce(tf.abs(network([xt, time]) - (noise if target is None else target(x0))) ** power)


def step(network, optimizer, s, x0, t, noise, sign=1, apply=True, again=False, times=1, total=False):
    with tf.GradientTape() as tape:
        value = Diffusion(network, s).loss(x0, t, noise)
        objective = value * (x0.size if total else times)
    gradients = [sign * g for g in tape.gradient(objective, network.trainable_variables)]
    if apply:
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
    return Diffusion(network, s).loss(x0, t, noise) if again else value


def implied(xt, e, a):
    return (xt - np.sqrt(1 - a) * e) / np.sqrt(a)


def diagnosed(**changes):
    return {"A": "range", "B": "slow", "C": "relu", "D": "good", "E": "schedule", "F": "fast"} | changes


def back(s, xt, t, e, z, sigma=None, scale=None, share=None, sign=-1):
    sigma = np.sqrt(s.posterior_variances[t]) if sigma is None else sigma(s, t)
    scale = np.sqrt(1 / s.alphas[t]) if scale is None else scale(s, t)
    share = s.betas[t] / np.sqrt(1 - s.alpha_bars[t]) if share is None else share(s, t)
    return scale * (xt + sign * share * e) + sigma * z


def back_by_x0(s, xt, t, e, z):
    mean = sampling.posterior_mean(s, s.predict_x0(xt, t, e), xt, t)
    return np.asarray(mean) + (np.sqrt(s.posterior_variances[t]) * z if t > 0 else 0)


def loop(network, s, x, rng, steps=None, time=None, noise=True, reverse=sampling.reverse_step):
    for t in range(s.T - 1, -1, -1) if steps is None else steps(s.T):
        column = np.full((len(x), 1), t / s.T, "float32") if time is None else time(x, t, s.T)
        z = rng.standard_normal(x.shape) if noise else np.zeros(x.shape)
        x = np.asarray(reverse(s, x, t, network([x, column]), z))
    return x


def loop_float64(network, s, x, rng):
    return loop(network, s, np.asarray(x, np.float64), rng).tolist()


def compared(a, b, z=1.96, error=np.hypot, ddof=0):
    a, b = np.asarray(a, float), np.asarray(b, float)
    value = a.mean() - b.mean()
    half = z * error(*(x.std(ddof=ddof) / np.sqrt(len(x)) for x in (a, b)))
    return value, value - half, value + half


def unscaled(a, b):
    half, value = 1.96 * np.sqrt(np.var(a) + np.var(b)), np.mean(a) - np.mean(b)
    return value, value - half, value + half


def pooled(a, b):
    half = 1.96 * np.sqrt(np.var([*a, *b]) * (1 / len(a) + 1 / len(b)))
    value = np.mean(a) - np.mean(b)
    return value, value - half, value + half


def compared_by_counts(hits_a, hits_b):
    found = []
    for hits in (hits_a, hits_b):
        share = sum(1 for hit in hits if hit) / len(hits)
        found.append((share, share * (1 - share) / len(hits)))
    (a, var_a), (b, var_b) = found
    half = 1.96 * (var_a + var_b) ** 0.5
    return [a - b, a - b - half, a - b + half]


def compared_by_resampling(a, b):
    rng = np.random.default_rng(0)
    drawn = rng.choice(a, (4000, len(a))).mean(axis=1) - rng.choice(b, (4000, len(b))).mean(axis=1)
    return np.mean(a) - np.mean(b), *np.percentile(drawn, [2.5, 97.5])


def taps(w):
    return [[w[0], w[1] + w[2]], [w[0] + w[1], w[2]]]


def fold(x, axes=(0, 1, 3, 2, 4, 5)):
    B, H, W, C = np.shape(x)
    return np.reshape(x, (B, H // 2, 2, W // 2, 2, C)).transpose(axes).reshape(B, H // 2, W // 2, 4 * C)


def fold_by_slices(x):
    return np.concatenate([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], axis=-1)


def weigh(implied, a, change=0.3, error=np.square, both=False, swap=False, scale=1.0):
    rng = np.random.default_rng(5)
    x0, noise = rng.standard_normal((2, 500))
    wrong = x0 + change
    xt, other = (np.sqrt(a) * image + np.sqrt(1 - a) * noise for image in (x0, wrong))
    answers = np.mean(error(implied(wrong, other if both else xt, a) - implied(x0, xt, a)))
    images = np.mean(error(wrong - x0))
    return scale * (images / answers if swap else answers / images)


def weigh_by_tensors(implied, a):
    x0, d = tf.random.normal((50, 8)), tf.random.normal((50, 8))
    xt = tf.sqrt(tf.cast(a, tf.float32)) * x0 + tf.sqrt(tf.cast(1 - a, tf.float32)) * tf.random.normal((50, 8))
    gap = implied(x0 + d, xt, a) - implied(x0, xt, a)
    return tf.reduce_sum(gap**2) / tf.reduce_sum(d**2)


def weigh_by_loop(implied, a):
    ratios = []
    for x0, d in ((0.3, 0.1), (-1.0, 0.5), (0.9, -0.2)):
        xt = a**0.5 * x0 + (1 - a) ** 0.5 * 0.7
        ratios.append((implied(x0 + d, xt, a) - implied(x0, xt, a)) ** 2 / d**2)
    return sum(ratios) / len(ratios)


FLOAT32 = schedule.linear_schedule()
for _table in ("betas", "alphas", "alpha_bars", "alpha_bars_previous", "posterior_variances"):
    setattr(FLOAT32, _table, getattr(FLOAT32, _table).astype("float32"))


# --- in yet other styles ----------------------------------------------------------------------------------------------
def taps_by_trial(w):
    """What w does over the doubled values of each unit vector."""
    doubled = np.repeat(np.eye(3), 2, axis=0)  # rows: positions 0 … 5, columns: the three values
    rows = [[doubled[p + k - 1] for k in range(3)] for p in (2, 3)]
    return [(np.asarray(w) @ rows[0])[[0, 1]], (np.asarray(w) @ rows[1])[[1, 2]]]


def fold_by_loops(x):
    B, H, W, C = x.shape
    out = np.zeros((B, H // 2, W // 2, 4 * C))
    for i in range(H):
        for j in range(W):
            k = 2 * (i % 2) + j % 2
            out[:, i // 2, j // 2, k * C : (k + 1) * C] = x[:, i, j]
    return out


class OwnMLP(keras.Model):
    """A subclass, as in PyTorch."""

    def __init__(self, hidden):
        super().__init__()
        self.inner, self.last = [L.Dense(n, activation="relu") for n in hidden], L.Dense(1)

    def call(self, y):
        for layer in self.inner:
            y = layer(y)
        return self.last(y)


def mlp_by_add(hidden):
    network = keras.Sequential()
    for n in hidden:
        network.add(L.Dense(n))
        network.add(L.Activation("relu"))
    network.add(L.Dense(1, activation="linear"))
    return network


def inverses_by_search(y):
    x = np.linspace(-2 * np.pi, 2 * np.pi, 200_001)
    gap = np.sin(x) - y
    return x[:-1][gap[:-1] * gap[1:] <= 0]


def tilde_by_precision(betas):
    before = np.concatenate([[1.0], bars(betas)[:-1]])
    with np.errstate(divide="ignore"):
        return 1 / ((1 - betas) / betas + 1 / (1 - before))


def step_by_apply(network, optimizer, s, x0, t, noise):
    with tf.GradientTape() as tape:
        predicted = network([s.add_noise(x0, t, noise), networks.network_time(t, s.T)])
        value = keras.losses.MeanSquaredError()(noise, predicted)
    weights = network.trainable_weights
    optimizer.apply(tape.gradient(value, weights), weights)
    return np.array(value)


def back_by_weights(s, xt, t, e, z):
    b, a, bar, before = s.betas[t], s.alphas[t], s.alpha_bars[t], s.alpha_bars_previous[t]
    x0 = (np.float64(xt) - np.sqrt(1 - bar) * e) / np.sqrt(bar)
    mean = (np.sqrt(before) * b * x0 + np.sqrt(a) * (1 - before) * xt) / (1 - bar)
    return mean if t == 0 else mean + np.sqrt(b * (1 - before) / (1 - bar)) * z


def loop_down(network, s, x, rng):
    t = s.T
    while t:
        t -= 1
        z = tf.constant(rng.normal(size=x.shape), tf.float32)
        x = sampling.reverse_step(s, x, t, network([x, tf.fill((len(x), 1), t / s.T)]), z)
    return x


def inpaint_in_place(x0, known, mask):
    out = np.array(x0)
    for image, right in zip(out, np.asarray(known), strict=True):
        image[mask[0] == 1] = right[mask[0] == 1]
    return out


def lost_update(network, s, x, rng):
    for t in range(s.T - 1, -1, -1):
        column = np.full((len(x), 1), t / s.T, "float32")
        new = sampling.reverse_step(s, x, t, network([x, column]), rng.standard_normal(x.shape))
    return new


MORE_RIGHT = [
    (checks.check_loss_weight, weigh_by_loop),
    (checks.check_loss_weight, lambda implied, a: float(implied(1.0, 0.0, a) - implied(0.0, 0.0, a)) ** 2),
    (checks.check_split_taps, taps_by_trial),
    (checks.check_split_taps, lambda w: np.reshape([w[0], w[1] + w[2], w[0] + w[1], w[2]], (2, 2)).astype("float32")),
    (checks.check_space_to_depth, fold_by_loops),
    (
        checks.check_space_to_depth,
        lambda x: np.stack([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1).reshape(2, 2, 3, 12),
    ),
    (checks.check_build_mlp, OwnMLP),
    (checks.check_build_mlp, mlp_by_add),
    (checks.check_inverses, inverses_by_search),
    (
        checks.check_inverses,
        lambda y: [
            x
            for k in range(-2, 3)
            for x in (np.arcsin(y) + 2 * np.pi * k, np.pi - np.arcsin(y) + 2 * np.pi * k)
            if -2 * np.pi <= x <= 2 * np.pi
        ],
    ),
    (checks.check_alpha_bars, lambda b: np.multiply.accumulate(1 - b)),
    (
        checks.check_add_noise,
        lambda x, t, e, a: (
            keras.ops.sqrt(a[t].reshape(-1, 1, 1, 1)) * x + keras.ops.sqrt(1 - a[t].reshape(-1, 1, 1, 1)) * e
        ),
    ),
    (
        checks.check_add_noise,
        lambda x, t, e, a: np.stack([a[k] ** 0.5 * x[i] + (1 - a[k]) ** 0.5 * e[i] for i, k in enumerate(t)]).astype(
            "float64"
        ),
    ),
    (checks.check_posterior_variances, tilde_by_precision),
    (checks.check_posterior_variances, lambda b: tf.constant(tilde(b), tf.float32)),
    (
        checks.check_up_block,
        lambda x, skip, n: L.Conv2D(n, (3, 3), activation=keras.activations.relu, padding="same")(
            L.Concatenate(axis=-1)([L.UpSampling2D((2, 2))(x), skip])
        ),
    ),
    (
        checks.check_up_block,
        lambda x, skip, n: L.Activation("relu")(
            L.Conv2D(n, 3, padding="SAME")(
                keras.ops.concatenate([keras.ops.repeat(keras.ops.repeat(x, 2, axis=1), 2, axis=2), skip], axis=-1)
            )
        ),
    ),
    (checks.check_sinusoidal_embedding, lambda t, d: tf.constant(embed(t, d)[:, ::-1].copy(), tf.float32)),
    (checks.check_train_step, step_by_apply),
    (checks.check_train_step, lambda *a: step(*a).numpy().tolist()),
    (
        checks.check_train_step,
        lambda n, o, s, x, t, e: (
            step(n, o, s, tf.constant(x), t, tf.constant(e, tf.float32)) if hasattr(x, "size") else None
        ),
    ),
    (checks.check_reverse_step, back_by_weights),
    (checks.check_sampling_loop, loop_down),
    (checks.check_inpaint, inpaint_in_place),
    (checks.check_inpaint, lambda x, k, m: x + m * (k - x)),
]
MORE_WRONG = [
    (checks.check_split_taps, lambda w: np.transpose(taps(w)), "which tap meets which"),
    (checks.check_split_taps, lambda w: [[*w], [*w]], "shape"),
    (checks.check_split_taps, lambda w: np.ravel(taps(w)), "has shape (4,)"),
    (checks.check_split_taps, lambda w: [[w[0], w[1] * w[2]], [w[0] * w[1], w[2]]], "which tap meets which"),
    (checks.check_space_to_depth, lambda x: tf.nn.max_pool2d(x, 2, 2, "VALID"), "averaged or thrown away"),
    (
        checks.check_space_to_depth,
        lambda x: np.concatenate([x[i::2, j::2] for i in (0, 1) for j in (0, 1)], axis=-1),
        "has shape",
    ),
    (
        checks.check_space_to_depth,
        lambda x: np.concatenate([x] * 4, axis=-1)[:, ::2, ::2] * 1.0,
        "every value should appear",
    ),
    (checks.check_build_mlp, lambda h: mlp(h[:-1]), "a missing layer"),
    (
        checks.check_build_mlp,
        lambda h: keras.Sequential([keras.Input((1,)), *(L.Dense(n, activation="relu") for n in h), L.Dense(2)]),
        "the last layer has one unit",
    ),
    (checks.check_build_mlp, lambda h: mlp(h, activation="sigmoid"), "bends smoothly"),
    (checks.check_inverses, lambda y: np.degrees(inversion.inverses(y)), "sin x is not y"),
    (checks.check_inverses, lambda y: [x for x in inversion.inverses(y) if x > 0], "there are 4 solutions"),
    (checks.check_inverses, lambda y: np.arcsin(y) + np.pi * np.arange(-1, 2), "sin x is not y"),
    (checks.check_inverses, lambda y: [], "you return nothing"),
    (checks.check_alpha_bars, lambda b: 1 - bars(b), "the variance of the noise"),
    (checks.check_alpha_bars, lambda b: bars(b)[::-1], "should be the product"),
    (checks.check_add_noise, lambda x, t, e, a: noisy_by_loop(x, t, -e, a), "noise is subtracted"),
    (checks.check_add_noise, lambda x, t, e, a: x + np.sqrt(1 - a[t])[:, None, None, None] * e, "not scaled"),
    (checks.check_posterior_variances, lambda b: tilde(b) / b, "factor β_t is missing"),
    (checks.check_posterior_variances, lambda b: b[:-1], "has shape"),
    (checks.check_sinusoidal_embedding, lambda t, d: embed(t, d).T, "shape should be"),
    (checks.check_sinusoidal_embedding, lambda t, d: 2 * embed(t, d), "lie in [-1, 1]"),
    (
        checks.check_sinusoidal_embedding,
        lambda t, d: np.concatenate([np.zeros((len(t), d // 2)), np.ones((len(t), d // 2))], 1),
        "look the same|angle",
    ),
    (checks.check_train_step, lambda *a: [step(*a)] * 2, "got shape (2,)"),
    (checks.check_train_step, lambda *a: step(*a, total=True), "times as long"),
    (checks.check_train_step, lambda *a: 64 * step(*a), "the returned loss should be"),
    (checks.check_sampling_loop, lost_update, "is x replaced by the result"),
    (checks.check_sampling_loop, lambda n, s, x, rng: loop(n, s, x, rng)[:1], "has shape"),
    (checks.check_inpaint, lambda x, k, m: (x + k) / 2, "averaged"),
    (checks.check_inpaint, lambda x, k, m: k, "should be mask"),
    (checks.check_inpaint, lambda x, k, m: m * x, "should be mask"),
    (checks.check_inpaint, lambda x, k, m: np.where(m == 0, k, x), "upside down"),
]


# --- lesson 8 ---------------------------------------------------------------------------------------------------------
def attend(q, k, v, m, scale=None, axis=-1, hidden=-1e9):
    """An answer to 8.2: softmax over ``axis`` of the scores; ``hidden`` is the score of an empty place."""
    scores = np.asarray(q) @ np.swapaxes(np.asarray(k), -1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    scores = np.where(m[:, None], scores, hidden)
    weights = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return weights / weights.sum(axis=axis, keepdims=True) @ np.asarray(v)


def attend_by_loops(q, k, v, m):
    result = np.zeros((*q.shape[:2], v.shape[-1]))
    for b in range(len(q)):
        for p in range(q.shape[1]):
            scores = np.array([q[b, p] @ word for word, here in zip(k[b], m[b], strict=True) if here]) / np.sqrt(
                q.shape[2]
            )
            if scores.size:
                weights = np.exp(scores - np.logaddexp.reduce(scores))
                result[b, p] = sum(w * value for w, value in zip(weights, v[b][m[b]], strict=True))
    return result


def attend_and_renormalise(q, k, v, m):
    scores = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])
    largest = np.max(scores, axis=-1, keepdims=True, where=m[:, None], initial=-1e30)
    weights = np.exp(np.minimum(scores - largest, 0)) * m[:, None]
    return weights @ v / np.maximum(weights.sum(axis=-1, keepdims=True), 1e-9)


def attend_scores(q, k, m):
    return np.where(m[:, None], q @ k.swapaxes(1, 2) / 2, -1e9)


def attend_after_the_softmax(q, k, v, m):
    return keras.ops.softmax(q @ k.swapaxes(1, 2) / 2) * m[:, None] @ v


def pair_words(scenes, colour_word=lambda c, d: 22 + 10 * c + d, digit_word=lambda c, d: 82 + 10 * c + d):
    """An answer to 8.4: the numbers of the words of a pair as functions of its colour and digit."""
    tokens = []
    for c, d, relation, c2, d2 in np.asarray(scenes).tolist():
        row = [0, colour_word(c, d), digit_word(c, d)]
        if relation >= 0:
            middle = ([18, 1], [19, 1], [20], [21])[relation]
            row += [*middle, 0, colour_word(c2, d2), digit_word(c2, d2)]
        tokens.append(row + [-1] * (8 - len(row)))
    return tokens


def pair_words_by_arrays(scenes):
    tokens = caption_data.tokenize(caption_data.sentences(scenes))
    colours, digits = (tokens >= 2) & (tokens < 8), (tokens >= 8) & (tokens < 18)
    pairs = 10 * tokens[colours] + tokens[digits]
    tokens[colours], tokens[digits] = 100 + 2 * pairs, 101 + 2 * pairs
    return tokens


def pair_words_from_texts(scenes):
    names = [f"{c} {d}" for c in caption_data.COLOURS for d in caption_data.DIGITS]
    tokens = np.full((len(scenes), 8), -1)
    for row, text in zip(tokens, caption_data.sentences(scenes), strict=True):
        words = text.split()
        for i, word in enumerate(words):
            if word in caption_data.COLOURS:
                row[i] = row[i + 1] = 22 + names.index(f"{word} {words[i + 1]}")
            elif word not in caption_data.DIGITS:
                row[i] = caption_data.NUMBERS[word]
    return tokens


def pair_words_by_row(scenes):
    rows = pair_words(scenes)
    return [[22 + 8 * i + j if token >= 22 else token for j, token in enumerate(row)] for i, row in enumerate(rows)]


def pair_words_turned(scenes):
    scenes = np.array(scenes)
    two = scenes[:, 2] >= 0
    scenes[two] = scenes[two][:, [3, 4, 2, 0, 1]]
    return pair_words(scenes)


def pair_words_first_only(scenes):
    tokens = caption_data.tokenize(caption_data.sentences(scenes))
    tokens[:, 1] = 22 + 10 * scenes[:, 0] + scenes[:, 1]
    tokens[:, 2] = 60 + tokens[:, 1]
    return tokens


def pair_words_by_batch(scenes):
    pairs = sorted({(c, d) for row in np.asarray(scenes).tolist() for c, d in (row[:2], row[3:]) if c >= 0})
    return pair_words(scenes, lambda c, d: 22 + 2 * pairs.index((c, d)), lambda c, d: 23 + 2 * pairs.index((c, d)))


def told_and_untold(network, x, time, tokens, empty=-1):
    """The answers of a network with the caption and with a caption of empty places."""
    return network([x, time, tokens]), network([x, time, np.full_like(tokens, empty)])


def guide(factor, other, empty=-1):
    """An answer to 8.3: factor(w) · with caption + other(w) · without."""

    def answer(network, x, time, tokens, w):
        told, untold = told_and_untold(network, x, time, tokens, empty)
        return factor(w) * told + other(w) * untold

    return answer


def guide_in_one_call(network, x, time, tokens, w):
    both = network([np.concatenate([x, x]), np.concatenate([time, time]), np.concatenate([tokens, 0 * tokens - 1])])
    return (1 + w) * both[: len(x)] - w * both[len(x) :]


def guide_by_difference(network, x, time, tokens, w):
    told = network([x, time, tokens])
    return told + w * (told - network([x, time, caption_data.tokenize([""] * len(x))]))


def guide_in_place(network, x, time, tokens, w):
    told = np.array(network((x, time, tokens)))
    tokens[:] = caption_data.NO_WORD
    told *= 1 + w
    told -= w * network((x, time, tokens))
    return told


LESSON_8_RIGHT = [
    (checks.check_sample_latent, lambda m, v, e: m + np.exp(0.5 * v) * e),
    (checks.check_sample_latent, lambda m, v, e: m + np.sqrt(np.exp(v)) * e),
    (checks.check_sample_latent, lambda m, v, e: keras.ops.exp(v / 2) * e + m),
    (checks.check_sample_latent, lambda m, v, e: (m + np.exp(v) ** 0.5 * e).astype("float32")),
    (checks.check_sample_latent, lambda m, v, e: tf.add(m, tf.sqrt(tf.exp(v)) * e)),
    (checks.check_cross_attention, attend),
    (checks.check_cross_attention, attend_by_loops),
    (checks.check_cross_attention, attend_and_renormalise),
    (
        checks.check_cross_attention,
        lambda q, k, v, m: (
            tf.nn.softmax(tf.where(m[:, None], q @ tf.linalg.matrix_transpose(k) / 2.0, tf.float32.min)) @ v
        ),
    ),
    (
        checks.check_cross_attention,
        lambda q, k, v, m: networks.scaled_dot_product_attention(q, k, v, m[:, None])[0],
    ),
    (checks.check_encode_for_falsifier, pair_words),
    (checks.check_encode_for_falsifier, pair_words_by_arrays),
    (checks.check_encode_for_falsifier, pair_words_from_texts),
    (checks.check_encode_for_falsifier, lambda s: tf.constant(pair_words(s), tf.int32)),
    (checks.check_encode_for_falsifier, lambda s: np.array(pair_words(s, lambda c, d: 500 - 10 * c - d), float)),
    (checks.check_guided, guide(lambda w: 1 + w, lambda w: -w)),
    (checks.check_guided, guide_in_one_call),
    (checks.check_guided, guide_by_difference),
    (checks.check_guided, guide_in_place),
    (
        checks.check_guided,
        lambda network, x, time, tokens, w: np.tensordot(
            [1 + w, -w], np.stack(told_and_untold(network, x, time, tokens)), 1
        ),
    ),
]
LESSON_8_WRONG = [
    (checks.check_sample_latent, lambda m, v, e: m + np.exp(v) * e, "standard deviation"),
    (checks.check_sample_latent, lambda m, v, e: m + v * e, "the logarithm itself"),
    (checks.check_sample_latent, lambda m, v, e: m + v / 2 * e, "exp is missing"),
    (checks.check_sample_latent, lambda m, v, e: m + np.exp(-v / 2) * e, "sign in the exponent"),
    (checks.check_sample_latent, lambda m, v, e: m + np.exp(2 * v) * e, "is not σ"),
    (checks.check_sample_latent, lambda m, v, e: m, "noise is missing"),
    (checks.check_sample_latent, lambda m, v, e: np.exp(v / 2) * e, "mean is missing"),
    (checks.check_sample_latent, lambda m, v, e: e + np.exp(v / 2) * m, "changed places"),
    (checks.check_sample_latent, lambda m, v, e: np.exp(v / 2) * (m + e), "only the noise is"),
    (checks.check_sample_latent, lambda m, v, e: m + np.sqrt(v) * e, "NaN or infinity|not μ"),
    (checks.check_cross_attention, lambda q, k, v, m: attend(q, k, v, m, 1.0), "not divided by √d"),
    (checks.check_cross_attention, lambda q, k, v, m: attend(q, k, v, m, 1 / q.shape[-1]), "divided by d; it must"),
    (checks.check_cross_attention, lambda q, k, v, m: attend(q, k, v, m, q.shape[-1] ** 0.5), "multiplied by √d"),
    (checks.check_cross_attention, lambda q, k, v, m: attend(q, k, v, m, k.shape[1] ** -0.5), "number of words"),
    (checks.check_cross_attention, lambda q, k, v, m: attend(q, k, v, m, axis=1), "over the positions"),
    (checks.check_cross_attention, lambda q, k, v, m: attend(q, k, v, m, axis=0), "over the batch"),
    (checks.check_cross_attention, lambda q, k, v, m: q @ k.swapaxes(1, 2) / 2 @ v, "softmax is missing"),
    (checks.check_cross_attention, lambda q, k, v, m: attend(q, k, np.eye(3)[None], m), "you returned the weights"),
    (checks.check_cross_attention, lambda q, k, v, m: attend(q, 0 * k, v, m), "every word gets the same"),
    (checks.check_cross_attention, lambda q, k, v, m: attend(q, k, v, m, 1e6), "largest score"),
    (checks.check_cross_attention, lambda q, k, v, m: attend(q, k, v, m | True), "`is_word` is not used"),
    (checks.check_cross_attention, lambda q, k, v, m: attend(q, k, v, m, hidden=0.0), "score of 0 does not hide"),
    (checks.check_cross_attention, attend_after_the_softmax, "already counted the empty places"),
    (
        checks.check_cross_attention,
        lambda q, k, v, m: attend(q, k, v, ~m),
        "the largest score|every word|other way round",
    ),
    (checks.check_cross_attention, lambda q, k, v, m: attend(q, k, v, m[:1]), "its own empty places"),
    (
        checks.check_cross_attention,
        lambda q, k, v, m: attend(q, k, v, m, hidden=-np.inf),
        "without any word contains NaN",
    ),
    (
        checks.check_cross_attention,
        lambda q, k, v, m: (lambda e: e / e.sum(-1, keepdims=True) @ v)(np.exp(attend_scores(q, k, m))),
        "contains NaN or infinity",
    ),
    (checks.check_encode_for_falsifier, lambda s: caption_data.tokenize(caption_data.sentences(s)), "share the word"),
    (checks.check_encode_for_falsifier, lambda s: pair_words(s, lambda c, d: 22 + c), "share the word"),
    (checks.check_encode_for_falsifier, lambda s: pair_words(s, lambda c, d: 22 + c + d), "share the word"),
    (checks.check_encode_for_falsifier, lambda s: pair_words(s, lambda c, d: 10 * c + d), "a word such as 'a'"),
    (checks.check_encode_for_falsifier, lambda s: pair_words(s, lambda c, d: 50, lambda c, d: 51), "the same tokens"),
    (checks.check_encode_for_falsifier, pair_words_by_row, "depend on which other scenes"),
    (checks.check_encode_for_falsifier, pair_words_by_batch, "depend on which other scenes|number the pairs"),
    (checks.check_encode_for_falsifier, pair_words_turned, "different encodings"),
    (checks.check_encode_for_falsifier, pair_words_first_only, "different encodings"),
    (checks.check_encode_for_falsifier, lambda s: np.maximum(pair_words(s), 0), "must keep caption_data.NO_WORD"),
    (checks.check_encode_for_falsifier, lambda s: [row[:3] for row in pair_words(s)], "it should be"),
    (checks.check_encode_for_falsifier, lambda s: np.array(pair_words(s)) + 0.5, "whole numbers"),
    (checks.check_encode_for_falsifier, lambda s: np.array(pair_words(s))[:, ::-1], "must keep|at least 0"),
    (checks.check_encode_for_falsifier, caption_data.sentences, "should be numbers"),
    (checks.check_guided, guide(lambda w: 1 + w, lambda w: -w, empty=0), "the word 'a'"),
    (checks.check_guided, guide(lambda w: -w, lambda w: 1 + w), "pushed away"),
    (checks.check_guided, guide(lambda w: 1 - w, lambda w: w), "you mix the two"),
    (checks.check_guided, guide(lambda w: w, lambda w: 1 - w), "w = 1 means no guidance"),
    (checks.check_guided, guide(lambda w: 1 + w, lambda w: w), "must be subtracted"),
    (checks.check_guided, guide(lambda w: w, lambda w: -w), "is missing: the factors"),
    (checks.check_guided, guide(lambda w: 1, lambda w: -w), "so that both factors add up"),
    (checks.check_guided, guide(lambda w: 1 + w, lambda w: -1), "without caption is missing"),
    (checks.check_guided, guide(lambda w: 1 + w, lambda w: -1 - w), "both factors are the same"),
    (checks.check_guided, guide(lambda w: 1, lambda w: 0), "without any guidance"),
    (checks.check_guided, guide(lambda w: 0, lambda w: 1), "the answer without caption"),
    (checks.check_guided, guide(lambda w: 0.5, lambda w: 0.5), "plain mean"),
]


# --- as people publish them -------------------------------------------------------------------------------------------
WAYS = [  # in which a Keras model can be called
    lambda network, inputs: network(tuple(inputs)),
    lambda network, inputs: network(inputs, training=False),
    lambda network, inputs: network(inputs=inputs),
    lambda network, inputs: network(inputs).numpy(),
    lambda network, inputs: network.predict(inputs),
    lambda network, inputs: network.predict(x=inputs, verbose=0),
    lambda network, inputs: network.predict(inputs, 32, 0),
    lambda network, inputs: network.predict_on_batch(x=inputs),
    lambda network, inputs: network.call([tf.constant(part, tf.float32) for part in inputs]),
    lambda network, inputs: tf.function(network)(inputs),
    lambda network, inputs: network([np.reshape(inputs[0], (-1, *network.input_shape[0][1:])), *inputs[1:]]),
]


def loss_by(way):
    return lambda n, *a: loss_numpy(lambda inputs: way(n, inputs), *a)


def loop_by(way):
    return lambda n, *a: loop(lambda inputs: way(n, inputs), *a)


def guide_by(way):
    return lambda n, *a: guide(lambda w: 1 + w, lambda w: -w)(lambda inputs: way(n, inputs), *a)


def noisy_in_place(x0, t, noise, table):
    x0 *= np.sqrt(table[t])[:, None, None, None]
    x0 += np.sqrt(1 - table[t])[:, None, None, None] * noise
    return x0


def latent_in_place(mean, log_variance, noise):
    noise *= np.exp(0.5 * log_variance)
    noise += mean
    return noise


def back_in_place(s, xt, t, e, z):
    s.betas /= np.sqrt(1 - s.alpha_bars)
    xt -= s.betas[t] * e
    xt /= np.sqrt(s.alphas[t])
    xt += np.sqrt(s.posterior_variances[t]) * z
    return xt


def loop_in_place(network, s, x, rng):
    x = x.astype(np.float64)
    for t in range(s.T - 1, -1, -1):
        x[:] = sampling.reverse_step(s, x, t, network([x, np.full((6, 1), t / s.T)]), rng.standard_normal(x.shape))
    return x


def attend_as_in_the_tutorial(q, k, v, m):
    scores = tf.matmul(q, k, transpose_b=True) / tf.math.sqrt(tf.cast(tf.shape(k)[-1], tf.float32))
    scores += (1.0 - tf.cast(m, tf.float32)[:, tf.newaxis, :]) * -1e9
    return tf.matmul(tf.nn.softmax(scores, axis=-1), v)


def by_fractions(betas):
    return [Fraction(float(value)) for value in bars(betas)]


def written(values, into):
    """Overwrite an argument; returns the new values."""
    into[:] = values
    return into


def change(values, place, value):
    values = np.array(values)
    values[place] = value
    return values


class Forward(keras.Model):
    """A network in the style of PyTorch: without ``call``."""

    def __init__(self, hidden):
        super().__init__()
        self.last = L.Dense(1)

    def forward(self, z):
        return self.last(z)


class ForwardLayer(L.Layer):
    """A layer in the style of PyTorch."""

    def forward(self, x):
        return x


class Abstract:
    """Raises what a stub raises, but is none."""

    def alpha_bars(self, betas):
        raise NotImplementedError

    def add_noise(self, *arguments):
        raise NotImplementedError("add_noise")


def mlp_with(hidden, *more):
    """A network with more layers behind each hidden Dense."""
    inner = [layer for n in hidden for layer in (L.Dense(n), *(kind() for kind in more))]
    return keras.Sequential([keras.Input((1,)), *inner, L.Dense(1)])


def up_with(x, skip, filters, *more):
    x = up(x, skip, filters, activation=None)
    for layer in more:
        x = layer(x)
    return x


def up_by(repeat, x, skip, filters):
    big = repeat(repeat(x, 2, axis=1), 2, axis=2)
    return up(big, skip, filters, grow=1)


FIELD_RIGHT = [
    *((checks.check_noise_loss, loss_by(way)) for way in WAYS),
    *((checks.check_guided, guide_by(way)) for way in WAYS),
    *((checks.check_sampling_loop, loop_by(way)) for way in WAYS[5:8]),
    (checks.check_sampling_loop, loop_in_place),
    (checks.check_add_noise, noisy_in_place),
    (checks.check_sample_latent, latent_in_place),
    (checks.check_reverse_step, back_in_place),
    (checks.check_cross_attention, attend_as_in_the_tutorial),
    (checks.check_sample_latent, lambda m, v, e: tf.exp(tf.constant(0.5, tf.float32) * v) * e + m),
    (checks.check_alpha_bars, lambda b: np.cumprod(1 - np.asarray(b, np.longdouble))),
    (checks.check_alpha_bars, by_fractions),
    (checks.check_alpha_bars, lambda b: [Decimal(float(value)) for value in bars(b)]),
    (checks.check_alpha_bars, lambda b: np.cumprod((1 - b).astype(object))),
    (checks.check_posterior_variances, lambda b: keras.Variable(tilde(b), dtype="float64")),
    (checks.check_posterior_variances, lambda b: tuple(tf.Variable(value) for value in tilde(b))),
    (checks.check_add_noise, lambda *a: [[[[*row] for row in image] for image in x] for x in noisy_by_loop(*a)]),
]
FIELD_WRONG = [
    (checks.check_inpaint, lambda x, k, m: written(k, into=x), "should be mask"),
    (checks.check_inpaint, lambda x, k, m: written(x, into=k).copy(), "not put in"),
    (checks.check_space_to_depth, lambda x: fold(written(0, into=x)), "every value should appear"),
    (checks.check_alpha_bars, lambda b: bars(written(0, into=b)), "should be the product"),
    (checks.check_alpha_bars, lambda b: change(bars(b), 0, 1), "ᾱ_0 should be α_0"),
    (checks.check_alpha_bars, lambda b: np.maximum(bars(b), 1e-3), "yours is wrong at t ="),
    (checks.check_alpha_bars, lambda b: [str(value) for value in bars(b)], "should be numbers"),
    (checks.check_alpha_bars, lambda b: (1 - b, bars(b)), "you returned two things (a tuple of 2): return only ᾱ"),
    (checks.check_alpha_bars, lambda b: Abstract().alpha_bars(b), "stopped with NotImplementedError"),
    (checks.check_posterior_variances, lambda b: change(tilde(b), 1, tilde(b)[1] + 1e-5), "yours is wrong at t = 1"),
    (checks.check_sinusoidal_embedding, lambda t, d: embed(t, d, base=1e8), "a 2 too many in the exponent"),
    (
        checks.check_sinusoidal_embedding,
        lambda t, d: embed_interleaved(t, d) if d < 9 else embed(t, d, 1e6),
        "too many",
    ),
    (checks.check_sinusoidal_embedding, lambda t, d: embed(t, d, base=100.0), "no slow frequency"),
    (checks.check_build_mlp, lambda h: mlp_with(h, L.LeakyReLU), "as LeakyReLU and ELU do"),
    (checks.check_build_mlp, lambda h: mlp(h, activation="relu6"), "as ReLU6 does"),
    (checks.check_build_mlp, lambda h: mlp(h, activation=lambda z: abs(z)), "as LeakyReLU and ELU do"),
    (checks.check_build_mlp, lambda h: mlp_with(h, L.ReLU, lambda: L.Dropout(0.1)), "contains Dropout"),
    (checks.check_build_mlp, lambda h: mlp_with(h, L.BatchNormalization, L.ReLU), "contains BatchNormalization"),
    (checks.check_build_mlp, Forward, "`forward` is PyTorch's name"),
    (checks.check_build_mlp, lambda h: (mlp(h), h), "only a keras.Model"),
    (checks.check_up_block, lambda *a: up_with(*a, L.BatchNormalization(), L.ReLU()), "contains BatchNormalization"),
    (checks.check_up_block, lambda *a: up_with(*a, L.ReLU(), L.SpatialDropout2D(0.1)), "contains SpatialDropout2D"),
    (checks.check_up_block, lambda *a: up_with(*a, L.ReLU(max_value=6)), "does not grow in step"),
    (checks.check_up_block, lambda *a: up_with(*a, L.LeakyReLU()), "not that of a ReLU"),
    (checks.check_up_block, lambda *a: ForwardLayer()(up(*a)), "`forward` is PyTorch's name"),
    (checks.check_up_block, lambda *a: up_by(np.repeat, *a), "keras.ops, not NumPy"),
    (checks.check_up_block, lambda *a: up_by(tf.repeat, *a), "keras.ops, not those of TensorFlow"),
    (checks.check_up_block, lambda x, skip, n: (up(x, skip, n), skip), "returned several things"),
    (checks.check_add_noise, lambda x, t, e, a: (noisy_by_loop(x, t, e, a), e), "(a tuple of 2): return only x_t"),
    (checks.check_add_noise, lambda x, t, e, a: noisy_by_loop(x, t, own_noise(x), a), "argument `noise`"),
    (checks.check_add_noise, lambda x, t, e, a: noisy_by_loop(x, t, np.random.rand(*x.shape), a), "argument `noise`"),
    (checks.check_add_noise, Abstract().add_noise, "stopped with NotImplementedError"),
    (checks.check_reverse_step, lambda s, x, t, e, z: [back(s, x, t, e, z), x], "(a list of 2)"),
    (
        checks.check_reverse_step,
        lambda s, x, t, e, z: back(s, x, t, e, own_noise(x)),
        "argument `noise`",
    ),
    (checks.check_sampling_loop, lambda n, s, x, rng: (x, [x]), "you returned two things"),
    (checks.check_noise_loss, lambda n, s, x, t, e: (loss(n, s, x, t, e), e), "return only the loss"),
    (checks.check_train_step, lambda *a: (step(*a), a[0]), "return only the loss"),
    (checks.check_sample_latent, lambda m, v, e: (m + np.exp(v / 2) * e, m, v), "you returned three things"),
    (checks.check_sample_latent, lambda m, v, e: m + np.exp(v / 2) * own_noise(m), "argument `noise`"),
    (checks.check_guided, lambda n, x, t, tokens, w: n([x, t]), "with a list of three: [x_t, t/T, tokens]"),
    (
        checks.check_guided,
        lambda n, x, t, tokens, w: n([x[:1], t[:1], tokens]),
        "inputs of the shapes (1, 4, 4, 2), (1, 1), (3, 8)",
    ),
]


def squares(images, x, scale=1.0):
    return np.sum((np.asarray(x)[:, None] - scale * np.asarray(images)[None]) ** 2, axis=(2, 3, 4))


def weighted(exponents, images):
    return np.tensordot(scipy.special.softmax(exponents, axis=1), images, axes=1)


def exact(images, s, x, t):
    bar = s.alpha_bars[t]
    return weighted(-squares(images, x, np.sqrt(bar)) / (2 * (1 - bar)), images)


def exact_by_loops(images, s, x, t):
    result = []
    for one in x:
        noises = [(one - np.sqrt(s.alpha_bars[t]) * image) / np.sqrt(1 - s.alpha_bars[t]) for image in images]
        logs = np.array([-0.5 * float(np.sum(e.astype(float) ** 2)) for e in noises])
        weights = np.exp(logs - max(logs))
        result.append(sum(w * image for w, image in zip(weights / weights.sum(), images, strict=True)))
    return result


def exact_by_tensors(images, s, x, t):
    flat, rows = tf.reshape(images, (len(images), -1)), tf.reshape(x, (len(x), -1))
    signal = tf.cast(np.sqrt(s.alpha_bars[t]), tf.float32)
    logits = -tf.reduce_sum((rows[:, None] - signal * flat) ** 2, axis=-1) / (2 * (1 - s.alpha_bars[t]))
    return tf.reshape(tf.nn.softmax(logits) @ flat, x.shape)


def exact_without_shift(images, s, x, t):
    bar = s.alpha_bars[t]
    densities = np.exp(-squares(images, x, np.sqrt(bar)) / (2 * (1 - bar)))
    return np.tensordot(densities / densities.sum(axis=1, keepdims=True), images, axes=1)


def exact_with(change, images, s, x, t):
    bar = s.alpha_bars[t]
    return weighted(change(squares(images, x, np.sqrt(bar)), bar), images)


def keep(s, x, t, to, e, bars=None, mix=None):
    bar = s.alpha_bars[t]
    x0 = (np.asarray(x) - np.sqrt(1 - bar) * e) / np.sqrt(bar)
    new = (1.0 if to < 0 else s.alpha_bars[to]) if bars is None else bars(s, to)
    return np.sqrt(new) * x0 + np.sqrt(1 - new) * e if mix is None else mix(x0, e, new, bar, x)


def keep_by_add_noise(s, x, t, to, e):
    x0 = s.predict_x0(x, t, e)
    return x0 if to == -1 else s.add_noise(x0, to, e)


def keep_by_ratio(s, x, t, to, e):
    bars = np.append(s.alpha_bars, 1.0)
    scaled = x / np.sqrt(bars[t]) + (np.sqrt(1 / bars[to] - 1) - np.sqrt(1 / bars[t] - 1)) * e
    return (np.sqrt(bars[to]) * scaled).tolist()


def keep_by_tensors(s, x, t, to, e):
    old, new = (tf.cast(value, tf.float32) for value in (s.alpha_bars[t], 1.0 if to < 0 else s.alpha_bars[to]))
    return tf.sqrt(new) * (x - tf.sqrt(1 - old) * e) / tf.sqrt(old) + tf.sqrt(1 - new) * e


def keep_in_place(s, x, t, to, e):
    x -= np.sqrt(1 - s.alpha_bars[t]) * e
    x /= np.sqrt(s.alpha_bars[t])
    if to >= 0:
        x *= np.sqrt(s.alpha_bars[to])
        x += np.sqrt(1 - s.alpha_bars[to]) * e
    return x


def patchwise(images, s, x, t, patch, change=lambda logs: logs, axis=0):
    """The lab's answer, with a change of the exponents."""
    bar = s.alpha_bars[t]
    logs = change(-sampling.patch_sums((x - np.sqrt(bar) * images) ** 2, patch) / (2 * (1 - bar)))
    return np.sum(scipy.special.softmax(logs, axis=axis) * images, axis=0)


def patchwise_by_loops(images, s, x, t, patch):
    images, x, result = np.float64(images), np.float64(x), np.zeros(x.shape)
    for (i, j), _ in np.ndenumerate(x):
        near = np.s_[max(i - patch // 2, 0) : i + patch // 2 + 1, max(j - patch // 2, 0) : j + patch // 2 + 1]
        gaps = [np.sum((x[near] - np.sqrt(s.alpha_bars[t]) * image[near]) ** 2) for image in images]
        weights = np.exp(-(np.array(gaps) - min(gaps)) / 2 / (1 - s.alpha_bars[t]))
        result[i, j] = np.dot(weights, images[:, i, j]) / weights.sum()
    return result.tolist()


def patchwise_by_tensors(images, s, x, t, patch):
    signal, variance = (tf.cast(value, tf.float32) for value in (np.sqrt(s.alpha_bars[t]), 1 - s.alpha_bars[t]))
    squares = ((x - signal * images) ** 2)[..., None]
    sums = tf.nn.conv2d(squares, tf.ones((patch, patch, 1, 1)), 1, "SAME")[..., 0]
    return tf.reduce_sum(tf.nn.softmax(-sums / (2 * variance), axis=0) * images, axis=0)


def patchwise_by_noise(images, s, x, t, patch):
    noise = (x - np.sqrt(s.alpha_bars[t]) * images) / np.sqrt(1 - s.alpha_bars[t])
    logs = np.array([sampling.patch_sums(-(each**2) / 2, patch) for each in noise])
    return np.einsum("nhw,nhw->hw", np.exp(logs - scipy.special.logsumexp(logs, axis=0)), images)


def patchwise_in_float64(images, s, x, t, patch):
    return patchwise(np.float64(images), s, np.float64(x), t, patch)


def patchwise_with_one_maximum(images, s, x, t, patch):
    bar = s.alpha_bars[t]
    logs = -sampling.patch_sums((x - np.sqrt(bar) * images) ** 2, patch) / (2 * (1 - bar))
    weights = np.exp(logs - logs.max())
    return (weights * images).sum(axis=0) / weights.sum(axis=0)


def patchwise_with_added_densities(images, s, x, t, patch):
    bar = s.alpha_bars[t]
    weights = sampling.patch_sums(np.exp(-((x - np.sqrt(bar) * images) ** 2) / (2 * (1 - bar))), patch)
    return (weights * images).sum(axis=0) / weights.sum(axis=0)


def patchwise_around_the_edge(images, s, x, t, patch):
    bar = s.alpha_bars[t]
    squares, steps = (x - np.sqrt(bar) * images) ** 2, range(-(patch // 2), patch // 2 + 1)
    logs = -sum(np.roll(squares, (i, j), (1, 2)) for i in steps for j in steps) / (2 * (1 - bar))
    return np.sum(scipy.special.softmax(logs, axis=0) * images, axis=0)


LESSON_5_RIGHT = [
    *(
        (checks.check_patch_x0, answer)
        for answer in (
            patchwise,
            patchwise_by_loops,
            patchwise_by_tensors,
            patchwise_by_noise,
            patchwise_in_float64,
            lambda i, s, x, t, p: sampling.local_x0(i[..., None], s, x[None, ..., None], t, p)[0, ..., 0],
        )
    ),
    *((checks.check_exact_x0, answer) for answer in (exact, exact_by_loops, exact_by_tensors, sampling.exact_x0)),
    (checks.check_exact_x0, tf.function(exact_by_tensors, reduce_retracing=True)),
    (checks.check_exact_x0, lambda i, s, x, t: np.float32(exact(np.float64(i), s, np.float64(x), t)).tolist()),
    *((checks.check_ddim_step, a) for a in (keep, keep_by_add_noise, keep_by_ratio, keep_by_tensors, keep_in_place)),
]
LESSON_5_WRONG = [
    (checks.check_exact_x0, exact_without_shift, "same number to all exponents"),
    (checks.check_exact_x0, lambda *a: exact_with(lambda d, bar: -d / (1 - bar), *a), "½ is missing"),
    (checks.check_exact_x0, lambda *a: exact_with(lambda d, bar: -d / 2, *a), "is not ε yet"),
    (checks.check_exact_x0, lambda *a: exact_with(lambda d, bar: -d / (2 * (1 - bar) ** 2), *a), "ε is the gap"),
    (checks.check_exact_x0, lambda *a: exact_with(lambda d, bar: d / (2 * (1 - bar)), *a), "sign is wrong"),
    (checks.check_exact_x0, lambda *a: exact_with(lambda d, bar: -d / (32 * (1 - bar)), *a), "mean over the pixels"),
    (
        checks.check_exact_x0,
        lambda i, s, x, t: weighted(-squares(i, x) / (2 * (1 - s.alpha_bars[t])), i),
        "√ᾱ_t is missing",
    ),
    (
        checks.check_exact_x0,
        lambda i, s, x, t: i[squares(i, x, np.sqrt(s.alpha_bars[t])).argmin(axis=1)],
        "most probable image",
    ),
    (checks.check_exact_x0, lambda i, s, x, t: np.repeat(i.mean(axis=0)[None], len(x), axis=0), "the same weight"),
    (
        checks.check_exact_x0,
        lambda i, s, x, t: (x - np.sqrt(s.alpha_bars[t]) * exact(i, s, x, t)) / np.sqrt(1 - s.alpha_bars[t]),
        "can only be this image|return x̂_0",
    ),
    (checks.check_exact_x0, lambda *a: (exact(*a), 0), "return only x̂_0"),
    (checks.check_ddim_step, lambda *a: keep(*a, mix=lambda x0, e, new, bar, x: np.sqrt(new) * x0), "left out"),
    (
        checks.check_ddim_step,
        lambda *a: keep(*a, mix=lambda x0, e, new, bar, x: np.sqrt(1 - new) * x0 + np.sqrt(new) * e),
        "swapped",
    ),
    (checks.check_ddim_step, lambda *a: keep(*a, mix=lambda x0, e, new, bar, x: new * x0 + (1 - new) * e), "roots"),
    (checks.check_ddim_step, lambda *a: keep(*a, mix=lambda x0, e, new, bar, x: x0), "you returned x̂_0"),
    (
        checks.check_ddim_step,
        lambda *a: keep(*a, mix=lambda x0, e, new, bar, x: np.sqrt(new) * x0 + np.sqrt(1 - bar) * e),
        "noise still has the level",
    ),
    (
        checks.check_ddim_step,
        lambda *a: keep(*a, mix=lambda x0, e, new, bar, x: np.sqrt(new) * x + np.sqrt(1 - new) * e),
        "as if it were a clean image",
    ),
    (
        checks.check_ddim_step,
        lambda *a: keep(
            *a, mix=lambda x0, e, new, bar, x: np.sqrt(new) * x0 + np.sqrt(1 - new) * np.random.randn(*x.shape)
        ),
        "draw none of your own",
    ),
    (checks.check_ddim_step, lambda *a: keep(*a, bars=lambda s, to: s.alpha_bars[to]), "last ᾱ of the table"),
    (checks.check_ddim_step, lambda *a: keep(*a, bars=lambda s, to: s.alpha_bars[max(to, 0)]), "you used ᾱ_0"),
    (checks.check_ddim_step, lambda *a: keep(*a, bars=lambda s, to: s.alphas[to] if to >= 0 else 1.0), "α_s where"),
    (
        checks.check_ddim_step,
        lambda *a: keep(*a, bars=lambda s, to: s.alpha_bars[to - 1] if to > 0 else 1.0),
        "one step too early",
    ),
    (checks.check_ddim_step, lambda s, x, t, to, e: x, "returned as it was"),
    (checks.check_patch_x0, patchwise_with_one_maximum, "same for all pixels"),
    (
        checks.check_patch_x0,
        lambda i, s, x, t, p: exact(i[..., None], s, x[None, ..., None], t)[0, ..., 0],
        "whole image is compared",
    ),
    (checks.check_patch_x0, lambda i, s, x, t, p: patchwise(i, s, x, t, 1), "judged alone"),
    (checks.check_patch_x0, lambda *a: patchwise(*a, lambda logs: 2 * logs), "½ is missing"),
    (checks.check_patch_x0, lambda *a: patchwise(*a, lambda logs: -logs), "sign is wrong"),
    (checks.check_patch_x0, lambda *a: patchwise(*a, lambda logs: logs / a[4] ** 2), "mean over the patch"),
    (checks.check_patch_x0, lambda *a: patchwise(*a, axis=(1, 2)), "sum over the pixels"),
    (
        checks.check_patch_x0,
        lambda i, s, x, t, p: sampling.patch_sums(patchwise(i, s, x, t, p), p) / p**2,
        "weights from the squares",
    ),
    (checks.check_patch_x0, lambda i, s, x, t, p: i.mean(axis=0), "the same weight"),
    (checks.check_patch_x0, lambda i, s, x, t, p: patchwise(i, s, x, t, 2 * p + 1), "too wide"),
    (checks.check_patch_x0, patchwise_with_added_densities, "should be multiplied"),
    (checks.check_patch_x0, patchwise_around_the_edge, "on the other side"),
    (checks.check_patch_x0, lambda *a: patchwise(*a)[None], "has shape"),
]


def path(x0, noise, tau):
    return (1 - tau) * x0 + tau * noise, noise - x0


def walk(network, x, taus, velocity=lambda x, x0, tau, following: (x - x0) / tau, at=lambda tau, following: tau):
    for tau, following in zip(taus[:-1], taus[1:], strict=True):
        x0 = network([x, np.full((len(x), 1), at(tau, following), np.float32)])
        x = x + (following - tau) * np.asarray(velocity(x, x0, tau, following))
    return x


def walk_by_mixing(network, x, taus):
    x = tf.constant(x)
    for i in range(len(taus) - 1):
        x0 = network([x, tf.fill([len(x), 1], float(taus[i]))])
        noise = (x - (1 - taus[i]) * x0) / taus[i]
        x = (1 - taus[i + 1]) * x0 + taus[i + 1] * noise
    return x


def walk_by_proportion(network, x, taus):
    states = [x]
    for tau, following in zip(taus, taus[1:], strict=False):
        keep = following / tau
        states += [keep * states[-1] + (1 - keep) * network.predict([states[-1], np.ones((len(x), 1)) * tau])]
    return states[-1].tolist()


def walk_in_place(network, x, taus):
    for number, step in enumerate(np.diff(taus)):
        tau = np.repeat(np.float32(taus[number]), len(x))[:, None]
        x += step * (x - network((x, tau)).numpy()) / taus[number]
    return x


def walk_without_the_end(network, x, taus):
    return walk(network, x, taus[:-1])


def walk_at_the_end(network, x, taus):
    found = walk(network, x, taus)
    network([x, np.zeros((len(x), 1))])
    return found


def away(strong, weak, x, time, w, sign=1.0, start=1.0, parts=(1.0, 1.0)):
    """Exercise 7.5, and ways to get it wrong."""
    a, b = strong([x, time]), weak([x, time])
    return start * a + sign * w * (parts[0] * a - parts[1] * b)


def away_by_loop(strong, weak, x, time, w):
    pairs = zip(strong.predict([x, time]).tolist(), weak.predict([x, time]).tolist(), strict=True)
    return [np.add(a, w * np.subtract(a, b)) for a, b in pairs]


AUTOGUIDED_RIGHT = [
    (checks.check_autoguided, away),
    (checks.check_autoguided, lambda s, k, x, t, w: (1 + w) * s([x, t]) - w * k([x, t])),
    (checks.check_autoguided, away_by_loop),
    (checks.check_autoguided, lambda s, k, x, t, w: np.einsum("i,i...", [1 + w, -w], [n((x, t)) for n in (s, k)])),
    (checks.check_autoguided, lambda s, k, x, t, w: tf.add((1 + w) * s([x, t]), tf.negative(w * k([x, t])))),
]
AUTOGUIDED_WRONG = [
    (checks.check_autoguided, lambda s, k, x, t, w: away(s, k, x, t, w, sign=-1.0), "towards the weak"),
    (checks.check_autoguided, lambda s, k, x, t, w: away(k, s, x, t, w), "begins at the weak|towards|with w = 0"),
    (checks.check_autoguided, lambda s, k, x, t, w: (s([x, t]) + w * k([x, t])) / (1 + w), "a mean of both"),
    (checks.check_autoguided, lambda s, k, x, t, w: (1 + w) * s([x, t]) + w * k([x, t]), "should be subtracted"),
    (checks.check_autoguided, lambda s, k, x, t, w: k([x, t]) + w * (s([x, t]) - k([x, t])), "begins at the weak"),
    (checks.check_autoguided, lambda s, k, x, t, w: w * (s([x, t]) - k([x, t])), "only the way"),
    (checks.check_autoguided, lambda s, k, x, t, w: s([x, t]) - w * k([x, t]), "not made larger"),
    (checks.check_autoguided, lambda s, k, x, t, w: s([x, t]), "w has no effect"),
    (checks.check_autoguided, lambda s, k, x, t, w: away(s, k, x, 1 - t, w), "another x or time"),
    (checks.check_autoguided, lambda s, k, x, t, w: None, "is the `return` missing"),
    (checks.check_autoguided, lambda s, k, x, t, w: away(s, k, x, t, w / 2), "0.25 times the difference"),
    (
        checks.check_autoguided,
        lambda s, k, x, t, w: [away(s, k, x[i : i + 1], t[i : i + 1], w)[0] for i in range(len(x))],
        "all images in one call",
    ),
]
LESSON_9_RIGHT = [
    (checks.check_straight_path, path),
    (checks.check_straight_path, lambda x0, e, t: (x0 + t * (e - x0), e - x0)),
    (checks.check_straight_path, lambda x0, e, t: [tf.constant(x0) * (1 - t) + t * e, tf.subtract(e, x0)]),
    (checks.check_straight_path, lambda x0, e, t: np.stack(path(x0, e, t))),
    (checks.check_straight_path, flow.straight_path),
    (checks.check_flow_sampler, walk),
    (checks.check_flow_sampler, walk_by_mixing),
    (checks.check_flow_sampler, walk_by_proportion),
    (checks.check_flow_sampler, walk_in_place),
    (checks.check_flow_sampler, flow.flow_sampler),
    (checks.check_mean_velocity_target, lambda u, s, r, t: u - (t - r) * s),
    (checks.check_mean_velocity_target, lambda u, s, r, t: u + (r - t) * s),
    (checks.check_mean_velocity_target, lambda u, s, r, t: tf.subtract(u, tf.multiply(t - r, s))),
    (checks.check_mean_velocity_target, lambda u, s, r, t: (np.array(u) - np.array(t) * s + r * s).tolist()),
    (checks.check_mean_velocity_target, flow.mean_velocity_target),
]
LESSON_9_WRONG = [
    (checks.check_straight_path, lambda x0, e, t: path(e, x0, t), "upside down"),
    (checks.check_straight_path, lambda x0, e, t: (np.sqrt(1 - t) * x0 + np.sqrt(t) * e, e - x0), "with roots"),
    (checks.check_straight_path, lambda x0, e, t: (x0 + t * e, e - x0), "factor of the image"),
    (checks.check_straight_path, lambda x0, e, t: ((1 - t) * x0 + e, e - x0), "factor of the noise"),
    (checks.check_straight_path, lambda x0, e, t: path(x0, e, t)[::-1], "the velocity first"),
    (checks.check_straight_path, lambda x0, e, t: path(x0, e, t)[0], "two things"),
    (checks.check_straight_path, lambda x0, e, t: (path(x0, e, t)[0], x0 - e), "points to the image"),
    (checks.check_straight_path, lambda x0, e, t: (path(x0, e, t)[0], t * (e - x0)), "does not depend on τ"),
    (checks.check_straight_path, lambda x0, e, t: (path(x0, e, t)[0], e), "not the noise"),
    (checks.check_straight_path, lambda x0, e, t: None, "two things"),
    (checks.check_flow_sampler, lambda n, x, taus: x, "nothing moved"),
    (checks.check_flow_sampler, lambda n, x, taus: walk(n, x, taus, lambda x, x0, a, b: x - x0), "way that is left"),
    (
        checks.check_flow_sampler,
        lambda n, x, taus: walk(n, x, taus, lambda x, x0, a, b: (x0 - x) / a),
        "wrong sign|walk away",
    ),
    (
        checks.check_flow_sampler,
        lambda n, x, taus: walk(n, x, taus, lambda x, x0, a, b: (x - x0) / max(b, 1e-3)),
        "next τ|should end at the image",
    ),
    (
        checks.check_flow_sampler,
        lambda n, x, taus: walk(n, x, taus, lambda x, x0, a, b: (x - x0) / max(1 - a, 1e-3)),
        "another number|should end at the image",
    ),
    (checks.check_flow_sampler, walk_without_the_end, "nothing moved|last step is missing"),
    (checks.check_flow_sampler, lambda n, x, taus: walk(n, x, taus, at=lambda a, b: 1 - a), "gets 1 − τ"),
    (
        checks.check_flow_sampler,
        lambda n, x, taus: walk(n, x, taus, at=lambda a, b: b),
        "where the walk has ended|begins",
    ),
    (checks.check_flow_sampler, walk_at_the_end, "where the walk has ended"),
    (checks.check_flow_sampler, lambda n, x, taus: n([x, np.ones((len(x), 1))]), "three steps need three calls"),
    (checks.check_mean_velocity_target, lambda u, s, r, t: u + (t - r) * s, "sign of the slope"),
    (checks.check_mean_velocity_target, lambda u, s, r, t: u - s, "factor τ − r is missing"),
    (checks.check_mean_velocity_target, lambda u, s, r, t: u - t * s, "not τ"),
    (checks.check_mean_velocity_target, lambda u, s, r, t: u - r * s, "not r"),
    (checks.check_mean_velocity_target, lambda u, s, r, t: u - s / (t - r), "divides by"),
    (checks.check_mean_velocity_target, lambda u, s, r, t: u, "velocity at τ"),
    (checks.check_mean_velocity_target, lambda u, s, r, t: s, "slope alone"),
    (checks.check_mean_velocity_target, lambda u, s, r, t: s - (t - r) * u, "changed places"),
    (checks.check_mean_velocity_target, lambda u, s, r, t: u - (t - r) * s / 2, "½"),
    (checks.check_mean_velocity_target, lambda u, s, r, t: u * (t - r) - s, "Differentiate"),
]


def swapped(words, other, place, at=np.s_[:, "place"], source=None):
    """Exercise 10.1, and ways to get it wrong: ``at`` is what is overwritten, "place" in it stands for the place."""
    found = np.array(words)
    here = tuple(place if part == "place" else part for part in at)
    found[here] = np.asarray(other)[here] if source is None else source(np.asarray(other), place)
    return found


def swapped_by_loop(words, other, place):
    return [
        [o if i == place else w for i, (w, o) in enumerate(zip(a, b, strict=True))]
        for a, b in zip(words, other, strict=True)
    ]


def swapped_in_place(words, other, place):
    words[:, place] = other[:, place]
    return words


def swapped_back(words, other, place):
    """Right, but the other caption is lost."""
    other[:, np.arange(other.shape[1]) != place] = words[:, np.arange(other.shape[1]) != place]
    return other


def away_from(network, x, time, wanted, avoided, w, start=0, sign=1.0):
    """Exercise 10.2, and ways to get it wrong."""
    answers = [network([x, time, tokens]) for tokens in (wanted, avoided, np.full_like(wanted, caption_data.NO_WORD))]
    return answers[start] + sign * w * (answers[0] - answers[1])


def away_in_one_call(network, x, time, wanted, avoided, w):
    both = network([np.concatenate([a, b]) for a, b in ((x, x), (time, time), (wanted, avoided))])
    towards, away = np.split(np.asarray(both), 2)
    return ((1 + w) * towards - w * away).tolist()


def mix_away(a, b):
    """An answer to 10.2: a(w) · wanted + b(w) · avoided."""
    return lambda n, x, time, wanted, avoided, w: a(w) * n([x, time, wanted]) + b(w) * n([x, time, avoided])


def looked_up(table, row, tokens, shift=1, end=True, gather=tf.gather):
    """Exercise 10.3, and ways to get it wrong."""
    parts = [table, tf.reshape(row, (1, -1))]
    return gather(tf.concat(parts if end else parts[::-1], 0), np.asarray(tokens) + shift)


def looked_up_by_choice(table, row, tokens):
    new = (np.asarray(tokens) == len(table) - 1)[..., None]
    old = tf.gather(table, np.where(new[..., 0], 0, np.asarray(tokens) + 1))
    return tf.where(new, row, old)


def looked_up_one_hot(table, row, tokens):
    hot = keras.ops.one_hot(keras.ops.convert_to_tensor(tokens) + 1, len(table) + 1)
    return hot @ keras.ops.concatenate([table, row[None]])


def looked_up_by_loop(table, row, tokens):
    return tf.stack([tf.stack([row if t == len(table) - 1 else tf.constant(table[t + 1]) for t in c]) for c in tokens])


def looked_up_over_the_last(table, row, tokens):
    shorter = np.concatenate([table[:-1], np.asarray(row)[None]])
    return shorter[np.minimum(tokens + 1, len(table) - 1)]


LESSON_10_RIGHT = [
    (checks.check_swap_word, swapped),
    (checks.check_swap_word, swapped_by_loop),
    (checks.check_swap_word, lambda a, b, p: np.concatenate([a[:, :p], b[:, p : p + 1], a[:, p + 1 :]], axis=1)),
    (checks.check_swap_word, lambda a, b, p: tf.where((np.arange(8) == p)[None, :, None], b, a)),
    (checks.check_swap_word, lambda a, b, p: a + np.eye(8, dtype="float32")[p][:, None] * (b - a)),
    (checks.check_swap_word, lambda a, b, p: np.where(np.full((8, 128), np.arange(8)[:, None] == p), b, a)),
    (checks.check_negative_prompt, away_from),
    (checks.check_negative_prompt, mix_away(lambda w: 1 + w, lambda w: -w)),
    (checks.check_negative_prompt, away_in_one_call),
    (
        checks.check_negative_prompt,
        lambda n, x, t, a, b, w: n.predict([x, t, a]) * (1 + w) - np.multiply(w, n.predict([x, t, b])),
    ),
    (
        checks.check_negative_prompt,
        lambda n, x, t, a, b, w: tf.tensordot([1.0 + w, -w], tf.stack([n((x, t, a)), n((x, t, b))]), 1),
    ),
    (checks.check_look_up, looked_up),
    (checks.check_look_up, textual_inversion.look_up),
    (checks.check_look_up, looked_up_by_choice),
    (checks.check_look_up, looked_up_one_hot),
    (checks.check_look_up, looked_up_by_loop),
    (checks.check_look_up, lambda t, r, k: tf.gather(tf.concat([t, tf.reshape(r, (1, 128))], 0), k + 1)),
]
LESSON_10_WRONG = [
    (checks.check_swap_word, lambda a, b, p: a, "nothing was exchanged"),
    (checks.check_swap_word, lambda a, b, p: b, "all vectors are those"),
    (checks.check_swap_word, lambda a, b, p: swapped(b, a, p), "other way round"),
    (checks.check_swap_word, lambda a, b, p: swapped(a, b, p % 3, ("place",)), "one caption of the batch"),
    (checks.check_swap_word, lambda a, b, p: swapped(a, b, p, np.s_[:, :, "place"]), "one number of each vector"),
    (checks.check_swap_word, lambda a, b, p: swapped(a, b, p - 1), "the place before"),
    (checks.check_swap_word, lambda a, b, p: np.concatenate([a[:, :p], b[:, p:]], axis=1), "from `place` on"),
    (
        checks.check_swap_word,
        lambda a, b, p: swapped(a, b, p, source=lambda b, p: b[:1, p]),
        "vector of the first one",
    ),
    (checks.check_swap_word, lambda a, b, p: swapped(a, b, p, source=lambda b, p: a[:, p] + b[:, p]), "you added"),
    (checks.check_swap_word, lambda a, b, p: b[:, p], "has shape"),
    (checks.check_swap_word, swapped_in_place, "`words` itself was changed"),
    (checks.check_swap_word, swapped_back, "`other` itself was changed"),
    (
        checks.check_negative_prompt,
        lambda n, x, t, a, b, w: away_from(n, x, t, a, 0 * b - 1, w),
        "the empty caption: `av",
    ),
    (checks.check_negative_prompt, lambda n, x, t, a, b, w: away_from(n, x, t, b, a, w), "have changed places"),
    (checks.check_negative_prompt, lambda *given: away_from(*given, sign=-1.0), "sign of the difference"),
    (checks.check_negative_prompt, lambda *given: away_from(*given, start=1), "begin at that for the wanted one"),
    (checks.check_negative_prompt, lambda *given: away_from(*given, start=2), "empty caption: it does not"),
    (checks.check_negative_prompt, mix_away(lambda w: 1 + w, lambda w: w), "must be subtracted"),
    (checks.check_negative_prompt, mix_away(lambda w: 1, lambda w: -w), "both factors add up"),
    (checks.check_negative_prompt, mix_away(lambda w: w, lambda w: -w), "only the way"),
    (checks.check_negative_prompt, mix_away(lambda w: 1 + w, lambda w: -1 - w), "add up to 0"),
    (checks.check_negative_prompt, mix_away(lambda w: 1, lambda w: 0), "w has no effect"),
    (
        checks.check_negative_prompt,
        lambda n, x, t, a, b, w: away_from(n, x, t, a, b, w) - w * n([x, t, 0 * a - 1]),
        "is subtracted, too|begin",
    ),
    (checks.check_negative_prompt, mix_away(lambda w: 1 / (1 + w), lambda w: w / (1 + w)), "a mean of both"),
    (checks.check_look_up, lambda t, r, k: looked_up(t, r, k % len(t), shift=0), "the word before it"),
    (checks.check_look_up, lambda t, r, k: looked_up(t, r, np.minimum(k, 21), shift=2), "too large"),
    (checks.check_look_up, lambda t, r, k: looked_up(t, r, k, end=False), "stands at the end"),
    (checks.check_look_up, looked_up_over_the_last, "place of the last old word"),
    (checks.check_look_up, lambda t, r, k: t[np.minimum(k + 1, len(t) - 1)], "vector of the last old word"),
    (checks.check_look_up, lambda t, r, k: looked_up(t, 0 * r, k), "gets zeros"),
    (checks.check_look_up, lambda t, r, k: np.broadcast_to(r, (*np.shape(k), len(r))), "every token"),
    (checks.check_look_up, lambda t, r, k: np.vstack([t, r])[k + 1], "no gradient reaches"),
    (checks.check_look_up, lambda t, r, k: looked_up(t, 2 * r - np.asarray(r), k), "gradient 3"),
    (checks.check_look_up, lambda t, r, k: t[k], "the word before it|stopped with IndexError"),
]


RIGHT = [
    (checks.check_loss_weight, weigh),
    (checks.check_loss_weight, lambda implied, a: weigh(implied, a, change=np.linspace(-2, 2, 500)).astype("float32")),
    (checks.check_loss_weight, weigh_by_tensors),
    (checks.check_split_taps, taps),
    (checks.check_split_taps, lambda w: np.array([[1, 0, 0, 0, 1, 1], [1, 1, 0, 0, 0, 1]]).reshape(2, 2, 3) @ w),
    (checks.check_split_taps, lambda w: tf.constant(taps(w), tf.float32)),
    (checks.check_space_to_depth, fold),
    (checks.check_space_to_depth, fold_by_slices),
    (checks.check_space_to_depth, lambda x: tf.nn.space_to_depth(x, 2)),
    (checks.check_build_mlp, mlp),
    (checks.check_build_mlp, mlp_with_separate_activations),
    (checks.check_build_mlp, inversion.build_mlp),
    (checks.check_inverses, inversion.inverses),
    (checks.check_inverses, lambda y: list(inversion.inverses(y))[::-1]),
    (checks.check_inverses, lambda y: tf.constant(np.repeat(inversion.inverses(y), 2))),
    (checks.check_alpha_bars, bars),
    (checks.check_alpha_bars, bars_by_loop),
    (checks.check_alpha_bars, lambda b: tf.math.cumprod(1 - tf.cast(b, tf.float32))),
    (checks.check_alpha_bars, lambda b: np.exp(np.cumsum(np.log1p(-b)))),
    (checks.check_add_noise, noisy_by_loop),
    (
        checks.check_add_noise,
        lambda x, t, e, a: np.einsum("b,bhwc->bhwc", np.sqrt(a[t]), x) + np.sqrt(1 - a[t])[:, None, None, None] * e,
    ),
    (
        checks.check_add_noise,
        lambda x, t, e, a: (
            tf.sqrt(tf.gather(a, t))[:, None, None, None] * x + tf.sqrt(1 - tf.gather(a, t))[:, None, None, None] * e
        ),
    ),
    (checks.check_posterior_variances, tilde),
    (checks.check_reverse_density, reverse),
    (checks.check_reverse_density, reverse_by_loop),
    (checks.check_reverse_density, reverse_by_logarithms),
    (checks.check_reverse_density, reverse_steps.reverse_density),
    (checks.check_reverse_density, lambda *a: tf.constant(reverse(*a), tf.float32)),
    (checks.check_posterior_variances, tilde_by_loop),
    (checks.check_posterior_variances, lambda b: schedule.NoiseSchedule(b).posterior_variances.astype("float32")),
    (checks.check_up_block, up),
    (
        checks.check_up_block,
        lambda x, skip, n: L.Conv2D(n, 3, padding="same", activation="relu")(
            L.concatenate([L.UpSampling2D(interpolation="bilinear")(x), skip])
        ),
    ),
    (checks.check_up_block, lambda x, skip, n: L.ReLU()(up(x, skip, n, activation=None))),
    (checks.check_sinusoidal_embedding, embed),
    (checks.check_sinusoidal_embedding, embed_interleaved),
    (checks.check_sinusoidal_embedding, lambda t, d: embed(t, d, power=d // 2 - 1)),
    (checks.check_sinusoidal_embedding, networks.sinusoidal_embedding),
    (checks.check_add_time, timed),
    (checks.check_add_time, timed_by_hidden),
    (checks.check_add_time, timed_by_repeat),
    (checks.check_add_time, networks.add_time),
    (checks.check_add_time, lambda f, e: f + L.Conv2D(f.shape[-1], 1)(L.Reshape((1, 1, e.shape[-1]))(e))),
    (
        checks.check_add_time,
        lambda f, e: keras.ops.add(f, keras.ops.expand_dims(L.Dense(f.shape[-1], use_bias=False)(e), (1, 2))),
    ),
    (checks.check_noise_loss, loss),
    (checks.check_noise_loss, loss_numpy),
    (checks.check_noise_loss, lambda network, s, x0, t, noise: Diffusion(network, s).loss(x0, t, noise)),
    (checks.check_train_step, step),
    (checks.check_train_step, lambda n, o, s, x, t, e: float(step(n, o, s, x, t, e))),
    (checks.check_reverse_step, back),
    (checks.check_reverse_step, back_by_x0),
    (checks.check_reverse_step, sampling.reverse_step),
    (checks.check_reverse_step, lambda s, xt, t, e, z: back_by_x0(FLOAT32, xt, t, e, z)),
    (checks.check_noise_loss, tf.function(loss)),
    (
        checks.check_noise_loss,
        lambda n, s, x0, t, e: np.mean((n.predict([s.add_noise(x0, t, e), (t / s.T)[:, None]]) - e) ** 2),
    ),
    (checks.check_train_step, tf.function(step)),
    (checks.check_sampling_loop, lambda n, s, x, rng: loop(lambda i: n.predict(i, verbose=0), s, x, rng)),
    (checks.check_sampling_loop, loop),
    (checks.check_sampling_loop, loop_float64),
    (checks.check_sampling_loop, lambda n, s, x, rng: loop(n, s, x, rng, reverse=back)),
    (checks.check_difference, compared),
    (checks.check_difference, compared_by_counts),
    (checks.check_difference, compared_by_resampling),
    (checks.check_difference, lambda a, b: metrics.difference(a == 1, b == 1)),
    (checks.check_difference, lambda a, b: tf.constant(compared(a, b, z=2.0, ddof=1), tf.float32)),
    (checks.check_inpaint, lambda x, k, m: m * k + (1 - m) * x),
    (checks.check_inpaint, lambda x, k, m: np.where(m == 1, k, x)),
    (checks.check_inpaint, lambda x, k, m: tf.where(m > 0.5, k, x)),
    *MORE_RIGHT,
    *LESSON_5_RIGHT,
    *LESSON_8_RIGHT,
    *AUTOGUIDED_RIGHT,
    *LESSON_9_RIGHT,
    *LESSON_10_RIGHT,
    (checks.check_predict_x0, implied),
    (checks.check_predict_x0, lambda xt, e, a: xt / a**0.5 - e * (1 / a - 1) ** 0.5),
    (checks.check_predict_x0, lambda xt, e, a: tf.constant(implied(xt, e, a), tf.float32)),
    (checks.check_predict_x0, lambda xt, e, a: implied(xt, e, a).tolist()),
    (checks.check_predict_x0, lambda xt, e, a: [implied(x, n, a) for x, n in zip(xt, e, strict=True)]),
    (checks.check_predict_x0, lambda xt, e, a: (tf.convert_to_tensor(xt) - tf.sqrt(1 - a) * e) / tf.sqrt(a)),
    (checks.check_diagnosis, diagnosed),
    (checks.check_diagnosis, lambda: list(diagnosed().items())),
    (
        checks.check_diagnosis,
        lambda: dict(zip("ABCDEF", ["range", "slow", "relu", "good", "schedule", "fast"], strict=True)),
    ),
    (checks.check_diagnosis, lambda: [[letter, word] for letter, word in diagnosed().items()]),
    (checks.check_diagnosis, lambda: {letter.lower(): f"{word} ".upper() for letter, word in diagnosed().items()}),
    (checks.check_relu_floor, lambda noise: np.mean(np.minimum(noise, 0) ** 2)),
    (checks.check_relu_floor, lambda noise: float(tf.reduce_mean((tf.nn.relu(noise) - noise) ** 2))),
    (checks.check_relu_floor, lambda noise: np.sum(noise[noise < 0] ** 2) / noise.size),
    (checks.check_relu_floor, lambda noise: np.where(noise < 0, noise**2, 0).mean()),
    (checks.check_relu_floor, lambda noise: keras.ops.mean(keras.ops.square(noise - keras.ops.relu(noise)))),
    (checks.check_relu_floor, lambda noise: sum(v**2 for v in noise.ravel().tolist() if v < 0) / noise.size),
    *FIELD_RIGHT,
]

# --- wrong answers that students give, and a part of the sentence they must get ------------------------------------------
WRONG = [
    (checks.check_build_mlp, lambda h: mlp(h, extra=1), "an extra layer"),
    (checks.check_build_mlp, lambda h: mlp(h, last="relu"), "can never be negative"),
    (checks.check_build_mlp, lambda h: mlp(h, last="tanh"), "squeezed into a small range"),
    (checks.check_build_mlp, lambda h: mlp(h, activation=None), "one straight line"),
    (checks.check_build_mlp, lambda h: mlp(h, activation="tanh"), "bends smoothly"),
    (checks.check_build_mlp, lambda h: None, "is the `return` missing"),
    (checks.check_inverses, lambda y: [np.arcsin(y)], "π − arcsin y"),
    (checks.check_inverses, lambda y: [np.arcsin(y), np.pi - np.arcsin(y)], "shift each solution by 2π"),
    (checks.check_inverses, lambda y: [np.sin(y)], "x and y are swapped"),
    (checks.check_inverses, lambda y: [np.arcsin(y), -np.arcsin(y)], "sin x is not y"),
    (checks.check_inverses, lambda y: [np.arcsin(y) + 2 * np.pi * k for k in range(-3, 4)], "outside [-2π, 2π]"),
    (checks.check_alpha_bars, lambda b: 1 - b, "you returned α_t where ᾱ_t is needed"),
    (checks.check_alpha_bars, lambda b: np.prod(1 - b), "only the last value"),
    (checks.check_alpha_bars, lambda b: np.cumprod(b), "multiplied the β"),
    (checks.check_alpha_bars, lambda b: np.concatenate([[1], bars(b)[:-1]]), "shifted by one"),
    (checks.check_alpha_bars, lambda b: np.sqrt(bars(b)), "√ᾱ"),
    (checks.check_alpha_bars, lambda b: np.cumsum(1 - b), "added where you should multiply"),
    (checks.check_add_noise, lambda x, t, e, a: noisy_by_loop(x, t, e, a**2 + 1e-9), "the two conditions"),
    (
        checks.check_add_noise,
        lambda x, t, e, a: [a[k] * u + (1 - a[k]) * v for u, k, v in zip(x, t, e, strict=True)],
        "square roots are missing",
    ),
    (checks.check_add_noise, lambda x, t, e, a: noisy_by_loop(e, t, x, a), "signal and noise are swapped"),
    (checks.check_add_noise, lambda x, t, e, a: noisy_by_loop(x, t, e, np.concatenate([[1], a[:-1]])), "too early"),
    (checks.check_add_noise, lambda x, t, e, a: noisy_by_loop(x, t, e, np.concatenate([a[1:], a[-1:]])), "too late"),
    (
        checks.check_add_noise,
        lambda x, t, e, a: noisy_by_loop(x, t, e, np.concatenate([[a[0]], a[1:] / a[:-1]])),
        "you used α_t where ᾱ_t is needed",
    ),
    (checks.check_add_noise, lambda x, t, e, a: np.sqrt(a[t]) * x, "reshape(-1, 1, 1, 1)"),
    (checks.check_posterior_variances, lambda b: b, "β̃ is smaller"),
    (checks.check_posterior_variances, lambda b: tilde(b, first=0.0), "β̃_0 should be 0"),
    (checks.check_posterior_variances, lambda b: np.concatenate([[b[0]], tilde(b)[1:]]), "β̃_0 should be 0, not β_0"),
    (checks.check_posterior_variances, lambda b: (1 - bars(b)) / b, "(1 − ᾱ_t)/(1 − α_t)"),
    (checks.check_posterior_variances, lambda b: b * (1 - np.append(bars(b)[1:], 1)) / (1 - bars(b)), "wrong side"),
    (checks.check_posterior_variances, lambda b: np.sqrt(tilde(b)), "√β̃"),
    (checks.check_posterior_variances, lambda b: 1 - bars(b) / (1 - b) + b / (1 - b), "add their precisions"),
    (checks.check_posterior_variances, lambda b: 1 / (1 / b + 1 / (1 - bars(b) / (1 - b) + 1e-15)), "variance β_t/α_t"),
    (checks.check_reverse_density, lambda *a: reverse(*a, total=lambda p: 1), "the integral of your density is"),
    (checks.check_reverse_density, lambda *a: reverse(*a, total=np.sum), "have the sum 1"),
    (checks.check_reverse_density, lambda *a: np.log(reverse(*a)), "never negative"),
    (checks.check_reverse_density, lambda *a: reverse(*a, seen=lambda kept: 1), "as if x_t were not known"),
    (
        checks.check_reverse_density,
        lambda g, x, t, s, c, a: reverse(g, x, t, s, c, a, kept=a[t]),
        "starts at the *clean* value",
    ),
    (
        checks.check_reverse_density,
        lambda g, x, t, s, c, a: reverse(g, x, t, s, c, a, kept=a[t] / a[t - 1]),
        "a single step",
    ),
    (
        checks.check_reverse_density,
        lambda g, x, t, s, c, a: reverse(g, x, t, s, c, a, around=lambda table: (1.0, 1 - table[s])),
        "already smaller",
    ),
    (
        checks.check_reverse_density,
        lambda g, x, t, s, c, a: reverse(
            g, x, t, s, c, a, around=lambda table: (table[s] ** 0.5, (1 - table[s]) ** 0.5)
        ),
        "is not q",
    ),
    (
        checks.check_reverse_density,
        lambda g, x, t, s, c, a: sum(reverse(g, x, t, s, [value], a) for value in c) / len(c),
        "counts the same",
    ),
    (checks.check_reverse_density, lambda g, x, t, s, c, a: reverse(g, x, t, s, [np.mean(c)], a), "its own"),
    (checks.check_split_taps, lambda w: taps(w)[::-1], "rows are swapped"),
    (checks.check_loss_weight, lambda *a: weigh(*a, both=True), "another x_t"),
    (checks.check_loss_weight, lambda *a: weigh(*a, swap=True), "the wrong way round"),
    (checks.check_loss_weight, lambda *a: weigh(*a, error=np.abs), "compare squared errors"),
    (checks.check_loss_weight, lambda *a: weigh(*a) ** 2, "that is not the weight"),
    (checks.check_loss_weight, lambda *a: weigh(*a, scale=2), "that is not the weight"),
    (checks.check_loss_weight, lambda implied, a: a / (1 - a), "that is not the weight"),
    (checks.check_loss_weight, lambda implied, a: 1.0, "for a network that predicts"),
    (checks.check_loss_weight, lambda implied, a: np.ones(3), "has shape"),
    (checks.check_split_taps, lambda w: [w[:2], w[1:]], "must be added"),
    (checks.check_split_taps, lambda w: [[w[0], (w[1] + w[2]) / 2], [(w[0] + w[1]) / 2, w[2]]], "averaged"),
    (checks.check_split_taps, lambda w: [row[::-1] for row in taps(w)], "mirrored"),
    (checks.check_space_to_depth, lambda x: x.reshape(2, 2, 3, 12), "plain reshape"),
    (checks.check_space_to_depth, lambda x: x[:, ::2, ::2], "none is averaged or thrown away"),
    (checks.check_space_to_depth, lambda x: np.repeat(x[:, ::2, ::2], 4, axis=-1), "every value should appear"),
    (checks.check_space_to_depth, lambda x: fold(x).transpose(0, 3, 1, 2), "channels should come last"),
    (
        checks.check_space_to_depth,
        lambda x: x.reshape(2, 2, 2, 3, 2, 3).swapaxes(2, 4).reshape(2, 2, 3, 12),
        "outside its own",
    ),
    (checks.check_up_block, lambda x, skip, n: up(x, skip, n, join=False), "skip connection has no effect"),
    (checks.check_up_block, lambda x, skip, n: up(x, skip, n, activation=None), "needs activation='relu'"),
    (checks.check_up_block, lambda x, skip, n: up(x, skip, n, activation="softplus"), "not that of a ReLU"),
    (checks.check_up_block, lambda x, skip, n: L.Add()([up(x, skip, n, join=False), skip]), "seem to be added"),
    (checks.check_up_block, lambda x, skip, n: up(x, skip, n, size=1), "kernel is 1×1"),
    (checks.check_up_block, lambda x, skip, n: up(x, L.UpSampling2D()(skip), n, grow=4), "should reach 14×14"),
    (checks.check_up_block, lambda x, skip, n: L.Concatenate()([x, skip]), "stopped with"),
    (
        checks.check_up_block,
        lambda x, skip, n: L.Conv2D(n, 3, activation="relu")(L.concatenate([L.UpSampling2D()(x), skip])),
        "12×12",
    ),
    (
        checks.check_sinusoidal_embedding,
        lambda t, d: embed(t, d, cosine=np.sin),
        "half of the values should be cosines",
    ),
    (checks.check_sinusoidal_embedding, lambda t, d: embed(t, d, base=1.0), "all frequencies are alike"),
    (checks.check_sinusoidal_embedding, lambda t, d: embed(t, d)[:, : d // 2], "shape should be"),
    (checks.check_sinusoidal_embedding, lambda t, d: embed(np.asarray(t) / 1000, d), "steps 0 and 1 look the same"),
    (checks.check_sinusoidal_embedding, lambda t, d: embed(t, d, base=2.0), "no slow frequency"),
    (checks.check_add_time, lambda f, e: timed(f, e, reshape=lambda shift: shift), "column 0 of every image"),
    (checks.check_add_time, lambda f, e: timed(f, e, activation="relu"), "no added number is negative"),
    (checks.check_add_time, lambda f, e: timed(f, e, units=1), "all channels get the same number"),
    (checks.check_add_time, timed_by_map, "differ from pixel to pixel"),
    (checks.check_add_time, lambda f, e: f, "embedding has no effect"),
    (checks.check_add_time, lambda f, e: timed(0 * f, e), "features are lost"),
    (checks.check_add_time, lambda f, e: f * L.Dense(f.shape[-1])(e)[:, None, None], "features are multiplied"),
    (checks.check_add_time, lambda f, e: f + e[:, None, None, : f.shape[-1]], "has no weights"),
    (checks.check_add_time, lambda f, e: f + e[:, None, None], "stopped with"),
    (checks.check_add_time, lambda f, e: timed(L.Conv2D(f.shape[-1], 1)(f), e), "depends on the features"),
    (
        checks.check_add_time,
        lambda f, e: timed(f, e, reshape=lambda shift: keras.ops.mean(shift, axis=0)),
        "changes other images",
    ),
    (
        checks.check_add_time,
        lambda f, e: L.Concatenate()([f, keras.ops.zeros_like(f[..., :1]) + e[:, None, None]]),
        "joined to the features",
    ),
    (checks.check_add_time, lambda f, e: None, "add_time returned None"),
    (checks.check_add_time, lambda f, e: timed(f, np.asarray(e)), "not NumPy|stopped with"),
    (checks.check_noise_loss, lambda *a: loss(*a, reduce=tf.reduce_sum), "added the squares up"),
    (checks.check_noise_loss, lambda *a: loss(*a, target=lambda x0: x0), "target is the clean image"),
    (checks.check_noise_loss, lambda *a: loss(*a, see=lambda x0, e: x0), "gets the clean image"),
    (checks.check_noise_loss, lambda *a: loss(*a, time=lambda t: t[:, None]), "gets t itself"),
    (checks.check_noise_loss, lambda *a: loss(*a, time=lambda t: t / 1000), "should be a column"),
    (checks.check_noise_loss, lambda *a: loss(*a, power=1), "absolute error"),
    (checks.check_noise_loss, lambda *a: tf.sqrt(loss(*a)), "root of the mean"),
    (checks.check_noise_loss, lambda *a: loss(*a, reduce=lambda v: v), "one number, their mean"),
    (checks.check_train_step, lambda *a: step(*a, apply=False), "weights did not change"),
    (checks.check_train_step, lambda *a: step(*a, sign=-1), "uphill"),
    (checks.check_train_step, lambda *a: step(*a, again=True), "loss after the step"),
    (checks.check_train_step, lambda *a: step(*a, times=2), "2.00 times as long"),
    (checks.check_train_step, lambda *a: None if step(*a) is not None else 0, "is the `return` missing"),
    (checks.check_reverse_step, lambda *a: back(*a, sigma=lambda s, t: np.sqrt(s.betas[t])), "β taken for β̃"),
    (checks.check_reverse_step, lambda *a: back(*a, sigma=lambda s, t: s.posterior_variances[t]), "root over β̃_t"),
    (
        checks.check_reverse_step,
        lambda *a: back(*a, sigma=lambda s, t: np.sqrt(max(s.posterior_variances[t], 1e-5))),
        "noise is added at the last step",
    ),
    (checks.check_reverse_step, lambda *a: back(*a, scale=lambda s, t: np.sqrt(1 / s.alpha_bars[t])), "ᾱ_t where α_t"),
    (
        checks.check_reverse_step,
        lambda *a: back(*a, share=lambda s, t: s.betas[t] / (1 - s.alpha_bars[t])),
        "root is missing: β_t",
    ),
    (checks.check_reverse_step, lambda *a: back(*a, share=lambda s, t: np.sqrt(s.betas[t])), "α_t where ᾱ_t"),
    (checks.check_reverse_step, lambda *a: back(*a, sign=1), "should be taken away"),
    (checks.check_reverse_step, lambda *a: back(*a, sigma=lambda s, t: 0), "noise z is not added"),
    (checks.check_sampling_loop, lambda *a: loop(*a, steps=lambda T: range(T - 1, 0, -1)), "stops before t = 0"),
    (checks.check_sampling_loop, lambda *a: loop(*a, steps=lambda T: range(T)), "upwards"),
    (
        checks.check_sampling_loop,
        lambda *a: loop(*a, time=lambda x, t, T: np.full((len(x), 1), float(t))),
        "gets t itself",
    ),
    (
        checks.check_sampling_loop,
        lambda *a: loop(*a, time=lambda x, t, T: np.full(len(x), t / T)),
        "should be a column",
    ),
    (checks.check_sampling_loop, lambda *a: loop(*a, noise=False), "draw new noise"),
    (
        checks.check_sampling_loop,
        lambda *a: loop(*a, reverse=lambda *b: back(*b, sigma=lambda s, t: np.sqrt(s.betas[t]))),
        "fresh noise added at t = 0",
    ),
    (
        checks.check_sampling_loop,
        lambda *a: loop(*a, steps=lambda T: range(T, -1, -1)),
        "stopped with|t = T; the first",
    ),
    (checks.check_difference, lambda a, b: compared(a, b, error=lambda x, y: x + y), "add their variances"),
    (checks.check_difference, lambda a, b: compared(a, b, z=1.0), "one standard error"),
    (checks.check_difference, lambda a, b: compared(b, a), "b − a"),
    (checks.check_difference, lambda a, b: np.multiply(compared(a, b), 100), "percent"),
    (checks.check_difference, lambda a, b: compared(a, b, error=lambda x, y: x), "only the variance of a"),
    (checks.check_difference, lambda a, b: compared(a, b, error=lambda x, y: y), "only the variance of b"),
    (checks.check_difference, lambda a, b: compared(a, b, error=lambda x, y: x**2 + y**2), "root is missing"),
    (checks.check_difference, lambda a, b: compared(a, b, error=lambda x, y: abs(x**2 - y**2) ** 0.5), "subtract"),
    (checks.check_difference, lambda a, b: sorted(compared(a, b)), "in this order"),
    (checks.check_difference, lambda a, b: compared(a, b)[1:], "return three numbers"),
    (checks.check_difference, lambda a, b: (compared(a, b)[0], compared(a, b)[1:]), "return three numbers"),
    (checks.check_difference, lambda a, b: a - b, "stopped with|return three numbers"),
    (checks.check_difference, lambda a, b: (np.sum(a) - np.sum(b), *compared(a, b)[1:]), "difference of counts"),
    (checks.check_difference, unscaled, "variance of one outcome"),
    (checks.check_difference, pooled, "one common proportion"),
    (
        checks.check_difference,
        lambda a, b: compared(a[: len(b)], b[: len(a)]),
        "should be the proportion of a|items of b",
    ),
    (checks.check_inpaint, lambda x, k, m: m * x + (1 - m) * k, "upside down"),
    (checks.check_inpaint, lambda x, k, m: m * k, "estimate x̂_0 is lost"),
    (checks.check_inpaint, lambda x, k, m: x + m * k, "are added"),
    (checks.check_inpaint, lambda x, k, m: x, "not put in"),
    *MORE_WRONG,
    *LESSON_5_WRONG,
    *LESSON_8_WRONG,
    *AUTOGUIDED_WRONG,
    *LESSON_9_WRONG,
    *LESSON_10_WRONG,
    (checks.check_predict_x0, lambda xt, e, a: xt - np.sqrt(1 - a) * e, "still faded"),
    (checks.check_predict_x0, lambda xt, e, a: (xt - np.sqrt(1 - a) * e) / a, "divide by ᾱ"),
    (checks.check_predict_x0, lambda xt, e, a: (xt - np.sqrt(1 - a) * e) * np.sqrt(a), "fades the image once more"),
    (checks.check_predict_x0, lambda xt, e, a: (xt - (1 - a) * e) / np.sqrt(a), "the root is missing"),
    (checks.check_predict_x0, lambda xt, e, a: (xt - e) / np.sqrt(a), "only a part of the noise"),
    (checks.check_predict_x0, lambda xt, e, a: implied(xt, e, 1 - a), "roots are swapped"),
    (checks.check_predict_x0, lambda xt, e, a: implied(xt, -e, a), "added once more"),
    (checks.check_predict_x0, lambda xt, e, a: xt, "x_t as it came"),
    (checks.check_predict_x0, lambda xt, e, a: e, "returned the noise"),
    (checks.check_predict_x0, lambda xt, e, a: np.clip(implied(xt, e, a), -1, 1), "you clipped"),
    (checks.check_predict_x0, lambda xt, e, a: implied(xt, e, a)[0], "has shape"),
    (checks.check_diagnosis, lambda: None, "is the `return` missing"),
    (checks.check_diagnosis, lambda: "range", "return a dict"),
    (checks.check_diagnosis, lambda: list("ABCDEF"), "return a dict"),
    (checks.check_diagnosis, lambda: {"A": 1}, "between quotes"),
    (checks.check_diagnosis, lambda: {"A": "range", "B": "slow"}, "no word for C, D, E, F"),
    (checks.check_diagnosis, lambda: diagnosed(A="sick"), "the word for A is none of"),
    (checks.check_diagnosis, lambda: diagnosed(A="slow"), "slow: each word belongs to one letter"),
    (checks.check_diagnosis, lambda: diagnosed(A="good", D="range"), "4 of 6 letters are right"),
    (checks.check_diagnosis, lambda: diagnosed(C="schedule", E="relu"), "run C: which noise"),
    (checks.check_diagnosis, lambda: diagnosed(F="slow", B="fast"), "run B: how far"),
    (checks.check_relu_floor, lambda noise: np.mean(noise[noise < 0] ** 2), "the negative values only"),
    (checks.check_relu_floor, lambda noise: np.mean(noise**2), "the answer 0 everywhere"),
    (checks.check_relu_floor, lambda noise: np.mean(np.maximum(noise, 0) ** 2), "can answer exactly"),
    (checks.check_relu_floor, lambda noise: np.mean(np.maximum(-noise, 0)), "the absolute error"),
    (checks.check_relu_floor, lambda noise: np.mean(np.minimum(noise, 0)), "never negative"),
    (checks.check_relu_floor, lambda noise: np.sum(np.minimum(noise, 0) ** 2), "added the squares up"),
    (checks.check_relu_floor, lambda noise: np.sqrt(np.mean(np.minimum(noise, 0) ** 2)), "no root"),
    (checks.check_relu_floor, lambda noise: np.mean((np.abs(noise) - noise) ** 2), "the answer ∣ε∣"),
    (checks.check_relu_floor, lambda noise: np.minimum(noise, 0) ** 2, "one number, their mean"),
    (checks.check_relu_floor, lambda noise: 0, "has the loss 0"),
    (checks.check_relu_floor, lambda noise: 0.5, "the best answer where the noise is negative"),
    *FIELD_WRONG,
]
