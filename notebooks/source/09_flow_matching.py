# %% [markdown]
# # 9 · Straight paths, one call
#
# In [lesson 5](05_sampling.ipynb) a thousand calls of the network became twenty. Can one call do it? This lesson begins with
# *flow matching*. Stable Diffusion 3 and FLUX are trained in this way. The lesson ends with two networks that need a single call: one
# draws a digit, the other draws what a caption says.
#
# **You will be able to**
# - write the path, the loss and the sampler of flow matching;
# - show that a diffusion network is a flow already;
# - say why the paths bend, and make them straight;
# - explain several ways to learn the whole path at once;
# - say what a model loses with one call, and why one number does not show it.
#
# **Time:** about 75 minutes with the exercises. You need lessons 1 to 6; section 9.6 also needs *guidance* from lesson 7,
# and 9.7 needs lesson 8.

# %% [markdown] tags=["badges"]
# [Text source of this lesson](source/09_flow_matching.py) · no account or GPU needed

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
import itertools

import matplotlib.pyplot as plt
import numpy as np

from labutils import caption_data, checks, data, diagrams, flow, metrics, networks, pipeline
from labutils import plots, presets, pretrained, results, samplers, sampling, toys
from labutils.diffusion import Diffusion
from labutils.toys import straight_roads

settings = presets.get(PRESET, SEED)
plots.use_lab_style()
fast = pretrained.load_diffusion("fast")  # lesson 7: predicts x_0, cosine schedule
schedule, shape = fast.schedule, fast.shape
images = data.load(DATASET)
if images.image_shape != shape:
    images = data.load("digits")  # images of the shape that the checkpoint draws
name = images.note or images.name  # what the figures call the data
rng = np.random.default_rng(SEED)
recorded = results.recorded("one_call")  # measured by python -m benchmarks.one_call
print(f"preset {settings.name}: images: {name}")

# %% [markdown]
# This lesson changes how an image is drawn from noise, and for this it changes what the network learns:

# %%
diagrams.show_pipeline(9)

# %% [markdown]
# ## 9.1 A straight path
#
# Diffusion mixes image and noise with two roots: $x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1-\bar\alpha_t}\, \varepsilon$. The
# simplest mixture has no roots. Let τ grow from 0 to 1:
#
# $$x_\tau = (1-\tau)\, x_0 + \tau\, \varepsilon$$
#
# At τ = 0 this is the image. At τ = 1 it is noise. Between them x_τ moves along a straight line ([Liu et al.
# 2022](https://arxiv.org/abs/2209.03003), [Lipman et al. 2022](https://arxiv.org/abs/2210.02747)). It moves with a
# *velocity* u: the change of x_τ per unit of τ.

# %% [markdown]
# ### Exercise 9.1 – place and velocity
# *2 points · code · difficulty ●○○○ · about 5 minutes*
#
# Write `straight_path(x0, noise, tau)` for one number `tau`. Return two things: the place x_τ and the velocity u.
#
# <details><summary>Hint: what is a velocity?</summary>
#
# How far does x move between τ = 0 and τ = 1, and how long does it take? Does the velocity change on the way?
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-9-1-straight-path", "grade": false, "solution": true, "locked": false, "task": false}
def straight_path(x0, noise, tau):
    """The place x_τ on the straight path from x0 to noise, and the velocity u there."""
    ### BEGIN SOLUTION
    return (1 - tau) * x0 + tau * noise, noise - x0
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-9-1-straight-path", "grade": true, "solution": false, "locked": true, "points": 2, "task": false}
checks.check_straight_path(straight_path)

# %% [markdown]
# Does the straight path make other noisy images than diffusion? The next figure shows one digit on both paths. In each column both
# pictures have the same signal-to-noise ratio (SNR). On the straight path it is $((1-\tau)/\tau)^2$.
#
# **Predict before you run:** what is the difference between the picture on the straight path and that of diffusion?

# %%
prediction = "…"  # write your guess between the quotes

# %%
path = checks.check_straight_path.answer_or(flow.straight_path)  # your function, from here on
x0, noise = images.x_test[:1], rng.standard_normal((1, *shape)).astype("float32")
taus = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
steps = schedule.t_of(taus)  # the step of the cosine schedule with the same SNR
straight = [np.asarray(path(x0, noise, tau)[0])[0] for tau in taus]
curved = [np.asarray(schedule.add_noise(x0, t, noise))[0] for t in steps]
ratios = [float(np.sum(a * b) / np.sum(b * b)) for a, b in zip(straight, curved)]
heads = [f"τ = {tau:.1f}, t = {t}\nratio {ratio:.2f}" for tau, t, ratio in zip(taus, steps, ratios)]
scaled = [ratio * picture for ratio, picture in zip(ratios, curved)]
rows = [straight, curved, scaled]
labels = ["straight path", "diffusion", "diffusion · ratio"]
plots.show(
    plots.image_table(rows, labels, heads, f"One digit ({name}) on two paths, at equal SNR", scale=1.5),
    "Three rows of five pictures of a digit with more and more noise. Straight path, diffusion, and diffusion times the "
    "ratio: in each column the same picture but for its contrast.",
)
plots.show_prediction(prediction, "only a factor, from " + " to ".join(f"{r:.2f}" for r in (max(ratios), min(ratios))))
assert all(np.allclose(a, b, atol=0.02) for a, b in zip(straight, scaled))

