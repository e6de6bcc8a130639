# %% [markdown]
# # 5 · Sampling: from noise to digits
#
# The network can find the noise in an image. Now we walk back: start from pure noise, take a little of the predicted noise
# away, a thousand times. First we derive the step, then test the sampler where the right result is known, and only then
# let the network draw.
#
# **You will be able to**
# - derive the reverse step and say what β̃ is;
# - write ancestral sampling (each state is drawn from the one before, with fresh noise), and test it against an exact
#   answer;
# - watch x_t and the network's guess x̂_0 on the way;
# - draw digits from the lab's checkpoint;
# - measure how good drawn images are, and say why a number needs its floor;
# - draw with fewer calls of the network, and say what a better sampler does differently.
#
# **Time:** about 65 minutes with the exercises; the cells run in about three minutes.
#
# Source: Ho et al. 2020, [DDPM](https://arxiv.org/abs/2006.11239), sections 2 and 3.2, algorithm 2.

# %% [markdown] tags=["badges"]
# [Text source of this lesson](source/05_sampling.py) · no account or GPU needed

# %% tags=["parameters"]
PRESET = "quick"  # "smoke": seconds, to test; "quick": what a laptop does in a few minutes; "full": more images measured
DATASET = "auto"  # for the exact denoiser and for measuring; the checkpoint draws MNIST digits on any machine
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

from labutils import checkpoints, checks, data, evaluation, metrics, plans, plots, presets, recognisers, samplers, sampling
from labutils.schedule import cosine_schedule, linear_schedule

settings = presets.get(PRESET)
plots.use_lab_style()
images = data.load(DATASET)
name = images.note or images.name  # what the figures call the data
schedule = linear_schedule()
network, about = checkpoints.load("classic")
shape = tuple(about["input_shape"])
print(f"preset {settings.name}: {settings.samples} samples; checkpoint {about['name']}: {about['epochs']} epochs on "
      f"{about['dataset']}, test noise MSE {about['test_mse']['mean']:.4f}")

# %% [markdown]
# ## 5.1 One step back, if the original were known
#
# One step forward adds a little noise: $q(x_t \mid x_{t-1})$. One step back means: which $x_{t-1}$ could have led to this
# $x_t$? Without more knowledge that depends on all images there are. But **if $x_0$ is known too**, Bayes' rule gives a
# Gaussian (DDPM eq. 6 and 7):
#
# $$ q(x_{t-1} \mid x_t, x_0) \;\propto\; q(x_t \mid x_{t-1})\; q(x_{t-1} \mid x_0)
#    \;\propto\; \mathcal N\!\big(x_t;\, \sqrt{\alpha_t}\,x_{t-1},\, \beta_t I\big)\;
#    \mathcal N\!\big(x_{t-1};\, \sqrt{\bar\alpha_{t-1}}\,x_0,\, (1-\bar\alpha_{t-1}) I\big) $$
#
# for t ≥ 1. This distribution is called the *posterior*: what we know about $x_{t-1}$ after seeing $x_t$ (and $x_0$).
# Multiplying two Gaussians adds their precisions (1/variance). As functions of $x_{t-1}$, the first has its centre at
# $x_t/\sqrt{\alpha_t}$ and the precision $\alpha_t/\beta_t$, the second its centre at $\sqrt{\bar\alpha_{t-1}}\,x_0$ and the precision
# $1/(1-\bar\alpha_{t-1})$, so
#
# $$ \frac{1}{\tilde\beta_t} = \frac{\alpha_t}{\beta_t} + \frac{1}{1-\bar\alpha_{t-1}}
#    = \frac{\alpha_t(1-\bar\alpha_{t-1}) + \beta_t}{\beta_t\,(1-\bar\alpha_{t-1})}
#    = \frac{1-\bar\alpha_t}{\beta_t\,(1-\bar\alpha_{t-1})} $$
#
# which is the $\tilde\beta_t$ of lesson 2. The mean is the two centres, weighted by their precisions:
#
# $$ \tilde\mu_t(x_t, x_0) = \tilde\beta_t\Big(\frac{\alpha_t}{\beta_t}\,\frac{x_t}{\sqrt{\alpha_t}}
#    + \frac{\sqrt{\bar\alpha_{t-1}}\,x_0}{1-\bar\alpha_{t-1}}\Big) = \underbrace{\frac{\sqrt{\bar\alpha_{t-1}}\;\beta_t}{1-\bar\alpha_t}}_{\text{weight of } x_0} x_0
#    + \underbrace{\frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}}_{\text{weight of } x_t} x_t
#    \qquad\text{(the } x_0 \text{ form)} $$

