"""What the folder of a study belongs to: ``tuning.json`` says everything that its trials follow from."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar, Self

from pydantic import Field

from stbench.catalogue.search import Search
from stbench.evaluation.request import Request
from stbench.grids.manifest import STUDY, FoldSlides, Manifest, Series, differing
from stbench.studies.tuning.request import TuneRequest

_FOLLOWS = "inner folds"


class TuningManifest(Manifest):
    """Everything that defines the trials of a study; its series are the methods that are tuned."""

    FILE: ClassVar[str] = STUDY
    KIND: ClassVar[str] = "study"
    A_KIND: ClassVar[str] = "a study"
    COMMAND: ClassVar[str] = "tune"
    REQUEST: ClassVar[type[Request]] = TuneRequest

    inner: dict[str, list[FoldSlides]] = Field(description="outer fold to its inner folds")
    said: dict[str, str] = Field(description="outer fold to how its inner folds were made, in words")
    caveat: str = Field(default="", description="in what the slides that test have had a part all the same")
    search: dict[str, Search] = Field(description="method to the space it is tuned in")
    bars: list[Series] = Field(description="controls that trials are held against, with the preset's settings")

    @property
    def asked(self) -> TuneRequest:
        """What was asked for."""
        found = super().asked
        assert isinstance(found, TuneRequest)
        return found

    @property
    def name(self) -> str:
        """File name of the page: cohort, panel size, split, digits of the settings that all cells share."""
        return f"{self.cohort}-tune-g{self.genes[0]}-{self.split_name}-{self.digest}"

    def identity_of(self, series: Series) -> str:
        """Hash of all that the trials of a method follow from: task, inner folds, space, settings that stay, seeds."""
        parts = [self._shared(), series.model_dump(mode="json"), self.search[series.name].model_dump(mode="json")]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _shared(self) -> dict[str, Any]:
        inner = {fold: [one.model_dump(exclude={"name"}) for one in folds] for fold, folds in self.inner.items()}
        return {**super()._shared(), _FOLLOWS: inner}

    def differences(self, asked: Self) -> list[str]:
        """As of any grid; inner folds follow from the rest, and are said where nothing else differs."""
        lines = super().differences(asked)
        return [line for line in lines if not line.startswith(_FOLLOWS)] or lines

    def _differences_of_series(self, asked: Self) -> list[str]:
        both = [name for name in self.search if name in asked.search]
        mine, theirs = ({name: one.search[name].model_dump() for name in both} for one in (self, asked))
        return differing("[search] of ", mine, theirs) or super()._differences_of_series(asked)

    def joined(self, asked: Self) -> Self:
        """This study with the methods of ``asked`` added, and with its number of trials and minutes."""
        grown = super().joined(asked)
        request = {**grown.request, "trials": asked.request["trials"], "minutes": asked.request["minutes"]}
        return grown.model_copy(update={"request": request, "search": {**self.search, **asked.search}})

    def _own(self) -> dict[str, Any]:
        return {"controls": True}
