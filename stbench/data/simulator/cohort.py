"""The simulated cohort: slides made when first asked for, then read from a cache."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stbench.data.cohort import SIMULATED, Cohort
from stbench.data.hdf5_writing import write_h5ad
from stbench.data.image import ImageArray, ImageSource
from stbench.data.secret import said_of
from stbench.data.simulator import ceiling
from stbench.data.simulator.cells import CELL_TYPES, place_cells
from stbench.data.simulator.counts import Expression, Genes, express, make_genes
from stbench.data.simulator.settings import SimulationSettings
from stbench.data.simulator.stain import render
from stbench.data.simulator.tissue import DOMAINS, Section, make_section
from stbench.data.slide import ARRAY, SPATIAL, TOTAL_COUNTS, Slide, SlideRef
from stbench.errors import SettingError
from stbench.files import CHOOSE_CACHE, remove, sha256_of, whole
from stbench.filling import filling, there
from stbench.reporting import SILENT, Reporter

if TYPE_CHECKING:
    from anndata import AnnData

NAME = "simulated"
CELL_TYPE_SHARES = "cell_types"  # obsm: (n_spots, n_types) share of the spot's cells

_SLIDE, _IMAGE, _SEAL = ".h5ad", ".png", ".sha256.json"
_PNG_SPEED = (cv2.IMWRITE_PNG_COMPRESSION, 1)


def open_simulated(settings: SimulationSettings, cache_dir: Path, reporter: Reporter = SILENT) -> Cohort:
    """The simulated cohort; nothing is made before a slide is read.

    A slide depends on the settings, a secret seed they may be keyed by, and its id alone, not on which slides were
    made before or by which process.

    Args:
        settings: what the cohort is made of.
        cache_dir: folder of caches; slides lie in ``simulated/<hash of the settings and of the secret>``.
        reporter: is told of every slide that is made, and of damaged cache entries.

    Returns:
        The cohort; slide ``P02S1`` is the first section of the second patient, ``P02``.
    """
    places = {
        f"P{patient + 1:02d}S{section + 1}": (patient, section)
        for patient in range(settings.n_patients)
        for section in range(settings.sections_per_patient)
    }
    cache = _Cache(settings, cache_dir / NAME / settings.digest(), reporter)
    return Cohort(
        name=NAME,
        layout=SIMULATED,
        simulated=True,
        refs=tuple(SlideRef(slide_id, slide_id[:3], settings.n_spots) for slide_id in places),
        reader=lambda slide_id: cache.slide(slide_id, *places[slide_id]),
        about=said_of(settings.secret),
        secret=None if settings.secret is None else settings.secret.sha256,
    )


def simulate_slide(settings: SimulationSettings, patient: int, number: int) -> tuple[AnnData, ImageArray]:
    """Make one slide without any cache.

    Args:
        settings: of the cohort.
        patient: number of the patient, from 0.
        number: number of the section within the patient, from 0.

    Returns:
        The slide's AnnData as in :class:`stbench.data.slide.Slide`, with the truth in ``layers["expected"]``,
        ``layers["expected_visible"]``, ``obs["domain"]``, ``obs["depth"]`` and ``obsm["cell_types"]``, and its
        (height, width, 3) uint8 RGB image.
    """
    section = make_section(settings, patient, number)
    cells = place_cells(section, settings.stream("cells", patient, number))
    genes = make_genes(settings)
    expression = express(section, cells, genes, settings, patient, number)
    return _annotate(section, genes, expression, settings), render(section, cells, settings, patient, number)


def _annotate(section: Section, genes: Genes, expression: Expression, settings: SimulationSettings) -> AnnData:
    import pandas as pd
    from anndata import AnnData

    domain = section.domain[section.cells_at(section.spot_um)]
    obs = pd.DataFrame(
        {
            TOTAL_COUNTS: np.asarray(expression.counts.sum(axis=1)).ravel().astype(np.float64),
            "domain": pd.Categorical(np.array(DOMAINS)[domain], categories=list(DOMAINS)),
            "depth": expression.depth,
            ceiling.EXPECTED_TOTAL: expression.expected.sum(axis=1),
            ceiling.VISIBLE_TOTAL: expression.expected_visible.sum(axis=1),
        },
        index=[f"{x:03d}x{y:03d}" for x, y in section.array_xy],
    )
    var = pd.DataFrame(
        {
            "marker_of": genes.marker_of,
            ceiling.DISPERSION: genes.dispersion,
            ceiling.INVISIBLE_SD: genes.invisible_sd,
        },
        index=genes.names,
    )
    adata = AnnData(expression.counts, obs=obs, var=var)
    adata.obsm[SPATIAL] = (section.spot_um / settings.um_per_px).astype(np.float32)
    adata.obsm[ARRAY] = section.array_xy.astype(np.float32)
    adata.obsm[CELL_TYPE_SHARES] = expression.cell_types.astype(np.float32)
    adata.layers[ceiling.EXPECTED] = expression.expected.astype(np.float32)
    adata.layers[ceiling.VISIBLE] = expression.expected_visible.astype(np.float32)
    adata.uns[ceiling.TRUTH] = {
        ceiling.DEPTH_SD: settings.depth_sd,
        "cell_types": np.array(CELL_TYPES, dtype=object),
        "settings": settings.model_dump_json(),
    }
    return adata


@dataclass(frozen=True)
class _Cache:
    settings: SimulationSettings
    folder: Path
    reporter: Reporter

    def slide(self, slide_id: str, patient: int, number: int) -> Slide:
        adata = self._read(slide_id, self.reporter)
        if adata is None:
            with filling(self.folder, slide_id, f"slide {slide_id}", self.reporter):
                adata = self._read(slide_id, SILENT) or self._make(slide_id, patient, number)
        um_per_px = self.settings.um_per_px
        return Slide(slide_id, slide_id[:3], adata, _image(self._path(slide_id, _IMAGE), um_per_px), um_per_px)

    def _make(self, slide_id: str, patient: int, number: int) -> AnnData:
        self.reporter.info(f"simulating slide {slide_id}")
        adata, pixels = simulate_slide(self.settings, patient, number)
        self._write(slide_id, adata, pixels)
        return adata

    def _path(self, slide_id: str, suffix: str) -> Path:
        return self.folder / f"{slide_id}{suffix}"

    def _read(self, slide_id: str, reporter: Reporter) -> AnnData | None:
        """The cached slide, None when it must be made: its seal is the last thing written, and must fit the bytes."""
        from anndata import read_h5ad

        seal = self._path(slide_id, _SEAL)
        if not there(seal):
            return None
        with suppress(OSError, ValueError):  # another process may be making it again
            sealed = json.loads(seal.read_text(encoding="utf-8"))
            if sealed == {suffix: sha256_of(self._path(slide_id, suffix)) for suffix in (_SLIDE, _IMAGE)}:
                return read_h5ad(self._path(slide_id, _SLIDE))
        reporter.info(f"cache entry {self._path(slide_id, _SLIDE)} is damaged; it is made again")
        return None

    def _write(self, slide_id: str, adata: AnnData, pixels: ImageArray) -> None:
        remove(self._path(slide_id, _SEAL))
        for suffix in (_SLIDE, _IMAGE, _SEAL):
            with whole(self._path(slide_id, suffix), hint=CHOOSE_CACHE, error=SettingError) as part:
                self._fill(part, slide_id, suffix, adata, pixels)

    def _fill(self, part: Path, slide_id: str, suffix: str, adata: AnnData, pixels: ImageArray) -> None:
        if suffix == _SLIDE:
            write_h5ad(adata, part)
        elif suffix == _IMAGE:
            encoded = cv2.imencode(_IMAGE, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), _PNG_SPEED)[1]
            part.write_bytes(encoded.tobytes())
        else:
            sums = {name: sha256_of(self._path(slide_id, name)) for name in (_SLIDE, _IMAGE)}
            part.write_text(json.dumps(sums), encoding="utf-8")


def _image(path: Path, um_per_px: float) -> ImageSource:
    from stbench.data.images import ImageFile

    return ImageFile(path, um_per_px=um_per_px)
