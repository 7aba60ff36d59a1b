"""From a plan to a grid: its series, its cells and their addresses, and what is left to do in a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stbench.catalogue import MethodCard, code_of
from stbench.errors import DataError, SettingError
from stbench.evaluation.given import SIGHTS
from stbench.evaluation.plan import Fold, Plan, PlannedRun
from stbench.evaluation.record import FILE_NAME as RECORD
from stbench.evaluation.record import read_record
from stbench.evaluation.request import Request
from stbench.evaluation.run import declared_draws, encoder_of
from stbench.evaluation.task import NO_ENCODER
from stbench.evaluation.tuned import check_choices, read_choices
from stbench.grids.cells import Cell, Listener, MethodRun, Outcome, finished
from stbench.grids.crew import call_early
from stbench.grids.desk import Desk
from stbench.grids.execute import execute, reporter_of
from stbench.grids.lock import only_one
from stbench.grids.manifest import ODD, FoldSlides, Manifest, Series, damage_of, join, write_manifest
from stbench.methods.registry import as_text, method_class, resolve_settings

TUNED = "-tuned"
"""Ends the name of the folder of a method's runs with tuned settings."""
_CHEAP, _INITIATED = 0.01, 0.001  # weight of a control against a method; who sees the truth comes last


@dataclass(frozen=True)
class GridPlan:
    """A grid whose names, settings, splits and data have been checked; nothing was written yet.

    Args:
        plan: what all cells share.
        manifest: what defines the cells asked for.
        cards: series to the card of its method.
        columns: what the columns of its live table are: ``genes``, ``seed``, ``fold`` or ``scale``.
    """

    plan: Plan
    manifest: Manifest
    cards: Mapping[str, MethodCard]
    columns: str = "genes"

    def lines(self) -> list[tuple[str, str]]:
        """The resolved settings as (name, value), in the order they are shown."""
        return self.plan.lines()

    def cells(self, manifest: Manifest) -> list[Cell]:
        """Every cell asked for: methods by fold, scale, panel size and seed, controls with one seed.

        Args:
            manifest: what the folder holds, the cells asked for among it.
        """
        asked = self.plan.request
        return [
            self._cell(manifest, series, fold, scale, genes, seed)
            for fold in self.plan.folds
            for scale in asked.normalization
            for genes in asked.genes
            for series in self.manifest.series
            for seed in ([manifest.control_seed] if series.control else asked.seeds)
        ]

    def desk_of(self, cell: Cell) -> Desk:
        """Who builds the task of a cell that is carried out on its own."""
        return Desk.of(self.plan)

    def _cell(self, manifest: Manifest, series: Series, fold: Fold, scale: str, genes: int, seed: int) -> Cell:
        asked, card = self.plan.request, self.cards[series.name]
        columns = {"genes": str(genes), "seed": str(seed), "fold": fold.name, "scale": scale}
        # one run makes all its records; a cell of a larger grid is repeated on its own
        said = asked if manifest.KIND == "run" else alone(asked, series, fold, scale, genes, seed)
        return Cell(
            folder=address(manifest, series, fold.name, scale, genes, seed),
            row=series.name,
            column=columns[self.columns],
            task=self.plan.task(fold, genes, scale),
            run=_method_run(card, asked, series, fold.name),
            seed=seed,
            command=said.command(),
            request=without_places(said),
            weight=_weight(series, genes),
            asked=not series.control,
        )


def _method_run(card: MethodCard, asked: Request, series: Series, fold: str) -> MethodRun:
    tuned = series.tuned.get(fold)
    chosen = {} if tuned is None else {name: as_text(value) for name, value in tuned.settings.items()}
    return MethodRun(card, asked.preset, {**series.overrides, **chosen}, asked.draws, tuned)


def _weight(series: Series, genes: int) -> float:
    """A training step has a part that does not know the panel."""
    share = _INITIATED if series.kind in SIGHTS else _CHEAP if series.control else 1.0
    return (100.0 + genes) * share


