# %% [markdown]
# # 3 · The U-Net: a network that finds the noise
#
# The network gets a noisy image and the step t, and must say which noise was added. Input and output are images of
# the same size. To distinguish noise from strokes, the network must look at single pixels and at the whole image. The
# **U-Net** does both. First it reduces the image to a small map, where each unit sees a large part of the image. Then it
# enlarges this map again. *Skip connections* carry the fine detail from the way down to the way up.
#
# **You will be able to**
# - trace the shapes through a U-Net and rebuild one of its levels;
# - say where its parameters are and where its work is done (the shares differ);
# - show by experiment what the time input and the skip connections do;
# - write the sinusoidal time embedding that most diffusion models use.
#
# **Time:** about 45 minutes with the exercises; the cells run in about three minutes.
#
# Source: Ronneberger, Fischer, Brox 2015, [U-Net](https://arxiv.org/abs/1505.04597).

# %% [markdown] tags=["badges"]
# [Text source of this lesson](source/03_unet.py) · no account or GPU needed

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
import matplotlib.pyplot as plt
import numpy as np

from labutils import checks, data, diagrams, networks, plots, presets, pretrained, training
from labutils.diffusion import Diffusion
from labutils.schedule import linear_schedule
from labutils.training import keras_progress

import keras

settings = presets.get(PRESET, SEED)
plots.use_lab_style()
print(f"preset {settings.name}: short runs on {settings.ablation_images:,} images, "
      f"{settings.ablation_epochs} epoch(s)")

# %% [markdown]
# ## 3.1 The network
#
# Two inputs: the noisy image $x_t$ and the time t/T, a number between 0 and 1. One output: the predicted noise
# $\varepsilon_\theta(x_t, t)$.

# %%
images = data.load(DATASET)
network = networks.build_classic_unet(images.image_shape)
H, W, C = images.image_shape
print(f"input {H}×{W}×{C} and one number, output {network.output.shape[1:]}, "
      f"{network.count_params():,} parameters")
if images.image_shape == (28, 28, 1):
    assert network.count_params() == 257_265

# What goes in and what should come out: a noisy image, and the noise in it.
schedule = linear_schedule()
rng = np.random.default_rng(SEED)
noise = rng.standard_normal((1, H, W, C)).astype("float32")
noisy = schedule.add_noise(images.x_test[:1], 200, noise)
plots.show(diagrams.draw_unet(network, np.asarray(noisy[0]), noise[0]),
           "Drawing of the U-Net as a U: boxes at full, half and quarter size, down on the left, up on the "
           "right; the branch of the time joins on the left; arrows, the skip connections, cross at full and at "
           "half size. A noisy image goes in, the noise comes out.")

# %% [markdown]
# Follow the drawing from the input to the output:
#
# 1. `image_and_time`: the time becomes a map of the image's size, one more channel beside the image. A convolution
#    sees only a 3×3 neighbourhood, so t must be present **at every pixel**.
# 2. `down_1`, `pool_1`, `down_2`, `pool_2`: 3×3 convolutions with ReLU. Each *pooling* keeps the largest of 2×2
#    values and halves the size. This has two effects: the next convolution sees an area twice as wide, and it has a
#    quarter of the positions to compute.
# 3. `middle`, the *bottleneck*: a unit here sees 18×18 pixels of the image.
# 4. `grow_2`, `skip_2`, `up_2`, `grow_1`, `skip_1`, `up_1`: each `grow` layer (*upsampling*) doubles the size. Each
#    `skip` layer adds the map of the same size from the way down, as further channels (the *skip connection*).
# 5. `predicted_noise`: a 1×1 convolution **without activation**, since noise can be positive or negative.
#
# **Why 32 → 64 → 128 channels?** Fine maps hold simple features such as edges; a few channels are enough for them. Coarse
# maps hold combinations of these features, and there are more combinations. Each level has a quarter of the pixels and
# twice the channels, so `down_2` and `middle` cost the same (section 3.2).
#
# There are two poolings, so height and width must be divisible by 4. Try another shape and read the error message:

# %% tags=["nbval-check-output"]
try:
    networks.build_classic_unet((30, 28, 1))
except ValueError as error:
    print(error)

# %% tags=["nbval-check-output"]
layer_names = ["down_1", "down_2", "middle", "up_2", "up_1", "predicted_noise"]
look = keras.Model(network.inputs, [network.get_layer(name).output for name in layer_names])
time = networks.network_time(np.array([200]), schedule.T)
for name, output in zip(layer_names, look([noisy, time])):
    print(f"{name:16} {tuple(output.shape)}")

