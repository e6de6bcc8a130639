# %% [markdown]
# # 4 · Training: learn to see the noise
#
# You have images, a way to add noise to them, and a network. Training is now plain supervised regression: show the
# network $x_t$ and t, ask for the noise, correct the weights. The difficult part is to know what a good run looks like,
# and to see quickly when something is wrong. At the end you train a network, and you can read many of its digits.
#
# **You will be able to**
# - write the loss and one training step, and say what each line does;
# - say which loss to expect at which point of a run;
# - turn an error of the noise into an error of the picture, and say where the network knows nothing;
# - find the cause of a bad run from its symptoms;
# - stop a run, resume it, and prove that nothing was lost;
# - read the complete program, from noise to digits, on one page.
#
# **Time:** about 95 minutes with the exercises.
#
# Source: Ho et al. 2020, [DDPM](https://arxiv.org/abs/2006.11239), algorithm 1 and eq. 14.

# %% [markdown] tags=["badges"]
# [Text source of this lesson](source/04_training.py) · no account or GPU needed

# %% tags=["parameters"]
# PRESET: "smoke" (seconds, a test), "quick" (minutes, a laptop),
# "full" (hours: the numbers that the lab reports)
# DATASET: "auto" takes MNIST, else the digits of scikit-learn
PRESET = "quick"
DATASET = "auto"
SEED = 0

# %% tags=["setup"]
# Setup: finds labutils beside the notebooks. On Colab it fetches the lab first; it upgrades nothing.
import importlib.util, subprocess, sys

REPOSITORY, TAG = "", "v1.1.0"
sys.path += ["..", "lab"]
if importlib.util.find_spec("labutils") is None:
    if not REPOSITORY:
        raise ModuleNotFoundError("labutils is not here: take the file that `python -m lab colab` makes of this lesson")
    subprocess.run(["git", "clone", "-q", "--depth", "1", "--branch", TAG, REPOSITORY, "lab"], check=True)
    importlib.invalidate_caches()
import labutils  # before TensorFlow: it keeps the start-up messages away

# %%
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from labutils import checks, data, diagrams, evaluation, pretrained, results, samplers
from labutils import networks, plots, presets, sampling, training
from labutils.checks.lesson_4 import CAUSES
from labutils.checks.values import StubNetwork
from labutils.diffusion import Diffusion
from labutils.networks import classifiers
from labutils.schedule import linear_schedule
from labutils.training import keras_progress

import keras

settings = presets.get(PRESET, SEED)
plots.use_lab_style()
images = data.load(DATASET)
name = images.note or images.name  # what the figures call the data
x_train = images.x_train[: settings.train_images]
x_test = images.x_test[: min(settings.test_images, 1_000)]
schedule = linear_schedule()
print(f"preset {settings.name}: {len(x_train):,} images of {name}, {settings.epochs} epochs")

# %% [markdown]
# The box in colour is this lesson's part: compare the prediction with the noise, and change the weights.

# %%
diagrams.show_pipeline(4)

# %% [markdown]
# ## 4.1 The loss
#
# Draw an image, a step t (each t is equally likely) and noise ε. The network sees $x_t$ and t. The loss is the squared
# difference between the noise and the network's answer:
#
# $$ L = \mathbb E_{x_0, t, \varepsilon}\;\left\lVert\varepsilon - \varepsilon_\theta\big(\underbrace{\sqrt{\bar\alpha_t}\,x_0 +
# \sqrt{1-\bar\alpha_t}\,\varepsilon}_{x_t},\; t\big)\right\rVert^2 $$
#
# We take the *mean* over all pixels. So the number means the same for every image size. DDPM calls this loss
# $L_\text{simple}$. Section 4.2 ends with the reason for it, as optional reading.

# %% [markdown]
# ### Exercise 4.1 – the loss
# *2 points · code · difficulty ●○○○ · about 5 minutes*
#
# Write `noise_loss(network, schedule, x0, t, noise)`, one number. The network is called as
# `network([xt, time])`, where `time` is t/T as a column: `networks.network_time(t, schedule.T)`. Use
# `schedule.add_noise(x0, t, noise)`, and TensorFlow for the mean, so that gradients can flow.
#
# <details><summary>Help: "the network gets t itself"</summary>
#
# Which numbers was the network built for, 0 … 999 or 0 … 1? Which function of the text above divides?
# </details>
#
# <details><summary>Help: "the target is the clean image"</summary>
#
# What does the lab's network predict? Lesson 3 names it on the last box of its drawing.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-4-1-noise-loss", "grade": false, "solution": true, "locked": false, "task": false}
def noise_loss(network, schedule, x0, t, noise):
    """Mean squared error of the predicted noise, one number."""
    ### BEGIN SOLUTION
    xt = schedule.add_noise(x0, t, noise)
    predicted_noise = network([xt, networks.network_time(t, schedule.T)])
    return tf.reduce_mean((predicted_noise - noise) ** 2)
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-4-1-noise-loss", "grade": true, "solution": false, "locked": true, "points": 2, "task": false}
checks.check_noise_loss(noise_loss)

# %% [markdown]
# ### What loss to expect
#
# Two "networks" that learn nothing give two numbers to compare with. One always answers 0. The other answers $x_t$
# itself. `answer_or` takes your function if it has passed its check, and else the lab's.
#
# **Predict before you run:** what is the loss of the first, and is the second better or worse?

# %%
prediction = "…"  # write your guess between the quotes

# %%
def by_labutils(network, schedule, x0, t, noise):
    """The same by labutils: a `Diffusion` is a network and the schedule that belongs to it."""
    return Diffusion(network, schedule).loss(x0, t, noise)


loss_of = checks.check_noise_loss.answer_or(by_labutils)
every_t = np.linspace(0, schedule.T - 1, len(x_test)).astype(np.int32)  # one t for each image, evenly spread
noise = np.random.default_rng(SEED).standard_normal(x_test.shape, dtype=np.float32)
shapes = [(None, *images.image_shape), (None, 1)]  # of x_t and t/T
zero = StubNetwork(lambda xt, time: 0.0 * xt, shapes)  # takes the place of a network
copy = StubNetwork(lambda xt, time: xt, shapes)
of_zero, of_copy = (float(loss_of(network, schedule, x_test, every_t, noise)) for network in (zero, copy))
plots.show_prediction(prediction, f"'answer 0' has the loss {of_zero:.2f}, 'answer x_t' has {of_copy:.2f}")
assert abs(of_zero - 1) < 0.05

# %% [markdown]
# **1.0 is the loss of knowing nothing.** It is the variance of the noise. A run that stays near 1.0 is not learning.
# The answer $x_t$ is much better: at large t, $x_t$ *is* almost the noise. A trained network must be well below this
# second number, too.
#
# ## 4.2 One training step
#
# 1. Open a `tf.GradientTape`: it records every operation.
# 2. Compute the loss inside it.
# 3. Ask the tape for the gradient of the loss with respect to each weight.
# 4. Let the optimiser move the weights a little against the gradient.

# %% [markdown]
# ### Exercise 4.2 – the train step
# *2 points · code · difficulty ●●○○ · about 10 minutes*
#
# Write `train_step(network, optimizer, schedule, x0, t, noise)`: do the four steps once and return the loss of
# step 2. `Diffusion(network, schedule).loss(x0, t, noise)` is the loss of exercise 4.1.
#
# <details><summary>Help: "No gradients provided for any variable"</summary>
#
# Where is the loss computed: inside the `with tf.GradientTape() as tape:` block, or outside? The tape records only
# TensorFlow operations inside it. If the loss is turned into a float or a NumPy array, the tape cannot follow it any more.
# </details>
#
# <details><summary>Help: "the weights did not change"</summary>
#
# Which object knows how to move a weight? It has a method for it, which takes pairs of a gradient and its weight.
# Python's `zip` makes pairs.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-4-2-train-step", "grade": false, "solution": true, "locked": false, "task": false}
def train_step(network, optimizer, schedule, x0, t, noise):
    """One step of gradient descent; returns the loss before it."""
    ### BEGIN SOLUTION
    with tf.GradientTape() as tape:
        loss = Diffusion(network, schedule).loss(x0, t, noise)
    gradients = tape.gradient(loss, network.trainable_variables)
    optimizer.apply_gradients(zip(gradients, network.trainable_variables))
    return loss
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-4-2-train-step", "grade": true, "solution": false, "locked": true, "points": 2, "task": false}
checks.check_train_step(train_step)

