# %% [markdown]
# # 3 · The U-Net: a network that finds the noise
#
# The network gets a noisy image and the step t. It must say which noise was added. Input and output are images of the
# same size. To tell noise from strokes, the network must look at single pixels and at their wider surroundings. The
# **U-Net** does both. First it reduces the image to a small map, where each unit sees a large part of the image. Then it
# enlarges this map again. *Skip connections* carry the fine detail from the way down to the way up.
#
# **You will be able to**
# - trace the shapes through a U-Net and rebuild one of its levels;
# - say where its parameters are and where its work is done;
# - explain what a network does if it is given a wrong t;
# - write the sinusoidal time embedding, bring it into the network, and measure whether it helps.
#
# **Time:** about 70 minutes with the exercises.
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
import scipy.stats

from labutils import checks, data, diagrams, networks, plots, presets, pretrained, training
from labutils.diffusion import Diffusion
from labutils.schedule import linear_schedule
from labutils.training import keras_progress

import keras
from keras import ops

settings = presets.get(PRESET, SEED)
plots.use_lab_style()
print(f"preset {settings.name}: short runs on {settings.ablation_images // 4:,} images, "
      f"{settings.ablation_epochs} epoch(s), {settings.seeds} seed(s)")

# %% [markdown]
# This lesson is about the coloured boxes: the network that predicts the noise.

# %%
diagrams.show_pipeline(3)

# %% [markdown]
# ## 3.1 The network
#
# The network has two inputs: the noisy image $x_t$ and the time t/T, a number between 0 and 1. It has one output: the
# predicted noise $\varepsilon_\theta(x_t, t)$.

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
# 1. `image_and_time`: the time becomes a map of the image's size. The map stands beside the image as one more channel. A
#    convolution sees only a 3×3 neighbourhood, so t must be present near every pixel. Section 3.3 counts how well this
#    map does it.
# 2. `down_1`, `pool_1`, `down_2`, `pool_2`: 3×3 convolutions with ReLU. Each *pooling* keeps the largest of 2×2
#    values and halves the size. This has two effects: the next convolution sees an area twice as wide, and it has a
#    quarter of the positions to compute.
# 3. `middle`, the *bottleneck*: a unit here sees 18×18 pixels of the image. (Count from the input: a 3×3 convolution
#    sees 3 pixels, after the pooling 4, after the next convolution 8, then 10, then 18.)
# 4. `grow_2`, `skip_2`, `up_2`, `grow_1`, `skip_1`, `up_1`: each `grow` layer (*upsampling*) doubles the size. Each
#    `skip` layer puts the map from the way down beside the map from below, as further channels. It does not add the
#    numbers. This is the *skip connection*.
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
# ### What a trained network puts out
#
# The lab's checkpoint `classic` is this network after 50 epochs of training (lesson 4). It gets one digit at five steps.
# Its answer is the predicted noise. Subtract this noise from $x_t$ and scale: the result is the clean image that the
# answer implies, $\hat x_0$ (`predict_x0`).
#
# **Predict before you run:** up to which of the steps 100, 300, 500, 700 and 900 is $\hat x_0$ still the digit that went
# in?

# %%
prediction = "…"  # write your guess between the quotes

# %%
classic = pretrained.load_diffusion("classic", fused=True)
own = images.image_shape == classic.shape
clean = (images if own else data.load("digits")).x_test[: 100 if PRESET != "smoke" else 20]
noise = np.random.default_rng(SEED).standard_normal(clean.shape).astype("float32")
steps = [100, 300, 500, 700, 900]
table, image_error = [], []
for t in steps:
    xt = schedule.add_noise(clean, t, noise)
    predicted_noise = np.asarray(classic.predict(xt, t))
    predicted_x0 = np.clip(np.asarray(classic.predict_x0(xt, t)), -1, 1)
    table.append([clean[0], xt[0], noise[0], predicted_noise[0], predicted_x0[0]])
    image_error.append(float(np.mean((predicted_x0 - clean) ** 2)))
