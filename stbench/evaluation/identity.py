"""The identity of a task: its patches, and hashes that do not depend on machine, file order or version of Python."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stbench.catalogue import DatasetCard
from stbench.data.image import PatchSpec
from stbench.data.slide import FEATURES_KEY, Slide

TASK_VERSION = 1  # raise it when the meaning of anything the hash covers changes


def slide_digest(slide: Slide) -> str:
    """Hash of what a slide brings into a task: counts of the panel, depth, spots, positions, pixel size, picture.

    Features a slide brings along enter by what made them where that is said, else by their bits.
    """
    image = None if slide.image is None else slide.image.digest()
    said = json.dumps([slide.spot_ids, slide.genes, slide.um_per_px, image])
    digest = hashlib.sha256(said.encode())
    for array, dtype in ((slide.counts.toarray(), "<i8"), (slide.total_counts, "<f8"), (slide.xy, "<f4")):
        digest.update(_bytes(array, dtype))
    if slide.array_xy is not None:
        digest.update(_bytes(slide.array_xy, "<f4"))
    if slide.features is not None:
        made = str(slide.adata.uns.get(FEATURES_KEY, ""))
        digest.update(made.encode() or _bytes(slide.features, "<f4"))
    return digest.hexdigest()


def _bytes(array: NDArray[Any], dtype: str) -> bytes:
    return np.ascontiguousarray(array, dtype=dtype).tobytes()


def data_digest(slides: Mapping[str, str]) -> str:
    """Hash of the digests of all slides used, whatever their order."""
    return hashlib.sha256(json.dumps(sorted(slides.items())).encode()).hexdigest()


def task_hash(
    *,
    dataset: str,
    genes: Sequence[str],
    train: Sequence[str],
    validation: Sequence[str],
    test: Sequence[str],
    patients: Mapping[str, str | None],
    normalization: str,
    encoder: str,
    patch: PatchSpec,
    digest: str,
) -> str:
    """Hash of everything that decides whether two numbers may be compared.

    The order of slides does not matter; the order of genes does, as it is that of the columns. How the split came about
    (a seed, a file) is left out: two ways to the same slides are the same task.
    """
    said = {
        "version": TASK_VERSION,
        "dataset": dataset,
        "genes": list(genes),
        "train": sorted(train),
        "validation": sorted(validation),
        "test": sorted(test),
        "patients": dict(patients),
        "normalization": normalization,
        "encoder": encoder,
        "patch": [patch.um, patch.px, patch.out_px],
        "data": digest,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def protocol_hash(
    *,
    dataset: str,
    about: str,
    rule: str,
    seed: int,
    n_genes: int,
    encoder: str,
    patch: PatchSpec,
    patients: Mapping[str, str | None],
    validates: bool = True,
) -> str:
    """Hash of what all folds of a rule share: rows of one protocol share a table.

    The scale of expression and the seeds of runs are left out, and so is the panel, which each fold chooses on its
    training slides.

    Args:
        dataset: name of the cohort.
        about: how generated data were made.
        rule: of the folds, or a split's own name.
        seed: of what is dealt at random.
        n_genes: size of the panel.
        encoder: key of the encoder.
        patch: geometry of the patches.
        patients: patient of every slide that some fold uses.
        validates: whether the folds have validation slides.
    """
    said = {
        "version": TASK_VERSION,
        "dataset": dataset,
        "about": about,
        "rule": rule,
        "seed": seed,
        "n_genes": n_genes,
        "encoder": encoder,
        "patch": [patch.um, patch.px, patch.out_px],
        "patients": dict(patients),
        **({} if validates else {"validation": "none"}),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def default_patch(card: DatasetCard) -> PatchSpec:
    """The patch a cohort's card declares."""
    said = card.patch
    return PatchSpec(
        um=said.get("um"),
        px=int(said["px"]) if "px" in said else None,
        out_px=int(said["out_px"]) if "out_px" in said else None,
    )


def patch_text(patch: PatchSpec) -> str:
    """Geometry of a patch as people say it, e.g. ``112 um`` or ``224 px, resized to 112 px``."""
    side = f"{patch.um:g} um" if patch.um is not None else f"{patch.px} px"
    return side if patch.out_px is None else f"{side}, resized to {patch.out_px} px"
