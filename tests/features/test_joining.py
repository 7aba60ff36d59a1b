"""Rows of features and the spots they belong to."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from stbench.data.image import PatchSpec
from stbench.errors import DataError
from stbench.features.encoders import load_encoder
from stbench.features.extract import slide_features
from stbench.features.joining import Spots, Table, aligned

from .test_precomputed import Messages

XY = np.array([(x, y) for y in range(5) for x in range(6)], dtype=np.float32) * 200 + (300, 500)
NAMES = [f"spot{i}" for i in range(30)]
VALUES = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
ORDER = np.lexsort((XY[:, 1], XY[:, 0]))  # by columns, where the spots go by rows


def joined(table, spots=None, messages=None, path=Path("s1.h5")):
    return aligned(table, spots or Spots(NAMES, XY), path, messages or Messages())


def written(path, coords, values=VALUES[ORDER], names=None, **attributes):
    with h5py.File(path, "w") as file:
        file["features"] = values
        file.create_dataset("coords", data=coords).attrs.update(attributes)
        if names is not None:
            file["barcodes"] = np.array(names, dtype="S")


def read(folder, spots=None):
    return load_encoder("precomputed", weights=folder).of(["s1"]).features("s1", spots or Spots(NAMES, XY), Messages())


@pytest.mark.parametrize(
    ("before", "attributes"),
    [
        (112, {"patch_size_level0": 224, "patch_size": 256}),
        (112, {"patch_size": 112, "downsample": [2.0, 2.0]}),
        (112, {"patch_size_src": 224}),
        (112, {"patch_size": 256}),
        (112, {}),
        (112.5, {}),
        (0, {}),
        (0, {"patch_size_level0": 224}),
        (31, {}),
    ],
)
def test_rows_go_to_the_spot_their_patch_lies_on(tmp_path, before, attributes):
    written(tmp_path / "s1.h5", np.floor(XY[ORDER] - before).astype(np.int64), **attributes)
    np.testing.assert_array_equal(read(tmp_path), VALUES)


def test_coordinates_in_every_container_that_carries_names(tmp_path):
    coords = XY[ORDER] - 112
    np.savez(tmp_path / "s1.npz", features=VALUES[ORDER], coords=coords)
    np.testing.assert_array_equal(read(tmp_path), VALUES)
    (tmp_path / "s1.npz").unlink()
    torch.save({"features": torch.tensor(VALUES[ORDER]), "coords": torch.tensor(coords).int()}, tmp_path / "s1.pt")
    np.testing.assert_array_equal(read(tmp_path), VALUES)


def test_barcodes_come_before_coordinates():
    said = Messages()
    names = [NAMES[i] for i in ORDER]
    table = Table(VALUES[ORDER], names, XY[ORDER].astype(float))
    np.testing.assert_array_equal(joined(table, messages=said), VALUES)
    assert said.lines == []
    np.testing.assert_array_equal(joined(table._replace(coords=XY.astype(float)[::-1]), messages=said), VALUES)
    assert "its coordinates are not those of the spots that its barcodes name; barcodes are used" in said.lines[0]


def test_rows_of_no_spot_are_left_out():
    said = Messages()
    more = np.vstack([XY[ORDER] - 112, [[5000, 5000]]]).astype(float)
    table = Table(np.vstack([VALUES[ORDER], np.ones(4, np.float32)]), None, more, 224.0)
    np.testing.assert_array_equal(joined(table, messages=said), VALUES)
    assert said.lines == ["s1.h5: 1 of 31 rows left out that belong to no spot"]


@pytest.mark.parametrize(
    "coords",
    [XY[ORDER] / 4, XY[ORDER][:, ::-1], XY[ORDER] + (112, 40), np.vstack([XY[ORDER][:-1], [[9, 9]]])],
    ids=["of a reduced picture", "rows and columns", "another grid", "a spot without row"],
)
def test_coordinates_that_are_not_those_of_the_spots_are_refused(coords):
    with pytest.raises(
        DataError, match=r"expected coords of a patch around each of 30 spots in full-resolution pixels"
    ):
        joined(Table(VALUES[ORDER], None, coords.astype(float)))


def test_more_than_one_possible_order_is_refused():
    lattice = np.array([(x, y) for y in range(8) for x in range(9)], dtype=float) * 200 + (100, 300)
    values = np.arange(len(lattice) * 2, dtype=np.float32).reshape(-1, 2)
    with pytest.raises(DataError, match=r"coords that fit the spots in one way, found 2; .*patch_size_level0"):
        joined(Table(values, None, lattice))
    found = joined(Table(values, None, lattice, 400.0))  # corners 200 px before the spots
    np.testing.assert_array_equal(found[0], values[0])
    twice = np.vstack([XY, XY]).astype(float)
    with pytest.raises(DataError, match="expected coords of a patch"):
        joined(Table(np.vstack([VALUES, VALUES]), None, twice))


def test_rows_without_a_key_are_refused_where_the_slide_has_two_orders():
    bare = Table(VALUES, None)
    np.testing.assert_array_equal(joined(bare), VALUES)
    with pytest.raises(DataError, match=r"found neither, and positions\.csv lists the spots in another order than the"):
        joined(bare, Spots(NAMES, XY, ("positions.csv",)))
    named = Table(VALUES[ORDER], [NAMES[i] for i in ORDER])
    np.testing.assert_array_equal(joined(named, Spots(NAMES, XY, ("positions.csv",))), VALUES)


def test_dense_bins_are_told_apart():
    xy = np.array([(x, y) for y in range(6) for x in range(6)], dtype=np.float32) * 3
    order = np.random.default_rng(1).permutation(36)
    values = np.arange(36, dtype=np.float32)[:, None]
    table = Table(values[order], None, np.floor(xy[order] - 0.5).astype(float))
    np.testing.assert_array_equal(joined(table, Spots([str(i) for i in range(36)], xy)), values)


@pytest.mark.parametrize("cache", [None, "cache"])
def test_slides_are_joined_by_where_their_spots_lie(tmp_path, make_slide, cache):
    (tmp_path / "features").mkdir()
    slide, values = make_slide(None), np.arange(10, dtype=np.float32).reshape(5, 2)
    written(tmp_path / "features/s1.h5", slide.xy[::-1] - 40, values[::-1], patch_size_level0=80)
    encoder = load_encoder("precomputed", weights=tmp_path / "features").of(["s1"])
    folder = None if cache is None else tmp_path / cache
    for turned in (slide, slide.take(np.array([3, 1, 4]))):
        found = slide_features(turned, encoder, PatchSpec(um=112), folder, Messages())
        np.testing.assert_array_equal(found, values[[slide.spot_ids.index(spot) for spot in turned.spot_ids]])
    bare = replace(slide, orders=("the table of positions",))
    np.save(tmp_path / "s1.npy", values)
    encoder = load_encoder("precomputed", weights=tmp_path).of(["s1"])
    np.testing.assert_array_equal(slide_features(slide, encoder, PatchSpec(um=112), None, Messages()), values)
    with pytest.raises(DataError, match="the table of positions lists the spots in another order"):
        slide_features(bare, encoder, PatchSpec(um=112), None, Messages())


def test_features_joined_anew_have_another_key(tmp_path):
    def key():
        return load_encoder("precomputed", weights=tmp_path).of(["s1"]).key

    written(tmp_path / "s1.h5", XY - 112)
    assert key().startswith("precomputed/2/")
    written(tmp_path / "s1.h5", XY - 112, names=NAMES)
    assert key().startswith("precomputed/1/")
    written(tmp_path / "s1.h5", np.zeros((30, 2)))  # nobody filled them in
    assert key().startswith("precomputed/1/")
    written(tmp_path / "s1.h5", np.zeros((29, 2)))
    with pytest.raises(DataError, match=r"expected coords of shape \(30, 2\), found \(29, 2\)"):
        key()
