# %% [markdown]
# # 2 · Forward noising: from a digit to pure noise
#
# A diffusion model learns to reverse a process that destroys images. So we first need this *forward process*. It turns
# any image into pure noise in T = 1000 steps. No network is trained in this lesson: every line is a formula. At the end you
# find out why there are so many steps: a small step can be reversed with a simple distribution.
#
# **You will be able to**
# - load images and scale them for a network;
# - explain T, β, α and ᾱ, and compute each from the one before;
# - find the formula that jumps from the clean image to any step, and show that it equals walking step by step;
# - say how noisy step t is (SNR), and what goes wrong when someone shortens T carelessly;
# - compute the distribution of a reverse step, and say when one Gaussian can replace it.
#
# **Time:** about 70 minutes with the exercises.
#
# Source: Ho, Jain, Abbeel 2020, [Denoising Diffusion Probabilistic Models](https://arxiv.org/abs/2006.11239) (DDPM),
# section 2.

# %% [markdown] tags=["badges"]
# [Text source of this lesson](source/02_forward_noising.py) · no account or GPU needed

# %% tags=["parameters"]
# PRESET: "quick" (the default), "full" (more images), or "smoke" (a test).
# DATASET: "auto" is MNIST, or scikit-learn's digits without it;
# also "cifar10", "fashion_mnist", or a file.
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

from labutils import checks, data, diagrams, plots, presets, sampling
from labutils.diffusion import Diffusion
from labutils.schedule import NoiseSchedule, linear_schedule
from labutils.toys import inversion, reverse_steps
from labutils.toys.reverse_steps import gaussian

settings = presets.get(PRESET, SEED)
plots.use_lab_style()
print(f"preset {settings.name}: {settings.test_images} images for the statistics")

# %% [markdown]
# This lesson is about one box of the whole, the one in colour:

# %%
diagrams.show_pipeline(2)

# %% [markdown]
# ## 2.1 The images
#
# Pixels are whole numbers 0 … 255. We change the array in two ways. No pixel is moved or removed (so this is *scaling*,
# not resizing):
#
# - **Scale to [-1, 1]:** pixel / 127.5 − 1. There are two reasons. *The noise:* it has mean 0 and variance 1. Pixels in
#   [-1, 1] have a similar size, so the noise covers them at a similar rate. Pixels in 0 … 255 would hardly change.
#   *The training:* the starting weights of a network and the usual learning rates are chosen for inputs and targets of
#   about size 1. Inputs of size 100 make outputs and gradients far too large.
# - **Add a channel axis:** a convolution expects (batch, height, width, channels). A grey image has one channel, a colour
#   image three.
#
# `first_pixels` holds 16 images as they stand in the file. The next cell scales them itself. `x_train` and `x_test` hold
# all images, scaled in the same way.

# %%
images = data.load(DATASET)
pixels = images.first_pixels
x = pixels.astype("float32") / 127.5 - 1
if x.ndim == 3:  # grey images: (batch, height, width)
    x = x[..., np.newaxis]

print(f"{images.name}: {len(images.x_train):,} training images")
print(f"in the file: {pixels.dtype}, shape {pixels.shape}, values {pixels.min()} … {pixels.max()}")
print(f"scaled:      {x.dtype}, shape {x.shape}, values {x.min():.0f} … {x.max():.0f}")
assert np.array_equal(x, images.x_train[:16])

# %%
name = images.note or images.name  # what the figures call the data
plots.show(plots.image_grid(images.x_train[:16], f"Training images: {name}"),
           f"Sixteen images of the data set {name}.")

# %% [markdown]
# ## 2.2 One small step
#
# Step t keeps most of the image and adds a little noise of variance $\beta_t$:
#
# $$ x_t = \sqrt{1-\beta_t}\; x_{t-1} + \sqrt{\beta_t}\; z_t, \qquad z_t \sim \mathcal N(0, I) $$
#
# Why $\sqrt{1-\beta_t}$? It keeps the variance constant: if $x_{t-1}$ has variance 1, then $x_t$ has variance
# $(1-\beta_t) + \beta_t = 1$.
#
# **How steps are counted.** In the whole lab t runs from 0 to T − 1, as an index in Python does. The paper counts from 1:
#
# | what it is | paper's t | our t |
# | --- | --- | --- |
# | the clean image | 0 | none: we always write $x_0$ |
# | the result of the first step | 1 | 0 |
# | the result of the second step | 2 | 1 |
# | the result of the middle step | 500 | 499 |
# | the result of the last step, nearly pure noise | T = 1000 | T − 1 = 999 |
#
# The clean image is called $x_0$, as in the paper. Our steps start at t = 0, so the result of the first step would be
# $x_0$, too. To avoid this we call it "the result of step 0". A formula with $x_{t-1}$ means the clean image when t = 0.
#
# | name | code | meaning |
# | --- | --- | --- |
# | $T$ | `T` | number of steps, 1000 |
# | $\beta_{start}, \beta_{end}$ | `beta_start`, `beta_end` | first and last $\beta$: 0.0001 and 0.02 |
# | $\beta_t$ | `betas` | variance of the noise that step t adds; grows linearly with t |
# | $\alpha_t = 1 - \beta_t$ | `alphas` | proportion of the variance that step t keeps |
# | $\bar\alpha_t = \alpha_0 \alpha_1 \cdots \alpha_t$ | `schedule.alpha_bars` | proportion of the image's variance that is left after step t |

