"""JupyterLab in a real browser, light and dark: run all, move the slider, watch the animation, fail an exercise.

Needs Chromium and requirements-browser.txt; without them the test says so.
"""

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 300_000  # milliseconds until a page must show what is waited for; the machine may be busy with other tests
FIGURES = """\
import sys
sys.path.append({root!r})
import numpy as np
from labutils import plots
noise = np.random.default_rng(0).uniform(-1, 1, (10, 8, 8, 1))
plots.show_slider(noise, [f"t = {{t}}" for t in range(10)], [0, 4, 9], "Noise", "three pictures of noise in a row")
plots.show_animation(list(noise[:, None]), [f"t = {{t}}" for t in range(10)], "animation: ten pictures of noise")"""


WRONG = """\
import sys
sys.path.append({root!r})
from labutils import checks


def alpha_bars(betas):
    return 1 - betas"""
THEMES = ["JupyterLab Light", "JupyterLab Dark"]


@pytest.fixture
def lab(tmp_path):
    """(address, folder) of a JupyterLab that serves an empty folder."""
    settings = tmp_path / "settings" / "@jupyterlab"
    for name, values in {
        "apputils-extension/themes": {"theme": THEMES[0]},
        "notebook-extension/tracker": {"windowingMode": "none"},  # all cells are in the page
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    }.items():
        file = settings / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values), encoding="utf-8")
    work = tmp_path / "work"
    work.mkdir()
    options = ["--no-browser", "--ServerApp.token=", "--ServerApp.port=0", "--allow-root", "--expose-app-in-browser"]
    home = {"JUPYTER_CONFIG_DIR": tmp_path / "config", "JUPYTER_RUNTIME_DIR": tmp_path / "runtime"}
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options, f"--ServerApp.root_dir={work}"],
        env={**os.environ, **{k: str(v) for k, v in home.items()}, "JUPYTERLAB_SETTINGS_DIR": str(settings.parent)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield address(tmp_path / "runtime"), work
    finally:
        process.kill()  # its kernels notice, and end, too
        process.wait()


def address(runtime):
    """Where the server listens, as soon as it answers."""
    end = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < end:
        for file in runtime.glob("jpserver-*.json"):
            try:
                url = json.loads(file.read_text(encoding="utf-8"))["url"]
                urllib.request.urlopen(f"{url}api/status", timeout=5).close()
                return url
            except (ValueError, urllib.error.URLError):
                pass  # half written, or not listening yet
        time.sleep(0.2)
    raise TimeoutError("JupyterLab does not answer")


def open_and_run(chromium, lab, notebook):
    """Write a notebook, open it, and run all cells; returns the page."""
    url, work = lab
    nbformat.write(notebook, work / "lesson.ipynb")
    page = chromium.new_page(viewport={"width": 1200, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.goto(f"{url}lab/tree/lesson.ipynb")
    page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel")
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    return page


def cells(*sources):
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in sources], metadata=kernel)


def check_figures(page):
    """The slider moves both ways, and the animation does not stand still."""
    slider, shown = page.locator("input[type=range]"), page.locator("div[class^=slider-] img")
    slider.wait_for()
    slider.focus()
    pictures = set()
    for key, step in (("Home", 0), ("End", 9)):
        page.keyboard.press(key)
        found = f"document.querySelector('div[class^=slider-]').textContent.includes('t = {step}')"
        page.wait_for_function(found)
        pictures.add(shown.get_attribute("src"))
    assert len(pictures) == 2
    animation = page.locator('img[src^="data:image/gif"], img[alt^="animation"]')
    animation.wait_for()
    frames = set()
    for _ in range(20):
        frames.add(animation.screenshot())
        page.wait_for_timeout(250)
    assert len(frames) > 1, "the animation stands still"


def check_sentence(page):
    """The failed exercise says what is wrong, in a colour that can be read, and nothing else failed."""
    errors = "[data-mime-type='application/vnd.jupyter.stderr'], .jp-RenderedText[data-mime-type*='error']"
    error = page.locator(errors)
    error.first.wait_for()
    assert error.count() == 1
    said = error.first.inner_text()
    assert re.search(r"Exercise 2\.\d+, `alpha_bars`: .{20}", said), said
    assert "Traceback" not in said and "lesson_2.py" not in said
    colours = error.first.evaluate(
        "e => [getComputedStyle(e.querySelector('pre')).color, getComputedStyle(e).backgroundColor]"
    )
    assert colours[0] != colours[1]
    return colours


def test_figures_and_a_failed_exercise_light_and_dark(chromium, lab):
    root = str(ROOT)
    sources = FIGURES.format(root=root), WRONG.format(root=root), "checks.check_alpha_bars(alpha_bars)"
    page = open_and_run(chromium, lab, cells(*sources))
    colours = set()
    for theme in THEMES:
        page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
        page.wait_for_function("theme => document.body.dataset.jpThemeName === theme", arg=theme)
        check_figures(page)
        colours.add(tuple(check_sentence(page)))
    assert len(colours) == 2, "the theme has changed"