# %% [markdown]
# The two pictures differ only by a factor, the *ratio* above each column. (The third row is the second row times the ratio.) So the
# noisy images are those of diffusion. Two things differ: how often the network sees each noise level, and what it answers.
#
# A *flow network* answers the velocity. Its loss is that of [lesson 4](04_training.ipynb) with another target:

# %%
def flow_loss(network, x0, tau, noise):
    """The loss of flow matching: the mean squared error of the velocity."""
    place, velocity = path(x0, noise, tau)
    return np.mean((network(place, tau) - velocity) ** 2)


some = images.x_test[:500]
epsilon = rng.standard_normal(some.shape)
answers_zero = flow_loss(lambda x, tau: 0.0 * x, some, 0.5, epsilon)
print(f"loss of a network that always answers 0: {answers_zero:.2f}; mean of ε² + mean of x_0²: "
      f"{np.mean(epsilon**2) + np.mean(some**2):.2f}")
assert abs(answers_zero - np.mean(epsilon**2) - np.mean(some**2)) < 0.05

# %% [markdown]
# ## 9.2 You have a flow already
#
# A flow network answers u. The network `fast` of [lesson 7](07_better_and_faster.ipynb) answers x̂_0, the estimate of the clean
# image. Do we have to train again?

# %% [markdown]
# ### Exercise 9.2 – walk back along the velocity
# *4 points · code · difficulty ●●●○ · about 20 minutes*
#
# Write `flow_sampler(network, x, taus)`. It starts at the noise `x`, shape (B, H, W, C), where τ is 1. `taus` holds decreasing
# numbers from 1 to 0. For each step from τ to the next τ′:
#
# - ask the network once: `network([x, times])` gives x̂_0. `times` holds τ for each image, shape (B, 1);
# - find the velocity u that leads from x̂_0 to x_τ;
# - move x by u for the time of this step. (This is *Euler's method*.)
#
# Return the state at the last τ.
#
# <details><summary>Hint: the velocity from x̂_0</summary>
#
# What is x_τ, written with x_0 and u, but without ε? (Use $u = \varepsilon - x_0$.) Which u follows if the network's x̂_0 takes the
# place of x_0?
# </details>
#
# <details><summary>Hint: the step</summary>
#
# Is τ′ − τ positive or negative? Where should x be after a single step from τ = 1 to τ′ = 0?
# </details>
#
# <details><summary>Help: "the way that is left, not the velocity"</summary>
#
# How much time is left if τ must fall to 0? In this time x must go the whole way between x_τ and x̂_0.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-9-2-flow-sampler", "grade": false, "solution": true, "locked": false, "task": false}
def flow_sampler(network, x, taus):
    """From noise x at τ = 1 to the state at the last τ; network([x_τ, τ (B, 1)]) gives x̂_0."""
    ### BEGIN SOLUTION
    for tau, next_tau in zip(taus[:-1], taus[1:]):
        times = np.full((len(x), 1), tau, np.float32)
        u = (x - network([x, times])) / tau  # x_τ = x_0 + τ u
        x = x + (next_tau - tau) * u
    return x
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-9-2-flow-sampler", "grade": true, "solution": false, "locked": true, "points": 4, "task": false}
checks.check_flow_sampler(flow_sampler)

# %% [markdown]
# First your sampler gets the exact denoiser of [lesson 5](05_sampling.ipynb): a formula that knows 16 images. A correct sampler ends
# at these images. `flow.on_straight_path` lets a diffusion network take part: it divides x_τ by the ratio of 9.1, and finds the
# step t with the same SNR.

# %%
walk = checks.check_flow_sampler.answer_or(flow.flow_sampler)  # your function, from here on
known = images.x_test[:16]
oracle = Diffusion(sampling.exact_noise_predictor(known, schedule), schedule)
start = rng.standard_normal((8, *shape)).astype("float32")
ends = np.asarray(walk(flow.on_straight_path(oracle), start, np.linspace(1, 0, 21)))
nearest, which = metrics.nearest_images(ends, known)
plots.show(
    plots.image_table([list(ends), list(known[which])], ["where the walk ends", "nearest known image"],
                      [f"{d:.2f}" for d in nearest], "20 steps with the exact denoiser of 16 images (numbers: distance)", scale=1.1),
    "Two equal rows of eight digits: where your walk ends, and the nearest of the 16 known images.",
)
assert np.max(nearest) < 0.5

# %% [markdown]
# Now `fast`. It was never trained as a flow.
#
# **Predict before you run:** what will a *single* step from pure noise draw? Think: the network sees only noise, and it was trained
# with the squared error ([lesson 4](04_training.ipynb)). What does it answer?

# %%
prediction = "…"  # write your guess between the quotes

# %%
start = rng.standard_normal((8, *shape)).astype("float32")
counts = (1, 2, 4, 10, 20)
by_flow = {n: np.asarray(walk(flow.on_straight_path(fast), start, np.linspace(1, 0, n + 1))) for n in counts}


