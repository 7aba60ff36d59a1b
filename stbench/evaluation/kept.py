"""The slides a task keeps: the panel's columns of every slide, their counts on disk where there is a cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from stbench.data.slide import Slide
from stbench.features.mapped import MappedArrays

_PARTS = ("data", "indices", "indptr")  # of a CSR matrix


def keep_panel(slides: Iterable[Slide], genes: Sequence[str], directory: Path | None) -> dict[str, Slide]:
    """Slides by id with the given genes alone, read one at a time.

    Args:
        slides: with all genes.
        genes: the panel, in order.
        directory: folder for the counts; None keeps them in memory.

    Raises:
        SettingError: the folder cannot be written or its disk is full.
    """
    kept: dict[str, Slide] = {}
    panels = _panels(slides, genes, kept)
    if directory is None:
        for id_, counts in panels:
            kept[id_].adata.X = counts
        return kept
    stored = MappedArrays(_arrays(panels), directory, np.int32).fresh()
    for id_, slide in kept.items():
        counts = csr_matrix(slide.adata.shape, dtype=np.int32)
        for part in _PARTS:  # the constructor would copy them into memory
            setattr(counts, part, stored[f"{id_}/{part}"])
        slide.adata.X = counts
    return kept


def _panels(slides: Iterable[Slide], genes: Sequence[str], kept: dict[str, Slide]) -> Iterator[tuple[str, csr_matrix]]:
    """Ids and counts; what else is known of a slide goes into ``kept``."""
    for slide in slides:
        adata = slide.adata[:, list(genes)].copy()
        counts, adata.X = csr_matrix(adata.X), None
        kept[slide.id] = replace(slide, adata=adata)
        yield slide.id, counts


def _arrays(panels: Iterable[tuple[str, csr_matrix]]) -> Iterator[tuple[str, NDArray[np.int32]]]:
    for id_, counts in panels:
        for part in _PARTS:
            yield f"{id_}/{part}", getattr(counts, part)