rows = [list(row) for row in zip(*table)]
names = ["clean", "noisy, $x_t$", "true noise", "predicted noise", r"implied, $\hat x_0$"]
plots.show(plots.image_table(rows, names, [f"t = {t}" for t in steps],
                             "What the trained network answers (values outside [−1, 1]: black or white)"),
           "A table of images for five steps t: clean digit, noisy image, true noise, predicted noise, implied "
           "clean image. The predicted noise looks like the true noise everywhere; the implied image is the "
           "digit at small t, and a blurred or wrong shape at large t.")

# %%
mean_image = images.x_train.mean(axis=0) if own else clean.mean(axis=0)
knows_nothing = float(np.mean((clean - mean_image) ** 2))
plots.show_table(["t", "error of the implied image (MSE)", "always answer the mean image"],
                 [[t, f"{error:.3f}", f"{knows_nothing:.3f}"] for t, error in zip(steps, image_error)])
better = [t for t, error in zip(steps, image_error) if error < knows_nothing]
plots.show_prediction(prediction, "look at the last row of the figure; measured on "
                      f"{len(clean)} digits, the implied image beats the mean of all digits at t = "
                      f"{', '.join(map(str, better))}")

# %% [markdown]
# The predicted noise looks right at every step. The implied image does not: in the saved run it is a blurred 7 at t = 500, and no
# digit from t = 700 on. At large t almost all of $x_t$ is noise.
# Then a small error in the noise becomes a large error in the image. So a diffusion model does not stop after one
# answer: it removes a little noise and asks again (lesson 5).

# %% [markdown]
# ### Exercise 3.1 – one level of the U-Net
# *2 points · code · difficulty ●●○○ · about 10 minutes*
#
# Two maps meet on the way up. `x` comes from below and has the shape (B, 7, 7, 128). `skip` comes from the way down and
# has the shape (B, 14, 14, 64). Write `up_block(x, skip, filters)`. It brings the two maps together **without losing a
# number of either**. Then each output pixel looks at 3×3 pixels of both maps, through ReLU; the result has `filters`
# channels. Find out from the shapes what must happen to `x` first. The function gets Keras tensors and returns one.
#
# <details><summary>Hint: which shapes can stand side by side?</summary>
#
# Two maps can stand side by side as channels if their height and width agree. Which of the two maps must change? Could
# you shrink the other one instead, and what would be lost? Look in the drawing for the layers before `up_2`. Keras has
# the layers `UpSampling2D`, `Concatenate` and `Conv2D`. *Call* each layer on its input: `layer(x)`.
# </details>
#
# <details><summary>Help: "A Concatenate layer requires inputs with matching shapes"</summary>
#
# `x` is half as high and wide as `skip`. Grow it first, then join.
# </details>
#
# <details><summary>Help: "from 7×7 the block should reach 14×14, yours gives 12×12"</summary>
#
# A 3×3 convolution without padding loses one pixel at each edge. Which argument of `Conv2D` keeps the size?
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-3-1-up-block", "grade": false, "solution": true, "locked": false, "task": false}
def up_block(x, skip, filters):
    """Bring x and skip together, convolve; (B, H, W, ·), (B, 2H, 2W, ·) → (B, 2H, 2W, filters)."""
    ### BEGIN SOLUTION
    x = keras.layers.UpSampling2D()(x)
    x = keras.layers.Concatenate()([x, skip])
    return keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-3-1-up-block", "grade": true, "solution": false, "locked": true, "points": 2, "task": false}
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


def noise_from(down_1):
    """The U-Net from the first level on: predicted noise from the features of the first level."""
    down_2 = conv(keras.layers.MaxPooling2D()(down_1), 64)
    middle = conv(keras.layers.MaxPooling2D()(down_2), 128)
    return keras.layers.Conv2D(C, 1)(block(block(middle, down_2, 64), down_1, 32))


noisy_input, time_input = keras.Input((H, W, C)), keras.Input((1,))
time_map = keras.layers.Dense(32, activation="relu")(time_input)
time_map = keras.layers.Dense(H * W, activation="relu")(time_map)
x = keras.layers.Concatenate()([noisy_input, keras.layers.Reshape((H, W, 1))(time_map)])
plain = keras.Model([noisy_input, time_input], noise_from(conv(x, 32)))
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

