"""From noise to images.

- ``reverse``: the reverse loop as the papers have it, in plain Python; one step of it
- ``compiled``: :func:`sample`, the same loop as one fast graph
- ``guidance``: how strongly a network with labels follows them
- ``inpainting``: filling in a part of an image
- ``exact``: what a perfect network would answer
"""

from labutils.sampling.compiled import BATCH, Sampler, reverse_process, sample
from labutils.sampling.exact import exact_noise_predictor
from labutils.sampling.guidance import guided
from labutils.sampling.inpainting import inpaint, resampled
from labutils.sampling.reverse import ancestral_sampling, posterior_mean, reverse_step, table_sampling

__all__ = [
    "BATCH",
    "Sampler",
    "ancestral_sampling",
    "exact_noise_predictor",
    "guided",
    "inpaint",
    "posterior_mean",
    "resampled",
    "reverse_process",
    "reverse_step",
    "sample",
    "table_sampling",
]
