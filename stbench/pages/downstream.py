"""What a page says of domains, markers and gene sets: what they are read against, and where they say nothing."""

from __future__ import annotations

from collections.abc import Sequence

from stbench.evaluation.record import GeneSetFacts
from stbench.metrics.gene_sets import FEWEST
from stbench.metrics.summary import STEADY, is_of_sets, of_domains
from stbench.pages.protocol import Protocol
from stbench.pages.rows import Cell
from stbench.text import listed

_RANKED = ("domain-ari", "domain-nmi")
_SELF = "domain-self-ari"


def notes(board: Protocol, columns: Sequence[str]) -> list[str]:
    """Lines below the table of a board that shows some columns; none where it shows no such metric."""
    shown = [name for name in columns if name in of_domains()]
    lines = _domains(board, shown) if shown else []
    return lines + (_sets(board) if any(map(is_of_sets, columns)) else [])


def _domains(board: Protocol, columns: Sequence[str]) -> list[str]:
    values = [_values(board, name, scale) for name in columns for scale in board.scales]
    where = sorted({slide for some in values for slide, value in some.items() if value is not None})
    lines = [
        f"Domains and markers: of slides that carry domains ({listed(where) or 'none here'}); no row is ranked by them."
    ]
    if any(line.is_reference for line in board.lines):
        said = "`[measured panel]` to `[quantiles of total counts]`: what is known of the domains without a prediction"
        lines.append(f"{said}. None is an upper bound: smoothing the truth raises its agreement.")
    unsteady = [
        f"{slide} on {scale} ({value:.2f})"
        for scale in board.scales
        for slide, value in sorted(_values(board, _SELF, scale).items())
        if value is not None and value < STEADY
    ]
    if unsteady and any(name in columns for name in _RANKED):
        lines.append(
            f"Nothing is said by {listed(_RANKED)} of {listed(unsteady)}: two clusterings of the measured expression, "
            f"from two seeds, agree to that ARI; {STEADY:g} is needed."
        )
    return lines


def _values(board: Protocol, metric: str, scale: str) -> dict[str, float | None]:
    """Slide to a value of some row where there is one; of all rows, where it is a property of the slide."""
    found: dict[str, float | None] = {}
    for line in board.lines:
        for row in line.rows.get(scale, []):
            per_slide = row.cells.get(metric, Cell(None)).per_slide
            found |= {slide: value for slide, value in per_slide.items() if value is not None}
    return found


def _sets(board: Protocol) -> list[str]:
    used: dict[str, GeneSetFacts] = {}
    for record in board.records:
        if record.gene_sets is not None:
            used[f"{record.task.protocol}, {record.task.scale}"] = record.gene_sets
    files = sorted({facts.sha256[:16] for facts in used.values()})
    counts = sorted({f"{facts.n_used} of {facts.n_sets}" for facts in used.values()})
    said = f"Gene sets: {listed(counts, ' or ')} have {FEWEST} genes in the panel, the others are left out"
    return [f"{said}; sha256 of the file {listed(files)}."] if used else []
