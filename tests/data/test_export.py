"""A cohort written in the layout of HEST-1k."""

import json
from dataclasses import replace
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
import tifffile

from stbench.data.cohort import Cohort
from stbench.data.export import export_hest
from stbench.data.images import ImageFile
from stbench.data.simulator import SimulationSettings, open_simulated, simulate_slide
from stbench.data.slide import Slide
from stbench.errors import DataError, SettingError, UserError

TINY = SimulationSettings(n_patients=2, sections_per_patient=1, n_spots=30, n_genes=40, um_per_px=2.0)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return open_simulated(TINY, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def exported(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "simulated"
    export_hest(cohort, folder, patch_px=64, um_per_px=1.75)
    return folder


def test_files(exported: Path) -> None:
    names = sorted(str(path.relative_to(exported)) for path in exported.rglob("*") if path.is_file())
    each = ["metadata/{}.json", "patches/{}.h5", "st/{}.h5ad", "thumbnails/{}_downscaled_fullres.jpeg"]
    assert names == sorted(name.format(slide) for name in each for slide in ("P01S1", "P02S1"))
    assert [path.name for path in exported.parent.iterdir()] == ["simulated"]


def test_counts_and_positions_survive(cohort: Cohort, exported: Path) -> None:
    slide, written = cohort.load("P02S1"), anndata.read_h5ad(exported / "st/P02S1.h5ad")
    assert (slide.counts != written.X).nnz == 0
    assert list(written.obs_names) == slide.spot_ids
    assert list(written.var_names) == slide.genes
    np.testing.assert_array_equal(written.obsm["spatial"], slide.xy)
    np.testing.assert_array_equal(written.obs[["pxl_col_in_fullres", "pxl_row_in_fullres"]], slide.xy)
    numbers = [[int(part) for part in spot.split("x")] for spot in slide.spot_ids]
    np.testing.assert_array_equal(written.obs[["array_row", "array_col"]], numbers)
    np.testing.assert_array_equal(written.layers["expected"], slide.adata.layers["expected"])


def test_thumbnail_and_scale(exported: Path) -> None:
    library = anndata.read_h5ad(exported / "st/P01S1.h5ad").uns["spatial"]["ST"]
    picture, factors = library["images"]["downscaled_fullres"], library["scalefactors"]
    assert picture.dtype == np.uint8
    assert max(picture.shape) / max(TINY.size_px) == pytest.approx(factors["tissue_downscaled_fullres_scalef"])
    assert factors["spot_diameter_fullres"] == pytest.approx(55 / 2)


def test_patches_join_on_barcode_and_centre_on_spots(cohort: Cohort, exported: Path) -> None:
    slide = cohort.load("P01S1")
    with h5py.File(exported / "patches/P01S1.h5") as file:
        assert file["barcode"].shape == (30, 1)
        assert [name.decode() for name in file["barcode"][:].ravel()] == slide.spot_ids
        assert file["img"].shape == (30, 64, 64, 3)
        assert file["img"].maxshape[0] is None
        for key in ("img", "coords"):
            attributes = dict(file[key].attrs)
            assert attributes == {"patch_size_src": 56, "patch_size_target": 64, "downsample": 0.875, "pixel_size": 2.0}
        assert np.abs(file["coords"][:] + 28 - slide.xy).max() <= 1
        x, y = file["coords"][0]
        pixels = simulate_slide(TINY, 0, 0)[1]
        assert file["img"][0].mean() == pytest.approx(pixels[y : y + 56, x : x + 56].mean(), abs=3)


def test_metadata(cohort: Cohort, exported: Path) -> None:
    metadata = json.loads((exported / "metadata/P02S1.json").read_text())
    assert metadata["patient"] == "P02"
    assert metadata["pixel_size_um_estimated"] == 2.0
    assert (metadata["inter_spot_dist"], metadata["magnification"]) == (100.0, "10x")
    assert (metadata["fullres_px_width"], metadata["fullres_px_height"]) == TINY.size_px
    assert (metadata["spots_under_tissue"], metadata["nb_genes"]) == (30, 40)
    assert (metadata["dataset_title"], metadata["id"]) == ("simulated", "P02S1")


def test_whole_picture_is_a_lossless_pyramid(tmp_path: Path) -> None:
    settings = TINY.model_copy(update={"n_patients": 1, "um_per_px": 1.0})
    export_hest(open_simulated(settings, tmp_path / "cache"), tmp_path / "out", with_wsi=True)
    assert not (tmp_path / "out/patches").exists()
    with tifffile.TiffFile(tmp_path / "out/wsis/P01S1.tif") as file:
        np.testing.assert_array_equal(file.pages[0].asarray(), simulate_slide(settings, 0, 0)[1])
        assert len(file.pages) == 2
        assert file.pages[0].is_tiled


def test_refuses_a_folder_in_use(cohort: Cohort, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match=r"empty folder.*in use"):
        export_hest(cohort, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_refuses_sizes_that_are_not_positive(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="patch_px"):
        export_hest(cohort, tmp_path / "out", patch_px=0)


def test_failure_leaves_nothing(cohort: Cohort, tmp_path: Path) -> None:
    def without_scale(slide_id: str) -> Slide:
        slide = cohort.load(slide_id)
        return slide if slide_id == "P01S1" else replace(slide, um_per_px=None)

    with pytest.raises(DataError, match=r"P02S1.*pixel size"):
        export_hest(replace(cohort, reader=without_scale), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_reduced_picture_is_no_whole_one(cohort: Cohort, tmp_path: Path) -> None:
    def reduced(slide_id: str) -> Slide:
        slide = cohort.load(slide_id)
        return replace(slide, image=ImageFile(slide.image.path, um_per_px=2.0, scale=0.5))

    with pytest.raises(DataError, match=r"P01S1: expected the picture at full resolution.*found a reduced one"):
        export_hest(replace(cohort, reader=reduced), tmp_path / "out", with_wsi=True)


def test_slide_without_picture_keeps_its_counts(cohort: Cohort, tmp_path: Path) -> None:
    bare = replace(cohort, reader=lambda slide_id: replace(cohort.load(slide_id), image=None, um_per_px=None))
    export_hest(bare, tmp_path / "out")
    assert (tmp_path / "out/st/P01S1.h5ad").is_file()
    assert not (tmp_path / "out/patches").exists()


def test_the_reader_reads_what_was_written(cohort: Cohort, exported: Path) -> None:
    pytest.importorskip("stbench.data.readers.hest")
    from stbench.data.opening import open_folder

    read = open_folder(exported)
    assert set(read.ids) == set(cohort.ids)
    for slide_id in cohort.ids:
        before, after = cohort.load(slide_id), read.load(slide_id)
        order = [after.spot_ids.index(spot) for spot in before.spot_ids]
        genes = [after.genes.index(gene) for gene in before.genes]
        assert (before.counts != after.counts[order][:, genes]).nnz == 0
        np.testing.assert_allclose(before.xy, after.xy[order])
        assert before.um_per_px == after.um_per_px
    assert len({ref.patient for ref in read.refs}) == 2
