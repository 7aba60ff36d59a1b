"""Pictures whose data end before they do: decoders fill up the rest in silence."""

import io
import struct
import zlib

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from stbench.data.audit import audit
from stbench.data.image import PatchSpec
from stbench.data.images import ImageFile, PatchFile
from stbench.data.opening import open_folder
from stbench.data.raster.ends import jpeg_ends_early
from stbench.errors import DataError

from .layouts import SIZE, hest_adata, picture, write_her2st, write_patches

PIXELS = picture((120, 90))
SMOOTH = np.asarray(Image.fromarray(picture((8, 6))).resize((120, 90), Image.Resampling.BICUBIC))
END = b"\xff\xd9"


def jpeg(pixels, **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "jpeg", **options)
    return stream.getvalue()


def cut_off(data, share):
    """Without the last part of its scan, with an end marker all the same."""
    start = data.rindex(b"\xff\xda")
    return data[: start + 14 + int((len(data) - start - 16) * share)].rstrip(b"\xff") + END


def png(rows, height, pixels=PIXELS, interlaced=False, kind=2):
    """A PNG that says it is ``height`` rows high and holds ``rows``."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    raw = b"".join(b"\0" + row.tobytes() for row in pixels[:rows])
    head = struct.pack(">IIBBBBB", pixels.shape[1], height, 8, kind, 0, 0, int(interlaced))
    middle = zlib.compress(raw)
    halves = chunk(b"IDAT", middle[: len(middle) // 2]) + chunk(b"IDAT", middle[len(middle) // 2 :])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + halves + chunk(b"IEND", b"")


MODES = [
    {},
    {"quality": 95, "subsampling": 0},
    {"progressive": True},
    {"optimize": True},
    {"restart_marker_blocks": 3},
    {"comment": b"\xff\xd9 an end that is none"},
]


@pytest.mark.parametrize("options", MODES)
@pytest.mark.parametrize("pixels", [PIXELS, SMOOTH, PIXELS[..., 0], np.full_like(PIXELS, 255)])
def test_whole_jpegs_are_known(options, pixels):
    assert not jpeg_ends_early(jpeg(pixels, **options))
    assert not jpeg_ends_early(jpeg(pixels, **options) + b"something behind the end" + END)


@pytest.mark.parametrize("options", MODES[:-1])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_jpegs_that_end_early_are_known(options, share):
    for pixels in (PIXELS, SMOOTH, PIXELS[..., 0]):
        assert jpeg_ends_early(cut_off(jpeg(pixels, **options), share))


def test_half_a_jpeg_with_an_end_marker(tmp_path):
    path = tmp_path / "he.jpg"
    path.write_bytes(cut_off(jpeg(PIXELS), 0.5))
    with Image.open(path) as file:
        file.load()  # without a word
    with pytest.raises(DataError, match=r"he\.jpg: expected an intact JPEG.*end early.*obtain the file again"):
        ImageFile(path).thumbnail(20)
    path.write_bytes(jpeg(PIXELS))
    assert ImageFile(path).thumbnail(20).shape == (15, 20, 3)


@pytest.mark.parametrize("rows", [0, 1, 89])
def test_a_png_with_fewer_rows_than_it_says(tmp_path, rows):
    path = tmp_path / "he.png"
    path.write_bytes(png(rows, 90))
    with pytest.raises(DataError, match=r"he\.png: expected an intact JPEG, PNG or TIFF, found"):
        ImageFile(path).thumbnail(20)


def test_whole_pngs_of_all_kinds(tmp_path):
    path = tmp_path / "he.png"
    path.write_bytes(png(90, 90))
    np.testing.assert_array_equal(ImageFile(path).thumbnail(999), PIXELS)
    for mode in ("1", "L", "LA", "P", "RGBA"):
        Image.fromarray(PIXELS).convert(mode).save(path)
        assert ImageFile(path).thumbnail(999).shape == (90, 120, 3)
    path.write_bytes(interlaced(PIXELS))
    np.testing.assert_array_equal(ImageFile(path).thumbnail(999), PIXELS)
    path.write_bytes(interlaced(PIXELS, passes=6))
    with pytest.raises(DataError, match="end early"):
        ImageFile(path).thumbnail(999)


def interlaced(pixels, passes=7):
    steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = [b"\0" + row.tobytes() for x, y, dx, dy in steps[:passes] for row in pixels[y::dy, x::dx]]
    whole = png(90, 90, interlaced=True)
    data = zlib.compress(b"".join(rows))
    start = whole.index(b"IDAT") - 4
    chunk = struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data))
    return whole[:start] + chunk + whole[-12:]


def test_the_audit_goes_on_to_the_other_slides(tmp_path):
    for section, patient in (("A1", "A"), ("B1", "B")):
        write_her2st(tmp_path, section, seed=ord(patient))
    path = tmp_path / "data/ST-imgs/A/A1/he.png"
    path.write_bytes(png(1, SIZE[1], picture()))
    report = audit(open_folder(tmp_path))
    failed = [row for row in report.rows if row.verdict == "FAIL"]
    assert [row.check for row in failed] == ["slide A1"]
    assert "end early" in failed[0].detail
    assert report.failed


def tiles(path, pixels, *, compression="zlib", **options):
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(32, 32), compression=compression, **options)
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        return page.dataoffsets, page.databytecounts


def whole(path):
    return next(ImageFile(path).patches(["a"], np.array([[60, 45]], dtype=np.float32), PatchSpec(px=90)))


def test_tiles_that_end_early(tmp_path):
    path = tmp_path / "he.tif"
    offsets, counts = tiles(path, PIXELS)
    raw = bytearray(path.read_bytes())
    raw[offsets[5] : offsets[5] + counts[5]] = zlib.compress(PIXELS[:9].tobytes()[:900]).ljust(counts[5], b"\0")
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"he\.tif: expected an intact JPEG, PNG or TIFF, found: .*obtain"):
        whole(path)


@pytest.mark.parametrize("rows", [{"tile": (32, 32)}, {"rowsperstrip": 40}])
def test_deflate_that_was_zeroed_is_not_taken_for_a_strip_that_was_filled_up(tmp_path, rows):
    path = tmp_path / "he.tif"
    tifffile.imwrite(path, SMOOTH, photometric="rgb", compression="zlib", **rows)
    with tifffile.TiffFile(path) as file:
        offset, count = file.pages[0].dataoffsets[-1], file.pages[0].databytecounts[-1]
    raw = bytearray(path.read_bytes())
    raw[offset + count // 2 : offset + count] = bytes(count - count // 2)
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"he\.tif: expected an intact JPEG, PNG or TIFF, found"):
        ImageFile(path).thumbnail(999)


def test_jpeg_tiles_that_end_early(tmp_path):
    path = tmp_path / "he.tif"
    offsets, counts = tiles(path, SMOOTH, compression="jpeg")
    whole(path)
    raw = bytearray(path.read_bytes())
    tile = bytes(raw[offsets[5] : offsets[5] + counts[5]])
    raw[offsets[5] : offsets[5] + counts[5]] = cut_off(tile, 0.3).ljust(counts[5], b"\0")
    path.write_bytes(raw)
    with pytest.raises(DataError, match="segment 5 ends early; obtain the file again"):
        whole(path)


def test_a_tiff_whose_last_tiles_are_gone_is_known_before_they_are_read(tmp_path):
    path = tmp_path / "he.tif"
    offsets, counts = tiles(path, PIXELS, metadata=None)
    raw = path.read_bytes()
    moved = raw.replace(struct.pack("<I", offsets[-1]), struct.pack("<I", len(raw) - counts[-1] + 1))
    path.write_bytes(moved)
    with pytest.raises(DataError, match=r"the file ends within segment 11 of 12; obtain"):
        ImageFile(path).size()


def test_a_tiff_without_its_directory(tmp_path):
    path = tmp_path / "he.tif"
    Image.fromarray(PIXELS).save(path, compression="tiff_lzw")  # the directory stands at the end
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match="found: no picture in it, or the end of the file is gone; obtain"):
        ImageFile(path).size()


@pytest.mark.parametrize("chunks", [(1, 8, 8, 3), None])
def test_stored_patches_that_were_never_written(tmp_path, chunks):
    path = tmp_path / "S1.h5"
    write_patches(path, hest_adata(), [4, 0, 2])
    with h5py.File(path, "a") as file:
        del file["img"]
        img = file.create_dataset("img", (3, 8, 8, 3), "u1", chunks=chunks)
        if chunks:
            img[:2] = 0
    with pytest.raises(DataError, match=r"S1\.h5: expected a picture in every row of img, found rows never written"):
        PatchFile(path).barcodes()
    with h5py.File(path, "a") as file:
        file["img"][:] = 0
    assert len(PatchFile(path).barcodes()) == 3


@pytest.mark.real
def test_whole_pictures_of_the_study_are_known(real_data):
    picture = sorted(real_data.glob("her2st/data/ST-imgs/*/*/*.jpg"))[0]
    assert not jpeg_ends_early(picture.read_bytes())
    assert jpeg_ends_early(cut_off(picture.read_bytes(), 0.99))
