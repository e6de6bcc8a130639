# %% [markdown]
# # 3 · The U-Net: a network that finds the noise
#
# The network gets a noisy image and the step t, and must say which noise was added. Input and output are images of the
# same size; to tell noise from stroke it must look both at single pixels and at the whole. The **U-Net** does: it goes down
# to a small map whose units each see a large part of the image, and up again, with *skip connections* that hand the fine detail across.
#
# **You will be able to**
# - trace the shapes through a U-Net and rebuild one of its levels;
# - say where its parameters are and where its work is done (not in the same proportion);
# - show by experiment what the time input and the skip connections do;
# - write the sinusoidal time embedding that most diffusion models use.
#
# **Time:** about 45 minutes with the exercises; the cells run in about two minutes.
#
# Source: Ronneberger, Fischer, Brox 2015, [U-Net](https://arxiv.org/abs/1505.04597).

# %% [markdown] tags=["badges"]
# [Text source of this lesson](source/03_unet.py) · no account or GPU needed

# %% tags=["parameters"]
PRESET = "quick"  # "smoke": seconds, to test; "quick": what a laptop does in a few minutes; "full": hours
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
import matplotlib.pyplot as plt
import numpy as np

from labutils import checks, data, plots, presets, training, unet
from labutils.progress import keras_progress
from labutils.schedule import linear_schedule

import keras

settings = presets.get(PRESET)
plots.use_lab_style()
print(f"preset {settings.name}: short runs on {settings.ablation_images:,} images, {settings.ablation_epochs} epoch(s)")

# %% [markdown]
# ## 3.1 The network
#
# Two inputs: the noisy image $x_t$ and the time t/T, a number between 0 and 1. One output: the predicted noise
# $\varepsilon_\theta(x_t, t)$.

# %%
images = data.load(DATASET)
network = unet.build_classic_unet(images.image_shape)
H, W, C = images.image_shape
print(f"input {H}×{W}×{C} and one number, output {network.output.shape[1:]}, {network.count_params():,} parameters")
if images.image_shape == (28, 28, 1):
    assert network.count_params() == 257_265

plots.show(plots.draw_unet(network), "Drawing of the U-Net: boxes at full, half and quarter size, down and up again; dashed "
           "arrows, the skip connections, lead from the way down to the way up at full and at half size.")

# %% [markdown]
# Read the drawing from left to right:
#
# 1. `image_and_time`: the time, turned into a map of the image's size, is put beside the image as one more channel.
# 2. `down_1`, `pool_1`, `down_2`, `pool_2`, `middle`: 3×3 convolutions with ReLU; each pooling keeps the largest of 2×2
#    values and so halves the size. A unit of `middle` sees 18×18 pixels of the image.
# 3. `grow_2`, `skip_2`, `up_2`, `grow_1`, `skip_1`, `up_1`: each growing doubles the size, and the map of the same size from
#    the way down is put beside it.
# 4. `predicted_noise`: a 1×1 convolution **without activation**, since noise is positive and negative.
#
# Two poolings, so height and width must be divisible by 4. Try another shape and read what the function says:

# %% tags=["nbval-check-output"]
try:
    unet.build_classic_unet((30, 28, 1))
except ValueError as error:
    print(error)

# %% tags=["nbval-check-output"]
layer_names = ["down_1", "down_2", "middle", "up_2", "up_1", "predicted_noise"]
look = keras.Model(network.inputs, [network.get_layer(name).output for name in layer_names])
schedule = linear_schedule()
rng = np.random.default_rng(SEED)
noise = rng.standard_normal((1, H, W, C)).astype("float32")
noisy = schedule.add_noise(images.x_test[:1], 200, noise)
for name, output in zip(layer_names, look([noisy, training.network_time(np.array([200]), schedule.T)])):
    print(f"{name:16} {tuple(output.shape)}")

