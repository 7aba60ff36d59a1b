"""The same cohort with the truth of some slides in the wrong places: what a method may see stays bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np

from stbench.data.cohort import Cohort
from stbench.data.slide import ARRAY, FEATURES, SPATIAL, Slide
from stbench.evaluation.given import Given

_SEEN = {SPATIAL, ARRAY, FEATURES}  # obsm that belongs to a spot's place and picture, not to its counts


def scrambled(cohort: Cohort, slide_ids: Collection[str]) -> Cohort:
    """A cohort in which the counts of some slides are moved to other spots.

    Args:
        cohort: the slides.
        slide_ids: those whose counts are moved, test slides.
    """

    def over(read: Callable[[str], Slide]) -> Callable[[str], Slide]:
        def mixed(slide_id: str) -> Slide:
            slide = read(slide_id)
            return moved(slide) if slide_id in slide_ids else slide

        return mixed

    made = cohort.per_fold
    per_fold = None if made is None else lambda *fold: over(made(*fold))
    return replace(cohort, reader=over(cohort.load), per_fold=per_fold)


def moved(slide: Slide) -> Slide:
    """A slide in which every spot has the counts of another one, and all that comes with them.

    Total counts, domains, layers and what else was measured or generated go along with the counts; names, positions,
    features, picture and patient stay.
    """
    order = np.random.default_rng([0, *slide.id.encode()]).permutation(slide.n_spots)
    source = np.empty_like(order)
    source[order] = np.roll(order, 1)  # one circle through all spots: none keeps its own
    adata, taken = slide.adata.copy(), slide.adata[source].copy()
    adata.X, adata.obs = taken.X, taken.obs.set_axis(adata.obs_names)
    for name in adata.layers:
        adata.layers[name] = taken.layers[name]
    for name in set(adata.obsm) - _SEEN:
        adata.obsm[name] = taken.obsm[name]
    return replace(slide, adata=adata)


def digest_of_inputs(given: Given) -> str:
    """Hash of everything a method sees: inputs of all slides, labels of training and validation slides."""
    digest = hashlib.sha256(repr([given.encoder, given.train, given.validation, given.test]).encode())
    features, labels = given.features.fresh(), given.labels.fresh()
    for id_, facts in sorted(given.facts.items()):
        digest.update(repr([id_, facts.patient, facts.spot_ids, facts.um_per_px]).encode())
        for array in (facts.xy, facts.array_xy, features[id_], labels.get(id_)):
            digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