def by_ddim(count):
    """DDIM of lesson 5 from the same noise, at evenly spaced t."""
    *_, (_, _, drawn) = sampling.trajectory(fast, start, sampler="ddim", steps=count, x0=False)
    return np.asarray(drawn)


rows = {"1 call": by_flow[1]}
for count in counts[1:]:
    rows |= {f"flow, {count} calls": by_flow[count], f"DDIM, {count} calls": by_ddim(count)}
plots.show(
    plots.image_table([list(row) for row in rows.values()], list(rows), [""] * 8, "fast from the same noise, never trained as a flow"),
    "Rows of eight pictures. One call: a grey blob, the same in every column. Two calls: blurred strokes. Four calls: the first "
    "digits. Ten and twenty calls: digits, nearly the same ones with both samplers.",
)
mean_image = images.x_train.mean(axis=0)
blob, digit = (np.sqrt(np.mean((x - mean_image) ** 2)) for x in (by_flow[1], images.x_test[:100]))
plots.show_prediction(prediction, f"the same blob eight times: its distance from the mean image is {blob:.2f}, that of a digit is {digit:.2f} "
                      "(root mean square)")

# %% [markdown]
# One step draws nearly the mean image: from pure noise every image is possible, and the mean has the smallest squared error. With
# 20 calls your sampler draws digits, although the network was never told τ. Why does this work?
#
# A step of DDIM keeps x̂_0 and the noise ε̂ that follows from it. Then it mixes both at the next level. Your step does the same:
#
# $$x_\tau + (\tau'-\tau)\,u = (1-\tau')\,\hat x_0 + \tau'\,\hat\varepsilon$$
#
# So **flow matching with Gaussian noise is diffusion** with another list of noise levels, another weight of the loss and another answer
# of the network ([Gao et al. 2024](https://diffusionflow.github.io)). The next cell checks the sampler: DDIM visits the steps with the
# SNR of evenly spaced τ. It ends at the same pictures.

# %%
*_, (_, _, at_same_levels) = sampling.trajectory(fast, start, sampler=samplers.flow, steps=20, x0=False)
apart = np.abs(np.asarray(at_same_levels) - by_flow[20]).max()
print(f"largest difference of a pixel, out of 2: {apart:.3f} (τ is rounded to one of 1000 steps)")
assert apart < 0.5
even, spaced = schedule.taus[samplers.spaced_steps(schedule.T, 10)], 1 - np.arange(10) / 10
figure, ax = plots.axes("Which noise levels do ten calls visit?", "τ of the straight path (1 is noise)", "", size=(8, 2.2))
ax.plot(even, np.zeros(10), "o", color=plots.COLOURS["blue"])
ax.plot(spaced, np.ones(10), "s", color=plots.COLOURS["red"])
ax.set_yticks([0, 1], ["DDIM, even t", "flow, even τ"])
ax.set_ylim(-0.6, 1.6)
plots.show(figure, "Two rows of ten dots between τ = 0 and 1. Flow: evenly spaced. DDIM on the cosine schedule: closer together in the middle.")

# %% [markdown]
# Do these differences matter? `python -m benchmarks.ablation` trained the network of `fast` for one pass over MNIST in three ways: as
# `fast` is, with the answer x̂_0; and as a flow, with the velocity, for uniform τ and for *logit-normal* τ. Logit-normal τ lies more
# often in the middle of the path. Each network drew 1,000 images with 20 calls.

# %%
ablation = results.recorded("ablation")
if ablation:
    wanted = {"fast": "x_0, t uniform", "flow, uniform τ": "velocity, τ uniform", "flow, logit-normal τ": "velocity, τ logit-normal"}
    lines = []
    for row in ablation["rows"]:
        if row["variant"] in wanted:
            (value, low, high), hit = [row["measures"]["frechet"][k] for k in ("value", "low", "high")], row["measures"]["recognised"]
            lines.append([f"{wanted[row['variant']]}, seed {row['seed']}", f"{value:.0f} ({low:.0f} … {high:.0f})",
                          f"{hit['value']:.2f} ({hit['low']:.2f} … {hit['high']:.2f})"])
    plots.show_table(["answer, noise levels in training", "Fréchet distance (95 %)", "recognised (95 %)"], lines)

# %% [markdown]
# They matter here. After one pass both flows are behind x̂_0: 190 and 154 against 135 to 140. Logit-normal τ is better than uniform τ, as
# [Esser et al. 2024](https://arxiv.org/abs/2403.03206) found for large models. (Each flow was trained once. The three trainings of `fast`
# lie within 5 of each other.)

# %% [markdown]
# ## 9.3 Why the paths bend
#
# Each training pair (image, noise) lies on a straight path. Then why does drawing need more than one step? We go back to points in the
# plane: the eight islands of [lesson 6](06_discussion.ipynb). Here the best possible answer x̂_0 is a formula, so nothing is trained.
#
# **Predict before you run:** many straight lines lead from noise to the islands. Some meet: they are at the same place x_τ at the same
# τ. What will the network answer there? Can two paths of the sampler meet, too? Where does one step end?

# %%
prediction = "…"  # write your guess between the quotes

