"""Curves of a sweep: scores against the size of the panel, with two kinds of bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from stbench.grids.manifest import Series
from stbench.pages.columns import title
from stbench.pages.figures import COLORS, panels
from stbench.pages.protocol import Line
from stbench.pages.rows import DECLARED, SINGLE
from stbench.studies.sweep.results import Results, cell_of, over_seeds

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^vP*X"
_GREY, _DARK = "#7d7d7d", "#3a3a3a"
DASHES = (0, (4, 2))
LIGHT_BAND, _DARK_BAND = 0.13, 0.38  # opacity
_COLUMNS = 5  # of the legend
_LINE_HEIGHT = 0.052  # of a label, as a share of the height of a panel


Ends = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """One metric of one series against the size of the panel; sizes without a value are left out.

    Args:
        genes: panel sizes, ascending.
        mean: mean over slides of the mean over seeds; of several folds over patients.
        wide: ends of the light band: the mean less and plus the sample standard deviation over slides of the mean over
            seeds; of several folds those of the 95 % t interval over patients, or the lowest and highest patient.
            None below two slides or patients.
        over_seeds: sample standard deviation over seeds of the mean over slides, None below two seeds.
    """

    genes: list[int] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)
    wide: list[Ends | None] = field(default_factory=list)
    over_seeds: list[float | None] = field(default_factory=list)

    def add(self, genes: int, mean: float, wide: Ends | None, over_seeds: float | None) -> None:
        """Take up the next size."""
        self.genes.append(genes)
        self.mean.append(mean)
        self.wide.append(wide)
        self.over_seeds.append(over_seeds)


def curve(results: Results, name: str, metric: str, way: str = DECLARED) -> Curve:
    """The curve of a series or ceiling."""
    found = Curve()
    for genes in results.manifest.genes:
        if results.folded:
            _add_line(found, results.line(name, genes, way), genes, metric)
            continue
        group = results.group(name, genes)
        for row in results.rows(name, genes):
            cell = cell_of(row, metric)
            if row.way == way and cell is not None and group is not None:
                mean = float(cell.mean or 0.0)
                found.add(genes, mean, _around(mean, cell.std_slides), over_seeds(group, metric, way))
    return found


def _add_line(found: Curve, line: Line | None, genes: int, metric: str) -> None:
    number = None if line is None else next(iter(line.numbers.values())).get(metric)
    if number is not None and number.mean is not None:
        over = number.over
        wide = None if over is None else ends(list(over.per_patient.values()), over.half)
        found.add(genes, number.mean, wide, number.seeds)


def ends(values: Sequence[float], half: float | None) -> Ends | None:
    """Of an interval around a mean of patients; the lowest and highest where there is none, None for one patient."""
    if half is not None:
        return _around(float(np.mean(values)), half)
    return (min(values), max(values)) if len(values) > 1 else None


def _around(mean: float, width: float | None) -> Ends | None:
    return None if width is None else (mean - width, mean + width)


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
        axis(panel, results.manifest.genes)
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
        (any(series.draws > 1 for series in asked), Line2D([], [], color=_DARK, ls=DASHES, lw=1.1, label="one draw")),
        (len(manifest.seeds) > 1, Patch(color=_DARK, alpha=_DARK_BAND, lw=0, label="± SD over seeds")),
        (len(manifest.test) > 1, Patch(color=_DARK, alpha=LIGHT_BAND, lw=0, label=wide_label(results))),
        (bool(results.controls), Line2D([], [], color=_GREY, lw=0.9, label="controls")),
        (bool(results.ceilings), Line2D([], [], color=_DARK, lw=0.9, ls=":", label="ceilings")),
    ]
    return [artist for is_drawn, artist in keys if is_drawn]


def wide_label(results: Results) -> str:
    """What the light band is."""
    return results.band if results.folded else "± SD over slides"


def _series(panel: Axes, results: Results, series: Series, metric: str, place: int) -> None:
    """Solid: declared prediction; dashed: a single draw; dark band: seeds; light band: slides."""
    color, marker = style(place)
    found = curve(results, series.name, metric)
    narrow = [_around(mean, width) for mean, width in zip(found.mean, found.over_seeds, strict=True)]
    for band, opacity in ((found.wide, LIGHT_BAND), (narrow, _DARK_BAND)):
        draw_band(panel, found, band, color, opacity)
    panel.plot(found.genes, found.mean, color=color, marker=marker, markersize=4, lw=1.6, label=series.title, zorder=4)
    single = curve(results, series.name, metric, SINGLE)
    panel.plot(single.genes, single.mean, color=color, lw=1.1, ls=DASHES, zorder=3)


def style(place: int) -> tuple[str, str]:
    """Colour and marker of the series at a place, the same in every figure."""
    return COLORS[place % len(COLORS)], _MARKERS[place % len(_MARKERS)]


def draw_band(panel: Axes, found: Curve, band: Sequence[Ends | None], color: str, opacity: float) -> None:
    """Fill a band where it has ends."""
    inside = [one is not None for one in band]
    low, high = (
        [mean if one is None else one[end] for one, mean in zip(band, found.mean, strict=True)] for end in (0, 1)
    )
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


def axis(panel: Axes, genes: Sequence[int]) -> None:
    """Panel sizes on a logarithmic scale."""
    panel.set_xscale("log")
    panel.set_xticks(genes, labels=[str(size) for size in genes])
    panel.set_xticks([], minor=True)
    panel.set_xlabel("genes", fontsize=9)
    panel.tick_params(labelsize=8)
    panel.margins(x=0.02)
