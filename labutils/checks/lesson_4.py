"""Checks of lesson 4: the loss, and one training step."""

import keras
import numpy as np
from keras import ops

from labutils.checks.feedback import Check, require, run
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
