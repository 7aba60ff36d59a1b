"""Whether a claim and our number are of one experiment: what a record says against what the card says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stbench.catalogue.ablations import Conditions
from stbench.catalogue.papers import Claim, Measure, PaperAblation
from stbench.evaluation.exposure import TABLE
from stbench.evaluation.record import Record
from stbench.pages.rows import NO_ENCODER
from stbench.studies.claims.data import share_used, stand_in
from stbench.studies.claims.measured import names_of
from stbench.studies.claims.tables import TRUTH, AnyTable
from stbench.text import listed

SPLIT_UNTOLD = "which slides of the split test is not published"


@dataclass(frozen=True)
class Verdict:
    """Whether two numbers are of one experiment.

    Args:
        differs: in what they are not, in words.
        untold: what the paper does not say, so that nobody knows.
    """

    differs: tuple[str, ...]
    untold: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """``no``, ``not known`` or ``yes``."""
        return "no" if self.differs else "not known" if self.untold else "yes"

    @property
    def reasons(self) -> tuple[str, ...]:
        """What stands behind it."""
        return (*self.differs, *self.untold)


def verdict_of(
    table: AnyTable, claim: Claim, measure: Measure, records: Sequence[Record], by_hand: Sequence[str] = ()
) -> Verdict:
    """Hold finished runs against what the paper says of a claim.

    Args:
        table: the claim's table.
        claim: what is reported.
        measure: where our number comes from.
        records: the runs, at least one; they differ in seed and fold.
        by_hand: what ``--set`` gave.
    """
    first, said = records[0], table.conditions
    differs = [
        *_slides(first),
        *_task(claim, said, first),
        *(_method(table, claim, first, by_hand) if claim.method != TRUTH else ()),
        *_quantity(measure, records),
        *([] if isinstance(table, PaperAblation) else table.differs),
    ]
    return Verdict(tuple(differs), tuple(_untold(said, measure, records)))


def _slides(record: Record) -> Iterator[str]:
    used, all_ = share_used(record.task)
    if said := stand_in(record.task):
        yield f"a stand-in: {said}"
    elif used < all_:
        yield f"{used} of the cohort's {all_} slides"


def _task(claim: Claim, said: Conditions, record: Record) -> Iterator[str]:
    task = record.task
    pairs = [
        ("genes", claim.genes, task.n_genes),
        ("scale", said.scale, task.scale),
        ("split", said.split, task.rule or task.protocol),
    ]
    for name, there, here in pairs:
        if there is not None and there != here:
            yield f"{name} {here} for {there}"
    given = record.encoder.partition("/")[0]
    if claim.encoder and claim.method != TRUTH and given not in (claim.encoder, NO_ENCODER):
        yield f"encoder {given} for {claim.encoder}"


def _method(table: AnyTable, claim: Claim, record: Record, by_hand: Sequence[str]) -> Iterator[str]:
    said = table.conditions
    if said.preset is not None and record.preset != said.preset:
        yield f"preset {record.preset} for {said.preset}"
    for setting, name in said.vectors.items():
        method, dot, key = setting.rpartition(".")
        if (not dot or method == record.method) and not _set_by_row(table, claim, key):
            yield from _vectors(record, key, name)
    compared = {setting.rpartition(".")[2] for setting in said.vectors}
    yield from _settings(record, compared, by_hand)


def _vectors(record: Record, key: str, name: str) -> Iterator[str]:
    """Vectors that a setting holds in place of those of a gene model, whose name files of ``stbench prior`` keep."""
    origin = record.pretrained.get(key, "").partition("/")[0]
    if not origin.startswith(name):
        held = record.settings.get(key) if not origin else "of an unnamed table" if origin == TABLE else origin
        yield f"{key} {held} for {name}"


def _set_by_row(table: AnyTable, claim: Claim, key: str) -> bool:
    rows = table.rows if isinstance(table, PaperAblation) else []
    return any(row.label == claim.label and (key in row.settings or key in row.vectors) for row in rows)


def _settings(record: Record, compared: set[str], by_hand: Sequence[str]) -> Iterator[str]:
    """What ``--set`` gave this method, but for vectors that are compared anyway."""
    for word in by_hand:
        key, _, value = word.partition("=")
        owner, dot, setting = key.rpartition(".")
        if (not dot or owner == record.method) and setting in record.settings and setting not in compared:
            yield f"{setting}={value} by hand"


def _quantity(measure: Measure, records: Sequence[Record]) -> Iterator[str]:
    if measure.differs:
        yield measure.differs
    if measure.slide and not any(names_of(record, measure) & {*record.task.test} for record in records):
        yield f"{measure.slide} does not test in this split; another --split-seed may hold it"


def _untold(said: Conditions, measure: Measure, records: Sequence[Record]) -> Iterator[str]:
    rules = {record.task.rule or record.task.protocol for record in records}
    if said.split == "slide" and rules == {"slide"}:
        yield SPLIT_UNTOLD
    draws = {record.draws for record in records if record.draws > 1}
    if draws and measure.of == "metric" and measure.way == "declared":
        yield f"mean of {listed(sorted(draws))} draws; how many the paper averages is not said"
