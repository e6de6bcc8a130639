# %% [markdown]
# # 5 · Sampling: from noise to digits
#
# The network can find the noise in an image. Now we run the reverse process: start from pure noise, and remove a little of
# the predicted noise a thousand times. First we derive the step. Then we test the sampler on a case where the right result is
# known. At the end the network draws.
#
# **You will be able to**
# - derive the reverse step and say what β̃ is;
# - write ancestral sampling (each state is drawn from the one before, with fresh noise), and test it against an exact
#   answer;
# - watch x_t and the network's guess x̂_0 during sampling;
# - draw digits from the lab's checkpoint;
# - measure how good drawn images are, and say why each number needs the value of real images beside it;
# - draw with fewer calls of the network, and say what a better sampler does differently;
# - ask for a certain digit, and say what guidance costs.
#
# **Time:** about 90 minutes for sections 5.1 to 5.5 with the exercises, then a pause, and about 60 minutes for sections
# 5.6 to 5.10. The cells run in about three minutes.
#
# Source: Ho et al. 2020, [DDPM](https://arxiv.org/abs/2006.11239), sections 2 and 3.2, algorithm 2.

# %% [markdown] tags=["badges"]
# [Text source of this lesson](source/05_sampling.py) · no account or GPU needed

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
import time
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

from labutils import checks, data, evaluation, metrics, networks, plots, presets
from labutils import pretrained, results, samplers, sampling
from labutils.diffusion import Diffusion
from labutils.networks import classifiers
from labutils.schedule import cosine_schedule, linear_schedule

settings = presets.get(PRESET, SEED)
plots.use_lab_style()
images = data.load(DATASET)
name = images.note or images.name  # what the figures call the data
classic = pretrained.load_diffusion("classic", fused=True)  # the same images in less time: lesson 7.1
network, schedule, shape = classic.network, classic.schedule, classic.shape
about = pretrained.read_record("classic")
print(f"preset {settings.name}: {settings.samples} samples; data: {name}")
print(f"checkpoint {about['name']}: {about['epochs']} epochs on {about['dataset']}, "
      f"test noise MSE {about['test_mse']['mean']:.4f}")

# %% [markdown]
# ## 5.1 One step back, if the original were known
#
# One step forward adds a little noise: $q(x_t \mid x_{t-1})$. One step back means: which $x_{t-1}$ could have led to this
# $x_t$? Without more knowledge the answer depends on the distribution of all images. But **if $x_0$ is known too**, Bayes'
# rule gives a Gaussian (DDPM eq. 6 and 7):
#
# $$ q(x_{t-1} \mid x_t, x_0) \;\propto\; q(x_t \mid x_{t-1})\; q(x_{t-1} \mid x_0) $$
#
# $$ \propto\; \mathcal N\!\big(x_t;\, \sqrt{\alpha_t}\,x_{t-1},\, \beta_t I\big)\;
#    \mathcal N\!\big(x_{t-1};\, \sqrt{\bar\alpha_{t-1}}\,x_0,\, (1-\bar\alpha_{t-1}) I\big) $$
#
# for t ≥ 1. This distribution is called the *posterior*: what we know about $x_{t-1}$ after seeing $x_t$ (and $x_0$).
# Multiplying two Gaussians adds their precisions. (The *precision* of a Gaussian is 1/variance. Section 5.7 uses the same
# word for something else, the share of drawn images that look real.) As functions of $x_{t-1}$, the two factors are:
#
# | factor | centre | precision |
# | --- | --- | --- |
# | $q(x_t \mid x_{t-1})$ | $x_t/\sqrt{\alpha_t}$ | $\alpha_t/\beta_t$ |
# | $q(x_{t-1} \mid x_0)$ | $\sqrt{\bar\alpha_{t-1}}\,x_0$ | $1/(1-\bar\alpha_{t-1})$ |
#
# The sum of the precisions is the precision of the posterior:
#
# $$ \frac{1}{\tilde\beta_t} = \frac{\alpha_t}{\beta_t} + \frac{1}{1-\bar\alpha_{t-1}}
#    = \frac{\alpha_t(1-\bar\alpha_{t-1}) + \beta_t}{\beta_t\,(1-\bar\alpha_{t-1})}
#    = \frac{1-\bar\alpha_t}{\beta_t\,(1-\bar\alpha_{t-1})} $$
#
# The last step uses $\alpha_t = 1 - \beta_t$ and $\alpha_t\bar\alpha_{t-1} = \bar\alpha_t$. Inverted, this is the
# variance of [lesson 2](02_forward_noising.ipynb):
#
# $$ \tilde\beta_t = \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\;\beta_t $$
#
# The mean is the average of the two centres, weighted by their precisions:
#
# $$ \tilde\mu_t(x_t, x_0) = \tilde\beta_t\Big(\frac{\alpha_t}{\beta_t}\,\frac{x_t}{\sqrt{\alpha_t}}
#    + \frac{\sqrt{\bar\alpha_{t-1}}\,x_0}{1-\bar\alpha_{t-1}}\Big) $$
#
# Collected by $x_0$ and $x_t$, this is *the $x_0$ form*:
#
# $$ \tilde\mu_t(x_t, x_0) = \underbrace{\frac{\sqrt{\bar\alpha_{t-1}}\;\beta_t}{1-\bar\alpha_t}}_{\text{weight of } x_0} x_0
#    + \underbrace{\frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}}_{\text{weight of } x_t} x_t $$
#
# **Predict before you run:** which of the two weights is larger at t = 500, half way?

# %%
s = schedule
# From t = 1 on: at t = 0 nothing is uncertain, and the second precision is infinite.
precision_sum = s.alphas[1:] / s.betas[1:] + 1 / (1 - s.alpha_bars[:-1])
assert np.allclose(1 / precision_sum, s.posterior_variances[1:]) and s.posterior_variances[0] == 0

weight_x0 = np.sqrt(s.alpha_bars_previous) * s.betas / (1 - s.alpha_bars)
weight_xt = np.sqrt(s.alphas) * (1 - s.alpha_bars_previous) / (1 - s.alpha_bars)
figure, ax = plots.axes("Weights in the posterior mean of $x_{t-1}$",
                        "t (logarithmic from 1)", "weight")
