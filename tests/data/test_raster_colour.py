"""A TIFF is shown as a viewer shows it, or refused by the name of what is not read."""

import hashlib
import io
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from stbench.data.image import PatchSpec
from stbench.data.images import ImageFile
from stbench.errors import DataError

from .layouts import picture

PIXELS = picture((96, 80))
SMOOTH = np.asarray(Image.fromarray(picture((6, 5))).resize((96, 80), Image.Resampling.BICUBIC))
TILES = {"tile": (32, 32), "compression": "zlib"}


def shown(path):
    """The picture as features see it: every pixel, through regions that cross segments."""
    xy = np.array([[48, 40]], dtype=np.float32)
    patch = next(ImageFile(path).patches(["a"], xy, PatchSpec(px=96)))[8:88]
    np.testing.assert_array_equal(patch, ImageFile(path).thumbnail(999))
    return patch


def by_pillow(path):
    """Another decoder's view."""
    with Image.open(path) as file:
        return np.asarray(file.convert("RGB"))


def refused(path, match):
    with pytest.raises(DataError, match=match) as error:
        shown(path)
    message = str(error.value)
    assert message.startswith(f"picture {path}: expected ")
    assert "\n" not in message
    assert "obtain the file again" not in message
    return message


@pytest.fixture
def path(tmp_path):
    return tmp_path / "he.tif"


