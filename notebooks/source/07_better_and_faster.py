# %% [markdown]
# # 7 · Better and faster (optional)
#
# The classic network needs hours to learn and a thousand calls to draw. This lesson makes the same network faster without
# changing its answers, then builds a network and a recipe for two cores, and asks of every ingredient: **does it earn its place?**
#
# **You will be able to**
# - find out where the time goes, and save arithmetic without changing a result;
# - fold an image so that a network works on smaller maps and loses nothing;
# - say what a network that predicts v is asked for, and get $\hat x_0$ from it;
# - read an ablation, and say what it does not show.
#
# **Time:** about 50 minutes with the exercises; the cells run in less than a minute.
#
# Sources: Salimans & Ho 2022, [v-prediction](https://arxiv.org/abs/2202.00512); Nichol & Dhariwal 2021,
# [cosine schedule, scale and shift](https://arxiv.org/abs/2102.09672); Hang et al. 2023, [Min-SNR](https://arxiv.org/abs/2303.09556);
# Ho & Salimans 2022, [guidance](https://arxiv.org/abs/2207.12598).

# %% [markdown] tags=["badges"]
# [Text source of this lesson](source/07_better_and_faster.py) · no account or GPU needed

# %% tags=["parameters"]
PRESET = "quick"  # "smoke": seconds, to test; "quick" or "full": this lesson is quick in any case
DATASET = "auto"  # MNIST, or scikit-learn's digits where there is no MNIST
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
import time

import matplotlib.pyplot as plt
import numpy as np

from labutils import checks, data, evaluation, fastnet, networks, plans, plots, presets, sampling, schedule, training, unet

import keras

settings = presets.get(PRESET)
plots.use_lab_style()
images = data.load(DATASET)
if images.image_shape != (28, 28, 1):
    images = data.load("digits")  # the recorded measurements are of 28×28×1
name = images.note or images.name  # what the figures call the data
print(f"preset {settings.name}: {settings.samples} samples drawn at the end; images: {name}")

# %% [markdown]
# ## 7.1 Where the time goes
#
# Lesson 3 counted multiply-adds: the two layers of the way up do 85 % of the work. `python -m benchmarks.speed` measured
# the time of every layer of the classic network alone, forward and backward, for a batch of 64.
#
# **Predict before you run:** will the share of the *time* be larger or smaller than 85 %?

# %%
speed = evaluation.recorded("speed")
milliseconds = {layer: row["median"] for layer, row in speed["layers_ms"].items()}
figure, ax = plots.axes(f"Time of each layer of the classic network, batch 64 ({speed['machine']['cores']} cores)", "milliseconds (forward and backward)", "layer", size=(8, 4.5))
ax.barh(list(milliseconds)[::-1], list(milliseconds.values())[::-1], color=plots.COLOURS["blue"])
plots.show(figure, "Bar chart of milliseconds by layer: up_1 and up_2 are by far the longest, then down_1, down_2 and middle; the other layers "
           "take little.")
way_up = (milliseconds["up_1"] + milliseconds["up_2"]) / sum(milliseconds.values())
print(f"up_1 and up_2: {way_up:.0%} of {sum(milliseconds.values()):.0f} ms")

# %% [markdown]
# The share is smaller: layers with hardly any arithmetic, such as pooling and ReLU, cost time as well, because they move data.
# But the way up is the place to look.
#
# ### The same answer with less arithmetic
#
# On the way up a 3×3 convolution runs over a map that was **just doubled**: each value stands there 2×2 times. In one
# dimension, with values $a, b, c$ and a filter of three taps $w_0, w_1, w_2$:
#
# | doubled | a | a | b | b | c | c |
# | --- | --- | --- | --- | --- | --- | --- |
# | position | 0 | 1 | 2 | 3 | 4 | 5 |
#
# The output at position 2 (even) is $w_0 a + w_1 b + w_2 b$: two of the three taps meet the same value. So it is
# $w_0 a + (w_1 + w_2)\, b$: **two** multiplications instead of three, and in two dimensions four instead of nine.

