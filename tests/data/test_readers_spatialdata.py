"""Stores of SpatialData: the same slides as in other layouts, bins of known counts, and damage in one line."""

import json
import shutil
import warnings

import numpy as np
import pytest

from stbench.data.audit import FAIL, audit
from stbench.data.image import PatchSpec
from stbench.data.images import ImageFile
from stbench.data.opening import open_folder
from stbench.errors import DataError

from .layouts import picture

spatialdata = pytest.importorskip("spatialdata")

import anndata  # noqa: E402
import dask.dataframe  # noqa: E402
import geopandas  # noqa: E402
import pandas as pd  # noqa: E402
from PIL import Image  # noqa: E402
from scipy.sparse import csr_matrix  # noqa: E402
from shapely import box  # noqa: E402
from spatialdata.models import Image2DModel, PointsModel, ShapesModel, TableModel  # noqa: E402
from spatialdata.transformations import Affine, Identity, Scale  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

SIDE = 400  # px of the picture
GENES = ["A", "B", "C", "MT-D"]


def image(pixels=None, into=None, **options):
    pixels = picture((SIDE, SIDE)) if pixels is None else pixels
    options = {"c_coords": ["r", "g", "b"]} | options
    return Image2DModel.parse(
        np.moveaxis(pixels, 2, 0), dims=("c", "y", "x"), transformations=into or {"global": Identity()}, **options
    )


def grid(n=6, step=50.0, first=60.0):
    """Names, columns and rows of a Visium array, and pixels: neighbours lie ``step`` px = 100 um apart."""
    rows, columns = np.mgrid[:n, :n]
    columns = 2 * columns + rows % 2
    xy = np.column_stack([columns.ravel() * step / 2, rows.ravel() * step * 3**0.5 / 2]) + first
    return [f"S{i}-1" for i in range(n * n)], columns.ravel(), rows.ravel(), xy


def counts(n, seed=0):
    return csr_matrix(np.random.default_rng(seed).poisson(2, (n, len(GENES))))


def table(X, spots, region="spots", instances=None, genes=GENES, **obs):
    columns = {"region": pd.Categorical([region] * len(spots)), "spot_id": spots if instances is None else instances}
    adata = anndata.AnnData(X, obs=pd.DataFrame(columns | obs, index=spots), var=pd.DataFrame(index=genes))
    return TableModel.parse(adata, region=region, region_key="region", instance_key="spot_id")


def circles(xy, spots, into=None):
    return ShapesModel.parse(
        xy, geometry=0, radius=13.0, index=pd.Index(spots), transformations=into or {"global": Identity()}
    )


def visium(**changes):
    spots, columns, rows, xy = grid()
    parts = {
        "images": {"he": image()},
        "shapes": {"spots": circles(xy, spots)},
        "tables": {"table": table(counts(len(spots)), spots, array_col=columns, array_row=rows, in_tissue=1)},
    }
    return spatialdata.SpatialData(**(parts | changes))