ax.plot(weight_x0, label="weight of $x_0$")
ax.plot(weight_xt, "--", label="weight of $x_t$")
ax.set_xscale("symlog")
ax.legend()
plots.show(figure, "Weights in the posterior mean: at t = 0 all weight is on x_0; "
           "after a few dozen steps nearly all is on x_t, which is changed only a little.")
for t in (0, 10, 500):
    print(f"t = {t:3}: weight of x_0 {weight_x0[t]:.4f}, weight of x_t {weight_xt[t]:.4f}")
assert np.isclose(weight_x0[0], 1) and weight_xt[0] == 0

# %% [markdown]
# At t = 500 nearly all weight is on $x_t$: one reverse step changes the image only a little. Only in the last steps does
# $x_0$ get most of the weight.
#
# ## 5.2 The same step with the noise instead of the original
#
# We do not know $x_0$. But the network estimates the noise, and $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon$
# can be solved for $x_0$:
#
# $$ \hat x_0 = \frac{x_t - \sqrt{1-\bar\alpha_t}\;\varepsilon_\theta(x_t, t)}{\sqrt{\bar\alpha_t}} $$
#
# A common question is: "why first $\hat x_0$ and then the posterior?" The posterior *needs* an $x_0$, and $\hat x_0$ is our
# estimate of it. May we use an estimate there? The mean $\tilde\mu_t$ is linear in $x_0$. So the average of $\tilde\mu_t$
# over all $x_0$ that could have led to $x_t$ is $\tilde\mu_t$ at the average $x_0$. A network trained with the squared
# error estimates this average.
#
# Put $\hat x_0$ into $\tilde\mu_t$ and collect the terms:
#
# $$ \tilde\mu_t(x_t, \hat x_0) = \sqrt{\tfrac{1}{\alpha_t}}\;\Big(x_t - \frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\;\varepsilon_\theta\Big)
#    \qquad\text{(the } \varepsilon \text{ form, DDPM eq. 11)} $$
#
# The two forms are equal. The next cell checks this with numbers:

# %%
rng = np.random.default_rng(SEED)
xt, predicted = rng.standard_normal((2, 4, *shape)).astype("float32")
for t in (0, 1, 10, 500, 999):
    x0_hat = schedule.predict_x0(xt, t, predicted)
    x0_form = np.asarray(sampling.posterior_mean(schedule, x0_hat, xt, t))
    noise_form = np.asarray(sampling.reverse_step(schedule, xt, t, predicted, np.zeros_like(xt)))
    print(f"t = {t:3}: largest difference {np.abs(x0_form - noise_form).max():.1e}")
    assert np.allclose(x0_form, noise_form, atol=1e-4)

# %% [markdown]
# ### Exercise 5.1 – one reverse step
# *Difficulty ●●○○ · about 15 minutes*
#
# Write `reverse_step(schedule, xt, t, predicted_noise, noise)` for one integer t: the mean in the ε form, plus
# $\sigma_t z$ with $\sigma_t = \sqrt{\tilde\beta_t}$; `noise` is z. The tables are `schedule.betas`, `schedule.alphas`,
# `schedule.alpha_bars` and `schedule.posterior_variances`.
#
# <details><summary>Help: "β taken for β̃"</summary>
#
# The paper allows $\sqrt{\beta_t}$, too. Its algorithm 2 then sets z = 0 at the last step, so that the finished image
# gets no noise. This lab uses $\tilde\beta_t$, which is 0 at t = 0: the last step needs no special case.
# </details>
#
# <details><summary>Help: "you used α_t where ᾱ_t is needed"</summary>
#
# The formula has both: $\sqrt{1/\alpha_t}$ in front, and $\sqrt{1-\bar\alpha_t}$ under β.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-5-1-reverse-step", "grade": false, "solution": true, "locked": false, "task": false}
def reverse_step(schedule, xt, t, predicted_noise, noise):
    """x_{t-1} from x_t: one step of ancestral sampling."""
    ### BEGIN SOLUTION
    beta, alpha, alpha_bar = schedule.betas[t], schedule.alphas[t], schedule.alpha_bars[t]
    mean = np.sqrt(1 / alpha) * (xt - beta / np.sqrt(1 - alpha_bar) * predicted_noise)
    return mean + np.sqrt(schedule.posterior_variances[t]) * noise
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-5-1-reverse-step", "grade": true, "solution": false, "locked": true, "points": 3, "task": false}
checks.check_reverse_step(reverse_step)

# %% [markdown]
# Your function makes **one** step on a schedule of only eight steps. The step is large, so you can see the difference. The
# true noise replaces the network's prediction. The same $x_3$ goes in four times, each time with another z.

# %%
step = checks.check_reverse_step.answer_or(sampling.reverse_step)
coarse = cosine_schedule(8)
x0 = np.repeat(images.x_test[:1], 4, axis=0)
noise = np.repeat(rng.standard_normal((1, *images.image_shape)), 4, axis=0).astype("float32")
x3 = np.asarray(coarse.add_noise(x0, 3, noise))
z = rng.standard_normal(x3.shape).astype("float32")
x2 = np.asarray(step(coarse, x3, 3, noise, z))
plots.show(plots.image_table([[x0[0], x3[0], *x2]], [""],
                             ["$x_0$", "$x_3$", *(f"$x_2$, draw {i}" for i in range(1, 5))],
                             "One step back, four times from the same $x_3$", scale=1.5),
           "A digit, its noisy version, and four draws one step back: less noisy, "
           "with the same digit and four different patterns of noise.")