# %% [markdown]
# ### Exercise 7.1 – two filters for one
# *Difficulty ●●○○ · about 10 minutes*
#
# Write `split_taps(w)`: for the three taps `w` it returns two filters of two taps, an array (2, 2). The first row is for even
# positions: what multiplies the value before, and the value itself. The second is for odd positions: what multiplies the value
# itself, and the value after.
#
# <details><summary>Hint: position 3</summary>
#
# The output at position 3 (odd) is $w_0 b + w_1 b + w_2 c$.
# </details>
#
# <details><summary>Help: "two of the three taps fall on the same value"</summary>
#
# A value that is used twice counts with the sum of both weights.
# </details>
#
# <details><summary>Help: "the rows are swapped"</summary>
#
# Position 0 and 2 are even. Their left neighbour is the *other* value.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-7-1-split-taps", "grade": false, "solution": true, "locked": false, "task": false}
def split_taps(w):
    """Two filters of two taps that do over the values what w does over the doubled values; (3,) → (2, 2)."""
    ### BEGIN SOLUTION
    return np.array([[w[0], w[1] + w[2]], [w[0] + w[1], w[2]]])
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-7-1-split-taps", "grade": true, "solution": false, "locked": true, "points": 2, "task": false}
checks.check_split_taps(split_taps)

# %% [markdown]
# In two dimensions the four little filters are together one *transposed convolution* with a 4×4 kernel that is set down at every
# second place (`labutils.unet.grow_and_convolve`). The other half of the convolution's input, the skip connection, is convolved
# as before, and the two are added. The lab's classic network always computes like this.
#
# **Predict before you run:** how many multiply-adds of the whole network are saved? Will the time fall by as much?

# %%
network = unet.build_classic_unet(images.image_shape)
layer_by_layer = keras.Model(network.inputs, network.outputs[0])  # the same layers, computed as lesson 3 draws them
rng = np.random.default_rng(SEED)
x, t = rng.standard_normal((64, *images.image_shape)).astype("float32"), rng.random((64, 1)).astype("float32")
difference = np.abs(np.asarray(network([x, t])) - np.asarray(layer_by_layer([x, t]))).max()
print(f"largest difference between the answers: {difference:.0e}")
assert difference < 1e-5

rows = {row["name"]: row for row in unet.layer_costs(network)}
total = sum(row["multiply_adds"] for row in rows.values())
below = {"up_2": 128, "up_1": 64}  # channels from below, of all that go in
saved = sum(rows[up]["multiply_adds"] * count / network.get_layer(up).kernel.shape[2] * (1 - 4 / 9) for up, count in below.items())
print(f"multiply-adds saved: {saved / total:.0%}")
for choice, rate in speed["choices"].items():
    print(f"recorded, {choice:28} {rate['median']:6.0f} images/s (training step; {rate['low']:.0f}–{rate['high']:.0f})")

# %% [markdown]
# The table also shows choices that somebody could make without changing a line of the network: TensorFlow's own graph or the
# compiler XLA, one thread, and without the library oneDNN. **Measure such choices; do not believe them.**

# %% [markdown]
# ## 7.2 A network for two cores
#
# The cost of a 3×3 convolution is height × width × channels². A network that works on smaller maps can have more channels, or more
# layers, for the same time. The network `fast` first *folds* the image: each 2×2 block of pixels becomes one pixel with four
# channels. Nothing is lost, and everything after it runs on 14×14 or 7×7.

# %% [markdown]
# ### Exercise 7.2 – fold an image
# *Difficulty ●●●○ · about 15 minutes*
#
# Write `space_to_depth(x)`: (B, H, W, C) → (B, H/2, W/2, 4C). The four pixels of each 2×2 block become the channels of one pixel, in
# any order.
#
# <details><summary>Hint: two ways</summary>
#
# Either four slices, `x[:, i::2, j::2]` for i and j in 0, 1, joined along the last axis. Or reshape to
# (B, H/2, 2, W/2, 2, C), bring both 2s to the end with `transpose`, and reshape again.
# </details>
#
# <details><summary>Help: "a plain reshape cuts the rows of pixels into pieces"</summary>
#
# `reshape` keeps the order of the values in memory: one whole row of pixels, then the next. But the two rows of a block are not
# neighbours there.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-7-2-space-to-depth", "grade": false, "solution": true, "locked": false, "task": false}
def space_to_depth(x):
    """Each 2×2 block of pixels becomes one pixel; (B, H, W, C) → (B, H/2, W/2, 4C)."""
    ### BEGIN SOLUTION
    return np.concatenate([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], axis=-1)
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-7-2-space-to-depth", "grade": true, "solution": false, "locked": true, "points": 3, "task": false}
checks.check_space_to_depth(space_to_depth)

