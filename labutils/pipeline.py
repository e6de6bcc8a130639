"""From a caption to pictures: the text encoder and the denoiser draw a latent, the autoencoder decodes it."""

import numpy as np

from labutils import caption_data, networks, pretrained
from labutils.sampling.compiled import sample

STEPS = 12  # enough for dpmpp_2m: more steps do not make more words right


class TextToImage:
    """All parts of a text-to-image model, with weights.

    Args:
        name: checkpoint of the text encoder and the denoiser.
        folder: of that checkpoint, and of ``autoencoder``; without one there, the lab's own is taken.

    Attributes:
        network: see labutils.networks.build_text_to_image. autoencoder: see labutils.networks.build_autoencoder.
        schedule: the labutils.schedule.NoiseSchedule of its training.
        shape: (H, W, C) of a latent.
        options: the other arguments of labutils.sampling.sample: ``target`` and ``guidance``.

    Raises:
        FileNotFoundError, ValueError: as labutils.pretrained.load_for_sampling; or it is not told captions.
    """

    def __init__(self, name="text_to_image", folder=pretrained.CHECKPOINT_DIR):
        self.network, self.schedule, self.shape, self.options = pretrained.load_for_sampling(name, folder)
        if not is_told_captions(self.network):
            raise ValueError(f"checkpoint {name} holds the network {self.network.name!r}, which is not told captions")
        self.autoencoder = pretrained.load_or_own("autoencoder", folder)

    def latents(self, texts, *, seed=0, steps=STEPS, sampler="dpmpp_2m", progress=False, **options):
        """Draw one latent for each caption.

        Args:
            texts: list of N captions, or tokens (N, LENGTH).
            seed, steps, sampler, progress, options: as in labutils.sampling.sample; ``guidance`` is w.

        Returns:
            float32 array (N, H, W, C).

        Raises:
            ValueError: an unknown word, which names the known ones, or a bad argument of labutils.sampling.sample.
        """
        tokens = np.asarray(texts) if np.ndim(texts) == 2 else caption_data.encode(texts)
        options = {**self.options, "steps": steps, "sampler": sampler, **options}
        shown = {"seed": seed, "labels": tokens, "progress": progress}
        return sample(self.network, self.schedule, len(tokens), self.shape, **shown, **options)

    def draw(self, texts, **options):
        """Draw one picture for each caption, float32 (N, 32, 32, 3) in [-1, 1]; arguments as in :meth:`latents`."""
        return networks.decode(self.autoencoder, self.latents(texts, **options))


def is_told_captions(network):
    """Whether a network takes captions, not labels."""
    return len(network.inputs) > 2 and len(network.inputs[2].shape) == 2
