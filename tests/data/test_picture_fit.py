"""Pictures that lie under their spots, and others."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from anndata import AnnData
from PIL import Image
from scipy.sparse import csr_matrix

from stbench.data.audit import FAIL, NOTE, OK
from stbench.data.cohort import Cohort
from stbench.data.images import ImageFile, PatchFile
from stbench.data.picture_fit import STEPS, picture_rows, shift_test
from stbench.data.slide import Slide, SlideRef

SIDE, PITCH = 800, 40
XY = np.array([(x, y) for y in range(120, 690, PITCH) for x in range(120, 690, PITCH)], dtype=np.float32)
STEP = 16 * SIDE / 2000


def pictured(seed):
    """(SIDE, SIDE, 3) colours that change over about a pitch."""
    coarse = np.random.default_rng(seed).uniform(60, 230, (SIDE // 25, SIDE // 25, 3)).astype(np.float32)
    return cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def slide_of(folder, picture=0, xy=XY, name="s1"):
    """Counts follow the colours of picture 0 at XY, wherever the spots are said to lie."""
    colours = pictured(0)[XY[:, 1].astype(int), XY[:, 0].astype(int)] / 255
    weights = np.random.default_rng(1).normal(0, 3, (3, 30))
    rates = 20 * np.exp((colours - colours.mean(axis=0)) @ weights)
    adata = AnnData(csr_matrix(np.random.default_rng(2).poisson(rates).astype(np.int32)), obsm={"spatial": xy})
    adata.obs["total_counts"] = np.asarray(adata.X.sum(axis=1)).ravel()
    path = folder / f"{picture}.png"
    Image.fromarray(pictured(picture)).save(path)
    return Slide(name, None, adata, ImageFile(path, 4.0), 4.0)


def rows(*slides):
    known = {slide.id: slide for slide in slides}
    found = picture_rows(Cohort("c", "hest", tuple(SlideRef(id_, None) for id_ in known), known.__getitem__))
    return [(row.verdict, row.detail) for row in found]


def test_a_picture_under_its_spots(tmp_path):
    found = shift_test(slide_of(tmp_path))
    assert found.scores.shape == (2 * STEPS + 1, 2 * STEPS + 1)
    assert max(map(abs, found.best)) <= 1
    assert found.scores[STEPS, STEPS] > 0.8
    assert found.row("s1").verdict == OK


@pytest.mark.parametrize("steps", [(5, -4), (-6, 0)])
def test_a_shift_is_found_with_its_direction(tmp_path, steps):
    moved = slide_of(tmp_path, xy=XY + np.array(steps, dtype=np.float32) * STEP)
    ((verdict, detail),) = rows(moved)
    assert verdict == FAIL
    assert np.abs(np.array(shift_test(moved).best) + steps).max() <= 1
    assert f"{'+' if steps[0] < 0 else '-'}" in detail.partition(" px along x")[0]


def test_x_and_y_that_are_exchanged_are_found(tmp_path):
    turned = XY[:, ::-1].copy()
    assert rows(slide_of(tmp_path, xy=turned)) == [
        (FAIL, "says most of the counts with x and y of the positions exchanged; exchange them")
    ]


def test_what_cannot_be_told_is_no_failure(tmp_path):
    unrelated, few = slide_of(tmp_path, 7), slide_of(tmp_path, name="few")
    few = few.take(np.arange(20))
    patches = replace(few, id="patches", image=PatchFile(tmp_path / "none.h5", 0.5))
    bare = replace(few, id="bare", image=None)
    found = rows(unrelated, few, patches, bare)
    assert [verdict for verdict, _ in found] == [NOTE] * 3
    assert "no clear peak" in found[0][1]
    assert "expected at least 50 spots with counts, found 20" in found[1][1]
    assert "expected a whole picture" in found[2][1]


@pytest.mark.real
@pytest.mark.parametrize(
    ("section", "at_zero", "median"), [pytest.param("C3", 0.348, 0.093, marks=pytest.mark.slow), ("C5", 0.254, 0.045)]
)
def test_her2st(real_data, section, at_zero, median):
    from stbench.catalogue import find_dataset
    from stbench.data.opening import open_cohort

    found = shift_test(open_cohort(find_dataset("her2st"), real_data).load(section))
    assert found.best == (0, 0)
    assert found.scores[STEPS, STEPS] == pytest.approx(at_zero, abs=0.01)
    assert np.median(found.scores) == pytest.approx(median, abs=0.01)
