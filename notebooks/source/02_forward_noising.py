# %% [markdown]
# # 2 · Forward noising: from a digit to pure noise
#
# A diffusion model learns to reverse a process that destroys images. So we first need this *forward process*. It turns
# any image into pure noise in T = 1000 steps. The steps are so small that each can be reversed. Nothing is learned in
# this lesson: every line is a formula.
#
# **You will be able to**
# - load images and scale them for a network;
# - explain T, β, α and ᾱ, and compute each from the one before;
# - jump from the clean image to any step in one formula, and show that this equals walking step by step;
# - say why β starts tiny and grows, and what T costs;
# - say how noisy step t is (SNR), and what goes wrong when someone shortens T carelessly.
#
# **Time:** about 40 minutes with the exercises; the cells run in under a minute.
#
# Source: Ho, Jain, Abbeel 2020, [Denoising Diffusion Probabilistic Models](https://arxiv.org/abs/2006.11239) (DDPM),
# section 2. In the whole lab we count the steps differently: **our t runs from 0 to T − 1; the paper's t is our t + 1.**
# So t = 0 is the first, smallest amount of noise, and not the clean image.

# %% [markdown] tags=["badges"]
# [Text source of this lesson](source/02_forward_noising.py) · no account or GPU needed

# %% tags=["parameters"]
# PRESET: "full" (the default of this short lesson), "quick", or "smoke" (a test).
# DATASET: "auto" is MNIST, or scikit-learn's digits without it;
# also "cifar10", "fashion_mnist", or a file.
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

from labutils import checks, data, plots, presets, sampling
from labutils.diffusion import Diffusion
from labutils.schedule import NoiseSchedule, linear_schedule

settings = presets.get(PRESET, SEED)
plots.use_lab_style()
print(f"preset {settings.name}: {settings.test_images} images for the statistics")

# %% [markdown]
# ## 2.1 The images
#
# Pixels are whole numbers 0 … 255. We change the array in two ways. No pixel is moved or removed (so this is *scaling*,
# not resizing):
#
# - **Scale to [-1, 1]:** pixel / 127.5 − 1. There are two reasons. *The noise:* it has mean 0 and variance 1. Pixels in
#   [-1, 1] have a similar size, so the noise covers them at a similar rate. Pixels in 0 … 255 would hardly change.
#   *The training:* the starting weights of a network and the usual learning rates are chosen for inputs and targets of
#   about size 1. Inputs of size 100 make outputs and gradients a hundred times too large, and the first updates too.
# - **Add a channel axis:** a convolution expects (batch, height, width, channels). A grey image has one channel, a colour
#   image three.

# %%
images = data.load(DATASET)
# Back to 0 … 255 (first channel), to show the scaling once.
pixels = (images.x_train[:3, ..., 0] + 1) * 127.5
x = data.to_model_range(pixels.round().astype(np.uint8))
low, high = images.x_train.min(), images.x_train.max()
print(f"{images.name}: {len(images.x_train):,} training images of shape {images.image_shape}")
print(f"values {low:.0f} … {high:.0f} (as pixels {pixels.min():.0f} … {pixels.max():.0f})")
assert x.shape == (3, *images.image_shape[:2], 1)
assert np.allclose(x[..., 0], images.x_train[:3, ..., 0])

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
# **Two names for the clean image.** In this chain it is $x_{-1}$, the image before the first step t = 0. Everywhere else we
# call it $x_0$, as all papers do: $q(x_t \mid x_0)$ is the distribution of the noisy image, given the clean one. The result
# of step 0 is *not* $x_0$ in this lab. We never need a symbol for it.
#
# Why $\sqrt{1-\beta_t}$? It keeps the variance constant: if $x_{t-1}$ has variance 1, then $x_t$ has variance
# $(1-\beta_t) + \beta_t = 1$.
#
# | name | code | meaning |
# | --- | --- | --- |
# | $T$ | `T` | number of steps, 1000 |
# | $\beta_{start}, \beta_{end}$ | `beta_start`, `beta_end` | first and last $\beta$: 0.0001 and 0.02 |
# | $\beta_t$ | `betas` | variance of the noise that step t adds; grows linearly with t |
# | $\alpha_t = 1 - \beta_t$ | `alphas` | share of the variance that step t keeps |
# | $\bar\alpha_t = \alpha_0 \alpha_1 \cdots \alpha_t$ | `schedule.alpha_bars` | share of the image's variance that is left after step t |