# %%
points = toys.ring_points(20_000, rng)
starts = rng.standard_normal((2_000, 2))
fine = np.linspace(1, 0, 101)
exact = straight_roads.paths(straight_roads.exact_velocity, starts, fine)


def draw_paths(ax, states, title, marker="."):
    """Forty paths from noise (grey) to their ends (blue)."""
    ax.plot(*np.moveaxis(states[:, :40], 2, 0), color="grey", linewidth=0.7)
    ax.plot(*states[0, :40].T, marker, color="grey", markersize=5)
    ax.plot(*states[-1, :40].T, "o", color=plots.COLOURS["blue"], markersize=5)
    ax.plot(*toys.ring_centres().T, "+", color="black", markersize=8)
    ax.set(title=title, xlabel="first coordinate", xlim=(-2.5, 2.5), ylim=(-2.5, 2.5), aspect="equal")


figure, row = plt.subplots(1, 3, figsize=(13, 4.6), sharey=True)
draw_paths(row[0], np.stack([starts[:40], points[:40]]), "training pairs: straight lines")
draw_paths(row[1], exact, "exact flow, 100 steps")
draw_paths(row[2], straight_roads.paths(straight_roads.exact_velocity, starts, [1, 0]), "exact flow, one step")
row[0].set_ylabel("second coordinate")
plots.show(figure, "Three plots of 40 paths. Pairs: straight lines that cross. Exact flow in 100 steps: curves that first run to the "
           "middle, then turn to the islands. One step: all end in the middle, away from every island.")
plots.show_prediction(prediction, "where lines meet: the mean of their velocities; paths of the sampler never meet; "
                      "one step ends at the mean of all points")
bend = straight_roads.bend(exact, fine)
print(f"bend of the exact flow: {bend:.2f} (mean distance from an even walk on the straight line, over the length of this line)")
assert np.linalg.norm(straight_roads.paths(straight_roads.exact_velocity, starts, [1, 0])[-1], axis=1).max() < 0.2

# %% [markdown]
# **Pairs go straight. Their mean bends.** Where lines meet, the squared error makes the network answer the mean of their velocities
# ([lesson 1](01_function_inversion.ipynb)). So there is one velocity for each place and each τ: a *velocity field*. Two
# paths that follow it
# never meet at the same τ. (In the figure two paths can cross: they pass the place at different τ.) At τ = 1 each point may
# belong to every island, so the mean velocity leads to the middle. One Euler step follows it to the end.
#
# ### Three words of the literature
#
# Papers describe this walk with three words. With the best possible u:
#
# - The **probability flow ODE** (ordinary differential equation) is the path of your sampler with very small steps: dx = u dτ. Nothing is
#   random after the start.
# - The **score** is the direction in which x_τ becomes more probable (lesson 4): $\nabla \log p_\tau(x_\tau) = -\hat\varepsilon/\tau$, with
#   $\hat\varepsilon = x_\tau + (1-\tau)\,u$. Here $p_\tau$ is the distribution of x_τ.
# - An **SDE** (stochastic differential equation) adds new noise on the way. It also follows the score a little more, and this takes the
#   added noise away again. Ancestral sampling of lesson 5 is of this kind. Single paths differ, but x_τ has the same distribution at
#   each τ ([Song et al. 2021](https://arxiv.org/abs/2011.13456)).

# %%
def score(x, tau):
    """The score at x_τ, from the velocity."""
    return -(x + (1 - tau) * straight_roads.exact_velocity(x, tau)) / tau


def sde_paths(x, taus, strength=1.0):
    """Like straight_roads.paths, but with new noise of variance strength · τ per unit of time."""
    states = [x]
    for tau, next_tau in itertools.pairwise(taus):
        h, variance = tau - next_tau, strength * tau
        drift = straight_roads.exact_velocity(states[-1], tau) - variance / 2 * score(states[-1], tau)
        states.append(states[-1] - h * drift + np.sqrt(h * variance) * rng.standard_normal(x.shape))
    return np.stack(states)


finer = np.linspace(1, 0, 401)
walks = {"ODE": straight_roads.paths(straight_roads.exact_velocity, starts, finer), "SDE": sde_paths(starts, finer)}
figure, row = plt.subplots(1, 4, figsize=(15, 4.3), sharey=True)
grid = np.stack(np.meshgrid(*[np.linspace(-1.6, 1.6, 14)] * 2), axis=-1).reshape(-1, 2)
for ax, tau in zip(row, (0.8, 0.3)):
    ax.quiver(*grid.T, *-straight_roads.exact_velocity(grid, tau).T, color=plots.COLOURS["blue"], angles="xy")
    ax.plot(*toys.ring_centres().T, "+", color="black", markersize=8)
    ax.set(title=f"the way back, −u, at τ = {tau}", xlabel="first coordinate", aspect="equal")
for ax, (label, states) in zip(row[2:], walks.items()):
    draw_paths(ax, states, f"{label}: {toys.coverage(states[-1])[1]:.0%} on an island")
row[0].set_ylabel("second coordinate")
plots.show(figure, "Four plots. Arrows at τ = 0.8 point near the middle; at τ = 0.3 those from outside point to the "
           "nearest islands, those in the middle are short. Paths of the "
           "ODE are smooth, those of the SDE rough. Both end on the islands.")
