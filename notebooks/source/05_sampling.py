# %% [markdown]
# # 5 · Sampling: from noise to digits
#
# The network can find the noise in an image. Now we run the reverse process: we start from pure noise, and remove a little of
# the predicted noise in every step. First we derive the step. Then we test the whole loop on a case where the right result is
# known. Then the network draws, with your code.
#
# **You will be able to**
# - derive the reverse step, and say what β̃ is;
# - write ancestral sampling (each state is drawn from the one before, with fresh noise), and test it with an exact answer;
# - say what a perfect network would draw, and at which noise level the digit is decided;
# - watch $x_t$ and the estimate $\hat x_0$ during sampling;
# - write a step without fresh noise, and draw with 20 calls instead of 1000;
# - predict what a trained network draws, with a formula and no training;
# - measure how good drawn images are, and explain why you must measure real images, too;
# - say whether the difference between two samplers may be chance.
#
# **Time:** about 115 minutes with the exercises.
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
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import scipy.special
import tensorflow as tf

from labutils import checks, data, diagrams, evaluation, metrics, plots, presets
from labutils import pretrained, results, samplers, sampling
from labutils.diffusion import Diffusion
from labutils.networks import classifiers
from labutils.schedule import NoiseSchedule, cosine_schedule

settings = presets.get(PRESET, SEED)
plots.use_lab_style()
images = data.load(DATASET)
name = images.note or images.name  # what the figures call the data
classic = pretrained.load_diffusion("classic", fused=True)  # the same images in less time: lesson 7.1
fast = pretrained.load_diffusion("fast")
schedule, shape = classic.schedule, classic.shape
about = pretrained.read_record("classic")
rng = np.random.default_rng(SEED)
print(f"preset {settings.name}: data: {name}")
for diffusion, what in ((classic, "classic"), (fast, "fast")):
    print(f"checkpoint {what}: {pretrained.read_record(what)['epochs']} epochs on {about['dataset']}, "
          f"{diffusion.schedule.name} schedule, predicts {diffusion.prediction}")

# %% [markdown]
# This lesson is about the coloured part of the picture.

# %%
diagrams.show_pipeline(5)

# %% [markdown]
# ## 5.1 One step back, if the original were known
#
# One step forward adds a little noise: $q(x_t \mid x_{t-1})$. One step back asks: which $x_{t-1}$ could have led to this
# $x_t$? The answer depends on the distribution of all images, which we do not know. In [lesson 2](02_forward_noising.ipynb)
# you saw that this answer is nearly a Gaussian if the step is small. That is why we may draw a step from one Gaussian.
#
# Which Gaussian? Suppose that **$x_0$ is known, too**. Then Bayes' rule gives the answer (DDPM eq. 6 and 7), for t ≥ 1:
#
# $$ q(x_{t-1} \mid x_t, x_0) \;\propto\; q(x_t \mid x_{t-1})\; q(x_{t-1} \mid x_0) $$
#
# This distribution is called the *posterior*: what we know about $x_{t-1}$ after we have seen $x_t$ and $x_0$. Both factors on
# the right are Gaussians. As functions of $x_{t-1}$ they are:
#
# | factor | centre | precision |
# | --- | --- | --- |
# | $q(x_t \mid x_{t-1})$ | $x_t/\sqrt{\alpha_t}$ | $\alpha_t/\beta_t$ |
# | $q(x_{t-1} \mid x_0)$ | $\sqrt{\bar\alpha_{t-1}}\,x_0$ | $1/(1-\bar\alpha_{t-1})$ |
#
# The *precision* of a Gaussian is 1/variance. If you multiply two Gaussian densities, their precisions add. So the variance
# $\tilde\beta_t$ of the posterior follows from
#
# $$ \frac{1}{\tilde\beta_t} = \frac{\alpha_t}{\beta_t} + \frac{1}{1-\bar\alpha_{t-1}}
#    = \frac{\alpha_t(1-\bar\alpha_{t-1}) + \beta_t}{\beta_t\,(1-\bar\alpha_{t-1})}
#    = \frac{1-\bar\alpha_t}{\beta_t\,(1-\bar\alpha_{t-1})} $$
#
# The last step uses $\alpha_t = 1 - \beta_t$ and $\alpha_t\bar\alpha_{t-1} = \bar\alpha_t$. So we have
#
# $$ \tilde\beta_t = \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\;\beta_t $$
#
# At t = 0 this is 0: from $x_0$ we know the clean image. (In Python the table is `schedule.posterior_variances`. Some programs
# store $\beta_0$ as its first value. They do not use it, because the last step adds no noise.)
#
# The mean of the posterior is the average of the two centres, weighted by their precisions. Collected by $x_0$ and $x_t$ it is
#
# $$ \tilde\mu_t(x_t, x_0) = \underbrace{\frac{\sqrt{\bar\alpha_{t-1}}\;\beta_t}{1-\bar\alpha_t}}_{\text{weight of } x_0} x_0
#    + \underbrace{\frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}}_{\text{weight of } x_t} x_t $$
#
# **Predict before you run:** which of the two weights is larger at t = 500, half way?

# %%
prediction = "…"  # write your guess between the quotes

# %%
s = schedule
# From t = 1 on: at t = 0 nothing is uncertain, and the second precision is infinite.
precision_sum = s.alphas[1:] / s.betas[1:] + 1 / (1 - s.alpha_bars[:-1])
assert np.allclose(1 / precision_sum, s.posterior_variances[1:]) and s.posterior_variances[0] == 0

weight_x0 = np.sqrt(s.alpha_bars_previous) * s.betas / (1 - s.alpha_bars)
weight_xt = np.sqrt(s.alphas) * (1 - s.alpha_bars_previous) / (1 - s.alpha_bars)
figure, ax = plots.axes("Weights in the posterior mean of $x_{t-1}$", "t + 1 (logarithmic)", "weight")
for weight, line, colour, label in ((weight_x0, "o-", "blue", "weight of $x_0$"),
                                    (weight_xt, "s--", "red", "weight of $x_t$")):
    ax.plot(np.arange(1, s.T + 1), weight, line, label=label, color=plots.COLOURS[colour], markevery=range(10))
ax.set_xscale("log")
ax.legend()
plots.show(figure, "Weights in the posterior mean: at t = 0 all weight is on x_0, at t = 1 a little more "
           "than half; after a few dozen steps nearly all is on x_t.")
for t in (0, 1, 2, 10, 500):
    print(f"t = {t:3}: weight of x_0 {weight_x0[t]:.4f}, weight of x_t {weight_xt[t]:.4f}")
plots.show_prediction(prediction, f"the weight of x_t, {weight_xt[500]:.3f}; the weight of x_0 is {weight_x0[500]:.4f}")
assert np.isclose(weight_x0[0], 1) and weight_xt[0] == 0

# %% [markdown]
# At t = 500 nearly all weight is on $x_t$: one reverse step changes the image only a little. The original $x_0$ gets more than
# half of the weight only in the last two steps, t = 1 and t = 0.
#
# ## 5.2 The same step with the noise instead of the original
#
# We do not know $x_0$. But the network estimates the noise. We can solve
# $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon$ for $x_0$:
#
# $$ \hat x_0 = \frac{x_t - \sqrt{1-\bar\alpha_t}\;\varepsilon_\theta(x_t, t)}{\sqrt{\bar\alpha_t}} $$
#
# The posterior needs $x_0$. We only have the estimate $\hat x_0$. May we use it? Yes, because $\tilde\mu_t$ is linear in
# $x_0$: the average of $\tilde\mu_t$ over all $x_0$ that could have led to $x_t$ is $\tilde\mu_t$ at the average $x_0$. A network
# that is trained with the squared error estimates this average.
#
# The variance is less certain. $\tilde\beta_t$ would be right if $x_0$ were known. $\beta_t$ would be right if the images
# themselves were standard normal noise. The truth lies between the two (DDPM, section 3.2). This lab uses $\tilde\beta_t$.
#
# Put $\hat x_0$ into $\tilde\mu_t$ and collect the terms:
#
# $$ \tilde\mu_t(x_t, \hat x_0) = \sqrt{\tfrac{1}{\alpha_t}}\;\Big(x_t - \frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\;\varepsilon_\theta\Big)
#    \qquad\text{(DDPM eq. 11)} $$
#
# The two forms of the mean are equal. The next cell checks this with numbers.