# %% [markdown]
# ### Exercise 3.1 – one level of the U-Net
# *Difficulty ●●○○ · about 10 minutes*
#
# Write `up_block(x, skip, filters)`, one level of the way up: make the map `x` twice as large, put `skip` beside it
# along the channel axis, then a 3×3 convolution with `filters` filters, ReLU, same size. It gets Keras tensors and returns
# one.
#
# <details><summary>Hint: the three layers</summary>
#
# `keras.layers.UpSampling2D()`, `keras.layers.Concatenate()`, `keras.layers.Conv2D(filters, 3, padding="same", ...)`.
# Each is *called* with what it works on: `layer(x)`, and `Concatenate()([x, skip])` with a list.
# </details>
#
# <details><summary>Help: "A Concatenate layer requires inputs with matching shapes"</summary>
#
# `x` is half as high and wide as `skip`. Grow it first, then join.
# </details>
#
# <details><summary>Help: "from 7×7 the block should reach 14×14, yours gives 12×12"</summary>
#
# A 3×3 convolution without padding loses one pixel at each edge: `padding="same"`.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-3-1-up-block", "grade": false, "solution": true, "locked": false, "task": false}
def up_block(x, skip, filters):
    """Grow x by 2, join it with skip, convolve; (B, H, W, ·) and (B, 2H, 2W, ·) → (B, 2H, 2W, filters)."""
    ### BEGIN SOLUTION
    x = keras.layers.UpSampling2D()(x)
    x = keras.layers.Concatenate()([x, skip])
    return keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-3-1-up-block", "grade": true, "solution": false, "locked": true, "points": 3, "task": false}
checks.check_up_block(up_block)

# %% [markdown]
# ## 3.2 Where are the parameters, and where is the work done?
#
# A dense layer uses each of its weights once per image. A convolution uses each weight at *every pixel*. So count two
# things: parameters, and *multiply-adds* (one multiplication and one addition).
#
# **Predict before you run:** which layer has the most parameters, and which two do the most work?

# %% tags=["nbval-check-output"]
costs = unet.layer_costs(network)
total = {key: sum(row[key] for row in costs) for key in ("parameters", "multiply_adds")}
print(f"{'layer':16} {'output':>14} {'parameters':>11} {'multiply-adds':>14} {'share':>6}")
for row in costs:
    shape = "×".join(map(str, row["output_shape"]))
    share = row["multiply_adds"] / total["multiply_adds"]
    print(f"{row['name']:16} {shape:>14} {row['parameters']:11,} {row['multiply_adds']:14,} {share:6.1%}")
print(f"{'sum':16} {'':>14} {total['parameters']:11,} {total['multiply_adds']:14,}")
assert total["parameters"] == network.count_params()

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True)
labels = [row["name"] for row in costs][::-1]
left.barh(labels, [row["parameters"] / 1e3 for row in costs][::-1])
left.set(title="Parameters", xlabel="thousands", ylabel="layer")
right.barh(labels, [row["multiply_adds"] / 1e6 for row in costs][::-1], color=plots.COLOURS["orange"])
right.set(title="Work for one image", xlabel="million multiply-adds")
plots.show(figure, "Two bar charts by layer. Parameters: up_2 and middle have the most. Work: up_2 and up_1 take by far the "
           "most, although up_1 has only a quarter of the parameters of up_2.")

# %% tags=["nbval-check-output"]
share = {key: sum(row[key] for row in costs if row["name"].startswith("up_")) / total[key] for key in total}
print(f"the two layers of the way up hold {share['parameters']:.0%} of the parameters and do {share['multiply_adds']:.0%} "
      "of the work")
assert share["multiply_adds"] > 0.8

# %% [markdown]
# The way up is expensive: many channels come together (from below and from the skip connection) on a large map.

# %% [markdown]
# ## 3.3 What the time input does
#
# The same noisy image needs different answers at different t: at t = 10 the noise is faint, so a bright dot belongs to
# the image; at t = 900 the same dot is almost surely noise. The lab's network turns t/T into a whole image by two dense layers, 1 → 32 → H·W:

# %%
x_train, x_test = images.x_train[: settings.ablation_images], images.x_test[: min(settings.test_images, 1_000)]


