"""A board at a glance: every row with its interval, the best control and the ceiling as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stbench.evaluation.record import PRIMARY
from stbench.pages.columns import title
from stbench.pages.facts import title_of
from stbench.pages.figures import COLORS
from stbench.pages.marks import best_control, ceiling
from stbench.pages.patients import Estimate
from stbench.pages.plots.material import NotPossibleError
from stbench.pages.plots.style import CONTROL, LIMIT, SMALL, TITLE, grid, number, plain
from stbench.pages.protocol import Line, Protocol
from stbench.pages.rows import CEILINGS, CONTROLS, METHODS
from stbench.pages.wording import why_not
from stbench.text import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {METHODS: COLORS[0], CONTROLS: CONTROL, CEILINGS: LIMIT}
_MARKERS = {METHODS: "o", CONTROLS: "s", CEILINGS: "D"}
_ROW_INCHES, _WIDTH = 0.24, 6.4
_LETTERS = 60  # of a row's name


def forest(board: Protocol) -> Figure:
    """Rows of a board from best to worst, one panel per scale, in the order of the first.

    Args:
        board: folds and scales of one rule.

    Raises:
        NotPossibleError: no row has the primary metric.
    """
    lines = in_order(board)
    inches = _WIDTH, _ROW_INCHES * len(lines) + 1.1
    head = title_of(board.task, board.rule, f"{board.task.n_genes} genes", leaky=False)
    head += "" if board.is_clean else " (leaky: test patients train or validate)"
    figure, panels = grid(len(board.scales), 2, inches, head, caption(board))
    for axes, scale in zip(panels, board.scales, strict=True):
        _limits(axes, board, scale)
        for place, line in enumerate(lines):
            _row(axes, line, scale, place)
        names = [_short(line.label) for line in lines]
        axes.set_yticks(range(len(lines)), names, fontsize=SMALL)
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.set_xlabel(f"{title(PRIMARY)}, mean over patients", fontsize=SMALL)
        axes.tick_params(labelsize=SMALL)
        axes.grid(axis="x", color="#e5e5e5", lw=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_title(plain(scale), fontsize=TITLE)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.9 / inches[1]), fontsize=SMALL, frameon=False)
    return figure


def in_order(board: Protocol) -> list[Line]:
    """Rows with the primary metric, ceilings among them, the best on the first scale first.

    Raises:
        NotPossibleError: there is none.
    """
    lines = [line for line in board.lines if any(line.mean(scale) is not None for scale in board.scales)]
    if not lines:
        raise NotPossibleError(f"expected rows with {PRIMARY} on {board.name}, found none")
    return sorted(lines, key=lambda line: _place(line, board.scales[0]))


def caption(board: Protocol) -> str:
    """What marks and bars are."""
    marks = "Circle: method; square: control; diamond: ceiling; hollow: sees the truth, not ranked."
    if board.has_intervals:
        patients = count(len(set(board.patients.values())), "test patient")
        return f"{marks} Bars: 95\u00a0% t interval of the mean over {patients}."
    return f"{marks} Bars: from the lowest to the highest patient; no interval from {_why_not(board)}."


def _why_not(board: Protocol) -> str:
    """Without the mark of tables, which a picture does not explain."""
    return why_not(board).partition(" (")[0]


def _short(label: str) -> str:
    return plain(label if len(label) <= _LETTERS else f"{label[: _LETTERS - 4]} ...")


def _place(line: Line, scale: str) -> tuple[bool, float, str]:
    mean = line.mean(scale)
    return mean is None, -(mean or 0.0), line.label


def _limits(axes: Axes, board: Protocol, scale: str) -> None:
    """Vertical lines where the best control of the first scale and the ceiling stand."""
    looks: dict[str, tuple[str, Any]] = {CONTROLS: (CONTROL, (0, (4, 2))), CEILINGS: (LIMIT, "-")}
    for line, mean, said in bars(board, scale):
        colour, dashes = looks[line.standing.block]
        axes.axvline(mean, color=colour, lw=1.3, ls=dashes, label=plain(said), zorder=1)


def bars(board: Protocol, scale: str) -> list[tuple[Line, float, str]]:
    """The best control of the first scale and the ceiling: row, mean on a scale, and what is said of it."""
    first = f" on {board.scales[0]}" if len(board.scales) > 1 else ""
    found = {f"best control{first}": best_control(board), "ceiling": ceiling(board)}
    means = [(name, line, line.mean(scale)) for name, line in found.items() if line is not None]
    return [(line, mean, f"{name}: {line.label}, {number(mean, 3)}") for name, line, mean in means if mean is not None]


def _row(axes: Axes, line: Line, scale: str, place: int) -> None:
    known = line.numbers.get(scale, {}).get(PRIMARY)
    if known is None or known.over is None:
        return
    low, high = reach(known.over)
    block = line.standing.block
    axes.plot([low, high], [place, place], color=_COLOURS[block], lw=1.8, zorder=2, solid_capstyle="butt")
    fill = _COLOURS[block] if line.standing.ranked else "white"
    axes.plot(known.over.mean, place, _MARKERS[block], color=_COLOURS[block], mfc=fill, ms=5.5, zorder=3)


def reach(over: Estimate) -> tuple[float, float]:
    """Ends of the interval of a mean over patients, or lowest and highest patient where there is none."""
    if over.half is not None:
        return over.mean - over.half, over.mean + over.half
    return min(over.per_patient.values()), max(over.per_patient.values())
