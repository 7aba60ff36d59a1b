"""Transcripts of a SpatialData store, as Xenium writes them, counted in square bins on the picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from stbench.data.gene_names import is_control
from stbench.data.readers.counts import FloatArray, totals
from stbench.data.readers.spatialdata_listing import Section, gene_column
from stbench.data.readers.spatialdata_places import Frame, check_parquet, frame_of
from stbench.data.slide import SPATIAL, TOTAL_COUNTS
from stbench.data.zarr_store import attributes
from stbench.errors import DataError
from stbench.text import count

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

BIN_UM = 55.0  # of a Visium spot
_LEAST_QV = 20  # Phred: one in a hundred is another gene
_QUALITY = "qv"
_BATCH = 2**18
_SHIFT = 2**20  # more than there are genes
_POINTS = "points.parquet"


def binned(section: Section) -> tuple[AnnData, Frame, list[str]]:
    """Bins of 55 um that lie inside the picture and hold a transcript, with counts of genes, and notes.

    Transcripts of controls and, where ``qv`` is there, those below 20 are left out.

    Raises:
        DataError: no unit that is known, or no transcript on the picture.
        OSError: (or ValueError) a part is missing, larger than the limit or damaged.
    """
    columns = _columns(section)
    frame = frame_of(section, own_um=_QUALITY in columns)
    if frame.image is None or frame.um_per_px is None:
        raise DataError(
            f"{section.place}: expected a coordinate system in micrometres or a column {_QUALITY} of Xenium, found "
            "neither; set a transformation into a system called micrometers"
        )
    side = BIN_UM / frame.um_per_px
    across, down = (int(length // side) for length in frame.image.size())
    tally = _Tally(across, down)
    for xy, genes in _parts(section, columns, tally):
        tally.add(np.floor(frame.pixels(xy) / side), genes)
    if not len(tally.keys):
        raise DataError(f"{section.place}: expected transcripts on {frame.image.path.name}, found none there; {tally}")
    adata = tally.table()
    adata.obsm[SPATIAL] = (adata.obs[["array_col", "array_row"]].to_numpy() + 0.5) * side
    return adata, frame, [f"transcripts counted in bins of {BIN_UM:g} um; {tally}"]


class _Tally:
    """Numbers of transcripts, by bin and gene, and of those left out.

    Args:
        across: bins in a row.
        down: rows.
    """

    def __init__(self, across: int, down: int) -> None:
        self._shape = np.array([across, down])
        self._genes: dict[str, int] = {}
        self.keys, self._counts = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        self.controls = self.poor = self.outside = 0

    def add(self, bins: FloatArray, genes: Any) -> None:
        """Count transcripts, of a pandas.Categorical of genes, in bins (n, 2) by column and row."""
        inside = (bins >= 0).all(axis=1) & (bins < self._shape).all(axis=1)
        self.outside += int((~inside).sum())
        column, row = bins[inside].astype(np.int64).T
        number = np.array([self._genes.setdefault(name, len(self._genes)) for name in genes.categories], dtype=np.int64)
        if len(self._genes) > _SHIFT:
            raise ValueError(f"more than {_SHIFT} genes")
        more, n = np.unique((row * self._shape[0] + column) * _SHIFT + number[genes.codes[inside]], return_counts=True)
        self.keys, at = np.unique(np.concatenate([self.keys, more]), return_inverse=True)
        self._counts = np.bincount(at, np.concatenate([self._counts, n])).astype(np.int64)

    def table(self) -> AnnData:
        """(n_bins, n_genes) of the bins that hold any."""
        from anndata import AnnData
        from pandas import DataFrame, Index

        bins, at = np.unique(self.keys // _SHIFT, return_inverse=True)
        shape, values = (len(bins), len(self._genes)), self._counts.astype(np.int32)
        counts = csr_matrix((values, (at, self.keys % _SHIFT)), shape=shape)
        row, column = np.divmod(bins, self._shape[0])
        obs = DataFrame({"array_row": row, "array_col": column, TOTAL_COUNTS: totals(counts)})
        obs.index = Index([f"bin_{one}_{other}" for one, other in zip(row, column, strict=True)])
        return AnnData(counts, obs=obs, var=DataFrame(index=Index(list(self._genes), dtype=str)))

    def __str__(self) -> str:
        return (
            f"left out: {count(self.controls, 'transcript')} of controls, {self.poor} of {_QUALITY} below {_LEAST_QV}, "
            f"{self.outside} in no whole bin of the picture"
        )


def _columns(section: Section) -> list[str]:
    return [str(name) for name in check_parquet(_files(section)[0]).schema.to_arrow_schema().names]


def _files(section: Section) -> list[Any]:
    """Parts of the table in their order."""
    place = section.place / _POINTS
    there = {path.name: path for path in place.glob("part.*.parquet")}
    names = [f"part.{i}.parquet" for i in range(max(len(there), 1))]
    if missing := next((name for name in names if name not in there), None):
        raise OSError(f"no {missing} in {section.element}/{_POINTS}, where there are {len(there)} parts")
    return [there[name] for name in names]


def _parts(section: Section, columns: Sequence[str], tally: _Tally) -> Iterator[tuple[FloatArray, Any]]:
    """(n, 2) places and the genes of transcripts that count, so many at once that memory does not grow with them."""
    import pyarrow
    import pyarrow.parquet

    genes_in = gene_column(attributes(section.place)) or ""
    wanted = ["x", "y", genes_in, *([_QUALITY] if _QUALITY in columns else [])]
    for path in _files(section):
        check_parquet(path)
        try:
            with pyarrow.parquet.ParquetFile(path, read_dictionary=[genes_in]) as file:
                for batch in file.iter_batches(_BATCH, columns=wanted, use_threads=False):
                    yield _counted(batch.to_pandas(ignore_metadata=True), genes_in, tally)
        except pyarrow.ArrowException as error:
            raise ValueError(f"{path.name}: {error}") from error


def _counted(found: pd.DataFrame, genes_in: str, tally: _Tally) -> tuple[FloatArray, Any]:
    """Places and genes of those that are of a gene and sure; the others are tallied."""
    import pandas as pd

    genes = pd.Categorical(found[genes_in].astype(str))
    control = np.array([is_control(name) for name in genes.categories], dtype=bool)[genes.codes]
    control |= found[genes_in].isna().to_numpy()
    sure = found[_QUALITY].to_numpy() >= _LEAST_QV if _QUALITY in found else np.ones(len(found), dtype=bool)
    kept = ~control & sure
    tally.controls, tally.poor = tally.controls + int(control.sum()), tally.poor + int((~control & ~sure).sum())
    return found.loc[kept, ["x", "y"]].to_numpy(dtype=np.float64), genes[kept].remove_unused_categories()
