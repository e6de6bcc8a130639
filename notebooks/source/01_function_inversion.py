# %% [markdown]
# # 1 · Function inversion: learn x from y
#
# A function gives y for x. Can a neural network learn the inverse, x for y? Sometimes. This lesson shows when it works
# and how large the network must be. It also shows where it fails so badly that we need another kind of model: a
# *diffusion model*. The other lessons build it.
#
# **You will be able to**
# - train a small network on the inverse of sin and say how good it is;
# - show what it answers outside the range it was trained on;
# - explain why a network trained on the squared error fails when a question has several right answers;
# - see a tiny diffusion model give all of them.
#
# **Time:** about 45 minutes with the exercises.

# %% [markdown] tags=["badges"]
# [Text source of this lesson](source/01_function_inversion.py) · no account or GPU needed

# %% tags=["parameters"]
# PRESET: "quick" (minutes on a laptop), "full" (what the lab reports), or "smoke" (a test).
# DATASET: not used here, the data are points on a curve.
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
import matplotlib.pyplot as plt
import numpy as np

from labutils import checks, diagrams, plots, presets, pretrained, sampling
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
# A trained network comes with the lab. It gets pure noise and a list of digits, and draws these digits. **Change the list
# and run the cell again.** In [lesson 5](05_sampling.ipynb) you write the loop that draws.
# [Lesson 7](07_better_and_faster.ipynb) explains this network.

# %%
wanted = [3, 1, 4, 1, 5, 9, 2, 6]
drawer = pretrained.load_diffusion("fast_conditional")
digits = sampling.sample(drawer, len(wanted), condition=wanted, sampler="dpmpp_2m", steps=12,
                         seed=SEED, progress=False)
asked = " ".join(map(str, wanted))
plots.show(plots.image_grid(digits, f"Drawn from noise, asked for {asked}", scale=1),
           f"Handwritten digits, drawn by a network that was asked for {asked}.")

# %% [markdown]
# This is the whole road. Each box says which lesson is about it.

# %%
diagrams.show_pipeline(1)

# %% [markdown]
# "Draw a 3" means: find an image that looks like a 3. The function *image → digit* has one answer for each image. Drawing is
# its inverse. So we begin with the simplest inverse problem: one number in, one number out.
#
# ## 1.1 The data: 200 points on a sine
#
# We choose x and compute y = sin x. For the network the roles are exchanged: **y is the input, x is the answer.**
#
# The inverse exists only if the function is *one-to-one* (injective): different x give different y. sin is not one-to-one on
# all numbers, but it is on [−π/2, π/2]. There it is *monotone*: it rises from −1 to 1. So on this interval it is a one-to-one
# map onto [−1, 1] (*bijective*). Its inverse arcsin exists and is monotone too. We use x in [−1, 1], which lies inside this
# interval. So each y has exactly one right answer, x = arcsin y. The last line of the cell checks this.

# %%
x = np.linspace(-1, 1, 200)
y = np.sin(x)

figure, ax = plots.axes("The task: from y back to x", "y = sin x (the network's input)",
                        "x (answer)", size=(5, 3.5))
ax.plot(y, x, ".", markersize=3)
plots.show(figure, "200 points on a smooth rising curve, almost a straight line, from x = -1 at y "
           "= -0.84 to x = 1 at 0.84.")
assert np.allclose(np.arcsin(y), x), "arcsin must give back every x"

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
# **Is one hidden layer enough?** Yes, in principle. Straight pieces can follow any continuous curve on a closed and bounded
# interval as closely as you like, if there are enough of them. This is the *universal approximation theorem* (Cybenko 1989;
# for ReLU and other activations Leshno et al. 1993). The theorem promises that good weights exist. It does not say how many
# units are needed. It does not say that training finds the weights.

