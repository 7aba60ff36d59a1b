"""Which genes may be believed: every gene of every row with its interval, the best control and the ceiling."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from stbench.evaluation.model import GeneWorth
from stbench.evaluation.record import Record
from stbench.pages.protocol import Line, Protocol, intervals_of
from stbench.pages.rows import CEILINGS, DECLARED, METHODS
from stbench.pages.wording import why_not
from stbench.pages.worth import worth_among
from stbench.text import count, csv_cell, listed

Verdict = Literal["trustworthy", "doubtful", "hopeless", ""]
_ORDER: tuple[Verdict, ...] = ("trustworthy", "doubtful", "hopeless", "")
VERDICTS: dict[Verdict, str] = {
    "trustworthy": "the 95 % interval lies above 0 and the mean above the best control's",
    "doubtful": "all else, as every gene where fewer than four patients were tested and the ceiling leaves room",
    "hopeless": (
        "the whole interval, or the ceiling that the noise of the counts sets, lies at or below 0 or the best control"
    ),
}
"""Verdict to when it is given."""
_HEAD = (
    "scale", "row", "gene", "verdict", "patients", "pcc", "low", "high", "best_control", "control_pcc", "ceiling"
)  # fmt: skip


@dataclass(frozen=True)
class GeneRow:
    """A gene of a row of a board.

    Args:
        scale: of expression.
        label: of the row.
        worth: its PCC over patients, the best control's and the ceiling's.
        verdict: empty for controls, and where the folds cannot say.
    """

    scale: str
    label: str
    worth: GeneWorth
    verdict: Verdict


def verdict_of(worth: GeneWorth) -> Verdict:
    """What may be expected of a gene on new patients, see :data:`VERDICTS`."""
    bar = max(0.0, worth.control_pcc or 0.0)
    if worth.trusted:
        return "trustworthy"
    most = [end for end in (worth.high, worth.ceiling) if end is not None]
    return "hopeless" if most and min(most) <= bar else "doubtful"


def gene_rows(board: Protocol) -> list[GeneRow]:
    """Every gene of every method and control, by scale and row; trustworthy genes first, then by PCC."""
    return [row for scale in board.scales for line in board.lines for row in _of_line(board, line, scale)]


def _of_line(board: Protocol, line: Line, scale: str) -> Iterator[GeneRow]:
    mine = _on(line.records, scale)
    if line.standing.block == CEILINGS or line.way != DECLARED or not any(record.per_gene for record in mine):
        return
    panel = dict.fromkeys(gene for record in mine for gene in record.task.genes)
    legal = intervals_of(board.sections)
    judged = line.standing.block == METHODS and legal
    found = [
        GeneRow(scale, line.label, worth, verdict_of(worth) if judged and worth.pcc is not None else "")
        for worth in worth_among(_on(board.records, scale), mine, panel, interval=legal)
    ]
    yield from sorted(found, key=lambda row: (_ORDER.index(row.verdict), -(row.worth.pcc or 0.0), row.worth.gene))


def _on(records: list[Record], scale: str) -> list[Record]:
    done = [record for record in records if record.status == "done"]
    return [record for record in done if record.task.scale == scale]


def genes_csv(rows: list[GeneRow]) -> str:
    """One line per scale, row and gene: verdict, patients, PCC, ends of its interval, best control, ceiling.

    Empty where something is not known: the interval below four patients, the verdict of controls and of folds whose
    test patients were seen in training.
    """
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    write(_HEAD)
    for row in rows:
        worth = row.worth
        numbers = (worth.pcc, worth.low, worth.high, worth.control_pcc, worth.ceiling)
        pcc, low, high, control, ceiling = ("" if value is None else repr(value) for value in numbers)
        said = [csv_cell(text) for text in (row.scale, row.label, worth.gene, row.verdict)]
        write([*said, worth.patients, pcc, low, high, csv_cell(worth.control), control, ceiling])
    return text.getvalue()


def told(board: Protocol, rows: list[GeneRow]) -> list[str]:
    """How many genes of every method may be believed, one line per method, or why nothing is said."""
    if not intervals_of(board.sections):
        return [f"{board.name}: no verdict on genes from {why_not(board)}"]
    found: dict[tuple[str, str], Counter[str]] = {}
    for row in rows:
        if row.verdict:
            found.setdefault((row.scale, row.label), Counter())[row.verdict] += 1
    few = "" if board.has_intervals else f" (no intervals from {why_not(board)})"
    return [
        f"{label}, {scale}: {listed(count(of[verdict], f'{verdict} gene') for verdict in _ORDER if of[verdict])}{few}"
        for (scale, label), of in found.items()
    ]
