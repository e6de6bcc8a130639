# %% [markdown]
# # 4 · Training: learn to see the noise
#
# Everything is in place: images, a way to drown them in noise, and a network. Training is now plain supervised
# regression: show $x_t$ and t, ask for the noise, correct the weights. The art is to know what a good run looks like,
# and to see quickly when something is wrong.
#
# **You will be able to**
# - write the loss and one training step, and say what each line does;
# - say what loss to expect, and when, and read the loss by step t;
# - stop a run, resume it, and prove that nothing was lost;
# - find the cause of a bad run from its symptoms.
#
# **Time:** about 60 minutes with the exercises; the cells run in about five minutes.
#
# Source: Ho et al. 2020, [DDPM](https://arxiv.org/abs/2006.11239), algorithm 1 and eq. 14.

# %% [markdown] tags=["badges"]
# [Text source of this lesson](source/04_training.py) · no account or GPU needed

# %% tags=["parameters"]
PRESET = "quick"  # "smoke": seconds, to test; "quick": what a laptop does in a few minutes; "full": hours
DATASET = "auto"  # MNIST, or scikit-learn's digits where there is no MNIST; also "cifar10", "fashion_mnist", a file
SEED = 0

# %% tags=["setup"]
# Setup: finds labutils beside the notebooks. On Colab it fetches the lab first; it upgrades nothing.
import importlib.util, subprocess, sys
from pathlib import Path

REPOSITORY, TAG = "", "v1.0.0"
if Path("lab.zip").exists() and not Path("lab/labutils").exists():
    subprocess.run(["unzip", "-qo", "lab.zip", "-d", "lab"], check=True)
sys.path += [folder for folder in ("..", "lab") if Path(folder, "labutils").is_dir()]
if importlib.util.find_spec("labutils") is None:
    if not REPOSITORY:
        raise ModuleNotFoundError("labutils is not here: make lab.zip with `make zip`, upload it into this folder "
                                  "(on Colab: the Files pane on the left), and run this cell again")
    subprocess.run(["git", "clone", "-q", "--depth", "1", "--branch", TAG, REPOSITORY, "lab"], check=True)
    sys.path.append("lab")
import labutils  # before TensorFlow: it keeps the start-up messages away

# %%
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from labutils import checkpoints, checks, data, networks, plots, presets, sampling, training, unet
from labutils.progress import keras_progress
from labutils.schedule import linear_schedule

import keras

settings = presets.get(PRESET)
plots.use_lab_style()
images = data.load(DATASET)
name = images.note or images.name  # what the figures call the data
x_train, x_test = images.x_train[: settings.train_images], images.x_test[: min(settings.test_images, 1_000)]
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

# %% [markdown]
# ### Exercise 4.1 – the loss
# *Difficulty ●●○○ · about 10 minutes*
#
# Write `noise_loss(network, schedule, x0, t, noise)`, one number. The network is called as
# `network([xt, time])`, where `time` is t/T as a column: `training.network_time(t, schedule.T)`. Use
# `schedule.add_noise(x0, t, noise)`, and TensorFlow for the mean, so that gradients can flow.
#
# <details><summary>Help: "the network gets t itself"</summary>
#
# It was built for t/T, a number in [0, 1). `training.network_time` divides and makes the column.
# </details>
#
# <details><summary>Help: "the target is the clean image"</summary>
#
# The lab's network predicts the *noise*. The clean image follows from it (lesson 5).
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-4-1-noise-loss", "grade": false, "solution": true, "locked": false, "task": false}
def noise_loss(network, schedule, x0, t, noise):
    """Mean squared error of the predicted noise, one number."""
    ### BEGIN SOLUTION
    xt = schedule.add_noise(x0, t, noise)
    predicted_noise = network([xt, training.network_time(t, schedule.T)])
    return tf.reduce_mean((predicted_noise - noise) ** 2)
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-4-1-noise-loss", "grade": true, "solution": false, "locked": true, "points": 3, "task": false}
checks.check_noise_loss(noise_loss)

# %% [markdown]
# ### What loss to expect
#
# **Predict before you run:** what is the loss of a network that always answers 0? And of one that answers $x_t$ itself?