# %%
T, beta_start, beta_end = 1000, 1e-4, 0.02
betas = np.linspace(beta_start, beta_end, T)
alphas = 1.0 - betas
assert betas.shape == (T,) and np.all(np.diff(betas) > 0)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2))
left.plot(betas)
left.set(title="β: variance of the noise added by step t", xlabel="t", ylabel=r"$\beta_t$")
right.plot(alphas)
right.set(title="α = 1 − β: proportion of the variance kept by step t", xlabel="t", ylabel=r"$\alpha_t$",
          ylim=(0.9, 1.005))
plots.show(figure, "Left: β rises in a straight line from 0.0001 to 0.02. Right: α falls in a "
           "straight line from 0.9999 to 0.98: every single step keeps nearly everything.")

# %% [markdown]
# Why these numbers?
#
# - **T = 1000: small steps, but not for free.** A reverse step draws from one Gaussian. Section 2.9 measures that this is
#   nearly right if the step is small. With more steps, each step is smaller. But each reverse step is one call of the
#   network, so T also sets the cost of an image. [Lesson 5](05_sampling.ipynb) shows how to skip steps.
# - **$\beta_{start}$ is tiny.** The first step hides the finest detail, and the last reverse step must restore it. Its
#   noise has standard deviation $\sqrt{0.0001} = 0.01$, about one grey level of 255 (one level is 0.008).
# - **$\beta_{end}$ is two hundred times larger.** Near the end $x_t$ is almost pure noise. More noise changes it little, so
#   these steps may be larger. And ᾱ must reach almost 0, because sampling starts from pure noise.
# - **β grows linearly** between the two. This is the DDPM paper's choice. It is not the only one:
#   [lesson 6](06_discussion.ipynb) compares it with a cosine.

# %% [markdown]
# ## 2.3 Many small steps
#
# Each step keeps at least 98 % of the *image's* variance. **Predict before you run:** what proportion of it is left after
# all 1000 steps: about 90 %, about 10 %, or less than 0.1 %?

# %%
prediction = "…"  # write your guess between the quotes

# %% [markdown]
# ### Exercise 2.1 – ᾱ
# *1 point · code · difficulty ●○○○ · about 5 minutes*
#
# Write `alpha_bars(betas)`, which returns $\bar\alpha_t = \prod_{s=0}^{t} (1-\beta_s)$ for every t, an array as long as
# `betas`.
#
# <details><summary>Hint: is there a way without a loop?</summary>
#
# NumPy has a *cumulative* sum. What else is cumulative in NumPy?
# </details>
#
# <details><summary>Help: "you returned α_t where ᾱ_t is needed"</summary>
#
# $\alpha_t$ is what one step keeps. $\bar\alpha_t$ is what all steps up to t together keep.
# </details>
#
# <details><summary>Help: "ᾱ is shifted by one"</summary>
#
# The first value is $\bar\alpha_0 = \alpha_0$, which is not 1: the step t = 0 already adds noise.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-2-1-alpha-bars", "grade": false, "solution": true, "locked": false, "task": false}
def alpha_bars(betas):
    """ᾱ_t, the proportion of the image's variance that is left after step t; shape (T,)."""
    ### BEGIN SOLUTION
    return np.cumprod(1.0 - betas)
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-2-1-alpha-bars", "grade": true, "solution": false, "locked": true, "points": 1, "task": false}
checks.check_alpha_bars(alpha_bars)

# %% [markdown]
# The next figure uses your function. (If you have not solved the exercise yet, it uses the lab's own.)

# %%
bars = np.asarray(checks.check_alpha_bars.answer_or(lambda betas: NoiseSchedule(betas).alpha_bars)(betas))
half = int(np.argmax(bars < 0.5))
plots.show_prediction(prediction, f"{bars[-1]:.4%} is left after the last step; less than one half from t = {half} on")
assert np.isclose(bars[-1], 4.04e-5, rtol=1e-2)

figure, ax = plots.axes(r"$\bar\alpha$: how much of the image is left at step t", "t",
                        "proportion of the variance")
ax.plot(bars, label=r"$\bar\alpha_t$: image")
ax.plot(1 - bars, "--", label=r"$1 - \bar\alpha_t$: noise")
ax.legend()
plots.show(figure, f"ᾱ falls in an S shape from 1 to almost 0 and is below one half from t = {half} on; "
           "1 − ᾱ rises as its mirror.")

# %% [markdown]
# Less than 0.1 %: the last value is about 4 in 100,000. Each step keeps at least 98 %, but a thousand steps together keep
# almost nothing.
#
# labutils holds all these tables in one object.

# %%
schedule = linear_schedule(T, beta_start, beta_end)
print(schedule)
assert np.allclose(schedule.alpha_bars, bars)

# %% [markdown]
# ## 2.4 The jump: any step in one formula
#
# Training needs $x_t$ for random t, millions of times. A walk of up to a thousand steps would be too slow. But each step
# multiplies by a number and adds Gaussian noise. A sum of independent Gaussians is again a Gaussian. So the whole walk up
# to t must have the form
#
# $$ x_t = a\,x_0 + b\,\varepsilon, \qquad \varepsilon \sim \mathcal N(0, I) $$
#
# with two numbers a and b. (ε replaces all the $z_t$: it is their weighted sum, scaled to variance 1.)

