# %% [markdown]
# # 1 · Function inversion: learn x from y
#
# A function gives y for x. Can a neural network learn the inverse, x for y? Sometimes. This lesson shows when it works
# and how large the network must be. It also shows where it fails so badly that a different model is needed. That model,
# a *diffusion model*, is what the other six lessons build.
#
# **You will be able to**
# - train a small network on the inverse of sin and say how good it is;
# - show what it answers outside the range it was trained on;
# - explain why a network trained on the squared error fails when a question has several right answers;
# - see a tiny diffusion model give all of them.
#
# **Time:** about 35 minutes with the exercises; the cells run in about two minutes.

# %% [markdown] tags=["badges"]
# [Text source of this lesson](source/01_function_inversion.py) · no account or GPU needed

# %% tags=["parameters"]
# PRESET: "full" (the default of this short lesson), "quick", or "smoke" (a test).
# DATASET: not used here, the data are points on a curve.
PRESET = "full"
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
import matplotlib.pyplot as plt
import numpy as np

from labutils import checks, plots, presets, pretrained, sampling
from labutils.schedule import linear_schedule
from labutils.toys import inversion
from labutils.training import keras_progress

import keras

settings = presets.get(PRESET, SEED)
plots.use_lab_style()
print(f"preset {settings.name}: {settings.fit_epochs} epochs per fit, {settings.seeds} repetitions")

# %% [markdown]
# ## The goal: digits on request
#
# You will understand this example, and build it yourself, by the end of [lesson 5](05_sampling.ipynb). A trained
# network comes with the lab. It gets pure noise and a list of digits, and draws these digits. **Change the list and run
# the cell again.**

# %%
wanted = [3, 1, 4, 1, 5, 9, 2, 6]
drawer = pretrained.load_diffusion("fast_conditional")
digits = sampling.sample(drawer, len(wanted), condition=wanted, sampler="dpmpp_2m", steps=12,
                         seed=SEED, progress=False)
asked = " ".join(map(str, wanted))
plots.show(plots.image_grid(digits, f"Drawn from noise, asked for {asked}", scale=1),
           f"Handwritten digits, drawn by a network that was asked for {asked}.")

# %% [markdown]
# "Draw a 3" means: find an image that looks like a 3. This is the inverse of the function *image → digit*. So we begin with
# the simplest inverse problem: one number in, one number out.
#
# ## 1.1 The data: 200 points on a sine
#
# We choose x and compute y = sin x. For the network the roles are exchanged: **y is the input, x is the answer.**
#
# The inverse exists only if the function is *one-to-one* (injective): different x give different y. sin is not one-to-one on
# all numbers, but it is on [−π/2, π/2]. There it is *monotone*: it rises from −1 to 1. So on this interval it is a one-to-one
# map onto [−1, 1] (*bijective*). Its inverse arcsin exists and is monotone too. We use x in [−1, 1], which lies inside this
# interval. So each y has exactly one right answer, x = arcsin y.

# %%
x = np.linspace(-1, 1, 200)
y = np.sin(x)

figure, ax = plots.axes("The task: from y back to x", "y = sin x (the network's input)",
                        "x (answer)", size=(5, 3.5))
ax.plot(y, x, ".", markersize=3)
plots.show(figure, "200 points on a smooth rising curve, almost a straight line, from x = -1 at y "
           "= -0.84 to x = 1 at 0.84.")

# %% [markdown]
# ## 1.2 A network with ten numbers
#
# The network **1–3–1** has one input, **one hidden layer** of three units with the activation
# $\mathrm{relu}(z) = \max(z, 0)$, and one output:
#
# $$ x \approx b + \sum_{i=1}^{3} v_i\,\mathrm{relu}(w_i y + c_i) $$
#
# Three $w$, three $c$, three $v$ and one $b$: ten parameters. Its curve is made of straight pieces, with at most three
# bends.
#
# **Is one hidden layer enough?** Yes, in principle. Straight pieces can follow any continuous curve on a bounded interval as
# closely as you like, if there are enough of them: this is the *universal approximation theorem* (Cybenko 1989; for ReLU
# and other activations Leshno et al. 1993). The theorem promises that good weights exist. It does not say how many units
# are needed. It does not say that training finds the weights. arcsin is an easy case: it is smooth and monotone, so a few
# pieces already give a small error.