# %%
folded = np.asarray(fastnet.space_to_depth(images.x_test[:4]))
rows = [[image, *np.moveaxis(channels[..., None], 2, 0)] for image, channels in zip(images.x_test[:4], folded)]
plots.show(plots.image_table(rows, [f"image {i + 1}" for i in range(4)], ["image", *(f"channel {i + 1}" for i in range(4))],
                             f"An image of 28×28 folded to 14×14 with four channels ({name})"),
           "Four digits; beside each its four channels, four nearly equal small versions of the digit, shifted by half a pixel.")

# %%
fast = networks.build("fast", images.image_shape)
for label, model in (("classic", network), ("fast", fast)):
    work = sum(row["multiply_adds"] for row in unet.layer_costs(model))
    print(f"{label:8} {model.count_params():9,} parameters, {work / 1e6:5.1f} million multiply-adds for one image")

# %% [markdown]
# Twice the parameters, for less than the work of the classic network. Beside the folding, `fast` has
# - **blocks with a shortcut**, x + f(x), that start as the identity because the last layer of f starts at 0;
# - **the time in every block**: the sines and cosines of lesson 3, through two dense layers, scale and shift the channels of each
#   block (the classic network sees t only at the entrance);
# - **an output that starts at 0**: the first guess is the mean, not noise.

# %% [markdown]
# ## 7.3 What to ask for: ε, x_0 or v
#
# A network can predict the noise, the image, or a mixture. With $v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1-\bar\alpha_t}\,x_0$ both can be found:
#
# $$ \hat x_0 = \sqrt{\bar\alpha_t}\;x_t - \sqrt{1-\bar\alpha_t}\;v, \qquad \hat\varepsilon = \sqrt{1-\bar\alpha_t}\;x_t + \sqrt{\bar\alpha_t}\;v $$
#
# The three are the same knowledge. But the mean squared error of one is not the mean squared error of another: a choice of what to predict is
# a choice of **which t matter**.

# %% [markdown]
# ### Exercise 7.3 – back to the image
# *Difficulty ●○○○ · about 5 minutes*
#
# Write `x0_from_v(xt, v, alpha_bar)`, for one number $\bar\alpha_t$.
#
# <details><summary>Hint: it is the formula above</summary>
#
# `np.sqrt(alpha_bar)` and `np.sqrt(1 - alpha_bar)` are its two factors.
# </details>
#
# <details><summary>Help: "the two factors are swapped"</summary>
#
# At a small t, $\bar\alpha_t \approx 1$ and $x_t$ is nearly the image: there $x_t$ must have the large factor.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-7-3-x0-from-v", "grade": false, "solution": true, "locked": false, "task": false}
def x0_from_v(xt, v, alpha_bar):
    """The clean image that x_t and v imply."""
    ### BEGIN SOLUTION
    return np.sqrt(alpha_bar) * xt - np.sqrt(1 - alpha_bar) * v
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-7-3-x0-from-v", "grade": true, "solution": false, "locked": true, "points": 2, "task": false}
checks.check_x0_from_v(x0_from_v)

# %% [markdown]
# How much does an error of $\hat x_0$ at step t count in each loss? Solve the formulas for the error: one unit of squared error of
# $\hat x_0$ is one unit for a network that predicts $x_0$, SNR units for ε, and SNR + 1 for v. *Min-SNR* weighting counts
# min(SNR, 5), whatever is predicted.
#
# **Predict before you run:** which loss looks least at the large t, where the form of a digit is decided?

# %%
cosine = schedule.cosine_schedule()
weights = {"predict ε": cosine.snr, "predict v": cosine.snr + 1, "predict $x_0$": np.ones(cosine.T), "Min-SNR, γ = 5": np.minimum(cosine.snr, 5)}
figure, ax = plots.axes("How much an error of the guessed image counts (cosine schedule)", "t", "weight (logarithmic)", size=(7, 4))
for (label, values), dash in zip(weights.items(), ("-", "--", "-.", ":")):
    ax.semilogy(values, dash, label=label)
