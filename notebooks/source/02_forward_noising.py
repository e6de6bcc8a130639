# %% [markdown]
# # 2 · Forward noising: from a digit to pure noise
#
# A diffusion model learns to undo damage. So first we need the damage: a process that turns any image into pure noise
# in T = 1000 small steps, gently enough that each step can be undone. Nothing is learned in this lesson; every line is
# a formula.
#
# **You will be able to**
# - load images and scale them for a network;
# - explain T, β, α and ᾱ, and compute each from the one before;
# - jump from the clean image to any step in one formula, and show that this equals walking step by step;
# - say how noisy step t is (SNR), and what goes wrong when someone shortens T carelessly.
#
# **Time:** about 40 minutes with the exercises; the cells run in under a minute.
#
# Source: Ho, Jain, Abbeel 2020, [Denoising Diffusion Probabilistic Models](https://arxiv.org/abs/2006.11239) (DDPM),
# section 2. One difference in counting, said once and used everywhere: **our t runs from 0 to T − 1; the paper's t is
# our t + 1.** So t = 0 is the first, smallest amount of noise, and not the clean image.

# %% [markdown] tags=["badges"]
# [Text source of this lesson](source/02_forward_noising.py) · no account or GPU needed

# %% tags=["parameters"]
PRESET = "full"  # "smoke": seconds, to test; "quick" or "full": this lesson is so fast that its default is full
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
import matplotlib.pyplot as plt
import numpy as np

from labutils import checks, data, plots, presets
from labutils.schedule import linear_schedule

settings = presets.get(PRESET)
plots.use_lab_style()
print(f"preset {settings.name}: {settings.test_images} images for the statistics")

# %% [markdown]
# ## 2.1 The images
#
# Pixels come as whole numbers 0 … 255. We do two things, and neither moves or removes a pixel (so this is *scaling*, not
# resizing):
#
# - **Scale to [-1, 1]:** pixel / 127.5 − 1. The noise we shall add has mean 0 and variance 1. Values in a range centred
#   on 0 and of similar size drown in it evenly; values in 0 … 255 would hardly notice it.
# - **Add a channel axis:** a convolution expects (batch, height, width, channels). A grey image has one channel, a colour
#   image three.

# %%
images = data.load(DATASET)
pixels = (images.x_train[:3, ..., 0] + 1) * 127.5  # back to 0 … 255 (first channel), to show the scaling once
x = data.to_model_range(pixels.round().astype(np.uint8))
print(f"{images.name}: {len(images.x_train):,} training images of shape {images.image_shape}, "
      f"values {images.x_train.min():.0f} … {images.x_train.max():.0f} (as pixels {pixels.min():.0f} … {pixels.max():.0f})")
assert x.shape == (3, *images.image_shape[:2], 1) and np.allclose(x[..., 0], images.x_train[:3, ..., 0])

# %%
name = images.note or images.name  # what the figures call the data
plots.show(plots.image_grid(images.x_train[:16], f"Training images: {name}"), f"Sixteen images of the data set {name}.")

# %% [markdown]
# ## 2.2 One small step
#
# Step t keeps most of the image and adds a little noise of variance $\beta_t$:
#
# $$ x_t = \sqrt{1-\beta_t}\; x_{t-1} + \sqrt{\beta_t}\; z_t, \qquad z_t \sim \mathcal N(0, I) $$
#
# **One clash of names:** $x_0$ always means the *clean* image, as in the paper. Our step t = 0 starts from it; so for t = 0
# read $x_{t-1}$ as the clean image.
#
# Why $\sqrt{1-\beta_t}$? So that nothing grows: if $x_{t-1}$ has variance 1, then $x_t$ has variance
# $(1-\beta_t) + \beta_t = 1$.
#
# | name | code | meaning |
# | --- | --- | --- |
# | $T$ | `T` | number of steps, 1000 |
# | $\beta_{start}, \beta_{end}$ | `beta_start`, `beta_end` | first and last $\beta$: 0.0001 and 0.02 |
# | $\beta_t$ | `betas` | variance of the noise that step t adds; grows in a straight line |
# | $\alpha_t = 1 - \beta_t$ | `alphas` | share of the variance that step t keeps |
# | $\bar\alpha_t = \alpha_0 \alpha_1 \cdots \alpha_t$ | `schedule.alpha_bars` | share of the image's variance that is left after step t |

