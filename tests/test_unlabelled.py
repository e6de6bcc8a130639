"""Digits without labels: clusters in place of labels, and a weaker network to move away from."""

import numpy as np
import pytest

from lab.pipelines import CLUSTERED, CLUSTERS, train_model
from labutils import data, networks, pretrained, sampling
from labutils.diffusion import Diffusion, autoguided
from labutils.pseudo_labels import PseudoLabels, draw_labels
from labutils.schedule import cosine_schedule

S = cosine_schedule(20)


def model(seed, classes=0, prediction="x0", **options):
    """A small network with random weights, as a diffusion model."""
    network = networks.build_fast((8, 8, 1), classes, widths=(4, 4))
    rng = np.random.default_rng(seed)
    for weights in network.trainable_variables:
        weights.assign(0.3 * rng.standard_normal(weights.shape))
    return Diffusion(network, S, prediction, **options)


@pytest.mark.parametrize("prediction", ["x0", "noise", "v"])
def test_autoguidance_moves_the_estimate_away_from_the_weak_network(prediction):
    strong, weak = model(1, prediction=prediction), model(2, prediction=prediction)
    x = np.random.default_rng(0).standard_normal((3, 8, 8, 1), dtype=np.float32)
    a, b = (np.asarray(d.predict_x0(x, 10)) for d in (strong, weak))
    for w in (0.0, 0.7):
        np.testing.assert_allclose(autoguided(strong, weak, w).predict_x0(x, 10), a + w * (a - b), rtol=1e-3, atol=1e-4)
    assert np.abs(a - b).max() > 0.1


def test_autoguidance_takes_a_condition_and_draws():
    strong, weak = model(1, classes=3), model(2, classes=3)
    labels = np.array([0, 1, 2])
    drawn = sampling.sample(autoguided(strong, weak, 1.0), 3, condition=labels, sampler="ddim", steps=2, progress=False)
    assert drawn.shape == (3, 8, 8, 1) and np.isfinite(drawn).all()
    with pytest.raises(ValueError, match="must lie in"):
        sampling.sample(autoguided(strong, weak, 1.0), 1, condition=[3], steps=2, progress=False)


@pytest.mark.parametrize("other", [model(2, prediction="v"), model(2, classes=3)])
def test_networks_that_do_not_fit_are_refused(other):
    with pytest.raises(ValueError, match="^weak must have"):
        autoguided(model(1), other, 1.0)
    with pytest.raises(ValueError, match="^weight must be at least 0"):
        autoguided(model(1), model(2), -1.0)


def test_clusters_put_similar_images_together():
    rng = np.random.default_rng(0)
    kinds = rng.standard_normal((3, 4, 4, 1))
    truth = rng.permutation(np.repeat([0, 1, 2], (10, 20, 30)))
    images = kinds[truth] + 0.01 * rng.standard_normal((60, 4, 4, 1))
    clusters = PseudoLabels(images, 3)
    found = clusters.of(images)
    assert all(len(set(found[truth == kind])) == 1 for kind in range(3)) and len(set(found)) == 3
    assert sorted(clusters.proportions) == pytest.approx([1 / 6, 1 / 3, 1 / 2])
    np.testing.assert_allclose(clusters.centres[found[truth == 0][0]], kinds[0], atol=0.03)
    drawn = draw_labels(clusters.proportions, 6_000, rng)
    assert np.bincount(drawn) / 6_000 == pytest.approx(clusters.proportions, abs=0.03)
    for count in (1, 61):
        with pytest.raises(ValueError, match="^count must be"):
            PseudoLabels(images, count)


class Unlabelled(data.Images):
    """A data set whose labels nobody may read."""

    def __getattribute__(self, name):
        if name in ("y_train", "y_test"):
            raise AssertionError(f"{name} was read")
        return super().__getattribute__(name)


def test_no_label_is_read_in_training(tmp_path):
    digits = data.load("digits")
    small = Unlabelled("none", digits.x_train[:128], None, digits.x_test[:32], None, digits.sha256)
    train_model(CLUSTERED, small, tmp_path, epochs=1)
    record = pretrained.read_record(CLUSTERED, tmp_path)
    assert record["classes"] == len(record["proportions"]) == CLUSTERS and sum(record["proportions"]) == pytest.approx(
        1
    )
    diffusion = pretrained.load_diffusion(CLUSTERED, tmp_path)
    assert diffusion.is_conditional and diffusion.guidance == 0.5
