"""What stands beside the claims of a table: finished runs, our numbers, and whether both are of one experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stbench.catalogue import find_metric
from stbench.catalogue.papers import Claim, Measure, PaperAblation
from stbench.evaluation.record import Record
from stbench.evaluation.rescore import Truths
from stbench.grids.cells import Failures, record_of
from stbench.grids.manifest import read_manifest
from stbench.metrics.summary import lacking_modules
from stbench.studies.ablation.results import read_ablation
from stbench.studies.claims.blocks import Block
from stbench.studies.claims.data import stand_in
from stbench.studies.claims.measured import Number, number_of, single_draw
from stbench.studies.claims.protocol import Verdict, verdict_of
from stbench.studies.claims.tables import TRUTH, AnyTable, measure_of
from stbench.text import listed

Runs = tuple[list[Record], list[str]]
"""Finished runs behind a claim, and why others are missing."""


@dataclass(frozen=True)
class Compared:
    """A claim and what we get.

    Args:
        claim: what is reported.
        measure: where our number comes from.
        records: the finished runs behind it.
        reason: why there is no number, empty where there is one.
        number: ours, None where there is none.
        single: the same of single draws, None where that is no other number.
        verdict: whether both are of one experiment, None without a run.
        stand_in: what the slides are in place of the cohort's, empty where they may be its own.
    """

    claim: Claim
    measure: Measure
    records: tuple[Record, ...] = ()
    reason: str = ""
    number: Number | None = None
    single: Number | None = None
    verdict: Verdict | None = None
    stand_in: str = ""

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's; None where the quantities or the tissues are others."""
        if self.number is None or not self.measure.same_quantity or self.stand_in:
            return None
        return self.number.mean - self.claim.value

    @property
    def same(self) -> str:
        """Whether both are of one protocol: ``yes``, ``no``, ``not known``; ``not run`` or ``not measured``."""
        if self.number is not None and self.verdict is not None:
            return self.verdict.said
        return "not measured" if self.records else "not run"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why not, or why there is no number."""
        return (self.reason,) if self.reason or self.verdict is None else self.verdict.reasons


def compared(
    table: AnyTable, blocks: Sequence[Block], out: Path, truths: Truths, by_hand: Sequence[str] = ()
) -> list[Compared]:
    """Every claim asked for of a table, in the table's order.

    Args:
        table: the table.
        blocks: its grids; those that could not be run say why.
        out: folder below which their cells lie.
        truths: where the truth for scoring predictions again comes from.
        by_hand: what ``--set`` gave.

    Raises:
        UserError: two cells of a grid have different tasks.
    """
    found: dict[Claim, Compared] = {}
    for block in blocks:
        runs = {} if block.grid is None else _runs(block, out, truths)
        for claim in block.claims:
            records, reasons = runs.get(claim, ([], [block.problem]))
            found[claim] = _compared(block, claim, records, reasons, by_hand)
    return [found[claim] for claim in table.claims() if claim in found]


def _compared(
    block: Block, claim: Claim, records: Sequence[Record], reasons: Sequence[str], by_hand: Sequence[str]
) -> Compared:
    measure = measure_of(block.table, claim)
    if not records:
        return Compared(claim, measure, reason="; ".join(dict.fromkeys(reasons)) or "not run yet")
    number = number_of(records, measure)
    return Compared(
        claim,
        measure,
        tuple(records),
        "" if number is not None else _undefined(records, measure),
        number,
        single_draw(records, measure),
        verdict_of(block.table, claim, measure, records, by_hand),
        stand_in(records[0].task),
    )


def _undefined(records: Sequence[Record], measure: Measure) -> str:
    """Why finished runs have no such number."""
    if measure.of == "nothing":
        return "nothing that a run measures"
    if measure.of == "peak-gpu-gb":
        return "not run on a GPU"
    if measure.of != "metric" or any(measure.metric in record.metrics for record in records):
        return f"{measure.metric if measure.of == 'metric' else measure.of} undefined on these test slides"
    card = find_metric(measure.metric)
    if extras := lacking_modules(card).values():
        return f"{card.name} is not installed; pip install 'stbench[{listed(extras, ',')}]', then stbench rescore"
    return "no test slide has domains" if "domains" in card.needs else f"no {card.name} in the records"


def _runs(block: Block, out: Path, truths: Truths) -> Mapping[Claim, Runs]:
    return _of_ablation(block, out, truths) if isinstance(block.table, PaperAblation) else _of_cells(block, out)


def _of_cells(block: Block, out: Path) -> Mapping[Claim, Runs]:
    """Runs of the method, or of the references of the truth, with the claim's panel size."""
    assert block.grid is not None
    folder, grid = block.folder(out), block.grid
    manifest, failures = read_manifest(folder, type(grid.manifest)) or grid.manifest, Failures(folder).reasons
    runs: dict[tuple[str, int], Runs] = {}
    for cell in grid.cells(manifest):
        name = TRUTH if cell.run.card.kind == "reference" else cell.row
        done, missing = runs.setdefault((name, cell.task.genes), ([], []))
        record = record_of(folder, cell)
        if record is not None and record.status == "done":
            done.append(record)
        else:
            missing.append(_missing(record, failures.get(cell.folder)))
    size = max(grid.plan.request.genes)
    return {
        claim: runs.get(
            (claim.method, claim.genes or size),
            ([], ["not run: references of the truth come with --controls, on measured slides alone"]),
        )
        for claim in block.claims
    }


def _missing(record: Record | None, failure: str | None) -> str:
    if failure is not None:
        return f"failed: {failure}"
    return "not run yet" if record is None else f"{record.status}: {record.reason}"


def _of_ablation(block: Block, out: Path, truths: Truths) -> Mapping[Claim, Runs]:
    folder = block.folder(out)
    if not folder.is_dir():
        return {}
    ablated = read_ablation(folder, truths)
    found = next(one for one in ablated.found if one.table.table == block.table.table)
    refused = {row.label: f"refused: {row.refused}" for row in found.table.rows if row.run is None}
    return {
        claim: (
            list(found.records[claim.label].values()),
            [refused[claim.label]] if claim.label in refused else found.reasons.get(claim.label, []),
        )
        for claim in block.claims
    }
