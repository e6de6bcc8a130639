"""One switch with three sizes. A smaller preset has fewer images and epochs. The maths stays the same: T is 1000."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """The sizes of everything in the lessons that takes time.

    Attributes:
        name: smoke, quick or full.
        seeds: repetitions where a lesson reports a spread.
        fit_epochs: lesson 1, epochs of each small function fit.
        toy_steps: lesson 1, training steps of the one-dimensional diffusion.
        train_images, epochs: size and length of the training run of lesson 4 (and ``python -m lab train``).
        conditional_images, conditional_epochs: the run of lesson 4 with a network that is conditional on the digit.
        ablation_images, ablation_epochs: the short runs of lessons 3 and 4 that compare variants.
        test_images: number of test images on which a loss is measured.
        samples: images drawn in lesson 5.
        few_samples: images drawn where a lesson compares several settings.
        measured_images: images drawn where lesson 5 measures their quality.
        captioned_images, captioned_epochs: the short run of lesson 8 with captions.
        captioned_test: captions drawn where lesson 8 counts the right ones.
        sample_steps: number of steps where a lesson draws samples to show something other than the sampler.
    """

    name: str
    seeds: int
    fit_epochs: int
    toy_steps: int
    train_images: int
    epochs: int
    conditional_images: int
    conditional_epochs: int
    ablation_images: int
    ablation_epochs: int
    test_images: int
    samples: int
    few_samples: int
    measured_images: int
    captioned_images: int
    captioned_epochs: int
    captioned_test: int
    sample_steps: int


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "smoke",
            seeds=1,
            fit_epochs=10,
            toy_steps=50,
            train_images=128,
            epochs=2,
            conditional_images=128,
            conditional_epochs=1,
            ablation_images=128,
            ablation_epochs=1,
            test_images=64,
            samples=4,
            few_samples=4,
            measured_images=130,  # the judges need more than 128
            captioned_images=128,
            captioned_epochs=1,
            captioned_test=12,
            sample_steps=20,
        ),
        Preset(
            "quick",
            seeds=3,
            fit_epochs=500,
            toy_steps=3000,
            train_images=8_000,
            epochs=3,
            conditional_images=30_000,
            conditional_epochs=1,
            ablation_images=4_000,
            ablation_epochs=2,
            test_images=1_000,
            samples=64,
            few_samples=16,
            measured_images=500,
            captioned_images=12_800,
            captioned_epochs=2,
            captioned_test=300,
            sample_steps=1000,
        ),
        Preset(
            "full",
            seeds=5,
            fit_epochs=500,
            toy_steps=6000,
            train_images=60_000,
            epochs=50,
            conditional_images=60_000,
            conditional_epochs=20,
            ablation_images=60_000,
            ablation_epochs=3,
            test_images=10_000,
            samples=64,
            few_samples=64,
            measured_images=2_000,
            captioned_images=64_000,
            captioned_epochs=8,
            captioned_test=1_000,
            sample_steps=1000,
        ),
    )
}


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
