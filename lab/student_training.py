"""Train a network that draws with one call, from pairs that its teacher draws; see labutils.distillation."""

import time
from dataclasses import dataclass

import numpy as np

from labutils import caption_data, distillation, pretrained
from labutils.pipeline import is_text_conditional
from labutils.support.files import read_npz, write_atomically
from labutils.support.progress import keras_progress
from labutils.training import TrainingConfig, train

TEST_PAIRS, TEST_SEED = 500, 20_000
PART = 2_000  # pairs in one file: a killed run draws at most so many again
CONFIG = TrainingConfig(
    learning_rate=1e-3, warmup_steps=100, decay_epochs=1, average=0.998, clip_norm=1.0, condition_dropout=0.0
)


@dataclass(frozen=True)
class Recipe:
    """How a student is trained.

    Attributes:
        teacher: a checkpoint with a condition; the student starts from its weights.
        pairs: number of pairs. epochs: length of the run.
        edges: see labutils.distillation.Student.
    """

    teacher: str
    pairs: int
    epochs: int
    edges: float = 0.0


RECIPES = {
    "one_call": Recipe("fast_conditional", pairs=20_000, epochs=12, edges=2.0),
    "one_call_text": Recipe("text_to_image", pairs=12_000, epochs=16),
}


def fit_student(recipe, folder, epochs, count, seed=0):
    """Draw the pairs and train the student; goes on with an earlier run.

    Args:
        recipe: Recipe.
        folder: pathlib.Path for the pairs and ``state.npz``. The teacher is taken from here, if it is here; else it is
            the lab's own.
        epochs: length of the run. count: number of pairs.
        seed: of the pairs, and of the order in training.

    Returns:
        (student, history, measured): labutils.distillation.Student, trained; what labutils.training.train returns; and
        a dict: the seconds of drawing the ``pairs``, and the mean squared error of one call on pairs of the training
        (``pair_error``) and on new ones (``test_error``).

    Raises:
        ValueError: the folder holds pairs of another run.
    """
    teacher = _teacher(recipe, folder)
    condition, noise, pictures, seconds = _pairs(teacher, folder, count, seed)
    student = distillation.Student(teacher.network, teacher.schedule, teacher.prediction, edges=recipe.edges)
    history = train(
        student,
        pictures,
        epochs,
        config=CONFIG.for_run(epochs, -(-count // CONFIG.batch_size)),
        seed=seed,
        condition=condition,
        noise=noise,
        latents=True,  # a teacher's pictures may leave [-1, 1] a little
        state_file=folder / "state.npz",
        callbacks=[keras_progress(epochs, "training")],
    )
    known = slice(0, TEST_PAIRS)
    measured = {"pair_error": _error(student, condition[known], noise[known], pictures[known])}
    teacher = _teacher(recipe, folder)  # the student has changed the weights of the first one
    asked = conditions(teacher, len(condition[known]), np.random.default_rng(TEST_SEED))
    measured["test_error"] = _error(student, asked, *distillation.draw_pairs(teacher, asked, seed=TEST_SEED))
    return student, history, {"pairs": seconds, **measured}


def _error(student, condition, noise, pictures):
    """Mean squared error of one call against the pictures of the pairs."""
    drawn = student.predict_x0(noise, student.schedule.T - 1, condition)
    return float(np.mean((np.asarray(drawn) - pictures) ** 2))


def _teacher(recipe, folder):
    here = folder if recipe.teacher in pretrained.names(folder) else pretrained.CHECKPOINT_DIR
    return pretrained.load_diffusion(recipe.teacher, here)


def conditions(teacher, count, rng):
    """What the teacher is asked for: captions of seen scenes, or labels at random; (count, L) or (count,) int32."""
    if is_text_conditional(teacher):
        return caption_data.tokenize(caption_data.sentences(caption_data.draw_scenes(count, rng)))
    return rng.integers(0, teacher.network.label_count, count, dtype=np.int32)


def _pairs(teacher, folder, count, seed):
    """(condition, noise, pictures, seconds): drawn in parts, each kept in ``folder`` as soon as it is there."""
    parts = []
    for number, start in enumerate(range(0, count, PART)):
        file = folder / f"pairs_{number:02d}.npz"
        asked = conditions(teacher, min(PART, count - start), np.random.default_rng([seed, number]))
        if not file.is_file():
            began, began_cpu = time.perf_counter(), time.process_time()
            noise, pictures = distillation.draw_pairs(teacher, asked, seed=seed * 1_000 + number)
            part = {"condition": asked, "noise": noise, "pictures": pictures}
            part |= {"seconds": [time.perf_counter() - began, time.process_time() - began_cpu]}
            write_atomically(file, lambda path, part=part: np.savez(path, **part))
        part = read_npz(file, ["condition", "noise", "pictures", "seconds"])
        if not np.array_equal(part["condition"], asked):
            raise ValueError(f"{file} holds pairs of another run: name another folder")
        parts.append(part)
    joined = [np.concatenate([part[name] for part in parts]) for name in ("condition", "noise", "pictures")]
    wall, cpu = np.sum([part["seconds"] for part in parts], axis=0)
    return *joined, {"seconds": float(wall), "cpu_seconds": float(cpu)}
