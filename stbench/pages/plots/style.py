"""One look for all pictures: names that are no formulas, colours, a bar with its scale, the tissue under the spots."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log10
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stbench.evaluation.export import library
from stbench.pages.figures import COLORS
from stbench.pages.plots.material import SlideView
from stbench.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import EllipseCollection
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

VALUES, SPREADS, SIGNED = "viridis", "cividis", "RdBu_r"
"""Colour maps of expression, of standard deviations and of correlations: ordered in grey and for the colour-blind."""
GREY, ABSENT = "#7d7d7d", "#d9d9d9"
CONTROL, LIMIT = COLORS[1], COLORS[2]
TITLE, SMALL, TINY = 9, 8, 6
_LETTERS, _LINES = 28, 3  # of a title
_MOST_SHAPES = 5000  # spots that an SVG draws one by one
_PICTURE_PX = 1000
_MARGIN = 2.0  # diameters of a spot, around all spots
_ASPECTS = 0.4, 2.5
_BAR_SHARE = 0.3  # of the width of a map, the longest scale bar


def plain(text: str) -> str:
    """A text that is drawn as it is: no mathematics between dollars, nothing that cannot be printed."""
    return printable(text).replace("$", r"\$")


def heading(text: str, letters: int = _LETTERS, last: str = "") -> str:
    """A title of at most three lines, and one more for what must stand alone."""
    lines = wrap(printable(text), letters, max_lines=_LINES, placeholder=" ...")
    return "\n".join(map(plain, [*lines, *([last] if last else [])]))


def number(value: float | None, digits: int = 2) -> str:
    """A number as titles print it, with a real minus sign; ``undefined`` where there is none."""
    return "undefined" if value is None or not np.isfinite(value) else f"{value:.{digits}f}".replace("-", "−")


def grid(count: int, columns: int, inches: tuple[float, float], head: str, foot: str) -> tuple[Figure, list[Axes]]:
    """A figure of equal panels, row by row, with a title above and a caption below.

    Args:
        count: panels.
        columns: most panels side by side.
        inches: width and height of a panel.
        head: title of the figure.
        foot: caption, what the reader must know.
    """
    from matplotlib.figure import Figure

    rows = -(-count // columns)
    columns = -(-count // rows)  # as full a last row as can be
    width = inches[0] * columns
    said = wrap(printable(foot), max(int(15 * width), 30))
    about = wrap(printable(head), max(int(11 * width), 25))
    figure = Figure(figsize=(width, inches[1] * rows + 0.17 * (len(said) + len(about)) + 0.2), layout="constrained")
    figure.set_layout_engine("constrained", w_pad=0.08)
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for spare in axes[count:]:
        spare.set_axis_off()
    figure.suptitle("\n".join(map(plain, about)), fontsize=TITLE + 2)
    figure.supxlabel("\n".join(map(plain, said)), fontsize=SMALL, color="#3a3a3a")
    return figure, axes[:count]


def limits(values: ArrayLike) -> tuple[float, float]:
    """First and 99th percentile, apart from each other, so that no single spot takes the colours of all others."""
    low, high = np.percentile(np.asarray(values, dtype=np.float64), (1, 99))
    return float(low), float(high if high > low else low + 1.0)


def bar_length(width: float, um_per_px: float | None) -> tuple[float, str]:
    """The longest scale bar of 1, 2 or 5 times a power of ten that fits.

    Args:
        width: of the map, pixels.
        um_per_px: micrometres per pixel, None when unknown.

    Returns:
        Its length in pixels, and what it says, in um or mm, in px where the size of a pixel is not known.
    """
    unit = 1.0 if um_per_px is None else um_per_px
    most = _BAR_SHARE * width * unit
    power = 10.0 ** floor(log10(most))
    length = max(step * power for step in (1, 2, 5) if step * power <= most)
    if um_per_px is None:
        return length, f"{length:g} px"
    return length / unit, f"{length:g} µm" if length < 1000 else f"{length / 1000:g} mm"


@dataclass(frozen=True)
class Canvas:
    """Where the spots of a slide are drawn: the same place in every panel.

    Args:
        xy: (n_spots, 2) spot centres in full-resolution pixels.
        diameter: of a spot, in the same.
        picture: (height, width, 3) uint8 reduced picture, None without one.
        extent: left, right, bottom, top of the picture in full-resolution pixels.
        um_per_px: micrometres per full-resolution pixel, None when unknown.
    """

    xy: NDArray[np.float32]
    diameter: float
    picture: NDArray[np.uint8] | None
    extent: tuple[float, float, float, float]
    um_per_px: float | None

    @classmethod
    def of(cls, view: SlideView) -> Canvas:
        """The canvas of a slide, with its picture where the cohort has one."""
        xy = view.truth.inputs.xy
        said = library(xy, view.slide, _PICTURE_PX)
        picture, factors = said["images"].get("hires"), said["scalefactors"]
        extent = (0.0, 0.0, 0.0, 0.0)
        if picture is not None:
            height, width = np.asarray(picture.shape[:2]) / factors["tissue_hires_scalef"]
            extent = (0.0, float(width), float(height), 0.0)
        um = None if view.slide is None else view.slide.um_per_px
        return cls(xy, float(factors["spot_diameter_fullres"]), picture, extent, um)

    @property
    def aspect(self) -> float:
        """Height of a panel over its width, as of the map within what a page can hold."""
        low, high = self.corners
        return float(np.clip((high[1] - low[1]) / (high[0] - low[0]), *_ASPECTS))

    @property
    def corners(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Least and largest x, y that a panel shows, in full-resolution pixels."""
        around = _MARGIN * self.diameter
        xy = self.xy.astype(np.float64)
        return xy.min(axis=0) - around, xy.max(axis=0) + around

    def frame(self, axes: Axes, title: str, score: str = "", *, faded: bool = True) -> None:
        """The picture behind the spots, and nothing but it; without one the ground is white."""
        low, high = self.corners
        if self.picture is not None:
            axes.imshow(self.picture, extent=self.extent, alpha=0.5 if faded else 1.0, interpolation="antialiased")
        axes.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), aspect="equal", xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_title(heading(title, last=score), fontsize=TITLE)

    def spots(
        self, axes: Axes, values: ArrayLike, colours: str | Colormap, between: tuple[float, float]
    ) -> EllipseCollection:
        """One disc per spot, as wide as a spot."""
        from matplotlib.collections import EllipseCollection

        n = len(self.xy)
        drawn = EllipseCollection(
            [self.diameter] * n, [self.diameter] * n, [0.0] * n, units="xy", offsets=self.xy,
            offset_transform=axes.transData, cmap=colours, clim=between, linewidths=0,
        )  # fmt: skip
        drawn.set_array(np.ma.masked_invalid(np.asarray(values, dtype=np.float64)))
        drawn.set_rasterized(n > _MOST_SHAPES)
        axes.add_collection(drawn)
        return drawn

    def scale_bar(self, axes: Axes) -> None:
        """A bar below the tissue that says how long it is."""
        low, high = self.corners
        length, said = bar_length(float(high[0] - low[0]), self.um_per_px)
        left, y = low[0] + 0.04 * (high[0] - low[0]), -0.03
        ground = axes.get_xaxis_transform()
        axes.plot([left, left + length], [y, y], color="black", lw=2.5, transform=ground, clip_on=False)
        axes.text(left + length / 2, y - 0.02, said, transform=ground, ha="center", va="top", fontsize=SMALL)


def colour_bar(figure: Figure, drawn: Any, beside: Any, label: str, *, letters: int = 44, extend: str = "both") -> None:
    """The legend of colours, with what they mean and on which scale."""
    bar = figure.colorbar(drawn, ax=beside, shrink=0.75, aspect=25, pad=0.02, extend=extend)
    bar.set_label("\n".join(map(plain, wrap(printable(label), letters))), fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
