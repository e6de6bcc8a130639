"""Checks of lesson 8: a latent drawn with noise, cross-attention, and guidance."""

import numpy as np

from labutils.caption_data import LENGTH, NO_WORD, VOCABULARY
from labutils.checks.feedback import Check, require, run
from labutils.checks.values import StubNetwork, as_numbers, close, compare, ignores

check_sample_latent = Check(
    "8.1",
    "sample_latent",
    "``sample_latent(mean, log_variance, noise)``: z = μ + σ·ε, where ``log_variance`` is log σ².",
)
check_cross_attention = Check(
    "8.2",
    "cross_attention",
    "``cross_attention(queries, keys, values)``: (B, P, d), (B, L, d), (B, L, e) → (B, P, e).",
)
check_guided = Check(
    "8.3",
    "guided",
    "``guided(network, x, time, tokens, w)``: (1 + w) · answer with caption − w · answer with an empty caption.",
)


@check_sample_latent.property("z = μ + σ·ε")
def _(sample_latent, rng):
    mean, noise = rng.standard_normal((2, 8, 2, 2, 4), np.float32)
    log_variance = rng.uniform(-3, 1, mean.shape).astype(np.float32)
    std = np.exp(0.5 * log_variance)
    answer = as_numbers(run(sample_latent, mean, log_variance, noise), None, "z", mean.shape)
    otherwise = "that is not μ + exp(½ log σ²) · ε"
    if answer.shape == mean.shape and ignores((answer - mean) / std, noise):
        otherwise = "ε should be the argument `noise`: draw no noise of your own"
    mistakes = {
        "you scale the noise by the variance σ²; it needs the standard deviation, σ = exp(½ log σ²)": (
            mean + std**2 * noise
        ),
        "you scale the noise by the logarithm itself; exp turns it into a variance": mean + log_variance * noise,
        "you scale the noise by half the logarithm; exp is missing": mean + 0.5 * log_variance * noise,
        "the sign in the exponent is wrong: a small log σ² must give little noise": mean + noise / std,
        "exp(2 · log σ²) is not σ: the root of a variance is exp(½ · log σ²)": mean + std**4 * noise,
        "the noise is missing: every picture would always get the same latent": mean,
        "the mean is missing: the latent would not depend on the picture": std * noise,
        "mean and noise have changed places": noise + std * mean,
        "the mean is scaled as well; only the noise is": std * (mean + noise),
    }
    compare(answer, mean + std * noise, mistakes, otherwise)


@check_sample_latent.property("mean and deviation over many draws")
def _(sample_latent, rng):
    noise = rng.standard_normal(20_000, np.float32)
    z = as_numbers(run(sample_latent, 0 * noise + 3, 0 * noise + np.float32(np.log(0.25)), noise), noise.shape, "z")
    require(
        abs(z.mean() - 3) < 0.02 and abs(z.std() - 0.5) < 0.02,
        f"with μ = 3 and σ = 0.5 the draws have mean {z.mean():.2f} and deviation {z.std():.2f}",
    )


def _softmax(scores, axis=-1):
    weights = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return weights / weights.sum(axis=axis, keepdims=True)


@check_cross_attention.property("every position gets its own mixture of the values")
def _(cross_attention, rng):
    queries = 1.5 * rng.standard_normal((2, 5, 4), np.float32)
    keys = 1.5 * rng.standard_normal((2, 3, 4), np.float32)
    values = rng.standard_normal((2, 3, 6), np.float32)
    scores, size = queries @ keys.swapaxes(1, 2), np.sqrt(4)

    def mix(scores, axis=-1):
        return _softmax(scores, axis) @ values

    mistakes = {
        "the scores are not divided by √d, the root of the length of a query": mix(scores),
        "the scores are divided by d; it must be √d": mix(scores / 4),
        "the scores are multiplied by √d; they must be divided": mix(scores * size),
        "the scores are divided by the root of the number of words; it must be √d": mix(scores / np.sqrt(3)),
        "the softmax runs over the positions; the weights of the words must add up to 1": mix(scores / size, axis=1),
        "the softmax runs over the batch; the weights of the words must add up to 1": mix(scores / size, axis=0),
        "the softmax is missing: weights must be positive and add up to 1": scores / size @ values,
        "you returned the weights; they still have to mix the values": _softmax(scores / size),
        "every word gets the same weight: the scores are not used": mix(0 * scores),
        "each position takes the word with the largest score only; softmax mixes all words": mix(1e6 * scores),
    }
    answer = run(cross_attention, queries, keys, values)
    compare(answer, mix(scores / size), mistakes, "that is not softmax(Q Kᵀ / √d) V", what="the mixed values")


