"""Checks of lesson 8: a latent drawn with noise, cross-attention, guidance, and captions for a model that must fail."""

import numpy as np

from labutils import caption_data
from labutils.caption_data import ALONE, LENGTH, NO_WORD, VOCABULARY
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
    "``cross_attention(queries, keys, values, is_word)``: (B, P, d), (B, L, d), (B, L, e), bool (B, L) → (B, P, e).",
)
check_guided = Check(
    "8.3",
    "guided",
    "``guided(network, x, time, tokens, w)``: (1 + w) · answer with caption − w · answer with an empty caption.",
)
check_encode_for_falsifier = Check(
    "8.4",
    "encode_for_falsifier",
    "``encode_for_falsifier(scenes)``: (N, 5) → tokens (N, 8) in which two pairs of colour and digit share no word.",
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
    queries, keys, values = _attention_task(rng)
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
        "every word gets the same weight: are the scores used? Is the mask the other way round?": mix(0 * scores),
        "each position takes the word with the largest score only; softmax mixes all words": mix(1e6 * scores),
    }
    answer = run(cross_attention, queries, keys, values, np.ones((2, 3), bool))
    otherwise = "that is not softmax(Q Kᵀ / √d) V; here no place is empty"
    compare(answer, mix(scores / size), mistakes, otherwise, what="the mixed values")


def _attention_task(rng, words=3):
    """Queries, keys and values of two captions, at five positions."""
    queries = 1.5 * rng.standard_normal((2, 5, 4), np.float32)
    keys = 1.5 * rng.standard_normal((2, words, 4), np.float32)
    return queries, keys, rng.standard_normal((2, words, 6), np.float32)


@check_cross_attention.property("an empty place has no weight, and the weights of the words add up to 1")
def _(cross_attention, rng):
    queries, keys, values = _attention_task(rng, words=4)
    is_word = np.array([[True, True, True, False], [True, False, False, False]])
    scores, here = queries @ keys.swapaxes(1, 2) / np.sqrt(4), is_word[:, None]

    def mix(mask, empty=-np.inf):
        return _softmax(np.where(mask, scores, empty)) @ values

    mistakes = {
        "the empty places still get weight: `is_word` is not used": _softmax(scores) @ values,
        "a score of 0 does not hide a place: exp(0) is 1, and the place still gets weight": mix(here, 0.0),
        "the weights of the words no longer add up to 1: the softmax has already counted the empty places": (
            _softmax(scores) * here @ values
        ),
        "it is the other way round: the *empty* places must get no weight": mix(~here, -1e9),
        "each caption has its own empty places; you used those of the first caption for all": mix(here[:1]),
        "a score that is a little smaller still has some weight: what you put there must be far below all scores": (
            _softmax(np.where(here, scores, scores - 1)) @ values
        ),
    }
    answer = run(cross_attention, queries, keys, values, is_word)
    otherwise = "an empty place must get the weight 0, and the words together the weight 1"
    compare(answer, mix(here), mistakes, otherwise, what="the mixed values")


@check_cross_attention.property("large scores do not overflow, also that of an empty place")
def _(cross_attention, rng):
    keys = 60.0 * np.eye(4, dtype=np.float32)[None]  # the word that fits has a score of 1,800, the others 0
    order = rng.permutation(4)
    values = rng.standard_normal((1, 4, 2), np.float32)
    answer = as_numbers(
        run(cross_attention, keys[:, order], keys, values, np.ones((1, 4), bool)), (1, 4, 2), "the result"
    )
    require(
        close(answer, values[:, order]),
        "a query that fits one key far better than the others must get (nearly) the value of that word alone",
    )
    answer = run(cross_attention, keys[:, 3:], keys, values, np.array([[True, True, True, False]]))
    answer = as_numbers(answer, None, "the result where an empty place has by far the largest score")
    require(
        close(answer, values[:, :3].mean(axis=1, keepdims=True)),
        "an empty place with a large score must not change the mixture of the words: hide it *before* the softmax",
    )


@check_cross_attention.property("a caption without any word gives finite numbers")
def _(cross_attention, rng):
    queries, keys, values = _attention_task(rng)
    what = "the result for a caption without any word"
    as_numbers(run(cross_attention, queries, keys, values, np.zeros((2, 3), bool)), (2, 5, 6), what)


def drawing_task(rng):
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
    network, x, time, tokens = drawing_task(rng)

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
    network, x, time, tokens = drawing_task(rng)
    answer = as_numbers(run(guided, network, x, time, tokens, 0.0), x.shape, "the guided answer")
    require(
        close(answer, network([x, time, tokens])),
        "with w = 0 the answer with caption must come back unchanged",
    )