# %%
xt, predicted = rng.standard_normal((2, 4, *shape)).astype("float32")
for t in (0, 1, 10, 500, 999):
    x0_hat = schedule.predict_x0(xt, t, predicted)
    x0_form = np.asarray(sampling.posterior_mean(schedule, x0_hat, xt, t))
    noise_form = np.asarray(sampling.reverse_step(schedule, xt, t, predicted, np.zeros_like(xt)))
    print(f"t = {t:3}: largest difference {np.abs(x0_form - noise_form).max():.1e}")
    assert np.allclose(x0_form, noise_form, atol=1e-4)

# %% [markdown]
# ### Exercise 5.1 – one reverse step
# *1 point · code · difficulty ●○○○ · about 5 minutes*
#
# A warm-up. Write `reverse_step(schedule, xt, t, predicted_noise, noise)` for one integer t: the mean of DDPM eq. 11 plus
# $\sigma_t z$ with $\sigma_t = \sqrt{\tilde\beta_t}$. The argument `noise` is z. The tables are `schedule.betas`,
# `schedule.alphas`, `schedule.alpha_bars` and `schedule.posterior_variances`.
#
# <details><summary>Help: "β taken for β̃"</summary>
#
# Which of the two variances is 0 at t = 0? The finished image must get no noise.
# </details>
#
# <details><summary>Help: "you used α_t where ᾱ_t is needed"</summary>
#
# Where does the formula have a bar, and where not? It has both kinds of α.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-5-1-reverse-step", "grade": false, "solution": true, "locked": false, "task": false}
def reverse_step(schedule, xt, t, predicted_noise, noise):
    """x_{t-1} from x_t: one step of ancestral sampling."""
    ### BEGIN SOLUTION
    beta, alpha, alpha_bar = schedule.betas[t], schedule.alphas[t], schedule.alpha_bars[t]
    mean = np.sqrt(1 / alpha) * (xt - beta / np.sqrt(1 - alpha_bar) * predicted_noise)
    return mean + np.sqrt(schedule.posterior_variances[t]) * noise
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-5-1-reverse-step", "grade": true, "solution": false, "locked": true, "points": 1, "task": false}
checks.check_reverse_step(reverse_step)

# %% [markdown]
# Your function now makes **one** step. The schedule has only eight steps, so you can see what one step does. The function gets
# the true noise; there is no network yet. The same $x_3$ goes in four times, each time with another z.

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
# *3 points · code · difficulty ●●○○ · about 10 minutes*
#
# Write `sampling_loop(network, schedule, x, rng)`. It gets pure noise x of shape (B, H, W, C), walks back to clean images, and
# returns them. One step is `sampling.reverse_step(schedule, x, t, predicted_noise, noise)`.
#
# - `network([x, time])` returns the predicted noise. `time` is a column (B, 1) with t/T in each row: the network was trained so.
# - `rng.standard_normal(x.shape)` draws fresh noise.
# - The loop must work for a schedule of any length `schedule.T`.
#
# Before you write: which t comes first, which comes last, and how many calls of the network are that?
#
# <details><summary>Hint: the first and the last t</summary>
#
# In which steps does pure noise appear, and which step leads to the clean image? An index in Python runs from 0 to T − 1. `range`
# can also count down; its second number is where to stop *before*.
# </details>
#
# <details><summary>Help: "the loop stops before t = 0"</summary>
#
# What does the step with t = 0 do? It removes the last of the noise.
# </details>
#
# <details><summary>Help: "the time should be a column"</summary>
#
# How many images does the network get at once? It needs one number for each. `np.full` makes an array of a given shape.
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


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-5-2-sampling-loop", "grade": true, "solution": false, "locked": true, "points": 3, "task": false}
checks.check_sampling_loop(sampling_loop)

# %% [markdown]
# The loop in words: it starts with random pixels. In each step the network is told how noisy the image is, and it predicts the noise.
# The step removes a part of this noise, and then adds a smaller amount of fresh noise. At t = 0 nothing is added. The image
# is finished.
#
# ## 5.3 An oracle: test the loop before the network
#
# If the drawn images are bad, is the loop wrong or the network? To find out, we need a predictor that is *known* to be right.
# For a data set of a few images we can compute it.
#
# Which image was the original of $x_t$? Suppose it was image i. Then the noise in $x_t$ must have been
#
# $$ \varepsilon_i = \frac{x_t - \sqrt{\bar\alpha_t}\,x^{(i)}}{\sqrt{1-\bar\alpha_t}} $$
#
# Each image of the data set needs another noise. The noise was drawn from a standard normal distribution, so not every noise is
# equally probable. Before we look at $x_t$, all images are. So Bayes' rule says: the probability $w_i$ that image i was the
# original is proportional to the density of $\varepsilon_i$. And the best estimate, in the sense of the squared error, is the
# mean of the images with these probabilities: $\hat x_0 = \sum_i w_i\,x^{(i)}$.

# %% [markdown]
# ### Exercise 5.3 – the exact denoiser
# *4 points · code · difficulty ●●●○ · about 20 minutes*
#
# Write `exact_x0(images, schedule, x, t)` for a data set `images` (N, H, W, C), noisy images x (B, H, W, C) and one integer t. It
# returns $\hat x_0$ for each x, an array (B, H, W, C). Your function must also work at t = 0. There every density is extremely
# small, such as $e^{-2000}$.
#
# <details><summary>Hint: the density</summary>
#
# On what in $\varepsilon_i$ does the density of a standard normal distribution depend? Only on the sum of the squares of all
# its pixels. The factor in front is the same for all images. Does it matter for the weights?
# </details>
#
# <details><summary>Hint: shapes</summary>
#
# How many weights do you need? One for each x and each image, an array (B, N). What is the shape of `x[:, None] - images[None]`,
# and over which axes must you add?
# </details>
#
# <details><summary>Help: "the exponents are about −2,000"</summary>
#
# What happens to $w_i = e^{l_i} / \sum_j e^{l_j}$ if you add the same number to all $l$? Which number should you add, so that the
# largest of the exponentials is 1?
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-5-3-exact-x0", "grade": false, "solution": true, "locked": false, "task": false}
def exact_x0(images, schedule, x, t):
    """The mean of the images, each with the probability that it was the original of x; shape of x."""
    ### BEGIN SOLUTION
    bar = schedule.alpha_bars[t]
    squares = np.sum((x[:, None] - np.sqrt(bar) * images[None]) ** 2, axis=(2, 3, 4))  # (B, N)
    exponents = -squares / (2 * (1 - bar))
    weights = np.exp(exponents - exponents.max(axis=1, keepdims=True))
    return np.tensordot(weights / weights.sum(axis=1, keepdims=True), images, axes=1)
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-5-3-exact-x0", "grade": true, "solution": false, "locked": true, "points": 4, "task": false}
checks.check_exact_x0(exact_x0)

# %% [markdown]
# Now your oracle tests your loop. The data set has 16 images. To save time we take every tenth step: a *coarse schedule* with 100
# steps. Its step k has the $\bar\alpha$ of step t = 10k + 9. So whoever predicts must look at this t. The function `noise_network`
# below gives any $\hat x_0$ the form of a network that predicts noise.
#
# **Predict before you run:** what does a correct loop draw with this oracle?

# %%
prediction = "…"  # write your guess between the quotes


# %%
def every_tenth(schedule):
    """The steps 9, 19, …, and a schedule of only these steps, with the same ᾱ."""
    steps = np.arange(9, schedule.T, 10)
    bars = schedule.alpha_bars[steps]
    return steps, NoiseSchedule(1 - bars / np.append(1, bars[:-1]), allow_plateau=True)


