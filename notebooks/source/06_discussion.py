# %% [markdown]
# # 6 · Discussion: five questions, each answered by a measurement
#
# You can add noise, train and sample. This lesson asks why it is done this way, and what else the same trained
# networks can do. Each question is answered in words *and* by a cell that measures.
#
# **You will be able to**
# - compare noise schedules: how many steps each noise level gets, and how good the samples are;
# - say how diffusion differs from a GAN, and show it;
# - connect diffusion with the function inversion of [lesson 1](01_function_inversion.ipynb);
# - explain why many small steps beat one large one, and why noise is added again on the way;
# - fill in missing parts of an image with a network that was never trained to do so, and sketch
#   text-to-image.
#
# **Time:** about 90 minutes with the exercises. Sections 6.1–6.2, 6.3–6.4 and 6.5–6.7 can be read on
# different days.

# %% [markdown] tags=["badges"]
# [Text source of this lesson](source/06_discussion.py) · no account or GPU needed

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
import scipy.special
import tensorflow as tf

from labutils import checks, data, evaluation, metrics, networks, plots, presets
from labutils import pretrained, results, samplers, sampling, toys
from labutils.diffusion import Diffusion
from labutils.networks import classifiers
from labutils.schedule import cosine_schedule, linear_schedule
from labutils.toys import inversion
from labutils.training import keras_progress

settings = presets.get(PRESET, SEED)
plots.use_lab_style()
classic = pretrained.load_diffusion("classic", fused=True)  # lesson 4: predicts ε
fast = pretrained.load_diffusion("fast")  # lesson 7: predicts x_0
linear, cosine, shape = classic.schedule, fast.schedule, fast.shape
images = data.load(DATASET)
if images.image_shape != shape:
    images = data.load("digits")  # images of the shape that the checkpoints draw
name = images.note or images.name  # what the figures call the data
x_test = images.x_test
features, classifier = evaluation.load_judges()  # lesson 5: neither had a part in making images
print(f"preset {settings.name}: {settings.few_samples} samples to compare; images: {name}")

# %%
steps = min(100, settings.sample_steps)  # calls for an image of `fast`
judged = 32 if PRESET == "smoke" else 200  # images for each number of the tables


def probabilities(x):
    """What the classifier says of each image: (N, 10)."""
    return scipy.special.softmax(classifiers.predict(classifier, np.clip(x, -1, 1)), axis=1)


def recognised(x):
    """Share of the images that the classifier is sure of (a probability of at least 0.9)."""
    return float(np.mean(probabilities(x).max(axis=1) >= evaluation.CONFIDENT))


def sharpness(x):
    """Mean size of the difference between neighbouring pixels. Artefacts count as well as strokes."""
    return float(np.mean(np.abs(np.diff(np.clip(x, -1, 1), axis=-2))))


def show_rows(title, alt, rows, heads=("",) * 8):
    """Show a table of images: ``rows`` is a dict from the label of a row to its images."""
    images = [list(row[: len(heads)]) for row in rows.values()]
    heads = list(heads)[: len(images[0])]  # a small preset draws fewer
    plots.show(plots.image_table(images, list(rows), heads, title, scale=1.15), alt)

# %% [markdown]
# The tables below count how many images the classifier of [lesson 5](05_sampling.ipynb) is sure of. It is often
# confident about images that are not digits, so look at the images, too. A share of 200 images has a standard error of
# up to 3.5 percentage points.
#
# ## 6.1 The noise schedule
#
# **Question 1: why a schedule, and which one?** β could be the same at every step. But a sampler goes
# through all noise levels, and they are not equally useful. A schedule decides how many steps each level
# gets. Nichol & Dhariwal 2021 ([Improved DDPM](https://arxiv.org/abs/2102.09672)) found that the linear
# schedule works well for large images, but destroys images of 64×64 and 32×32 too early. (DDPM itself used it
# for 32×32 and for 256×256.) Their *cosine* schedule sets ᾱ directly:
#
# $$ \bar\alpha_t = \frac{f(t+1)}{f(0)}, \qquad f(n) = \cos^2\!\Big(\frac{n/T + s}{1+s}\cdot\frac{\pi}{2}\Big), \quad s = 0.008 $$
#
# (Their t is our t + 1, so $f$ is taken at n = 1 … T.) The formula ends at ᾱ = 0. There the formula of
# $\hat x_0$ from a predicted ε would divide by 0. So the paper and labutils limit β to 0.999.

# %% [markdown]
# ### Exercise 6.1 – the cosine schedule
# *Difficulty ●●○○ · about 10 minutes*
#
# Write `cosine_alpha_bars(T)`: ᾱ_t for t = 0 … T − 1, an array of shape (T,), from the formula.
#
# <details><summary>Help: "your list has T + 1 values"</summary>
#
# Compute f for n = 0 … T, then divide f[1:] by f[0]: n = 0 is the clean image, before any step.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-6-1-cosine-alpha-bars", "grade": false, "solution": true, "locked": false, "task": false}
def cosine_alpha_bars(T):
    """ᾱ_t of the cosine schedule, shape (T,)."""
    ### BEGIN SOLUTION
    n = np.arange(T + 1) / T
    f = np.cos((n + 0.008) / 1.008 * np.pi / 2) ** 2
    return f[1:] / f[0]
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-6-1-cosine-alpha-bars", "grade": true, "solution": false, "locked": true, "points": 2, "task": false}
checks.check_cosine_alpha_bars(cosine_alpha_bars)

# %% [markdown]
# **Predict before you run:** which of the two spends more steps where SNR < 0.01, that is, on almost pure
# noise?

# %%
yours = checks.check_cosine_alpha_bars.answer_or(lambda T: cosine_schedule(T).alpha_bars)(cosine.T)
curves = {"linear": linear.alpha_bars, "cosine": np.asarray(yours)}  # cosine: your function
edges = [0, 0.01, 0.1, 1, 10, 100, np.inf]
labels = ["< 0.01", "0.01–0.1", "0.1–1", "1–10", "10–100", "> 100"]
spent = {}
for schedule_name, alpha_bars in curves.items():
    snr = alpha_bars / np.maximum(1 - alpha_bars, 1e-12)
    spent[schedule_name] = [
        int(np.sum((snr >= low) & (snr < high))) for low, high in zip(edges, edges[1:])
    ]

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
for i, (schedule_name, alpha_bars) in enumerate(curves.items()):
    snr = alpha_bars / np.maximum(1 - alpha_bars, 1e-12)
    left.semilogy(snr, ("-", "--")[i], label=schedule_name)
    right.bar(
        np.arange(6) + 0.4 * i - 0.2,
        spent[schedule_name],
        0.4,
        label=schedule_name,
        hatch=("", "//")[i],
    )