# %% [markdown]
# ### Exercise 1.1 – build the network
# *1 point · code · difficulty ●○○○ · about 5 minutes*
#
# Write `build_mlp(hidden)`, which returns a Keras model from one number to one number. `hidden` lists the sizes of
# the hidden layers: `(3,)` gives 1–3–1, `(3, 3)` gives 1–3–3–1.
#
# <details><summary>Hint: which layers?</summary>
#
# Look at the formula: which layer of Keras multiplies by weights and adds a number? (Keras calls it *dense*.) How many such
# layers has 1–3–1? Which of them has the activation, and which must be able to give any number? `keras.Sequential` takes a
# list of layers; its first entry is `keras.Input((1,))`.
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


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-1-1-build-mlp", "grade": true, "solution": false, "locked": true, "points": 1, "task": false}
checks.check_build_mlp(build_mlp)

# %% [markdown]
# Now train it. `compile` says *how*: the optimiser Adam lowers the mean squared error (MSE) between the network's answer and
# the true x. `fit` does it: 500 times over all 200 points.
#
# (`answer_or` gives the function that you wrote if it passed its check, else the lab's.)
#
# **Predict before you run:** the best *straight line* has an MSE of about 0.0007. How much better will the network be, with
# its three bends?

# %%
prediction = "…"  # write your guess between the quotes

# %%
keras.utils.set_random_seed(SEED)
build = checks.check_build_mlp.answer_or(inversion.build_mlp)
first = build((3,))
first.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
history = first.fit(y[:, None], x[:, None], batch_size=32, epochs=settings.fit_epochs, verbose=0,
                    callbacks=[keras_progress(settings.fit_epochs, "training 1–3–1")])


# %%
def ask(network, y):
    """The network's answers to the numbers y, shape (N,)."""
    return np.asarray(network(np.reshape(y, (-1, 1))))[:, 0]


def mse(network, y, x):
    return float(np.mean((ask(network, y) - x) ** 2))


straight_line = np.polyval(np.polyfit(y, x, 1), y)
line_error = np.mean((straight_line - x) ** 2)
figure, ax = plots.axes("Training the network 1–3–1", "epoch", "mean squared error (logarithmic)")
ax.semilogy(history.history["loss"], color=plots.COLOURS["blue"], label="network")
ax.axhline(line_error, color="black", linestyle="--", label="best straight line")
ax.legend()
plots.show(figure, "The error falls quickly, then flattens at the dashed line of the best straight line.")
plots.show_prediction(prediction, f"network {mse(first, y, x):.1e} with {first.count_params()} parameters, "
                      f"straight line {line_error:.1e} with 2")

# %% [markdown]
# In the saved run the network is not better than a straight line. **Always compare with something simple:** an error of
# 0.0007 looks small, but a line reaches it, too.
#
# Where are the three bends? The unit $\mathrm{relu}(w_i y + c_i)$ bends at $y = -c_i / w_i$. Keras starts with $c_i = 0$, so
# all bends start at y = 0. Where are they after the training?

# %%
weights, offsets = first.get_weights()[:2]
bends = ", ".join(f"{-c / w:.3f}" for w, c in zip(weights[0], offsets))
print(f"bends after the training at y = {bends}; the data end at ±{y[-1]:.3f}")

# %% [markdown]
# In the saved run all three bends have left the data, two of them only just. On the data a straight line is left.
#
# The remedy has two parts. **Spread the bends** over the data before the training. **Start several times and keep the
# best**, because the training can still move a bend out of the data. Ten networks are trained like this. The learning rate
# now falls from 0.01 to 0, so that the last steps are small.
#
# **Predict before you run:** how many of the ten will be clearly better than the line?

# %%
prediction = "…"  # write your guess between the quotes

# %%
passes = settings.fit_epochs // 10  # epochs that run as one compiled loop: much faster than `fit` above
starts = []
for seed in range(10):
    keras.utils.set_random_seed(SEED + seed)
    network = inversion.spread_bends(build((3,)), seed=SEED + 10 * seed)
    inversion.fit_inverse(network, y, x, settings.fit_epochs, seed=SEED, passes=passes)
    starts.append(network)
