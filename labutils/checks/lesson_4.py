"""Checks of lesson 4: loss and training step, the image that predicted noise implies, the causes of six runs."""

import keras
import numpy as np
from keras import ops

from labutils.checks.feedback import Check, CheckFailed, require, run
from labutils.checks.values import StubNetwork, as_numbers, compare
from labutils.schedule import linear_schedule
from labutils.training import draw_noise

check_noise_loss = Check(
    "4.1",
    "noise_loss",
    "``noise_loss(network, schedule, x0, t, noise)`` is the mean of (ε_θ(x_t, t/T) − ε)² (DDPM eq. 14).",
)
check_train_step = Check(
    "4.2",
    "train_step",
    "``train_step(network, optimizer, schedule, x0, t, noise)`` does one step and returns the loss before it.",
)


def _batch(rng):
    """A schedule, and x0, t, noise and x_t of a batch."""
    schedule = linear_schedule()
    # In [-0.5, 0.5]: with [-1, 1], mean(x_t²) is close to mean(∣ε∣), and two mistakes cannot be told apart.
    x0 = rng.uniform(-0.5, 0.5, (64, 8, 8, 1)).astype(np.float32)
    t, noise = draw_noise(x0, schedule.T, rng)
    return schedule, x0, t, noise, ops.convert_to_numpy(schedule.add_noise(x0, t, noise))


def _network(answer, x0, look=None):
    return StubNetwork(answer, [(None, *x0.shape[1:]), (None, 1)], look)


@check_noise_loss.property("the network gets x_t and t/T")
def _(noise_loss, rng):
    schedule, x0, t, noise, xt = _batch(rng)
    seen = {}

    def look(xt, time):
        seen["x"] = as_numbers(xt, x0.shape, "what the network gets as image")
        seen["time"] = as_numbers(time, what="what the network gets as time")

    spy = _network(lambda xt, time: ops.zeros_like(xt), x0, look)
    as_numbers(run(noise_loss, spy, schedule, x0, t, noise), None, "the loss", ())
    require(seen, "the network is never called")
    mistakes = {
        "the network gets the clean image x_0: it must see x_t = add_noise(x_0, t, ε)": x0,
        "the network gets pure noise: it must see x_t = add_noise(x_0, t, ε)": noise,
    }
    compare(seen["x"], xt, mistakes, "the network should get x_t = schedule.add_noise(x0, t, noise)")
    time = seen["time"]
    require(
        np.max(np.abs(time)) <= 1 or not np.allclose(time.ravel(), t),
        "the network gets t itself: it was built for t/T, a number in [0, 1)",
    )
    require(
        time.size == len(t) and np.allclose(time.ravel(), t / schedule.T, atol=1e-4),
        "the time should be t/T for each image",
    )
    require(
        time.shape == (len(t), 1),
        f"the time should be a column {(len(t), 1)}, got {time.shape}: labutils.networks.network_time(t, T) makes it",
    )


@check_noise_loss.property("a network that predicts 0 has the loss mean(ε²)")
def _(noise_loss, rng):
    schedule, x0, t, noise, xt = _batch(rng)
    zero = _network(lambda xt, time: ops.zeros_like(xt), x0)
    answer = as_numbers(run(noise_loss, zero, schedule, x0, t, noise), None, "the loss", ())
    squares = noise.astype(np.float64) ** 2
    mistakes = {
        "the target is the clean image; the network should predict the noise": np.mean(x0.astype(np.float64) ** 2),
        "the target is x_t; the network should predict the noise": np.mean(xt.astype(np.float64) ** 2),
        "you added the squares up; take their mean, so that the loss does not depend on the image size": squares.sum(),
        "you added the squares of each image up; take the mean over pixels too": squares.sum(axis=(1, 2, 3)).mean(),
        "you took the absolute error; the loss is the squared one": np.mean(np.abs(noise)),
        "you took the root of the mean square; remove the root": np.sqrt(squares.mean()),
        "you returned one loss per image; the loss of a batch is one number": squares.mean(axis=(1, 2, 3)),
        "you returned one loss per pixel; the loss of a batch is one number": squares.mean(axis=-1),
        "you returned the squares; the loss of a batch is one number, their mean": squares,
    }
    compare(answer, squares.mean(), mistakes, f"a network that predicts 0 has the loss mean(ε²) ≈ 1, yours is {answer}")


@check_noise_loss.property("a network that predicts ε has the loss 0", alone=False)
def _(noise_loss, rng):
    schedule, x0, t, noise, _ = _batch(rng)
    perfect = _network(lambda xt, time: ops.convert_to_tensor(noise.copy()), x0)
    loss = as_numbers(run(noise_loss, perfect, schedule, x0, t, noise), (), "the loss")
    require(abs(loss) < 1e-6, f"a network that predicts the noise exactly has loss 0, yours gives {loss}")


