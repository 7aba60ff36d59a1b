"""Vectors of a gene model, slide by slide, as files that training reads a few spots of at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stbench.data.slide import Slide
from stbench.errors import DataError, SettingError, UserError
from stbench.files import whole, write_text
from stbench.priors.models import GeneModel
from stbench.priors.per_spot import GENES_FILE
from stbench.reporting import SILENT, Reporter

ABOUT = "prior.json"
_CHUNK = 64  # spots embedded at once
_FLOAT16_MAX = float(np.finfo(np.float16).max)
Context = Literal["panel", "all"]
HalfMap = np.memmap[Any, np.dtype[np.float16]]


def extract_prior(
    model: GeneModel,
    slides: Iterable[Slide],
    panel: Sequence[str],
    out: Path,
    *,
    context: Context = "panel",
    about: Mapping[str, Any] | None = None,
    budget_gb: float = 50.0,
    reporter: Reporter = SILENT,
) -> list[str]:
    """Write ``<slide>_gene_embeddings.npy`` (n_spots, G, d) float16 and ``<slide>_gene_mask.npy``, or
    ``<slide>_spot_embeddings.npy`` (n_spots, d) and ``<slide>_spot_mask.npy``, with ``genes.txt`` and ``prior.json``.

    A slide whose files are whole is not computed again, so an interrupted extraction goes on where it stopped.

    Args:
        model: the model, ready for the panel.
        slides: training slides, with all genes.
        panel: genes in panel order.
        out: folder, made when absent.
        context: whether the model sees the panel's genes alone, as the paper's code does, or all measured ones.
        about: what is kept in ``prior.json``; a folder made under other facts is refused.
        budget_gb: largest size of one slide's file.
        reporter: where progress goes.

    Returns:
        Names of the slides written or found.

    Raises:
        UserError: the folder cannot be written or was made with other settings.
        SettingError: all genes for a model that reads the panel alone.
        DataError: a slide's file would exceed the budget, or the model gives a value that half precision cannot hold.
    """
    if context == "all" and model.panel_alone:
        raise SettingError(f"--context all: expected panel, for {model.name} reads the panel's genes alone")
    said = {"model": model.name, "kind": model.kind, "dim": model.dim, "context": context, **(about or {})}
    _claim(out, {**said, "genes": list(panel)}, panel)
    done = []
    for slide in slides:
        _extract(model, slide, panel, out, context, budget_gb, reporter)
        done.append(slide.id)
    return done


def _claim(out: Path, said: dict[str, Any], panel: Sequence[str]) -> None:
    path = out / ABOUT
    text = json.dumps(said, indent=1, sort_keys=True, default=str)
    try:
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            raise UserError(f"{out} holds a prior made with other settings (see {ABOUT} there); choose another --out")
    except OSError as error:
        raise UserError(f"expected to read {path}, found: {error}; choose another --out") from error
    write_text(out / GENES_FILE, "\n".join(panel) + "\n", hint="choose another --out")
    write_text(path, text, hint="choose another --out")


def _extract(
    model: GeneModel,
    slide: Slide,
    panel: Sequence[str],
    out: Path,
    context: Context,
    budget_gb: float,
    reporter: Reporter,
) -> None:
    stem = out / f"{slide.id}_{model.kind}"
    files = [stem.with_name(f"{stem.name}_{part}.npy") for part in ("embeddings", "mask")]
    if all(file.is_file() for file in files):
        return
    shape = (slide.n_spots, len(panel)) if model.kind == "gene" else (slide.n_spots,)
    size = np.prod((*shape, model.dim)) * 2 / 2**30
    if size > budget_gb:
        raise DataError(f"slide {slide.id}: expected at most {budget_gb:g} GB, found {size:.0f} GB; take fewer genes")
    with whole(files[0]) as part, whole(files[1]) as mask_part:
        vectors = _reserved(part, (*shape, model.dim))
        np.save(mask_part, _fill(vectors, model, slide, panel, context, reporter))
        vectors.flush()


def _fill(
    vectors: HalfMap, model: GeneModel, slide: Slide, panel: Sequence[str], context: Context, reporter: Reporter
) -> NDArray[np.bool_]:
    """Write the vectors of a slide piece by piece; returns which of them the model knows."""
    masks = np.zeros(vectors.shape[:-1], dtype=np.bool_)
    chosen = slide if context == "all" else _of_panel(slide, panel)
    step = slide.n_spots if model.whole_slide else _CHUNK
    with reporter.track(f"{model.name} reads {slide.id}", slide.n_spots) as advance:
        for start in range(0, slide.n_spots, step):
            rows = slice(start, start + step)
            found, mask = model.embed(chosen.counts[rows], chosen.genes, chosen.spot_ids[rows])
            _check(found, f"slide {slide.id}: {model.name}")
            vectors[rows], masks[rows] = found, mask
            advance(len(mask))
    return masks


def _check(vectors: NDArray[np.float32], name: str) -> None:
    if not np.isfinite(vectors).all():
        raise DataError(f"{name} gave a vector that is not finite; check its weights")
    if vectors.size and (most := np.abs(vectors).max()) > _FLOAT16_MAX:
        raise DataError(f"{name}: expected values of at most {_FLOAT16_MAX:g}, found {most:g}; check its weights")


def _of_panel(slide: Slide, panel: Sequence[str]) -> Slide:
    return replace(slide, adata=slide.adata[:, list(panel)].copy())


def _reserved(path: Path, shape: tuple[int, ...]) -> HalfMap:
    """A new array mapped from a file whose room is taken: if the disk filled up later, the process would end."""
    try:
        vectors = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        path.unlink(missing_ok=True)
        size = np.prod(shape) * 2 / 1e9
        raise UserError(f"expected {size:.1f} GB of free disk for {path}, found: {error}; free some space") from error
    return vectors
