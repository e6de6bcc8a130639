"""The contenders of ``benchmarks.speed``, each in its own process: ``python -m benchmarks.contenders GROUP NAME``.

Each prints one line of JSON. All use the layers of the classic network, except diffusers and the lab's other
checkpoints. Each is timed after a warm-up; inputs, tables of numbers and compiled programs are made before. How long
the lab compiles is a number of its own. Only the lab's training includes more: it draws t and the noise of each batch.

The lab's original programs are not part of this repository. They are rebuilt from their description: a training step
on ``tf.GradientTape`` as one ``tf.function``, and ``generate_image``, which calls the network eagerly once for every
step of one image. Both run with the library oneDNN, as the lab does.
"""

import argparse
import functools
import json
import time

import numpy as np

BATCH, WARM_UP, TRAIN_STEPS = 64, 3, 20
SAMPLE_STEPS = 250  # of 1000: the cost is proportional to the steps, which `scaling` measures


def timed(function, repeat):
    """Mean (wall-clock seconds, processor seconds of all threads) of ``repeat`` calls, after a warm-up."""
    for _ in range(WARM_UP):
        function()
    started, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeat):
        function()
    return (time.perf_counter() - started) / repeat, (time.process_time() - cpu) / repeat


def original_tables(T=1000):
    """The numbers of algorithm 2 of the DDPM paper, made once: lists a, b, σ of x ← a·x − b·ε + σ·z."""
    betas = np.linspace(1e-4, 0.02, T)
    alphas = 1.0 - betas
    alpha_bars = np.cumprod(alphas)
    a = 1.0 / np.sqrt(alphas)
    variances = betas * (1.0 - np.append(1.0, alpha_bars[:-1])) / (1.0 - alpha_bars)  # β̃: 0 at t = 0
    return [table.tolist() for table in (a, a * betas / np.sqrt(1.0 - alpha_bars), np.sqrt(variances))]


def batch():
    """(x_t, t/T, ε) of one training batch, NumPy."""
    rng = np.random.default_rng(0)
    xt, noise = rng.standard_normal((2, BATCH, 28, 28, 1), dtype=np.float32)
    return xt, rng.random((BATCH, 1), dtype=np.float32), noise


def classic(fused=True):
    """The classic network; ``fused`` is the form in which the lab trains and samples."""
    from labutils.networks import build_classic_unet, fuse_upsampling

    network = build_classic_unet()
    return fuse_upsampling(network) if fused else network


def classic_diffusion():
    """The classic network as a diffusion model, as the lab trains it."""
    from labutils.training import EXPERIMENTS

    return EXPERIMENTS["classic"].diffusion(classic())


def tape_step(fused=False, compiler="graph"):
    """A training step on the tape, compiled as a graph or by XLA; images/s and CPU seconds."""
    network = classic(fused)
    import keras
    import tensorflow as tf

    optimizer = keras.optimizers.Adam(2e-4)
    optimizer.build(network.trainable_variables)

    @tf.function(jit_compile=compiler == "xla")
    def step(xt, time_, noise):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((network([xt, time_]) - noise) ** 2)
        optimizer.apply(tape.gradient(loss, network.trainable_variables), network.trainable_variables)
        return loss

    inputs = [tf.constant(x) for x in batch()]
    seconds, cpu = timed(lambda: step(*inputs).numpy(), TRAIN_STEPS)
    return {"images_per_second": BATCH / seconds, "cpu_seconds_per_step": cpu}


def lab_training():
    """``labutils.training.train`` as the lessons call it, drawing t and noise included; images/s."""
    from labutils.training import train

    images = np.clip(np.random.default_rng(0).standard_normal((BATCH * TRAIN_STEPS, 28, 28, 1)), -1, 1)
    history = train(classic_diffusion(), images.astype(np.float32), 3)  # the first epoch compiles
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
    diffusion = classic_diffusion()
    from labutils.sampling import sample

    sample(diffusion, 1, steps=1, progress=False)
    found = {}
    for count, steps in sizes:
        started = time.perf_counter()
        sample(diffusion, count, steps=steps, progress=False)
        found[f"{count} × {steps}"] = time.perf_counter() - started
    return {"seconds": found}


def bare_calls():
    """The classic network alone, called as often as 1000 steps need; images/s."""
    import tensorflow as tf

    network, (xt, time_, _) = tf.function(classic()), batch()
    inputs = [tf.constant(xt), tf.constant(time_)]
    return {"images_per_second": BATCH / 1000 / timed(lambda: network(inputs).numpy(), 100)[0]}


