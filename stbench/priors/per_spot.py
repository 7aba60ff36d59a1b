"""Gene vectors that differ from spot to spot, as a foundation model gives when it reads each spot's own counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stbench.errors import DataError

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

GENES_FILE = "genes.txt"
_CHUNK = 32  # spots read at once; a slide may hold gigabytes


@dataclass(frozen=True)
class PerSpotTable:
    """A folder with ``<slide>_gene_embeddings.npy`` (n_spots, rows, d) and ``<slide>_gene_mask.npy`` (n_spots, rows).

    The mask may be left out; then every gene has a vector in every spot. ``genes.txt`` names the rows, one a line.
    Spots are in the order of the slide.

    Args:
        folder: where the files are.
        n_rows: genes in ``genes.txt``.
        rows: (G,) row of each panel gene, -1 where the folder lacks it.
    """

    folder: Path
    n_rows: int
    rows: NDArray[np.int64]

    def read(self, slide_id: str, n_spots: int) -> tuple[FloatArray, BoolArray]:
        """Vectors of one slide.

        Args:
            slide_id: name of the slide.
            n_spots: spots the slide has.

        Returns:
            (n_spots, G, d) float32, zeros where masked, and (n_spots, G) mask.

        Raises:
            DataError: a file is absent, damaged, of another shape, or holds a value that is not finite.
        """
        return self.take(slide_id, n_spots, np.arange(n_spots))

    def take(self, slide_id: str, n_spots: int, spots: NDArray[np.int64]) -> tuple[FloatArray, BoolArray]:
        """What :meth:`read` returns for some spots of a slide; the others are not read from disk."""
        path = self.folder / f"{slide_id}_gene_embeddings.npy"
        vectors = _open(path, (n_spots, self.n_rows, None))
        mask_path = self.folder / f"{slide_id}_gene_mask.npy"
        masks = _open(mask_path, (n_spots, self.n_rows)) if mask_path.is_file() else np.ones(vectors.shape[:2])
        present = (masks[spots][:, self.rows] > 0.5) & (self.rows >= 0)
        taken = np.where(present[..., None], vectors[spots][:, self.rows], 0).astype(np.float32)
        if not np.isfinite(taken).all():
            raise DataError(f"gene prior {path}: expected finite numbers, found another in spots from {spots[0]} on")
        return taken, present

    def chunks(self, slide_id: str, n_spots: int) -> Iterator[tuple[FloatArray, BoolArray]]:
        """What :meth:`read` returns, a few spots at a time."""
        for start in range(0, n_spots, _CHUNK):
            yield self.take(slide_id, n_spots, np.arange(start, min(start + _CHUNK, n_spots)))

    def mean(self, slides: Sequence[tuple[str, int]]) -> tuple[FloatArray, BoolArray]:
        """Mean vector of each gene over the spots that have one.

        Args:
            slides: name and number of spots of each training slide.

        Returns:
            (G, d) float32 and the (G,) mask of genes that have a vector anywhere.
        """
        total: NDArray[np.float64] | None = None
        count = np.zeros(len(self.rows))
        for slide_id, n_spots in slides:
            for vectors, present in self.chunks(slide_id, n_spots):
                summed = vectors.sum(axis=0, dtype=np.float64)
                if total is not None and total.shape != summed.shape:
                    raise DataError(
                        f"gene prior {self.folder}: expected one width, found {total.shape[1]} and {summed.shape[1]} "
                        f"(slide {slide_id})"
                    )
                total = summed if total is None else total + summed
                count += present.sum(axis=0)
        if total is None:
            raise DataError(f"gene prior {self.folder}: expected training slides with spots, found none")
        return (total / np.maximum(count, 1)[:, None]).astype(np.float32), count > 0


def read_gene_names(folder: Path) -> list[str]:
    """Names in ``genes.txt``.

    Raises:
        DataError: the file is absent or no UTF-8 text.
    """
    path = folder / GENES_FILE
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"gene prior {folder}: expected {GENES_FILE} with one gene a line, found: {error}") from error


def _open(path: Path, shape: tuple[int | None, ...]) -> NDArray[np.floating]:
    try:
        array: NDArray[np.floating] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"gene prior {path}: expected a .npy array of numbers, found: {error}") from error
    fits = array.ndim == len(shape) and all(
        wanted in (None, found) for wanted, found in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind not in "fiub":
        wanted = "(" + ", ".join("d" if side is None else str(side) for side in shape) + ")"
        raise DataError(
            f"gene prior {path}: expected {wanted} numbers (spots first), found {array.shape} {array.dtype}"
        )
    return array