start_errors = np.array([mse(network, y, x) for network in starts])
small = starts[start_errors.argmin()]
print("MSE of ten starts:", ", ".join(f"{error:.1e}" for error in start_errors))
plots.show_prediction(prediction, f"{np.sum(start_errors < 0.7 * line_error)} of 10 are below 0.7 of the line's error")

# %% [markdown]
# In the saved run three of the ten end at the line's error again. From here on, `small` is the best of the ten.
#
# **Predict before you run:** arcsin is steeper at its ends. Where will the error of `small` be largest?

# %%
prediction = "…"  # write your guess between the quotes

# %%
answer = ask(small, y)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
left.plot([-1, 1], [-1, 1], color="black", linewidth=0.8, label="right")
left.plot(x, answer, ".", markersize=4, color=plots.COLOURS["red"], label="network 1–3–1")
left.set(title="Answer against the true x", xlabel="true x", ylabel="answer of the network")
left.legend()
right.plot(y, answer - x, color=plots.COLOURS["red"])
right.axhline(0, color="black", linewidth=0.8)
right.set(title="Its error", xlabel="y", ylabel="answer − x")
plots.show(figure, "Left: the answers lie close to the diagonal. Right: the error, a chain of arcs with a kink wherever "
           "the network's curve bends.")
worst = np.argmax(np.abs(answer - x))
plots.show_prediction(prediction, f"largest error {answer[worst] - x[worst]:.3f} at y = {y[worst]:.2f}")

# %% [markdown]
# On the left the error is hard to see. On the right you see its shape: straight pieces lie below the curve in some places and
# above it in others. Each kink is a bend of the network. In the saved run two of the three bends lie close together, near
# y = 0.17. So one straight piece must follow the whole right side, and its error is largest at the end. On the left the bend
# near −0.57 helps.

# %%
if PRESET != "smoke":
    assert min(start_errors) < 0.7 * line_error, "the best should use its bends"

# %% [markdown]
# ## 1.3 More network, less error?
#
# **Predict before you run:** which helps more, a second layer (1–3–3–1, 22 parameters) or a wider one (1–16–1,
# 49 parameters)? And does 1–64–64–1 with its 4,353 parameters memorise 200 points?
#
# More parameters than points bring the risk of *overfitting*: the curve passes through the training points and is wrong
# between them. So we measure both, at the training points and between them. Each size is trained several times from
# different starting weights.

# %%
prediction = "…"  # write your guess between the quotes

# %%
sizes = [(3,), (3, 3), (16,), (64,), (16, 16), (64, 64)]
y_test = np.sin(np.linspace(-0.995, 0.995, 199))
errors, at_points, parameters = {}, {}, {}
for hidden in sizes:
    for seed in range(settings.seeds):
        network = inversion.build_mlp(hidden, seed=100 * SEED + 10 * seed)
        inversion.fit_inverse(network, y, x, settings.fit_epochs, seed=seed, passes=passes)
        errors.setdefault(network.name, []).append(mse(network, y_test, np.arcsin(y_test)))
        at_points.setdefault(network.name, []).append(mse(network, y, x))
        parameters[network.name] = network.count_params()
large = network  # the last one: 1–64–64–1

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
plots.show_table(["network", "parameters", "at the points, median", "between, median", "best", "worst"],
                 [[name, f"{parameters[name]:,}", f"{np.median(at_points[name]):.1e}",
                   f"{np.median(values):.1e}", f"{min(values):.1e}", f"{max(values):.1e}"]
                  for name, values in errors.items()])
plots.show_prediction(prediction, f"median MSE of 1–3–3–1 {np.median(errors['1-3-3-1']):.1e}, of 1–16–1 "
                      f"{np.median(errors['1-16-1']):.1e}; 1–64–64–1 has {np.median(errors['1-64-64-1']):.1e} "
                      f"between the points and {np.median(at_points['1-64-64-1']):.1e} at them")

