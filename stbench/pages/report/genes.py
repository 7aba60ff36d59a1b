"""What the predictions of every gene are worth, as rows that a page shows and searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stbench.evaluation.model import GeneWorth
from stbench.pages.plots.genes import GeneRow, gene_rows, told
from stbench.pages.protocol import Line, Protocol
from stbench.pages.report.compact import rounded
from stbench.pages.rows import METHODS

_DIGITS = 3


@dataclass(frozen=True)
class Genes:
    """Genes of the methods of a board.

    Args:
        rows: of the method shown first, on the first scale.
        data: of all methods, for the scripts of the page.
        told: how many genes of which method may be believed, or why nothing is said.
    """

    rows: Sequence[GeneRow]
    data: dict[str, Any]
    told: Sequence[str]


def genes_of(board: Protocol) -> Genes:
    """Genes of every method of a board; of the controls where there is no method."""
    every = gene_rows(board)
    methods = {line.label for line in board.lines if _is_method(line)}
    shown = [row for row in every if row.label in methods] or every
    blocks: dict[tuple[str, str], list[GeneRow]] = {}
    for row in shown:
        blocks.setdefault((row.scale, row.label), []).append(row)
    first = next(iter(blocks.values()), [])
    said = told(board, every) if every else []
    return Genes(first, {"blocks": [_block(*name, rows) for name, rows in blocks.items()]}, said)


def _is_method(line: Line) -> bool:
    return line.standing.block == METHODS


def _block(scale: str, label: str, rows: Sequence[GeneRow]) -> dict[str, Any]:
    return {"scale": scale, "row": label, "genes": [_worth(row) for row in rows]}


def _worth(row: GeneRow) -> list[Any]:
    worth: GeneWorth = row.worth
    numbers = (worth.pcc, worth.low, worth.high, worth.control_pcc, worth.ceiling)
    return [worth.gene, row.verdict, worth.patients, *(rounded(value, _DIGITS) for value in numbers), worth.control]
