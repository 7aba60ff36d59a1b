"""Slides in the formats of scanners, which OpenSlide reads: pixels, sizes, other files of theirs."""

import os
import sys

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from stbench.data.image import PatchSpec
from stbench.data.images import ImageFile
from stbench.data.pixel_size import said_um_per_px
from stbench.data.raster import open_raster
from stbench.data.raster.endings import parts, pictures_in
from stbench.data.raster.openslide import Slide, knows
from stbench.data.raster.tiff import Tiff
from stbench.errors import DataError

from .layouts import picture
from .scanned import SMOOTH, UM, write_mirax, write_vms

JPEG_LEVELS = 6  # by which a pixel may differ after JPEG
WRITERS = [(write_vms, "a.vms"), (write_mirax, "a.mrxs")]


@pytest.fixture(params=WRITERS, ids=["vms", "mirax"])
def slide(request, tmp_path):
    write, name = request.param
    return write(tmp_path / name)


def cut(path, xy, **spec):
    (found,) = ImageFile(path, UM).patches(["s"], np.array([xy], dtype=np.float32), PatchSpec(**spec))
    return found


def test_a_slide_is_read_where_it_lies(slide):
    assert ImageFile(slide).size() == (512, 384)
    assert said_um_per_px(slide) == pytest.approx(UM)
    found = cut(slide, (200, 150), um=25)
    assert found.shape == (100, 100, 3)
    assert np.abs(found.astype(int) - SMOOTH[100:200, 150:250]).max() <= JPEG_LEVELS
    assert (cut(slide, (0, 0), px=40)[:20] == 255).all()
    means = SMOOTH.reshape(48, 8, 64, 8, 3).mean(axis=(1, 3))
    assert np.abs(ImageFile(slide).thumbnail(64) - means).mean() < JPEG_LEVELS


def test_what_was_not_scanned_is_white_and_nothing_moves(tmp_path):
    path = write_mirax(tmp_path / "a.mrxs", left_out=(0, 1, 4))
    assert ImageFile(path).size() == (512, 384)
    assert (cut(path, (64, 64), px=100) == 255).all()
    found = cut(path, (320, 192), px=100)
    assert np.abs(found.astype(int) - SMOOTH[142:242, 270:370]).max() <= JPEG_LEVELS


def test_two_readers_of_one_tiff_agree(tmp_path):
    path, pixels = tmp_path / "a.tif", picture((600, 400))
    with tifffile.TiffWriter(path) as file:
        for level in range(2):
            reduced = pixels[:: level + 1, :: level + 1]
            file.write(reduced, tile=(64, 64), photometric="rgb", compression="deflate", subfiletype=int(level > 0))
    with Tiff(path) as ours, Slide(path) as theirs:
        for own, other, size, box in zip(
            ours.levels, theirs.levels, [(600, 400), (300, 200)], [(30, 50, 301, 207), (15, 20, 100, 90)], strict=True
        ):
            assert own.size == other.size == size
            np.testing.assert_array_equal(own.region(*box), other.region(*box))
        np.testing.assert_array_equal(theirs.coarse(300), pixels[::2, ::2])
        np.testing.assert_array_equal(theirs.coarse(9999), pixels)
    assert not knows(path)


def write_aperio(path, compression):
    """Tiles in JPEG 2000 as Aperio stores them: of YCbCr under a number that TIFF readers do not know, or of RGB."""
    pixels = SMOOTH if compression == 33005 else np.asarray(Image.fromarray(SMOOTH).convert("YCbCr"))
    tiles = (pixels[y : y + 128, x : x + 128] for y in range(0, 384, 128) for x in range(0, 512, 128))
    coded = (
        imagecodecs.jpeg2k_encode(np.ascontiguousarray(tile), level=0, codecformat="J2K", mct=False) for tile in tiles
    )
    said = {"description": "Aperio Image Library v1\r\n512x384 |MPP = 0.2500", "photometric": "rgb", "metadata": None}
    tifffile.imwrite(path, coded, shape=SMOOTH.shape, dtype="u1", tile=(128, 128), compression=compression, **said)
    return path


