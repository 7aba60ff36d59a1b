"""Patches from whole pictures and from HEST's patch files."""

import gzip
import io

import cv2
import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from stbench.data.image import PatchSpec
from stbench.data.images import ImageFile, PatchFile
from stbench.data.opening import open_folder
from stbench.errors import DataError, SettingError

from .layouts import hest_adata, picture, truncate, write_patches

PIXELS = picture((300, 200))


def write(path, kind):
    """PIXELS in the given format."""
    if kind == "png":
        Image.fromarray(PIXELS).save(path, format="png")
    elif kind == "tiff":
        tifffile.imwrite(path, PIXELS, tile=(64, 64), photometric="rgb", compression="zlib")
    elif kind == "strips":
        tifffile.imwrite(path, PIXELS, rowsperstrip=7, photometric="rgb")
    elif kind == "bigtiff":
        tifffile.imwrite(path, PIXELS, bigtiff=True, photometric="rgb")
    return path


def cut(image, xy, **spec):
    xy = np.atleast_2d(np.array(xy, dtype=np.float32))
    return list(image.patches([f"s{i}" for i in range(len(xy))], xy, PatchSpec(**spec)))


@pytest.fixture
def image(tmp_path):
    return ImageFile(write(tmp_path / "he.png", "png"), um_per_px=2.0)


@pytest.mark.parametrize("kind", ["png", "tiff", "strips", "bigtiff"])
@pytest.mark.parametrize(("centre", "side"), [((100, 80), 20), ((100, 80), 21), ((83.6, 84.4), 130), ((150, 100), 1)])
def test_patch_is_the_exact_centre_crop(tmp_path, kind, centre, side):
    patch = cut(ImageFile(write(tmp_path / "he", kind)), centre, px=side)[0]
    left, top = (int(np.floor(c - side / 2 + 0.5)) for c in centre)
    np.testing.assert_array_equal(patch, PIXELS[top : top + side, left : left + side])


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_white_outside_the_picture(tmp_path, kind):
    patches = cut(ImageFile(write(tmp_path / "he", kind)), [(0, 0), (299, 199), (1000, -500)], px=40)
    np.testing.assert_array_equal(patches[0][20:, 20:], PIXELS[:20, :20])
    assert (patches[0][:20] == 255).all()
    assert (patches[0][:, :20] == 255).all()
    np.testing.assert_array_equal(patches[1][:21, :21], PIXELS[179:, 279:])
    assert (patches[1][21:] == 255).all()
    assert (patches[2] == 255).all()


def test_shrinking_averages_areas_and_enlarging_interpolates(image):
    raw, small, large = (cut(image, (100, 80), px=40, out_px=out)[0] for out in (None, 10, 80))
    means = raw.reshape(10, 4, 10, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - means).max() <= 0.5 + 1e-6
    np.testing.assert_array_equal(large, cv2.resize(raw, (80, 80), interpolation=cv2.INTER_LINEAR))


def test_micrometres_and_pixels_agree(image):
    np.testing.assert_array_equal(cut(image, (100, 80), um=80)[0], cut(image, (100, 80), px=40)[0])
    assert cut(image, (100, 80), um=80, out_px=224)[0].shape == (224, 224, 3)


def test_order_of_the_spots_is_kept(image):
    forth, back = cut(image, [(50, 50), (90, 70)], px=16), cut(image, [(90, 70), (50, 50)], px=16)
    np.testing.assert_array_equal(forth, back[::-1])
    assert not np.array_equal(*forth)


def test_reduced_rendering_lives_in_full_resolution_pixels(tmp_path):
    path = write(tmp_path / "low.png", "png")
    low = ImageFile(path, um_per_px=0.5, scale=0.1)
    assert low.size() == (3000, 2000)
    patch = cut(low, (1000, 800), px=200)[0]
    np.testing.assert_array_equal(patch, PIXELS[70:90, 90:110])
    np.testing.assert_array_equal(cut(low, (1000, 800), um=100)[0], patch)
    assert low.digest() != ImageFile(path, um_per_px=0.5).digest()


def test_thumbnail_averages_areas(tmp_path):
    for kind in ("png", "tiff"):
        image = ImageFile(write(tmp_path / kind, kind))
        small = image.thumbnail(60)
        assert small.shape == (40, 60, 3)
        assert np.abs(small - PIXELS.reshape(40, 5, 60, 5, 3).mean(axis=(1, 3))).max() <= 0.5 + 1e-6
        np.testing.assert_array_equal(image.thumbnail(9999), PIXELS)


