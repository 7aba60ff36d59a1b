"""From a request to a plan: every name, setting, split and file checked; nothing was written yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel

from stbench.catalogue import DatasetCard, MethodCard, method_cards, usual_controls
from stbench.data.cohort import Cohort
from stbench.data.gene_sets import read_gene_sets
from stbench.data.normalize import check_normalization
from stbench.data.opening import find_card
from stbench.data.parts import PARTS, Split
from stbench.data.readers.layout import missing_slides
from stbench.data.splits import folds_of, is_protocol, is_rule_of_folds, leak_fraction
from stbench.errors import UnknownNameError, UserError
from stbench.evaluation.asked import check_split, choose_device, open_asked, split_settings
from stbench.evaluation.build import make_split
from stbench.evaluation.exposure import exposures_in_words
from stbench.evaluation.identity import default_patch, patch_text
from stbench.evaluation.kept_draws import most_kept
from stbench.evaluation.pretrained import scored_by, used_by
from stbench.evaluation.record import Origin
from stbench.evaluation.request import Request, parse_patch
from stbench.evaluation.run import declared_draws, encoder_of
from stbench.evaluation.task import NO_PATCH, TaskSettings
from stbench.features.encoder import Encoder
from stbench.features.encoders import load_encoder
from stbench.methods.calibration import check_draws
from stbench.methods.registry import check_preset, find_method, method_class, resolve_settings
from stbench.reporting import SILENT, Reporter
from stbench.text import count, listed, pairs

SERIAL = "ceiling-serial"


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
class Fold:
    """One split of the cohort: its name (a rule, or a file) and who trains, validates and tests."""

    name: str
    split: Split


@dataclass(frozen=True)
class Plan:
    """A request whose names, settings, splits and data have been checked; nothing was written yet.

    Args:
        request: what the user asked for.
        cohort: the slides.
        card: the cohort's card.
        folds: who trains, validates and tests.
        runs: methods, those the user named first.
        encoder: the task's encoder, of the slides used; a network is loaded when its first patch is encoded.
        encoder_name: what the encoder is called.
        device: torch device.
        cache_dir: folder of the caches.
    """

    request: Request
    cohort: Cohort
    card: DatasetCard
    folds: tuple[Fold, ...]
    runs: tuple[PlannedRun, ...]
    encoder: Encoder
    encoder_name: str
    device: str
    cache_dir: Path

    @property
    def origin(self) -> Origin:
        """Where the numbers come from."""
        return origin_of(self.card)

    @property
    def usual(self) -> list[MethodCard]:
        """Cards of what runs beside the methods."""
        return usual_beside(self.request, self.card)

    @property
    def split(self) -> Split:
        """The split of the first fold."""
        return self.folds[0].split

    def task(self, fold: Fold, genes: int, scale: str) -> TaskSettings:
        """What is predicted from what, in one fold, with one panel size, on one scale."""
        asked = self.request
        return replace(
            split_settings(asked).of(fold.name),
            genes=genes,
            normalization=scale,
            encoder=self.encoder_name,
            weights=asked.weights,
            patch=parse_patch(asked.patch),
        )

    def leak_fraction(self, fold: Fold) -> float | None:
        """Share of test slides with a training patient, None when a patient is unknown."""
        return leak_fraction(fold.split, self.cohort.refs)

    @property
    def left_out(self) -> dict[str, list[str]]:
        """Reason to slides that are not used."""
        reasons: dict[str, list[str]] = {}
        for slide, reason in self.cohort.left_out.items():
            reasons.setdefault(reason, []).append(slide)
        if missing := missing_slides(self.cohort, self.card.slides):
            reasons[f"not there, of the {len(self.card.slides)} slides of the card"] = missing
        used = {slide for fold in self.folds for slide in fold.split.slides}
        if unused := [slide for slide in self.cohort.ids if slide not in used]:
            reasons["not named by the split"] = unused
        return reasons

    def lines(self) -> list[tuple[str, str]]:
        """The resolved settings as (name, value), in the order they are shown."""
        asked = self.request
        patch = parse_patch(asked.patch) or default_patch(self.card)
        return [
            ("dataset", f"{self.cohort.name} ({self.cohort.layout} layout, {count(len(self.cohort.refs), 'slide')})"),
            *self._test_lines(),
            ("genes", listed(asked.genes)),
            ("scale", listed(asked.normalization)),
            ("encoder", self.encoder_name),
            *([("about", self.cohort.about)] if self.cohort.about else []),
            ("patch", NO_PATCH if self.card.semi_synthetic else patch_text(patch)),
            *self._fold_lines(),
            *(("left out", f"{', '.join(slides)}: {reason}") for reason, slides in self.left_out.items()),
            ("preset", asked.preset),
            ("seed", listed(asked.seeds)),
            ("device", self.device),
            *(("method", self._method(run)) for run in self.runs if run.requested),
            ("controls", listed(run.card.name for run in self.runs if not run.requested) or "none"),
            *(("note", note) for note in self.notes()),
        ]

    def _test_lines(self) -> list[tuple[str, str]]:
        if not (name := self.cohort.test_name):
            return []
        slides = count(len(self.cohort.tested), "slide")
        return [("tests", f"{name} ({slides}); genes of the panel that it does not name are left out and counted")]

    def _fold_lines(self) -> list[tuple[str, str]]:
        asked = self.request
        chosen = f", seed {asked.split_seed}" if is_protocol(asked.split) or is_rule_of_folds(asked.split) else ""
        if len(self.folds) > 1:
            bare = "" if self.split.validation else ", no validation"
            lines = [("split", f"{asked.split}{chosen}: {len(self.folds)} folds{bare}")]
            return lines + [(fold.name, f"test {listed(fold.split.test)}; {self._leak(fold)}") for fold in self.folds]
        split = self.split
        if not split.test:
            return [(part, listed(getattr(split, part))) for part in split.needed]
        sizes = ", ".join(f"{part} {len(getattr(split, part))}" for part in PARTS)
        parts = [(part, listed(getattr(split, part)) or "none: its slides train") for part in PARTS[1:]]
        return [("split", f"{asked.split}{chosen}: {sizes}"), *parts, ("leak", self._leak(self.folds[0]))]

    def _leak(self, fold: Fold) -> str:
        leak = self.leak_fraction(fold)
        if leak is None:
            return "unknown, as patients are"
        return f"{leak:.0%} of test slides share a patient with training"

    def _method(self, run: PlannedRun) -> str:
        defaults = type(run.settings)()
        changed = [f"{key}={value}" for key, value in run.settings if value != getattr(defaults, key)]
        draws = declared_draws(run.card, self.request.draws)
        said = f"{run.card.name}, mean of {draws} draws" if draws > 1 else run.card.name
        return f"{said}; {' '.join(changed) if changed else 'default settings'}"

    def notes(self) -> list[str]:
        """What to know beforehand: of the cohort, options that change nothing, weights that may have seen it."""
        asked, named = self.request, [run.card for run in self.runs if run.requested]
        notes = [*self.cohort.notes, *([self.encoder.remark] if self.encoder.remark else [])]
        if asked.draws is not None:
            points = [card.name for card in named if declared_draws(card, asked.draws) != asked.draws]
            notes += [f"--draws {asked.draws} changes nothing for {listed(points)}: one prediction"] if points else []
        without = [card.name for card in named if card.presets and asked.preset not in card.presets]
        if without:
            notes.append(f"--preset {asked.preset} changes nothing for {listed(without)}: no such preset, its defaults")
        return notes + self._exposures()

    def _exposures(self) -> list[str]:
        own, asked = self.encoder.key, [run for run in self.runs if run.requested]
        used = {run.card.name: used_by(run.card, run.settings, encoder_of(run.card) or own) for run in asked}
        return exposures_in_words(used, scored_by(self.cohort, self.origin, self.request))


def origin_of(card: DatasetCard) -> Origin:
    """Where the numbers of a cohort come from."""
    return "simulated" if card.simulated else "semi-synthetic" if card.semi_synthetic else "real"


def plan(
    request: Request,
    cache_dir: Path,
    reporter: Reporter = SILENT,
    folds: Callable[[Request, Cohort], tuple[Fold, ...]] | None = None,
) -> Plan:
    """Check everything that can be checked without reading a slide.

    Args:
        request: what the user asks for.
        cache_dir: folder of the caches.
        reporter: is told of slides that are made.
        folds: who trains, validates and tests; the request's own split when None.

    Raises:
        UserError: a name, a setting or the split is wrong, or the data are not there.
    """
    named = _named(request)
    for method in named:
        declared_draws(method, request.draws)
    for scale in request.normalization:
        check_normalization(scale)
    most_kept(request.draws_kept)
    check_split(request)
    if request.gene_sets is not None:
        read_gene_sets(request.gene_sets)
    parse_patch(request.patch)
    device = choose_device(request.device)
    encoder_name = request.encoder or find_card(request.dataset).encoder
    encoder = load_encoder(encoder_name, weights=request.weights, device=device)
    cohort, card = open_asked(request, cache_dir, reporter)
    chosen = (folds or _folds)(request, cohort)
    used = dict.fromkeys(slide for fold in chosen for slide in fold.split.slides)
    runs = _planned_runs(request, named, card)
    return Plan(request, cohort, card, chosen, runs, encoder.of(list(used)), encoder_name, device, cache_dir)


def _folds(request: Request, cohort: Cohort) -> tuple[Fold, ...]:
    names = folds_of(request.split, cohort.refs, cohort.left_out)
    task = split_settings(request)
    return tuple(Fold(name, make_split(cohort, task.of(name))) for name in names)


def usual_beside(request: Request, data: DatasetCard) -> list[MethodCard]:
    """Cards of what runs beside the methods of a request: controls, ceilings and references of the data; or nothing.

    The ceiling of neighbouring cuts is left out where nobody knows which slides are such.
    """
    origin = origin_of(data)
    known = [card for card in ceilings_of(origin) if data.neighbours or card.name != SERIAL]
    references = [card for card in method_cards().values() if card.kind == "reference" and origin in card.origins]
    return [*usual_controls(origin), *known, *references] if request.controls else []


def ceilings_of(origin: Origin) -> list[MethodCard]:
    """Cards of what bounds the rest on data of an origin."""
    return [card for card in method_cards().values() if card.kind == "ceiling" and origin in card.origins]


def _named(request: Request) -> list[MethodCard]:
    """Cards of the methods the user named."""
    cards = [find_method(name) for name in request.methods]
    names = [card.name for card in cards]
    if not names:
        raise UserError("expected at least one --method, found none; see: stbench methods list")
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"expected every method once, found {twice[0]} twice; use two runs for two settings")
    check_preset(request.preset, cards)
    return cards


def _planned_runs(request: Request, named: Sequence[MethodCard], data: DatasetCard) -> tuple[PlannedRun, ...]:
    taken = {card.name for card in named}
    controls = [card for card in usual_beside(request, data) if card.name not in taken]
    overrides = _overrides(pairs("--set", request.overrides), list(named), controls)
    return tuple(
        PlannedRun(card, overrides[card.name], _settings(request, card, overrides[card.name]), card in named)
        for card in [*named, *controls]
    )


def _settings(request: Request, card: MethodCard, overrides: Mapping[str, str]) -> BaseModel:
    settings = resolve_settings(card, method_class(card), request.preset, dict(overrides))
    check_draws(settings, declared_draws(card, request.draws))
    return settings


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