def short_run(name, seed, **options):
    """Build a network, train it for a short while, return it."""
    keras.utils.set_random_seed(seed)
    network = unet.build_classic_unet(images.image_shape, **options)
    bar = keras_progress(settings.ablation_epochs, f"{name}, seed {seed}")
    training.train(network, schedule, x_train, settings.ablation_epochs, seed=seed, callbacks=[bar])
    return network


print("training for section 3.3:", f"{len(x_train):,} images")
trained = short_run("classic", SEED)
time_maps = keras.Model(trained.inputs[1], trained.get_layer("time_image").output)
shown = [0.0, 0.25, 0.5, 0.75, 0.999]
maps = np.asarray(time_maps(np.array(shown).reshape(-1, 1)))[..., 0]

# %%
figure, row = plt.subplots(1, len(shown), figsize=(10, 2.4))
for ax, value, picture in zip(row, shown, maps):
    drawn = ax.imshow(picture, cmap="viridis", vmin=0, vmax=max(maps.max(), 1e-6))
    ax.set(title=f"t/T = {value}", xticks=[], yticks=[])
figure.colorbar(drawn, ax=row, label="value of the map")
figure.suptitle("The time map after a short training: one more channel beside the image")
plots.show(figure, "Five pictures of the learned time map for growing t: its values grow with t, with a pattern that differs "
           "from pixel to pixel.")

# %% [markdown]
# ### The sinusoidal embedding
#
# Most diffusion models describe t in another way: by sines and cosines of many frequencies, like the hands of a clock
# (Vaswani et al. 2017, [Attention is all you need](https://arxiv.org/abs/1706.03762), section 3.5):
#
# $$ e(t) = \big(\sin \omega_0 t, \dots, \sin \omega_{d/2-1} t,\; \cos \omega_0 t, \dots, \cos \omega_{d/2-1} t\big),
# \qquad \omega_k = 10000^{-2k/d} $$
#
# The fast hands tell neighbouring steps apart, the slow ones tell early from late.

