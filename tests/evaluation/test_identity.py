"""Hashes that must not move."""

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix

from stbench.data.image import PatchSpec
from stbench.evaluation.identity import data_digest, patch_text, slide_digest, task_hash

from .conftest import make_slide

FACTS = {
    "dataset": "tiny",
    "genes": ["B", "A"],
    "train": ["s1", "s2"],
    "validation": ["s3"],
    "test": ["s4"],
    "patients": {"s1": "p", "s2": None, "s3": "q", "s4": "r"},
    "normalization": "log1p",
    "encoder": "mean-rgb/1",
    "patch": PatchSpec(um=112),
    "digest": "d",
}
KNOWN = "95f14b16f54e9686b16b58f7c47db96f6d843e00aba5fc39029c0003a894816d"


def test_known_hash_does_not_move():
    assert task_hash(**FACTS) == KNOWN


def test_order_of_slides_and_patients_does_not_matter():
    turned = {**FACTS, "train": ["s2", "s1"], "patients": dict(reversed(FACTS["patients"].items()))}
    assert task_hash(**turned) == KNOWN


def test_order_of_genes_and_roles_of_slides_do():
    assert task_hash(**{**FACTS, "genes": ["A", "B"]}) != KNOWN
    assert task_hash(**{**FACTS, "validation": ["s4"], "test": ["s3"]}) != KNOWN


def test_number_types_and_sparse_layout_do_not_matter():
    slide = make_slide("P0-s0", "P0")
    wide = slide.adata.copy()
    wide.X = csr_matrix(slide.counts.toarray().astype(np.int64))
    assert slide_digest(slide) == slide_digest(replace(slide, adata=wide))


def test_one_count_position_or_spot_name_changes_the_digest():
    slide = make_slide("P0-s0", "P0")
    digests = {slide_digest(slide)}
    for change in ("count", "position", "name", "depth"):
        adata = slide.adata.copy()
        if change == "count":
            adata.X.data[0] += 1
        elif change == "position":
            adata.obsm["spatial"][0, 0] += 1
        elif change == "depth":
            adata.obs["total_counts"] = adata.obs["total_counts"] + 1
        else:
            adata.obs_names = ["other", *adata.obs_names[1:]]
        digests.add(slide_digest(replace(slide, adata=adata)))
    assert len(digests) == 5


def test_features_of_a_slide_enter_by_what_made_them_else_by_their_bits():
    slide = make_slide("P0-s0", "P0")
    found = {slide_digest(slide)}
    for value, key in ((0.5, None), (0.6, None), (0.5, "made so"), (0.6, "made so"), (0.6, "made otherwise")):
        adata = slide.adata.copy()
        adata.obsm["features"] = np.full((slide.n_spots, 2), value, dtype=np.float32)
        if key is not None:
            adata.uns["features_key"] = key
        found.add(slide_digest(replace(slide, adata=adata)))
    assert len(found) == 1 + 2 + 2


def test_data_digest_ignores_order():
    assert data_digest({"a": "1", "b": "2"}) == data_digest({"b": "2", "a": "1"}) != data_digest({"a": "2", "b": "1"})


def test_patch_text():
    assert patch_text(PatchSpec(um=112.0)) == "112 um"
    assert patch_text(PatchSpec(px=224, out_px=112)) == "224 px, resized to 112 px"
