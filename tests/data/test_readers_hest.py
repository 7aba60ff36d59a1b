"""The layout of HEST-1k."""

import json

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from stbench.catalogue import SlideEntry
from stbench.data.image import PatchSpec
from stbench.data.images import ImageFile, PatchFile
from stbench.data.opening import open_folder
from stbench.data.readers import READERS
from stbench.errors import DataError

from .layouts import ARRAY, GENES, SIZE, counts, hest_adata, picture, truncate, write_hest, write_patches

SPOTS = [f"{x:03d}x{y:03d}" for x, y in ARRAY]


def load(root, id_="S1", **options):
    return open_folder(root, **options).load(id_)


def test_a_slide(tmp_path):
    write_hest(tmp_path)
    slide = load(tmp_path)
    np.testing.assert_array_equal(slide.counts.toarray(), counts())
    assert (slide.counts.format, slide.counts.dtype) == ("csr", np.int32)
    assert (slide.spot_ids, slide.genes) == (SPOTS, GENES)
    np.testing.assert_array_equal(slide.xy, (np.array(ARRAY) - 1) * 20)
    assert slide.xy.dtype == np.float32
    assert (slide.um_per_px, slide.image.um_per_px) == (10, 10)
    assert slide.patient == "A study: Patient A"
    assert slide.notes == ()
    assert isinstance(slide.image, PatchFile)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint16])
def test_counts_in_any_container(tmp_path, kind, dtype):
    adata = hest_adata()
    adata.X = counts().astype(dtype) if kind == "dense" else csr_matrix(counts().astype(dtype))
    write_hest(tmp_path, adata=adata)
    np.testing.assert_array_equal(load(tmp_path).counts.toarray(), counts())


@pytest.mark.parametrize("value", [-1.0, 0.25, np.nan, np.inf])
def test_counts_that_are_no_counts(tmp_path, value):
    matrix = counts().astype(np.float64)
    matrix[1, 3] = value
    write_hest(tmp_path, adata=hest_adata(matrix))
    with pytest.raises(DataError, match=rf"S1\.h5ad: expected raw counts .*found {value}.*spot 002x006, gene KRT19"):
        load(tmp_path)


def test_patches_join_on_barcode(tmp_path):
    write_hest(tmp_path, patches=[4, 1, 3])
    slide = load(tmp_path)
    assert slide.spot_ids == [SPOTS[i] for i in (1, 3, 4)]
    np.testing.assert_array_equal(slide.counts.toarray(), counts()[[1, 3, 4]])
    assert slide.notes == ("3 of 6 spots dropped that have no patch",)
    patches = slide.image.patches(slide.spot_ids, slide.xy, PatchSpec(um=160))
    assert [patch.mean() for patch in patches] == [1, 3, 4]
    assert slide.orders == ("patches/S1.h5",)
    write_hest(tmp_path, patches=[1, 3, 4])
    assert load(tmp_path).orders == ()


def test_patches_of_another_slide(tmp_path):
    other = hest_adata()
    other.obs_names = [f"9{spot}" for spot in SPOTS]
    write_hest(tmp_path)
    write_patches(tmp_path / "patches/S1.h5", other, range(6))
    with pytest.raises(DataError, match=r"patches/S1\.h5: expected barcodes of .*found none in common \(9002x005"):
        load(tmp_path)
    other.obs_names = SPOTS
    other.obsm["spatial"] = other.obsm["spatial"] + 50
    write_patches(tmp_path / "patches/S1.h5", other, range(6))
    with pytest.raises(DataError, match=r"patches/S1\.h5: expected patches around the spots .* 50 px away"):
        load(tmp_path)


def test_patches_without_a_spot_are_noted(tmp_path):
    write_hest(tmp_path)
    write_hest(tmp_path, adata=hest_adata()[:4].copy(), patches=None)
    assert load(tmp_path).notes == ("2 patches left out that belong to no spot",)


