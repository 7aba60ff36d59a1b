"""A slide in memory: spots, counts, positions and where its picture is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

if TYPE_CHECKING:
    from anndata import AnnData

    from stbench.data.image import ImageSource

SPATIAL = "spatial"  # obsm: (n_spots, 2) spot centres in full-resolution pixels, x right, y down
FEATURES = "features"  # obsm: (n_spots, d) features that came with the slide; absent where a picture gives them
FEATURES_KEY = "features_key"  # uns: identity of what made those features; absent where only their bits say it
ARRAY = "array"  # obsm: (n_spots, 2) array position, x right, y down; absent when unknown
DOMAIN = ("domain", "layer")  # obs: name of the tissue domain of each spot, under the first that is there
TOTAL_COUNTS = "total_counts"  # obs: UMI per spot over all measured genes


@dataclass(frozen=True)
class SlideRef:
    """What is known of a slide before it is read.

    Args:
        id: name of the slide, unique in its cohort.
        patient: key of the patient, unique across studies; None when unknown.
        n_spots: number of spots, None when it is known only after reading.
    """

    id: str
    patient: str | None
    n_spots: int | None = None


@dataclass(frozen=True)
class Slide:
    """One tissue section.

    Args:
        id: name of the slide, unique in its cohort.
        patient: key of the patient; None when unknown.
        adata: ``X`` raw UMI counts (n_spots, n_genes) as CSR int32; ``obs_names`` spot ids; ``var_names`` genes;
            ``obsm["spatial"]`` (n_spots, 2) float32, spot centres in full-resolution pixels, x right, y down;
            ``obsm["array"]`` (n_spots, 2) float32 array position, x right, y down (left out when unknown);
            ``obs["total_counts"]`` UMI of each spot over all measured genes;
            ``obsm["features"]`` (n_spots, d) features the slide brings along (left out where a picture gives them).
        image: source of the H&E picture, None when the slide has none.
        um_per_px: micrometres per full-resolution pixel, None when unknown.
        notes: what the reader left out or repaired, one line each.
        orders: names of files of the slide that list its spots in another order than ``adata``.
    """

    id: str
    patient: str | None
    adata: AnnData
    image: ImageSource | None = None
    um_per_px: float | None = None
    notes: tuple[str, ...] = ()
    orders: tuple[str, ...] = ()

    @property
    def n_spots(self) -> int:
        """Number of spots."""
        return int(self.adata.n_obs)

    @property
    def genes(self) -> list[str]:
        """Names of the genes, in column order."""
        return list(map(str, self.adata.var_names.tolist()))

    @property
    def spot_ids(self) -> list[str]:
        """Names of the spots, in row order."""
        return list(map(str, self.adata.obs_names.tolist()))

    @property
    def counts(self) -> csr_matrix:
        """(n_spots, n_genes) int32, UMI."""
        return cast("csr_matrix", self.adata.X)

    @property
    def xy(self) -> NDArray[np.float32]:
        """(n_spots, 2) spot centres in full-resolution pixels."""
        return np.asarray(self.adata.obsm[SPATIAL], dtype=np.float32)

    @property
    def array_xy(self) -> NDArray[np.float32] | None:
        """(n_spots, 2) array positions, None when the layout does not give them."""
        return np.asarray(self.adata.obsm[ARRAY], dtype=np.float32) if ARRAY in self.adata.obsm else None

    @property
    def features(self) -> NDArray[np.float32] | None:
        """(n_spots, d) features the slide brings along, None when it has none."""
        return np.asarray(self.adata.obsm[FEATURES], dtype=np.float32) if FEATURES in self.adata.obsm else None

    @property
    def total_counts(self) -> NDArray[np.float64]:
        """(n_spots,) UMI over all measured genes, also those outside ``adata``."""
        return np.asarray(self.adata.obs[TOTAL_COUNTS], dtype=np.float64)

    @property
    def domains(self) -> NDArray[np.str_] | None:
        """(n_spots,) names of tissue domains, empty where a spot has none; None when the slide has no such names."""
        column = next((name for name in DOMAIN if name in self.adata.obs), None)
        if column is None:
            return None
        values = self.adata.obs[column].astype(object)
        return np.asarray(values.where(values.notna(), "").astype(str), dtype=np.str_)

    def take(self, spots: NDArray[np.bool_] | NDArray[np.int64]) -> Slide:
        """The same slide with only the given spots (mask or indices)."""
        return replace(self, adata=self.adata[spots].copy())
