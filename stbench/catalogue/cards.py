"""What a card says of a method, a cohort or a metric; a field that is not declared here is refused."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from stbench.catalogue.ablations import Ablation, check_tables
from stbench.catalogue.search import Search

PRESETS = ("paper", "official", "small", "fast")
METHOD_NEEDS = (
    *("features", "xy", "array_xy", "um_per_px", "patient", "patches"),
    *("total_counts", "oracle_expression", "source"),
)
"""What a method may say it needs or takes: members of :class:`stbench.methods.base.SlideInputs`."""
METRIC_NEEDS = (
    *("xy", "depth", "domains", "genes", "gene_sets", "scale", "patient"),
    *("draws", "spread", "calibration", "slides"),
)
"""What a metric may say it needs besides truth and prediction; see :mod:`stbench.metrics.summary`."""


def _method_need(name: str) -> str:
    return _known(name, METHOD_NEEDS)


def _metric_need(name: str) -> str:
    return _known(name, METRIC_NEEDS)


def _known(name: str, known: tuple[str, ...]) -> str:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"expected one of {', '.join(known)}, found {name!r}{hint}")
    return name


MethodNeed = Annotated[str, AfterValidator(_method_need)]
MetricNeed = Annotated[str, AfterValidator(_metric_need)]


class Card(BaseModel):
    """What every card says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", description="what people type and what the leaderboard prints")
    title: str


class Difference(BaseModel):
    """One place where a paper and its released code part ways."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    topic: str
    paper: str
    original: str
    switch: str = Field(default="", description="setting that chooses; empty where nothing does")
    default: str
    why: str


class MethodCard(Card):
    """What is known of a method without importing it."""

    kind: Literal["generative", "discriminative", "control", "oracle", "ceiling", "reference"] = "discriminative"
    beside: bool | list[Literal["real", "semi-synthetic", "simulated"]] | None = Field(
        default=None,
        description="runs beside every method unless asked not to, on all data or on some; None: where it is a control",
    )
    entry: str = Field(description='"module:Class" of a Method')
    summary: str = ""
    paper: str = ""
    original: str = ""
    licence: str = ""
    needs: list[MethodNeed] = []
    optional: list[MethodNeed] = []
    validation: bool | str = Field(
        default=False,
        description="whether fitting needs validation slides; a name: only where that setting is not given",
    )
    draws: int = Field(default=1, ge=1, description="the declared prediction is the mean of this many draws")
    encoder: str | None = Field(default=None, description="encoder the method is bound to; None takes the task's")
    pretrained: str | None = Field(
        default=None, description="released weights it comes with, by name in pretrained/ where known; None: none"
    )
    origins: list[Literal["real", "semi-synthetic", "simulated"]] = Field(
        default=[], description="of the data it is defined on; empty for any"
    )
    presets: dict[str, dict[str, Any]] = {}
    tuned: dict[str, dict[str, list[str]]] = Field(
        default={},
        description="preset to cohort to patients whose slides it was chosen on, by whichever method's score; a "
        "generated cohort with the settings that make it another one, e.g. 'simulated seed=1'",
    )
    search: Search | None = Field(default=None, description="the space it is tuned in; None: it cannot be tuned")
    differences: list[Difference] = []
    ablations: Annotated[list[Ablation], AfterValidator(check_tables)] = Field(
        default=[], description="of a third-party method; those that a paper reports stand in papers/"
    )
    notes: list[str] = []

    def runs_beside(self, origin: str) -> bool:
        """Whether it runs beside every method on data of an origin unless asked not to."""
        if isinstance(self.beside, list):
            return origin in self.beside
        return self.kind == "control" if self.beside is None else self.beside


class SlideEntry(BaseModel):
    """One slide a cohort is known to hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    section: str = ""
    patient: str
    n_spots: int


class DatasetCard(Card):
    """What is known of a cohort without opening it."""

    entry: str | None = Field(default=None, description='"module:function" that opens a generated cohort')
    settings: str | None = Field(default=None, description='"module:class" of what --simulate sets')
    made_from: str | None = Field(default=None, description="registered cohort whose files and slides it is made from")
    encoder: str = Field(default="handcrafted-v1", description="what gives features where --encoder says nothing")
    layouts: list[Literal["her2st", "hest", "spaceranger", "st"]] = []
    organ: str = ""
    technology: str = ""
    licence: str = ""
    citation: str = ""
    source: str = Field(default="", description="how to obtain the files")
    fetch: dict[Literal["hest", "study"], str] = Field(
        default={}, description="where stbench datasets fetch gets them: repository on the hub, owner/name@commit"
    )
    patch: dict[str, float] = Field(default={"um": 112}, description="default patch side, in um or in px")
    slides: list[SlideEntry] = []
    neighbours: list[list[str]] = Field(
        default=[], description="ids of slides cut one after the other from one block: each is a neighbour of the next"
    )
    n_slides: int = 0
    n_spots: int = 0
    simulated: bool = False
    semi_synthetic: bool = Field(default=False, description="real counts with features made from them, no picture")

    @model_validator(mode="after")
    def _neighbours_are_slides(self) -> Self:
        patients = {slide.id: slide.patient for slide in self.slides}
        cuts = [cut for series in self.neighbours for cut in series]
        if unknown := sorted(set(cuts) - set(patients)):
            raise ValueError(f"neighbours: expected ids of slides of the card, found {unknown[0]!r}")
        if twice := [cut for cut in patients if cuts.count(cut) > 1]:
            raise ValueError(f"neighbours: expected every slide in one series, found {twice[0]!r} twice")
        for series in self.neighbours:
            if len(series) < 2 or len({patients[cut] for cut in series}) > 1:
                raise ValueError(f"neighbours: expected two or more slides of one patient, found {', '.join(series)}")
        return self

    def neighbours_of(self, slide: str) -> list[str]:
        """Slides cut just before and after one, named as it is named, by id or by section; none where unknown."""
        section = {entry.id: entry.section for entry in self.slides}
        for series in self.neighbours:
            for names in (series, [section[cut] for cut in series]):
                if slide and slide in names:
                    place = names.index(slide)
                    return [*names[max(place - 1, 0) : place], *names[place + 1 : place + 2]]
        return []


class MetricCard(Card):
    """What is known of a metric without importing it."""

    entry: str
    direction: Literal["higher", "lower", "none"]
    range: list[str | float] = []
    unit: str = ""
    needs: list[MetricNeed] = []
    requires: dict[str, str] = Field(
        default={}, description="module that must be installed to the extra that brings it; left out where it is not"
    )
    settings: dict[str, Any] = Field(default={}, description="keywords of the entry that differ from its defaults")
    decimals: int = 3
    columns: list[Literal["board", "run", "curve"]] = Field(
        default=[], description="shown unasked in leaderboards, after a run, in sweeps and ablations"
    )
    order: int = Field(default=1000, description="place among the columns, ascending; then by name")
    paper: str = ""
    description: str = ""
