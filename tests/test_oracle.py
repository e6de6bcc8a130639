"""The maths held against Hugging Face diffusers, an independent implementation; skipped where it is not installed."""

import os
import subprocess
import sys

import numpy as np
import pytest

from labutils import sampling
from labutils.schedule import cosine_schedule, linear_schedule

pytest.importorskip("torch", reason="the oracle needs torch: pip install -r requirements-oracle.txt")
diffusers = pytest.importorskip(
    "diffusers", reason="the oracle needs diffusers: pip install -r requirements-oracle.txt"
)
import torch  # noqa: E402

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


@pytest.mark.parametrize("steps", [1000, 50, 10])
def test_sampling_tables_with_fewer_steps(steps):
    s = OURS["linear"]
    times = sampling.spaced_steps(s.T, steps)
    a, b, sigma = sampling.ancestral_table(s, times)
    bars = np.concatenate([[1.0], s.alpha_bars[times]])
    for i, t in enumerate(times):
        alpha = bars[i + 1] / bars[i]
        variance = (1 - alpha) * (1 - bars[i]) / (1 - bars[i + 1])
        assert np.isclose(a[i], alpha**-0.5) and np.isclose(sigma[i] ** 2, variance)
        assert np.isclose(b[i], (1 - alpha) / np.sqrt(alpha * (1 - s.alpha_bars[t])))


def test_the_weights_load_under_another_backend(tmp_path):
    """Keras layers only: the classic checkpoint computes the same with PyTorch underneath."""
    from labutils import checkpoints

    code = (
        "import sys, numpy as np\nfrom labutils import checkpoints\nimport keras\n"
        "assert keras.backend.backend() == 'torch'\n"
        "network, _ = checkpoints.load('classic')\ninputs = np.load(sys.argv[1])\n"
        "outputs = network([inputs['x'], inputs['t']])\n"
        "np.save(sys.argv[2], keras.ops.convert_to_numpy(outputs))\n"
    )
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((4, 28, 28, 1)).astype("float32"), rng.uniform(0, 1, (4, 1)).astype("float32")
    np.savez(tmp_path / "inputs.npz", x=x, t=t)
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    command = [sys.executable, "-c", code, str(tmp_path / "inputs.npz"), str(tmp_path / "outputs.npy")]
    subprocess.run(command, check=True, env=environment)
    network, _ = checkpoints.load("classic")
    assert np.allclose(np.load(tmp_path / "outputs.npy"), network([x, t]), atol=1e-4)