# %% [markdown]
# Compare *best* and *worst*: for every size the result depends on the start. In the saved run a wider layer helps more than
# a second one.
#
# The largest network has twenty times more parameters than points. It does not overfit: its error between the points is
# about as small as its error at the points. Two things help. The data have no noise that it could memorise. And the points
# are dense. With few or noisy points you would see overfitting.

# %% [markdown]
# ## 1.4 Outside the trained range
#
# The training data end at y = sin 1 ≈ 0.84. Between there and y = 1 the right answer exists, but the network has never
# seen it. Beyond y = 1 **no** real x has sin x = y.
#
# **Predict before you run:** what does the network answer for y = 0.95? And does it show that y = 1.3 has no answer?

# %%
prediction = "…"  # write your guess between the quotes

# %%
wide_y = np.linspace(-1.5, 1.5, 301)
answers = {"1–3–1": small, "1–64–64–1": large}

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
plots.show_prediction(prediction, f"1–64–64–1 says {ask(large, [0.95])[0]:.2f} for 0.95 (right: {np.arcsin(0.95):.2f}) "
                      f"and {ask(large, [1.3])[0]:.2f} for 1.3 (there is no right answer)")

# %% [markdown]
# These are two different failures. Between sin 1 and 1 the network **extrapolates** linearly and is wrong. Beyond 1 there
# is no right answer. The network still gives a number, and the number alone does not show the failure.

# %% [markdown]
# ## 1.5 Many right answers
#
# Now let x run over [-2π, 2π]. For every y in (-1, 1) except 0 there are **four** x with sin x = y.

# %% [markdown]
# ### Exercise 1.2 – all the inverses
# *2 points · code · difficulty ●●○○ · about 10 minutes*
#
# Write `all_inverses(y)`: every x in [-2π, 2π] with sin x = y, for one number y in (-1, 1). Any order, as a list or an
# array.
#
# <details><summary>Hint: where do four solutions come from?</summary>
#
# How many solutions lie in one period? Draw the sine and a horizontal line: arcsin y gives you one of the crossings. How do you
# get the other from it, by symmetry? And how often does the period fit into the range?
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
# Train two new networks on 5,000 random points of this curve: 1–64–64–1, and one with about four times as many
# parameters.
#
# **Predict before you run:** for y = 0.5 the right answers are −5.76, −3.67, 0.52 and 2.62. Which one will the network
# choose?

# %%
prediction = "…"  # write your guess between the quotes

