"""Features from files, as other people's tools leave them."""

import pickle

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file

from stbench.data.image import PatchSpec
from stbench.errors import DataError, SettingError
from stbench.features.encoders import load_encoder
from stbench.features.extract import slide_features
from stbench.features.precomputed import READERS

SPEC = PatchSpec(um=112)
SPOTS = [f"spot{i}" for i in range(5)]
VALUES = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float16).astype(np.float32)


class Messages:
    def __init__(self):
        self.lines = []

    def info(self, message):
        self.lines.append(message)


@pytest.fixture
def slide(make_slide):
    return make_slide(None)


def write_h5(path, values=VALUES, barcodes=SPOTS, key="embeddings", shape=(-1, 1)):
    """As HEST's benchmark writes embeddings."""
    with h5py.File(path, "w") as file:
        file[key] = values
        file["coords"] = np.zeros((len(values), 2), dtype=np.int64)
        if barcodes is not None:
            names = np.array(barcodes, dtype=object).reshape(shape)
            file.create_dataset("barcodes", data=names, dtype=h5py.string_dtype())


WRITERS = {
    "hest.h5": write_h5,
    "flat.h5": lambda path, values, names: write_h5(path, values, names, shape=(-1,)),
    "named.npz": lambda path, values, names: np.savez(path, features=values, barcodes=np.array(names)),
    "bytes.npz": lambda path, values, names: np.savez(path, embeddings=values, barcodes=np.array(names, dtype="S")),
    "dict.pt": lambda path, values, names: torch.save({"features": torch.tensor(values), "barcodes": names}, path),
    "text.csv": lambda path, values, names: pd.DataFrame(values, index=names).to_csv(path),
}
BARE = {
    "nameless.h5": lambda path, values: write_h5(path, values, None, key="features"),
    "sole.npz": lambda path, values: np.savez(path, values),
    "bare.npy": np.save,
    "bare.pt": lambda path, values: torch.save(torch.tensor(values).bfloat16(), path),
    "bare.safetensors": lambda path, values: save_file({"x": values}, path),
}


def load(folder, slide, cache=None, messages=None):
    encoder = load_encoder("precomputed", weights=folder).of([slide.id])
    return slide_features(slide, encoder, SPEC, cache, messages or Messages())


def place(folder, name):
    return folder / f"s1.{name.partition('.')[2]}"


@pytest.mark.parametrize("name", WRITERS)
def test_rows_join_on_barcodes_whatever_their_order(tmp_path, slide, name):
    order, messages = [3, 0, 4, 2, 1], Messages()
    values = np.concatenate([VALUES[order], np.ones((2, 4), dtype=np.float32)])
    WRITERS[name](place(tmp_path, name), values, [SPOTS[i] for i in order] + ["else1", "else2"])
    np.testing.assert_array_equal(load(tmp_path, slide, messages=messages), VALUES)
    assert messages.lines == [f"s1.{name.partition('.')[2]}: 2 of 7 rows left out that belong to no spot"]


@pytest.mark.parametrize("name", BARE)
def test_without_barcodes_rows_are_those_of_the_spots(tmp_path, slide, name):
    BARE[name](place(tmp_path, name), VALUES)
    np.testing.assert_allclose(load(tmp_path, slide), VALUES, rtol=8e-3)
    BARE[name](place(tmp_path, name), VALUES[:4])
    with pytest.raises(DataError, match=r"s1\.\w+: expected a row for each of 5 spots, found 4 and no barcodes"):
        load(tmp_path, slide)


def test_spots_without_row_are_counted_and_named(tmp_path, slide):
    write_h5(tmp_path / "s1.h5", VALUES[:2], SPOTS[3:])
    with pytest.raises(DataError, match=r"for each of 5 spots, found none for 3 \(spot0, spot1, spot2\); its barcodes"):
        load(tmp_path, slide)


def test_a_barcode_given_twice_is_refused(tmp_path, slide):
    write_h5(tmp_path / "s1.h5", barcodes=[*SPOTS[:4], "spot1"])
    with pytest.raises(DataError, match="every barcode once, found spot1 in rows 2 and 5"):
        load(tmp_path, slide)


def test_what_is_wrong_with_several_slides_is_said_at_once(tmp_path):
    for slide_id, values in {
        "a": VALUES,
        "b": VALUES[:, :3],
        "c": np.where(VALUES[1] == VALUES, np.nan, VALUES),
        "d": VALUES,
    }.items():
        write_h5(tmp_path / f"{slide_id}.h5", values)
    np.save(tmp_path / "d.npy", VALUES)
    (tmp_path / "e.npy").write_bytes(b"damaged")
    with pytest.raises(DataError) as error:
        load_encoder("precomputed", weights=tmp_path).of(["a", "b", "c", "d", "e", "x", "y"])
    for said in (
        "for each of 7 slides (<slide>.h5|.npz",
        "found no file for x, y",
        "several files for d",
        "e.npy: expected features, found an unreadable file",
        "not finite in c (1)",
        "several widths: 4 (a, c), 3 (b)",
    ):
        assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_key_follows_the_contents_of_the_slides_asked_for(tmp_path):
    def key(*slide_ids):
        return load_encoder("precomputed", weights=tmp_path).of(slide_ids).key

    np.save(tmp_path / "a.npy", VALUES)
    np.save(tmp_path / "b.npy", VALUES + 1)
    first = key("a")
    assert first.startswith("precomputed/1/")
    assert first.endswith("/4")
    assert len({first, key("b"), key("a", "b")}) == 3
    assert key("a", "b") == key("b", "a")
    np.save(tmp_path / "b.npy", VALUES + 2.5)
    assert key("a") == first
    np.save(tmp_path / "a.npy", VALUES * 2)
    assert key("a") != first