def write(store, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store.write(path)
    return path


def failures(path):
    return [(row.check, row.detail) for row in audit(open_folder(path)).rows if row.verdict == FAIL]


def edit(path, change):
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return write(visium(), tmp_path_factory.mktemp("stores") / "S1.zarr")


@pytest.fixture
def damaged(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "S1.zarr")


def test_a_store_is_a_slide(sound):
    cohort = open_folder(sound)
    assert (cohort.layout, cohort.ids, cohort.refs[0].patient) == ("spatialdata", ("S1",), None)
    slide, (spots, columns, rows, xy) = cohort.load("S1"), grid()
    assert (slide.spot_ids, slide.genes) == (spots, GENES)
    assert (slide.counts != counts(36)).nnz == 0
    np.testing.assert_array_equal(slide.xy, xy.astype(np.float32))
    np.testing.assert_array_equal(slide.array_xy, np.column_stack([columns, rows]))
    assert slide.um_per_px == pytest.approx(2.0)
    assert slide.image.size() == (SIDE, SIDE)
    assert failures(sound) == []


def test_a_folder_holds_many_and_patients_are_read(tmp_path):
    spots = grid()[0]
    for name, patient in (("S1", "P1"), ("S2", "P2")):
        kept = table(counts(36, seed=len(tmp_path.name) + int(name[1])), spots, patient=patient)
        write(visium(tables={"table": kept}), tmp_path / f"{name}.zarr")
    cohort = open_folder(tmp_path)
    assert [(ref.id, ref.patient) for ref in cohort.refs] == [("S1", "P1"), ("S2", "P2")]
    slide = cohort.load("S2")
    assert slide.um_per_px is None
    assert any("pixel size unknown" in note for note in slide.notes)


def test_regions_of_one_store_are_slides(tmp_path):
    spots, _, _, xy = grid()
    one, two = ([f"{name}{spot}" for spot in spots] for name in "ab")
    columns = {
        "region": pd.Categorical(["one"] * 36 + ["two"] * 36),
        "spot_id": one + two,
        "donor": ["P"] * 36 + ["Q"] * 36,
    }
    adata = anndata.AnnData(counts(72), obs=pd.DataFrame(columns, index=one + two), var=pd.DataFrame(index=GENES))
    kept = TableModel.parse(adata, region=["one", "two"], region_key="region", instance_key="spot_id")
    into = {"second": Identity()}
    shapes = {"one": circles(xy, one), "two": circles(xy + 7, two, into)}
    images = {"he1": image(), "he2": image(picture((SIDE, SIDE))[::-1], into)}
    cohort = open_folder(write(visium(tables={"table": kept}, shapes=shapes, images=images), tmp_path / "S.zarr"))
    assert [(ref.id, ref.patient) for ref in cohort.refs] == [("one", "P"), ("two", "Q")]
    slide = cohort.load("two")
    np.testing.assert_allclose(slide.xy, xy + 7, rtol=1e-6)
    assert slide.image.path.name == "he2"
    assert slide.spot_ids == two


@pytest.mark.parametrize("scales", [None, [2, 2]])
def test_patches_are_those_of_the_same_pixels_in_a_file(tmp_path, scales):
    Image.fromarray(picture((SIDE, SIDE))).save(tmp_path / "a.png")
    he = image(into={"global": Scale([4.0, 4.0], axes=("x", "y"))}, scale_factors=scales, chunks=(3, 64, 96))
    spots, _, _, xy = grid(step=200.0, first=240.0)
    store = visium(images={"he": he}, shapes={"spots": circles(xy, spots)})
    found = open_folder(write(store, tmp_path / "S.zarr")).load("S").image
    expected = ImageFile(tmp_path / "a.png", scale=0.25)
    assert (found.scale, found.size()) == (0.25, (1600, 1600))
    places = np.array([[0, 0], [801.3, 250.7], [1599, 1499]], dtype=np.float32)
    for spec in (PatchSpec(px=31), PatchSpec(px=500), PatchSpec(px=100, out_px=20)):
        for one, other in zip(found.patches("abc", places, spec), expected.patches("abc", places, spec), strict=True):
            np.testing.assert_array_equal(one, other)
    assert found.thumbnail(SIDE).shape == (SIDE, SIDE, 3)


def test_channels_are_known_by_their_names_and_what_is_clear_lies_on_white(tmp_path):
    pixels = picture((SIDE, SIDE))
    clear = np.dstack([pixels, np.full((SIDE, SIDE), 255, dtype=np.uint8)])
    clear[:50, :, 3] = 0
    images = {"bgr": image(pixels[..., ::-1].copy(), c_coords=["b", "g", "r"])}
    found = open_folder(write(visium(images=images), tmp_path / "S.zarr")).load("S").image.thumbnail(SIDE)
    np.testing.assert_array_equal(found, pixels)
    images = {"rgba": image(clear, c_coords=["r", "g", "b", "a"])}
    found = open_folder(write(visium(images=images), tmp_path / "T.zarr")).load("T").image.thumbnail(SIDE)
    np.testing.assert_array_equal(found[50:], pixels[50:])
    assert (found[:50] == 255).all()


def test_the_digest_is_that_of_the_pixels(sound, tmp_path):
    first = open_folder(sound).load("S1").image.digest()
    other = picture((SIDE, SIDE))
    again = write(visium(images={"other_name": image(other.copy())}), tmp_path / "again.zarr")
    assert open_folder(again).load("again").image.digest() == first
    other[5, 5, 1] ^= 1
    changed = write(visium(images={"he": image(other)}), tmp_path / "changed.zarr")
    assert open_folder(changed).load("changed").image.digest() != first


def test_shapes_turned_and_moved_land_on_the_picture(tmp_path):
    spots, _, _, xy = grid()
    turn = np.array([[0.0, -0.5, 300.0], [0.5, 0.0, 20.0], [0.0, 0.0, 1.0]])  # own units of half a pixel
    own = (np.column_stack([xy, np.ones(36)]) @ np.linalg.inv(turn).T)[:, :2]
    into = {"global": Affine(turn, input_axes=("x", "y"), output_axes=("x", "y"))}
    slide = open_folder(write(visium(shapes={"spots": circles(own, spots, into)}), tmp_path / "S.zarr")).load("S")
    np.testing.assert_allclose(slide.xy, xy, rtol=1e-5)
    assert slide.image.scale == 1
    assert slide.um_per_px == pytest.approx(2.0)


def test_a_system_in_micrometres_says_the_pixel_size(tmp_path):
    spots, _, _, xy = grid()
    into = {"global": Identity(), "microns": Scale([0.5, 0.5], axes=("x", "y"))}
    kept = table(counts(36), spots)
    slide = open_folder(
        write(visium(shapes={"spots": circles(xy, spots, into)}, tables={"table": kept}), tmp_path / "S.zarr")
    ).load("S")
    assert slide.um_per_px == pytest.approx(0.5)


def hd_store(sizes=(2, 8, 16)):
    """Bins of squares on one another: those of 16 um hold the sums of those of 2 um, at 0.5 um a pixel."""
    rng, shapes, tables = np.random.default_rng(0), {}, {}
    fine = rng.poisson(0.3, (64, 64, len(GENES)))
    for um in sizes:
        k, px = um // 2, um / 0.5
        n = 64 // k
        X = fine.reshape(n, k, n, k, -1).sum(axis=(1, 3)).reshape(n * n, -1)
        rows, columns = (axis.ravel() for axis in np.mgrid[:n, :n])
        names = [f"s_{um:03}um_{r:05}_{c:05}-1" for r, c in zip(rows, columns, strict=True)]
        squares = box(columns * px, rows * px, (columns + 1) * px, (rows + 1) * px)
        gdf = geopandas.GeoDataFrame(geometry=squares)
        shapes[f"S_square_{um:03}um"] = ShapesModel.parse(gdf, transformations={"global": Identity()})
        tables[f"square_{um:03}um"] = table(
            csr_matrix(X),
            names,
            f"S_square_{um:03}um",
            np.arange(n * n),
            array_row=rows,
            array_col=columns,
            in_tissue=1,
        )
    return spatialdata.SpatialData(images={"S_full_image": image()}, shapes=shapes, tables=tables), fine


def test_bins_of_16_um_are_read_and_others_where_they_are_named(tmp_path):
    store, fine = hd_store()
    cohort = open_folder(write(store, tmp_path / "S.zarr"))
    slide = cohort.load("S")
    np.testing.assert_array_equal(slide.counts.toarray(), fine.reshape(8, 8, 8, 8, 4).sum(axis=(1, 3)).reshape(64, 4))
    assert slide.um_per_px == pytest.approx(0.5)
    np.testing.assert_allclose(slide.xy[:2], [[16, 16], [48, 16]])
    place = tmp_path / "S.zarr" / "tables"
    said = "bins of 16 um are read (square_016um of tables), square_002um, square_008um are there too: to read others, "
    assert slide.notes[0] == f"{said}open {place / 'square_008um'}"
    other = open_folder(place / "square_008um").load("square_008um")
    assert (other.n_spots, other.um_per_px) == (256, pytest.approx(0.5))
    assert other.total_counts.sum() == slide.total_counts.sum() == fine.sum()
    assert "ln -s S.zarr/tables/square_008um" in open_folder(tmp_path).load("S").notes[0]
    (tmp_path / "S-square_008um").symlink_to("S.zarr/tables/square_008um")
    linked = open_folder(tmp_path)
    assert linked.ids == ("S-square_008um",)
    assert linked.load("S-square_008um").n_spots == 256


def transcripts(n=2000, seed=0):
    """Places in micrometres on a picture of 400 px at 0.5 um a pixel: 3 x 3 bins of 55 um, and a rest."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "x": rng.uniform(0, 200, n),
            "y": rng.uniform(0, 200, n),
            "feature_name": rng.choice(["A", "B", "NegControlProbe_1", "UnassignedCodeword_0007"], n),
            "qv": rng.choice([10.0, 19.9, 20.0, 40.0], n).astype(np.float32),
        }
    )


def xenium(found, images=None):
    points = PointsModel.parse(
        found, coordinates={"x": "x", "y": "y"}, feature_key="feature_name",
        transformations={"global": Scale([1 / 0.2125, 1 / 0.2125], axes=("x", "y"))},
    )  # fmt: skip
    to_global = Scale([0.5 / 0.2125, 0.5 / 0.2125], axes=("x", "y"))
    dapi = Image2DModel.parse(np.zeros((1, 50, 50), dtype=np.uint16), dims=("c", "y", "x"), c_coords=["DAPI"])
    he = {"he_image": image(into={"global": to_global})} if images is None else images
    return spatialdata.SpatialData(images={"morphology_focus": dapi} | he, points={"transcripts": points})


def test_transcripts_are_counted_in_bins_on_the_picture(tmp_path):
    found = transcripts()
    slide = open_folder(write(xenium(found), tmp_path / "X.zarr")).load("X")
    good = found[found.feature_name.isin(["A", "B"]) & (found.qv >= 20)]
    inside = good[(good.x < 165) & (good.y < 165)]
    expected = inside.groupby([(inside.y // 55).astype(int), (inside.x // 55).astype(int), "feature_name"]).size()
    assert slide.um_per_px == pytest.approx(0.5)
    assert slide.n_spots == 9
    assert sorted(slide.genes) == ["A", "B"]
    for i, (column, row) in enumerate(slide.array_xy.astype(int).tolist()):
        np.testing.assert_allclose(slide.xy[i], [(column + 0.5) * 110, (row + 0.5) * 110], rtol=1e-6)
        for j, gene in enumerate(slide.genes):
            assert slide.counts[i, j] == expected[row, column, gene]
    n_controls = int((~found.feature_name.isin(["A", "B"])).sum())
    n_poor = int((found.feature_name.isin(["A", "B"]) & (found.qv < 20)).sum())
    said = f"left out: {n_controls} transcripts of controls, {n_poor} of qv below 20, {len(good) - len(inside)} in no"
    assert any(said in note for note in slide.notes)


def test_parts_of_transcripts_are_added_up_and_a_missing_one_is_named(tmp_path):
    found = transcripts()
    store = xenium(found)
    several = dask.dataframe.from_pandas(found, npartitions=3)
    store.points["transcripts"] = PointsModel.parse(
        several, coordinates={"x": "x", "y": "y"}, feature_key="feature_name",
        transformations={"global": Scale([1 / 0.2125, 1 / 0.2125], axes=("x", "y"))},
    )  # fmt: skip
    one = open_folder(write(xenium(found), tmp_path / "X.zarr")).load("X")
    other = open_folder(write(store, tmp_path / "Y.zarr")).load("Y")
    assert sorted(one.genes) == sorted(other.genes)
    assert (one.counts[:, np.argsort(one.genes)] != other.counts[:, np.argsort(other.genes)]).nnz == 0
    assert one.notes == other.notes
    (tmp_path / "Y.zarr/points/transcripts/points.parquet/part.1.parquet").unlink()
    with pytest.raises(DataError, match=r"no part\.1\.parquet in transcripts"):
        open_folder(tmp_path / "Y.zarr").load("Y")


def test_transcripts_without_a_picture_say_what_is_missing(tmp_path):
    reason = open_folder(write(xenium(transcripts(), images={}), tmp_path / "X.zarr"), require_image=False).left_out[
        "X"
    ]
    assert "expected an image of 8-bit RGB in a coordinate system of transcripts (global)" in reason
    assert "morphology_focus (DAPI of type uint16)" in reason


def test_the_table_of_raw_counts_is_taken(tmp_path):
    spots, columns, rows, _ = grid()
    places = {"array_col": columns, "array_row": rows}
    tables = {"a_log": table(counts(36).log1p(), spots, **places), "b_raw": table(counts(36), spots, **places)}
    slide = open_folder(write(visium(tables=tables), tmp_path / "S.zarr")).load("S")
    assert (slide.counts != counts(36)).nnz == 0
    assert slide.notes[0] == "table b_raw of a_log, b_raw: the one of raw counts"
    tables["a_log"] = table(counts(36, 1), spots, **places)
    path = write(visium(tables=tables), tmp_path / "T.zarr")
    reason = open_folder(path).left_out["T"]
    assert "found 2 among a_log, b_raw" in reason
    assert open_folder(path / "tables" / "a_log").load("a_log").counts.sum() == counts(36, 1).sum()


def _chunk(of):
    def remove(path):
        next(file for file in sorted((path / of / "c").rglob("*")) if file.is_file()).unlink()

    return remove


def _truncated(of):
    def cut(path):
        (path / of).write_text((path / of).read_text()[:40])

    return cut


def _pickled(path):
    def change(said):
        said["codecs"] = [{"name": "numcodecs.pickle", "configuration": {}}]

    edit(path / "tables/table/obs/spot_id/zarr.json", change)


def _huge(path):
    edit(path / "tables/table/X/data/zarr.json", lambda said: said.update(shape=[10**13]))


def _nan(path):
    def change(said):
        said["attributes"]["coordinateTransformations"][0].update(type="scale", scale=[float("nan"), 1.0])

    edit(path / "shapes/spots/zarr.json", change)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_chunk("tables/table/X/data"), "no chunk data/c/0, whose numbers would be read as zeros"),
        (_chunk("images/he/s0"), "no chunk s0/c/0/0/0, which would be shown black"),
        (_truncated("tables/table/zarr.json"), "table/zarr.json: "),
        (_truncated("zarr.json"), "S1.zarr/zarr.json: "),
        (_truncated("images/he/zarr.json"), "he/zarr.json: "),
        (_truncated("images/he/s0/zarr.json"), "s0/zarr.json: "),
        (_pickled, "the codec 'numcodecs.pickle' of spot_id, which is not read"),
        (_huge, "where at most 16 GB are read"),
        (_nan, "expected a transformation into global of finite numbers that can be undone"),
        (lambda path: shutil.rmtree(path / "shapes/spots"), "expected the shapes 'spots', which its table"),
        (lambda path: (path / "shapes/spots/shapes.parquet").write_bytes(b"PAR1" * 9), "shapes.parquet"),
        (lambda path: (path / "zarr.json").unlink(), "no zarr.json, .zgroup or .zarray in S1.zarr/"),
        (lambda path: shutil.rmtree(path / "tables"), "expected a table that annotates spots or bins"),
    ],
)  # fmt: skip
def test_damage_is_one_line(damaged, damage, said):
    damage(damaged)
    found = [detail for check, detail in failures(damaged) if check.startswith(("slide ", "left out"))]
    assert len(found) == 1
    assert said in found[0]
    assert "\n" not in found[0]


def test_what_is_wrong_in_a_sound_store_is_one_line(tmp_path):
    spots, _, _, xy = grid()
    strangers = table(counts(36), spots, instances=[f"x{spot}" for spot in spots])
    uneven = ShapesModel.parse(xy, geometry=0, radius=np.linspace(3, 9, 36), index=pd.Index(spots))
    cases = {
        "normalised": (visium(tables={"table": table(counts(36).log1p(), spots)}), "expected raw counts"),
        "strangers": (visium(tables={"table": strangers}), "none in common"),
        "cells": (visium(shapes={"spots": uneven}), "expected spots or bins of one size"),
        "two": (visium(images={"a": image(), "b": image()}), "expected one H&E picture, found a and b"),
        "dyed": (visium(images={"if": image(c_coords=["DAPI", "CD3", "CD8"])}), "if (DAPI, CD3, CD8 of type uint8)"),
        "apart": (visium(images={"he": image(into={"other": Identity()})}), "he (in the coordinate systems other)"),
        "outside": (visium(shapes={"spots": circles(xy + 200, spots)}), "expected spots inside the picture"),
    }  # fmt: skip
    for name, (store, _) in cases.items():
        write(store, tmp_path / f"{name}.zarr")
    found = failures(tmp_path)
    for name, (_, said) in cases.items():
        (line,) = [detail for check, detail in found if check in (f"slide {name}", f"left out: {name}")]
        assert said in line


def test_raw_counts_are_found_in_layers(tmp_path):
    spots = grid()[0]
    kept = table(counts(36).log1p(), spots)
    kept.layers["counts"] = counts(36)
    slide = open_folder(write(visium(tables={"table": kept}), tmp_path / "S.zarr")).load("S")
    assert (slide.counts != counts(36)).nnz == 0
    assert "X holds no raw counts: those of layers['counts'] are used" in slide.notes


def test_predictions_are_refused(damaged):
    edit(damaged / "zarr.json", lambda said: said["attributes"].update(stbench={"asked": "x", "n_spots": 36}))
    assert "a prediction of stbench" in open_folder(damaged).left_out["S1"]


def test_real_slides_are_those_of_space_ranger(real_data, tmp_path):
    source = real_data / "dlpfc"
    cohort = open_folder(source)
    slide = cohort.load("151673")
    table = pd.read_csv(source / "151673/spatial/tissue_positions_list.csv", header=None, index_col=0).loc[
        slide.spot_ids
    ]
    places = {"in_tissue": table[1], "array_row": table[2], "array_col": table[3]}
    obs = pd.DataFrame(places | {"spot_id": slide.spot_ids}).rename_axis(None)
    obs["region"], obs["total_counts"] = pd.Categorical(["spots"] * slide.n_spots), slide.total_counts
    adata = anndata.AnnData(slide.counts, obs=obs, var=slide.adata.var)
    larger = 1 / slide.image.scale
    lowres = np.asarray(Image.open(source / "151673/spatial/tissue_lowres_image.png").convert("RGB"))
    store = spatialdata.SpatialData(
        images={"lowres": image(lowres, {"global": Scale([larger, larger], axes=("x", "y"))})},
        shapes={"spots": circles(table[[5, 4]].to_numpy(dtype=float), slide.spot_ids)},
        tables={"table": TableModel.parse(adata, region="spots", region_key="region", instance_key="spot_id")},
    )
    found = open_folder(write(store, tmp_path / "151673.zarr")).load("151673")
    assert (found.counts != slide.counts).nnz == 0
    assert (found.spot_ids, found.genes) == (slide.spot_ids, slide.genes)
    np.testing.assert_array_equal(found.xy, slide.xy)
    np.testing.assert_array_equal(found.array_xy, slide.array_xy)
    assert found.um_per_px == slide.um_per_px
    assert found.image.scale == pytest.approx(slide.image.scale, rel=1e-12)
    some, spec = slice(0, 3000, 100), PatchSpec(um=112.0)
    ours, theirs = (each.image.patches(each.spot_ids[some], each.xy[some], spec) for each in (found, slide))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_stores_of_zarr_2_are_read_as_well(tmp_path):
    from spatialdata._io.format import SpatialDataContainerFormatV01

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        visium().write(tmp_path / "S.zarr", sdata_formats=SpatialDataContainerFormatV01())
    assert (tmp_path / "S.zarr" / ".zattrs").is_file()
    assert failures(tmp_path / "S.zarr") == []
    slide = open_folder(tmp_path / "S.zarr").load("S")
    assert (slide.counts != counts(36)).nnz == 0
    np.testing.assert_array_equal(slide.image.thumbnail(SIDE), picture((SIDE, SIDE)))
    edit(tmp_path / "S.zarr/images/he/s0/.zarray", lambda said: said.update(filters=[{"id": "pickle"}]))
    with pytest.raises(DataError, match="the codec 'pickle' of s0, which is not read"):
        open_folder(tmp_path / "S.zarr").load("S")


def test_links_and_pipes_in_a_table_are_refused(damaged):
    import os

    place = damaged / "tables/table/X/data/c/0"
    place.rename(damaged.parent / "elsewhere")
    place.symlink_to(damaged.parent / "elsewhere")
    with pytest.raises(DataError, match="a link at X/data/c/0"):
        open_folder(damaged).load("S1")
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(DataError, match="a pipe, no file"):
        open_folder(damaged).load("S1")


def test_slides_of_one_name_are_told_apart(tmp_path):
    spots, _, _, xy = grid()
    write(visium(), tmp_path / "spots.zarr")
    two = {"spots": circles(xy, spots), "b": circles(xy, spots)}
    tables = {"one": table(counts(36), spots), "two": table(counts(36, 1), spots, "b")}
    write(visium(shapes=two, tables=tables), tmp_path / "S.zarr")
    cohort = open_folder(tmp_path)
    assert sorted(cohort.ids) == ["S-spots", "b", "spots"]
    assert (cohort.load("S-spots").um_per_px, cohort.load("spots").um_per_px) == (None, pytest.approx(2.0))
    assert cohort.load("b").counts.sum() == counts(36, 1).sum()
