# %% [markdown]
# # 4 · Training: learn to see the noise
#
# Everything is in place: images, a way to add noise to them, and a network. Training is now plain supervised
# regression: show $x_t$ and t, ask for the noise, correct the weights. The difficult part is to know what a good run
# looks like, and to see quickly when something is wrong. At the end you train a network whose digits you can read.
#
# **You will be able to**
# - write the loss and one training step, and say what each line does and where the loss comes from;
# - say which loss to expect at which point of a run, and read the loss by step t;
# - stop a run, resume it, and prove that nothing was lost;
# - find the cause of a bad run from its symptoms;
# - read the complete program, from noise to digits, on one page.
#
# **Time:** about 90 minutes with the exercises; the cells run in about five minutes.
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

from labutils import checks, data, evaluation, pretrained, results, samplers
from labutils import networks, plots, presets, sampling, training
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
# ## 4.1 The loss
#
# Algorithm 1 of the paper in one formula: draw an image, a step t (uniformly) and noise ε, and minimise
#
# $$ L = \mathbb E_{x_0, t, \varepsilon}\;\left\lVert\varepsilon - \varepsilon_\theta\big(\underbrace{\sqrt{\bar\alpha_t}\,x_0 +
# \sqrt{1-\bar\alpha_t}\,\varepsilon}_{x_t},\; t\big)\right\rVert^2 $$
#
# taken as the *mean* over all pixels, so that the number means the same for every image size.
#
# ### Where this loss comes from
#
# 1. **Likelihood.** A generative model should make the training images probable: $\log p_\theta(x_0)$ should be
#    large. It cannot be computed, since it needs an integral over all paths from noise to the image. A lower bound can be
#    computed: the **ELBO** (*evidence lower bound*; Sohl-Dickstein et al. 2015,
#    [arXiv:1503.03585](https://arxiv.org/abs/1503.03585); DDPM eq. 3–5). Apart from terms for the two ends, it is a sum
#    with one term for each step, $-\mathrm{KL}\big(q(x_{t-1}\mid x_t, x_0)\,\big\Vert\,p_\theta(x_{t-1}\mid x_t)\big)$:
#    each learned reverse step should be close to the true one.
# 2. **Squared error.** Both distributions are Gaussian, and the variance of the learned one is fixed to $\sigma_t^2$.
#    Then the KL divergence is the squared distance of the two means, divided by $2\sigma_t^2$, plus a constant.
#    Maximising the bound means minimising a squared error. This is why the loss is the MSE and not, say, the
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

# %% tags=["nbval-check-output"]
weights = schedule.betas / (2 * schedule.alphas * (1 - schedule.alpha_bars))  # w_t with σ_t² = β_t
print("w_t:", ", ".join(f"t = {t}: {weights[t]:.4f}" for t in (0, 10, 100, 500, 999)))

# %% [markdown]
# The first steps would count far more than all others: t = 0 about 90 times as much as t = 500. In these steps the task
# is only to remove the last faint noise. With equal weights the network spends more of its effort on the larger t, where
# much noise must be removed. That is the harder task (DDPM, section 3.4).
#
# **The network also estimates the score.** The *score* is the direction in which $x_t$ becomes more probable, the gradient
# of $\log q(x_t)$. It is $-\mathbb E[\varepsilon\mid x_t]/\sqrt{1-\bar\alpha_t}$, and so the trained network gives an
# estimate of it:
#
# $$ \nabla_{x_t} \log q(x_t) \approx -\,\frac{\varepsilon_\theta(x_t, t)}{\sqrt{1-\bar\alpha_t}} $$
#
# So a network that learns to predict noise also learns the score (denoising score matching: Vincent 2011,
# [doi:10.1162/NECO_a_00142](https://doi.org/10.1162/NECO_a_00142); Song et al. 2021,
# [arXiv:2011.13456](https://arxiv.org/abs/2011.13456)).

# %% [markdown]
# ### Exercise 4.1 – the loss
# *Difficulty ●●○○ · about 10 minutes*
#
# Write `noise_loss(network, schedule, x0, t, noise)`, one number. The network is called as
# `network([xt, time])`, where `time` is t/T as a column: `networks.network_time(t, schedule.T)`. Use
# `schedule.add_noise(x0, t, noise)`, and TensorFlow for the mean, so that gradients can flow.
#
# <details><summary>Help: "the network gets t itself"</summary>
#
# It was built for t/T, a number in [0, 1). `networks.network_time` divides and makes the column.
# </details>
#
# <details><summary>Help: "the target is the clean image"</summary>
#
# The lab's network predicts the *noise*. The clean image follows from it ([lesson 5](05_sampling.ipynb)).
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-4-1-noise-loss", "grade": false, "solution": true, "locked": false, "task": false}
def noise_loss(network, schedule, x0, t, noise):
    """Mean squared error of the predicted noise, one number."""
    ### BEGIN SOLUTION
    xt = schedule.add_noise(x0, t, noise)
    predicted_noise = network([xt, networks.network_time(t, schedule.T)])
    return tf.reduce_mean((predicted_noise - noise) ** 2)
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-4-1-noise-loss", "grade": true, "solution": false, "locked": true, "points": 3, "task": false}
checks.check_noise_loss(noise_loss)