# %% [markdown]
# ### Exercise 1.1 – build the network
# *Difficulty ●○○○ · about 5 minutes*
#
# Write `build_mlp(hidden)`, which returns a Keras model from one number to one number. `hidden` lists the sizes of
# the hidden layers: `(3,)` gives 1–3–1, `(3, 3)` gives 1–3–3–1.
#
# <details><summary>Hint: which layers?</summary>
#
# `keras.Input((1,))`, then one `keras.layers.Dense(size, activation="relu")` for each entry of `hidden`, then
# `keras.layers.Dense(1)`. `keras.Sequential([...])` puts them together.
# </details>
#
# <details><summary>Help: "has 10 parameters, yours has 22"</summary>
#
# You built two hidden layers in place of one. `hidden = (3,)` has one entry, so one hidden layer.
# </details>
#
# <details><summary>Help: "the output can never be negative"</summary>
#
# relu sets everything below 0 to 0. The last layer must be able to give any number, so it has no activation.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-1-1-build-mlp", "grade": false, "solution": true, "locked": false, "task": false}
def build_mlp(hidden):
    """A network 1–hidden–1 with ReLU in the hidden layers; returns a keras.Model."""
    ### BEGIN SOLUTION
    hidden_layers = [keras.layers.Dense(size, activation="relu") for size in hidden]
    return keras.Sequential([keras.Input((1,)), *hidden_layers, keras.layers.Dense(1)])
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-1-1-build-mlp", "grade": true, "solution": false, "locked": true, "points": 2, "task": false}
checks.check_build_mlp(build_mlp)

# %% [markdown]
# Now train it: the optimiser Adam lowers the mean squared error (MSE) between the network's answer and the true x for
# 500 epochs. Two networks 1–3–1 are trained the same way: yours, and the one of labutils, which the rest of the lesson uses.
# Their starting weights differ. Yours has the default of Keras (Glorot weights, all bends at y = 0). The network of labutils
# has *He* weights, which fit ReLU, and its bends are spread over the data. The seed fixes both. In both runs the learning rate
# falls from 0.01 to 0 along half a cosine, so that the last steps are small.
#
# **Predict before you run:** the network has three bends, and the curve is steeper at its ends. Where will the error be
# largest?

# %%
def ask(network, y):
    """The network's answers to the numbers y, shape (N,)."""
    return np.asarray(network(np.reshape(y, (-1, 1))))[:, 0]


def mse(network, y, x):
    return float(np.mean((ask(network, y) - x) ** 2))


keras.utils.set_random_seed(SEED)
build = checks.check_build_mlp.answer_or(inversion.build_mlp)  # yours, if it passed
yours, small = build((3,)), inversion.build_mlp((3,), seed=SEED)
for network, whose in ((yours, "your 1–3–1"), (small, "labutils' 1–3–1")):
    inversion.fit_inverse(network, y, x, settings.fit_epochs, seed=SEED,
                          callbacks=[keras_progress(settings.fit_epochs, f"training {whose}")])
straight_line = np.polyval(np.polyfit(y, x, 1), y)
print(f"your 1–3–1, {yours.count_params()} parameters: MSE {mse(yours, y, x):.1e}")
print(f"labutils' 1–3–1, {small.count_params()} parameters: MSE {mse(small, y, x):.1e}")
print(f"the best straight line, 2 parameters: MSE {np.mean((straight_line - x) ** 2):.1e}")

# %% [markdown]
# Compare each error with that of the straight line. If both have the same size, the network uses none of its bends. In the
# saved run this happened to the start with all bends at y = 0. The start of labutils does better, but it can fail too: the
# bends may lie where they do not help, and gradient descent does not move them to better places. With three units, luck
# decides how many are used. The remedy is simple: **start several times and keep the best.**

# %%
passes = settings.fit_epochs // 10  # not watched epoch by epoch, so compiled: far faster
starts = []
for seed in range(10):
    network = inversion.build_mlp((3,), seed=SEED + 10 * seed)
    inversion.fit_inverse(network, y, x, settings.fit_epochs, seed=SEED, passes=passes)
    starts.append(network)