# %% [markdown]
# ### Exercise 2.2 – `add_noise`
# *3 points · code · difficulty ●●○○ · about 10 minutes*
#
# Two conditions tell you a and b:
#
# 1. *The image:* each step multiplies what is left of the image by $\sqrt{1-\beta_t}$ (section 2.2).
# 2. *The noise:* if the pixels of $x_0$ have variance 1, the values of $x_t$ have variance 1, too, at every t.
#
# First write a and b on paper, with $\bar\alpha_t$. Then write `add_noise(x0, t, noise, alpha_bars)`: the jump, for a
# whole batch. `x0` and `noise` have shape (B, H, W, C). `t` is an integer array of shape (B,), because every image has its
# own step. The argument `alpha_bars` is a table of shape (T,), not your function of exercise 2.1.
#
# <details><summary>Hint: what are a and b after the first two steps?</summary>
#
# The image is multiplied by one root, then by another. What is the product of two roots? For b: image and noise are
# independent, so their variances add. What is the variance of $a\,x_0$ if $x_0$ has variance 1? How much is missing to 1?
# </details>
#
# <details><summary>Help: "the result has shape (50, 4, 4, 50)"</summary>
#
# `alpha_bars[t]` has shape (B,), one number for each image. To multiply images of shape (B, H, W, C) it needs three more
# axes: `.reshape(-1, 1, 1, 1)`.
# </details>
#
# <details><summary>Help: "the square roots are missing"</summary>
#
# $\bar\alpha_t$ is a proportion of the *variance*. To change a variance by a factor, multiply the values by its root.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-2-2-add-noise", "grade": false, "solution": true, "locked": false, "task": false}
def add_noise(x0, t, noise, alpha_bars):
    """x_t for clean images x0 (B, H, W, C), steps t (B,), noise like x0, and the table ᾱ (T,)."""
    ### BEGIN SOLUTION
    alpha_bar = alpha_bars[t].reshape(-1, 1, 1, 1)
    return np.sqrt(alpha_bar) * x0 + np.sqrt(1.0 - alpha_bar) * noise
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-2-2-add-noise", "grade": true, "solution": false, "locked": true, "points": 3, "task": false}
checks.check_add_noise(add_noise)

# %% [markdown]
# The result is the most used formula of the lab (DDPM eq. 4):
#
# $$ x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1-\bar\alpha_t}\;\varepsilon, \quad\text{or}\quad
#    q(x_t \mid x_0) = \mathcal N\big(\sqrt{\bar\alpha_t}\,x_0,\; (1-\bar\alpha_t) I\big) $$
#
# Two steps show it without condition 2. The first gives $x' = \sqrt{\alpha_0}\,x_0 + \sqrt{\beta_0}\,z_0$, the second
# $x_1 = \sqrt{\alpha_1}\,x' + \sqrt{\beta_1}\,z_1$. The image is multiplied by $\sqrt{\alpha_1\alpha_0}$. The noise has
# variance $\alpha_1\beta_0 + \beta_1 = \alpha_1(1-\alpha_0) + 1 - \alpha_1 = 1 - \alpha_1\alpha_0$. And so on for every step.
#
# The next cells draw with your function. **Predict before you run:** at which of the steps 0, 100, 200, 300, 400, 500,
# 600, 700, 999 can you no longer name the digit?

# %%
prediction = "…"  # write your guess between the quotes

# %%
rng = np.random.default_rng(SEED)
own = checks.check_add_noise.answer_or(None)  # your function, if it passed


def noisy(x0, t, noise=None, schedule=schedule):
    """x_t for images (B, H, W, C): one step t for all, or one for each (B,)."""
    t = np.broadcast_to(t, len(x0))
    noise = rng.standard_normal(x0.shape, dtype=np.float32) if noise is None else noise
    if own is None:
        return np.asarray(schedule.add_noise(x0, t, noise))
    return np.asarray(own(x0, t, noise, schedule.alpha_bars.astype(np.float32)))


steps = [0, 100, 200, 300, 400, 500, 600, 700, 999]
examples = images.x_test[:4]
rows = [[noisy(image[None], t)[0] for t in steps] for image in examples]
plots.show(plots.image_table(rows, [f"image {i + 1}" for i in range(4)], [f"t = {t}" for t in steps],
                             f"Forward noising ({name})"),
           "Four images at nine steps: clear at t = 0, grainy at 100 to 200, hard to make out at "
           "about 400 to 500, and lost by 700.")
left_over = ", ".join(f"{schedule.alpha_bars[t]:.1%} at t = {t}" for t in (300, 500, 700))
plots.show_prediction(prediction, f"of the image's variance is left: {left_over}")

# %% [markdown]
# In these pictures the digit becomes unreadable somewhere between t = 300 and t = 500. At t = 700 nothing is left to see:
# only 0.7 % of the image's variance is left.
#
# A picture can only show values from -1 to 1. Values outside are drawn as black or white. (The noise goes to about ±4, so
# pure noise looks more black and white than it is.)
#
# Now one image with one fixed noise, step by step. Move the slider (or press the arrow keys when it is selected).
# If you see no slider, run the cell. (JupyterLab hides it in a notebook that it does not trust yet.)

# %%
ts = np.append(np.arange(0, T, 10), T - 1)  # every tenth step, and the last
one_image = np.repeat(examples[:1], len(ts), axis=0)
noise = rng.standard_normal(examples[:1].shape, dtype=np.float32)
shown = noisy(one_image, ts, np.repeat(noise, len(ts), axis=0))
labels = [f"t = {t}\nᾱ = {schedule.alpha_bars[t]:.4g}" for t in ts]
plots.show_slider(shown, labels, [0, 10, 20, 30, 45, 60, 100],
                  f"One image under the same noise ({name})",
                  "One image at t = 0, 100, 200, 300, 450, 600 and 999: it fades under the noise.")

# %% [markdown]
# ## 2.5 Is one jump equal to many single steps?
#
# For one image, the jump and the single steps (the *walk*) give different pixels, since they use different noise. They should
# agree *in distribution*: the same mean and the same variance. We take one pixel value and walk 20,000 copies of it through
# 1000 single steps. On the way we compare mean and variance with the formula.
#
# **Predict before you run:** will the dots of the walk lie exactly on the curves of the jump? If not, how far off may they
# be with 20,000 copies?

