"""Maps show the numbers of the truth and of the predictions, in one set of colours."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import EllipseCollection

from stbench.pages.plots.maps import draw_map, gene_map
from stbench.pages.plots.style import SPREADS, VALUES, Canvas, limits

from ...evaluation.conftest import make_slide


def discs(figure):
    return [found for axes in figure.axes for found in axes.collections if isinstance(found, EllipseCollection)]


def titles(figure):
    return [axes.get_title().replace("\n", " ") for axes in figure.axes if axes.get_title()]


def words(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_every_panel_holds_its_numbers(view):
    gene = view.task.genes[1]
    figure = gene_map(view, Canvas.of(view), gene)
    truth, *predicted = discs(figure)
    np.testing.assert_array_equal(truth.get_array(), view.measured(gene))
    for drawn, shown in zip(predicted, view.shown, strict=True):
        np.testing.assert_array_equal(drawn.get_array(), shown.prediction.mean[:, 1])
        np.testing.assert_array_equal(drawn.get_offsets(), view.truth.inputs.xy)
    assert {drawn.get_clim() for drawn in discs(figure)} == {limits(view.measured(gene))}
    pcc = view.shown[0].run.record.per_gene["pcc"]["P3-s0"][1]
    score = f"PCC {pcc:.2f}".replace("-", "−")
    assert titles(figure)[:3] == ["tissue (H&E)", "measured", f"one-generative, mean of 3 {score}"]
    assert titles(figure)[3].startswith("best control: one-control, mean of 3 PCC ")
    assert "log1p, natural log" in figure.axes[-1].get_ylabel().replace("\n", " ")


def test_the_picture_lies_where_its_pixels_are(view):
    canvas = Canvas.of(view)
    assert (canvas.extent, canvas.um_per_px) == ((0, 80, 80, 0), 0.5)
    figure = gene_map(view, canvas, view.task.genes[0])
    assert figure.axes[0].images[0].get_extent() == [0, 80, 80, 0]
    assert words(figure) == ["10 µm"]
    top, bottom = figure.axes[0].get_ylim()[::-1]
    assert top < bottom  # y runs down, as in pictures


def test_a_slide_without_a_picture_has_pixels_and_a_note(at):
    bare = [replace(make_slide(f"P{p}-s{s}", f"P{p}"), um_per_px=None) for p in range(4) for s in range(2)]
    material = at(slides=bare)
    view = material.view("P3-s0", material.predicting)
    figure = gene_map(view, Canvas.of(view), view.task.genes[0])
    assert titles(figure)[0] == "measured"
    assert not any(axes.images for axes in figure.axes[:3])
    assert words(figure) == ["20 px"]
    assert "no picture" in figure.get_supxlabel()


def test_draws_their_mean_and_their_spread(view):
    gene = view.task.genes[0]
    figure = draw_map(view, Canvas.of(view), view.shown[0], gene)
    draws = view.shown[0].prediction.draws[:, :, 0]
    truth, first, second, mean, spread = discs(figure)
    np.testing.assert_array_equal(truth.get_array(), view.measured(gene))
    np.testing.assert_array_equal([first.get_array(), second.get_array()], draws[:2])
    np.testing.assert_allclose(mean.get_array(), draws.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(spread.get_array(), draws.std(axis=0, ddof=1), rtol=1e-4)
    assert [drawn.get_cmap().name for drawn in discs(figure)] == [VALUES] * 4 + [SPREADS]


def test_many_spots_are_one_picture_in_an_svg(view):
    canvas = Canvas.of(view)
    many = replace(canvas, xy=np.random.default_rng(0).uniform(0, 80, (6000, 2)).astype(np.float32))
    axes = gene_map(view, canvas, view.task.genes[0]).axes[1]
    assert many.spots(axes, np.zeros(6000), VALUES, (0, 1)).get_rasterized()
    assert canvas.aspect == pytest.approx(1)