# %%
s = schedule
precision_sum = s.alphas[1:] / s.betas[1:] + 1 / (1 - s.alpha_bars[:-1])  # from t = 1: at t = 0 nothing is uncertain
assert np.allclose(1 / precision_sum, s.posterior_variances[1:]) and s.posterior_variances[0] == 0

weight_x0 = np.sqrt(s.alpha_bars_previous) * s.betas / (1 - s.alpha_bars)
weight_xt = np.sqrt(s.alphas) * (1 - s.alpha_bars_previous) / (1 - s.alpha_bars)
figure, ax = plots.axes(r"The mean of $x_{t-1}$: how much of each", "t (logarithmic from 1)", "weight")
ax.plot(weight_x0, label="weight of $x_0$")
ax.plot(weight_xt, "--", label="weight of $x_t$")
ax.set_xscale("symlog")
ax.legend()
plots.show(figure, "Weights in the posterior mean: at t = 0 all weight is on x_0; after a few dozen steps nearly all is on "
           "x_t, which is changed only a little.")
assert np.isclose(weight_x0[0], 1) and weight_xt[0] == 0

# %% [markdown]
# ## 5.2 The same step with the noise instead of the original
#
# We do not know $x_0$. But the network estimates the noise, and $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon$
# can be solved for $x_0$:
#
# $$ \hat x_0 = \frac{x_t - \sqrt{1-\bar\alpha_t}\;\varepsilon_\theta(x_t, t)}{\sqrt{\bar\alpha_t}} $$
#
# That answers a common question, "why first $\hat x_0$ and then the posterior?": the posterior *needs* an $x_0$, and this is our
# estimate. Put it into $\tilde\mu_t$ and collect the terms:
#
# $$ \tilde\mu_t(x_t, \hat x_0) = \sqrt{\tfrac{1}{\alpha_t}}\;\Big(x_t - \frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\;\varepsilon_\theta\Big)
#    \qquad\text{(the } \varepsilon \text{ form, DDPM eq. 11)} $$
#
# The two forms are equal. Numbers instead of algebra:

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
# $\sqrt{\beta_t}$ is allowed by the paper, too, as another choice; this lab uses $\tilde\beta_t$, which is 0 at t = 0 by
# itself. With $\beta_0$ the finished image would get noise on top.
# </details>
#
# <details><summary>Help: "you used α_t where ᾱ_t is needed"</summary>
#
# Two places, two symbols: $\sqrt{1/\alpha_t}$ in front, $\sqrt{1-\bar\alpha_t}$ under β.
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
# `range(T - 1, 0, -1)` ends at 1. The step t = 0 removes the last veil of noise.
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
# For a small data set of images $x^{(1)} \dots x^{(N)}$ the best prediction is a formula: given $x_t$, image i is the origin with
# probability
#
# $$ w_i \propto \exp\!\Big(-\frac{\lVert x_t - \sqrt{\bar\alpha_t}\,x^{(i)}\rVert^2}{2(1-\bar\alpha_t)}\Big), \qquad
#    \hat x_0 = \sum_i w_i\,x^{(i)}, \qquad \varepsilon = \frac{x_t - \sqrt{\bar\alpha_t}\,\hat x_0}{\sqrt{1-\bar\alpha_t}} $$
#
# $\hat x_0$ is the weighted mean, the best guess, and ε is the noise that belongs to it.
#
# **Predict before you run:** what does a correct sampler draw with this predictor?