def test_whole_picture_in_place_of_patches(tmp_path):
    write_hest(tmp_path, patches=None, wsi=True)
    slide = load(tmp_path)
    assert isinstance(slide.image, ImageFile)
    assert (slide.image.size(), slide.n_spots) == (SIZE, 6)
    patch = next(slide.image.patches(SPOTS[:1], slide.xy[:1], PatchSpec(um=160)))
    np.testing.assert_array_equal(patch, picture()[72:88, 12:28])


def test_picture_of_another_size_than_the_metadata_say(tmp_path):
    write_hest(tmp_path, patches=None, wsi=True, fullres_px_width=700)
    with pytest.raises(DataError, match=r"S1\.tif: expected 700 x 680 px as the metadata say, found 640 x 680"):
        load(tmp_path)


def test_without_a_picture(tmp_path):
    write_hest(tmp_path, patches=None)
    cohort = open_folder(tmp_path)
    assert cohort.refs == ()
    assert cohort.left_out == {"S1": "no picture: expected patches/S1.h5 or wsis/S1.tif"}
    assert load(tmp_path, require_image=False).image is None


def test_legacy_arrays_are_named_the_wrong_way_round(tmp_path):
    write_hest(tmp_path)
    slide = load(tmp_path)
    np.testing.assert_array_equal(slide.array_xy, ARRAY)
    assert slide.notes == ()


def test_array_follows_the_pixels_whatever_its_columns_are_called(tmp_path):
    barcodes = [f"AAAC{i}-1" for i in range(6)]
    for rows, columns, note in (
        ([y for _, y in ARRAY], [x for x, _ in ARRAY], None),
        ([x for x, _ in ARRAY], [y for _, y in ARRAY], "exchanged"),
        ([y for _, y in ARRAY], [6 - x for x, _ in ARRAY], "array x turned round"),
    ):
        adata = hest_adata()
        adata.obs_names = barcodes
        adata.obs["array_row"], adata.obs["array_col"] = rows, columns
        write_hest(tmp_path, adata=adata)
        slide = load(tmp_path)
        np.testing.assert_array_equal(slide.array_xy, ARRAY)
        assert (note is None and not slide.notes) or note in slide.notes[0]


def test_no_array_where_the_file_has_none(tmp_path):
    adata = hest_adata()
    adata.obs_names = list("abcdef")
    del adata.obs["array_row"]
    write_hest(tmp_path, adata=adata)
    assert load(tmp_path).array_xy is None


def test_totals_may_cover_more_genes_but_not_fewer(tmp_path):
    adata = hest_adata()
    adata.obs["total_counts"] = counts().sum(axis=1) + 10.0
    write_hest(tmp_path, adata=adata)
    np.testing.assert_array_equal(load(tmp_path).total_counts, counts().sum(axis=1) + 10)
    adata.obs["total_counts"] = 1.0
    write_hest(tmp_path, adata=adata)
    slide = load(tmp_path)
    np.testing.assert_array_equal(slide.total_counts, counts().sum(axis=1))
    assert "summed anew" in slide.notes[0]


def test_control_probes_and_repeated_genes(tmp_path):
    adata = hest_adata(genes=["ACTB", "BLANK_0001", "ACTB", "NegControlProbe_1"])
    write_hest(tmp_path, adata=adata)
    slide = load(tmp_path)
    assert slide.genes == ["ACTB"]
    np.testing.assert_array_equal(slide.counts.toarray()[:, 0], counts()[:, 0] + counts()[:, 2])
    assert slide.notes[:2] == (
        "2 control features left out (BLANK_0001, NegControlProbe_1)",
        "1 columns added to another one of the same gene symbol (ACTB)",
    )


