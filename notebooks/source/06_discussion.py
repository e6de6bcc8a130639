# %% [markdown]
# # 6 · Discussion: five questions, each answered by a measurement
#
# You can noise, train and sample. This lesson asks why it is done this way, and what else the very same trained network
# can do. Each question is answered in words *and* by a cell that measures.
#
# **You will be able to**
# - compare noise schedules by what they spend their steps on;
# - say how diffusion differs from a GAN, and show it;
# - connect diffusion with the function inversion of lesson 1;
# - explain why many small steps beat one large one;
# - fill in missing parts of an image with a network that was never trained to do so, and sketch text-to-image.
#
# **Time:** about 60 minutes with the exercises; the cells run in two to three minutes.

# %% [markdown] tags=["badges"]
# [Text source of this lesson](source/06_discussion.py) · no account or GPU needed

# %% tags=["parameters"]
PRESET = "quick"  # "smoke": seconds, to test; "quick": what a laptop does in a few minutes; "full": the same, more images
DATASET = "auto"  # MNIST, or scikit-learn's digits where there is no MNIST
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
import tensorflow as tf

from labutils import checkpoints, checks, data, inversion, plots, presets, sampling, toys
from labutils.progress import keras_progress
from labutils.schedule import cosine_schedule, linear_schedule

settings = presets.get(PRESET)
plots.use_lab_style()
schedule = linear_schedule()
network, about = checkpoints.load("classic")
shape = tuple(about["input_shape"])
images = data.load(DATASET)
if images.image_shape != shape:
    images = data.load("digits")  # the checkpoint draws digits: this lesson needs images of its shape
name = images.note or images.name  # what the figures call the data
x_test = images.x_test
print(f"preset {settings.name}: {settings.few_samples} samples where several are compared; images: {name}")

# %% [markdown]
# ## 6.1 The noise schedule
#
# **Question 1: why a schedule, and which one?** β could be the same at every step. But a sampler walks through all noise
# levels, and they are not equally useful: where there is almost only noise, a step decides little; where the
# forms appear, each step matters. A schedule decides how many steps are spent where. Nichol & Dhariwal 2021
# ([Improved DDPM](https://arxiv.org/abs/2102.09672)) saw that the linear schedule destroys the image too early and spends
# many steps on nearly pure noise; their *cosine* schedule sets ᾱ directly:
#
# $$ \bar\alpha_t = \frac{f(t+1)}{f(0)}, \qquad f(n) = \cos^2\!\Big(\frac{n/T + s}{1+s}\cdot\frac{\pi}{2}\Big), \quad s = 0.008 $$
#
# (their t is our t + 1, so $f$ is taken at n = 1 … T). The formula ends at ᾱ = 0, where $\hat x_0$ would divide by 0; so the
# paper, and labutils, limit β to 0.999.

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
# **Predict before you run:** which of the two spends more steps where SNR < 0.01, that is, on almost pure noise?

# %%
cosine = cosine_schedule()
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
edges = [0, 0.01, 0.1, 1, 10, 100, np.inf]
labels = ["< 0.01", "0.01–0.1", "0.1–1", "1–10", "10–100", "> 100"]
spent = {}
for i, s in enumerate((schedule, cosine)):
    left.semilogy(s.snr, ("-", "--")[i], label=s.name)
    spent[s.name] = np.array([np.sum((s.snr >= low) & (s.snr < high)) for low, high in zip(edges, edges[1:])])
    right.bar(np.arange(6) + 0.4 * i - 0.2, spent[s.name], 0.4, label=s.name, hatch=("", "//")[i])
left.set(title="Signal-to-noise ratio", xlabel="t", ylabel="SNR (logarithmic)", ylim=(1e-6, 1e5))
right.set(title="What 1000 steps are spent on", xlabel="SNR of the step", ylabel="number of steps")
right.set_xticks(range(6), labels)
for ax in (left, right):
    ax.legend()
plots.show(figure, "Left: the SNR of the cosine schedule falls more slowly in the middle. Right: the linear schedule spends "
           f"{spent['linear'][0]} of 1000 steps where SNR is below 0.01, the cosine schedule {spent['cosine'][0]}.")