def noise_network(x0_of, schedule):
    """From a function (x, t) → x̂_0: the noise that it implies, as a function of [x, t/T], like a network."""
    def network(inputs):
        x, time = (np.asarray(value, dtype="float32") for value in inputs)
        t = int(np.rint(time.flat[0] * schedule.T))
        signal, noise = np.sqrt(schedule.alpha_bars[t]), np.sqrt(1 - schedule.alpha_bars[t])
        return tf.constant((x - signal * np.asarray(x0_of(x.copy(), t))) / noise, tf.float32)

    network.predict = lambda inputs, **options: network(inputs).numpy()  # as a Keras model has it
    return network


def loop_by_labutils(network, schedule, x, rng):
    """The same by labutils: a `Diffusion` is a network and the schedule that belongs to it."""
    return sampling.ancestral_sampling(Diffusion(network, schedule), x, rng)


loop = checks.check_sampling_loop.answer_or(loop_by_labutils)
oracle = checks.check_exact_x0.answer_or(sampling.exact_x0)

# %%
few = images.x_test[:16]
_, hundred = every_tenth(schedule)
start = rng.standard_normal((24, *images.image_shape)).astype("float32")
network = noise_network(lambda x, t: oracle(few, hundred, x, t), hundred)
drawn = np.asarray(loop(network, hundred, start, np.random.default_rng(SEED)))
distance = np.sqrt(((drawn[:, None] - few[None]) ** 2).mean(axis=(2, 3, 4)))  # (24, 16)
nearest = distance.argmin(axis=1)
rows = [list(drawn[:8]), list(few[nearest[:8]])]
title = f"Your loop with the oracle: eight results, and the nearest of {len(few)} images ({name})"
plots.show(plots.image_table(rows, ["drawn", "nearest"], [""] * 8, title, scale=1.2),
           "Top: eight images drawn with the exact predictor. Bottom: for each the nearest image "
           "of the data set; the two rows are equal.")
plots.show_prediction(prediction, f"the images themselves: the largest distance of a drawing from its nearest image is "
                      f"{distance.min(axis=1).max():.1e}; {len(set(nearest))} of the {len(few)} images were drawn")
assert distance.min(axis=1).max() < 0.02

# %% [markdown]
# **Your loop is right**: with an exact predictor it draws the images of the data set. If it draws bad images later, it is not your loop.
#
# The result also shows a danger. The oracle is the best possible answer to the training loss, and it **can only copy** the images of its
# data set. Does a trained network copy, too? Kadkhodaie et al. 2023 ([arXiv:2310.02557](https://arxiv.org/abs/2310.02557)) measured it with
# faces: networks copy a small data set, and draw new images from a large one. Section 5.4 looks for copies among the drawings of our
# network, and section 5.7 asks why there are none.
#
# ### When is the digit decided?
#
# Your oracle can answer another question. Take a data set of only two images, a 4 and a 9. Add noise to the 4. With much noise the
# oracle cannot know which of the two it was. With little noise it is sure.
#
# **Predict before you run:** at which SNR does the weight of the 4 pass 0.9: near 10, 1, 0.1 or 0.01?

# %%
prediction = "…"  # write your guess between the quotes

# %%
known = {4, 9} <= set(np.unique(images.y_test))  # other data: the first two images in their place
four, nine = [images.x_test[images.y_test == digit][0] for digit in (4, 9)] if known else images.x_test[:2]
two, apart = np.stack([four, nine]), four - nine
levels = [int(np.abs(np.log(schedule.snr / snr)).argmin()) for snr in np.geomspace(1e-3, 1, 25)]
noise = rng.standard_normal((200, *images.image_shape)).astype("float32")
weights, strip = [], []
for t in levels:
    xt = np.asarray(schedule.add_noise(np.repeat(four[None], 200, axis=0), t, noise))
    x0_hat = np.asarray(oracle(two, schedule, xt, t))  # w · four + (1 − w) · nine
    weights.append(((x0_hat - nine) * apart).sum(axis=(1, 2, 3)) / (apart**2).sum())
    strip.append((xt[0], x0_hat[0]))
snr, sure = schedule.snr[levels], np.mean(np.array(weights) > 0.9, axis=1)

# %%
chosen = range(0, len(levels), 4)
heads = [f"SNR {snr[i]:.2g}\nw = {weights[i][0]:.2f}" for i in chosen]
plots.show(plots.image_table([[strip[i][part] for i in chosen] for part in (0, 1)], ["$x_t$", r"$\hat x_0$"], heads,
                             "A 4 with less and less noise; your oracle knows only this 4 and one 9", scale=1.5),
           "Upper row: a 4 under less and less noise, invisible at first. Lower row: the estimate, first a mixture of "
           "4 and 9, then a clear 4 while the upper row still looks like noise.")
half = snr[np.argmax(sure >= 0.5)]
figure, ax = plots.axes("How often the oracle is sure of the 4, with 200 noises", "SNR", "proportion with w > 0.9")
ax.semilogx(snr, sure, "o-", color=plots.COLOURS["blue"])
ax.axvline(half, color="black", linestyle=":")
plots.show(figure, "A curve that rises from 0 to 1 over the SNR, most of it between 0.003 and 0.06.")
plots.show_prediction(prediction, f"for half of the noises w passes 0.9 at SNR {half:.2g}, "
                      f"for 95 % of them at {snr[np.argmax(sure >= 0.95)]:.2g}")

# %% [markdown]
# In the saved run the two digits part between SNR 0.01 and 0.04. There the noise is far stronger than the signal, and you cannot see the
# digit. But the oracle adds up small hints from hundreds of pixels. Below this range both digits are possible; above it the choice is made.
# [Lesson 6](06_discussion.ipynb) asks the same for the trained network, which must choose among all digits.

# %% [markdown]
# ## 5.4 The network draws
#
# Now a trained network takes the place of the oracle. Your loop stays as it is, with the same coarse schedule of 100 steps.
#
# We use two checkpoints of the lab. `classic` is the network of [lesson 3](03_unet.ipynb), with the linear schedule; it predicts
# the noise. `fast` is a newer network of [lesson 7](07_better_and_faster.ipynb), with the cosine schedule; it predicts $x_0$, and
# `noise_network` makes noise of it.
#
# **Predict before you run:** both draw 64 images. How many of the 64 will be digits with `fast`, and how many with `classic`?

# %%
prediction = "…"  # write your guess between the quotes


# %%
def draw(diffusion, start, rng):
    """Images by the student's loop, on the coarse schedule."""
    steps, coarse = every_tenth(diffusion.schedule)
    network = noise_network(lambda x, k: diffusion.predict_x0(x, int(steps[k])), coarse)
    return np.asarray(loop(network, coarse, start, rng))


start = np.random.default_rng(SEED).standard_normal((settings.samples, *shape), dtype="float32")
own = {what: draw(diffusion, start, np.random.default_rng(SEED + 1))
       for what, diffusion in (("fast", fast), ("classic", classic))}

# %%
classifier = evaluation.load_judges()[1]  # a network that reads digits; section 5.8 says more
found = {}
for what, digits in own.items():
    plots.show(plots.image_grid(digits, f"Your loop with the network {what}, 100 calls", columns=16),
               f"{len(digits)} drawings by {what}: " + ("most are digits that can be read." if what == "fast"
                                                  else "about half are digits, the others blots and strokes."))
    answers = classifiers.predict(classifier, np.clip(digits, -1, 1))
    found[what] = int((scipy.special.softmax(answers, axis=1).max(axis=1) >= 0.9).sum())
plots.show_prediction(prediction, f"a network that reads digits is sure of {found['fast']} of {len(start)} with `fast`, "
                      f"and of {found['classic']} with `classic`")

# %% [markdown]
# With `fast` most drawings are digits. With `classic` about half of them are no digits. **It is the network, not your loop**: the
# loop is the same, and the oracle has tested it. (Section 5.8 counts with 1,000 images and other numbers of calls: the reading
# network is sure of 54 % of the drawings of `classic`, and of 83 % of those of `fast`.)
#
# Look at a good drawing of `classic`, too: you can read it, but the line is uneven. There is room to improve the network, the
# training and the schedule. [Lesson 7](07_better_and_faster.ipynb) does this.
#
# ### New digits or copies?
#
# The oracle could only copy. Does `fast` copy, too? For every drawing we look for the nearest training image. We do the same for
# real *test* digits, to compare.

