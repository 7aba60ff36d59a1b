"""What a user asks of one ``stbench tune``. Light: the command line's help reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stbench.errors import SettingError
from stbench.evaluation.request import METHOD, TASK, Request, altered, option
from stbench.text import listed


@dataclass(frozen=True)
class TuneRequest(Request):
    """Everything of a study."""

    COMMAND: ClassVar[str] = "tune"

    split: str = altered(Request, "split", "lopo", said=True)
    preset: str = altered(Request, "preset", "small", said=True)
    seeds: tuple[int, ...] = altered(
        Request, "seeds", (0,), role="shared",
        help="Seeds of fitting and sampling, with a comma between two; a trial is the mean over them.",
    )  # fmt: skip
    trials: int = option(
        20, "Trials of every method in every outer fold, the preset's own settings first.", "--trials",
        group=METHOD, role="cells", order=2, said=True,
    )  # fmt: skip
    minutes: float | None = option(
        None, "Most minutes of every method in every outer fold; looked at between trials.", "--minutes",
        group=METHOD, role="cells", order=3,
    )  # fmt: skip
    inner: int = option(
        3, "Most inner folds of an outer fold, each of which leaves one of its training patients out.", "--inner",
        group=TASK, role="shared", order=21.9, said=True,
    )  # fmt: skip

    def check(self) -> None:
        """Raise SettingError for numbers no study can have, and for what one study cannot hold."""
        for name, value in (("--trials", self.trials), ("--inner", self.inner)):
            if value < 1:
                raise SettingError(f"{name}: expected at least 1, found {value}")
        if self.minutes is not None and not self.minutes > 0:
            raise SettingError(f"--minutes: expected more than 0, found {self.minutes:g}; leave it out for no limit")
        for name, values in (("--genes", self.genes), ("--normalize", self.normalization)):
            if len(values) > 1:
                raise SettingError(f"{name}: expected one, found {listed(values)}; use a folder for each")
