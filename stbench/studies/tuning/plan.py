"""From a request to a study: outer folds, inner folds, the space of every method, and the cells of a trial."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from stbench.catalogue import usual_controls
from stbench.catalogue.search import Knob
from stbench.data.parts import PARTS
from stbench.evaluation.plan import Fold, Plan, PlannedRun, plan
from stbench.evaluation.run import encoder_of
from stbench.evaluation.task import NO_ENCODER
from stbench.files import write_text
from stbench.grids.cells import Cell, MethodRun
from stbench.grids.desk import Desk
from stbench.grids.manifest import FoldSlides, Manifest, Series
from stbench.grids.plan import (
    GridPlan,
    alone,
    choose_folder,
    fold_folder,
    folds_as_said,
    series_of,
    typed_names,
    without_places,
)
from stbench.methods.registry import method_class, resolve_settings
from stbench.reporting import SILENT, Reporter
from stbench.studies.tuning.inner import Inner, inner_folds, without_test
from stbench.studies.tuning.ledger import Ledger, Trial
from stbench.studies.tuning.manifest import TuningManifest
from stbench.studies.tuning.request import TuneRequest
from stbench.studies.tuning.space import space_of
from stbench.text import duration

CONTROLS = "controls"
_WHOLE_COHORT = (
    "features of this cohort are made from the counts of all its slides, those that test among them; with --secret "
    "they are made per fold, from its training slides"
)


@dataclass(frozen=True)
class TuningPlan(GridPlan):
    """A study whose names, settings, splits and data have been checked; nothing was written yet.

    Args:
        inner: outer fold to its inner folds.
        spaces: method to its knobs, without those that are set by hand.
        out: folder of the study.
    """

    inner: Mapping[str, Inner] = field(default_factory=dict)
    spaces: Mapping[str, Mapping[str, Knob]] = field(default_factory=dict)
    out: Path = Path()

    @property
    def request(self) -> TuneRequest:
        """What was asked for."""
        assert isinstance(self.plan.request, TuneRequest)
        return self.plan.request

    @property
    def study(self) -> TuningManifest:
        """What the study is made of."""
        assert isinstance(self.manifest, TuningManifest)
        return self.manifest

    def lines(self) -> list[tuple[str, str]]:
        """The resolved settings as (name, value), in the order they are shown."""
        asked = self.request
        lines = [(name, value) for name, value in self.plan.lines() if name != CONTROLS]
        said = dict.fromkeys(inner.said for inner in self.inner.values())
        lines += [("inner folds", text) for text in said]
        limit = "" if asked.minutes is None else f", at most {duration(60 * asked.minutes)} of them"
        lines += [("trials", f"{asked.trials} of every method in every outer fold{limit}")]
        for series in self.manifest.series:
            knobs = [f"{name} {knob.text}" for name, knob in self.spaces[series.name].items()]
            lines.append((f"tunes {series.name}", f"by {self.study.search[series.name].objective}; {'; '.join(knobs)}"))
        caveat = self.study.caveat
        return [*lines, ("fits", f"{len(self.foreseen())} at most"), *([("note", caveat)] if caveat else [])]

    def cells(self, manifest: Manifest) -> list[Cell]:
        """Every cell asked for so far: the controls', and those of the trials in the journal."""
        ledger = Ledger(self.out)
        found = [cell for fold in self.plan.folds for cell in self.bars_of(fold)]
        for fold in self.plan.folds:
            for series in self.manifest.series:
                for trial in ledger.trials(study_name(fold.name, series.name)):
                    found += [cell for step in self.trial_of(fold, series, trial) for cell in step]
        return found

    def foreseen(self) -> list[Cell]:
        """As many cells as trials can have, all with the preset's own settings."""
        first = Trial(0, "running", {}, {})
        pairs = [(fold, series) for series in self.manifest.series for fold in self.plan.folds]
        cells = [cell for pair in pairs for step in self.trial_of(*pair, first) for cell in step]
        return cells * self.request.trials

    def bars_of(self, fold: Fold) -> list[Cell]:
        """Cells of the controls on every inner fold of an outer one."""
        seed = self.request.seeds[0]
        return [
            self._inner_cell(fold, inner, series, {}, f"{CONTROLS}/{series.name}/{inner_name(place)}", seed)
            for place, inner in enumerate(self.inner_folds(fold))
            for series in self.study.bars
        ]  # fmt: skip

    def trial_of(self, fold: Fold, series: Series, trial: Trial) -> list[list[Cell]]:
        """Cells of a trial: one list per inner fold, with one cell per seed."""
        place = f"{series.name}/trial-{trial.number:03d}"
        return [
            [
                self._inner_cell(fold, inner, series, trial.overrides, f"{place}/{inner_name(number)}-seed{seed}", seed)
                for seed in self.request.seeds
            ]
            for number, inner in enumerate(self.inner_folds(fold))
        ]

    def inner_folds(self, fold: Fold) -> list[Fold]:
        """Inner folds of an outer one, named by the files of their splits."""
        here = self.out / fold_folder(fold.name)
        splits = self.inner[fold.name].splits
        return [Fold(str(here / f"{inner_name(place)}.json"), split) for place, split in enumerate(splits)]

    def write_splits(self) -> None:
        """Write the split files that cells are built from."""
        for fold in self.plan.folds:
            for inner in self.inner_folds(fold):
                said = {part: list(getattr(inner.split, part)) for part in PARTS}
                write_text(Path(inner.name), json.dumps(said, indent=1) + "\n", hint="choose another --out")

    def desk(self, fold: Fold) -> Desk:
        """Builds the tasks of inner folds; no slide that the outer fold tests can be read from its cohort."""
        cards = [self.cards[series.name] for series in (*self.manifest.series, *self.study.bars)]
        encoders = dict.fromkeys(encoder_of(card) or self.plan.encoder_name for card in cards)
        desk = Desk.of(self.plan, tuple(name for name in encoders if name != NO_ENCODER))
        kept = without_test(self.plan.cohort, fold.split)
        return Desk(
            kept, desk.card, desk.encoder, desk.cache_dir, desk.device, desk.encoders, len(self.inner[fold.name].splits)
        )

    def desk_of(self, cell: Cell) -> Desk:
        """The desk of the outer fold that a cell belongs to."""
        fold = next(one for one in self.plan.folds if cell.folder.startswith(f"{fold_folder(one.name)}/"))
        return self.desk(fold)

    def _inner_cell(
        self, fold: Fold, inner: Fold, series: Series, overrides: Mapping[str, str], place: str, seed: int
    ) -> Cell:
        asked, genes, scale = self.request, self.request.genes[0], self.request.normalization[0]
        both = {**series.overrides, **overrides}
        said = alone(asked, series.model_copy(update={"overrides": both}), inner, scale, genes, seed)
        return Cell(
            folder=f"{fold_folder(fold.name)}/{place}",
            row=series.name,
            column=fold.name,
            task=self.plan.task(inner, genes, scale),
            run=MethodRun(self.cards[series.name], asked.preset, both, asked.draws),
            seed=seed,
            command=said.command(),
            request=without_places(said),
        )