@check_cross_attention.property("large scores do not overflow")
def _(cross_attention, rng):
    keys = 60.0 * np.eye(4, dtype=np.float32)[None]  # the word that fits has a score of 1,800, the others 0
    order = rng.permutation(4)
    values = rng.standard_normal((1, 4, 2), np.float32)
    answer = as_numbers(run(cross_attention, keys[:, order], keys, values), (1, 4, 2), "the mixed values")
    require(
        close(answer, values[:, order]),
        "a query that fits one key far better than the others must get (nearly) the value of that word alone",
    )


def _drawing_task(rng):
    """A network whose answer depends on x, t and each word, and what it is given."""
    meaning = rng.standard_normal(len(VOCABULARY) + 1)

    def answer(x, time, tokens):
        words = meaning[np.asarray(tokens, int) - NO_WORD] @ np.arange(1, LENGTH + 1) / LENGTH
        return (0.3 * np.asarray(x) + (np.asarray(time)[:, 0] + words)[:, None, None, None]).astype(np.float32)

    x = rng.standard_normal((3, 4, 4, 2), np.float32)
    network = StubNetwork(answer, [(None, 4, 4, 2), (None, 1), (None, LENGTH)])
    tokens = rng.integers(0, len(VOCABULARY), (3, LENGTH), dtype=np.int32)
    tokens[0, 3:] = NO_WORD
    return network, x, np.full((3, 1), 0.6, np.float32), tokens


@check_guided.property("(1 + w) · with caption − w · without")
def _(guided, rng):
    network, x, time, tokens = _drawing_task(rng)

    def answer(words):
        return network.predict([x, time, np.broadcast_to(words, tokens.shape)])

    with_caption, without, with_a = answer(tokens), answer(NO_WORD), answer(0)
    w = rng.uniform(1.5, 3.0)

    def mix(factor, other, without=without):
        return factor * with_caption + other * without

    mistakes = {
        "0 is the word 'a'; an empty caption has caption_data.NO_WORD, −1, at each of its places": mix(
            1 + w, -w, with_a
        ),
        "the caption is pushed away: with and without have changed places": mix(-w, 1 + w),
        "you mix the two; guidance goes beyond the answer with caption, away from the one without": mix(1 - w, w),
        "that is without + w · (with − without), where w = 1 means no guidance; here w = 0 means none": mix(w, 1 - w),
        "the two are added; the answer without caption must be subtracted": mix(1 + w, w),
        "1 + is missing: the factors must add up to 1": mix(w, -w),
        "the factor of the answer with caption must be 1 + w, so that both factors add up to 1": mix(1, -w),
        "the weight of the answer without caption is missing": mix(1 + w, -1),
        "both factors are the same; they must add up to 1": mix(1 + w, -1 - w),
        "you returned the answer with caption, without any guidance": with_caption,
        "you returned the answer without caption": without,
        "the plain mean of both weakens the caption": mix(0.5, 0.5),
    }
    otherwise = "that is not (1 + w) · with_caption − w · without_caption"
    compare(run(guided, network, x, time, tokens, w), mix(1 + w, -w), mistakes, otherwise, what="the guided answer")


@check_guided.property("w = 0 changes nothing", alone=False)
def _(guided, rng):
    network, x, time, tokens = _drawing_task(rng)
    answer = as_numbers(run(guided, network, x, time, tokens, 0.0), x.shape, "the guided answer")
    require(
        close(answer, network([x, time, tokens])),
        "with w = 0 the answer with caption must come back unchanged",
    )
