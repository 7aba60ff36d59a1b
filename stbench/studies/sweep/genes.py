"""The sweep over panel sizes: from names to a grid of cells, and from a grid to curves."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from stbench.catalogue import MethodCard, method_cards
from stbench.errors import DataError, SettingError, UserError
from stbench.evaluation.ceilings import CEILINGS
from stbench.evaluation.choices import Choices
from stbench.evaluation.record import FILE_NAME as RECORD
from stbench.evaluation.record import read_record
from stbench.evaluation.run import declared_draws
from stbench.evaluation.session import CONTROLS, Plan, PlannedRun, plan
from stbench.grids.execute import execute, only_one
from stbench.grids.grid import Cell, Listener, MethodRun, Outcome, Source, finished
from stbench.grids.manifest import Manifest, Series, join, write_manifest
from stbench.methods.registry import method_class, resolve_settings
from stbench.reporting import SILENT, Reporter
from stbench.studies.sweep.choices import SweepChoices, Variant

CEILING_ROW = "ceilings"
_CHEAP = 0.01  # weight of a control against a method


@dataclass(frozen=True)
class SweepPlan:
    """A sweep whose names, settings, split and data have been checked; nothing was written yet.

    Args:
        choices: what the user asked for.
        plan: the same for a single run.
        manifest: what defines the cells asked for.
        cards: series to the card of its method.
        cache_dir: folder of the caches.
        columns: what the columns of its live table are, ``genes`` or ``seed``.
    """

    choices: SweepChoices
    plan: Plan
    manifest: Manifest
    cards: dict[str, MethodCard]
    cache_dir: Path
    columns: Literal["genes", "seed"] = "genes"

    @property
    def source(self) -> Source:
        """From what a worker opens the cohort."""
        return Source(self.choices.run, self.cache_dir, self.plan.device)

    def lines(self) -> list[tuple[str, str]]:
        """The resolved settings as (name, value), in the order they are shown."""
        manifest = self.manifest
        mine = {"genes": _listed(manifest.genes), "seed": _listed(manifest.seeds), "method": "", "controls": ""}
        lines = [(name, mine.get(name, value)) for name, value in self.plan.lines() if mine.get(name, value)]
        lines += [("curve", _described(series, self.cards[series.name])) for series in asked_series(manifest)]
        controls = [series.name for series in manifest.series if series.control]
        return [*lines, ("controls", ", ".join(controls) or "none")]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers)


def _described(series: Series, card: MethodCard) -> str:
    defaults = method_class(card).Settings().model_dump(mode="json")
    changed = [f"{key}={value}" for key, value in series.settings.items() if value != defaults.get(key)]
    name = f"{series.name} ({series.method})" if series.variant else series.name
    draws = f", mean of {series.draws} draws" if series.draws > 1 else ""
    return f"{name}{draws}; {' '.join(changed) if changed else 'default settings'}"


def asked_series(manifest: Manifest) -> list[Series]:
    """Series that are curves, in contrast to the usual controls."""
    return [series for series in manifest.series if not series.control]


def plan_sweep(choices: SweepChoices, cache_dir: Path, reporter: Reporter = SILENT) -> SweepPlan:
    """Check everything that can be checked without reading a slide.

    Raises:
        UserError: a name, a setting or the split is wrong, or the data are not there.
    """
    if not choices.methods and not choices.variants:
        raise UserError("--methods: expected at least one method or a --variant, found none; see: stbench methods list")
    sweep = sweep_of(choices, plan(choices.one(), cache_dir, reporter), cache_dir)
    asked = asked_series(sweep.manifest)
    for place, series in enumerate(asked):
        if series.variant:
            _check_name(series.name, [other.name for other in asked[:place]])
    return sweep


def sweep_of(choices: SweepChoices, single: Plan, cache_dir: Path) -> SweepPlan:
    """The sweep of some choices.

    Args:
        choices: what the user asked for.
        single: the plan of one run with all its methods.
        cache_dir: folder of the caches.

    Raises:
        UserError: a setting of a variant is wrong.
    """
    typed = dict(zip(choices.one().methods, single.runs, strict=False))  # the usual controls follow
    found = [_series(typed[name], name, choices.run) for name in choices.methods]
    found += [_series(typed[variant.method], variant.method, choices.run, variant) for variant in choices.variants]
    if choices.run.controls:
        taken = {series.name for series in found}
        usual = [run for run in single.runs if run.card.name in set(CONTROLS) - taken]
        found += [_series(run, run.card.name, choices.run, control=True) for run in usual]
    cards = {series.name: (typed.get(series.method) or _named(single, series.method)).card for series in found}
    return SweepPlan(choices, single, _manifest(choices, single, found), cards, cache_dir)


def _named(single: Plan, name: str) -> PlannedRun:
    return next(run for run in single.runs if run.card.name == name)


def _series(
    run: PlannedRun, typed: str, choices: Choices, variant: Variant | None = None, *, control: bool = False
) -> Series:
    overrides = {**run.overrides, **(variant.overrides if variant else {})}
    settings = resolve_settings(run.card, method_class(run.card), choices.preset, overrides)
    return Series(
        name=variant.name if variant else run.card.name,
        method=typed,
        kind=run.card.kind,
        variant=variant is not None,
        control=control,
        overrides=overrides,
        settings=settings.model_dump(mode="json"),
        draws=declared_draws(run.card, choices.draws),
    )


def _check_name(name: str, taken: list[str]) -> None:
    """A name must mean one thing in the folder, in the table and in the catalogue."""
    ceilings = [CEILING_ROW, *(ceiling.name for known in CEILINGS.values() for ceiling in known)]
    if name in [*taken, *ceilings, *method_cards()]:
        raise SettingError(
            f"--variant {name}: expected a name that no method, control, ceiling or other variant has, found "
            f"one in use; choose another, e.g. {name}-2"
        )


def _manifest(choices: SweepChoices, single: Plan, series: list[Series]) -> Manifest:
    run = choices.run
    has_ceilings = run.controls and (single.card.simulated or single.card.semi_synthetic)
    return Manifest(
        dataset=run.dataset,
        cohort=single.cohort.name,
        simulate=list(run.simulate),
        split=run.split,
        split_seed=run.split_seed,
        train=sorted(single.split.train),
        validation=sorted(single.split.validation),
        test=sorted(single.split.test),
        normalization=run.normalization,
        encoder=run.encoder,
        weights=str(run.weights) if run.weights else None,
        patch=run.patch,
        preset=run.preset,
        draws=run.draws,
        genes=list(choices.genes),
        seeds=list(choices.seeds),
        control_seed=min(choices.seeds),
        series=series,
        ceilings=has_ceilings,
    )


def choose_folder(sweep: SweepPlan, asked: Path | None) -> Path:
    """What was asked for, else ``runs/<cohort>-genes-<split>-<digits of the settings>``.

    The same command finds the same folder again, and so continues.
    """
    return asked or Path("runs") / sweep.manifest.name


def sweep_cells(sweep: SweepPlan, manifest: Manifest) -> list[Cell]:
    """Every cell asked for: methods by panel size and seed, controls and ceilings once per panel size.

    Args:
        sweep: what is asked for.
        manifest: what the folder holds, the cells asked for among it.
    """
    cells = []
    for genes in sweep.manifest.genes:
        for series in sweep.manifest.series:
            seeds = [manifest.control_seed] if series.control else sweep.manifest.seeds
            cells += [_cell(sweep, series, genes, seed) for seed in seeds]
        if sweep.manifest.ceilings:
            cells.append(_ceilings(sweep, genes))
    return cells


def folder_of(name: str, genes: int, seed: int) -> str:
    """Where a cell is kept below the folder of the sweep."""
    return f"g{genes}/seed{seed}/{name}"


def _cell(sweep: SweepPlan, series: Series, genes: int, seed: int) -> Cell:
    run = sweep.choices.run
    # a training step has a part that does not know the panel
    weight = (100.0 + genes) * (_CHEAP if series.control else 1.0)
    return Cell(
        folder=folder_of(series.name, genes, seed),
        row=series.name,
        column=str(genes if sweep.columns == "genes" else seed),
        task=replace(sweep.plan.task, genes=genes),
        run=MethodRun(sweep.cards[series.name], run.preset, series.overrides, run.draws),
        seed=seed,
        command=_command(sweep, series, genes, seed),
        weight=weight,
        asked=not series.control,
    )


def _ceilings(sweep: SweepPlan, genes: int) -> Cell:
    return Cell(
        folder=ceilings_folder(genes),
        row=CEILING_ROW,
        column=str(genes),
        task=replace(sweep.plan.task, genes=genes),
        run=None,
        command=sweep.manifest.command(),
        weight=(100.0 + genes) * _CHEAP,
        asked=False,
    )


def ceilings_folder(genes: int) -> str:
    """Where the ceilings of a panel size are kept below the folder of the sweep."""
    return f"g{genes}/{CEILING_ROW}"


def _command(sweep: SweepPlan, series: Series, genes: int, seed: int) -> str:
    """The command that repeats one cell."""
    overrides = tuple(f"{key}={value}" for key, value in series.overrides.items())
    alone = replace(
        sweep.choices.run, methods=(series.method,), genes=genes, seed=seed, overrides=overrides, controls=False
    )
    return alone.command()


@dataclass(frozen=True)
class Work:
    """What is left to do in a folder.

    Args:
        out: the folder.
        manifest: the sweep of the folder, grown by what is asked.
        cells: every cell asked for.
        earlier: those finished in earlier sessions, and how.
    """

    out: Path
    manifest: Manifest
    cells: list[Cell]
    earlier: dict[Cell, Outcome]

    @property
    def waiting(self) -> list[Cell]:
        return [cell for cell in self.cells if cell not in self.earlier]


def open_work(sweep: SweepPlan, out: Path) -> Work:
    """Compare what is asked with what lies in a folder; writes nothing.

    Raises:
        UserError: the folder holds something else, or a sweep made with other settings.
    """
    manifest = join(out, sweep.manifest)
    tasks = {genes: _known_task(out / f"g{genes}") for genes in sweep.manifest.genes}
    cells = [replace(cell, expected=tasks[cell.task.genes]) for cell in sweep_cells(sweep, manifest)]
    earlier = {cell: outcome for cell in cells if (outcome := finished(out, cell)) is not None}
    return Work(out, manifest, cells, earlier)


def _known_task(folder: Path) -> str | None:
    """Hash of the task that the finished cells below a folder have."""
    for path in sorted(folder.rglob(RECORD)):
        with suppress(DataError):
            record = read_record(path)
            if record.status != "failed":
                return record.task.hash
    return None


def carry_out_sweep(sweep: SweepPlan, work: Work, jobs: int, listener: Listener) -> dict[str, Outcome]:
    """Run what is left to do.

    Returns:
        Folder of every cell asked for to its outcome.

    Raises:
        UserError: another process is at work in the folder, or it cannot be written.
    """
    with only_one(work.out):
        write_manifest(work.out, work.manifest)
        fresh = execute(work.waiting, sweep.source, work.out, jobs, listener)
    return {cell.folder: outcome for cell, outcome in work.earlier.items()} | fresh