# %%
few = images.x_test[:16]
exact = sampling.exact_noise_predictor(few, schedule)
drawn = sampling.sample(exact, schedule, 24, images.image_shape, seed=SEED)
distance = np.sqrt(((drawn[:, None] - few[None]) ** 2).mean(axis=(2, 3, 4)))  # to each of the 16 images
nearest = distance.argmin(axis=1)
print(f"largest distance of a sample from its nearest image: {distance.min(axis=1).max():.1e}")
print(f"different images drawn: {len(set(nearest))} of {len(few)}")
assert distance.min(axis=1).max() < 1e-2

# %%
plots.show(plots.image_table([list(few), list(drawn[:16])], ["data set", "drawn"], [""] * 16,
                             f"The oracle: 16 images of {name}, and 16 samples", scale=0.8),
           "Top: images of the data set. Bottom: samples drawn with the exact predictor, each one an image of the data set.")

# %% [markdown]
# The sampler is right: it draws the images themselves. It also shows a danger. **The perfect noise predictor of a finite
# data set can only copy it.** That a trained network draws *new* digits is due to its imperfection: it cannot learn 60,000
# images by heart, and what it learns instead is what digits have in common.

# %% [markdown]
# ## 5.4 The network draws
#
# The same sampler, now with the network. labutils walks the whole batch through a compiled graph, 25 steps at a call: the numbers
# of the schedule come from a table, so that nothing is compiled twice.

# %%
started = time.perf_counter()
digits = sampling.sample(network, schedule, settings.samples, shape, seed=SEED)
seconds = time.perf_counter() - started
print(f"{len(digits)} images × {schedule.T} steps in {seconds:.0f} s: {seconds / len(digits):.2f} s for one image")
print(f"values from {digits.min():.2f} to {digits.max():.2f}; {np.mean(np.abs(digits) > 1.05):.1%} of the pixels outside ±1.05")
assert digits.shape == (settings.samples, *shape) and np.isfinite(digits).all()

# %%
plots.show(plots.image_grid(digits, f"{len(digits)} digits drawn by the checkpoint {about['name']} (trained on {about['dataset']})"),
           "A grid of drawn digits, white on black; many can be read, others are strokes that are no digit.")

# %% [markdown]
# ### New digits or copies?
#
# For every sample (eight are shown), find the nearest training image, and do the same for real *test* digits, as a
# yardstick. (Only if the data set here is the one the checkpoint was trained on.)

# %%
if images.sha256 == about["dataset_sha256"]:
    rms, nearest = metrics.nearest_images(np.clip(digits, -1, 1), images.x_train)
    yardstick, _ = metrics.nearest_images(images.x_test[: len(digits)], images.x_train)
    print(f"distance to the nearest training image, median (smallest): drawn {np.median(rms):.2f} ({rms.min():.2f}), "
          f"real test digits {np.median(yardstick):.2f} ({yardstick.min():.2f})")
    shown = digits[:8]
    neighbours = images.x_train[nearest[:8]]
    plots.show(plots.image_table([list(shown), list(neighbours)], ["drawn", "nearest"], [f"{d:.2f}" for d in rms[:8]],
                                 "Drawn digits and the nearest of all training images (with root mean square distance)"),
               "Eight drawn digits, each above its nearest training image: some are similar, others are like no digit.")
else:
    print(f"this machine has {name}, the checkpoint was trained on {about['dataset']}: no comparison")

# %% [markdown]
# If the drawn digits are at least as far from the training images as real test digits are, they are no copies. If they are much
# farther, they are less like digits, too: this small network is not a perfect artist.
#
# ## 5.5 Watch it happen
#
# Two things to look at on the way: the noisy state $x_t$, and the guess $\hat x_0$ that the network makes there.
#
# **Predict before you run:** at t = 500, half way, is $\hat x_0$ already a digit? And can you see one in $x_t$?

# %%
start = np.random.default_rng(SEED).standard_normal((6, *shape), dtype="float32")
looks = [(t, np.asarray(xt), np.asarray(x0)) for t, xt, x0 in sampling.reverse_process(network, schedule, start, seed=SEED)]
times = [t for t, _, _ in looks]
wanted = [999, 799, 599, 499, 399, 299, 199, 99, 24, -1]
chosen = [min(range(len(looks)), key=lambda i: abs(times[i] - t)) for t in wanted]
heads = [f"t={times[i]}" if times[i] >= 0 else "done" for i in chosen]

