"""What a paper reports: every table of it, those that vary one method as ablations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from stbench.catalogue.ablations import Ablation, Conditions, check_tables

FACTS = ("dataset", "method", "genes", "encoder")
"""Columns that say what was measured on; every other column is a quantity."""

Cell = str | int | float | tuple[float, float]
Spread = Literal["slides", "draws"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Measure(_Part):
    """Where the number that stands beside those of a column comes from."""

    metric: str = Field(default="", description="registered name; the column's own where empty")
    of: Literal["metric", "predict-seconds", "fit-seconds", "peak-gpu-gb", "nothing"] = "metric"
    way: Literal["declared", "single draw"] = "declared"
    slide: str = Field(default="", description="id of the one test slide; their mean where empty")
    scale: str = Field(default="", description="of expression, where it is not that of the table")
    times: float = Field(default=1.0, description="factor from our unit to the paper's")
    differs: str = Field(default="", description="what it is in place of the paper's quantity; empty for the same")

    @property
    def same_quantity(self) -> bool:
        """Whether a difference from the paper's number has a meaning."""
        return self.of == "metric"


class Stand(_Part):
    """What is run here where a paper is silent, or uses what is not registered."""

    method: str = Field(default="", description="registered method, for a table whose rows name none")
    split: str = ""
    genes: int | None = Field(default=None, description="size of the panel")


class ReportedTable(_Part):
    """A table as printed.

    A cell is a text, a value, or a value with its standard deviation; an empty text where nothing is reported.
    """

    table: str = Field(pattern=r"^[A-Za-z0-9.-]+$", description="what people type, e.g. the number of the table")
    title: str
    conditions: Conditions = Conditions()
    note: str = ""
    spread: Spread = Field(default="slides", description="what the standard deviations are over")
    differs: list[str] = Field(default=[], description="in what a run here is another experiment whatever is given")
    here: Stand = Stand()
    measured: dict[str, Measure] = Field(default={}, description="column to where our number comes from")
    shown: str = Field(default="", description="for a table of facts: where they stand here")
    columns: list[str]
    rows: list[list[Cell]]

    @model_validator(mode="after")
    def _rows_fit(self) -> Self:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.table}: expected {len(self.columns)} cells, found {row}")
        return self

    @model_validator(mode="after")
    def _measures_fit(self) -> Self:
        if unknown := sorted(set(self.measured) - set(self.columns)):
            raise ValueError(f"table {self.table}: expected measured columns of the table, found {unknown[0]!r}")
        return self

    def measure_of(self, column: str) -> Measure:
        """Where our number of a column comes from: the metric of its name unless the card says otherwise."""
        found = self.measured.get(column, Measure())
        return found if found.metric else found.model_copy(update={"metric": column})

    def claims(self) -> Iterator[Claim]:
        """Every number of a method."""
        for row in self.rows:
            yield from _of_row(self, dict(zip(self.columns, row, strict=True)))


class PaperAblation(Ablation):
    """A table of variants of one method."""

    method: str = Field(description="registered name")

    def claims(self) -> Iterator[Claim]:
        """Every number of a variant."""
        said = self.conditions
        for row in self.rows:
            place = (self.table, said.dataset or "", self.method, said.genes, row.label)
            yield from (Claim(*place, name, value, None, said.encoder or "") for name, value in row.reported.items())


@dataclass(frozen=True)
class Claim:
    """One number that a paper reports.

    Args:
        table: name of the table.
        dataset: registered name of the cohort, empty when not said.
        method: registered name, ``ground truth`` for what is computed from the truth itself.
        genes: size of the panel, None when not said.
        label: variant of the method, empty for the method as it is.
        metric: what was measured: the column.
        value: the number, in the unit of the paper.
        std: standard deviation beside it, None when there is none; the table says over what.
        encoder: registered name of the image encoder, empty when not said.
    """

    table: str
    dataset: str
    method: str
    genes: int | None
    label: str
    metric: str
    value: float
    std: float | None = None
    encoder: str = ""


class Paper(_Part):
    """A paper and what it reports."""

    name: str
    title: str
    source: str = ""
    licence: str = ""
    tables: list[ReportedTable] = []
    ablations: Annotated[list[PaperAblation], AfterValidator(check_tables)] = []

    def claims(self) -> Iterator[Claim]:
        """Every number that was measured of a method; sizes of cohorts and hyper-parameters are none."""
        for table in self.tables:
            yield from table.claims()
        for ablation in self.ablations:
            yield from ablation.claims()


def _of_row(table: ReportedTable, row: dict[str, Cell]) -> Iterator[Claim]:
    dataset, method, genes, encoder = (row.get(fact) or getattr(table.conditions, fact, None) for fact in FACTS)
    method = method or table.here.method
    if not method:
        return
    size = None if genes is None else int(str(genes))
    place = (table.table, str(dataset or ""), str(method), size, "")
    for metric, cell in row.items():
        if metric not in FACTS and not isinstance(cell, str):
            value, std = cell if isinstance(cell, tuple) else (float(cell), None)
            yield Claim(*place, metric, value, std, str(encoder or ""))