# %% [markdown]
# ### Exercise 3.1 – one level of the U-Net
# *Difficulty ●●○○ · about 10 minutes*
#
# Write `up_block(x, skip, filters)`, one level of the way up: make the map `x` twice as large, put `skip` beside it
# along the channel axis, then a 3×3 convolution with `filters` filters, ReLU, same size. It gets Keras tensors and
# returns one.
#
# <details><summary>Hint: the three layers</summary>
#
# `keras.layers.UpSampling2D()`, `keras.layers.Concatenate()`, `keras.layers.Conv2D(filters, 3, padding="same", ...)`.
# *Call* each layer on its input: `layer(x)`, and `Concatenate()([x, skip])` with a list.
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
    """Grow x by 2, join with skip, convolve; (B, H, W, ·), (B, 2H, 2W, ·) → (B, 2H, 2W, filters)."""
    ### BEGIN SOLUTION
    x = keras.layers.UpSampling2D()(x)
    x = keras.layers.Concatenate()([x, skip])
    return keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-3-1-up-block", "grade": true, "solution": false, "locked": true, "points": 3, "task": false}
checks.check_up_block(up_block)

# %% [markdown]
# ### The whole network in plain code
#
# With `up_block` the whole network takes a dozen lines. Here it is, built with your function (or with the lab's, if you
# have not solved the exercise yet).

# %%
block = checks.check_up_block.answer_or(networks.up_block)


def conv(x, channels):
    """A 3×3 convolution with ReLU; the size stays."""
    return keras.layers.Conv2D(channels, 3, padding="same", activation="relu")(x)


noisy_input, time_input = keras.Input((H, W, C)), keras.Input((1,))
time_map = keras.layers.Dense(32, activation="relu")(time_input)
time_map = keras.layers.Dense(H * W, activation="relu")(time_map)
x = keras.layers.Concatenate()([noisy_input, keras.layers.Reshape((H, W, 1))(time_map)])
down_1 = conv(x, 32)
down_2 = conv(keras.layers.MaxPooling2D()(down_1), 64)
middle = conv(keras.layers.MaxPooling2D()(down_2), 128)
x = block(block(middle, down_2, 64), down_1, 32)
plain = keras.Model([noisy_input, time_input], keras.layers.Conv2D(C, 1)(x))
print(f"in plain code: output {plain.output.shape[1:]}, {plain.count_params():,} parameters")
assert plain.count_params() == network.count_params()

# %% [markdown]
# ## 3.2 Where are the parameters, and where is the work done?
#
# A dense layer uses each of its weights once per image. A convolution uses each weight at *every pixel*. So count two
# things: parameters, and *multiply-adds* (one multiplication and one addition).
#
# By hand, for `up_2`: the kernel has 3·3 places, 128 + 64 = 192 channels in and 64 out, and each output channel has a
# bias: 3·3·192·64 + 64 = **110,656** parameters. Each of the 14·14 output places uses the whole kernel once:
# 14·14·3·3·192·64 = **21,676,032** multiply-adds.
#
# **Predict before you run:** which layer has the most parameters, and which two do the most work?

# %% tags=["nbval-check-output"]
costs = networks.layer_costs(network)
total = {key: sum(row[key] for row in costs) for key in ("parameters", "multiply_adds")}
print(f"{'layer':16} {'output':>14} {'parameters':>11} {'multiply-adds':>14} {'share':>6}")
for row in costs:
    shape = "×".join(map(str, row["output_shape"]))
    share = row["multiply_adds"] / total["multiply_adds"]
    print(f"{row['name']:16} {shape:>14} {row['parameters']:11,} "
          f"{row['multiply_adds']:14,} {share:6.1%}")
print(f"{'sum':16} {'':>14} {total['parameters']:11,} {total['multiply_adds']:14,}")
assert total["parameters"] == network.count_params()

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True)
labels = [row["name"] for row in costs][::-1]
left.barh(labels, [row["parameters"] / 1e3 for row in costs][::-1])
left.set(title="Parameters", xlabel="thousands", ylabel="layer")
right.barh(labels, [row["multiply_adds"] / 1e6 for row in costs][::-1], color=plots.COLOURS["orange"])
right.set(title="Work for one image", xlabel="million multiply-adds")
plots.show(figure, "Two bar charts by layer. Parameters: up_2 and middle have the most. Work: up_2 and up_1 "
           "take by far the most, although up_1 has only a quarter of the parameters of up_2.")

