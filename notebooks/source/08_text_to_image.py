# %% [markdown]
# # 8 · Text to image: a small Stable Diffusion
#
# You type "a red three left of a blue seven", and a model draws it. Stable Diffusion has three parts: an **autoencoder**, a
# **text encoder** and a **denoiser** that asks the caption by **cross-attention**. This lesson builds each part at a size that
# a laptop trains in about an hour. Then it asks for a proof: does the model understand its captions, or does it repeat what
# it has seen?
#
# **You will be able to**
# - say what a latent space saves, and what it costs;
# - write cross-attention, and see where each word looks;
# - train a network so that it can draw with and without a caption, and use the difference (guidance);
# - test whether a model *composes* words: draws a pair of colour and digit that it never saw.
#
# **Time:** about 75 minutes with the exercises; the cells run in about four minutes.
#
# Sources: Rombach et al. 2022, [latent diffusion](https://arxiv.org/abs/2112.10752); Kingma & Welling 2013,
# [variational autoencoder](https://arxiv.org/abs/1312.6114); Vaswani et al. 2017,
# [attention](https://arxiv.org/abs/1706.03762); Ho & Salimans 2022, [guidance](https://arxiv.org/abs/2207.12598); Mansimov
# et al. 2015, [captions over digits](https://arxiv.org/abs/1511.02793).

# %% [markdown] tags=["badges"]
# [Text source of this lesson](source/08_text_to_image.py) · no account or GPU needed

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

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

from labutils import captions, checkpoints, checks, data, evaluation, networks
from labutils import plots, presets, sampling, training
from labutils.evaluation.captions import judge

settings = presets.get(PRESET)
plots.use_lab_style()
images = data.load(DATASET)
if images.image_shape != (28, 28, 1) or set(np.unique(images.y_train)) != set(range(10)):
    images = data.load("digits")  # captions need grey digits
name = images.note or images.name  # what the figures call the data
print(f"preset {settings.name}: {settings.captioned_images:,} pictures with captions; digits: {name}")

# %% [markdown]
# ## 8.1 Pictures with a sentence
#
# The pictures are made on the fly: one or two handwritten digits in one of six colours, on black, and a sentence that says what
# is there. The sentence is the only thing that the model is told.

# %%
few = captions.make(images, 12, seed=SEED)
plots.show(plots.captioned(few.images, few.captions, f"Pictures and their captions ({name})"),
           "Twelve pictures of one or two coloured handwritten digits on black, each with its caption, such as: "
           + "; ".join(few.captions[:3]) + ".")
print(few.images.shape, f"values in [{few.images.min():.0f}, {few.images.max():.0f}]")

# %% [markdown]
# For the network a caption is a row of *tokens*, one number for each word. Eight places are enough for the longest caption;
# 0 fills the rest.

# %%
caption = "a red three left of a blue seven"
print(len(captions.VOCABULARY) - 1, "words:", ", ".join(captions.VOCABULARY[1:]))
for text in (caption, "a red three", ""):
    print(f"{text!r:36}", captions.encode([text])[0])

# %% [markdown]
# ### What training never shows
#
# To find out whether the model composes words, some combinations are kept out of training: 12 of the 60 pairs of colour and
# digit. Each colour and each digit is still frequent. Also kept out are some ordered pairs of digits ("a three left of a six").
#
# **Predict before you run:** red digits and threes are in the training pictures. Will the model be able to draw a pair that it
# has never seen?

# %%
colour, digit = np.indices((6, 10))
hidden = captions.unseen_pair(colour, digit)
figure, ax = plots.axes("Pairs of colour and digit in training", "digit", "colour", size=(8, 3.6))
ax.imshow(hidden, cmap="gray_r", vmax=2, aspect="auto")
for c, d in np.argwhere(hidden):
    ax.text(d, c, "never", ha="center", va="center", fontsize=plots.SMALL)
ax.set_xticks(range(10), captions.DIGITS)
ax.set_yticks(range(6), captions.COLOURS)
ax.grid(False)
plots.show(figure, "A table of six colours and ten digits; twelve cells, two in each row, are marked: never in training.")
scenes = captions.draw_scenes(20_000, np.random.default_rng(SEED))
assert not captions.has_unseen_pair(scenes).any() and not captions.has_unseen_order(scenes).any()
print(f"{hidden.sum()} of {hidden.size} pairs never occur in {len(scenes):,} training scenes")