# %% [markdown]
# ### The whole training loop
#
# Here is the loop around your step: for each epoch shuffle the images, cut them into batches, draw **one t for each
# image** and fresh noise. The random numbers are functions of (seed, epoch, step), so a run can be repeated exactly.
# `training.train` draws the same batches and hands them to Keras' `fit`. It does the same four steps, and brings
# progress bars, callbacks and checkpoints.
#
# **Predict before you run:** your loop and `fit` begin with the same weights and the same seed. How far apart will their
# weights be after ten steps?

# %%
prediction = "…"  # write your guess between the quotes

# %%
def fresh_network():
    """The classic network with the first weights of this SEED."""
    keras.utils.set_random_seed(SEED)
    return networks.fuse_upsampling(networks.build_classic_unet(images.image_shape))  # the same in less time: lesson 7.1


def by_labutils(network, optimizer, schedule, x0, t, noise):
    """The same by labutils."""
    return training.training_step(Diffusion(network, schedule), optimizer, x0, t, noise)


step = checks.check_train_step.answer_or(by_labutils)
x_few, losses = x_train[: 5 * 64], []
by_loop, optimizer = fresh_network(), keras.optimizers.Adam(2e-4)
for epoch in range(2):
    order = np.random.default_rng([SEED, epoch, 0]).permutation(len(x_few))
    for number, start in enumerate(range(0, len(x_few), 64)):
        rng = np.random.default_rng([SEED, epoch, number + 1])
        x0 = x_few[order[start : start + 64]]
        t = rng.integers(0, schedule.T, size=len(x0), dtype=np.int32)  # one t for each image
        noise = rng.standard_normal(x0.shape, dtype=np.float32)
        losses.append(float(step(by_loop, optimizer, schedule, x0, t, noise)))

