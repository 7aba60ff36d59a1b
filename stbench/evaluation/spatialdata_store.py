"""Predictions as a SpatialData store: spots, the table that annotates them, the reduced picture."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stbench.data.slide import SPATIAL
from stbench.errors import SettingError
from stbench.evaluation.predictions import FACTS
from stbench.reading import read_json

if TYPE_CHECKING:
    from anndata import AnnData

TABLE, SPOTS, PICTURE = "table", "spots", "picture"
REGION, INSTANCE = "region", "instance_id"  # columns of the table: which shapes, and which of them
_GLOBAL = "global"  # coordinate system: pixels of the full-resolution image


def check_installed() -> None:
    """Raise SettingError where the extra is not there."""
    if find_spec("spatialdata") is None:
        raise SettingError("--to spatialdata: expected its library, found none; pip install 'stbench[spatialdata]'")


def write_store(adata: AnnData, path: Path) -> None:
    """Write what ``stbench predict`` says of a slide; elements lie in full-resolution pixels, x right, y down.

    Args:
        adata: predictions of one slide, with its spots in ``obsm["spatial"]``, its picture in ``uns["spatial"]`` and
            what was asked for in ``uns["stbench"]``.
        path: a folder that is not there.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its libraries, about each other
        _store(adata).write(path)


def _store(adata: AnnData) -> Any:
    from spatialdata import SpatialData
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity

    ((_, library),) = adata.uns[SPATIAL].items()
    factors = library["scalefactors"]
    spots = ShapesModel.parse(
        np.asarray(adata.obsm[SPATIAL], dtype=np.float64), geometry=0, radius=factors["spot_diameter_fullres"] / 2,
        index=adata.obs_names, transformations={_GLOBAL: Identity()},
    )  # fmt: skip
    hires = library["images"].get("hires")
    images = {} if hires is None else {PICTURE: _picture(hires, factors)}
    said = {FACTS: {"asked": adata.uns[FACTS]["asked"], "n_spots": adata.n_obs}}
    return SpatialData(images=images, shapes={SPOTS: spots}, tables={TABLE: _table(adata)}, attrs=said)


def _table(adata: AnnData) -> AnnData:
    import pandas as pd
    from spatialdata.models import TableModel

    table = adata.copy()
    del table.uns[SPATIAL]  # the other elements say it
    table.obs[REGION] = pd.Categorical([SPOTS] * table.n_obs)
    table.obs[INSTANCE] = table.obs_names.to_numpy()
    return TableModel.parse(table, region=SPOTS, region_key=REGION, instance_key=INSTANCE)


def _picture(pixels: Any, factors: dict[str, float]) -> Any:
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import Scale

    larger = 1 / factors["tissue_hires_scalef"]
    return Image2DModel.parse(
        np.moveaxis(pixels, 2, 0), dims=("c", "y", "x"), c_coords=["r", "g", "b"],
        transformations={_GLOBAL: Scale([larger, larger], axes=("x", "y"))},
    )  # fmt: skip


def asked_of(path: Path) -> tuple[str, int]:
    """What predictions in a store were asked for, and their spots; raises whatever a foreign store leads to."""
    said = read_json(path / "zarr.json")["attributes"][FACTS]  # no array, as one may hold pickled objects
    return str(said["asked"]), int(said["n_spots"])