# %%
rng = np.random.default_rng(SEED)
(x0, t, noise), _ = training.draw_noise(x_test, schedule.T, rng)
baselines = {
    "answer 0": lambda inputs: tf.zeros_like(inputs[0]),
    "answer x_t": lambda inputs: inputs[0],
}
for label, network in baselines.items():
    print(f"{label:12} loss {float(training.mean_loss(network, schedule, x0, t, noise)):.3f}")
assert abs(training.mean_loss(baselines["answer 0"], schedule, x0, t, noise) - 1) < 0.05

# %% [markdown]
# **1.0 is the loss of knowing nothing**: it is the variance of the noise. A run that stays near 1.0 is not learning. Answering
# $x_t$ itself is much better, since at large t it *is* almost the noise: a trained network must be well below that second
# number, too.
#
# ## 4.2 One training step
#
# 1. Open a `tf.GradientTape`: it writes down every operation.
# 2. Compute the loss inside it.
# 3. Ask the tape for the gradient of the loss with respect to each weight.
# 4. Let the optimiser move the weights a little against the gradient.

# %% [markdown]
# ### Exercise 4.2 – the train step
# *Difficulty ●●○○ · about 10 minutes*
#
# Write `train_step(network, optimizer, schedule, x0, t, noise)`: do the four steps once and return the loss of step 2.
# `training.mean_loss(network, schedule, x0, t, noise)` is the loss of exercise 4.1.
#
# <details><summary>Help: "No gradients provided for any variable"</summary>
#
# The loss was computed outside the `with tf.GradientTape() as tape:` block. The tape sees only TensorFlow operations inside
# it; a loss that was turned into a float or a NumPy array on the way is lost to it, too.
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
        loss = training.mean_loss(network, schedule, x0, t, noise)
    gradients = tape.gradient(loss, network.trainable_variables)
    optimizer.apply_gradients(zip(gradients, network.trainable_variables))
    return loss
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-4-2-train-step", "grade": true, "solution": false, "locked": true, "points": 3, "task": false}
checks.check_train_step(train_step)

# %% [markdown]
# Keras' `fit` does the same four steps, and brings progress bars, callbacks and checkpoints. Proof: one step by hand and
# one step of `fit`, from the same weights and with the same batch, end at the same weights.

# %%
def fresh_network(seed=SEED):
    keras.utils.set_random_seed(seed)
    return unet.build_classic_unet(images.image_shape)


batch = next(training.noise_batches(x_train, schedule.T, batch_size=32, seed=SEED))
(x0, t, noise), _ = batch

by_hand = fresh_network()
train_step(by_hand, keras.optimizers.Adam(2e-4), schedule, x0, t, noise)

by_fit = fresh_network()
model = training.NoisePredictor(by_fit, schedule)
model.compile(keras.optimizers.Adam(2e-4), loss="mse", jit_compile=False)
model.fit(*batch, batch_size=32, epochs=1, verbose=0)

difference = max(np.abs(a - b).max() for a, b in zip(by_hand.get_weights(), by_fit.get_weights()))
print(f"largest difference between the weights: {difference:.1e} (one step moves them by up to 2e-4)")
assert difference < 2e-5

# %% [markdown]
# ## 4.3 A training run
#
# The classic network needs hours for good digits (section 4.4). For a run of a minute or two we take `fast`, a network made for
# two cores, and a rate that starts higher and falls to 0; lesson 7 takes both apart. The rest is as above: the same loss, batches
# of 64, shuffled, t uniform. Order, t and noise are functions of (seed, epoch, step), so that the run can be repeated exactly.
#
# After each epoch a *callback* draws a few samples in 200 steps (how: see lesson 5), always from the same noise.
#
# **Predict before you run:** how many epochs will pass before you can read a digit?

# %%
class SampleGrid(keras.callbacks.Callback):
    """Keeps a row of samples after each epoch."""

    def __init__(self, network):
        super().__init__()
        self.network, self.rows = network, []

    def on_epoch_end(self, epoch, logs=None):
        """Draw from the same noise as after the other epochs."""
        self.rows.append(sampling.sample(self.network, schedule, 8, images.image_shape, seed=SEED, steps=200,
                                         progress=False))


