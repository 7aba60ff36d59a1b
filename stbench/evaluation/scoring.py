"""Scores of a run: every metric on every test slide, of the mean of the draws, of each draw, of the posterior mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stbench.evaluation.predictions import SlidePrediction
from stbench.evaluation.record import DrawSummary, Summary
from stbench.evaluation.spread import UNKNOWN, Spread
from stbench.evaluation.summaries import mean_of, std_of, summarise, summarise_draws
from stbench.evaluation.task import TestSlide
from stbench.metrics import Score, score_slide
from stbench.metrics.score import RULES
from stbench.metrics.summary import CALIBRATION, SPREAD, OverSlides, add_slide, is_of_sets, over_slides

FloatArray = NDArray[np.float32]
Scorer = Callable[..., dict[str, Score]]
_DIGITS = 6  # of a gene's score in a record


@dataclass
class _Track:
    """Scores of one prediction per slide, for one way of predicting."""

    scorer: Scorer
    spread: NDArray[np.float64] | None = None
    calibration: float | None = None
    per_slide: dict[str, dict[str, Score]] = field(default_factory=dict)
    together: dict[str, OverSlides] = field(default_factory=over_slides)
    sets: list[str] = field(default_factory=list)

    def add(self, slide: TestSlide, prediction: FloatArray, draws: FloatArray | None = None) -> None:
        facts = {**slide.facts(), SPREAD: self.spread, CALIBRATION: self.calibration}
        self.sets = list(slide.sets or ())
        self.per_slide[slide.inputs.slide_id] = self.scorer(slide.expression, prediction, draws=draws, **facts)
        add_slide(self.together, slide.expression, prediction, facts)

    def metrics(self) -> list[str]:
        return list(dict.fromkeys(name for scores in self.per_slide.values() for name in scores))

    def values(self, metric: str) -> dict[str, float | None]:
        return {slide: scores[metric].value for slide, scores in self.per_slide.items() if metric in scores}

    def undefined(self, metric: str) -> dict[str, int]:
        return _where_any({slide: score.n_undefined for slide, score in self._of(metric).items()})

    def constant(self, metric: str) -> dict[str, int]:
        return _where_any({slide: score.n_constant for slide, score in self._of(metric).items()})

    def _of(self, metric: str) -> dict[str, Score]:
        return {slide: scores[metric] for slide, scores in self.per_slide.items() if metric in scores}

    def summaries(self) -> dict[str, Summary]:
        found = {name: self._summary(name) for name in self.metrics()}
        if self.per_slide:
            found |= {name: _pooled(metric.value()) for name, metric in self.together.items()}
        return found

    def _summary(self, metric: str) -> Summary:
        dressed = any(score.dressed for score in self._of(metric).values())
        return summarise(self.values(metric), self.undefined(metric), self.constant(metric), dressed=dressed)

    def per_gene(self) -> dict[str, dict[str, list[float | None]]]:
        return {name: slides for name, slides in self._one_by_one().items() if not is_of_sets(name)}

    def per_set(self) -> dict[str, dict[str, dict[str, float]]]:
        return {
            name: {slide: _known(self.sets, values) for slide, values in slides.items()}
            for name, slides in self._one_by_one().items()
            if is_of_sets(name) and self.sets
        }

    def _one_by_one(self) -> dict[str, dict[str, list[float | None]]]:
        found: dict[str, dict[str, list[float | None]]] = {}
        for slide, scores in self.per_slide.items():
            for name, score in scores.items():
                if score.per_gene is not None:
                    found.setdefault(name, {})[slide] = [_rounded(value) for value in score.per_gene]
        return found


def _known(names: list[str], values: list[float | None]) -> dict[str, float]:
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def _where_any(counts: dict[str, int]) -> dict[str, int]:
    return {slide: count for slide, count in counts.items() if count}


def _pooled(score: Score) -> Summary:
    return Summary(mean=score.value, std=None, per_slide={}, n_constant=_where_any({"": score.n_constant}))


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else float(f"{value:.{_DIGITS}g}")


class ScoreBook:
    """Collects the scores of a run slide by slide; holds no prediction.

    Attributes:
        n_draws: draws of the slides added so far.

    Args:
        sampler: whether a lone draw is a sample, and is scored as one; several draws always are.
        spread: how wide the predictions' residuals are on validation slides; a lone sample is never dressed with it.
        calibration: what several draws were calibrated with; None for others.
        scorer: scores one prediction of one slide, as :func:`stbench.metrics.score_slide` does.
    """

    def __init__(
        self,
        *,
        sampler: bool,
        spread: Spread = UNKNOWN,
        calibration: float | None = None,
        scorer: Scorer = score_slide,
    ) -> None:
        self._sampler, self._scorer = sampler, scorer
        self.n_draws = 0
        self._mean = _Track(scorer, None if sampler else spread.prediction, calibration)
        self._posterior_mean = _Track(scorer, spread.posterior_mean)
        self._draws: list[_Track] = []

    def add(self, slide: TestSlide, prediction: SlidePrediction) -> None:
        """Score one slide.

        Args:
            slide: the test slide with its truth.
            prediction: what the method said.
        """
        n_draws = self.n_draws = len(prediction.draws)
        self._mean.add(slide, prediction.mean, prediction.draws if n_draws > 1 else None)
        if prediction.posterior_mean is not None:
            self._posterior_mean.add(slide, prediction.posterior_mean)
        if n_draws > 1 or self._sampler:
            self._draws = self._draws or [_Track(self._scorer) for _ in range(n_draws)]
            for track, draw in zip(self._draws, prediction.draws, strict=True):
                track.add(slide, draw)

    def put(self, slide_id: str, scores: dict[str, Score]) -> None:
        """Take scores of a slide that follow from no prediction, as those of measured ceilings."""
        self.n_draws, self._mean.together = 1, {}
        self._mean.per_slide[slide_id] = scores

    def scores(self) -> dict[str, Any]:
        """What a record holds of scores, by the names of its fields."""
        return {
            "metrics": self.metrics(),
            "metrics_single_draw": self.metrics_single_draw(),
            "metrics_posterior_mean": self.metrics_posterior_mean(),
            "per_gene": self._mean.per_gene(),
            "per_set": self._mean.per_set(),
            "rules": RULES,
        }

    def metrics(self) -> dict[str, Summary]:
        """Every metric of the declared prediction, the mean of the draws."""
        return self._mean.summaries()

    def metrics_posterior_mean(self) -> dict[str, Summary]:
        """Every metric of the direct posterior mean; empty where the method offers none."""
        return self._posterior_mean.summaries()

    def metrics_single_draw(self) -> dict[str, DrawSummary]:
        """Every metric of single draws; empty for point predictions."""
        if not self._draws:
            return {}
        found = {}
        for metric in self._draws[0].metrics():
            tracks = [track.values(metric) for track in self._draws]
            per_slide = {slide: [values[slide] for values in tracks] for slide in tracks[0]}
            found[metric] = summarise_draws(per_slide, _most([track.constant(metric) for track in self._draws]))
        return found | _together([track.together for track in self._draws])


def _most(draws: list[dict[str, int]]) -> dict[str, int]:
    slides = dict.fromkeys(slide for counts in draws for slide in counts)
    return {slide: max(counts.get(slide, 0) for counts in draws) for slide in slides}


def _together(draws: list[dict[str, OverSlides]]) -> dict[str, DrawSummary]:
    found = {}
    for name in draws[0]:
        values = [metrics[name].value().value for metrics in draws]
        found[name] = DrawSummary(
            mean=mean_of(values), std_draws=std_of(values), std_slides=None, per_slide={}, per_draw=values
        )
    return found
