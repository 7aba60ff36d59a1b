"""Our number beside a claim: from records to a mean and its spreads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stbench.catalogue import dataset_cards
from stbench.catalogue.papers import Measure
from stbench.evaluation.record import Record
from stbench.evaluation.summaries import mean_of, std_of
from stbench.pages.rows import DECLARED, SINGLE
from stbench.studies.ablation.results import per_slide

_MB_PER_GB = 1024
_MEASURED = "measured"  # row of references: the panel itself


@dataclass(frozen=True)
class Number:
    """What we get.

    Args:
        mean: mean over slides of the mean over seeds; over folds for what is pooled over slides.
        over_slides: sample standard deviation over slides of the mean over seeds, None below two.
        over_seeds: sample standard deviation over seeds of the mean over slides, None below two.
        over_draws: sample standard deviation over draws of the mean over slides, mean over seeds; None without draws.
    """

    mean: float
    over_slides: float | None = None
    over_seeds: float | None = None
    over_draws: float | None = None

    def times(self, factor: float) -> Number:
        """The same in another unit."""
        parts = (self.mean, self.over_slides, self.over_seeds, self.over_draws)
        mean, *spreads = (None if part is None else part * factor for part in parts)
        assert mean is not None
        return Number(mean, *spreads)


def number_of(records: Sequence[Record], measure: Measure, way: str = "") -> Number | None:
    """Our number of finished runs that differ in seed and fold; None where there is none, or it is undefined.

    Args:
        records: the runs.
        measure: what is taken of them.
        way: of predicting, in place of the measure's.
    """
    if measure.of != "metric":
        cost = mean_of([_cost(record, measure) for record in records])
        return None if cost is None else Number(cost)
    found = _scored(records, measure, way or measure.way)
    return None if found is None else found.times(measure.times)


def single_draw(records: Sequence[Record], measure: Measure) -> Number | None:
    """The same of single draws, where runs predict the mean of several."""
    if measure.of != "metric" or measure.way == SINGLE or not any(record.draws > 1 for record in records):
        return None
    return number_of(records, measure, SINGLE)


def _cost(record: Record, measure: Measure) -> float | None:
    if measure.of == "peak-gpu-gb":
        return None if record.peak_gpu_memory_mb is None else record.peak_gpu_memory_mb / _MB_PER_GB
    step = {"predict-seconds": "predict", "fit-seconds": "fit"}.get(measure.of)
    return None if step is None else record.seconds.get(step)


def _scored(records: Sequence[Record], measure: Measure, way: str) -> Number | None:
    by_seed: dict[int, dict[str, float | None]] = {}
    for record in records:
        values = _values(record, measure, way)
        by_seed.setdefault(record.seed, {}).update(values)
    slides = dict.fromkeys(slide for values in by_seed.values() for slide in values)
    over = [mean_of([values.get(slide) for values in by_seed.values()]) for slide in slides]
    mean = mean_of(over)
    if mean is None:
        return None
    drawn = (record.metrics_single_draw.get(measure.metric) for record in records) if way == SINGLE else ()
    return Number(
        mean,
        None if _pooled(records, measure) else std_of(over),
        std_of([mean_of(list(values.values())) for values in by_seed.values()]),
        mean_of([one.std_draws for one in drawn if one is not None]),
    )


def _values(record: Record, measure: Measure, way: str) -> dict[str, float | None]:
    """Slide to value; what is pooled over slides goes by its task."""
    values = _of_truth(record, measure) if record.references else per_slide(record, measure.metric, way)
    if "" in values:
        return {record.task.hash: values[""]}
    return {slide: value for slide, value in values.items() if not measure.slide or slide in names_of(record, measure)}


def _of_truth(record: Record, measure: Measure) -> Mapping[str, float | None]:
    found = record.references.get(_MEASURED, {}).get(measure.metric)
    return {} if found is None else found.per_slide


def _pooled(records: Iterable[Record], measure: Measure) -> bool:
    return any("" in per_slide(record, measure.metric, DECLARED) for record in records if not record.references)


def names_of(record: Record, measure: Measure) -> set[str]:
    """Names that the one slide of a measure has: a cohort names slides by the card's ids or by their sections."""
    card = dataset_cards().get(record.task.dataset)
    entries = [] if card is None else card.slides
    return {measure.slide, *(one.section for one in entries if one.id == measure.slide and one.section)}