def test_thumbnail_takes_the_nearest_level_of_a_pyramid(tmp_path):
    path = tmp_path / "pyramid.tif"
    with tifffile.TiffWriter(path) as file:
        for level, grey in enumerate((10, 20, 30)):
            pixels = np.full((512 >> level, 768 >> level, 3), grey, dtype=np.uint8)
            file.write(pixels, tile=(64, 64), photometric="rgb", subfiletype=int(level > 0), metadata=None)
        file.write(np.full((300, 300, 3), 99, dtype=np.uint8), photometric="rgb", metadata=None)  # a label
    image = ImageFile(path)
    assert image.size() == (768, 512)
    assert [int(image.thumbnail(px).mean()) for px in (768, 400, 384, 192, 50)] == [10, 10, 20, 30, 30]
    assert cut(image, (300, 200), px=9)[0].mean() == 10


def write_pyramid(path, levels):
    with tifffile.TiffWriter(path) as file:
        for level, pixels in enumerate(levels):
            file.write(pixels, tile=(64, 64), photometric="rgb", subfiletype=int(level > 0), metadata=None)
    return path


@pytest.mark.parametrize(("asked", "grey"), [
    ({"px": 400}, 10),
    ({"px": 399, "out_px": 100}, 10),  # shrinks by less than four
    ({"px": 400, "out_px": 100}, 30),
    ({"px": 400, "out_px": 60}, 30),
    ({"px": 403, "out_px": 100}, 30),  # 100.75 px of the coarsest, which is never enlarged
    ({"px": 406, "out_px": 101}, 30),
    ({"um": 200, "out_px": 100}, 30),
    ({"um": 60, "out_px": 60}, 10),
])  # fmt: skip
def test_patches_that_shrink_much_come_from_a_reduced_copy(tmp_path, asked, grey):
    levels = [np.full((512 >> i, 768 >> i, 3), 10 * (i + 1), dtype=np.uint8) for i in range(3)]
    image = ImageFile(write_pyramid(tmp_path / "a.tif", levels), 0.5)
    assert (cut(image, (384, 256), **asked)[0] == grey).all()
    assert (image.content(PatchSpec(**asked)) == image.content()) == (grey == 10)


def test_a_reduced_copy_shows_the_same_place(tmp_path):
    pixels = cv2.resize(picture((48, 32)), (768, 512), interpolation=cv2.INTER_CUBIC)
    levels = [cv2.resize(pixels, None, fx=1 / f, fy=1 / f, interpolation=cv2.INTER_AREA) for f in (1, 2, 4)]
    pyramid, flat = (ImageFile(write_pyramid(tmp_path / f"{n}.tif", levels[:n])) for n in (3, 1))
    for xy in ((300, 200), (301, 203), (20, 500)):
        found, exact = (cut(image, xy, px=256, out_px=32)[0].astype(int) for image in (pyramid, flat))
        moved = cut(flat, (xy[0] + 8, xy[1]), px=256, out_px=32)[0].astype(int)
        assert np.abs(found - exact).mean() < 0.2 * np.abs(moved - exact).mean()


def test_a_copy_of_other_proportions_is_not_cut_from(tmp_path):
    levels = [np.full(size, grey, dtype=np.uint8) for grey, size in ((10, (512, 768, 3)), (20, (260, 384, 3)))]
    assert (cut(ImageFile(write_pyramid(tmp_path / "a.tif", levels)), (384, 256), px=400, out_px=50)[0] == 10).all()


SMOOTH = cv2.resize(picture((4, 3)), (192, 128))


def jpeg(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=95, subsampling=0)
    return file.getvalue()


def test_jpeg_strips_that_share_tables_and_hold_rgb(tmp_path):
    path = tmp_path / "he.tif"
    Image.fromarray(SMOOTH).save(path, compression="jpeg", quality=95)
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert (page.compression, page.photometric, page.jpegtables is None) == (7, 2, False)
    shown = cut(ImageFile(path), (75, 65), px=120)[0].astype(int)
    assert np.abs(shown - SMOOTH[5:125, 15:135]).mean() < 4


def test_jpeg_tiles_that_hold_ycbcr(tmp_path):
    path = tmp_path / "he.tif"
    tiles = (jpeg(SMOOTH[y : y + 64, x : x + 64]) for y in (0, 64) for x in (0, 64, 128))
    said = {"shape": SMOOTH.shape, "dtype": np.uint8, "tile": (64, 64)}
    tifffile.imwrite(path, tiles, compression="zlib", photometric="rgb", **said)
    with tifffile.TiffFile(path, mode="r+b") as file:  # tifffile alone writes no JPEG
        file.pages[0].tags["Compression"].overwrite(7)
        file.pages[0].tags["PhotometricInterpretation"].overwrite(6)
    shown = cut(ImageFile(path), (75, 65), px=120)[0].astype(int)
    assert np.abs(shown - SMOOTH[5:125, 15:135]).mean() < 4