def test_what_the_file_calls_no_gene_is_left_out(tmp_path):
    adata = hest_adata(genes=["ACTB", "CD3E", "CD3E", "FalseCode3"])
    adata.var["feature_types"] = ["Gene Expression", "Gene Expression", "Antibody Capture", "Gene Expression"]
    write_hest(tmp_path, adata=adata)
    slide = load(tmp_path)
    assert slide.genes == ["ACTB", "CD3E"]
    np.testing.assert_array_equal(slide.counts.toarray(), counts()[:, :2])
    np.testing.assert_array_equal(slide.total_counts, counts()[:, :2].sum(axis=1))
    assert slide.notes[:2] == (
        "1 control features left out (FalseCode3)",
        "1 features left out that are no genes (Antibody Capture)",
    )


def test_what_else_the_file_holds_is_kept(tmp_path):
    adata = hest_adata()
    adata.layers["expected"] = np.ones((6, 4), dtype=np.float32)
    adata.obs["domain"], adata.uns["truth"] = list("ababab"), {"depth": 0.3}
    write_hest(tmp_path, adata=adata, patches=[0, 2])
    found = load(tmp_path).adata
    assert found.layers["expected"].shape == (2, 4)
    assert list(found.obs["domain"]) == ["a", "a"]
    assert found.uns["truth"] == {"depth": 0.3}


def test_spots_outside_the_tissue_are_left_out(tmp_path):
    adata = hest_adata()
    adata.obs["in_tissue"] = [1, 0, 1, 1, 1, 1]
    write_hest(tmp_path, adata=adata)
    slide = load(tmp_path)
    assert slide.n_spots == 5
    assert slide.notes[0] == "1 spots outside the tissue left out"


@pytest.mark.parametrize(("place", "found"), [((700, 50), "x 700.0"), ((-3, 50), "x -3.0"), ((np.nan, 1), "nan")])
def test_spots_that_are_nowhere(tmp_path, place, found):
    adata = hest_adata()
    adata.obsm["spatial"][2] = place
    write_hest(tmp_path, adata=adata, patches=None)
    with pytest.raises(DataError, match=rf"S1\.h5ad: expected .*found .*{found}") as error:
        load(tmp_path, require_image=False)
    assert SPOTS[2] in str(error.value)


def test_repeated_spots(tmp_path):
    adata = hest_adata()
    adata.obs_names = [*SPOTS[:5], SPOTS[0]]
    write_hest(tmp_path, adata=adata, patches=None)
    with pytest.raises(DataError, match=r"S1\.h5ad: expected every spot once, found 002x005 in rows 1 and 6"):
        load(tmp_path, require_image=False)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_spots(tmp_path, share):
    write_hest(tmp_path)
    truncate(tmp_path / "st/S1.h5ad", share)
    with pytest.raises(DataError, match=r"S1\.h5ad: expected an intact \.h5ad file, found: .*obtain the file again"):
        load(tmp_path)


def test_truncated_patches(tmp_path):
    write_hest(tmp_path)
    truncate(tmp_path / "patches/S1.h5")
    with pytest.raises(DataError, match=r"patches/S1\.h5: expected an intact HDF5 file"):
        load(tmp_path)


def test_no_positions(tmp_path):
    adata = hest_adata()
    del adata.obsm["spatial"]
    write_hest(tmp_path, adata=adata, patches=None)
    with pytest.raises(DataError, match=r"expected obsm\['spatial'\] of shape \(n_spots, 2\), found only none"):
        load(tmp_path, require_image=False)


def test_patients_are_keyed_by_study_and_may_be_blank(tmp_path):
    write_hest(tmp_path, "S1", patient="patient 1")
    write_hest(tmp_path, "S2", patient="patient 1", dataset_title="Another study")
    for i, blank in enumerate(("", None, float("nan"), "  ")):
        write_hest(tmp_path, f"T{i}", patient=blank)
    patients = {ref.id: ref.patient for ref in open_folder(tmp_path).refs}
    assert patients == {
        "S1": "A study: patient 1",
        "S2": "Another study: patient 1",
        **dict.fromkeys(["T0", "T1", "T2", "T3"]),
    }