# %% [markdown]
# ### What loss to expect
#
# **Predict before you run:** what is the loss of a network that always answers 0? And of one that answers $x_t$
# itself?

# %%
def by_labutils(network, schedule, x0, t, noise):
    """The same by labutils: a `Diffusion` is a network and the schedule that belongs to it."""
    return Diffusion(network, schedule).loss(x0, t, noise)


loss_of = checks.check_noise_loss.answer_or(by_labutils)
rng = np.random.default_rng(SEED)
t, noise = training.draw_noise(x_test, schedule.T, rng)
image, time = keras.Input(images.image_shape), keras.Input((1,))
nothing = 0.0 * time[:, :, None, None]  # older Keras refuses an input that nothing uses
baselines = {
    "answer 0": keras.Model([image, time], 0.0 * image + nothing),
    "answer x_t": keras.Model([image, time], image + nothing),
}
for label, baseline in baselines.items():
    print(f"{label:12} loss {float(loss_of(baseline, schedule, x_test, t, noise)):.3f}")
assert abs(training.noise_prediction_loss(Diffusion(baselines["answer 0"], schedule), x_test) - 1) < 0.05

# %% [markdown]
# **1.0 is the loss of knowing nothing**: it is the variance of the noise. A run that stays near 1.0 is not learning.
# Answering $x_t$ itself is much better, since at large t, $x_t$ *is* almost the noise. A trained network must be well
# below this second number, too.
#
# ## 4.2 One training step
#
# 1. Open a `tf.GradientTape`: it records every operation.
# 2. Compute the loss inside it.
# 3. Ask the tape for the gradient of the loss with respect to each weight.
# 4. Let the optimiser move the weights a little against the gradient.

# %% [markdown]
# ### Exercise 4.2 – the train step
# *Difficulty ●●○○ · about 10 minutes*
#
# Write `train_step(network, optimizer, schedule, x0, t, noise)`: do the four steps once and return the loss of
# step 2. `Diffusion(network, schedule).loss(x0, t, noise)` is the loss of exercise 4.1.
#
# <details><summary>Help: "No gradients provided for any variable"</summary>
#
# The loss was computed outside the `with tf.GradientTape() as tape:` block. The tape records only TensorFlow operations
# inside it. If the loss is turned into a float or a NumPy array, the tape cannot follow it any more.
# </details>
#
# <details><summary>Help: "the weights did not change"</summary>
#
# `optimizer.apply_gradients(zip(gradients, network.trainable_variables))`
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


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-4-2-train-step", "grade": true, "solution": false, "locked": true, "points": 3, "task": false}
checks.check_train_step(train_step)

# %% [markdown]
# ### The whole training loop
#
# Here is the loop around your step: for each epoch shuffle the images, cut them into batches, draw **one t for each
# image** and fresh noise. `training.train` hands the same batches to Keras' `fit`, which does the same four steps and
# brings progress bars, callbacks and checkpoints.
#
# **Predict before you run:** your loop and `fit` begin with the same weights and the same seed. How far apart will their
# weights be after ten steps?

# %%
def fresh_network(seed=SEED):
    """The classic network with the first weights of this seed."""
    keras.utils.set_random_seed(seed)
    return networks.build_classic_unet(images.image_shape)


def by_labutils(network, optimizer, schedule, x0, t, noise):
    """The same by labutils."""
    return training.training_step(Diffusion(network, schedule), optimizer, x0, t, noise)


step = checks.check_train_step.answer_or(by_labutils)
few, losses = x_train[: 5 * 64], []
by_loop, optimizer = fresh_network(), keras.optimizers.Adam(2e-4)
for epoch in range(2):
    order = np.random.default_rng([SEED, epoch, 0]).permutation(len(few))
    for number, start in enumerate(range(0, len(few), 64)):
        rng = np.random.default_rng([SEED, epoch, number + 1])
        x0 = few[order[start : start + 64]]
        t = rng.integers(0, schedule.T, size=len(x0), dtype=np.int32)  # one t for each image
        noise = rng.standard_normal(x0.shape, dtype=np.float32)
        losses.append(float(step(by_loop, optimizer, schedule, x0, t, noise)))

# %%
by_fit = fresh_network()
history = training.train(Diffusion(by_fit, schedule), few, 2, seed=SEED)
weights = zip(by_loop.get_weights(), by_fit.get_weights())
print("loss of each step of the loop:", " ".join(f"{loss:.3f}" for loss in losses))
print(f"largest difference between the weights: {max(np.abs(a - b).max() for a, b in weights):.1e} "
      f"(one step moves a weight by about 2e-4)")