# %%
prediction = "…"  # write your guess between the quotes

# %%
walkers = np.full(20_000, 0.8)  # 20,000 copies of a bright pixel
walk, kept = {}, {}
for t in range(T):
    walkers = np.sqrt(alphas[t]) * walkers + np.sqrt(betas[t]) * rng.standard_normal(walkers.shape)
    if t % 50 == 0 or t == T - 1:
        walk[t] = (walkers.mean(), walkers.var())
    if t in (50, 200, T - 1):
        kept[t] = walkers

ts = np.array(list(walk))
walked_mean, walked_variance = np.array(list(walk.values())).T

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4))
left.plot(np.sqrt(schedule.alpha_bars) * 0.8, label=r"jump: $\sqrt{\bar\alpha_t}\, x_0$")
left.plot(ts, walked_mean, "o", markersize=4, label="walk: mean of 20,000")
left.set(title="Mean of a pixel that started at 0.8", xlabel="t", ylabel="mean")
right.plot(1 - schedule.alpha_bars, label=r"jump: $1 - \bar\alpha_t$")
right.plot(ts, walked_variance, "o", markersize=4, label="walk: variance of 20,000")
right.set(title="Variance of the same pixel", xlabel="t", ylabel="variance")
for ax in (left, right):
    ax.legend()
plots.show(figure, "Mean and variance of the walk, as dots, lie on the curves of the closed "
           "formula at every 50th step.")

# %% [markdown]
# They seem to lie on the curves. But 20,000 copies are not infinitely many: a mean of n values has a scatter (standard error)
# of $\sqrt{\text{variance}/n}$. The variance of n values has a scatter of about $\text{variance}\cdot\sqrt{2/n}$.
# How far off are the dots, in these units?

# %%
n = len(walkers)
variance = 1 - schedule.alpha_bars[ts]
off_mean = np.abs(walked_mean - np.sqrt(schedule.alpha_bars[ts]) * 0.8)
off_variance = np.abs(walked_variance - variance)
found = []
for what, off, scatter in (("mean", off_mean, np.sqrt(variance / n)),
                           ("variance", off_variance, variance * np.sqrt(2 / n))):
    found.append(f"{what} off by at most {off.max():.4f} = {np.max(off / scatter):.1f} scatters")
    assert np.all(off < 5 * scatter)
plots.show_prediction(prediction, "; ".join(found))

# %% [markdown]
# The dots do not lie exactly on the curves. But with 21 dots, a distance of up to about three times the scatter can be
# chance. A formula with $\alpha_t$ in place of $\bar\alpha_t$ would be off by far more. Mean and variance agree, and so does
# the whole distribution:

# %%
figure, axes = plt.subplots(1, 3, figsize=(10, 2.8), sharey=True)
grid = np.linspace(-4, 4, 400)
for ax, (t, walkers) in zip(axes, kept.items()):
    ax.hist(walkers, bins=80, range=(-4, 4), density=True, color=plots.COLOURS["sky"], label="walk")
    bar = schedule.alpha_bars[t]
    ax.plot(grid, gaussian(grid, np.sqrt(bar) * 0.8, 1 - bar), color="black", label="jump")
    ax.set(title=f"t = {t}", xlabel="value of the pixel", ylabel="density")
axes[0].legend()
plots.show(figure, "Histograms of the walk at t = 50, 200 and 999 under the Gaussian curve of the "
           "formula: they coincide, narrow near 0.8 at first, wide around 0 at the end.")

# %% [markdown]
# ## 2.6 SNR: what a schedule really sets
#
# The *signal-to-noise ratio* compares the two parts of $x_t$: $\mathrm{SNR}_t = \bar\alpha_t / (1-\bar\alpha_t)$. The
# signal is the image. At SNR = 1 image and noise are equally strong (for an image of variance 1). The curve says how much
# noise the network meets at which t, for any choice of β.
#
# **Predict before you run:** does SNR reach 1 before the middle, in the middle or after the middle of the 1000 steps?

# %%
prediction = "…"  # write your guess between the quotes

# %%
equal = int(np.argmax(schedule.snr < 1))  # the first t with more noise than image
assert equal == half  # SNR < 1 and ᾱ < 1/2 say the same
figure, ax = plots.axes("Signal-to-noise ratio of the linear schedule", "t", "SNR (logarithmic)")
ax.semilogy(schedule.snr)
ax.axhline(1, color="black", linewidth=0.8, linestyle="--", label="SNR = 1: equally strong")
ax.axvline(equal, color=plots.COLOURS["red"], label=f"below 1 from t = {equal} on")
ax.legend()
plots.show(figure, "SNR on a logarithmic axis falls from ten thousand at t = 0 to below one "
           f"ten-thousandth; it is below 1 from t = {equal} on.")
plots.show_prediction(prediction, f"SNR falls from {schedule.snr[0]:.0f} to {schedule.snr[-1]:.1e}; "
                      f"it is below 1 from t = {equal} on")

# %% [markdown]
# SNR reaches 1 well before the middle. In about a quarter of the steps the image is stronger than the noise. In three
# quarters the noise is stronger.
#
# Next, a check with real images: mean and variance of $x_t$ over a data set. The images' own variance is below 1, so the
# variance of $x_t$ is not 1 at small t.

# %%
x0 = images.x_test[: settings.test_images]
table = []
for t in (0, 250, 500, 999):
    xt = noisy(x0, t)
    mean = np.sqrt(schedule.alpha_bars[t]) * x0.mean()
    var = schedule.alpha_bars[t] * x0.var() + 1 - schedule.alpha_bars[t]
    table.append([f"{t}", *(f"{value:.3f}" for value in (xt.mean(), mean, xt.var(), var))])
    assert max(abs(xt.mean() - mean), abs(xt.var() - var)) < 0.02 + 5 / x0.size**0.5  # the second part: chance