# %%
T, beta_start, beta_end = 1000, 1e-4, 0.02
betas = np.linspace(beta_start, beta_end, T)
alphas = 1.0 - betas
assert betas.shape == (T,) and np.all(np.diff(betas) > 0)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2))
left.plot(betas)
left.set(title="β: variance of the noise added by step t", xlabel="t", ylabel=r"$\beta_t$")
right.plot(alphas, color=plots.COLOURS["orange"])
right.set(title="α = 1 − β: share of the variance kept by step t", xlabel="t", ylabel=r"$\alpha_t$",
          ylim=(0.9, 1.005))
plots.show(figure, "Left: β rises in a straight line from 0.0001 to 0.02. Right: α falls in a "
           "straight line from 0.9999 to 0.98: every single step keeps nearly everything.")

# %% [markdown]
# Why these numbers?
#
# - **T = 1000: gradual, but not for free.** A reverse step is easy only if it is small. Then the distribution of $x_{t-1}$,
#   given $x_t$, is nearly Gaussian (Sohl-Dickstein et al. 2015, [arXiv:1503.03585](https://arxiv.org/abs/1503.03585)). A step
#   of the sampler can only draw from one Gaussian. With more steps, each step is smaller. But each reverse step is one call
#   of the network, so T also sets the cost of an image. [Lesson 5](05_sampling.ipynb) shows how to skip steps.
# - **$\beta_{start}$ is tiny.** The first step hides the finest detail, and the last reverse step must restore it. Its
#   noise has standard deviation $\sqrt{0.0001} = 0.01$, about one grey level of 255 (one level is 0.008).
# - **$\beta_{end}$ is two hundred times larger.** Where $x_t$ is almost noise, more noise changes little, so the steps may
#   be larger. And ᾱ must reach almost 0, because sampling starts from pure noise.
# - **β grows linearly** between the two. This is the DDPM paper's choice: two numbers, nothing to tune. It is not the only
#   one: [lesson 6](06_discussion.ipynb) compares it with a cosine.

# %% [markdown]
# ## 2.3 Many small steps
#
# Each step keeps at least 98 % of the *image's* variance. **Predict before you run:** what share of it is left after
# all 1000 steps: about 90 %, about 10 %, or less than 0.1 %?

# %% [markdown]
# ### Exercise 2.1 – ᾱ
# *Difficulty ●○○○ · about 5 minutes*
#
# Write `alpha_bars(betas)`, which returns $\bar\alpha_t = \prod_{s=0}^{t} (1-\beta_s)$ for every t, an array as long as
# `betas`.
#
# <details><summary>Hint: no loop needed</summary>
#
# NumPy has a *cumulative* product, as it has a cumulative sum.
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
    """ᾱ_t, the share of the signal's variance that is left after step t; shape (T,)."""
    ### BEGIN SOLUTION
    return np.cumprod(1.0 - betas)
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-2-1-alpha-bars", "grade": true, "solution": false, "locked": true, "points": 2, "task": false}
checks.check_alpha_bars(alpha_bars)

# %% [markdown]
# The next figure uses your function. (If you have not solved the exercise yet, it uses the lab's own.)

# %%
bars = checks.check_alpha_bars.answer_or(lambda betas: NoiseSchedule(betas).alpha_bars)(betas)
half = int(np.argmax(bars < 0.5))
print(f"image's share of the variance: one half at t = {half}, {bars[-1]:.2e} after the last step")
assert np.isclose(bars[-1], 4.04e-5, rtol=1e-2)

figure, ax = plots.axes(r"$\bar\alpha$: how much of the image is left at step t", "t",
                        "share of the variance")
ax.plot(bars, label=r"$\bar\alpha_t$: image")
ax.plot(1 - bars, "--", label=r"$1 - \bar\alpha_t$: noise")
ax.legend()
plots.show(figure, f"ᾱ falls in an S shape from 1 to almost 0 and crosses one half at t = {half}; "
           "1 − ᾱ rises as its mirror.")