# %% tags=["nbval-check-output"]
way_up = [row for row in costs if row["name"].startswith("up_")]
share = {key: sum(row[key] for row in way_up) / total[key] for key in total}
print(f"the two layers of the way up hold {share['parameters']:.0%} of the parameters")
print(f"and do {share['multiply_adds']:.0%} of the work")
assert share["multiply_adds"] > 0.8

# %% [markdown]
# The way up is expensive: many channels come together (from below and from the skip connection) on a large map.
#
# These numbers count the network layer by layer, **as it is drawn**. `networks.fuse_upsampling` makes an equal network
# with less work: a 3×3 convolution over a map that was just doubled needs only 4/9 of the multiply-adds (lesson 7.1 shows
# how). The lab trains and samples with this network ("as it runs"). In it, 128 of the 192 channels of `up_2` and 64 of
# the 96 of `up_1` cost less:

# %% tags=["nbval-check-output"]
from_below = {"up_2": 128 / 192, "up_1": 64 / 96}  # share of the channels that were just doubled
saved = sum(row["multiply_adds"] * from_below[row["name"]] * 5 / 9 for row in way_up)
as_it_runs = total["multiply_adds"] - saved
way_up_runs = sum(row["multiply_adds"] for row in way_up) - saved
print(f"as drawn {total['multiply_adds'] / 1e6:.1f} million multiply-adds, "
      f"as it runs {as_it_runs / 1e6:.1f} million; "
      f"share of the way up: {way_up_runs / as_it_runs:.0%}")

# %% [markdown]
# ## 3.3 What the time input does
#
# The same noisy image needs different answers at different t: at t = 10 the noise is faint, so a bright dot belongs
# to the image; at t = 900 the same dot is almost surely noise. The lab's network turns t/T into a whole image by two
# dense layers, 1 → 32 → H·W.
#
# **Predict before you run:** after a short training, will the map be the same at every pixel?

# %%
x_train = images.x_train[: settings.ablation_images]
x_test = images.x_test[: min(settings.test_images, 1_000)]


def short_run(name, seed, **options):
    """Build a network, train it for a short while, return it with its schedule."""
    keras.utils.set_random_seed(seed)
    network = networks.build_classic_unet(images.image_shape, **options)
    if not options:
        network = networks.fuse_upsampling(network)  # the same network in less time: lesson 7
    bar = keras_progress(settings.ablation_epochs, f"{name}, seed {seed}")
    diffusion = Diffusion(network, schedule)  # a network, and the schedule that belongs to it
    training.train(diffusion, x_train, settings.ablation_epochs, seed=seed, callbacks=[bar])
    return diffusion


print("training for section 3.3:", f"{len(x_train):,} images")
trained = short_run("classic", SEED)
time_maps = keras.Model(trained.network.inputs[1], trained.network.get_layer("time_image").output)
shown = [0.0, 0.25, 0.5, 0.75, 0.999]
maps = np.asarray(time_maps(np.array(shown).reshape(-1, 1)))[..., 0]

# %%
figure, row = plt.subplots(1, len(shown), figsize=(10, 2.4))
for ax, value, picture in zip(row, shown, maps):
    drawn = ax.imshow(picture, cmap="viridis", vmin=0, vmax=max(maps.max(), 1e-6))
    ax.set(title=f"t/T = {value}", xticks=[], yticks=[])
figure.colorbar(drawn, ax=row, label="value of the map")
figure.suptitle("The time map after a short training: one more channel beside the image")
plots.show(figure, "Five pictures of the learned time map for growing t: its values grow with t, with "
           "a pattern that differs from pixel to pixel.")

# %% [markdown]
# The map is not the same at every pixel. Its values grow with t, but nothing forces the dense layer to treat all pixels
# alike. So the network receives t as a pattern.
#
# ### The sinusoidal embedding
#
# Most diffusion models describe t in another way: by sines and cosines of many frequencies (Vaswani et al. 2017,
# [Attention is all you need](https://arxiv.org/abs/1706.03762), section 3.5):
#
# $$ e(t) = \big(\sin \omega_0 t, \dots, \sin \omega_{d/2-1} t,\; \cos \omega_0 t, \dots, \cos \omega_{d/2-1} t\big),
# \qquad \omega_k = 10000^{-2k/d} $$
#
# The high frequencies distinguish neighbouring steps, the low frequencies distinguish early steps from late ones.

