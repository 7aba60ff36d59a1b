"""Predictions on disk: one AnnData file per slide. No truth lies in it, so that no other run can read it there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from stbench.data.hdf5 import read_h5ad
from stbench.data.hdf5_writing import write_h5ad
from stbench.data.slide import SPATIAL
from stbench.errors import DataError
from stbench.evaluation.seals import check_file, seal_file
from stbench.files import whole
from stbench.methods.base import SlideInputs
from stbench.reading import check_own
from stbench.text import first_line

if TYPE_CHECKING:
    from anndata import AnnData

FloatArray = NDArray[np.float32]

FOLDER = "predictions"
TRUTH = "truth"  # layer of files that versions before schema 2 wrote
POSTERIOR_MEAN = "posterior_mean"
FACTS = "stbench"  # uns
SPREAD = "spread"  # layer: standard deviation between draws
_DRAW, _KEPT, _ROWS = "draw_{}", "n_kept", 4096
AGAIN = "delete record.json of that folder, if there is one, and repeat the command that made it"


class OfAll(NamedTuple):
    """What is left of draws that are not kept.

    Args:
        mean: (n_spots, n_genes) float32 mean of all draws.
        spread: (n_spots, n_genes) float32 sample standard deviation between them.
    """

    mean: FloatArray
    spread: FloatArray

    @classmethod
    def of(cls, draws: FloatArray) -> Self:
        """Of (n_draws, n_spots, n_genes) draws, two at least, some spots at a time."""
        found = cls(*(np.empty(draws.shape[1:], dtype=np.float32) for _ in cls._fields))
        for start in range(0, draws.shape[1], _ROWS):
            rows = slice(start, start + _ROWS)
            found.mean[rows] = draws[:, rows].mean(axis=0, dtype=np.float64)
            found.spread[rows] = draws[:, rows].std(axis=0, ddof=1, dtype=np.float64)
        return found


@dataclass(frozen=True)
class SlidePrediction:
    """What a method said of a slide, on the scale of the task.

    Args:
        draws: (n_draws, n_spots, n_genes) float32.
        posterior_mean: (n_spots, n_genes) direct estimate of the posterior mean, None where the method offers none.
        of_all: of all draws, where ``draws`` are the first of them alone; else None.
    """

    draws: FloatArray
    posterior_mean: FloatArray | None = None
    of_all: OfAll | None = None

    @property
    def mean(self) -> FloatArray:
        """(n_spots, n_genes) mean of the draws: the declared prediction."""
        if self.of_all is not None:
            return self.of_all.mean
        mean: FloatArray = self.draws.mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean


@dataclass(frozen=True)
class StoredPrediction:
    """A prediction read back.

    Args:
        slide_id: name of the slide.
        spot_ids: names of the spots.
        genes: panel, in column order.
        xy: (n_spots, 2) spot centres in full-resolution pixels.
        prediction: what the method said.
        facts: what is stored beside it: task, method, seed.
    """

    slide_id: str
    spot_ids: list[str]
    genes: list[str]
    xy: FloatArray
    prediction: SlidePrediction
    facts: Mapping[str, Any] = field(default_factory=dict)


def digest_of(prediction: SlidePrediction) -> str:
    """Hash of everything a method said of a slide, whatever file it lies in."""
    digest = hashlib.sha256()
    for array in (prediction.draws, prediction.posterior_mean, *(prediction.of_all or ())):
        if array is not None:
            digest.update(repr(array.shape).encode())
            for part in array:  # one after the other: a copy of all draws would be as large again
                digest.update(np.ascontiguousarray(part, dtype="<f4").data)
    return digest.hexdigest()


def prediction_path(folder: Path, slide_id: str) -> Path:
    """File of a slide's prediction in a run folder; characters a file system may refuse are percent-encoded."""
    return folder / FOLDER / f"{quote(slide_id, safe=' ')}.h5ad"


def write_prediction(
    folder: Path,
    inputs: SlideInputs,
    spot_ids: Sequence[str],
    genes: list[str],
    prediction: SlidePrediction,
    facts: Mapping[str, Any],
) -> Path:
    """Write ``predictions/<slide>.h5ad``, and its seal beside it; it appears only when complete.

    ``X`` is the mean of the draws; ``layers`` hold ``draw_0`` ..., ``posterior_mean`` where offered and ``spread``
    where not all draws are kept; ``obsm["spatial"]`` the spot centres in full-resolution pixels; ``uns["stbench"]`` the
    facts.

    Args:
        folder: the run folder.
        inputs: what the method saw of the slide.
        spot_ids: names of the spots.
        genes: panel, in column order.
        prediction: what the method said.
        facts: strings and numbers stored beside it.

    Raises:
        UserError: the file cannot be written.
    """
    said = {**facts, "slide": inputs.slide_id, "n_drawn": len(prediction.draws)}
    return _write(folder, StoredPrediction(inputs.slide_id, list(spot_ids), genes, inputs.xy, prediction, said))


def rewrite_prediction(folder: Path, stored: StoredPrediction) -> Path:
    """Write a stored prediction of which fewer draws are left, as :func:`write_prediction` does.

    Raises:
        UserError: the file cannot be written.
    """
    return _write(folder, replace(stored, facts={**stored.facts, _KEPT: len(stored.prediction.draws)}))


def _write(folder: Path, stored: StoredPrediction) -> Path:
    adata = annotated(stored.xy, stored.spot_ids, stored.genes, stored.prediction, stored.facts)
    path = prediction_path(folder, stored.slide_id)
    with whole(path) as part:
        write_h5ad(adata, part, compression="gzip")
    seal_file(folder, path)
    return path


