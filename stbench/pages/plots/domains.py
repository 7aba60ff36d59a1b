"""Maps of tissue domains: what an expert drew, and clusters of measured and predicted expression (paper, Fig. 7b)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stbench.metrics.domains import cluster, domain_ari, domain_nmi, labelled, matched
from stbench.metrics.score import Score
from stbench.pages.plots.material import NotPossibleError, SlideView
from stbench.pages.plots.style import ABSENT, SMALL, Canvas, grid, number, plain

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

NO_DOMAIN = -1
_COLOURS = ("#332288", "#ddcc77", "#44aa99", "#cc6677", "#88ccee", "#117733", "#aa4499", "#999933", "#882255")
"""Tol's muted colours, which the colour-blind tell apart; more domains than these take a rainbow."""
_WIDTH, _TITLE_ROOM, _COLUMNS = 2.5, 0.75, 4  # inches
_LEGEND = 1.2  # inches
LABELS, MEASURED = "domains", "measured"


@dataclass(frozen=True)
class DomainMap:
    """One panel.

    Args:
        title: whose domains they are.
        codes: (n_spots,) domain of each spot, its place in the names; -1 where there is none.
        ari: agreement with the domains of the slide; None for these themselves.
        nmi: the same.
    """

    title: str
    codes: NDArray[np.int64]
    ari: Score | None = None
    nmi: Score | None = None

    @property
    def score(self) -> str:
        """Agreement in words, empty for the domains themselves."""
        return "" if self.ari is None or self.nmi is None else f"ARI {number(self.ari)}, NMI {number(self.nmi)}"


def domain_maps(view: SlideView) -> tuple[list[str], list[DomainMap]]:
    """Names of the domains of a slide, and a panel for them, for clusters of what was measured and of each prediction.

    Clusters are those of the metric ``domain-ari``, over spots that have a domain; each is called after the domain that
    it shares most spots with, one to one, so that one set of names serves all panels.

    Raises:
        NotPossibleError: the slide carries no domains that can be compared.
    """
    truth, domains = view.truth.expression, view.truth.domains
    at = None if domains is None else labelled(truth, truth, domains)
    if domains is None or at is None or at.reason:
        why = "no tissue domains (obs['domain'])" if at is None else at.reason
        raise NotPossibleError(f"expected domains of slide {view.name}, found none to draw: {why}")
    has = np.asarray(domains).astype(str) != ""
    names = [str(name) for name in np.unique(np.asarray(domains).astype(str)[has])]
    predicted = [(MEASURED, truth), *((one.label, one.prediction.mean) for one in view.shown)]
    panels = [DomainMap(LABELS, _spread(at.codes, has))]
    for title, values in predicted:
        mine = labelled(truth, values, domains)
        found = np.full(len(at.codes), NO_DOMAIN) if mine.reason else matched(at.codes, cluster(mine.pred, len(names)))
        scores = domain_ari(truth, values, domains), domain_nmi(truth, values, domains)
        panels.append(DomainMap(title, _spread(found, has), *scores))
    return names, panels


def _spread(codes: NDArray[np.int64], has: NDArray[np.bool_]) -> NDArray[np.int64]:
    found = np.full(len(has), NO_DOMAIN)
    found[has] = codes
    return found


def domain_figure(view: SlideView, canvas: Canvas) -> Figure:
    """The panels of :func:`domain_maps` on the tissue, one colour per domain.

    Args:
        view: a slide and what was predicted of it.
        canvas: of the slide.

    Raises:
        NotPossibleError: the slide carries no domains that can be compared.
    """
    from matplotlib.patches import Patch

    names, panels = domain_maps(view)
    colours = palette(len(names))
    foot = f"{len(names)} domains; grey: spots without one, which are left out. Clusters: k-means on 20 principal "
    foot += "components, as many as domains, with their colours, one to one, so that as many spots as can be agree. "
    foot += f"Expression: {view.scale}."
    inches = _WIDTH, _WIDTH * canvas.aspect + _TITLE_ROOM
    figure, axes = grid(len(panels), _COLUMNS, inches, f"Domains of {view.title}", foot)
    for place, panel in zip(axes, panels, strict=True):
        canvas.frame(place, panel.title, panel.score)
        values = np.where(panel.codes == NO_DOMAIN, np.nan, panel.codes)
        canvas.spots(place, values, colours, (-0.5, len(names) - 0.5))
    canvas.scale_bar(axes[0])
    shown = [Patch(color=colours(number_), label=plain(name)) for number_, name in enumerate(names)]
    figure.set_figwidth(figure.get_figwidth() + _LEGEND)
    figure.legend(handles=shown, loc="outside right center", fontsize=SMALL, frameon=False)
    return figure


def palette(n: int) -> Colormap:
    """One colour per domain, grey where there is none."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    some = list(_COLOURS[:n]) if n <= len(_COLOURS) else [*map(tuple, colormaps["turbo"](np.linspace(0.03, 0.97, n)))]
    return ListedColormap(some).with_extremes(bad=ABSENT)