# %% [markdown]
# ### Exercise 5.2 – the whole loop
# *Difficulty ●●●○ · about 15 minutes*
#
# Write `sampling_loop(network, schedule, x, rng)`: `x` is $x_{T-1}$, pure noise of shape (B, H, W, C); for t = T − 1 down to 0
# ask the network for the noise, draw fresh z from `rng` (a NumPy generator: `rng.standard_normal(x.shape)`), and replace x by
# `sampling.reverse_step(schedule, x, t, predicted_noise, noise)`. Return the last x. The network gets
# `[x, time]` with the time t/T as a column (B, 1).
#
# <details><summary>Hint: a countdown</summary>
#
# `for t in range(schedule.T - 1, -1, -1):` the second number is where to stop *before*.
# </details>
#
# <details><summary>Help: "the loop stops before t = 0"</summary>
#
# `range(T - 1, 0, -1)` ends at 1. The step t = 0 removes the last of the noise.
# </details>
#
# <details><summary>Help: "the time should be a column"</summary>
#
# One number for each image: `np.full((len(x), 1), t / schedule.T)`.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-5-2-sampling-loop", "grade": false, "solution": true, "locked": false, "task": false}
def sampling_loop(network, schedule, x, rng):
    """Walk from pure noise x to images."""
    ### BEGIN SOLUTION
    for t in range(schedule.T - 1, -1, -1):
        time = np.full((len(x), 1), t / schedule.T, dtype="float32")
        predicted_noise = network([x, time])
        noise = rng.standard_normal(x.shape)
        x = np.asarray(sampling.reverse_step(schedule, x, t, predicted_noise, noise))
    return x
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-5-2-sampling-loop", "grade": true, "solution": false, "locked": true, "points": 4, "task": false}
checks.check_sampling_loop(sampling_loop)

# %% [markdown]
# ## 5.3 An oracle: test the sampler before the network
#
# If the samples are bad, is the sampler wrong or the network? To find out, use a noise predictor that is *known* to be right.
# For a small data set of images $x^{(1)} \dots x^{(N)}$ the best prediction has a formula. Given $x_t$, the original was
# image i with probability
#
# $$ w_i \propto \exp\!\Big(-\frac{\lVert x_t - \sqrt{\bar\alpha_t}\,x^{(i)}\rVert^2}{2(1-\bar\alpha_t)}\Big) $$
#
# $$ \hat x_0 = \sum_i w_i\,x^{(i)}, \qquad \varepsilon = \frac{x_t - \sqrt{\bar\alpha_t}\,\hat x_0}{\sqrt{1-\bar\alpha_t}} $$
#
# $\hat x_0$ is the weighted mean, the best guess, and ε is the noise that belongs to it.
#
# **Predict before you run:** what does a correct sampler draw with this predictor?

# %%
few = images.x_test[:16]
exact = Diffusion(sampling.exact_noise_predictor(few, schedule), schedule)
drawn = sampling.sample(exact, 24, images.image_shape, seed=SEED)
distance = np.sqrt(((drawn[:, None] - few[None]) ** 2).mean(axis=(2, 3, 4)))  # (24, 16)
nearest = distance.argmin(axis=1)
print(f"largest distance of a sample from its nearest image: {distance.min(axis=1).max():.1e}")
print(f"different images drawn: {len(set(nearest))} of {len(few)}")
assert distance.min(axis=1).max() < 1e-2

# %%
title = f"The oracle: eight samples, and the nearest of {len(few)} images ({name})"
rows = [list(drawn[:8]), list(few[nearest[:8]])]
plots.show(plots.image_table(rows, ["drawn", "nearest"], [""] * 8, title, scale=1.2),
           "Top: eight samples drawn with the exact predictor. Bottom: for each the nearest image "
           "of the data set; the two rows are equal.")

# %% [markdown]
# The sampler is right: it draws the images themselves. The result also shows a danger. **The perfect noise predictor of a
# finite data set can only copy its images.** A trained network draws *new* digits because it is imperfect: it cannot memorise
# 60,000 images. It learns what digits have in common.

# %% [markdown]
# ## 5.4 The network draws
#
# First your own loop, with the lab's checkpoint. It is plain Python, and a thousand calls would take long. So it runs on a
# coarser schedule: 100 steps, each with a β ten times as large. The network gets t/T as input. At equal t/T the two schedules
# have nearly the same $\bar\alpha$, so this input fits the noise level of the image.

# %%
hundred = linear_schedule(100, 1e-3, 0.2)
for part in (0.25, 0.5, 0.75):
    print(f"ᾱ at t/T = {part}: {schedule.alpha_bars[int(1000 * part)]:.4f} in 1000 steps, "
          f"{hundred.alpha_bars[int(100 * part)]:.4f} in 100 steps")


def by_labutils(network, schedule, x, rng):
    """The same by labutils: a `Diffusion` is a network and the schedule that belongs to it."""
    return sampling.ancestral_sampling(Diffusion(network, schedule), x, rng)


loop = checks.check_sampling_loop.answer_or(by_labutils)
own_count = min(settings.few_samples, 8)
start = np.random.default_rng(SEED).standard_normal((own_count, *shape), dtype="float32")
own = np.asarray(loop(network, hundred, start, np.random.default_rng(SEED + 1)))

# %% [markdown]
# **Predict before you run:** why is fresh noise z added in every step, when the aim is to remove noise? What will the same
# loop draw with z = 0 in all steps?

# %%
def without_noise(schedule, steps):
    """Ancestral sampling with z = 0: the mean of every step, and nothing else."""
    table = samplers.SAMPLERS["ddpm"](schedule, steps)
    return replace(table, sigma=np.zeros_like(table.sigma))


walk = sampling.trajectory(replace(classic, schedule=hundred), start, sampler=without_noise, x0=False)
states = {t: np.asarray(x) for t, x, _ in walk}
plots.show(plots.image_table([list(own), list(states[-1])], ["with z", "z = 0"], [""] * own_count,
                             "The same starting noise, with and without fresh noise", scale=1.2),
           "Top: digits drawn with fresh noise in every step. Bottom: drawn from the same starts "
           "with z = 0 in all steps: all black.")
for t in (74, 49, 24):
    kept = hundred.alpha_bars[t]
    trained = np.sqrt(kept * images.x_test.var() + 1 - kept)
    print(f"t = {t}: standard deviation of the state: "
          f"in training {trained:.2f}, with z = 0 {states[t].std():.2f}")