assert np.isclose(np.mean(losses[-len(losses) // 2 :]), history["loss"][-1], atol=0.02)

# %% [markdown]
# After ten steps the weights differ by much less than one step moves them: only rounding and the order of the arithmetic
# differ.
#
# ### Why these settings?
#
# | setting | reason |
# | --- | --- |
# | MSE | it follows from the likelihood (section 4.1) |
# | batches of 64 | loss and gradient of one image depend much on its t and its noise; a batch averages over 64 of them (measured below). A larger batch is steadier still, but gives fewer steps for the same work |
# | shuffled | each batch should be a fair sample of all digits. In a sorted data set the network would see one digit for many steps and forget the others. A new order in each epoch also makes new batches |
# | t uniform | each t counts as much as every other, as in $L_\text{simple}$ |
# | Adam | the sizes of the gradients differ between layers (measured below). Adam divides each weight's step by the recent size of its gradient, so that one rate serves all layers (Kingma, Ba 2015, [arXiv:1412.6980](https://arxiv.org/abs/1412.6980)) |
# | rate 2e-4 | the DDPM paper's value for small images, set there "without any sweeping" (appendix B). Section 4.7 shows what 100 times less and 100 times more do |
#
# Two of these reasons can be measured. A step of plain gradient descent with rate 1 moves the weights by exactly the
# gradient, so your function can also measure gradients.
#
# **Predict before you run:** how much smaller is the scatter of the loss with 64 images than with 1?

# %%
rng, batches = np.random.default_rng(SEED), 30 if PRESET != "smoke" else 5
for count in (1, 8, 64):
    values = []
    for _ in range(batches):
        some = x_train[rng.choice(len(x_train), count)]
        t, noise = training.draw_noise(some, schedule.T, rng)
        values.append(float(loss_of(by_fit, schedule, some, t, noise)))
    print(f"batches of {count:2}: loss {np.mean(values):.2f} ± {np.std(values):.3f} ({batches} batches)")

before = by_fit.get_weights()
step(by_fit, keras.optimizers.SGD(1.0), schedule, some, t, noise)
gradients = [old - new for old, new in zip(before, by_fit.get_weights())]
sizes = {w.path: np.sqrt(np.mean(g**2)) for w, g in zip(by_fit.weights, gradients) if "kernel" in w.path}
for path in (min(sizes, key=sizes.get), max(sizes, key=sizes.get)):
    print(f"typical gradient of {path:22} {sizes[path]:.1e}")

# %% [markdown]
# The scatter is about proportional to one over the square root of the batch size: 64 images have an eighth of it. The gradient
# scatters for the same reason. Between the layers the gradients differ by a factor of thousands. Without Adam's scaling,
# one rate would be far too small for one layer, or far too large for another.

# %% [markdown]
# ## 4.3 A training run
#
# The classic network needs two hours for its 50 epochs (section 4.4). For a run of less than a minute we take `fast`,
# a network made for two cores ([lesson 7](07_better_and_faster.ipynb) explains it). Loss, batches of 64, shuffling and
# uniform t are the same as above. The order, t and the noise are functions of (seed, epoch, step), so that the run can
# be repeated exactly. Three things are new:
#
# - **The rate starts ten times higher, at 2e-3, and falls to 0**: large steps first, small steps at the end.
# - **Warm-up:** over the first steps the rate rises from 0. At the start, Adam's averages of the gradient's size come
#   from a few batches only, so its first steps are unreliable (Liu et al. 2020,
#   [arXiv:1908.03265](https://arxiv.org/abs/1908.03265)).
# - **Clipping:** a gradient longer than 1 (all weights together) is shortened to 1. Its direction stays the same. So one
#   bad batch cannot change the weights too much (Pascanu et al. 2013, [arXiv:1211.5063](https://arxiv.org/abs/1211.5063)).
#
# After each epoch a *callback* draws a few samples in 200 steps ([lesson 5](05_sampling.ipynb) shows how), always from
# the same noise.
#
# **Predict before you run:** will you be able to read a digit at the end of this run?

# %%
preview = min(200, settings.sample_steps)  # steps


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
                         validation_images=x_test,
                         callbacks=[grid, keras_progress(settings.epochs, "training")])

# %%
figure, ax = plots.axes(f"This run ({name})", "epoch", "noise MSE")
epochs = np.arange(1, len(history["loss"]) + 1)
ax.semilogy(epochs, history["loss"], "o-", label="training")
ax.semilogy(epochs, history["val_loss"], "s--", label="test images")
ax.axhline(1.0, color="black", linewidth=0.8, linestyle=":", label="knowing nothing")
ax.set(ylim=(0.02, 1.3), xticks=epochs[:: max(1, len(epochs) // 10)])
loss_ticks = [0.03, 0.06, 0.1, 0.3, 1]
ax.set_yticks(loss_ticks, [str(value) for value in loss_ticks])
ax.minorticks_off()
ax.legend()
plots.show(figure, f"The noise-prediction error over {len(epochs)} epochs, logarithmic; test error: "
           + ", ".join(f"{v:.3f}" for v in history["val_loss"][:8]) + ".")
print(f"test error: {history['val_loss'][0]:.3f} after the first epoch, "
      f"{history['val_loss'][-1]:.3f} after the last")
assert history["val_loss"][-1] < 1.0

# %% [markdown]
# In the first epoch the test error can lie *below* the training error. That is no mistake: the training error is the
# mean over the epoch, while the network learns. The test error is measured at the end of the epoch.

# %%
last = len(grid.rows) - 1
chosen = sorted(set(np.linspace(0, last, min(last + 1, 6)).round().astype(int)))
plots.show(plots.image_table([list(grid.rows[i]) for i in chosen], [f"epoch {i + 1}" for i in chosen],
                             [""] * 8, f"Eight samples after each epoch, from the same noise ({preview} steps)"),
           "Rows of eight samples, one row for each epoch: shapeless spots at first, later forms of strokes.")

# %% [markdown]
# How many can you read? The network has learned strokes, but hardly the forms of digits. The test error is already far
# below the baselines. So a low loss does not guarantee a good picture. Section 4.8 trains a network that makes better
# digits in about as much time.

# %% [markdown]
# ## 4.4 What a good run looks like: the recorded full run
#
# The lab's checkpoint `classic` is the U-Net of [lesson 3](03_unet.ipynb), trained on all 60,000 MNIST images for 50
# epochs with Adam at a constant rate of 2e-4. Its record holds the loss after each epoch; checkpoints were kept on the
# way. The command `make train` (or `python -m lab train`) repeats this run. It takes about two hours on a CPU. You can
# stop it and start it again (section 4.6).
#
# **Predict before you run:** in the first epoch the training loss is 0.14. Where will it be after 50 epochs: 0.1,
# 0.03 or 0.0001?

# %%
about = pretrained.read_record("classic")
recorded = about["history"]
n = len(recorded["loss"])
figure, ax = plots.axes(f"The recorded run: {n} epochs on {about['train_images']:,} images of "
                        f"{about['dataset']}", "epoch", "noise MSE")
ax.semilogy(range(1, n + 1), recorded["loss"], label="training")
ax.semilogy(range(1, n + 1), recorded["val_loss"], "--", label="test images")
ax.set_yticks([0.03, 0.06, 0.1], ["0.03", "0.06", "0.1"])
ax.minorticks_off()
ax.legend()
plots.show(figure, "Loss of the recorded run on a logarithmic axis: a steep fall in the first epochs, then "
           "slower and slower; training and test lie together.")
for epoch in (1, 5, 20, 50):
    print(f"after {epoch:2} epochs: training {recorded['loss'][epoch - 1]:.4f}, "
          f"test {recorded['val_loss'][epoch - 1]:.4f}")
mse = about["test_mse"]
print(f"on all test images, t uniform: {mse['mean']:.4f} ± {mse['std']:.4f}")
print(f"(± standard deviation over {mse['draws']} draws of t and noise; "
      "the curve has 2,000 images, one draw)")

# %% [markdown]
# The curve cannot reach 0: many pairs of image and noise give the same $x_t$, and the best answer is the
# mean of their noises. Training and test loss stay together, so the network does not memorise its images.
#
# **Predict before you run:** between 5 and 50 epochs the test loss falls from 0.043 to 0.029. Will you see this in
# the samples?

# %%
milestones = ["classic_epoch_01", "classic_epoch_05", "classic_epoch_20", "classic"]
rows, labels, by_t = [], [], {}
buckets = [(0, 10), (10, 50), (50, 100), (100, 200), (200, 400), (400, 600), (600, 800), (800, 1000)]
few = 8 if PRESET != "smoke" else 2
for milestone in milestones:
    record = pretrained.read_record(milestone)
    saved = pretrained.load_diffusion(milestone, fused=True)  # the same images in less time: lesson 7.1
    labels.append(f"{record['epochs']} epoch{'s' if record['epochs'] > 1 else ''}")
    drawn = sampling.sample(saved, few, steps=settings.sample_steps, seed=SEED)
    rows.append(list(drawn))
    if saved.shape == images.image_shape:
        by_t[labels[-1]] = [training.noise_prediction_loss(saved, x_test[:300], t=bucket)
                            for bucket in buckets]

# %%
plots.show(plots.image_table(rows, labels, [""] * few,
                             f"The recorded run: samples ({settings.sample_steps} steps, same noise)"),
           "Samples of the recorded run: strokes that are no digits after 1 epoch, a few clear digits among "
           "unclear forms after 50.")
if quality := results.recorded("quality"):
    wanted = {"checkpoint": "classic", "sampler": "ddpm", "steps": schedule.T}
    measured = next(row["measures"] for row in quality["rows"] if wanted.items() <= row.items())
    share = measured["recognised"]
    print(f"measured on {quality['images']:,} samples: {share['value']:.0%} are recognised as a digit "
          f"(real digits: {share['floor']:.0%})")

# %% [markdown]
# Less than the losses suggest. After 5 epochs few samples are digits; from 20 to 50 epochs the same strokes become a little
# clearer. Even after 50 epochs only about half of the samples are clear digits; in the saved run it is two to four of the eight.
# More epochs alone give little: after 20 epochs the loss hardly falls any more. [Lesson 7](07_better_and_faster.ipynb)
# shows what helps: another network and recipe. Section 4.8 shows what helps most: tell the network which digit to draw.

# %% [markdown]
# ## 4.5 Loss by t
#
# The average over all t hides much. So we measure the loss separately for each range of t.
#
# **Predict before you run:** where is noise easiest to predict: at t = 5, where there is hardly any, or at t = 900?

# %%
by_t["this run"] = [training.noise_prediction_loss(this_run, x_test[:300], t=b) for b in buckets]
figure, ax = plots.axes(f"Noise-prediction error by step ({name})", "t", "test MSE (logarithmic)",
                        size=(8, 4))
positions = np.arange(len(buckets))
copy = Diffusion(baselines["answer x_t"], schedule)
copied = [training.noise_prediction_loss(copy, x_test[:300], t=b) for b in buckets]
for (label, values), style in zip(by_t.items(), ("o-", "s--", "^-.", "d:", "x-")):
    ax.semilogy(positions, values, style, label=label)
ax.semilogy(positions, copied, "+-", color="0.4", linewidth=1, label="answer x_t")
ax.axhline(1.0, color="black", linewidth=0.8, linestyle=":", label="knowing nothing")
ax.set_xticks(positions, [f"{low}–{high - 1}" for low, high in buckets])
ax.set_yticks([0.001, 0.01, 0.1, 1], ["0.001", "0.01", "0.1", "1"])
ax.legend()
plots.show(figure, "Error by range of t on a logarithmic axis, falling from the smallest t to the largest; "
           "this run: " + ", ".join(f"{v:.3f}" for v in by_t["this run"]) + ".")
last = list(by_t)[-2] if len(by_t) > 1 else "this run"
share = np.array([value * (high - low) for value, (low, high) in zip(by_t[last], buckets)])
print(f"share of the average loss ({last}):",
      ", ".join(f"t < {high}: {part:.0%}"
                for (_, high), part in zip(buckets, np.cumsum(share) / share.sum())))
widths = np.diff(buckets, axis=1)[:, 0]
for label, values in {**by_t, "answer x_t": copied}.items():
    print(f"{label:10} all t {np.average(values, weights=widths):.3f}, t 200–399: {values[4]:.4f}, "
          f"t 400–599: {values[5]:.4f}, t ≥ 800: {values[7]:.4f}")
if PRESET != "smoke":
    assert by_t["this run"][0] > 5 * by_t["this run"][-1]

# %% [markdown]
# At large t, $x_t$ *is* almost the noise. Even copying it gives a tiny error: at t ≥ 800 it is smaller than that of any
# of these networks. At small t the noise is faint beside the image. The network must distinguish it from the fine detail
# and the edges of the strokes, and the error is near 1 at the smallest t. So the smaller t carry most of the average
# loss, while the forms of a digit appear at larger t (lesson 6.4 measures that).
#
# **So the digits can become better while the average loss hardly falls.** In the middle, t = 200 … 599, the error falls from
# checkpoint to checkpoint, and most of all in the first epochs. The average hides this, since the small t dominate it.
# At t ≥ 800 the numbers are so small that they say little: from 20 to 50 epochs the error there does not fall.
# Compare with the rows of samples above, and look at samples whenever you judge a run.

# %% [markdown]
# ## 4.6 Stop and resume
#
# A run of hours may be interrupted. `train(..., state_file=...)` saves weights, optimiser and history after
# each epoch in one file. Because every batch is a function of (seed, epoch, step), a resumed run sees the same
# batches and ends at the *same* weights.

# %%
small = x_train[: 192 if PRESET != "smoke" else 64]


def run(epochs, state_file=None):
    network = fresh_network()
    history = training.train(Diffusion(network, schedule), small, epochs, seed=SEED, state_file=state_file)
    return network, history


with tempfile.TemporaryDirectory() as folder:
    state_file = Path(folder) / "state.npz"
    run(2, state_file)  # ... here the run is interrupted
    resumed, resumed_history = run(4, state_file)  # a new network: everything comes from the file
straight, straight_history = run(4)

same = all(np.array_equal(a, b) for a, b in zip(resumed.get_weights(), straight.get_weights()))
print("losses, resumed: ", [f"{v:.4f}" for v in resumed_history["loss"]])
print("losses, straight:", [f"{v:.4f}" for v in straight_history["loss"]])
print("all weights equal:", same)
assert same and resumed_history["loss"] == straight_history["loss"]

# %% [markdown]
# ## 4.7 Is it working? Find the cause
#
# Below are six short runs of the classic network: a good one, and five with one mistake each. They are called A to F.
# These are the six causes, in another order:
#
# - **as it should be**: the good run
# - **rate too small**: the learning rate is 100 times too small
# - **rate too large**: the learning rate is 100 times too large
# - **ReLU at the output**: the network can only predict positive noise
# - **images in [0, 1]**: trained on images with the wrong range
# - **T = 100**: trained with 100 steps, with β still between 0.0001 and 0.02 (the careless schedule of lesson 2.7)
#
# The loss alone does not find every mistake. So we also measure each network *as it will be used*: on noisy test
# images in [-1, 1] from the schedule with T = 1000.

# %%
steps = 60 if PRESET != "smoke" else 6
x_brief = x_train[np.arange(64 * steps) % len(x_train)]  # a small data set is shown more than once


def short_run(x=x_brief, learning_rate=2e-4, network=None, train_schedule=schedule):
    """One epoch; returns the loss of each step, and the trained network."""
    network = network or fresh_network()
    means = [0.0]  # Keras reports the mean over all steps so far
    record = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: means.append(logs["loss"]))
    training.train(Diffusion(network, train_schedule), x, 1, seed=SEED, callbacks=[record],
                   config=training.TrainingConfig(learning_rate=learning_rate))
    return np.diff(np.arange(len(means)) * means), network


def relu_output():
    """The classic network with a ReLU at the end: it can only predict positive noise."""
    base = fresh_network()
    return keras.Model(base.inputs, keras.layers.ReLU()(base.output))


careless = linear_schedule(100)
causes = {
    "as it should be": {},
    "rate too small": {"learning_rate": 2e-6},
    "rate too large": {"learning_rate": 2e-2},
    "ReLU at the output": {"network": relu_output()},
    "images in [0, 1]": {"x": (x_brief + 1) / 2},
    "T = 100": {"train_schedule": careless},
}
order = [4, 1, 3, 0, 5, 2]  # the cause of each letter: guess before you look
cause_of = dict(zip("ABCDEF", [list(causes)[i] for i in order]))
runs = {letter: short_run(**causes[cause]) for letter, cause in cause_of.items()}

# %%
window = min(8, steps // 3)
own = {letter: np.mean(losses[-window:]) for letter, (losses, _) in runs.items()}
used = {letter: training.noise_prediction_loss(Diffusion(trained, schedule), x_test[:300])
        for letter, (_, trained) in runs.items()}
figure, ax = plots.axes(f"Six runs of {steps} steps (mean of {window} steps)", "step",
                        "noise MSE (logarithmic)", size=(8, 4.5))
for (letter, (losses, _)), style in zip(runs.items(), ("o-", "s--", "^-.", "d:", "v-", "x--")):
    smooth = np.convolve(losses, np.ones(window) / window, "valid")
    ax.semilogy(np.arange(window, steps + 1), smooth, style, markevery=max(1, steps // 12),
                markersize=4, label=letter)
ax.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
ax.set(ylim=(0.1, 10))
ax.set_yticks([0.1, 0.3, 1, 3, 10], ["0.1", "0.3", "1", "3", "10"])
plots.label_lines(ax)
plots.show(figure, "Loss of six runs over their steps on a logarithmic axis, labelled A to F; last values: "
           + ", ".join(f"{letter} {value:.2f}" for letter, value in own.items()) + ".")

print(f"{'run':4} {'largest loss of a step':>22} {'own loss at the end':>20} {'error in use':>13}")
for letter, (losses, _) in runs.items():
    print(f"{letter:4} {max(losses):22.3g} {own[letter]:20.3f} {used[letter]:13.3f}")
if PRESET == "smoke":
    print(f"({steps} steps are too few to tell the causes apart: set PRESET to quick)")

# %% [markdown]
# **Your turn:** write one of the six causes behind each letter and run the cell. Each cause belongs to one letter.

# %%
guess = {"A": "?", "B": "?", "C": "?", "D": "?", "E": "?", "F": "?"}
right = sum(cause_of[letter] == cause for letter, cause in guess.items())
print(f"{right} of 6 are right" + (", there are letters with '?'" if "?" in guess.values() else ""))

# %% [markdown]
# <details><summary>Answers</summary>
#
# | run | symptom | cause | cure |
# | --- | --- | --- | --- |
# | A | loss looks *better* than that of the good run, but the error in use is bad | images in [0, 1], not [-1, 1] | `data.to_model_range`; print min and max |
# | B | loss falls only a little | learning rate too small | 2e-4 for this network |
# | C | loss falls, but stays far above that of the good run | ReLU at the output: half of all noise is negative | no activation at the end |
# | D | – | as it should be | – |
# | E | own loss far above the good run's, error in use hardly worse | training saw another schedule than sampling: T = 100 | one `schedule` object for both |
# | F | loss jumps far above 1 in the first steps, and stays behind | learning rate too large | ten times smaller |
#
# And a seventh case: the loss stays at 0.03 for hours. Nothing is wrong (section 4.4); look at samples.
# </details>
#
# Two of the runs have losses that cannot be compared with the others: A is lower, E is higher. The reason is that their
# task is different. The baseline "answer $x_t$" shows how hard each task is:

# %%
tasks = {"D": (schedule, x_test), "A": (schedule, (x_test + 1) / 2), "E": (careless, x_test)}
for label, (used_schedule, x) in tasks.items():
    print(f"task of run {label} ({cause_of[label]}): mean square of the images {np.mean(x**2):.2f}, "
          f"ᾱ at the last step {used_schedule.alpha_bars[-1]:.5f}, "
          f"loss of 'answer x_t' {training.noise_prediction_loss(replace(copy, schedule=used_schedule), x):.3f}")
if PRESET != "smoke":
    good = used["D"]
    assert all(max(used[label] / good, own[label] / own["D"]) > 1.4 for label in runs if label != "D")

# %% [markdown]
# - **A:** images in [0, 1] are weaker (their mean square is smaller), so the same noise stands out more, and is
#   easier to predict. But a sampler for [-1, 1] meets images that this network never saw.
# - **E:** with T = 100 and small β every step keeps much of the image ($\bar\alpha$ at the last step is 0.36, not
#   0.00004). There is less noise in each $x_t$, and little noise is hard to find.
#
# Why is the schedule of run E a serious mistake, although its error in use is hardly worse? Sampling starts from pure
# noise. But at its last step this schedule expects an image that is still visible. To see the consequence, we make the
# same mistake with the *good* checkpoint: we start the reverse process from pure noise, but at the step where
# $\bar\alpha_t$ is 0.36.
#
# **Predict before you run:** what will the samples look like?

# %%
late = int(np.argmin(np.abs(schedule.alpha_bars - careless.alpha_bars[-1])))


def late_start(schedule, steps):
    """Ancestral sampling that begins at step `late`."""
    return samplers.SAMPLERS["ddpm"](schedule, steps[steps <= late])


cut = sampling.sample(saved, few, sampler=late_start, seed=SEED)
starts = ["from t = 999", f"from t = {late}"]
plots.show(plots.image_table([rows[-1], list(cut)], starts, [""] * few,
                             "The same checkpoint: reverse process from pure noise"),
           "Two rows of samples from the same noise: started at t = 999 strokes and digits on black; started "
           "at the later step, where some image is expected, no digits.")

# %% [markdown]
# The late start gives tangled strokes. The network treats pure noise as a noisy image, and the steps that decide the form
# were skipped. No loss shows this: in training the network never gets pure noise at such a t. Only samples show it.

# %% [markdown]
# ## 4.8 Digits that you can read
#
# Three changes make a short run much better. Other lessons explain them; here you only use them.
#
# - The network is *class-conditional*: the digit is one of its inputs. And the sampler pushes towards it (*guidance*,
#   [lesson 5](05_sampling.ipynb)).
# - It predicts $x_0$ in place of ε, with a schedule that adds noise more evenly (*cosine*, lessons 2 and 7).
# - A sampler takes 12 steps in place of 1000 (lesson 5).
#
# The loss is again the mean squared error, now of $x_0$. So its number cannot be compared with the numbers above.
#
# **Predict before you run:** after one pass over the images, how many of ten digits will you be able to read?

# %%
experiment = training.EXPERIMENTS["fast_conditional"]
x_chosen = images.x_train[: settings.conditional_images]
y_chosen = images.y_train[: settings.conditional_images]
keras.utils.set_random_seed(SEED)
classes = networks.count_classes(images.y_train)
conditional = experiment.diffusion(networks.build("fast_conditional", images.image_shape, classes))
epochs = settings.conditional_epochs
config = experiment.config.for_run(epochs, -(-len(x_chosen) // experiment.config.batch_size))
training.train(conditional, x_chosen, epochs, config=config, seed=SEED, condition=y_chosen,
               callbacks=[keras_progress(epochs, f"{len(x_chosen):,} images")])


def draw(labels):
    """One image for each label, from the network trained just now."""
    return sampling.sample(conditional, len(labels), condition=labels, sampler="dpmpp_2m", steps=12,
                           seed=SEED, progress=False)


mine = draw(networks.even_labels(3 * classes, classes)).reshape(3, classes, *images.image_shape)
plots.show(plots.image_table([list(row) for row in mine], [""] * 3, list(range(classes)),
                             f"Your own digits: {len(x_chosen):,} images of {name}, {epochs} pass(es)"),
           f"Three rows of samples, one column for each of {classes} labels, drawn by the network of this run.")

# %%
if images.image_shape == (28, 28, 1) and classes == 10:
    _, classifier = evaluation.load_judges()
    labels = networks.even_labels(200)
    scores = classifiers.predict(classifier, np.clip(draw(labels), -1, 1))
    right = np.mean(scores.argmax(axis=1) == labels)
    print(f"a classifier reads the digit that was asked for in {right:.0%} of {len(labels)} samples")
if PRESET == "smoke":
    print("(a few training steps are too few for digits: set PRESET to quick)")

# %% [markdown]
# ## 4.9 The complete program on one page
#
# This is everything so far without any helper: schedule, network, training, sampling, in plain NumPy and Keras. Only the
# images come from above. It stops after a few training steps, so it draws no digits. With 47,000 steps it is the run of
# section 4.4.

# %%
T, BATCH = 1000, 64
STEPS, COUNT = (20, 4) if PRESET != "smoke" else (3, 2)  # of training, of images drawn
rng = np.random.default_rng(SEED)

# The schedule
betas = np.linspace(1e-4, 0.02, T)
alphas = 1 - betas
alpha_bars = np.cumprod(alphas)

# The network
layers = keras.layers


def conv(x, filters):
    """A 3×3 convolution with ReLU."""
    return layers.Conv2D(filters, 3, padding="same", activation="relu")(x)


def up(x, skip, filters):
    """One level of the way up."""
    return conv(layers.Concatenate()([layers.UpSampling2D()(x), skip]), filters)


H, W, C = images.image_shape
noisy, time = keras.Input((H, W, C)), keras.Input((1,))
time_map = layers.Dense(H * W, activation="relu")(layers.Dense(32, activation="relu")(time))
x = layers.Concatenate()([noisy, layers.Reshape((H, W, 1))(time_map)])
down_1 = conv(x, 32)
down_2 = conv(layers.MaxPooling2D()(down_1), 64)
middle = conv(layers.MaxPooling2D()(down_2), 128)
x = up(up(middle, down_2, 64), down_1, 32)
net = keras.Model([noisy, time], layers.Conv2D(C, 1)(x))

# Training: predict the noise
net.compile(keras.optimizers.Adam(2e-4), loss="mse")
for _ in range(STEPS):
    x0 = x_train[rng.integers(len(x_train), size=BATCH)]
    t = rng.integers(T, size=BATCH)
    noise = rng.standard_normal(x0.shape)
    kept = alpha_bars[t].reshape(-1, 1, 1, 1)
    xt = np.sqrt(kept) * x0 + np.sqrt(1 - kept) * noise
    mean_loss = net.train_on_batch([xt, t[:, None] / T], noise)

# Sampling: from pure noise, estimate x_0, and step to t - 1
ask = tf.function(net)
x = rng.standard_normal((COUNT, H, W, C))
for t in reversed(range(T)):
    time = np.full((COUNT, 1), t / T, np.float32)
    eps = ask([tf.constant(x, tf.float32), tf.constant(time)]).numpy()
    x0 = (x - np.sqrt(1 - alpha_bars[t]) * eps) / np.sqrt(alpha_bars[t])
    before = alpha_bars[t - 1] if t > 0 else 1.0  # ᾱ of the step before; 1 is all image
    mean = np.sqrt(before) * betas[t] * x0 + np.sqrt(alphas[t]) * (1 - before) * x
    variance = betas[t] * (1 - before) / (1 - alpha_bars[t])  # β̃_t, 0 at t = 0
    x = mean / (1 - alpha_bars[t]) + np.sqrt(variance) * rng.standard_normal(x.shape)

print(f"mean loss of the first {STEPS} steps: {float(mean_loss):.3f}")
plots.show(plots.image_grid(x, f"After {STEPS} training steps: not yet digits", columns=COUNT, scale=1.8),
           f"{COUNT} samples of the plain program after {STEPS} training steps: no digits.")

# %% [markdown]
# ## Remember
# - The loss is the mean squared error of the noise; 1.0 means "knows nothing", about 0.03 is a good final value here.
# - It comes from the likelihood: ELBO, Gaussian steps, squared error; $L_\text{simple}$ drops the weights. The
#   network is also an estimate of the score.
# - `fit` repeats the four steps in a loop.
# - Small t carry much of the loss, larger t decide the form of a digit: look at samples, not only at the loss.
# - Losses can be compared only between runs with the same images, schedule and target.
# - A long run may be interrupted: save its state, so that it can continue exactly.