# %%
if images.sha256 == about["dataset_sha256"]:  # only if the data here are those of the training
    yardstick, _ = metrics.nearest_images(images.x_test[:64], images.x_train)
    rms, nearest = metrics.nearest_images(np.clip(own["fast"], -1, 1), images.x_train)
    for who, one in (("drawn by fast", rms), ("real test digits", yardstick)):
        print(f"distance to the nearest training image, {who}: "
              f"median {np.median(one):.2f}, smallest {one.min():.2f}")
    title = "Drawn by fast, and the nearest training images with their distance"
    rows = [list(own["fast"][:8]), list(images.x_train[nearest[:8]])]
    plots.show(plots.image_table(rows, ["drawn", "nearest"], [f"{d:.2f}" for d in rms[:8]], title, scale=1.2),
               "Eight drawn digits, each above its nearest training image: "
               "similar in form, but not the same strokes.")
else:
    print(f"this machine has {name}, the checkpoint was trained on {about['dataset']}: no comparison")

# %% [markdown]
# A copy has a distance near 0. So look at the *smallest* distance, too: a median would not show a few copies among many new digits.
# In the saved run the smallest distance of a drawing is larger than that of a real test digit. So none of these drawings is a copy.
# But `fast` was trained with the loss whose best answer is the oracle. Section 5.7 asks why it draws something else.
#
# ## 5.5 Watch it happen
#
# We look at two things during sampling: the noisy state $x_t$, and the estimate $\hat x_0$ that the network makes from it.
#
# **Predict before you run:** at t = 500, half way, is $\hat x_0$ of `fast` already a digit? And can you see one in $x_t$?

# %%
prediction = "…"  # write your guess between the quotes

