"""Small problems, each solved in seconds.

- ``inversion`` (lesson 1): the inverse of sin, by regression and by a one-dimensional diffusion model
- ``reverse_steps`` (lesson 2): the exact reverse steps, if the clean values are a few known numbers
- ``ring`` (lesson 6): eight islands in the plane, and a GAN that learns them
- ``straight_roads`` (lesson 9): flow matching on these islands
"""

from labutils.toys import inversion, reverse_steps, straight_roads
from labutils.toys.ring import TUNED_GAN, coverage, ring_centres, ring_points, train_gan

__all__ = [
    "TUNED_GAN",
    "coverage",
    "inversion",
    "reverse_steps",
    "ring_centres",
    "ring_points",
    "straight_roads",
    "train_gan",
]