for schedule_name, counts in spent.items():
    print(f"{schedule_name:7}", ", ".join(f"SNR {label}: {count}" for label, count in zip(labels, counts)))
assert spent["linear"][0] > 2 * spent["cosine"][0]

# %%
equal_t = {s.name: int(np.argmin(np.abs(np.log(s.snr)))) for s in (schedule, cosine)}
ts = [100, 300, 500, 700, 900]
rng = np.random.default_rng(SEED)
noise = rng.standard_normal((1, *shape)).astype("float32")
rows = [[np.asarray(s.add_noise(x_test[:1], t, noise))[0] for t in ts] for s in (schedule, cosine)]
plots.show(plots.image_table(rows, ["linear", "cosine"], [f"t = {t}" for t in ts], "The same image under the same noise"),
           "One image at five steps. Under the linear schedule it is hard to make out at t = 500; under the cosine schedule "
           "it can be seen longer.")
print("SNR = 1 is reached at", ", ".join(f"t = {t} ({schedule_name})" for schedule_name, t in equal_t.items()))

# %% [markdown]
# **Answer.** The schedule decides which noise levels get the steps. The linear one was made for larger images: a large image
# stays readable under more noise, because neighbouring pixels say the same. For 28×28 it spends a large part of its
# steps where little is decided. The cosine schedule moves those steps to the middle. Do not sample with another schedule
# than that of the training: at each t the network expects the noise level that it saw there.

# %% [markdown]
# ## 6.2 Diffusion and GANs
#
# **Question 2: how does diffusion differ from a GAN?** In a *generative adversarial network*
# ([Goodfellow et al. 2014](https://arxiv.org/abs/1406.2661)) a generator turns noise into an image in **one** call, and a
# critic tries to tell its images from real ones. Each learns against the other: there is no fixed target. Diffusion has a
# fixed regression target, the noise.
#
# The test: eight small islands of points in the plane. A good model draws from all eight, and nothing in between. Both models
# are small and get the same number of updates, but they are not of equal design: the diffusion model sees sines and cosines of its
# inputs and has a rate that falls, the GAN is the plainest there is.
#
# **Predict before you run:** which will find all the islands, run after run?

# %%
rng = np.random.default_rng(SEED)
points = toys.ring_points(10_000, rng)
runs = settings.seeds
gan_points, gan_coverage = [], []
for seed in range(runs):
    generator = toys.train_gan(points, settings.toy_steps, seed=SEED + seed)
    drawn = np.asarray(generator(rng.standard_normal((2_000, 2)).astype("float32")))
    gan_points.append(drawn)
    gan_coverage.append(toys.coverage(drawn))

nothing = np.zeros(len(points))  # the network has an input for a condition; here there is none
diffusion_points, diffusion_coverage = [], []
for seed in range(runs):
    denoiser = inversion.build_conditional_denoiser(dim=2, seed=SEED + seed)
    inversion.train_conditional(denoiser, schedule, points, nothing, settings.toy_steps, seed=SEED + seed,
                                callbacks=[keras_progress(10, f"diffusion, run {seed + 1}")])
    diffusion_points.append(inversion.sample_conditional(denoiser, schedule, nothing[:2_000], seed=SEED + seed))
    diffusion_coverage.append(toys.coverage(diffusion_points[-1]))

# %%
shown = [("data", points[:2_000])]
shown += [(f"GAN, run {i + 1}", p) for i, p in enumerate(gan_points[:3])]
shown += [(f"diffusion, run {i + 1}", p) for i, p in enumerate(diffusion_points[:3])]
figure, row = plt.subplots(1, len(shown), figsize=(2.1 * len(shown), 3.0), sharex=True, sharey=True)
figure.suptitle("Eight islands: data, GAN, diffusion")
for ax, (label, p) in zip(row, shown):
    ax.plot(*np.asarray(p).T, ".", markersize=1.5, color=plots.COLOURS["green" if label.startswith("diffusion") else "blue"])
    ax.set(title=label, xlabel="first coordinate", xlim=(-2, 2), ylim=(-2, 2), aspect="equal")