def test_grey_and_transparent_pictures(tmp_path):
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(
        cut(ImageFile(tmp_path / "grey.png"), (50, 50), px=4)[0][..., 2], PIXELS[48:52, 48:52, 0]
    )
    Image.fromarray(np.zeros((9, 9, 4), dtype=np.uint8)).save(tmp_path / "clear.png")
    assert (ImageFile(tmp_path / "clear.png").thumbnail(9) == 255).all()


def test_a_picture_beyond_pillows_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    image = ImageFile(write(tmp_path / "he.png", "png"))
    assert image.size() == (300, 200)
    np.testing.assert_array_equal(cut(image, (100, 80), px=20)[0], PIXELS[70:90, 90:110])
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_digest_depends_on_the_bytes(tmp_path):
    paths = [write(tmp_path / name, "png") for name in ("a.png", "b.png")]
    first = ImageFile(paths[0]).digest()
    assert ImageFile(paths[1]).digest() == first
    Image.fromarray(255 - PIXELS).save(paths[0])
    assert ImageFile(paths[0]).digest() != first


@pytest.mark.parametrize("kind", ["png", "tiff", "strips", "jpeg"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_truncated(tmp_path, kind, share):
    path = tmp_path / f"he.{kind}"
    Image.fromarray(PIXELS).save(path) if kind == "jpeg" else write(path, kind)
    truncate(path, share)
    with pytest.raises(DataError, match=r"he\.\w+: expected an intact JPEG, PNG or TIFF, found: .*obtain") as error:
        cut(ImageFile(path), [(20, 20), (280, 180)], px=30)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"GIF89a..........", b"\x89PNG\r\n\x1a\nnonsense", b"II*\0nonsense"])
def test_no_picture(tmp_path, content):
    path = tmp_path / "he.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"he\.jpg: expected an intact JPEG, PNG or TIFF, found"):
        ImageFile(path).size()


def test_missing_and_mistaken(tmp_path, image):
    for call in (ImageFile(tmp_path / "gone.png").size, ImageFile(tmp_path / "gone.png").digest):
        with pytest.raises(DataError, match=r"gone\.png"):
            call()
    with pytest.raises(DataError, match=r"pixel size to cut patches of 50"):
        cut(ImageFile(image.path), (5, 5), um=50)
    for spec in ({}, {"um": 5, "px": 5}):
        with pytest.raises(SettingError, match="give one of the two"):
            cut(image, (5, 5), **spec)
    with pytest.raises(DataError, match="positive scale"):
        ImageFile(image.path, scale=0.0)


def test_sixteen_bits_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "he.tif", PIXELS.astype(np.uint16), photometric="rgb")
    with pytest.raises(DataError, match="uint16"):
        ImageFile(tmp_path / "he.tif").size()


# Patch files. Patches are 8 px of 20 um: 160 um, or 16 full-resolution pixels of 10 um.


@pytest.fixture
def patches(tmp_path):
    write_patches(tmp_path / "S1.h5", hest_adata(), [4, 0, 2])
    return PatchFile(tmp_path / "S1.h5", um_per_px=10.0)


def test_patches_join_on_barcode(patches):
    found = list(patches.patches(["002x005", "003x005", "004x005"], np.zeros((3, 2), np.float32), PatchSpec(um=160)))
    assert [patch.mean() for patch in found] == [0, 2, 4]
    assert found[0].shape == (8, 8, 3)
    assert patches.barcodes() == ["004x005", "002x005", "003x005"]
    assert patches.size() is None


def test_patch_without_a_spot_is_named(patches):
    with pytest.raises(DataError, match=r"S1\.h5: .*none for 002x006 \(1 in all\)"):
        patches.patches(["002x005", "002x006"], np.zeros((2, 2), np.float32), PatchSpec(um=160))


def test_smaller_cut_comes_from_the_middle(tmp_path, patches):
    stored = np.random.default_rng(0).integers(0, 255, (3, 8, 8, 3), dtype=np.uint8)
    with h5py.File(patches.path, "a") as file:
        file["img"][:] = stored
    xy = np.zeros((1, 2), np.float32)
    for spec in (PatchSpec(um=80), PatchSpec(px=8)):
        np.testing.assert_array_equal(next(patches.patches(["004x005"], xy, spec)), stored[0, 2:6, 2:6])
    assert next(patches.patches(["004x005"], xy, PatchSpec(um=80, out_px=16))).shape == (16, 16, 3)
    np.testing.assert_array_equal(next(patches.patches(["004x005"], xy, PatchSpec(um=161))), stored[0])


def test_larger_cut_is_refused(patches):
    with pytest.raises(DataError, match=r"at most 160 um .*found 200 um"):
        patches.patches(["004x005"], np.zeros((1, 2), np.float32), PatchSpec(um=200))