@pytest.mark.parametrize("codec", ["raw", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits", "zstd"])
@pytest.mark.parametrize("mode", ["RGB", "CMYK", "P", "YCbCr", "L"])
def test_colours_are_those_of_another_decoder(path, mode, codec):
    source = Image.fromarray(PIXELS)
    source = source.quantize(200) if mode == "P" else source.convert(mode)
    source.save(path, compression=codec)
    rounding = 1 if mode == "YCbCr" else 0
    assert np.abs(shown(path).astype(int) - by_pillow(path)).max() <= rounding


@pytest.mark.parametrize("codec", ["lzw", "zstd", "zlib", "packbits", "lzma", "webp", "jpeg2000", "jpegxl", None])
def test_codecs_of_tiled_files(path, codec):
    options = {"compressionargs": {"lossless": True}} if codec in ("webp", "jpegxl") else {}
    tifffile.imwrite(path, PIXELS, photometric="rgb", tile=(32, 32), compression=codec, **options)
    np.testing.assert_array_equal(shown(path), PIXELS)


def test_jpeg_tiles_of_a_library_that_writes_them(path):
    tifffile.imwrite(path, SMOOTH, photometric="rgb", tile=(32, 32), compression="jpeg", compressionargs={"level": 95})
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].photometric == 6
    assert np.abs(shown(path).astype(int) - SMOOTH).mean() < 3


def test_planes_kept_apart(path):
    for options in (TILES, {"rowsperstrip": 7}):
        tifffile.imwrite(path, np.moveaxis(PIXELS, -1, 0), photometric="rgb", planarconfig="separate", **options)
        np.testing.assert_array_equal(shown(path), PIXELS)


def test_white_as_zero_is_turned_round(path):
    tifffile.imwrite(path, 255 - PIXELS[..., 0], photometric="miniswhite", **TILES)
    np.testing.assert_array_equal(shown(path)[..., 2], PIXELS[..., 0])


def test_ycbcr_without_jpeg(path):
    stored = np.asarray(Image.fromarray(PIXELS).convert("YCbCr"))
    tifffile.imwrite(path, stored, photometric="ycbcr", subsampling=(1, 1), **TILES)
    assert np.abs(shown(path).astype(int) - PIXELS).max() <= 3


@pytest.mark.parametrize(("bits", "factor"), [(8, 257), (8, 256), (8, 1), (4, 257)])
def test_palettes_of_all_writers(path, bits, factor):
    table = np.random.default_rng(1).integers(0, 256, (3, 2**bits))
    index = np.random.default_rng(2).integers(0, 2**bits, (80, 96), dtype=np.uint8)
    stored = index if bits == 8 else (index[:, ::2] << 4) + index[:, 1::2]
    tifffile.imwrite(path, stored, photometric="minisblack")
    set_tags(path, PhotometricInterpretation=3, BitsPerSample=bits, ImageWidth=96)
    add_tag(path, 320, 3, (table * factor).astype("<u2"))
    np.testing.assert_array_equal(shown(path), table.T[index])


def set_tags(path, **values):
    with tifffile.TiffFile(path, mode="r+b") as file:
        for name, value in values.items():
            file.pages[0].tags[name].overwrite(value)


def add_tag(path, code, kind, values):
    """Append one more tag to the only directory of a little-endian file."""
    raw = bytearray(path.read_bytes())
    start = int.from_bytes(raw[4:8], "little")
    count = int.from_bytes(raw[start : start + 2], "little")
    tags = [bytes(raw[start + 2 + 12 * i : start + 14 + 12 * i]) for i in range(count)]
    place = len(raw)
    size = (values.size // (2 if kind == 5 else 1)).to_bytes(4, "little")
    data = values.tobytes()
    if len(data) > 4:
        raw += data
        tags.append(code.to_bytes(2, "little") + kind.to_bytes(2, "little") + size + place.to_bytes(4, "little"))
    else:
        tags.append(code.to_bytes(2, "little") + kind.to_bytes(2, "little") + size + data.ljust(4, b"\0"))
    tags.sort(key=lambda tag: int.from_bytes(tag[:2], "little"))
    raw[4:8] = len(raw).to_bytes(4, "little")
    raw += len(tags).to_bytes(2, "little") + b"".join(tags) + bytes(4)
    path.write_bytes(raw)


def test_transparency_shows_white(path):
    alpha = np.random.default_rng(3).integers(0, 256, PIXELS.shape[:2], dtype=np.uint8)
    share = alpha[..., None] / 255
    expected = PIXELS * share + 255 * (1 - share)
    tifffile.imwrite(path, np.dstack([PIXELS, alpha]), photometric="rgb", extrasamples=["unassalpha"], **TILES)
    assert np.abs(shown(path) - expected).max() <= 1
    premultiplied = np.rint(PIXELS * share).astype(np.uint8)
    tifffile.imwrite(path, np.dstack([premultiplied, alpha]), photometric="rgb", extrasamples=["assocalpha"], **TILES)
    assert np.abs(shown(path) - expected).max() <= 1
    grey = np.dstack([PIXELS[..., 0], alpha])
    tifffile.imwrite(path, grey, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"], **TILES)
    assert np.abs(shown(path)[..., 1] - expected[..., 0]).max() <= 1


def test_a_sample_that_means_nothing_is_passed_over(path):
    stored = np.dstack([PIXELS, PIXELS[..., 0]])
    tifffile.imwrite(path, stored, photometric="rgb", extrasamples=["unspecified"], **TILES)
    np.testing.assert_array_equal(shown(path), PIXELS)


@pytest.mark.parametrize(
    ("stored", "photometric", "named"),
    [
        (PIXELS.astype(np.uint16) * 257, "rgb", r"8-bit samples, found 3 x 16 bit \(uint16\); scale them"),
        (PIXELS.astype(np.float32) / 255, "rgb", r"found 3 x 32 bit \(float32\)"),
        (PIXELS.astype(np.int8), "rgb", r"found 3 x 8 bit \(int8\)"),
        (PIXELS[..., 0] > 99, "minisblack", r"found 1 x 1 bit"),
        (PIXELS, "cielab", r"found CIE L\*a\*b\*, 3 x uint8"),
        (PIXELS, "icclab", r"found ICC L\*a\*b\*"),
    ],
)
def test_what_is_not_read_is_named(path, stored, photometric, named):
    tifffile.imwrite(path, stored, photometric=photometric)
    assert refused(path, named).endswith("save it as 8-bit RGB in a TIFF, JPEG or PNG")


def test_channels_that_are_no_colours_are_named(path):
    four = np.random.default_rng(0).integers(0, 255, (80, 96, 4), dtype=np.uint8)
    tifffile.imwrite(path, four, photometric="minisblack", planarconfig="contig")
    refused(path, "found grey, 4 x uint8")
    tifffile.imwrite(path, four, photometric="separated")
    set_tags(path, SamplesPerPixel=4)
    add_tag(path, 332, 3, np.array([2], dtype="<u2"))
    refused(path, r"CMYK \(separated colours\), 4 x uint8 of inks other than CMYK")


def test_ycbcr_at_another_range_or_resolution_is_named(path):
    stored = np.asarray(Image.fromarray(PIXELS).convert("YCbCr"))
    tifffile.imwrite(path, stored, photometric="ycbcr", subsampling=(1, 1))
    set_tags(path, ReferenceBlackWhite=(16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1))
    refused(path, "found YCbCr, 3 x uint8 in another range than 0-255")
    tifffile.imwrite(path, stored, photometric="ycbcr", subsampling=(1, 1))
    add_tag(path, 529, 5, np.array([2126, 10000, 7152, 10000, 722, 10000], dtype="<u4"))
    refused(path, "coefficients other than those of Rec. 601")
    tifffile.imwrite(path, stored, photometric="ycbcr", subsampling=(1, 1))
    set_tags(path, YCbCrSubSampling=(2, 2))
    refused(path, "colours at a lower resolution and not in JPEG")


def test_codecs_that_are_not_read_are_named(path):
    tifffile.imwrite(path, PIXELS, photometric="rgb")
    for number, name in ((6, "OJPEG"), (34661, "JBIG"), (33003, "APERIO_JP2000_YCBC"), (34887, "LERC"), (34933, "PNG")):
        set_tags(path, Compression=number)
        assert "save it with LZW" in refused(path, rf"found compression {number} \({name}\)")


def test_cmyk_in_jpeg_is_named(path):
    tifffile.imwrite(path, np.dstack([PIXELS, PIXELS[..., 0]]), photometric="separated", tile=(32, 32))
    set_tags(path, Compression=7)
    refused(path, r"CMYK \(separated colours\), 4 x uint8 in JPEG")


def test_a_codec_without_its_library_says_what_to_install(path, monkeypatch):
    tifffile.imwrite(path, PIXELS, photometric="rgb", compression="lzw")

    def decode(self, *args):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, "decode", decode)
    with pytest.raises(DataError, match="requires the 'imagecodecs' package; pip install imagecodecs"):
        shown(path)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_pictures_that_viewers_turn_are_refused(tmp_path, path, orientation):
    tifffile.imwrite(path, PIXELS, photometric="rgb")
    add_tag(path, 274, 3, np.array([orientation], dtype="<u2"))
    refused(path, f"stored upright, found orientation {orientation}")
    exif = Image.Exif()
    exif[274] = orientation
    for name in ("he.jpg", "he.png"):
        Image.fromarray(PIXELS).save(tmp_path / name, exif=exif)
        refused(tmp_path / name, f"stored upright, found orientation {orientation}")
    exif[274] = 1
    Image.fromarray(PIXELS).save(tmp_path / "up.png", exif=exif)
    np.testing.assert_array_equal(shown(tmp_path / "up.png"), PIXELS)


def ome(path, stored, **metadata):
    tifffile.imwrite(path, stored, photometric="minisblack", ome=True, metadata={"axes": "CYX", **metadata}, **TILES)


def test_three_greyscale_pages_of_one_ome_picture_are_its_colours(path):
    planes = np.moveaxis(PIXELS, -1, 0)
    ome(path, planes)
    np.testing.assert_array_equal(shown(path), PIXELS)
    ome(path, planes, Channel={"Name": ["Red", "green", "B"]})
    np.testing.assert_array_equal(shown(path), PIXELS)


def test_reduced_copies_of_greyscale_pages_are_joined_as_well(path):
    planes = np.moveaxis(PIXELS, -1, 0)
    with tifffile.TiffWriter(path, ome=True) as file:
        options = {"photometric": "minisblack", "tile": (16, 16)}
        file.write(planes, subifds=1, metadata={"axes": "CYX"}, **options)
        file.write(np.full((3, 40, 48), [[[10]], [[20]], [[30]]], dtype=np.uint8), subfiletype=1, **options)
    assert ImageFile(path).thumbnail(40)[0, 0].tolist() == [10, 20, 30]
    assert ImageFile(path).size() == (96, 80)


def test_channels_that_are_stains_or_slices_are_named(path):
    planes = np.moveaxis(PIXELS, -1, 0)
    ome(path, planes, Channel={"Name": ["DAPI", "FITC", "Cy5"]})
    refused(path, r"three greyscale channels: DAPI \(#ffffff\), FITC")
    ome(path, planes, Channel={"Color": [65535, 16711935, -16776961]})
    refused(path, r"three greyscale channels: unnamed \(#0000ff\)")
    ome(path, planes[:2])
    refused(path, r"2 greyscale pages of one size \(axes C\)")
    tifffile.imwrite(path, planes, photometric="minisblack", ome=True, metadata={"axes": "ZYX"})
    refused(path, r"3 greyscale pages of one size \(axes Z\)")
    tifffile.imwrite(path, planes, photometric="minisblack", imagej=True, metadata={"axes": "CYX"})
    refused(path, r"3 greyscale pages of one size \(axes C\)")


def test_the_picture_behind_a_reduced_copy_of_it(path):
    with tifffile.TiffWriter(path) as file:
        file.write(PIXELS[::4, ::4], photometric="rgb")
        file.write(PIXELS, photometric="rgb", **TILES)
    np.testing.assert_array_equal(shown(path), PIXELS)
    with tifffile.TiffWriter(path) as file:
        file.write(PIXELS[:20], photometric="rgb")
        file.write(PIXELS, photometric="rgb")
    refused(path, r"the slide on the first page, found \(96, 20\) px there and \(96, 80\) px on a later one")


def plain_digest(path):
    """As of pictures whose colours were always shown right."""
    return hashlib.sha256(f"{hashlib.sha256(path.read_bytes()).hexdigest()} 1.0".encode()).hexdigest()


def test_pictures_that_were_shown_right_keep_their_digest(tmp_path, path):
    Image.fromarray(PIXELS).save(tmp_path / "he.png")
    assert ImageFile(tmp_path / "he.png").digest() == plain_digest(tmp_path / "he.png")
    opaque = np.dstack([PIXELS, np.full_like(PIXELS[..., 0], 255)])
    for stored, photometric in ((PIXELS, "rgb"), (PIXELS[..., 0], "minisblack"), (opaque, "rgb")):
        tifffile.imwrite(path, stored, photometric=photometric, **TILES)
        assert ImageFile(path).digest() == plain_digest(path)


def test_pictures_that_were_shown_wrong_get_another_digest(path):
    Image.fromarray(PIXELS).convert("CMYK").save(path)
    assert ImageFile(path).digest() != plain_digest(path)
    clear = np.dstack([PIXELS, np.full_like(PIXELS[..., 0], 255)])
    clear[70, 90, 3] = 0
    tifffile.imwrite(path, clear, photometric="rgb", extrasamples=["unassalpha"], **TILES)
    assert ImageFile(path).digest() != plain_digest(path)
    ome(path, np.moveaxis(PIXELS, -1, 0))
    assert ImageFile(path).digest() != plain_digest(path)


def test_a_last_strip_that_was_filled_up(path):
    tifffile.imwrite(path, PIXELS, photometric="rgb", rowsperstrip=48, compression="zlib", predictor=False)
    filled = zlib.compress(np.concatenate([PIXELS[48:], PIXELS[:16]]).tobytes())
    with tifffile.TiffFile(path) as file:
        first = file.pages[0].dataoffsets[0]
        lengths = file.pages[0].databytecounts
    raw = path.read_bytes()
    path.write_bytes(raw + filled)
    set_tags(path, StripOffsets=(first, len(raw)), StripByteCounts=(lengths[0], len(filled)))
    np.testing.assert_array_equal(shown(path), PIXELS)


def test_one_transparent_colour_of_a_png(tmp_path):
    stored = PIXELS.copy()
    stored[:10] = (1, 2, 3)
    Image.fromarray(stored).save(tmp_path / "he.png", transparency=(1, 2, 3))
    assert (shown(tmp_path / "he.png")[:10] == 255).all()
    np.testing.assert_array_equal(shown(tmp_path / "he.png")[10:], PIXELS[10:])
    assert ImageFile(tmp_path / "he.png").digest() != plain_digest(tmp_path / "he.png")


def test_other_formats_are_named(tmp_path):
    for name, kind in (("GIF", "gif"), ("BMP", "bmp"), ("WebP", "webp")):
        stream = io.BytesIO()
        Image.fromarray(PIXELS).save(stream, kind)
        (tmp_path / "he.png").write_bytes(stream.getvalue())
        refused(tmp_path / "he.png", f"JPEG, PNG or TIFF, found {name}; save it as")
    (tmp_path / "he.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    refused(tmp_path / "he.png", "found a pointer of Git LFS; type git lfs pull there")
