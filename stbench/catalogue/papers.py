"""What a paper reports: every table of it, those that vary one method as ablations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from stbench.catalogue.ablations import Ablation, Conditions, check_tables

FACTS = ("dataset", "method", "genes")
"""Columns that say what was measured on; every other column is a quantity."""

Cell = str | int | float | tuple[float, float]


class ReportedTable(BaseModel):
    """A table as printed.

    A cell is a text, a value, or a value with its standard deviation; an empty text where nothing is reported.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str
    title: str
    conditions: Conditions = Conditions()
    note: str = ""
    columns: list[str]
    rows: list[list[Cell]]

    @model_validator(mode="after")
    def _rows_fit(self) -> Self:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.table}: expected {len(self.columns)} cells, found {row}")
        return self


class PaperAblation(Ablation):
    """A table of variants of one method."""

    method: str = Field(description="registered name")


@dataclass(frozen=True)
class Claim:
    """One number that a paper reports.

    Args:
        table: name of the table.
        dataset: registered name of the cohort, empty when not said.
        method: registered name, ``ground truth`` for what is computed from the truth itself.
        genes: size of the panel, None when not said.
        label: variant of the method, empty for the method as it is.
        metric: what was measured.
        value: the number, in the unit of the paper.
        std: standard deviation beside it, None when there is none; the table's note says over what.
    """

    table: str
    dataset: str
    method: str
    genes: int | None
    label: str
    metric: str
    value: float
    std: float | None = None


class Paper(BaseModel):
    """A paper and what it reports."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    source: str = ""
    licence: str = ""
    tables: list[ReportedTable] = []
    ablations: Annotated[list[PaperAblation], AfterValidator(check_tables)] = []

    def claims(self) -> Iterator[Claim]:
        """Every number that was measured of a method; sizes of cohorts and hyper-parameters are none."""
        for table in self.tables:
            for row in table.rows:
                yield from _of_row(table, dict(zip(table.columns, row, strict=True)))
        for ablation in self.ablations:
            yield from _of_ablation(ablation)


def _of_row(table: ReportedTable, row: dict[str, Cell]) -> Iterator[Claim]:
    dataset, method, genes = (row.get(fact) or getattr(table.conditions, fact, None) for fact in FACTS)
    if method is None:
        return
    size = None if genes is None else int(str(genes))
    for metric, cell in row.items():
        if metric not in FACTS and not isinstance(cell, str):
            value, std = cell if isinstance(cell, tuple) else (float(cell), None)
            yield Claim(table.table, str(dataset or ""), str(method), size, "", metric, value, std)


def _of_ablation(ablation: PaperAblation) -> Iterator[Claim]:
    said = ablation.conditions
    for row in ablation.rows:
        for metric, value in row.reported.items():
            yield Claim(ablation.table, said.dataset or "", ablation.method, said.genes, row.label, metric, value)
