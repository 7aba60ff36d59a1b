"""The space that a method is tuned in, as its card says it: knobs, their ranges, and why these."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Value = bool | int | float | str


class Knob(BaseModel):
    """A setting that a study tries: whole numbers or others between two ends, or one of some values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: int | float | None = Field(default=None, description="lower end; whole numbers where both ends are whole")
    high: int | float | None = Field(default=None, description="upper end, itself among the values")
    log: bool = Field(default=False, description="whether equal ratios, not differences, are equally likely")
    choices: list[Value] | None = Field(default=None, min_length=2, description="values, in place of two ends")
    why: str = Field(min_length=1, description="why this setting, and why this range")

    @model_validator(mode="after")
    def _has_a_range(self) -> Self:
        if (self.choices is None) == (self.low is None or self.high is None):
            raise ValueError("expected low and high, or choices")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"expected low below high, found {self.low} and {self.high}")
        if self.log and not (self.low or 0) > 0:
            raise ValueError("expected low above 0, as log is on")
        return self

    def holds(self, value: object) -> bool:
        """Whether a value is one of those that are tried."""
        if self.choices is not None or self.low is None or self.high is None:
            return value in (self.choices or ())
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        return isinstance(value, int if whole else int | float) and self.low <= value <= self.high

    @property
    def ends(self) -> list[Value]:
        """The two ends, or all values where there are some."""
        return list(self.choices) if self.choices is not None else [e for e in (self.low, self.high) if e is not None]

    @property
    def text(self) -> str:
        """The range in words."""
        if self.choices is not None:
            return ", ".join(str(value) for value in self.choices)
        return f"{self.low:g} to {self.high:g}{', log' if self.log else ''}"


class Search(BaseModel):
    """What ``stbench tune`` looks for, and where."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    objective: str = Field(default="pcc", description="metric held against the best control's on the same inner fold")
    knobs: Annotated[dict[str, Knob], Field(min_length=1)] = Field(description="setting to what is tried of it")