# %%
by_fit = fresh_network()
history = training.train(Diffusion(by_fit, schedule), x_few, 2, seed=SEED)
print("loss of each step of the loop:", " ".join(f"{loss:.3f}" for loss in losses))
apart = max(np.abs(a - b).max() for a, b in zip(by_loop.get_weights(), by_fit.get_weights()))
plots.show_prediction(prediction, f"at most {apart:.1e} apart; one step moves a weight by about 2e-4")
assert np.isclose(np.mean(losses[-len(losses) // 2 :]), history["loss"][-1], atol=0.02)

# %% [markdown]
# After ten steps the weights differ by much less than one step moves them. Only rounding and the order of the arithmetic
# differ. So `fit` does nothing that your loop does not do.
#
# ### Why these settings?
#
# | setting | reason |
# | --- | --- |
# | MSE | it follows from the likelihood (end of this section) |
# | batches of 64 | loss and gradient of one image depend much on its t and its noise. A batch averages over 64 of them (measured below). A larger batch is steadier still, but gives fewer steps for the same work |
# | shuffled | each batch should be a fair sample of all digits. In a sorted data set the network would see one digit for many steps and forget the others |
# | t uniform | each t counts as much as every other, as in $L_\text{simple}$ |
# | Adam | the sizes of the gradients differ between layers (measured below). Adam divides each weight's step by the recent size of its gradient, so one rate serves all layers (Kingma, Ba 2015, [arXiv:1412.6980](https://arxiv.org/abs/1412.6980)) |
# | rate 2e-4 | the DDPM paper's value for small images, set there "without any sweeping" (appendix B). Section 4.7 shows what 100 times less and 100 times more do |
#
# We measure two of these reasons. First, the scatter of the loss.
#
# **Predict before you run:** how much smaller is the scatter of the loss with 64 images than with 1?

# %%
prediction = "…"  # write your guess between the quotes

# %%
rng, batches, scatter = np.random.default_rng(SEED), 30 if PRESET != "smoke" else 5, {}
for count in (1, 8, 64):
    values = []
    for _ in range(batches):
        some = x_train[rng.choice(len(x_train), count)]
        t, noise = training.draw_noise(some, schedule.T, rng)
        values.append(float(loss_of(by_fit, schedule, some, t, noise)))
    scatter[count] = np.mean(values), np.std(values)
plots.show_table(["images in a batch", "mean loss", f"scatter of {batches} batches (standard deviation)"],
                 [[count, f"{mean:.2f}", f"{std:.3f}"] for count, (mean, std) in scatter.items()])
plots.show_prediction(prediction, f"{scatter[1][1] / scatter[64][1]:.1f} times smaller")

# %% [markdown]
# In theory the scatter falls like one over the square root of the batch size: 64 images should have an eighth of it. The
# measured factor is near that. (30 batches measure each scatter only to about ±13 %.)
#
# Second, the size of the gradient in each layer. With plain gradient descent and rate 1 each weight moves by minus its
# gradient. So the difference of the weights before and after *is* the gradient, and your function can measure it.

# %%
before = by_fit.get_weights()
step(by_fit, keras.optimizers.SGD(1.0), schedule, some, t, noise)
gradients = [old - new for old, new in zip(before, by_fit.get_weights())]
sizes = {w.path: np.sqrt(np.mean(g**2)) for w, g in zip(by_fit.weights, gradients) if "kernel" in w.path}
plots.show_table(["layer", "typical gradient"], [[path, f"{size:.1e}"] for path, size in sizes.items()])

# %% [markdown]
# In the saved run the layers from `down_1` to `predicted_noise` differ by a factor of about 100. In `time_map` the gradient is thousands of times smaller
# than in the last layer. (Many of its units answer 0 for every t, as lesson 3 shows. Their gradient is 0.) Without Adam's scaling, one rate
# would be far too small for one layer, or far too large for another.
#
# ### Two things that other programs do
#
# **A graph.** `fit` does not run your Python code in every step. It marks the step with `@tf.function`: TensorFlow
# records the operations of the first call as a *graph*, and repeats the graph without Python. That is faster. Python code
# inside it, such as a `print`, runs only while the graph is recorded.
#
# **A shuffle buffer.** Many programs shuffle with `tf.data` and `dataset.shuffle(1024)`. This is not a full shuffle: TensorFlow fills
# a buffer with 1,024 images and draws from this buffer only. The cell shows both.

# %%
python_ran = []


@tf.function
def answer(xt, time):
    """The network's answer, as a graph."""
    python_ran.append("now")  # Python: runs only while the graph is recorded
    return by_fit([xt, time])


for _ in range(3):
    answer(tf.constant(x_few[:1]), tf.constant([[0.5]]))
first = [int(i) for i in tf.data.Dataset.range(60_000).shuffle(1024, seed=SEED).take(64)]
print(f"3 calls of the graph; the Python inside ran {len(python_ran)} time(s)")
print(f"first batch of shuffle(1024): the numbers {min(first):,} to {max(first):,} of 60,000")
assert len(python_ran) == 1 and max(first) < 1024 + 64

# %% [markdown]
# The Python code ran once. The first batch holds only images from the beginning of the data set. If the
# images are sorted by digit, such a batch shows mostly one digit. The lab shuffles all images in each epoch.
#
# ### Optional: where this loss comes from
#
# You may skip to section 4.3. Nothing later needs this part.
#
# 1. **Likelihood.** A generative model should make the training images probable: $\log p_\theta(x_0)$ should be
#    large. It cannot be computed, since it needs an integral over all paths from noise to the image. A lower bound can be
#    computed: the **ELBO** (*evidence lower bound*; Sohl-Dickstein et al. 2015,
#    [arXiv:1503.03585](https://arxiv.org/abs/1503.03585); DDPM eq. 3–5). It is a sum: one term for each step in between, one
#    for the first step and one for the last. A term in between is
#    $-\mathrm{KL}\big(q(x_{t-1}\mid x_t, x_0)\,\big\Vert\,p_\theta(x_{t-1}\mid x_t)\big)$. The KL divergence measures how far
#    the learned reverse step is from the true one.
# 2. **Squared error.** Both distributions are Gaussian, and the variance of the learned one is fixed to $\sigma_t^2$.
#    Then the KL divergence is the squared distance of the two means, divided by $2\sigma_t^2$, plus a constant.
#    So maximising the bound means minimising a squared error. This is why the loss is the MSE and not, say, the
#    absolute error. Its best answer is the *mean* of all noises that fit $x_t$.
# 3. **Noise.** The means differ only in ε and $\varepsilon_\theta$ ([lesson 5](05_sampling.ipynb) does the algebra).
#    What remains is $w_t \lVert\varepsilon - \varepsilon_\theta\rVert^2$ with
#    $w_t = \beta_t^2 / \big(2\sigma_t^2\alpha_t(1-\bar\alpha_t)\big)$ (DDPM eq. 12).
# 4. **$L_\text{simple}$.** DDPM drops the weights $w_t$ and takes 1 for all t (eq. 14). That is no longer the bound
#    on the likelihood. But the paper measured better images with it: an FID (a distance to real images, smaller is
#    better) of 3.17 in place of 13.51 on CIFAR-10 (table 2).
#
# **Predict before you run:** which steps count most with the weights $w_t$: the ones with little noise or with much
# noise?

# %%
prediction = "…"  # write your guess between the quotes

# %% tags=["nbval-check-output"]
weights = schedule.betas / (2 * schedule.alphas * (1 - schedule.alpha_bars))  # w_t with σ_t² = β_t
lowest = int(weights.argmin())
shown = [1, 10, 100, lowest, 500, 999]
plots.show_table(["t", *shown], [["w_t", *(f"{weights[t]:.4f}" for t in shown)]])
plots.show_prediction(prediction, f"little noise: t = 1 counts {weights[1] / weights[500]:.0f} times as much as t = 500")

# %% [markdown]
# With the weights $w_t$ the first steps would count far more than all others. In these steps the task is only to remove the last faint
# noise. (t = 0 is missing in the table, because it belongs to the term for the end of the chain.) The smallest weight stands at
# t = 348. After it $w_t$ rises again, because β grows while $1-\bar\alpha_t$ is nearly 1. With equal weights the network spends more of its effort on larger t, where much
# noise must be removed (DDPM, section 3.4). Section 4.5 shows why those steps matter for the picture.
#
# **The network also estimates the score.** The *score* is the direction in which $x_t$ becomes more probable: the gradient
# of $\log q(x_t)$. It is $-\mathbb E[\varepsilon\mid x_t]/\sqrt{1-\bar\alpha_t}$. So the trained network gives an
# estimate of it, $-\varepsilon_\theta(x_t, t)/\sqrt{1-\bar\alpha_t}$ (denoising score matching: Vincent 2011,
# [doi:10.1162/NECO_a_00142](https://doi.org/10.1162/NECO_a_00142); Song et al. 2021,
# [arXiv:2011.13456](https://arxiv.org/abs/2011.13456)).

# %% [markdown]
# ## 4.3 A training run
#
# The classic network needs two hours for its 50 epochs (section 4.4). For a short run we take `fast`, a network made
# for two cores ([lesson 7](07_better_and_faster.ipynb) explains it). Loss, batches of 64, shuffling and
# uniform t are the same as above. Three things are new:
#
# - **The largest rate is ten times higher, 2e-3, and the rate falls to 0**: large steps first, small steps at the end.
# - **Warm-up:** over the first steps the rate rises from 0 to this value. At the start, Adam's averages of the gradient's size come
#   from a few batches only, so its first steps are unreliable (Liu et al. 2020,
#   [arXiv:1908.03265](https://arxiv.org/abs/1908.03265)).
# - **Clipping:** a gradient longer than 1 (all weights together) is shortened to 1. Its direction stays the same. So one
#   bad batch cannot change the weights too much (Pascanu et al. 2013, [arXiv:1211.5063](https://arxiv.org/abs/1211.5063)).
#
# After each epoch a *callback* draws a few samples ([lesson 5](05_sampling.ipynb) shows how), always from the same noise.
#
# **Predict before you run:** how many of the eight digits will you be able to read at the end of this run?

# %%
prediction = "…"  # write your guess between the quotes

# %%
preview = min(100, settings.sample_steps)  # steps of the sampler


class SampleGrid(keras.callbacks.Callback):
    """Keeps a row of samples after each epoch."""

    def __init__(self, diffusion):
        super().__init__()
        self.diffusion, self.rows = diffusion, []

    def on_epoch_end(self, epoch, logs=None):
        """Draw from the same noise as after the other epochs."""
        self.rows.append(sampling.sample(self.diffusion, 8, steps=preview, seed=SEED, progress=False))


keras.utils.set_random_seed(SEED)
this_run = Diffusion(networks.build("fast", images.image_shape), schedule)
config = training.TrainingConfig(learning_rate=2e-3, clip_norm=1.0, warmup_steps=len(x_train) // 128,
                                 decay_epochs=settings.epochs)
grid = SampleGrid(this_run)
history = training.train(this_run, x_train, settings.epochs, config=config, seed=SEED,
                         validation_images=x_test[:500],
                         callbacks=[grid, keras_progress(settings.epochs, "training")])

# %%
figure, ax = plots.axes(f"This run ({name})", "epoch", "noise MSE (logarithmic)")
epochs = np.arange(1, len(history["loss"]) + 1)
ax.semilogy(epochs, history["loss"], "o-", label="training")
ax.semilogy(epochs, history["val_loss"], "s--", label="test images")
ax.axhline(1.0, color="black", linewidth=0.8, linestyle=":", label="knowing nothing")
ax.set(ylim=(0.02, 1.3), xticks=epochs[:: max(1, len(epochs) // 10)])
ax.set_yticks([0.03, 0.1, 0.3, 1], ["0.03", "0.1", "0.3", "1"])
ax.minorticks_off()
ax.legend()
plots.show(figure, f"The noise-prediction error over {len(epochs)} epochs, logarithmic; test error: "
           + ", ".join(f"{v:.3f}" for v in history["val_loss"][:8]) + ".")
assert history["val_loss"][-1] < 1.0

# %% [markdown]
# In the first epoch the test error can lie *below* the training error. That is no mistake. The training error is the
# mean over the epoch, while the network learns. The test error is measured at the end of the epoch.

# %%
_, classifier = evaluation.load_judges()
reads = images.name in ("mnist", "digits")  # the classifier knows no other images


def sure(drawn):
    """On how many images the lab's classifier is sure that it sees a digit (at least 90 %)."""
    scores = tf.nn.softmax(classifiers.predict(classifier, np.clip(np.array(drawn), -1, 1))).numpy()
    return f"{np.sum(scores.max(axis=1) >= evaluation.CONFIDENT)} of {len(drawn)}"


last = len(grid.rows) - 1
chosen = sorted(set(np.linspace(0, last, min(last + 1, 6)).round().astype(int)))
plots.show(plots.image_table([list(grid.rows[i]) for i in chosen], [f"epoch {i + 1}" for i in chosen],
                             [""] * 8, f"Eight samples after each epoch, from the same noise ({preview} steps)"),
           "Rows of eight samples, one row for each epoch: noise and large areas at first, later spots on black.")
plots.show_prediction(prediction, f"the classifier is sure of {sure(grid.rows[-1])}; the test error is "
                      f"{history['val_loss'][-1]:.3f}" if reads else "count them in the last row")

# %% [markdown]
# In the saved run the network has learned bright spots on black, and no digits. The classifier is sure of most of them all the same: it knows
# only digits, and must answer with one of them. So its number means little for pictures that are no digits. Trust your eyes. The test error is already far
# below the two baselines. So a low loss does not guarantee a good picture. Section 4.5 shows why. Section 4.8 trains a network
# that makes better digits in about as much time.

# %% [markdown]
# ## 4.4 What a good run looks like: the recorded full run
#
# The lab's checkpoint `classic` is the U-Net of [lesson 3](03_unet.ipynb), trained on all 60,000 MNIST images for 50
# epochs with Adam at a constant rate of 2e-4. Its record holds the loss after each epoch. Checkpoints were kept on the
# way. The command `make train` (or `python -m lab train`) repeats this run. It takes about two hours on a CPU. You can
# stop it and start it again (section 4.6).
#
# **Predict before you run:** in the first epoch the training loss is 0.14. Where will it be after 50 epochs: 0.1,
# 0.03 or 0.0001?

# %%
prediction = "…"  # write your guess between the quotes

# %%
about = pretrained.read_record("classic")
recorded = about["history"]
n = len(recorded["loss"])
figure, ax = plots.axes(f"The recorded run: {n} epochs on {about['train_images']:,} images of "
                        f"{about['dataset']}", "epoch", "noise MSE (logarithmic)")
ax.semilogy(range(1, n + 1), recorded["loss"], label="training")
ax.semilogy(range(1, n + 1), recorded["val_loss"], "--", label="test images")
ax.set(ylim=(0.02, 0.16))
ax.set_yticks([0.02, 0.03, 0.06, 0.1, 0.15], ["0.02", "0.03", "0.06", "0.1", "0.15"])
ax.minorticks_off()
ax.legend()
plots.show(figure, "Loss of the recorded run on a logarithmic axis: a steep fall in the first epochs, then "
           "slower and slower; training and test lie together.")
plots.show_table(["epochs", "training loss", "test loss"],
                 [[e, f"{recorded['loss'][e - 1]:.4f}", f"{recorded['val_loss'][e - 1]:.4f}"] for e in (1, 5, 20, 50)])
mse = about["test_mse"]
plots.show_prediction(prediction, f"{mse['mean']:.4f} ± {mse['std']:.4f} on all test images "
                      f"(standard deviation over {mse['draws']} draws of t and noise)")

# %% [markdown]
# The loss ends near 0.03. It cannot reach 0: many pairs of image and noise give the same $x_t$, and the best answer is the
# mean of their noises. Training and test loss stay together, so the network does not memorise its images.
#
# If you print the loss of single steps, you see numbers that jump, even late in the run. How far do they jump when the
# network no longer changes?

# %%
milestones = ["classic_epoch_01", "classic_epoch_05", "classic_epoch_20", "classic"]
saved = {}  # label → the network after so many epochs
for milestone in milestones:
    count = pretrained.read_record(milestone)["epochs"]
    saved[f"{count} epoch{'s' * (count > 1)}"] = pretrained.load_diffusion(milestone, fused=True)
classic = saved["50 epochs"]  # fused: the same images in less time (lesson 7.1)

single = []
if classic.shape == images.image_shape:
    for number in range(batches):
        x0 = x_test[np.random.default_rng(number).choice(len(x_test), 64)]
        single.append(float(classic.loss(x0, *training.draw_noise(x0, schedule.T, np.random.default_rng(number)))))
    print(f"{batches} single batches of 64, same weights: loss {min(single):.3f} … {max(single):.3f}")

# %% [markdown]
# Single batches of a finished run scatter widely around their mean. One low number is not progress, and one high
# number is not a problem. Look at means over many steps.
#
# **Predict before you run:** between 5 and 50 epochs the test loss falls from 0.043 to 0.029. Will you see this in
# the samples?

# %%
prediction = "…"  # write your guess between the quotes

# %%
columns = 8 if PRESET != "smoke" else 2
drawn = {label: list(sampling.sample(diffusion, columns, steps=preview, seed=SEED, progress=False))
         for label, diffusion in saved.items()}
plots.show(plots.image_table(list(drawn.values()), list(drawn), [""] * columns,
                             f"The recorded run: samples ({preview} steps, same noise)"),
           "Samples of the recorded run: strokes that are no digits after 1 epoch, a few clear digits among "
           "unclear forms after 50.")
if quality := results.recorded("quality"):
    wanted = {"checkpoint": "classic", "sampler": "ddpm", "steps": schedule.T}
    measured = next(row["measures"] for row in quality["rows"] if wanted.items() <= row.items())["recognised"]
    plots.show_prediction(prediction, "; ".join(f"{label}: the classifier is sure of {sure(row)}" for label, row in drawn.items()))
    print(f"with 1,000 steps it is sure of {measured['value']:.0%} of {quality['images']:,} samples after 50 epochs "
          f"(of real digits: {measured['floor']:.0%})")

# %% [markdown]
# You see it, but less than the losses suggest. After 5 epochs few samples are digits. From 20 to 50 epochs the same strokes become
# a little clearer. The classifier's numbers do not show this: eight samples are few, and it is also sure of forms that are no digit. Even of 1,000
# samples after 50 epochs it is sure of only about half.
# More epochs alone give little: after 20 epochs the loss hardly falls any more. Section 4.5 looks for the reason.
# [Lesson 7](07_better_and_faster.ipynb) and section 4.8 show what helps.

# %% [markdown]
# ## 4.5 What the error means for the picture
#
# ### The error of the noise by t
#
# The average over all t hides much. So we measure the loss separately for each range of t.
#
# **Predict before you run:** where is noise easiest to predict: at t = 5, where there is hardly any, or at t = 900?

# %%
prediction = "…"  # write your guess between the quotes

# %%
known = {label: d for label, d in saved.items() if d.shape == images.image_shape}  # none for other image sizes
known = known or {"this run": this_run}
best_label, best = list(known.items())[-1]
buckets = [(0, 10), (10, 50), (50, 100), (100, 200), (200, 400), (400, 600), (600, 800), (800, 1000)]
measured_on = x_test[:150]


def by_bucket(diffusion):
    """The error of ε in each range of t."""
    return [training.noise_prediction_loss(diffusion, measured_on, t=bucket) for bucket in buckets]


by_t = {label: by_bucket(diffusion) for label, diffusion in known.items()}
copied = by_bucket(Diffusion(copy, schedule))
figure, ax = plots.axes(f"Error of the predicted noise by step ({name})", "t", "MSE of ε (logarithmic)", size=(9, 4))
for (label, values), style in zip(by_t.items(), ("o-", "s--", "^-.", "d:")):
    ax.semilogy(values, style, label=label)
ax.semilogy(copied, "+-", color="0.4", linewidth=1, label="answer x_t")
ax.axhline(1.0, color="black", linewidth=0.8, linestyle=":", label="answer 0")
ax.set_xticks(range(len(buckets)), [f"{low}–{high - 1}" for low, high in buckets])
ax.set_yticks([0.001, 0.01, 0.1, 1], ["0.001", "0.01", "0.1", "1"])
ax.legend()
plots.show(figure, "Error of the noise by range of t on a logarithmic axis, falling from the smallest t to the largest; "
           + best_label + ": " + ", ".join(f"{v:.3f}" for v in by_t[best_label]) + ".")
plots.show_prediction(prediction, f"at large t: {by_t[best_label][0]:.2f} for t < 10, {by_t[best_label][-1]:.4f} for t ≥ 800")

# %%
widths = np.diff(buckets, axis=1)[:, 0]
plots.show_table(["error of ε", "all t", "t 200–399", "t 400–599", "t ≥ 800"],
                 [[label, f"{np.average(values, weights=widths):.3f}", *(f"{values[i]:.4f}" for i in (4, 5, 7))]
                  for label, values in {**by_t, "answer x_t": copied}.items()])
parts = np.array(by_t[best_label]) * widths
print(f"proportion of the average loss ({best_label}): "
      + ", ".join(f"t < {high}: {part:.0%}" for (_, high), part in zip(buckets, np.cumsum(parts) / parts.sum())))

# %% [markdown]
# At large t, $x_t$ *is* almost the noise. Even copying it gives a tiny error; at t ≥ 800 this error is smaller than that of the
# network after 50 epochs. At small t the noise is faint beside
# the image, and the network must distinguish it from the edges of the strokes. After one epoch the error at the
# smallest t is near 0.9; after 50 epochs it is about 0.24.
#
# So small t dominate the average. The average can fall without better forms: from 20 to 50 epochs it falls by less than a tenth, the error at
# t = 400 … 599 hardly falls, and most forms in the rows of samples stay the same.
#
# Is large t then the easy part? Has the network learned it? The numbers of this table are errors of the *noise*. What you see is an *image*.

# %% [markdown]
# ### Exercise 4.3 – the image that the network has in mind
# *3 points · code · difficulty ●●○○ · about 10 minutes*
#
# The network does not draw an image. It only says which noise it sees in $x_t$. But if you believe it, only one clean
# image is possible. Write `predict_x0(xt, predicted_noise, alpha_bar)`, which returns this image, $\hat x_0$. Here
# `alpha_bar` is one number, $\bar\alpha_t$. Do not clip the result: values outside of [-1, 1] show how wrong a network can be.
#
# <details><summary>Help: where do I begin?</summary>
#
# Of which two parts is $x_t$ made (section 4.1)? Which of them do you know now? What is left, and what must be undone to get
# from it to the image?
# </details>
#
# <details><summary>Help: how can I test it?</summary>
#
# What must come out if the predicted noise is exactly the true noise? `schedule.add_noise` makes an $x_t$ to try.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-4-3-predict-x0", "grade": false, "solution": true, "locked": false, "task": false}
def predict_x0(xt, predicted_noise, alpha_bar):
    """The clean image that x_t and the predicted noise imply."""
    ### BEGIN SOLUTION
    return (xt - np.sqrt(1 - alpha_bar) * predicted_noise) / np.sqrt(alpha_bar)
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-4-3-predict-x0", "grade": true, "solution": false, "locked": true, "points": 3, "task": false}
checks.check_predict_x0(predict_x0)

# %% [markdown]
# Now your function shows what the network has in mind. Each column is another t. The clean image and the noise are the same
# in all columns.
#
# **Predict before you run:** up to which t will you recognise the digit in $\hat x_0$?

# %%
prediction = "…"  # write your guess between the quotes

# %%
def by_labutils(xt, predicted_noise, alpha_bar):
    """The same by labutils, which looks t up."""
    t = int(np.abs(schedule.alpha_bars - alpha_bar).argmin())
    return schedule.predict_x0(xt, t, predicted_noise, "noise")


implied_image = checks.check_predict_x0.answer_or(by_labutils)
own = implied_image is predict_x0
ts = np.arange(100, 1000, 100)
x0 = np.repeat(x_test[:1], len(ts), axis=0)
noise = np.repeat(np.random.default_rng(SEED).standard_normal(x_test[:1].shape, dtype=np.float32), len(ts), axis=0)
xt = np.array(schedule.add_noise(x0, ts, noise))
eps = np.array(best.predict(xt, ts))
x0_hat = [np.asarray(implied_image(xt[i], eps[i], float(schedule.alpha_bars[t]))) for i, t in enumerate(ts)]
labels = ["clean $x_0$", "noisy $x_t$", "implied $\\hat x_0$", "predicted ε"]
plots.show(plots.image_table([x0, xt, x0_hat, eps], labels, [f"t = {t}" for t in ts],
                             f"What the network has in mind ({best_label}; by {'your' if own else 'the lab’s'} predict_x0)"),
           "Four rows of images for nine steps: the clean digit, the noisy one, the implied image, which is clear at small "
           "t and wrong at large t, and the predicted noise.")
read = classifiers.predict(classifier, np.clip(x0_hat, -1, 1)).argmax(axis=1) == images.y_test[0] if reads else []
plots.show_prediction(prediction, f"a classifier reads it right at t = {', '.join(map(str, ts[read]))}" if reads
                      else "look at the third row")

# %% [markdown]
# At small t the implied image is nearly the clean one, and you recognise the digit. In the middle (in the saved run from about t = 500) it is a blurred
# mixture: the network answers with the mean of what fits. At the largest t it is no digit at all. Yet the row of the predicted noise looks right in every column.
#
# Now we measure this for many test images. We clip $\hat x_0$ to [-1, 1], since no image lies outside. To compare, we take
# a "network" that knows nothing about $x_t$: it always answers with the **mean image** of the training set.
#
# **Predict before you run:** will the trained network be better than the mean image at every t?

# %%
prediction = "…"  # write your guess between the quotes

# %%
def errors_at(diffusion, t):
    """At one step: the error of ε, of the implied image, and of that image clipped to [-1, 1]."""
    noise = np.random.default_rng(t).standard_normal(measured_on.shape, dtype=np.float32)
    xt = np.array(schedule.add_noise(measured_on, np.full(len(measured_on), t), noise))
    eps = np.array(diffusion.predict(xt, t))
    x0_hat = np.asarray(implied_image(xt, eps, float(schedule.alpha_bars[t])))
    return [np.mean((a - b) ** 2) for a, b in
            ((eps, noise), (x0_hat, measured_on), (np.clip(x0_hat, -1, 1), measured_on))]


errors = {label: np.array([errors_at(diffusion, int(t)) for t in ts]) for label, diffusion in known.items()}
of_mean = np.mean((images.x_train.mean(axis=0) - measured_on) ** 2)
figure, ax = plots.axes(f"Error of the implied image by step ({name})", "t", "MSE of the image (logarithmic)", size=(9, 4.2))
for (label, found), style in zip(errors.items(), ("o-", "s--", "^-.", "d:")):
    ax.semilogy(ts, found[:, 2], style, label=label)
ax.axhline(of_mean, color="black", linestyle=":", label="always the mean image")
ax.set(xticks=ts)
ax.set_yticks([0.01, 0.03, 0.1, 0.3, 1, 3], ["0.01", "0.03", "0.1", "0.3", "1", "3"])
ax.legend()
plots.show(figure, f"Error of the implied image by step, rising with t; always the mean image: {of_mean:.3f}; {best_label}: "
           + ", ".join(f"{v:.2f}" for v in errors[best_label][:, 2]) + " for t = 100 to 900.")
worse = ts[errors[best_label][:, 2] > of_mean]
plots.show_prediction(prediction, f"no: worse at t = {', '.join(map(str, worse))}" if len(worse) else "yes")

# %% [markdown]
# How do the two errors belong together? Put a wrong ε into your formula: the error of the image is the squared error of ε, times
# $(1-\bar\alpha_t)/\bar\alpha_t$, which is 1/SNR.

# %%
factor = (1 - schedule.alpha_bars[ts]) / schedule.alpha_bars[ts]
table = [[t, f"{e:.4f}", f"{f:,.1f}", f"{e * f:.3f}", f"{image:.3f}", f"{clipped:.3f}"]
         for t, f, (e, image, clipped) in zip(ts, factor, errors[best_label])]
plots.show_table(["t", "error of ε", "1/SNR", "their product", "error of the image", "clipped"], table)
assert np.allclose(errors[best_label][:, 0] * factor, errors[best_label][:, 1], rtol=0.02)

# %% [markdown]
# **The two errors are different units.** At small t the noise is hard to predict, but a wrong ε hardly changes the image. At large t
# the noise is easy to predict, but 1/SNR makes a tiny error of ε a large error of the image. So both sentences are true: in units of
# noise the small t are the hard ones; in units of the image the large t are.

# %% [markdown]
# ### Exercise 4.4 – worse than knowing nothing
# *3 points · in words, marked by your instructor · difficulty ●●●○ · about 10 minutes*
#
# Use the figure and the table. (a) From which t on is the network after 50 epochs worse than the mean image? Give the two numbers that you compare. (b) A perfect
# network is on average never worse than the mean image. Ours is worse at these t. Why does the training loss hardly show this? (c) Drawing begins
# at t = 999. What follows for its first steps, and for the forms of the digits?

# %% [markdown] nbgrader={"schema_version": 3, "grade_id": "text-4-4-less-than-nothing", "grade": true, "solution": true, "locked": false, "points": 3, "task": false}
# <!-- ### BEGIN SOLUTION -->
# 1 point: (a) between t = 600 and t = 700: at 600 the error of the image is about that of the mean image (0.25 in both), at 700 it is larger
# (about 0.33), and it grows with t.
#
# 1 point: (b) the loss is in units of noise. At t ≥ 700 the error of ε is about 0.002 or less; all t ≥ 600 together carry only a few
# percent of the average. A gain there is lost in the scatter of the small t, so the gradient follows the small t.
#
# 1 point: (c) in the first steps the sampler follows an image that is worse than the mean of all digits. It starts in a poor direction, and
# these steps decide the coarse form. Later steps only make this form sharper: the strokes look right, and still half of them are no digit.
# (Also right: a sampler could begin with the mean image, or training could weight large t more, or predict x_0 as in 4.8.)
# <!-- ### END SOLUTION -->

# %% [markdown]
# ## 4.6 Stop and resume
#
# A run of hours may be interrupted. `train(..., state_file=...)` saves weights, optimiser and history after
# each epoch in one file. Every batch is a function of (seed, epoch, step). So a resumed run sees the same
# batches and ends at the *same* weights.

# %%
x_small = x_train[:128]


def run(epochs, state_file=None):
    """Train a fresh network; returns it and its history."""
    network = fresh_network()
    return network, training.train(Diffusion(network, schedule), x_small, epochs, seed=SEED, state_file=state_file)


with tempfile.TemporaryDirectory() as folder:
    state_file = Path(folder) / "state.npz"
    run(1, state_file)  # ... here the run is interrupted
    resumed, resumed_history = run(2, state_file)  # a new network: everything comes from the file
straight, straight_history = run(2)

same = all(np.array_equal(a, b) for a, b in zip(resumed.get_weights(), straight.get_weights()))
plots.show_table(["run", "loss of epoch 1", "loss of epoch 2"],
                 [[kind, *(f"{v:.4f}" for v in h["loss"])] for kind, h in
                  (("resumed", resumed_history), ("straight", straight_history))])
print("all weights equal:", same)
assert same and resumed_history["loss"] == straight_history["loss"]

# %% [markdown]
# ## 4.7 Is it working? Find the cause
#
# Here are six short runs of the classic network: a good one, and five with one mistake each. They are called A to F.
# These are the six causes, in another order, each with the word that you will use for it:
#
# | word | cause |
# | --- | --- |
# | `good` | everything as it should be |
# | `slow` | the learning rate is 100 times too small |
# | `fast` | the learning rate is 100 times too large |
# | `relu` | a ReLU at the output: the network can never predict negative noise |
# | `range` | trained on images in [0, 1] in place of [-1, 1] |
# | `schedule` | trained with 100 steps, with β still between 0.0001 and 0.02 (the careless schedule of lesson 2.7) |
#
# The loss alone does not find every mistake. So we also measure each network *as it will be used*: on noisy test
# images in [-1, 1] from the schedule with T = 1000.
#
# First the step, as a graph (section 4.2), and what each cause changes.

# %%
steps, window = (60, 8) if PRESET != "smoke" else (6, 2)
careless = linear_schedule(100)


@tf.function  # recorded once for each network
def graph_step(network, optimizer, xt, time, noise):
    """The same as your train step; x_t comes from outside."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((network([xt, time]) - noise) ** 2)
    optimizer.apply_gradients(zip(tape.gradient(loss, network.trainable_variables), network.trainable_variables))
    return loss


def ready(network):
    """A network, an optimiser that knows its weights, and these first weights."""
    optimizer = keras.optimizers.Adam()
    optimizer.build(network.trainable_variables)
    return network, optimizer, network.get_weights()


plain = ready(fresh_network())
with_relu = ready(keras.Model(plain[0].inputs, keras.layers.ReLU()(fresh_network()(plain[0].inputs))))
changes = {
    "good": {}, "slow": {"rate": 2e-6}, "fast": {"rate": 2e-2}, "relu": {"start": with_relu},
    "range": {"x": (x_train + 1) / 2}, "schedule": {"own_schedule": careless},
}

# %% [markdown]
# Now the six runs: always the same first weights, 60 steps with 16 images each. The letters of the causes stay hidden in `CAUSES`.

# %%
def short_run(start=plain, x=x_train, rate=2e-4, own_schedule=schedule):
    """Returns the loss of each step, and the error in use."""
    network, optimizer, first_weights = start
    network.set_weights(first_weights)
    for variable in optimizer.variables:
        variable.assign(keras.ops.zeros_like(variable))
    optimizer.learning_rate = rate
    losses = []
    for number in range(steps):
        rng = np.random.default_rng([SEED, number])
        x0 = x[rng.integers(len(x), size=16)]
        t, noise = training.draw_noise(x0, own_schedule.T, rng)
        xt, time = own_schedule.add_noise(x0, t, noise), networks.network_time(t, own_schedule.T)
        losses.append(float(graph_step(network, optimizer, xt, time, tf.constant(noise))))
    return losses, training.noise_prediction_loss(Diffusion(network, schedule), measured_on)


runs = {letter: short_run(**changes[cause]) for letter, cause in CAUSES.items()}

# %%
figure, ax = plots.axes(f"Six runs of {steps} steps", "step",
                        f"MSE of ε, mean of the last {window} steps (logarithmic)", size=(9, 4.8))
colours = [plots.COLOURS[c] for c in ("blue", "red", "green", "black", "pink")] + ["0.45"]
for (letter, (losses, _)), style, colour in zip(runs.items(), ("o-", "s--", "^-.", "d:", "v-", "x--"), colours):
    smooth = [np.mean(losses[max(0, i + 1 - window) : i + 1]) for i in range(steps)]
    ax.semilogy(np.arange(1, steps + 1), smooth, style, color=colour, markevery=max(1, steps // 12), markersize=4, label=letter)
ax.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
ax.set(ylim=(0.1, 10))
ax.set_yticks([0.1, 0.3, 1, 3, 10], ["0.1", "0.3", "1", "3", "10"])
for text in plots.label_lines(ax):
    text.set_color("black")
at_end = {letter: np.mean(losses[-window:]) for letter, (losses, _) in runs.items()}
plots.show(figure, "Loss of six runs over their steps on a logarithmic axis, labelled A to F; last values: "
           + ", ".join(f"{letter} {value:.2f}" for letter, value in at_end.items()) + ".")
plots.show_table(["run", "largest loss of a step", "own loss at the end", "error in use"],
                 [[letter, f"{max(losses):,.2f}", f"{at_end[letter]:.3f}", f"{used:.3f}"]
                  for letter, (losses, used) in runs.items()])
if PRESET == "smoke":
    print(f"({steps} steps are too few to tell the causes apart: set PRESET to quick)")

# %% [markdown]
# One line leaves the picture at the top: its first losses are larger than 10. Two causes change the *task* of the network: other images, or another schedule. Then the
# losses cannot be compared. The baseline "answer $x_t$" shows how hard each task is. The last column belongs to the bound
# of section 4.2: how far the last $x_t$ is from pure noise (0 would be perfect).

# %%
def end_term(own_schedule, x):
    """KL(q(x_{T-1} | x_0) ‖ N(0, I)) for one image, in nats."""
    last = own_schedule.alpha_bars[-1]
    return x[0].size * (last * (np.mean(x**2) - 1) - np.log(1 - last)) / 2


tasks = {"as it should be": (schedule, measured_on), "images in [0, 1]": (schedule, (measured_on + 1) / 2),
         "careless schedule": (careless, measured_on)}
plots.show_table(["task", "mean square of the images", "ᾱ at the last step", "loss of 'answer x_t'", "end term of the bound"],
                 [[task, f"{np.mean(x**2):.2f}", f"{s.alpha_bars[-1]:.5f}",
                   f"{training.noise_prediction_loss(Diffusion(copy, s), x):.2f}", f"{end_term(s, x):.2f}"]
                  for task, (s, x) in tasks.items()])

# %% [markdown]
# (For the usual task section 4.1 found nearly the same number for "answer $x_t$". The last digits differ, because t and noise were
# drawn anew.)

# %% [markdown]
# ### Exercise 4.5 – find the cause
# *3 points · code · difficulty ●●●○ · about 10 minutes*
#
# Write `diagnosis()`. It takes nothing and returns a dict with one word of the table above for each letter:
# `{"A": "…", "B": "…", …, "F": "…"}`. Each word belongs to one letter.
#
# <details><summary>Help: where do I begin?</summary>
#
# Which run is low in both columns of the table? Which loss hardly moves, and which one moves far too much? For the rest:
# which task is easier than the usual one, and which is harder?
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-4-5-diagnosis", "grade": false, "solution": true, "locked": false, "task": false}
def diagnosis():
    """The cause of each run: a word for each letter."""
    ### BEGIN SOLUTION
    return {"A": "range", "B": "slow", "C": "relu", "D": "good", "E": "schedule", "F": "fast"}
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-4-5-diagnosis", "grade": true, "solution": false, "locked": true, "points": 3, "task": false}
checks.check_diagnosis(diagnosis)

# %% [markdown]
# ### Exercise 4.6 – how far could it fall?
# *3 points · code · difficulty ●●●○ · about 10 minutes*
#
# The network with the ReLU at its output learns, but it cannot reach 0, however long it trains. Write `relu_floor(noise)`: the smallest
# loss that *any* network can reach on this array of noise, if its output is never negative.
#
# <details><summary>Help: where do I begin?</summary>
#
# Imagine a network that knows the noise, and comes as close as a ReLU allows. What does it answer where the noise is 1.3? And where it is
# -0.7? How large is its squared error at these two pixels?
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-4-6-relu-floor", "grade": false, "solution": true, "locked": false, "task": false}
def relu_floor(noise):
    """The smallest loss of a network whose output is at least 0, one number."""
    ### BEGIN SOLUTION
    return np.mean(np.minimum(noise, 0) ** 2)
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-4-6-relu-floor", "grade": true, "solution": false, "locked": true, "points": 3, "task": false}
checks.check_relu_floor(relu_floor)

# %% [markdown]
# Your number is the dotted line. Which of the six curves stays above it because it must, and not because it is slow? No letter is written here: compare
# with your answer to 4.5.

# %%
def by_labutils(noise):
    """The same by labutils: the loss of a network that knows the noise and ends with a ReLU."""
    perfect = StubNetwork(lambda xt, time: tf.nn.relu(noise), [(None, *noise.shape[1:]), (None, 1)])
    return Diffusion(perfect, schedule).loss(np.zeros_like(noise), np.zeros(len(noise), np.int32), noise)


floor = float(checks.check_relu_floor.answer_or(by_labutils)(
    np.random.default_rng(SEED).standard_normal((1000, 8, 8, 1), dtype=np.float32)))
figure, ax = plots.axes("The end of each run, and the floor of a ReLU", "run", "own loss at the end", size=(7, 3.6))
ax.bar(list(at_end), list(at_end.values()), color=plots.COLOURS["sky"])
ax.axhline(floor, color="black", linestyle=":")
ax.set_xlim(-0.6, 6.5)
ax.annotate(f"floor {floor:.2f}", (6.45, floor), ha="right", va="bottom")
plots.show(figure, f"Bars for the last loss of the runs A to F, and a dotted line at the floor of a ReLU, {floor:.2f}.")

# %% [markdown]
# ### Exercise 4.7 – the evidence
# *5 points · in words, marked by your instructor · difficulty ●●○○ · about 10 minutes*
#
# Write one sentence for each of the five bad runs: its letter, its cause, the number in a table or picture that gives it away, and
# why this cause makes this number.

# %% [markdown] nbgrader={"schema_version": 3, "grade_id": "text-4-7-evidence", "grade": true, "solution": true, "locked": false, "points": 5, "task": false}
# <!-- ### BEGIN SOLUTION -->
# 1 point: A, images in [0, 1]. Its own loss is *lower* than that of the good run, but its error in use is much higher. Images in [0, 1] have a
# mean square of 0.1, so the same noise stands out more and is easier to predict; but the images of the sampler are others.
#
# 1 point: B, rate too small. Its loss stays near 1, the loss of knowing nothing: the steps are 100 times too short.
#
# 1 point: C, ReLU. Its loss falls, and it stays above 0.5, the floor of exercise 4.6: half of all noise is negative.
#
# 1 point: E, careless schedule. Its own loss is far above that of the good run, and its error in use is hardly worse. Little noise is in
# each x_t, and little noise is hard to predict; so the task is harder, not the network worse.
#
# 1 point: F, rate too large. A step has a loss far above 1: the first steps throw the weights far away, and the run stays behind. (D is the good run. Cure for B and F: 2e-4.)
# <!-- ### END SOLUTION -->

# %% [markdown]
# ### Why a careless schedule is serious
#
# Its noise-prediction loss is higher only because its task is harder, and its error in use looks normal. But sampling starts from pure noise, and at its last step this schedule
# expects an image that is still visible ($\bar\alpha$ is 0.36, not 0.00004). Two numbers show this before any training: $\bar\alpha$ at the last step,
# and the end term of the bound. To see the consequence, we make the same mistake with the *good*
# checkpoint: we start the reverse process from pure noise, but at the step where $\bar\alpha_t$ is 0.36.
#
# **Predict before you run:** what will the samples look like?

# %%
prediction = "…"  # write your guess between the quotes

# %%
late = int(np.argmin(np.abs(schedule.alpha_bars - careless.alpha_bars[-1])))


def late_start(schedule, steps):
    """Ancestral sampling that begins at step `late`."""
    return samplers.SAMPLERS["ddpm"](schedule, steps[steps <= late])


cut = sampling.sample(classic, columns, sampler=late_start, steps=preview, seed=SEED, progress=False)
plots.show(plots.image_table([drawn["50 epochs"], list(cut)], ["from t = 999", f"from t = {late}"], [""] * columns,
                             "The same checkpoint: reverse process from pure noise"),
           "Two rows of samples from the same noise: started at t = 999 strokes and digits on black; started "
           "at the later step, where some image is expected, no digits.")
plots.show_prediction(prediction, f"the classifier is sure of {sure(drawn['50 epochs'])} above and of {sure(cut)} below")

# %% [markdown]
# In the saved run the late start gives tangled strokes and no digit. (The classifier is sure of some of them, as it was of the spots in section 4.3.) The network treats pure noise as a noisy image, and the steps that decide the form
# were skipped. (The rows of lesson 2.7 were sharp. Its *perfect* network has a sensible answer for pure noise at this step; a trained
# network never saw pure noise there.) No noise-prediction loss shows this mistake, because training never shows pure noise at such a t.

# %% [markdown]
# ## 4.8 Digits that you can read
#
# Several changes make a short run much better. Other lessons explain them; here you only use them.
#
# - The network is *conditional*: the digit is one of its inputs. And the sampler pushes towards it (*guidance*,
#   [lesson 5](05_sampling.ipynb)).
# - It predicts $x_0$ in place of ε (lesson 7). So its loss is in units of the image, and large t count. Its schedule adds noise more evenly (*cosine*, lesson 6).
# - Batches of 16 images: more steps from the same images.
# - A sampler takes 12 steps (lesson 5).
#
# The loss is again the mean squared error, now of $x_0$. So its number cannot be compared with the numbers above. The labels must be 0, 1, …, n − 1; other
# labels are refused with a message.
#
# **Predict before you run:** after one pass over the images, what proportion of the digits will a classifier read as the digit that was asked for?

# %%
prediction = "…"  # write your guess between the quotes

# %%
classes = networks.count_classes(images.y_train, "the labels of the data set")
experiment = training.EXPERIMENTS["fast_conditional"]
x_chosen, y_chosen = (array[: settings.conditional_images] for array in (images.x_train, images.y_train))
keras.utils.set_random_seed(SEED)
conditional = experiment.diffusion(networks.build("fast_conditional", images.image_shape, classes))
epochs = settings.conditional_epochs
small_batches = replace(experiment.config, batch_size=16)
config = small_batches.for_run(epochs, int(np.ceil(len(x_chosen) / small_batches.batch_size)))
training.train(conditional, x_chosen, epochs, config=config, seed=SEED, condition=y_chosen,
               callbacks=[keras_progress(epochs, f"{len(x_chosen):,} images")])


def draw(labels):
    """One image for each label, from the network trained just now."""
    return sampling.sample(conditional, len(labels), condition=labels, sampler="dpmpp_2m", steps=12,
                           seed=SEED, progress=False)


each = networks.even_labels((100 if PRESET != "smoke" else 20) // classes * classes or classes, classes)
mine = draw(each)
rows = mine[: 3 * classes].reshape(-1, classes, *images.image_shape)
plots.show(plots.image_table([list(row) for row in rows], [""] * len(rows), list(range(classes)),
                             f"Your own digits: {len(x_chosen):,} images of {name}, {epochs} pass(es)"),
           f"Rows of samples, one column for each of {classes} labels, drawn by the network of this run.")

# %%
if reads:
    right = classifiers.predict(classifier, np.clip(mine, -1, 1)).argmax(axis=1) == each
    per_digit = [f"{right[each == digit].mean():.0%}" for digit in range(classes)]
    plots.show_table(["digit", *range(classes)], [["read as asked", *per_digit]])
    plots.show_prediction(prediction, f"{right.mean():.0%} of {len(each)} samples")
if PRESET == "smoke":
    print("(a few training steps are too few for digits: set PRESET to quick)")

# %% [markdown]
# In the saved run you can read many of the digits, but not all, after one pass over a part of MNIST. Some digits are harder than others; ten samples for each say only roughly which.
#
# Which of the changes helped? This run cannot say: it changed the condition, guidance, target, schedule, sampler and training recipe at once. A recorded experiment changed only the
# condition (and so the guidance, which needs one): two runs of one pass over all 60,000 images, 1,000 samples each.

# %%
if ablation := results.recorded("ablation"):
    measures = {variant: next(row["measures"] for row in ablation["rows"] if row["variant"] == variant)
                for variant in ("fast", "told the digit")}

    def cells(key, form):
        """Value and interval of both runs, and of their difference, as texts."""
        (a, b) = (m[key] for m in measures.values())
        apart, half = b["value"] - a["value"], np.hypot(b["high"] - b["low"], a["high"] - a["low"]) / 2
        intervals = [(m["value"], m["low"], m["high"]) for m in (a, b)] + [(apart, apart - half, apart + half)]
        return [form(value) + f" ({form(low)} to {form(high)})" for value, low, high in intervals]

    plots.show_table(["measure, with its 95 % interval", "without the label", "with the label", "difference"],
                     [["Fréchet distance (smaller is better)", *cells("frechet", "{:.0f}".format)],
                      ["recognised as a digit", *cells("recognised", "{:.0%}".format)]])

# %% [markdown]
# The label alone makes a large difference: far more samples are recognised, and the Fréchet distance falls to a fraction. Both intervals of the difference
# exclude 0. (The intervals cover new drawings from the same networks, not new trainings. The interval of the difference treats the two runs as independent.)

# %% [markdown]
# ## 4.9 The complete program on one page
#
# This is everything so far without any helper, in plain NumPy and Keras. It has three cells: images, schedule and network; training; drawing. It stops after 100 steps with 16
# images each, so it draws no digits. With all 60,000 images, `BATCH = 64` and 47,000 steps it would do the
# work of the run of section 4.4. (That run shuffles; here each batch is drawn at random.)

# %%
pixels = np.round(127.5 * (x_train + 1)).astype(np.uint8)  # 0 … 255, as in the file of the data set
x_all = pixels.astype(np.float32) / 127.5 - 1  # to [-1, 1]
x_all = x_all.reshape(len(x_all), *images.image_shape)  # grey images get a channel axis

T, BATCH, STEPS = 1000, 16, 100 if PRESET != "smoke" else 3
betas = np.linspace(1e-4, 0.02, T)
alphas, alpha_bars = 1 - betas, np.cumprod(1 - betas)
(H, W, C), layers, rng = images.image_shape, keras.layers, np.random.default_rng(SEED)


# The network
def conv(x, filters):
    """A 3×3 convolution with ReLU."""
    return layers.Conv2D(filters, 3, padding="same", activation="relu")(x)


def up(x, skip, filters):
    """One level of the way up."""
    return conv(layers.Concatenate()([layers.UpSampling2D()(x), skip]), filters)


noisy, time = keras.Input((H, W, C)), keras.Input((1,))
time_map = layers.Dense(H * W, activation="relu")(layers.Dense(32, activation="relu")(time))
x = layers.Concatenate()([noisy, layers.Reshape((H, W, 1))(time_map)])
down_1 = conv(x, 32)
down_2 = conv(layers.MaxPooling2D()(down_1), 64)
middle = conv(layers.MaxPooling2D()(down_2), 128)
net = keras.Model([noisy, time], layers.Conv2D(C, 1)(up(up(middle, down_2, 64), down_1, 32)))

# %%
net.compile(keras.optimizers.Adam(2e-4), loss="mse")
losses = []
for _ in range(STEPS):
    x0, t = x_all[rng.integers(len(x_all), size=BATCH)], rng.integers(T, size=BATCH)
    noise, kept = rng.standard_normal(x0.shape), alpha_bars[t].reshape(-1, 1, 1, 1)
    losses.append(float(net.train_on_batch([np.sqrt(kept) * x0 + np.sqrt(1 - kept) * noise, t[:, None] / T], noise)))
print(f"loss of the first step: {losses[0]:.2f}; mean of the last {STEPS // 3}: {np.mean(losses[-(STEPS // 3):]):.2f}")

# %% [markdown]
# Drawing begins with pure noise. In each step the network predicts the noise, your formula of exercise 4.3 gives $\hat x_0$, and
# $x_{t-1}$ is a weighted mean of $\hat x_0$ and $x_t$ plus a little fresh noise. [Lesson 5](05_sampling.ipynb) derives the weights.

# %%
predict = tf.function(net)  # a graph: section 4.2
COUNT = 4 if PRESET != "smoke" else 2
x = rng.standard_normal((COUNT, H, W, C))
for t in reversed(range(T)):
    time = tf.fill((COUNT, 1), t / T)
    eps = predict([tf.constant(x, tf.float32), time]).numpy()
    x0 = (x - np.sqrt(1 - alpha_bars[t]) * eps) / np.sqrt(alpha_bars[t])
    before = alpha_bars[t - 1] if t > 0 else 1.0  # ᾱ of the step before; 1 is all image
    mean = np.sqrt(before) * betas[t] * x0 + np.sqrt(alphas[t]) * (1 - before) * x
    variance = betas[t] * (1 - before) / (1 - alpha_bars[t])  # β̃_t, 0 at t = 0
    x = mean / (1 - alpha_bars[t]) + np.sqrt(variance) * rng.standard_normal(x.shape)

plots.show(plots.image_grid(x, f"After {STEPS} training steps: not yet digits", columns=COUNT, scale=1.8),
           f"{COUNT} samples of the plain program after {STEPS} training steps: no digits.")

# %% [markdown]
# Nothing is broken. The program is right, and the network has hardly been trained: its loss lies between the baseline "answer $x_t$" of section 4.1
# and that of a good run.

# %% [markdown]
# ## Remember
# - The loss is the mean squared error of the noise; 1.0 means "knows nothing", about 0.03 is a good final value here.
# - `fit` repeats the four steps of your train step.
# - Error of the image = error of the noise / SNR. Small t carry most of the loss; at large t a tiny loss can mean a useless picture.
# - Compare with something that knows nothing: the answer 0 for noise, the mean image for pictures.
# - Losses can be compared only between runs with the same images, schedule and target.
# - Look at samples, not only at the loss; and look at ᾱ at the last step before you train.
# - A long run may be interrupted: save its state, so that it can continue exactly.