# %% [markdown]
# Less than 0.1 %: the last value is about 4 in 100,000. Each step keeps at least 98 %, but a thousand steps together keep
# almost nothing.
#
# **Where ᾱ is used later:** training uses it to make $x_t$ in one jump (section 2.4). The reverse process uses it twice. It
# estimates the clean image from the predicted noise,
# $\hat x_0 = (x_t - \sqrt{1-\bar\alpha_t}\,\varepsilon_\theta)/\sqrt{\bar\alpha_t}$, and it weighs this estimate against $x_t$
# (section 2.8, [lesson 5](05_sampling.ipynb)).
#
# labutils holds all these tables in one object.

# %%
schedule = linear_schedule(T, beta_start, beta_end)
print(schedule)
assert np.allclose(schedule.alpha_bars, bars)

# %% [markdown]
# ## 2.4 The jump: any step in one formula
#
# Sums of independent Gaussians are Gaussian. So the whole chain of steps up to t can be written as **one** step (DDPM eq. 4):
#
# $$ q(x_t \mid x_0) = \mathcal N\big(\sqrt{\bar\alpha_t}\,x_0,\; (1-\bar\alpha_t) I\big) $$
#
# or, which means the same,
#
# $$ x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1-\bar\alpha_t}\;\varepsilon, \quad \varepsilon \sim \mathcal N(0, I) $$
#
# (ε is not one of the $z_t$: it stands for all of them together, scaled to variance 1.)
#
# Two steps show why. With $x_0$ for the clean image, the first gives $x' = \sqrt{\alpha_0}\,x_0 + \sqrt{\beta_0}\,z_0$,
# the second $x_1 = \sqrt{\alpha_1}\,x' + \sqrt{\beta_1}\,z_1$. The image is multiplied by $\sqrt{\alpha_1\alpha_0}$. The noise has
# variance $\alpha_1\beta_0 + \beta_1 = \alpha_1(1-\alpha_0) + 1 - \alpha_1 = 1 - \alpha_1\alpha_0$. And so on for every step.

# %% [markdown]
# ### Exercise 2.2 – `add_noise`
# *Difficulty ●●○○ · about 10 minutes*
#
# Write `add_noise(x0, t, noise, alpha_bars)`: the jump, for a whole batch. `x0` and `noise` have shape (B, H, W, C); `t` is
# an integer array of shape (B,), because every image has its own step; the argument `alpha_bars` is a table of shape
# (T,), not your function of exercise 2.1.
#
# <details><summary>Hint: where to begin?</summary>
#
# Look up ᾱ for each image first: `alpha_bars[t]`. Then the formula above, with that in place of $\bar\alpha_t$.
# </details>
#
# <details><summary>Help: "the result has shape (50, 4, 4, 50)"</summary>
#
# `alpha_bars[t]` has shape (B,), one number for each image. To multiply images of shape (B, H, W, C) it needs three more
# axes: `alpha_bars[t].reshape(-1, 1, 1, 1)`.
# </details>
#
# <details><summary>Help: "the square roots are missing"</summary>
#
# $\bar\alpha_t$ and $1-\bar\alpha_t$ are variances. To change a variance by a factor, multiply the values by its root.
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
# **Predict before you run:** at which of these steps can you no longer name the digit?

# %%
rng = np.random.default_rng(SEED)
steps = [0, 100, 200, 300, 400, 500, 600, 700, 999]
examples = images.x_test[:4]


own = checks.check_add_noise.answer_or(None)  # your function, if it passed


def noisy(x0, t, noise=None, schedule=schedule):
    """x_t for images (B, H, W, C): one step t for all, or one for each (B,)."""
    t = np.broadcast_to(t, len(x0))
    noise = rng.standard_normal(x0.shape, dtype=np.float32) if noise is None else noise
    if own is None:
        return np.asarray(schedule.add_noise(x0, t, noise))
    return np.asarray(own(x0, t, noise, schedule.alpha_bars.astype(np.float32)))


rows = [[noisy(image[None], t)[0] for t in steps] for image in examples]
plots.show(plots.image_table(rows, [f"image {i + 1}" for i in range(4)], [f"t = {t}" for t in steps],
                             f"Forward noising ({name})"),
           "Four images at nine steps: clear at t = 0, grainy at 100 to 200, hard to make out at "
           "about 400 to 500, and lost by 700.")

# %% [markdown]
# The digit becomes unreadable somewhere between t = 300 and t = 500. At t = 700 nothing is left to see. $\bar\alpha$ gives
# the share of the image's variance that is left: 8 % at t = 500, half a percent at t = 700.
#
# Now one image with one fixed noise, step by step. Move the slider (or press the arrow keys when it is selected).
# If you see no slider, run the cell. (JupyterLab hides it in a notebook that it does not trust yet.)

