"""Slides to be predicted, found and written one after the other."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stbench.data.bare import bare_slide
from stbench.data.hdf5_writing import write_h5ad
from stbench.data.opening import open_dataset
from stbench.data.raster.endings import ENDINGS, pictures_in
from stbench.data.slide import Slide
from stbench.errors import DataError, SettingError, UnknownNameError, UserError
from stbench.evaluation.apply import Model, apply
from stbench.evaluation.predict_request import ENDINGS as WRITTEN
from stbench.evaluation.predict_request import H5AD, SPATIALDATA, PredictRequest
from stbench.evaluation.predictions import FACTS, prediction_path
from stbench.evaluation.spatialdata_store import asked_of, check_installed, write_store
from stbench.files import remove_parts, whole
from stbench.reading import check_regular
from stbench.reporting import SILENT, Reporter
from stbench.text import first_line, listed


@dataclass(frozen=True)
class Wanted:
    """A slide to be predicted.

    Args:
        name: of the slide.
        read: reads it.
        out: file its predictions go to.
        laid: how its spots are laid; empty for a slide that has its own.
    """

    name: str
    read: Callable[[], Slide]
    out: Path
    laid: str = ""


def wanted_by(request: PredictRequest, model: Model) -> list[Wanted]:
    """Slides that are asked for: pictures, or slides of a cohort.

    Raises:
        UserError: an option says what cannot be, a slide is not there, or two are called the same.
    """
    request.check()
    if request.to == SPATIALDATA:
        check_installed()
    if request.dataset:
        return _slides_of(request)
    return _pictures(request, model)


def _pictures(request: PredictRequest, model: Model) -> list[Wanted]:
    seen = model.facts.seen
    found = [picture for place in request.slides for picture in _pictures_at(Path(place))]
    if request.spots is not None and len(found) > 1:
        raise SettingError(f"--spots: expected one picture beside a table of its spots, found {len(found)}; name one")
    names = [path.name.removesuffix(path.suffix).removesuffix(".ome") for path in found]
    reads = [
        partial(
            bare_slide, path, um_per_px=request.um_per_px, pitch_um=request.pitch_um or seen.pitch_um,
            hexagonal=seen.hexagonal, spots=request.spots,
        )
        for path in found
    ]  # fmt: skip
    return _wanted(request, _by_name(names, reads), request.laid())


def _pictures_at(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    found = pictures_in(place)
    if not found:
        state = "a folder without one" if place.is_dir() else "neither"
        raise DataError(
            f"--slide: expected a picture, or a folder of pictures ({listed(ENDINGS)}), at {place}, found {state}"
        )
    return found


def _by_name(names: Sequence[str], reads: Sequence[Callable[[], Slide]]) -> dict[str, Callable[[], Slide]]:
    """Names to readers; raises DataError where a name comes twice."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"--slide: expected slides of different names, found {twice[0]} again; rename a picture")
    return dict(zip(names, reads, strict=True))


def _slides_of(request: PredictRequest) -> list[Wanted]:
    """Slides of a cohort in any layout; their counts are not looked at."""
    cohort, _ = open_dataset(request.dataset, request.data_root)
    if unknown := [id_ for id_ in request.slides if id_ not in cohort.ids]:
        raise UnknownNameError(f"slide of {cohort.name}", unknown[0], cohort.ids)
    return _wanted(request, {id_: partial(cohort.load, id_) for id_ in request.slides or cohort.ids})


def _wanted(request: PredictRequest, reads: dict[str, Callable[[], Slide]], laid: str = "") -> list[Wanted]:
    out, ending = request.out, request.ending
    alone = out.suffix == ending
    if alone and len(reads) > 1:
        raise SettingError(f"--out: expected a folder for {len(reads)} slides, found {out}; leave its ending out")
    files = {name: prediction_path(out, name).name.removesuffix(WRITTEN[H5AD]) + ending for name in reads}
    places = {name: out if alone else out / file for name, file in files.items()}
    return [Wanted(name, read, places[name], laid) for name, read in reads.items()]


def _n_spots(path: Path, asked: str) -> int:
    """Spots of predictions that are there; raises UserError where they are of something else."""
    try:
        said, n_spots = asked_of(path) if path.suffix == WRITTEN[SPATIALDATA] else _asked_of_file(path)
        if said == asked:
            return n_spots
        found = "predictions of another model, seed, number of draws or places of spots"
    except Exception as error:  # noqa: BLE001  a damaged or foreign file ends in whatever the library trips over
        found = first_line(error)
    raise UserError(f"--out: expected a new file, or predictions of this model, at {path}, found {found}; move it away")


def _asked_of_file(path: Path) -> tuple[str, int]:
    import h5py

    check_regular(path)
    with h5py.File(path) as file:
        return file["uns/stbench/asked"].asstr()[()], int(file["X"].shape[0])


def predict(
    model: Model,
    wanted: Sequence[Wanted],
    *,
    draws: int | None = None,
    seed: int = 0,
    keep_draws: bool = False,
    reporter: Reporter = SILENT,
) -> dict[str, int]:
    """Predict slides one after the other; each file appears when it is complete, and one that is there is kept.

    Args:
        model: the fitted method.
        wanted: the slides.
        draws: samples of a generative method, the model's own number when None.
        seed: of the draws.
        keep_draws: whether every draw is kept; else their mean and spread alone.
        reporter: where progress goes, and word of slides unlike those the model was fitted on.

    Returns:
        Name of the slide to the number of its spots.

    Raises:
        UserError: something else than predictions of this model with this seed lies where one is to go; nothing is
            predicted then. Or a slide cannot be read or predicted.
    """
    n_draws = draws or model.facts.draws
    asked = {one.name: json.dumps([model.facts.model, seed, n_draws, keep_draws, one.laid]) for one in wanted}
    found = {one.name: _n_spots(one.out, asked[one.name]) for one in wanted if os.path.lexists(one.out)}
    for folder in {one.out.parent for one in wanted}:
        remove_parts(folder)
    with reporter.track(f"{model.facts.method} predicts", len(wanted)) as advance:
        for one in wanted:
            if one.name in found:
                reporter.info(f"slide {one.name}: {one.out} is there and is kept")
                advance(note=one.name)
                continue
            slide = one.read()
            adata, doubts = apply(model, slide, draws=draws, seed=seed, keep_draws=keep_draws, reporter=reporter)
            adata.uns[FACTS]["asked"] = asked[one.name]
            for doubt in doubts:
                reporter.info(f"slide {one.name}: {doubt}")
            with whole(one.out) as part:
                if part.suffix == WRITTEN[SPATIALDATA]:
                    write_store(adata, part)
                else:
                    write_h5ad(adata, part, compression="gzip")
            found[one.name] = slide.n_spots
            advance(note=one.name)
    return found
