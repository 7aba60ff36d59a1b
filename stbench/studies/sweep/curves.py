"""Curves of a sweep: scores against the size of the panel, with two kinds of bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stbench.grids.manifest import Series
from stbench.pages.columns import title
from stbench.pages.figures import COLORS, panels
from stbench.pages.rows import DECLARED, SINGLE
from stbench.studies.sweep.results import Results, cell_of, over_seeds

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^vP*X"
_GREY, _DARK = "#7d7d7d", "#3a3a3a"
_DASHES = (0, (4, 2))
_LIGHT_BAND, _DARK_BAND = 0.13, 0.38  # opacity
_COLUMNS = 5  # of the legend
_LINE_HEIGHT = 0.052  # of a label, as a share of the height of a panel


@dataclass(frozen=True)
class Curve:
    """One metric of one series against the size of the panel; sizes without a value are left out.

    Args:
        genes: panel sizes, ascending.
        mean: mean over slides of the mean over seeds.
        over_slides: sample standard deviation over slides of the mean over seeds, None below two slides.
        over_seeds: sample standard deviation over seeds of the mean over slides, None below two seeds.
    """

    genes: list[int]
    mean: list[float]
    over_slides: list[float | None]
    over_seeds: list[float | None]


def curve(results: Results, name: str, metric: str, way: str = DECLARED) -> Curve:
    """The curve of a series or ceiling."""
    found = Curve([], [], [], [])
    for genes in results.manifest.genes:
        group = results.group(name, genes)
        for row in results.rows(name, genes):
            cell = cell_of(row, metric)
            if row.way == way and cell is not None and group is not None:
                found.genes.append(genes)
                found.mean.append(float(cell.mean or 0.0))
                found.over_slides.append(cell.std_slides)
                found.over_seeds.append(over_seeds(group, metric, way))
    return found


def draw(results: Results, caption: str) -> Figure:
    """Every metric of the sweep against the number of genes, one panel each.

    Args:
        results: what was found.
        caption: what the reader must know, below the panels.
    """
    import matplotlib

    with matplotlib.rc_context({"text.parse_math": False}):  # a name with two dollars is a name
        return _drawn(results, caption)


def _drawn(results: Results, caption: str) -> Figure:
    figure, axes = panels([title(metric) for metric in results.metrics], caption=caption)
    for metric, panel in zip(results.metrics, axes, strict=True):
        for place, series in enumerate(results.asked):
            _series(panel, results, series, metric, place)
        _references(panel, results, metric)
        _axis(panel, results.manifest.genes)
    handles = _in_rows(axes[0].get_legend_handles_labels()[0], _keys(results))
    figure.legend(handles=handles, loc="outside upper center", ncols=_COLUMNS, frameon=False, fontsize=8)
    return figure


def _in_rows(curves: Sequence[Artist], keys: Sequence[Artist]) -> list[Artist]:
    """Curves in the upper rows of a legend, which fills itself column by column, keys in the last."""
    from matplotlib.lines import Line2D

    rows = [curves[start : start + _COLUMNS] for start in range(0, len(curves), _COLUMNS)] + [keys]
    blank = Line2D([], [], ls="", label=" ")
    return [row[column] if column < len(row) else blank for column in range(_COLUMNS) for row in rows]


def _keys(results: Results) -> list[Artist]:
    """What the styles mean, in grey; only those that are drawn."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    manifest, asked = results.manifest, results.asked
    keys: list[tuple[bool, Artist]] = [
        (any(series.draws > 1 for series in asked), Line2D([], [], color=_DARK, ls=_DASHES, lw=1.1, label="one draw")),
        (len(manifest.seeds) > 1, Patch(color=_DARK, alpha=_DARK_BAND, lw=0, label="± SD over seeds")),
        (len(manifest.test) > 1, Patch(color=_DARK, alpha=_LIGHT_BAND, lw=0, label="± SD over slides")),
        (bool(results.controls), Line2D([], [], color=_GREY, lw=0.9, label="controls")),
        (bool(results.ceilings), Line2D([], [], color=_DARK, lw=0.9, ls=":", label="ceilings")),
    ]
    return [artist for is_drawn, artist in keys if is_drawn]


def _series(panel: Axes, results: Results, series: Series, metric: str, place: int) -> None:
    """Solid: declared prediction; dashed: a single draw; dark band: seeds; light band: slides."""
    color, marker = COLORS[place % len(COLORS)], _MARKERS[place % len(_MARKERS)]
    found = curve(results, series.name, metric)
    for spread, opacity in ((found.over_slides, _LIGHT_BAND), (found.over_seeds, _DARK_BAND)):
        _band(panel, found, spread, color, opacity)
    panel.plot(found.genes, found.mean, color=color, marker=marker, markersize=4, lw=1.6, label=series.title, zorder=4)
    single = curve(results, series.name, metric, SINGLE)
    panel.plot(single.genes, single.mean, color=color, lw=1.1, ls=_DASHES, zorder=3)


def _band(panel: Axes, found: Curve, spread: Sequence[float | None], color: str, opacity: float) -> None:
    inside = [value is not None for value in spread]
    widths = [value or 0.0 for value in spread]
    low = [mean - width for mean, width in zip(found.mean, widths, strict=True)]
    high = [mean + width for mean, width in zip(found.mean, widths, strict=True)]
    panel.fill_between(found.genes, low, high, where=inside, color=color, alpha=opacity, lw=0, zorder=2)


def _references(panel: Axes, results: Results, metric: str) -> None:
    """Controls and ceilings, named where they end."""
    lines = [(series.name, series.title, _GREY, "-") for series in results.controls]
    lines += [(name, name, _DARK, ":") for name in results.ceilings]
    ends: list[tuple[float, str, str]] = []
    for name, label, color, style in lines:
        found = curve(results, name, metric)
        if found.genes:
            panel.plot(found.genes, found.mean, color=color, lw=0.9, ls=style, marker=".", markersize=2, zorder=1)
            ends.append((found.mean[-1], label, color))
    _label(panel, ends)


def _label(panel: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Names right of the panel, moved apart where they would cover each other."""
    low, high = panel.get_ylim()
    panel.set_ylim(low, high)
    places = spread_out([(value - low) / (high - low) for value, _, _ in sorted(ends)], _LINE_HEIGHT)
    for place, (value, name, color) in zip(places, sorted(ends), strict=True):
        panel.annotate(
            name,
            xy=(1.0, (value - low) / (high - low)),
            xytext=(1.05, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=7,
            color=color,
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.5, "shrinkA": 0, "shrinkB": 0, "relpos": (0, 0.5)},
            annotation_clip=False,
        )


def spread_out(places: Sequence[float], apart: float) -> list[float]:
    """Ascending places moved as little as possible (least squares) so that neighbours are ``apart``."""
    from scipy.optimize import isotonic_regression

    if not places:
        return []
    steps = apart * np.arange(len(places))
    return [float(place) for place in isotonic_regression(np.asarray(places) - steps).x + steps]


def _axis(panel: Axes, genes: Sequence[int]) -> None:
    panel.set_xscale("log")
    panel.set_xticks(genes, labels=[str(size) for size in genes])
    panel.set_xticks([], minor=True)
    panel.set_xlabel("genes", fontsize=9)
    panel.tick_params(labelsize=8)
    panel.margins(x=0.02)
