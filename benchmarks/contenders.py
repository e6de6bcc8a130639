"""The contenders of ``benchmarks.speed``, each in its own process: ``python -m benchmarks.contenders GROUP NAME``.

Each prints one line of JSON. All use the layers of the classic network, except diffusers and the lab's other
checkpoints. Each is timed after a warm-up, and inputs and tables of numbers are made before, as its own program would
do. Only the times of the lab include more: compiling (``sample``), and drawing t and noise (``train``).

The lab's original programs are not part of this repository. They are rebuilt from their description: an eager training
step on ``tf.GradientTape``, and ``generate_image``, which calls the network eagerly once for every step of one image.
"""

import argparse
import functools
import json
import time

from benchmarks.timing import BATCH, SAMPLE_STEPS, TRAIN_STEPS, WARM_UP, original_tables, timed


def batch():
    """(x_t, t/T, ε) of one training batch, NumPy."""
    import numpy as np

    rng = np.random.default_rng(0)
    xt, noise = rng.standard_normal((2, BATCH, 28, 28, 1), dtype=np.float32)
    return xt, rng.random((BATCH, 1), dtype=np.float32), noise


def classic(fused=True):
    """The classic network; ``fused`` is the form in which the lab trains and samples."""
    from labutils.networks import build_classic_unet, fuse_upsampling

    network = build_classic_unet()
    return fuse_upsampling(network) if fused else network


def tape_step(fused=False, compiled=None):
    """A training step on the tape: eager (None), as a graph, or by XLA; images/s and CPU seconds."""
    network = classic(fused)
    import keras
    import tensorflow as tf

    optimizer = keras.optimizers.Adam(2e-4)
    optimizer.build(network.trainable_variables)

    def step(xt, time_, noise):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((network([xt, time_]) - noise) ** 2)
        optimizer.apply(tape.gradient(loss, network.trainable_variables), network.trainable_variables)
        return loss

    if compiled:
        step = tf.function(step, jit_compile=compiled == "xla")
    inputs = [tf.constant(x) for x in batch()]
    seconds, cpu = timed(lambda: step(*inputs).numpy(), TRAIN_STEPS)
    return {"images_per_second": BATCH / seconds, "cpu_seconds_per_step": cpu}


def lab_training():
    """``labutils.training.train`` as the lessons call it, drawing t and noise included; images/s."""
    import numpy as np

    network = classic()
    from labutils.schedule import linear_schedule
    from labutils.training import train

    images = np.clip(np.random.default_rng(0).standard_normal((BATCH * TRAIN_STEPS, 28, 28, 1)), -1, 1)
    history = train(network, linear_schedule(), images.astype(np.float32), 3)  # the first epoch compiles
    return {"images_per_second": len(images) / np.mean(history["seconds"][1:])}


def generate_image():
    """The original's sampling: one image, one eager call of the network for each step; images/s at 1000 steps.

    It prepares all that an eager program can prepare: the tables are Python numbers, made before the loop.
    """
    network = classic(fused=False)
    import tensorflow as tf

    T = 1000
    a, b, sigma = original_tables(T)
    x = tf.random.normal((1, 28, 28, 1))
    for _ in range(WARM_UP):
        network([x, tf.zeros((1, 1))])
    started = time.perf_counter()
    for t in range(SAMPLE_STEPS - 1, -1, -1):
        predicted = network([x, tf.fill((1, 1), t / T)])
        x = a[t] * x - b[t] * predicted + sigma[t] * tf.random.normal(x.shape)
    x.numpy()
    return {"images_per_second": SAMPLE_STEPS / T / (time.perf_counter() - started)}


def scaling(sizes=((64, 25), (64, 100), (128, 100), (256, 100))):
    """``sample`` with the classic network, compiling included; seconds for each "images × steps"."""
    network = classic()
    from labutils.sampling import sample
    from labutils.schedule import linear_schedule

    sample(network, linear_schedule(), 1, (28, 28, 1), steps=1, progress=False)
    found = {}
    for count, steps in sizes:
        started = time.perf_counter()
        sample(network, linear_schedule(), count, (28, 28, 1), steps=steps, progress=False)
        found[f"{count} × {steps}"] = time.perf_counter() - started
    return {"seconds": found}


def lab_classic():
    """``sample`` with the classic network, compiling included; images/s at 1000 steps."""
    (seconds,) = scaling(((BATCH, SAMPLE_STEPS),))["seconds"].values()
    return {"images_per_second": BATCH * SAMPLE_STEPS / 1000 / seconds}


