"""A cohort of eight tiny slides in memory."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from stbench.catalogue import DatasetCard, MethodCard
from stbench.data.cohort import Cohort
from stbench.data.image import ImageSource
from stbench.data.slide import Slide, SlideRef
from stbench.evaluation.build import build_task
from stbench.evaluation.task import TaskSettings

N_SPOTS = 16
GENES = [f"G{i}" for i in range(12)]
DUMMIES = Path(__file__).with_name("dummies.py")


class Colours(ImageSource):
    """Patches of one colour that follows the position."""

    um_per_px = 1.0

    def __init__(self, name=""):
        self.name = name

    def digest(self):
        return f"colours {self.name}"

    def size(self):
        return None

    def thumbnail(self, longest_px):
        return np.full((4, 4, 3), 255, dtype=np.uint8)

    def patches(self, spot_ids, xy, spec):
        for x, y in xy:
            yield np.full((8, 8, 3), (int(x) % 250, int(y) % 250, 100), dtype=np.uint8)


def make_slide(id_, patient, genes=GENES):
    seed = int.from_bytes(hashlib.sha256(id_.encode()).digest()[:4], "little")
    rng = np.random.default_rng(seed)
    counts = rng.poisson(np.arange(1, len(genes) + 1), size=(N_SPOTS, len(genes))).astype(np.int32)
    side = int(N_SPOTS**0.5)
    xy = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2).astype(np.float32)
    adata = AnnData(
        X=csr_matrix(counts),
        obs=pd.DataFrame({"total_counts": counts.sum(axis=1) + 5.0}, index=[f"s{i}" for i in range(N_SPOTS)]),
        var=pd.DataFrame(index=list(genes)),
        obsm={"spatial": xy * 20 + 10, "array": xy},
    )
    return Slide(id_, patient, adata, image=Colours(id_), um_per_px=1.0)


def make_cohort(slides, name="tiny"):
    by_id = {slide.id: slide for slide in slides}
    refs = tuple(SlideRef(slide.id, slide.patient, slide.n_spots) for slide in slides)
    return Cohort(name, "memory", refs, by_id.__getitem__, {"P9-s0": "no image"})


def scrambled(slide):
    """The same slide with other counts."""
    adata = slide.adata.copy()
    adata.X = csr_matrix(adata.X.toarray()[::-1, ::-1].copy())
    adata.obs["total_counts"] = adata.obs["total_counts"].to_numpy()[::-1].copy() + 1
    return replace(slide, adata=adata)


def labelled(task, encoder=None, sight="inputs"):
    """Training and validation slides as a method gets them."""
    given = task.given(encoder, sight)
    return given.labelled(given.inputs())


@pytest.fixture
def slides():
    return [make_slide(f"P{p}-s{s}", f"P{p}") for p in range(4) for s in range(2)]


@pytest.fixture
def cohort(slides):
    return make_cohort(slides)


@pytest.fixture
def card():
    return DatasetCard(name="tiny", title="Tiny", patch={"px": 8})


@pytest.fixture
def split(tmp_path_factory):
    path = tmp_path_factory.mktemp("split") / "mine.json"
    parts = {"train": ["P1-s0", "P0-s0", "P0-s1"], "validation": ["P2-s0"], "test": ["P3-s1", "P3-s0", "P2-s1"]}
    path.write_text(json.dumps(parts))
    return path


@pytest.fixture
def settings(split):
    return TaskSettings(genes=5, split=str(split), encoder="mean-rgb")


@pytest.fixture
def task(slides, card, settings):
    return build_task(make_cohort(slides), card, settings)


@pytest.fixture
def method():
    """Makes the card of a dummy."""

    def make(name, **facts):
        return MethodCard(name=name.lower(), title=name, entry=f"{DUMMIES}:{name}", **facts)

    return make
