"""Calibration of draws: where the truth falls among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stbench.metrics.score import as_draws
from stbench.pages.figures import COLORS
from stbench.pages.plots.material import SlideView
from stbench.pages.plots.style import CONTROL, GREY, SMALL, TITLE, grid, heading
from stbench.pages.rows import CONTROLS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INCHES = (3.2, 2.9)


def rank_shares(true: ArrayLike, draws: ArrayLike) -> NDArray[np.float64]:
    """Share of truths that lie below all draws, above one of them, ..., above all of them.

    A truth that equals draws lies at each place among them with the same probability, as in
    :func:`stbench.metrics.generative.coverage_error`; the shares are expected values, nothing is drawn.

    Args:
        true: (n_spots, n_genes) expression.
        draws: (n_draws, n_spots, n_genes), same scale.

    Returns:
        (n_draws + 1,) shares, 1 in sum; all equal for a perfect sampler.

    Raises:
        DataError: shapes do not fit or a value is not finite.
    """
    truth, stack = as_draws(true, draws)
    below, equal = (sum(of(draw, truth).astype(np.int32) for draw in stack) for of in (np.less, np.equal))
    shares = np.zeros(len(stack) + 1)
    places, counts = np.unique(np.stack([below, equal]).reshape(2, -1), axis=1, return_counts=True)
    for (first, ties), count in zip(places.T, counts, strict=True):
        shares[first : first + ties + 1] += count / (ties + 1)
    return shares / truth.size


def calibration(view: SlideView) -> Figure:
    """Rank histograms of everything that drew, over all spots and genes of a slide.

    Args:
        view: a slide and predictions of it with two draws or more.
    """
    from matplotlib.ticker import MaxNLocator

    head = f"Calibration of draws on {view.title}"
    foot = "Rank of the truth among the draws, all spots and genes. Flat on the line: the right spread; a U: draws too "
    foot += "narrow or beside the truth; a hill: too wide. Spots are no independent samples, so there is no band."
    figure, panels = grid(len(view.shown), 4, _INCHES, head, foot)
    heights = [rank_shares(view.truth.expression, one.prediction.draws) for one in view.shown]
    most = 1.05 * max(float(shares.max()) for shares in heights)
    for axes, one, shares in zip(panels, view.shown, heights, strict=True):
        control = one.run.block == CONTROLS
        axes.bar(range(len(shares)), shares, width=0.9, color=CONTROL if control else COLORS[0])
        axes.axhline(1 / len(shares), color=GREY, lw=1.2, ls=(0, (4, 2)))
        axes.set_ylim(0, most)
        axes.set_xlabel(f"draws below the truth, of {len(shares) - 1}", fontsize=SMALL)
        axes.set_ylabel("share of spots and genes", fontsize=SMALL)
        axes.tick_params(labelsize=SMALL)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(heading(f"{'control: ' if control else ''}{one.run.name}"), fontsize=TITLE)
    return figure