start_errors = [mse(network, y, x) for network in starts]
small = starts[int(np.argmin(start_errors))]
print("MSE of ten starts:", ", ".join(f"{error:.1e}" for error in start_errors))

# %% [markdown]
# In the saved run some of the ten starts end where the straight line does, and the best has less than half of that error.
# From here on `small` is the best one.

# %%
answer = ask(small, y)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.5))
left.plot(y, np.arcsin(y), label="arcsin y", linewidth=4, color=plots.COLOURS["sky"])
left.plot(y, answer, "--", label="network 1–3–1", color=plots.COLOURS["red"])
left.set(title="Answer of the network", xlabel="y", ylabel="x")
left.legend()
right.plot(y, answer - x, color=plots.COLOURS["red"])
right.axhline(0, color="black", linewidth=0.8)
right.set(title="Its error", xlabel="y", ylabel="answer − x")
plots.show(figure, "Left: the network's answer lies on arcsin. Right: its error, a chain of arcs "
           "with a kink wherever the network's curve bends.")
worst = np.argmax(np.abs(answer - x))
print(f"largest error: {answer[worst] - x[worst]:.3f} at y = {y[worst]:.2f}")

# %% [markdown]
# The error swings around 0: the straight pieces lie below the curve in some places and above it in others. Each kink in the
# right picture is a bend of the network. Was your prediction right? arcsin curves most at the ends, so a straight piece fits
# worst there. But the network can also put a bend there. Then the error is spread more evenly.

# %%
if PRESET != "smoke":
    assert min(start_errors) < 0.7 * np.mean((straight_line - x) ** 2), "the best should use its bends"

# %% [markdown]
# ## 1.3 More network, less error?
#
# **Predict before you run:** which helps more, a second layer (1–3–3–1, 22 parameters) or a wider one (1–16–1,
# 49 parameters)? And does 1–64–64–1 with its 4,353 parameters memorise 200 points?
#
# More parameters than points bring the risk of *overfitting*: the curve passes through the training points and is wrong
# between them. So we measure between the training points. Each size is trained several times from different starting weights.

# %%
sizes = [(3,), (3, 3), (16,), (64,), (16, 16), (64, 64)]
y_test = np.sin(np.linspace(-0.995, 0.995, 199))
errors, parameters = {}, {}
for hidden in sizes:
    for seed in range(settings.seeds):
        network = inversion.build_mlp(hidden, seed=100 * SEED + 10 * seed)
        inversion.fit_inverse(network, y, x, settings.fit_epochs, seed=seed, passes=passes)
        errors.setdefault(network.name, []).append(mse(network, y_test, np.arcsin(y_test)))
        parameters[network.name] = network.count_params()

# %%
figure, ax = plots.axes("Capacity against error", "number of parameters",
                        "MSE between the training points", size=(7, 4.2))
for i, (name, values) in enumerate(errors.items()):
    at = [parameters[name]] * len(values)
    dots = ax.scatter(at, values, s=14, alpha=0.6, color=plots.COLOURS["sky"])
    diamond = ax.scatter(at[0], np.median(values), s=50, marker="D", color=plots.COLOURS["blue"])
    # Names above the dots, then below those of the next, so that they do not meet.
    above = {"xytext": (0, 8), "ha": "left"}, {"xytext": (0, -8), "ha": "right", "va": "top"}
    ax.annotate(name.replace("-", "–"), (at[0], (max, min)[i % 2](values)),
                textcoords="offset points", **above[i % 2])
lowest = min(map(min, errors.values()))
ax.set(xscale="log", yscale="log", xlim=(4, 20_000), ylim=(lowest / 4, None))
ax.legend([dots, diamond], ["one run", "median"], loc="upper right")
medians = ", ".join(f"{name} {np.median(values):.0e}" for name, values in errors.items())
plots.show(figure, "Scatter plot with two logarithmic axes, number of parameters against error; a "
           f"dot for each run and a diamond for the median of each network size: {medians}.")

