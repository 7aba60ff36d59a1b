"""Scores of a run: every metric on every test slide, of the mean of the draws, of each draw, of the posterior mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stbench.evaluation.predictions import SlidePrediction
from stbench.evaluation.record import DrawSummary, Summary
from stbench.evaluation.summaries import mean_of, std_of, summarise, summarise_draws
from stbench.metrics import PooledPcc, Score, score_slide

FloatArray = NDArray[np.float32]

Scorer = Callable[..., dict[str, Score]]

POOLED = "pooled-pcc"


@dataclass
class _Track:
    """Scores of one prediction per slide, for one way of predicting."""

    scorer: Scorer
    per_slide: dict[str, dict[str, Score]] = field(default_factory=dict)
    pooled: PooledPcc = field(default_factory=PooledPcc)

    def add(
        self,
        slide_id: str,
        expression: FloatArray,
        prediction: FloatArray,
        xy: FloatArray,
        log_depth: NDArray[np.float64],
        draws: FloatArray | None = None,
    ) -> None:
        self.per_slide[slide_id] = self.scorer(expression, prediction, xy, draws=draws, log_depth=log_depth)
        self.pooled.update(expression, prediction)

    def metrics(self) -> list[str]:
        return list(dict.fromkeys(name for scores in self.per_slide.values() for name in scores))

    def values(self, metric: str) -> dict[str, float | None]:
        return {slide: scores[metric].value for slide, scores in self.per_slide.items() if metric in scores}

    def undefined(self, metric: str) -> dict[str, int]:
        counts = {slide: scores[metric].n_undefined for slide, scores in self.per_slide.items() if metric in scores}
        return {slide: count for slide, count in counts.items() if count}

    def summaries(self) -> dict[str, Summary]:
        found = {name: summarise(self.values(name), self.undefined(name)) for name in self.metrics()}
        if self.per_slide:
            found[POOLED] = Summary(mean=self.pooled.value().value, std=None, per_slide={})
        return found


class ScoreBook:
    """Collects the scores of a run slide by slide; holds no prediction.

    Attributes:
        n_draws: draws of the slides added so far.

    Args:
        sampler: whether a lone draw is a sample, and is scored as one; several draws always are.
        scorer: scores one prediction of one slide, as :func:`stbench.metrics.score_slide` does.
    """

    def __init__(self, *, sampler: bool, scorer: Scorer = score_slide) -> None:
        self._sampler, self._scorer = sampler, scorer
        self.n_draws = 0
        self._mean = _Track(scorer)
        self._posterior_mean = _Track(scorer)
        self._draws: list[_Track] = []

    def add(
        self,
        slide_id: str,
        expression: FloatArray,
        xy: FloatArray,
        log_depth: NDArray[np.float64],
        prediction: SlidePrediction,
    ) -> None:
        """Score one slide.

        Args:
            slide_id: name of the slide.
            expression: (n_spots, n_genes) truth.
            xy: (n_spots, 2) spot centres in full-resolution pixels.
            log_depth: (n_spots,) natural log of one plus the spot's UMI.
            prediction: what the method said.
        """
        n_draws = self.n_draws = len(prediction.draws)
        ensemble = prediction.draws if n_draws > 1 else None
        self._mean.add(slide_id, expression, prediction.mean, xy, log_depth, ensemble)
        if prediction.posterior_mean is not None:
            self._posterior_mean.add(slide_id, expression, prediction.posterior_mean, xy, log_depth)
        if n_draws > 1 or self._sampler:
            self._draws = self._draws or [_Track(self._scorer) for _ in range(n_draws)]
            for track, draw in zip(self._draws, prediction.draws, strict=True):
                track.add(slide_id, expression, draw, xy, log_depth)

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
            found[metric] = summarise_draws({slide: [values[slide] for values in tracks] for slide in tracks[0]})
        pooled = [track.pooled.value().value for track in self._draws]
        found[POOLED] = DrawSummary(
            mean=mean_of(pooled), std_draws=std_of(pooled), std_slides=None, per_slide={}, per_draw=pooled
        )
        return found
