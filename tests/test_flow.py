"""Flow matching: the straight path, Euler's method, the flow of the islands; the student that draws with one call."""

import json

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from lab import student_training
from labutils import data, distillation, flow, networks, pretrained, samplers, sampling, toys, training
from labutils.diffusion import Diffusion
from labutils.networks import build_fast
from labutils.schedule import cosine_schedule, linear_schedule
from labutils.toys import straight_roads

S = cosine_schedule()
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("schedule", [S, linear_schedule()], ids=repr)
def test_a_flow_is_ddim_at_other_levels(schedule):
    """Euler's method along the straight path, and DDIM at the steps of equal SNR, end alike."""
    known = RNG.uniform(-1, 1, (3, 4, 4, 1)).astype("float32")
    oracle = Diffusion(sampling.exact_noise_predictor(known, schedule), schedule)
    x = RNG.standard_normal((5, 4, 4, 1)).astype("float32")
    taus = np.append(schedule.taus[schedule.t_of(1 - np.arange(8) / 8)], 0.0)  # the levels that the schedule has
    by_flow = flow.flow_sampler(flow.on_straight_path(oracle), x / np.sqrt((1 - taus[0]) ** 2 + taus[0] ** 2) * 1, taus)
    by_ddim = sampling.plain_sampling(oracle, x, RNG, sampler=samplers.flow, steps=8)
    assert np.allclose(by_flow, by_ddim, atol=0.02)
    nearest = np.abs(np.asarray(by_flow)[:, None] - known).max(axis=(2, 3, 4)).min(axis=1)
    assert nearest.max() < 0.01


def test_one_image_is_reached_from_everywhere():
    image = RNG.uniform(-1, 1, (1, 4, 4, 1)).astype("float32")
    x = RNG.standard_normal((5, 4, 4, 1)).astype("float32")
    for taus in ([1, 0], [1, 0.3, 0.1, 0]):
        assert np.allclose(flow.flow_sampler(lambda inputs: image, x, taus), np.repeat(image, 5, axis=0), atol=1e-5)


def test_the_straight_path_takes_one_tau_or_one_for_each():
    x0, noise = RNG.standard_normal((2, 3, 2, 2, 1))
    place, u = flow.straight_path(x0, noise, [0.0, 1.0, 0.5])
    assert np.allclose(place, np.stack([x0[0], noise[1], (x0[2] + noise[2]) / 2])) and np.allclose(u, noise - x0)
    assert np.allclose(flow.straight_path(x0, noise, 0.5)[0], (x0 + noise) / 2)


def test_the_exact_flow_of_the_islands():
    """x̂_0 is the mean of what could have led to x_τ, found here by brute force; the flow ends on all islands."""
    points, tau = toys.ring_points(200_000, RNG), 0.4
    x = np.array([[0.5, 0.2]])
    weights = np.exp(-np.sum((x - (1 - tau) * points) ** 2, axis=1) / (2 * tau**2))
    assert np.allclose(straight_roads.exact_x0(x, tau), weights @ points / weights.sum(), atol=0.01)
    taus = np.linspace(1, 0, 101)
    states = straight_roads.paths(straight_roads.exact_velocity, RNG.standard_normal((500, 2)), taus)
    islands, near = toys.coverage(states[-1])
    assert islands == 8 and near > 0.98 and straight_roads.bend(states, taus) > 0.2
    assert straight_roads.bend(np.stack([states[0], states[-1]]), [1, 0]) < 1e-9


def test_trained_velocities_repeat_and_learn():
    points = toys.ring_points(2_000, RNG)
    one, same, other = (straight_roads.train_velocity(points, 40, seed=seed) for seed in (1, 1, 2))
    x = RNG.standard_normal((50, 2))
    answers = [straight_roads.velocity_of(network)(x, 0.5) for network in (one, same, other)]
    assert np.array_equal(answers[0], answers[1]) and not np.allclose(answers[0], answers[2])
    before = straight_roads.velocity_of(straight_roads.build_velocity(seed=1))(x, 0.9)
    right = straight_roads.exact_velocity(x, 0.9)
    learned = straight_roads.velocity_of(one)(x, 0.9)
    assert np.mean((learned - right) ** 2) < 0.5 * np.mean((before - right) ** 2)


def test_mean_velocities_are_trained_by_any_target():
    """The target may be plain NumPy: with ū = 0 as the target one call leaves the noise where it is."""
    points, noise = toys.ring_points(500, RNG), RNG.standard_normal((20, 2))
    still = straight_roads.train_velocity(points, 60, target=lambda u, slope, r, tau: np.zeros_like(np.asarray(u)))
    assert np.abs(straight_roads.in_one_call(still, noise) - noise).mean() < 0.3


