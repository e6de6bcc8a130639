"""Checks of lesson 8: a latent drawn with noise, cross-attention, captions dropped at random, and guidance."""

import numpy as np

from labutils.checks.feedback import Check, as_numbers, close, compare, require, run

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
check_drop_captions = Check(
    "8.3",
    "drop_captions",
    "``drop_captions(tokens, share, rng)``: each row of ``tokens`` (N, L) becomes zeros with probability ``share``.",
)
check_guided = Check(
    "8.4",
    "guided",
    "``guided(with_caption, without, w)``: classifier-free guidance, (1 + w) · with_caption − w · without.",
)


@check_sample_latent.property("z = μ + σ·ε")
def _(sample_latent, rng):
    mean, noise = rng.standard_normal((2, 3, 2, 2, 4))
    log_variance = rng.uniform(-3, 1, mean.shape)
    std = np.exp(0.5 * log_variance)
    compare(
        run(sample_latent, mean, log_variance, noise),
        mean + std * noise,
        {
            "you scale the noise by the variance σ²; it needs the standard deviation, σ = exp(½ log σ²)": mean
            + std**2 * noise,
            "you scale the noise by the logarithm itself; exp turns it into a variance": mean + log_variance * noise,
            "you scale the noise by half the logarithm; exp is missing": mean + 0.5 * log_variance * noise,
            "the sign in the exponent is wrong: a small log σ² must give little noise": mean + noise / std,
            "exp(2 · log σ²) is not σ: the root of a variance is exp(½ · log σ²)": mean + std**4 * noise,
            "the noise is missing: every picture would always get the same latent": mean,
            "the mean is missing: the latent would not depend on the picture": std * noise,
            "mean and noise have changed places": noise + std * mean,
            "the mean is scaled as well; only the noise is": std * (mean + noise),
        },
        "that is not μ + exp(½ log σ²) · ε",
    )


@check_sample_latent.property("mean and deviation over many draws")
def _(sample_latent, rng):
    log_variance = np.log(np.full(20_000, 0.25))
    z = as_numbers(run(sample_latent, np.full(20_000, 3.0), log_variance, rng.standard_normal(20_000)), (20_000,))
    require(
        abs(z.mean() - 3) < 0.02 and abs(z.std() - 0.5) < 0.02,
        f"with μ = 3 and σ = 0.5 the draws have mean {z.mean():.2f} and deviation {z.std():.2f}",
    )


def _softmax(scores, axis=-1):
    weights = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return weights / weights.sum(axis=axis, keepdims=True)


@check_cross_attention.property("every position gets its own mixture of the values")
def _(cross_attention, rng):
    queries, keys = 1.5 * rng.standard_normal((2, 5, 4)), 1.5 * rng.standard_normal((2, 3, 4))
    values = rng.standard_normal((2, 3, 6))
    scores, size = queries @ keys.swapaxes(1, 2), np.sqrt(4)
    weights = _softmax(scores / size)
    compare(
        run(cross_attention, queries, keys, values),
        weights @ values,
        {
            "the scores are not divided by √d, the root of the length of a query": _softmax(scores) @ values,
            "the scores are divided by d; it must be √d": _softmax(scores / 4) @ values,
            "the scores are multiplied by √d; they must be divided": _softmax(scores * size) @ values,
            "the scores are divided by the root of the number of words; it must be √d": _softmax(scores / np.sqrt(3))
            @ values,
            "the softmax runs over the positions; the weights of the words must add up to 1": _softmax(
                scores / size, axis=1
            )
            @ values,
            "the softmax runs over the batch; the weights of the words must add up to 1": _softmax(
                scores / size, axis=0
            )
            @ values,
            "the softmax is missing: weights must be positive and add up to 1": scores / size @ values,
            "you returned the weights; they still have to mix the values": weights,
            "every word gets the same weight: the scores are not used": np.broadcast_to(
                values.mean(axis=1, keepdims=True), (2, 5, 6)
            ),
            "each position takes the word with the largest score only; softmax mixes all words": np.take_along_axis(
                values, scores.argmax(axis=-1)[..., None], axis=1
            ),
        },
        "that is not softmax(Q Kᵀ / √d) V",
    )