ax.set(ylim=(1e-4, 1e5))
ax.legend()
plots.show(figure, "Weights against t: for ε it falls from ten thousand to almost 0; for v it falls to 1 and stays there; for x_0 it is 1 "
           "everywhere; for Min-SNR it is 5 at small t and falls like that of ε at large t.")

# %% [markdown]
# The loss for ε hardly looks at large t, the one for v keeps a weight of at least 1 everywhere but counts small t far more. For
# $x_0$ every t counts the same: that is what the recipe `fast` asks for.

# %% [markdown]
# ## 7.4 A rate that rises and falls, and weights that are averaged
#
# A large learning rate makes fast progress and never comes to rest; a small one is exact and slow. So let it rise for a short while (the
# first steps of an untrained network are wild), be large, and fall to 0. Along the way, an average of the weights over the last steps
# is less noisy than the weights themselves; it must not look back to the untrained start. And a gradient that is far too long is cut
# (*clipping*): a single bad step at a large rate can throw a run off its path.

# %%
recipe = plans.PLANS["fast"].recipe.for_run(epochs=1, steps_per_epoch=938)
rate = recipe.optimizer(938)._learning_rate
figure, ax = plots.axes("The learning rate of a run of one pass over MNIST", "step", "learning rate")
ax.plot([float(rate(step)) for step in range(938)])
ax.axhline(training.Recipe().learning_rate, color=plots.COLOURS["orange"], linestyle="--", label="classic recipe")
ax.legend()
plots.show(figure, "The learning rate rises in a straight line over the first steps to ten times that of the classic recipe and falls along a "
           "cosine to 0 at the end.")
print(recipe)

# %% [markdown]
# ## 7.5 Does every ingredient earn its place?
#
# `python -m benchmarks.ablation` trained each variant for **one pass** over MNIST, drew 1,000 images with 20 calls of the network
# each, and measured them as in lesson 5. Each variant changes one thing of `fast`; two are the classic network, two train longer.
#
# **Predict before you run:** name the ingredient that matters most, and one that does not matter.

# %%
ablation = evaluation.recorded("ablation")
found = {}
for row in ablation["rows"]:
    found.setdefault(row["variant"], []).append(row)
floor = ablation["rows"][0]["measures"]
order = sorted(found, key=lambda variant: np.mean([row["measures"]["frechet"]["value"] for row in found[variant]]))[::-1]
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), sharey=True, layout="constrained")
for ax, key, title in ((left, "frechet", "Fréchet distance (lower is better)"), (right, "recognised", "Recognised with a confidence of at least 0.9")):
    for i, variant in enumerate(order):
        for row in found[variant]:
            m = row["measures"][key]
            ax.errorbar(m["value"], i, xerr=[[max(m["value"] - m["low"], 0)], [max(m["high"] - m["value"], 0)]], fmt="o", capsize=2,
                        color=plots.COLOURS["blue" if variant == "fast" else "orange"])
    ax.axvline(floor[key]["floor"], color="black", linewidth=0.8, linestyle=":", label="real digits")
    ax.set(title=title, xlabel=title.split(" (")[0] if key == "frechet" else "share of the images", ylabel="variant")
left.set_xscale("log")
left.set_yticks(range(len(order)), order)
left.legend()
plots.show(figure, "For each variant a dot with its 95 % interval for each run, sorted by Fréchet distance: " + ", ".join(
    f"{variant} {np.mean([row['measures']['frechet']['value'] for row in found[variant]]):.0f}" for variant in order[::-1]) + ".")

# %%
print(f"{'variant':28}{'runs':>5}{'CPU seconds':>12}{'Fréchet':>9}{'recognised':>12}")
print(f"{'real digits':28}{'':>5}{'':>12}{floor['frechet']['floor']:9.1f}{floor['recognised']['floor']:12.3f}")
for variant in order[::-1]:
    runs = found[variant]
    mean = {key: np.mean([row["measures"][key]["value"] for row in runs]) for key in ("frechet", "recognised")}
    print(f"{variant:28}{len(runs):5}{np.mean([row['cpu_seconds'] for row in runs]):12.0f}{mean['frechet']:9.1f}{mean['recognised']:12.3f}")

