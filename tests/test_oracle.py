"""The maths compared with Hugging Face diffusers, an independent implementation; skipped if it is not installed."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import reason

from labutils import samplers, sampling
from labutils.schedule import cosine_schedule, linear_schedule

pytest.importorskip("torch", reason=reason("requirements-oracle.txt"))
diffusers = pytest.importorskip("diffusers", reason=reason("requirements-oracle.txt"))
import torch  # noqa: E402

pytestmark = pytest.mark.slow

TOLERANCE = 5e-3  # of a state after several steps: the oracle's tables are in float32, ours in float64
OURS = {"linear": linear_schedule(), "squaredcos_cap_v2": cosine_schedule()}


def oracle(name):
    return diffusers.DDPMScheduler(
        num_train_timesteps=1000, beta_schedule=name, variance_type="fixed_small", clip_sample=False
    )


@pytest.mark.parametrize("name", OURS)
def test_tables(name):
    theirs, ours = oracle(name), OURS[name]
    assert np.allclose(theirs.betas.numpy(), ours.betas, rtol=1e-4, atol=1e-7)
    assert np.allclose(theirs.alphas_cumprod.numpy(), ours.alpha_bars, rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize("name", OURS)
def test_add_noise_for_all_t(name):
    rng = np.random.default_rng(0)
    x0, noise = rng.standard_normal((2, 1000, 3, 3, 1)).astype("float32")
    t = np.arange(1000)
    theirs = oracle(name).add_noise(torch.from_numpy(x0), torch.from_numpy(noise), torch.from_numpy(t)).numpy()
    assert np.allclose(OURS[name].add_noise(x0, t, noise), theirs, atol=2e-4)


def test_reverse_step_for_all_t():
    scheduler, s = oracle("linear"), OURS["linear"]
    scheduler.set_timesteps(1000)
    rng = np.random.default_rng(1)
    for t in range(1000):
        xt, predicted = rng.standard_normal((2, 2, 3, 3, 1)).astype("float32")
        generator = torch.Generator().manual_seed(t)
        theirs = scheduler.step(torch.from_numpy(predicted), t, torch.from_numpy(xt), generator=generator).prev_sample
        # The same noise that the oracle drew.
        z = torch.randn(xt.shape, generator=torch.Generator().manual_seed(t)).numpy()
        ours = sampling.reverse_step(s, xt, t, predicted, z)
        assert np.allclose(ours, theirs.numpy(), atol=1e-3), t


@pytest.mark.parametrize("count", [1, 3, 4, 5, 7, 12, 20, 24, 50, 250, 1000])
def test_spacing_of_steps(count):
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=1000, timestep_spacing="trailing")
    scheduler.set_timesteps(count)
    assert list(samplers.spaced_steps(1000, count)) == scheduler.timesteps.tolist()


def diffusers_steps(name, count):
    """A diffusers scheduler that does what our sampler ``name`` does, with its timesteps set."""
    common = {
        "num_train_timesteps": 1000,
        "beta_start": 1e-4,
        "beta_end": 0.02,
        "beta_schedule": "linear",
        "timestep_spacing": "trailing",
    }
    if name in ("ddpm", "ddim"):  # told apart by η
        scheduler = diffusers.DDIMScheduler(**common, clip_sample=False, set_alpha_to_one=True)
    elif name == "dpmpp_2m":
        scheduler = diffusers.DPMSolverMultistepScheduler(
            **common, algorithm_type="dpmsolver++", solver_order=2, final_sigmas_type="zero"
        )
    else:
        scheduler = diffusers.HeunDiscreteScheduler(**common)
    scheduler.set_timesteps(count)
    return scheduler


# Counts that divide T: with others, diffusers steps to t - T // count and then visits another t.
@pytest.mark.parametrize("count", [25, 10, 4])
@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpmpp_2m", "heun"])
def test_samplers_step_by_step(name, count):
    """The same states after every step, with the exact denoiser of a few images as the network."""
    s = OURS["linear"]
    rng = np.random.default_rng(3)
    exact = sampling.exact_noise_predictor(rng.uniform(-1, 1, (5, 4, 4, 1)).astype("float32"), s)
    start = rng.standard_normal((2, 4, 4, 1)).astype("float32")
    scheduler = diffusers_steps(name, count)
    steps = np.array(scheduler.timesteps).round().astype(np.int32)
    calls = steps if name != "heun" else steps[[0, *range(1, len(steps), 2)]]  # theirs lists every call
    table = samplers.SAMPLERS[name](s, calls)
    assert list(table.t) == list(steps)

    state = torch.from_numpy(start) * (scheduler.init_noise_sigma if name == "heun" else 1)
    x, before = start, np.zeros_like(start)
    for row, t in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(state, t).numpy()
        assert np.allclose(scaled, x, rtol=1e-3, atol=TOLERANCE), f"before call {row}"
        time = np.full((2, 1), table.t[row] / s.T, np.float32)
        predicted = np.array(exact([scaled, time]))
        z = rng.standard_normal(x.shape).astype("float32")
        options = {"eta": 1.0, "variance_noise": torch.from_numpy(z)} if name == "ddpm" else {}
        state = scheduler.step(torch.from_numpy(predicted), t, state, **options).prev_sample
        guess = np.array(s.predict_x0(x, int(table.t[row]), np.array(exact([x, time]))))
        x = table.a[row] * x + table.b[row] * guess + table.c[row] * before + table.sigma[row] * z
        before, x = guess, x.astype("float32")
    assert np.allclose(state.numpy(), x, rtol=1e-3, atol=TOLERANCE)


def test_the_weights_load_under_another_backend(tmp_path):
    """Keras layers only: the classic checkpoint computes the same with PyTorch underneath."""
    from labutils import pretrained

    code = (
        "import sys, numpy as np\nimport keras\nfrom labutils import pretrained\n"  # labutils would choose TensorFlow
        "assert keras.backend.backend() == 'torch'\n"
        "network, _ = pretrained.load('classic')\ninputs = np.load(sys.argv[1])\n"
        "outputs = network([inputs['x'], inputs['t']])\n"
        "np.save(sys.argv[2], keras.ops.convert_to_numpy(outputs))\n"
    )
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((4, 28, 28, 1)).astype("float32"), rng.uniform(0, 1, (4, 1)).astype("float32")
    np.savez(tmp_path / "inputs.npz", x=x, t=t)
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    command = [sys.executable, "-c", code, str(tmp_path / "inputs.npz"), str(tmp_path / "outputs.npy")]
    subprocess.run(command, check=True, env=environment)
    network, _ = pretrained.load("classic")
    assert np.allclose(np.load(tmp_path / "outputs.npy"), network([x, t]), atol=1e-4)
