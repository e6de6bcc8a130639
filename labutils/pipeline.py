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
        diffusion: labutils.diffusion.Diffusion on latents, see labutils.networks.build_text_to_image.
        autoencoder: see labutils.networks.build_autoencoder.

    Raises:
        FileNotFoundError, ValueError: as labutils.pretrained.load_diffusion; or its condition is not a caption.
    """

    def __init__(self, name="text_to_image", folder=pretrained.CHECKPOINT_DIR):
        self.diffusion = pretrained.load_diffusion(name, folder)
        if not is_text_conditional(self.diffusion):
            raise ValueError(f"checkpoint {name} holds {self.diffusion.network.name!r}, which takes no captions")
        self.autoencoder = pretrained.load_or_own("autoencoder", folder)

    def latents(self, texts, *, steps=STEPS, sampler="dpmpp_2m", guidance=None, progress=False, **options):
        """Draw one latent for each caption.

        Args:
            texts: list of N captions, or tokens (N, LENGTH).
            guidance: w; None for that of the checkpoint.
            steps, sampler, progress, options: as in labutils.sampling.sample.

        Returns:
            float32 array (N, H, W, C).

        Raises:
            ValueError: an unknown word, which names the known ones, or a bad argument of labutils.sampling.sample.
        """
        tokens = np.asarray(texts) if np.ndim(texts) == 2 else caption_data.tokenize(texts)
        diffusion = self.diffusion if guidance is None else self.diffusion.with_guidance(guidance)
        options = {"condition": tokens, "steps": steps, "sampler": sampler, "progress": progress, **options}
        return sample(diffusion, len(tokens), **options)

    def draw(self, texts, **options):
        """Draw one picture for each caption, float32 (N, 32, 32, 3) in [-1, 1]; arguments as in :meth:`latents`."""
        return networks.decode(self.autoencoder, self.latents(texts, **options))


def is_text_conditional(diffusion):
    """Whether the condition is a caption, not a label."""
    return diffusion.is_conditional and len(diffusion.network.inputs[2].shape) == 2
