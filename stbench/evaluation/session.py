"""From names to records: resolve what the user asked for, then run every method on one task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel

from stbench.catalogue import DatasetCard, MethodCard
from stbench.data.cohort import Cohort
from stbench.data.normalize import check_normalization
from stbench.data.opening import find_card, open_dataset
from stbench.data.readers.layout import missing_slides
from stbench.data.splits import PROTOCOLS, Split, is_protocol, leak_fraction
from stbench.errors import SettingError, UnknownNameError, UserError
from stbench.evaluation.ceilings import write_ceilings
from stbench.evaluation.choices import Choices, parse_patch
from stbench.evaluation.identity import default_patch, patch_text
from stbench.evaluation.record import Record
from stbench.evaluation.run import declared_draws, run_method
from stbench.evaluation.task import NO_PATCH, TaskSettings, build_task, make_split
from stbench.features.encoders import load_encoder, needs_pictures
from stbench.methods.registry import check_preset, find_method, method_class, resolve_settings
from stbench.reporting import SILENT, Reporter
from stbench.text import pairs

CONTROLS = (
    "training-mean",
    "same-patient-mean",
    "random-spot",
    "spatial-neighbours",
    "ridge",
    "ridge-rgb",
    "total-counts",
)
"""Run with every method unless asked not to; cheap ones first."""


@dataclass(frozen=True)
class PlannedRun:
    """One method of a plan.

    Args:
        card: the method.
        overrides: its settings from ``--set``.
        settings: all its settings, resolved.
        requested: whether the user named it, in contrast to the usual controls.
    """

    card: MethodCard
    overrides: Mapping[str, str]
    settings: BaseModel
    requested: bool


@dataclass(frozen=True)
class Plan:
    """A session whose names, settings, split and data have been checked; nothing was written yet.

    Args:
        choices: what the user asked for.
        cohort: the slides.
        card: the cohort's card.
        task: settings of the task.
        split: who trains, validates and tests.
        runs: methods in the order they run.
        device: torch device.
    """

    choices: Choices
    cohort: Cohort
    card: DatasetCard
    task: TaskSettings
    split: Split
    runs: tuple[PlannedRun, ...]
    device: str

    @property
    def leak_fraction(self) -> float | None:
        """Share of test slides with a training patient, None when a patient is unknown."""
        return leak_fraction(self.split, self.cohort.refs)

    @property
    def left_out(self) -> dict[str, list[str]]:
        """Reason to slides that are not used."""
        reasons: dict[str, list[str]] = {}
        for slide, reason in self.cohort.left_out.items():
            reasons.setdefault(reason, []).append(slide)
        if missing := missing_slides(self.cohort, self.card.slides):
            reasons[f"not there, of the {len(self.card.slides)} slides of the card"] = missing
        if unused := [slide for slide in self.cohort.ids if slide not in self.split.slides]:
            reasons["not named by the split"] = unused
        return reasons

    def lines(self) -> list[tuple[str, str]]:
        """The resolved settings as (name, value), in the order they are shown."""
        choices, split = self.choices, self.split
        chosen = f", seed {choices.split_seed}" if is_protocol(choices.split) else ""
        sizes = ", ".join(f"{part} {len(getattr(split, part))}" for part in ("train", "validation", "test"))
        return [
            ("dataset", f"{self.cohort.name} ({self.cohort.layout} layout, {len(self.cohort.refs)} slides)"),
            ("genes", str(choices.genes)),
            ("scale", choices.normalization),
            ("encoder", self.task.encoder),
            *([("about", self.cohort.about)] if self.cohort.about else []),
            (
                "patch",
                NO_PATCH if self.card.semi_synthetic else patch_text(self.task.patch or default_patch(self.card)),
            ),
            ("split", f"{choices.split}{chosen}: {sizes}"),
            *((part, ", ".join(getattr(split, part))) for part in ("validation", "test")),
            ("leak", self._leak()),
            *(("left out", f"{', '.join(slides)}: {reason}") for reason, slides in self.left_out.items()),
            ("preset", choices.preset),
            ("seed", str(choices.seed)),
            ("device", self.device),
            *(("method", self._method(run)) for run in self.runs if run.requested),
            ("controls", ", ".join(run.card.name for run in self.runs if not run.requested) or "none"),
        ]

    def _leak(self) -> str:
        if self.leak_fraction is None:
            return "unknown, as patients are"
        return f"{self.leak_fraction:.0%} of test slides share a patient with training"

    def _method(self, run: PlannedRun) -> str:
        defaults = type(run.settings)()
        changed = [f"{key}={value}" for key, value in run.settings if value != getattr(defaults, key)]
        draws = declared_draws(run.card, self.choices.draws)
        said = f"{run.card.name}, mean of {draws} draws" if draws > 1 else run.card.name
        return f"{said}; {' '.join(changed) if changed else 'default settings'}"


def plan(choices: Choices, cache_dir: Path, reporter: Reporter = SILENT) -> Plan:
    """Check everything that can be checked without reading a slide.

    Raises:
        UserError: a name, a setting or the split is wrong, or the data are not there.
    """
    runs = _planned_runs(choices)
    for run in runs:
        declared_draws(run.card, choices.draws)
    check_normalization(choices.normalization)
    encoder = choices.encoder or find_card(choices.dataset).encoder
    ready = load_encoder(encoder, weights=choices.weights)
    task = TaskSettings(
        genes=_panel_size(choices.genes),
        split=_split_source(choices.split),
        seed=choices.split_seed,
        normalization=choices.normalization,
        encoder=encoder,
        weights=choices.weights,
        patch=parse_patch(choices.patch),
    )
    device = choose_device(choices.device)
    pictured = needs_pictures(choices.encoder)
    cohort, card = open_dataset(
        choices.dataset, choices.data_root, choices.simulate, cache_dir, reporter, require_image=pictured
    )
    split = make_split(cohort, task)
    ready.of(split.slides)
    return Plan(choices, cohort, card, task, split, runs, device)


def _panel_size(genes: int) -> int:
    if genes < 2:
        raise SettingError(f"expected at least 2 genes (a correlation needs two), found --genes {genes}")
    return genes


def _split_source(split: str) -> str:
    if not is_protocol(split) and not Path(split).is_file():
        raise UnknownNameError("split", split, PROTOCOLS, hint="or give a JSON file; there is none of this name")
    return split


def choose_device(asked: str) -> str:
    """``auto`` takes the GPU if there is one.

    Raises:
        SettingError: an unknown device, or ``cuda`` where there is none.
    """
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked not in ("cpu", "cuda"):
        raise UnknownNameError("device", asked, ("auto", "cpu", "cuda"))
    if asked == "cuda" and not torch.cuda.is_available():
        raise SettingError("--device cuda: expected a CUDA device, found none; use --device auto or cpu")
    return asked


def _planned_runs(choices: Choices) -> tuple[PlannedRun, ...]:
    requested = [find_method(name) for name in choices.methods]
    names = [card.name for card in requested]
    if not names:
        raise UserError("expected at least one --method, found none; see: stbench methods list")
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"expected every method once, found {twice[0]} twice; use two runs for two settings")
    controls = [find_method(name) for name in CONTROLS if choices.controls and name not in names]
    check_preset(choices.preset, requested)
    overrides = _overrides(pairs("--set", choices.overrides), requested, controls)
    return tuple(
        PlannedRun(card, own, resolve_settings(card, method_class(card), choices.preset, dict(own)), card in requested)
        for card in [*requested, *controls]
        for own in [overrides[card.name]]
    )


def _overrides(
    said: Mapping[str, str], requested: list[MethodCard], controls: list[MethodCard]
) -> dict[str, dict[str, str]]:
    """Settings by method: a plain key goes to every requested method that has it, ``method.key`` to that one."""
    found: dict[str, dict[str, str]] = {card.name: {} for card in [*requested, *controls]}
    owned = {card.name: set(method_class(card).Settings.model_fields) for card in requested}
    for key, value in said.items():
        name, dot, setting = key.rpartition(".")
        if dot and name not in found:
            raise UnknownNameError("method of this run", name, found)
        owners = [name] if dot else [name for name, known in owned.items() if key in known]
        if not owners:
            raise UnknownNameError(f"setting of {' or '.join(owned)}", key, set().union(*owned.values()))
        for owner in owners:
            if dot or f"{owner}.{key}" not in said:
                found[owner][setting] = value
    return found


def choose_out(plan: Plan, asked: Path | None, *, resume: bool) -> Path:
    """What was asked for, else ``runs/<dataset>-g<genes>-<local time>``.

    Raises:
        UserError: ``resume`` without a folder to resume.
    """
    if asked is None and resume:
        raise UserError("--resume: expected the --out of the run to go on with, found none; add --out FOLDER")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return asked or Path("runs") / f"{plan.cohort.name}-g{plan.choices.genes}-{stamp}"


def check_out(plan: Plan, out: Path, *, resume: bool) -> None:
    """Refuse an output folder in use before anything slow begins.

    Raises:
        UserError: a folder of one of the methods holds something and ``resume`` is off.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"expected a folder for the runs at {out}, found a file; choose another --out")
    for run in plan.runs:
        folder = out / run.card.name
        if not resume and folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"{folder} already holds a run; --resume continues it, or choose another --out")


def carry_out(plan: Plan, out: Path, *, resume: bool, cache_dir: Path, reporter: Reporter = SILENT) -> Iterator[Record]:
    """Build the task and run every method of a plan, each in ``out/<method>``.

    Yields:
        One record per method, as soon as it is there; a method that fails or refuses ends as a record too. Last come
        the ceilings of a generated cohort.

    Raises:
        UserError: an input or the output folder is wrong; what is done already stays.
    """
    check_out(plan, out, resume=resume)
    task = build_task(plan.cohort, plan.card, plan.task, cache_dir, reporter, plan.device)
    for run in plan.runs:
        yield run_method(
            task,
            run.card,
            folder=out / run.card.name,
            preset=plan.choices.preset,
            overrides=run.overrides,
            seed=plan.choices.seed,
            draws=plan.choices.draws,
            device=plan.device,
            resume=resume,
            command=plan.choices.command(),
            reporter=reporter,
        )
    if plan.choices.controls:
        yield from write_ceilings(task, out, plan.choices.command())
