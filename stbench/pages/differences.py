"""Paired differences of any two rows over patients, with what the data could have shown."""

from __future__ import annotations

from stbench.errors import UnknownNameError, UserError
from stbench.evaluation.record import PRIMARY
from stbench.pages.columns import decimals, title
from stbench.pages.marks import best_control
from stbench.pages.patients import MOST_PATIENTS, Difference, difference, patients_needed
from stbench.pages.protocol import Line, Protocol
from stbench.pages.tables import NONE, Table

_LEAST_DIGITS = 3  # a difference is smaller than what it is the difference of


def differences_table(board: Protocol, metric: str = PRIMARY, to: str | None = None, gap: float | None = None) -> Table:
    """Every row less one of them, by patient, on every scale.

    Args:
        board: the folds.
        metric: what is compared.
        to: label of the row to compare with; the best legal control by the primary metric when None.
        gap: a difference of interest, above 0; adds how many patients would show it with 80 % power.

    Returns:
        Per row and scale: mean difference, its 95 % interval, p of the paired t test and of sign flips, and the
        smallest difference found with 80 % power at the spread seen; ``-`` where there are too few patients, or a leak.

    Raises:
        UnknownNameError: no such row, or a metric that no row has.
        UserError: no control to compare with.
    """
    reference = _reference(board, to)
    held = {name for line in board.lines for numbers in line.numbers.values() for name in numbers}
    if metric not in held:
        raise UnknownNameError("metric", metric, held)
    rows = [
        [line.label, scale, *_cells(line, reference, scale, metric, gap, legal=board.has_intervals)]
        for scale in board.scales
        for line in board.lines
        if line is not reference and line.patients(scale, metric)
    ]
    head = [f"{title(metric)} less {reference.label}", "scale", "patients", "difference", "95 % interval"]
    needed = [] if gap is None else [f"patients for {gap:g}"]
    return Table([*head, "p", "p sign flip", "detectable", *needed], rows, words=(0, 1))


def _reference(board: Protocol, to: str | None) -> Line:
    if to is not None:
        found = {line.label: line for line in board.lines}
        if to not in found:
            raise UnknownNameError("row", to, found)
        return found[to]
    control = best_control(board)
    if control is None:
        raise UserError("expected a control to compare with, found none among the records; name a row with --to")
    return control


def _cells(line: Line, reference: Line, scale: str, metric: str, gap: float | None, *, legal: bool) -> list[str]:
    mine, theirs = line.patients(scale, metric), reference.patients(scale, metric)
    found, width = difference(mine, theirs), 4 if gap is None else 5
    if found is None:
        return ["0", NONE, *[NONE] * width]
    digits = max(decimals(metric), _LEAST_DIGITS)
    told = _told(found, digits, gap) if legal and found.half is not None else [NONE] * width
    return [str(len(mine.keys() & theirs.keys())), f"{found.mean:+.{digits}f}", *told]


def _told(found: Difference, digits: int, gap: float | None) -> list[str]:
    assert found.half is not None
    assert found.spread is not None
    low, high = found.mean - found.half, found.mean + found.half
    numbers = [found.p, found.sign_flip, found.detectable]
    told = [f"{low:+.{digits}f} to {high:+.{digits}f}", *(NONE if n is None else f"{n:.3f}" for n in numbers)]
    return told if gap is None else [*told, _patients(found.spread, gap)]


def _patients(spread: float, gap: float) -> str:
    needed = patients_needed(spread, gap)
    return f"{needed}" if needed < MOST_PATIENTS else f"{MOST_PATIENTS} or more"