def test_the_student_s_loss():
    """0 for the right answer; nearly linear in a large error; neighbouring pixels count with edges."""
    x0, noise = RNG.standard_normal((2, 4, 4, 4, 1)).astype("float32")
    t = np.full(4, 999)

    def loss(shift, **options):
        student = distillation.Student(lambda inputs: ops.convert_to_tensor(x0 + shift), S, "x0", **options)
        return float(student.loss(x0, t, noise))

    assert loss(0.0) == pytest.approx(0, abs=1e-6)
    assert loss(2.0) == pytest.approx(2 - 0.03, abs=1e-3) and loss(2.0, edges=2.0) == pytest.approx(loss(2.0))
    rough = np.indices((4, 4)).sum(axis=0)[None, ..., None] % 2 * 2.0 - 1
    assert loss(rough, edges=2.0) > 2 * loss(rough)


def test_the_student_s_steps():
    student = distillation.Student(None, S, "x0")
    t = student.draw_t(20_000, np.random.default_rng(0))
    assert t.dtype == np.int32 and np.mean(t == S.T - 1) == pytest.approx(0.6, abs=0.02)
    tau = S.taus[t[t < S.T - 1]]
    assert np.allclose(np.quantile(tau, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.03)


def test_pairs_belong_together():
    """The picture of a pair is what the teacher draws from its noise, for its label; training keeps pairs together."""
    teacher = Diffusion(build_fast((8, 8, 1), classes=3, widths=(8, 8), blocks=(1, 1)), S, "x0")
    noise, pictures = distillation.draw_pairs(teacher, np.array([0, 1, 2, 0]), seed=3, steps=4, progress=False)
    sampler = sampling.Sampler(teacher, sampler="dpmpp_2m", steps=4)
    *_, (_, _, again) = sampler.run(noise[1:3], condition=np.array([1, 2]), x0=False)
    assert noise.shape == pictures.shape == (4, 8, 8, 1) and np.allclose(again, pictures[1:3], atol=1e-5)
    batches = training.training_batches(pictures, teacher.draw_t, 2, seed=0, noise=noise)
    for _ in range(4):
        x0, _, epsilon = next(batches)
        for image, own in zip(x0, epsilon, strict=True):
            assert any(
                np.array_equal(image, p) and np.array_equal(own, n) for p, n in zip(pictures, noise, strict=True)
            )


def test_training_refuses_noise_of_another_shape():
    diffusion = Diffusion(build_fast((8, 8, 1), widths=(8, 8), blocks=(1, 1)), S, "x0")
    images = np.zeros((4, 8, 8, 1), np.float32)
    with pytest.raises(ValueError, match="noise must have the shape of images"):
        training.train(diffusion, images, 1, noise=np.zeros((3, 8, 8, 1), np.float32))


def test_a_student_is_trained_drawn_and_resumed(tmp_path, monkeypatch):
    """One command: pairs in parts, a run that goes on, a checkpoint that draws; what is there is not drawn again."""
    from lab.pipelines import train_model

    monkeypatch.setattr(student_training, "PART", 20)
    dataset = data.load("digits")
    file = train_model("one_call", dataset, tmp_path, epochs=1, images=50)
    record = json.loads(file.read_text())
    assert sorted(path.name for path in tmp_path.glob("pairs_*.npz")) == [f"pairs_{i:02}.npz" for i in range(3)]
    assert record["network"] == "fast_conditional" and record["teacher"] == "fast_conditional"
    assert record["guidance"] == 0 and record["train_images"] == 50
    assert record["cpu_seconds"] > record["pairs"]["cpu_seconds"] > 0
    written = [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("pairs_*"))]
    again = json.loads(train_model("one_call", dataset, tmp_path, epochs=1, images=50).read_text())
    assert again["weights_sha256"] == record["weights_sha256"] and again["test_error"] == record["test_error"] > 0
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("pairs_*"))] == written
    assert again["pair_error"] > 0
    with pytest.raises(ValueError, match="pairs_00.npz holds pairs of another run: name another folder"):
        train_model("one_call", dataset, tmp_path, epochs=1, images=50, seed=1)
    student = pretrained.load_diffusion("one_call", tmp_path)
    drawn = sampling.sample(student, 3, condition=networks.even_labels(3), sampler="ddim", steps=1, progress=False)
    assert drawn.shape == (3, 28, 28, 1) and np.isfinite(drawn).all()
    assert tf.reduce_any(tf.constant(drawn) != 0)