def lab_drawing(diffusion, sampler, steps, of=None, repeat=1):
    """labutils.sampling.Sampler with a batch of 64; images/s, and the seconds until its graph is compiled.

    Args:
        diffusion, sampler, steps: what is drawn. of: count the steps of a whole drawing as this many; None as they are.
        repeat: so many drawings are timed.
    """
    from labutils.networks import even_labels
    from labutils.sampling import Sampler

    start = np.random.default_rng(0).standard_normal((BATCH, *diffusion.shape), dtype=np.float32)
    labels = even_labels(BATCH) if diffusion.is_conditional else None
    started = time.perf_counter()
    compiled = Sampler(diffusion, sampler=sampler, steps=steps)
    states = compiled.run(start, condition=labels, chunk=1, x0=False)
    next(states), next(states)  # the start, and the state after one step, which compiles
    compiling = time.perf_counter() - started
    started = time.perf_counter()
    for _ in range(repeat):
        list(compiled.run(start, condition=labels, x0=False))
    seconds = (time.perf_counter() - started) / repeat
    return {"images_per_second": BATCH * steps / (of or steps) / seconds, "compile_seconds": compiling}


def lab_classic():
    """The classic network with algorithm 2 of the DDPM paper; images/s at 1000 steps."""
    return lab_drawing(classic_diffusion(), "ddpm", SAMPLE_STEPS, of=1000)


def lab_best(name, steps, guidance=None):
    """A committed checkpoint with dpmpp_2m; images/s."""
    from labutils import pretrained

    return lab_drawing(pretrained.load_diffusion(name).with_guidance(guidance or 0.0), "dpmpp_2m", steps, repeat=10)


def peak_mb():
    """The most memory that this process has held, in MB."""
    import resource  # absent on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory_of_training():
    """Peak memory of training the classic network on all of MNIST (the first 50 steps); MB."""
    from labutils import data
    from labutils.training import train

    train(classic_diffusion(), data.load("mnist").x_train[: 50 * BATCH], 1)
    return {"peak_mb": peak_mb()}


def memory_of_sampling(count):
    """Peak memory of drawing ``count`` images with the fast checkpoint, 10 steps; MB."""
    from labutils import pretrained
    from labutils.sampling import sample

    sample(pretrained.load_diffusion("fast"), count, sampler="dpmpp_2m", steps=10, progress=False)
    return {"peak_mb": peak_mb()}


def layers():
    """Forward and backward pass of every layer of the classic network alone, batch 64; milliseconds."""
    network = classic(fused=False)
    import keras
    import tensorflow as tf

    xt, time_, _ = batch()
    found = {}
    for layer in network.layers:
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


def torch_peer(name, *makers, **options):
    """A function of benchmarks.torch_peers, which needs ``requirements-oracle.txt``, with others as its arguments."""
    from benchmarks import torch_peers

    return getattr(torch_peers, name)(*(getattr(torch_peers, maker) for maker in makers), **options)


# Rows of benchmarks.quality whose speed is measured: contender → (checkpoint, steps of dpmpp_2m, guidance).
CHECKPOINTS = {
    "lab, fast_conditional, 24 calls": ("fast_conditional", 12, 0.5),
    "lab, fast_conditional, 5 calls": ("fast_conditional", 5, 0.0),
    "lab, fast, 10 calls": ("fast", 10, None),
}
CONTENDERS = {
    "train": {
        "original loop": tape_step,
        "lab": lab_training,
        "PyTorch, channels last": lambda: torch_peer("train_step"),
        "PyTorch, torch.compile": lambda: torch_peer("train_step", compiled=True),
    },
    "choices": {
        "graph, fused": lambda: tape_step(fused=True),
        "XLA, fused": lambda: tape_step(fused=True, compiler="xla"),
        "graph, fused, without oneDNN": lambda: tape_step(fused=True),
    },
    "sample": {
        "original generate_image": generate_image,
        "lab, calls of the network alone": bare_calls,
        "lab, classic": lab_classic,
        "PyTorch, channels last": lambda: torch_peer("draw", "torch_forward"),
        "PyTorch, torch.compile": lambda: torch_peer("draw", "torch_forward", compiled=True),
        "ONNX Runtime": lambda: torch_peer("draw", "onnx_forward"),
        "OpenVINO": lambda: torch_peer("draw", "openvino_forward"),
        "diffusers DDPMPipeline": lambda: torch_peer("pipeline"),
        **{name: functools.partial(lab_best, *row) for name, row in CHECKPOINTS.items()},
    },
    "scaling": {"lab, classic": scaling},
    "memory": {
        "training": memory_of_training,
        "sampling 500": lambda: memory_of_sampling(500),
        "sampling 10,000": lambda: memory_of_sampling(10_000),
    },
    "layers": {"layers": layers},
}
# What a contender needs in its environment, before TensorFlow starts.
ENVIRONMENT = {"graph, fused, without oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "0"}}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("group", metavar="GROUP", help=", ".join(CONTENDERS))
    parser.add_argument("name", metavar="NAME", help="a contender of the group")
    options = parser.parse_args()
    print(json.dumps(CONTENDERS[options.group][options.name]()))
