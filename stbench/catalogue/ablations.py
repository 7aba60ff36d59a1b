"""Ablations of a method, as a paper reports them or its class declares them: tables of variants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Depth(_Part):
    """Which of several equal blocks: the block at the same share of the depth where there are more or fewer."""

    at: int = Field(ge=1, description="block in the reported network, from 1")
    among: int = Field(ge=1, description="blocks of the reported network")
    of: str = Field(description="setting that holds the number of blocks here")

    def block(self, blocks: int) -> int:
        """The block nearest to the same share of ``blocks``, halves up, at least the first."""
        return max(1, (2 * self.at * blocks + self.among) // (2 * self.among))


class Conditions(_Part):
    """Under what the reported values of a table were obtained; what is left out is not compared."""

    dataset: str | None = None
    genes: int | None = None
    preset: str | None = None
    encoder: str | None = None
    split: str | None = None
    scale: str | None = Field(default=None, description="of expression, as --normalize names it")
    vectors: dict[str, str] = Field(default={}, description="setting to the vectors it held, as --prior names them")


class AblationRow(_Part):
    """One variant of a method: what is changed, and what was reported."""

    label: str
    settings: dict[str, Any] = Field(default={}, description="setting to its value")
    times: dict[str, float] = Field(default={}, description="setting to a factor on its value")
    depth: dict[str, Depth] = Field(default={}, description="setting that names a block to the block")
    vectors: dict[str, str] = Field(default={}, description="setting to the name of vectors that --prior gives")
    metrics: dict[str, dict[str, Any]] = Field(
        default={}, description="metric to parameters of it: stored predictions are scored again, nothing is trained"
    )
    reported: dict[str, float] = Field(default={}, description="metric to reported value")


class Ablation(_Part):
    """One table of variants."""

    table: str = Field(pattern=r"^[A-Za-z0-9.-]+$", description="what people type, e.g. the number of the table")
    title: str
    source: str = ""
    conditions: Conditions = Conditions()
    note: str = ""
    reference: str = Field(description="label of the row that the others are compared with")
    settings: dict[str, Any] = Field(default={}, description="settings of every row")
    rows: list[AblationRow] = Field(min_length=1)

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        labels = [row.label for row in self.rows]
        if len(set(labels)) < len(labels):
            raise ValueError(f"table {self.table}: expected every label once, found {labels}")
        if self.reference not in labels:
            raise ValueError(f"table {self.table}: expected a reference among {labels}, found {self.reference!r}")
        return self


Tables = TypeVar("Tables", bound=Sequence[Ablation])


def check_tables(ablations: Tables) -> Tables:
    """The same tables; raise ValueError where two tables have one name."""
    names = [ablation.table for ablation in ablations]
    if len(set(names)) < len(names):
        raise ValueError(f"expected every table of ablations once, found {', '.join(names)}")
    return ablations
