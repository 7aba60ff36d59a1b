"""However large a picture says it is, its size is read first; what is no file is not opened."""

import os
import struct
import zlib

import numpy as np
import pytest
import tifffile

from stbench.data.image import PatchSpec
from stbench.data.images import ImageFile, PatchFile
from stbench.errors import DataError, SettingError

from .layouts import picture


def huge_png(path, side=31_000):
    """Rows of one colour, which pack well; only the header is needed."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    parts = [struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return ImageFile(path)


def test_a_huge_png_is_refused_by_its_header(tmp_path):
    image = huge_png(tmp_path / "he.png")
    assert image.size() == (31_000, 31_000)
    with pytest.raises(
        DataError, match=r"of at most 6 GB, found 31000 x 31000 px, which take 7.7 GB; .*GB=8$"
    ) as error:
        image.thumbnail(10)
    assert "\n" not in str(error.value)


def test_the_limit_is_a_setting(tmp_path, monkeypatch):
    path = tmp_path / "he.tif"
    tifffile.imwrite(path, picture((300, 200)), tile=(64, 64), photometric="rgb")
    monkeypatch.setenv("STBENCH_MAX_PICTURE_GB", "0.0001")
    with pytest.raises(DataError, match=r"at most 0.0001 GB, found 300 x 200 px"):
        ImageFile(path).thumbnail(300)
    monkeypatch.setenv("STBENCH_MAX_PICTURE_GB", "1")
    assert ImageFile(path).thumbnail(300).shape == (200, 300, 3)
    for said in ("lots", "-1", "nan"):
        monkeypatch.setenv("STBENCH_MAX_PICTURE_GB", said)
        with pytest.raises(
            SettingError, match=f"STBENCH_MAX_PICTURE_GB: expected a positive number of GB, found '{said}'"
        ):
            ImageFile(path).thumbnail(300)


def test_a_tile_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "he.tif"
    tifffile.imwrite(path, picture((64, 64)), photometric="rgb", rowsperstrip=64, compression="zlib", metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as file:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            file.pages[0].tags[name].overwrite(60_000)
    with pytest.raises(DataError, match=r"60000 x 60000 px, which take 10.8 GB; store it as a tiled, pyramidal TIFF"):
        ImageFile(path).size()


def test_a_deflate_bomb_is_refused(tmp_path):
    path = tmp_path / "he.tif"
    tifffile.imwrite(path, picture((64, 64)), photometric="rgb", rowsperstrip=64, compression="zlib", metadata=None)
    bomb = zlib.compress(bytes(10**8))
    raw = path.read_bytes()
    path.write_bytes(raw + bomb)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["StripOffsets"].overwrite(len(raw))
        file.pages[0].tags["StripByteCounts"].overwrite(len(bomb))
    found = r"he\.tif: expected an intact JPEG, PNG or TIFF, found: .*INSUFFICIENT_SPACE; obtain"
    with pytest.raises(DataError, match=found):
        ImageFile(path).thumbnail(64)


def test_fewer_tiles_than_the_size_needs(tmp_path):
    path = tmp_path / "he.tif"
    tifffile.imwrite(path, picture((64, 64)), tile=(64, 64), photometric="rgb", metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as file:
        for name in ("ImageWidth", "ImageLength"):
            file.pages[0].tags[name].overwrite(60_000)
    with pytest.raises(DataError, match=r"found: 1 of 879844 segments of a page of \(60000, 60000\) px"):
        ImageFile(path).size()


@pytest.mark.parametrize(
    ("spec", "remedy"),
    [
        ({"px": 10**9}, "8192px"),
        ({"px": 99_999_999}, "8192px"),
        ({"um": 1e9}, "4096.00um"),
        ({"um": float("inf")}, "224px"),
    ],
)
def test_a_huge_patch_is_refused_in_one_line(tmp_path, spec, remedy):
    tifffile.imwrite(tmp_path / "he.tif", picture((64, 64)), photometric="rgb")
    image = ImageFile(tmp_path / "he.tif", um_per_px=0.5)
    with pytest.raises(SettingError, match=r"at most 8192 px a side, found .*; give --patch " + remedy) as error:
        image.patches(["a"], np.zeros((1, 2), np.float32), PatchSpec(**spec))
    assert "\n" not in str(error.value)


def test_pipes_and_devices_are_not_opened(tmp_path):
    pipe = tmp_path / "he.tif"
    os.mkfifo(pipe)
    device = tmp_path / "he.png"
    device.symlink_to("/dev/zero")
    for path, kind in ((pipe, "a pipe"), (device, "a device")):
        image = ImageFile(path)
        for call in (image.size, image.digest, lambda image=image: image.thumbnail(9)):
            with pytest.raises(DataError, match=f"{path.name}.* found: {kind}, no file;"):
                call()
    with pytest.raises(DataError, match=r"he\.tif: expected an intact HDF5 file .* found: a pipe, no file"):
        PatchFile(pipe).barcodes()


def test_folders_and_absent_files_say_so(tmp_path):
    for name, found in ((".", "a folder, no file; put the picture itself there"), ("gone.png", "No such file")):
        with pytest.raises(DataError, match=f"found: .*{found}"):
            ImageFile(tmp_path / name).size()


def test_memory_that_is_not_there_is_said(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "he.tif", picture((64, 64)), photometric="rgb")

    def decode(self, *args):
        raise MemoryError("Unable to allocate 9 GiB")

    monkeypatch.setattr(tifffile.TiffPage, "decode", decode)
    with pytest.raises(DataError, match="fit in memory, found: Unable to allocate 9 GiB; store it as a tiled"):
        ImageFile(tmp_path / "he.tif").thumbnail(9)