def _encoded(encode, scenes):
    """The student's tokens for scenes, (N, LENGTH) integers."""
    tokens = as_numbers(run(encode, scenes), (len(scenes), LENGTH), "the array of tokens")
    require(np.array_equal(tokens, np.round(tokens)), "tokens must be whole numbers")
    return tokens.astype(np.int64)


def _all_scenes():
    """Every scene, and whether training may show it."""
    scenes = caption_data.all_scenes()
    return scenes, ~caption_data.has_unseen_pair(scenes) & ~caption_data.has_unseen_order(scenes)


def _words_of_pairs(scenes, tokens):
    """For each pair of a scene: (number of the scene, number of the pair, its two tokens), one row each."""
    words = caption_data.tokenize(caption_data.sentences(scenes))
    colours, digits = (np.isin(words, [caption_data.NUMBERS[word] for word in group]) for group in WORDS_OF_PAIRS)
    first, second = (10 * scenes[:, i] + scenes[:, i + 1] for i in (0, 3))
    pairs = np.stack([first, second], axis=1)[np.stack([first >= 0, scenes[:, 2] != ALONE], axis=1)]
    return np.column_stack([np.nonzero(colours)[0], pairs, tokens[colours], tokens[digits]])


def _name(pair):
    return f"'{list(caption_data.COLOURS)[pair // 10]} {caption_data.DIGITS[pair % 10]}'"


WORDS_OF_PAIRS = (tuple(caption_data.COLOURS), caption_data.DIGITS)


@check_encode_for_falsifier.property("the sentence stays: only words of colours and digits are replaced")
def _(encode, rng):
    scenes, _ = _all_scenes()
    scenes = rng.permutation(scenes)[:500]
    tokens, words = _encoded(encode, scenes), caption_data.tokenize(caption_data.sentences(scenes))
    empty = words == NO_WORD
    require((tokens[empty] == NO_WORD).all(), "a place without a word must keep caption_data.NO_WORD, −1")
    require((tokens[~empty] >= 0).all(), "each word needs a number of at least 0: −1 means that the place is empty")
    replaced = np.isin(words, [caption_data.NUMBERS[word] for group in WORDS_OF_PAIRS for word in group])
    wrong = (tokens != words) & ~replaced
    if wrong.any():
        row, place = np.argwhere(wrong)[0]
        word = VOCABULARY[words[row, place]]
        require(False, f"the word {word!r} at place {place} has another number: replace colours and digits only")


@check_encode_for_falsifier.property("no two scenes of the training have the same tokens")
def _(encode, rng):
    scenes, seen = _all_scenes()
    scenes = scenes[seen]
    _, first, where = np.unique(_encoded(encode, scenes), axis=0, return_index=True, return_inverse=True)
    first = first[where.ravel()]  # for each scene the first one that has the same tokens
    if (twice := np.flatnonzero(first != np.arange(len(scenes)))).size:
        one, other = caption_data.sentences(scenes[[first[twice[0]], twice[0]]])
        require(False, f"{one!r} and {other!r} have the same tokens: nothing could draw them differently")


@check_encode_for_falsifier.property("a pair has the same words at both places, whatever else the caption says")
def _(encode, rng):
    scenes = rng.permutation(_all_scenes()[0])[:3000]
    tokens = _encoded(encode, scenes)
    require(
        np.array_equal(_encoded(encode, scenes[5:10]), tokens[5:10]),
        "the tokens of a scene depend on which other scenes are in the array: number the pairs, not the rows",
    )
    rows = _words_of_pairs(scenes, tokens)
    for pair in range(caption_data.PAIRS):
        ways = np.unique(rows[rows[:, 1] == pair, 2:], axis=0)
        require(
            len(ways) == 1,
            f"{_name(pair)} has {len(ways)} different encodings: its words may depend on this pair only "
            "(not on the place, the other pair or the row). Have two pairs changed places?",
        )


@check_encode_for_falsifier.property("two pairs share no word, and the words of unseen pairs never occur in training")
def _(encode, rng):
    scenes, seen = _all_scenes()
    tokens = _encoded(encode, scenes)
    rows, owner = _words_of_pairs(scenes, tokens), {}
    for pair in range(caption_data.PAIRS):
        for word in np.unique(rows[rows[:, 1] == pair, 2:]):
            other = owner.setdefault(word, pair)
            require(
                other == pair,
                f"{_name(other)} and {_name(pair)} share the word {word}: a network can learn it from one pair and use "
                "it for the other",
            )
    known = set(np.unique(tokens[seen]).tolist())
    for word, pair in owner.items():
        colour, digit = divmod(pair, 10)
        require(
            not (caption_data.unseen_pair(colour, digit) and word in known),
            f"the word {word} of {_name(pair)} also occurs in captions of the training: does it stand for a word "
            "such as 'a' or 'of'? Begin after the last word of the vocabulary",
        )
