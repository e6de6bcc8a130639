"""The whole way from a data set to a checkpoint with its provenance, for each network of the lab."""

from dataclasses import asdict

import keras
import numpy as np

from lab import autoencoder_training
from lab.classifier_training import fit_classifier
from lab.student_training import CONFIG, RECIPES, fit_student
from labutils import caption_pictures, networks, pretrained
from labutils.networks import classifiers
from labutils.pseudo_labels import PseudoLabels
from labutils.support.progress import keras_progress
from labutils.training import EXPERIMENTS, noise_prediction_loss, train

VALIDATION_IMAGES = 2_000  # enough for a clear curve, at about a hundredth of the cost
CLASSIFIER_EPOCHS = 8
CAPTIONED = 48_000  # pictures that the autoencoder learns from
CLUSTERED, CLUSTERS = "fast_clusters", 100  # a network fast_conditional whose labels are clusters; their number
MODELS = (*networks.NETWORKS, CLUSTERED, *RECIPES)
DRAWN = 64_000  # pictures with captions that text_to_image learns from: 1,000 steps in an epoch


def train_model(model, dataset, folder, epochs=None, images=None, seed=0, milestones=()):
    """Train ``model`` on ``dataset`` as its experiment says and save it in ``folder``; goes on with an earlier run.

    ``text_to_image`` learns from latents of the checkpoint ``autoencoder``, in ``folder`` or the lab's own.

    Args:
        model: a key of labutils.training.EXPERIMENTS, ``autoencoder``, a key of lab.student_training.RECIPES (which
            needs no images), or of labutils.networks.classifiers.CLASSIFIERS (whose short run cannot be resumed).
        dataset: labutils.data.Images.
        folder: pathlib.Path for the checkpoint and ``state.npz``, the state of the run.
        epochs: length of the run; None for the experiment's. The config is cut to it, see
            labutils.training.TrainingConfig.for_run.
        images: use only the first so many training images; None for all. For a student, the number of pairs.
        seed: of the starting weights, the shuffling, t and ε.
        milestones: epochs after which a checkpoint ``MODEL_epoch_NN`` is kept as well.

    Returns:
        Path of the checkpoint's JSON file.

    Raises:
        ValueError: unknown model, labels other than 0 … n - 1, or a bad argument of :func:`labutils.training.train`.
    """
    check_model(model)
    labelled = model == "fast_conditional" or model in classifiers.CLASSIFIERS
    if labelled and len(np.unique(dataset.y_train)) < 2:
        raise ValueError(f"{model} learns from labels, and the images of {dataset.name} have no labels that differ")
    keras.utils.set_random_seed(seed)
    if model in RECIPES:
        return _train_student(model, dataset, folder, epochs, images, seed)
    if model == "autoencoder":
        return _train_autoencoder(dataset, folder, epochs or autoencoder_training.EPOCHS, images or CAPTIONED, seed)
    material = MATERIAL.get(model, _images)(model, dataset, folder, images, seed)
    x_train = material["images"]
    if model == CLUSTERED:
        network = networks.build("fast_conditional", x_train.shape[1:], CLUSTERS)
    else:
        labels = dataset.y_train if model in networks.LABELLED else None
        classes = None if labels is None else networks.count_classes(labels, f"{dataset.name}: labels")
        network = networks.build(model, x_train.shape[1:], classes)
    if model == "classic":
        network = networks.fuse_upsampling(network)  # trains the same weights in less time
    if model in classifiers.CLASSIFIERS:
        return _train_classifier(network, dataset, folder, epochs or CLASSIFIER_EPOCHS, images, seed)
    experiment = EXPERIMENTS[model]
    epochs = epochs or experiment.epochs
    config = experiment.config.for_run(epochs, -(-len(x_train) // experiment.config.batch_size))
    diffusion = experiment.diffusion(network)

    def until(epoch):
        return train(
            diffusion,
            epochs=epoch,
            config=config,
            seed=seed,
            **material,
            state_file=folder / "state.npz",
            callbacks=[keras_progress(epoch, "training")],
        )

    def save(name, history, half=False):
        about = provenance(dataset, len(x_train), seed, history)
        about["config"] = {"optimizer": "Adam", "loss": "mse", "shuffled": True, **asdict(config)}
        if model == CLUSTERED:  # who draws takes each cluster as often as it occurs
            about["proportions"] = (np.bincount(material["condition"]) / len(x_train)).tolist()
        if diffusion.prediction == "noise":
            losses = [noise_prediction_loss(diffusion, dataset.x_test, seed=draw) for draw in range(3)]
            about["test_mse"] = {
                "mean": float(np.mean(losses)),
                "std": float(np.std(losses)),
                "draws": len(losses),
                "images": len(dataset.x_test),
            }
        return pretrained.save(diffusion, name, about, folder, half)

    # One short `train` per milestone: each continues from the state that the one before it saved.
    for epoch in [m for m in milestones if m < epochs]:
        history = until(epoch)
        if len(history["loss"]) == epoch:  # not when the run had already gone on
            save(f"{model}_epoch_{epoch:02d}", history, half=model != "classic")
    history = until(epochs)
    half = model in MATERIAL
    if model == "text_to_image":
        save(f"{model}_float32", history)  # to measure what rounding to float16 costs
    return save(model, history, half)


def check_model(model):
    """Raise ``ValueError`` unless :func:`train_model` knows ``model``."""
    if model not in MODELS:
        raise ValueError(f"unknown network {model!r}, known: {', '.join(MODELS)}")


def _images(model, dataset, folder, images, seed):
    """What ``train`` gets for a network that draws images: those of the data set, with labels if it takes them."""
    material = {"images": dataset.x_train[:images], "validation_images": dataset.x_test[:VALIDATION_IMAGES]}
    if model == "fast_conditional":
        material |= {
            "condition": dataset.y_train[:images],
            "validation_condition": dataset.y_test[:VALIDATION_IMAGES],
        }
    return material


def _clusters(model, dataset, folder, images, seed):
    """What ``train`` gets for a network that learns clusters of the images in place of labels; no label is read."""
    material = _images(model, dataset, folder, images, seed)
    clusters = PseudoLabels(material["images"], CLUSTERS, seed)
    material["condition"] = clusters.of(material["images"])
    material["validation_condition"] = clusters.of(material["validation_images"])
    return material


def _latents(model, dataset, folder, images, seed):
    """What ``train`` gets for a network that draws latents: those of pictures with captions."""
    encoder = pretrained.load_or_own("autoencoder", folder)
    material = {"latents": True}
    for prefix, part, count in (("", "train", images or DRAWN), ("validation_", "test", VALIDATION_IMAGES)):
        pictures = caption_pictures.make(dataset, count, part, seed=seed)
        material[f"{prefix}images"] = networks.encode(encoder, pictures.images)
        material[f"{prefix}condition"] = pictures.tokens
    return material


# What a network learns from, if it is not the images of the data set with their labels.
MATERIAL = {"text_to_image": _latents, CLUSTERED: _clusters}


def _train_autoencoder(dataset, folder, epochs, images, seed):
    pictures = caption_pictures.make(dataset, images, seed=seed).images
    network = networks.build("autoencoder", pictures.shape[1:])
    history = autoencoder_training.fit_autoencoder(
        network,
        pictures,
        epochs,
        seed=seed,
        state_file=folder / "state.npz",
        callbacks=[keras_progress(epochs, "training")],
    )
    return save_autoencoder(network, dataset, folder, images, seed, history)


def save_autoencoder(network, dataset, folder, images, seed, history):
    """Write the checkpoint ``autoencoder`` with its provenance; returns the path of the JSON file."""
    about = provenance(dataset, images, seed, history)
    about["config"] = {
        "optimizer": "Adam",
        "loss": "strokes",
        "ink": autoencoder_training.INK,
        "smooth": autoencoder_training.SMOOTH,
    }
    about["config"] |= asdict(autoencoder_training.CONFIG)
    test = caption_pictures.make(dataset, VALIDATION_IMAGES, "test", seed=seed).images
    errors = (networks.decode(network, networks.encode(network, test)) - test) ** 2
    about["test_error"] = float(np.mean(errors))  # mean squared error of the reconstructions
    return pretrained.save(network, "autoencoder", about, folder, half=True)


def _train_classifier(network, dataset, folder, epochs, images, seed):
    name = network.name
    seen, _ = classifiers.held_out(dataset.x_train)
    seen = slice(0, min(seen.stop, images or seen.stop))
    history = fit_classifier(
        network, dataset.x_train[seen], dataset.y_train[seen], epochs, seed, callbacks=[keras_progress(epochs, name)]
    )
    about = provenance(dataset, seen.stop, seed, history)
    about["config"] = {
        "optimizer": "Adam",
        "learning_rate": "2e-3, along a cosine to 0",
        "batch_size": 128,
        "loss": "cross-entropy",
        "shifted": "each batch by up to 2 pixels",
    }
    about["test_accuracy"] = classifiers.accuracy(network, dataset.x_test, dataset.y_test)
    return pretrained.save(network, name, about, folder)


def _train_student(model, dataset, folder, epochs, count, seed):
    recipe = RECIPES[model]
    count = count or recipe.pairs
    student, history, measured = fit_student(recipe, folder, epochs or recipe.epochs, count, seed)
    pairs = measured.pop("pairs")
    about = provenance(dataset, count, seed, history)
    for name, seconds in pairs.items():  # drawing the pairs belongs to the cost
        about[name] = round(about[name] + seconds, 1)
    about |= {
        **measured,
        "teacher": recipe.teacher,
        "pairs": {name: round(seconds, 1) for name, seconds in pairs.items()},
    }
    about["config"] = {
        "optimizer": "Adam",
        "loss": "pseudo-Huber",
        "c": student.c,
        "edges": student.edges,
        "at_noise": student.at_noise,
    }
    about["config"] |= asdict(CONFIG.for_run(len(history["loss"]), -(-count // CONFIG.batch_size)))
    return pretrained.save(student, model, about, folder, half=True)


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
        "versions": pretrained.versions(),
        "history": history,
    }