# %%
rows, labels = [], []
for image in range(3):
    rows += [[looks[i][1][image] for i in chosen], [looks[i][2][image] for i in chosen]]
    labels += [f"x_t ({image + 1})", f"x̂_0 ({image + 1})"]
plots.show(plots.image_table(rows, labels, heads, "The way back: noisy state and guess", scale=0.9),
           "Film strip of three samples. The state x_t looks like noise until about t = 300. The guess at t = 999 is nearly all "
           "white pixels, then a blot, takes shape between 700 and 300, and then only sharpens.")

# %% [markdown]
# Half way the guess is a blurred form that may still become another digit; in $x_t$ itself hardly anything is to be seen.

# %%
frames = [np.concatenate([xt, x0]) for _, xt, x0 in looks[::2]]
titles = [f"t = {t}: state above, guess below" if t >= 0 else "done" for t in times[::2]]
plots.show_animation(frames + [frames[-1]] * 4, titles + [titles[-1]] * 4, columns=6,
                     alt="Animation: six noisy states above and the six guesses below; noise and blots turn into digits.")

# %%
change = [np.sqrt(np.mean((np.clip(b, -1, 1) - np.clip(a, -1, 1)) ** 2)) for (_, _, a), (_, _, b) in zip(looks[:-1], looks[1:])]
figure, ax = plots.axes("When is the picture decided? Change of the guess x̂_0 in 25 steps", "t", "root mean square change")
ax.plot(times[:-1], change, "o-", markersize=3)
ax.invert_xaxis()
plots.show(figure, "The change of the guess over t, from 999 on the left to 0 on the right: large in the first half, small at the end.")

# %% [markdown]
# The peak at the left is only the white pixels of the first guesses going away. On the plateau that follows the shape is decided,
# then the changes fade. Lesson 6 splits them by spatial frequency.

# %% [markdown]
# ## 5.6 How good are they? Quality as a number
#
# The noise MSE of lesson 4 says nothing about a sampler: the network is the same. So let us measure the *images*. Two small
# networks that had no part in drawing are the judges: one turns an image into 128 features, the other recognises digits.
#
# - **Fréchet distance**: how far apart are the features of drawn and of real images, by mean and covariance? (Heusel et al. 2017,
#   [FID](https://arxiv.org/abs/1706.08500); there with another network, so the numbers cannot be compared with those of papers.)
# - **precision**: share of the drawn images among the real ones; **recall**: share of the real ones among the drawn
#   (Kynkäänniemi et al. 2019, [improved precision and recall](https://arxiv.org/abs/1904.06991)).
# - **recognised**: share that the other judge reads with a confidence of at least 0.9.
#
# Every number needs its yardstick, the same number for real images (for a distance a *floor*, for a share a ceiling), and the same
# count: the Fréchet distance falls when more images are taken, with the same weights. (`python -m labutils evaluate` prints
# further measures.)
#
# **Predict before you run:** the same network, 20 calls: will `ddpm` (noise on the way) or `dpmpp_2m` (none) draw better?

# %%
most = min(len(images.x_train[recognisers.held_out(images.x_train)[1]]), len(images.x_test))
count = min(settings.measured_images, most)
comparable = images.image_shape == shape and count > 128  # the judges know 28×28×1, by 128 features
measured = {}
for sampler in ("ddpm", "dpmpp_2m") if comparable else ():
    drawn_20 = sampling.sample(network, schedule, count, shape, seed=SEED, steps=20, sampler=sampler)
    everything = evaluation.evaluate(drawn_20, images, seed=SEED, progress=False)
    measured[sampler] = {key: everything[key] for key in ("frechet", "precision", "recall", "recognised")}
for sampler, measures in measured.items():
    print(f"{sampler}, 20 calls, against {name}")
    print(evaluation.report(measures, count), "\n")
if not comparable:
    print(f"the judges know images of shape {shape} and need more than 128 of them: nothing measured on {name}")

