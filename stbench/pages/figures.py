"""Figures as files: the same bytes from the same numbers, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING
from warnings import catch_warnings, filterwarnings

from stbench.files import whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
"""Okabe and Ito's palette, told apart by colour-blind readers."""
_PANEL_INCHES = (4.2, 3.4)
_LETTERS_PER_INCH = 16  # of a caption
_FORMATS = ("png", "svg")


def panels(titles: list[str], *, columns: int = 2, caption: str = "") -> tuple[Figure, list[Axes]]:
    """A figure with one titled panel per title, and a caption below all.

    Args:
        titles: titles of the panels.
        columns: panels side by side.
        caption: what the reader must know, e.g. that the data are simulated.
    """
    from matplotlib.figure import Figure

    columns = min(columns, len(titles))
    rows = -(-len(titles) // columns)
    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * columns, height * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes, title in zip(grid, titles, strict=False):
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(titles) :]:
        axes.set_axis_off()
    if caption:
        figure.supxlabel(fill(caption, int(_LETTERS_PER_INCH * width * columns)), fontsize=8)
    return figure, grid[: len(titles)]


def save_figure(figure: Figure, base: Path) -> list[Path]:
    """Write ``base.png`` and ``base.svg``, each whole or not at all, with no date inside.

    Args:
        figure: the figure.
        base: path without an ending; its folder is made when absent.

    Returns:
        The files written.

    Raises:
        UserError: the folder cannot be written.
    """
    import matplotlib

    written = []
    with matplotlib.rc_context({"svg.hashsalt": "stbench", "svg.fonttype": "none"}), catch_warnings():
        filterwarnings("ignore", "Glyph .* missing from font")  # a box in the PNG; the SVG holds the text
        for ending in _FORMATS:
            path = base.with_name(f"{base.name}.{ending}")
            metadata = {"Date": None} if ending == "svg" else {"Software": None}
            with whole(path, hint="choose another --out") as part:
                figure.savefig(part, format=ending, dpi=150, metadata=metadata)
            written.append(path)
    return written