# %%
rng = np.random.default_rng(SEED)
x_many = rng.uniform(-inversion.SPAN, inversion.SPAN, 5_000)
y_many = np.sin(x_many)
epochs = max(settings.fit_epochs // 25, 2)
grid = np.linspace(-0.99, 0.99, 199)
answers = {}
for hidden in ((64, 64), (128, 128)):
    regression = inversion.build_mlp(hidden, seed=SEED)
    inversion.fit_inverse(regression, y_many, x_many, epochs, batch_size=64, seed=SEED, passes=epochs // 2)
    answers[regression.name.replace("-", "–")] = ask(regression, grid)
regressed = answers["1–64–64–1"]

# %%
figure, ax = plots.axes("Four right answers for each y, and the answers of two networks", "y", "x",
                        size=(8, 4.5))
ax.plot(y_many[:1500], x_many[:1500], ".", markersize=2, color=plots.COLOURS["sky"],
        label="data: x with sin x = y")
for (name, answer), colour, dash in zip(answers.items(), ("red", "blue"), ("-", "--")):
    ax.plot(grid, answer, dash, color=plots.COLOURS[colour], linewidth=2.5, label=f"network {name}")
ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
plots.show(figure, "The data form a sine lying on its side, with four values of x for each y. Both networks "
           "answer with one curve that falls steeply around y = 0, stays near -1.6 for most y > 0, and "
           "touches none of the branches there.")
plots.show_prediction(prediction, f"for y = 0.5 the answer is {np.interp(0.5, grid, regressed):.2f}")

# %% [markdown]
# The network chooses none of them: for most y > 0 it answers near −π/2 ≈ −1.57. Why? The squared error is smallest at the
# **mean** of the right answers. For y > 0 the mean of the four solutions is
# $\tfrac14\,(a + (\pi - a) + (a - 2\pi) + (-\pi - a)) = -\tfrac{\pi}{2}$ with $a = \arcsin y$. But
# $\sin(-\pi/2) = -1$. So for every positive y the mean leads to −1, the value farthest from y.

# %%
all_of = checks.check_inverses.answer_or(inversion.inverses)
clear = np.abs(grid) > 0.1
means = [np.mean(all_of(v)) for v in grid[clear]]
for name, answer in answers.items():
    from_mean = np.abs(answer[clear] - means).mean()
    miss = np.abs(np.sin(answer) - grid).mean()
    print(f"{name:12} mean distance from the mean of the right answers {from_mean:.2f}, |sin(answer) − y| {miss:.2f}")
    if PRESET != "smoke":
        assert from_mean < 0.3, "the network should have learned the mean"
        assert miss > 1, "... and the mean should be no solution"

# %% [markdown]
# The larger network gives the same answer. More training would not help either: the mean *is* the best answer for the squared
# error. One number is not enough. We need **a distribution of x for a given y**, and a way to draw from it.

# %% [markdown]
# ## 1.6 The bridge: a diffusion model in one dimension
#
# Here is the idea of the whole lab, in one dimension. It has three parts.
#
# **First, add noise.** Take a right answer and mix it with noise, a little more in each of 1000 steps:
# $x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon$. The number $\bar\alpha_t$ falls from almost 1 to almost 0,
# and ε is standard normal. [Lesson 2](02_forward_noising.ipynb) explains this formula. We use it for the four answers to
# y = 0.5. (They are divided by 2π, so that they lie between −1 and 1.)
#
# **Predict before you run:** at which t can you no longer tell that there were four?

# %%
prediction = "…"  # write your guess between the quotes

# %%
schedule = linear_schedule()
branches = np.sort(all_of(0.5))
clean = rng.choice(branches, 20_000) / inversion.SPAN
places = np.linspace(-2.5, 2.5, 501)


def density(t):
    """The exact density of x_t at ``places``: the mean of four bell curves."""
    alpha_bar = schedule.alpha_bars[t]
    distance = places[:, None] - np.sqrt(alpha_bar) * branches / inversion.SPAN
    bells = np.exp(-(distance ** 2) / (2 * (1 - alpha_bar))) / np.sqrt(2 * np.pi * (1 - alpha_bar))
    return bells.mean(axis=1)


def peaks(t):
    return np.sum((np.diff(density(t))[:-1] > 0) & (np.diff(density(t))[1:] <= 0))


# %%
figure, axes = plt.subplots(1, 5, figsize=(12, 2.8), sharey=True)
for ax, t in zip(axes, (0, 20, 60, 150, 999)):
    alpha_bar = schedule.alpha_bars[t]
    noisy = np.sqrt(alpha_bar) * clean + np.sqrt(1 - alpha_bar) * rng.standard_normal(len(clean))
    ax.hist(noisy, bins=np.linspace(-2.5, 2.5, 101), density=True, color=plots.COLOURS["sky"])
    ax.plot(places, density(t), color="black", linewidth=1)
    ax.set(title=f"t = {t}, peaks: {peaks(t)}", xlabel="$x_t$", ylim=(0, 3))
axes[0].set(ylabel="density (cut off at 3)")
figure.suptitle("The four answers to y = 0.5 melt under noise (bars: samples, line: exact)")
plots.show(figure, "Five histograms with the exact density as a line. Four thin peaks at t = 0, four wider ones at "
           "t = 20, two hills at t = 60, one flat hill at t = 150, a bell curve around 0 at t = 999.")
plots.show_prediction(prediction, f"the last t with four peaks is {max(t for t in range(200) if peaks(t) == 4)}, "
                      f"with more than one {max(t for t in range(200) if peaks(t) > 1)}")

# %% [markdown]
# **Second, learn to see the noise.** A network gets the noisy $x_t$, the step t and y. It predicts the noise ε that is in
# $x_t$. It is trained on the squared error again, so it learns a mean again: the mean of all noises that fit.
#
# This network has more parameters than the two above; the cell prints how many. It also gets sines and cosines of $x_t$, so
# that it can distinguish places that are close together. The regression networks have no $x_t$ at all: their only input is y.

# %%
denoiser = inversion.build_conditional_denoiser(seed=SEED)
loss = inversion.train_conditional(denoiser, schedule, x_many / inversion.SPAN, y_many,
                                   settings.toy_steps, seed=SEED,
                                   callbacks=[keras_progress(10, "training the diffusion model")])
print(f"{denoiser.count_params():,} parameters, noise-prediction loss {loss:.3f}")

# %% [markdown]
# What did it learn? Here is its answer for y = 0.5, for every $x_t$ at three steps. The triangles are the four right answers,
# scaled by $\sqrt{\bar\alpha_t}$ as in $x_t$.

# %%
figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), sharey=True)
for ax, t in zip(axes, (20, 60, 300)):
    predicted = inversion.predicted_noise(denoiser, schedule, places, np.full(len(places), t), 0.5)
    ax.plot(places, predicted, color=plots.COLOURS["blue"])
    ax.plot(np.sqrt(schedule.alpha_bars[t]) * branches / inversion.SPAN, np.zeros(4), "^",
            color=plots.COLOURS["red"], label="right answers")
    ax.set(title=f"t = {t}", xlabel="$x_t$")