# %% [markdown]
# The question is answered in section 8.7, by a measurement.
#
# ## 8.2 The first part: an autoencoder
#
# A picture of 32×32×3 is 3,072 numbers, most of them black. Diffusion in so many numbers is expensive, and most of the work
# goes into details that nobody needs. *Latent diffusion* first learns a smaller description:
#
# - the **encoder** turns a picture into a *latent*, here 8×8×8 = 512 numbers;
# - the **decoder** turns a latent into a picture again.
#
# Diffusion then runs on latents: noise is added to them, and the denoiser works on maps of 8×8. Only the finished latent is
# decoded.
#
# A plain autoencoder may put two similar pictures far apart, and leave gaps in between where the decoder draws nonsense. So
# this one is *variational*: the encoder answers with a mean μ and a variance σ² for each number, and in training the decoder
# gets a random latent
#
# $$ z = \mu + \sigma\,\varepsilon, \qquad \varepsilon \sim \mathcal N(0, I). $$
#
# The decoder must draw the same picture for all z around μ. So it learns to forgive small errors, and a denoiser makes small
# errors. (A second term of the loss, the KL divergence, keeps σ from shrinking to 0 and μ near 0.)

# %% [markdown]
# ### Exercise 8.1 – a latent with noise
# *Difficulty ●○○○ · about 5 minutes*
#
# Write `sample_latent(mean, log_variance, noise)`. The encoder gives the logarithm of σ², because a logarithm may have any sign.
#
# <details><summary>Hint: from log σ² to σ</summary>
#
# $\sigma = \sqrt{e^{\log \sigma^2}} = e^{\frac12 \log \sigma^2}$
# </details>
#
# <details><summary>Help: "you scale the noise by the variance"</summary>
#
# `np.exp(log_variance)` is σ². The noise needs σ, the root of it.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-8-1-sample-latent", "grade": false, "solution": true, "locked": false, "task": false}
def sample_latent(mean, log_variance, noise):
    """A random latent around the mean: z = μ + σ·ε."""
    ### BEGIN SOLUTION
    return mean + np.exp(0.5 * log_variance) * noise
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-8-1-sample-latent", "grade": true, "solution": false, "locked": true, "points": 2, "task": false}
checks.check_sample_latent(sample_latent)

# %% [markdown]
# The checkpoint `autoencoder` was trained on pictures like those above. Your function draws two latents for each picture here.
#
# **Predict before you run:** the latent has six times fewer numbers than the picture. What will be lost?

# %%
draw_latent = checks.check_sample_latent.answer_or(networks.reparameterise)
model = sampling.TextToImage()
autoencoder = model.autoencoder
test = captions.make(images, settings.captioned_test, "test", seed=SEED)
mean, log_variance = networks.moments(autoencoder, test.images[:6])
rng = np.random.default_rng(SEED)
rows = [test.images[:6], networks.decode(autoencoder, mean)]
for _ in range(2):
    z = draw_latent(mean, log_variance, rng.standard_normal(mean.shape).astype("float32"))
    rows.append(networks.decode(autoencoder, np.asarray(z, "float32")))
print("picture", test.images.shape[1:], "→ latent", mean.shape[1:],
      f": {np.prod(test.images.shape[1:]) / np.prod(mean.shape[1:]):.0f} times smaller")
print(f"mean σ of the encoder: {np.exp(0.5 * log_variance).mean():.3f}; the latents themselves have deviation 1")
labels = ["picture", "from μ", "from z", "from another z"]
plots.show(plots.image_table(rows, labels, [""] * 6, f"Pictures, encoded and decoded ({name})", scale=1.5),
           "Six pictures, and below each three reconstructions: from the mean, and from two random latents. All look alike; "
           "the edges of thin strokes are a little softer.")

# %%
reconstructed = networks.decode(autoencoder, networks.encode(autoencoder, test.images))
_, recogniser = evaluation.load_judges()
for label, pictures in (("pictures", test.images), ("reconstructions", reconstructed)):
    right = judge(test.scenes, pictures, recogniser)
    print(f"{label:16} mean squared error {np.mean((pictures - test.images) ** 2):.4f}; the judge reads the whole caption "
          f"in {right['caption'].mean():.1%} of {len(pictures):,}")

# %% [markdown]
# Little is lost. The judge reads colours, digits and places from a picture without knowing its caption (section 8.7). It makes
# mistakes on real pictures, too: handwriting is not always clear.
#
# How small may a latent be? `python -m benchmarks.text_to_image` trained the same autoencoder with fewer channels, each for the
# same short time:

# %%
pass
# %% [markdown]
# ### A walk in latent space
#
# **Predict before you run:** halfway between two pictures, what will you see if you mix the pixels, and what if you mix the
# latents?

# %%
ends = networks.encode(autoencoder, test.images[[0, 3]])
shares = np.linspace(0, 1, 7)
in_pixels = [(1 - s) * test.images[0] + s * test.images[3] for s in shares]
in_latents = networks.decode(autoencoder, np.stack([(1 - s) * ends[0] + s * ends[1] for s in shares]))
heads = [f"{s:.0%}" for s in shares]
plots.show(plots.image_table([in_pixels, in_latents], ["pixels mixed", "latents mixed"], heads,
                             f"From one picture to another ({name})", scale=1.4),
           "Two rows of seven pictures from one picture to another. Pixels mixed: one fades out while the other fades in. "
           "Latents mixed: nearly the same, with strokes that bend and break on the way.")

# %% [markdown]
# The way through the latent space is not a way from digit to digit. This autoencoder describes *where which stroke is*, not
# *which digit it is*: each number of the latent belongs to one place of the 8×8 map. What a digit is has to be learned by the
# denoiser. It is the same in Stable Diffusion: its latent is a small, sharpened picture, and the meaning is the denoiser's work.
#
# ### What it saves
#
# The same denoiser on pixels would need the same layers on maps that are 16 times larger.
#
# **Predict before you run:** how many times longer does one call take on 32×32×3 pixels than on 8×8×8 latents?

# %%
on_latents = model.network
on_pixels = networks.build_text_to_image((32, 32, 3))  # the same layers, untrained


def seconds_per_call(network, count=16, calls=2 if PRESET == "smoke" else 8):
    """Median seconds of one call for a batch, after a first call that compiles."""
    H, W, C = network.inputs[0].shape[1:]
    call = tf.function(network)
    told = [np.zeros((count, H, W, C), "float32"), np.zeros((count, 1), "float32"), captions.encode([caption] * count)]
    call(told)
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        call(told)
        times.append(time.perf_counter() - started)
    return np.median(times)


spent = {}
for label, network in (("pixels, 32×32×3", on_pixels), ("latents, 8×8×8", on_latents)):
    spent[label] = seconds_per_call(network)
    print(f"{label:16} {networks.total_costs(network)['multiply_adds'] / 1e6:6.0f} million multiply-adds a picture, "
          f"{1000 * spent[label]:6.0f} ms for 16 pictures")
pixels, latents = spent.values()
print(f"one call on pixels takes {pixels / latents:.0f} times as long")
assert pixels > latents

# %% [markdown]
# ## 8.3 The second part: words become vectors
#
# The **text encoder** starts with a table: one vector of 128 numbers for each word, learned like any weight. A second table has
# one vector for each place in the sentence; it is added, so that "first" and "last" differ. Then come two *transformer blocks*.
# In each, every word asks all words of the sentence, takes what it needs (*self-attention*), and thinks alone (two dense
# layers).
#
# Why is this needed? "red" is the colour of the three, not of the seven. A list of single words does not say so.
#
# ### Attention
#
# Attention is a soft look-up in a list. Each place that asks has a *query* q. Each word has a *key* k, what it can be found by,
# and a *value* v, what it has to give. The dot product q·k says how well they fit; the softmax turns the fits into weights that
# add up to 1:
#
# $$ \text{attention}(Q, K, V) = \text{softmax}\!\Big(\frac{Q K^\top}{\sqrt d}\Big)\, V $$
#
# d is the length of a query. Without the root the dot products of long vectors would be large, and the softmax would take one
# word only. If the queries come from the same sentence, it is *self-attention*. If they come from the picture and the keys
# and values from the caption, it is *cross-attention*.