plots.show_table(["t", "measured mean", "by the formula", "measured variance", "by the formula"], table)

# %% [markdown]
# ## 2.7 What goes wrong when T shrinks and β does not grow
#
# Someone wants a faster program and sets T = 100, but leaves $\beta$ between 0.0001 and 0.02.
#
# **Predict before you run:** how much of the image's variance is left at the last step?

# %%
prediction = "…"  # write your guess between the quotes

# %%
careless = linear_schedule(100, 1e-4, 0.02)
rescaled = linear_schedule(100, 1e-3, 0.2)  # ten times fewer steps, ten times more noise in each
schedules = {"T = 1000": schedule, "T = 100, careless": careless, "T = 100, rescaled": rescaled}
looks = dict(zip(schedules, (("blue", "-"), ("red", "--"), ("black", ":"))))

figure, ax = plots.axes("Ten times fewer steps", "t / T", "proportion of the image's variance left")
for label, s in schedules.items():
    colour, line = looks[label]
    ax.plot(np.arange(s.T) / s.T, s.alpha_bars, line, color=plots.COLOURS[colour], linewidth=2,
            label=f"{label}, β up to {s.betas[-1]:.2g}")
ax.set_ylim(0, 1.4)
ax.legend()
plots.show(figure, "ᾱ over t/T: the curve with T = 100 and unchanged β stays above one third to "
           "the end; with β ten times as large it follows the curve of T = 1000 to zero.")
plots.show_prediction(prediction, "; ".join(f"{label}: {s.alpha_bars[-1]:.3g}" for label, s in schedules.items()))
assert careless.alpha_bars[-1] > 0.3 and rescaled.alpha_bars[-1] < 1e-4

# %%
rows = [[noisy(image[None], s.T - 1, schedule=s)[0] for image in images.x_test[:8]]
        for s in schedules.values()]
plots.show(plots.image_table(rows, list(schedules), [f"image {i + 1}" for i in range(8)],
                             "The last step of each schedule"),
           "The last noising step: pure noise in the first and third row; in the careless second "
           "row the images can still be recognised.")

# %% [markdown]
# More than a third of the image's variance is left. So with the careless schedule the last $x_t$ still *contains the image*.
# But sampling ([lesson 5](05_sampling.ipynb)) starts from pure noise, which the network has never seen in training.
#
# **You can see this before any training.** Look at ᾱ at the last step. Or measure how much the last $x_t$ differs from pure
# noise, with the Kullback–Leibler divergence KL. It is 0 if two distributions are equal. Its unit is the nat. For the two
# Gaussians $q(x_{T-1} \mid x_0)$ and $\mathcal N(0, I)$ it is a sum over the pixels:
#
# $$ \tfrac12 \sum_{\text{pixels}} \big(\bar\alpha\,(x_0^2 - 1) - \ln(1-\bar\alpha)\big), \qquad \bar\alpha = \bar\alpha_{T-1} $$
#
# (In the full loss of [lesson 4](04_training.ipynb) this is the term for the end of the chain. No training can change it.)

# %%
def end_term(s):
    """KL between the last x_t and pure noise: mean over the images, in nats an image."""
    bar = s.alpha_bars[-1]
    per_pixel = 0.5 * (bar * (x0.astype(np.float64) ** 2 - 1) - np.log1p(-bar))
    return per_pixel.sum(axis=(1, 2, 3)).mean()


plots.show_table(["schedule", "ᾱ at the end", "KL to pure noise, nats an image"],
                 [[label, f"{s.alpha_bars[-1]:.1e}", f"{end_term(s):.3f}"] for label, s in schedules.items()])
assert end_term(careless) > 1000 * max(end_term(schedule), end_term(rescaled))

# %% [markdown]
# The careless schedule is more than ten thousand times as far from pure noise as the others.
#
# How does this change the samples? To see the fault of the schedule alone, we take a *perfect* network. We pretend that
# only 500 images exist. Then many of them could have led to $x_t$, some with a high and some with a low probability. The
# best prediction of the noise is the mean of all noises that fit, weighted by these probabilities. For 500 known images
# this is a sum that we can compute (`sampling.exact_noise_predictor`). With it a correct sampler draws each of the 500
# images equally often.
#
# **Predict before you run:** what will the careless schedule draw with this network: noise, blurred images, or good images
# of the wrong kind?

# %%
prediction = "…"  # write your guess between the quotes

# %%
few = images.x_train[:500]
drawn = {}
for label, s in schedules.items():
    exact = Diffusion(sampling.exact_noise_predictor(few, s), s)
    drawn[label] = sampling.sample(exact, settings.samples, few.shape[1:], steps=100,  # for all three
                                   seed=SEED, progress=False)

rows = [list(d[:8]) for d in drawn.values()]
plots.show(plots.image_table(rows, list(drawn), [""] * len(rows[0]), "Drawn by a perfect network"),
           "Clean images in all three rows.")

# %% [markdown]
# Every row is sharp: a single image looks right. Eight images cannot show more. So we look at the mean pixel (the
# brightness) of all images that were drawn, beside that of the 500 images.

# %%
brightness = {label: d.mean(axis=(1, 2, 3)) for label, d in drawn.items()}
of_data = few.mean(axis=(1, 2, 3))
bins = np.linspace(of_data.min() - 0.05, max(values.max() for values in [of_data, *brightness.values()]) + 0.05, 13)