# %%
calls = settings.sample_steps  # 1000, all steps; fewer in a test
start = np.random.default_rng(SEED).standard_normal((6, *shape), dtype="float32")
film = {}
for what, diffusion in (("fast", fast), ("classic", classic)):
    states = sampling.trajectory(diffusion, start, seed=SEED, steps=calls, chunk=max(calls // 40, 1))
    film[what] = [(t, np.asarray(xt), np.asarray(x0)) for t, xt, x0 in states]
times = [t for t, _, _ in film["fast"]]
wanted = [999, 799, 599, 499, 399, 299, 99, -1]
chosen = [min(range(len(times)), key=lambda i: abs(times[i] - t)) for t in wanted]

# %%
rows, labels = [], []
for image in range(2):
    rows += [[film["fast"][i][part][image] for i in chosen] for part in (1, 2)]
    rows.append([film["classic"][i][2][image] for i in chosen])
    labels += [f"fast, $x_t$ ({image + 1})", rf"fast, $\hat x_0$ ({image + 1})", rf"classic, $\hat x_0$ ({image + 1})"]
heads = [f"t={times[i]}" if times[i] >= 0 else "done" for i in chosen]
plots.show(plots.image_table(rows, labels, heads, "The reverse process: noisy state and estimate", scale=1.2),
           "Film strip of two samples. The state x_t of fast looks like noise for the first half. The estimate of fast is "
           "a grey blur at t = 999, and becomes a digit on the way. The estimate of classic is nearly all "
           "white at t = 999, and then a blot.")
middle, last = film["fast"][chosen[3]], film["fast"][-1]
gap = np.sqrt(np.mean((middle[2] - last[1]) ** 2))
first = np.sqrt(np.mean((film["fast"][0][2] - last[1]) ** 2))
plots.show_prediction(prediction, f"at t = {middle[0]} the SNR is {fast.schedule.snr[middle[0]]:.2f}; the estimate is "
                      f"{gap:.2f} away from the finished image (at t = 999: {first:.2f})")

# %% [markdown]
# Half way, $\hat x_0$ is nearly the finished drawing, only less sharp. In $x_t$ itself you can see the digit only weakly, under
# strong noise.
#
# Look at the first column. `fast` starts with a grey blur: from pure noise nobody can know the digit, so the best estimate is the
# average of all digits. `classic` starts with **white**. Why? It predicts the noise, and $\hat x_0$ contains the error of this noise
# divided by $\sqrt{\bar\alpha_t}$. The next cell shows the numbers.

# %%
t, xt, x0_hat = film["classic"][0]
left = schedule.alpha_bars[t]  # what is left of the image
predicted = np.asarray(classic.predict_noise(xt, t))
print(f"classic at t = {t}: the predicted noise is too dark by {np.mean(xt - predicted):.4f} on average")
print(f"1/√ᾱ = {1 / np.sqrt(left):.0f}, so the mean of x̂_0 is {x0_hat.mean():.2f}; "
      f"{np.mean(np.abs(x0_hat) > 1):.0%} of its pixels lie outside ±1")

# %%
frames = [np.concatenate([xt, x0]) for _, xt, x0 in film["fast"][::2]]
titles = [f"t = {t}: state above, estimate below" if t >= 0 else "done" for t in times[::2]]
plots.show_animation(frames + [frames[-1]] * 4, titles + [titles[-1]] * 4, columns=6,
                     alt="Animation: six noisy states above and the six estimates of fast below; "
                         "grey blurs turn into strokes and then into digits.")

# %% [markdown]
# When is the picture decided? The next figure shows how much the estimate changes on the way.

# %%
figure, ax = plots.axes(rf"Change of the estimate $\hat x_0$ in {max(calls // 40, 1)} steps", "t",
                        "root mean square change", size=(8, 4))
for (what, states), line, colour in zip(film.items(), ("o-", "s--"), ("blue", "red")):
    estimates = [np.clip(x0, -1, 1) for _, _, x0 in states]
    change = [np.sqrt(np.mean((new - old) ** 2)) for old, new in zip(estimates[:-1], estimates[1:])]
    ax.plot(times[:-1], change, line, markersize=3, color=plots.COLOURS[colour], label=what)
    print(f"{what}: largest change {max(change):.2f}, near t = {times[int(np.argmax(change))]}")
ax.invert_xaxis()
ax.legend()
plots.show(figure, "The change of the estimate over t, from 999 on the left to 0 on the right. classic has a high "
           "peak near t = 925. fast changes most in the first half. Both change little at the end.")

# %% [markdown]
# The peak of `classic` near t = 925 is the correction of its white start. After that, the shape of both is decided in many small
# changes. At the end the changes are small: only details are left.
#
# This lab does not change $\hat x_0$. Many programs clip it to [−1, 1] in every step. [Lesson 7](07_better_and_faster.ipynb) tries it.
#
# ## 5.6 Fewer calls: keep the noise
#
# A thousand calls of the network for one picture are many. (Papers count them as NFE, the number of function evaluations.) Can we
# go from step t to a much earlier step s at once?
#
# Each step of your loop removes noise, and then adds fresh noise z. Perhaps the fresh noise is not needed.
#
# **Predict before you run:** what does the loop draw if z = 0 in all steps?

# %%
prediction = "…"  # write your guess between the quotes


# %%
def without_noise(schedule, steps):
    """Ancestral sampling with z = 0: the mean of every step, and nothing else."""
    table = samplers.SAMPLERS["ddpm"](schedule, steps)
    return replace(table, sigma=np.zeros_like(table.sigma))


count = min(settings.few_samples, 8)
start = np.random.default_rng(SEED).standard_normal((count, *shape), dtype="float32")
walk = sampling.trajectory(fast, start, sampler=without_noise, steps=100, chunk=25, x0=False)
states = {t: np.asarray(x) for t, x, _ in walk}
plots.show(plots.image_table([list(own["fast"][:count]), list(states[-1])], ["with z", "z = 0"], [""] * count,
                             "fast: the same starting noise, with and without fresh noise", scale=1.2),
           "Top: digits drawn with fresh noise in every step. Bottom: drawn from the same starts "
           "with z = 0 in all steps: the same thin 1 each time.")
same = np.sqrt(np.mean((states[-1] - states[-1].mean(axis=0)) ** 2))
different = np.sqrt(np.mean((own["fast"][:count] - own["fast"][:count].mean(axis=0)) ** 2))
ratios = {}
for t in sorted(states, reverse=True)[1:-1]:
    kept = fast.schedule.alpha_bars[t]
    ratios[t] = states[t].std() / np.sqrt(kept * images.x_test.var() + 1 - kept)
plots.show_prediction(prediction, f"nearly the same image from all starts: their spread is {same:.2f}, with z it is "
                      f"{different:.2f}. The standard deviation of the state, as a part of that in training, is "
                      + ", ".join(f"{ratio:.2f} at t = {t}" for t, ratio in ratios.items()))

# %% [markdown]
# All starts end at the same image. The mean of a Gaussian is not a sample of it: each step of ancestral sampling removes *more* noise than
# the level changes, and z brings a part back. Without z the state soon has far less noise than in training. Then the random start is
# forgotten, and the network sees states for which it was not trained.
#
# But there is another way to have the right amount of noise: **keep the noise that is in the state**. The network says which part
# of $x_t$ is noise. This is the idea of DDIM (Song, Meng, Ermon 2020, [arXiv:2010.02502](https://arxiv.org/abs/2010.02502)).

# %% [markdown]
# ### Exercise 5.4 – a step without fresh noise
# *4 points · code · difficulty ●●●○ · about 20 minutes*
#
# Write `ddim_step(schedule, x, t, s, predicted_noise)`. It goes from step t to any earlier step s and returns $x_s$. This sentence is all
# you need: **write $x_t$ as signal and noise; keep both; mix them again at level s.** The step s = −1 means the end: there no noise is left.
#
# <details><summary>Hint: signal and noise</summary>
#
# How was $x_t$ made in [lesson 2](02_forward_noising.ipynb)? You know the noise. What does section 5.2 say about the image?
# </details>
#
# <details><summary>Hint: test it yourself</summary>
#
# Make $x_{500}$ from a digit with a noise that you know (`schedule.add_noise`). Give your step this noise. Which image should it return
# for s = 300? And for s = −1?
# </details>
#
# <details><summary>Help: "for s = −1 Python takes the last ᾱ of the table"</summary>
#
# What does the index −1 mean in Python? And which $\bar\alpha$ has an image without any noise?
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-5-4-ddim-step", "grade": false, "solution": true, "locked": false, "task": false}
def ddim_step(schedule, x, t, s, predicted_noise):
    """x_s from x_t with s < t, without fresh noise; s = -1 is the clean image."""
    ### BEGIN SOLUTION
    bar = schedule.alpha_bars[t]
    new_bar = 1.0 if s < 0 else schedule.alpha_bars[s]
    x0 = (x - np.sqrt(1 - bar) * predicted_noise) / np.sqrt(bar)
    return np.sqrt(new_bar) * x0 + np.sqrt(1 - new_bar) * predicted_noise
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-5-4-ddim-step", "grade": true, "solution": false, "locked": true, "points": 4, "task": false}
checks.check_ddim_step(ddim_step)

# %% [markdown]
# Your step may be as large as you like. So the number of calls is free. The steps are evenly spaced: the first call is at
# t = T − 1, and each call covers the same number of steps, the last one, too (Lin et al. 2023,
# [arXiv:2305.08891](https://arxiv.org/abs/2305.08891)).
#
# **Predict before you run:** your step draws from the same noise with 1, 2, 5, 20 and 50 calls. How many calls are enough for a
# digit? Do more calls give another digit?

# %%
prediction = "…"  # write your guess between the quotes


# %%
def ddim_by_labutils(schedule, x, t, s, predicted_noise):
    """The same by labutils, which wants to know the levels and x̂_0."""
    level, next_level = schedule.alpha_bars[t], 1.0 if s < 0 else schedule.alpha_bars[s]
    return samplers.ddim_step(x, schedule.predict_x0(x, t, predicted_noise), level, next_level)[0]


own_step = checks.check_ddim_step.answer_or(ddim_by_labutils)


def draw_by_steps(diffusion, x, calls):
    """From noise x to images with the student's step."""
    steps = [*samplers.spaced_steps(diffusion.schedule.T, calls).tolist(), -1]
    for t, s in zip(steps, steps[1:]):
        predicted_noise = np.asarray(diffusion.predict_noise(x, t))
        x = np.asarray(own_step(diffusion.schedule, x, t, s, predicted_noise), dtype="float32")
    return x


by_calls = {calls: draw_by_steps(fast, start, calls) for calls in (1, 2, 5, 20, 50)}

# %%
labels = ["1 call", *(f"{calls} calls" for calls in list(by_calls)[1:])]
plots.show(plots.image_table([list(drawn) for drawn in by_calls.values()], labels, [""] * count,
                             "fast with your step: one starting noise a column", scale=1.1),
           "Five rows of drawings from the same noise. One call gives grey blurs, two calls soft forms. "
           "From 5 calls on most are digits, and the digit of a column stays nearly the same.")
gaps = [np.sqrt(np.mean((np.clip(by_calls[c], -1, 1) - np.clip(by_calls[50], -1, 1)) ** 2)) for c in (1, 2, 5, 20)]
plots.show_prediction(prediction, "root mean square difference from the image with 50 calls: "
                      + ", ".join(f"{gap:.2f} with {calls}" for calls, gap in zip(by_calls, gaps)))
*_, (_, compiled, _) = sampling.trajectory(fast, start, sampler="ddim", steps=20)
assert np.abs(by_calls[20] - np.asarray(compiled)).max() < 0.05  # your step, and labutils' fast loop

# %% [markdown]
# One call can only draw the average of all digits. From about five calls on you see digits, and more calls refine nearly always
# the *same* digit. That is new: nothing is random after the start, so the image is a function of the starting noise. With ever
# smaller steps, the way of x becomes a smooth curve, the solution of a differential equation (ODE).
#
# ### From one drawing to another
#
# So we can also go *between* two starting noises. We go along a circle:
# $x(u) = \cos(\tfrac{\pi}{2} u)\, x_A + \sin(\tfrac{\pi}{2} u)\, x_B$. The points of a straight line would have too small a variance.

# %%
turn = np.linspace(0, np.pi / 2, 8, dtype="float32").reshape(-1, 1, 1, 1)
pairs = np.random.default_rng(SEED + 2).standard_normal((3, 2, *shape), dtype="float32")
between = np.concatenate([np.cos(turn) * a + np.sin(turn) * b for a, b in pairs])
spread, straight = between.std(axis=(1, 2, 3)), [((a + b) / 2).std() for a, b in pairs]
print(f"standard deviation on the circle: {spread.min():.2f} to {spread.max():.2f}; "
      f"half way on a straight line: {min(straight):.2f} to {max(straight):.2f}")
drawn = draw_by_steps(fast, between, 20)
heads = [f"{u:.0%}" for u in np.linspace(0, 1, 8)]
plots.show(plots.image_table([list(row) for row in drawn.reshape(3, 8, *shape)], ["A to B", "C to D", "E to F"], heads,
                             "Between two starting noises, 20 calls of fast with your step", scale=1.2),
           "Three rows; in each, eight drawings that change shape step by step "
           "from the first to the last.")

# %% [markdown]
# Neighbouring noises give similar drawings. The digit changes its form step by step, and at some places it turns into another digit.
#
# ## 5.7 Why does it not copy?
#
# The drawing is now a function of the starting noise. Your oracle of section 5.3 is such a function, too. `fast` was trained to
# make the squared error small, and the oracle of its training images makes it smallest. So give both the same noise, and see where they differ.
#
# What is different? The oracle compares $x_t$ with *whole* images. `fast` is built of 3×3 convolutions, so it works mostly with
# what is near. Kamb & Ganguli 2024 ([arXiv:2412.20292](https://arxiv.org/abs/2412.20292)) made a second oracle from this idea. It
# asks at every pixel: **which images could the *patch* around this pixel come from?** A patch is a small square. So the weights of the images are
# different from pixel to pixel. One half of a stroke may come from one image, and the other half from another.

# %% [markdown]
# ### Exercise 5.5 – an oracle that sees only patches
# *4 points · code · difficulty ●●●○ · about 20 minutes*
#
# Write `patch_x0(images, schedule, x, t, patch)`. To keep it simple there is one noisy image x (H, W), the data set is `images` (N, H, W), and
# there is no axis for colours. The result is $\hat x_0$, an array (H, W). Each pixel of $\hat x_0$ is a weighted mean of the values that the images
# have *at this pixel*. The weight of an image at this pixel is the probability that the *patch* of x around this pixel came from this image.
#
# `sampling.patch_sums(values, patch)` helps: it returns an array of the same shape (…, H, W), with the sum over the patch × patch pixels
# around each pixel. At the edge of the image the patch is cut. If the patch is the whole image, your function must agree with exercise 5.3.
#
# <details><summary>Hint: where does the patch come in?</summary>
#
# In exercise 5.3 the evidence for an image was one sum over all its pixels. Which pixels may count for the pixel p? For how many pixels p do you
# need such a sum?
# </details>
#
# <details><summary>Hint: shapes</summary>
#
# How many weights are there now? One for each image *and* each pixel, an array (N, H, W). Over which axis must their sum be 1?
# </details>
#
# <details><summary>Help: "must it be the same for all pixels?"</summary>
#
# Which exponents are compared with each other: those of one image at all pixels, or those of all images at one pixel?
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-5-5-patch-x0", "grade": false, "solution": true, "locked": false, "task": false}
def patch_x0(images, schedule, x, t, patch):
    """x̂_0 of one noisy image x (H, W), if each pixel is judged by the patch around it."""
    ### BEGIN SOLUTION
    bar = schedule.alpha_bars[t]
    squares = (x - np.sqrt(bar) * images) ** 2  # (N, H, W)
    exponents = -sampling.patch_sums(squares, patch) / (2 * (1 - bar))
    weights = np.exp(exponents - exponents.max(axis=0))
    return np.sum(weights * images, axis=0) / weights.sum(axis=0)
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-5-5-patch-x0", "grade": true, "solution": false, "locked": true, "points": 4, "task": false}
checks.check_patch_x0(patch_x0)

# %% [markdown]
# ### How wide is the patch?
#
# The idea does not say how wide the patch is. So we read the width off the network. `fast` drew from eight noises with 20 calls. At each
# call, its $\hat x_0$ was compared with that of the formula (the oracle of patches) for eight widths, with 10,000 training images.
# (`python -m benchmarks.copying` repeats all the recorded numbers of this section.)
#
# **Predict before you run:** at which end does the network look at the larger patch: under much noise, or under little?

# %%
prediction = "…"  # write your guess between the quotes

# %%
recorded = results.recorded("copying")
if recorded:
    steps = [row for row in recorded["rows"] if "step" in row]
    at, variance = [row["t"] for row in steps], [row["variance"] for row in steps]
    widths = {row["t"]: row["best"]["patch"] for row in steps}  # 55 is the whole image
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.5))
    left.plot(np.repeat(at, 8), np.ravel([row["best_of_each"]["patch"] for row in steps]), "o", alpha=0.3,
              color=plots.COLOURS["blue"], label="one noise")
    left.plot(at, widths.values(), "k_-", label="best on average of 8 noises")
    left.set(title="The patch that agrees best with fast", xlabel="t", ylabel="width in pixels (55: whole image)", yscale="log")
    left.set_yticks([3, 5, 7, 9, 11, 15, 21, 55], [3, 5, 7, 9, 11, 15, 21, 55])
    left.minorticks_off()
    for width, line, colour in (("55", "s--", "red"), ("7", "^:", "pink"), ("best", "o-", "blue")):
        errors = [row["errors"]["patch"][str(row["best"]["patch"]) if width == "best" else width][0] for row in steps]
        label = {"55": "whole image", "7": "7 pixels", "best": "best width"}[width]
        right.plot(at, np.array(errors) / variance, line, color=plots.COLOURS[colour], label=label)
    right.set(title=r"How far is the formula from the network's $\hat x_0$?", xlabel="t", ylabel=r"mean squared difference / variance of $\hat x_0$")
    for ax in (left, right):
        ax.invert_xaxis()
        ax.legend()
    plots.show(figure, "Left: the best width falls from the whole image near t = 950 over 15, 9 and 5 pixels to 3 pixels; "
               "between t = 850 and 600 single noises differ much. Right: at t = 999 all three curves meet; below t = 850 the "
               "whole image is far away, and the best width stays near.")
    plots.show_prediction(prediction, "under much noise. Best width: " + ", ".join(f"{widths[t]} at t = {t}" for t in at[1::3]))