# %%
T, beta_start, beta_end = 1000, 1e-4, 0.02
betas = np.linspace(beta_start, beta_end, T)
alphas = 1.0 - betas
assert betas.shape == (T,) and np.all(np.diff(betas) > 0)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2))
left.plot(betas)
left.set(title="β: noise added by step t", xlabel="t", ylabel=r"$\beta_t$")
right.plot(alphas, color=plots.COLOURS["orange"])
right.set(title="α = 1 − β: share kept by step t", xlabel="t", ylabel=r"$\alpha_t$", ylim=(0.9, 1.005))
plots.show(figure, "Left: β rises in a straight line from 0.0001 to 0.02. Right: α falls in a straight line from 0.9999 to "
           "0.98: every single step keeps nearly everything.")

# %% [markdown]
# ## 2.3 Many small steps
#
# Each step keeps at least 98 % of the variance. **Predict before you run:** what share of the image is left after all
# 1000 steps: about 90 %, about 10 %, or less than 0.1 %?

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
# labutils holds all these tables in one object. From here on we use it, so that a slip above cannot spoil what follows.

# %%
schedule = linear_schedule(T, beta_start, beta_end)
print(schedule)
print(f"after the last step ᾱ = {schedule.alpha_bars[-1]:.2e} of the image's variance is left")
assert np.isclose(schedule.alpha_bars[-1], 4.04e-5, rtol=1e-2)

figure, ax = plots.axes("ᾱ: how much of the image is left at step t", "t", "share of the variance")
ax.plot(schedule.alpha_bars, label=r"$\bar\alpha_t$: image")
ax.plot(1 - schedule.alpha_bars, "--", label=r"$1 - \bar\alpha_t$: noise")
ax.legend()
half = int(np.argmax(schedule.alpha_bars < 0.5))
plots.show(figure, f"ᾱ falls in an S shape from 1 to almost 0 and crosses one half at t = {half}; 1 − ᾱ rises as its mirror.")

# %% [markdown]
# ## 2.4 The jump: any step in one formula
#
# Sums of independent Gaussians are Gaussian, so the whole chain of steps up to t is **one** step (DDPM eq. 4):
#
# $$ q(x_t \mid x_0) = \mathcal N\big(\sqrt{\bar\alpha_t}\,x_0,\; (1-\bar\alpha_t) I\big)
# \quad\Longleftrightarrow\quad
# x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1-\bar\alpha_t}\;\varepsilon, \quad \varepsilon \sim \mathcal N(0, I) $$
#
# (ε is not one of the $z_t$: it stands for all of them together, scaled to variance 1.)
#
# Two steps show why. The first gives $x' = \sqrt{\alpha_0}\,x_0 + \sqrt{\beta_0}\,z_0$, the second
# $x_1 = \sqrt{\alpha_1}\,x' + \sqrt{\beta_1}\,z_1$. The image is multiplied by $\sqrt{\alpha_1\alpha_0}$. The noise has
# variance $\alpha_1\beta_0 + \beta_1 = \alpha_1(1-\alpha_0) + 1 - \alpha_1 = 1 - \alpha_1\alpha_0$. And so on for every step.

# %% [markdown]
# ### Exercise 2.2 – `add_noise`
# *Difficulty ●●○○ · about 10 minutes*
#
# Write `add_noise(x0, t, noise, alpha_bars)`: the jump, for a whole batch. `x0` and `noise` have shape (B, H, W, C); `t` is
# an integer array of shape (B,), since every image gets a step of its own; the argument `alpha_bars` is a table of shape
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
steps = [0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 999]
examples = images.x_test[:4]


def noisy(x0, t, schedule=schedule):
    return np.asarray(schedule.add_noise(x0, t, rng.standard_normal(x0.shape)))


rows = [[noisy(image[None], t)[0] for t in steps] for image in examples]
plots.show(plots.image_table(rows, [f"image {i + 1}" for i in range(4)], [f"t={t}" for t in steps],
                             f"Forward noising ({name})", scale=0.9),
           "Four images at eleven steps: clear at t = 0, grainy at 100 to 200, hard to make out at about 400 to 500, and "
           "lost by 700.")

# %% [markdown]
# The same with a slider, where there is a live kernel (JupyterLab, Colab). In a saved page you see a strip of pictures
# instead.