# %% [markdown]
# The mean of a Gaussian is not a sample of it. With z = 0 the state has too little variance for its t (see the last lines of
# the output). The network was not trained on such states, so no digit appears. (DDIM in section 5.6 adds no fresh noise
# either. But it keeps more of the noise in the state, so the noise level stays right.)
#
# Now we draw many digits. labutils runs the reverse process of the whole batch in a compiled graph, 25 steps a call. The
# numbers of the schedule come from a table, so nothing is compiled twice.

# %%
started = time.perf_counter()
digits = sampling.sample(classic, settings.samples, seed=SEED)
classic_seconds = (time.perf_counter() - started) / len(digits)  # for one image; section 5.9 compares
print(f"{len(digits)} images × {schedule.T} steps: {classic_seconds:.2f} s for one image")
print(f"values from {digits.min():.2f} to {digits.max():.2f}; "
      f"{np.mean(np.abs(digits) > 1.05):.1%} of the pixels outside ±1.05")
assert digits.shape == (settings.samples, *shape) and np.isfinite(digits).all()

# %%
title = f"{len(digits)} digits drawn by {about['name']} (trained on {about['dataset']})"
plots.show(plots.image_grid(digits, title, scale=1),
           "A grid of drawn digits, white on black; "
           "many can be read, others are strokes that are no digit.")

# %% [markdown]
# ### New digits or copies?
#
# For every sample (eight are shown) we find the nearest training image. We do the same for real *test* digits, to compare.
# (The cell does this only if the data set here is the one that the checkpoint was trained on.)

# %%
if images.sha256 == about["dataset_sha256"]:
    rms, nearest = metrics.nearest_images(np.clip(digits, -1, 1), images.x_train)
    yardstick, _ = metrics.nearest_images(images.x_test[: len(digits)], images.x_train)
    for who, found in (("drawn", rms), ("real test digits", yardstick)):
        print(f"distance to the nearest training image, {who}: "
              f"median {np.median(found):.2f}, smallest {found.min():.2f}")
    title = "Drawn digits, and the nearest training images with their distance"
    rows = [list(digits[:8]), list(images.x_train[nearest[:8]])]
    heads = [f"{d:.2f}" for d in rms[:8]]
    plots.show(plots.image_table(rows, ["drawn", "nearest"], heads, title, scale=1.2),
               "Eight drawn digits, each above its nearest training image: "
               "some are similar, others do not look like a digit.")
else:
    print(f"this machine has {name}, the checkpoint was trained on {about['dataset']}: no comparison")

# %% [markdown]
# A copy has a distance near 0. So look at the *smallest* distance, too: a median would not show a few copies among many new
# digits. If even the smallest is larger than that of real test digits, none of these samples is a copy. But if the median
# is also much larger, the drawn digits are less similar to real digits: this small network does not draw perfectly.
#
# ## 5.5 Watch it happen
#
# We look at two things during sampling: the noisy state $x_t$, and the guess $\hat x_0$ that the network makes from it.
#
# **Predict before you run:** at t = 500, half way, is $\hat x_0$ already a digit? And can you see one in $x_t$?

# %%
start = np.random.default_rng(SEED).standard_normal((6, *shape), dtype="float32")
states = [(t, np.asarray(xt), np.asarray(x0))
          for t, xt, x0 in sampling.trajectory(classic, start, seed=SEED)]
times = [t for t, _, _ in states]
wanted = [999, 799, 599, 499, 399, 299, 99, -1]
chosen = [min(range(len(states)), key=lambda i: abs(times[i] - t)) for t in wanted]
heads = [f"t={times[i]}" if times[i] >= 0 else "done" for i in chosen]

# %%
rows, labels = [], []
for image in range(2):
    rows += [[states[i][1][image] for i in chosen], [states[i][2][image] for i in chosen]]
    labels += [f"$x_t$ ({image + 1})", rf"$\hat x_0$ ({image + 1})"]
plots.show(plots.image_table(rows, labels, heads, "The reverse process: noisy state and guess", scale=1.3),
           "Film strip of two samples. The state x_t looks like noise until about t = 300. "
           "The guess is nearly all white at t = 999, and then a blot. The shape appears between "
           "700 and 300. After that it only becomes sharper.")

# %% [markdown]
# Half way the guess is a blurred form that may still become another digit. In $x_t$ itself you can see hardly anything.

# %%
frames = [np.concatenate([xt, x0]) for _, xt, x0 in states[::2]]
titles = [f"t = {t}: state above, guess below" if t >= 0 else "done" for t in times[::2]]
plots.show_animation(frames + [frames[-1]] * 4, titles + [titles[-1]] * 4, columns=6,
                     alt="Animation: six noisy states above and the six guesses below; "
                         "noise and blots turn into digits.")

# %%
guesses = [np.clip(x0, -1, 1) for _, _, x0 in states]
change = [np.sqrt(np.mean((new - old) ** 2)) for old, new in zip(guesses[:-1], guesses[1:])]
figure, ax = plots.axes(r"When is the picture decided? Change of the guess $\hat x_0$ in 25 steps",
                        "t", "root mean square change", size=(8, 4))
ax.plot(times[:-1], change, "o-", markersize=3)
ax.invert_xaxis()
plots.show(figure, "The change of the guess over t, from 999 on the left to 0 on the right: "
           "large in the first half, small at the end.")
outside = np.mean(np.abs(states[0][2]) > 1)
print(f"the first guess, at t = 999: {outside:.0%} of its pixels outside ±1; "
      f"1/√ᾱ is {1 / np.sqrt(schedule.alpha_bars[-1]):.0f} there")

# %% [markdown]
# The peak at the left belongs to the first guesses. There the error of the predicted noise is divided by
# $\sqrt{\bar\alpha_t}$: a small error becomes more than a hundred times larger (last line), and most pixels leave the range
# of an image. This lab does not change them; many programs clip $\hat x_0$ to [−1, 1] in every step. On the plateau after the
# peak the shape is decided, a little in each step. Then the changes become small. [Lesson 6](06_discussion.ipynb)
# splits them by spatial frequency.

# %% [markdown]
# ---
# **A natural place for a pause.** You have derived the step, tested it, and drawn digits. The second half (about 60 minutes)
# asks how few calls are enough, how good the digits are, and how to ask for a certain digit.
#
# ---