left.set(title="Signal-to-noise ratio", xlabel="t", ylabel="SNR (logarithmic)", ylim=(1e-6, 1e5))
right.set(title="How many of 1000 steps each SNR gets", xlabel="SNR of the step", ylabel="number of steps")
right.set_xticks(range(6), labels)
for ax in (left, right):
    ax.legend()
plots.show(
    figure,
    "Left: the SNR of the cosine schedule falls more slowly in the middle. Right: the linear "
    "schedule spends "
    f"{spent['linear'][0]} of 1000 steps where SNR is below 0.01, the cosine schedule "
    f"{spent['cosine'][0]}.",
)
for schedule_name, counts in spent.items():
    print(f"{schedule_name:7}", dict(zip(labels, counts)))

# %% [markdown]
# The linear schedule spends more steps there. At which t does the image become invisible?

# %%
equal_t = {s.name: int(np.argmin(np.abs(np.log(s.snr)))) for s in (linear, cosine)}
ts = [100, 300, 500, 700, 900]
rng = np.random.default_rng(SEED)
noise = rng.standard_normal((1, *shape)).astype("float32")
rows = {
    s.name: [np.asarray(s.add_noise(x_test[:1], t, noise))[0] for t in ts] for s in (linear, cosine)
}
alt = (
    "One image at five steps. Under the linear schedule it is hard to make out at t = 500; under "
    "the cosine schedule it can be seen longer."
)
show_rows("The same image under the same noise", alt, rows, [f"t = {t}" for t in ts])
print("SNR = 1 is reached at t =", equal_t)

# %% [markdown]
# ### Schedules compared by their samples
#
# A schedule is used twice: in training, and for sampling. For sampling alone we can compare schedules with
# **one** network. The network sees $x_t$, and
# $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon$ depends on the schedule only through
# ᾱ. So we take `fast`, which was trained with the cosine schedule. At each step of another schedule we give
# it the t of *its own* schedule that has the same SNR. All schedules get 20 evenly spaced steps and the same
# starting noise.
#
# We also change the range of the linear schedule. A gentler one ends at β = 0.005, a stronger one at 0.1.
#
# **Predict before you run:** which schedule gives the best images? What goes wrong with a range that is too
# gentle?

# %%
def with_equal_snr(schedule):
    """`fast`, given the step of its own schedule that has the SNR of step t of ``schedule``."""
    own = np.interp(-np.log(schedule.snr), -np.log(cosine.snr), np.arange(cosine.T)) / cosine.T
    own = tf.constant(own, tf.float32)

    def network(inputs):
        t = tf.cast(tf.round(schedule.T * inputs[1]), tf.int32)
        return fast.network([inputs[0], tf.gather(own, t)])

    return replace(fast, network=network, schedule=schedule)


schedules = {
    "cosine": cosine,
    "linear, 0.0001–0.02": linear,
    "gentler, 0.0001–0.005": linear_schedule(beta_end=0.005),
    "stronger, 0.0001–0.1": linear_schedule(beta_end=0.1),
}
few = 20
quiet = {"seed": SEED, "progress": False}  # of all samples below
by_schedule = {}
for label, s in schedules.items():
    by_schedule[label] = sampling.sample(with_equal_snr(s), judged, shape, steps=few, **quiet)

# %%
shares = ", ".join(f"{label}: {recognised(x):.0%} recognised" for label, x in by_schedule.items())
alt = f"Four rows of eight drawn images, one row a schedule. {shares}."
show_rows(f"One network, four schedules for sampling, {few} steps each", alt, by_schedule)

# %%
real = classifiers.predict(features, x_test[-judged:])
lines = []
for label, x in by_schedule.items():
    x = np.clip(x, -1, 1)
    found = metrics.neighbour_measures(classifiers.predict(features, x), real)
    even = metrics.class_entropy(probabilities(x).argmax(axis=1))
    values = [f"{v:.2f}" for v in (found["precision"].mean(), found["recall"].mean(), even)]
    last = f"{schedules[label].alpha_bars[-1]:.1e}"
    lines.append([label, last, f"{recognised(x):.0%}", *values, f"{(x.mean() + 1) / 2:.3f}"])
digits = x_test[:judged]
lines.append(["real digits", "", f"{recognised(digits):.0%}", "", "", "", f"{(digits.mean() + 1) / 2:.3f}"])
plots.show_table(
    ["sampled with", "ᾱ at the end", "recognised", "precision", "recall", "evenness", "brightness"], lines
)

# %% [markdown]
# *Recognised* and *precision* measure quality, *recall* and *evenness* diversity ([lesson 5](05_sampling.ipynb);
# evenness is the entropy of the ten classes, and 1 means all equal). Compare the differences with their standard error.
#
# - **Too gentle:** ᾱ ends far above 0, so a trace of an image is still in $x_t$ at t = 999. But sampling
#   starts from pure noise, and the network takes a part of that noise for an image. Look at the strokes and
#   at the brightness.
# - **Too strong:** the start is right. But most of the 20 steps are spent where SNR < 0.01, and only a few
#   steps are left for the other noise levels.
#
# Now we compare schedules in training. `python -m benchmarks.ablation` ([lesson 7](07_better_and_faster.ipynb)) trained
# `fast` with each schedule, one pass over MNIST, and drew 1,000 images with 20 calls each.

# %%
ablation = results.recorded("ablation")
for row in [] if ablation is None else ablation["rows"]:
    if row["variant"] in ("fast", "linear schedule"):
        m = row["measures"]
        print(
            f"trained with {'linear' if row['variant'] == 'linear schedule' else 'cosine'}: "
            + ", ".join(
                f"{key} {m[key]['value']:.2f} ({m[key]['low']:.2f}–{m[key]['high']:.2f})"
                for key in ("frechet", "recognised", "recall")
            )
        )
for s in (linear, cosine):
    last = s.alpha_bars[-1]
    print(
        f"{s.name}: at t = {s.T - 1} an error in a predicted ε grows "
        f"{np.sqrt((1 - last) / last):,.0f} times in x̂_0"
    )

# %% [markdown]
# **Answer.** The schedule decides which noise levels get the steps. A change of the schedule affects three things.
# - **Quality:** a range that is much too gentle makes the quality worse. The stronger range changes it little
#   here (the difference may be chance). Between linear and cosine the table shows no clear difference at 20
#   steps. In training, the one recorded run with linear has a larger Fréchet distance than the three with
#   cosine; one run is not enough to be sure.
# - **Diversity:** under the gentler range the classes are least even. The other differences are too small for
#   so few images.
# - **Stability:** under the cosine schedule ᾱ ends very near 0. If a network predicts ε, the formula of
#   $\hat x_0$ divides by almost 0. That is why `fast` predicts $x_0$ ([lesson 7](07_better_and_faster.ipynb)).
#
# In training and sampling the network must be given the t that belongs to the SNR of its input. The
# experiment above did this, so it could change the schedule.
#
# *Try it:* set β_end to 0.01 or 0.05, or the steps to 10 or 100. When does the schedule no longer matter?

