"""Training of the autoencoder: a reconstruction loss weighted towards ink, and a latent space that is smooth."""

import hashlib
from dataclasses import asdict

import keras
import numpy as np
from keras import ops

from labutils.data import check_images
from labutils.networks.autoencoder import normalise_latents, reparameterise
from labutils.training.config import TrainingConfig
from labutils.training.run_state import RunState

INK = 4.0  # extra weight of a pixel that is not black: 90 % of pixels are black
SMOOTH = 5e-3  # weight of the KL divergence
CONFIG = TrainingConfig(learning_rate=2e-3, warmup_steps=200, decay_epochs=6, clip_norm=1.0)
EPOCHS = 6
NORMALISED_WITH = 4_000  # pictures, for the mean and deviation of the latents


def fit_autoencoder(autoencoder, images, epochs, *, config=CONFIG, seed=0, state_file=None, callbacks=()):
    """Train an autoencoder in place, then normalise its latents.

    Args:
        autoencoder: from labutils.networks.build_autoencoder.
        images: float32 (N, H, W, C) in [-1, 1].
        epochs: train until this many epochs are done, those of an earlier, resumed run included.
        config: TrainingConfig.
        seed: of order and noise.
        state_file: an ``.npz``. If given, the state is saved there after each epoch. If it exists, the run goes on
            from there.
        callbacks: Keras callbacks.

    Returns:
        dict: ``loss``, ``seconds`` and ``cpu_seconds``, each a list with one number per epoch.

    Raises:
        ValueError: bad images, or a state file that belongs to another run.
    """
    images = check_images(images)
    steps = -(-len(images) // config.batch_size)
    config = config.for_run(epochs, steps)
    optimizer = config.optimizer(steps)
    model = VariationalTrainer(autoencoder)
    model.compile(optimizer, loss=stroke_loss, jit_compile=False)
    optimizer.build(autoencoder.trainable_variables)
    digest = hashlib.sha256(np.ascontiguousarray(images)).hexdigest()
    run = {"seed": int(seed), **asdict(config), "images": digest, "ink": INK, "smooth": SMOOTH}
    state = RunState(state_file, autoencoder, optimizer, run)
    done = len(state.history["loss"])
    latent = autoencoder.get_layer("decoder").input.shape[1:]

    def batches():
        for epoch in range(done, epochs):
            order = np.random.default_rng([seed, epoch, 0]).permutation(len(images))
            for step in range(steps):
                x = images[order[step * config.batch_size : (step + 1) * config.batch_size]]
                noise = np.random.default_rng([seed, epoch, step + 1]).standard_normal((len(x), *latent), np.float32)
                yield (x, noise), x

    if done < epochs:
        model.fit(
            batches(),
            steps_per_epoch=steps,
            initial_epoch=done,
            epochs=epochs,
            shuffle=False,
            verbose=0,
            callbacks=[state, *callbacks],
        )
    normalise_latents(autoencoder, images[:NORMALISED_WITH])
    return state.history


def stroke_loss(images, reconstructions):
    """Absolute and squared error, more of it where there is ink, and the same for the differences of neighbours.

    Most pixels are black, and a mean over all pixels hardly sees a thin stroke. The differences of neighbouring pixels
    see its edges.

    Args:
        images: (B, H, W, C) in [-1, 1]. reconstructions: the same shape.

    Returns:
        (B,) tensor, one loss for each picture.
    """
    ink = (ops.max(images, axis=-1, keepdims=True) + 1.0) / 2.0  # 0 where black, 1 where a digit is
    error = reconstructions - images
    pixels = (1.0 + INK * ink) * (ops.abs(error) + error**2)
    edges = ops.mean(ops.abs(error[:, 1:] - error[:, :-1]), axis=(1, 2, 3))
    edges = edges + ops.mean(ops.abs(error[:, :, 1:] - error[:, :, :-1]), axis=(1, 2, 3))
    return ops.mean(pixels, axis=(1, 2, 3)) + edges


def kl_divergence(mean, log_variance):
    """KL(N(μ, σ²) ‖ N(0, 1)) = ½ (μ² + σ² − 1 − log σ²), mean over all numbers (Kingma & Welling 2013, appendix B)."""
    return 0.5 * ops.mean(mean**2 + ops.exp(log_variance) - 1.0 - log_variance)


class VariationalTrainer(keras.Model):
    """Wraps an autoencoder so that ``fit`` trains it. Inputs: pictures (B, H, W, C), and ε of the latent's shape."""

    def __init__(self, autoencoder):
        super().__init__()
        self.autoencoder = autoencoder

    def call(self, inputs):
        """Encode, sample, decode."""
        images, noise = inputs
        mean, log_variance = self.autoencoder.get_layer("encoder")(images)
        self.add_loss(SMOOTH * kl_divergence(mean, log_variance))
        return self.autoencoder.get_layer("decoder")(reparameterise(mean, log_variance, noise))
