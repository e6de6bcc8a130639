"""One switch with three sizes. A smaller preset has fewer images and epochs. The maths stays the same: T is 1000."""

from dataclasses import make_dataclass

# What takes time in the lessons: smoke (for tests), quick (for a student), full (what the lab reports).
NAMES = ("smoke", "quick", "full")
SIZES = {
    "seeds": (1, 3, 5),  # repetitions where a lesson reports a spread
    "fit_epochs": (10, 500, 500),  # lesson 1: epochs of each small function fit
    "toy_steps": (50, 3_000, 6_000),  # lesson 1, and up to 2,000 in lesson 6: training steps of the small models
    "train_images": (128, 3_000, 60_000),  # lesson 4: its training run, and `python -m lab train`
    "epochs": (2, 3, 50),
    "conditional_images": (128, 8_000, 60_000),  # lesson 4: its run with a network that is conditional on the digit
    "conditional_epochs": (1, 1, 20),
    "ablation_images": (128, 4_000, 60_000),  # lessons 3 and 4: the short runs that compare variants
    "ablation_epochs": (1, 2, 3),
    "test_images": (64, 1_000, 10_000),  # test images on which a loss is measured
    "samples": (4, 64, 64),  # lesson 5: images drawn
    "few_samples": (4, 16, 64),  # images drawn where a lesson compares several settings
    "measured_images": (130, 500, 2_000),  # lesson 5: images whose quality is measured; the judges need more than 128
    "captioned_images": (128, 6_400, 64_000),  # lesson 8: its short run with captions
    "captioned_epochs": (1, 2, 8),
    "captioned_test": (12, 300, 1_000),  # lesson 8: captions drawn where it counts the right ones
    "sample_steps": (20, 1_000, 1_000),  # steps where a lesson draws to show something other than the sampler
}
Preset = make_dataclass("Preset", [("name", str), *((size, int) for size in SIZES)], frozen=True)
Preset.__doc__ = "The sizes of one preset: ``name``, and an attribute for each of SIZES."
PRESETS = {name: Preset(name, *sizes) for name, sizes in zip(NAMES, zip(*SIZES.values(), strict=True), strict=True)}


def get(name, seed=0):
    """The preset called ``name``.

    Args:
        name: smoke, quick or full.
        seed: the lesson's SEED. It is checked here, before anything is computed with it.

    Raises:
        ValueError: unknown name; lists the known ones. Or a seed that is not an integer from 0 to 2**31 − 1.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}, known: {', '.join(PRESETS)}")
    # Keras takes seeds below 2**32, and lessons add small numbers to theirs. True is an int, too, but not meant.
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise ValueError(f"SEED must be an integer from 0 to {2**31 - 1}, got {seed!r}")
    return PRESETS[name]