# %% [markdown]
# ### Exercise 8.2 – cross-attention
# *Difficulty ●●●○ · about 15 minutes*
#
# Write `cross_attention(queries, keys, values)` for arrays (B, P, d), (B, L, d) and (B, L, e): P places of a picture ask L words.
# The result has the shape (B, P, e).
#
# <details><summary>Hint: the scores</summary>
#
# `queries @ np.swapaxes(keys, 1, 2)` has the shape (B, P, L): one score for each place and each word.
# </details>
#
# <details><summary>Hint: the softmax</summary>
#
# Subtract the largest score of each row before `np.exp`; the result is the same, and nothing overflows. Then divide by the sum
# over the words: `axis=-1, keepdims=True`.
# </details>
#
# <details><summary>Help: "the softmax runs over the positions"</summary>
#
# Each *place* spreads a weight of 1 over the words. So the sum runs over the last axis of the scores, the words.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-8-2-cross-attention", "grade": false, "solution": true, "locked": false, "task": false}
def cross_attention(queries, keys, values):
    """softmax(Q Kᵀ / √d) V: each place takes a mixture of the words' values."""
    ### BEGIN SOLUTION
    scores = queries @ np.swapaxes(keys, 1, 2) / np.sqrt(queries.shape[-1])  # (B, P, L)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = weights / weights.sum(axis=-1, keepdims=True)
    return weights @ values
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-8-2-cross-attention", "grade": true, "solution": false, "locked": true, "points": 4, "task": false}
checks.check_cross_attention(cross_attention)

# %% [markdown]
# Your function inside the trained text encoder: the next cell takes the queries, keys and values of its first block for one
# caption, lets your function attend, and compares the result with what the network itself computed.

# %%
def by_labutils(queries, keys, values):
    """The lab's own attention, which also returns the weights."""
    return networks.attend(queries, keys, values)[0]


attention = checks.check_cross_attention.answer_or(by_labutils)
encoder = on_latents.get_layer("text_encoder")
tokens = captions.encode([caption])
layer = encoder.get_layer("read_0")
before = keras.Model(encoder.input, encoder.get_layer("read_0_norm").output)(tokens)  # (1, 8, 128)
heads = [np.asarray(layer._split(part(before)))[0] for part in (layer.query, layer.key, layer.value)]
mixed = np.asarray(attention(*heads))  # the four heads take the place of the batch: (4, 8, 32)
joined = mixed.transpose(1, 0, 2).reshape(1, 8, -1)
own = np.asarray(layer.out(joined.astype("float32")))
network_own = np.asarray(keras.Model(encoder.input, layer.output[0])(tokens))
print(f"largest difference from the network's own answer: {np.abs(own - network_own).max():.0e}")
assert np.allclose(own, network_own, atol=1e-3)

# %% [markdown]
# **Predict before you run:** in "a red three left of a blue seven", which words must ask each other so that each digit gets its
# colour and its place?

# %%
words = [*captions.decode(tokens)[0].split()]
asked = [f"{i + 1} {word}" for i, word in enumerate(words)]
figure, row = plt.subplots(1, 2, figsize=(11, 5))
for block, ax in enumerate(row):
    weights = np.asarray(networks.attention_model(encoder, f"read_{block}")(tokens))[0].mean(axis=0)
    ax.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    for (i, j), weight in np.ndenumerate(weights):
        if weight >= 0.15:
            ax.text(j, i, f"{weight:.1f}", ha="center", va="center", fontsize=plots.SMALL,
                    color="white" if weight > 0.5 else "black")
    ax.set(title=f"Block {block + 1}", xlabel="looks at", ylabel="the word")
    ax.set_xticks(range(8), asked, rotation=60)
    ax.set_yticks(range(8), asked)
    ax.grid(False)
figure.suptitle(f"Self-attention of the text encoder, mean over four heads: {caption!r}")
plots.show(figure, "Two tables of weights, eight words by eight words, one for each block of the text encoder. "
           "x")

# %% [markdown]
# x

# %%
told = np.asarray(encoder(captions.encode([caption, "a blue three left of a red seven", "a red three"])))
three, other_three, alone = told[0, 2], told[1, 2], told[2, 2]


def likeness(a, b):
    """Cosine of the angle between two vectors."""
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


print(f"'three' after 'red' and after 'blue': likeness {likeness(three, other_three):.2f}")
print(f"'three' with and without a neighbour: likeness {likeness(three, alone):.2f}")
assert likeness(three, other_three) < 1 and likeness(three, alone) < 1

