"""What a user asks of one ``stbench fit``. Light: the command line's help reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from stbench.errors import SettingError
from stbench.evaluation.request import Request, altered
from stbench.text import listed

ASKED = (
    "methods", "dataset", "genes", "seeds", "preset", "overrides", "split_seed", "patients", "genes_table",
    "encoder", "weights", "patch", "normalization", "simulate", "data_root", "device",
)  # fmt: skip
_SINGLE = ("methods", "genes", "seeds", "normalization")


@dataclass(frozen=True)
class FitRequest(Request):
    """Everything of one model: one method, panel size, seed and scale."""

    COMMAND: ClassVar[str] = "fit"

    methods: tuple[str, ...] = altered(Request, "methods", (), help="Registered name or path/to/file.py:Class.")
    seeds: tuple[int, ...] = altered(Request, "seeds", (0,), help="Seed of fitting.", metavar="S")
    split_seed: int = altered(Request, "split_seed", 0, help="Seed of who trains and who validates.")
    normalization: tuple[str, ...] = altered(
        Request, "normalization", ("log1p",), help="Scale: log1p, log2p1 or cp10k-log1p."
    )
    controls: bool = altered(Request, "controls", False)

    def check_single(self) -> None:
        """Raise SettingError where more than one model is asked for, or none."""
        for name in _SINGLE:
            values = getattr(self, name)
            if len(values) != 1:
                flag, found = self.options()[name].flags[0], listed(values) or "none"
                raise SettingError(f"{flag}: expected one for one model, found {found}")

    def portable(self) -> FitRequest:
        """The same without what belongs to this machine: where data lie, the device, and folders of absolute paths."""
        said = {name: bare(value) for name, value in self.dump().items() if self.options()[name].role != "place"}
        return self.read(said)


def bare(value: Any) -> Any:
    """JSON in which absolute paths, also behind ``key=``, are file names alone."""
    if isinstance(value, dict):
        return {key: bare(part) for key, part in value.items()}
    if isinstance(value, list):
        return [bare(part) for part in value]
    if not isinstance(value, str):
        return value
    key, equals, text = value.rpartition("=")
    return f"{key}{equals}{Path(text).name}" if Path(text).is_absolute() else value