# %%
ts = np.append(np.arange(0, T, 10), T - 1)  # every tenth step, and the last
one_image = np.repeat(examples[:1], len(ts), axis=0)
noise = rng.standard_normal(examples[:1].shape, dtype=np.float32)
shown = noisy(one_image, ts, np.repeat(noise, len(ts), axis=0))
labels = [f"t = {t}\nᾱ = {schedule.alpha_bars[t]:.2g}" for t in ts]
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
# **Predict before you run:** will the dots lie exactly on the curves? If not, how far off may they be with 20,000 copies?

# %%
walkers = np.full(20_000, 0.8)  # 20,000 copies of a bright pixel
walk = {}
for t in range(T):
    walkers = np.sqrt(alphas[t]) * walkers + np.sqrt(betas[t]) * rng.standard_normal(walkers.shape)
    if t % 50 == 0 or t == T - 1:
        walk[t] = (walkers.mean(), walkers.var())

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
for what, off, scatter in (("mean", off_mean, np.sqrt(variance / n)),
                           ("variance", off_variance, variance * np.sqrt(2 / n))):
    print(f"{what:8} expected scatter at the end {scatter[-1]:.4f}, "
          f"largest distance of a dot {off.max():.4f} = {np.max(off / scatter):.1f} scatters")
    assert np.all(off < 5 * scatter)

# %% [markdown]
# With 21 dots, a distance of up to about three times the scatter can be chance. A wrong formula would be off by far more. Mean and
# variance agree, and so does the whole distribution:

# %%
figure, axes = plt.subplots(1, 3, figsize=(10, 2.8), sharey=True)
for ax, t in zip(axes, (50, 200, 999)):
    walkers = np.full(n, 0.8)
    for s in range(t + 1):
        walkers = np.sqrt(alphas[s]) * walkers + np.sqrt(betas[s]) * rng.standard_normal(n)
    ax.hist(walkers, bins=80, range=(-4, 4), density=True, color=plots.COLOURS["sky"], label="walk")
    grid = np.linspace(-4, 4, 400)
    mean, var = np.sqrt(schedule.alpha_bars[t]) * 0.8, 1 - schedule.alpha_bars[t]
    density = np.exp(-((grid - mean) ** 2) / (2 * var)) / np.sqrt(2 * np.pi * var)
    ax.plot(grid, density, color="black", label="jump")
    ax.set(title=f"t = {t}", xlabel="value of the pixel", ylabel="density")
axes[0].legend()
plots.show(figure, "Histograms of the walk at t = 50, 200 and 999 under the Gaussian curve of the "
           "formula: they coincide, narrow near 0.8 at first, wide around 0 at the end.")

# %% [markdown]
# Why this matters: training needs $x_t$ for random t, millions of times. The jump needs one line for this, instead of up to
# a thousand steps.

# %% [markdown]
# ## 2.6 SNR: what a schedule really sets
#
# The *signal-to-noise ratio* compares the two parts of $x_t$: $\mathrm{SNR}_t = \bar\alpha_t / (1-\bar\alpha_t)$. At
# SNR = 1 image and noise are equally strong (for an image of variance 1). The curve says how much noise the network meets
# at which t, for any choice of β. But other things matter too: the spacing of the steps, the weight of
# each t in the loss, and the size of the images. (In a larger image neighbouring pixels carry nearly the same information.
# So noise of the same SNR per pixel hides less of it.)
#
# **Predict before you run:** does SNR reach 1 before the middle, in the middle or after the middle of the 1000 steps?

# %%
equal = int(np.argmin(np.abs(np.log(schedule.snr))))  # the t where SNR is nearest to 1
figure, ax = plots.axes("Signal-to-noise ratio of the linear schedule", "t", "SNR (logarithmic)")
ax.semilogy(schedule.snr)
ax.axhline(1, color="black", linewidth=0.8, linestyle="--", label="SNR = 1: equally strong")
ax.axvline(equal, color=plots.COLOURS["orange"], label=f"reached at t = {equal}")
ax.legend()
plots.show(figure, "SNR on a logarithmic axis falls from ten thousand at t = 0 to below one "
           f"ten-thousandth; it is 1 at t = {equal}.")