figure, ax = plots.axes(f"Brightness of {settings.samples} drawn images", "mean pixel of an image", "density", size=(7, 3.6))
ax.hist(of_data, bins, density=True, color="0.85", label="the 500 images")
for label, values in brightness.items():
    colour, line = looks[label]
    ax.hist(values, bins, density=True, histtype="step", color=plots.COLOURS[colour], linestyle=line, linewidth=2,
            label=label)
ax.legend()
plots.show(figure, "Histograms of the mean pixel: two schedules follow the 500 images, the careless one is moved to the right.")

# %%
scatter = of_data.std() / np.sqrt(settings.samples)  # standard error of a mean of so many draws
differences = {label: values.mean() - of_data.mean() for label, values in brightness.items()}
plots.show_prediction(prediction, "sharp images; their mean brightness minus that of the data is "
                      + ", ".join(f"{value:+.3f} ({label})" for label, value in differences.items())
                      + f", each ± {2 * scatter:.3f} (95 %)")
fade = np.sqrt(careless.alpha_bars[-1])
print(f"mean of the last x_t in the careless training: {fade:.2f} · ({of_data.mean():.2f}) = {fade * of_data.mean():.2f}")
if PRESET != "smoke":
    assert abs(differences["T = 1000"]) < 4 * scatter

# %% [markdown]
# The careless schedule draws good images of the wrong kind: too many bright ones. Why? Its last noised $x_t$ has
# the mean of a faded image, 0.60 · (−0.75) = −0.45 with MNIST. Pure noise has the mean 0. For the network, pure noise looks
# like a noisy image that is brighter than usual. So the sampler draws too many bright images.
#
# The *noise-prediction loss* does not show this fault: this network is perfect, its loss is the smallest possible. ᾱ at the
# last step and the end term do show it. A trained network would have one more problem: it has never seen pure noise, so its
# answer may be anything.

# %% [markdown]
# ## 2.8 One step back, if the clean image is known
#
# Sampling goes back from $x_t$ to $x_{t-1}$. How uncertain is $x_{t-1}$, if $x_t$ is known? We begin with the easy case:
# the clean image $x_0$ is known, too. Then we know two things about each pixel of $x_{t-1}$:
#
# - *from $x_0$*, by the jump: $x_{t-1}$ lies around $\sqrt{\bar\alpha_{t-1}}\,x_0$, with a variance that you know;
# - *from $x_t$*, by one step: $x_t/\sqrt{\alpha_t}$ is $x_{t-1}$ plus noise, of variance $\beta_t/\alpha_t$.
#
# Both are Gaussians of the same unknown, $x_{t-1}$. Bayes' rule multiplies them. The product is again a Gaussian. The
# *precision* of a Gaussian is 1/variance, and in a product **the precisions add**.

# %% [markdown]
# ### Exercise 2.3 – β̃
# *2 points · code · difficulty ●●○○ · about 10 minutes*
#
# The variance of $q(x_{t-1} \mid x_t, x_0)$ is called $\tilde\beta_t$. Find it from the two facts above, and write
# `posterior_variances(betas)`, which returns $\tilde\beta_t$ for every t. Think about t = 0 first: then $x_{t-1}$ is the
# clean image. How uncertain is it, if it is known?
#
# <details><summary>Hint: how do I avoid 1/0 at t = 0?</summary>
#
# One of the two variances is 0 at t = 0. What is the sum of two fractions 1/a + 1/b as *one* fraction, and what is its
# inverse? Do you divide by zero then? (It gets shorter: $\alpha_t\bar\alpha_{t-1} = \bar\alpha_t$.)
# </details>
#
# <details><summary>Hint: which ᾱ belongs to the step before?</summary>
#
# The table $\bar\alpha$, moved by one place to the right. Before the first step nothing is lost. Which number stands in
# front?
# </details>
#
# <details><summary>Help: "β̃_0 should be 0, not β_0"</summary>
#
# t = 0 needs no special case, and β_0 does not belong there: with $\bar\alpha_{-1} = 1$ the result is 0 by itself.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-2-3-posterior-variances", "grade": false, "solution": true, "locked": false, "task": false}
def posterior_variances(betas):
    """The variance of q(x_{t-1} | x_t, x_0) for every t; shape (T,)."""
    ### BEGIN SOLUTION
    bars = np.cumprod(1.0 - betas)
    bars_before = np.concatenate([[1.0], bars[:-1]])
    return betas * (1.0 - bars_before) / (1.0 - bars)
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-2-3-posterior-variances", "grade": true, "solution": false, "locked": true, "points": 2, "task": false}
checks.check_posterior_variances(posterior_variances)

# %% [markdown]
# In one formula (DDPM eq. 7): $\tilde\beta_t = \beta_t\,(1-\bar\alpha_{t-1})/(1-\bar\alpha_t)$. Before the first step nothing
# is lost, so $\bar\alpha_{-1} = 1$ and $\tilde\beta_0 = 0$. [Lesson 5](05_sampling.ipynb) uses it, and finds the mean in
# the same way.
#
# **Predict before you run:** β is the variance of one forward step, β̃ that of one reverse step with known $x_0$. Which is
# larger, and where do they differ most?

# %%
prediction = "…"  # write your guess between the quotes

# %%
def reference(betas):
    return NoiseSchedule(betas).posterior_variances


variances = np.asarray(checks.check_posterior_variances.answer_or(reference)(betas))
figure, ax = plots.axes(r"$\tilde\beta$ beside $\beta$, the first 50 steps", "t", "variance")
ax.plot(schedule.betas[:50], label=r"$\beta_t$: added by the forward step")
ax.plot(variances[:50], "--", label=r"$\tilde\beta_t$: added by the reverse step")
ax.legend()
plots.show(figure, "β tilde starts at 0 below β and comes close to it within the first fifty steps.")
ratio = variances / schedule.betas
plots.show_prediction(prediction, "β̃ / β = " + ", ".join(f"{ratio[t]:.3f} at t = {t}" for t in (0, 1, 10, 50, 200)))
assert variances[0] <= 1e-9 and np.all(variances < schedule.betas)