# %%
one_noise = rng.standard_normal(examples[:1].shape)


def draw_step(ax, t):
    xt = schedule.add_noise(examples[:1], t, one_noise)
    plots.draw_image(ax, xt[0], f"t = {t}\nᾱ = {schedule.alpha_bars[t]:.4g}")


plots.slider_or_strip(draw_step, T - 1, [0, 50, 150, 300, 450, 600, 999], f"One image under the same noise ({name})",
                      "One image at t = 0, 50, 150, 300, 450, 600 and 999: it fades while the noise grows over it.")

# %% [markdown]
# ## 2.5 Does the jump equal the walk?
#
# For one image the two give different pixels, since they use different noise. They should agree *in distribution*: the same
# mean and the same variance. We take one pixel value, walk 20,000 copies of it through 1000 single steps, and compare
# mean and variance with the formula on the way.

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
plots.show(figure, "Mean and variance of the walk, as dots, lie on the curves of the closed formula at every 50th step.")

# %%
# A mean of n values scatters by √(variance/n), a variance by about variance·√(2/n). Five such widths are allowed.
n = len(walkers)
variance = 1 - schedule.alpha_bars[ts]
assert np.all(np.abs(walked_mean - np.sqrt(schedule.alpha_bars[ts]) * 0.8) < 5 * np.sqrt(variance / n))
assert np.all(np.abs(walked_variance - variance) < 5 * variance * np.sqrt(2 / n))

figure, axes = plt.subplots(1, 3, figsize=(10, 2.8), sharey=True)
for ax, t in zip(axes, (50, 200, 999)):
    walkers = np.full(n, 0.8)
    for s in range(t + 1):
        walkers = np.sqrt(alphas[s]) * walkers + np.sqrt(betas[s]) * rng.standard_normal(n)
    ax.hist(walkers, bins=80, range=(-4, 4), density=True, color=plots.COLOURS["sky"], label="walk")
    grid, mean, var = np.linspace(-4, 4, 400), np.sqrt(schedule.alpha_bars[t]) * 0.8, 1 - schedule.alpha_bars[t]
    ax.plot(grid, np.exp(-((grid - mean) ** 2) / (2 * var)) / np.sqrt(2 * np.pi * var), color="black", label="jump")
    ax.set(title=f"t = {t}", xlabel="value of the pixel", ylabel="density")
axes[0].legend()
plots.show(figure, "Histograms of the walk at t = 50, 200 and 999 under the Gaussian curve of the formula: they coincide, "
           "narrow near 0.8 at first, wide around 0 at the end.")

# %% [markdown]
# Why this matters: training needs $x_t$ for random t, millions of times. The jump makes that one line instead of up to a
# thousand steps.

# %% [markdown]
# ## 2.6 SNR: what a schedule really sets
#
# The *signal-to-noise ratio* compares the two parts of $x_t$: $\mathrm{SNR}_t = \bar\alpha_t / (1-\bar\alpha_t)$. At
# SNR = 1 image and noise are equally strong (for an image of variance 1). Everything that matters about a schedule can be read off this curve.

# %%
equal = int(np.argmin(np.abs(np.log(schedule.snr))))  # the t where SNR is nearest to 1
figure, ax = plots.axes("Signal-to-noise ratio of the linear schedule", "t", "SNR (logarithmic)")
ax.semilogy(schedule.snr)
ax.axhline(1, color="black", linewidth=0.8, linestyle="--", label="SNR = 1: equally strong")
ax.axvline(equal, color=plots.COLOURS["orange"], label=f"reached at t = {equal}")
ax.legend()
plots.show(figure, f"SNR on a logarithmic axis falls from ten thousand at t = 0 to below one ten-thousandth; it is 1 at t = {equal}.")
print(f"SNR falls from {schedule.snr[0]:.0f} to {schedule.snr[-1]:.1e}; it is 1 at t = {equal}")

# %%
# Check with real images: mean and variance of x_t over a data set. (The images' own variance is below 1.)
x0 = images.x_test[: settings.test_images]
print(f"{'t':>5} {'measured mean':>14} {'predicted':>10} {'measured variance':>18} {'predicted':>10}")
for t in (0, 250, 500, 999):
    xt = noisy(x0, t)
    mean = np.sqrt(schedule.alpha_bars[t]) * x0.mean()
    var = schedule.alpha_bars[t] * x0.var() + 1 - schedule.alpha_bars[t]
    print(f"{t:5} {xt.mean():14.3f} {mean:10.3f} {xt.var():18.3f} {var:10.3f}")
    assert abs(xt.mean() - mean) < 0.02 and abs(xt.var() - var) < 0.02

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

