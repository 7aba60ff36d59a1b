"""The figure of a sweep less its controls: a panel per metric, a row of panels per control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stbench.pages.columns import title
from stbench.pages.figures import panels
from stbench.pages.rows import DECLARED, SINGLE
from stbench.studies.sweep.curves import DASHES, LIGHT_BAND, Curve, axis, draw_band, ends, style, wide_label
from stbench.studies.sweep.relative import METRICS, Relative, Row, beside
from stbench.studies.sweep.results import Results

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DARK = "#3a3a3a"


def draw_relative(results: Results, caption: str) -> Figure | None:
    """PCC, GSC and SSC less those of every control that ran, against the number of genes; None where none did.

    Args:
        results: what was found, on several folds.
        caption: what the reader must know, below the panels.
    """
    import matplotlib

    shown = [(one, metric) for one in beside(results) for metric in METRICS if metric in results.metrics]
    if not shown:
        return None
    with matplotlib.rc_context({"text.parse_math": False}):  # a name with two dollars is a name
        titles = [f"{title(metric)} less {one.control}" for one, metric in shown]
        figure, axes = panels(titles, columns=len({metric for _, metric in shown}), caption=caption)
        for (one, metric), panel in zip(shown, axes, strict=True):
            _panel(panel, one, metric)
        handles = [*_labelled(axes), *_keys(results)]
        figure.legend(handles=handles, loc="outside upper center", ncols=6, frameon=False, fontsize=8)
        return figure


def _labelled(axes: Sequence[Axes]) -> list[Artist]:
    """One line per series, whichever panels it is in."""
    lines = [(str(line.get_label()), line) for panel in axes for line in panel.get_lines()]
    return list({label: line for label, line in lines if not label.startswith("_")}.values())


def _panel(panel: Axes, one: Relative, metric: str) -> None:
    """Solid: declared prediction with its light band; dashed: one draw; zero: no better than the control."""
    panel.axhline(0.0, color=_DARK, lw=0.8, zorder=1)
    names = {series.name: (series.title, style(place)) for place, series in enumerate(one.results.asked)}
    for row in one.rows:
        label, (color, marker) = names[row.series]
        found = _curve(one, row, metric)
        if row.way == DECLARED:
            draw_band(panel, found, found.wide, color, LIGHT_BAND)
            panel.plot(found.genes, found.mean, color=color, marker=marker, markersize=4, lw=1.6, label=label, zorder=4)
        elif row.way == SINGLE:
            panel.plot(found.genes, found.mean, color=color, lw=1.1, ls=DASHES, zorder=3)
    axis(panel, one.results.manifest.genes)


def _curve(one: Relative, row: Row, metric: str) -> Curve:
    found = Curve()
    for genes in one.results.manifest.genes:
        value = one.at(row, genes, metric)
        if value is not None:
            found.add(genes, value.mean, ends(list(value.per_patient.values()), value.half()), None)
    return found


def _keys(results: Results) -> list[Artist]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    drawn = any(series.draws > 1 for series in results.asked)
    dashed = [Line2D([], [], color=_DARK, ls=DASHES, lw=1.1, label="one draw")] if drawn else []
    return [*dashed, Patch(color=_DARK, alpha=LIGHT_BAND, lw=0, label=wide_label(results))]
