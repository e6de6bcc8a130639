"""The object: a network, its schedule, its prediction and its guidance; one loss."""

import keras
import numpy as np
import pytest

from labutils import networks, sampling, training
from labutils.diffusion import Diffusion, guided
from labutils.schedule import PREDICTIONS, cosine_schedule, linear_schedule

S = linear_schedule()
RNG = np.random.default_rng(0)


def zero(inputs):
    return np.zeros(inputs[0].shape, np.float32)


def test_predicting_nothing_has_loss_one():
    x0, noise = RNG.uniform(-1, 1, (500, 8, 8, 1)).astype("float32"), RNG.standard_normal((500, 8, 8, 1), np.float32)
    t = RNG.integers(0, S.T, 500)
    assert abs(float(Diffusion(zero, S).loss(x0, t, noise)) - 1) < 0.02
    assert float(Diffusion(lambda inputs: noise, S).loss(x0, t, noise)) == 0
    assert float(Diffusion(zero, S, "x0").loss(x0, t, noise)) == pytest.approx(np.mean(x0**2), rel=1e-4)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_perfect_network_is_right_about_image_and_noise(prediction):
    x0, noise = RNG.standard_normal((2, 1000, 2, 2, 1)).astype("float32")
    t = np.arange(1000)
    xt, output = S.add_noise(x0, t, noise), S.target(x0, t, noise, prediction)
    diffusion = Diffusion(lambda inputs: output, S, prediction)
    assert float(diffusion.loss(x0, t, noise)) < 1e-6
    assert np.allclose(diffusion.predict_x0(xt, t), x0, atol=2e-3)
    late = t > 20  # where the noise is faint, a rounding of x̂_0 is a large part of it
    assert np.allclose(np.asarray(diffusion.predict_noise(xt, t))[late], noise[late], atol=2e-2)


def test_v_has_the_variance_of_the_data_and_of_the_noise():
    x0, noise = RNG.standard_normal((2, 1000, 4, 4, 1)).astype("float32")
    assert abs(np.var(S.target(x0, np.arange(1000), noise, "v")) - 1) < 0.05


def test_the_velocity_is_that_of_the_straight_path():
    """x_t is the point x_τ of the straight path but for a factor, and the step back from it leads to x_0."""
    x0, noise = RNG.standard_normal((2, 3, 4, 4, 1)).astype("float32")
    t = np.array([10, 400, 990])
    tau = 1 / (1 + np.sqrt(S.snr[t])).reshape(-1, 1, 1, 1)
    straight = (1 - tau) * x0 + tau * noise
    signal, sigma = S.scales(t, 4)
    assert np.allclose(S.add_noise(x0, t, noise) / (signal + sigma), straight, atol=1e-5)
    u = S.target(x0, t, noise, "velocity")
    assert np.allclose(straight - tau * u, x0, atol=1e-5)


@pytest.mark.parametrize("s", [S, cosine_schedule()], ids=repr)
def test_steps_of_tau(s):
    """Equal SNR; the ends belong together."""
    assert s.t_of(1.0) == s.T - 1 and s.t_of(0.0) == 0
    taus = np.linspace(0.05, 0.95, 7).reshape(7, 1)
    t = s.t_of(taus)
    assert t.shape == (7, 1) and np.allclose(np.sqrt(s.snr[t]), (1 - taus) / taus, rtol=0.03)
    with pytest.raises(ValueError, match=r"tau must lie in \[0, 1\]"):
        s.t_of([0.5, 1.5])


def test_bad_arguments():
    with pytest.raises(ValueError, match="unknown prediction 'score', known: noise, x0, v, velocity"):
        Diffusion(zero, S, "score")
    for bad in (-1, float("nan")):
        with pytest.raises(ValueError, match="guidance must be at least 0"):
            Diffusion(zero, S).with_guidance(bad)


def test_a_condition_is_given_where_it_is_needed_and_only_there():
    """Without a label a conditional network would silently draw class 0."""
    keras.utils.set_random_seed(0)
    start, options = np.zeros((2, 8, 8, 1), np.float32), {"steps": 2, "progress": False}
    conditional = Diffusion(networks.build("fast_conditional", (8, 8, 1)), S)
    unconditional = Diffusion(networks.build("fast", (8, 8, 1)), S)
    for call in (
        lambda: sampling.trajectory(conditional, start),
        lambda: sampling.sample(conditional, 2, **options),
        lambda: sampling.sample(conditional, 2, condition=[1], **options),
        lambda: sampling.sample(unconditional, 2, condition=[1, 2], **options),
        lambda: next(sampling.Sampler(conditional).run(start)),
    ):
        with pytest.raises(ValueError, match="one condition for each of the 2 images, another network none"):
            call()
    with pytest.raises(ValueError, match=r"condition must lie in -1 … 9, .* got 3 … 10"):
        sampling.sample(conditional, 2, condition=[3, 10], **options)
    with pytest.raises(ValueError, match="condition must be integers, got float64"):
        sampling.sample(conditional, 2, condition=[0.5, 1], **options)
    assert conditional.shape == unconditional.shape == (8, 8, 1)


def test_guidance_extrapolates():
    def network(inputs):
        return inputs[0] * 0 + np.reshape(inputs[2], (-1, 1)).astype("float32")

    x, time, labels = np.zeros((2, 1), np.float32), np.zeros((2, 1), np.float32), np.array([3, 5])
    assert np.allclose(guided(network, x, time, labels, 0), [[3], [5]])
    assert np.allclose(guided(network, x, time, labels, 2.0), [[3 * 3 + 2], [3 * 5 + 2]])  # without: NO_LABEL = -1


def test_the_noise_loss_by_step():
    keras.utils.set_random_seed(0)
    diffusion, x = Diffusion(networks.build("classic", (8, 8, 1)), S), RNG.uniform(-1, 1, (40, 8, 8, 1))
    whole = training.noise_prediction_loss(diffusion, x, t=(0, 1000))
    assert whole == training.noise_prediction_loss(diffusion, x)
    by_step = (training.noise_prediction_loss(diffusion, x, t=t) for t in (5, (5, 6)))
    assert len(set(by_step)) == 1
    with pytest.raises(ValueError, match="t must lie in"):
        training.noise_prediction_loss(diffusion, x, t=(0, 1001))
    for bad in ({"t": (5, 5)}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="first < end"):
            training.noise_prediction_loss(diffusion, x, **bad)