# %% [markdown]
# Look at the intervals before you believe a difference, and at the last column before you believe a number. In the saved run `ddpm` is
# better by the Fréchet distance (the intervals lie apart); of the shares some intervals overlap.
#
# ## 5.7 Fewer calls
#
# All samplers of labutils share one loop: ask for $\hat x_0$, then $x \leftarrow a\,x + b\,\hat x_0 + c\,\hat x_0^{\,\text{before}} + \sigma z$. Only the numbers
# differ.
#
# | sampler | idea |
# | --- | --- |
# | `ddpm` | section 5.2, over fewer and larger steps |
# | `ddim` | no noise on the way: the same $\varepsilon_\theta$ leads to the next noise level (Song, Meng, Ermon 2020, [DDIM](https://arxiv.org/abs/2010.02502)) |
# | `dpmpp_2m` | extends the straight line through the guess before and this one (Lu et al. 2022, [DPM-Solver++](https://arxiv.org/abs/2211.01095)) |
# | `heun` | asks a second time where the step led, and takes the mean (Karras et al. 2022, [EDM](https://arxiv.org/abs/2206.00364)); two calls for a step |
#
# First the numbers of three of them, for the same three steps:

# %%
three = np.array([999, 500, 0])
for sampler in ("ddpm", "ddim", "dpmpp_2m"):
    table = samplers.SAMPLERS[sampler](schedule, three)
    print(f"{sampler:9}", "  ".join(f"t={t:3}: a={a:5.2f} b={b:5.2f} c={c + 0:5.2f} σ={sigma:4.2f}"
                                    for t, a, b, c, sigma in zip(table.t, table.a, table.b, table.c, table.sigma)))
    assert table.sigma[-1] == 0 and np.isclose(table.b[-1], 1)  # the last row returns the guess

# %% [markdown]
# Now the four of them from the same noise, with 21 calls each, and the guess on the way.
#
# **Predict before you run:** which of the four will end at (nearly) the same images?

# %%
calls = 21
start = np.random.default_rng(SEED + 1).standard_normal((4, *shape), dtype="float32")
paths = {}
for sampler in samplers.SAMPLERS:
    steps = (calls + 1) // 2 if sampler == "heun" else calls
    looks = sampling.reverse_process(network, schedule, start, seed=SEED, sampler=sampler, steps=steps, chunk=3)
    paths[sampler] = [(t, np.asarray(x0)) for t, _, x0 in looks]

# %%
rows = [[x0[0] for _, x0 in path] for path in paths.values()]
heads = [f"call {3 * i + 1}" for i in range(len(rows[0]) - 1)] + ["done"]
plots.show(plots.image_table(rows, list(paths), heads, "The guess on the way, from the same noise, 21 calls each"),
           "Four rows of guesses, one for each sampler, from blots to strokes; the rows without noise on the way resemble each "
           "other, the row of ddpm goes its own way.")
ends = {sampler: np.clip(path[-1][1], -1, 1) for sampler, path in paths.items()}
for sampler in ("ddpm", "dpmpp_2m", "heun"):
    print(f"mean difference of the finished images, {sampler} against ddim: {np.abs(ends[sampler] - ends['ddim']).mean():.3f}")

# %% [markdown]
# The three without noise on the way end close together, `ddpm` elsewhere. But one image proves nothing. The next figure shows what was measured for many images, every sampler and three checkpoints: the
# lab's `classic`, and `fast` and `fast_conditional`, a network made for few calls (lesson 7), the second told which digit to draw
# (`python -m benchmarks.quality` repeats the measurement).

# %%
recorded = evaluation.recorded("quality")
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4))
styles = dict(zip(samplers.SAMPLERS, ("o", "s", "^", "d")))
for checkpoint, colour, dash in (("classic", "blue", "-"), ("fast", "green", "-."), ("fast_conditional", "orange", "--")):
    for sampler, marker in styles.items():
        found = [row for row in recorded["rows"] if (row["checkpoint"], row["sampler"]) == (checkpoint, sampler)
                 and row["guidance"] in (None, 1.0)]
        for ax, key in ((left, "frechet"), (right, "recognised")):
            points = sorted((row["calls"], *row["measures"][key].values()) for row in found)
            if points:
                calls, value, low, high, floor = np.array(points).T
                ax.errorbar(calls, value, [np.maximum(value - low, 0), np.maximum(high - value, 0)], marker=marker,
                            linestyle=dash, color=plots.COLOURS[colour], capsize=2, label=f"{checkpoint}, {sampler}")
