"""The page docs/play: it is what the command makes, computes what Keras computes, and can be used in a browser.

Without Node the engine is not tested, without Chromium and requirements-browser.txt the page is not used; both say so.
"""

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import reason
from keras import ops
from PIL import Image

from lab import cli, play
from labutils import pretrained, samplers, sampling
from labutils.diffusion import guided
from labutils.networks import network_time

PAGE = play.PLAY_DIR / "index.html"
RUNNER = Path(__file__).parent / "play" / "run_engine.mjs"
SIDE, STEPS, W = 28, 12, 0.5


# ---- The file


def part(page, name):
    """What stands in the script with that id."""
    return re.search(rf'<script[^>]* id="{name}"[^>]*>(.*?)</script>', page, re.DOTALL).group(1)


def test_committed_page_is_what_the_command_makes(tmp_path):
    assert cli.main(["play", "--out", str(tmp_path / "page.HTML")]) == 0
    assert (tmp_path / "page.HTML").read_bytes() == PAGE.read_bytes(), "run python -m lab play"


def test_page_is_small_names_its_checkpoint_and_loads_nothing():
    page = PAGE.read_text(encoding="utf-8")
    assert len(page.encode()) <= 4e6
    about = pretrained.read_record(play.CHECKPOINT)
    model = json.loads(part(page, "model"))
    assert model["weights_sha256"] == about["weights_sha256"] and model["parameters"] == about["parameters"]
    assert "default-src 'none'" in page  # the browser itself refuses whatever would be loaded
    assert set(re.findall(r'(?:src|href)\s*=\s*"([^"]*)"', page)) == {"data:,"}


def test_weights_are_rounded_by_half_a_step_at_most():
    network, _ = pretrained.load(play.CHECKPOINT)
    for kept, layer in zip(page_weights(network), [x for x in network.layers if x.weights], strict=True):
        kernel, bias = layer.get_weights()
        step = np.abs(kernel).max(axis=(0, 1, 2)) / play.LARGEST
        assert np.all(np.abs(kept[0] - kernel) <= 0.501 * step + 1e-7 * np.abs(kernel))
        assert np.array_equal(kept[1], bias)


def page_weights(network):
    """[(kernel, bias), …] as the page has them."""
    page = PAGE.read_text(encoding="utf-8")
    data, layers = base64.b64decode(part(page, "weights")), json.loads(part(page, "model"))["layers"]
    kept = []
    for layer in layers:
        shape = network.get_layer(layer["name"]).kernel.shape
        scales, bias = np.frombuffer(data, "<f4", 2 * shape[-1], layer["offset"]).reshape(2, -1)
        integers = np.frombuffer(data, "<i2", int(np.prod(shape)), layer["offset"] + 8 * shape[-1])
        kept.append((scales * integers.reshape(shape).astype(np.float32), bias))
    return kept