class OneNumber(keras.Model):
    """A network with one weight, ε_θ = w · x_t: so small that its gradient can be computed by hand."""

    def __init__(self):
        super().__init__()
        self.w = self.add_weight(shape=(), initializer=keras.initializers.Constant(0.25), name="w")

    def call(self, inputs):
        """Multiply the noisy image by the weight; the time is ignored."""
        return self.w * ops.convert_to_tensor(inputs[0])


RATE = 0.1  # of the plain gradient descent in these checks


def _one_step(train_step, rng):
    """Let the student's function do one step: (returned loss, weight after, x_t and ε, the rest of the call)."""
    schedule, x0, t, noise, xt = _batch(rng)
    network, optimizer = OneNumber(), keras.optimizers.SGD(RATE)
    network([x0, t.reshape(-1, 1) / schedule.T])
    call = (network, optimizer, schedule, x0, t, noise)
    loss = as_numbers(run(train_step, *call), None, "the loss", ())
    require(loss.shape == (), f"train_step should return the loss, one number, got shape {loss.shape}")
    return loss, float(ops.convert_to_numpy(network.w)), xt.astype(np.float64), call


def _loss(w, xt, noise):
    return np.mean((w * xt - noise) ** 2)


@check_train_step.property("the weights take one gradient step downhill")
def _(train_step, rng):
    _, w, xt, (*_, noise) = _one_step(train_step, rng)
    slope, moved = np.mean(2 * (0.25 * xt - noise) * xt), 0.25 - w  # d loss / d w
    require(
        abs(moved) > 1e-6,
        "the weights did not change: apply the gradients with optimizer.apply_gradients(zip("
        "gradients, network.trainable_variables))",
    )
    require(moved * slope > 0, "the weights moved uphill: the gradients should be applied as they are, not negated")
    require(
        abs(moved / (RATE * slope) - 1) < 1e-2,
        f"the step is {moved / (RATE * slope):.2f} times as long as one "
        "gradient step: apply the gradient of the mean squared error once",
    )


@check_train_step.property("it returns the loss before the step")
def _(train_step, rng):
    loss, w, xt, (*_, noise) = _one_step(train_step, rng)
    before, after = _loss(0.25, xt, noise), _loss(w, xt, noise)
    right = np.isclose(loss, before, rtol=1e-3)
    require(
        right or not np.isclose(loss, after, rtol=1e-4),
        "you return the loss after the step; return the loss from which you computed the gradient",
    )
    require(right, f"the returned loss should be {before:.4f} here, yours is {loss:.4f}")


@check_train_step.property("step after step the loss falls")
def _(train_step, rng):
    _, _, xt, call = _one_step(train_step, rng)
    for _ in range(30):
        run(train_step, *call)
    network, noise = call[0], call[-1]
    after = _loss(float(ops.convert_to_numpy(network.w)), xt, noise)
    require(
        after < _loss(0.25, xt, noise), "31 steps on the same batch should make the loss smaller, yours did not fall"
    )


check_predict_x0 = Check(
    "4.3",
    "predict_x0",
    "``predict_x0(xt, predicted_noise, alpha_bar)`` is the clean image that the predicted noise implies.",
)


def _implied(predict_x0, alpha_bar, noise, x0):
    """Judge the answer for x_t made from x0 and noise; a network that predicts this noise is right."""
    signal, level = np.float32(np.sqrt(alpha_bar)), np.float32(np.sqrt(1 - alpha_bar))
    xt = signal * x0 + level * noise
    mistakes = {
        "the image is still faded: after the noise is taken away, √ᾱ · x_0 is left, not x_0": xt - level * noise,
        "you divide by ᾱ; x_t holds the image times the root of ᾱ": (xt - level * noise) / alpha_bar,
        "you multiply by √ᾱ, which fades the image once more; undo the fading": (xt - level * noise) * signal,
        "x_t holds √(1 − ᾱ) times the noise: the root is missing": (xt - (1 - alpha_bar) * noise) / signal,
        "x_t holds only a part of the noise: scale it before you take it away": (xt - noise) / signal,
        "the two roots are swapped: √ᾱ belongs to the image, √(1 − ᾱ) to the noise": (xt - signal * noise) / level,
        "the noise is added once more; it should be taken away": (xt + level * noise) / signal,
        "you returned x_t as it came": xt,
        "you returned the noise": noise,
        "you clipped the result: keep what lies outside of [-1, 1], it shows how wrong a network can be": np.clip(
            x0, -1, 1
        ),
    }
    otherwise = "that is not the image in x_t: write x_t as image part plus noise part, and solve for the image"
    compare(run(predict_x0, xt, noise, alpha_bar), x0, mistakes, otherwise, what="the predicted image")


@check_predict_x0.property("a network that is right about the noise gives back the clean image")
def _(predict_x0, rng):
    x0, noise = rng.uniform(-1, 1, (2, 4, 5, 5, 1)).astype(np.float32)
    _implied(predict_x0, float(rng.uniform(0.6, 0.8)), noise, x0)


