"""Paired differences of any two rows over patients, with what the data could have shown."""

from __future__ import annotations

from stbench.errors import UnknownNameError, UserError
from stbench.evaluation.record import PRIMARY
from stbench.pages.columns import decimals, title
from stbench.pages.marks import best_control
from stbench.pages.patients import Difference, difference
from stbench.pages.protocol import Line, Protocol
from stbench.pages.tables import NONE, Table


def differences_table(board: Protocol, metric: str = PRIMARY, to: str | None = None) -> Table:
    """Every row less one of them, by patient, on every scale.

    Args:
        board: the folds.
        metric: what is compared.
        to: label of the row to compare with; the best legal control by the primary metric when None.

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
        [line.label, scale, *_cells(line, reference, scale, metric, legal=board.has_intervals)]
        for scale in board.scales
        for line in board.lines
        if line is not reference and line.patients(scale, metric)
    ]
    head = [f"{title(metric)} less {reference.label}", "scale", "patients", "difference", "95 % interval"]
    return Table([*head, "p", "p sign flip", "detectable"], rows, words=(0, 1))


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


def _cells(line: Line, reference: Line, scale: str, metric: str, *, legal: bool) -> list[str]:
    found = difference(line.patients(scale, metric), reference.patients(scale, metric))
    if found is None:
        return ["0", *[NONE] * 5]
    both = line.patients(scale, metric).keys() & reference.patients(scale, metric).keys()
    return [str(len(both)), f"{found.mean:+.{decimals(metric)}f}", *_told(found, decimals(metric), legal=legal)]


def _told(found: Difference, digits: int, *, legal: bool) -> list[str]:
    if not legal or found.half is None:
        return [NONE] * 4
    low, high = found.mean - found.half, found.mean + found.half
    numbers = [found.p, found.sign_flip, found.detectable]
    return [f"{low:+.{digits}f} to {high:+.{digits}f}", *(NONE if n is None else f"{n:.3f}" for n in numbers)]
