"""What a user asks of ``stbench methods check`` on a cohort. Light: the command line's help reads it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from stbench.errors import SettingError
from stbench.evaluation.request import Request, altered

ASKED = (
    "dataset", "genes", "seeds", "preset", "overrides", "split", "split_seed", "patients", "genes_table",
    "test_dataset", "validation_rule", "draws", "encoder", "weights", "normalization", "simulate", "secret",
    "data_root", "device",
)  # fmt: skip


@dataclass(frozen=True)
class CheckRequest(Request):
    """One method on the first fold of one task."""

    COMMAND: ClassVar[str] = "methods check"

    dataset: str = altered(
        Request, "dataset", "", help="Registered name, or a folder; without it the contract suite alone."
    )
    seeds: tuple[int, ...] = altered(Request, "seeds", (0,), help="Seed of fitting and sampling.", metavar="S")
    normalization: tuple[str, ...] = altered(
        Request, "normalization", ("log1p",), help="Scale: log1p, log2p1 or cp10k-log1p."
    )
    controls: bool = altered(Request, "controls", False)

    def check_options(self) -> None:
        """Raise SettingError where options of a task are given without a cohort."""
        said = [
            one.flags[0]
            for name, one in self.options().items()
            if one.role != "place" and getattr(self, name) != self.usual(name)
        ]
        if said and not self.dataset:
            raise SettingError(f"{said[0]}: expected --dataset beside it, found none; the contract suite has its own")

    def of(self, method: str) -> Self:
        """The same of a method, by registered name or as ``path/to/file.py:Class``."""
        return replace(self, methods=(method,))