# %% [markdown]
# ## 5.6 Fewer calls
#
# A thousand calls of the network for one picture are many. (Papers count them as NFE, number of function evaluations.) All
# samplers of labutils share one loop: compute $\hat x_0$ with the network, then set
# $x \leftarrow a\,x + b\,\hat x_0 + c\,\hat x_0^{\,\text{before}} + \sigma z$. Only the numbers a, b, c and σ differ.
#
# | sampler | idea |
# | --- | --- |
# | `ddpm` | section 5.2, over fewer and larger steps |
# | `ddim` | no fresh noise: combines $\hat x_0$ and the same $\varepsilon_\theta$ at the next noise level (Song, Meng, Ermon 2020, [DDIM](https://arxiv.org/abs/2010.02502)) |
# | `dpmpp_2m` | extrapolates $\hat x_0$ linearly in λ = ½ ln SNR from the last two guesses (Lu et al. 2022, [DPM-Solver++](https://arxiv.org/abs/2211.01095)) |
# | `heun` | takes a trial step, calls the network again there, and averages both slopes (Karras et al. 2022, [EDM](https://arxiv.org/abs/2206.00364)): two calls a step |
#
# The steps are evenly spaced. The first call is at t = T − 1, and each call covers the same number of steps, the last call
# too (Lin et al. 2023, [arXiv:2305.08891](https://arxiv.org/abs/2305.08891)).
#
# Here is the whole loop in plain Python (`sampling.plain_sampling` in labutils). One row of coefficients is one call of the network:

# %%
def sample_by_rows(coefficients, x, rng):
    """From noise x to images by the rows of coefficients."""
    before = 0.0
    for t, a, b, c, sigma in coefficients.rows():
        inputs = [tf.constant(x), networks.network_time(np.full(len(x), t), schedule.T)]
        x0 = np.asarray(schedule.predict_x0(x, t, network(inputs)))
        x = a * x + b * x0 + c * before + sigma * rng.standard_normal(x.shape, dtype="float32")
        before = x0
    return x


x = np.random.default_rng(SEED).standard_normal((2, *shape), dtype="float32")
for sampler in ("ddim", "dpmpp_2m", "heun"):
    rows = samplers.SAMPLERS[sampler](schedule, samplers.spaced_steps(schedule.T, 10))
    plain = sample_by_rows(rows, x, np.random.default_rng(SEED))
    *_, (_, compiled, _) = sampling.trajectory(classic, x, sampler=sampler, steps=10)
    gap = np.abs(plain - compiled).max()
    print(f"{sampler:9} {len(rows.t):2} calls; plain loop and compiled loop differ by at most {gap:.0e}")
    assert np.allclose(plain, compiled, rtol=0.01, atol=0.01)

# %% [markdown]
# Now the numbers of three samplers, for the same three steps:

# %%
three = samplers.spaced_steps(schedule.T, 3)
for sampler in ("ddpm", "ddim", "dpmpp_2m"):
    table = samplers.SAMPLERS[sampler](schedule, three)
    for t, a, b, c, sigma in table.rows():
        print(f"{sampler:9} t = {t:3}:  a = {a:5.2f}   b = {b:5.2f}   "
              f"c = {c + 0:5.2f}   σ = {sigma:4.2f}")
    assert table.sigma[-1] == 0 and np.isclose(table.b[-1], 1)  # the last row returns the guess

# %% [markdown]
# How to read them:
#
# - **The last row is the same for all**: a = 0, b = 1, σ = 0. The last guess is the picture.
# - **The first row gives the guess a small weight** (b ≈ 0.1): at t = 999 the guess is very poor. b grows from row to row.
# - **`ddim` keeps the noise that is in x** (a large, σ = 0). **`ddpm` removes most of it and draws new noise** (a small,
#   σ large).
# - **`dpmpp_2m` differs from `ddim` only in the middle row.** There b is larger, and c is negative by the same amount: it
#   extrapolates beyond the new guess, away from the guess before. The first row has no guess before it. The last row returns
#   its guess.
#
# Now we run the four samplers from the same noise, with the same number of calls: 21 steps, or 11 for `heun`.
#
# **Predict before you run:** which of the four will end at (nearly) the same images?

# %%
calls = 21
start = np.random.default_rng(SEED + 1).standard_normal((4, *shape), dtype="float32")
paths = {}
for sampler in samplers.SAMPLERS:
    steps = (calls + 1) // 2 if sampler == "heun" else calls
    states = sampling.trajectory(classic, start, seed=SEED, sampler=sampler, steps=steps, chunk=3)
    paths[sampler] = [(t, np.asarray(x0)) for t, _, x0 in states]

# %%
rows = [[x0[0] for _, x0 in path] for path in paths.values()]
heads = [f"call {3 * i + 1}" for i in range(len(rows[0]) - 1)] + ["done"]
title = "The guess during sampling, from the same noise, 21 calls each"
plots.show(plots.image_table(rows, list(paths), heads, title, scale=1.2),
           "Four rows of guesses, one for each sampler, from blots to strokes; the rows without "
           "fresh noise resemble each other, the row of ddpm is different.")
ends = {sampler: np.clip(path[-1][1], -1, 1) for sampler, path in paths.items()}
for sampler in ("ddpm", "dpmpp_2m", "heun"):
    print(f"mean difference of the finished images, {sampler} against ddim: "
          f"{np.abs(ends[sampler] - ends['ddim']).mean():.3f}")

# %% [markdown]
# The three samplers without fresh noise end at similar images, `ddpm` at a different one. But one image says nothing about
# quality. For that we need many images, and a measure.
#
# ## 5.7 How good are they? Quality as a number
#
# The noise MSE of [lesson 4](04_training.ipynb) says nothing about a sampler: the network is the same. So we measure
# the *images*. Two small networks are the judges. They were not used for drawing. One turns an image into 128 features,
# the other recognises digits.
#
# - **Fréchet distance**: how far apart are the features of drawn and of real images, by mean and covariance? (Heusel et al.
#   2017, [FID](https://arxiv.org/abs/1706.08500). Papers use another network, so you cannot compare our numbers with theirs.)
# - **precision**: share of the drawn images that lie among the real ones; **recall**: share of the real ones that lie among
#   the drawn (Kynkäänniemi et al. 2019, [improved precision and recall](https://arxiv.org/abs/1904.06991)). This precision has
#   nothing to do with the 1/variance of section 5.1.
# - **recognised**: share of the drawn images that the second judge recognises with a confidence of at least 0.9.
#
# Compare every number with the same number for real images. For a distance this value is a *floor*, for a share it is a ceiling. And use
# the same number of images: with the same network, the Fréchet distance falls when more images are taken.
# (`python -m lab evaluate` prints further measures.)
#
# **Predict before you run:** the same network, 20 calls: will `ddpm` (fresh noise) or `dpmpp_2m` (none) draw better?