axes[0].set(ylabel="predicted noise", ylim=(-4, 4))
axes[2].legend(loc="upper left")
figure.suptitle("What the network predicts for y = 0.5")
plots.show(figure, "Three curves of the predicted noise against x_t. At t = 20 a saw with a rising line through 0 at each "
           "right answer; at t = 60 a flatter wave; at t = 300 one straight rising line.")

# %% [markdown]
# At small t the curve is a saw. At each right answer the predicted noise is 0; to the right of it the noise is positive, to
# the left negative. So **subtracting a little of the predicted noise leads towards the nearest right answer**. At large t
# there is only one line: the network can say no more than "towards the middle". (Far outside the four answers the curve
# wobbles. The training shows hardly any points there.)
#
# **Third, go back in small steps.** Start from pure noise. Subtract a little of the predicted noise, add a little new noise,
# and ask the network again, 1000 times. So the mean is only a direction for a small step, not the answer.
# ([Lesson 2](02_forward_noising.ipynb) shows why the steps are small. [Lesson 5](05_sampling.ipynb) derives the step.)
#
# **Predict before you run:** we ask for one x for each of 1,500 values of y. Will the answers lie on one branch, on all
# four, or between them?

# %%
prediction = "…"  # write your guess between the quotes

# %%
y_asked = np.random.default_rng(SEED + 1).uniform(-0.99, 0.99, 1_500)
x_drawn = inversion.sample_conditional(denoiser, schedule, y_asked, seed=SEED) * inversion.SPAN

figure, ax = plots.axes("The diffusion model answers from all branches", "y", "x", size=(8, 4.5))
curve = np.linspace(-inversion.SPAN, inversion.SPAN, 800)
ax.plot(np.sin(curve), curve, color="black", linewidth=0.8, label="sin x = y")
ax.plot(y_asked, x_drawn, ".", markersize=3, color=plots.COLOURS["green"], label="diffusion")
ax.plot(grid, regressed, color=plots.COLOURS["red"], linewidth=2, label="regression network")
ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
plots.show(figure, "The drawn points lie on all branches of the curve sin x = y, "
           "while the regression network's curve runs between the branches.")


