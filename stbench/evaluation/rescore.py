"""Score stored predictions again, without running the method."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stbench.evaluation.predictions import read_prediction
from stbench.evaluation.record import Record, read_record
from stbench.evaluation.scoring import ScoreBook


def rescore(folder: Path) -> Record:
    """The record of a run with the scores that today's metrics give its stored predictions; nothing is written.

    Args:
        folder: what :func:`stbench.evaluation.run.run_method` wrote.

    Raises:
        DataError: the record or a prediction is missing or damaged.
    """
    record = read_record(folder)
    if record.status != "done":
        return record
    book = ScoreBook(sampler=bool(record.metrics_single_draw))
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