# %% [markdown]
# The same word has another vector in another sentence. The change is small, because most of the vector says which word it is
# and where it stands; but the denoiser can read it.
#
# ## 8.4 The third part: a denoiser that asks the caption
#
# The denoiser is a U-Net, as in lesson 3, on maps of 8×8 and 4×4. Two things are new.
#
# - **The time scales and shifts the channels of each block**, instead of being one more channel.
# - **Cross-attention**: after the convolutions, each place of the map asks the eight words and adds what it gets. There are three
#   such layers, two on 8×8 and one on 4×4.
#
# The next drawing has all parts, with the numbers of this lab in each box, and below them those of Stable Diffusion 1.5, counted
# from its published configuration (`python -m benchmarks.stable_diffusion`).

# %%
def lab_parts():
    """Shape, parameters and multiply-adds of the parts of this lab's model."""
    inside = {"encoder": autoencoder.get_layer("encoder"), "decoder": autoencoder.get_layer("decoder"),
              "text encoder": encoder, "denoiser": on_latents}
    parts = {part: networks.total_costs(network) for part, network in inside.items()}
    for key, value in parts["text encoder"].items():
        parts["denoiser"][key] -= value  # the checkpoint text_to_image holds both
    return parts


def describe(costs):
    """'2.4 M parameters, 0.05 G multiply-adds'."""
    return f"{costs['parameters'] / 1e6:,.1f} M parameters", f"{costs['multiply_adds'] / 1e9:,.2f} G multiply-adds"


parts, stable = lab_parts(), evaluation.recorded("stable_diffusion")
shapes = {"encoder": "32×32×3 → 8×8×8", "decoder": "8×8×8 → 32×32×3", "text encoder": "8 tokens → 8×128",
          "denoiser": "8×8×8, 8×128 → 8×8×8"}
stable_shapes = {"encoder": "512×512×3 → 64×64×4", "decoder": "64×64×4 → 512×512×3",
                 "text encoder": "77 tokens → 77×768", "denoiser": "64×64×4, 77×768 → 64×64×4"}
lines = {part: [shapes[part], ", ".join(describe(parts[part]))] for part in parts}
if stable:
    for part, costs in stable["parts"].items():
        lines[part] += ["Stable Diffusion 1.5:", stable_shapes[part], ", ".join(describe(costs))]
plots.show(plots.draw_text_to_image(lines, "The parts of a text-to-image model: this lab, and Stable Diffusion 1.5"),
           "Drawing of four boxes. A caption goes into the text encoder; its vectors go into the denoiser, which starts with "
           "noise and is called at each step; its latent goes into the decoder, which draws the picture. The encoder makes "
           "latents for the training only.")
total = sum(costs["parameters"] for costs in parts.values())
print(f"all parts together: {total / 1e6:.1f} million parameters")
if stable:
    theirs = sum(costs["parameters"] for costs in stable["parts"].values())
    print(f"Stable Diffusion 1.5: {theirs / 1e6:,.0f} million parameters, {theirs / total:.0f} times as many")
assert total < 4e6

# %% [markdown]
# ### Where does each word look?
#
# While a picture is drawn, each place of the map spreads its attention over the eight words. Turned around: for each word, this
# gives a map of the places that look at it.
#
# **Predict before you run:** early in the process the latent is nearly pure noise. Can the maps of "red" and "blue" already
# differ there?

# %%
DRAWN, LAYER = 8, "outer_words"  # captions alike, so that the mean shows what is common
start = np.random.default_rng(SEED).standard_normal((DRAWN, *model.shape)).astype("float32")
tokens = captions.encode([caption] * DRAWN)
looks = list(sampling.reverse_process(on_latents, model.schedule, start, labels=tokens, sampler="dpmpp_2m",
                                      steps=20, chunk=1, **model.options))
shown = [0, 5, 10, 15, 19]
rows, heads = [], [r"guess $\hat x_0$", *words]
for i in shown:
    t, xt, x0 = looks[i]
    time_column = np.full((DRAWN, 1), t / model.schedule.T, "float32")
    maps = networks.attention_maps(on_latents, xt, time_column, tokens, layer=LAYER).mean(axis=0)  # (8, h, w)
    drawn = networks.decode(autoencoder, np.asarray(x0)[:1])[0]
    rows.append([drawn, *(2 * m[..., None] / max(maps.max(), 1e-6) - 1 for m in maps)])
labels = [f"t = {looks[i][0]}" for i in shown]
plots.show(plots.image_table(rows, labels, heads, "Where each word is looked at while a picture is drawn "
                             f"(white: much; maps are means over {DRAWN} pictures)", scale=1.25),
           "Five rows for five steps: the guessed picture, then eight maps of attention, one for each word. x")

# %% [markdown]
# x

