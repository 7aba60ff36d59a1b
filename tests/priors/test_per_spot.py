"""Vectors that differ from spot to spot, of genes and of whole spots, read from memory-mapped files."""

import numpy as np
import pytest

from stbench.errors import DataError, SettingError, UnknownNameError
from stbench.priors import build_prior, build_spot_prior

SLIDES = {"s0": 40, "s1": 40}


@pytest.fixture
def folder(tmp_path):
    """Vectors of three genes, and of spots, for two slides; a mask for the first."""
    generator = np.random.default_rng(0)
    (tmp_path / "genes.txt").write_text("B\nX\nA\n")
    for slide in SLIDES:
        np.save(tmp_path / f"{slide}_gene_embeddings.npy", generator.normal(size=(40, 3, 5)).astype(np.float16))
        np.save(tmp_path / f"{slide}_spot_embeddings.npy", generator.normal(size=(40, 4)).astype(np.float16))
    np.save(tmp_path / "s0_gene_mask.npy", np.arange(40)[:, None] < [7, 40, 40])
    np.save(tmp_path / "s0_spot_mask.npy", np.arange(40) != 3)
    return tmp_path


def of_genes(folder, genes=("A", "B"), slides=tuple(SLIDES), option=""):
    return build_prior(f"file:{folder}{option}", [np.zeros((40, len(genes)), np.float32)] * 2, genes, slides)


def of_spots(folder, slides=SLIDES):
    return build_spot_prior(f"file:{folder}", slides)


def test_vectors_of_genes_come_in_panel_order_and_masked(folder):
    raw = np.load(folder / "s0_gene_embeddings.npy").astype(np.float32)
    prior = of_genes(folder)
    vectors, mask = prior.of("s0", np.arange(40))
    assert prior.dim == 5
    np.testing.assert_array_equal(vectors[:, 0], raw[:, 2])
    np.testing.assert_array_equal(vectors[:7, 1], raw[:7, 0])
    assert mask[:, 0].all()
    assert mask[:, 1].tolist() == [True] * 7 + [False] * 33
    assert not vectors[7:, 1].any()
    assert prior.of("s1", np.arange(40))[1].all()


def test_genes_the_folder_lacks_are_masked_when_asked_for(folder):
    vectors, mask = of_genes(folder, ("A", "NEW"), option="?missing=mask").of("s1", np.array([0, 39]))
    assert mask.tolist() == [[True, False]] * 2
    assert not vectors[:, 1].any()


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f8"])
def test_some_spots_are_the_rows_of_all_in_the_order_asked_for(folder, dtype):
    for slide in SLIDES:
        for path in (folder / f"{slide}_gene_embeddings.npy", folder / f"{slide}_spot_embeddings.npy"):
            np.save(path, np.load(path).astype(dtype))
    chosen = np.array([31, 2, 2, 0])
    for prior in (of_genes(folder, ("B", "X", "A")), of_spots(folder)):
        every, some = prior.of("s0", np.arange(40)), prior.of("s0", chosen)
        assert some[0].dtype == np.float32
        for part, whole in zip(some, every, strict=True):
            np.testing.assert_array_equal(part, whole[chosen])


def test_vectors_of_spots_are_those_of_the_file(folder):
    vectors, mask = of_spots(folder).of("s0", np.array([4, 3]))
    raw = np.load(folder / "s0_spot_embeddings.npy")
    assert mask.tolist() == [True, False]
    np.testing.assert_array_equal(vectors, [raw[4], 0 * raw[3]])


def test_files_stay_on_disk(folder):
    for prior in (of_genes(folder), of_spots(folder)):
        taken, _ = prior.of("s0", np.array([1]))
        assert all(isinstance(array, np.memmap) for array in prior.vectors.values())
        assert not isinstance(taken, np.memmap)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_masked_may_be_anything_what_is_not_must_be_finite(folder, value):
    path = folder / "s0_spot_embeddings.npy"
    broken = np.load(path)
    broken[[3, 9]] = value  # spot 3 is masked
    np.save(path, broken)
    assert np.isfinite(of_spots(folder).of("s0", np.array([2, 3]))[0]).all()
    with pytest.raises(DataError, match="slide s0: expected finite numbers"):
        of_spots(folder).of("s0", np.array([8, 9]))


@pytest.mark.parametrize("build", [of_genes, of_spots])
def test_another_number_of_spots_is_refused(folder, build):
    kind = "gene" if build is of_genes else "spot"
    path = folder / f"s1_{kind}_embeddings.npy"
    np.save(path, np.load(path)[:39])
    with pytest.raises(DataError, match=rf"s1_{kind}_embeddings\.npy: expected \(40, .*d\) .* found \(39, "):
        build(folder)
    np.save(path, np.load(folder / f"s0_{kind}_embeddings.npy"))
    np.save(folder / f"s1_{kind}_mask.npy", np.ones(39))
    with pytest.raises(DataError, match=rf"s1_{kind}_mask\.npy: expected \(40,.*found \(39,\)"):
        build(folder)


@pytest.mark.parametrize("build", [of_genes, of_spots])
def test_slides_of_two_widths_are_refused(folder, build):
    path = folder / f"s1_{'gene' if build is of_genes else 'spot'}_embeddings.npy"
    np.save(path, np.load(path)[..., 1:])
    with pytest.raises(DataError, match=r"expected one width, found \d \(s0\) and \d \(s1\)"):
        build(folder)


@pytest.mark.parametrize(("build", "had", "lacked"), [(of_genes, "spot", "gene"), (of_spots, "gene", "spot")])
def test_a_folder_of_the_other_kind_alone_says_which_switch_uses_it(folder, build, had, lacked):
    (folder / f"s0_{lacked}_embeddings.npy").unlink()
    message = rf"expected s0_{lacked}_embeddings\.npy, found s0_{had}_embeddings\.npy alone, .*align={had} uses them"
    with pytest.raises(DataError, match=message):
        build(folder)


def test_a_slide_without_any_file_is_refused(folder):
    with pytest.raises(DataError, match=r"s2_gene_embeddings\.npy: expected a \.npy array"):
        of_genes(folder, slides=("s0", "s2"))
    with pytest.raises(DataError, match=r"s2_spot_embeddings\.npy: expected a \.npy array"):
        of_spots(folder, {"s2": 4})
    with pytest.raises(DataError, match="found none"):
        of_spots(folder, {})


def test_a_folder_without_gene_names_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"expected genes\.txt"):
        of_genes(tmp_path)


def test_vectors_for_a_method_that_names_no_slides_are_refused(folder):
    with pytest.raises(SettingError, match="differs from spot to spot"):
        of_genes(folder, slides=())


def test_what_is_no_folder_of_spot_vectors_says_so(folder):
    assert build_spot_prior("none", SLIDES) is None
    with pytest.raises(UnknownNameError, match="gene prior"):
        build_spot_prior("coexpression", SLIDES)
    with pytest.raises(DataError, match=r"expected a folder with <slide>_spot_embeddings\.npy"):
        build_spot_prior(f"file:{folder / 'genes.txt'}", SLIDES)
    with pytest.raises(SettingError, match="no genes to mask"):
        build_spot_prior(f"file:{folder}?missing=mask", SLIDES)
