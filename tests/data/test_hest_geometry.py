"""What a HEST-1k sample says twice of its geometry."""

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from anndata import AnnData
from anndata import concat as concatenate
from scipy.sparse import csr_matrix

from stbench.data.audit import audit
from stbench.data.image import PatchSpec
from stbench.data.opening import open_folder
from stbench.errors import DataError

from .layouts import counts, hest_adata, write_hest, write_patches

SIDE = 760  # px
VISIUM = {
    "st_technology": "Visium",
    "pixel_size_um_estimated": 2.0,
    "fullres_px_width": SIDE,
    "fullres_px_height": SIDE,
}


def visium_adata(n=6):
    """n * n spots of a Visium array, 50 px = 100 um apart."""
    row, column = (places.ravel() for places in np.mgrid[:n, :n])
    array = np.column_stack([2 * column + row % 2, row])
    obs = pd.DataFrame({"in_tissue": 1, "array_row": array[:, 1], "array_col": array[:, 0]})
    obs.index = [f"AAAC{i:012d}-1" for i in range(n * n)]
    xy = 100 + array * (25, 25 * 3**0.5)
    adata = AnnData(csr_matrix(counts(n_spots=n * n)), obs=obs, obsm={"spatial": xy})
    adata.var_names = ["ACTB", "GAPDH", "ERBB2", "KRT19"]
    return adata


def notes(root, adata, *, patches=None, **metadata):
    write_hest(root, adata=adata, patches=patches, **(VISIUM | metadata))
    return open_folder(root, require_image=False).load("S1").notes


def test_facts_that_agree_say_nothing(tmp_path):
    assert notes(tmp_path, visium_adata()) == ()
    assert notes(tmp_path, visium_adata(), st_technology=None, inter_spot_dist=100.0, spot_diameter=55.0) == ()
    adata = visium_adata()
    adata.obs[["pxl_col_in_fullres", "pxl_row_in_fullres"]] = adata.obsm["spatial"]
    adata.uns["spatial"] = {"ST": {"images": {}, "scalefactors": {"spot_diameter_fullres": 27.5}}}
    assert notes(tmp_path, adata, spot_diameter=55.0) == ()


@pytest.mark.parametrize("said", [{}, {"st_technology": None}, {"st_technology": "Xenium", "inter_spot_dist": 100.0}])
def test_positions_of_a_reduced_picture(tmp_path, said):
    adata = visium_adata()
    adata.obsm["spatial"] = adata.obsm["spatial"] * 0.3
    (line,) = notes(tmp_path, adata, **said)
    assert line.startswith("neighbouring spots lie 15 px = 30 um apart at 2 um/px, expected 100 um (")


def test_a_pixel_size_that_is_wrong_by_ten(tmp_path):
    (line,) = notes(tmp_path, visium_adata(), pixel_size_um_estimated=20.0)
    assert "50 px = 1000 um apart at 20 um/px, expected 100 um (Visium)" in line


def test_positions_that_hold_rows_and_columns(tmp_path):
    adata = visium_adata()
    adata.obsm["spatial"] = adata.obsm["spatial"][:, ::-1].copy()
    (line,) = [line for line in notes(tmp_path, adata) if "turned" not in line]
    assert "x and y of the positions may be exchanged" in line
    right = visium_adata()
    adata.obs[["pxl_col_in_fullres", "pxl_row_in_fullres"]] = right.obsm["spatial"]
    assert "obsm['spatial'] holds them as (y, x), going by obs['pxl_col_in_fullres']" in notes(tmp_path, adata)[0]
    with pytest.raises(DataError, match="exchange x and y: then all lie inside"):
        notes(tmp_path, adata, fullres_px_height=340)


def test_a_slide_that_was_turned_on_the_microscope_is_no_mirror_image(tmp_path):
    adata = visium_adata()
    adata.obsm["spatial"] = SIDE - adata.obsm["spatial"][:, ::-1] * (1, -1) - (0, SIDE)
    assert not any("exchanged, or one run backwards" in line for line in notes(tmp_path, adata))


def test_tables_of_positions_go_by_their_columns(tmp_path):
    adata = visium_adata()
    x, y = adata.obsm["spatial"].T
    table = pd.DataFrame({"pxl_row_in_fullres": y, "pxl_col_in_fullres": x}, index=adata.obs_names)
    adata.obsm["spatial"] = table
    assert notes(tmp_path, adata) == ()
    np.testing.assert_allclose(open_folder(tmp_path, require_image=False).load("S1").xy, np.column_stack([x, y]))
    adata.obsm["spatial"] = table.set_axis(["a", "b"], axis=1)
    with pytest.raises(DataError, match=r"S1\.h5ad: expected the columns x and y in the table obsm\['spatial'\]"):
        notes(tmp_path, adata)


def merged(shift):
    other = visium_adata()
    other.obsm["spatial"] = other.obsm["spatial"] + shift
    return concatenate({"libA": visium_adata(), "libB": other}, label="library_id", index_unique="-", merge="same")


def test_two_sections_in_one_file(tmp_path):
    with pytest.raises(DataError, match=r"found 36 of 72 spots at the place of another .*of the samples libA, libB\)"):
        notes(tmp_path, merged(0))
    apart, shared, off = (line for line in notes(tmp_path, merged(17.0)) if "neighbouring" not in line)
    assert apart == "2 samples in obs['library_id'] (libA, libB), read as one slide"
    assert shared.startswith("36 spots share their array position with another")
    assert off.startswith("36 of 72 spots do not lie where")