# %% [markdown]
# ## 6.2 Diffusion and GANs
#
# **Question 2: how does diffusion differ from a GAN?** In a *generative adversarial network* ([Goodfellow et
# al. 2014](https://arxiv.org/abs/1406.2661)) a generator turns noise into an image in **one** call, and a
# critic tries to distinguish its images from real ones. Both are trained against each other, so there is no
# fixed target. Diffusion has a fixed regression target, the noise.
#
# The test data are eight small islands of points in the plane. A good model draws points on all eight islands,
# and none between them. All models are small and get the same number of updates.
#
# - **GAN, plain**: Adam with a rate of 1e-3 for both networks.
# - **GAN, tuned**: the same with the R1 penalty, which keeps the gradient of the critic small at the data
#   ([Mescheder et al. 2018](https://arxiv.org/abs/1801.04406)), a rate that falls to 0, and Adam without
#   momentum (β1 = 0).
# - **Diffusion**: the network of [lesson 1](01_function_inversion.ipynb). It is given sines and cosines of its inputs,
#   which helps with small islands. Its learning rate falls.
#
# **Predict before you run:** which will find all the islands, run after run?

# %%
rng = np.random.default_rng(SEED)
points = toys.ring_points(10_000, rng)
latent = rng.standard_normal((2_000, 2)).astype("float32")
gans = {"GAN, plain": {}, "GAN, tuned": toys.TUNED_GAN}
drawn = {model: [] for model in (*gans, "diffusion")}
for model, options in gans.items():
    for seed in range(SEED, SEED + settings.seeds):
        generator = toys.train_gan(points, settings.toy_steps, seed=seed, **options)
        drawn[model].append(np.asarray(generator(latent)))

# %%
nothing = np.zeros(len(points))  # the network has an input for a condition; here there is none
for seed in range(SEED, SEED + settings.seeds):
    denoiser = inversion.build_conditional_denoiser(dim=2, seed=seed)
    bar = keras_progress(10, f"diffusion, seed {seed}")
    run = {"steps": settings.toy_steps, "seed": seed, "callbacks": [bar]}
    inversion.train_conditional(denoiser, linear, points, nothing, **run)
    p = inversion.sample_conditional(denoiser, linear, nothing[:2_000], seed=seed)
    drawn["diffusion"].append(p)
found = {model: [toys.coverage(p) for p in runs] for model, runs in drawn.items()}

# %%
colours = dict(zip(drawn, (plots.COLOURS["red"], plots.COLOURS["blue"], plots.COLOURS["green"])))
panels = [("data", points[:2_000], "black")]
for model, runs in drawn.items():
    shown = 1 if model == "GAN, plain" else 3  # 2 × 4 panels; the table below has all runs
    panels += [(f"{model}, seed {SEED + i}", p, colours[model]) for i, p in enumerate(runs[:shown])]