def inner_name(place: int) -> str:
    """Name of an inner fold by its place."""
    return f"inner-{place + 1}"


def study_name(fold: str, method: str) -> str:
    """Name of the trials of a method in an outer fold, in the journal."""
    return f"{fold}/{method}"


def plan_tuning(request: TuneRequest, out: Path, cache_dir: Path, reporter: Reporter = SILENT) -> TuningPlan:
    """Check everything that can be checked without reading a slide.

    Args:
        request: what the user asks for.
        out: folder of the study.
        cache_dir: folder of the caches.
        reporter: is told of slides that are made.

    Raises:
        UserError: a name, a number, a space or the split is wrong, the slides are too few, or the data are not there.
    """
    request.check()
    single = plan(replace(request, controls=False), cache_dir, reporter)
    single = replace(single, request=request)
    spaces = {run.card.name: space_of(run.card, request.preset, run.overrides) for run in single.runs}
    inner = {fold.name: _inner(single, fold, request.inner) for fold in single.folds}
    bars = _bars(single)
    manifest = TuningManifest(
        request=request.dump(),
        cohort=single.cohort.name,
        secret=single.cohort.secret,
        folds=folds_as_said(single),
        series=[series_of(run, typed, request) for run, typed in zip(single.runs, typed_names(single), strict=True)],
        inner={name: _said(found) for name, found in inner.items()},
        said={name: found.said for name, found in inner.items()},
        search={run.card.name: run.card.search for run in single.runs if run.card.search is not None},
        caveat=_caveat(single),
        bars=[series_of(run, run.card.name, request, control=True) for run in bars],
    )
    cards = {run.card.name: run.card for run in (*bars, *single.runs)}
    return TuningPlan(single, manifest, cards, "fold", inner, spaces, out)


def choose_study(found: TuningPlan, asked: Path | None) -> TuningPlan:
    """The same in the folder asked for, else in one below ``runs/`` whose name follows from the settings."""
    return replace(found, out=choose_folder(found, asked))


def _inner(single: Plan, fold: Fold, most: int) -> Inner:
    mine = without_test(single.cohort, fold.split)
    return inner_folds(mine.refs, most, single.request.split_seed, validates=bool(fold.split.validation))


def _said(inner: Inner) -> list[FoldSlides]:
    return [
        FoldSlides(name=inner_name(place), **{part: sorted(getattr(split, part)) for part in PARTS})
        for place, split in enumerate(inner.splits)
    ]


def _caveat(single: Plan) -> str:
    return _WHOLE_COHORT if single.card.semi_synthetic and single.cohort.secret is None else ""


def _bars(single: Plan) -> list[PlannedRun]:
    """The usual controls under the preset's own settings, whatever is tuned."""
    preset = single.request.preset
    cards = [card for card in usual_controls(single.origin) if card.kind == "control"]  # what sees the truth is no bar
    return [PlannedRun(card, {}, resolve_settings(card, method_class(card), preset, {}), False) for card in cards]
