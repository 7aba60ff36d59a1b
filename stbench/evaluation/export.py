"""Predictions of a run for people: files that scanpy and squidpy draw, with the truth where it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stbench.data.hdf5_writing import write_h5ad
from stbench.data.slide import SPATIAL, TOTAL_COUNTS, Slide
from stbench.errors import UserError
from stbench.evaluation.predictions import TRUTH, FloatArray, annotated, prediction_path
from stbench.evaluation.record import Record, find_records, read_record
from stbench.evaluation.rescore import Truths, scored_prediction, truth_of
from stbench.files import new_folder
from stbench.reporting import SILENT, Reporter

if TYPE_CHECKING:
    from anndata import AnnData

_PICTURE_PX = 1000
_SPOT_SHARE = 0.55  # of the distance to the next spot: 55 um of 100 um on Visium, about that on legacy arrays


def export_run(run: Path, out: Path, truths: Truths | None = None, reporter: Reporter = SILENT) -> list[str]:
    """Write ``<slide>.h5ad`` for every validation and test slide that a run predicted.

    ``X`` is the mean of the draws, ``layers`` hold ``draw_0`` ... and ``posterior_mean`` where offered,
    ``obsm["spatial"]`` (n_spots, 2) spot centres in full-resolution pixels, ``uns["stbench"]`` what it is a prediction
    of. With the truth, test slides have it in ``layers["truth"]``, (n_spots, n_genes) on the scale of ``X``, the UMI of
    each spot in ``obs["total_counts"]``, and every slide its picture in ``uns["spatial"]``.

    Args:
        run: the folder of a run.
        out: new or empty folder; it appears as a whole.
        truths: where the truth comes from, None to leave it out.
        reporter: where progress goes.

    Returns:
        Names of the slides.

    Raises:
        UserError: there is not one finished run, ``out`` is in use, or the cohort is not there.
        DataError: a prediction is missing, damaged or not the one that was scored.
    """
    folder, record = _finished(run)
    slides = list(record.predictions) or record.task.test  # schema 1 kept those of test slides alone
    with new_folder(out) as part, reporter.track(f"exporting {folder.name}", len(slides)) as advance:
        for slide_id in slides:
            adata = _with_truth(folder, record, slide_id, truths)
            write_h5ad(adata, part / prediction_path(folder, slide_id).name, compression="gzip")
            advance(note=slide_id)
    return slides


def _finished(run: Path) -> tuple[Path, Record]:
    found = find_records([run])
    if len(found) > 1:
        raise UserError(f"expected one run in {run}, found {len(found)}; name one of them, such as {found[0].parent}")
    record = read_record(found[0])
    if record.status != "done":
        raise UserError(f"expected a finished run in {run}, found one that {record.status}: {record.reason}")
    return found[0].parent, record


def _with_truth(folder: Path, record: Record, slide_id: str, truths: Truths | None) -> AnnData:
    stored = scored_prediction(folder, record, slide_id)
    adata = annotated(stored.xy, stored.spot_ids, stored.genes, stored.prediction, _facts(record, slide_id))
    source = None
    if truths is not None and slide_id in record.task.test:
        truth = truth_of(folder, record, stored, truths)
        adata.layers[TRUTH], adata.obs[TOTAL_COUNTS] = truth.expression, truth.total_counts
    if truths is not None and record.predictions:  # schema 1 stored the truth, and does not say where its cohort lies
        source = truths.of(record)[slide_id]
    adata.uns[SPATIAL] = {slide_id: library(stored.xy, source)}
    return adata


def _facts(record: Record, slide_id: str) -> dict[str, Any]:
    task = record.task
    return {
        "method": record.method,
        "title": record.title,
        "dataset": task.dataset,
        "slide": slide_id,
        "part": "test" if slide_id in task.test else "validation",
        "scale": task.normalization,
        "encoder": record.encoder,
        "task": task.hash,
        "seed": record.seed,
        "draws": record.draws,
        "command": record.command,
    }


def library(xy: FloatArray, source: Slide | None, picture_px: int = _PICTURE_PX) -> dict[str, Any]:
    """What ``uns["spatial"]`` says of a slide: the picture, its scale, and how wide a spot is drawn."""
    images, factors = {}, {"spot_diameter_fullres": _spot_diameter(xy)}
    image = None if source is None else source.image
    if image is not None and (size := image.size()) is not None:
        images["hires"] = image.thumbnail(picture_px)
        factors["tissue_hires_scalef"] = max(images["hires"].shape) / max(size)
    return {"images": images, "scalefactors": factors}


def _spot_diameter(xy: FloatArray) -> float:
    """Pixels; that of the only spot is unknown."""
    from scipy.spatial import cKDTree

    if len(xy) < 2:
        return 1.0
    distances = np.asarray(cKDTree(xy).query(xy, k=2)[0])
    return _SPOT_SHARE * float(np.median(distances[:, 1]))