def test_kernel_is_what_its_text_says():
    wasmtime = pytest.importorskip("wasmtime", reason=reason("requirements-browser.txt"))
    made = wasmtime.wat2wasm(play._read("kernel.wat"))
    assert (play.SOURCE_DIR / "kernel.wasm").read_bytes() == made


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "OUT/page.txt"], "--out must end in .html"),
        (["--out", "/dev/null/page.html"], "cannot write"),
        (["--out", "OUT/page.html", "--checkpoint", "none"], "no checkpoint 'none'"),
        (["--out", "OUT/page.html", "--checkpoint", "fast"], "the page runs the network fast_conditional"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys, tmp_path):
    assert cli.main(["play", *(a.replace("OUT", str(tmp_path)) for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


# ---- The engine, in Node


def ask(*questions, plain=False):
    """Answers of the committed page's engine, as arrays where they are numbers."""
    if not (node := shutil.which("node")):
        pytest.skip(reason("Node"))
    done = subprocess.run(
        [node, str(RUNNER), str(PAGE)],
        input=json.dumps({"plain": plain, "ask": questions}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["simd"] is not plain
    return told["answers"]


def flat(array):
    """JSON for one image, or one image for each row."""
    return np.reshape(array, (-1, SIDE * SIDE)).squeeze().tolist()


@pytest.fixture(scope="module")
def model():
    """The diffusion model of the checkpoint."""
    return pretrained.load_diffusion(play.CHECKPOINT)


def test_network_answers_like_keras(model):
    network, schedule, shape = model.network, model.schedule, model.shape
    rng = np.random.default_rng(0)
    t, labels = np.linspace(0, schedule.T - 1, 33).astype(np.int32), np.arange(33, dtype=np.int32) % 11 - 1
    x = rng.standard_normal((33, *shape), dtype=np.float32)
    expected = [
        network([ops.convert_to_tensor(x), network_time(t, schedule.T), ops.convert_to_tensor(told)])
        .numpy()
        .reshape(33, -1)
        for told in (labels, np.full(33, -1, np.int32))
    ]
    questions = [("evaluate", {"x": flat(x[i]), "t": int(t[i]), "labels": [int(labels[i]), -1]}) for i in range(33)]
    alone = [("evaluate", {**question, "labels": question["labels"][:1]}) for _, question in questions[:3]]
    answers = ask(*questions, *alone)
    assert np.abs(np.swapaxes(answers[:33], 0, 1) - expected).max() < 1e-3
    assert np.array_equal(np.array(answers[33:])[:, 0], np.array(answers[:3])[:, 0])  # a pair is two calls
    assert np.abs(np.subtract(ask(*questions[:2], plain=True), answers[:2])).max() < 1e-5  # without SIMD


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m"])
def test_ten_finished_digits_are_those_of_sample(model, sampler):
    options = {"condition": np.arange(10), "sampler": sampler, "steps": STEPS, "progress": False}
    expected, shape = sampling.sample(model.with_guidance(W), 10, **options), model.shape
    start = np.random.default_rng([0, 0]).standard_normal((10, *shape), dtype=np.float32)  # as sample does
    run = {"sampler": sampler, "steps": STEPS}
    drawn = ask(*(("draw", {"run": run, "x": flat(start[i]), "label": i, "guidance": W}) for i in range(10)))
    assert np.abs(np.reshape(drawn, expected.shape) - expected).max() < 1e-2


@pytest.mark.parametrize(
    ("run", "label", "guidance"),
    [
        ({"sampler": "ddpm", "steps": 10}, 7, 1.5),
        ({"sampler": "ddpm", "steps": 10}, 4, 0.0),
        ({"sampler": "ddim", "steps": 5, "resample": 3}, -1, 0.0),
        ({"sampler": "heun", "steps": 50}, 2, W),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_noise_and_known_pixels_as_in_python(model, run, label, guidance):
    """With the page's rounded weights in Keras: Heun magnifies every difference."""
    network, schedule, shape = model.network, model.schedule, model.shape
    exact = network.get_weights()
    network.set_weights([array for pair in page_weights(network) for array in pair])
    table = samplers.SAMPLERS[run["sampler"]](schedule, samplers.spaced_steps(schedule.T, run["steps"]))
    table = sampling.resampled(table, schedule, run.get("resample", 1))
    rng = np.random.default_rng(1)
    x = start = rng.standard_normal((1, *shape), dtype=np.float32)
    noise = rng.standard_normal((len(table.t), *shape), dtype=np.float32)
    known, mask = np.clip(rng.standard_normal((1, *shape), dtype=np.float32), -1, 1), np.zeros((1, *shape), np.float32)
    if "resample" in run:
        mask[:, : SIDE // 2] = 1
    before, told = np.zeros_like(x), ops.convert_to_tensor(np.array([label], np.int32))
    for row, (t, a, b, c, sigma) in enumerate(table.rows()):
        time = network_time(np.array([t]), schedule.T)
        output = guided(network, ops.convert_to_tensor(x), time, told, guidance)
        x0 = sampling.inpaint(schedule.predict_x0(x, t, output, model.prediction), known, mask)
        x, before = np.asarray(a * x + b * x0 + c * before + sigma * noise[row], np.float32), np.asarray(x0)
    network.set_weights(exact)
    question = {"run": run, "x": flat(start), "label": label, "guidance": guidance, "noise": flat(noise)}
    (drawn,) = ask(("draw", {**question, "known": flat(known), "mask": flat(mask)}))
    assert np.abs(np.reshape(drawn, x.shape) - x).max() < 1e-2


def test_tables_are_those_of_python(model):
    schedule = model.schedule
    runs = [
        {"sampler": name, "steps": steps, "resample": times, "from": start}
        for name in samplers.SAMPLERS
        for steps in (1, 2, 12, 16, 1000)
        for times in (1, 3)
        for start in (999, 640)
        if (times == 1 or name in ("ddpm", "ddim")) and steps <= start + 1
    ]
    for run, rows in zip(runs, ask(*(("table", run) for run in runs)), strict=True):
        steps = samplers.spaced_steps(run["from"] + 1, run["steps"])
        expected = sampling.resampled(samplers.SAMPLERS[run["sampler"]](schedule, steps), schedule, run["resample"])
        got = [[row[key] for key in ("t", "a", "b", "c", "sigma")] for row in rows]
        np.testing.assert_allclose(got, list(expected.rows()), rtol=1e-9, atol=1e-7, err_msg=str(run))


def test_seeds_give_normal_noise_and_scribbles_the_forward_process(model):
    schedule = model.schedule
    streams = [(1, 0), (1, 1), (2, 0)]
    picture = np.linspace(-1, 1, SIDE * SIDE)
    start = {"seed": 1, "from": 640, "picture": picture.tolist()}
    *noise, x = ask(
        *(("normals", {"seed": seed, "stream": stream, "count": 40_000}) for seed, stream in streams), ("start", start)
    )
    noise = np.array(noise)
    assert np.abs(np.cov(noise) - np.eye(3)).max() < 0.03 and np.abs(noise.mean(axis=1)).max() < 0.03
    assert np.abs(np.mean(noise**4, axis=1) - 3).max() < 0.3
    level = schedule.alpha_bars[640]
    np.testing.assert_allclose(x, np.sqrt(level) * picture + np.sqrt(1 - level) * noise[0, : SIDE * SIDE], atol=1e-5)


# ---- The page, in Chromium

VIEWS = {
    "wide, light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "400 pixels, dark": {"viewport": {"width": 400, "height": 850}, "color_scheme": "dark", "has_touch": True},
}


class Visit:
    """The page, opened from its file; keeps what went wrong in it and what it asked for."""

    def __init__(self, browser, **view):
        self.page = browser.new_context(**view).new_page()
        self.wrong, self.asked = [], []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(PAGE.as_uri())
        self.settle()

    def settle(self):
        """Wait for the run that a change has started; returns what the page says."""
        self.page.wait_for_selector("body[data-state=idle]", timeout=120_000)
        return self.page.text_content("#status")

    def set(self, control, value):
        """Move a slider or fill a field."""
        self.page.evaluate(
            "([id, v]) => { const e = document.getElementById(id); e.value = v; e.dispatchEvent(new Event('input')); }",
            [control, value],
        )
        return self.settle()

    def choose(self, name, value):
        """Choose one of some radio buttons."""
        self.page.check(f"input[name={name}][value='{value}']", force=True)
        return self.settle()

    def picture(self, canvas="xt"):
        """The grey values of a canvas, (rows, columns)."""
        url = self.page.evaluate("(id) => document.getElementById(id).toDataURL()", canvas)
        with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
            return np.asarray(image.convert("RGB"))[..., 0].astype(int)

    def text(self, control):
        """What a control says."""
        return self.page.text_content(f"#{control}")

    def end(self):
        """Nothing went wrong, and nothing was loaded but the file and the worker in it."""
        assert not self.wrong
        assert [url for url in self.asked if not url.startswith("blob:")] == [PAGE.as_uri()]
        self.page.context.close()


@pytest.fixture(params=VIEWS.values(), ids=VIEWS)
def visit(chromium, request):
    visit = Visit(chromium, **request.param)
    yield visit
    visit.end()


def test_every_control_can_be_used(visit):
    page = visit.page
    assert "24 calls of the network" in visit.text("status")
    assert pretrained.read_record(play.CHECKPOINT)["weights_sha256"] in visit.text("facts")
    assert "WebAssembly SIMD" in visit.text("facts")
    drawn = visit.picture()
    for digit in [*range(10), -1]:
        said = visit.choose("digit", digit)
        assert ("told no digit" if digit < 0 else f"told {digit}") in said
    assert "12 calls" in said
    visit.choose("digit", 3)
    assert np.array_equal(visit.picture(), drawn)  # the same seed and settings, the same digit
    page.click("#again")
    visit.settle()
    assert not np.array_equal(visit.picture(), drawn)
    assert "12 calls" in visit.set("guidance", 0)
    assert "24 calls" in visit.set("guidance", 6)
    for sampler, calls in (("ddpm", 24), ("dpmpp_2m", 24), ("heun", 46), ("ddim", 24)):
        page.select_option("#sampler", sampler)
        assert f" {calls} calls" in visit.settle()
    visit.set("steps", 18)
    visit.set("steps", 0)
    assert "2 calls" in visit.set("seed", 5)
    visit.set("steps", 4)
    for summary in page.query_selector_all("summary"):
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_run_can_be_looked_at_forwards_backwards_and_paused(visit):
    page = visit.page
    finished = visit.picture()
    assert page.is_disabled("#next") and not page.is_disabled("#back")
    page.click("#first")
    assert "t = 999" in visit.text("where") and page.is_disabled("#back")
    noise = visit.picture()
    page.click("#next")
    assert "Update 2 of 12" in visit.text("where") and not np.array_equal(visit.picture(), noise)
    page.click("#back")
    assert np.array_equal(visit.picture(), noise)
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    assert "Update 2 of 12" in visit.text("where")
    page.keyboard.press(" ")
    assert visit.text("play") == "Pause"
    page.keyboard.press(" ")
    assert visit.text("play") == "Play"
    page.click("#play")
    page.wait_for_selector("#play:text('Play')", timeout=60_000)  # it stops at the end
    assert np.array_equal(visit.picture(), finished)
    page.focus("#scrubber")
    page.keyboard.press("ArrowLeft")
    assert page.get_attribute("#scrubber", "aria-valuetext").startswith("update 12 of 12")
    page.click("#curve", position={"x": 2, "y": 40})
    assert "t = 999" in visit.text("where")
    page.click("#strip div:nth-child(7)")
    assert "Update 7 of 12" in visit.text("where")
    page.click("#last")
    assert "Finished" in visit.text("where")


def test_a_hole_is_filled_and_the_rest_is_kept(visit):
    page = visit.page
    before = visit.picture()
    visit.choose("task", "repair")  # takes the finished digit and hides its lower half
    visit.choose("digit", 8)
    after = visit.picture()
    assert np.abs(after[:14] - before[:14]).max() <= 1 and not np.array_equal(after[14:], before[14:])
    page.click("#clear")
    assert "Nothing is hidden" in visit.settle()
    page.click("#undo")
    assert "filled the hole" in visit.settle()
    for tool in ("show", "draw", "erase", "hide"):
        visit.choose("tool", tool)
        stroke(visit, [(0.2, 0.7), (0.8, 0.7)])
        assert "filled the hole" in visit.settle()
    assert "12 calls" not in visit.set("resample", 5)
    page.select_option("#sampler", "dpmpp_2m")
    assert "24 calls" in visit.settle() and page.is_disabled("#resample")
    for button in ("half", "take", "undo"):
        page.click(f"#{button}")
        visit.settle()


def test_a_scribble_is_taken_from_a_noise_level(visit):
    page = visit.page
    visit.choose("task", "scribble")
    page.click("#clear")
    assert "picture is empty" in visit.settle()
    visit.set("brush", 3)
    stroke(visit, [(0.5, 0.15), (0.5, 0.85)])
    assert visit.picture("paper")[100:200, 135:145].min() > 128
    visit.choose("digit", 1)
    visit.set("level", 300)
    near = visit.picture()
    assert near[10:18, 12:16].max(axis=1).min() > 128  # little noise: the line stays
    page.click("#first")
    assert "t = 300" in visit.text("where")
    assert "from your scribble" in visit.set("level", 999)
    page.focus("#paper")
    for key in ("ArrowUp", "Shift+ArrowRight", "Shift+ArrowRight", " "):
        page.keyboard.press(key)
        visit.settle()
    assert visit.text("cursor") == "Row 14, column 17, ink"
    if page.evaluate("navigator.maxTouchPoints"):
        box = page.locator("#paper").bounding_box()
        page.touchscreen.tap(box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"])
        visit.settle()
        assert visit.picture("paper")[56, 56] > 128


def stroke(visit, points):
    """Draw a line on the picture with the mouse; points are shares of its width and height."""
    visit.page.locator("#paper").scroll_into_view_if_needed()
    box = visit.page.locator("#paper").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    visit.page.mouse.move(*places[0])
    visit.page.mouse.down()
    for place in places[1:]:
        visit.page.mouse.move(*place, steps=5)
    visit.page.mouse.up()
    visit.settle()


def test_a_long_run_can_be_stopped(visit):
    page = visit.page
    page.evaluate("document.getElementById('sampler').value = 'heun'")
    page.evaluate("const s = document.getElementById('steps'); s.value = s.max; s.dispatchEvent(new Event('input'))")
    page.click("#stop", timeout=60_000)
    assert visit.settle() == "Stopped."
    page.click("#first")
    assert "of 1999" in visit.text("where")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("task", ["noise", "repair", "scribble"])
def test_accessibility_rules_find_nothing(chromium, scheme, task):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=reason("requirements-browser.txt"))
    # Only here the page's own ban on foreign scripts is lifted: the rules are one.
    visit = Visit(chromium, color_scheme=scheme, bypass_csp=True)
    visit.choose("task", task)
    found = axe.Axe().run(visit.page).response["violations"]
    assert not [(rule["id"], [node["html"][:120] for node in rule["nodes"]]) for rule in found]
    visit.end()