# %% [markdown]
# ### Exercise 3.2 – the sinusoidal embedding
# *Difficulty ●●●○ · about 15 minutes*
#
# Write `sinusoidal_embedding(t, dim)`: for t of shape (B,) an array of shape (B, dim). NumPy is fine.
#
# <details><summary>Hint: one row for each t, one column for each frequency</summary>
#
# `frequencies = 10000.0 ** (-np.arange(dim // 2) / (dim // 2))` has shape (dim/2,). `t[:, None] * frequencies` has
# shape (B, dim/2): every t with every frequency.
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

# %% [markdown]
# Now your embedding beside the dense map. For each pair of steps we measure how alike their descriptions are: the
# cosine of the angle between the two vectors, 1 for the same direction.
#
# **Predict before you run:** which of the two can tell t = 500 from t = 510?

# %%
embed = checks.check_sinusoidal_embedding.answer_or(networks.sinusoidal_embedding)
all_t = np.arange(schedule.T)
embedding = np.asarray(embed(all_t, 64))
dense_map = np.asarray(time_maps((all_t / schedule.T).reshape(-1, 1))).reshape(schedule.T, -1)


def likeness(vectors):
    """Cosine of the angle between the vectors of each pair of steps."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(norms, 1e-12)
    return unit @ unit.T


figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4))
descriptions = ((left, embedding, "sinusoidal, 64 numbers"),
                (right, dense_map, "dense map, after short training"))
for ax, vectors, title in descriptions:
    drawn = ax.imshow(likeness(vectors), cmap="cividis", vmin=0, vmax=1, origin="lower")
    ax.set(title=title, xlabel="t", ylabel="t")
    ax.grid(False)
figure.colorbar(drawn, ax=(left, right), label="likeness of two steps (cosine)")
figure.suptitle("How alike are the descriptions of two steps?")
plots.show(figure, "Two square pictures of likeness between steps. Sinusoidal: a sharp bright diagonal "
           "that fades with distance, in stripes. Dense map: nearly everything is alike, except for the "
           "smallest t.")
for label, vectors in (("sinusoidal", embedding), ("dense map", dense_map)):
    print(f"likeness of t = 500 and t = 510, {label}: {likeness(vectors[[500, 510]])[0, 1]:.4f}")
sizes = np.linalg.norm(dense_map, axis=1)
print("size (norm) of the dense map:",
      ", ".join(f"t = {t}: {sizes[t]:.2f}" for t in (100, 300, 500, 999)))

# %% [markdown]
# In the sinusoidal embedding, the likeness of two steps falls, on the whole, with their distance. Near steps can be
# distinguished. In the dense map, except for the smallest t, the vectors of all steps point in nearly the same direction:
# mostly their size changes with t. A network can read t from the size as well, so the dense map is not useless.
#
# How much does t help? Let us measure.

# %% [markdown]
# ## 3.4 Ablation: take a part away and measure
#
# An *ablation* removes one part and measures what gets worse. We compare three networks, with the same data, seeds and
# number of steps: the classic one, one that is not told t, and one without skip connections. (Their sizes differ a
# little.) For comparison: a network that always answers 0 has MSE 1.
#
# **Predict before you run:** which part increases the error more when it is removed?

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
results = {name: [training.noise_prediction_loss(each, x_test) for each in runs[name]]
           for name in variants}

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
for i, values in enumerate(results.values()):
    left.bar(i, np.mean(values), color=plots.CYCLE[i])
    left.plot([i] * len(values), values, "o", color="black", markersize=4)
    left.text(i, max(values) + 0.03, f"{np.mean(values):.3f}", ha="center")
left.set(title="Noise-prediction error (dots: runs)", xlabel="network", ylabel="test MSE",
         xticks=range(3), xticklabels=results, ylim=(0, 1.1 * max(map(max, results.values()))))
some_t = [5, 50, 100, 200, 400, 600, 800, 990]
by_t = {name: [training.noise_prediction_loss(runs[name][-1], x_test[:250], t=t) for t in some_t]
        for name in variants}
for label, style in zip(variants, ("o-", "s--", "^:")):
    right.semilogy(some_t, by_t[label], style, label=label)
right.set(title="The same by step (last run)", xlabel="t", ylabel="test MSE (logarithmic)")
right.set_yticks([0.05, 0.1, 0.2, 0.5, 1], ["0.05", "0.1", "0.2", "0.5", "1"])
right.legend()
plots.show(figure, "Left: test error of the network as it is, without time and without skip connections: "
           + ", ".join(f"{name} {np.mean(values):.2f}" for name, values in results.items())
           + ". Right: the same error over t, on a logarithmic axis.")

# %%
for name, values in results.items():
    print(f"{name:8} {runs[name][0].network.count_params():7,} parameters, "
          f"test MSE {np.mean(values):.4f}  (runs: {', '.join(f'{v:.4f}' for v in values)})")
if PRESET != "smoke":
    assert np.mean(results["no skip"]) > 1.2 * np.mean(results["classic"])

# %% [markdown]
# **Skip connections.** Without them the noise of single pixels must pass through the smallest map. There the position of
# a pixel can only be kept as a code in the channels, and a short run does not learn that code. The error is far larger,
# most of all at large t. There $x_t$ is almost only noise, and the right answer is nearly a *copy of the input*. A skip
# connection makes that copy easy. At t = 5 the noise is so faint that no network finds it after this short training.
#
# **Time.** In the saved run the values of *classic* and *no time* overlap. This result holds only for two seeds, two
# epochs and 4,000 images. In such a short run other errors hide what t could add. The network without t can also
# estimate the noise level from the image itself. (For many diffusion models this is enough to keep most of the
# quality: Sun et al. 2025, [Is noise conditioning necessary?](https://arxiv.org/abs/2502.13129))
#
# ### Try it: tell a trained network the wrong t
#
# There is a sharper test than a short ablation. Take the lab's checkpoint `classic`, which was trained for 50 epochs,
# give it noisy images of step t, and *tell* it another step.
#
# **Predict before you run:** the image has t = 200, and the network is told t = 400. Will the error double, grow tenfold,
# or stay the same?

# %%
saved, record = pretrained.load("classic")
own = data.load(DATASET).image_shape == tuple(record["input_shape"])
clean = (images if own else data.load("digits")).x_test[: 200 if PRESET != "smoke" else 20]
true_steps, told_steps = [50, 200, 400, 600, 800], [0, 50, 100, 200, 400, 600, 800, 999]  # try others
draw = np.random.default_rng(SEED)
noise = draw.standard_normal(clean.shape).astype("float32")


def error_when_told(t, told):
    """Error of the saved network on images of step t, when it is told another step."""
    noisy = schedule.add_noise(clean, t, noise)
    time = networks.network_time(np.full(len(clean), told), schedule.T)
    return float(np.mean((np.asarray(saved([noisy, time])) - noise) ** 2))


errors = {t: [error_when_told(t, told) for told in told_steps] for t in true_steps}

# %%
figure, ax = plots.axes("A trained network that is told the wrong t (circle: the right t)",
                        "t that the network is told", "MSE (logarithmic)", size=(8, 4))
for (t, values), marker in zip(errors.items(), "osv^D"):
    (line,) = ax.semilogy(told_steps, values, marker=marker, markersize=4, label=f"images of t = {t}")
    right = told_steps.index(t)
    ax.plot(t, values[right], "o", markersize=13, fillstyle="none", color=line.get_color())
ax.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
ax.text(999, 1.05, "knowing nothing", ha="right", va="bottom", fontsize=8)
ax.set_yticks([0.01, 0.1, 1, 5], ["0.01", "0.1", "1", "5"])
ax.legend(loc="lower left")
plots.show(figure, "Error of the trained network over the step that it is told, one curve for each true "
           "step: every curve has its lowest point at the true step and rises to both sides.")
for t in true_steps:
    print(f"images of t = {t}: right t {errors[t][told_steps.index(t)]:.3f}, "
          f"told 0: {errors[t][0]:.3f}, told 999: {errors[t][-1]:.3f}")
assert all(min(values) == values[told_steps.index(t)] for t, values in errors.items())

# %% [markdown]
# A t that is too small costs most: the network then treats most of the noise as image. Why did the ablation find no
# effect, and this test a large one? Think first.
#
# <details><summary>Answer</summary>
#
# The two tests ask different questions. This test shows that the *trained* network relies on t: with a wrong t it
# removes too much noise or too little. The ablation asks whether a network that *never had t* can do as well. Such a
# network can estimate the noise level from the image, and in two epochs no difference appeared. If a short run shows no
# effect, this means "not seen here". It does not mean "not there". Neither test shows how the two networks would compare after 50
# epochs.
# </details>

# %% [markdown]
# ## Remember
# - The lowest level of a U-Net sees a large part of the image. The skip connections keep the detail.
# - Parameters and work are different things: the way up holds half of the parameters and does most of the work.
# - t is usually given to the network, most often as sines and cosines. The trained network relies on it, although our
#   short ablation saw no effect.
# - To know what a part does, remove it and measure, more than once. No effect in a short run is weak evidence.