def without_places(request: Request) -> dict[str, Any]:
    """A request as a record keeps it: not where the data lie."""
    places = {name for name, one in request.options().items() if one.role == "place"}
    return {name: value for name, value in request.dump().items() if name not in places}


def alone(asked: Request, series: Series, fold: Fold, scale: str, genes: int, seed: int) -> Request:
    """What repeats one cell."""
    shared = {name: getattr(asked, name) for name, one in Request.options().items() if one.role == "shared"}
    return Request(
        **{
            **shared,
            "methods": (series.method,),
            "genes": (genes,),
            "seeds": (seed,),
            "split": fold.name,
            "normalization": (scale,),
            "overrides": tuple(f"{key}={value}" for key, value in series.overrides.items()),
            "secret": asked.secret,
            "controls": False,
        }
    )


def address(manifest: Manifest, series: Series, fold: str, scale: str, genes: int, seed: int) -> str:
    """Where a cell is kept below the folder of its grid."""
    if manifest.KIND != "run":
        within = f"{fold_folder(fold)}/" if len(manifest.folds) > 1 else ""
        return f"{within}g{genes}/{'ceilings' if series.ceiling else f'seed{seed}'}/{series.name}"
    if manifest.single:
        return series.name
    return f"{fold_folder(fold)}/{scale}/{series.name}-seed{seed}"


def fold_folder(fold: str) -> str:
    """Name of a fold's folder: the rule, or the split file's name without its ending."""
    return ODD.sub("-", Path(fold).stem if fold.endswith(".json") else fold)


def series_of(run: PlannedRun, typed: str, request: Request, **changes: object) -> Series:
    """A planned run as a series of a grid."""
    overrides = dict(run.overrides)
    said = {
        "name": run.card.name,
        "method": typed,
        "kind": run.card.kind,
        "variant": False,
        "control": not run.requested,
        "overrides": overrides,
        "settings": run.settings.model_dump(mode="json"),
        "draws": declared_draws(run.card, request.draws),
        "code": code_of(run.card),
    }
    return Series.model_validate({**said, **changes})


def varied(run: PlannedRun, name: str, typed: str, request: Request, overrides: Mapping[str, str]) -> Series:
    """A method under settings of its own as a series.

    Raises:
        UserError: a setting is wrong.
    """
    both = {**run.overrides, **overrides}
    settings = resolve_settings(run.card, method_class(run.card), request.preset, both)
    return series_of(
        run, typed, request, name=name, variant=True, control=False, overrides=both,
        settings=settings.model_dump(mode="json"),
    )  # fmt: skip


def typed_names(plan: Plan) -> list[str]:
    """What was typed for each run of a plan; controls go by their names."""
    asked = list(plan.request.methods)
    return asked + [run.card.name for run in plan.runs[len(asked) :]]


def folds_as_said(plan: Plan) -> list[FoldSlides]:
    """The folds of a plan as a manifest keeps them."""
    return [
        FoldSlides(
            name=fold.name,
            train=sorted(fold.split.train),
            validation=sorted(fold.split.validation),
            test=sorted(fold.split.test),
        )
        for fold in plan.folds
    ]


def run_grid(plan: Plan) -> GridPlan:
    """The grid of ``stbench run``: one column, methods by seeds and folds and scales.

    Raises:
        SettingError: several panel sizes.
    """
    asked = plan.request
    if len(asked.genes) > 1:
        raise SettingError(
            f"--genes: expected one panel size, found {len(asked.genes)}; stbench sweep-genes runs several"
        )
    runs = list(zip(plan.runs, typed_names(plan), strict=True))
    series = [series_of(run, typed, asked) for run, typed in runs]
    series += [] if asked.tuned is None else _tuned_series(plan, Path(asked.tuned), runs)
    manifest = Manifest(
        request=asked.dump(),
        cohort=plan.cohort.name,
        secret=plan.cohort.secret,
        folds=folds_as_said(plan),
        series=series,
        single=len(plan.folds) * len(asked.normalization) * len(asked.seeds) == 1,
    )
    axes = {"seed": len(asked.seeds), "fold": len(plan.folds), "scale": len(asked.normalization)}
    longest = max(axes, key=lambda axis: axes[axis])
    cards = {typed: run.card for run, typed in runs}
    return GridPlan(plan, manifest, {one.name: cards[one.method] for one in series}, longest)


