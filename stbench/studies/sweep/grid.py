"""The sweep over panel sizes: from a request to a grid of cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from stbench.catalogue import MethodCard, method_cards
from stbench.errors import SettingError, UserError
from stbench.evaluation.plan import Plan, PlannedRun, plan
from stbench.evaluation.request import Request
from stbench.grids.manifest import Manifest, Series
from stbench.grids.plan import GridPlan, folds_as_said, series_of, typed_names, varied
from stbench.methods.registry import method_class
from stbench.reporting import SILENT, Reporter
from stbench.studies.sweep.request import SweepRequest, Variant, parse_variant
from stbench.text import listed


class SweepManifest(Manifest):
    """Everything that defines the cells of a sweep."""

    FILE: ClassVar[str] = "sweep.json"
    KIND: ClassVar[str] = "sweep"
    A_KIND: ClassVar[str] = "a sweep"
    COMMAND: ClassVar[str] = "sweep-genes"
    REQUEST: ClassVar[type[Request]] = SweepRequest

    @property
    def name(self) -> str:
        """File name of the page: cohort, split, digits of the settings that all cells share."""
        return f"{self.cohort}-genes-{self.split_name}-{self.digest}"

    def _own(self) -> dict[str, Any]:
        varied = [series for series in self.series if series.variant]
        return {"variants": [Variant(one.name, one.method, one.overrides).text for one in varied]}


@dataclass(frozen=True)
class SweepPlan(GridPlan):
    """A grid whose rows are curves."""

    def lines(self) -> list[tuple[str, str]]:
        """The resolved settings as (name, value), in the order they are shown."""
        mine = ("method", "controls")
        lines = [(name, value) for name, value in self.plan.lines() if name not in mine]
        lines += [("curve", _described(series, self.cards[series.name])) for series in self.manifest.curves]
        beside = [series.name for series in self.manifest.series if series.control]
        return [*lines, ("controls", listed(beside) or "none")]


def _described(series: Series, card: MethodCard) -> str:
    defaults = method_class(card).Settings().model_dump(mode="json")
    changed = [f"{key}={value}" for key, value in series.settings.items() if value != defaults.get(key)]
    name = f"{series.name} ({series.method})" if series.variant else series.name
    draws = f", mean of {series.draws} draws" if series.draws > 1 else ""
    return f"{name}{draws}; {' '.join(changed) if changed else 'default settings'}"


def plan_sweep(request: SweepRequest, cache_dir: Path, reporter: Reporter = SILENT) -> SweepPlan:
    """Check everything that can be checked without reading a slide.

    Raises:
        UserError: a name, a setting or the split is wrong, or the data are not there.
    """
    variants = [parse_variant(text) for text in request.variants]
    if not request.methods and not variants:
        raise UserError("--methods: expected at least one method or a --variant, found none; see: stbench methods list")
    if twice := [name for name in request.methods if request.methods.count(name) > 1]:
        raise SettingError(f"--methods: expected {twice[0]} once, found it {request.methods.count(twice[0])} times")
    bases = tuple(dict.fromkeys([*request.methods, *(variant.method for variant in variants)]))
    single = replace(plan(replace(request, methods=bases), cache_dir, reporter), request=request)
    check_one_scale(single)
    found = _series(request, single, bases, variants)
    for place, series in enumerate(found):
        if series.variant:
            _check_name(series.name, [other.name for other in found[:place] if not other.control])
    manifest = SweepManifest(
        request=request.dump(),
        cohort=single.cohort.name,
        secret=single.cohort.secret,
        folds=folds_as_said(single),
        series=found,
    )
    return SweepPlan(single, manifest, cards_of(single, bases, found))


def check_one_fold(single: Plan) -> None:
    """Refuse what one page of ablations cannot hold.

    Raises:
        SettingError: several folds.
    """
    if len(single.folds) > 1:
        name = single.folds[0].name
        raise SettingError(f"--split: expected one fold, found {len(single.folds)}; give one of them, e.g. {name}")


def check_one_scale(single: Plan) -> None:
    """Refuse what one page of curves or tables cannot hold.

    Raises:
        SettingError: several scales.
    """
    scales = single.request.normalization
    if len(scales) > 1:
        raise SettingError(f"--normalize: expected one scale, found {listed(scales)}; use a folder for each")


def _series(request: SweepRequest, single: Plan, bases: Sequence[str], variants: Sequence[Variant]) -> list[Series]:
    runs = dict(zip(bases, single.runs, strict=False))  # the usual controls follow
    found = [series_of(runs[name], name, request) for name in request.methods]
    found += [varied(runs[one.method], one.name, one.method, request, one.overrides) for one in variants]
    taken = {series.name for series in found}
    beside = {card.name for card in single.usual if card.kind != "reference"} - taken
    usual = [run for run in single.runs if run.card.name in beside]
    return found + [series_of(run, run.card.name, request, control=True) for run in usual]


def cards_of(single: Plan, bases: Sequence[str], found: Sequence[Series]) -> dict[str, MethodCard]:
    """Series to the card of its method."""
    cards: dict[str, PlannedRun] = dict(zip(typed_names(replace_methods(single, bases)), single.runs, strict=True))
    return {series.name: cards[series.method].card for series in found}


def replace_methods(single: Plan, methods: Sequence[str]) -> Plan:
    """A plan as if these methods had been typed."""
    return replace(single, request=replace(single.request, methods=tuple(methods)))


def _check_name(name: str, taken: list[str]) -> None:
    """A name must mean one thing in the folder, in the table and in the catalogue."""
    if name in [*taken, "ceilings", *method_cards()]:
        raise SettingError(
            f"--variant {name}: expected a name that no method, control, ceiling or other variant has, found "
            f"one in use; choose another, e.g. {name}-2"
        )