# %% [markdown]
# At t = 999 the width does not matter: $x_t$ holds hardly a hint, and every width gives nearly the mean of all images. At t = 949 and 899 the
# whole image agrees best. Then the patch shrinks: 15 pixels at t = 799, 9 at 649, 5 at 349, and 3 from t = 299 on. A likely reason: under much
# noise a small patch tells too little about the digit; under little noise the neighbours of a pixel tell nearly all about it.
#
# In the right panel the whole-image oracle leaves the network below t = 850. At t = 599 its mean squared difference is a third of the
# variance. With the best width it is 0.07 of the variance. The fit is worst near t = 750: there the dots on the left reach from 9 pixels
# to the whole image, so each noise has its own best width.
#
# ### Network, patches, whole images
#
# Now both oracles draw, from noises that were *not* used to find the widths. Every call of the network becomes a call of your function.
#
# **Predict before you run:** which of the two oracles will draw what `fast` draws? And can patches make a whole digit at all?

# %%
prediction = "…"  # write your guess between the quotes


# %%
def drawn_by(x0_of, start):
    """20 of your steps without fresh noise; a function (x, t) → x̂_0 takes the network's place."""
    return np.clip(draw_by_steps(Diffusion(noise_network(x0_of, fast.schedule), fast.schedule), start, 20), -1, 1)


def r_squared(a, b):
    """1 if two images are equal, 0 if b is no better than a grey image."""
    return 1 - np.sum((a - b) ** 2) / np.sum((a - a.mean()) ** 2)


def patch_x0_by_labutils(images, schedule, x, t, patch):
    """The same by labutils, for many noisy images with colours."""
    return sampling.local_x0(images[..., None], schedule, x[None, ..., None], t, patch)[0, ..., 0]


patch_oracle = checks.check_patch_x0.answer_or(patch_x0_by_labutils)
same_data = recorded and images.sha256 == about["dataset_sha256"]  # fast was trained on MNIST

# %%
if same_data:
    known = images.x_train[np.random.default_rng(SEED).permutation(len(images.x_train))[:min(settings.train_images, 1_000)]]
    start = np.random.default_rng(SEED + 3).standard_normal((8, *shape), dtype="float32")
    drawn = {"fast": np.clip(draw_by_steps(fast, start, 20), -1, 1)}
    drawn["patches"] = drawn_by(lambda x, t: np.stack([patch_oracle(known[..., 0], fast.schedule, one.copy(), t, widths[t])
                                                       for one in x[..., 0]])[..., None], start)
    drawn["whole images"] = drawn_by(lambda x, t: oracle(known, fast.schedule, x, t), start)
    agree = {who: [r_squared(a, b) for a, b in zip(drawn["fast"], other)] for who, other in drawn.items()}
    heads = [f"{a:.2f} | {b:.2f}" for a, b in zip(agree["patches"], agree["whole images"])]
    title = f"From the same noise: fast, and your two oracles of {len(known):,} images ($r^2$: patches | whole images)"
    plots.show(plots.image_table([list(x) for x in drawn.values()], list(drawn), heads, title, scale=1.3), "Three rows of drawings from the same "
               "noises: clear strokes by fast; rougher ones of similar form by patches, some of them broken; stored digits by whole images.")
    plots.show_prediction(prediction, "median r² with the drawings of fast: "
                          + ", ".join(f"{who} {np.median(agree[who]):.2f}" for who in ("patches", "whole images")))
