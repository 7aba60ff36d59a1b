"""One tissue under two names."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from PIL import Image
from scipy.sparse import csr_matrix

from stbench.data.images import ImageFile
from stbench.data.parts import Split
from stbench.data.same_tissue import SameTissue, Twins
from stbench.data.slide import Slide
from stbench.errors import DataError

GENES = [f"GEN{i}" for i in range(24)]
SPOTS = 36


def slide(id_="S1", seed=0, depth=5.0, genes=GENES, n_spots=SPOTS, image=None, shift=0.0):
    counts = np.random.default_rng(seed).poisson(depth, (n_spots, len(genes))).astype(np.int32)
    side = int(np.ceil(n_spots**0.5))
    xy = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)[:n_spots] * 20.0 + 10 + shift
    obs = pd.DataFrame({"total_counts": counts.sum(axis=1)}, index=[f"a{i}" for i in range(n_spots)])
    adata = AnnData(csr_matrix(counts), obs=obs, var=pd.DataFrame(index=list(genes)), obsm={"spatial": xy})
    return Slide(id_, None, adata, image)


def twins_of(*slides):
    found = SameTissue()
    for one in slides:
        found.add(one)
    return found.twins()


def moved(one, id_="S2", rows=None, columns=None):
    """A copy with spots, genes in another order, or fewer of them."""
    rows = np.arange(one.n_spots) if rows is None else rows
    columns = np.arange(len(one.genes)) if columns is None else columns
    return replace(one, id=id_, adata=one.adata[rows][:, columns].copy())


ORDER, GENE_ORDER = np.random.default_rng(1).permutation(SPOTS), np.random.default_rng(2).permutation(len(GENES))
COPIES = {
    "whole": {},
    "spots in another order": {"rows": ORDER},
    "genes in another order": {"columns": GENE_ORDER},
    "both": {"rows": ORDER, "columns": GENE_ORDER},
    "half of the spots": {"rows": ORDER[:18]},
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_found_whatever_its_order(how):
    assert twins_of(slide(), moved(slide(), **COPIES[how])) == [Twins(("S1", "S2"), "counts")]


@pytest.mark.parametrize("name", ["ENSG{:011d}", "GRCh38_GEN{}", "gen{}", "other{}"])
def test_a_copy_is_found_whatever_its_genes_and_spots_are_called(name):
    copy = moved(slide(), rows=ORDER)
    copy.adata.var_names = [name.format(i) for i in range(len(GENES))]
    copy.adata.obs_names = [f"other-{i}" for i in range(SPOTS)]
    assert twins_of(slide(), copy) == [Twins(("S1", "S2"), "counts")]


def test_a_copy_with_a_few_other_counts_is_a_copy():
    copy = moved(slide())
    counts = copy.counts.toarray()
    counts[:10, 3] = 77
    copy.adata.X = csr_matrix(counts)
    assert len(twins_of(slide(), copy)) == 1


def test_genes_without_counts_change_nothing():
    copy = slide("S2", genes=[*GENES, "NEW1", "NEW2"])
    copy.adata.X = csr_matrix(np.hstack([slide().counts.toarray(), np.zeros((SPOTS, 2), dtype=np.int32)]))
    assert len(twins_of(slide(), copy)) == 1


@pytest.mark.parametrize("depth", [0.05, 0.3, 1, 5, 100])
@pytest.mark.parametrize("n_genes", [2, 5, 24])
def test_sections_of_their_own_are_none(depth, n_genes):
    slides = [slide(f"S{i}", seed=i, depth=depth, genes=GENES[:n_genes]) for i in range(20)]
    assert twins_of(*slides) == []


def test_slides_without_counts_are_none():
    assert twins_of(slide("S1", depth=0), slide("S2", depth=0)) == []


def test_shallow_counts_of_a_large_slide_tell_a_copy():
    """36 of 2500 bins have five UMI or more; many bins are equal."""
    genes = [f"GEN{i}" for i in range(2000)]
    deep, other = (slide("S1", seed, 0.002, genes, 2500) for seed in (1, 2))
    assert len(twins_of(deep, moved(deep, rows=np.random.default_rng(0).permutation(2500)))) == 1
    assert twins_of(deep, replace(other, id="S2")) == []


def test_counts_are_hashed_in_batches_of_any_size(monkeypatch):
    wholes = twins_of(slide(depth=0.5), moved(slide(depth=0.5), rows=ORDER))
    for size in (1, 7, 10**6):
        monkeypatch.setattr("stbench.data.same_tissue._BATCH", size)
        assert (
            twins_of(slide(depth=0.5), moved(slide(depth=0.5), rows=ORDER)) == wholes == [Twins(("S1", "S2"), "counts")]
        )


def test_three_copies_are_one_tissue():
    copies = [moved(slide(), id_) for id_ in ("S1", "S2", "S3")]
    assert twins_of(*copies, slide("S4", seed=9)) == [Twins(("S1", "S2", "S3"), "counts")]


@pytest.fixture
def picture(tmp_path):
    """Writes a picture of one colour per block of pixels."""

    def write(name, seed=0, block=1):
        pixels = np.random.default_rng(seed).integers(0, 255, (140 // block, 140 // block, 3), dtype=np.uint8)
        pixels = pixels.repeat(block, axis=0).repeat(block, axis=1)
        Image.fromarray(pixels).save(tmp_path / name)
        return ImageFile(tmp_path / name, 0.5)

    return write


def test_one_picture_with_spots_at_the_same_places(picture):
    first, copy, other = picture("a.png"), picture("b.png"), picture("c.png", seed=1)
    slides = slide("S1", image=first), slide("S2", seed=1, image=copy, shift=3), slide("S3", seed=2, image=other)
    assert twins_of(*slides) == [Twins(("S1", "S2"), "picture")]


@pytest.mark.parametrize(
    ("name", "options"), [("b.tif", {}), ("b.jpg", {"quality": 90}), ("b.png", {"optimize": True})]
)
def test_a_picture_saved_in_another_way_is_the_picture(picture, tmp_path, name, options):
    first = picture("a.png", block=10)
    Image.open(tmp_path / "a.png").save(tmp_path / name, **options)
    again = slide("S2", seed=1, image=ImageFile(tmp_path / name, 0.5))
    slides = slide("S1", image=first), moved(again, rows=ORDER), slide("S3", 2, image=picture("c.png", 3, block=10))
    assert twins_of(*slides) == [Twins(("S1", "S2"), "picture")]


def test_blank_pictures_are_no_picture(tmp_path):
    for i, level in enumerate((250, 251)):
        Image.new("RGB", (140, 140), (level,) * 3).save(tmp_path / f"{i}.png")
    assert twins_of(*(slide(f"S{i}", i, image=ImageFile(tmp_path / f"{i}.png")) for i in range(2))) == []


def test_two_sections_on_one_picture_are_two(picture):
    slides = slide("S1", image=picture("a.png"), n_spots=9), slide("S2", 1, image=picture("b.png"), n_spots=9, shift=70)
    assert twins_of(*slides) == []


def test_a_picture_that_is_not_there_is_none(tmp_path):
    gone = ImageFile(tmp_path / "gone.png")
    assert twins_of(slide("S1", image=gone), slide("S2", seed=1, image=gone)) == []


def test_a_copy_may_not_test():
    found = SameTissue()
    for one in (slide("A"), slide("B", seed=1), slide("C", seed=2), moved(slide("A"), "D", rows=ORDER)):
        found.add(one)
    for split, said in (
        (Split(("A", "B"), ("C",), ("D",)), "test slide D: .* found the counts of A, which trains; leave one"),
        (Split(("B",), ("A",), ("C", "D")), "test slide D: .* found the counts of A, which validates; leave one"),
        (Split(("D", "B"), ("C",), ("A",)), "test slide A: .* found the counts of D, which trains; leave one"),
    ):
        with pytest.raises(DataError, match=said):
            found.check(split)
    together = Split(("A", "D"), ("B",), ("C",))
    found.check(together)
    assert found.notes(together) == ["A, D: the same counts, so one tissue under 2 names (train)"]