# %% [markdown]
# $\tilde\beta$ is smaller at every t: if $x_0$ is known, less is uncertain. The two differ most at the first few steps.
# There $x_{t-1}$ is still almost $x_0$, so the known $x_0$ says much about it. From t = 50 on they differ by less than 5 %.
# At t = 0 the reverse step leads to the clean image, which is known: the last step of sampling adds no noise.

# %% [markdown]
# ## 2.9 Is a reverse step Gaussian?
#
# When we sample, $x_0$ is *not* known. Many clean images could have led to $x_t$. Each would give another Gaussian for the
# step back. The true distribution of the step is a mixture of all of them. DDPM draws from **one** Gaussian instead. When
# is this right?
#
# To find out, we need a case where the mixture can be computed. We take it from
# [lesson 1](01_function_inversion.ipynb): the clean value is one of the four answers to sin x = 0.5, each equally
# probable. We divide them by 2π, so that they lie in [-1, 1]. And we step back from t to *any* earlier step s, not only to
# t − 1.

# %%
clean = inversion.inverses(0.5) / inversion.SPAN
print("the clean value is one of", clean.round(3))

# %% [markdown]
# ### Exercise 2.4 – The density of a reverse step
# *4 points · code · difficulty ●●●○ · about 20 minutes*
#
# Write `reverse_density(grid, x_t, t, s, clean, alpha_bars)`: the density $q(x_s \mid x_t)$ at each value of `grid`. `x_t` is
# one number, the noisy value that we know. s is an earlier step, s < t. `clean` holds the clean values, all equally
# probable. `grid` is equally spaced, from far left to far right.
#
# Bayes' rule says it in words. A value $x_s$ is probable
#
# 1. if such values occur at step s at all, **and**
# 2. if the known $x_t$ is a likely result of noising this $x_s$ further, from s to t.
#
# Compute both numbers for each value of the grid, and multiply the two. At the end divide by the integral, so that the
# density has the integral 1. You may use `gaussian(x, mean, variance)`, the density of a Gaussian; it takes arrays.
#
# <details><summary>Hint: what values occur at step s?</summary>
#
# Suppose there were only one clean value. Which formula of section 2.4 says where $x_s$ is then? Now there are four, and the
# true one is the first *or* the second *or* … What do you do with four densities?
# </details>
#
# <details><summary>Hint: how does $x_t$ look, seen from $x_s$?</summary>
#
# The jump of section 2.4 starts at the clean image and uses *all* steps up to t. Which factors of $\bar\alpha_t$ belong to the
# steps after s? How do you get their product from $\bar\alpha_t$ and $\bar\alpha_s$?
# </details>
#
# <details><summary>Hint: how do I integrate over a grid?</summary>
#
# The area under the curve is cut into narrow columns. How high is each, and how wide?
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-2-4-reverse-density", "grade": false, "solution": true, "locked": false, "task": false}
def reverse_density(grid, x_t, t, s, clean, alpha_bars):
    """q(x_s | x_t) at the values of `grid`, if the clean value is one of `clean`; alpha_bars is the table ᾱ (T,)."""
    ### BEGIN SOLUTION
    kept = alpha_bars[t] / alpha_bars[s]  # the product of α over the steps s + 1 … t
    occurs = sum(gaussian(grid, np.sqrt(alpha_bars[s]) * value, 1 - alpha_bars[s]) for value in clean)
    likely = gaussian(x_t, np.sqrt(kept) * grid, 1 - kept)
    product = occurs * likely
    return product / (product.sum() * (grid[1] - grid[0]))
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-2-4-reverse-density", "grade": true, "solution": false, "locked": true, "points": 4, "task": false}
checks.check_reverse_density(reverse_density)

# %% [markdown]
# Your function draws the next picture: the density of a small step (1), a middle one (50) and a large one (500, or 100 from
# t = 100), from t = 100, 500 and 950. The known value is $x_t$ = −0.25, the mean of the four answers. Over each density lies
# one Gaussian with the same mean and variance. We measure their *distance*: half the area between the two curves, from 0
# (equal) to 1 (nothing in common). It is called the total variation distance.
#
# **Predict before you run:** which of the nine steps can one Gaussian replace?

# %%
prediction = "…"  # write your guess between the quotes

# %%
own_density = checks.check_reverse_density.answer_or(reverse_steps.reverse_density)
grid = np.linspace(-6, 6, 6001)
jumps = [(t, t - size) for t in (100, 500, 950) for size in (1, 50, min(t, 500))]
figure, axes = plt.subplots(3, 3, figsize=(11, 8))
found = []
for ax, (t, s) in zip(axes.flat, jumps):
    density = np.asarray(own_density(grid, -0.25, t, s, clean, schedule.alpha_bars))
    normal, distance = reverse_steps.nearest_gaussian(grid, density)
    ax.fill_between(grid, density, color=plots.COLOURS["sky"], label=r"$q(x_s \mid x_t)$")
    ax.plot(grid, normal, color="black", label="one Gaussian")
    near = grid[normal > 0.002 * normal.max()]
    ax.set(title=f"from t = {t} to s = {s}\ndistance {distance:.2g}", xlim=(near[0], near[-1]),
           xlabel="$x_s$", ylabel="density")
    found.append(f"{t} → {s}: {distance:.1g}")
figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
plots.show(figure, "Nine densities. Steps of 1 coincide with one Gaussian. So do steps of 50 from t = 500 and 950; from t = 100 "
           "there are two humps. From t = 100 and 500 to s = 0 there are four narrow peaks and one wide, low Gaussian. "
           "From t = 950 to s = 450 the density is nearly Gaussian.")
plots.show_prediction(prediction, "distances " + "; ".join(found))

# %% [markdown]
# All steps of 1 are nearly Gaussian. The steps to s = 0 are not. (s = 0 is the result of the first step, almost the clean
# value.) They have four narrow peaks, one at each answer. One Gaussian with the same mean and variance lies mostly *between*
# the peaks, and its mean is no answer at all. The step of 50 is nearly Gaussian from t = 500 and 950. From t = 100 it has
# two humps: there the value must choose between two answers.
#
# The last panel may surprise you: a step of 500 that is nearly Gaussian. At s = 450 the value is still mostly noise, and
# noise is Gaussian. So the step from t = 950 to s = 450 need not decide between the answers. The step from t = 500 to s = 0
# must decide. **A large step is far from Gaussian where it must decide between clean values.** Now we measure the distance
# for more steps, as a mean over ten values $x_t$ that occur at t:

# %%
sizes = np.array([1, 2, 5, 10, 20, 50, 100, 200, 500, 950])
figure, ax = plots.axes("How far from Gaussian is a reverse step?", "size of the step, t − s", "mean distance",
                        size=(7, 3.8))
for t, (colour, mark) in {100: ("black", "s"), 500: ("blue", "o"), 950: ("red", "^")}.items():
    starts = noisy(rng.choice(clean, (10, 1, 1, 1)).astype(np.float32), t).ravel()  # ten values that occur at t
    able = sizes[sizes <= t]
    distances = []
    for s in t - able:
        densities = [own_density(grid, float(x), t, int(s), clean, schedule.alpha_bars) for x in starts]
        distances.append(np.mean([reverse_steps.nearest_gaussian(grid, density)[1] for density in densities]))
    ax.loglog(able, distances, marker=mark, color=plots.COLOURS[colour], label=f"from t = {t}")
ax.set_ylim(1e-7, 1.5)
ax.legend()
plots.show(figure, "Three rising lines on logarithmic axes: for each t the distance from a Gaussian grows with the "
           "size of the step; at the same size it is largest for t = 100.")

# %% [markdown]
# From each of the three t the rule is the same: the smaller the step, the nearer it is to a Gaussian. How small it must be
# depends on t. With less noise the same number of steps is further from a Gaussian. That is one more reason to make β small
# at the first steps. (Distances below $10^{-7}$ are not drawn.)
#
# **Predict before you run:** we draw from pure noise down to s = 0, each step from *one* Gaussian with exactly the right mean
# and variance. What will 1 step draw? And how many steps are needed until nearly all draws lie at one of the four answers?

# %%
prediction = "…"  # write your guess between the quotes

# %%
figure, axes = plt.subplots(1, 4, figsize=(11.5, 2.9), sharey=True)
found = []
for ax, count in zip(axes, (1, 20, 100, T - 1)):
    values = reverse_steps.sample_by_gaussians(clean, schedule.alpha_bars, count, 20_000, seed=SEED)
    near = np.mean(np.abs(values[:, None] - clean).min(axis=1) < 0.05)
    ax.hist(values, bins=120, range=(-1.8, 1.8), density=True, color=plots.COLOURS["blue"])
    ax.plot(clean, np.full(4, -0.4), "^", color="black", markersize=6, clip_on=False)
    ax.set(title=f"{count} step{'s' * (count > 1)}: {near:.0%} at an answer", xlabel="drawn value")
    found.append(f"{count} step{'s' * (count > 1)}: {near:.1%}")
axes[0].set_ylabel("density")
plots.show(figure, "Histograms of 20,000 draws. One step draws one wide hill between the answers; more steps draw four "
           "narrower and narrower peaks at the answers, which are marked by triangles.")
plots.show_prediction(prediction, "within 0.05 of an answer are, after " + "; ".join(found))
print(f"the mean of the four answers is {clean.mean():.2f}")

# %% [markdown]
# One step draws one wide hill around the mean of the four answers, where no answer lies. That is the mean that the regression
# network of [lesson 1](01_function_inversion.ipynb) gave, with noise around it. For images such a mean is a blur. With more
# steps the hill splits into four peaks. With 20 steps most draws still miss. With 100 nearly all lie at an answer, and with
# 999 practically all. (One step is not at 0 %, because a wide hill covers the answers, too.)
#
# How can Gaussians draw four peaks? Each step is one Gaussian, but its mean depends on the value that the step before has
# drawn. Each step decides a little. Many small decisions lead to one of the answers. **This is why DDPM takes many small
# steps.** A Gaussian needs only a mean and a variance, and a mean is what a network can learn. For four numbers 100 equal
# steps are enough. The paper took 1000 for images. [Lesson 5](05_sampling.ipynb) measures what fewer steps cost there.

# %% [markdown]
# ## Remember
# - β is small, α is close to 1, and the product ᾱ of all α goes to 0: a thousand small losses remove almost everything.
# - $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon$: one jump, equal in distribution to t + 1 steps.
# - The SNR curve gives the noise level at each t. If you change T, you must change β. If you forget this, the
#   noise-prediction loss looks normal. Check ᾱ at the last step.
# - If $x_0$ is known, a reverse step is Gaussian, with variance $\tilde\beta_t$. $\tilde\beta_0 = 0$: the last step of
#   sampling adds no noise.
# - If $x_0$ is not known, a reverse step is a mixture. It is nearly Gaussian if the step is small. That is why there are many
#   steps.