figure, ax = plots.axes("Ten times fewer steps", "t / T", "ᾱ: share of the image left")
ax.plot(np.arange(T) / T, schedule.alpha_bars, label="T = 1000, β up to 0.02")
ax.plot(fraction, careless.alpha_bars, "--", label="T = 100, β up to 0.02 (careless)")
ax.plot(fraction, rescaled.alpha_bars, ":", linewidth=3, label="T = 100, β up to 0.2 (rescaled)")
ax.set_ylim(top=1.45)  # room for the legend
ax.legend()
plots.show(figure, "ᾱ over t/T: the curve with T = 100 and unchanged β stays above one third to the end; with β ten times "
           "as large it follows the curve of T = 1000 to zero.")
for label, s in (("T = 1000", schedule), ("T = 100, careless", careless), ("T = 100, rescaled", rescaled)):
    print(f"{label:18} ᾱ at the end {s.alpha_bars[-1]:.1e}, SNR {s.snr[-1]:.1e}")
assert careless.alpha_bars[-1] > 0.3 and rescaled.alpha_bars[-1] < 1e-4

# %%
rows = [[noisy(image[None], s.T - 1, s)[0] for image in images.x_test[:8]] for s in (schedule, careless, rescaled)]
plots.show(plots.image_table(rows, ["T = 1000", "T = 100, careless", "T = 100, rescaled"], [f"image {i + 1}" for i in range(8)],
                             "The last step of each schedule", scale=0.9),
           "The last noising step: pure noise in the first and third row; in the careless second row the images can still "
           "be recognised.")

# %% [markdown]
# With the careless schedule the last $x_t$ still *contains the image*. But sampling (lesson 5) starts from pure noise: the
# network would be asked about something it has never seen in training.

# %% [markdown]
# ## 2.8 One more table, for the way back: β̃
#
# Lesson 5 walks back. If both $x_t$ and $x_0$ are known, $x_{t-1}$ is Gaussian with the variance (DDPM eq. 7)
#
# $$ \tilde\beta_t = \beta_t\,\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}, \qquad \bar\alpha_{-1} = 1 $$
#
# $\bar\alpha_{-1}$ is what is left *before* the first step: everything. So $\tilde\beta_0 = 0$: the step t = 0 leads
# back to $x_0$ itself, which is known, and no noise is added at the last step of sampling. The distribution of $x_{t-1}$ given
# $x_t$ (and $x_0$) is called the *posterior*.

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
# Do not treat t = 0 apart, and do not copy β_0 there: the formula gives 0 because $1 - \bar\alpha_{-1} = 0$.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-2-3-posterior-variances", "grade": false, "solution": true, "locked": false, "task": false}
def posterior_variances(betas):
    """β̃_t, the variance of q(x_{t-1} | x_t, x_0); shape (T,)."""
    ### BEGIN SOLUTION
    bars = np.cumprod(1.0 - betas)
    bars_before = np.concatenate([[1.0], bars[:-1]])
    return betas * (1.0 - bars_before) / (1.0 - bars)
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-2-3-posterior-variances", "grade": true, "solution": false, "locked": true, "points": 3, "task": false}
checks.check_posterior_variances(posterior_variances)

# %%
figure, ax = plots.axes("β̃ beside β, the first 50 steps", "t", "variance")
ax.plot(schedule.betas[:50], label=r"$\beta_t$: added on the way out")
ax.plot(schedule.posterior_variances[:50], "--", label=r"$\tilde\beta_t$: added on the way back")
ax.legend()
plots.show(figure, "β̃ starts at 0 below β and comes close to it within the first fifty steps.")
assert schedule.posterior_variances[0] == 0 and np.all(schedule.posterior_variances < schedule.betas)

# %% [markdown]
# ## Remember
# - β is small, α is close to 1, and their product ᾱ goes to 0: a thousand small losses are a total one.
# - $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon$: one jump, equal in distribution to t + 1 steps.
# - A schedule is its SNR curve. Change T and you must change β.
# - $\tilde\beta_0 = 0$: no noise at the very end of the way back.
