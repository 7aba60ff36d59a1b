"""Write a cohort as HEST-1k lays it out: ``st/``, ``patches/`` or ``wsis/``, ``metadata/``, ``thumbnails/``."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stbench.data.cohort import Cohort
from stbench.data.hdf5_writing import new_hdf5, write_h5ad
from stbench.data.image import ImageArray, ImageSource, PatchSpec
from stbench.data.slide import ARRAY, SPATIAL, TOTAL_COUNTS, Slide
from stbench.errors import DataError, SettingError
from stbench.files import new_folder
from stbench.reporting import SILENT, Reporter

if TYPE_CHECKING:
    from anndata import AnnData

LIBRARY = "ST"  # the literal key of every HEST file
THUMBNAIL_PX = 1000
_MAGNIFICATIONS = ((0.5, "40x"), (1.0, "20x"), (4.0, "10x"))
_ST_BARCODE = re.compile(r"\d+x\d+")
_TILE = 256


@dataclass(frozen=True)
class _Patches:
    side_px: int
    um_per_px: float


def export_hest(
    cohort: Cohort,
    folder: Path,
    *,
    patch_px: int = 224,
    um_per_px: float = 0.5,
    with_wsi: bool = False,
    reporter: Reporter = SILENT,
) -> None:
    """Write every usable slide of a cohort in the layout of HEST-1k.

    The folder appears as a whole once everything is written. A slide without picture gets no patches and no
    thumbnail. What else its AnnData holds (layers, obs, var, uns) is kept.

    Args:
        cohort: slides to write.
        folder: new or empty folder.
        patch_px: side of a patch in pixels.
        um_per_px: pixel size of the patches in micrometres.
        with_wsi: write the whole picture as a tiled pyramid into ``wsis/`` in place of the patches.
        reporter: where progress goes.

    Raises:
        UserError: the folder holds something already, or cannot be written.
        DataError: a picture whose pixel size is unknown, or of which only patches exist where the whole is wanted.
        SettingError: a patch size that is not positive.
    """
    if patch_px < 1 or not um_per_px > 0:
        raise SettingError(f"expected positive patch_px and um_per_px, found {patch_px} and {um_per_px}")
    patches = None if with_wsi else _Patches(patch_px, um_per_px)
    with (
        new_folder(folder) as staging,
        reporter.track(f"exporting {cohort.name}", len(cohort.refs)) as advance,
    ):
        for slide_id in cohort.ids:
            _write_slide(cohort, cohort.load(slide_id), staging, patches, reporter)
            advance(note=slide_id)


def _write_slide(cohort: Cohort, slide: Slide, root: Path, patches: _Patches | None, reporter: Reporter) -> None:
    image, pixel = slide.image, slide.um_per_px
    if image is not None and pixel is None:
        raise DataError(f"slide {slide.id}: expected a pixel size for the export, found none; leave the slide out")
    thumbnail = None if image is None or image.size() is None else image.thumbnail(THUMBNAIL_PX)
    _folder(root, "st")
    write_h5ad(_hest_adata(slide, thumbnail), root / "st" / f"{slide.id}.h5ad")
    metadata = _folder(root, "metadata") / f"{slide.id}.json"
    metadata.write_text(json.dumps(_metadata(cohort, slide), indent=1) + "\n", encoding="utf-8")
    if thumbnail is not None:
        _write_jpeg(_folder(root, "thumbnails") / f"{slide.id}_downscaled_fullres.jpeg", thumbnail)
    if image is None:
        reporter.info(f"slide {slide.id} has no picture: exported without patches")
    elif pixel is not None and patches is not None:
        _write_patches(_folder(root, "patches") / f"{slide.id}.h5", slide, image, pixel, patches)
    elif pixel is not None:
        _write_wsi(_folder(root, "wsis") / f"{slide.id}.tif", slide.id, image, pixel)


def _folder(root: Path, name: str) -> Path:
    (root / name).mkdir(exist_ok=True)
    return root / name


def _hest_adata(slide: Slide, thumbnail: ImageArray | None) -> AnnData:
    adata = slide.adata.copy()
    x, y = slide.xy.T.astype(np.float64)
    adata.obs["in_tissue"] = True
    adata.obs["pxl_col_in_fullres"], adata.obs["pxl_row_in_fullres"] = x, y
    if slide.array_xy is not None:
        column, row = np.rint(slide.array_xy.T).astype(np.int64)
        # HEST puts the first number of a legacy ST barcode, which is the horizontal one, into array_row.
        legacy = all(_ST_BARCODE.fullmatch(spot) for spot in slide.spot_ids)
        adata.obs["array_row"], adata.obs["array_col"] = (column, row) if legacy else (row, column)
        del adata.obsm[ARRAY]
    adata.obs["n_genes_by_counts"] = np.diff(slide.counts.indptr)
    adata.obs[f"log1p_{TOTAL_COUNTS}"] = np.log1p(slide.total_counts)
    adata.obsm[SPATIAL] = slide.xy
    library: dict[str, Any] = {"images": {}, "scalefactors": {}}
    if thumbnail is not None and slide.image is not None:
        library["images"]["downscaled_fullres"] = thumbnail
        longest = max(slide.image.size() or thumbnail.shape[:2])
        library["scalefactors"]["tissue_downscaled_fullres_scalef"] = max(thumbnail.shape) / longest
    if slide.um_per_px is not None:
        library["scalefactors"]["spot_diameter_fullres"] = _spot_diameter_um(slide) / slide.um_per_px
    adata.uns["spatial"] = {LIBRARY: library}
    return adata


def _pitch_um(slide: Slide) -> float | None:
    """Median distance of a spot's nearest neighbour in micrometres."""
    from scipy.spatial import cKDTree

    if slide.um_per_px is None or slide.n_spots < 2:
        return None
    distances = np.asarray(cKDTree(slide.xy).query(slide.xy, k=2)[0])
    return round(float(np.median(distances[:, 1])) * slide.um_per_px, 3)


