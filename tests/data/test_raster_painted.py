"""Renderings on a painted background."""

import numpy as np
import pytest
from PIL import Image

from stbench.data.image import PatchSpec
from stbench.data.images import ImageFile
from stbench.data.raster.painted import glass, painted
from stbench.data.rendering import PaintedFile
from stbench.errors import DataError

from .layouts import picture

HEIGHT, WIDTH = 60, 80
TISSUE = (slice(20, 50), slice(10, 60))


def drawn(inset=False):
    """Round tissue with a black pixel in it, blended into the paint at its border."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(y - 35, x - 35)
    pixels[distance < 16] = 20
    pixels[distance < 15] = (picture((WIDTH, HEIGHT)) | 1)[distance < 15]
    pixels[35, 35] = 0
    if inset:
        pixels[:12, 64:] = 200
    return pixels, distance


def test_paint_is_what_reaches_the_rim():
    pixels, distance = drawn()
    paint = painted(pixels)
    assert paint[distance >= 16].all()
    assert not paint[distance < 14].any()
    assert not paint[35, 35]


def test_pixels_blended_with_the_paint_go_with_it():
    pixels, distance = drawn()
    blended = (distance >= 15) & (distance < 16)
    assert painted(pixels)[blended].mean() > 0.9


def test_a_picture_pasted_into_a_corner_is_no_tissue():
    pixels, distance = drawn(inset=True)
    assert painted(pixels)[:12, 64:].all()
    assert not painted(pixels)[distance < 14].any()
    pixels[3, 64] = 0  # no rectangle any more
    assert not painted(pixels)[5:10, 70:].any()


@pytest.mark.parametrize("margin", [0, 2])
def test_a_picture_without_paint_is_shown_as_it_is(margin):
    """The largest piece is tissue, though it is a rectangle that touches the rim."""
    pixels = picture((WIDTH, HEIGHT)) | 1
    pixels[:, WIDTH - margin :] = 0
    paint = painted(pixels)
    assert not paint[:, : WIDTH - margin - 1].any()
    assert paint[:, WIDTH - margin :].all()


def test_the_colour_of_glass_is_what_was_left_of_it():
    pixels, distance = drawn()
    assert glass(pixels, painted(pixels)).tolist() == [255, 255, 255]  # nothing but tissue was left
    pixels[(distance < 15) & (distance > 10)] = (224, 203, 226)
    assert glass(pixels, painted(pixels)).tolist() == [224, 203, 226]
    nowhere = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    assert glass(pixels, nowhere).tolist() == [255, 255, 255]
    assert glass(pixels, ~nowhere).tolist() == [255, 255, 255]


def test_patches_are_enlarged_and_lie_on_glass(tmp_path):
    pixels, distance = drawn(inset=True)
    pixels[(distance < 15) & (distance > 10)] = bare = (224, 203, 226)
    Image.fromarray(pixels).save(tmp_path / "he.png")
    image, plain = (kind(tmp_path / "he.png", 1.0, 0.25) for kind in (PaintedFile, ImageFile))
    assert image.size() == (4 * WIDTH, 4 * HEIGHT)
    inside, outside, corner = np.array([[140.0, 140.0], [20.0, 20.0], [290.0, 20.0]])
    spots, xy = ["a", "b", "c"], np.stack([inside, outside, corner]).astype(np.float32)
    on_tissue, *others = image.patches(spots, xy, PatchSpec(um=40))
    assert on_tissue.shape == (40, 40, 3)
    assert all((other == bare).all() for other in others)
    small, large = PatchSpec(px=40, out_px=10), PatchSpec(px=40, out_px=64)
    np.testing.assert_array_equal(next(image.patches(spots, xy, small)), next(plain.patches(spots, xy, small)))
    assert next(image.patches(spots, xy, large)).shape == (64, 64, 3)
    np.testing.assert_array_equal(image.on_paint(xy), [False, True, True])
    assert image.on_paint(np.array([[-1.0, 5.0], [1e6, 5.0]])).all()
    assert (image.thumbnail(WIDTH)[distance > 18] == bare).all()


def test_it_is_another_picture_than_the_stored_one(tmp_path):
    Image.fromarray(drawn()[0]).save(tmp_path / "he.png")
    image, plain = (kind(tmp_path / "he.png", 1.0, 0.25) for kind in (PaintedFile, ImageFile))
    assert image.digest() != plain.digest()
    assert image.digest() != PaintedFile(tmp_path / "he.png", 1.0, 0.5).digest()
    with pytest.raises(DataError, match="expected a pixel size"):
        PaintedFile(tmp_path / "he.png").patches(["a"], np.zeros((1, 2), dtype=np.float32), PatchSpec(um=8))
