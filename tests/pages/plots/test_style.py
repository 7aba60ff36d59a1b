"""Scale bars, names that are no formulas, colours that end where the data do."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from stbench.pages.plots.style import bar_length, grid, heading, limits, number, plain


@pytest.mark.parametrize(("width", "um_per_px", "px", "said"), [
    (1000, 0.5, 200, "100 µm"), (1000, None, 200, "200 px"), (9000, 0.69, 1000 / 0.69, "1 mm"), (7, None, 2, "2 px"),
    (10_000, 5.0, 2000, "10 mm"), (1, None, 0.2, "0.2 px"),
])  # fmt: skip
def test_the_longest_round_bar_that_fits(width, um_per_px, px, said):
    length, text = bar_length(width, um_per_px)
    assert (length, text) == (pytest.approx(px), said)
    assert 0.1 * width < length <= 0.3 * width


def test_names_are_drawn_as_they_are():
    figure = Figure()
    text = figure.text(0, 0, plain("$\\alpha$ \x1b[0m"))
    figure.draw_without_rendering()
    assert text._preprocess_math(text.get_text()) == ("$\\alpha$ \\x1b[0m", False)
    assert heading("one two three", 8, "PCC 0.5").split("\n") == ["one two", "three", "PCC 0.5"]
    assert len(heading("word " * 100).split("\n")) <= 3


def test_colours_do_not_follow_single_spots():
    assert limits(np.r_[np.linspace(0, 1, 1000), 1e6]) == pytest.approx((0.01, 0.99), abs=1e-3)
    assert limits(np.zeros(3)) == (0, 1)
    assert (number(None), number(float("nan")), number(-0.5)) == ("undefined", "undefined", "−0.50")


def test_panels_fill_their_rows():
    figure, axes = grid(5, 4, (2, 2), "head", "foot")
    assert (len(axes), len(figure.axes)) == (5, 6)
    assert [spare.axison for spare in figure.axes] == [True] * 5 + [False]