row[0].set_ylabel("second coordinate")
found = {"GAN": gan_coverage, "diffusion": diffusion_coverage}
plots.show(figure, "Scatter plots of points in the plane: the eight islands of the data, runs of the GAN and of the diffusion model. "
           "Islands found: " + "; ".join(f"{m} {', '.join(str(n) for n, _ in runs)}" for m, runs in found.items()) + ".")
print(f"{'model':18} {'islands found':>14} {'points on an island':>20}")
for model, results in found.items():
    for i, (islands, near) in enumerate(results):
        print(f"{model + ', run ' + str(i + 1):18} {islands:14} {near:20.0%}")
if PRESET != "smoke":
    assert all(islands == 8 and near > 0.9 for islands, near in diffusion_coverage)

# %%
# The price: calls of the network for one image.
start = tf.random.stateless_normal((16, *shape), seed=(SEED, 1))
call = tf.function(lambda x: network([x, tf.zeros((16, 1))]))
call(start)
began = time.perf_counter()
for _ in range(10):
    call(start)
one_call = (time.perf_counter() - began) / 10
print(f"16 images, one call of the lab's U-Net: {one_call:.3f} s; a GAN of that size needs 1 call, this sampler {schedule.T}")

# %% [markdown]
# **Answer.** A GAN is fast to sample (one call), and its training is a game without a fixed goal: runs can differ, islands can go missing
# (*mode collapse*), and points can lie between the islands; look at the table for these small ones. How much better a GAN gets with care and tricks is not tested here
# (exercise 6.3). Diffusion trains as calmly as any regression and covers the data, and pays with many calls when
# sampling. Most work on fast samplers is about lowering that price.

# %% [markdown]
# ## 6.3 Function inversion and diffusion
#
# **Question 3: what has diffusion to do with the function inversion of lesson 1?** There, y = sin x had several right x, and
# regression gave their mean. Here is the same with images. The function: *average blocks of pixels*, 2×2 or 4×4. Many digits
# give the same small picture. The inverse should be a *sample* of those.
#
# No new training: the *unconditional* checkpoint (it was never told what to draw), and one line that corrects its guess $\hat x_0$ at each step so that it agrees
# with the small picture: the mean of each block is replaced by the known one, and the detail inside the block stays the network's
# (Wang, Yu, Zhang 2022, [DDNM](https://arxiv.org/abs/2212.00490)).
#
# **Predict before you run:** for which of the two, 2×2 or 4×4, do the samples differ more, and the mean of the samples look more blurred?

# %%
def shrink(x, factor):
    """Average blocks of factor × factor pixels."""
    return tf.nn.avg_pool2d(x, factor, factor, "VALID")


def enlarge(x, factor):
    """Repeat each pixel factor × factor times."""
    return tf.repeat(tf.repeat(x, factor, axis=1), factor, axis=2)