def test_the_cache_follows_the_contents(tmp_path, slide):
    folder, cache = tmp_path / "features", tmp_path / "cache"
    folder.mkdir()
    write_h5(folder / "s1.h5")
    miss = load(folder, slide, cache)
    hit = load(folder, slide, cache)
    assert miss.tobytes() == hit.tobytes() == load(folder, slide).tobytes()
    assert len(list(cache.glob("*.safetensors"))) == 1
    write_h5(folder / "s1.h5", VALUES * 2)
    np.testing.assert_array_equal(load(folder, slide, cache), VALUES * 2)


class Harmful:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("ending", READERS)
def test_nothing_in_a_file_is_executed(tmp_path, slide, ending):
    harmful = Harmful(tmp_path / "ran")
    path = tmp_path / f"s1{ending}"
    if ending in (".npy", ".npz"):
        with path.open("wb") as file:
            (np.save if ending == ".npy" else np.savez)(file, np.array([harmful], dtype=object), allow_pickle=True)
    elif ending == ".pt":
        torch.save({"features": harmful}, path)
    else:
        path.write_bytes(pickle.dumps(harmful))
    with pytest.raises(DataError, match=f"s1{ending}: expected"):
        load(tmp_path, slide)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", [*WRITERS, *BARE])
def test_truncated_files_are_named(tmp_path, slide, name):
    path = place(tmp_path, name)
    WRITERS[name](path, VALUES, SPOTS) if name in WRITERS else BARE[name](path, VALUES)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(DataError, match="s1"):
        load(tmp_path, slide)


@pytest.mark.parametrize("values", [np.zeros((5, 2, 4)), np.zeros(5), np.zeros((5, 0)), np.array([["a"]] * 5)])
def test_other_shapes_are_refused(tmp_path, slide, values):
    np.save(tmp_path / "s1.npy", values)
    with pytest.raises(DataError, match=r"s1\.npy: expected numbers of shape \(n_spots, width\), found"):
        load(tmp_path, slide)


def test_files_without_features_and_absent_folders_say_so(tmp_path, slide):
    write_h5(tmp_path / "s1.h5", key="img")
    with pytest.raises(DataError, match=r"expected embeddings or features, it holds barcodes, coords, img"):
        load(tmp_path, slide)
    with pytest.raises(SettingError, match="expected a folder of feature files, found no folder"):
        load_encoder("precomputed", weights=tmp_path / "s1.h5")
    with pytest.raises(SettingError, match="one file of features per slide, found none; name the folder with"):
        load_encoder("precomputed")


TILE = np.arange(4, dtype=np.float32)


@pytest.mark.parametrize("ending", [".h5", ".npz", ".pt"])
def test_files_of_two_encoders_are_not_taken_for_one(tmp_path, ending):
    def write(slide, tile):
        path = tmp_path / f"{slide}{ending}"
        if ending == ".h5":
            write_h5(path)
            with h5py.File(path, "a") as file:
                file["calibration"] = tile
        elif ending == ".npz":
            np.savez(path, features=VALUES, barcodes=np.array(SPOTS), calibration=tile)
        else:
            torch.save({"features": torch.tensor(VALUES), "barcodes": SPOTS, "calibration": torch.tensor(tile)}, path)

    write("S1", TILE)
    write("S2", TILE[None] * 1.001)
    encoder = load_encoder("precomputed", weights=tmp_path)
    assert encoder.of(["S1", "S2"]).dim == 4
    write("S3", TILE[::-1].copy())
    with pytest.raises(DataError, match="more than one encoder, by their vectors of the calibration tile: S1, S3"):
        encoder.of(["S1", "S2", "S3"])
    write("S4", TILE[:3])
    with pytest.raises(DataError, match="expected calibration to be one finite vector as wide as the features, 4"):
        encoder.of(["S4"])


def test_the_tile_is_written_as_it_is_encoded(tmp_path):
    from PIL import Image

    from stbench.features.calibration import tile, write_tile

    write_tile(tmp_path / "tile.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "tile.png")), tile())
    with pytest.raises(SettingError, match=r"expected the name of a \.png"):
        write_tile(tmp_path / "tile.jpg")
