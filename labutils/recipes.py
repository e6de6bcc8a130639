"""The whole way from a data set to a checkpoint with its provenance: what ``python -m labutils train`` does."""

import keras
import numpy as np

from labutils import checkpoints, unet
from labutils.progress import keras_progress
from labutils.schedule import linear_schedule
from labutils.training import BATCH_SIZE, LEARNING_RATE, noise_mse, train

VALIDATION_IMAGES = 2_000  # enough to see the curve, few enough to cost one part in a hundred


def train_checkpoint(model, dataset, folder, epochs, images=None, seed=0, milestones=(), final_name=None):
    """Train ``model`` on ``dataset`` with the original recipe and save it in ``folder``; goes on with an earlier run.

    Args:
        model: a key of labutils.unet.NETWORKS.
        dataset: labutils.data.Images.
        folder: pathlib.Path for the checkpoint and ``state.npz``, the state of the run.
        epochs: length of the run.
        images: use only the first so many training images; None for all.
        seed: of the starting weights, the shuffling, t and ε.
        milestones: epochs after which a checkpoint ``MODEL_epoch_NN`` is kept as well.
        final_name: name of the checkpoint; the model's if None.

    Returns:
        Path of the checkpoint's JSON file.
    """
    keras.utils.set_random_seed(seed)
    network = unet.build(model, dataset.image_shape)
    schedule = linear_schedule()

    def save(name, history):
        mses = [noise_mse(network, schedule, dataset.x_test, seed=draw) for draw in range(3)]
        about = {
            "dataset": dataset.name,
            "dataset_sha256": dataset.sha256,
            "train_images": len(x_train),
            "T": schedule.T,
            "schedule": repr(schedule),
            "recipe": {"optimizer": "Adam", "learning_rate": LEARNING_RATE, "batch_size": BATCH_SIZE, "loss": "mse",
                       "shuffled": True},
            "seed": seed,
            "epochs": len(history["loss"]),
            "seconds": round(sum(history["seconds"]), 1),
            "test_mse": {"mean": float(np.mean(mses)), "std": float(np.std(mses)), "draws": len(mses),
                         "images": len(dataset.x_test)},
            "versions": checkpoints.versions(),
            "history": history,
        }  # fmt: skip
        return checkpoints.save(network, name, about, folder)

    x_train = dataset.x_train[:images]
    # One short `train` per milestone: each picks up the state that the one before it left.
    for epoch in [m for m in milestones if m < epochs]:
        history = _train_until(epoch, network, schedule, dataset, x_train, folder, seed)
        if len(history["loss"]) == epoch:  # not when the run had already gone on
            save(f"{model}_epoch_{epoch:02d}", history)
    history = _train_until(epochs, network, schedule, dataset, x_train, folder, seed)
    return save(final_name or model, history)


def _train_until(epochs, network, schedule, dataset, x_train, folder, seed):
    return train(
        network, schedule, x_train, epochs, seed=seed, validation_images=dataset.x_test[:VALIDATION_IMAGES],
        state_file=folder / "state.npz", callbacks=[keras_progress(epochs, "training")],
    )  # fmt: skip