def lab_best(name, steps, guidance=None, count=640):
    """``sample`` with a committed checkpoint and dpmpp_2m, compiling included; images/s."""
    import labutils  # noqa: F401
    from labutils import networks, pretrained
    from labutils.sampling import sample

    network, schedule, shape, options = pretrained.load_for_sampling(name)
    if guidance is not None:
        options |= {"guidance": guidance, "labels": networks.even_labels(count)}
    started = time.perf_counter()
    sample(network, schedule, count, shape, sampler="dpmpp_2m", steps=steps, progress=False, **options)
    return {"images_per_second": count / (time.perf_counter() - started)}


def peak_mb():
    """The most memory that this process has held, in MB."""
    import resource  # absent on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory_of_training():
    """Peak memory of training the classic network on all of MNIST (the first 50 steps); MB."""
    import labutils  # noqa: F401
    from labutils import data
    from labutils.schedule import linear_schedule
    from labutils.training import train

    train(classic(), linear_schedule(), data.load("mnist").x_train[: 50 * BATCH], 1)
    return {"peak_mb": peak_mb()}


def memory_of_sampling(count):
    """Peak memory of drawing ``count`` images with the fast checkpoint, 10 steps; MB."""
    found = lab_best("fast", 10, count=count)
    return {**found, "peak_mb": peak_mb()}


def matmul():
    """What the machine can do: multiply-adds of a large matrix product; GFLOP/s."""
    import tensorflow as tf

    import labutils  # noqa: F401

    a = tf.random.normal((2048, 2048))
    product = tf.function(tf.matmul)
    return {"gflops": 2 * 2048**3 / timed(lambda: product(a, a).numpy(), 10)[0] / 1e9}


def layers():
    """Forward and backward pass of every layer of the classic network alone, batch 64; milliseconds."""
    network = classic(fused=False)
    import keras
    import tensorflow as tf

    xt, time_, _ = batch()
    found = {}
    for layer in network.layers[2:] if isinstance(network.layers[1], keras.layers.InputLayer) else network.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        inputs = keras.Model(network.inputs, layer.input)([xt, time_])

        @tf.function
        def both(inputs, layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                output = layer(inputs)
            return tape.gradient(output, [inputs, layer.trainable_variables], output_gradients=tf.ones_like(output))

        found[layer.name] = 1e3 * timed(lambda both=both, inputs=inputs: both(inputs), TRAIN_STEPS)[0]
    return {"milliseconds": found}


def _torch(name):
    from benchmarks import torch_peers

    return getattr(torch_peers, name)


# Rows of benchmarks.quality whose speed is measured: contender → (checkpoint, steps of dpmpp_2m, guidance).
CHECKPOINTS = {
    "lab, fast_conditional, 24 calls": ("fast_conditional", 12, 0.5),
    "lab, fast_conditional, 5 calls": ("fast_conditional", 5, 0.0),
    "lab, fast, 10 calls": ("fast", 10, None),
}
CONTENDERS = {
    "train": {
        "original loop": tape_step,
        "original loop, compiled": lambda: tape_step(compiled="graph"),
        "lab": lab_training,
        "PyTorch, channels last": lambda: _torch("train_step")(),
        "PyTorch, torch.compile": lambda: _torch("train_step")(compiled=True),
    },
    "choices": {
        "graph, short cut": lambda: tape_step(True, "graph"),
        "XLA, short cut": lambda: tape_step(True, "xla"),
        "graph, short cut, no oneDNN": lambda: tape_step(True, "graph"),
    },
    "sample": {
        "original generate_image": generate_image,
        "lab, classic": lab_classic,
        "PyTorch, channels last": lambda: _torch("draw")(),
        "PyTorch, torch.compile": lambda: _torch("draw")(compiled=True),
        "diffusers DDPMPipeline": lambda: _torch("pipeline")(),
        **{name: functools.partial(lab_best, *row) for name, row in CHECKPOINTS.items()},
    },
    "machine": {"matmul": matmul},
    "scaling": {"lab, classic": scaling},
    "memory": {
        "training": memory_of_training,
        "sampling 500": lambda: memory_of_sampling(500),
        "sampling 10,000": lambda: memory_of_sampling(10_000),
    },
    "layers": {"layers": layers},
}
# What a contender needs in its environment, before TensorFlow starts.
ENVIRONMENT = {
    "graph, short cut, no oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "0"},
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("group", metavar="GROUP", help=", ".join(CONTENDERS))
    parser.add_argument("name", metavar="NAME", help="a contender of the group")
    options = parser.parse_args()
    print(json.dumps(CONTENDERS[options.group][options.name]()))
