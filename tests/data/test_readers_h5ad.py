"""Reading the ``.h5ad`` files of scanpy and squidpy, and refusing broken ones."""

import shutil

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy.sparse import csr_matrix

from stbench.data.audit import audit
from stbench.data.image import PatchSpec
from stbench.data.opening import open_dataset, open_folder
from stbench.data.stored_picture import StoredPicture
from stbench.errors import DataError
from stbench.evaluation.predictions import SlidePrediction, annotated

from . import layouts
from .layouts import BARCODES, GENES, joined, picture, truncate, visium_adata, write_hest, write_spaceranger

SPEC = PatchSpec(px=21)


def write(root, adata, name="S1"):
    root.mkdir(exist_ok=True)
    adata.write_h5ad(root / f"{name}.h5ad")
    return open_folder(root)


def only(root, adata, name="S1"):
    cohort = write(root, adata, name)
    assert not cohort.left_out
    return cohort.load(cohort.ids[0])


def patches(slide):
    return np.stack(list(slide.image.patches(slide.spot_ids, slide.xy, SPEC)))


def failing(root):
    return {
        row.check: row.detail for row in audit(open_folder(root, require_image=False)).rows if row.verdict == "FAIL"
    }


def test_a_slide(tmp_path):
    adata = visium_adata()
    cohort = write(tmp_path, adata)
    assert (cohort.layout, cohort.ids, cohort.refs[0].patient) == ("h5ad", ("S1",), None)
    slide = cohort.load("S1")
    assert slide.spot_ids == BARCODES
    assert slide.genes == GENES
    np.testing.assert_array_equal(slide.counts.toarray(), adata.X.toarray())
    assert slide.counts.dtype == np.int32
    np.testing.assert_array_equal(slide.total_counts, adata.X.toarray().sum(axis=1))
    np.testing.assert_allclose(slide.xy, adata.obsm["spatial"], rtol=1e-6)
    assert slide.um_per_px == pytest.approx(2.0)
    assert slide.image.size() == (600, 500)
    assert slide.notes == ()


def test_it_reads_as_the_folder_of_space_ranger_does(tmp_path):
    write_spaceranger(tmp_path / "ranger", hires=True)
    ranger = open_folder(tmp_path / "ranger").load("151673")
    adata = visium_adata()
    adata.X = csr_matrix(ranger.counts.astype(np.float32))
    slide = only(tmp_path / "scanpy", adata)
    for one, other in (
        (slide.counts.toarray(), ranger.counts.toarray()),
        (slide.xy, ranger.xy),
        (slide.array_xy, ranger.array_xy),
        (slide.total_counts, ranger.total_counts),
    ):
        np.testing.assert_array_equal(one, other)
    assert slide.um_per_px == ranger.um_per_px
    assert (slide.genes, slide.spot_ids) == (ranger.genes, ranger.spot_ids)
    np.testing.assert_array_equal(patches(slide), patches(ranger))


def test_a_file_alone(tmp_path):
    write(tmp_path, visium_adata())
    write(tmp_path, visium_adata(1), "S2")
    cohort, card = open_dataset(str(tmp_path / "S1.h5ad"), None)
    assert (cohort.name, card.name, cohort.ids) == ("S1", "s1", ("S1",))
    with pytest.raises(DataError, match=r"gone\.h5ad .*, found no such file$"):
        open_dataset(str(tmp_path / "gone.h5ad"), None)


def test_a_file_alone_is_found_by_its_name(tmp_path, monkeypatch):
    write(tmp_path, visium_adata())
    monkeypatch.chdir(tmp_path)
    assert open_dataset("S1.h5ad", None)[0].ids == ("S1",)


def test_a_picture_that_is_none(tmp_path):
    adata = visium_adata(images={})
    adata.uns["spatial"]["V1"]["images"] = {"hires": picture((300, 250)) * 1.0}
    write(tmp_path, adata)
    assert "uns/spatial/V1/images/hires: expected 0 to 1 in a picture" in failing(tmp_path)["slide S1"]


def test_the_path_of_a_picture_is_not_followed(tmp_path):
    Image.fromarray(picture((600, 500), seed=9)).save(tmp_path / "elsewhere.png")
    adata = visium_adata()
    adata.uns["spatial"]["V1"]["metadata"]["source_image_path"] = str(tmp_path / "elsewhere.png")
    slide = only(tmp_path / "cohort", adata)
    assert isinstance(slide.image, StoredPicture)