assert all(toys.coverage(states[-1])[1] > 0.9 for states in walks.values())

# %% [markdown]
# ## 9.4 Train a flow, then straighten it
#
# Now a small network learns the velocity from points, with the loss of 9.1. Then comes *reflow*
# ([Liu et al. 2022](https://arxiv.org/abs/2209.03003)). This flow, the *teacher*, draws a point from each of many new
# noises. Each noise and
# its point are a *pair*. A second network is trained on these pairs. Now each noise has only one partner.
#
# **Predict before you run:** the lines of these pairs hardly meet. How many calls will the second network need? And what will it copy
# from its teacher besides the good points?

# %%
prediction = "…"  # write your guess between the quotes

# %%
flows, straightened = [], []
seeds, updates = 5 if PRESET != "smoke" else 1, min(2_000, settings.toy_steps)
for seed in range(SEED, SEED + seeds):
    flows.append(straight_roads.train_velocity(points, updates, seed=seed))
    noise = np.random.default_rng(seed).standard_normal((8_000, 2))
    ends = straight_roads.paths(straight_roads.velocity_of(flows[-1]), noise, fine)[-1]
    straightened.append(straight_roads.train_velocity(ends, updates, noise=noise, seed=seed))

# %%
counts = (1, 2, 4, 8, 20, 100)


def on_islands(velocity, count):
    """Proportion of 2,000 points on an island after ``count`` steps."""
    return toys.coverage(straight_roads.paths(velocity, starts, np.linspace(1, 0, count + 1))[-1])[1]


kinds = {"trained flow": (flows, "blue", "o"), "after reflow": (straightened, "red", "s")}
found = {label: np.array([[on_islands(straight_roads.velocity_of(n), c) for c in counts] for n in nets])
         for label, (nets, _, _) in kinds.items()}

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.4))
left.plot(counts, [on_islands(straight_roads.exact_velocity, c) for c in counts], "k--", label="exact flow")
left.axhline(toys.coverage(points[:2_000])[1], color="black", linestyle=":", label="real points")
for label, (_, colour, marker) in kinds.items():
    left.plot(counts, found[label].T, marker + "-", color=plots.COLOURS[colour], label=label)
handles = dict(zip(*left.get_legend_handles_labels()[::-1]))
left.legend(handles.values(), handles.keys())
left.set(title=f"Points on an island, {seeds} seeds each", xlabel="calls of the network", ylabel="proportion", xscale="log", ylim=(0, 1.03))
left.set_xticks(counts, counts)
states = straight_roads.paths(straight_roads.velocity_of(straightened[0]), starts, fine)
draw_paths(right, states, "paths after reflow")
right.set_ylabel("second coordinate")
means = {label: dict(zip(counts, values.mean(axis=0))) for label, values in found.items()}
plots.show(figure, "Left: the proportion of points on an island over the calls. "
           + " ".join(f"{label}: one call {m[1]:.2f}, 100 calls {m[100]:.2f}." for label, m in means.items())
           + " Right: forty paths after reflow, nearly straight.")
bends = {label: straight_roads.bend(straight_roads.paths(straight_roads.velocity_of(nets[0]), starts, fine), fine)
         for label, (nets, _, _) in kinds.items()}
one, many = ({label: f"{m[count]:.0%}" for label, m in means.items()} for count in (1, 100))
plots.show_prediction(prediction, f"one call: {one['after reflow']} on an island, before {one['trained flow']}; 100 calls: "
                      f"{many['after reflow']}, the teacher {many['trained flow']}; it copies points between the islands")
print("bend:", ", ".join(f"{label} {value:.2f}" for label, value in bends.items()))

# %% [markdown]
# Reflow makes the paths nearly straight, so one call is enough for most points. But the second network learns from the ends that the
# first one drew. It copies its teacher's points between the islands, and adds its own errors: with 100 calls it is worse than the
# teacher. (Each line of the figure is one seed.)

# %% [markdown]
# ## 9.5 Learn the whole path at once
#
# A velocity says where x moves *now*. One call needs the *mean velocity* of a whole step. Let r < τ be the time where a step ends. Let
# ū(x_τ, r, τ) be the mean velocity along the sampler's path between τ and r. Then one step leads all the way:
#
# $$x_r = x_\tau - (\tau - r)\,\bar u(x_\tau, r, \tau), \qquad (\tau - r)\,\bar u = \int_r^\tau u(x_s, s)\; \mathrm ds$$
#
# The integral is not known in training. *MeanFlow* ([Geng et al. 2025](https://arxiv.org/abs/2505.13447)) removes it: it takes the
# derivative of the second equation with respect to τ.

