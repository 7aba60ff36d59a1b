"""Pictures that are arrays in an HDF5 file: what they show, what is refused, and what tells one from another."""

import re

import h5py
import numpy as np
import pytest
from PIL import Image

from stbench.data.image import PatchSpec
from stbench.data.images import ImageFile
from stbench.data.stored_picture import StoredPicture
from stbench.errors import DataError

from .layouts import picture, truncate

PLACE = "uns/spatial/V1/images/hires"
SIZE = (300, 250)
LEVELS = np.resize(np.arange(256, dtype=np.uint8), (250, 300))  # every one of them


def stored(path, array, scale=1.0, **options):
    with h5py.File(path, "w") as file:
        file.create_dataset(PLACE, data=array, **options)
    return StoredPicture(path, PLACE, scale=scale)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", ["grey", "grey in a channel", "RGB", "RGBA"])
def test_pictures_of_every_type_and_colour(tmp_path, kind, channels):
    colours = picture(SIZE) if channels.startswith("RGB") else np.repeat(LEVELS[..., None], 3, axis=2)
    array = {
        "grey": LEVELS,
        "grey in a channel": LEVELS[..., None],
        "RGB": colours,
        "RGBA": np.concatenate([colours, np.full_like(colours[..., :1], 255)], axis=2),
    }[channels]
    shown = (array / 255).astype(kind) if np.issubdtype(kind, np.floating) else array.astype(kind)
    found = stored(tmp_path / "a.h5ad", shown, 0.5)
    assert found.size() == (600, 500)
    np.testing.assert_array_equal(found.thumbnail(300), colours)


def test_it_is_cut_as_a_file_of_the_same_pixels(tmp_path):
    Image.fromarray(picture(SIZE)).save(tmp_path / "a.png")
    xy = np.array([[0, 0], [301.3, 250.7], [599, 499], [700, 20]], dtype=np.float32)
    one, other = stored(tmp_path / "a.h5ad", picture(SIZE), 0.5), ImageFile(tmp_path / "a.png", scale=0.5)
    for spec in (PatchSpec(px=31), PatchSpec(px=31, out_px=40), PatchSpec(px=90, out_px=8)):
        for found, expected in zip(one.patches("abcd", xy, spec), other.patches("abcd", xy, spec), strict=True):
            np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(one.thumbnail(77), other.thumbnail(77))


def test_what_is_transparent_lies_on_white(tmp_path):
    clear = np.zeros((250, 300, 4), dtype=np.float32)
    assert (stored(tmp_path / "a.h5ad", clear).thumbnail(300) == 255).all()


def test_what_resampling_adds_is_cut_off(tmp_path):
    found = stored(tmp_path / "a.h5ad", np.array([[-0.01, 1.02, 0.5]])).thumbnail(3)
    assert found[0, :, 0].tolist() == [0, 255, 128]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (picture(SIZE) * 1.0, "expected 0 to 1 in a picture of floating type, found "),
        (np.full((250, 300), -1), "expected 0 to 255, found -1; scale it to 0-255 and store it as uint8"),
        (np.full((250, 300), 256, dtype=np.uint16), "expected 0 to 255, found 256"),
        (np.full((250, 300, 3), np.nan), "expected 0 to 1 in a picture of floating type, found nan"),
        (np.zeros((3, 250, 300)), "with 3 channels or 4, found (3, 250, 300) float64; store it as RGB of type uint8"),
        (np.zeros((2, 250, 300, 3)), "with 3 channels or 4, found (2, 250"),
        (np.zeros((0, 300, 3)), "found (0, 300, 3)"),
        (7, "found () int64"),
        (np.array([b"x"]), "found (1,) |S1"),
        (np.zeros((9, 9), dtype=complex), "found (9, 9) complex128"),
    ],
)
def test_arrays_that_are_no_picture(tmp_path, array, said):
    found = stored(tmp_path / "a.h5ad", array)
    with pytest.raises(DataError, match=rf"^picture {tmp_path}/a.h5ad, {PLACE}: .*{re.escape(said)}"):
        found.thumbnail(100)


def test_rows_that_were_never_written(tmp_path):
    with h5py.File(tmp_path / "a.h5ad", "w") as file:
        file.create_dataset(PLACE, (500, 300, 3), dtype="u1", chunks=(50, 300, 3))[:100] = 9
    with pytest.raises(DataError, match="found rows never written"):
        StoredPicture(tmp_path / "a.h5ad", PLACE).size()


def test_files_that_hold_none(tmp_path):
    path = tmp_path / "a.h5ad"
    with pytest.raises(DataError, match=r"expected an array of pixels, found: .*No such file"):
        StoredPicture(path, PLACE).size()
    with pytest.raises(DataError, match="expected a picture at"):
        StoredPicture(path, PLACE).digest()
    stored(path, picture(SIZE))
    with pytest.raises(DataError, match=r"expected an array of pixels, found: .*lowres.*; obtain the file again"):
        StoredPicture(path, "uns/spatial/V1/images/lowres").size()
    with pytest.raises(DataError, match="expected an array of pixels"):
        StoredPicture(path, "uns/spatial/V1").size()
    truncate(path)
    with pytest.raises(DataError, match="expected an array of pixels, found: "):
        StoredPicture(path, PLACE).size()


def test_a_picture_that_lies_in_another_file(tmp_path):
    stored(tmp_path / "a.h5ad", picture(SIZE))
    with h5py.File(tmp_path / "b.h5ad", "w") as file:
        file[PLACE] = h5py.ExternalLink("a.h5ad", PLACE)
    with pytest.raises(DataError, match="a link to another file at"):
        StoredPicture(tmp_path / "b.h5ad", PLACE).size()


def test_a_picture_too_large_for_memory(tmp_path, monkeypatch):
    found = stored(tmp_path / "a.h5ad", picture(SIZE))
    monkeypatch.setenv("STBENCH_MAX_PICTURE_GB", "0.0001")
    assert found.size() == SIZE
    with pytest.raises(DataError, match="found 300 x 250 px, which take"):
        found.thumbnail(10)


def test_the_digest_is_that_of_the_pixels_their_type_and_their_scale(tmp_path):
    path, array = tmp_path / "a.h5ad", picture(SIZE)
    plain = stored(path, array).digest()
    assert stored(tmp_path / "b.h5ad", array, compression="gzip").digest() == plain
    with h5py.File(path, "a") as file:
        file["obs/cluster"] = np.arange(5)
    assert StoredPicture(path, PLACE).digest() == plain
    other = array.copy()
    other[3, 4, 1] ^= 1
    found = {plain, StoredPicture(path, PLACE, scale=0.5).digest()}
    found |= {stored(tmp_path / "c.h5ad", one).digest() for one in (other, array.astype(np.int16), array[:200])}
    assert len(found) == 5


def test_it_is_decoded_once_in_a_block_that_holds_it(tmp_path, monkeypatch):
    one = stored(tmp_path / "a.h5ad", picture(SIZE))
    with h5py.File(tmp_path / "a.h5ad", "a") as file:
        file["lowres"] = LEVELS
    other = StoredPicture(tmp_path / "a.h5ad", "lowres")
    read, get = [], h5py.Dataset.__getitem__
    monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda array, *args: read.append(array.name) or get(array, *args))
    with one.held(), StoredPicture(one.path, PLACE).held():
        for image in (one, StoredPicture(one.path, PLACE)):
            np.testing.assert_array_equal(image.thumbnail(300), picture(SIZE))
        np.testing.assert_array_equal(other.thumbnail(300)[..., 0], LEVELS)
    assert sorted(read) == ["/lowres", f"/{PLACE}"]
