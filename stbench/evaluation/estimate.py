"""What a plan will take, before anything starts: time by a few real steps on made-up slides, memory, disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stbench.catalogue import MethodCard
from stbench.data.slide import Slide
from stbench.errors import DataError, StbenchError
from stbench.evaluation.hardware import PeakMemory
from stbench.evaluation.identity import default_patch
from stbench.evaluation.kept_draws import left_of
from stbench.evaluation.plan import Plan
from stbench.evaluation.request import parse_patch
from stbench.evaluation.run import declared_draws, encoder_of
from stbench.evaluation.task import NO_ENCODER, TaskSettings
from stbench.evaluation.worker import VALIDATION_DRAWS
from stbench.features.encoders import width_of
from stbench.features.extract import too_small
from stbench.methods.base import Context, LabelledSlide, SlideInputs
from stbench.methods.registry import method_class, resolve_settings
from stbench.reporting import Reporter
from stbench.text import duration

_MB = 2**20
_BESIDE = 2  # layers of a prediction besides its draws
_USUAL_SPOTS = 1500  # of a slide whose size nobody says


class Setting(Protocol):
    """A method under settings."""

    @property
    def card(self) -> MethodCard: ...
    @property
    def overrides(self) -> Mapping[str, str]: ...


class Planned(Protocol):
    """What a cell says of its cost."""

    @property
    def run(self) -> Setting: ...
    @property
    def task(self) -> TaskSettings: ...
    @property
    def asked(self) -> bool: ...


@dataclass(frozen=True)
class Estimate:
    """What the cells of one method may take.

    Args:
        name: the method.
        cells: how many there are.
        seconds: of fitting and predicting one, None where it is fast anyway.
        memory_mb: peak of its process, roughly.
        disk_mb: predictions of all, before compression.
    """

    name: str
    cells: int
    seconds: float | None
    memory_mb: float
    disk_mb: float

    @property
    def line(self) -> str:
        """In words."""
        each = "seconds" if self.seconds is None else duration(self.seconds)
        times = f" each, {self.cells} cells" if self.cells > 1 else ""
        return f"{self.name}: {each}{times}; about {self.memory_mb:.0f} MB of memory, {self.disk_mb:.0f} MB of disk"


@dataclass(frozen=True)
class Estimates:
    """Of every method the user named.

    Args:
        methods: one by one.
        cache_mb: features on disk, shared by all runs on the same slides.
    """

    methods: Sequence[Estimate]
    cache_mb: float

    @property
    def seconds(self) -> float:
        """Of all cells, one after the other."""
        return sum((one.seconds or 0.0) * one.cells for one in self.methods)

    def lines(self) -> list[str]:
        """In words, the total last."""
        total = f"all cells one after the other: {duration(self.seconds)}, besides reading slides and pictures"
        return [*(one.line for one in self.methods), f"{total}; features {self.cache_mb:.0f} MB of cache"]


def estimated(plan: Plan, cells: Sequence[Planned]) -> Estimates:
    """Time, memory and disk of the cells the user named, measured on a few steps where a method offers that.

    Slides are made up in the size of the cohort's: nothing is read. Variants of a method are taken to be alike.

    Args:
        plan: what is planned.
        cells: what is left to do.
    """
    sizes = _sizes(plan)
    width = width_of(plan.encoder_name)
    by_method: dict[str, list[Planned]] = {}
    for cell in cells:
        if cell.asked:
            by_method.setdefault(cell.run.card.name, []).append(cell)
    found = [_estimate(plan, mine, sizes, width) for mine in by_method.values()]
    return Estimates(found, sum(sizes.values()) * width * 2 / _MB)


def _sizes(plan: Plan) -> dict[str, int]:
    """Slide to its spots, as the cohort or its card says."""
    said = {entry.id: entry.n_spots for entry in plan.card.slides}
    said |= {entry.section: entry.n_spots for entry in plan.card.slides}
    used = {slide for fold in plan.folds for slide in fold.split.slides}
    spots = {ref.id: ref.n_spots or said.get(ref.id) or _USUAL_SPOTS for ref in plan.cohort.refs}
    return {slide: spots[slide] for slide in used}


def _estimate(plan: Plan, cells: Sequence[Planned], sizes: dict[str, int], width: int) -> Estimate:
    card, overrides = cells[0].run.card, dict(cells[0].run.overrides)
    genes = max(cell.task.genes for cell in cells)
    draws = declared_draws(card, plan.request.draws)
    features = 0 if encoder_of(card) == NO_ENCODER else width
    split = plan.split
    train = [_labelled(slide, sizes[slide], features, genes) for slide in split.train]
    test = [_labelled(slide, sizes[slide], features, genes).inputs for slide in (*split.test, *split.validation)]
    cls = method_class(card)
    method = cls(resolve_settings(card, cls, plan.request.preset, overrides))
    context = Context(genes=tuple(f"g{i}" for i in range(genes)), device=plan.device)
    with PeakMemory("cpu") as memory:
        try:
            seconds = method.estimate_seconds(train, test, draws, context)
        except (Exception, SystemExit):  # noqa: BLE001  what fails on made-up slides says nothing of the real ones
            seconds = None
    stored = [(slide, draws) for slide in split.test]
    stored += [(slide, min(draws, VALIDATION_DRAWS)) for slide in split.validation]
    kept = plan.request.draws_kept
    disk = sum(sizes[slide] * (left_of(n_draws, kept) + _BESIDE) for slide, n_draws in stored) * genes * 4
    return Estimate(card.name, len(cells), seconds, memory.mb, disk * len(cells) / _MB)


def _labelled(name: str, n_spots: int, width: int, genes: int) -> LabelledSlide:
    """A made-up slide; spots lie on a square array."""
    generator = np.random.default_rng(0)
    side = int(np.ceil(np.sqrt(n_spots)))
    array = np.stack(np.divmod(np.arange(n_spots), side), axis=1).astype(np.float32)
    features = generator.normal(size=(n_spots, width)).astype(np.float32)
    inputs = SlideInputs(name, name, features, array * 200, array, 0.5)
    return LabelledSlide(inputs, generator.normal(size=(n_spots, genes)).astype(np.float32))


def foreseen(plan: Plan, reporter: Reporter) -> list[str]:
    """What would fail later, found by reading gene names and pixel sizes of the slides; generated ones are not read."""
    if plan.card.entry is not None:
        return []
    common: set[str] | None = None
    problems = []
    used = sorted({slide for fold in plan.folds for slide in fold.split.slides})
    with reporter.track("looking at slides", len(used)) as advance:
        for slide_id in used:
            try:
                slide = plan.cohort.load(slide_id)
                common = set(slide.genes) if common is None else common & set(slide.genes)
                problems += _too_small(plan, slide)
            except DataError as error:
                problems.append(str(error))
            advance(note=slide_id)
    most = max(plan.request.genes)
    if common is not None and most > len(common):
        problems.append(
            f"expected {most} genes that every slide names, found {len(common)}; give --genes {len(common)} or fewer"
        )
    return list(dict.fromkeys(problems))


def _too_small(plan: Plan, slide: Slide) -> list[str]:
    """A patch that has too few pixels for the encoder at the resolution of a slide's picture."""
    patch, least = parse_patch(plan.request.patch) or default_patch(plan.card), plan.encoder.least_px
    if slide.image is None or patch.out_px is not None:
        return []
    try:
        found = next(iter(slide.image.patches(slide.spot_ids[:1], slide.xy[:1], patch))).shape[0]
    except StbenchError as error:
        return [str(error)]
    if found >= least:
        return []
    return [too_small(slide, plan.encoder_name, least, found, patch)]
