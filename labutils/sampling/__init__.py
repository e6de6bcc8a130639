"""From noise to images.

- ``reverse``: the reverse loop as the papers have it, in plain Python; one step of it
- ``compiled``: :func:`sample`, the same loop as one fast graph
- ``inpainting``: filling in a part of an image
- ``exact``: what a perfect network would answer
"""

from labutils.sampling.compiled import BATCH, Sampler, sample, trajectory
from labutils.sampling.exact import exact_noise_predictor, exact_x0, local_x0, patch_sums
from labutils.sampling.inpainting import as_constraint, enlarge, inpaint, match_blocks, resampled, shrink
from labutils.sampling.reverse import ancestral_sampling, plain_sampling, posterior_mean, reverse_step

__all__ = [
    "BATCH",
    "Sampler",
    "ancestral_sampling",
    "as_constraint",
    "enlarge",
    "exact_noise_predictor",
    "exact_x0",
    "inpaint",
    "local_x0",
    "match_blocks",
    "patch_sums",
    "plain_sampling",
    "posterior_mean",
    "resampled",
    "reverse_step",
    "sample",
    "shrink",
    "trajectory",
]
