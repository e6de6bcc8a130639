"""What tells a student what is wrong: one function per exercise, named after the function that it checks.

Each takes the student's function, tries properties that any right answer has, and either prints "All tests in …
passed!" or raises :class:`CheckFailed` with a sentence that names the likely mistake.
"""

from labutils.checks.faster import check_space_to_depth, check_split_taps, check_x0_from_v
from labutils.checks.feedback import CheckFailed
from labutils.checks.functions import check_build_mlp, check_inverses
from labutils.checks.networks import check_sinusoidal_embedding, check_up_block
from labutils.checks.schedules import (
    check_add_noise,
    check_alpha_bars,
    check_cosine_alpha_bars,
    check_posterior_variances,
)
from labutils.checks.steps import check_inpaint, check_reverse_step, check_sampling_loop
from labutils.checks.training import check_noise_loss, check_train_step

__all__ = [
    "CheckFailed",
    "check_add_noise",
    "check_alpha_bars",
    "check_build_mlp",
    "check_cosine_alpha_bars",
    "check_inpaint",
    "check_inverses",
    "check_noise_loss",
    "check_posterior_variances",
    "check_reverse_step",
    "check_sampling_loop",
    "check_sinusoidal_embedding",
    "check_space_to_depth",
    "check_split_taps",
    "check_train_step",
    "check_up_block",
    "check_x0_from_v",
]
