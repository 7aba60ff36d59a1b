"""How trainings went: loss and validation against updates, from the histories of run folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stbench.pages.figures import COLORS
from stbench.pages.plots.material import NotPossibleError, Run
from stbench.pages.plots.style import SMALL, TITLE, grid, heading, plain
from stbench.training.history import HISTORY, Training, read_history

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INCHES = (4.2, 2.7)
_MOST_NAMED = len(COLORS)  # runs of a row; more are drawn without their names


def histories(runs: Sequence[Run]) -> dict[str, list[tuple[Run, Training]]]:
    """Row to its runs with a history.

    Raises:
        NotPossibleError: no run has one.
        DataError: a history is damaged.
    """
    found: dict[str, list[tuple[Run, Training]]] = {}
    for run in runs:
        if run.folder is not None and (run.folder / HISTORY).is_file():
            found.setdefault(run.name, []).append((run, read_history(run.folder)))
    if not found:
        raise NotPossibleError(f"expected {HISTORY} of a trained method beside its record.json, found none")
    return found


def training(rows: dict[str, list[tuple[Run, Training]]]) -> Figure:
    """Two panels per method, the loss and the validation score of every run of it.

    Args:
        rows: row to its runs and their histories.
    """
    foot = "Circle: the best evaluation of a run. Losses of different methods are not the same quantity."
    figure, panels = grid(2 * len(rows), 2, _INCHES, "Training", foot)
    for place, (name, runs) in enumerate(rows.items()):
        left, right = panels[2 * place : 2 * place + 2]
        several = len({run.record.task.hash for run, _ in runs}) > 1
        for number, (run, history) in enumerate(runs):
            _draw(left, right, history, COLORS[number % len(COLORS)], plain(named(run, several=several)))
        _dress(left, f"{name}: training", "loss")
        _dress(right, f"{name}: validation", plain(runs[0][1].score.replace("_", " ")))
        if 1 < len(runs) <= _MOST_NAMED:
            right.legend(fontsize=SMALL, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.02))
    return figure


def named(run: Run, *, several: bool) -> str:
    """A run among those of its row: its seed, its task where there are several."""
    seed = f"seed {run.record.seed}"
    scale = run.record.task.scale
    return f"{run.record.task.protocol}, {scale}, {seed}" if several else seed


def _draw(left: Axes, right: Axes, history: Training, colour: str, label: str) -> None:
    marker = "." if len(history.updates) < 30 else ""
    left.plot(history.updates, history.loss, color=colour, lw=1.3, marker=marker, label=label)
    right.plot(history.updates, history.validation, color=colour, lw=1.3, marker=marker, label=label)
    if history.best is not None:
        at = history.updates[history.best], history.validation[history.best]
        right.plot(*at, "o", ms=8, mfc="none", mec=colour, label="_best")


def _dress(axes: Axes, title: str, value: str) -> None:
    axes.set_title(heading(title, 44), fontsize=TITLE)
    axes.set_xlabel("updates", fontsize=SMALL)
    axes.set_ylabel(value, fontsize=SMALL)
    axes.tick_params(labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)
