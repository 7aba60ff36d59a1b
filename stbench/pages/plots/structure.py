"""Structure: correlations between genes, and how smooth their maps are, predicted against measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stbench.metrics.score import centred
from stbench.metrics.structure import CrowdedError, gsc, morans_i, spatial_weights
from stbench.pages.figures import COLORS
from stbench.pages.plots.material import NotPossibleError, Shown, SlideView
from stbench.pages.plots.style import (
    ABSENT,
    CONTROL,
    GREY,
    SIGNED,
    SMALL,
    TINY,
    TITLE,
    colour_bar,
    grid,
    heading,
    number,
    plain,
)
from stbench.pages.rows import CONTROLS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_NAMED = 60  # genes whose names are legible beside a heat map
_INCHES_PER_GENE, _LEAST_INCHES = 0.095, 3.2
_SCATTER = (3.2, 3.5)
_WIDE = 38  # letters of a title


def correlations(values: ArrayLike) -> NDArray[np.float64]:
    """(n_genes, n_genes) Pearson correlations of genes over spots; NaN where one of them is constant.

    Args:
        values: (n_spots, n_genes) expression, any scale.
    """
    maps = centred(np.asarray(values, dtype=np.float64))
    norm = np.sqrt(np.where(maps.constant, np.nan, maps.sum_squares))
    return np.clip(maps.z.T @ maps.z / np.outer(norm, norm), -1, 1)


def gene_order(truth: NDArray[np.float64]) -> NDArray[np.int64]:
    """Genes so that those that vary together are neighbours: average linkage on one minus their correlation.

    Args:
        truth: (n_genes, n_genes) correlations; genes without one come as if uncorrelated.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(truth) < 3:
        return np.arange(len(truth))
    distance = 1 - np.nan_to_num((truth + truth.T) / 2)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return np.asarray(leaves_list(tree), dtype=np.int64)


def network(view: SlideView, genes: Sequence[str] = (), title: str = "") -> Figure:
    """Correlations between genes on one slide: measured and predicted, all in the order of the measured.

    Args:
        view: a slide and what was predicted of it.
        genes: of the panel; all when empty.
        title: what these genes are called.
    """
    panel = list(genes) or view.task.genes
    columns = [view.column(gene) for gene in panel]
    maps = [view.truth.expression, *(one.prediction.mean for one in view.shown)]
    true, *predicted = (np.take(values, columns, axis=1) for values in maps)
    truth = correlations(true)
    order = gene_order(truth)
    names = [panel[gene] for gene in order] if len(order) <= _MOST_NAMED else []
    side = max(_LEAST_INCHES, _INCHES_PER_GENE * len(names))
    head = f"Correlations between genes {f'of {title} ' if title else ''}on {view.title}"
    foot = f"{len(order)} genes in the order of average linkage on the measured correlations. GSC: correlation, over "
    foot += "pairs of genes, of predicted and measured correlations. Grey: a gene that does not vary."
    scores = [f"GSC {number(gsc(true, values).value)}" for values in predicted]
    titles = [("measured", ""), *((one.label, score) for one, score in zip(view.shown, scores, strict=True))]
    figure, panels = grid(len(titles), 3, (side + 0.5, side + 0.5), head, foot)
    matrices = [truth, *map(correlations, predicted)]
    for axes, (title, score), matrix in zip(panels, titles, matrices, strict=True):
        drawn = axes.imshow(matrix[np.ix_(order, order)], cmap=SIGNED, vmin=-1, vmax=1, interpolation="nearest")
        axes.set_facecolor(ABSENT)  # seen where there is no correlation
        _name_genes(axes, names, both=axes is panels[0])
        axes.set_title(heading(title, _WIDE, score), fontsize=TITLE)
    colour_bar(figure, drawn, panels, f"Pearson correlation over spots of expression, {view.scale}", extend="neither")
    return figure


def _name_genes(axes: Axes, names: Sequence[str], *, both: bool) -> None:
    axes.set(xticks=[], yticks=[])
    shown = [plain(name) for name in names]
    axes.set_yticks(range(len(shown)), shown, fontsize=TINY)
    if both:
        axes.set_xticks(range(len(shown)), shown, fontsize=TINY, rotation=90)
    axes.tick_params(length=0, pad=1)


def _score(shown: Shown, view: SlideView, metric: str, title: str) -> str:
    """As the record holds it; validation slides have none."""
    scores = {} if metric not in shown.run.record.metrics else shown.run.record.metrics[metric].per_slide
    return f"{title} {number(scores[view.name])}" if view.name in scores else ""


def moran(view: SlideView, named: Sequence[str] = ()) -> Figure:
    """Moran's I of every gene, predicted against measured, one panel per prediction.

    Args:
        view: a slide and what was predicted of it.
        named: genes whose names stand beside their points.

    Raises:
        NotPossibleError: too many spots lie at one place to say who is whose neighbour.
    """
    try:
        weights = spatial_weights(view.truth.inputs.xy)
    except CrowdedError as error:
        raise NotPossibleError(str(error)) from error
    true = morans_i(view.truth.expression, weights)
    values = [morans_i(one.prediction.mean, weights) for one in view.shown]
    known = np.concatenate([true, *values])
    if not np.isfinite(known).any():
        raise NotPossibleError(f"expected genes that vary on slide {view.name}, found none")
    low, high = float(np.nanmin(known)) - 0.05, float(np.nanmax(known)) + 0.05
    head = f"Smoothness of gene maps on {view.title}"
    foot = "One point per gene, 8 neighbours. Above the line the predicted map is smoother than the measured one. SSC: "
    foot += f"correlation over genes. Expression: {view.scale}."
    figure, panels = grid(len(values), 4, _SCATTER, head, foot)
    for axes, shown, predicted in zip(panels, view.shown, values, strict=True):
        control = shown.run.block == CONTROLS
        axes.plot([low, high], [low, high], color=GREY, lw=1, zorder=1)
        axes.scatter(true, predicted, s=14, color=CONTROL if control else COLORS[0], alpha=0.7, lw=0, zorder=2)
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        axes.set_xlabel("measured Moran's I", fontsize=SMALL)
        axes.set_ylabel("predicted Moran's I", fontsize=SMALL)
        axes.tick_params(labelsize=SMALL)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(heading(shown.label, _WIDE, _score(shown, view, "ssc", "SSC")), fontsize=TITLE)
        _name_points(axes, view, named, true, predicted)
    return figure


def _name_points(
    axes: Axes, view: SlideView, named: Sequence[str], true: NDArray[np.float64], predicted: NDArray[np.float64]
) -> None:
    for place, gene in enumerate(named):
        at = true[view.column(gene)], predicted[view.column(gene)]
        if np.isfinite(at).all():
            axes.plot(*at, "o", ms=6, mfc="none", mec="black", mew=0.9, zorder=3)
            above, left = place % 2 == 0, at[0] > np.mean(axes.get_xlim())
            axes.annotate(
                plain(gene), at, xytext=(-4 if left else 4, 4 if above else -4), textcoords="offset points",
                ha="right" if left else "left", va="bottom" if above else "top", fontsize=SMALL,
            )  # fmt: skip