# %% [markdown]
# ### Exercise 9.3 – the target of mean velocities
# *3 points · code · difficulty ●●●○ · about 15 minutes*
#
# Write `mean_velocity_target(u, slope, r, tau)`. It returns ū. You are given the velocity u at x_τ, and `slope`: the derivative dū/dτ
# along the path, while r stays fixed. (In training, u is ε − x_0. The slope is that of the network's own answer.)
#
# Differentiate both sides of the second equation with respect to τ. Then solve for ū. The check uses normally distributed data in one
# dimension, where u, the slope and ū are known formulas.
#
# <details><summary>Hint: the left side</summary>
#
# It is a product of two things that depend on τ. Which rule gives its derivative?
# </details>
#
# <details><summary>Hint: the right side</summary>
#
# What is the derivative of an integral with respect to its upper end?
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-9-3-mean-velocity-target", "grade": false, "solution": true, "locked": false, "task": false}
def mean_velocity_target(u, slope, r, tau):
    """The mean velocity ū from r to τ, from the velocity u at τ and the derivative of ū along the path."""
    ### BEGIN SOLUTION
    return u - (tau - r) * slope  # ū + (τ − r) dū/dτ = u
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-9-3-mean-velocity-target", "grade": true, "solution": false, "locked": true, "points": 3, "task": false}
checks.check_mean_velocity_target(mean_velocity_target)

# %% [markdown]
# Your target now trains a network ū(x, r, τ) on the islands. This network has no teacher. The figure shows three networks, each with
# **one** call.
#
# **Predict before you run:** which of the three is best with one call?

# %%
prediction = "…"  # write your guess between the quotes