keras.utils.set_random_seed(SEED)
network = networks.build("fast", images.image_shape)
recipe = training.Recipe(learning_rate=2e-3, clip_norm=1.0, warmup_steps=len(x_train) // 128, decay_epochs=settings.epochs)
grid = SampleGrid(network)
history = training.train(network, schedule, x_train, settings.epochs, recipe=recipe, seed=SEED, validation_images=x_test,
                         callbacks=[grid, keras_progress(settings.epochs, "training")])

# %%
figure, ax = plots.axes(f"This run ({name})", "epoch", "noise MSE")
epochs = np.arange(1, len(history["loss"]) + 1)
ax.plot(epochs, history["loss"], "o-", label="training")
ax.plot(epochs, history["val_loss"], "s--", label="test images")
ax.axhline(1.0, color="black", linewidth=0.8, linestyle=":", label="knowing nothing")
ax.set(ylim=(0, 1.05), xticks=epochs[:: max(1, len(epochs) // 10)])
ax.legend()
plots.show(figure, f"The noise-prediction error over {len(epochs)} epochs falls far below 1: test error "
           + ", ".join(f"{v:.3f}" for v in history["val_loss"][:8]) + ".")
assert history["val_loss"][-1] < 1.0

# %% [markdown]
# In the first epoch the test error can lie *below* the training error. That is no mistake: the training error is the mean over
# the epoch, while the network learns; the test error is measured at its end.

# %%
chosen = sorted(set(np.linspace(0, len(grid.rows) - 1, min(len(grid.rows), 6)).round().astype(int)))
plots.show(plots.image_table([list(grid.rows[i]) for i in chosen], [f"epoch {i + 1}" for i in chosen], [""] * 8,
                             "Eight samples after each epoch, from the same noise (200 steps)"),
           "Rows of eight samples, one row for each epoch: blots and strokes at first, then forms that come near to digits.")

# %% [markdown]
# ## 4.4 What a good run looks like: the recorded full run
#
# The lab's checkpoint `classic` is the U-Net of lesson 3, trained on all 60,000 MNIST images for 50 epochs with Adam at a constant
# rate of 2e-4. Its record holds the loss after each epoch; checkpoints were kept on the way.
#
# **Predict before you run:** in the first epoch the training loss is 0.14. Where will it be after 50 epochs: 0.1, 0.03 or 0.0001?

# %%
about = checkpoints.read_record("classic")
recorded = about["history"]
n = len(recorded["loss"])
figure, ax = plots.axes(f"The recorded run: {n} epochs on {about['train_images']:,} images of {about['dataset']}", "epoch", "noise MSE")
ax.semilogy(range(1, n + 1), recorded["loss"], label="training")
ax.semilogy(range(1, n + 1), recorded["val_loss"], "--", label="test images")
ax.legend()
plots.show(figure, "Loss of the recorded run on a logarithmic axis: a steep fall in the first epochs, then slower and slower; "
           "training and test lie together.")
for epoch in (1, 5, 20, 50):
    if epoch <= n:
        print(f"after {epoch:2} epochs: training {recorded['loss'][epoch - 1]:.4f}, test {recorded['val_loss'][epoch - 1]:.4f}")
print(f"on all test images, t uniform: {about['test_mse']['mean']:.4f} ± {about['test_mse']['std']:.4f} "
      f"(standard deviation over {about['test_mse']['draws']} draws of t and noise; the curve has 2,000 images, one draw)")

# %% [markdown]
# The curve never reaches 0, and cannot: many pairs of image and noise give the same $x_t$, and the best answer is the mean
# of their noises. This hurts most at small t, where the faint noise can hardly be told from the strokes' own roughness
# (section 4.5). Training and test loss stay together, so the network does not learn its images by heart.

# %%
milestones = [m for m in ("classic_epoch_01", "classic_epoch_05", "classic_epoch_20", "classic") if m in checkpoints.names()]
rows, labels, by_t = [], [], {}
buckets = [(0, 10), (10, 50), (50, 100), (100, 200), (200, 400), (400, 600), (600, 800), (800, 1000)]
few = 8 if PRESET != "smoke" else 2
for milestone in milestones:
    saved, record = checkpoints.load(milestone)
    labels.append(f"{record['epochs']} epoch{'s' if record['epochs'] > 1 else ''}")
    rows.append(list(sampling.sample(saved, schedule, few, record["input_shape"], seed=SEED, steps=settings.sample_steps)))
    if tuple(record["input_shape"]) == images.image_shape:
        by_t[labels[-1]] = [training.noise_mse(saved, schedule, x_test[:300], t=bucket) for bucket in buckets]

# %%
plots.show(plots.image_table(rows, labels, [""] * few, f"The recorded run: samples ({settings.sample_steps} steps, same noise)"),
           "Samples of the recorded run: strokes that are no digits after 1 epoch, more and more digits towards the end.")

# %% [markdown]
# ## 4.5 Loss by t
#
# One number hides much. Split it by the step.
#
# **Predict before you run:** where is noise easiest to predict: at t = 5, where there is hardly any, or at t = 900?

# %%
by_t["this run"] = [training.noise_mse(network, schedule, x_test[:300], t=bucket) for bucket in buckets]
figure, ax = plots.axes(f"Noise-prediction error by step ({name})", "t", "test MSE (logarithmic)", size=(8, 3.6))
positions = np.arange(len(buckets))
for (label, values), style in zip(by_t.items(), ("o-", "s--", "^-.", "d:", "x-")):
    ax.semilogy(positions, values, style, label=label)
ax.axhline(1.0, color="black", linewidth=0.8, linestyle=":", label="knowing nothing")
ax.set_xticks(positions, [f"{low}–{high - 1}" for low, high in buckets])
ax.legend()
plots.show(figure, "Error by range of t on a logarithmic axis, falling from the smallest t to the largest; this run: "
           + ", ".join(f"{v:.3f}" for v in by_t["this run"]) + ".")
last = list(by_t)[-2] if len(by_t) > 1 else "this run"
share = np.array([value * (high - low) for value, (low, high) in zip(by_t[last], buckets)])
print(f"share of the average loss ({last}):",
      ", ".join(f"t < {high}: {s:.0%}" for (_, high), s in zip(buckets, np.cumsum(share) / share.sum())))
for label, values in by_t.items():
    print(f"{label:10} all t {np.average(values, weights=np.diff(buckets, axis=1)[:, 0]):.3f}, t ≥ 800: {values[-1]:.4f}")
if PRESET != "smoke":
    assert by_t["this run"][0] > 5 * by_t["this run"][-1]

# %% [markdown]
# At large t, $x_t$ *is* almost the noise: copying it gives a small error. At small t the noise hides between the pixels of the
# strokes. So the smaller t carry most of the average loss, while the forms of a digit appear at larger t (lesson 6.4
# measures that), where the error is already small. **That is why a loss that moves little can still mean better digits**:
# in the saved run, from 5 to 20 epochs, the loss falls by a third, the error at t ≥ 800 to less than a third. Compare
# the second and the third row of samples above.

# %% [markdown]
# ## 4.6 Stop and resume
#
# A run of hours will be interrupted one day. `train(..., state_file=...)` saves weights, optimiser and history after
# each epoch in one file. Because every batch is a function of (seed, epoch, step), a resumed run sees the same batches
# and ends at the *same* weights.

# %%
small = x_train[:192]


def run(epochs, state_file=None):
    network = fresh_network()
    history = training.train(network, schedule, small, epochs, seed=SEED, state_file=state_file)
    return network, history


with tempfile.TemporaryDirectory() as folder:
    state_file = Path(folder) / "state.npz"
    run(2, state_file)  # ... here somebody pulls the plug
    resumed, resumed_history = run(4, state_file)  # a new network: everything comes from the file
straight, straight_history = run(4)

same = all(np.array_equal(a, b) for a, b in zip(resumed.get_weights(), straight.get_weights()))
print("losses, resumed: ", [f"{v:.4f}" for v in resumed_history["loss"]])
print("losses, straight:", [f"{v:.4f}" for v in straight_history["loss"]])
print("all weights equal:", same)
assert same and resumed_history["loss"] == straight_history["loss"]

# %% [markdown]
# ## 4.7 Is it working? Symptoms and causes
#
# Below are six short runs: a good one, and five with one mistake each. The printed table lists their numbers, the last
# table names symptom, cause and cure.

# %%
brief = training.Recipe().batch_size * (80 if PRESET != "smoke" else 4)
x_brief = x_train[np.arange(brief) % len(x_train)]  # a small data set is shown more than once


def short_run(x=x_brief, learning_rate=2e-4, network=None, train_schedule=schedule):
    """One epoch; returns the loss of each step, and the trained network."""
    network = network or fresh_network()
    means = [0.0]  # Keras reports the mean over all steps so far
    record = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: means.append(logs["loss"]))
    training.train(network, train_schedule, x, 1, seed=SEED, callbacks=[record],
                   recipe=training.Recipe(learning_rate=learning_rate))
    return np.diff(np.arange(len(means)) * means), network


def relu_output():
    """The classic network with a ReLU at the end: it can only predict positive noise."""
    base = fresh_network()
    return keras.Model(base.inputs, keras.layers.ReLU()(base.output))


runs = {
    "as it should be": short_run(),
    "learning rate 100× too small": short_run(learning_rate=2e-6),
    "learning rate 100× too large": short_run(learning_rate=2e-2),
    "ReLU at the output": short_run(network=relu_output()),
    "trained on images in [0, 1]": short_run(x=(x_brief + 1) / 2),
    "T = 100 without larger β": short_run(train_schedule=linear_schedule(100)),
}

# %%
window = min(8, len(runs["as it should be"][0]))
figure, ax = plots.axes(f"One epoch with one mistake each (mean of {window} steps)", "step", "noise MSE", size=(8, 4))
for (label, (losses, _)), dash in zip(runs.items(), ("-", "--", "-.", ":", "-", "--")):
    smooth = np.convolve(losses, np.ones(window) / window, "valid")
    ax.plot(np.arange(window, len(losses) + 1), smooth, dash, label=label)
ax.axhline(1.0, color="black", linewidth=0.8, linestyle=":", label="knowing nothing")
ax.set(ylim=(0, 2.0))
ax.legend(fontsize=8, ncol=2, loc="upper right")
plots.show(figure, "Loss over one epoch for six runs. The good one falls fast; with a tiny rate it hardly falls; with a huge "
           "rate it starts far above 1; with a ReLU at the output it stays high; images in [0, 1] look fine.")

# %% [markdown]
# The loss alone does not find every mistake. So we also measure each network *as it will be used*: on noisy test images
# in [-1, 1] from the schedule with T = 1000.

# %%
used = {label: training.noise_mse(trained, schedule, x_test[:300]) for label, (_, trained) in runs.items()}
own = {label: np.mean(losses[-window:]) for label, (losses, _) in runs.items()}
print(f"{'run':32} {'its own loss':>12} {'error in use':>13}")
for label in runs:
    print(f"{label:32} {own[label]:12.3f} {used[label]:13.3f}")
if PRESET != "smoke":
    good = "as it should be"
    assert all(max(used[label] / used[good], own[label] / own[good]) > 1.5 for label in runs if label != good)

# %% [markdown]
# | symptom | cause | cure |
# | --- | --- | --- |
# | loss falls, but very slowly | learning rate too small | 2e-4; for small networks 1e-3 |
# | loss jumps far above 1 in the first steps, and stays behind | learning rate too large | ten times smaller |
# | loss falls, but stays far above that of a good run | ReLU at the output: half of all noise is negative | no activation at the end |
# | loss is fine, but the error in use is bad | images scaled to [0, 1], not [-1, 1] | `data.to_model_range`; print min and max |
# | own loss far above a good run's, error in use hardly worse | training saw another schedule than sampling | one `schedule` object for both |
# | loss stays at 0.03 for hours | nothing is wrong: section 4.4 | look at samples |

# %% [markdown]
# ## Remember
# - The loss is the mean squared error of the noise; 1.0 means "knows nothing", about 0.03 is a good end here.
# - `fit` is the four steps in a loop.
# - Small t carry much of the loss, larger t decide the form: look at samples, not only at the loss.
# - A run that cannot be resumed exactly is a run that you will lose.
