"""What the folder of an ablation belongs to: ``ablation.json`` says everything that defines its tables and cells."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from stbench.catalogue.ablations import Conditions
from stbench.evaluation.request import Request
from stbench.grids.manifest import Manifest, differing
from stbench.studies.ablation.request import AblateRequest


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Row(_Part):
    """A row of a table, and the run it is read from."""

    label: str
    run: str | None = Field(description="name of the series, None where it cannot be run")
    said: list[str] = Field(description="what the row sets, in words")
    refused: str | None = Field(default=None, description="why it cannot be run")
    metrics: dict[str, dict[str, Any]] = Field(description="metric to parameters under which it is scored again")
    reported: dict[str, float]

    @property
    def text(self) -> str:
        """The row in words: the run it is read from, and what its name does not say of what the row sets."""
        if self.run is None:
            return f"{self.label}: refused: {self.refused}"
        more = [said for said in self.said if said not in self.run.split(",")]
        return f"{self.label}: run `{self.run}`{'; ' if more else ''}{', '.join(more)}"


class Table(_Part):
    """One table of variants."""

    table: str
    place: int = Field(description="place among the tables of the card")
    title: str
    source: str
    conditions: Conditions
    note: str
    reference: str
    rows: list[Row]

    def joined(self, asked: Table) -> Table:
        """``asked``, with the rows of this one where it cannot be run (any more)."""
        known = {row.label: row for row in self.rows}
        rows = [known.get(row.label, row) if row.run is None else row for row in asked.rows]
        return asked.model_copy(update={"rows": rows})


class AblationManifest(Manifest):
    """Everything that defines the cells of an ablation; its series are the distinct runs behind the tables."""

    FILE: ClassVar[str] = "ablation.json"
    KIND: ClassVar[str] = "ablation"
    A_KIND: ClassVar[str] = "an ablation"
    COMMAND: ClassVar[str] = "ablate"
    REQUEST: ClassVar[type[Request]] = AblateRequest

    method: str = Field(description="registered name, or path/to/file.py:Class")
    title: str
    base: dict[str, Any] = Field(description="every resolved setting of the method before a row changes some")
    changed: dict[str, Any] = Field(description="those of them that differ from the method's defaults")
    overrides: dict[str, str] = Field(description="those of them that --set gave, as text")
    vectors: dict[str, str]
    tables: list[Table]

    @property
    def name(self) -> str:
        """File name of the page: cohort, method, panel size, split, digits of the settings that all cells share."""
        method = self.title.lower().replace(" ", "-")
        return f"{self.cohort}-ablate-{method}-g{self.genes[0]}-{self.split_name}-{self.digest}"

    def _shared(self) -> dict[str, Any]:
        return {**super()._shared(), "method": self.method, "title": self.title}

    def _identity(self) -> dict[str, Any]:
        return {**self._shared(), "base": self.base}

    def _differences_of_series(self, asked: Self) -> list[str]:
        return differing("setting ", self.base, asked.base) or super()._differences_of_series(asked)

    def joined(self, asked: Self) -> Self:
        """This ablation with the tables, rows, seeds and vectors of ``asked`` added."""
        known = {table.table: table for table in self.tables}
        grown = {one.table: known[one.table].joined(one) if one.table in known else one for one in asked.tables}
        tables = sorted({**known, **grown}.values(), key=lambda table: table.place)
        changes = {"tables": tables, "vectors": {**self.vectors, **asked.vectors}}
        return super().joined(asked).model_copy(update=changes)

    def _own(self) -> dict[str, Any]:
        return {
            "methods": [self.method],
            "overrides": [f"{key}={value}" for key, value in self.overrides.items()],
            "controls": False,
            "tables": [table.table for table in self.tables],
            "vectors": [f"{name}={path}" for name, path in self.vectors.items()],
        }