# %%
prediction = "…"  # write your guess between the quotes

# %% tags=["nbval-check-output"]
costs = networks.layer_costs(network)
total = networks.total_costs(network)
print(f"{'layer':16} {'output':>14} {'parameters':>11} {'multiply-adds':>14} {'of all':>6}")
for row in costs:
    shape = "×".join(map(str, row["output_shape"]))
    print(f"{row['name']:16} {shape:>14} {row['parameters']:11,} "
          f"{row['multiply_adds']:14,} {row['multiply_adds'] / total['multiply_adds']:6.1%}")
print(f"{'sum':16} {'':>14} {total['parameters']:11,} {total['multiply_adds']:14,}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True)
labels = [row["name"] for row in costs][::-1]
left.barh(labels, [row["parameters"] / 1e3 for row in costs][::-1])
left.set(title="Parameters", xlabel="thousands", ylabel="layer")
right.barh(labels, [row["multiply_adds"] / 1e6 for row in costs][::-1], color=plots.COLOURS["orange"])
right.set(title="Work for one image", xlabel="million multiply-adds")
plots.show(figure, "Two bar charts by layer. Parameters: up_2 and middle have the most. Work: up_2 and up_1 "
           "take by far the most, although up_1 has only a quarter of the parameters of up_2.")

# %%
most = max(costs, key=lambda row: row["parameters"])["name"]
busiest = sorted(costs, key=lambda row: -row["multiply_adds"])[:2]
way_up = {key: sum(row[key] for row in costs if row["name"].startswith("up_")) / total[key] for key in total}
plots.show_prediction(prediction, f"{most} has the most parameters; {' and '.join(r['name'] for r in busiest)} do the "
                      f"most work. These two hold {way_up['parameters']:.0%} of the parameters and do "
                      f"{way_up['multiply_adds']:.0%} of the work")
assert way_up["multiply_adds"] > 0.8

# %% [markdown]
# `up_2` has the most parameters. `up_2` and `up_1` do the most work, both the same amount. `up_1` has a quarter of the
# parameters of `up_2`, but it uses them at four times as many pixels. The way up is expensive: many channels come
# together, from below and from the skip connection, on a large map.

# %% [markdown]
# ## 3.3 What the time input does
#
# The same noisy image needs different answers at different t. At t = 10 the noise is faint, so a bright dot belongs
# to the image. At t = 900 the same dot is almost surely noise. Does the trained network use t? Give the checkpoint
# `classic` noisy images of step t, and *tell* it another step.
#
# **Predict before you run:** the images have t = 200, and the network is told t = 400. Will the error double, grow tenfold,
# or stay the same?

# %%
prediction = "…"  # write your guess between the quotes

# %%
true_steps, told_steps = [50, 200, 400, 600, 800], [0, 50, 100, 200, 400, 600, 800, 999]  # try others


def answer_when_told(diffusion, t, told):
    """The predicted noise for images of step t, if the network is told another step."""
    return np.asarray(diffusion.predict(schedule.add_noise(clean, t, noise), told))


def error_when_told(diffusion, t, told):
    """The mean squared error of that answer."""
    return float(np.mean((answer_when_told(diffusion, t, told) - noise) ** 2))


errors = {t: [error_when_told(classic, t, told) for told in told_steps] for t in true_steps}

# %%
figure, ax = plots.axes("A trained network that is told the wrong t (circle: the right t)",
                        "t that the network is told", "MSE (logarithmic)", size=(8, 4))
for (t, values), marker in zip(errors.items(), "osv^D"):
    (line,) = ax.semilogy(told_steps, values, marker=marker, markersize=4, label=f"images of t = {t}")
    ax.plot(t, values[told_steps.index(t)], "o", markersize=13, fillstyle="none", color=line.get_color())
ax.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
ax.set_yticks([0.001, 0.01, 0.1, 1, 5], ["0.001", "0.01", "0.1", "1 = always 0", "5"])
ax.set_ylim(0.0006, 9)
ax.legend(loc="lower left")
plots.show(figure, "Error of the trained network over the step that it is told, one curve for each true "
           "step: every curve has its lowest point at the true step and rises to both sides.")
right, wrong = (errors[200][told_steps.index(told)] for told in (200, 400))
plots.show_prediction(prediction, f"the error grows from {right:.3f} to {wrong:.3f}: {wrong / right:.1f} times")
assert all(min(values) == values[told_steps.index(t)] for t, values in errors.items())

# %% [markdown]
# The error neither doubles nor grows tenfold: it grows about seven times. Every curve is lowest at the right t. So the
# trained network relies on t.
#
# A network that always answers 0 has an error of 1. Why can an error be **above** 1? Let us look at the answers
# themselves. Fit the answer by *a* times the true noise. If the answer is exactly a·ε, its error is (a − 1)². So a = 0
# gives 1, a = 1 gives 0, and a = 3 gives 4.

# %%
rows = []
for t, told in [(200, 0), (200, 200), (200, 999), (800, 0), (800, 800)]:
    answer = answer_when_told(classic, t, told)
    xt = np.asarray(schedule.add_noise(clean, t, noise))
    a = float(np.sum(answer * noise) / np.sum(noise**2))
    rows.append([t, told, f"{answer.std():.2f}", f"{a:.2f}", f"{(a - 1) ** 2:.2f}",
                 f"{np.mean((answer - noise) ** 2):.2f}", f"{np.mean((answer - xt) ** 2):.2f}"])
plots.show_table(["images of t", "told", "standard deviation of the answer", "a: times the true noise",
                  "(a − 1)²", "error", "squared distance to x_t"], rows)

# %% [markdown]
# **Told a t that is too small**, the network expects faint noise. It makes everything large that looks like noise. The
# table shows that it removes more than twice the true noise. This is worse than to remove nothing. The error is larger than
# (a − 1)², because the answer also contains other things than a·ε.
#
# **Told a t that is too large**, the network expects almost pure noise. It returns nearly $x_t$ itself: the last column is
# small. So it removes a part of the image together with the noise.
#
# ### How t reaches the pixels
#
# The network turns t/T into a map of the image's size by two dense layers with ReLU, 1 → 32 → H·W. A ReLU that is 0 for
# every input is called *dead*: its weights get no gradient, so training does not change them any more.
#
# **Predict before you run:** at what part of the pixels is the map of the trained network 0 for **every** t?

# %%
prediction = "…"  # write your guess between the quotes

# %%
time_maps = keras.Model(classic.network.inputs[1], classic.network.get_layer("time_image").output)
all_t = np.arange(schedule.T)
maps = np.asarray(time_maps(networks.network_time(all_t, schedule.T)))[..., 0]
dead = (maps == 0).all(axis=0)

figure, row = plt.subplots(1, 5, figsize=(11, 2.8))
for ax, t in zip(row, [0, 250, 500, 999]):
    drawn = ax.imshow(maps[t], cmap="viridis", vmin=0, vmax=maps.max())
    ax.set(title=f"t = {t}")
figure.colorbar(drawn, ax=row[3], label="value of the map")
row[4].imshow(dead, cmap="gray_r")
row[4].set(title="black: 0 at every t")
for ax in row:
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
figure.suptitle("The time map of the trained network, one more channel beside the image")
plots.show(figure, "Four pictures of the time map for growing t: single pixels become brighter, most stay dark. A "
           f"fifth picture marks the pixels that are 0 at every t: {dead.mean():.0%} of all.")
plots.show_prediction(prediction, f"{dead.mean():.0%}: {dead.sum()} of {dead.size} pixels are dead")

# %% [markdown]
# About three quarters of the pixels are dead. So t reaches the network as a pattern of bright pixels; most pixels stay 0.
# A 3×3 convolution sees t only near a living pixel. The other places learn about t from the coarse maps alone, which see
# further. Most diffusion models use another way.

# %% [markdown]
# ## 3.4 The usual way to tell the time
#
# Most diffusion models describe t by sines and cosines of many frequencies (Vaswani et al. 2017,
# [Attention is all you need](https://arxiv.org/abs/1706.03762), section 3.5). This is the *sinusoidal time embedding*:
#
# $$ e(t) = \big(\sin \omega_0 t, \dots, \sin \omega_{d/2-1} t,\; \cos \omega_0 t, \dots, \cos \omega_{d/2-1} t\big),
# \qquad \omega_k = 10000^{-2k/d} $$
#
# The high frequencies distinguish neighbouring steps. The low frequencies distinguish early steps from late ones.

# %% [markdown]
# ### Exercise 3.2 – the sinusoidal embedding
# *1 point · code · difficulty ●●○○ · about 10 minutes*
#
# Write `sinusoidal_embedding(t, dim)`: for t of shape (B,) an array of shape (B, dim). NumPy is fine.
#
# <details><summary>Hint: which shape has "every t with every frequency"?</summary>
#
# There are B steps and dim/2 frequencies. How many angles are there? Which shape must `t` have, so that NumPy's
# broadcasting multiplies each step with each frequency?
# </details>
#
# <details><summary>Help: "all frequencies are alike"</summary>
#
# Did you divide with `//`? It rounds down, so that the exponent is the same for every k.
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


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-3-2-sinusoidal-embedding", "grade": true, "solution": false, "locked": true, "points": 1, "task": false}
checks.check_sinusoidal_embedding(sinusoidal_embedding)

# %% [markdown]
# Here is your embedding beside the time map of the trained network. How far is the description of t = 500 from the
# description of another step? We divide the distance by the typical size of the description, so that the two can be
# compared.
#
# **Predict before you run:** which of the two can tell t = 500 from t = 510?

# %%
prediction = "…"  # write your guess between the quotes

# %%
embed = checks.check_sinusoidal_embedding.answer_or(networks.sinusoidal_embedding)
descriptions = {"sinusoidal, 64 numbers": np.asarray(embed(all_t, 64)),
                "time map of the trained network": maps.reshape(schedule.T, -1)}
figure, ax = plots.axes("How far is the description of t from that of t = 500?", "t",
                        "distance / typical size", size=(8, 3.6))
distance = {}
for (name, vectors), style in zip(descriptions.items(), ("-", "--")):
    size = np.sqrt(np.mean(np.sum(vectors**2, axis=1)))
    distance[name] = np.linalg.norm(vectors - vectors[500], axis=1) / size
    ax.plot(all_t, distance[name], style, label=name)
ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
plots.show(figure, "Distance of the description of each step from that of t = 500. Sinusoidal: a narrow valley at 500 "
           "and a nearly level plain beside it. Time map: a wide V that is lowest at 500.")
near = [values[510] for values in distance.values()]
plots.show_prediction(prediction, f"both, but the embedding changes by {near[0]:.2f} of its size, the time map by "
                      f"{near[1]:.3f}")

# %% [markdown]
# Both can tell 500 from 510: no distance is 0. But the embedding changes far more between near steps. The time map
# changes in proportion to the distance: it holds hardly more than one number, its brightness. (This compares the
# descriptions only. Whether the network *needs* such fine steps is measured below.)

# %% [markdown]
# ### Exercise 3.3 – give the network your embedding
# *3 points · code · difficulty ●●●○ · about 20 minutes*
#
# The embedding of an image is a vector of D numbers. The first level of the network has C channels; each is a map of H×W
# pixels. Write `add_time(features, embedding)`: `features` has the shape (B, H, W, C), `embedding` has (B, D). It returns
# a Keras tensor of the shape of `features`. What you add must fulfil this:
#
# - The time is known at **every** pixel: all pixels of a channel get the same number.
# - The channels can react differently: each channel gets its own number.
# - The network **learns** which number belongs to which t. The number may be positive or negative.
# - Each image gets its own t. The order of the batch does not matter.
#
# <details><summary>Hint: how many numbers do you need?</summary>
#
# D numbers come in for each image. How many different numbers must be added to the features of one image, if all pixels of
# a channel get the same one? Which kind of layer makes so many numbers from D, with weights that training can change?
# Does it need an activation?
# </details>
#
# <details><summary>Hint: how does one number reach all pixels?</summary>
#
# Broadcasting repeats an axis of length 1. It compares two shapes from the **right**. What does it do with (B, C) beside
# (B, H, W, C)? Where must the axes of length 1 stand? A `Reshape` layer or indexing with `None` makes them.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-3-3-add-time", "grade": false, "solution": true, "locked": false, "task": false}
def add_time(features, embedding):
    """Add to each channel its own trained function of the embedding; (B, H, W, C), (B, D) → (B, H, W, C)."""
    ### BEGIN SOLUTION
    shift = keras.layers.Dense(features.shape[-1])(embedding)  # (B, C)
    return features + shift[:, None, None]  # (B, 1, 1, C)
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-3-3-add-time", "grade": true, "solution": false, "locked": true, "points": 3, "task": false}
checks.check_add_time(add_time)

# %% [markdown]
# Now both of your functions enter a network. The rest of it is the U-Net of section 3.1. The embeddings of all steps stand
# in a table; the network takes row t.

# %%
with_time = checks.check_add_time.answer_or(networks.add_time)
embeddings = ops.convert_to_tensor(np.asarray(embed(all_t, 64), "float32"))  # (T, 64)


def build_with_embedding():
    """The classic network, but t enters by the embedding, which is added to the first level."""
    noisy, time = keras.Input((H, W, C)), keras.Input((1,))
    step = ops.cast(ops.round(schedule.T * time[:, 0]), "int32")
    features = with_time(conv(noisy, 32), ops.take(embeddings, step, axis=0))
    return keras.Model([noisy, time], noise_from(features))


# Where does the first level change, if t goes from 200 to 210?
features, vector = keras.Input((H, W, 32)), keras.Input((64,))
first_level = keras.Model([features, vector], with_time(features, vector))
at_200, at_210 = (first_level([ops.zeros((1, H, W, 32)), embeddings[t : t + 1]]) for t in (200, 210))
changed = np.any(np.asarray(at_200) != np.asarray(at_210), axis=-1).mean()
print(f"pixels that change from t = 200 to t = 210: with the embedding {changed:.0%}, "
      f"in the old time map {np.mean(maps[200] != maps[210]):.0%}")
assert changed == 1

# %% [markdown]
# ## 3.5 Ablation: does it help?
#
# An *ablation* removes or replaces one part and measures what gets worse. We compare four networks after the same short
# training: the classic one, one that is not told t, one with your embedding, and one without skip connections. All see the
# same images in the same order, with the same noise. The short runs take small batches and a larger learning rate than
# lesson 4, so that they learn more in a few seconds.
#
# **Predict before you run:** after a short training, which change increases the error most: no time, or no skip
# connections? Does the embedding lower it?

# %%
prediction = "…"  # write your guess between the quotes

# %%
x_train, x_test = images.x_train[: settings.ablation_images // 4], images.x_test[: settings.test_images // 2]
recipe = training.TrainingConfig(batch_size=16, learning_rate=1e-3)
shape = images.image_shape
builders = {
    "classic": lambda: networks.fuse_upsampling(networks.build_classic_unet(shape)),  # less time: lesson 7
    "no time": lambda: networks.build_classic_unet(shape, time_input=False),
    "embedding": build_with_embedding,
    "no skip": lambda: networks.build_classic_unet(shape, skip_connections=False),
}


def short_run(name, seed):
    """Build a network, train it for a short while, return it with its schedule."""
    keras.utils.set_random_seed(seed)
    diffusion = Diffusion(builders[name](), schedule)
    bar = keras_progress(settings.ablation_epochs, f"{name}, seed {seed}")
    training.train(diffusion, x_train, settings.ablation_epochs, config=recipe, seed=seed, callbacks=[bar])
    return diffusion


seeds = range(SEED, SEED + settings.seeds)
runs = {name: [short_run(name, seed) for seed in seeds] for name in ("classic", "no time")}

# %%
runs["embedding"] = [short_run("embedding", seed) for seed in seeds]
runs["no skip"] = [short_run("no skip", SEED)]

# %%
some_t = [5, 50, 200, 400, 600, 800, 990]
few = x_test[:100]
results = {name: np.array([training.noise_prediction_loss(run, x_test) for run in runs[name]]) for name in runs}
by_t = {name: np.array([[training.noise_prediction_loss(run, few, t=t) for t in some_t] for run in runs[name]])
        for name in runs}  # (runs, steps)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for i, (name, values) in enumerate(results.items()):
    left.plot([i] * len(values), values, "o", markersize=6)
    left.text(i, max(values) * 1.12, f"{np.mean(values):.3f}", ha="center")
    right.semilogy(some_t, by_t[name].mean(axis=0), ("o-", "s--", "D-.", "^:")[i], label=name)
left.set(title="Error of each run (number: mean)", xlabel="network", ylabel="test MSE (logarithmic)", yscale="log",
         xticks=range(4), xticklabels=results, xlim=(-0.5, 3.5), ylim=(0.05, 1.5))
left.set_yticks([0.05, 0.1, 0.2, 0.5, 1], ["0.05", "0.1", "0.2", "0.5", "1"])
right.set(title="The same by step (mean of the runs)", xlabel="t", ylabel="test MSE (logarithmic)")
right.set_yticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
right.legend()
plots.show(figure, "Left: test error of each short run: "
           + ", ".join(f"{name} {np.mean(values):.2f}" for name, values in results.items())
           + ". Right: the error over t; without skip connections it is the highest nearly everywhere.")

# %% [markdown]
# Dots of one network lie apart, since each run starts from other weights. So a difference between two networks must be
# compared with this scatter. Runs with the same seed see the same images and the same noise, so we take the differences
# seed by seed. The interval below covers, with a probability of 95 %, the mean difference over many such trainings (if
# the differences are normally distributed).

# %%
def difference(a, b):
    """The mean of a − b over the seeds with its 95 % interval, as text; and whether it is beyond chance."""
    gaps = a - b
    if len(gaps) < 2:
        return f"{gaps.mean():+.4f} (one run: no interval)", False
    half = scipy.stats.t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / np.sqrt(len(gaps))
    low, high = gaps.mean() - half, gaps.mean() + half
    return f"{gaps.mean():+.4f} ({low:+.4f} to {high:+.4f})", low > 0 or high < 0


gaps = {name: difference(results[name], results["classic"]) for name in ("no time", "embedding")}
by_step = [[f"t = {t}", *(difference(by_t[name][:, i], by_t["classic"][:, i])[0] for name in gaps)]
           for i, t in enumerate(some_t)]
plots.show_table(["test MSE, compared with classic", *gaps], [["all t", *(text for text, _ in gaps.values())], *by_step])
words = [f"{name} − classic: {text}, {'a difference' if beyond else 'no difference'} beyond chance"
         for name, (text, beyond) in gaps.items()]
factor = results["no skip"].mean() / results["classic"].mean()
plots.show_prediction(prediction, f"without skip connections the error is {factor:.1f} times as large; {'; '.join(words)}")
print("parameters:", ", ".join(f"{name} {runs[name][0].network.count_params():,}" for name in runs))
if PRESET != "smoke":
    assert factor > 1.2

# %% [markdown]
# **Skip connections.** Without them the noise of single pixels must pass through the smallest map. There the position of
# a pixel can only be kept as a code in the channels, and a short run does not learn that code. The error is far larger,
# most of all at large t. There $x_t$ is almost only noise, and the right answer is nearly a *copy of the input*. A skip
# connection makes that copy easy.
#
# **Time.** An interval that contains 0 means: these runs show no difference beyond chance. It does not mean that there is
# none. After so little training the other errors are much larger than what t could repair. And the network without t can
# estimate the noise level from the image itself. (For many diffusion models this is enough to keep most of the
# quality: Sun et al. 2025, [Is noise conditioning necessary?](https://arxiv.org/abs/2502.13129))
#
# **Your embedding.** In the saved run the network with the embedding has a *larger* error than the classic one, beyond chance,
# at most steps. So the usual way to tell the time does not make a better network within a few seconds of training. This
# lesson does not find out why. The next section shows what the embedding changes.

# %% [markdown]
# ### The wrong t, once more
#
# The ablation asks: does a network need t? The test of section 3.3 asks: does *this* network use the t that it is told?
# Repeat this test for the short runs.
#
# **Predict before you run:** which of the two reacts more to a wrong t after the short training: the network with the
# time map (*classic*) or the one with your embedding?

# %%
prediction = "…"  # write your guess between the quotes

# %%
tested = {name: runs[name] for name in ("classic", "embedding")}
if own:
    tested["classic, 50 epochs"] = [classic]
clean, noise = few, np.random.default_rng(SEED).standard_normal(few.shape).astype("float32")
figure, panels = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
reaction = {}
for ax, t in zip(panels, (200, 600)):
    for (name, some), style in zip(tested.items(), ("o-", "D-.", "s:")):
        values = [np.mean([error_when_told(run, t, told) for run in some]) for told in told_steps]
        reaction[name, t] = max(values) / values[told_steps.index(t)]
        ax.semilogy(told_steps, values, style, label=name)
    ax.axvline(t, color="black", linewidth=0.8)
    ax.set(title=f"Images of t = {t} (line: the right t)", xlabel="t that the network is told")
panels[0].set(ylabel="MSE (logarithmic)")
panels[0].set_yticks([0.01, 0.1, 1, 10], ["0.01", "0.1", "1", "10"])
panels[1].legend()
plots.show(figure, "Error over the told step, for images of t = 200 and of t = 600: the short runs with time map and with "
           "embedding, and the network of 50 epochs, whose error rises most when t is wrong.")
plots.show_prediction(prediction, "largest error / error at the right t: " + ", ".join(
    f"{name} {value:.1f} (t = {t})" for (name, t), value in reaction.items()))

# %% [markdown]
# A network whose curve is flat does not use t. A network whose curve has a deep valley at the right t relies on it. In the saved
# run the curve of *classic* is flat: after the short training this network hardly uses its time map. The network with
# your embedding already reacts to a wrong t. After 50 epochs the classic network uses t, too, and relies on it.
#
# So "it uses t" and "its error is smaller" are two things. (Each curve of a short run is the mean of its seeds.)

# %% [markdown]
# ### Exercise 3.4 – two tests, two answers
# *2 points · in words, marked by your instructor · difficulty ●●○○ · about 10 minutes*
#
# Suppose that a short ablation finds no use of t, but the test with the wrong t makes the errors of the trained
# network many times larger. (a) Why do these two results not contradict each other? (b) What would you have to train and
# measure, to know whether t helps after 50 epochs?

# %% [markdown] nbgrader={"schema_version": 3, "grade_id": "text-3-4-two-tests", "grade": true, "solution": true, "locked": false, "points": 2, "task": false}
# <!-- ### BEGIN SOLUTION -->
# 1 point: the two tests ask different questions. The wrong-t test shows that a network which was trained *with* t relies
# on it. The ablation asks whether a network that *never had* t does as well: it can estimate the noise level from the image.
#
# 1 point: train both networks for 50 epochs, with several seeds each and the same data, and give the difference of their
# errors with its interval. A short run without an effect only says "not seen here".
# <!-- ### END SOLUTION -->

# %% [markdown]
# ## Remember
# - The lowest level of a U-Net sees a large part of the image. The skip connections keep the detail.
# - Parameters and work are different things: the way up holds half of the parameters and does most of the work.
# - Told a t that is too small, a trained network removes too much noise. Told a t that is too large, it returns nearly its
#   input.
# - A time embedding is added to the channels: then t is known at every pixel.
# - To know what a part does, remove it and measure, more than once. No effect in a short run is weak evidence.