# %%
print(f"{'network':12} {'parameters':>10} {'median MSE':>11} {'best':>9} {'worst':>9}")
for name, values in errors.items():
    print(f"{name:12} {parameters[name]:10,} {np.median(values):11.1e} "
          f"{min(values):9.1e} {max(values):9.1e}")

# %% [markdown]
# Compare the columns *best* and *worst*: for every size the result depends on the start. Width helped more than a second
# layer. In the saved run the worst 1–16–1 beats the best 1–3–3–1. In the median, 1–64–1 with 193 parameters beats 1–16–16–1
# with 321. The largest network has twenty times more parameters than points, but it does not overfit here: its error
# between the points is the smallest of all. Two things help here. The data have no noise that it could memorise. And the
# points are dense, so a curve through them can hardly deviate between them. Noisy or few points would show the risk.

# %% [markdown]
# ## 1.4 Outside the trained range
#
# The training data end at y = sin 1 ≈ 0.84. Between there and y = 1 the right answer exists, but the network has never
# seen it. Beyond y = 1 **no** real x has sin x = y.
#
# **Predict before you run:** what does the network answer for y = 0.95? And does it show that y = 1.3 has no answer?

# %%
wide_y = np.linspace(-1.5, 1.5, 301)
big = network  # the last one trained above: 1–64–64–1
answers = {"1–3–1": small, "1–64–64–1": big}

figure, ax = plots.axes("Answers inside and outside the trained range", "y", "x", size=(7, 4))
ax.axvspan(np.sin(-1), np.sin(1), color=plots.COLOURS["sky"], alpha=0.2, label="trained range")
inside = np.abs(wide_y) <= 1
ax.plot(wide_y[inside], np.arcsin(wide_y[inside]), color="black", linewidth=3,
        label="arcsin y (exists up to |y| = 1)")
for (name, model), colour, dash in zip(answers.items(), ("red", "blue"), ("--", "-.")):
    ax.plot(wide_y, ask(model, wide_y), dash, color=plots.COLOURS[colour], label=name)
ax.legend()
plots.show(figure, "Inside the trained range both networks follow arcsin; outside it they extrapolate "
           "linearly while arcsin turns steeply up and ends at y = 1.")

# %%
def rms(model, low, high):
    between = np.linspace(low, high, 200)
    return np.sqrt(mse(model, between, np.arcsin(between)))


for name, model in answers.items():
    impossible = ask(model, [1.3])[0]
    print(f"{name:10} RMS error inside {rms(model, -0.84, 0.84):.3f}, "
          f"between sin 1 and 1 {rms(model, 0.85, 1.0):.3f}")
    print(f"{'':10} y = 0.95: x = {ask(model, [0.95])[0]:.2f} (right: {np.arcsin(0.95):.2f}); "
          f"y = 1.3, which no x has: x = {impossible:.2f}")
    if PRESET != "smoke":
        assert rms(model, 0.85, 1.0) > 5 * rms(model, -0.84, 0.84)

# %% [markdown]
# These are two different failures. Between sin 1 and 1 the network **extrapolates** linearly and is wrong. Beyond 1 there
# is no right answer. The network still gives a number, and nothing in the number shows the failure.

# %% [markdown]
# ## 1.5 Many right answers
#
# Now let x run over [-2π, 2π]. For almost every y in (-1, 1) there are **four** x with sin x = y.

# %% [markdown]
# ### Exercise 1.2 – all the inverses
# *Difficulty ●●○○ · about 10 minutes*
#
# Write `all_inverses(y)`: every x in [-2π, 2π] with sin x = y, for one number y in (-1, 1). Any order, as a list or an
# array.
#
# <details><summary>Hint: where do four solutions come from?</summary>
#
# In one period there are two: arcsin y and π − arcsin y. sin repeats every 2π, so shift both by −4π, −2π, 0, 2π and
# keep those in the range.
# </details>
#
# <details><summary>Help: "there are 4 solutions, you return 2"</summary>
#
# Either the second branch π − arcsin y is missing, or the shifts by 2π are. The message says which.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-1-2-all-inverses", "grade": false, "solution": true, "locked": false, "task": false}
def all_inverses(y):
    """All x in [-2π, 2π] with sin x = y."""
    ### BEGIN SOLUTION
    branches = [np.arcsin(y), np.pi - np.arcsin(y)]
    shifted = [branch + 2 * np.pi * k for branch in branches for k in (-2, -1, 0, 1)]
    return [x for x in shifted if -2 * np.pi <= x <= 2 * np.pi]
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-1-2-all-inverses", "grade": true, "solution": false, "locked": true, "points": 2, "task": false}
checks.check_inverses(all_inverses)

