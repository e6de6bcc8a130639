"""The checks: every right answer of any style passes, every typical wrong one fails with the sentence that names it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from labutils import checks, inversion, sampling, schedule, training, unet

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


def loss_numpy(network, s, x0, t, noise):
    xt = np.sqrt(s.alpha_bars[t])[:, None, None, None] * x0 + np.sqrt(1 - s.alpha_bars[t])[:, None, None, None] * noise
    return np.mean((np.asarray(network([xt, (t / s.T)[:, None]])) - noise) ** 2)


def loss(network, s, x0, t, noise, see=None, time=None, reduce=tf.reduce_mean, target=None, power=2):
    xt = s.add_noise(x0, t, noise) if see is None else see(x0, noise)
    time = training.network_time(t, s.T) if time is None else time(t)
    return reduce(tf.abs(network([xt, time]) - (noise if target is None else target(x0))) ** power)


def step(network, optimizer, s, x0, t, noise, sign=1, apply=True, again=False, times=1, total=False):
    with tf.GradientTape() as tape:
        value = training.mean_loss(network, s, x0, t, noise)
        objective = value * (x0.size if total else times)
    gradients = [sign * g for g in tape.gradient(objective, network.trainable_variables)]
    if apply:
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
    return training.mean_loss(network, s, x0, t, noise) if again else value


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


def cosine(T, power=2, s=0.008, end=0.5, skip=1):
    f = np.cos((np.arange(T + 1) / T + s) / (1 + s) * np.pi * end) ** power
    return f[skip : T + skip] / f[0]


def taps(w):
    return [[w[0], w[1] + w[2]], [w[0] + w[1], w[2]]]


def fold(x, axes=(0, 1, 3, 2, 4, 5)):
    B, H, W, C = np.shape(x)
    return np.reshape(x, (B, H // 2, 2, W // 2, 2, C)).transpose(axes).reshape(B, H // 2, W // 2, 4 * C)


def fold_by_slices(x):
    return np.concatenate([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], axis=-1)


def from_v(xt, v, a, sign=-1, root=np.sqrt, swap=False):
    signal, level = (root(1 - a), root(a)) if swap else (root(a), root(1 - a))
    return signal * xt + sign * level * v


FLOAT32 = schedule.linear_schedule()
for _table in ("betas", "alphas", "alpha_bars", "alpha_bars_previous", "posterior_variances"):
    setattr(FLOAT32, _table, getattr(FLOAT32, _table).astype("float32"))

RIGHT = [
    (checks.check_split_taps, taps),
    (checks.check_split_taps, lambda w: np.array([[1, 0, 0, 0, 1, 1], [1, 1, 0, 0, 0, 1]]).reshape(2, 2, 3) @ w),
    (checks.check_split_taps, lambda w: tf.constant(taps(w), tf.float32)),
    (checks.check_space_to_depth, fold),
    (checks.check_space_to_depth, fold_by_slices),
    (checks.check_space_to_depth, lambda x: tf.nn.space_to_depth(x, 2)),
    (checks.check_x0_from_v, from_v),
    (checks.check_x0_from_v, lambda xt, v, a: tf.constant(np.sqrt(a) * xt) - tf.sqrt(1 - tf.constant(a, tf.float64)) * v),
    (checks.check_x0_from_v, lambda xt, v, a: [np.sqrt(a) * x - np.sqrt(1 - a) * y for x, y in zip(xt, v, strict=True)]),
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
    (checks.check_add_noise, lambda x, t, e, a: np.einsum("b,bhwc->bhwc", np.sqrt(a[t]), x)
     + np.sqrt(1 - a[t])[:, None, None, None] * e),
    (checks.check_add_noise, lambda x, t, e, a: tf.sqrt(tf.gather(a, t))[:, None, None, None] * x
     + tf.sqrt(1 - tf.gather(a, t))[:, None, None, None] * e),
    (checks.check_posterior_variances, tilde),
    (checks.check_posterior_variances, tilde_by_loop),
    (checks.check_posterior_variances, lambda b: schedule.NoiseSchedule(b).posterior_variances.astype("float32")),
    (checks.check_up_block, up),
    (checks.check_up_block, lambda x, skip, n: L.Conv2D(n, 3, padding="same", activation="relu")(
        L.concatenate([L.UpSampling2D(interpolation="bilinear")(x), skip]))),
    (checks.check_up_block, lambda x, skip, n: L.ReLU()(up(x, skip, n, activation=None))),
    (checks.check_sinusoidal_embedding, embed),
    (checks.check_sinusoidal_embedding, embed_interleaved),
    (checks.check_sinusoidal_embedding, lambda t, d: embed(t, d, power=d // 2 - 1)),
    (checks.check_sinusoidal_embedding, unet.sinusoidal_embedding),
    (checks.check_noise_loss, loss),
    (checks.check_noise_loss, loss_numpy),
    (checks.check_noise_loss, training.mean_loss),
    (checks.check_train_step, step),
    (checks.check_train_step, lambda n, o, s, x, t, e: float(step(n, o, s, x, t, e))),
    (checks.check_reverse_step, back),
    (checks.check_reverse_step, back_by_x0),
    (checks.check_reverse_step, sampling.reverse_step),
    (checks.check_reverse_step, lambda s, xt, t, e, z: back_by_x0(FLOAT32, xt, t, e, z)),
    (checks.check_noise_loss, tf.function(loss)),
    (checks.check_noise_loss, lambda n, s, x0, t, e: np.mean((n.predict([s.add_noise(x0, t, e), (t / s.T)[:, None]]) - e) ** 2)),
    (checks.check_train_step, tf.function(step)),
    (checks.check_sampling_loop, lambda n, s, x, rng: loop(lambda i: n.predict(i, verbose=0), s, x, rng)),
    (checks.check_sampling_loop, loop),
    (checks.check_sampling_loop, loop_float64),
    (checks.check_sampling_loop, lambda n, s, x, rng: loop(n, s, x, rng, reverse=back)),
    (checks.check_cosine_alpha_bars, cosine),
    (checks.check_cosine_alpha_bars, lambda T: [float(v) for v in cosine(T)]),
    (checks.check_inpaint, lambda x, k, m: m * k + (1 - m) * x),
    (checks.check_inpaint, lambda x, k, m: np.where(m == 1, k, x)),
    (checks.check_inpaint, lambda x, k, m: tf.where(m > 0.5, k, x)),
]  # fmt: skip

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
    (checks.check_add_noise, lambda x, t, e, a: noisy_by_loop(x, t, e, a**2 + 1e-9), "√ᾱ_t · x_0"),
    (checks.check_add_noise, lambda x, t, e, a: [a[k] * u + (1 - a[k]) * v for u, k, v in zip(x, t, e, strict=True)],
     "square roots are missing"),
    (checks.check_add_noise, lambda x, t, e, a: noisy_by_loop(e, t, x, a), "signal and noise are swapped"),
    (checks.check_add_noise, lambda x, t, e, a: noisy_by_loop(x, t, e, np.concatenate([[1], a[:-1]])), "too early"),
    (checks.check_add_noise, lambda x, t, e, a: noisy_by_loop(x, t, e, np.concatenate([a[1:], a[-1:]])), "too late"),
    (checks.check_add_noise, lambda x, t, e, a: noisy_by_loop(
        x, t, e, np.concatenate([[a[0]], a[1:] / a[:-1]])), "you used α_t where ᾱ_t is needed"),
    (checks.check_add_noise, lambda x, t, e, a: np.sqrt(a[t]) * x, "reshape(-1, 1, 1, 1)"),
    (checks.check_posterior_variances, lambda b: b, "β̃ is smaller"),
    (checks.check_posterior_variances, lambda b: tilde(b, first=0.0), "β̃_0 should be 0"),
    (checks.check_posterior_variances, lambda b: np.concatenate([[b[0]], tilde(b)[1:]]), "β̃_0 should be 0, not β_0"),
    (checks.check_posterior_variances, lambda b: (1 - bars(b)) / b, "(1 − ᾱ_t)/(1 − α_t)"),
    (checks.check_posterior_variances, lambda b: b * (1 - np.append(bars(b)[1:], 1)) / (1 - bars(b)), "wrong side"),
    (checks.check_posterior_variances, lambda b: np.sqrt(tilde(b)), "√β̃"),
    (checks.check_split_taps, lambda w: taps(w)[::-1], "rows are swapped"),
    (checks.check_split_taps, lambda w: [w[:2], w[1:]], "must be added"),
    (checks.check_split_taps, lambda w: [[w[0], (w[1] + w[2]) / 2], [(w[0] + w[1]) / 2, w[2]]], "averaged"),
    (checks.check_split_taps, lambda w: [row[::-1] for row in taps(w)], "mirrored"),
    (checks.check_space_to_depth, lambda x: x.reshape(2, 2, 3, 12), "plain reshape"),
    (checks.check_space_to_depth, lambda x: x[:, ::2, ::2], "none is averaged or thrown away"),
    (checks.check_space_to_depth, lambda x: np.repeat(x[:, ::2, ::2], 4, axis=-1), "every value should appear"),
    (checks.check_space_to_depth, lambda x: fold(x).transpose(0, 3, 1, 2), "channels should come last"),
    (checks.check_space_to_depth, lambda x: x.reshape(2, 2, 2, 3, 2, 3).swapaxes(2, 4).reshape(2, 2, 3, 12), "outside its own"),
    (checks.check_x0_from_v, lambda *a: from_v(*a, sign=1), "second sign is wrong"),
    (checks.check_x0_from_v, lambda *a: from_v(*a, swap=True), "factors are swapped"),
    (checks.check_x0_from_v, lambda *a: from_v(*a, sign=1, swap=True), "you returned ε"),
    (checks.check_x0_from_v, lambda *a: from_v(*a, root=lambda r: r), "roots are missing"),
    (checks.check_x0_from_v, lambda xt, v, a: (xt - np.sqrt(1 - a) * v) / np.sqrt(a), "predicts ε"),
    (checks.check_up_block, lambda x, skip, n: up(x, skip, n, join=False), "skip connection has no effect"),
    (checks.check_up_block, lambda x, skip, n: up(x, skip, n, activation=None), "needs activation='relu'"),
    (checks.check_up_block, lambda x, skip, n: up(x, skip, n, activation="softplus"), "not that of a ReLU"),
    (checks.check_up_block, lambda x, skip, n: L.Add()([up(x, skip, n, join=False), skip]), "seem to be added"),
    (checks.check_up_block, lambda x, skip, n: up(x, skip, n, size=1), "kernel is 1×1"),
    (checks.check_up_block, lambda x, skip, n: up(x, L.UpSampling2D()(skip), n, grow=4), "should reach 14×14"),
    (checks.check_up_block, lambda x, skip, n: L.Concatenate()([x, skip]), "stopped with"),
    (checks.check_up_block, lambda x, skip, n: L.Conv2D(n, 3, activation="relu")(L.concatenate([L.UpSampling2D()(x), skip])),
     "12×12"),
    (checks.check_sinusoidal_embedding, lambda t, d: embed(t, d, cosine=np.sin), "half of the values should be cosines"),
    (checks.check_sinusoidal_embedding, lambda t, d: embed(t, d, base=1.0), "all frequencies are alike"),
    (checks.check_sinusoidal_embedding, lambda t, d: embed(t, d)[:, :d // 2], "shape should be"),
    (checks.check_sinusoidal_embedding, lambda t, d: embed(np.asarray(t) / 1000, d), "steps 0 and 1 look the same"),
    (checks.check_sinusoidal_embedding, lambda t, d: embed(t, d, base=2.0), "no slow frequency"),
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
    (checks.check_reverse_step, lambda *a: back(*a, sigma=lambda s, t: np.sqrt(max(s.posterior_variances[t], 1e-5))),
     "noise is added at the last step"),
    (checks.check_reverse_step, lambda *a: back(*a, scale=lambda s, t: np.sqrt(1 / s.alpha_bars[t])), "ᾱ_t where α_t"),
    (checks.check_reverse_step, lambda *a: back(*a, share=lambda s, t: s.betas[t] / (1 - s.alpha_bars[t])),
     "root is missing: β_t"),
    (checks.check_reverse_step, lambda *a: back(*a, share=lambda s, t: np.sqrt(s.betas[t])), "α_t where ᾱ_t"),
    (checks.check_reverse_step, lambda *a: back(*a, sign=1), "should be taken away"),
    (checks.check_reverse_step, lambda *a: back(*a, sigma=lambda s, t: 0), "noise z is not added"),
    (checks.check_sampling_loop, lambda *a: loop(*a, steps=lambda T: range(T - 1, 0, -1)), "stops before t = 0"),
    (checks.check_sampling_loop, lambda *a: loop(*a, steps=lambda T: range(T)), "upwards"),
    (checks.check_sampling_loop, lambda *a: loop(*a, time=lambda x, t, T: np.full((len(x), 1), float(t))), "gets t itself"),
    (checks.check_sampling_loop, lambda *a: loop(*a, time=lambda x, t, T: np.full(len(x), t / T)), "should be a column"),
    (checks.check_sampling_loop, lambda *a: loop(*a, noise=False), "draw new noise"),
    (checks.check_sampling_loop, lambda *a: loop(*a, reverse=lambda *b: back(*b, sigma=lambda s, t: np.sqrt(s.betas[t]))),
     "fresh noise added at t = 0"),
    (checks.check_sampling_loop, lambda *a: loop(*a, steps=lambda T: range(T, -1, -1)), "stopped with|t = T; the first"),
    (checks.check_cosine_alpha_bars, lambda T: cosine(T, power=1), "not squared"),
    (checks.check_cosine_alpha_bars, lambda T: cosine(T) * np.cos(0.008 / 1.008 * np.pi / 2) ** 2, "division by f(0)"),
    (checks.check_cosine_alpha_bars, lambda T: cosine(T, skip=0), "starts at n = 0"),
    (checks.check_cosine_alpha_bars, lambda T: np.append(1, cosine(T)), "T + 1 values"),
    (checks.check_cosine_alpha_bars, lambda T: 1 - np.append(1, cosine(T))[1:] / np.append(1, cosine(T))[:-1], "you returned β"),
    (checks.check_inpaint, lambda x, k, m: m * x + (1 - m) * k, "upside down"),
    (checks.check_inpaint, lambda x, k, m: m * k, "guess x̂_0 is lost"),
    (checks.check_inpaint, lambda x, k, m: x + m * k, "are added"),
    (checks.check_inpaint, lambda x, k, m: x, "not put in"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_right_answers_pass(check, answer, capsys):
    check(answer)
    assert "All tests in" in capsys.readouterr().out


@pytest.mark.parametrize(("check", "answer", "sentence"), WRONG)
def test_wrong_answers_get_the_right_sentence(check, answer, sentence):
    with pytest.raises(checks.CheckFailed) as caught:
        check(answer)
    assert any(part in str(caught.value) for part in sentence.split("|")), str(caught.value)


def test_every_check_knows_three_wrong_answers():
    for name in checks.__all__:
        if name.startswith("check_"):
            assert sum(check is getattr(checks, name) for check, _, _ in WRONG) >= 3, name


@pytest.mark.parametrize("name", [n for n in checks.__all__ if n.startswith("check_")])
def test_stubs_nothing_and_nonsense_fail_clearly(name):
    check = getattr(checks, name)

    def stub(*arguments):
        raise NotImplementedError

    with pytest.raises(checks.CheckFailed, match="is not written yet"):
        check(stub)
    for answer in (None, "text", np.nan, [], {}):
        with pytest.raises(checks.CheckFailed):
            check(lambda *arguments, answer=answer: answer)