# %%
def proportion_right(x, y, tolerance=0.1):
    return np.mean(np.abs(np.sin(x) - y) < tolerance)


many = inversion.sample_conditional(denoiser, schedule, np.full(1_000, 0.5), seed=SEED + 2) * inversion.SPAN
near = [np.mean(np.abs(many - branch) < 0.3) for branch in branches]
print(f"answers with |sin x − y| < 0.1: diffusion {proportion_right(x_drawn, y_asked):.0%}, "
      f"regression {proportion_right(regressed, grid):.0%}")
plots.show_prediction(prediction, "1,000 answers to y = 0.5: "
                      + ", ".join(f"{p:.0%} near {b:.2f}" for b, p in zip(branches, near)))
if PRESET != "smoke":
    assert proportion_right(x_drawn, y_asked) > 0.7 and min(near) > 0.1

# %%
figure, ax = plots.axes("1,000 answers to y = 0.5", "x", "number of answers", size=(8, 3.5))
ax.hist(many, bins=np.linspace(-inversion.SPAN, inversion.SPAN, 127), color=plots.COLOURS["green"])
top = 1.05 * ax.get_ylim()[1]
ax.plot(branches, np.full(4, top), "v", color="black", label="right answers")
ax.plot(np.mean(branches), top, "X", color=plots.COLOURS["red"], markersize=9, label="their mean: no answer")
ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
plots.show(figure, "Histogram with four narrow peaks below the triangles at the four right answers -5.76, -3.67, 0.52 "
           "and 2.62, and nothing at their mean, -1.57.")

# %% [markdown]
# The model gives all four answers, about equally often. In the data they are equally frequent too. In the saved run
# 14 % of the 1,500 answers miss y by more than 0.1. Many of these lie close to a branch. A few lie between two branches or
# beyond the ends of the curve.
#
# ## 1.7 The paths from noise to an answer
#
# For y = 0.5 we follow 40 samples from pure noise (left) to an answer (right). This time the sampler adds no new noise in its
# steps (DDIM, [lesson 5](05_sampling.ipynb)), so each path is smooth. The arrows show the direction of a path at every
# place. They are computed from the predicted noise. On the right stands each answer, and in brackets the answer divided by 2π.
#
# **Predict before you run:** when is it decided which of the four answers a path reaches: early, in the middle or late?

# %%
prediction = "…"  # write your guess between the quotes

# %%
ends, paths = inversion.paths_conditional(denoiser, schedule, np.full(40, 0.5), seed=SEED)
nearest = np.abs(paths[-1][:, None] * inversion.SPAN - branches).argmin(axis=1)
t_arrows, x_arrows = np.meshgrid(np.arange(980, 0, -49), np.linspace(-2.6, 2.6, 23))
slopes = inversion.flow(denoiser, schedule, x_arrows.ravel(), t_arrows.ravel(), 0.5)

figure, ax = plots.axes("From noise to the four answers to y = 0.5",
                        "t (the sampler goes to the right)", "$x_t$", size=(10, 4.8))
ax.quiver(t_arrows, x_arrows, -np.ones(slopes.shape), slopes, angles="xy", color="0.6",
          width=0.0015, scale=45, headwidth=5)
for path, branch in zip(paths.T, nearest):
    ax.plot(ends, path, linewidth=1, color=plots.CYCLE[branch])
for branch, colour in zip(branches, plots.CYCLE):
    ax.annotate(f"x = {branch:.2f} ({branch / inversion.SPAN:.2f})", (0, branch / inversion.SPAN), (12, 0),
                textcoords="offset points", va="center", annotation_clip=False)
    ax.plot(0, branch / inversion.SPAN, "o", color=colour, clip_on=False)
