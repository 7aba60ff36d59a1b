"""What pretrained weights were fitted on, and which cohorts they have seen: facts, and how they are looked up."""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stbench.catalogue.cards import Card
from stbench.text import listed

Verdict = Literal["saw", "no", "no*", "undisclosed", "sister", "figures"]
Known = Literal["read", "second-hand", "recalled"]
Kind = Literal["encoder", "gene model", "predictor"]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")]

UNSAID: Verdict = "undisclosed"
SEVERITY: dict[Verdict, int] = {"no*": 0, "no": 1, "figures": 2, "sister": 3, "undisclosed": 4, "saw": 5}
"""Verdicts, worst last: what is not disclosed may be anything below it, and more."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KnownCohort(_Part):
    """A cohort that findings speak of."""

    key: str
    title: str
    words: list[str] = Field(default=[], description="parts of a folder's name that say what lies in it")


class Seen(_Part):
    """What is known of some weights and some cohorts."""

    cohorts: list[str]
    verdict: Verdict
    labels: bool = Field(default=False, description="whether expression was seen too")
    why: str
    known: Known | None = Field(default=None, description="how it is known; None: as the rest of the entry")

    @model_validator(mode="after")
    def _labels_were_seen(self) -> Self:
        if self.labels and self.verdict != "saw":
            raise ValueError(f"labels: expected only where the verdict is saw, found {self.verdict}")
        return self


class Weights(_Part):
    """Pretrained weights of one release, or what stands in their place."""

    names: list[str] = Field(min_length=1)
    kind: Kind
    data: str = Field(description="what they were fitted on")
    source: str = Field(description="where that is said")
    known: Known
    sha256: list[Hash] = Field(default=[], description="of its files, whole or the first digits")
    fitted: bool = Field(default=True, description="off where nothing was fitted, so that there is no file to tell")
    on: list[str] = Field(default=[], description="names of weights these start from or contain")
    seen: list[Seen] = []
    elsewhere: Verdict = Field(default=UNSAID, description="of cohorts of which nothing is said")

    @model_validator(mode="after")
    def _one_finding_each(self) -> Self:
        named = [cohort for one in self.seen for cohort in one.cohorts]
        if twice := [cohort for cohort in named if named.count(cohort) > 1]:
            raise ValueError(f"{self.names[0]}: expected one finding of {twice[0]}, found {named.count(twice[0])}")
        return self

    def has(self, digest: str | None) -> bool:
        """Whether a file with this sha256 is one of the release; False where the hash is not known."""
        return digest is not None and any(digest.startswith(one) for one in self.sha256)


@dataclass(frozen=True)
class Finding:
    """What some weights have seen of a cohort.

    Args:
        kind: what the weights are of.
        name: what they are called.
        cohort: title of the cohort, or what it is called.
        verdict: the worst that holds.
        labels: whether expression was seen too.
        why: the reason in a few words.
        source: where that is said.
        known: whether it was read there, second-hand, or is recalled.
        looked_up: when, as year-month-day; empty where nothing was looked up.
    """

    kind: str
    name: str
    cohort: str
    verdict: Verdict
    labels: bool
    why: str
    source: str = ""
    known: Known = "read"
    looked_up: str = ""

    @property
    def severity(self) -> tuple[int, bool]:
        """Findings in order, the worst last."""
        return SEVERITY[self.verdict], self.labels

    @property
    def reason(self) -> str:
        """Why, with the source; ``unverified`` unless it was read there."""
        doubt = "" if self.known == "read" else f"unverified, {self.known}"
        behind = listed(part for part in (self.source, self.looked_up and f"looked up {self.looked_up}", doubt) if part)
        return self.why + (f" ({behind})" if behind else "")

    @property
    def said(self) -> str:
        """The finding in one sentence."""
        return f"{self.kind} {self.name}: {self._verdict}: {self.reason}"

    @property
    def _verdict(self) -> str:
        if self.verdict != "saw":
            return f"{self.verdict} for {self.cohort}"
        return f"saw {self.cohort} {'with' if self.labels else 'without'} its expression"


class PretrainedSheet(Card):
    """Everything known of pretrained weights."""

    looked_up: datetime.date
    cohorts: list[KnownCohort]
    weights: list[Weights]

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        cohorts = [cohort.key for cohort in self.cohorts]
        names = [name for one in self.weights for name in one.names]
        if twice := [name for name in [*names, *cohorts] if (names + cohorts).count(name) > 1]:
            raise ValueError(f"expected every name once, found {twice[0]!r} twice")
        for one in self.weights:
            _check_names(one.names[0], "cohort", (cohort for seen in one.seen for cohort in seen.cohorts), cohorts)
            _check_names(one.names[0], "weights", one.on, names)
        return self

    def of(self, kind: str, name: str, digest: str | None, cohort: str | None, called: str = "") -> Finding:
        """What weights have seen of a cohort: their own finding and those of what they start from, the worst.

        Weights go by their hash. Where it is that of no release, the name counts for the worse alone: a finding better
        than ``undisclosed`` becomes that.

        Args:
            kind: what the weights are of, for the sentence.
            name: what they are called.
            digest: sha256 of their file, None where it is not known.
            cohort: key of a cohort, None for one of which nothing is said.
            called: what the cohort is called where it has no key.
        """
        said = next((one for one in self.weights if one.has(digest)), None)
        named = said or self.named(name)
        if named is None:
            return Finding(kind, name, self._title(cohort, called), UNSAID, False, "nothing is known of these weights")
        finding = self._as_released(named, kind, name, cohort, called, frozenset())
        if said is not None or not named.fitted or SEVERITY[finding.verdict] >= SEVERITY[UNSAID]:
            return finding
        why = f"the hash of these weights is not known to be the release's, which would be {finding.verdict}"
        return replace(finding, verdict=UNSAID, why=why)

    def named(self, name: str) -> Weights | None:
        """Weights by name, None where there are none of that name."""
        return next((one for one in self.weights if name in one.names), None)

    def as_released(self, name: str, cohort: str) -> Finding:
        """What the release of a name has seen of a cohort, whatever file somebody has of it."""
        found = self.named(name)
        assert found is not None
        return self._as_released(found, found.kind, name, cohort, "", frozenset())

    def cohorts_in(self, folder: str) -> list[str]:
        """Keys of the cohorts that the name of a folder speaks of, such as ``tcga-brca``."""
        words = set(re.split(r"[^a-z0-9]+", folder.lower()))
        return [cohort.key for cohort in self.cohorts if words & set(cohort.words)]

    def knows(self, cohort: str) -> bool:
        """Whether findings may speak of a cohort."""
        return any(one.key == cohort for one in self.cohorts)

    def _as_released(
        self, weights: Weights, kind: str, name: str, cohort: str | None, called: str, met: frozenset[str]
    ) -> Finding:
        return max(self._findings(weights, kind, name, cohort, called, met), key=lambda one: one.severity)

    def _findings(
        self, weights: Weights, kind: str, name: str, cohort: str | None, called: str, met: frozenset[str]
    ) -> Iterator[Finding]:
        title, date = self._title(cohort, called), self.looked_up.isoformat()
        own = next((seen for seen in weights.seen if cohort in seen.cohorts), None)
        verdict, labels = (own.verdict, own.labels) if own else (weights.elsewhere, False)
        why, known = f"fitted on {weights.data}" if weights.fitted else weights.data, weights.known
        if own:
            why, known = f"{own.why}; {why}", own.known or known
        yield Finding(kind, name, title, verdict, labels, why, weights.source, known, date)
        for base in weights.on:
            inner = self.named(base)
            if inner is not None and base not in met:
                through = f"{name} through {base}"
                yield self._as_released(inner, kind, through, cohort, called, met | {base})

    def _title(self, cohort: str | None, called: str) -> str:
        return next((one.title for one in self.cohorts if one.key == cohort), called or "this cohort")


def _check_names(weights: str, what: str, found: Iterable[str], known: list[str]) -> None:
    for name in found:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"{weights}: expected a known {what}, found {name!r}{hint}")
