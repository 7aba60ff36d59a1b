"""Score stored predictions again, without running the method."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stbench.evaluation.predictions import read_prediction
from stbench.evaluation.record import Record, read_record
from stbench.evaluation.scoring import ScoreBook
from stbench.metrics import score_slide


def rescore(folder: Path, parameters: Mapping[str, Mapping[str, Any]] | None = None) -> Record:
    """The record of a run with the scores that today's metrics give its stored predictions; nothing is written.

    Args:
        folder: what :func:`stbench.evaluation.run.run_method` wrote.
        parameters: metric to keywords of its entry; only these metrics are scored then. None takes all as they are.

    Raises:
        DataError: the record or a prediction is missing or damaged.
    """
    record = read_record(folder)
    if record.status != "done":
        return record
    scorer = partial(score_slide, names=list(parameters), parameters=parameters) if parameters else score_slide
    book = ScoreBook(sampler=bool(record.metrics_single_draw), scorer=scorer)
    for slide_id in record.task.test:
        stored = read_prediction(folder, slide_id)
        depth = np.log1p(stored.total_counts)
        book.add(slide_id, stored.expression, stored.xy, depth, stored.prediction)
    scores = {
        "metrics": book.metrics(),
        "metrics_single_draw": book.metrics_single_draw(),
        "metrics_posterior_mean": book.metrics_posterior_mean(),
    }
    return record.model_copy(update=scores)