# %% [markdown]
# Train a new 1–64–64–1 on 5,000 random points of this curve.
#
# **Predict before you run:** for y = 0.5 the right answers are −5.76, −3.67, 0.52 and 2.62. Which one will the network
# choose?

# %%
rng = np.random.default_rng(SEED)
x_many = rng.uniform(-inversion.SPAN, inversion.SPAN, 5_000)
y_many = np.sin(x_many)
regression = inversion.build_mlp((64, 64), seed=SEED)
epochs = max(settings.fit_epochs // 25, 2)
inversion.fit_inverse(regression, y_many, x_many, epochs, batch_size=64, seed=SEED,
                      passes=epochs // 2)
grid = np.linspace(-0.99, 0.99, 199)
guess = ask(regression, grid)

# %%
figure, ax = plots.axes("Four right answers for each y, and the network's answer", "y", "x",
                        size=(8, 4.5))
ax.plot(y_many[:1500], x_many[:1500], ".", markersize=2, color=plots.COLOURS["sky"],
        label="data: x with sin x = y")
ax.plot(grid, guess, color=plots.COLOURS["red"], linewidth=3, label="network 1–64–64–1")
ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
plots.show(figure, "The data form a sine lying on its side, with four values of x for each y. The "
           "network's answer is one curve that falls steeply around y = 0, overshoots, stays near "
           "-1.6 and touches none of the branches for most y.")

# %% [markdown]
# The network chooses none of them: for most y > 0 it answers near −π/2 ≈ −1.57. Why? The squared error is smallest at the **mean** of the right
# answers. For y > 0 the mean of the four solutions is
# $\tfrac14\,(a + (\pi - a) + (a - 2\pi) + (-\pi - a)) = -\tfrac{\pi}{2}$ with $a = \arcsin y$. But
# $\sin(-\pi/2) = -1$. So for every positive y the mean leads to −1, the value farthest from y.

# %%
all_of = checks.check_inverses.answer_or(inversion.inverses)  # yours, if it passed
clear = np.abs(grid) > 0.1
from_mean = np.abs(guess[clear] - [np.mean(all_of(v)) for v in grid[clear]])
miss = np.abs(np.sin(guess) - grid)
print(f"answer to y = 0.5: {ask(regression, [0.5])[0]:.2f}; right answers:",
      ", ".join(f"{v:.2f}" for v in sorted(all_of(0.5))))
print(f"mean distance from the mean of the right answers (|y| > 0.1): {from_mean.mean():.2f}")
print(f"|sin(answer) − y|: mean {miss.mean():.2f}; for y > 0.1: {miss[grid > 0.1].mean():.2f}")
if PRESET != "smoke":
    assert from_mean.mean() < 0.3, "the network should have learned the mean"
    assert miss.mean() > 1, "... and the mean should be no solution"

# %% [markdown]
# A larger network or a longer training cannot help: the mean *is* the best answer for the squared error. One number is not
# enough. We need **a distribution of x for a given y**, and a way to draw from it.

# %% [markdown]
# ## 1.6 The bridge: a diffusion model in one dimension
#
# Here is the idea of the whole lab, in one dimension:
#
# 1. Take a right answer x, and add noise to it, step by step, until only noise is left.
# 2. Train a network to predict the noise in a noisy x. It also gets y and the step. It learns a mean again: the mean of all
#    noises that fit. Here a mean is what we need, because each step follows it only a little. Then the network predicts
#    again. ([Lesson 2](02_forward_noising.ipynb) explains why small steps suffice.)
# 3. To answer, start from pure noise and remove the predicted noise, step by step. Different noise leads to different right
#    answers.
#
# Lessons 2, 4 and 5 explain these three parts. Here we only use them. The schedule, the loss and the sampler are the same
# as for the images later.

# %%
schedule = linear_schedule()
denoiser = inversion.build_conditional_denoiser(seed=SEED)
loss = inversion.train_conditional(denoiser, schedule, x_many / inversion.SPAN, y_many,
                                   settings.toy_steps, seed=SEED,
                                   callbacks=[keras_progress(10, "training the diffusion model")])
print(f"{denoiser.count_params():,} parameters, noise-prediction loss {loss:.3f}")

# %% [markdown]
# **Predict before you run:** we ask for one x for each of 1,500 values of y. Will the answers lie on one branch, on all
# four, or between them?

# %%
y_asked = np.random.default_rng(SEED + 1).uniform(-0.99, 0.99, 1_500)
x_drawn = inversion.sample_conditional(denoiser, schedule, y_asked, seed=SEED) * inversion.SPAN

figure, ax = plots.axes("The diffusion model answers from all branches", "y", "x", size=(8, 4.5))
curve = np.linspace(-inversion.SPAN, inversion.SPAN, 800)
ax.plot(np.sin(curve), curve, color="black", linewidth=0.8, label="sin x = y")
ax.plot(y_asked, x_drawn, ".", markersize=3, color=plots.COLOURS["green"], label="diffusion")
ax.plot(grid, guess, color=plots.COLOURS["red"], linewidth=2, label="regression network")
ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
plots.show(figure, "The drawn points lie on all branches of the curve sin x = y, "
           "while the regression network's curve runs between the branches.")

# %%
def valid_share(x, y, tolerance=0.1):
    return np.mean(np.abs(np.sin(x) - y) < tolerance)


same_y = np.full(1_000, 0.5)
many = inversion.sample_conditional(denoiser, schedule, same_y, seed=SEED + 2) * inversion.SPAN
branches = inversion.inverses(0.5)
shares = [np.mean(np.abs(many - branch) < 0.3) for branch in branches]
print(f"answers with |sin x − y| < 0.1: diffusion {valid_share(x_drawn, y_asked):.0%}, "
      f"regression {valid_share(guess, grid):.0%}")
print("y = 0.5, share of the answers near",
      ", ".join(f"{b:.2f}: {s:.0%}" for b, s in zip(branches, shares)))
if PRESET != "smoke":
    assert valid_share(x_drawn, y_asked) > 0.7 and min(shares) > 0.1

# %%
figure, ax = plots.axes("1,000 answers to y = 0.5", "x", "number of answers", size=(8, 3.5))
width = 2 * np.pi / 63  # the branches are 21 or 42 bins apart, so each is the centre of a bin
ax.hist(many, bins=branches[0] + width * (np.arange(-6, 121) - 0.5), color=plots.COLOURS["green"])
for branch in branches:
    ax.axvline(branch, color="black", linestyle="--", linewidth=1,
               label="right answers" if branch == branches[0] else None)
mean = np.mean(branches)
ax.axvline(mean, color=plots.COLOURS["red"], linewidth=2, label="their mean: no answer")
ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
plots.show(figure, "Histogram with four narrow peaks at the four right answers -5.76, -3.67, 0.52 "
           "and 2.62, and nothing at their mean, -1.57.")

# %% [markdown]
# The model gives all four answers, about equally often. In the data they are equally frequent too.
#
# ## 1.7 The paths from noise to an answer
#
# For y = 0.5 we follow 40 samples from pure noise (left) to an answer (right). This time the sampler adds no new noise in its
# steps (DDIM, [lesson 5](05_sampling.ipynb)), so each path is smooth. The arrows show the direction of a path at every
# place. They are computed from the predicted noise.
#
# **Predict before you run:** when is it decided which of the four answers a path reaches: early, in the middle or late?

# %%
ends, paths = inversion.paths_conditional(denoiser, schedule, np.full(40, 0.5), seed=SEED)
t_arrows, x_arrows = np.meshgrid(np.arange(980, 0, -49), np.linspace(-2.6, 2.6, 23))
slopes = inversion.flow(denoiser, schedule, x_arrows.ravel(), t_arrows.ravel(), 0.5)

figure, ax = plots.axes("From noise to the four answers to y = 0.5",
                        "t (the sampler goes to the right)", r"$x_t\;/\;2\pi$", size=(10, 4.8))
ax.quiver(t_arrows, x_arrows, -np.ones(slopes.shape), slopes, angles="xy", color="0.6",
          width=0.0015, scale=45, headwidth=5)
nearest = np.abs(paths[-1][:, None] * inversion.SPAN - branches).argmin(axis=1)
for path, branch in zip(paths.T, nearest):
    ax.plot(ends, path, linewidth=1, color=plots.CYCLE[branch])
for branch, colour in zip(branches, plots.CYCLE):
    ax.annotate(f"x = {branch:.2f}", (0, branch / inversion.SPAN), (8, 0),
                textcoords="offset points", va="center", color=colour, annotation_clip=False)
ax.set(xlim=(1000, 0), ylim=(-2.6, 2.6))
ax.grid(False)
plots.show(figure, "Forty paths start spread out like noise at the left and run almost straight at first; "
           "towards the right they bend and meet in four points, the four answers. Grey arrows show the "
           "same flow everywhere.")

# %% [markdown]
# Each answer has its own colour. At the left edge, paths of the same colour already lie side by side: **each starting noise
# always gives the same answer**, and neighbouring starts mostly give the same one. At large t the paths hardly turn. In the
# second half they bend towards their answer, and the last hundred steps settle the exact value. For images the idea is the
# same, in 784 dimensions instead of one.

# %% [markdown]
# ## 1.8 Discussion
#
# **What happens outside the trained range?** Section 1.4 measured it. After its last bend a ReLU network extrapolates
# linearly, whatever the true function does. The error between sin 1 and 1 was many times the error inside. The loss
# depends only on points that are in the data. Beyond y = 1 there is no answer at all, and the network still gives one.
# There are three remedies. Train on the range in which you will use the network. Choose a model that contains what you know (for
# example |y| ≤ 1). Check the answer with the forward function: sin(answer) ≠ y shows the error, and you need not know the
# truth.
#
# **Does this work for more complex functions?** For a function with *one* inverse, yes: a wider or deeper network follows
# more bends (section 1.3), as long as the data cover the range. The number of points needed grows quickly with the number of
# inputs. For a function with *many* inverses, a network trained on the squared error gives the mean. Section 1.5 measured
# how bad that is. A larger network does not help. The cause is the squared error together with a single output, which can
# only give one number for all right answers. A model of the whole distribution, as in section 1.6, does help. A third
# difficulty is a *jump* (discontinuity), in the function or in its inverse. A ReLU network is continuous. So it can only
# replace a jump by a steep piece, and is wrong there. (Section 1.5 shows such a piece around y = 0, where the mean of the
# answers jumps.)

# %% [markdown]
# ### Exercise 1.3 – in your own words
# *Difficulty ●●○○ · about 10 minutes · marked by your instructor*
#
# A camera lowers the resolution of a picture. You want the inverse: from the small picture to the large one. (a) Does the
# inverse have one answer or many? (b) What would a network trained on the squared error return, and how would it look?
# (c) How can you check an answer without knowing the original?

# %% [markdown] nbgrader={"schema_version": 3, "grade_id": "text-1-3-super-resolution", "grade": true, "solution": true, "locked": false, "points": 3, "task": false}
# <!-- ### BEGIN SOLUTION -->
# (a) Many: all large pictures that become the same small one when pixels are averaged. (b) Their mean: smooth, without
# the fine detail, because detail at another place in each candidate averages out; it looks blurred. (c) Go forward:
# lower the resolution of the answer and compare with the small picture. Lesson 6 builds exactly that into the sampler.
# <!-- ### END SOLUTION -->

# %% [markdown]
# ## Remember
# - A regression network returns the **mean** of the right answers. If there is one right answer, this is perfect. If there
#   are several, the mean may be no answer at all.
# - Outside the trained range the data do not constrain the network. Check an answer with the forward function.
# - A diffusion model draws from the **distribution** of answers. It only predicts the mean of the noise, and each small step
#   needs only this mean.