# %% [markdown]
# What the saved measurement shows:
#
# - **Chance** is small: the runs of `fast` from different seeds lie close together. So the larger differences in the table are real.
# - **Earned:** predicting $x_0$ (v is far behind), a rate that is large and falls, the start at zero, the cosine schedule, and the network: the
#   classic one with the same recipe is behind. Take one away, and the distance grows.
# - **Not earned in so short a run:** scale and shift in every block (the time as one more channel does as well), and averaging (the rate has come to
#   rest anyway).
# - **Harmful here:** Min-SNR weighting. Beside the plain error of $x_0$ it takes weight away from large t, where the form of a digit is decided. For a
#   network that predicts ε or v it would take weight away from small t instead: compare the curves of section 7.3.
# - **Better than the recipe:** being told the digit. That is `fast_conditional`, whose distance after 20 passes is by far the smallest of lesson 5.
# - **Broken:** predicting the noise. Under the cosine schedule ᾱ is almost 0 at the end, $\hat x_0$ is divided by its root, and drawing
#   starts with nonsense. (Lesson 4 predicts the noise under the linear schedule, where it works.) And look at its other number: the judge
#   *recognises* more than of most other variants. Never trust one number.
# - **More passes** help: with each doubling from one to four the distance falls by about a third.

# %% [markdown]
# ## 7.6 The whole of it
#
# Longer training, and few calls for a drawing: the committed checkpoints `fast` and `fast_conditional` were trained for 20 passes. Lesson 5 showed their quality;
# here is their speed, beside the original way to draw (`generate_image`: one image, one eager call of the network for each of 1000 steps).

# %%
drawing = speed["sample"]
figure, ax = plots.axes(f"Drawing digits on {speed['machine']['cores']} cores", "images per second (logarithmic)", "", size=(8, 3.8))
labels = list(drawing)[::-1]
ax.barh(labels, [drawing[label]["median"] for label in labels], color=[plots.COLOURS["blue" if "lab" in label else "orange"] for label in labels])
ax.set(xscale="log", ylabel="who draws")
plots.show(figure, "Bar chart of images per second: " + ", ".join(f"{label} {rate['median']:.2g}" for label, rate in drawing.items()) + ".")
for label, ratio in speed["ratios"].items():
    print(f"{label:58} {ratio['median']:8.2f}× ({ratio['low']:.2f}–{ratio['high']:.2f})")

# %%
walker, walker_schedule, shape, options = plans.load_for_sampling("fast")
started = time.perf_counter()
digits = sampling.sample(walker, walker_schedule, settings.samples, shape, seed=SEED, sampler="dpmpp_2m", steps=10, **options)
print(f"{len(digits)} digits, 10 calls each, in {time.perf_counter() - started:.1f} s (compiling included)")
plots.show(plots.image_grid(digits, "Drawn by fast: 10 steps of dpmpp_2m, told nothing but t"), "A grid of drawn digits; many are easy to read, others are no digit.")

# %% [markdown]
# ### Exercise 7.4 – plan an experiment
# *Difficulty ●●●○ · about 15 minutes · marked by your instructor*
#
# Choose one row of the ablation. (a) What does it show? (b) Two things that it does not show, since the run was short, there were few runs, and
# one ingredient was changed at a time. (c) The experiment that you would run next, and the result that would change your mind.

# %% [markdown] nbgrader={"schema_version": 3, "grade_id": "text-7-4-experiment", "grade": true, "solution": true, "locked": false, "points": 4, "task": false}
# <!-- ### BEGIN SOLUTION -->
# Example: the row "no averaging". (a) After one pass, without averaging, the Fréchet distance is that of the table, beside that of `fast`. (b) It does
# not show whether averaging still helps after 20 passes, where the rate has long fallen to 0 and the weights hardly move; nor whether it matters more with a
# constant rate, because rate and averaging both quieten the weights. (c) Train both ways for 20 passes, three seeds each, once with the falling and once
# with a constant rate. If the intervals overlap with the falling rate, averaging is not needed there.
# <!-- ### END SOLUTION -->

# %% [markdown]
# ## Remember
# - Measure where the time goes before you change anything; then check that the answer is still the same.
# - Small maps are cheap: fold the image, nothing is lost.
# - What a network predicts decides which t its loss looks at.
# - An ingredient earns its place in an ablation with more than one run, or it is decoration.
