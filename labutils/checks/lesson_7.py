"""Checks of lesson 7: two filters for one, folding an image, how much an error of x̂_0 counts, and autoguidance."""

import numpy as np

from labutils.checks.feedback import Check, in_student_process, require, run
from labutils.checks.values import StubNetwork, as_array, as_numbers, close, compare

check_split_taps = Check(
    "7.1",
    "split_taps",
    "``split_taps(w)``: two filters of two taps, (2, 2), that do over values what ``w`` (3,) does over doubled ones.",
)
check_space_to_depth = Check(
    "7.2",
    "space_to_depth",
    "``space_to_depth(x)``: (B, H, W, C) → (B, H/2, W/2, 4C), each 2×2 block becomes one pixel; any channel order.",
)
check_loss_weight = Check(
    "7.3",
    "loss_weight",
    "``loss_weight(implied, alpha_bar)``: the squared error of a network's answer for one unit of that of its x̂_0.",
)

check_autoguided = Check(
    "7.5",
    "autoguided",
    "``autoguided(strong, weak, x, time, w)``: x̂_0 of the strong network, moved away from that of the weak one.",
)


@check_split_taps.property("the two filters do what w does")
def _(split_taps, rng):
    _judge_taps(split_taps, rng.uniform(1, 9, 3).round(1))


@check_split_taps.property("weights may be negative")
def _(split_taps, rng):
    _judge_taps(split_taps, rng.uniform(1, 9, 3).round(1) * (1, -1, 1))


def _judge_taps(split_taps, w):
    even, odd = [w[0], w[1] + w[2]], [w[0] + w[1], w[2]]
    means = [[w[0], (w[1] + w[2]) / 2], [(w[0] + w[1]) / 2, w[2]]]
    mistakes = {
        "the rows are swapped: the first is for even positions, where only the left tap reaches the value before": [
            odd,
            even,
        ],
        "two of the three taps fall on the same value, so their weights must be added": [w[:2], w[1:]],
        "the two taps on the same value are averaged; they must be added, because the value is used twice": means,
        "both rows are mirrored: w[0] belongs to the value on the left": [even[::-1], odd[::-1]],
    }
    otherwise = (
        "the two filters do not give what w gives over doubled values: write down three neighbouring doubled values, "
        "and which tap meets which"
    )
    compare(run(split_taps, w), [even, odd], mistakes, otherwise, what="the array of two filters")