per_image = max(settings.few_samples // 4, 2)
originals = x_test[[0, 2, 4, 6]] if PRESET != "smoke" else x_test[:2]


def solve(factor):
    """Samples that agree with the small pictures (images, samples of each, H, W, C), and how well they do."""
    small = shrink(np.repeat(originals, per_image, axis=0), factor)
    drawn = sampling.sample(network, schedule, len(small), shape, seed=SEED, steps=settings.sample_steps,
                            constrain=lambda x0, t: x0 + enlarge(small - shrink(x0, factor), factor))
    return drawn.reshape(len(originals), per_image, *shape), float(np.abs(shrink(drawn, factor) - small).mean())


solved = {factor: solve(factor) for factor in (2, 4)}

# %%
columns = min(per_image, 4)
smooth = {factor: np.asarray(tf.image.resize(shrink(originals, factor), shape[:2], "bicubic")) for factor in solved}
for factor, (samples, _) in solved.items():
    given = np.asarray(enlarge(shrink(originals, factor), factor))
    rows = [[originals[i], given[i], smooth[factor][i], samples[i].mean(axis=0), *samples[i][:columns]] for i in range(len(originals))]
    plots.show(plots.image_table(rows, [f"image {i + 1}" for i in range(len(rows))],
                                 ["original", "given", "bicubic", "mean"] + [f"sample {j + 1}" for j in range(columns)],
                                 f"×{factor} super-resolution by an unconditional network ({name})"),
               "For each image: original, small picture, smooth bicubic enlargement, the mean of all samples, and samples of the diffusion "
               + ("model, which are crisp and differ a little." if factor == 2 else "model, which are crisp and differ much: many are no digit."))

# %%
def sharpness(x):
    """Mean size of the jump from pixel to pixel."""
    return float(np.mean(np.abs(np.diff(np.clip(x, -1, 1), axis=-2))))


print(f"sharpness of the originals: {sharpness(originals):.3f}")
for factor, (samples, error) in solved.items():
    print(f"×{factor}: sharpness of bicubic {sharpness(smooth[factor]):.3f}, of the mean of the samples {sharpness(samples.mean(axis=1)):.3f}, "
          f"of the samples {sharpness(samples):.3f};\n    spread between samples of one picture {samples.std(axis=1).mean():.3f}, "
          f"forward check |shrink(sample) − given| {error:.1e}")
    assert error < 1e-2
if PRESET != "smoke":
    assert solved[4][0].std(axis=1).mean() > 2 * solved[2][0].std(axis=1).mean() > 0

# %% [markdown]
# **Answer.** Both look for an x with f(x) = y. Where many x fit, regression would return their mean, while diffusion draws one of them. 2×2 leaves
# little open: the samples are nearly alike, and so is their mean. 4×4 leaves much open: the samples differ, and their mean is less sharp
# than each of them. The forward check from lesson 1, *apply f to the answer*, is built into the sampler. Training supplies what f does not
# tell: what strokes look like.

# %% [markdown]
# ## 6.4 Why iterate?
#
# **Question 4: why remove the noise in many steps, and not at once?** The network gives a guess $\hat x_0$ at every step, even at t = 999.
#
# **Predict before you run:** what does the guess at t = 999 look like?

# %%
count = settings.few_samples
start = np.random.default_rng(SEED).standard_normal((count, *shape), dtype="float32")
looks = [(t, np.asarray(x0)) for t, _, x0 in sampling.reverse_process(network, schedule, start, seed=SEED)]
one_shot, final = looks[0][1], looks[-1][1]
oracle = sampling.exact_noise_predictor(x_test[:1_000], schedule)
exact_guess = next(sampling.reverse_process(oracle, schedule, start, seed=SEED))[2]
mean_image = x_test[:1_000].mean(axis=0)

# %%
columns = min(count, 8)
plots.show(plots.image_table([list(np.asarray(exact_guess)[:columns]), list(one_shot[:columns]), list(final[:columns])],
                             ["at once, exact predictor", "at once, network", "1000 steps, network"],
                             [""] * columns, "One step from t = 999, and a thousand"),
           "First row: the exact predictor's one-step guess, the same grey blur each time: the mean of all digits. Second row: the network's "
           "one-step guess, nearly all white pixels. Third row: crisp strokes after a thousand steps, some of them digits.")

# %%
to_mean = float(np.abs(np.asarray(exact_guess) - mean_image).mean())
print(f"exact one-step guess: mean distance from the average image {to_mean:.3f}; "
      f"spread between guesses {np.asarray(exact_guess).std(axis=0).mean():.3f}")
print(f"network: spread between one-step guesses {np.clip(one_shot, -1, 1).std(axis=0).mean():.3f}, "
      f"between finished digits {np.clip(final, -1, 1).std(axis=0).mean():.3f}")
last = schedule.alpha_bars[-1]
print(f"at t = {schedule.T - 1} an error in ε grows {np.sqrt((1 - last) / last):.0f} times in x̂_0")
assert to_mean < 0.1

# %% [markdown]
# At t = 999 nothing of an image is left in $x_t$, so the best guess is the **mean of all digits**: a blur, the same for every start. That is
# lesson 1 again. The trained network's own guess does not even show the blur: at t = 999 the smallest error in ε is multiplied
# by $\sqrt{1-\bar\alpha}/\sqrt{\bar\alpha} \approx 157$. But a *small* step in the direction of the mean is right. After it the question is a little
# less open, the next guess a little more definite, and so on.
#
# ### Coarse to fine
#
# **Predict before you run:** what appears first on the way, large forms or fine strokes? We split each guess into spatial frequencies,
# and count only what the average digit does not give away: 0 means "no better than the average digit", below 0 worse, 1 means finished.

# %%
frequency = np.sqrt(sum(f**2 for f in np.meshgrid(*[np.fft.fftfreq(n) * n for n in shape[:2]], indexing="ij")))
bands = {"coarse (1–3 waves per image)": (0.5, 3.5), "medium (4–7)": (3.5, 7.5), "fine (8–14)": (7.5, 14.5)}


def spectrum(x):
    return np.fft.fft2(np.clip(x, -1, 1)[..., 0], axes=(1, 2))


final_spectrum, mean_spectrum = spectrum(final), spectrum(mean_image[None])
curves = {band: [] for band in bands}
for _, guess in looks:
    guess_spectrum = spectrum(guess)
    for band, (low, high) in bands.items():
        chosen = (frequency >= low) & (frequency < high)
        a, b, average = (s[:, chosen] for s in (guess_spectrum, final_spectrum, mean_spectrum))
        # Of what distinguishes the finished image from the average digit in this band, how much the guess has right.
        curves[band].append(1 - np.sum(np.abs(a - b) ** 2) / np.sum(np.abs(b - average) ** 2))

# %%
figure, ax = plots.axes("Coarse to fine: how much of the finished image is already in the guess?", "t", "share that is right",
                        size=(8, 4))
times = [t for t, _ in looks]
settled = {}
for (band, values), style in zip(curves.items(), ("-", "--", "-.")):
    ax.plot(times, values, style, label=band)
    settled[band] = next(t for t, v in zip(times, values) if v > 0.5)
ax.set(ylim=(-0.5, 1.05))
ax.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
ax.invert_xaxis()
ax.legend()
plots.show(figure, "Three curves over t from 999 on the left to 0 on the right: coarse frequencies settle first, then medium, then "
           "fine ones. Half is right at t = " + ", ".join(f"{t} ({band.split(' ')[0]})" for band, t in settled.items()) + ".")
print("half is right from", ", ".join(f"t = {t} ({band})" for band, t in settled.items()))
if PRESET != "smoke":
    order = list(settled.values())
    assert order[0] >= order[1] >= order[2]

# %% [markdown]
# **Answer.** One step from pure noise can only give the mean. Many steps allow one decision after another: first the coarse forms, then
# the fine strokes. The measurement shows that order: coarse frequencies settle at larger t than fine ones. Each step
# is an easy question *given* the steps before it.

# %% [markdown]
# ## 6.5 Applications
#
# **Question 5: what is all this good for?** First a measurement: *inpainting*, filling in a missing part, again with the same
# unconditional checkpoint. At each step the known pixels of the guess $\hat x_0$ are replaced by the true ones.

# %% [markdown]
# ### Exercise 6.2 – inpainting in one line
# *Difficulty ●●○○ · about 10 minutes*
#
# Write `inpaint(x0, known, mask)`: the guess `x0` where the mask is 0, the known image where it is 1. `mask` has shape (1, H, W, 1) and broadcasts.
#
# <details><summary>Hint: no if needed</summary>
#
# A mask of 0 and 1 multiplies one image away and keeps the other.
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
# The lower half of four digits is erased. **Predict before you run:** will all fillings of one digit be the same?

# %%
mask = np.ones((1, *shape[:2], 1), "float32")
mask[:, shape[0] // 2 :] = 0
sources = x_test[[0, 1, 3, 8]] if PRESET != "smoke" else x_test[:2]
known = np.repeat(sources, per_image, axis=0)
filled = sampling.sample(network, schedule, len(known), shape, seed=SEED + 1, steps=settings.sample_steps,
                         constrain=lambda x0, t: sampling.inpaint(x0, known, mask))

# %%
groups = filled.reshape(len(sources), per_image, *shape)
columns = min(per_image, 4)
rows = [[sources[i], (mask * sources[i] - (1 - mask) * 0.5)[0], *groups[i][:columns]] for i in range(len(sources))]
plots.show(plots.image_table(rows, [f"image {i + 1}" for i in range(len(rows))], ["original", "given"] + [f"filled {j + 1}" for j in range(columns)],
                             f"Inpainting by an unconditional network ({name})", scale=1.1),
           "For each of the digits: original, upper half only, and several fillings that continue the strokes, not always to the same digit.")
error = float(np.abs((filled - known) * mask).max())
spread = float((groups.std(axis=1) * (1 - mask)).sum() / ((1 - mask).sum() * len(sources)))
print(f"largest change of a known pixel {error:.1e}; spread of the unknown pixels between fillings {spread:.3f}")
assert error < 1e-3

# %% [markdown]
# No: they differ, and not all of them are digits. The network knows strokes better than whole digits.
#
# **Answer: from here to text-to-image.** The same idea, *predict the noise, walk back*, is used for images, sound, video, molecules and
# robot motion. Three steps lead from this lab to a text-to-image system like Stable Diffusion; the first two you saw in small in lesson 5:
#
# 1. **A condition.** The network gets a description beside $x_t$ and t, as the toy network of lesson 1 got y. For text it is the output of a
#    language model, looked at through attention.
# 2. **Guidance.** Predict the noise with and without the description, and go further in the direction of the difference
#    (Ho & Salimans 2022, [classifier-free guidance](https://arxiv.org/abs/2207.12598)).
# 3. **A latent space.** An autoencoder first makes the image small (64×64×4 for 512×512×3); noising and denoising happen there
#    (Rombach et al. 2022, [latent diffusion](https://arxiv.org/abs/2112.10752): the *Stable* Diffusion family).
#
# Inpainting and super-resolution, which you saw above, are products of their own. With them come questions: whose images is
# a model trained on, what may it imitate, and how do we know that a picture is real?

# %% [markdown]
# ### Exercise 6.3 – what would you change?
# *Difficulty ●●○○ · about 15 minutes · marked by your instructor*
#
# Choose one measurement of this lesson. (a) State in one sentence what it shows. (b) Name one thing it does *not* show. (c) Say how you would change
# the cell to test that.

# %% [markdown] nbgrader={"schema_version": 3, "grade_id": "text-6-3-measurement", "grade": true, "solution": true, "locked": false, "points": 4, "task": false}
# <!-- ### BEGIN SOLUTION -->
# Example. (a) Section 6.2: with small networks (not of equal design) and equal numbers of updates, this GAN misses islands in some runs and the
# diffusion model in none. (b) It does not show that GANs cannot learn the islands: only one learning rate and one loss were tried. (c) Repeat
# with several learning rates and a Wasserstein loss, five seeds each, and compare the best of each.
# <!-- ### END SOLUTION -->

# %% [markdown]
# ### Exercise 6.4 – why not paste into $x_t$?
# *Difficulty ●●●○ · about 10 minutes · marked by your instructor*
#
# The sampler in section 6.5 corrects only the guess $\hat x_0$. Why not simply paste the clean known pixels into $x_t$ itself?

# %% [markdown] nbgrader={"schema_version": 3, "grade_id": "text-6-4-paste", "grade": true, "solution": true, "locked": false, "points": 3, "task": false}
# <!-- ### BEGIN SOLUTION -->
# The network expects x_t to have the noise level of step t in every pixel. Clean pixels pasted into x_t would be something it
# has never seen at that t; it would take them for signal with too little noise, or remove noise that is not there. Known pixels must
# enter at the right noise level: by correcting x̂_0, or by pasting add_noise(known, t).
# <!-- ### END SOLUTION -->

# %% [markdown]
# ## Remember
# - A schedule spends steps; SNR shows on what.
# - GAN: one call, a game. Diffusion: many calls, a regression.
# - Many right answers: draw one, do not average.
# - Coarse first, fine later: each step is easy given the ones before.
# - An unconditional model with a correction at each step can be tried on inverse problems it was never trained for.