def _tuned_series(plan: Plan, folder: Path, runs: Sequence[tuple[PlannedRun, str]]) -> list[Series]:
    """A series beside every method that was named, with the settings that a study chose for it in every fold.

    Raises:
        UserError: it is no study, or one of another task, of other folds or without one of the methods.
    """
    asked, choices = plan.request, read_choices(folder)
    named = [(run, typed) for run, typed in runs if run.requested]
    folds = {fold.name: fold.split for fold in plan.folds}
    check_choices(folder, choices, asked, folds, [run.card.name for run, _ in named])
    return [
        series_of(
            run, typed, asked, name=f"{run.card.name}{TUNED}", variant=True,
            tuned={fold: choices[fold, run.card.name].tuned for fold in folds},
        )
        for run, typed in named
    ]  # fmt: skip


def choose_folder(grid: GridPlan, asked: Path | None) -> Path:
    """What was asked for, else ``runs/`` and a name of the settings.

    The same command finds the same folder again, and so continues.
    """
    return asked or Path("runs") / grid.manifest.name


@dataclass(frozen=True)
class Work:
    """What is left to do in a folder.

    Args:
        out: the folder.
        manifest: the grid of the folder, grown by what is asked.
        cells: every cell asked for.
        earlier: those finished in earlier sessions, and how.
        note: that the file which says what the folder holds is damaged, empty where it is not.
    """

    out: Path
    manifest: Manifest
    cells: list[Cell]
    earlier: dict[Cell, Outcome]
    note: str = ""

    @property
    def waiting(self) -> list[Cell]:
        """Cells that have to be run."""
        return [cell for cell in self.cells if cell not in self.earlier]

    @property
    def one_task(self) -> bool:
        """Whether all cells ask for the same task."""
        return len({cell.task for cell in self.cells}) == 1


def open_work(grid: GridPlan, out: Path) -> Work:
    """Compare what is asked with what lies in a folder; writes nothing.

    Raises:
        UserError: the folder holds something else, or a grid made with other settings.
    """
    manifest = join(out, grid.manifest)
    cells = _expecting(grid.cells(manifest), out)
    earlier = {cell: outcome for cell in cells if (outcome := finished(out, cell)) is not None}
    reason = damage_of(out / manifest.FILE)
    note = f"{manifest.FILE}: expected it as it was written, found {reason}; its copy takes its place" if reason else ""
    return Work(out, manifest, cells, earlier, note)


def _expecting(cells: Sequence[Cell], out: Path) -> list[Cell]:
    """Cells that know the hash which finished cells of their task have."""
    known: dict[object, str] = {}
    for cell in cells:
        path = out / cell.folder / RECORD
        if cell.task in known or not path.is_file():
            continue
        with suppress(DataError):
            record = read_record(path)
            if record.status != "failed":
                known[cell.task] = record.task.hash
    return [replace(cell, expected=known.get(cell.task)) for cell in cells]


def carry_out(grid: GridPlan, work: Work, jobs: int, listener: Listener) -> dict[str, Outcome]:
    """Run what is left to do.

    Returns:
        Folder of every cell asked for to its outcome.

    Raises:
        UserError: another process is at work in the folder, or it cannot be written; where all cells share one task,
            that it is not possible.
    """
    asked = dict.fromkeys(encoder_of(cell.run.card) or grid.plan.encoder_name for cell in work.waiting)
    desk = Desk.of(grid.plan, tuple(name for name in asked if name != NO_ENCODER))
    if work.waiting:
        call_early()
    if work.one_task and work.waiting:
        desk.warm_up(work.waiting, reporter_of(work.waiting[0], listener))
    with only_one(work.out):
        write_manifest(work.out, join(work.out, grid.manifest))  # another command may have added to it since
        fresh = execute(work.waiting, desk, work.out, jobs, listener)
    return {cell.folder: outcome for cell, outcome in work.earlier.items()} | fresh