def test_a_file_as_cellxgene_has_them(tmp_path):
    """One section beside a switch in ``uns``, ids for genes, normalised values with the counts in ``raw``."""
    adata = visium_adata(genes=[f"ENSG0000000000{i}" for i in range(4)])
    adata.var["feature_name"] = GENES
    adata.uns["spatial"]["is_single"] = True
    adata.uns["spatial"]["V1"]["images"] = {"fullres": picture((600, 500)), "hires": picture((300, 250))}
    adata.obs["donor_id"] = "D1"
    expected, adata.raw = adata.X.toarray(), adata.copy()
    cohort = write(tmp_path, normalised(adata))
    slide = cohort.load("S1")
    assert (cohort.refs[0].patient, slide.image.place[-7:], slide.um_per_px) == ("D1", "fullres", pytest.approx(2.0))
    np.testing.assert_array_equal(slide.counts.toarray(), expected)
    assert list(slide.adata.var["feature_name"]) == GENES


@pytest.mark.parametrize("part", ["obsp/distances", "obsm/X_pca", "layers/scaled", "uns/more"])
def test_parts_that_are_not_needed_are_not_read(tmp_path, part):
    expected = only(tmp_path, visium_adata()).counts.toarray()
    with h5py.File(tmp_path / "S1.h5ad", "a") as file:
        file[part] = np.zeros((3, 1))
        file[part].attrs["encoding-type"] = "of tomorrow"
    slide = open_folder(tmp_path).load("S1")
    np.testing.assert_array_equal(slide.counts.toarray(), expected)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("obsm/spatial", "expected 8 positions, found 7"),
        ("X/indptr", "expected an intact .h5ad file"),
        ("var/_index", "expected 8 spots x 3 genes, found"),
        ("obs/_index", "expected an intact .h5ad file"),
    ],
)
def test_parts_of_another_length(tmp_path, part, said):
    write(tmp_path, visium_adata())
    with h5py.File(tmp_path / "S1.h5ad", "a") as file:
        values, attributes = file[part][:-1], dict(file[part].attrs)
        del file[part]
        file[part] = values
        file[part].attrs.update(attributes)
    assert said in " ".join(failing(tmp_path).values())


def test_the_best_picture_is_taken(tmp_path):
    adata = visium_adata()
    del adata.uns["spatial"]["V1"]["images"]["hires"]
    low = only(tmp_path, adata)
    assert low.image.place.endswith("lowres")
    assert low.notes == ("no picture hires, whose scale factor there is: lowres is used",)
    assert low.image.finer == "put the microscope's picture of about 600 x 500 px beside it as S1.tif"
    adata.uns["spatial"]["V1"]["images"]["fullres"] = picture((600, 500))
    full = only(tmp_path, adata)
    assert (full.image.place, full.image.size(), full.image.finer) == ("uns/spatial/V1/images/fullres", (600, 500), "")


def test_a_picture_without_its_scale(tmp_path):
    adata = visium_adata()
    del adata.uns["spatial"]["V1"]["scalefactors"]["tissue_hires_scalef"]
    with pytest.raises(DataError, match=r"S1.h5ad/uns\['spatial'\]\['V1'\]\['scalefactors'\]: .* tissue_hires_scalef"):
        only(tmp_path, adata)


def test_pictures_that_contradict_their_scale_factors(tmp_path):
    adata = visium_adata()
    adata.uns["spatial"]["V1"]["scalefactors"]["tissue_lowres_scalef"] = 0.2
    assert "hires is of a picture of 600 x 500 px, lowres of 300 x 250 px" in " ".join(only(tmp_path, adata).notes)


def test_a_picture_of_full_resolution_beside_the_file(tmp_path):
    tmp_path.mkdir(exist_ok=True)
    Image.fromarray(picture((600, 500))).save(tmp_path / "S1.png")
    slide = only(tmp_path, visium_adata())
    assert (slide.image.path, slide.image.scale, slide.um_per_px) == (tmp_path / "S1.png", 1.0, pytest.approx(2.0))
    assert slide.notes == ("picture S1.png of full resolution is used",)
    Image.fromarray(picture((640, 500))).save(tmp_path / "S1.png")
    slide = only(tmp_path, visium_adata())
    assert isinstance(slide.image, StoredPicture)
    assert slide.notes[0].startswith("picture S1.png beside the file is not used: 640 x 500 px, expected about 600 x")


def wide(seed=0):
    """A legacy slide without pictures in the file."""
    adata = layouts.hest_adata(seed=seed)
    assert not adata.uns
    return adata