def test_pixel_size_is_taken_from_the_file(patches):
    assert PatchFile(patches.path).um_per_px == 10.0


def test_without_attributes_patches_have_the_pixel_size_of_hest(tmp_path, patches):
    with h5py.File(patches.path, "a") as file:
        for key in ("img", "coords"):
            for name in list(file[key].attrs):
                del file[key].attrs[name]
    assert PatchFile(patches.path).um_per_px is None
    assert len(list(patches.patches(["004x005"], np.zeros((1, 2), np.float32), PatchSpec(um=4)))) == 1
    with pytest.raises(DataError, match="at most 4 um"):
        patches.patches(["004x005"], np.zeros((1, 2), np.float32), PatchSpec(um=5))


def test_damaged_patch_files(tmp_path, patches):
    with h5py.File(patches.path, "a") as file:
        file["barcode"][1] = b"004x005"
    with pytest.raises(DataError, match="row 1: expected one patch per spot, found 004x005 again"):
        patches.barcodes()
    with h5py.File(patches.path, "a") as file:
        del file["img"]
    with pytest.raises(DataError, match=r"S1\.h5: expected an intact HDF5 file.*img"):
        patches.barcodes()
    truncate(patches.path)
    with pytest.raises(DataError, match=r"S1\.h5: expected an intact HDF5 file.*truncated"):
        patches.barcodes()


def test_wrong_shapes_of_patches(patches):
    with h5py.File(patches.path, "a") as file:
        del file["coords"]
        file["coords"] = np.zeros((2, 2), dtype=np.int64)
    with pytest.raises(DataError, match="as many img as coords as barcode, found 3, 2 and 3"):
        patches.barcodes()
    with h5py.File(patches.path, "a") as file:
        del file["img"]
        file["img"] = np.zeros((3, 8, 6, 3), dtype=np.uint8)
    with pytest.raises(DataError, match=r"\(M, S, S, 3\)"):
        patches.barcodes()


def test_preview(tmp_path, patches):
    with pytest.raises(DataError, match="patches only"):
        patches.thumbnail(20)
    preview = PatchFile(patches.path, 10.0, write(tmp_path / "preview.png", "png"))
    assert preview.thumbnail(30).shape == (20, 30, 3)


def test_digest_of_a_patch_file(tmp_path, patches):
    first = patches.digest()
    with h5py.File(patches.path, "a") as file:
        file["img"][0, 0, 0, 0] = 200
    assert PatchFile(patches.path).digest() != first


@pytest.mark.real
@pytest.mark.parametrize(
    ("sample", "section", "limit"),
    [pytest.param("SPA140", "C3", 1, marks=pytest.mark.slow), ("SPA145", "B4", 1), ("SPA138", "C5", 7)],
)
def test_own_cuts_equal_hest_patches(real_data, sample, section, limit):
    """SPA138's side is even, where HEST rounds the corner down: half a pixel on average."""
    hest, own = open_folder(real_data / "hest_mini").load(sample), open_folder(real_data / "her2st").load(section)
    side = int(hest.image.attribute("patch_size_src"))
    stored = list(hest.image.patches(hest.spot_ids, hest.xy, PatchSpec(um=112)))
    cuts = list(own.image.patches(hest.spot_ids, hest.xy, PatchSpec(px=side, out_px=224)))
    assert np.mean(np.abs(np.array(stored, dtype=int) - np.array(cuts, dtype=int))) < limit
    assert np.mean(np.abs(np.array(stored, dtype=int) - np.array(cuts[1:] + cuts[:1], dtype=int))) > 20


@pytest.mark.parametrize("name", ["he.png", "he.jpg", "he.tif"])
def test_a_gzipped_picture_is_the_picture(tmp_path, name):
    plain, packed = tmp_path / name, tmp_path / f"{name}.gz"
    Image.fromarray(picture((120, 100))).save(plain)
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    one, other = ImageFile(plain, 0.5), ImageFile(packed, 0.5)
    assert (one.size(), one.digest()) == (other.size(), other.digest())
    np.testing.assert_array_equal(one.thumbnail(50), other.thumbnail(50))
    spots, xy = ["a", "b"], np.array([[20, 20], [100, 90]], dtype=np.float32)
    for patch, same in zip(
        one.patches(spots, xy, PatchSpec(px=9)), other.patches(spots, xy, PatchSpec(px=9)), strict=True
    ):
        np.testing.assert_array_equal(patch, same)
    truncate(packed, 0.5)
    for look in (other.size, other.digest, lambda: other.thumbnail(9)):
        with pytest.raises(DataError, match=r"he\.\w+\.gz"):
            look()