@check_cross_attention.property("large scores do not overflow")
def _(cross_attention, rng):
    keys = 60.0 * np.eye(4)[None]  # the word that fits has a score of 1,800, the others 0
    order = rng.permutation(4)
    values = rng.standard_normal((1, 4, 2))
    answer = as_numbers(run(cross_attention, keys[:, order], keys, values), (1, 4, 2))
    require(
        close(answer, values[:, order]),
        "a query that fits one key far better than the others must get (nearly) the value of that word alone",
    )


CAPTIONS = 4_000


def _drop(drop_captions, rng, share, count=CAPTIONS):
    """Random captions without empty places, and the student's answer."""
    tokens = rng.integers(1, 24, (count, 8), dtype=np.int32)
    given = tokens.copy()  # an answer may change what it is given
    return tokens, as_numbers(
        run(drop_captions, given, share, np.random.default_rng(rng.integers(2**31))), tokens.shape
    )


@check_drop_captions.property("share 0 keeps every caption")
def _(drop_captions, rng):
    tokens, answer = _drop(drop_captions, rng, 0.0, 50)
    require(np.any(answer != 0), "with share = 0 all captions are dropped: is the comparison the wrong way round?")
    require(np.array_equal(answer, tokens), "with share = 0 nothing may change")


@check_drop_captions.property("share 1 drops every caption")
def _(drop_captions, rng):
    tokens, answer = _drop(drop_captions, rng, 1.0, 50)
    require(not np.array_equal(answer, tokens), "with share = 1 nothing is dropped; every caption must become zeros")
    require(not np.any(answer), "with share = 1 every caption must become zeros, all eight places of it")


@check_drop_captions.property("whole captions, the others unchanged")
def _(drop_captions, rng):
    tokens, answer = _drop(drop_captions, rng, 0.25)
    zero = answer == 0
    require(
        np.array_equal(zero.all(axis=1), zero.any(axis=1)),
        "single words are dropped; a caption must be dropped as a whole: one random number for each row",
    )
    kept = ~zero.all(axis=1)
    require(np.array_equal(answer[kept], tokens[kept]), "a caption that is kept must stay as it is, in its own row")


@check_drop_captions.property("about the right share, chosen anew for each caption")
def _(drop_captions, rng):
    shares, chosen = [], []
    for _ in range(2):
        _, answer = _drop(drop_captions, rng, 0.25)
        chosen.append(~answer.any(axis=1))
        shares.append(chosen[-1].mean())
    require(
        min(shares) > 0 and max(shares) < 1,
        "either all captions are dropped or none: draw one random number for each row, not one for all",
    )
    require(
        abs(np.mean(shares) - 0.25) < 0.04,
        f"with share = 0.25 about a quarter should be dropped; yours dropped {np.mean(shares):.0%}"
        + (": is the comparison the wrong way round?" if abs(np.mean(shares) - 0.75) < 0.04 else ""),
    )
    runs = [np.flatnonzero(np.diff(mask)) for mask in chosen]
    require(
        not np.array_equal(*chosen) and min(map(len, runs)) > CAPTIONS / 10,
        "always the same captions are dropped: choose them at random with `rng`",
    )


@check_guided.property("(1 + w) · with caption − w · without")
def _(guided, rng):
    told, untold = rng.standard_normal((2, 2, 4, 4, 3))
    w = rng.uniform(1.5, 3.0)
    compare(
        run(guided, told, untold, w),
        told + w * (told - untold),
        {
            "the caption is pushed away: with and without have changed places": untold + w * (untold - told),
            "you mix the two; guidance goes beyond the answer with caption, away from the one without": (1 - w) * told
            + w * untold,
            "that is without + w · (with − without), where w = 1 means no guidance; here w = 0 means none": untold
            + w * (told - untold),
            "the two are added; the answer without caption must be subtracted": (1 + w) * told + w * untold,
            "1 + is missing: the factors must add up to 1": w * told - w * untold,
            "the factor of the answer with caption must be 1 + w, so that both factors add up to 1": told - w * untold,
            "the weight of the answer without caption is missing": (1 + w) * told - untold,
            "both factors are the same; they must add up to 1": (1 + w) * (told - untold),
            "you returned the answer with caption, without any guidance": told,
            "the plain mean of both weakens the caption": (told + untold) / 2,
        },
        "that is not (1 + w) · with_caption − w · without",
    )


@check_guided.property("w = 0 changes nothing")
def _(guided, rng):
    told, untold = rng.standard_normal((2, 2, 4, 4, 3))
    require(
        close(as_numbers(run(guided, told, untold, 0.0), told.shape), told),
        "with w = 0 the answer with caption must come back unchanged",
    )