# %% [markdown]
# ## 8.5 Training: the same step as always
#
# Nothing new is needed. $x_0$ is now a latent, and the network is told tokens instead of a label. It predicts
# v (lesson 7), with the cosine schedule of lesson 6.
#
# One thing is added, as for `fast_conditional`: in training some captions are hidden. Then the network learns to draw with a
# caption and without one. Section 8.6 uses the difference.

# %% [markdown]
# ### Exercise 8.3 – hide some captions
# *Difficulty ●●○○ · about 10 minutes*
#
# Write `drop_captions(tokens, share, rng)` for tokens (N, 8): each caption is replaced by eight zeros with probability `share`,
# independently of the others. `rng` is a NumPy generator.
#
# <details><summary>Hint: one number for each caption</summary>
#
# `rng.random((len(tokens), 1)) < share` is a column of True and False. `np.where` with a column applies it to whole rows.
# </details>
#
# <details><summary>Help: "single words are dropped"</summary>
#
# `rng.random(tokens.shape)` draws a number for each word. A caption with holes is another caption, not a hidden one.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-8-3-drop-captions", "grade": false, "solution": true, "locked": false, "task": false}
def drop_captions(tokens, share, rng):
    """Each row becomes zeros with probability share; (N, 8) → (N, 8)."""
    ### BEGIN SOLUTION
    hidden = rng.random((len(tokens), 1)) < share
    return np.where(hidden, 0, tokens)
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-8-3-drop-captions", "grade": true, "solution": false, "locked": true, "points": 3, "task": false}
checks.check_drop_captions(drop_captions)

# %% [markdown]
# Now a short training with your function, in plain code: encode pictures, hide captions, add noise, one step. The lab's
# checkpoint comes from the same steps in `training.train`, 8,000 of them.

# %%
plan = training.PLANS["text_to_image"]
hide = checks.check_drop_captions.answer_or(
    lambda tokens, share, rng: np.where(rng.random((len(tokens), 1)) < share, 0, tokens))
pictures = captions.make(images, settings.captioned_images, seed=SEED)
latents = networks.encode(autoencoder, pictures.images)
hidden = hide(pictures.tokens, plan.recipe.label_dropout, np.random.default_rng(SEED))
print(f"{len(latents):,} latents {latents.shape[1:]}: mean {latents.mean():.2f}, deviation {latents.std():.2f}; "
      f"{np.mean(~np.any(hidden, axis=1)):.0%} of the captions are hidden")