else:
    print(f"this machine has {name}, the checkpoint was trained on {about['dataset']}: no comparison")

# %% [markdown]
# The number above each column is $r^2 = 1 - \sum(a-b)^2 / \sum(a-\bar a)^2$, with the drawing a of the network and b of the formula: 1 means
# equal, 0 means no better than a grey image. Patches do make whole digits, but some are broken. Eight noises and 1,000 images are few.
# The recorded table has 32 other noises, and 10,000 images.
# "Soft patch" has no sharp edge: the squares count less and less with the distance (`soft=True` in `sampling.patch_sums`). The whole image, one
# width at all steps (7 pixels) and the widths in reverse order should be *worse*, if the idea is right.

# %%
if recorded:
    lines = [row for row in recorded["rows"] if "drawings" in row]
    plots.show_table(
        ["oracle", "images", "r² with fast, median (95 %)", "with the drawing from another noise", "same digit", "copies"],
        [[row["drawings"], f"{row['images']:,}", "{:.2f} ({:.2f} to {:.2f})".format(*row["r2"]),
          f"{row['r2_shuffled'][0]:.2f}", f"{row['same_digit'][0]:.0%}", f"{row['copies'][0]:.0%}"] for row in lines])
    of_each = {row["drawings"]: row["r2_of_each"] for row in lines if row["images"] == 10_000}
    for other in ("whole image", "one width", "widths in reverse order", "soft patch"):
        differences = np.subtract(of_each["patch"], of_each[other])
        value, low, high = metrics.bootstrap(np.median, differences, resamples=1_000, rng=0)
        print(f"r², patch − {other}, median of the differences: {value:+.2f} (95 %: {low:+.2f} to {high:+.2f})")
    print(f"copies among the drawings of fast: {lines[0]['network']['copies'][0]:.0%}; a copy is nearer to a training image "
          "than 99 % of the real test digits")

# %% [markdown]
# In the recorded rows the oracle of patches is nearer to `fast` than the oracle of whole images: r² is 0.65 (0.57 to 0.73) against 0.41 (0.24 to
# 0.57), and the difference for the same noise is 0.24 (0.17 to 0.31). With the drawing from *another* noise r² is negative. So the formula
# does predict this one drawing, and not just any digit. (The intervals are over starting noises. All of them are for one network.)
#
# The oracle of whole images draws only copies. The oracle of patches draws **no copies**, though it knows nothing but stored images: it puts
# new digits together from patches of many images. Only one thing is different, the patch. And the network agrees better with patches. So this
# is a likely reason why its digits are new.
#
# The other rows test the widths. With one width at all steps r² is 0.40, and with the widths in reverse order 0.16. The lines below the table show
# both differences: neither interval holds 0. In reverse order the last calls see the whole image, and all drawings are copies.
# So small patches in the early calls alone do not prevent copies.
#
# What does the formula leave out?
#
# - It is only a part of the answer: an r² of 0.65 is far from 1. In a *single* call the formula is much nearer: the right panel above says
#   1 − 0.12 = 0.88 at the worst t. But a small difference in an early call changes all later ones. And the network's strokes hold together better.
#   A network that reads digits sees the same digit in 44 % of the pairs with patches, and in 62 % with whole images. The intervals of these
#   proportions (28 to 61 %, and 45 to 77 %) overlap widely: 32 pairs are too few to tell the two apart.
# - A soft edge brings most single calls nearer to the network (the result file shows it), but not the drawings: their r² differs by 0.01
#   (−0.02 to 0.04).
# - The layers of `fast` together reach 30 pixels to each side. So it *could* look at the whole image at every t. The formula has a sharp
#   limit, and one width for the whole image and all digits.
# - We fitted the widths to the network, on other noises. The formula does not predict them. (The paper fits them to its networks, too.)
# - Our patches stay at their place. The filters of a convolution are the same at every place, so the paper's best formula may take
#   a patch from anywhere. It reaches a median r² of 0.94 on MNIST, with networks of the authors.
# - `fast` has no attention, which connects pixels that are far apart at once. For networks with attention the paper reports 0.77 (on CIFAR10).
#
# ### And when it does copy
#
# The other side of the question: can this network copy at all? The next table shows `fast`, trained anew on a few images, with 2,000 steps of
# 16 images for each row. A copy is defined as above. The last column compares the nearest training image with the nearest of *as many images that the network never
# saw*: a ratio near 1 means that the drawings are not nearer to what it knows.

# %%
if recorded:
    trained = sorted((row for row in recorded["rows"] if "trained_on" in row), key=lambda row: row["trained_on"])
    plots.show_table(
        ["trained on", "seed", "copies (95 %)", "nearest image it knows", "nearest of as many others", "ratio (95 %)"],
        [[f"{row['trained_on']:,} images", row["seed"], "{:.0%} ({:.0%} to {:.0%})".format(*row["copies"]),
          f"{row['nearest_known']:.2f}", f"{row['nearest_unknown']:.2f}", "{:.2f} ({:.2f} to {:.2f})".format(*row["ratio"])]
         for row in trained])

# %% [markdown]
# After 16 images nearly all drawings are copies, after 256 or 4,096 none is. With equal steps the network saw each of 16 images 2,000 times, and
# each of 256 images only 125 times. So the table does not say what more steps would do to the row of 256. Kadkhodaie et al. (section 5.3) found
# the same for faces: a network copies a small data set, and draws new images after a large one. So both belong to the answer: the form of the
# network (patches), and many images for the length of the training.
#
# ## 5.8 How good are they? Quality as a number
#
# A few pictures say little about quality. The noise MSE of [lesson 4](04_training.ipynb) says nothing about a sampler: the network
# is the same. So we measure many *images*. Two small networks are the judges; they were not used for drawing. One describes an image by
# 128 numbers, its *features*. The other reads digits.
#
# - **Fréchet distance**: how far apart are the features of drawn and of real images? It compares their means and how they vary
#   together (Heusel et al. 2017, [FID](https://arxiv.org/abs/1706.08500)). Papers use another judge, so you cannot compare our numbers
#   with theirs.
# - **precision**: the proportion of the drawn images that lie among the real ones. **recall**: the proportion of the real images that
#   lie among the drawn ones (Kynkäänniemi et al. 2019, [arXiv:1904.06991](https://arxiv.org/abs/1904.06991)). This precision
#   has nothing to do with the 1/variance of section 5.1.
# - **recognised**: the proportion of the drawn images for which the second judge gives one digit a probability of at least 0.9.
#
# Each number stands beside the same number for *real images*, a **reference value**. A distance of drawn images cannot be clearly below it. A
# proportion can be above it, if the drawings are easier to read than real digits; then recall usually falls. Always compare with the
# same number of images: the Fréchet distance becomes smaller if you take more.
#
# We compare two samplers. `ddpm` is your loop, over larger steps. `dpmpp_2m` is your step with one addition: it looks at the last two
# estimates and continues their straight line over ½ ln SNR (Lu et al. 2022, [DPM-Solver++](https://arxiv.org/abs/2211.01095)).
#
# **Predict before you run:** `classic` with 20 calls: will `ddpm` (fresh noise) or `dpmpp_2m` (none) draw better?

# %%
prediction = "…"  # write your guess between the quotes

# %%
most = min(len(images.x_train[classifiers.held_out(images.x_train)[1]]), len(images.x_test))
count = min(settings.measured_images, most)
comparable = images.image_shape == shape and count > 128  # the judges know 28×28×1, by 128 features
if not comparable:
    print(f"the judges know images of shape {shape} and need more than 128 of them: nothing measured on {name}")
measured = {}
for sampler in ("ddpm", "dpmpp_2m") if comparable else ():
    drawn = sampling.sample(classic, count, sampler=sampler, steps=20, seed=SEED)
    found = evaluation.evaluate(np.clip(drawn, -1, 1), images, seed=SEED, progress=False,
                                resamples=100 if PRESET != "smoke" else 10)
    measured[sampler] = {key: found[key] for key in ("frechet", "precision", "recall", "recognised")}
    print(f"{sampler}, 20 calls, against {name}")
    print(evaluation.table(measured[sampler], count), "\n")