# %%
most = min(len(images.x_train[classifiers.held_out(images.x_train)[1]]), len(images.x_test))
count = min(settings.measured_images, most)
comparable = images.image_shape == shape and count > 128  # the judges know 28×28×1, by 128 features
if not comparable:
    print(f"the judges know images of shape {shape} and need more than 128 of them: "
          f"nothing measured on {name}")


def measure(drawn, condition=None):
    """Four measures of drawn images, and how many are the digit that was asked for."""
    found = evaluation.evaluate(np.clip(drawn, -1, 1), images, labels=condition, seed=SEED, progress=False,
                                resamples=100 if PRESET != "smoke" else 10)
    wanted = ("frechet", "precision", "recall", "recognised", "as_asked")
    return {key: found[key] for key in wanted if key in found}


# %%
measured = {}
for sampler in ("ddpm", "dpmpp_2m") if comparable else ():
    drawn = sampling.sample(classic, count, sampler=sampler, steps=20, seed=SEED)
    measured[sampler] = measure(drawn)
    print(f"{sampler}, 20 calls, against {name}")
    print(evaluation.table(measured[sampler], count), "\n")

# %%
if comparable:
    for key, one in measured["ddpm"].items():
        other = measured["dpmpp_2m"][key]
        apart = one.high < other.low or other.high < one.low
        print(f"{key:12} ddpm {one.value:7.2f}, dpmpp_2m {other.value:7.2f}: "
              f"the intervals {'lie apart' if apart else 'overlap'}")

# %% [markdown]
# Look at the intervals before you believe a difference, and at the last column before you believe a number. If intervals
# lie apart, the samplers differ. If they overlap, this number of images is not enough to decide. In the saved run only the
# Fréchet distances lie apart: `ddpm` is nearer to real digits.
#
# ## 5.8 Ask for a digit: guidance
#
# The checkpoint `fast_conditional` is a *class-conditional* network: its third input is the label, the digit to draw. It also
# predicts the image $x_0$ instead of ε, and was trained with the cosine schedule of [lesson 6](06_discussion.ipynb).
# [Lesson 7](07_better_and_faster.ipynb) describes it.
#
# In training the label was hidden in one image of ten. So the network can predict with the label and without it. The
# difference is what the label adds. *Classifier-free guidance* adds w times this difference to the prediction with the label
# (Ho & Salimans 2022, [arXiv:2207.12598](https://arxiv.org/abs/2207.12598)):
#
# $$ (1 + w)\,f(x_t, t, \text{label}) - w\,f(x_t, t, \text{no label}) $$
#
# With w = 0 only the prediction with the label is left, and one call a step is enough. With w > 0 each step needs two calls.

# %%
conditional = pretrained.load_diffusion("fast_conditional")
started = time.perf_counter()
fast_digits = sampling.sample(conditional, 40, condition=networks.even_labels(40),
                              sampler="dpmpp_2m", steps=12, seed=SEED)
print(f"40 images, w = {conditional.guidance}, 12 steps = 24 calls each, "
      f"in {time.perf_counter() - started:.1f} s (compiling included)")
title = "Drawn by fast_conditional, the digits 0 to 9 asked for"
plots.show(plots.image_grid(fast_digits, title, columns=10, scale=1),
           "Four rows of ten drawn digits, 0 to 9 in each row, "
           "nearly all easy to read and different in style.")

# %% [markdown]
# ### Try it – turn the weight
# *Not graded · about 10 minutes*
#
# The cell uses the same starting noise and the same labels, with more and more guidance. **Predict before you run:** what
# will a larger w do to the form of the digits, and what to their variety?
#
# Then change the cell: negative labels mean "no label", so what does `asked = np.full(10, -1)` draw? And what does the same
# noise become when you ask for another digit, `asked = networks.even_labels(10)[::-1]`?

# %%
weights = [0.0, 0.5, 2.0, 6.0]
asked = networks.even_labels(10)
swept = []
for w in weights:
    drawn = sampling.sample(conditional.with_guidance(w), len(asked), condition=asked,
                            sampler="dpmpp_2m", steps=12, seed=SEED, progress=False)
    swept.append(list(drawn))
title = "One starting noise a column, more guidance from row to row"
names = [f"w = {w}" for w in weights]
plots.show(plots.image_table(swept, names, list(map(str, asked)), title, scale=1.1),
           "Four rows of the digits 0 to 9 from the same noise, with w = 0, 0.5, 2 and 6.")

# %% [markdown]
# <details><summary>Answers</summary>
#
# More guidance makes the digits clearer and more alike. With `asked = np.full(10, -1)` the network gets no label. Then both
# predictions are the same, guidance adds nothing, and each noise becomes the digit that it suggests by itself. With other
# labels the same noise becomes other digits.
# </details>

# %%
for w in weights[:3] if comparable else ():
    asked = networks.even_labels(count)
    drawn = sampling.sample(conditional.with_guidance(w), count, condition=asked,
                            sampler="dpmpp_2m", steps=12, seed=SEED, progress=False)
    print(f"w = {w}, 12 steps, against {name}")
    print(evaluation.table(measure(drawn, asked), count), "\n")

# %% [markdown]
# Compare three columns of numbers: *as_asked* (is it the digit that was asked for?), *recall* (how much of the variety of real
# digits is there?), and the Fréchet distance, which gets worse with both faults. With more guidance the digits follow the
# label more, but vary less. Which w is best depends on what you want.