# %%
keras.utils.set_random_seed(SEED)
own = networks.build("text_to_image", model.shape)
epochs = settings.captioned_epochs
recipe = plan.recipe.for_run(epochs, -(-len(latents) // plan.recipe.batch_size))
history = training.train(own, plan.schedule, latents, epochs, recipe=recipe, seed=SEED, latents=True,
                         labels=np.asarray(hidden, "int32"), callbacks=[training.keras_progress(epochs, "training")])
print("loss of each epoch:", " ".join(f"{loss:.3f}" for loss in history["loss"]),
      f"in {sum(history['seconds']):.0f} s")

# %% [markdown]
# **Predict before you run:** after a few hundred steps, what will be right first: the colours, the places, or the digits?

# %%
texts = [caption, "a green one above a yellow four", "a white zero", "a blue eight below a pink two"]
options = {"steps": 20, "sampler": "dpmpp_2m", **model.options}


def draw(network, texts, seed=SEED, **more):
    """One picture for each caption."""
    drawn = sampling.sample(network, model.schedule, len(texts), model.shape, seed=seed, progress=False,
                            labels=captions.encode(texts), **{**options, **more})
    return networks.decode(autoencoder, drawn)


rows = [draw(own, texts), draw(on_latents, texts)]
plots.show(plots.image_table(rows, ["this short run", "checkpoint"], [text.replace(" of a ", " of\na ")
                             .replace(" above ", "\nabove ").replace(" below ", "\nbelow ") for text in texts],
                             "The same captions and noise", scale=2.2),
           "Two rows of four pictures for four captions. Short run: coloured strokes at the right places, not yet digits. "
           "Checkpoint: clear digits in the colours and places asked for.")

# %%
asked = captions.draw_scenes(settings.captioned_test, np.random.default_rng(SEED))
for label, network in (("this short run", own), ("checkpoint", on_latents)):
    right = judge(asked, draw(network, captions.sentences(asked)), recogniser)
    print(f"{label:15}", ", ".join(f"{word} right {values.mean():.0%}" for word, values in right.items()),
          f"({len(asked):,} captions)")

# %% [markdown]
# x
#
# ## 8.6 Guidance
#
# A network that can draw with and without a caption knows what the caption changes: the difference of its two answers. *Guidance*
# goes further in this direction (lesson 5.8):
#
# $$ (1 + w)\, f(x_t, t, \text{caption}) - w\, f(x_t, t, \text{no caption}) $$
#
# (Stable Diffusion writes the same with $s = 1 + w$; its usual s = 7.5 is w = 6.5 here.)

# %% [markdown]
# ### Exercise 8.4 – guidance
# *Difficulty ●○○○ · about 5 minutes*
#
# Write `guided(with_caption, without, w)`.
#
# <details><summary>Hint: check it at w = 0</summary>
#
# With w = 0 the answer with caption must come back.
# </details>
#
# <details><summary>Help: "you mix the two"</summary>
#
# A mixture lies *between* the two answers. Guidance goes *beyond* the one with caption: the factors are 1 + w and −w.
# </details>

# %% nbgrader={"schema_version": 3, "grade_id": "ex-8-4-guided", "grade": false, "solution": true, "locked": false, "task": false}
def guided(with_caption, without, w):
    """Classifier-free guidance: beyond the answer with caption, away from the answer without."""
    ### BEGIN SOLUTION
    return (1 + w) * with_caption - w * without
    ### END SOLUTION


# %% tags=["nbval-check-output"] nbgrader={"schema_version": 3, "grade_id": "check-8-4-guided", "grade": true, "solution": false, "locked": true, "points": 2, "task": false}
checks.check_guided(guided)

# %% [markdown]
# Now your function draws. The loop is that of lesson 5 (DDIM, without fresh noise) with two calls of the network a step.
#
# **Predict before you run:** which is wrong more often without guidance: the colour or the digit? And what will a very large w
# do?

# %%
combine = checks.check_guided.answer_or(lambda told, untold, w: (1 + w) * told - w * untold)


def draw_guided(text, w, count=5, steps=20):
    """Draw one caption several times with your guidance."""
    told, untold = captions.encode([text] * count), captions.encode([""] * count)
    x = np.random.default_rng(SEED).standard_normal((count, *model.shape)).astype("float32")
    table = sampling.ddim(model.schedule, sampling.spaced_steps(model.schedule.T, steps))
    for t, a, b, _, _ in table.rows():
        moment = np.full((count, 1), t / model.schedule.T, "float32")
        answers = [np.asarray(on_latents([x, moment, words])) for words in (told, untold)]
        answer = np.asarray(combine(*answers, w), "float32")
        x0 = np.asarray(model.schedule.guess_x0(x, t, answer, model.options["target"]))
        x = a * x + b * x0
    return networks.decode(autoencoder, x)


weights = [0, 1, 2, 8]
rows = [draw_guided(caption, w) for w in weights]
plots.show(plots.image_table(rows, [f"w = {w}" for w in weights], [""] * 5, f"{caption}: more guidance from row to row",
                             scale=1.6),
           "Four rows of five pictures of a red three left of a blue seven, with w = 0, 1, 2 and 8. x")

# %% [markdown]
# ## 8.7 Does it understand?
#
# A picture that looks right proves little. The proof needs many captions, a judge that had no part in the training, and captions
# that the model cannot have learned by heart.
#
# - **The judge** splits a picture into its digits, reads each with `digit_recogniser` (trained on grey MNIST, lesson 5), takes the
#   nearest of the six colours, and finds out which digit is left or above. It does not know the caption.
# - **The ceiling**: the judge on real pictures, and on real pictures that went through the autoencoder.
# - **Unseen pairs**: captions in which each pair of colour and digit is one of the twelve that training never showed.
# - **Unseen orders**: ordered pairs of digits that training never showed.
# - **Turned captions**: "a red three left of a blue seven" and "a blue three left of a red seven". The words are the same, so only
#   their order tells the two apart.
#
# Two models were trained with x to show that the test can fail:
#
# - **one number for each pair**: it is told "pair 13" instead of "red three". Pair 13 says nothing about reds or threes.
# - **a bag of words**: no positions are added to the words, so it cannot know their order.
#
# **Predict before you run:** which of the two fails on unseen pairs, and which on turned captions? How far do they fall?

# %% [markdown]
# ## 8.8 Your own captions
#
# Change the caption and run the cell as often as you like. The model knows these words only: a, of, left, right, above, below,
# six colours and ten digits. A word that it does not know is an error that lists them.

# %%
MY_CAPTION = "a yellow eight above a green two"
mine = model.draw([MY_CAPTION] * 8, seed=SEED)
plots.show(plots.image_grid(mine, MY_CAPTION, columns=8, scale=1.4),
           f"Eight pictures drawn for the caption: {MY_CAPTION}.")

# %% [markdown]
# ### Exercise 8.5 – a caption that it gets wrong
# *Difficulty ●●●○ · about 15 minutes · marked by your instructor*
#
# Find a caption that the model often gets wrong. (a) Write it down, and say how many of eight pictures are wrong, and in what.
# (b) Give a reason why it is hard, and say how the reason could be tested. (c) Name one change of the data, the model or the
# drawing that could help.

# %% [markdown] nbgrader={"schema_version": 3, "grade_id": "text-8-5-wrong-caption", "grade": true, "solution": true, "locked": false, "points": 4, "task": false}
# <!-- ### BEGIN SOLUTION -->
# Example: "three red seven". (a) Its words are known, but no training caption has this form: the pictures show one or two digits,
# and their number changes from picture to picture. (b) The text encoder has learned what stands at which place of the sentence.
# Here a digit stands where "a" always stood. Test: put one word after the other back into its usual place, and count the wrong
# pictures again. (c) Captions in several forms in training ("a seven that is red"), so that the meaning does not depend
# on one order of words. Another good answer: pairs that are alike in writing (four and nine, three and five) in a dark colour; the
# judge also confuses them on real pictures, so the autoencoder or the handwriting may be the limit, not the caption.
# <!-- ### END SOLUTION -->

# %% [markdown]
# ## 8.9 From here to Stable Diffusion
#
# You have built every part of it. What the large models do otherwise:
#
# | | this lesson | larger models |
# | --- | --- | --- |
# | text | 23 words, encoder trained with the denoiser | a large encoder, trained before and frozen: CLIP in Stable Diffusion 1 ([Rombach et al. 2022](https://arxiv.org/abs/2112.10752), [Radford et al. 2021](https://arxiv.org/abs/2103.00020)); T5 in Imagen ([Saharia et al. 2022](https://arxiv.org/abs/2205.11487)); two CLIPs and T5 in Stable Diffusion 3 ([Esser et al. 2024](https://arxiv.org/abs/2403.03206)) |
# | denoiser | a U-Net with cross-attention | the same, larger (Stable Diffusion 1, 2, XL); transformers without a U-Net: DiT ([Peebles & Xie 2022](https://arxiv.org/abs/2212.09748)), MM-DiT in Stable Diffusion 3 |
# | what is predicted | v | ε in Stable Diffusion 1; v ([Salimans & Ho 2022](https://arxiv.org/abs/2202.00512)); the velocity of a straight path, *flow matching* ([Lipman et al. 2022](https://arxiv.org/abs/2210.02747)) in Stable Diffusion 3 |
# | calls | 20 steps, two calls each | few steps after *distillation*: [Salimans & Ho 2022](https://arxiv.org/abs/2202.00512), [consistency models](https://arxiv.org/abs/2303.01469), [adversarial distillation](https://arxiv.org/abs/2311.17042) |
# | decoder's loss | absolute and squared error, more for strokes | also a perceptual loss and a discriminator ([Rombach et al. 2022](https://arxiv.org/abs/2112.10752), section 3.1) |
# | data | drawn by rule, every caption true | billions of pictures with texts from the web ([Schuhmann et al. 2022](https://arxiv.org/abs/2210.08402)), where captions are often vague or wrong |
#
# The last line is also where the difference in kind lies: here the judge can prove each word, because the world has six colours and
# ten digits. For large models such proofs are harder, and composition still fails at times: see
# [Huang et al. 2023](https://arxiv.org/abs/2307.06350) for a benchmark of it.
#
# ## Remember
# - A latent space moves the work to small maps. What the autoencoder loses, no denoiser can bring back.
# - Cross-attention lets each place of the picture ask the words: softmax(QKᵀ/√d) V.
# - Hide some captions in training; at drawing, go beyond the answer with caption by w times the difference.
# - To prove understanding, ask for what was never shown, and show that a model without that understanding fails.
