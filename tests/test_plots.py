"""Pictures: alternative text is asked for, any number of channels works, sliders give way to strips."""

import IPython.display
import matplotlib.pyplot as plt
import numpy as np
import pytest

from labutils import plots, unet

IMAGES = {channels: np.random.default_rng(0).uniform(-1.2, 1.2, (10, 8, 8, channels)) for channels in (1, 3)}


@pytest.fixture(autouse=True)
def shown(monkeypatch):
    """Collects what would be displayed; closes every figure."""
    collected = []
    monkeypatch.setattr(plots, "display", lambda what, metadata=None: collected.append((what, metadata)))
    yield collected
    plt.close("all")


def test_show_asks_for_words(shown):
    figure, _ = plots.axes("title", "x", "y")
    for alt in ("", "plot", "a nice plot"):
        with pytest.raises(ValueError, match="alt must describe"):
            plots.show(figure, alt)
    plots.show(figure, "a straight line from left to right")
    assert shown[0][1] == {"image/png": {"alt": "a straight line from left to right"}}
    assert not plt.fignum_exists(figure.number)


@pytest.mark.parametrize("channels", [1, 3])
def test_grids_and_tables(channels, shown):
    images = IMAGES[channels]
    assert plots.image_grid(images, "title", columns=4).get_suptitle() == "title"
    table = plots.image_table([list(images[:3]), list(images[3:6])], ["a", "b"], ["1", "2", "3"], "title")
    heads = [ax.get_title() for ax in table.axes]
    assert heads == ["1", "2", "3", "", "", ""] and table.axes[3].get_ylabel() == "b"
    png = plots.grid_png(images)
    assert png.startswith(b"\x89PNG")
    plots.show_animation([images, images[::-1]], ["one", "two"], "two frames of noise")
    html = shown[-1][0]
    assert isinstance(html, IPython.display.HTML) and 'alt="two frames of noise"' in html.data


def test_sliders_give_way_to_strips(shown, monkeypatch):
    monkeypatch.setenv("LABUTILS_BATCH", "1")
    drawn = []
    plots.slider_or_strip(lambda ax, t: drawn.append(t), 9, [0, 4, 9], "title", "three empty pictures in a row")
    assert drawn == [0, 4, 9] and len(shown) == 1


def test_drawing_of_any_unet():
    for options in ({}, {"time_input": False}, {"skip_connections": False}):
        figure = plots.draw_unet(unet.build_classic_unet((16, 16, 3), **options))
        assert "16×16×32" in [text.get_text() for text in figure.axes[0].texts]