# %%
target = checks.check_mean_velocity_target.answer_or(flow.mean_velocity_target)
mean_flow = straight_roads.train_velocity(points, settings.toy_steps, target=target, seed=SEED)
one_step = {
    "velocity (flow)": straight_roads.paths(straight_roads.velocity_of(flows[0]), starts, [1, 0])[-1],
    "straightened (reflow)": straight_roads.paths(straight_roads.velocity_of(straightened[0]), starts, [1, 0])[-1],
    "mean velocity (MeanFlow)": straight_roads.in_one_call(mean_flow, starts),
}
figure, row = plt.subplots(1, 3, figsize=(13, 4.6), sharey=True)
for ax, (label, ends) in zip(row, one_step.items()):
    ax.plot(*ends.T, ".", markersize=3, alpha=0.3, color=plots.COLOURS["blue"])
    ax.plot(*toys.ring_centres().T, "+", color="black", markersize=8)
    ax.set(title=f"{label}\n{toys.coverage(ends)[1]:.0%} on an island", xlabel="first coordinate", xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal")
row[0].set_ylabel("second coordinate")
near = {label: toys.coverage(ends)[1] for label, ends in one_step.items()}
plots.show(figure, "2,000 points after one call. " + " ".join(f"{label}: {value:.0%} on an island." for label, value in near.items()))
plots.show_prediction(prediction, "; ".join(f"{label} {value:.0%}" for label, value in near.items()))

# %% [markdown]
# The velocity alone draws the middle. The straightened flow is best here, but it needed a teacher, and 100 calls for each pair. MeanFlow
# finds all islands without a teacher, but it draws bridges between them. (This is one seed. MeanFlow had 3,000 updates, the two others
# 2,000.) A table of these ideas and two more:
#
# | what the network answers | idea | with one call |
# | --- | --- | --- |
# | the velocity now | flow matching | the mean of all data |
# | the velocity now, on pairs of a teacher | reflow ([Liu et al. 2022](https://arxiv.org/abs/2209.03003)) | good if the lines of the pairs do not meet |
# | the mean velocity of a step from τ to r | MeanFlow ([Geng et al. 2025](https://arxiv.org/abs/2505.13447)) | a point of the data, learned without a teacher |
# | the mean velocity of a step of a given length; two steps of half the length are its target | shortcut models ([Frans et al. 2024](https://arxiv.org/abs/2410.12557)) | the same |
# | the end of the path, the same from every place on it | consistency models ([Song et al. 2023](https://arxiv.org/abs/2303.01469)) | the same, with or without a teacher |
#
# (The last two rows are from the papers. This lesson does not measure them.)

# %% [markdown]
# ## 9.6 Digits in one call
#
# The checkpoint `one_call` draws digits. It was made with the second idea of the table: a *student* network learns from the drawings of a
# teacher. This is called *distillation*. `python -m lab train --model one_call` does it:
#
# 1. **Pairs.** The teacher `fast_conditional` draws 20,000 pictures from known noise and labels. Each takes 24 calls: 12 steps, and
#    guidance needs two calls a step.
# 2. **The student** starts with the weights of its teacher. It learns x̂_0 on the straight path between noise and picture. In 60 % of a
#    batch τ is 1, since one call starts there.
# 3. **The loss** is a *pseudo-Huber* distance of the whole picture: $\sqrt{d^2 + c^2} - c$ with c = 0.03
#    ([Song & Dhariwal 2023](https://arxiv.org/abs/2310.14189)). Here d² is the mean square of the error x̂_0 − x_0 over the pixels, plus
#    twice that of the error's differences between neighbours, which punishes soft edges. The loss grows like d, not like d². So
#    the few worst pictures do not rule the run.
#
# **Predict before you run:** the teacher has 24 calls, the student one. Where will the student be worse? Do fewer digits look as asked?
# Are they less varied? Are they less sharp?

# %%
prediction = "…"  # write your guess between the quotes

# %%
student, teacher = (pretrained.load_diffusion(checkpoint) for checkpoint in ("one_call", "fast_conditional"))
labels = networks.even_labels(10)


def drawn_by(diffusion, **options):
    """Ten digits from the same noise."""
    return sampling.sample(diffusion, 10, condition=labels, seed=SEED, progress=False, **options)


rows = {"teacher, 24 calls": drawn_by(teacher, sampler="dpmpp_2m", steps=12),
        "teacher, 1 call": drawn_by(teacher.with_guidance(0.0), sampler="ddim", steps=1),
        "student, 1 call": drawn_by(student, sampler="ddim", steps=1)}
plots.show(
    plots.image_table([list(row) for row in rows.values()], list(rows), [str(label) for label in labels], "The same noise and labels", scale=1.1),
    "Three rows of the digits 0 to 9. Teacher with 24 calls: digits. Teacher with one call: the mean image of each digit. Student with one "
    "call: digits that resemble those of the teacher.",
)

# %% [markdown]
# The measures are those of lessons 4 and 5, and three more. *Coverage* is the proportion of real digits that have a drawing near them:
# nearer than the third nearest real digit. *Sharpness* is the mean slope of the brightness at strokes. *Copies* is the proportion of
# drawings that lie very near a training image: nearer than all but 1 % of the real test digits.

# %%
NAMES = {"frechet": "Fréchet distance", "as_asked": "as asked", "recognised": "recognised", "recall": "recall", "coverage": "coverage"}


def mean_of(model, calls, measure):
    """Mean of a recorded measure over its seeds."""
    rows = [row for row in recorded["rows"] if row.get("model") == model and row["calls"] == calls]
    return np.mean([row["measures"][measure]["value"] if measure in NAMES else np.ravel(row[measure])[0] for row in rows])


if recorded:
    measured = {"teacher, 24 calls": ("fast_conditional", 24), "student, 1 call": ("one_call", 1), "student, 2 calls": ("one_call", 2),
                "student, 4 calls": ("one_call", 4), "teacher, 1 call": ("fast_conditional", 1)}
    first = next(row for row in recorded["rows"] if row.get("model") == "one_call")
    digits = {m: 1 if m == "frechet" else 3 for m in NAMES}  # after the point
    lines = [["real digits", *(f"{first['measures'][m]['floor']:.{n}f}" for m, n in digits.items()), f"{first['real_sharpness']:.2f}", "0.010"]]
    for label, which in measured.items():
        lines.append([label, *(f"{mean_of(*which, m):.{n}f}" for m, n in digits.items()),
                      f"{mean_of(*which, 'sharpness'):.2f}", f"{mean_of(*which, 'copies'):.3f}"])
    plots.show_table([f"{recorded['images']:,} digits, mean of 3 seeds", *NAMES.values(), "sharpness", "copies"], lines)
    one, many = measured["student, 1 call"], measured["teacher, 24 calls"]
    told = ", ".join(f"{NAMES.get(m, m)} {mean_of(*one, m):.3f} against {mean_of(*many, m):.3f}" for m in ("as_asked", "recall", "sharpness"))
    plots.show_prediction(prediction, f"student against teacher: {told}")
    for row in recorded["rows"]:
        if "difference" in row:
            print("Fréchet distance, student − teacher, seed {}: {:+.2f} (95 %: {:+.2f} … {:+.2f})".format(row["seed"], *row["frechet"]))

# %%
if recorded:
    cost = {row["cost"]: row for row in recorded["rows"] if "cost" in row}
    seconds = {row["speed"]: row["seconds"] for row in recorded["rows"] if "speed" in row}
    for checkpoint, row in cost.items():
        print(f"{checkpoint}: {row['pairs']:,} pairs and the training took {row['cpu_minutes']:.0f} CPU minutes together")
    about = pretrained.read_record("one_call")
    print(f"one_call, root mean square error of a picture: {about['pair_error'] ** 0.5:.3f} on pairs of its training, "
          f"{about['test_error'] ** 0.5:.3f} on new noise")
    print(f"one call, {recorded['machine']['cores']} cores: {64 / seconds['digits']['64']:,.0f} digits a second in batches of 64; "
          f"16 pictures from captions, decoded, take {1000 * seconds['captions']['16']:.0f} ms")

# %% [markdown]
# One call costs little on average: 98.5 % of the student's digits look as asked, 99.0 % of the teacher's. The Fréchet distance rises by 0.8
# to 1.6; for one of three seeds the interval misses 0, for two it may be chance. **Variety is lost**: recall falls from 0.82 to 0.71.
# Strokes are a little softer, 0.63 against 0.67. Near-copies are rare for both.
#
# More calls of the student give most of this back: with four, recall is 0.80. One call of the *teacher* draws the mean image of each
# digit.
#
# What limits the student? Its error is larger on new noise than on pairs of its training. So it has learned a part of them by heart, and
# more pairs should help more than more passes. More pairs cost more CPU minutes.
#
# (The intervals cover new drawings by these two networks. They do not cover a new training.)

# %% [markdown]
# ## 9.7 A caption in one call
#
# Nearly the same recipe makes a student of the model of [lesson 8](08_text_to_image.ipynb). The teacher draws 12,000 latents for captions,
# with guidance 4 and 24 calls each. (The loss has no term for edges.) The student needs no guidance: the pairs already show its effect.

# %%
captions = ["a red three left of a blue seven", "a green nine above a pink one", "a white four", "a yellow zero right of a red eight"]
if {"one_call_text", "autoencoder"} <= set(pretrained.names()):
    text, twice = pipeline.TextToImage("one_call_text"), [caption for caption in captions for _ in range(2)]
    drawn = text.draw(twice, steps=1, sampler="ddim", seed=SEED)
    plots.show(
        plots.captioned(drawn, twice, "One call for each picture"),
        "Eight pictures, two for each caption: " + "; ".join(captions) + ". The digits have the colours and places of the captions.",
    )
else:
    print("This single file has no room for the weights that draw captions: they are in the repository of the lab.")

# %%
lesson_8 = results.recorded("text_to_image")
KINDS = {"seen": "seen", "unseen_pair": "unseen pair", "unseen_order": "unseen order", "turned": "turned"}
if recorded and lesson_8:
    by_student = {row["captions"]: row["caption"] for row in recorded["rows"] if "captions" in row}
    by_teacher = {row["kind"]: row["caption"] for row in lesson_8["rows"] if row.get("pictures") == "text_to_image" and row["epoch"] is None}
    lines = []
    for kind, label in KINDS.items():
        hits = [np.arange(1_000) < round(1_000 * found[kind][0]) for found in (by_student, by_teacher)]
        lines.append([label, f"{by_student[kind][0]:.3f}", f"{by_teacher[kind][0]:.3f}", "{:+.3f} ({:+.3f} … {:+.3f})".format(*metrics.difference(*hits))])
    plots.show_table(["whole captions right", "student, 1 call", "teacher, 24 calls", "difference (95 % interval)"], lines)

# %% [markdown]
# One call is as good as 24 in this table: in all four kinds the difference may be chance. (It is taken as if the two models had drawn
# independent captions. They drew the same ones, so the true intervals are a little narrower.)

# %% [markdown]
# ## 9.8 Where you meet it
#
# | model | what it does, and where it says so |
# | --- | --- |
# | Stable Diffusion 3 | straight paths in the latent space, middle τ most often (*logit-normal*), a transformer as the network ([Esser et al. 2024](https://arxiv.org/abs/2403.03206)) |
# | FLUX.1 | straight paths, too; its version "schnell" is distilled with a discriminator and draws with 1 to 4 steps ([model card](https://huggingface.co/black-forest-labs/FLUX.1-schnell)) |
# | InstaFlow | Stable Diffusion, straightened by reflow and then distilled to one step ([Liu et al. 2023](https://arxiv.org/abs/2309.06380)) |
# | SDXL Turbo | distilled to one to four steps with a discriminator in the loss ([Sauer et al. 2023](https://arxiv.org/abs/2311.17042)) |
#
# Why a discriminator ([lesson 6](06_discussion.ipynb))? A student that minimises a distance of pixels draws softer strokes where it is
# not sure. A discriminator can tell these from real ones, so the student must draw sharp strokes.

# %% [markdown]
# ### Exercise 9.4 – equal distances, equal models?
# *4 points · in words, marked by your instructor · difficulty ●●●○ · about 15 minutes*
#
# A one-call model and a 20-call model have the same Fréchet distance. Name two things that you would still measure before you call them
# equally good. For each of the two:
#
# - Which failure does it show? Why can the distance hide this failure?
# - Which number of this lesson, or of an earlier one, shows that such a failure happens?

# %% [markdown] nbgrader={"schema_version": 3, "grade_id": "text-9-4-equal-distances", "grade": true, "solution": true, "locked": false, "points": 4, "task": false}
# <!-- ### BEGIN SOLUTION -->
# Example. (1) *Recall*: the proportion of real digits with a drawing near them. The Fréchet distance compares only means and covariances of
# features. A model that leaves out rare ways to write a digit changes them little. In the table of 9.6 the student's recall is lower than
# the teacher's, although the distances differ by only about 1. (2) *As asked*, by a judge: the distance does not look at labels. If all 4s and 9s
# changed places, the set of all pictures would be the same. In lesson 7 guidance raises *as asked* from 0.915 to 1.000.
#
# Also right: precision or recognised (drawings that are no digits); coverage; sharpness (the judge's features may not see soft strokes;
# 9.6 shows a lower value for the student); copies of training images (copies have a very good distance); another judge or other features;
# the interval of the distance or another training seed (equal numbers may be chance). Other words for the same thing count, such as
# "variety" for recall. Speed is no quality: it counts only if the answer says why both must be compared at equal cost.
#
# 1 point each for two things that the Fréchet distance alone does not tell.
# 1 point each for the failure that it shows, with a fitting number or table of a lesson. The number need not be exact.
# <!-- ### END SOLUTION -->

# %% [markdown]
# ## Remember
# - Flow matching is regression on velocities: x_τ = (1−τ) x_0 + τ ε, target ε − x_0.
# - A diffusion network is a flow already. Only the noise levels, the weights of the loss and the answer differ.
# - Pairs go straight. Their mean bends. One Euler step draws the mean of all data.
# - One call *can* draw if the network learned the whole path: from a teacher's pairs, or as a mean velocity.
# - Compare at the same noise, with the interval of the difference, and never by one number alone.