def test_metadata_from_the_table(tmp_path):
    write_hest(tmp_path)
    (tmp_path / "metadata/S1.json").unlink()
    rows = {"id": ["S1"], "patient": ["P7"], "dataset_title": ["Title"], "pixel_size_um_estimated": [0.5]}
    for version, patient in (("1_0_2", "old"), ("1_10_0", "P7")):
        pd.DataFrame(rows | {"patient": [patient]}).to_csv(
            tmp_path / f"HEST_v{version}.csv", index=False, encoding="utf-8-sig"
        )
    slide = load(tmp_path)
    assert (slide.patient, slide.um_per_px) == ("Title: P7", 0.5)


def test_pixel_size_from_the_patches_where_metadata_are_missing(tmp_path):
    write_hest(tmp_path)
    (tmp_path / "metadata/S1.json").unlink()
    slide = load(tmp_path)
    assert (slide.um_per_px, slide.patient) == (10, None)


def test_damaged_metadata_leave_one_slide_out(tmp_path):
    write_hest(tmp_path, "S1")
    write_hest(tmp_path, "S2")
    (tmp_path / "metadata/S1.json").write_text("{")
    cohort = open_folder(tmp_path)
    assert cohort.ids == ("S2",)
    assert "S1.json: expected metadata as JSON" in cohort.left_out["S1"]


def test_pixel_size_that_is_none(tmp_path):
    write_hest(tmp_path, pixel_size_um_estimated="about one")
    with pytest.raises(
        DataError, match=r"S1\.json, pixel_size_um_estimated: expected a positive number, found 'about one'"
    ):
        load(tmp_path)


def test_the_card_matches_by_id(tmp_path):
    for id_ in ("S1", "S2", "S3"):
        write_hest(tmp_path, id_)
    entries = [SlideEntry(id=id_, section=f"sec{id_}", patient=f"p{id_}", n_spots=6) for id_ in ("S3", "S1", "S9")]
    cohort = READERS["hest"].open("mine", tmp_path, entries, require_image=True)
    assert [(ref.id, ref.patient) for ref in cohort.refs] == [("S3", "pS3"), ("S1", "pS1")]
    assert set(cohort.left_out) == {"S2"}


@pytest.mark.real
def test_hest_mini(real_data):
    """32 patches of every sample; centres and counts as in the study's own files."""
    cohort = open_folder(real_data / "hest_mini")
    study = open_folder(real_data / "her2st")
    for sample, section, n_genes in (("SPA145", "B4", 15289), ("SPA140", "C3", 15821), ("SPA138", "C5", 15721)):
        slide, known = cohort.load(sample), study.load(section)
        assert (slide.n_spots, len(slide.genes)) == (32, n_genes)
        row = {tuple(spot): i for i, spot in enumerate(known.array_xy.astype(int).tolist())}
        rows = [row[tuple(spot)] for spot in slide.array_xy.astype(int).tolist()]
        np.testing.assert_allclose(slide.xy, known.xy[rows], atol=0.01)
        place = {gene: i for i, gene in enumerate(known.genes)}
        genes = [place[gene] for gene in slide.genes]
        assert (slide.counts != known.counts[rows][:, genes]).nnz == 0
        np.testing.assert_array_equal(slide.total_counts, known.total_counts[rows])
        said = json.loads((real_data / f"hest_mini/metadata/{sample}.json").read_text())
        assert slide.um_per_px == said["pixel_size_um_estimated"]
        with h5py.File(real_data / f"hest_mini/patches/{sample}.h5") as file:
            assert sorted(name.decode() for name in file["barcode"][:].ravel()) == sorted(slide.spot_ids)
            assert (
                slide.spot_ids != anndata.read_h5ad(real_data / f"hest_mini/st/{sample}.h5ad").obs_names[:32].tolist()
            )