figure, grid = plt.subplots(2, 4, figsize=(11.5, 6.2), sharex=True, sharey=True)
figure.suptitle("Eight islands: data, GANs, diffusion (+: the centre of an island)")
for ax, (label, p, colour) in zip(grid.flat, panels):
    ax.plot(*np.asarray(p).T, ".", markersize=2, color=colour)
    ax.plot(*toys.ring_centres().T, "+", color=plots.COLOURS["orange"], markersize=9)
    ax.set(title=label, xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal")
for ax in grid.flat[len(panels) :]:
    ax.set_axis_off()
for ax in grid[-1]:
    ax.set_xlabel("first coordinate")
for ax in grid[:, 0]:
    ax.set_ylabel("second coordinate")
plots.show(
    figure,
    "Scatter plots of points in the plane: the data, the plain GAN, the tuned GAN and the "
    "diffusion model. "
    "Islands found: "
    + "; ".join(f"{m} {', '.join(str(n) for n, _ in r)}" for m, r in found.items())
    + ".",
)

# %%
lines = []
for model, runs in found.items():
    for i, (islands, near) in enumerate(runs):
        outside = np.mean(np.abs(drawn[model][i]).max(axis=1) > 1.6)
        lines.append([f"{model}, seed {SEED + i}", islands, f"{near:.0%}", f"{outside:.0%}"])
plots.show_table(["model", "islands found", "points on an island", "points outside the picture"], lines)
if PRESET != "smoke":
    assert all(islands == 8 and near > 0.9 for islands, near in found["diffusion"])

# %% [markdown]
# How hard did we try? Before this lesson was written, eight settings of the GAN were run with three seeds
# each: (1) the plain one; (2) sixteen latent numbers instead of two. The other six have a falling rate: (3)
# nothing else; (4) noise on the inputs of the critic, which decreases during training; (5) setting 4 with a
# weak R1 penalty; (6) R1 with γ = 1; (7) R1 with γ = 0.1; (8) setting 7 without momentum. In this order, 0, 1,
# 2, 2, 2, 3, 3 and 3 of the three runs found all eight islands. Setting 8 had the most points on the islands:
# it is the tuned GAN above. (The plain GAN above has other starting weights than in that search.) So a GAN can
# learn this problem. But it needed a search, and some points of the tuned GAN lie between the islands.
#
# How much does one image cost?

# %%
start = tf.random.stateless_normal((16, *shape), seed=(SEED, 1))
call = tf.function(lambda x: classic.network([x, tf.zeros((16, 1))]))
call(start)
began = time.perf_counter()
for _ in range(10):
    call(start)
one_call = (time.perf_counter() - began) / 10
print(f"16 images, one call of the lab's U-Net: {one_call:.3f} s")
print(f"a GAN of that size needs 1 call, the DDPM sampler {linear.T}")

# %% [markdown]
# **Answer.** A GAN draws with one call. Its training has no fixed target: runs differ, and the settings matter
# a lot. Known failures are a training that diverges, points between the islands, and islands that are missing
# (*mode collapse*). The table shows which of them happened here. Diffusion trains like any regression, but
# needs many calls to draw. Fast samplers reduce this number ([lesson 5](05_sampling.ipynb)).

# %% [markdown]
# ## 6.3 Function inversion and diffusion
#
# **Question 3: what has diffusion to do with the function inversion of [lesson 1](01_function_inversion.ipynb)?**
# There, y = sin x had several right x, and regression gave their mean.
#
# ### Sampling inverts the forward process
#
# The forward process is a function, too: it takes $x_0$ (and noise) to $x_t$. Many $x_0$ could have led to the
# same $x_t$. Sampling inverts it: it draws one $x_0$ that fits. We add noise to a test image up to step t, run
# the reverse process from there, and compare.
#
# **Predict before you run:** up to which t does the same digit come back?

# %%
def walk_back(x0, t, seed=SEED):
    """Add noise up to step t, then sample back to t = 0 with `fast`."""
    noise = np.random.default_rng(seed).standard_normal(x0.shape).astype("float32")
    xt = cosine.add_noise(x0, t, noise)
    options = {
        "steps": steps,
        "sampler": lambda s, grid: samplers.ddim(s, grid[grid <= t], eta=1.0),
    }
    *_, (_, x, _) = sampling.trajectory(fast, xt, seed=seed, **options)
    return np.asarray(xt), np.asarray(x)


back = {t: walk_back(x_test[: judged // 2], t) for t in (399, 599, 699, 799, 899, 939)}

# %%
rows = {}
for i in range(3):
    rows[f"image {i + 1}, noised"] = [x_test[i], *[noised[i] for noised, _ in back.values()]]
    rows[f"image {i + 1}, back"] = [x_test[i], *[x[i] for _, x in back.values()]]
alt = (
    "Three digits, each noised to six levels and sampled back. From small t the same digit "
    "returns, from large t often another one."
)
show_rows(
    f"Noised up to t, and sampled back (cosine schedule, {name})",
    alt,
    rows,
    ["original", *[f"t = {t}" for t in back]],
)

# %%
digit = probabilities(x_test[: judged // 2]).argmax(axis=1)
lines = []
for t, (_, x) in back.items():
    twin = int(np.argmin(np.abs(np.log(linear.snr / cosine.snr[t]))))
    same = np.mean(probabilities(x).argmax(axis=1) == digit)
    lines.append([t, f"{cosine.snr[t]:.3f}", twin, f"{same:.0%}", f"{np.abs(x - x_test[: len(x)]).mean():.3f}"])
plots.show_table(["t (cosine)", "SNR", "same SNR: t (linear)", "same digit", "mean distance per pixel"], lines)

# %% [markdown]
# At a high SNR the forward process can be inverted: the digit returns. At a low SNR much is lost, and sampling
# draws one of the many images that fit. So the digit is decided where "same digit" falls: between an SNR of
# about 0.3 and 0.03. Below 0.03 the original digit comes back hardly more often than by chance. The cosine
# schedule reaches these levels at a larger t than the linear one. So compare t only within one schedule.
# Between schedules compare SNR.
#
# ### A function of images
#
# The next function is: *average blocks of pixels*, 2×2 or 4×4. Many digits give the same small picture. The
# inverse should draw a *sample* of those.
#
# No new training is needed. We take the *unconditional* checkpoint `fast`. One line corrects $\hat x_0$ at
# each step so that it agrees with the small picture. It replaces the mean of each block by the known mean, and
# keeps the network's detail inside the block (Wang, Yu, Zhang 2022,
# [DDNM](https://arxiv.org/abs/2212.00490)).
#
# The correction changes the block means, and the rest of the image must fit them. After one pass over the
# steps the two often do not fit. *Resampling* (Lugmayr et al. 2022,
# [RePaint](https://arxiv.org/abs/2201.09865)) runs each reverse step R times. Between two of these runs, one
# forward step adds the noise again.
#
# **Predict before you run:** for which of the two, 2×2 or 4×4, do the samples differ more? Where does the
# mean of the samples look more blurred?

# %%
def shrink(x, factor):
    """Average blocks of factor × factor pixels."""
    return tf.nn.avg_pool2d(x, factor, factor, "VALID")


def enlarge(x, factor):
    """Repeat each pixel factor × factor times."""
    return tf.repeat(tf.repeat(x, factor, axis=1), factor, axis=2)


def solve(pictures, factor, diffusion=fast, resample=1):
    """One sample for each picture that agrees with its small version."""
    small = shrink(pictures, factor)

    def agree(x0, t):
        return x0 + enlarge(small - shrink(x0, factor), factor)

    options = {"steps": steps // 2, "resample": resample, "constrain": agree, **quiet}
    return sampling.sample(diffusion, len(pictures), **options)


R = 2 if PRESET == "smoke" else 10
per_image = max(settings.few_samples // 4, 2)
originals = x_test[[0, 2, 4, 6]] if PRESET != "smoke" else x_test[:2]
repeated = np.repeat(originals, per_image, axis=0)
solved = {
    factor: solve(repeated, factor, resample=R).reshape(len(originals), per_image, *shape)
    for factor in (2, 4)
}

# %%
columns = min(per_image, 4)
smooth = {
    factor: np.asarray(tf.image.resize(shrink(originals, factor), shape[:2], "bicubic"))
    for factor in solved
}
for factor, samples in solved.items():
    given = np.asarray(enlarge(shrink(originals, factor), factor))
    rows = {}
    for i, x in enumerate(samples):
        rows[f"image {i + 1}"] = [
            originals[i],
            given[i],
            smooth[factor][i],
            x.mean(axis=0),
            *x[:columns],
        ]
    heads = ["original", "given", "bicubic", "mean", *[f"sample {j + 1}" for j in range(columns)]]
    alt = (
        "For each image: original, small picture, smooth bicubic enlargement, the mean of all "
        "samples, and samples. "
        f"The samples differ {'a little' if factor == 2 else 'more'}."
    )
    show_rows(f"×{factor} super-resolution by an unconditional network ({name})", alt, rows, heads)

# %%
print(f"sharpness of the originals: {sharpness(originals):.3f}")
for factor, samples in solved.items():
    agreed = shrink(samples.reshape(-1, *shape), factor) - shrink(repeated, factor)
    error = float(np.abs(agreed).mean())
    pictures = {"bicubic": smooth[factor], "mean": samples.mean(axis=1), "samples": samples}
    for label, x in pictures.items():
        print(f"×{factor}: sharpness of {label:8} {sharpness(x):.3f}")
    print(f"    spread of the samples of one picture {samples.std(axis=1).mean():.3f}")
    print(f"    forward check |shrink(sample) − given| {error:.1e}")
    assert error < 1e-2
if PRESET != "smoke":
    assert solved[4].std(axis=1).mean() > solved[2].std(axis=1).mean() > 0

# %% [markdown]
# *Sharpness* measures all differences between neighbouring pixels, also those of artefacts. So samples that
# are sharper than the originals are not better. We also ask the classifier, on more images. **Predict before
# you run:** does a better network help more, or resampling?

# %%
def compare(draw):
    """Print what the classifier says of the results of two checkpoints, with and without R."""
    true = probabilities(some).argmax(axis=1)
    print(f"{'checkpoint':10} {'R':>3} {'recognised':>11} {'same digit':>11} {'sharpness':>10}")
    for label, diffusion in {"classic": classic, "fast": fast}.items():
        for times in (1, R):
            x = draw(diffusion, times)
            same = np.mean(probabilities(x).argmax(axis=1) == true)
            print(f"{label:10} {times:3} {recognised(x):11.0%} {same:11.0%} {sharpness(x):10.3f}")
    print(f"{'originals':14} {recognised(some):11.0%} {1:11.0%} {sharpness(some):10.3f}")


some = x_test[: 16 if PRESET == "smoke" else 40]
compare(lambda *using: solve(some, 4, *using))

# %% [markdown]
# Forty images leave a wide interval (about ±15 percentage points). `python -m benchmarks.filling` measured
# 200 digits. It also ran 500 steps without resampling, which make as many calls as R = 10:

# %% tags=["nbval-check-output"]
def show_recorded(task):
    """Show the rows of the recorded measurement for one task, with 95 % intervals."""
    recorded, lines = results.recorded("filling"), []
    for row in [] if recorded is None else recorded["rows"]:
        if row["task"] not in (task, None):
            continue
        who = "what is given" if row["task"] else "the digits themselves"
        if row["checkpoint"]:
            who = f"{row['checkpoint']}, {row['steps']} steps, R = {row['resample']}"
        shares = [row["recognised"], row["true_digit"]]
        lines.append([who, *(f"{s['value']:.0%} ({s['low']:.0%}–{s['high']:.0%})" for s in shares)])
    if lines:
        plots.show_table(["what", "recognised", "as the true digit"], lines)


show_recorded("enlarge")

# %% [markdown]
# In the recorded measurement resampling helps both networks, and `fast` with resampling does best. The number of
# calls alone is not the reason: 500 steps with R = 1 make as many calls as 50 steps with R = 10. Compare these rows.
# `classic` with R = 10 is read as the true digit more often than `fast` with R = 1: here resampling helps more than the
# better network.
#
# **Answer.** Function inversion and diffusion both look for an x with f(x) = y. Where many x fit, a regression
# with the squared error returns their mean, while diffusion draws one of them. With 2×2 blocks few images fit:
# the samples are nearly alike, and so is their mean. With 4×4 blocks more images fit: the samples differ, and
# their mean is less sharp than the samples. The forward check from [lesson 1](01_function_inversion.ipynb), *apply f to
# the answer*, is built into the sampler. Training provides what f does not contain: what strokes look like.
#
# One caution: each sample agrees with the small picture, but it is not an exact draw from the posterior p(x |
# small picture). DDNM replaces $\hat x_0$ instead of weighing all images that fit. So the spread between
# samples does not measure the uncertainty.

# %% [markdown]
# ## 6.4 Why iterate?
#
# **Question 4: why remove the noise in many steps, and not at once?** A network gives an estimate $\hat x_0$
# at every step, even at t = 999. We compare three estimates: by the exact predictor of [lesson 5](05_sampling.ipynb)
# for a data set of 1,000 test images, by `classic`, which predicts ε, and by `fast`, which predicts $x_0$.
#
# **Predict before you run:** what does the estimate at t = 999 look like?

# %%
count = settings.few_samples
start = np.random.default_rng(SEED).standard_normal((count, *shape), dtype="float32")
estimates = [(t, np.asarray(x0)) for t, _, x0 in sampling.trajectory(classic, start, seed=SEED)]
one_shot, final = estimates[0][1], estimates[-1][1]


def first_estimate(diffusion, **options):
    """x̂_0 at t = 999."""
    _, _, x0 = next(sampling.trajectory(diffusion, start, seed=SEED, **options))
    return np.asarray(x0)


exact_guess = first_estimate(Diffusion(sampling.exact_noise_predictor(x_test[:1_000], linear), linear))
fast_guess = first_estimate(fast)
mean_image = x_test[:1_000].mean(axis=0)

# %%
table = {
    "at once, exact predictor": exact_guess,
    "at once, classic (ε)": one_shot,
    "at once, fast (x_0)": fast_guess,
    "1000 steps, classic": final,
}
alt = (
    "First row: the exact predictor's estimate, the same grey blur each time: the mean of all "
    "digits. Second row: "
    "that of classic, which predicts the noise. Third row: that of fast, which predicts the image. "
    "Last row: strokes after a thousand steps, some of them digits."
)
show_rows("One step from t = 999, compared with a thousand steps", alt, table)

# %%
for label, x in {"exact": exact_guess, "classic": one_shot, "fast": fast_guess}.items():
    clipped = np.clip(x, -1, 1)
    print(
        f"{label:8} at t = 999: distance from the average image "
        f"{np.abs(clipped - mean_image).mean():.3f}, "
        f"spread {clipped.std(axis=0).mean():.3f}, values outside [-1, 1] "
        f"{np.mean(np.abs(x) > 1.05):.0%}"
    )
print(f"finished digits of classic: spread {np.clip(final, -1, 1).std(axis=0).mean():.3f}")
last = linear.alpha_bars[-1]
print(
    f"linear schedule: at t = {linear.T - 1} an error in ε grows {np.sqrt((1 - last) / last):.0f} "
    f"times in x̂_0"
)
assert np.abs(exact_guess - mean_image).mean() < 0.1

# %% [markdown]
# At t = 999 nothing of an image is left in $x_t$, so the estimate with the smallest squared error is the
# **mean of all digits**: a blur, the same for every start. This is the result of
# [lesson 1](01_function_inversion.ipynb) again. `fast` gives this mean. `classic` predicts ε, and at t = 999 its error
# is multiplied by $\sqrt{1-\bar\alpha}/\sqrt{\bar\alpha} \approx 157$: most values leave the range of an image. Many
# programs therefore *clip* $\hat x_0$ to [-1, 1] at each step. **Predict before you run:** does clipping help
# `classic`?

# %%
def clip(x0, t):
    return tf.clip_by_value(x0, -1.0, 1.0)


for label, constrain in {"as it is": None, "clipped": clip}.items():
    x = sampling.sample(classic, judged // 2, steps=steps, constrain=constrain, **quiet)
    guess = first_estimate(classic, constrain=constrain)
    print(
        f"{label:9}: mean value of the estimate at t = 999 {np.clip(guess, -1, 1).mean():+.2f}; "
        f"recognised after {steps} steps {recognised(x):.0%}"
    )

# %% [markdown]
# Clipping cannot repair the estimate at t = 999: what was above 1 is now exactly 1, so it is still white. The
# share that is recognised hardly changes either (a share of 100 images has a standard error of 5 points).
# Another target helps at large t: `fast` predicts $x_0$.
#
# The estimate at t = 999 is poor, but a *small* step in its direction is enough. After this step fewer images
# fit x, so the next estimate is a little more definite, and so on.
#
# ### Why is noise added again?
#
# The reverse step of [lesson 5](05_sampling.ipynb) ends with $+\sqrt{\tilde\beta_t}\,z$. Let us leave it out: z = 0.
# DDIM adds no noise either, but it multiplies $x_t$ and $\hat x_0$ by other numbers, so that the noise left in x keeps
# the size that belongs to t.
#
# **Predict before you run:** what do images look like that were drawn with z = 0?

# %%
def without_noise(schedule, grid):
    """Ancestral sampling with z = 0."""
    table = samplers.ddim(schedule, grid, eta=1.0)
    return replace(table, sigma=np.zeros(len(grid)))


noisy = {}
for label, sampler in {"DDPM": "ddpm", "DDPM, z = 0": without_noise, "DDIM": "ddim"}.items():
    noisy[label] = sampling.sample(fast, min(judged, 64), steps=steps, sampler=sampler, **quiet)

# %%
alt = (
    "Three rows of eight images: DDPM draws digits; with z = 0 all images are nearly the same; "
    "DDIM draws digits."
)
show_rows(f"Drawn by fast, {steps} steps", alt, noisy)
for label, x in {**noisy, "real digits": x_test[:64]}.items():
    print(
        f"{label:12} recognised {recognised(x):4.0%}, sharpness {sharpness(x):.3f}, "
        f"spread {np.clip(x, -1, 1).std(axis=0).mean():.3f}"
    )

# %% [markdown]
# With z = 0 every start ends at nearly the same image: look at the spread. A DDPM step removes more noise than
# a DDIM step, because z adds a part of it again. Without z, x soon has less noise than belongs to t. The
# network was never trained on such inputs, and the differences between the images are smoothed away. The
# classifier is sure of this one image, so the share recognised is high: never trust one number.
#
# ### Coarse to fine
#
# **Predict before you run:** what appears first during sampling, large forms or fine strokes? We split each
# estimate into spatial frequencies. We measure how much of the difference between the finished image and the
# average digit is already right: 0 means "no better than the average digit", 1 means finished. Before t = 800
# the estimates of `classic` are worse than the average digit, so the figure starts there.

# %%
waves = [np.fft.fftfreq(n) * n for n in shape[:2]]
frequency = np.hypot(*np.meshgrid(*waves, indexing="ij"))
bands = {
    "coarse (1–3 waves per image)": (0.5, 3.5),
    "medium (4–7)": (3.5, 7.5),
    "fine (8–14)": (7.5, 14.5),
}


def spectrum(x):
    return np.fft.fft2(np.clip(x, -1, 1)[..., 0], axes=(1, 2))


final_spectrum, mean_spectrum = spectrum(final), spectrum(mean_image[None])
curves = {band: [] for band in bands}
for _, guess in estimates:
    guess_spectrum = spectrum(guess)
    for band, (low, high) in bands.items():
        chosen = (frequency >= low) & (frequency < high)
        a, b, average = (s[:, chosen] for s in (guess_spectrum, final_spectrum, mean_spectrum))
        # Of the difference between the finished image and the average digit, the share that is right.
        curves[band].append(1 - np.sum(np.abs(a - b) ** 2) / np.sum(np.abs(b - average) ** 2))

# %%
title = "Coarse to fine: how much of the finished image is already in the estimate?"
figure, ax = plots.axes(title, "t (800 → 0)", "share that is right", size=(9, 4.2))
times = [t for t, _ in estimates]
settled = {}
for (band, values), style in zip(curves.items(), ("-", "--", "-.")):
    ax.plot(times, values, style, label=band)
    settled[band] = next(t for t, v in zip(times, values) if v > 0.5)
ax.set(xlim=(800, 0), ylim=(-0.1, 1.05))
ax.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
ax.legend()
plots.show(
    figure,
    "Three curves over t from 800 on the left to 0 on the right: coarse frequencies settle first, "
    "then medium, then "
    "fine ones. Half is right at t = "
    + ", ".join(f"{t} ({band.split(' ')[0]})" for band, t in settled.items())
    + ".",
)
for band, t in settled.items():
    print(f"{band:28}: half is right from t = {t}, SNR {linear.snr[max(t, 0)]:.2f}")
if PRESET != "smoke":
    order = list(settled.values())
    assert order[0] >= order[1] >= order[2]

# %% [markdown]
# **Answer.** One step from pure noise, learned with the squared error, can only give the mean. (With another
# loss one step can draw: a GAN does, and so do networks that are *distilled* from a diffusion model.) With many
# steps the image is decided little by little: first the coarse forms, then the fine strokes. Coarse frequencies
# settle at larger t than fine ones. Each step is easy *given* the steps before it.
#
# Compare the three measurements by SNR: in 6.1 little happens where SNR < 0.01; in 6.3 the digit is decided
# between about 0.3 and 0.03; here the forms settle in or near that range, the fine strokes above it.
# [Lesson 7](07_better_and_faster.ipynb) says that the form is decided "at large t". That is the same range: under the
# cosine schedule SNR = 0.3 belongs to t = 677 and 0.03 to t = 889.

# %% [markdown]
# ## 6.5 Applications
#
# **Question 5: what is all this good for?** First a measurement: *inpainting*, filling in a missing part,
# again with an unconditional checkpoint. At each step the known pixels of $\hat x_0$ are replaced by the true
# ones.

# %% [markdown]
# ### Exercise 6.2 – inpainting in one line
# *Difficulty ●●○○ · about 10 minutes*
#
# Write `inpaint(x0, known, mask)`: the estimate `x0` where the mask is 0, the known image where it is 1.
# `mask` has shape (1, H, W, 1) and broadcasts.
#
# <details><summary>Hint: no if needed</summary>
#
# Multiplying an image by a mask of 0 and 1 keeps the pixels where the mask is 1. The others become 0.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-6-2-inpaint", "grade": false, "solution": true, "locked": false, "task": false}
def inpaint(x0, known, mask):
    """Known pixels where mask = 1, the network's guess elsewhere."""
    ### BEGIN SOLUTION
    return mask * known + (1 - mask) * x0
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-6-2-inpaint", "grade": true, "solution": false, "locked": true, "points": 2, "task": false}
checks.check_inpaint(inpaint)

# %% [markdown]
# The lower half of four digits is erased. Your `inpaint` fills them in, once without resampling and once with
# it (each step R times, as in 6.3).
#
# **Predict before you run:** will all fillings of one digit be the same? Which will look more like digits?

# %%
paste = checks.check_inpaint.answer_or(sampling.inpaint)
mask = np.ones((1, *shape[:2], 1), "float32")
mask[:, shape[0] // 2 :] = 0


def fill(known, paste, diffusion=fast, resample=1):
    """One filling for each picture. ``paste`` gets NumPy arrays, as in the check."""

    def in_numpy(x0):
        return np.asarray(paste(x0.copy(), known, mask), np.float32)

    def constrain(x0, t):
        return tf.ensure_shape(tf.numpy_function(in_numpy, [x0], tf.float32), x0.shape)

    options = {
        "steps": steps // 2,
        "resample": resample,
        "constrain": constrain,
        **quiet,
    }
    return sampling.sample(diffusion, len(known), **options)


sources = x_test[[0, 1, 3, 8]] if PRESET != "smoke" else x_test[:2]
known = np.repeat(sources, per_image, axis=0)
filled = {
    times: fill(known, paste, resample=times).reshape(len(sources), per_image, *shape)
    for times in (1, R)
}

# %%
columns = min(per_image, 4)
given = mask * sources - (1 - mask) * 0.5
rows = {}
for i in range(len(sources)):
    completed = [x for groups in filled.values() for x in groups[i][:columns]]
    rows[f"image {i + 1}"] = [sources[i], given[i], *completed]
heads = ["original", "given", *[f"R = {times}" for times in filled for _ in range(columns)]]
alt = (
    "For each of the digits: original, upper half only, fillings without and fillings with "
    "resampling."
)
show_rows(f"Inpainting by an unconditional network ({name})", alt, rows, heads)
for times, groups in filled.items():
    error = float(np.abs((groups - sources[:, None]) * mask).max())
    spread = float((groups.std(axis=1) * (1 - mask)).sum() / ((1 - mask).sum() * len(sources)))
    print(
        f"R = {times}: largest change of a known pixel {error:.1e}; "
        f"spread of the unknown pixels {spread:.3f}"
    )
    assert error < 1e-3

# %%
compare(lambda *using: fill(some, sampling.inpaint, *using))
show_recorded("fill")

# %% [markdown]
# No, the fillings differ. If the upper half leaves the digit open, several digits fit. Without resampling many
# fillings are scribbles. With `fast` and resampling most are digits, but this needs R times the calls; 500
# steps with R = 1 make as many calls and gain nothing. With `classic` the recorded gain is small and the
# intervals overlap. A likely reason: resampling cannot replace what the network does not know about digits.
# Forty digits leave wide intervals, so trust the recorded measurement more.
#
# ### Style transfer: from a sketch to handwriting
#
# Noise destroys fine detail first (6.4). So we add just enough noise to a crude sketch to destroy its style but
# not its form. Then we run the reverse process: the network redraws the sketch in the style of its training
# data (Meng et al. 2021, [SDEdit](https://arxiv.org/abs/2108.01073)). The function is `walk_back` of 6.3.
#
# **Predict before you run:** what happens with too little noise, and with too much?

# %%
sketches = np.full((3, *shape), -1, "float32")
sketches[0, 5:8, 6:22] = sketches[0, 5:23, 19:22] = 1  # a seven of two bars
sketches[1, 5:15, 6:9] = sketches[1, 13:16, 6:21] = sketches[1, 5:23, 17:20] = 1  # a four
sketches[2, 5:23, 7:21] = 1
sketches[2, 8:20, 10:18] = -1  # a box: a zero?
levels = (199, 399, 599, 699, 799, 899)
redrawn = [walk_back(sketches, t)[1] for t in levels]
rows = {
    label: [sketches[i], *[x[i] for x in redrawn]]
    for i, label in enumerate(["seven", "four", "box"])
}
alt = (
    "Three sketches of straight bars, and the images sampled back from six levels of noise. From "
    "large t other digits appear."
)
show_rows(
    "Sketches of bars, noised up to t and sampled back",
    alt,
    rows,
    ["sketch", *[f"t = {t}" for t in levels]],
)

# %% [markdown]
# With little noise (t = 199) the bars stay bars. Around t = 699 they become handwriting, not always of the
# digit that was meant. At t = 899 the sketch is lost.
#
# **Answer: from here to text-to-image.** The same idea, *predict the noise, run the reverse process*, is used
# for images, sound, video, molecules and robot motion. Three steps lead from this lab to a text-to-image system
# like Stable Diffusion. [Lesson 5](05_sampling.ipynb) showed the first two on a small scale, and
# [lesson 8](08_text_to_image.ipynb) builds all three:
#
# 1. **A condition.** The network gets a description beside $x_t$ and t, as the toy network of
#    [lesson 1](01_function_inversion.ipynb) got y. For text it is the output of a language model, which the network
#    reads by cross-attention.
# 2. **Guidance.** Predict the noise with and without the description, and move further in the direction of the
#    difference (Ho & Salimans 2022, [classifier-free guidance](https://arxiv.org/abs/2207.12598)).
# 3. **A latent space.** An autoencoder first makes the image small (64×64×4 for 512×512×3). The forward and the
#    reverse process work on this small array (Rombach et al. 2022, [latent diffusion](https://arxiv.org/abs/2112.10752): the
#    *Stable* Diffusion family).
#
# Inpainting, super-resolution and style transfer, which you saw above, are also products of their own. They
# raise questions: whose images is a model trained on, what may it imitate, and how do we know that a picture
# is real?

# %% [markdown]
# ## 6.6 One digit, looked at closely
#
# **Question: what is still wrong with a drawn digit?** We show the one of 16 drawings by `classic` that the
# classifier is least sure of. Beside it is the least sure of 16 drawings by `fast_conditional`, which was
# given the digit ([lesson 5](05_sampling.ipynb)).

# %%
conditional = pretrained.load_diffusion("fast_conditional")
asked = networks.even_labels(16)
drawings = {
    "classic": sampling.sample(classic, 16, steps=settings.sample_steps, **quiet),
    "fast_conditional": sampling.sample(conditional, 16, condition=asked, steps=steps, **quiet),
}

# %%
figure, grid = plt.subplots(1, 4, figsize=(13, 3.8), width_ratios=[1.2, 1, 1.2, 1])
for (label, x), (picture, bars) in zip(drawings.items(), grid.reshape(2, 2)):
    said = probabilities(x)
    worst = int(said.max(axis=1).argmin())
    wish = f", asked for a {asked[worst]}" if label == "fast_conditional" else ""
    plots.draw_image(picture, x[worst])
    picture.set_title(f"{label}{wish}")
    picture.set_xlabel(f"the least sure of {len(x)}")
    bars.barh(range(10), said[worst], color=plots.COLOURS["blue"])
    bars.set(title="what the classifier says", xlabel="probability", ylabel="digit", xlim=(0, 1))
    bars.set_yticks(range(10))
    print(
        f"{label}: recognised {recognised(x):.0%} of {len(x)}; the worst is taken for a "
        f"{said[worst].argmax()} (probability {said[worst].max():.2f})"
    )
figure.suptitle("The worst of 16 drawings, large")
plots.show(
    figure,
    "Two drawn images, large, the worst of 16 each, beside bar charts of the probabilities that "
    "the classifier gives to the "
    "ten digits.",
)

# %% [markdown]
# Write down what you see before you read on.
#
# | what can be wrong | a likely reason | remedy, and where the lab measures it |
# | --- | --- | --- |
# | strokes, but no digit | strokes are local, a digit is global: a small network sees too little at once | longer training (4), a better network (7), being given the digit (5) |
# | a mixture of two digits | the form was not decided clearly where SNR is 0.03–0.3 (6.3) | guidance (5), a network that is good at low SNR (7) |
# | pixels look like stairs | 28×28 pixels are few | larger images, or a latent space (6.5) |

# %% [markdown]
# ## 6.7 Outlook: the theory in one page
#
# This lab also rests on four more facts. (Lesson 4.1 leads from the likelihood to the loss. Lesson 5.2 says why $\hat x_0$ may
# stand in for $x_0$.) Each is short here; the sources prove them.
#
# **Why is a small reverse step Gaussian?** The forward step adds a little Gaussian noise. Bayes' rule gives
# $q(x_{t-1} \mid x_t) \propto q(x_t \mid x_{t-1})\, q(x_{t-1})$. If β is small, the first factor is a very
# narrow Gaussian around $x_{t-1} \approx x_t$. Over such a short distance $\log q(x_{t-1})$ is almost linear,
# and a Gaussian times the exponential of a linear function is again a Gaussian with another mean. For a large β
# this does not hold: the reverse step can have several peaks. (Feller 1949; [Sohl-Dickstein
# et al. 2015](https://arxiv.org/abs/1503.03585).) That is why there are many small steps.
#
# **The noise is the score.** The *score* is $\nabla_x \log q(x_t)$, the direction in which $x_t$ becomes more
# probable. It is the best prediction of the noise, divided by a known negative number:
#
# $$ \nabla_x \log q(x_t) = -\,\frac{\mathbb{E}[\varepsilon \mid x_t]}{\sqrt{1-\bar\alpha_t}} \approx -\,\frac{\varepsilon_\theta(x_t, t)}{\sqrt{1-\bar\alpha_t}} $$
#
# So a network that predicts noise has learned the score at each noise level ([Vincent
# 2011](https://doi.org/10.1162/NECO_a_00142); [Song & Ermon 2019](https://arxiv.org/abs/1907.05600)).
#
# **One forward process, two reverse processes.** With infinitely many steps the forward process becomes a
# stochastic differential equation (SDE), $\mathrm{d}x = -\tfrac12 \beta x\,\mathrm{d}t + \sqrt{\beta}\,\mathrm{d}w$.
# Its reverse is another SDE. It needs only the score, and DDPM sampling is a way to solve it. There is also
# an ordinary differential equation (ODE) without noise that has the same distribution at each t: DDIM,
# DPM-Solver and Heun solve this one. Each starting noise then always gives the same image ([Song et al.
# 2021](https://arxiv.org/abs/2011.13456)). This explains 6.4: we may leave out the noise, but then the other
# numbers must change, too.
#
# **Flow matching.** If sampling is an ODE, $\mathrm{d}x/\mathrm{d}\tau = u(x, \tau)$, one can learn the
# velocity $u$ directly. Draw an image $x_0$, noise ε and a time τ between 0 and 1, go to
# $x_\tau = (1-\tau)\,x_0 + \tau\,\varepsilon$, and let a network predict $\varepsilon - x_0$ with the squared
# error. It is the recipe of [lesson 4](04_training.ipynb) with straight paths and another target ([Lipman et al.
# 2023](https://arxiv.org/abs/2210.02747); [Liu et al. 2023](https://arxiv.org/abs/2209.03003)). Straighter
# paths need fewer steps. Stable Diffusion 3 is trained like this ([Esser et al.
# 2024](https://arxiv.org/abs/2403.03206)).

# %% [markdown]
# ### Exercise 6.3 – what would you change?
# *Difficulty ●●○○ · about 15 minutes · marked by your instructor*
#
# Choose one measurement of this lesson. (a) State in one sentence what it shows. (b) Name one thing it does
# *not* show. (c) Say how you would change the cell to test that.

# %% [markdown] nbgrader={"schema_version": 3, "grade_id": "text-6-3-measurement", "grade": true, "solution": true, "locked": false, "points": 4, "task": false}
# <!-- ### BEGIN SOLUTION -->
# Example. (a) Section 6.1: with 20 steps and one network, the range of β changes how many samples are
# recognised. (b) It does not show which schedule is best for training: the network was always the one trained
# with the cosine schedule. (c) Train the same network with each range, three seeds each, and draw from each
# with its own schedule.
# <!-- ### END SOLUTION -->

# %% [markdown]
# ### Exercise 6.4 – why not paste into $x_t$?
# *Difficulty ●●●○ · about 10 minutes · marked by your instructor*
#
# The sampler in section 6.5 corrects only the guess $\hat x_0$. Why not simply paste the clean known pixels
# into $x_t$ itself?

# %% [markdown] nbgrader={"schema_version": 3, "grade_id": "text-6-4-paste", "grade": true, "solution": true, "locked": false, "points": 3, "task": false}
# <!-- ### BEGIN SOLUTION -->
# The network expects x_t to have the noise level of step t in every pixel. Clean pixels pasted into x_t would
# be something it has never seen at that t; it would take them for an image with too little noise, or remove
# noise that is not there. Known pixels must enter at the right noise level: by correcting x̂_0, or by pasting
# add_noise(known, t).
# <!-- ### END SOLUTION -->

# %% [markdown]
# ## Remember
# - A schedule decides how many steps each SNR gets. Compare schedules by SNR, not by t, and by their samples.
# - A GAN draws with one call, but its training has no fixed target. Diffusion needs many calls, but its training
#   is a regression.
# - If several answers are right, draw one of them. Do not average them.
# - Coarse forms come first, fine strokes later: each step is easy given the steps before it.
# - A sampler that adds no noise needs other coefficients (DDIM). Without them the samples get worse.
# - An unconditional model with a correction at each step can be tried on inverse problems it was never
#   trained for. Resampling lets the rest of the image fit what is known.
