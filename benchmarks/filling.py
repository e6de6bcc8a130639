"""How often a network completes a digit, with and without RePaint's resampling.

``python -m benchmarks.filling [--minutes M]`` hides the lower half of 200 test digits, or shrinks them to 7×7 pixels.
Checkpoints that were never trained for this task complete them: x̂_0 is corrected at each call, as in lesson 6. In some
rows each corrected step is repeated R times (Lugmayr et al. 2022, https://arxiv.org/abs/2201.09865), which costs R
times the calls. A row with more steps and R = 1 makes as many calls without repetition. A recogniser judges the
results. The program writes ``results/filling.json`` for lesson 6. Each row is saved as soon as it is measured: you
may stop the program and start it again. To measure everything again, delete the file.
"""

import numpy as np
import scipy.special
import tensorflow as tf

from benchmarks import report
from labutils import data, evaluation, metrics, networks, pretrained, sampling

DIGITS = 200
TASKS = ("fill", "enlarge")
ROWS = [(50, 1), (50, 5), (50, 10), (500, 1)]  # (steps, resample): the last has as many calls as the one before
PLAN = [
    # The digits themselves are the ceiling; what is given, without a network, is the floor.
    *({"task": task, "checkpoint": None, "steps": None, "resample": None} for task in (None, *TASKS)),
    *(
        {"task": task, "checkpoint": name, "steps": steps, "resample": resample}
        for task in TASKS
        for name in ("classic", "fast")
        for steps, resample in ROWS
    ),
]
UPPER = np.repeat([1.0, 0.0], 14).astype(np.float32).reshape(1, 28, 1, 1)  # a mask that is 1 in the upper half


def rows():
    """The result file."""
    weights = report.about(["classic", "fast", *report.JUDGES])
    return report.Rows("filling", PLAN, {"digits": DIGITS, "confident": evaluation.CONFIDENT, **weights})


def correct(task, x0, digits):
    """x̂_0 after the correction that the task asks for: it agrees with what is known of ``digits``."""
    if task == "fill":
        return sampling.inpaint(x0, digits, UPPER)
    return sampling.match_blocks(x0, sampling.shrink(digits))


def given(task, digits):
    """The picture that a task starts from, without a network: an empty lower half, or a bicubic enlargement."""
    if task == "fill":
        return sampling.inpaint(-1.0, digits, UPPER)
    return tf.image.resize(sampling.shrink(digits), digits.shape[1:3], "bicubic").numpy()


def complete(item, digits):
    """The completed digits, and how many calls of the network each took."""
    sampler = sampling.Sampler(
        pretrained.load_diffusion(item["checkpoint"], fused=item["checkpoint"] == "classic"),
        steps=item["steps"],
        resample=item["resample"],
        constrain=lambda x0, t: correct(item["task"], x0, digits),
    )
    start = np.random.default_rng(0).standard_normal(digits.shape, dtype=np.float32)
    *_, (_, images, _) = sampler.run(start, x0=False)
    return np.asarray(images), len(sampler.t)


def judge(images, labels, recogniser):
    """Two proportions, with Wilson intervals: the recogniser is sure; it is sure and names the true digit."""
    scores = scipy.special.softmax(networks.predict(recogniser, np.clip(images, -1, 1)), axis=1)
    sure = scores.max(axis=1) >= evaluation.CONFIDENT
    found = {"recognised": sure, "true_digit": sure & (scores.argmax(axis=1) == labels)}
    return {key: dict(zip(("value", "low", "high"), metrics.proportion(x), strict=True)) for key, x in found.items()}


def measure(item, digits, labels, recogniser):
    """What one row holds: complete, judge, and measure how far the pixels are from what was given (mean difference)."""
    task, calls = item["task"], 0
    if item["checkpoint"]:
        images, calls = complete(item, digits)
    else:
        images = given(task, digits) if task else digits
    error = float(np.abs(images - correct(task, images, digits)).mean()) if task else 0.0
    return {"calls": calls, "consistency_error": error, **judge(images, labels, recogniser)}


def main():
    """Measure what is missing."""
    options, file = report.arguments(__doc__), rows()
    dataset = data.load("mnist")
    chosen = np.random.default_rng(0).choice(len(dataset.x_test), DIGITS, replace=False)
    digits, labels = dataset.x_test[chosen], dataset.y_test[chosen]
    _, recogniser = evaluation.load_judges()
    for item in file.missing():
        options.budget.check()
        row = measure(item, digits, labels, recogniser)
        file.add(item, row)
        print(item, {key: round(row[key]["value"], 3) for key in ("recognised", "true_digit")}, flush=True)
    file.finish()


if __name__ == "__main__":
    main()
