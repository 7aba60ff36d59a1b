"""Maps of one gene: the tissue, what was measured, and what methods and the best control predict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stbench.pages.plots.material import Shown, SlideView
from stbench.pages.plots.style import SPREADS, VALUES, Canvas, colour_bar, grid, limits, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _TITLE_ROOM = 2.5, 0.75  # of a panel, inches
_COLUMNS = 4
_NO_PICTURE = "The slide has no picture: spots alone. "


def gene_map(view: SlideView, canvas: Canvas, gene: str) -> Figure:
    """The tissue, the truth, and every prediction of a gene, in the colours of the truth.

    Args:
        view: a slide and what was predicted of it.
        canvas: of the slide.
        gene: of the panel.

    Returns:
        Panels in this order: the picture (where there is one), ``measured``, one per prediction.
    """
    truth = view.measured(gene)
    first = [] if canvas.picture is None else ["tissue (H&E)"]
    titles = [*((title, "") for title in (*first, "measured")), *(_named(one, view, gene) for one in view.shown)]
    where = f"{gene} on {view.title}"
    foot = f"{'' if first else _NO_PICTURE}PCC over the spots of the slide. Colours span the 1st to 99th percentile of "
    inches = _WIDTH, _WIDTH * canvas.aspect + _TITLE_ROOM
    figure, panels = grid(len(titles), _COLUMNS, inches, where, foot + "what was measured.")
    for axes, (title, score) in zip(panels, titles, strict=True):
        canvas.frame(axes, title, score, faded=title not in first)
    maps = [truth, *(one.prediction.mean[:, view.column(gene)] for one in view.shown)]
    for axes, values in zip(panels[len(first) :], maps, strict=True):
        drawn = canvas.spots(axes, values, VALUES, limits(truth))
    canvas.scale_bar(panels[0])
    colour_bar(figure, drawn, panels, f"expression, {view.scale}")
    return figure


def _named(shown: Shown, view: SlideView, gene: str) -> tuple[str, str]:
    scores = shown.run.gene_scores(view.name)
    return shown.label, f"PCC {number(scores[view.column(gene)])}" if scores else ""


def draw_map(view: SlideView, canvas: Canvas, shown: Shown, gene: str) -> Figure:
    """Two draws of a generative method, the mean and the spread of all, and the truth of one gene.

    Args:
        view: a slide.
        canvas: of the slide.
        shown: a prediction of it with two draws or more.
        gene: of the panel.

    Returns:
        Panels in this order: measured, draw 1, draw 2, mean, standard deviation between draws.
    """
    truth, column = view.measured(gene), view.column(gene)
    draws = shown.prediction.draws[:, :, column].astype(float)
    maps = {
        "measured": truth,
        "draw 1": draws[0],
        "draw 2": draws[1],
        f"mean of {len(draws)}": draws.mean(axis=0),
        f"spread of {len(draws)} (sd)": draws.std(axis=0, ddof=1),
    }
    foot = "Draws and mean in the colours of what was measured (1st to 99th percentile); the spread has its own."
    inches = _WIDTH, _WIDTH * canvas.aspect + _TITLE_ROOM
    where = f"{gene} on {view.title}: draws of {shown.run.name}"
    figure, panels = grid(len(maps), len(maps), inches, where, foot)
    *same, last = list(zip(panels, maps.items(), strict=True))
    for axes, (title, values) in same:
        canvas.frame(axes, title)
        drawn = canvas.spots(axes, values, VALUES, limits(truth))
    colour_bar(figure, drawn, [axes for axes, _ in same], f"expression, {view.scale}", letters=30)
    axes, (title, spread) = last
    canvas.frame(axes, title)
    colour_bar(
        figure, canvas.spots(axes, spread, SPREADS, limits(spread)), axes, "standard deviation, same scale", letters=30
    )
    canvas.scale_bar(panels[0])
    return figure
