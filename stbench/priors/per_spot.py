"""Vectors that differ from spot to spot, as a foundation model gives when it reads each spot's own counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stbench.errors import DataError
from stbench.reading import check_regular
from stbench.text import first_line

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Kind = Literal["gene", "spot"]

GENES_FILE = "genes.txt"
_OTHER: dict[Kind, Kind] = {"gene": "spot", "spot": "gene"}


@dataclass(frozen=True)
class PerSpotTable:
    """Memory-mapped vectors of single spots; made by :func:`open_per_spot`.

    Args:
        folder: where the files are.
        vectors: slide to (n_spots, rows, d) vectors of genes, or (n_spots, d) of spots.
        masks: slide to (n_spots, rows) or (n_spots,), above one half where there is a vector; None where there always
            is.
        rows: (G,) row of each panel gene, -1 where the folder lacks it; None for vectors of spots.
    """

    folder: Path
    vectors: Mapping[str, NDArray[Any]]
    masks: Mapping[str, NDArray[Any] | None]
    rows: NDArray[np.int64] | None = None

    @property
    def dim(self) -> int:
        """Width d of the vectors."""
        return int(next(iter(self.vectors.values())).shape[-1])

    def of(self, slide_id: str, spots: NDArray[np.int64]) -> tuple[FloatArray, BoolArray]:
        """Vectors of some spots of a training slide; the others are not read from disk.

        Args:
            slide_id: name of the slide.
            spots: (S,) rows of the spots.

        Returns:
            (S, G, d) float32, zeros where masked, and (S, G) mask; without G for vectors of spots.

        Raises:
            DataError: a value that is not masked is not finite.
        """
        present = self._present(slide_id, spots)
        taken = _gather(self.vectors[slide_id], spots, self.rows)
        if not present.all():
            taken[~present] = 0
        if not np.isfinite([taken.min(), taken.max()]).all():  # far cheaper than a mask of all values
            raise DataError(
                f"prior {self.folder}, slide {slide_id}: expected finite numbers, found another in spots from "
                f"{spots[0]} on; make the prior again"
            )
        return taken, present

    def _present(self, slide_id: str, spots: NDArray[np.int64]) -> BoolArray:
        mask, stored = self.masks[slide_id], self.vectors[slide_id]
        present: BoolArray = np.ones((len(spots), *stored.shape[1:-1]), np.bool_) if mask is None else mask[spots] > 0.5
        return present if self.rows is None else present[:, self.rows] & (self.rows >= 0)


def open_per_spot(
    folder: Path, kind: Kind, slides: Mapping[str, int], rows: NDArray[np.int64] | None = None, n_rows: int = 0
) -> PerSpotTable:
    """Map the files of the training slides; of their contents only the headers are read.

    Args:
        folder: has ``<slide>_gene_embeddings.npy`` (n_spots, rows, d) and ``<slide>_gene_mask.npy`` (n_spots, rows), or
            ``<slide>_spot_embeddings.npy`` (n_spots, d) and ``<slide>_spot_mask.npy`` (n_spots,), as ``stbench prior``
            writes them. Spots are in the order of the slide. A mask may be left out; then nothing is masked.
        kind: which of the two.
        slides: training slides and their number of spots.
        rows: for genes, (G,) row of each panel gene, -1 where the folder lacks it.
        n_rows: for genes, rows of every file.

    Raises:
        DataError: a file is absent, damaged or of another shape, or the slides differ in width.
    """
    middle = (n_rows,) if kind == "gene" else ()
    vectors: dict[str, NDArray[Any]] = {}
    masks: dict[str, NDArray[Any] | None] = {}
    for slide, n_spots in slides.items():
        _check_kind(folder, kind, slide)
        vectors[slide] = _open(folder / f"{slide}_{kind}_embeddings.npy", (n_spots, *middle, None))
        path = folder / f"{slide}_{kind}_mask.npy"
        masks[slide] = _open(path, (n_spots, *middle)) if path.is_file() else None
    _check_widths(folder, {slide: array.shape[-1] for slide, array in vectors.items()})
    return PerSpotTable(folder, vectors, masks, rows)


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


def _gather(stored: NDArray[Any], spots: NDArray[np.int64], rows: NDArray[np.int64] | None) -> FloatArray:
    """Some spots in float32, one spot at a time: beside the answer no more than one spot is held."""
    whole = rows is None or np.array_equal(rows, np.arange(stored.shape[1]))
    shape = stored.shape[1:] if rows is None else (len(rows), stored.shape[-1])
    taken = np.empty((len(spots), *shape), dtype=np.float32)
    one = np.empty(shape, dtype=stored.dtype)
    for place, spot in enumerate(spots):
        one[...] = stored[spot] if whole else stored[spot][rows]
        _convert(one, taken[place])
    return taken


def _convert(values: NDArray[Any], out: FloatArray) -> None:
    if values.dtype == np.float16:  # torch does it seven times as fast as numpy
        import torch

        torch.from_numpy(out).copy_(torch.from_numpy(values))
    else:
        out[...] = values


def _check_kind(folder: Path, kind: Kind, slide: str) -> None:
    wanted, other = (folder / f"{slide}_{each}_embeddings.npy" for each in (kind, _OTHER[kind]))
    if other.is_file() and not wanted.is_file():
        raise DataError(
            f"prior {folder}: expected {wanted.name}, found {other.name} alone, vectors per {_OTHER[kind]}; "
            f"align={_OTHER[kind]} uses them"
        )


def _check_widths(folder: Path, widths: Mapping[str, int]) -> None:
    if not widths:
        raise DataError(f"prior {folder}: expected training slides with spots, found none")
    first = next(iter(widths))
    for slide, width in widths.items():
        if width != widths[first]:
            raise DataError(
                f"prior {folder}: expected one width, found {widths[first]} ({first}) and {width} ({slide}); "
                "make all slides with one model"
            )


def _open(path: Path, shape: tuple[int | None, ...]) -> NDArray[Any]:
    try:
        check_regular(path)
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"prior {path}: expected a .npy array of numbers, found: {first_line(error)}") from error
    fits = array.ndim == len(shape) and all(
        wanted in (None, found) for wanted, found in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind not in "fiub":
        wanted = "(" + ", ".join("d" if side is None else str(side) for side in shape) + ("," * (len(shape) == 1)) + ")"
        raise DataError(
            f"prior {path}: expected {wanted} numbers (spots first), found {array.shape} {array.dtype}; "
            "make it again from the slides as they are read now"
        )
    return array