@pytest.mark.parametrize(("compression", "reader", "differs"), [(33003, Slide, 3), (33005, Tiff, 0)])
def test_openslide_reads_what_a_scanner_wrote_and_we_do_not(tmp_path, monkeypatch, compression, reader, differs):
    path = write_aperio(tmp_path / "a.svs", compression)
    with open_raster(path) as raster:
        assert type(raster) is reader
        assert np.abs(raster.region(0, 0, 512, 384).astype(int) - SMOOTH).max() <= differs
    assert said_um_per_px(path) == UM
    monkeypatch.setitem(sys.modules, "openslide", None)
    if reader is Slide:
        with pytest.raises(DataError, match=r"found compression 33003 .* save it with LZW"):
            ImageFile(path).size()


def test_the_digest_is_that_of_all_files_whatever_the_slide_is_called(slide, tmp_path):
    first = ImageFile(slide).digest()
    place = tmp_path / "elsewhere"
    place.mkdir()
    for path in (slide, *(one for one in tmp_path.iterdir() if one not in (slide, place))):
        path.rename(
            place / path.name.replace("a", "z") if path.suffix == slide.suffix or path.is_dir() else place / path.name
        )
    (moved,) = pictures_in(place)
    assert ImageFile(moved).digest() == first
    largest = max(parts(moved), key=lambda part: part.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    assert ImageFile(moved).digest() != first


def test_parts_of_a_slide_are_no_pictures_of_their_own(tmp_path):
    write_vms(tmp_path / "a.vms")
    for name in ("b.png", ".c.png", "d.dcm", "e.txt", "F.NDPI"):
        (tmp_path / name).touch()
    assert [path.name for path in pictures_in(tmp_path)] == ["F.NDPI", "a.vms", "b.png"]
    assert [path.name for path in parts(tmp_path / "a.vms")] == ["map.jpg", "pixels.jpg"]
    os.mkfifo(tmp_path / "pipe.vms")  # opening it would wait forever
    assert tmp_path / "pipe.vms" in pictures_in(tmp_path)


def test_names_in_an_index_lead_nowhere_else(tmp_path):
    (tmp_path / "x.jpg").touch()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.vms").write_text(
        f"[x]\nImageFile=../x.jpg\nMapFile=\nImageFile(1,0)=..\nFile={'x' * 999}\n{'File' * 99999}"
    )
    assert parts(tmp_path / "in" / "a.vms") == []


def test_without_openslide_one_line_says_what_to_install(slide, monkeypatch):
    monkeypatch.setitem(sys.modules, "openslide", None)
    for ask in (said_um_per_px, lambda path: ImageFile(path).size()):
        with pytest.raises(
            DataError,
            match=r"expected OpenSlide for a slide in \.(vms|mrxs), found none; pip install 'stbench\[wsi\]'$",
        ):
            ask(slide)


def test_a_slide_without_its_pixels_is_one_line(tmp_path):
    path = write_mirax(tmp_path / "a.mrxs")
    path.with_suffix("").rename(tmp_path / "b")
    with pytest.raises(
        DataError, match=r"a\.mrxs: expected the folder a of its pixels beside it, found none; put it into"
    ):
        ImageFile(path).size()


@pytest.mark.parametrize("name", ["a.ndpi", "a.scn", "a.svslide", "a.dcm", "a.bif", "a.czi", "a.vms"])
def test_damaged_slides_are_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"half of a slide")
    with pytest.raises(
        DataError, match=r"expected an intact slide that OpenSlide reads, found: .*; obtain the file again"
    ):
        ImageFile(tmp_path / name).size()


def test_a_slide_cut_off_is_one_line(tmp_path):
    path = write_mirax(tmp_path / "a.mrxs")
    data = tmp_path / "a" / "Data0000.dat"
    data.write_bytes(data.read_bytes()[:5000])
    with pytest.raises(DataError, match="expected an intact slide that OpenSlide reads, found: "):
        cut(path, (300, 300), px=100)


def test_pixels_must_be_square(tmp_path):
    assert said_um_per_px(write_vms(tmp_path / "a.vms", um=(0.25, 0.252))) == pytest.approx(0.251)
    with pytest.raises(
        DataError, match=r"found 0\.25 x 0\.3 um; .*or with stbench predict say one size .*: --um-per-px 0\.275"
    ):
        said_um_per_px(write_vms(tmp_path / "a.vms", um=(0.25, 0.3)))


def test_a_slide_is_opened_once_for_all_its_patches(slide):
    with open_raster(slide) as raster:
        assert isinstance(raster, Slide)
        assert not raster.mended