def test_one_spot_in_the_wrong_place(tmp_path):
    adata = visium_adata()
    adata.obsm["spatial"][7] = (400, 400)
    (line,) = notes(tmp_path, adata)
    assert (
        "1 of 36 spots do not lie where the array positions of the others put them (first AAAC000000000007-1)" in line
    )


def test_a_spot_diameter_of_another_picture(tmp_path):
    adata = visium_adata()
    adata.uns["spatial"] = {"ST": {"images": {}, "scalefactors": {"spot_diameter_fullres": 110.0}}}
    (line,) = notes(tmp_path, adata, spot_diameter=55.0)
    assert "spot_diameter_fullres: 110 px are 220 um at 2 um/px, expected 55 um as spot_diameter says" in line


def write_bare(root, adata, side, src, offset=None):
    """Patches whose file says nothing of their size; the corner lies ``offset`` before the spot."""
    write_hest(root, adata=adata, patches=None, **VISIUM)
    write_patches(root / "patches/S1.h5", adata, range(adata.n_obs), side=side, src=src)
    with h5py.File(root / "patches/S1.h5", "r+") as file:
        for key in ("img", "coords"):
            for name in list(file[key].attrs):
                del file[key].attrs[name]
        if offset is not None:
            file["coords"][:] = adata.obsm["spatial"].astype(int) - offset


def test_the_size_of_stored_patches_is_read_off_their_corners(tmp_path):
    write_bare(tmp_path, visium_adata(), side=64, src=56)  # 56 px of 2 um in 64: 1.75 um
    slide = open_folder(tmp_path).load("S1")
    assert slide.notes == (
        "patches show 56 px of the picture in 64: their pixel is 1.75 um (not said by the file, "
        "taken from the corners)",
    )
    assert next(slide.image.patches(slide.spot_ids, slide.xy, PatchSpec(um=112))).shape == (64, 64, 3)
    assert next(slide.image.patches(slide.spot_ids, slide.xy, PatchSpec(um=56))).shape == (32, 32, 3)
    assert next(slide.image.patches(slide.spot_ids, slide.xy, PatchSpec(px=28))).shape == (32, 32, 3)
    with pytest.raises(DataError, match="at most 112 um"):
        slide.image.patches(slide.spot_ids, slide.xy, PatchSpec(um=150))
    before = slide.image.digest()
    slide.image.source_px = None
    assert slide.image.digest() != before


def test_patches_as_hest_has_them_need_no_word(tmp_path):
    write_bare(tmp_path, visium_adata(), side=224, src=56)  # 112 um in 224 px: 0.5 um
    slide = open_folder(tmp_path).load("S1")
    assert slide.notes == ()
    assert slide.image.source_px is None
    assert next(slide.image.patches(slide.spot_ids, slide.xy, PatchSpec(um=56))).shape == (112, 112, 3)


def test_patches_of_which_nothing_is_known_are_noted(tmp_path):
    write_bare(tmp_path, visium_adata(), side=64, src=56, offset=0)  # coords hold the centres
    (line,) = open_folder(tmp_path).load("S1").notes
    assert line == "pixel size of the patches is not said: taken as 0.5 um/px"
    write_bare(tmp_path, visium_adata(), side=64, src=56)
    with h5py.File(tmp_path / "patches/S1.h5", "r+") as file:
        file["coords"][:] = file["coords"][:] // 4  # of a reduced picture
    with pytest.raises(DataError, match=r"S1\.h5: expected patches around the spots"):
        open_folder(tmp_path).load("S1")


def test_attributes_that_contradict_the_corners_and_the_pixel_size(tmp_path):
    adata = visium_adata()
    write_hest(tmp_path, adata=adata, patches=None, **VISIUM)
    path = tmp_path / "patches/S1.h5"
    write_patches(path, adata, range(adata.n_obs), side=64, src=56, pixel_size=2.0)
    assert open_folder(tmp_path).load("S1").notes == ()
    with h5py.File(path, "r+") as file:
        for key in ("img", "coords"):
            file[key].attrs["patch_size_src"] = 64
    corners, sizes = open_folder(tmp_path).load("S1").notes
    assert "corners lie 28 px before their spots" not in sizes
    assert "so a patch shows 56 px of the picture, patch_size_src says 64" in corners
    assert "1.75 um/px by their attributes, 2 by 64 px of 2 um in 64: 1.75 is used" in sizes


def test_an_audit_says_it_of_every_slide_and_goes_on(tmp_path):
    small = visium_adata()
    small.obsm["spatial"] = small.obsm["spatial"] * 0.3
    for name, adata in (("S1", visium_adata()), ("S2", small), ("S3", merged(0))):
        write_hest(tmp_path, name, adata, patches=None, **VISIUM)
        tifffile.imwrite(tmp_path / f"wsis/{name}.tif", np.zeros((SIDE, SIDE, 3), np.uint8), photometric="rgb")
    rows = {row.check: row for row in audit(open_folder(tmp_path)).rows}
    assert "30 um apart" in rows["notes on S2"].detail
    assert rows["slide S3"].verdict == "FAIL"
    assert not any("S1" in name for name in rows)


def test_legacy_arrays_say_nothing_either(tmp_path):
    write_hest(tmp_path, adata=hest_adata(), st_technology="Spatial Transcriptomics", inter_spot_dist=200.0)
    assert open_folder(tmp_path).load("S1").notes == ()