def test_a_picture_beside_a_file_that_has_none(tmp_path):
    write_hest(tmp_path / "hest", adata=wide(), patches=None, wsi=True)
    (tmp_path / "wide").mkdir()
    shutil.copy(tmp_path / "hest/wsis/S1.tif", tmp_path / "wide/S1.tif")
    slide, hest = only(tmp_path / "wide", wide()), open_folder(tmp_path / "hest").load("S1")
    assert slide.um_per_px is None
    assert slide.notes == (
        "pixel size unknown: no array of Visium; write microns_per_pixel into uns['spatial']['S1']['scalefactors']",
    )
    np.testing.assert_array_equal(patches(slide), patches(hest))
    np.testing.assert_array_equal(slide.array_xy, hest.array_xy)
    assert slide.image.digest() == hest.image.digest()
    adata = wide()
    adata.uns["spatial"] = {"S1": {"scalefactors": {"microns_per_pixel": 10.0}}}
    assert only(tmp_path / "wide", adata).um_per_px == 10.0


def test_the_header_of_a_picture_tells_its_pixel_size_where_nothing_else_does(tmp_path):
    pixels = {"resolution": (5000, 5000), "resolutionunit": "CENTIMETER", "photometric": "rgb"}
    tifffile.imwrite(tmp_path / "S1.tif", picture(), **pixels)
    slide = only(tmp_path, wide())
    assert (slide.um_per_px, slide.notes) == (pytest.approx(2.0), ("pixel size: 2 um/px as S1.tif says",))
    tifffile.imwrite(tmp_path / "S1.tif", picture((600, 500)), **pixels | {"resolution": (1000, 1000)})
    slide = only(tmp_path, visium_adata())
    assert slide.um_per_px == pytest.approx(2.0)
    assert "pixel size: S1.tif says 10 um/px, the spots 2, which is used" in slide.notes


def test_slides_without_a_picture(tmp_path):
    write(tmp_path, wide())
    for ending in ("jpg", "tif"):
        Image.fromarray(picture()).save(tmp_path / f"S2.{ending}")
    cohort = write(tmp_path, wide(1), "S2")
    assert cohort.left_out == {
        "S1": "no picture: expected uns['spatial']['S1']['images']['hires'] in S1.h5ad with its scale factor, or "
        "S1.tif beside it",
        "S2": "S2.jpg, S2.tif: expected one picture of the slide; leave one there",
    }
    assert open_folder(tmp_path, require_image=False).load("S1").image is None


def libraries(**more):
    return {name: visium_adata(seed, name, **more) for seed, name in enumerate(("A", "B", "C"))}


@pytest.mark.parametrize("label", ["library_id", "batch", "origin"])
def test_several_libraries_in_one_file(tmp_path, label):
    parts = libraries()
    parts["B"].uns["spatial"]["B"]["scalefactors"]["tissue_hires_scalef"] = 0.45
    cohort = write(tmp_path, joined(parts, label), "all")
    assert cohort.ids == ("A", "B", "C")
    for seed, name in enumerate(cohort.ids):
        slide = cohort.load(name)
        np.testing.assert_array_equal(slide.counts.toarray(), layouts.counts(seed, len(BARCODES)))
        np.testing.assert_array_equal(slide.image.thumbnail(300), picture((300, 250), seed))
        assert slide.spot_ids == BARCODES
    assert cohort.load("B").image.scale == 0.45


def test_two_columns_that_name_the_libraries(tmp_path):
    adata = joined(libraries())
    adata.obs["sample"] = adata.obs["library_id"].astype(str)
    assert write(tmp_path, adata).ids == ("A", "B", "C")
    adata.obs["sample"] = adata.obs["sample"].to_numpy()[::-1]
    [reason] = write(tmp_path, adata).left_out.values()
    assert "expected one column of obs to say which library of uns['spatial'] a spot is of, found library_id" in reason


def test_no_column_names_the_libraries(tmp_path):
    adata = joined(libraries())
    adata.obs["library_id"] = adata.obs["library_id"].astype(str).replace("A", "a")
    [reason] = write(tmp_path, adata).left_out.values()
    assert "whose values are the libraries of uns['spatial'] (A, B, C), found B, C, a in library_id; write" in reason
    del adata.obs["library_id"]
    [reason] = write(tmp_path, adata).left_out.values()
    assert "found none among in_tissue, array_row, array_col; write one: adata.obs['library_id'] = ..." in reason