print(f"SNR falls from {schedule.snr[0]:.0f} to {schedule.snr[-1]:.1e}; it is 1 at t = {equal}")

# %% [markdown]
# SNR reaches 1 well before the middle. In about a quarter of the steps the image is stronger than the noise. In three
# quarters the noise is stronger.
# Next, a check with real images: mean and variance of $x_t$ over a data set. The images' own variance is below 1, so the
# variance of $x_t$ is not 1 at small t.

# %%
x0 = images.x_test[: settings.test_images]
print(f"{'t':>5} {'measured mean':>14} {'predicted':>10} {'measured variance':>18} {'predicted':>10}")
for t in (0, 250, 500, 999):
    xt = noisy(x0, t)
    mean = np.sqrt(schedule.alpha_bars[t]) * x0.mean()
    var = schedule.alpha_bars[t] * x0.var() + 1 - schedule.alpha_bars[t]
    print(f"{t:5} {xt.mean():14.3f} {mean:10.3f} {xt.var():18.3f} {var:10.3f}")
    assert max(abs(xt.mean() - mean), abs(xt.var() - var)) < 0.02 + 5 / x0.size**0.5  # the second part: chance

# %% [markdown]
# ## 2.7 What goes wrong when T shrinks and β does not grow
#
# Someone wants a faster program and sets T = 100, but leaves $\beta$ between 0.0001 and 0.02.
#
# **Predict before you run:** how much of the image is left at the last step?

# %%
careless = linear_schedule(100, 1e-4, 0.02)
rescaled = linear_schedule(100, 1e-3, 0.2)  # ten times fewer steps, ten times more noise in each
fraction = np.arange(100) / 100

figure, ax = plots.axes("Ten times fewer steps", "t / T", "share of the image's variance left")
ax.plot(np.arange(T) / T, schedule.alpha_bars, label="T = 1000, β up to 0.02")
ax.plot(fraction, careless.alpha_bars, "--", label="T = 100, β up to 0.02 (careless)")
ax.plot(fraction, rescaled.alpha_bars, ":", linewidth=3, label="T = 100, β up to 0.2 (rescaled)")
ax.set_ylim(0, 1)
plots.label_lines(ax)
plots.show(figure, "ᾱ over t/T: the curve with T = 100 and unchanged β stays above one third to "
           "the end; with β ten times as large it follows the curve of T = 1000 to zero.")
schedules = {"T = 1000": schedule, "T = 100, careless": careless, "T = 100, rescaled": rescaled}
for label, s in schedules.items():
    print(f"{label:18} ᾱ at the end {s.alpha_bars[-1]:.1e}, SNR {s.snr[-1]:.1e}")
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
# How does this change the samples? To see the fault of the schedule alone, we take a *perfect* network. For a data set of
# only 500 images, the best prediction of the noise is a formula (`sampling.exact_noise_predictor`; lesson 5 uses it too).
# With it a correct sampler draws each of the 500 images equally often.
#
# **Predict before you run:** what will the careless schedule draw: noise, blurred images, or good images of the wrong
# kind?

# %%
few = images.x_train[:500]
drawn = {}
for label, s in schedules.items():
    exact = Diffusion(sampling.exact_noise_predictor(few, s), s)
    drawn[label] = sampling.sample(exact, settings.samples, few.shape[1:], steps=100,  # for all three
                                   seed=SEED, progress=False)

# %%
rows = [list(d[:8]) for d in drawn.values()]
plots.show(plots.image_table(rows, list(drawn), [""] * len(rows[0]), "Drawn by a perfect network"),
           "Clean images in all three rows; in the careless second row they have more bright pixels.")
scatter = few.mean(axis=(1, 2, 3)).std() / np.sqrt(settings.samples)
print(f"mean pixel of the data {few.mean():.3f}; "
      f"the mean of {settings.samples} draws scatters by {scatter:.3f}")
for label, d in drawn.items():
    print(f"{label:18} mean pixel of the drawn images {d.mean():.3f}")
if PRESET != "smoke":
    assert abs(drawn["T = 1000"].mean() - few.mean()) < 4 * scatter

# %% [markdown]
# Every row is sharp: a single image looks right. The *distribution* is wrong. Pure noise has mean 0. In the careless training
# $x_{T-1}$ has the mean of a darkened image, which is lower. So pure noise looks like an image with many bright pixels, and
# the sampler draws too many of those. (With MNIST: compare the zeros and ones of the rows.) No loss shows this fault, since
# the network is perfect. Only the samples show it. A real network has one more fault: it must answer outside its training
# data.