def _spot_diameter_um(slide: Slide) -> float:
    """55 um on an array of 100 um pitch (Visium), half the pitch on wider ones (legacy ST)."""
    pitch = _pitch_um(slide) or 100.0
    return 0.55 * pitch if pitch < 150 else 0.5 * pitch


def _metadata(cohort: Cohort, slide: Slide) -> dict[str, Any]:
    width, height = (slide.image.size() if slide.image is not None else None) or (None, None)
    pixel = slide.um_per_px
    return {
        "dataset_title": cohort.name,
        "id": slide.id,
        "image_filename": f"{slide.id}.tif",
        "organ": None,
        "disease_state": None,
        "oncotree_code": None,
        "species": None,
        "patient": slide.patient,
        "st_technology": cohort.layout,
        "inter_spot_dist": _pitch_um(slide),
        "spot_diameter": None if pixel is None else round(_spot_diameter_um(slide), 3),
        "spots_under_tissue": slide.n_spots,
        "nb_genes": len(slide.genes),
        "adata_nb_col": len(slide.genes),
        "pixel_size_um_embedded": pixel,
        "pixel_size_um_estimated": pixel,
        "magnification": None if pixel is None else next((m for size, m in _MAGNIFICATIONS if pixel <= size), None),
        "fullres_px_width": width,
        "fullres_px_height": height,
        "fullres_width": width,
        "fullres_height": height,
        "subseries": slide.id,
    }


def _write_patches(path: Path, slide: Slide, image: ImageSource, pixel: float, patches: _Patches) -> None:
    """Patches centred on the spots; ``coords`` is the corner, ``int(centre - floor(side / 2))`` as HEST cuts them."""
    import h5py

    side = patches.side_px
    side_um = side * patches.um_per_px
    corners = np.trunc(slide.xy - math.floor(side_um / pixel / 2)).astype(np.int64)
    attributes = {
        "patch_size_src": round(side_um / pixel),
        "patch_size_target": side,
        "downsample": patches.um_per_px / pixel,
        "pixel_size": pixel,
    }
    n_spots = slide.n_spots
    with new_hdf5(path) as (file, check):
        shape, chunk = (n_spots, side, side, 3), (1, side, side, 3)
        img = file.create_dataset("img", shape, np.uint8, chunks=chunk, maxshape=(None, *shape[1:]))
        for row, patch in enumerate(image.patches(slide.spot_ids, slide.xy, PatchSpec(um=side_um, out_px=side))):
            img[row] = patch
            check()
        coords = file.create_dataset("coords", data=corners, chunks=(1, 2), maxshape=(None, 2))
        names = np.array(slide.spot_ids, dtype=object)[:, None]
        file.create_dataset("barcode", data=names, dtype=h5py.string_dtype(), chunks=(1, 1), maxshape=(None, 1))
        for dataset in (img, coords):
            dataset.attrs.update(attributes)


def _write_jpeg(path: Path, picture: ImageArray) -> None:
    import cv2

    path.write_bytes(cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes())


def _write_wsi(path: Path, slide_id: str, image: ImageSource, pixel: float) -> None:
    """A generic pyramidal TIFF: tiled levels, each half the one before, one page after the other."""
    import cv2
    import tifffile

    size = image.size()
    if size is None:
        raise DataError(f"slide {slide_id}: expected the whole picture for wsis/, found patches only; export patches")
    level = image.thumbnail(max(size))
    if level.shape[:2] != (size[1], size[0]):
        raise DataError(
            f"slide {slide_id}: expected the picture at full resolution, {size[0]} x {size[1]} px, found "
            f"a reduced one of {level.shape[1]} x {level.shape[0]}; export patches"
        )
    with tifffile.TiffWriter(path, bigtiff=level.nbytes > 4 * 10**9) as file:
        reduced = 0
        while True:
            per_cm = 1e4 / (pixel * size[0] / level.shape[1])
            file.write(
                level,
                tile=(_TILE, _TILE),
                photometric="rgb",
                compression="zlib",
                subfiletype=reduced,
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
            if max(level.shape) <= 2 * _TILE:
                break
            half = (max(1, level.shape[1] // 2), max(1, level.shape[0] // 2))
            level, reduced = cv2.resize(level, half, interpolation=cv2.INTER_AREA), 1