# %% [markdown]
# ## 5.9 Quality against calls
#
# The next figures show recorded measurements with many images, several samplers and three checkpoints: the lab's `classic`,
# and `fast` and `fast_conditional`, made for few calls ([lesson 7](07_better_and_faster.ipynb)).
# `python -m benchmarks.quality` repeats the measurement.
#
# **Predict before you run:** does `classic` with a thousand calls draw better or worse than `fast` with ten?

# %%
recorded = results.recorded("quality")


def rows_of(checkpoint, sampler, guidance=None):
    """The recorded rows of one curve, by number of calls."""
    wanted = {"checkpoint": checkpoint, "sampler": sampler, "guidance": guidance}
    rows = [row for row in recorded["rows"] if wanted.items() <= row.items()]
    return sorted(rows, key=lambda row: row["calls"])


def plot_measure(ax, curves, key, ylabel):
    """One curve for each entry of curves, with 95 % intervals, and the value of real digits."""
    for (label, rows), marker in zip(curves.items(), "os^dvP"):
        calls = [row["calls"] for row in rows]
        found = [row["measures"][key] for row in rows]
        value, low, high = np.array([[m["value"], m["low"], m["high"]] for m in found]).T
        line, = ax.plot(calls, value, marker=marker, label=label)
        ax.errorbar(calls, value, [value - low, high - value], fmt="none", capsize=3,
                    color=line.get_color())
    floor = recorded["rows"][0]["measures"][key]["floor"]
    ax.axhline(floor, color="black", linewidth=0.8, linestyle=":")
    ax.annotate("real digits", (0.02, floor), xycoords=("axes fraction", "data"), va="bottom")
    ax.set(xlabel="calls of the network", ylabel=ylabel, xscale="log")
    left, right = ax.get_xlim()
    shown = [calls for calls in (5, 10, 20, 50, 100, 1000) if left <= calls <= right]
    ax.set_xticks(shown, shown)
    ax.minorticks_off()


def plot_quality(curves, title, alt, largest=None):
    """Fréchet distance and share recognised, side by side; largest: end of a linear axis for the distance."""
    curves = {label: rows for label, rows in curves.items() if rows}
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.5))
    plot_measure(left, curves, "frechet", "Fréchet distance (lower is better)")
    if largest is None:
        left.set(yscale="log")
    else:
        left.set(ylim=(0, largest))
        for rows in curves.values():  # a value beyond the axis is written at its edge
            for row in rows:
                if (value := row["measures"]["frechet"]["value"]) > largest:
                    left.annotate(f"{value:.0f} ↑", (row["calls"], 0.97 * largest), ha="center", va="top")
    left.legend()
    plot_measure(right, curves, "recognised", "share of the images")
    right.set(ylim=(0, 1.15))
    left.set_title("Fréchet distance")
    right.set_title("Recognised with a confidence of at least 0.9")
    plots.label_lines(right)
    figure.suptitle(f"{title} ({recorded['images']:,} images each)")
    plots.show(figure, alt)


# %%
if recorded:
    curves = {"classic, ddpm": rows_of("classic", "ddpm"),
              "fast, dpmpp_2m": rows_of("fast", "dpmpp_2m")}
    for w in (0.0, 0.5, 1.0):
        curves[f"fast_conditional, w = {w}"] = rows_of("fast_conditional", "dpmpp_2m", w)
    plot_quality(curves, "Three checkpoints",
                 "Left: Fréchet distance against the number of calls, one curve a checkpoint, real "
                 "digits as a dotted line; classic lies highest, fast lower, fast_conditional lowest. "
                 "Right: share recognised, in the reverse order.")

# %% [markdown]
# The network matters more than the number of calls: `classic` stays far from real digits, even with a thousand calls. `fast`
# is nearer with ten. `fast_conditional` has the advantage of the label. It makes one call a step with w = 0, and two with
# w = 0.5 and 1.
#
# The next figure keeps the network, `classic`, and changes the sampler.
#
# **Predict before you run:** `heun` calls the network twice a step. At the *same number of calls*, is it the best?

# %%
if recorded:
    curves = {sampler: [row for row in rows_of("classic", sampler) if row["calls"] <= 50]
              for sampler in samplers.SAMPLERS}
    plot_quality(curves, "classic, four samplers",
                 "Left: Fréchet distance of classic against the number of calls, one curve a sampler. "
                 "heun with few calls lies far beyond the axis. Right: share recognised for the same rows.",
                 largest=300)


# %% tags=["nbval-check-output"]
def show_rows(rows):
    """Recorded rows as a table."""
    lines = []
    for row in rows:
        values = {key: f"{m['value']:.3f}" for key, m in row["measures"].items()}
        frechet = "{value:.1f} ({low:.1f}–{high:.1f})".format(**row["measures"]["frechet"])
        w = "" if row["guidance"] is None else row["guidance"]
        lines.append([f"{row['checkpoint']}, {row['sampler']}", w, row["steps"], row["calls"], frechet,
                      values["recall"], values["recognised"], values.get("as_asked", "")])
    plots.show_table(["checkpoint, sampler", "w", "steps", "calls", "Fréchet (95 %)", "recall", "recognised",
                      "as asked"], lines)


if recorded:
    for key in ("frechet", "recall", "recognised"):
        print(f"real digits, {key}: {recorded['rows'][0]['measures'][key]['floor']:.3f}")
    show_rows(sorted(recorded["rows"], key=lambda row: (row["checkpoint"], row["guidance"] or 0,
                                                        row["sampler"], row["calls"])))

# %% [markdown]
# Two more things to see in this table.
#
# - **The price of guidance.** Compare the rows of `fast_conditional` with w = 0, 0.5 and 1 at 20 to 24 calls: the share that is
#   recognised, the recall, and the distance.
# - **`heun` can fail.** Its correction is $\tfrac12$ of the difference of two guesses, times a factor that grows with the ratio of two
#   neighbouring noise levels $\sqrt{(1-\bar\alpha)/\bar\alpha}$. The next cell prints these factors for five steps.