for ax, key in ((left, "frechet"), (right, "recognised")):
    floor = recorded["rows"][0]["measures"][key]["floor"]
    ax.axhline(floor, color="black", linewidth=0.8, linestyle=":", label="real digits")
calls_shown = [5, 10, 20, 50, 100, 200, 500, 1000]
left.set(title=f"Fréchet distance, {recorded['images']:,} images", xlabel="calls of the network", ylabel="Fréchet distance", xscale="log", yscale="log")
right.set(title="Recognised with a confidence of at least 0.9", xlabel="calls of the network", ylabel="share of the images", xscale="log", ylim=(0, 1.02))
for ax in (left, right):
    ax.set_xticks(calls_shown, calls_shown)
    ax.minorticks_off()
right.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
plots.show(figure, "Left: Fréchet distance against the number of calls, for every sampler and three checkpoints, with real images as a "
           "dotted line at the bottom; far lower for the fast networks than for classic, but for heun, which lies highest. Right: share "
           "recognised, about one half for classic, nearly one for fast_conditional, and nearly one for heun.")

# %%
print(f"{recorded['images']} images each")
print(f"{'checkpoint':17}{'sampler':10}{'guidance':>9}{'steps':>6}{'calls':>6}{'Fréchet':>10}{'recognised':>12}")
floor = recorded["rows"][0]["measures"]
print(f"{'real digits':48}{floor['frechet']['floor']:10.2f}{floor['recognised']['floor']:12.3f}")
for row in sorted(recorded["rows"], key=lambda row: (row["checkpoint"], row["sampler"], row["guidance"] or 0, row["calls"])):
    print(f"{row['checkpoint']:17}{row['sampler']:10}{'' if row['guidance'] is None else row['guidance']:>9}{row['steps']:6}{row['calls']:6}"
          f"{row['measures']['frechet']['value']:10.2f}{row['measures']['recognised']['value']:12.3f}")
for schedule_name, s in (("linear (classic)", schedule), ("cosine (fast)", cosine_schedule())):
    sigmas = np.sqrt(1 / s.snr[samplers.spaced_steps(s.T, 5)])  # √((1 − ᾱ)/ᾱ)
    print(f"noise level at 5 steps, {schedule_name}:", ", ".join(f"{sigma:.3g}" for sigma in sigmas))

# %% [markdown]
# (*guidance* is explained below; the figure shows the rows with 1.0 or none.) Three things to see in the table:
#
# - `fast_conditional` comes near to real digits with two dozen calls; `classic` stays far away, even with a thousand.
# - `heun` with 3 to 5 steps fails: it corrects in a straight line over the noise level √((1−ᾱ)/ᾱ), and the first steps are enormous on
#   that scale (last lines of the output).
# - Yet the judge *recognises* nearly all of its images. A network is often sure of what is no digit at all. Never trust one number.

# %% [markdown]
# The network `fast_conditional`, live: it predicts the image $x_0$ instead of ε (lesson 7 tells why), works on smaller maps, and knows the label. Its answer with the label is
# exaggerated against its answer without: $(1 + w)\,f(x, \text{label}) - w\,f(x, \text{no label})$, two calls a step, called
# *classifier-free guidance* (Ho & Salimans 2022, [arXiv:2207.12598](https://arxiv.org/abs/2207.12598)); below w = 0.5. It was trained
# with the cosine schedule of lesson 6. The table shows the price of guidance: from w = 0.5 to 1 more digits are recognised, but
# their distance from real ones grows. With w = 0 the network is asked once a step, and five calls are enough to come nearer to real
# digits than `fast`, which is told nothing, comes with twenty.

# %%
fast, fast_schedule, fast_shape, fast_options = plans.load_for_sampling("fast_conditional")
labels = plans.even_labels(40)
started = time.perf_counter()
fast_digits = sampling.sample(fast, fast_schedule, 40, fast_shape, seed=SEED, labels=labels, sampler="dpmpp_2m", steps=12, **fast_options)
print(f"40 images, 24 calls each, in {time.perf_counter() - started:.1f} s (compiling included)")
plots.show(plots.image_grid(fast_digits, "Drawn by fast_conditional: 12 steps of dpmpp_2m, the digits 0 to 9 asked for", columns=10),
           "Four rows of ten drawn digits, 0 to 9 in each row, nearly all easy to read and different in style.")

