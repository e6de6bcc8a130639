"""Checks tell a student what is wrong: one check for each exercise, one module for each lesson.

The check of exercise 5.1 is in ``lesson_5``. A check takes the student's function and tries properties that any
right answer has. It prints "All tests in … passed!" or raises :class:`CheckFailed` with a sentence that names the
likely mistake. ``feedback`` holds what all checks share, ``values`` compares
numbers.
"""

from labutils.checks.feedback import CheckFailed
from labutils.checks.lesson_1 import check_build_mlp, check_inverses
from labutils.checks.lesson_2 import check_add_noise, check_alpha_bars, check_posterior_variances, check_reverse_density
from labutils.checks.lesson_3 import check_add_time, check_sinusoidal_embedding, check_up_block
from labutils.checks.lesson_4 import (
    check_diagnosis,
    check_noise_loss,
    check_predict_x0,
    check_relu_floor,
    check_train_step,
)
from labutils.checks.lesson_5 import check_ddim_step, check_reverse_step, check_sampling_loop
from labutils.checks.lesson_5_oracles import check_exact_x0, check_patch_x0
from labutils.checks.lesson_6 import check_difference, check_inpaint
from labutils.checks.lesson_7 import check_autoguided, check_loss_weight, check_space_to_depth, check_split_taps
from labutils.checks.lesson_8 import (
    check_cross_attention,
    check_encode_for_falsifier,
    check_guided,
    check_sample_latent,
)
from labutils.checks.lesson_9 import check_flow_sampler, check_mean_velocity_target, check_straight_path
from labutils.checks.lesson_10 import check_look_up, check_negative_prompt, check_swap_word

__all__ = [
    "CheckFailed",
    "check_add_noise",
    "check_add_time",
    "check_alpha_bars",
    "check_build_mlp",
    "check_cross_attention",
    "check_ddim_step",
    "check_diagnosis",
    "check_difference",
    "check_encode_for_falsifier",
    "check_exact_x0",
    "check_flow_sampler",
    "check_guided",
    "check_inpaint",
    "check_inverses",
    "check_autoguided",
    "check_look_up",
    "check_loss_weight",
    "check_mean_velocity_target",
    "check_negative_prompt",
    "check_noise_loss",
    "check_patch_x0",
    "check_posterior_variances",
    "check_predict_x0",
    "check_relu_floor",
    "check_reverse_density",
    "check_reverse_step",
    "check_sample_latent",
    "check_sampling_loop",
    "check_sinusoidal_embedding",
    "check_space_to_depth",
    "check_split_taps",
    "check_straight_path",
    "check_swap_word",
    "check_train_step",
    "check_up_block",
]
