"""From noise to images.

- ``reverse``: the reverse loop as the papers have it, in plain Python; one step of it
- ``samplers``: DDPM, DDIM, DPM-Solver++ and Heun as tables of numbers for that loop
- ``compiled``: :func:`sample`, the same loop as one fast graph
- ``guidance``: how strongly a network with labels follows them
- ``inpainting``: filling in a part of an image
- ``text_to_image``: :class:`TextToImage`, from a caption to pictures
- ``exact``: what a perfect network would answer
"""

from labutils.sampling.compiled import BATCH, Sampler, reverse_process, sample
from labutils.sampling.exact import exact_noise_predictor
from labutils.sampling.guidance import guided
from labutils.sampling.inpainting import inpaint, resampled
from labutils.sampling.reverse import ancestral_sampling, posterior_mean, reverse_step, table_sampling
from labutils.sampling.samplers import SAMPLERS, Table, ddim, dpmpp_2m, heun, spaced_steps
from labutils.sampling.text_to_image import TextToImage

__all__ = [
    "BATCH",
    "SAMPLERS",
    "Sampler",
    "Table",
    "TextToImage",
    "ancestral_sampling",
    "ddim",
    "dpmpp_2m",
    "exact_noise_predictor",
    "guided",
    "heun",
    "inpaint",
    "posterior_mean",
    "resampled",
    "reverse_process",
    "reverse_step",
    "sample",
    "spaced_steps",
    "table_sampling",
]