def test_libraries_whose_spots_were_taken_away(tmp_path):
    adata = joined(libraries())
    adata.obs_names_make_unique()
    cohort = write(tmp_path, adata[adata.obs["library_id"] != "B"].copy())
    assert (cohort.ids, cohort.notes) == (("A", "C"), ("S1.h5ad: no spots of B",))


@pytest.mark.parametrize("merge", [None, "first"])
def test_spots_of_samples_that_have_no_library(tmp_path, merge):
    parts = libraries()
    adata = joined(parts, uns_merge=None)
    adata.uns["spatial"] = {} if merge is None else parts["A"].uns["spatial"]
    [reason] = write(tmp_path, adata).left_out.values()
    assert "every sample of obs['library_id'] (A, B, C) as a library of uns['spatial'], found" in reason


def test_two_sections_in_one_library_are_refused(tmp_path):
    adata = joined({"x": visium_adata(), "y": visium_adata(1)}, "origin", uns_merge="first", index_unique="-")
    write(tmp_path, adata)
    assert "expected one section, every spot at its own place" in failing(tmp_path)["slide S1"]


def test_libraries_of_one_name_in_two_files(tmp_path):
    write(tmp_path, joined(libraries()), "x")
    write(tmp_path, joined(libraries()), "y")
    assert write(tmp_path, visium_adata(5), "A").ids == ("A", "x-A", "x-B", "x-C", "y-A", "y-B", "y-C")


def test_a_file_that_cannot_be_listed_keeps_no_slide_of_its_name_away(tmp_path):
    write(tmp_path, joined(libraries()), "x")
    write(tmp_path, visium_adata(), "A")
    truncate(tmp_path / "A.h5ad")
    cohort = open_folder(tmp_path)
    assert cohort.ids == ("A", "B", "C")
    assert "expected an intact .h5ad file" in cohort.left_out["A.h5ad"]


@pytest.mark.parametrize(("column", "found"), [("patient", "P7"), ("Donor ID", "P7"), ("sample", None), ("who", None)])
def test_patients(tmp_path, column, found):
    adata = visium_adata()
    adata.obs[column] = "P7"
    assert write(tmp_path, adata).refs[0].patient == found


def test_patients_of_libraries(tmp_path):
    adata = joined(libraries())
    adata.obs["donor"] = [7] * 16 + [8] * 8
    cohort = write(tmp_path, adata)
    assert [ref.patient for ref in cohort.refs] == ["7", "7", "8"]
    adata.obs["patient"] = (["p"] * 7 + ["q"]) * 3
    cohort = write(tmp_path, adata)
    assert {ref.patient for ref in cohort.refs} == {None}
    assert "obs['patient'] names 2 patients (p, q): none is taken" in cohort.load("A").notes


def normalised(adata):
    adata.X = np.log1p(adata.X.toarray() / 3)
    return adata


@pytest.mark.parametrize("place", ["layers['counts']", "layers['raw_counts']", "raw.X"])
def test_counts_that_are_kept_beside_normalised_values(tmp_path, place):
    adata = visium_adata()
    expected = adata.X.toarray()
    if place == "raw.X":
        adata.raw = adata.copy()
        adata = adata[:, :2].copy()
    else:
        adata.layers[place[8:-2]] = adata.X.copy()
    slide = only(tmp_path, normalised(adata))
    np.testing.assert_array_equal(slide.counts.toarray(), expected)
    assert (slide.genes, slide.notes) == (GENES, (f"X holds no raw counts: those of {place} are used",))


def test_values_that_are_no_counts(tmp_path):
    adata = normalised(visium_adata())
    adata.layers["counts"], adata.layers["other"] = adata.X / 2, layouts.counts(0, 8)
    with pytest.raises(DataError, match=r"expected raw counts \(integers from 0\), found 0\.\d+ at spot AAAC"):
        only(tmp_path, adata)


def test_predictions_are_refused(tmp_path):
    draws = np.ones((2, len(BARCODES), len(GENES)), dtype=np.float32)
    xy = visium_adata().obsm["spatial"].astype(np.float32)
    predicted = annotated(xy, BARCODES, GENES, SlidePrediction(draws), {"slide": "S1", "n_drawn": 2})
    cohort = write(tmp_path, predicted)
    assert cohort.ids == ()
    assert cohort.left_out["S1"].startswith(
        f"{tmp_path / 'S1.h5ad'}: expected raw counts, found a prediction of stbench"
    )


