"""The whole way from a data set to a checkpoint with its provenance: what ``python -m labutils train`` does."""

from dataclasses import asdict, dataclass

import keras
import numpy as np

from labutils import checkpoints, networks, recognisers
from labutils.progress import keras_progress
from labutils.recipe import Recipe
from labutils.schedule import NoiseSchedule, cosine_schedule, linear_schedule
from labutils.training import noise_mse, train

VALIDATION_IMAGES = 2_000  # enough to see the curve, few enough to cost one part in a hundred


@dataclass(frozen=True)
class Plan:
    """How a denoising network of labutils.networks is trained: its schedule and its recipe."""

    schedule: NoiseSchedule
    recipe: Recipe
    epochs: int


RECOGNISER_EPOCHS = 8
GUIDANCE = 0.5  # w where nobody says otherwise
FAST = Recipe(learning_rate=2e-3, warmup_steps=300, decay_epochs=20, average=0.9995, clip_norm=1.0, target="x0")
PLANS = {
    "classic": Plan(linear_schedule(), Recipe(), epochs=50),
    "fast": Plan(cosine_schedule(), FAST, epochs=FAST.decay_epochs),
    "fast_conditional": Plan(cosine_schedule(), FAST, epochs=FAST.decay_epochs),
}


def train_model(model, dataset, folder, epochs=None, images=None, seed=0, milestones=()):
    """Train ``model`` on ``dataset`` by its plan and save it in ``folder``; goes on with an earlier run.

    Args:
        model: a key of PLANS, or of labutils.recognisers.NETWORKS (whose short run cannot be resumed).
        dataset: labutils.data.Images.
        folder: pathlib.Path for the checkpoint and ``state.npz``, the state of the run.
        epochs: length of the run; None for the plan's. The recipe is cut to it (labutils.recipe.Recipe.for_run).
        images: use only the first so many training images; None for all.
        seed: of the starting weights, the shuffling, t and ε.
        milestones: epochs after which a checkpoint ``MODEL_epoch_NN`` is kept as well.

    Returns:
        Path of the checkpoint's JSON file.

    Raises:
        ValueError: unknown model, labels it does not know, or a bad argument of :func:`labutils.training.train`.
    """
    check_model(model)
    keras.utils.set_random_seed(seed)
    network = networks.build(model, dataset.image_shape)
    if model in recognisers.NETWORKS:
        return _train_recogniser(network, dataset, folder, epochs or RECOGNISER_EPOCHS, images, seed)
    plan = PLANS[model]
    epochs = epochs or plan.epochs
    x_train, y_train = dataset.x_train[:images], dataset.y_train[:images]
    recipe = plan.recipe.for_run(epochs, -(-len(x_train) // plan.recipe.batch_size))
    labels = {}
    if len(network.inputs) > 2:
        if y_train.max() >= networks.CLASSES:
            raise ValueError(f"{model} knows labels 0 … {networks.CLASSES - 1}, {dataset.name} has {y_train.max()}")
        labels = {"labels": y_train, "validation_labels": dataset.y_test[:VALIDATION_IMAGES]}

    def until(epoch):
        return train(
            network, plan.schedule, x_train, epoch, recipe=recipe, seed=seed, **labels,
            validation_images=dataset.x_test[:VALIDATION_IMAGES], state_file=folder / "state.npz",
            callbacks=[keras_progress(epoch, "training")],
        )  # fmt: skip

    def save(name, history):
        about = {
            **provenance(dataset, len(x_train), seed, history),
            "T": plan.schedule.T,
            "schedule": repr(plan.schedule),
            "recipe": {"optimizer": "Adam", "loss": "mse", "shuffled": True, **asdict(recipe)},
        }
        if recipe.target == "noise":
            mses = [noise_mse(network, plan.schedule, dataset.x_test, seed=draw) for draw in range(3)]
            about["test_mse"] = {"mean": float(np.mean(mses)), "std": float(np.std(mses)), "draws": len(mses),
                                 "images": len(dataset.x_test)}  # fmt: skip
        return checkpoints.save(network, name, about, folder)

    # One short `train` per milestone: each picks up the state that the one before it left.
    for epoch in [m for m in milestones if m < epochs]:
        history = until(epoch)
        if len(history["loss"]) == epoch:  # not when the run had already gone on
            save(f"{model}_epoch_{epoch:02d}", history)
    return save(model, until(epochs))


def load_for_sampling(name, folder=checkpoints.CHECKPOINT_DIR):
    """A checkpoint with all that drawing from it needs.

    Args:
        name, folder: as for labutils.checkpoints.load.

    Returns:
        (network, schedule, shape, options): the first three arguments of labutils.sampling.sample but for the count,
        and further ones: ``target``, and ``guidance`` for a network with labels.

    Raises:
        FileNotFoundError, ValueError: as labutils.checkpoints.load; or the checkpoint is no network that draws, or was
            trained with another schedule.
    """
    network, about = checkpoints.load(name, folder)
    if about["network"] not in PLANS:
        raise ValueError(f"checkpoint {name} holds the network {about['network']!r}, which does not draw images")
    plan = PLANS[about["network"]]
    if about.get("schedule") != repr(plan.schedule):
        raise ValueError(f"checkpoint {name} was trained with another schedule: {about.get('schedule')}")
    options = {"target": plan.recipe.target, **({"guidance": GUIDANCE} if len(network.inputs) > 2 else {})}
    return network, plan.schedule, tuple(about["input_shape"]), options


def even_labels(count):
    """Labels 0, 1, …, 9, 0, …: equally many of each class, (count,) int32."""
    return np.arange(count, dtype=np.int32) % networks.CLASSES


def check_model(model):
    """Raise ``ValueError`` unless :func:`train_model` knows ``model``."""
    if model not in networks.NETWORKS:
        raise ValueError(f"unknown network {model!r}, known: {', '.join(networks.NETWORKS)}")


def _train_recogniser(network, dataset, folder, epochs, images, seed):
    name = network.name
    seen, _ = recognisers.held_out(dataset.x_train)
    seen = slice(0, min(seen.stop, images or seen.stop))
    history = recognisers.fit(network, dataset.x_train[seen], dataset.y_train[seen], epochs, seed,
                              callbacks=[keras_progress(epochs, name)])  # fmt: skip
    about = provenance(dataset, seen.stop, seed, history)
    about["recipe"] = {"optimizer": "Adam", "learning_rate": "2e-3, along a cosine to 0", "batch_size": 128,
                       "loss": "cross-entropy", "shifted": "up to 2 pixels"}  # fmt: skip
    about["test_accuracy"] = recognisers.accuracy(network, dataset.x_test, dataset.y_test)
    return checkpoints.save(network, name, about, folder)


def provenance(dataset, images, seed, history):
    """What every checkpoint's record says of its run."""
    return {
        "dataset": dataset.name,
        "dataset_sha256": dataset.sha256,
        "train_images": images,
        "seed": seed,
        "epochs": len(history["loss"]),
        "seconds": round(sum(history["seconds"]), 1),
        "cpu_seconds": round(sum(history.get("cpu_seconds", [])), 1),
        "versions": checkpoints.versions(),
        "history": history,
    }
