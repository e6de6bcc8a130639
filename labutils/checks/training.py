"""Checks of lesson 4: the loss, and one training step."""

import keras
import numpy as np
from keras import ops

from labutils.checks.feedback import CheckFailed, StandIn, as_numbers, compare, passed, require, run
from labutils.schedule import linear_schedule
from labutils.training import draw_noise


def _batch(schedule, size=64):
    rng = np.random.default_rng(1)
    x0 = rng.uniform(-1, 1, (size, 8, 8, 1)).astype(np.float32)
    (x0, t, noise), _ = draw_noise(x0, schedule.T, rng)
    return x0, t, noise


def check_noise_loss(noise_loss):
    """``noise_loss(network, schedule, x0, t, noise)`` is the mean of (ε_θ(x_t, t/T) − ε)² (DDPM eq. 14)."""
    schedule = linear_schedule()
    x0, t, noise = _batch(schedule)
    xt = ops.convert_to_numpy(schedule.add_noise(x0, t, noise))
    seen = {}

    spy = StandIn(lambda xt, time: ops.zeros_like(xt), look=lambda xt, time: seen.update(x=xt, time=time))
    answer = as_numbers(run(noise_loss, spy, schedule, x0, t, noise), what="the loss")
    require(seen, "the network is never called")
    image = as_numbers(seen.get("x"), x0.shape, "what the network gets as image")
    mistakes = {
        "the network gets the clean image x_0: it must see x_t = add_noise(x_0, t, ε)": x0,
        "the network gets pure noise: it must see x_t = add_noise(x_0, t, ε)": noise,
    }
    compare(image, xt, mistakes, "the network should get x_t = schedule.add_noise(x0, t, noise)")
    time = as_numbers(seen.get("time"), what="what the network gets as time")
    require(np.max(np.abs(time)) <= 1 or not np.allclose(time.ravel(), t), "the network gets t itself: it was built "
            "for t/T, a number in [0, 1)")  # fmt: skip
    require(time.size == len(t) and np.allclose(time.ravel(), t / schedule.T, atol=1e-4), "the time should be t/T for "
            "each image")  # fmt: skip
    require(time.shape == (len(t), 1), f"the time should be a column {(len(t), 1)}, got {time.shape}: "
            "labutils.training.network_time(t, T) makes it")  # fmt: skip

    squares = noise.astype(np.float64) ** 2
    mistakes = {
        "the target is the clean image; the network shall predict the noise": np.mean(x0.astype(np.float64) ** 2),
        "the target is x_t; the network shall predict the noise": np.mean(xt.astype(np.float64) ** 2),
        "you added the squares up; take their mean, so that the loss does not depend on batch and image size":
            squares.sum(),
        "you added the squares of each image up; take the mean over pixels too": squares.sum(axis=(1, 2, 3)).mean(),
        "you took the absolute error; the loss is the squared one": np.mean(np.abs(noise)),
        "you took the root of the mean square; leave the root away": np.sqrt(squares.mean()),
        "you returned one loss per image; the loss of a batch is one number": squares.mean(axis=(1, 2, 3)),
        "you returned one loss per pixel; the loss of a batch is one number": squares.mean(axis=-1),
        "you returned the squares; the loss of a batch is one number, their mean": squares,
    }  # fmt: skip
    compare(answer, squares.mean(), mistakes, f"a network that predicts 0 has the loss mean(ε²) ≈ 1, yours is {answer}")
    perfect = StandIn(lambda xt, time: ops.convert_to_tensor(noise))
    perfect = as_numbers(run(noise_loss, perfect, schedule, x0, t, noise), what="the loss")
    require(abs(perfect) < 1e-6, f"a network that predicts the noise exactly has loss 0, yours gives {perfect}")
    passed("noise_loss")


class OneNumber(keras.Model):
    """A network with one weight, ε_θ = w · x_t: small enough to know its gradient by hand."""

    def __init__(self):
        super().__init__()
        self.w = self.add_weight(shape=(), initializer=keras.initializers.Constant(0.25), name="w")

    def call(self, inputs):
        """Multiply the noisy image by the weight; the time is ignored."""
        return self.w * ops.convert_to_tensor(inputs[0])


def check_train_step(train_step):
    """``train_step(network, optimizer, schedule, x0, t, noise)`` does one step and returns the loss before it."""
    schedule = linear_schedule()
    x0, t, noise = _batch(schedule)
    xt = ops.convert_to_numpy(schedule.add_noise(x0, t, noise)).astype(np.float64)
    network, rate = OneNumber(), 0.1
    network([x0, t.reshape(-1, 1) / schedule.T])
    before = np.mean((0.25 * xt - noise) ** 2)
    slope = np.mean(2 * (0.25 * xt - noise) * xt)  # d loss / d w

    optimizer = keras.optimizers.SGD(rate)
    loss = as_numbers(run(train_step, network, optimizer, schedule, x0, t, noise), what="the returned loss")
    w = float(ops.convert_to_numpy(network.w))
    require(loss.shape == (), f"train_step should return the loss, one number, got shape {loss.shape}")
    moved = 0.25 - w
    require(abs(moved) > 1e-6, "the weights did not change: apply the gradients with optimizer.apply_gradients(zip("
            "gradients, network.trainable_variables))")  # fmt: skip
    require(moved * slope > 0, "the weights moved uphill: the gradients should be applied as they are, not negated")
    require(abs(moved / (rate * slope) - 1) < 1e-2, f"the step is {moved / (rate * slope):.2f} times as long as one "
            "gradient step: apply the gradient of the mean squared error once")  # fmt: skip
    after = np.mean((w * xt - noise) ** 2)
    require(not np.isclose(loss, after, rtol=1e-4), "you return the loss after the step; return the one that the "
            "gradient was taken of")  # fmt: skip
    require(np.isclose(loss, before, rtol=1e-3), f"the returned loss should be {before:.4f} here, yours is {loss:.4f}")
    for _ in range(30):
        last = run(train_step, network, optimizer, schedule, x0, t, noise)
    if not float(last) < before:
        raise CheckFailed("31 steps on the same batch should make the loss smaller, yours did not fall")
    passed("train_step")