# %%
for schedule_name, s in (("linear (classic)", schedule), ("cosine (fast)", cosine_schedule())):
    steps = samplers.spaced_steps(s.T, 5)
    factors = samplers.heun(s, steps).b[1::2]
    levels = np.sqrt(1 / s.snr[steps])
    print(f"{schedule_name:17} noise levels", ", ".join(f"{level:,.1f}" for level in levels))
    print(f"{'':17} factors of the corrections", ", ".join(f"{factor:,.2f}" for factor in factors))

# %% [markdown]
# With the cosine schedule the noise level falls from about 20,000 to about 3 in the first step, and the first correction is
# multiplied by about a thousand: a small difference of two guesses becomes larger than the picture. (Karras et al. choose the
# steps by the noise level instead.)
#
# With the linear schedule all factors are below 1, and yet `heun` with few steps fails on `classic`, too. Here the cause is
# the guess itself: at t = 999 it is far outside the range of an image (section 5.5). The correction puts a part of it into x.
#
# **Predict before you run:** what changes if every guess is clipped to [−1, 1] before it is used?

# %%
def clipped(x0, t):
    """The guess, cut to the range of an image."""
    return tf.clip_by_value(x0, -1.0, 1.0)


for constrain in (None, clipped) if comparable else ():
    drawn = sampling.sample(classic, count, sampler="heun", steps=5, constrain=constrain,
                            seed=SEED, progress=False)
    frechet = measure(drawn)["frechet"]
    print(f"classic, heun, 5 steps, {'clipped' if constrain else 'not clipped':11} guess: Fréchet "
          f"distance {frechet.value:.0f} ({frechet.low:.0f}–{frechet.high:.0f})")

# %% [markdown]
# In the saved run clipping reduces the distance by more than half.
#
# Look at the shares of such rows, too: the judge may *recognise* images that are far from all real ones. A network is often
# confident about images that are not digits. **Never trust one number.**

# %% [markdown]
# ### What does a call cost?
#
# One call of a network takes the same time with every sampler. So the seconds depend on the number of calls and on the size
# of the network.
#
# **Predict before you run:** how many images a second will `fast_conditional` draw with 24 calls, and `classic` with 1000?

# %%
def images_a_second(checkpoint, sampler, steps):
    """(calls, images a second), timed on the second of two runs: the first one compiles."""
    diffusion = pretrained.load_diffusion(checkpoint, fused=checkpoint == "classic")
    compiled = sampling.Sampler(diffusion, sampler=sampler, steps=steps)
    count = 64 if PRESET != "smoke" else 8
    start = np.random.default_rng(SEED).standard_normal((count, *compiled.shape), dtype="float32")
    asked = networks.even_labels(count) if diffusion.is_conditional else None
    for _ in range(2):
        started = time.perf_counter()
        list(compiled.run(start, condition=asked, x0=False))
        seconds = time.perf_counter() - started
    return len(compiled.t) * (2 if diffusion.guidance else 1), count / seconds


# %%
print(f"{'checkpoint':17}{'sampler':10}{'calls':>6}{'images/s':>10}")
runs = [("classic", "ddpm", 21), ("classic", "heun", 11), ("classic", "ddpm", 100),
        ("fast", "dpmpp_2m", 10), ("fast_conditional", "dpmpp_2m", 12)]
for checkpoint, sampler, steps in runs:
    calls, rate = images_a_second(checkpoint, sampler, steps)
    print(f"{checkpoint:17}{sampler:10}{calls:6}{rate:10.1f}")
print(f"{'classic':17}{'ddpm':10}{schedule.T:6}{1 / classic_seconds:10.1f}   (section 5.4)")
print(f"fast_conditional with {calls} calls draws {rate * classic_seconds:.0f} times as many images "
      f"a second as classic with {schedule.T}")

# %% [markdown]
# ## 5.10 From one drawing to another
#
# Without fresh noise, each starting noise always gives the same image. So we can interpolate *between* two starting noises. We
# go along a circle: $x(u) = \cos(\tfrac{\pi}{2} u)\, x_A + \sin(\tfrac{\pi}{2} u)\, x_B$. The points of a straight line
# would have too small a variance. We use `fast`. Its only input beside the image is t.

# %%
fast = pretrained.load_diffusion("fast")
turn = np.linspace(0, np.pi / 2, 8, dtype="float32").reshape(-1, 1, 1, 1)
pairs = np.random.default_rng(SEED + 2).standard_normal((3, 2, *shape), dtype="float32")
between = np.concatenate([np.cos(turn) * a + np.sin(turn) * b for a, b in pairs])
spread, straight = between.std(axis=(1, 2, 3)), [((a + b) / 2).std() for a, b in pairs]
print(f"standard deviation on the circle: {spread.min():.2f} to {spread.max():.2f}; "
      f"half way on a straight line: {min(straight):.2f} to {max(straight):.2f}")

# %%
*_, (_, drawn, _) = sampling.trajectory(fast, between, sampler="ddim", steps=50, x0=False)
rows = [list(row) for row in np.asarray(drawn).reshape(3, 8, *shape)]
heads = [f"{u:.0%}" for u in np.linspace(0, 1, 8)]
title = "Starting noises between two, drawn by ddim"
plots.show(plots.image_table(rows, ["A to B", "C to D", "E to F"], heads, title, scale=1.2),
           "Three rows; in each, eight drawings that change shape step by step "
           "from the first to the last.")

# %% [markdown]
# ## Remember
# - The posterior $q(x_{t-1}\mid x_t, x_0)$ is a Gaussian; its variance is β̃, and its mean can be written with $x_0$ or with ε.
# - $x_{t-1} = \sqrt{1/\alpha_t}\,\big(x_t - \tfrac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\varepsilon_\theta\big) + \sqrt{\tilde\beta_t}\,z$, and no noise
#   at t = 0.
# - Test a sampler with an exact predictor first: then a bad picture means a bad network.
# - The perfect predictor of a finite data set copies it. A trained network draws new digits because it cannot memorise it.
# - Samplers differ only in a table of numbers. How many calls are needed depends on the network as much as on the sampler.
# - A quality number means something only beside the value of real images, its interval and the number of images.
# - Guidance exaggerates what the label adds: the digits follow the label more, and vary less.