def test_without_positions(tmp_path):
    adata = visium_adata()
    del adata.obsm["spatial"]
    adata.obsm["X_pca"] = np.zeros((8, 2))
    assert (
        write(tmp_path, adata)
        .left_out["S1"]
        .endswith(
            "expected positions in obsm['spatial'], found X_pca; put the pixels of the full-resolution picture there"
        )
    )


def test_spots_outside_the_tissue_and_control_features(tmp_path):
    adata = visium_adata(genes=["ACTB", "ACTB", "ERBB2", "BLANK_1"])
    expected = adata.X.toarray()
    adata.obs["in_tissue"] = [1, 1, 0, 1, 1, 1, 1, 1]
    slide = only(tmp_path, adata)
    assert slide.genes == ["ACTB", "ERBB2"]
    np.testing.assert_array_equal(slide.counts.toarray()[:, 0], np.delete(expected[:, :2].sum(axis=1), 2))
    assert len(slide.notes) == 3


def test_arrays_that_tell_no_pixel_size(tmp_path):
    adata = visium_adata()
    adata.obs.loc[BARCODES[3], "array_row"] = np.nan
    slide = only(tmp_path, adata)
    assert (slide.um_per_px, slide.array_xy) == (None, None)
    assert (
        "array positions are not used: not every spot has a number in obs['array_row'] and 'array_col'" in slide.notes
    )


def test_the_diameter_of_a_spot_is_held_against_the_array(tmp_path):
    adata = visium_adata()
    adata.uns["spatial"]["V1"]["scalefactors"]["spot_diameter_fullres"] = 120.0
    slide = only(tmp_path, adata)
    assert slide.um_per_px == pytest.approx(2.0)
    assert "120 px are 240 um at 2 um/px, expected the 55 um of a Visium spot" in slide.notes[0]


def test_listing_reads_no_counts_and_no_pictures(tmp_path, monkeypatch):
    write(tmp_path, joined(libraries()))
    read, get = [], h5py.Dataset.__getitem__
    monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda array, *args: read.append(array.name) or get(array, *args))
    assert open_folder(tmp_path).ids == ("A", "B", "C")
    assert read
    assert all(name.startswith("/obs/") for name in read)


def test_other_layouts_are_asked_first(tmp_path):
    write_hest(tmp_path)
    visium_adata().write_h5ad(tmp_path / "notes.h5ad")
    assert open_folder(tmp_path).layout == "hest"


def test_figures_beside_the_files_are_no_output_of_space_ranger(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/matrixplot_markers.pdf").touch()
    assert open_folder(tmp_path).layout == "spaceranger"
    assert write(tmp_path, visium_adata()).layout == "h5ad"
    write_spaceranger(tmp_path)
    assert open_folder(tmp_path).layout == "spaceranger"


def test_simulated_slides_stay_simulated(tmp_path):
    adata = visium_adata()
    adata.uns["simulated"] = {"depth_sd": 0.1}
    assert write(tmp_path, adata).simulated


@pytest.mark.filterwarnings("ignore")  # of scanpy, that squidpy is to be used
def test_dlpfc_as_scanpy_reads_it(real_data, tmp_path):
    """Without its annotations, of which scanpy knows nothing, the folder gives the same slide."""
    sc = pytest.importorskip("scanpy")
    folder = tmp_path / "ranger/151674"
    shutil.copytree(real_data / "dlpfc/151674", folder, ignore=shutil.ignore_patterns("layers.tsv"))
    low = folder / "spatial/tissue_lowres_image.png"
    shutil.copy(low, folder / "spatial/tissue_hires_image.png")  # scanpy wants one; it is taken out again below
    adata = sc.read_visium(folder, library_id="V1")
    del adata.uns["spatial"]["V1"]["images"]["hires"]
    (folder / "spatial/tissue_hires_image.png").unlink()
    slide, ranger = only(tmp_path / "scanpy", adata), open_folder(tmp_path / "ranger").load("151674")
    assert (slide.genes, slide.spot_ids, slide.um_per_px) == (ranger.genes, ranger.spot_ids, ranger.um_per_px)
    assert (slide.counts != ranger.counts).nnz == 0
    np.testing.assert_array_equal(slide.xy, ranger.xy)
    np.testing.assert_array_equal(slide.array_xy, ranger.array_xy)
    np.testing.assert_array_equal(patches(slide.take(np.arange(50))), patches(ranger.take(np.arange(50))))
    assert slide.image.thumbnail(600).tobytes() == ranger.image.thumbnail(600).tobytes()