# %% [markdown]
# What does a call cost? All samplers of one network ask it equally often, so on the clock they are equal, too; what counts is the number of calls and
# the size of the network.
#
# **Predict before you run:** how many images a second will `fast_conditional` draw with 24 calls, and `classic` with 1000?

# %%
start = np.random.default_rng(SEED).standard_normal((64, *shape), dtype="float32")
print(f"{'checkpoint':17}{'sampler':10}{'calls':>6}{'seconds for 64 images':>23}{'images/s':>10}")
for checkpoint, sampler, steps in [("classic", sampler, 11 if sampler == "heun" else 21) for sampler in samplers.SAMPLERS] + [
        ("classic", "ddpm", 100), ("fast", "dpmpp_2m", 10), ("fast_conditional", "dpmpp_2m", 12)]:
    drawer, drawer_schedule, _, options = plans.load_for_sampling(checkpoint)
    process = sampling.Sampler(drawer, drawer_schedule, shape, sampler=sampler, steps=steps, **options)
    for _ in range(2):  # the first run compiles
        started = time.perf_counter()
        *_, finished = process.run(start, labels=plans.even_labels(64), guess=False)
        seconds = time.perf_counter() - started
    calls = len(process.t) * (2 if options.get("guidance") else 1)
    print(f"{checkpoint:17}{sampler:10}{calls:6}{seconds:23.2f}{64 / seconds:10.1f}")

# %% [markdown]
# Seconds grow with the calls: with 1000 instead of 100, `classic` needs ten times as long as in its last row (the cell of section 5.4 shows it).

# %% [markdown]
# ### From one drawing to another
#
# Without noise on the way, every start has one end, so we can walk *between* two starts. The walk goes along a circle
# (a straight line would pass through noise of too small a variance): $x(u) = \cos(\tfrac{\pi}{2} u)\, x_A + \sin(\tfrac{\pi}{2} u)\, x_B$.
# The network is `fast`, which is told nothing but t.

# %%
walker, walker_schedule, _, walker_options = plans.load_for_sampling("fast")
turn = np.linspace(0, np.pi / 2, 8, dtype="float32").reshape(-1, 1, 1, 1)
pairs = np.random.default_rng(SEED + 2).standard_normal((3, 2, *shape), dtype="float32")
between = np.concatenate([np.cos(turn) * a + np.sin(turn) * b for a, b in pairs])
straight = [((a + b) / 2).std() for a, b in pairs]
print(f"standard deviation on the way: {between.std(axis=(1, 2, 3)).min():.2f} to {between.std(axis=(1, 2, 3)).max():.2f}; "
      f"half way on a straight line: {min(straight):.2f} to {max(straight):.2f}")
*_, (_, walked, _) = sampling.reverse_process(walker, walker_schedule, between, sampler="ddim", steps=50, guess=False, **walker_options)
walked = np.asarray(walked).reshape(3, 8, *shape)
plots.show(plots.image_table([list(row) for row in walked], ["A to B", "C to D", "E to F"], [f"{u:.0%}" for u in np.linspace(0, 1, 8)],
                             "Eight starts between two, drawn by ddim"),
           "Three rows; in each, eight drawings that change shape step by step from the first to the last.")

# %% [markdown]
# ## Remember
# - The posterior $q(x_{t-1}\mid x_t, x_0)$ is a Gaussian; its variance is β̃, and its mean can be written with $x_0$ or with ε.
# - $x_{t-1} = \sqrt{1/\alpha_t}\,\big(x_t - \tfrac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\varepsilon_\theta\big) + \sqrt{\tilde\beta_t}\,z$, and no noise
#   at t = 0.
# - Test a sampler with an exact predictor first: then a bad picture means a bad network.
# - The perfect predictor copies; new pictures come from what the network could not learn by heart.
# - A quality number means something only beside its floor, its interval and the number of images.
# - Samplers differ in a table of numbers. How many calls are needed depends on the network as much as on the sampler.
