"""Predictions on disk: one AnnData file per test slide, with the truth beside them so that they can be scored again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from stbench.data.slide import SPATIAL, TOTAL_COUNTS
from stbench.errors import DataError
from stbench.files import whole

if TYPE_CHECKING:
    from stbench.evaluation.task import TestSlide

FloatArray = NDArray[np.float32]

FOLDER = "predictions"
TRUTH = "truth"
POSTERIOR_MEAN = "posterior_mean"
_DRAW = "draw_{}"


@dataclass(frozen=True)
class SlidePrediction:
    """What a method said of a slide, on the scale of the task.

    Args:
        draws: (n_draws, n_spots, n_genes) float32.
        posterior_mean: (n_spots, n_genes) direct estimate of the posterior mean, None where the method offers none.
    """

    draws: FloatArray
    posterior_mean: FloatArray | None = None

    @property
    def mean(self) -> FloatArray:
        """(n_spots, n_genes) mean of the draws: the declared prediction."""
        mean: FloatArray = self.draws.mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean


@dataclass(frozen=True)
class StoredPrediction:
    """A prediction read back, with everything a metric needs.

    Args:
        slide_id: name of the slide.
        expression: (n_spots, n_genes) truth, on the scale of the task.
        xy: (n_spots, 2) spot centres in full-resolution pixels.
        total_counts: (n_spots,) UMI per spot.
        prediction: what the method said.
    """

    slide_id: str
    expression: FloatArray
    xy: FloatArray
    total_counts: NDArray[np.float64]
    prediction: SlidePrediction


def prediction_path(folder: Path, slide_id: str) -> Path:
    """File of a slide's prediction in a run folder; characters a file system may refuse are percent-encoded."""
    return folder / FOLDER / f"{quote(slide_id, safe=' ')}.h5ad"


def write_prediction(
    folder: Path, slide: TestSlide, genes: list[str], prediction: SlidePrediction, facts: dict[str, Any]
) -> Path:
    """Write ``predictions/<slide>.h5ad``; it appears only when complete.

    ``X`` is the mean of the draws; ``layers`` hold ``truth``, ``draw_0`` ... and ``posterior_mean`` where offered;
    ``obsm["spatial"]`` the spot centres in full-resolution pixels; ``uns["stbench"]`` the facts.

    Args:
        folder: the run folder.
        slide: the test slide with its truth.
        genes: panel, in column order.
        prediction: what the method said.
        facts: strings and numbers stored beside it.
    """
    import pandas as pd
    from anndata import AnnData

    layers = {TRUTH: slide.expression} | {_DRAW.format(k): draw for k, draw in enumerate(prediction.draws)}
    if prediction.posterior_mean is not None:
        layers[POSTERIOR_MEAN] = prediction.posterior_mean
    adata = AnnData(
        X=prediction.mean,
        obs=pd.DataFrame({TOTAL_COUNTS: slide.total_counts}, index=pd.Index(slide.spot_ids, dtype=object)),
        var=pd.DataFrame(index=pd.Index(genes, dtype=object)),
        layers=layers,
        obsm={SPATIAL: slide.inputs.xy},
        uns={"stbench": {"slide": slide.inputs.slide_id, "n_draws": len(prediction.draws), **facts}},
    )
    path = prediction_path(folder, slide.inputs.slide_id)
    with whole(path) as part:
        adata.write_h5ad(part, compression="gzip")
    return path


def read_prediction(folder: Path, slide_id: str) -> StoredPrediction:
    """Read what :func:`write_prediction` wrote.

    Raises:
        DataError: the file is missing, damaged or not a prediction.
    """
    import anndata

    path = prediction_path(folder, slide_id)
    try:
        adata = anndata.read_h5ad(path)
        draws = np.stack([_layer(adata, _DRAW.format(k)) for k in range(int(adata.uns["stbench"]["n_draws"]))])
        mean = _layer(adata, POSTERIOR_MEAN) if POSTERIOR_MEAN in adata.layers else None
        return StoredPrediction(
            slide_id,
            _layer(adata, TRUTH),
            np.asarray(adata.obsm[SPATIAL], dtype=np.float32),
            np.asarray(adata.obs[TOTAL_COUNTS], dtype=np.float64),
            SlidePrediction(draws, mean),
        )
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"expected a prediction of slide {slide_id} in {path}, found: {error}; run it again") from error


def _layer(adata: Any, name: str) -> FloatArray:
    return np.asarray(adata.layers[name], dtype=np.float32)