B, H, W, C = 2, 4, 6, 3
FOLDED = (B, H // 2, W // 2, 4 * C)


def _fold(space_to_depth, rng, shape=FOLDED):
    """Images in which every value occurs once, and the student's answer; its shape may be any if ``shape`` is None."""
    x = rng.permutation(np.arange(B * H * W * C, dtype=np.float32)).reshape(B, H, W, C)
    return x, as_numbers(run(space_to_depth, x), shape, "the folded image", FOLDED)


@check_space_to_depth.property("(B, H, W, C) becomes (B, H/2, W/2, 4C)")
def _(space_to_depth, rng):
    _, answer = _fold(space_to_depth, rng, shape=None)
    require(
        answer.shape != (B, H // 2, W // 2, C),
        "the channels should grow from C to 4C: four pixels go into one, and none is averaged or thrown away",
    )
    require(answer.shape != (B, 4 * C, H // 2, W // 2), "the channels should come last: (B, H/2, W/2, 4C)")
    as_numbers(answer, FOLDED)


@check_space_to_depth.property("nothing is lost and nothing is new", alone=False)
def _(space_to_depth, rng):
    x, answer = _fold(space_to_depth, rng, shape=None)
    once = np.array_equal(np.sort(answer, axis=None), np.sort(x, axis=None))
    require(once, "every value should appear exactly once: nothing is lost and nothing is new")


@check_space_to_depth.property("the four pixels of one block come together")
def _(space_to_depth, rng):
    x, answer = _fold(space_to_depth, rng)
    blocks = x.reshape(B, H // 2, 2, W // 2, 2, C).transpose(0, 1, 3, 2, 4, 5).reshape(FOLDED)
    require(
        not np.array_equal(answer, x.reshape(FOLDED)),
        "a plain reshape cuts the rows of pixels into pieces; the four pixels of one 2×2 block must come together",
    )
    require(
        np.array_equal(np.sort(answer, axis=-1), np.sort(blocks, axis=-1)),
        "some pixel holds values from outside its own 2×2 block: split H into (H/2, 2) and W into (W/2, 2), "
        "then bring the two 2s to the end",
    )


def _noise(x0, xt, alpha_bar):
    return (xt - np.sqrt(alpha_bar) * x0) / np.sqrt(1 - alpha_bar)


def _v(x0, xt, alpha_bar):
    return np.sqrt(alpha_bar) * _noise(x0, xt, alpha_bar) - np.sqrt(1 - alpha_bar) * x0


HIGH, LOW = 0.8, 0.1  # ᾱ
CASES = {  # what a network predicts: (its answer for the image x0 at x_t, ᾱ, the weight)
    "x_0": (lambda x0, xt, alpha_bar: x0, 0.5, 1.0),
    "ε": (_noise, HIGH, HIGH / (1 - HIGH)),
    "ε, at much noise": (_noise, LOW, LOW / (1 - LOW)),
    "v": (_v, HIGH, 1 / (1 - HIGH)),
    "v, at much noise": (_v, LOW, 1 / (1 - LOW)),
    "2.3 x_0 + x_t": (lambda x0, xt, alpha_bar: 2.3 * x0 + xt, 0.4, 2.3**2),
}


def weights_of(loss_weight):
    """What the student's function returns for each of CASES, as a list."""
    return [run(loss_weight, implied, alpha_bar) for implied, alpha_bar, _ in CASES.values()]


@check_loss_weight.property("1 for a network that predicts x_0", alone=False)
def _(loss_weight, rng):
    _judge_weights(loss_weight, "x_0")


@check_loss_weight.property("SNR for a network that predicts ε")
def _(loss_weight, rng):
    _judge_weights(loss_weight, "ε")


@check_loss_weight.property("SNR + 1 for a network that predicts v")
def _(loss_weight, rng):
    _judge_weights(loss_weight, "v")


@check_loss_weight.property("right for a prediction that nobody has seen before")
def _(loss_weight, rng):
    _judge_weights(loss_weight, "2.3 x_0 + x_t")


def _judge_weights(loss_weight, prediction):
    answers = dict(zip(CASES, in_student_process(weights_of, loss_weight), strict=True))
    for what, (_, alpha_bar, weight) in CASES.items():
        if what.split(",")[0] != prediction:
            continue
        answer = as_numbers(answers[what], (), "the weight")
        mistakes = {
            "0: with the wrong image you also computed another x_t. The network got one, only its answer is wrong": 0,
            "the wrong way round: divide the error of the answer by the error of the image": 1 / weight,
            "a root: compare squared errors": np.sqrt(weight),
        }
        for sentence, wrong in mistakes.items():
            if weight != 1 or wrong == 0:
                require(abs(answer - wrong) > 0.02 * weight, f"for {what} you get {answer:.3g}, {sentence}")
        require(
            abs(answer - weight) <= 0.05 * weight,
            f"for a network that predicts {what}, at ᾱ = {alpha_bar:.2f}, you get {answer:.3g}; that is not the weight."
            " Compare the squared error of the answer, at one x_t, with the squared error of the image",
        )


class _TwoNetworks:
    """A strong and a weak network: answers truth + error, and truth + ratio · error."""

    def __init__(self, rng, ratio):
        shape = 3, 4, 4, 1
        self.x, self.truth, self.error = rng.standard_normal((3, *shape)).astype(np.float32)
        self.time = rng.uniform(0.1, 0.9, (3, 1)).astype(np.float32)
        self.strong_x0, self.weak_x0 = self.truth + self.error, self.truth + np.float32(ratio) * self.error
        self.calls = []
        self.strong, self.weak = self._network("strong", self.strong_x0), self._network("weak", self.weak_x0)

    def _network(self, name, answer):
        def look(x, time):
            shape = np.shape(as_array(x))
            require(
                shape == self.x.shape,
                f"the {name} network got x of shape {shape}; give it all images in one call, {self.x.shape}",
            )
            self.calls.append((name, as_array(x), as_array(time)))

        return StubNetwork(lambda x, time: answer, [(None, *answer.shape[1:]), (None, 1)], look)

    def asked(self, autoguided, w):
        """What the student's function returns, as an array; a wrong one is refused with its mistake."""
        difference = self.strong_x0 - self.weak_x0
        mistakes = {
            "you move towards the weak network: its errors are larger, so move away from it": self.strong_x0
            - w * difference,
            "that is a mean of both networks: the weak one makes it worse": (self.strong_x0 + w * self.weak_x0)
            / (1 + w),
            "the answer of the weak network is added; it should be subtracted": (1 + w) * self.strong_x0
            + w * self.weak_x0,
            "your way begins at the weak network: with w = 0 the strong network answers": self.weak_x0 + w * difference,
            "that is only the way, w times the difference: it should begin at the answer of the strong network": w
            * difference,
            "the weak network is subtracted, but the strong one is not made larger: where both agree, the answer "
            "should be theirs": self.strong_x0 - w * self.weak_x0,
        }
        if w:
            mistakes["w has no effect: that is the answer of the strong network"] = self.strong_x0
        found = run(autoguided, self.strong, self.weak, self.x, self.time, w)
        otherwise = "x̂_0 should lie on the line through both answers"
        numbers = as_numbers(found, like=difference.shape)
        if numbers.shape == difference.shape:
            way = numbers - self.strong_x0
            times = np.sum(way * difference) / np.sum(difference**2)
            if close(way, times * difference):
                otherwise = f"for w = {w:g} you go {times:.2g} times the difference on from the strong network's answer"
        compare(found, self.strong_x0 + w * difference, mistakes, otherwise)


@check_autoguided.property("with w = 0 the strong network answers")
def _(autoguided, rng):
    _TwoNetworks(rng, ratio=3.0).asked(autoguided, 0.0)


@check_autoguided.property("w times the difference, away from the weak network")
def _(autoguided, rng):
    for w in (0.5, 1.0, 2.5):
        _TwoNetworks(rng, ratio=2.2).asked(autoguided, w)


@check_autoguided.property("if the error of the weak network is three times as large, w = 1/2 takes the error away")
def _(autoguided, rng):
    two = _TwoNetworks(rng, ratio=3.0)
    two.asked(autoguided, 0.5)
    compare(run(autoguided, two.strong, two.weak, two.x, two.time, 0.5), two.truth, {}, "an error is left")


@check_autoguided.property("each network is called once, at this x and this time")
def _(autoguided, rng):
    two = _TwoNetworks(rng, ratio=2.0)
    run(autoguided, two.strong, two.weak, two.x, two.time, 1.0)
    called = sorted(name for name, _, _ in two.calls)
    require(
        called == ["strong", "weak"],
        f"you called: {', '.join(called) or 'no network'}. One call of each network is enough",
    )
    for name, x, time in two.calls:
        here = close(x, two.x) and np.size(time) == len(two.time) and close(np.reshape(time, (-1, 1)), two.time)
        require(here, f"the {name} network gets another x or time: both networks look at the same noisy image")
