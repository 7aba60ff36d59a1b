"""Rows that were sent in by others: which, and what was checked of them."""

from __future__ import annotations

from collections.abc import Sequence

from stbench.pages.protocol import Line
from stbench.pages.rows import RESCORED
from stbench.text import listed


def notes(lines: Sequence[Line]) -> list[str]:
    """What the word behind the rows of others means; nothing where there are none.

    Args:
        lines: rows of a board.
    """
    methods = dict.fromkeys(line.method for line in lines if any(record.rescored for record in line.records))
    if not methods:
        return []
    return [
        f"`({RESCORED})`: sent in; its predictions were scored here against the cohort, with the result that was "
        f"claimed. Training was not repeated, and what it was trained on is the sender's word: {listed(methods)}."
    ]