ax.set(xlim=(1000, 0), ylim=(-2.6, 2.6))
ax.grid(False)
plots.show(figure, "Forty paths start spread out like noise at the left and run almost straight at first; "
           "towards the right they bend and meet in four points, the four answers. Grey arrows show the "
           "same flow everywhere.")

# %%
in_order = nearest[paths[0].argsort()]  # the answers, sorted by the starting noise
same = np.mean(in_order[1:] == in_order[:-1])
plots.show_prediction(prediction, f"neighbours in the starting noise reach the same answer in {same:.0%} of the cases")

# %% [markdown]
# With this sampler the starting noise alone decides the answer. It is decided from the start, and it becomes visible late: at
# large t the paths hardly turn, in the second half they bend towards their answer. Starts that lie close together mostly
# lead to the same answer. With new noise in each step, as in 1.6, the start alone does not decide.
#
# For images the idea is the same, in 784 dimensions instead of one.

# %% [markdown]
# ## 1.8 Discussion
#
# **What happens outside the trained range?** There are two cases.
# - *Inside [−1, 1], but outside the data.* Section 1.4 measured it for y between sin 1 and 1. A ReLU network extrapolates
#   linearly after its last bend, whatever the true function does. The loss depends only on points that are in the data. (The
#   theorem of section 1.2 promises something only on the closed and bounded interval of the data.)
# - *Outside [−1, 1].* There is no answer at all, because no real x has sin x = y. The network still gives one.
#
# The same holds for x. On [−π/2, π/2] sin is one-to-one, so each y has one x. If x may leave this interval, sin is not
# one-to-one any more, and there are several right answers.
#
# What can you do? Train on the range in which you will use the network. Choose a model that contains what you know, for
# example |y| ≤ 1. Check the answer with the forward function: sin(answer) ≠ y shows the error, and you need not know the
# truth.
#
# **Does this work for more complex functions?** There are three difficulties.
# 1. *More bends, more inputs.* For a function with one inverse, a wider or deeper network follows more bends (section 1.3), as
#    long as the data cover the range. The number of points that this needs grows quickly with the number of inputs.
# 2. *Many inverses.* A network trained on the squared error gives the mean (section 1.5). A larger network does not help. A
#    model of the whole distribution does (section 1.6).
# 3. *Jumps* (discontinuities). A ReLU network is continuous, so it replaces a jump by a steep piece and is wrong there. Section
#    1.5 shows such a piece around y = 0, where the mean of the answers jumps.

# %% [markdown]
# ### Exercise 1.3 – in your own words
# *3 points · in words, marked by your instructor · difficulty ●●○○ · about 10 minutes*
#
# A camera lowers the resolution of a picture. You want the inverse: from the small picture to the large one.
# (a) Does the inverse have one answer or many? Say why. (b) What would a network trained on the squared error return, and how
# would it look? (c) How can you check an answer without knowing the original? One point each.

# %% [markdown] nbgrader={"schema_version": 3, "grade_id": "text-1-3-super-resolution", "grade": true, "solution": true, "locked": false, "points": 3, "task": false}
# <!-- ### BEGIN SOLUTION -->
# (a) Many: all large pictures that become the same small one when pixels are averaged. (b) Their mean. It looks blurred: fine
# detail sits at a different place in each candidate, and in the mean it disappears. (c) Go forward: lower the resolution of
# the answer and compare it with the small picture.
#
# Rubric:
# - 1 point: many answers, because different large pictures become the same small one (or: because information is lost).
# - 1 point: the mean of the possible pictures, and that it looks blurred or smooth.
# - 1 point: apply the forward function to the answer and compare with what is known.
# <!-- ### END SOLUTION -->

# %% [markdown]
# ## Remember
# - A regression network learns the **mean** of the right answers. If there is one right answer, the mean is this answer. If
#   there are several, the mean may be no answer at all.
# - Compare an error with that of something simple. Check an answer with the forward function.
# - A diffusion model draws from the **distribution** of answers. It only predicts the mean of the noise, and each small step
#   uses this mean as a direction.