@check_predict_x0.property("also where little of the image is left")
def _(predict_x0, rng):
    x0, noise = rng.uniform(-1, 1, (2, 4, 5, 5, 1)).astype(np.float32)
    _implied(predict_x0, float(rng.uniform(0.02, 0.1)), noise, x0)


@check_predict_x0.property("values outside of [-1, 1] are kept")
def _(predict_x0, rng):
    x0, noise = rng.uniform(-3, 3, (2, 4, 5, 5, 1)).astype(np.float32)
    _implied(predict_x0, float(rng.uniform(0.2, 0.4)), noise, x0)


check_diagnosis = Check("4.5", "diagnosis", "``diagnosis()`` is a dict: the word of a cause for each letter A … F.")
CAUSES = {"A": "range", "B": "slow", "C": "relu", "D": "good", "E": "schedule", "F": "fast"}  # of the runs of 4.7
QUESTIONS = {
    "A": "compare its own loss with its error in use: do both say the same?",
    "B": "how far does its loss fall in all its steps?",
    "C": "which noise can it never predict, however long it trains?",
    "D": "which runs are low in both columns?",
    "E": "did this network fail, or was its task harder?",
    "F": "what does the column of the largest loss say?",
}


@check_diagnosis.property("each letter has one of the six words, and each word one letter")
def _(diagnosis, rng):
    _words(diagnosis)


@check_diagnosis.property("each cause fits what its run shows")
def _(diagnosis, rng):
    words = _words(diagnosis)
    wrong = [letter for letter in CAUSES if words[letter] != CAUSES[letter]]
    if wrong:
        found = f"{len(CAUSES) - len(wrong)} of {len(CAUSES)} letters are right; look again at one of the others"
        raise CheckFailed(f"{found}, run {wrong[0]}: {QUESTIONS[wrong[0]]}")


def _words(diagnosis):
    """The student's words by letter, once each of CAUSES has one of its own."""
    answer = run(diagnosis)
    require(answer is not None, "the result is None: is the `return` missing?")
    try:
        pairs = list(dict(answer).items())
    except (TypeError, ValueError) as error:
        raise CheckFailed('return a dict with a word for each letter, such as {"A": "good", …}') from error
    require(
        all(isinstance(text, str) for pair in pairs for text in pair),
        "letters and words should be texts between quotes",
    )
    words = {letter.strip().upper(): word.strip().lower() for letter, word in pairs}
    missing = [letter for letter in CAUSES if not words.get(letter)]
    require(not missing, f"there is no word for {', '.join(missing)}")
    unknown = [letter for letter in CAUSES if words[letter] not in CAUSES.values()]
    require(not unknown, f"the word for {', '.join(unknown)} is none of {', '.join(sorted(CAUSES.values()))}")
    twice = sorted({word for word in CAUSES.values() if [words[letter] for letter in CAUSES].count(word) > 1})
    require(not twice, f"{', '.join(twice)}: each word belongs to one letter only")
    return words


check_relu_floor = Check(
    "4.6",
    "relu_floor",
    "``relu_floor(noise)`` is the smallest loss of a network whose output is at least 0: E[ε²; ε < 0].",
)


def _floor(relu_floor, noise):
    low, high = np.minimum(noise, 0).astype(np.float64), np.maximum(noise, 0).astype(np.float64)
    floor = np.mean(low**2)
    mistakes = {
        "you averaged over the negative values only; the others count too, with the error 0": np.mean(
            noise[noise < 0] ** 2
        ),
        "that is the loss of the answer 0 everywhere; this network is right wherever the noise is positive": np.mean(
            noise.astype(np.float64) ** 2
        ),
        "you took the values that a ReLU can answer exactly; the others make the error": np.mean(high**2),
        "you took the absolute error; the loss is the squared one": np.mean(-low),
        "a loss is never negative: square the error": np.mean(low),
        "you added the squares up; the loss is their mean": np.sum(low**2),
        "you took the root of the mean square; the loss has no root": np.sqrt(floor),
        "that is the error of the answer ∣ε∣; where the noise is negative, the best answer of a ReLU is 0": 4 * floor,
        "you returned the squares; the loss is one number, their mean": low**2,
        "no network with a ReLU at its end has the loss 0: which values can it not answer?": 0.0,
    }
    otherwise = f"the smallest loss for this noise is {floor:.3f}: what is the best answer where the noise is negative?"
    return compare(run(relu_floor, noise), floor, mistakes, otherwise, tolerance=0.02, what="the smallest loss")


@check_relu_floor.property("the best answer is exact where the noise is positive, and 0 where it is negative")
def _(relu_floor, rng):
    _floor(relu_floor, (rng.standard_normal((64, 8, 8, 1)) + 0.5).astype(np.float32))


@check_relu_floor.property("for the noise of the forward process the floor is about 0.5", alone=False)
def _(relu_floor, rng):
    _floor(relu_floor, rng.standard_normal((64, 8, 8, 1)).astype(np.float32))