def annotated(
    xy: FloatArray,
    spot_ids: Sequence[str],
    genes: Sequence[str],
    prediction: SlidePrediction,
    facts: Mapping[str, Any],
) -> AnnData:
    """A prediction in memory as :func:`write_prediction` lays it out.

    Args:
        xy: (n_spots, 2) spot centres in full-resolution pixels.
        spot_ids: names of the spots.
        genes: panel, in column order.
        prediction: what the method said.
        facts: what ``uns["stbench"]`` holds.
    """
    import pandas as pd
    from anndata import AnnData

    layers = {_DRAW.format(k): draw for k, draw in enumerate(prediction.draws)}
    if prediction.posterior_mean is not None:
        layers[POSTERIOR_MEAN] = prediction.posterior_mean
    if prediction.of_all is not None:
        layers[SPREAD] = prediction.of_all.spread
    return AnnData(
        X=prediction.mean,
        obs=pd.DataFrame(index=pd.Index(list(spot_ids), dtype=object)),
        var=pd.DataFrame(index=pd.Index(list(genes), dtype=object)),
        layers=layers,
        obsm={SPATIAL: xy},
        uns={FACTS: dict(facts)},
    )


def read_prediction(
    folder: Path,
    slide_id: str,
    *,
    spot_ids: Sequence[str] | None = None,
    genes: Sequence[str] | None = None,
    facts: Mapping[str, Any] | None = None,
    sealed: bool = False,
) -> StoredPrediction:
    """Read what :func:`write_prediction` wrote.

    Args:
        folder: the run folder.
        slide_id: name of the slide.
        spot_ids: spots it must be of, any when None.
        genes: panel it must be of, any when None.
        facts: what must be stored beside it, e.g. task and seed.
        sealed: whether a file without a seal is refused.

    Raises:
        DataError: the file is missing, damaged, no prediction, or one of other spots, genes or facts.
    """
    path = prediction_path(folder, slide_id)
    try:
        check_own(path, folder)
        check_file(folder, path, must=sealed)  # before a library interprets damaged bytes
    except (OSError, DataError) as error:
        raise DataError(
            f"expected a prediction of slide {slide_id} in {path}, found {first_line(error)}; {AGAIN}"
        ) from error
    try:
        adata = _read(path, folder)
        said = dict(adata.uns[FACTS])
        mean = _layer(adata, POSTERIOR_MEAN) if POSTERIOR_MEAN in adata.layers else None
        found = StoredPrediction(
            slide_id,
            [str(spot) for spot in adata.obs_names],
            [str(gene) for gene in adata.var_names],
            np.asarray(adata.obsm[SPATIAL], dtype=np.float32),
            SlidePrediction(_draws(adata, said), mean, _of_all(adata, said)),
            said,
        )
    except Exception as error:  # h5py and anndata raise a dozen types for damaged files
        raise DataError(
            f"expected a prediction of slide {slide_id} in {path}, found: {first_line(error)}; {AGAIN}"
        ) from error
    wrong = _differences(found, said, spot_ids, genes, facts or {})
    if wrong:
        raise DataError(f"expected a prediction of slide {slide_id} in {path}, found one of other {wrong}; {AGAIN}")
    return found


def _draws(adata: AnnData, said: Mapping[str, Any]) -> FloatArray:
    """Taken out of the layers one by one, so that they are not held twice."""
    n_drawn = int(said["n_drawn"] if "n_drawn" in said else said["n_draws"])
    draws = np.empty((int(said.get(_KEPT, n_drawn)), *adata.shape), dtype=np.float32)
    for k, draw in enumerate(draws):
        draw[:] = _layer(adata, _DRAW.format(k))
        del adata.layers[_DRAW.format(k)]
    return draws


def _of_all(adata: AnnData, said: Mapping[str, Any]) -> OfAll | None:
    return OfAll(np.asarray(adata.X, dtype=np.float32), _layer(adata, SPREAD)) if _KEPT in said else None


def _differences(
    found: StoredPrediction,
    said: Mapping[str, Any],
    spot_ids: Sequence[str] | None,
    genes: Sequence[str] | None,
    facts: Mapping[str, Any],
) -> str:
    """In what a stored prediction is not the one that is wanted, empty where it is."""
    checks = {
        "spots": spot_ids is None or found.spot_ids == list(spot_ids),
        "genes": genes is None or found.genes == list(genes),
        "values (not finite)": _is_finite(found.prediction),
        "shapes": found.xy.shape == (len(found.spot_ids), 2),
    }
    checks |= {name: str(said.get(name)) == str(value) for name, value in facts.items()}
    return ", ".join(name for name, right in checks.items() if not right)


def _is_finite(prediction: SlidePrediction) -> bool:
    arrays = (*prediction.draws, prediction.posterior_mean, *(prediction.of_all or ()))
    return all(np.isfinite(array).all() for array in arrays if array is not None)


def _read(path: Path, folder: Path) -> AnnData:
    check_own(path, folder)
    return read_h5ad(path)


def read_truth(folder: Path, slide_id: str) -> tuple[FloatArray, NDArray[np.float64]] | None:
    """(n_spots, n_genes) truth and (n_spots,) total counts that schema 1 stored beside a prediction; None without."""
    adata = _read(prediction_path(folder, slide_id), folder)
    if TRUTH not in adata.layers:
        return None
    return _layer(adata, TRUTH), np.asarray(adata.obs["total_counts"], dtype=np.float64)


def _layer(adata: Any, name: str) -> FloatArray:
    return np.asarray(adata.layers[name], dtype=np.float32)