# %% [markdown]
# ### Exercise 3.2 – the sinusoidal embedding
# *Difficulty ●●●○ · about 15 minutes*
#
# Write `sinusoidal_embedding(t, dim)`: for t of shape (B,) an array of shape (B, dim). NumPy is fine.
#
# <details><summary>Hint: one row for each t, one column for each frequency</summary>
#
# `frequencies = 10000.0 ** (-np.arange(dim // 2) / (dim // 2))` has shape (dim/2,). `t[:, None] * frequencies` has shape
# (B, dim/2): every t with every frequency.
# </details>
#
# <details><summary>Help: "all frequencies are alike"</summary>
#
# `//` rounds down: `k // (dim // 2)` is 0 for every k (or −1, with a minus sign in front). Use `/`.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-3-2-sinusoidal-embedding", "grade": false, "solution": true, "locked": false, "task": false}
def sinusoidal_embedding(t, dim):
    """Sines and cosines of t at dim/2 frequencies from 1 down to about 1/10,000; (B,) → (B, dim)."""
    ### BEGIN SOLUTION
    half = dim // 2
    frequencies = 10_000.0 ** (-np.arange(half) / half)
    angles = np.asarray(t, dtype=np.float64)[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-3-2-sinusoidal-embedding", "grade": true, "solution": false, "locked": true, "points": 3, "task": false}
checks.check_sinusoidal_embedding(sinusoidal_embedding)

# %%
all_t = np.arange(schedule.T)
embedding = np.asarray(unet.sinusoidal_embedding(all_t, 64))
dense_map = np.asarray(time_maps((all_t / schedule.T).reshape(-1, 1))).reshape(schedule.T, -1)


def likeness(vectors):
    """Cosine of the angle between the vectors of each pair of steps."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(norms, 1e-12)
    return unit @ unit.T


figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4))
for ax, vectors, title in ((left, embedding, "sinusoidal, 64 numbers"), (right, dense_map, "dense map, after short training")):
    drawn = ax.imshow(likeness(vectors), cmap="cividis", vmin=0, vmax=1, origin="lower")
    ax.set(title=title, xlabel="t", ylabel="t")
    ax.grid(False)
figure.colorbar(drawn, ax=(left, right), label="likeness of two steps (cosine)")
figure.suptitle("How alike are the descriptions of two steps?")
plots.show(figure, "Two square pictures of likeness between steps. Sinusoidal: a sharp bright diagonal that fades with "
           "distance, in stripes. Dense map: nearly everything is alike, except for the smallest t.")
sizes = np.linalg.norm(dense_map, axis=1)
print("size (norm) of the dense map:", ", ".join(f"t = {t}: {sizes[t]:.2f}" for t in (100, 300, 500, 999)))

# %% [markdown]
# To the sinusoidal embedding, two steps are, on the whole, the less alike the farther apart they are, and near steps can be told
# apart. In the dense map, except for the smallest t, every image of time points in nearly the same direction: what changes
# with t is mostly its size.
# The classic network works all the same: the noise level can also be *seen* in the image. How much does t add, then?
# Let us measure.

# %% [markdown]
# ## 3.4 Ablation: take a part away and measure
#
# Three networks, the same data, seeds and number of steps: the classic one, one that is not told t, and one without skip
# connections. (Their sizes differ a little.) Remember the yardstick: a network that always answers 0 has MSE 1.
#
# **Predict before you run:** which part is missed more?

# %%
variants = {
    "classic": {},
    "no time": {"time_input": False},
    "no skip": {"skip_connections": False},
}
runs = {name: [] for name in variants}
runs["classic"].append(trained)  # from section 3.3
for name, options in variants.items():
    while len(runs[name]) < min(settings.seeds, 2):
        runs[name].append(short_run(name, SEED + len(runs[name]), **options))
results = {name: [training.noise_mse(network, schedule, x_test) for network in runs[name]] for name in variants}

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
for i, values in enumerate(results.values()):
    left.bar(i, np.mean(values), color=plots.CYCLE[i])
    left.plot([i] * len(values), values, "o", color="black", markersize=4)
    left.text(i, max(values) + 0.03, f"{np.mean(values):.3f}", ha="center")
left.set(title="Noise-prediction error (dots: runs)", xlabel="network", ylabel="test MSE", xticks=range(3), xticklabels=results,
         ylim=(0, 1.1 * max(map(max, results.values()))))
some_t = [5, 50, 100, 200, 400, 600, 800, 990]
by_t = {name: [training.noise_mse(runs[name][-1], schedule, x_test[:250], t=t) for t in some_t] for name in variants}
for label, style in zip(variants, ("o-", "s--", "^:")):
    right.semilogy(some_t, by_t[label], style, label=label)
right.set(title="The same by step (last run)", xlabel="t", ylabel="test MSE (logarithmic)")
right.set_yticks([0.05, 0.1, 0.2, 0.5, 1], ["0.05", "0.1", "0.2", "0.5", "1"])
right.legend()
plots.show(figure, "Left: test error of the classic network, without time input and without skip connections; without skips it "
           "is by far the largest. Right: the same over t; without skips the error is close to 1 at every t.")

# %%
for name, values in results.items():
    print(f"{name:8} {runs[name][0].count_params():7,} parameters, test MSE {np.mean(values):.4f}  "
          f"(runs: {', '.join(f'{v:.4f}' for v in values)})")
if PRESET != "smoke":
    assert np.mean(results["no skip"]) > 1.2 * np.mean(results["classic"])

# %% [markdown]
# Without skip connections the noise of single pixels must pass through the smallest map, where the place of a pixel
# survives only as a code in the channels. In such a short run the network does not learn that code: the error is far larger, most
# of all at large t, where $x_t$ is almost only noise and the right answer is nearly a *copy of the input*. Copying is just
# what a skip connection is good at. At t = 5 the noise is so faint that after this short training no network finds it.
#
# In the saved run the values of *classic* and *no time* overlap: these runs show no effect of the time input, probably
# because the network can estimate the noise level from the image.

# %% [markdown]
# ## Remember
# - A U-Net sees far at the bottom, and keeps the detail by its skip connections.
# - Parameters and work are different things: the way up holds half of the parameters and does most of the work.
# - t is usually given to the network, most often as sines and cosines; our short runs saw no effect of it.
# - To know what a part does, take it away and measure, more than once.