# %% [markdown]
# ## 2.8 One more table, for the reverse process: β̃
#
# [Lesson 5](05_sampling.ipynb) reverses the steps. If both $x_t$ and $x_0$ are known, $x_{t-1}$ is Gaussian, with the
# variance (DDPM eq. 7)
#
# $$ \tilde\beta_t = \beta_t\,\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}, \qquad \bar\alpha_{-1} = 1 $$
#
# $\bar\alpha_{-1}$ is the share *before* the first step: everything. So $\tilde\beta_0 = 0$: the reverse step t = 0 leads to
# the clean image itself, which is known. Therefore the last step of sampling adds no noise. The distribution
# $q(x_{t-1} \mid x_t, x_0)$ is called the *posterior*. It needs both conditions. Without $x_0$, many images could have led
# to $x_t$. Then $q(x_{t-1} \mid x_t)$ is a mixture over all of them, not one Gaussian.

# %% [markdown]
# ### Exercise 2.3 – β̃
# *Difficulty ●●○○ · about 10 minutes*
#
# Write `posterior_variances(betas)`, which returns $\tilde\beta_t$ for every t.
#
# <details><summary>Hint: where does the 1 go?</summary>
#
# $\bar\alpha_{t-1}$ is the table $\bar\alpha$ moved by one place to the right, with a 1 in front. With
# `bars = np.cumprod(1 - betas)`: `np.concatenate([[1.0], bars[:-1]])`.
# </details>
#
# <details><summary>Help: "ᾱ is padded on the wrong side"</summary>
#
# Your 1 stands at the end. Then each entry is $\bar\alpha_{t+1}$, the step *after* t.
# </details>
#
# <details><summary>Help: "β̃_0 should be 0, not β_0"</summary>
#
# t = 0 needs no special case, and β_0 does not belong there: the formula gives 0 because $1 - \bar\alpha_{-1} = 0$.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-2-3-posterior-variances", "grade": false, "solution": true, "locked": false, "task": false}
def posterior_variances(betas):
    """The variance of q(x_{t-1} | x_t, x_0) for every t; shape (T,)."""
    ### BEGIN SOLUTION
    bars = np.cumprod(1.0 - betas)
    bars_before = np.concatenate([[1.0], bars[:-1]])
    return betas * (1.0 - bars_before) / (1.0 - bars)
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-2-3-posterior-variances", "grade": true, "solution": false, "locked": true, "points": 3, "task": false}
checks.check_posterior_variances(posterior_variances)

# %% [markdown]
# **Predict before you run:** β is the variance of one forward step, β̃ that of one reverse step. Which is larger, and
# where do they differ most?

# %%
def reference(betas):
    return NoiseSchedule(betas).posterior_variances


variances = checks.check_posterior_variances.answer_or(reference)(betas)
figure, ax = plots.axes(r"$\tilde\beta$ beside $\beta$, the first 50 steps", "t", "variance")
ax.plot(schedule.betas[:50], label=r"$\beta_t$: added by the forward step")
ax.plot(variances[:50], "--", label=r"$\tilde\beta_t$: added by the reverse step")
ax.legend()
plots.show(figure, "β tilde starts at 0 below β and comes close to it within the first fifty steps.")
ratio = variances / schedule.betas
print("β tilde / β:", ", ".join(f"{ratio[t]:.3f} at t = {t}" for t in (0, 1, 10, 50, 200)))
assert variances[0] == 0 and np.all(variances < schedule.betas)

# %% [markdown]
# $\tilde\beta$ is always smaller: if $x_0$ is known, less is uncertain. The two differ only at the first few steps,
# where $x_t$ still shows $x_0$ almost exactly. From t = 50 on they differ by less than 5 %, so the choice between the two
# matters only in the last steps of sampling.

# %% [markdown]
# ## Remember
# - β is small, α is close to 1, and the product ᾱ of all α goes to 0: a thousand small losses remove almost everything.
# - $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon$: one jump, equal in distribution to t + 1 steps.
# - The SNR curve gives the noise level at each t. If you change T, you must change β. If you forget this, only the
#   samples show it.
# - $\tilde\beta_0 = 0$: the last step of sampling adds no noise.