# %% [markdown]
# First compare a number with the last column. Then look at the intervals.
#
# **What an interval covers.** If we drew again with other noise, the number would change a little. The 95 % interval says how much. It is for
# *this* network, these real images and these judges. It does not say how another training of the network would do.
#
# **Is a difference more than chance?** If two 95 % intervals lie apart, it is. If they overlap, you do not know yet: compute the interval of
# the *difference*. Errors that are independent add like the sides of a right triangle. So the half-widths $h_1$ and $h_2$ of two
# intervals give the half-width $\sqrt{h_1^2 + h_2^2}$ of their difference, which is less than $h_1 + h_2$.

# %%
def difference(one, other):
    """The difference of two measures with its 95 % interval: (value, low, high)."""
    half = np.hypot((one.high - one.low) / 2, (other.high - other.low) / 2)
    value = one.value - other.value
    return value, value - half, value + half


def in_words(one, other):
    """The difference in words, and its size in standard errors, z; |z| > 1.96 is unlikely by chance."""
    value, low, high = difference(one, other)
    overlap = "overlap" if one.low < other.high and other.low < one.high else "lie apart"
    return (f"{value:+.3f} (95 %: {low:+.3f} to {high:+.3f}), z = {1.96 * value / (high - value):+.2f}; "
            f"the two intervals {overlap}")


if comparable:
    found = {key: in_words(one, measured["dpmpp_2m"][key]) for key, one in measured["ddpm"].items()}
    for key, words in found.items():
        print(f"{key:11} ddpm − dpmpp_2m: {words}")
    plots.show_prediction(prediction, f"Fréchet distance, ddpm − dpmpp_2m: {found['frechet']}")

# %% [markdown]
# In the saved run `ddpm` is nearer to real digits: its Fréchet distance is lower, and the intervals lie apart. The precision is
# the interesting case: 0.634 and 0.570. The two intervals overlap, and still the interval of the difference does not contain 0 (z
# = 2.08). But we looked at four measures. Even if two samplers are equal, on average one of twenty comparisons has |z| > 1.96. So
# this is weak evidence.
#
# ### Quality against calls
#
# The next figure shows recorded measurements with 1,000 images each. `python -m benchmarks.quality` repeats them.
#
# **Predict before you run:** does `classic` with a thousand calls draw better or worse than `fast` with ten?

# %%
prediction = "…"  # write your guess between the quotes

# %%
recorded = results.recorded("quality")
if recorded:
    figure, panels = plt.subplots(1, 2, figsize=(13, 4.8))
    for ax, key, label in zip(panels, ("frechet", "recognised"), ("Fréchet distance", "proportion recognised")):
        curves = {f"{checkpoint}, {sampler}": results.curve(recorded, key, checkpoint=checkpoint, sampler=sampler)
                  for checkpoint, sampler in (("classic", "ddpm"), ("classic", "dpmpp_2m"), ("classic", "ddim"),
                                              ("fast", "dpmpp_2m"))}
        plots.measure_curves(ax, curves, recorded["rows"][0]["measures"][key]["floor"])
        ax.set(title=label, ylabel=label, ylim=(0, None))
    panels[0].legend()
    figure.suptitle(f"Quality against calls ({recorded['images']:,} images each, 95 % intervals)")
    plots.show(figure, "Left: Fréchet distance against the number of calls; the three curves of classic lie far above real "
               "images and become flat, fast lies much lower. Right: proportion recognised, about a half for classic "
               "with every sampler, about 0.8 for fast.")


def recorded_measure(checkpoint, sampler, calls, key="frechet"):
    """One recorded measure."""
    wanted = {"checkpoint": checkpoint, "sampler": sampler, "calls": calls}
    return next(evaluation.Measure(**row["measures"][key]) for row in recorded["rows"] if wanted.items() <= row.items())


# %%
pairs = [("classic", "ddpm", 1000), ("fast", "dpmpp_2m", 10)], [("classic", "ddpm", 50), ("classic", "ddpm", 1000)], \
        [("classic", "dpmpp_2m", 20), ("classic", "dpmpp_2m", 10)], [("classic", "dpmpp_2m", 20), ("classic", "ddpm", 1000)]
if recorded:
    print(f"Fréchet distance of real images: {recorded['rows'][0]['measures']['frechet']['floor']:.1f}")
    found = []
    for pair in pairs:
        one, other = (recorded_measure(*each) for each in pair)
        value, low, high = difference(one, other)
        names = " − ".join("{}, {}, {} calls".format(*each) for each in pair)
        found.append(f"{one.value:.1f} − {other.value:.1f} = {value:+.1f} ({low:+.1f} to {high:+.1f})")
        print(f"{names}: {found[-1]}")
    plots.show_prediction(prediction, f"worse. Fréchet distance of classic with 1000 calls − fast with 10: {found[0]}")

# %% [markdown]
# Three things to see:
#
# - **The network matters more than the number of calls.** `classic` with a thousand calls is much farther from real digits than `fast`
#   with ten.
# - **After 50 calls we measure no gain.** For `classic` with `ddpm`, 50 and 1000 calls differ by 0.6 (−7.5 to 8.7). So a gain of
#   more than about 9 is unlikely; a small one is possible.
# - **`dpmpp_2m` stops.** From 10 calls on its distance stays at 136 to 139, and `ddpm` goes on to 111. A better solver makes
#   the error of large steps small. But the error of the network stays. A likely reason for the lower value of `ddpm` is that
#   fresh noise covers a part of earlier errors, and the network can correct them (Karras et al. 2022,
#   [EDM](https://arxiv.org/abs/2206.00364), section 4).
#
# The reference value in this figure is 3.2, with 1,000 real images. In the table above it was measured with fewer images, and it is larger.
# So you see why only equal numbers of images may be compared.

# %% [markdown]
# ### Exercise 5.6 – what may you write?
# *3 points · in words, marked by your instructor · difficulty ●●○○ · about 5 minutes*
#
# A friend reads the recorded results: `fast` with 10 calls has the Fréchet distance 37.6 (95 %: 32.5 to 42.7) with `dpmpp_2m` and 43.8
# (38.4 to 49.3) with `ddim`. He writes: "The intervals overlap, so the two samplers are equally good." Compute the interval of the
# difference. Say what you may write instead. And name one kind of chance that this interval does not cover.

# %% [markdown] nbgrader={"schema_version": 3, "grade_id": "text-5-6-difference", "grade": true, "solution": true, "locked": false, "points": 3, "task": false}
# <!-- ### BEGIN SOLUTION -->
# 1 point: the difference is 43.8 − 37.6 = 6.2. Its half-width is √(5.1² + 5.5²) = 7.5, so the interval is −1.3 to 13.7.
#
# 1 point: the interval contains 0, so 1,000 images do not decide. "Equally good" is wrong, too: a difference of 13 is possible. More images
# would decide.
#
# 1 point: one of these: another training of `fast`; other judges; other real images.
# <!-- ### END SOLUTION -->

# %% [markdown]
# ## Remember
# - The posterior $q(x_{t-1}\mid x_t, x_0)$ is a Gaussian. Its variance is β̃, and its mean can be written with $x_0$ or with ε.
# - $x_{t-1} = \sqrt{1/\alpha_t}\,\big(x_t - \tfrac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\varepsilon_\theta\big) + \sqrt{\tilde\beta_t}\,z$, and no noise
#   at t = 0.
# - Test a loop with an exact predictor first. Then a bad picture means a bad network.
# - The perfect predictor of a finite data set copies it. A predictor that sees only patches draws new digits, much as `fast` does.
# - Keep signal and noise, and mix them again at another level: this step needs no fresh noise, and 20 calls in place of 1000.
# - A quality number needs the value of real images beside it, its interval and the number of images. To compare two, compute
#   the interval of the difference.
#
# [Lesson 6](06_discussion.ipynb) discusses what you have seen. More samplers, the cost of a call, and drawing a certain digit:
# [lesson 7](07_better_and_faster.ipynb) and [lesson 8](08_text_to_image.ipynb).
